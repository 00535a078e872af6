"""Strategies by name: `module:Class` or `file.py:Class`, as the command line and services name them."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from quantai.core.errors import InputError, UnknownName
from quantai.strategy.base import Strategy


def load_strategy(name: str) -> type[Strategy]:
    """Return the strategy class named `module:Class` or `path/to/file.py:Class`; importing runs that module's code.

    >>> load_strategy("quantai.strategy.examples:Cross").__name__
    'Cross'

    Raises InputError when the module cannot be imported, UnknownName when it holds no such strategy.
    """
    home, colon, wanted = name.rpartition(":")
    if not colon or not home or not wanted:
        raise InputError(f"a strategy is named module:Class or file.py:Class, not {name!r}")
    found = strategies_in(home)
    if wanted not in found:
        raise UnknownName(f"strategy in {home}", wanted, found)
    return found[wanted]


def strategies_in(home: str) -> dict[str, type[Strategy]]:
    """Return the strategy classes of a module, or of a file whose name ends in .py; importing runs its code.

    >>> sorted(strategies_in("quantai.strategy.examples"))
    ['Cross', 'Quote', 'Reversion']

    Raises InputError when it cannot be imported.
    """
    module = _from_file(Path(home)) if home.endswith(".py") else _from_name(home)
    return {
        n: v for n, v in vars(module).items() if isinstance(v, type) and issubclass(v, Strategy) and v is not Strategy
    }


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"there is no file {path}: give the path of a Python file, then :Class")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where inspect looks for the source of its classes
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        raise InputError(f"{path} failed when run: {type(e).__name__}: {e}") from e
    return module


def _from_name(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` does: modules of the working folder can be named
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise InputError(f"module {name!r} cannot be imported: {e}") from None

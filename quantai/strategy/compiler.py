"""Compiles generated strategy modules with numba, keeps them on disk, and translates its errors to the user's lines."""

import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numba.core.errors import NumbaError

from quantai.core.compiled import cache_folder, engine_stamp
from quantai.core.errors import StrategyError
from quantai.strategy.fields import Fields
from quantai.strategy.place import fail
from quantai.strategy.source import Module, Text


class Kernel:
    """One compiled strategy: the handlers of a class and the drivers specialised to them.

    `fresh` says that no process has compiled it before: the first call of each function takes seconds.
    """

    def __init__(self, owner: type, text: Text, module: ModuleType, fresh: bool) -> None:
        self.owner, self.fresh, self._text, self._module = owner, fresh, text, module

    def function(self, name: str) -> Callable[..., Any]:
        """Return a function of the kernel; calling it raises StrategyError where the user's code cannot be compiled."""
        compiled = getattr(self._module, name)

        def call(*args: Any) -> Any:
            try:
                return compiled(*args)
            except NumbaError as e:
                raise self._translate(e) from None
            except KeyError as e:
                # numba lets the KeyError of an unknown record field through
                raise StrategyError(f"cannot compile {self.owner.__name__}: a row has no field {e}") from None
            except IndexError as e:
                raise StrategyError(f"{self.owner.__name__} used an index that is not there: {e}") from None
            except ZeroDivisionError:
                raise StrategyError(
                    f"{self.owner.__name__} divided by zero: guard the division in its handlers"
                ) from None
            except Exception as e:
                # whatever else compiled code raises was written there with `raise` or `assert`
                raise StrategyError(f"{self.owner.__name__} raised {type(e).__name__}: {e}".rstrip(": ")) from e

        call.compiled = compiled  # type: ignore[attr-defined]
        return call

    def _translate(self, error: NumbaError) -> StrategyError:
        message = str(error)
        file = str(self._module.__file__)
        reason = _reason(message)
        # numba names the innermost location last in a chain of calls, and prints paths relative to the working folder
        for path, line in re.findall(r'File "([^"]+)", line (\d+)', message) + re.findall(
            r"at (\S+) \((\d+)\)", message
        ):
            if path.endswith(Path(file).name):
                origin = self._text.origin[int(line) - 1]
                if origin is not None:
                    return fail(*origin, f"cannot compile {self.owner.__name__}: {reason}")
        return StrategyError(f"cannot compile {self.owner.__name__}: {reason}")


def _reason(message: str) -> str:
    for pattern in (
        r"(a float cannot be stored in an int field[^\n]*)",
        r"Unknown attribute '([^']+)' of type",
        r"(Cannot unify .+)",
        r"(Invalid use of .+)",
        r"(No implementation of function .+)",
        r"(Untyped global name .+)",
        r"(Use of unsupported .+)",
    ):
        found = re.search(pattern, message)
        if found:
            first = found.group(0).split("\n")[0]
            return re.sub(r"Record\([^)]*\)+", "a record", first)[:200]
    lines = [x.strip() for x in message.splitlines() if x.strip() and not x.startswith("Failed in")]
    return (lines[0] if lines else "numba refused it")[:200]


_loaded: dict[str, Kernel] = {}
_latest: dict[tuple[type, np.dtype[Any], tuple[Callable[..., Any], ...]], tuple[Module, Kernel]] = {}


def kernel_of(owner: type, fields: Fields, dtype: np.dtype[Any], drivers: tuple[Callable[..., Any], ...]) -> Kernel:
    """Return the kernel of a strategy class, the last one where nothing that its text was made of has changed."""
    module, kernel = _latest.get((owner, dtype, drivers), (None, None))
    if module is None or kernel is None or not module.is_current():
        module = Module(owner, fields)
        kernel = _compile_kernel(module, dtype, drivers)
        _latest[owner, dtype, drivers] = module, kernel
    else:
        kernel.fresh = False
    return kernel


def _compile_kernel(module: Module, dtype: np.dtype[Any], drivers: tuple[Callable[..., Any], ...]) -> Kernel:
    """Return the kernel of a strategy module with these drivers, from memory, from disk, or compiled at its first call.

    The key is the generated text, the record layout and `engine_stamp`; the class name alone decides nothing.
    """
    text = module.text(drivers)
    body = "\n".join(text.lines) + "\n"
    digest = hashlib.blake2b(f"{engine_stamp()}\n{dtype.descr}\n{body}".encode(), digest_size=12).hexdigest()
    if digest in _loaded:
        _loaded[digest].fresh = False
        return _loaded[digest]
    path = cache_folder() / f"{module.owner.__name__.lower()}_{digest}.py"
    fresh = not path.exists()
    if fresh:
        written = path.with_suffix(f".{os.getpid()}.tmp")
        written.write_text(body)
        written.replace(path)
    name = f"quantai_kernel_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise StrategyError(f"the compiled kernel {path} cannot be loaded: delete it and run again")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    kernel = Kernel(module.owner, text, loaded, fresh)
    _loaded[digest] = kernel
    return kernel

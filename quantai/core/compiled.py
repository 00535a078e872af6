"""The decorator of the engine's compiled functions, and where their machine code is kept.

numba's own cache asks whether the file of a function has changed, not whether the functions and constants it uses have.
After `git pull` a caller would go on running the old code of what it calls. Here the machine code of all engine
functions lives in the user's cache folder under one stamp of all sources they can depend on: any change of any of
them compiles afresh.
"""

# numba types its cache as returning None, and knows no `_nrt`
# pyright: reportPrivateUsage=false, reportIncompatibleMethodOverride=false, reportCallIssue=false

import atexit
import fcntl
import hashlib
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

import numba
import numpy as np
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _CacheLocator
from platformdirs import user_cache_dir


@cache
def cache_folder() -> Path:
    """Return the folder of machine code, in $QUANTAI_CACHE or the user's cache.

    What lies there is loaded and run, so it has to be ours alone: a folder that others own or may write, or that cannot
    be written, is not used, and a temporary one takes its place for this process.
    """
    folder = Path(os.environ.get("QUANTAI_CACHE") or user_cache_dir("quantai")) / "kernels"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
        if found.st_uid == os.getuid() and not found.st_mode & 0o022 and os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    temporary = Path(tempfile.mkdtemp(prefix="quantai-kernels-"))
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return temporary


@cache
def engine_stamp() -> str:
    """Return a hash of what machine code is made from besides a strategy: our sources, numba, numpy, Python."""
    h = hashlib.blake2b(f"{numba.__version__} {np.__version__} {sys.version}".encode(), digest_size=8)
    for name, text in engine_sources().items():
        h.update(name.encode())
        h.update(text)
    return h.hexdigest()


def engine_sources() -> dict[str, bytes]:
    """Return the sources machine code can depend on, by module: those that compile, and all that they import of ours.

    The trade loop, venues of the network or the pages of a report can then change without compiling anything again.
    Modules and names are found by pattern, not by parsing: this runs in every process, before its first strategy.
    """
    root = Path(__file__).parents[1]
    names = (Path(folder, name) for folder, _, files in os.walk(root) for name in files if name.endswith(".py"))
    texts = {_module(os.path.relpath(name, root.parent)): name.read_bytes() for name in names}
    compiles = (b"core.compiled import", b"\nimport numba", b"\nfrom numba")
    imports = re.compile(rf"^ *from ({root.name}(?:\.\w+)*) import (\([^)]*\)|.*)$", re.MULTILINE)
    open_ = [module for module, text in texts.items() if any(way in text for way in compiles)]
    found: set[str] = set()
    while open_:
        module = open_.pop()
        if module in texts and module not in found:
            found.add(module)
            for room, items in imports.findall(texts[module].decode()):
                open_ += [room, *(f"{room}.{item}" for item in re.findall(r"\w+", items))]
    return {module: texts[module] for module in sorted(found)}


def _module(name: str) -> str:
    return name.removesuffix(".py").replace(os.sep, ".").removesuffix(".__init__")


@cache
def _engine_folder() -> Path:
    # a folder a stamp: numba writes its index before the code, and an interrupted write must not outlive the sources
    engine = cache_folder() / "engine"
    for old in engine.glob("*"):
        if old.name != engine_stamp() and old.stat().st_mtime < time.time() - 14 * 86_400:
            shutil.rmtree(old, ignore_errors=True)
    return engine / engine_stamp()


class _EngineLocator(_CacheLocator):
    """Puts a function's machine code into `cache_folder`, valid for one `engine_stamp`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._name = f"{function.__module__}.{function.__code__.co_firstlineno}"

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Self:
        return cls(py_func)

    def get_cache_path(self) -> str:
        return str(_engine_folder())

    def get_source_stamp(self) -> str:
        return engine_stamp()

    def get_disambiguator(self) -> str:
        return self._name


class _EngineImpl(CompileResultCacheImpl):
    _locator_classes = [_EngineLocator]  # noqa: RUF012 - numba's name and shape


class _EngineCache(FunctionCache):
    _impl_class = _EngineImpl

    def save_overload(self, sig: Any, data: Any) -> None:
        # numba numbers the signatures of a function in an index that it reads, adds to and writes: without the lock
        # two processes could give two of them the same number, and a third would run the wrong machine code
        with suppress(OSError), (cache_folder() / "lock").open("w") as lock:  # a full disk must not end a run
            fcntl.flock(lock, fcntl.LOCK_EX)
            super().save_overload(sig, data)


def compiled[F: Callable[..., Any]](function: F) -> F:
    """Compile a function of the engine with numba at its first call, without the interpreter lock, kept on disk.

    >>> @compiled
    ... def twice(x):
    ...     return 2 * x
    >>> twice(4)
    8
    """
    # said of every function: what is first called by inlined code would otherwise be inlined, too, all the way down
    return _kept(numba.njit(nogil=True, forceinline=False)(function), function)


def inlined[F: Callable[..., Any]](function: F) -> F:
    """Compile as `compiled` does, and put the machine code of the function in place of every call.

    For what runs once a row: a record that never leaves one function by address can live in registers (`kept`).
    """
    return _kept(numba.njit(nogil=True, forceinline=True)(function), function)


def uncounted_inlined[F: Callable[..., Any]](function: F) -> F:
    """Compile as `uncounted` does, and put the machine code of the function in place of every call, as `inlined`."""
    return _kept(numba.njit(nogil=True, forceinline=True, _nrt=False)(function), function)


def uncounted[F: Callable[..., Any]](function: F) -> F:
    """Compile as `compiled` does, without reference counts: for functions that allocate nothing and are passed arrays.

    Counting references to arrays at each call can take several times as long as the work (numba issue 2345).
    """
    return _kept(numba.njit(nogil=True, forceinline=False, _nrt=False)(function), function)


def side_by_side[F: Callable[..., Any]](function: F) -> F:
    """Compile as `uncounted` does, with a division by zero giving infinity or NaN instead of an exception.

    For a loop over things that do not depend on each other: with a way out of it, it could not be done four at a time.
    """
    dispatcher = numba.njit(nogil=True, forceinline=False, _nrt=False, error_model="numpy")(function)
    return _kept(dispatcher, function)


def generated(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function of a generated module with these options of `numba.njit`, kept on disk as the engine's are."""
    return lambda function: _kept(numba.njit(**options)(function), function)


def _kept(dispatcher: Any, function: Callable[..., Any]) -> Any:
    dispatcher._cache = _EngineCache(function)  # what numba's cache=True does, with our locator
    return dispatcher

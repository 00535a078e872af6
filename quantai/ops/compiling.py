"""What is said while machine code is made: a line when it begins and one when it is there, on stderr.

It is made once for a version of the sources, and kept. The first time takes minutes, in which a log, a service or a
notebook would otherwise stand still without a word.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

AFTER_S = 2.0
"""How long something compiles before it is said: most functions take less."""

_QUICK = {"run_bars": "half a minute", "run_lanes": "half a minute"}


class Compiling:
    """Counts what is being compiled, and calls `say` with the two lines.

    What a function calls is compiled within it and counts as one; so does everything within `together`.

    >>> told = Compiling(print, after_s=0)
    >>> told.begin("Cross", "half a minute", "/cache")
    quantai: compiling Cross, about half a minute the first time; kept in /cache
    >>> told.end()
    quantai: compiled in 0 s
    """

    def __init__(self, say: Any, after_s: float = AFTER_S) -> None:
        self._say, self._after_s = say, after_s
        self._lock = threading.RLock()
        self._depth = self._together = 0
        self._names: list[tuple[str, str]] = []
        self._said = False
        self._since = self._took = 0.0
        self._timer: threading.Timer | None = None

    @contextmanager
    def together(self, what: str, about: str) -> Generator[None]:
        """Take all that is compiled within for one thing, `what`, that takes `about` so long the first time."""
        with self._lock:
            self._together += 1
            self._names.append((what, about))
        try:
            yield
        finally:
            with self._lock:
                self._together -= 1
                self._names.remove((what, about))
                self._finish()

    def begin(self, what: str, about: str, folder: str) -> None:
        """Note that a function is being compiled."""
        with self._lock:
            self._depth += 1
            if self._depth > 1:
                return
            self._since = time.monotonic()
            what, about = self._names[0] if self._names else (what, about)
            line = f"quantai: compiling {what}, about {about} the first time; kept in {folder}"
            if not self._after_s:
                self._begun(line)
            elif not self._said:
                self._timer = threading.Timer(self._after_s, self._begun, [line])
                self._timer.daemon = True
                self._timer.start()

    def _begun(self, line: str) -> None:
        with self._lock:
            if self._depth and not self._said:
                self._said = True
                self._say(line)

    def end(self) -> None:
        """Note that the function that began last is done, whatever came of it."""
        with self._lock:
            self._depth -= 1
            if self._depth:
                return
            self._took += time.monotonic() - self._since
            if self._timer is not None:
                self._timer.cancel()
            self._finish()

    def _finish(self) -> None:
        if self._depth or self._together:
            return
        if self._said:
            self._say(f"quantai: compiled in {self._took:.0f} s")
        self._said, self._took = False, 0.0


def _say(line: str) -> None:
    """Write a line to stderr, in the form of the log where that goes there too; nothing with $QUANTAI_QUIET."""
    if os.environ.get("QUANTAI_QUIET", "0") not in ("", "0"):
        return
    log = logging.getLogger("quantai")
    if any(getattr(handler, "stream", None) is sys.stderr for handler in log.handlers):
        log.info(line.removeprefix("quantai: "))
    else:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


@cache
def announced(after_s: float = AFTER_S) -> Compiling:
    """Say from now on, in this process, when machine code of ours is made; returns what says it."""
    from numba.core import event  # not above: what imports numba there counts among the sources of machine code

    told = Compiling(_say, after_s)

    class Listener(event.Listener):
        def on_start(self, event: Any) -> None:
            dispatcher = event.data["dispatcher"]
            if kept := _kept(dispatcher):
                name = dispatcher.py_func.__name__
                told.begin(_name(dispatcher.py_func), _QUICK.get(name, "a minute or two"), kept)

        def on_end(self, event: Any) -> None:
            if _kept(event.data["dispatcher"]):
                told.end()

    event.register("numba:compile", Listener())
    return told


def _kept(dispatcher: Any) -> str:
    """Return the folder of machine code of a function of ours, "" for those of other libraries."""
    folder, engine, _ = (dispatcher.stats.cache_path or "").rpartition("/engine/")
    return folder if engine else ""


def _name(function: Any) -> str:
    """Return the name of a strategy for the functions of its kernel, whose file is called after it."""
    if function.__module__.startswith("quantai_kernel_"):
        return Path(function.__code__.co_filename).stem.rpartition("_")[0]
    return f"{function.__module__}.{function.__name__}"

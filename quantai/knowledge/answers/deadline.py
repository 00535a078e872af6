"""A stream with an end: what waits for a model is told when it has waited long enough."""

import contextvars
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

_END = object()


def within[T](stream: Iterable[T], seconds: float) -> Iterator[T]:
    """Yield what comes of a stream until the time is over; raises TimeoutError then, also where nothing comes at all.

    The stream is read in a thread: a server that sends signs of life and no words lets its reader wait for ever.
    """
    pieces: queue.SimpleQueue[Any] = queue.SimpleQueue()
    given_up = threading.Event()

    def read() -> None:
        try:
            for piece in stream:
                if given_up.is_set():
                    return
                pieces.put((piece, None))
            pieces.put((_END, None))
        except BaseException as error:  # noqa: BLE001 (handed to the reader)
            pieces.put((_END, error))

    until = time.monotonic() + seconds
    threading.Thread(target=contextvars.copy_context().run, args=(read,), name="chat-model", daemon=True).start()
    try:
        while True:
            try:
                piece, error = pieces.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"no end after {seconds:g} s") from None
            if error is not None:
                raise error
            if piece is _END:
                return
            yield piece
    finally:
        given_up.set()

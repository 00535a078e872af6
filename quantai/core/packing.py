"""State as bytes: named arrays behind one JSON line that says their names and lengths; equal state, equal bytes."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from quantai.core.errors import DataError


def pack(title: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the arrays as bytes under a title.

    >>> parts = unpack("demo 1", pack("demo 1", {"a": np.arange(3)}), {"a": np.dtype("i8")})
    >>> parts["a"].tolist()
    [0, 1, 2]
    """
    head = {"title": title, "parts": {name: [array.dtype.itemsize, array.size] for name, array in arrays.items()}}
    line = json.dumps(head, separators=(",", ":")).encode() + b"\n"
    return line + b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())


def unpack(title: str, body: bytes, dtypes: Mapping[str, np.dtype[Any]]) -> dict[str, np.ndarray]:
    """Return writable one-dimensional arrays by name; raises DataError where title, names or sizes are others."""
    line, newline, rest = body.partition(b"\n")
    try:
        head = json.loads(line) if newline else {}
    except ValueError:
        head = {}
    if head.get("title") != title or list(head.get("parts", ())) != list(dtypes):
        raise DataError(f"this is no state of {title!r}: it was written by another version, or is something else")
    parts: dict[str, np.ndarray] = {}
    at = 0
    for name, (size, count) in head["parts"].items():
        dtype = dtypes[name]
        if size != dtype.itemsize or at + size * count > len(rest):
            raise DataError(f"the state of {title!r} does not fit at {name}: it was written by another version")
        parts[name] = np.frombuffer(rest, dtype, count, at).copy()
        at += size * count
    if at != len(rest):
        raise DataError(f"the state of {title!r} has {len(rest) - at} bytes too many")
    return parts

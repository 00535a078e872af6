"""Rows that cannot be right, named by file and row; and right ones as columns of the lake."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantai.core.errors import DataError

_SIDES = {
    **dict.fromkeys(("buy", "b", "bid", "1", "+1"), 1),
    **dict.fromkeys(("sell", "s", "ask", "-1"), -1),
    **dict.fromkeys(("", "0", "unknown"), 0),
}
# whether the buyer was the maker: if so, the seller took
_TRUTHS = {**dict.fromkeys(("true", "t", "1"), -1), **dict.fromkeys(("false", "f", "0"), 1)}


def refuse(where: str, row: Any, bad: Any, what: str) -> None:
    """Raise DataError that names the first row where `bad` is true, if any.

    `row` is where the piece starts in the file, or for each of the rows its number in the file (from 0).
    """
    if bad.any():
        at = int(np.argmax(bad))
        others = f" ({int(bad.sum())} such rows)" if bad.sum() > 1 else ""
        raise DataError(f"{where} row {(row + at if isinstance(row, int) else int(row[at])) + 1}: {what}{others}")


def numbers(where: str, row: int, name: str, column: Any) -> Any:
    """Return a column as float64; an empty cell, text, NaN or infinity is a DataError."""
    try:
        values = pc.cast(column, pa.float64()).combine_chunks().to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid as error:
        raise DataError(f"{where}: {name} is not a number: {error}") from None
    refuse(where, row, ~np.isfinite(values), f"{name} is missing or not finite: remove or fill the row")
    return values


def sides(where: str, row: int, columns: dict[str, Any]) -> Any:
    """Return the aggressor's side of each trade (+1, -1, 0 unknown) from its column `side` or `buyer_is_maker`."""
    for name, words in (("side", _SIDES), ("buyer_is_maker", _TRUTHS)):
        if name in columns:
            codes = pc.cast(columns[name], pa.string()).combine_chunks().fill_null("").dictionary_encode()
            known = [words.get(word.strip().lower()) for word in codes.dictionary.to_pylist()]
            values = np.array([0 if k is None else k for k in known], "i1")
            at = codes.indices.to_numpy()
            wrong = np.array([k is None for k in known], bool)
            refuse(where, row, wrong[at], f"{name} is not one of {', '.join(w for w in words if w)}")
            return values[at]
    return np.zeros(len(columns["time"]), "i1")


def in_order(where: str, row: Any, ts: Any, last: int | None) -> None:
    """Raise DataError when time goes backwards within the piece, or from `last`, the end of the piece before."""
    if len(ts):
        steps = np.diff(ts, prepend=ts[0] if last is None else last)
        refuse(where, row, steps < 0, "the time is before that of the row above: pass sort=True (--sort)")


def repeated(keys: tuple[Any, ...]) -> Any:
    """Return whether each row has the same keys as a row before it.

    >>> repeated((np.array([1, 2, 1, 1]), np.array([5.0, 5.0, 5.0, 6.0]))).tolist()
    [False, False, True, False]
    """
    order = np.lexsort(keys[::-1])
    same = np.ones(len(order), bool)
    for key in keys:
        same[1:] &= key[order][1:] == key[order][:-1]
    same[:1] = False
    out = np.zeros(len(order), bool)
    out[order] = same
    return out

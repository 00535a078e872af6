"""Which column of somebody's file is which: by its name, or as the caller says."""

import re
from collections.abc import Mapping, Sequence

from quantai.core.errors import DataError, UnknownName

_TIME = (
    "ts",
    "time",
    "timestamp",
    "datetime",
    "date",
    "opentime",
    "tsopen",
    "tsexch",
    "transacttime",
    "t",
    "",
)  # pandas leaves the index unnamed

BARS: dict[str, tuple[str, ...]] = {
    "time": _TIME,
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c", "last"),
    "volume": ("volume", "vol", "v", "basevolume"),
    "trades": ("trades", "count", "numberoftrades", "tradecount", "n"),
}
TRADES: dict[str, tuple[str, ...]] = {
    "time": _TIME,
    "px": ("px", "price", "p", "tradeprice"),
    "qty": ("qty", "quantity", "size", "amount", "volume", "q", "s"),
    "side": ("side", "direction", "takerside", "aggressor"),
    "buyer_is_maker": ("isbuyermaker", "buyerismaker", "m"),
    "id": ("id", "tradeid", "aggtradeid", "tid", "a"),
}
OPTIONAL = frozenset({"volume", "trades", "side", "buyer_is_maker", "id"})
"""The parts that a file may lack; BARS and TRADES have every part with the names it goes by, without punctuation."""


def match(
    where: str, columns: Sequence[str], parts: Mapping[str, Sequence[str]], given: Mapping[str, str]
) -> dict[str, str]:
    """Return the column of each part: as `given`, else by name; raises UnknownName or DataError.

    >>> match("x.csv", ["Open Time", "Price", "Size"], TRADES, {})
    {'time': 'Open Time', 'px': 'Price', 'qty': 'Size'}
    >>> match("x.csv", ["date", "time", "price", "size"], TRADES, {})
    Traceback (most recent call last):
    quantai.core.errors.DataError: x.csv: 'date' and 'time' could both be the time: pass columns=...
    """
    for part, column in given.items():
        if part not in parts:
            raise UnknownName("part of a row", part, parts)
        if column not in columns:
            raise UnknownName(f"column of {where}", column, columns)
    found = dict(given)
    taken = set(given.values())
    for part, names in parts.items():
        if part in found:
            continue
        likely = [c for c in columns if _bare(c) in names and c not in taken]
        if len(likely) > 1:
            both = " and ".join(repr(c) for c in likely[:2])
            raise DataError(
                f"{where}: {both} could both be the {part}: pass columns={{{part!r}: ...}} (--column {part}=NAME)"
            )
        if likely:
            found[part] = likely[0]
            taken.add(likely[0])
        elif part not in OPTIONAL:
            have = ", ".join(columns)
            raise DataError(
                f"{where}: no column is the {part}: pass columns={{{part!r}: ...}} (--column {part}=…), one of {have}"
            )
    return {part: found[part] for part in parts if part in found}


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

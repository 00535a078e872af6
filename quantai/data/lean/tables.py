"""One LEAN archive as bars, or as a table of quotes or open interest."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from quantai.core.errors import DataError
from quantai.core.instruments import Instruments
from quantai.core.rows import BAR, Rows, zeros
from quantai.data.bars import Bars
from quantai.data.lean.files import Archive, Member, describe, members

if TYPE_CHECKING:
    import pyarrow as pa

_BAR_FIELDS = ("ts_open", "ts_close", "open", "high", "low", "close", "volume")


def read(path: str | Path) -> "Bars | pa.Table":
    """Read one archive: trades as `Bars`, quotes and open interest as an Arrow table with the columns of the lake's.

    Prices are plain and not adjusted; times are instants in UTC. A daily bar of a US equity covers the session, 09:30
    to 16:00 New York. A quote row is what a minute of quotes ended with: the last bid and ask and their sizes, at the
    instant when the minute closes, because nobody could know it earlier; a side without a quote has price NaN and
    size 0. The open, high and low of bid and ask are not kept. Tables have a column `symbol`; rows are sorted by
    time, then symbol.

    Raises DataError.
    """
    archive = describe(path)
    parts = list(members(archive))
    if archive.content == "trade":
        return _bars(archive, parts)
    return _table(parts)


def _bars(archive: Archive, parts: list[Member]) -> Bars:
    table = Instruments()
    pieces: list[Rows] = []
    for part in parts:
        rows = zeros(len(part.ts_open), BAR)
        for name, values in bar_columns(part).items():
            rows[name] = values
        rows["instrument"] = table.add(part.instrument)
        pieces.append(rows)
    if not pieces:
        raise DataError(f"{archive.path}: the archive is empty; fetch it again")
    rows = np.concatenate(pieces)
    rows = rows[np.lexsort((rows["instrument"], rows["ts_close"]))]
    return Bars(rows, table, archive.interval, f"LEAN {archive.path.name}")


def _table(parts: list[Member]) -> "pa.Table":
    import pyarrow as pa

    tables: list[pa.Table] = []
    for part in parts:
        columns: dict[str, Any] = quote_columns(part) if "bid" in part.columns else open_interest_columns(part)
        symbol = pa.repeat(part.instrument.symbol, len(part.ts_open))
        tables.append(pa.table({"symbol": symbol} | columns))
    return pa.concat_tables(tables).combine_chunks().sort_by([("ts_exch", "ascending"), ("symbol", "ascending")])


def bar_columns(part: Member) -> dict[str, Any]:
    """Return the columns of the lake's `bars` that a member of trades fills."""
    return {n: part.columns[n] if n in part.columns else getattr(part, n) for n in _BAR_FIELDS}


def quote_columns(part: Member) -> dict[str, Any]:
    """Return the columns of the lake's `quotes` that a member fills: the closing quote at the closing instant."""
    quotes = {n: part.columns[n] for n in ("bid", "bid_qty", "ask", "ask_qty")}
    return {"ts_exch": part.ts_close, "ts_recv": part.ts_close} | quotes


def open_interest_columns(part: Member) -> dict[str, Any]:
    """Return the columns of the lake's `open_interest`: contracts outstanding, when they were published."""
    return {"ts_exch": part.ts_open, "ts_recv": part.ts_open, "qty": part.columns["qty"]}

"""Import trades: check the whole file, then store it in commits that an interrupted import goes on from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quantai.core.errors import DataError
from quantai.core.instruments import Instrument
from quantai.data.importers.checks import in_order, numbers, refuse, repeated, sides
from quantai.data.importers.columns import TRADES, match
from quantai.data.importers.sheets import Imported, Sheet
from quantai.data.importers.times import Clock
from quantai.data.instants import to_iso
from quantai.ops import progress

if TYPE_CHECKING:
    from quantai.data.lake import Lake


def import_trades(
    lake: "Lake",
    path: str | Path,
    venue: str,
    symbol: str,
    *,
    columns: Mapping[str, str] | None = None,
    names: Sequence[str] | None = None,
    tz: str | None = None,
    unit: str | None = None,
    sort: bool = False,
    dedupe: bool = False,
    quiet: bool = False,
) -> Imported:
    """Import a csv or Parquet file of trades of one symbol, of any size; a file that was imported before adds nothing.

    The file has a time, price and quantity, and perhaps the taker's side (buy or sell; or whether the buyer was the
    maker) and an id. See `import_bars` for `columns`, `names`, `tz` and `unit`. Imported trades have no receipt time:
    `ts_recv` is the venue's. Rows of equal time keep the order of the file.

    The file is read twice: once to check all of it, once to store it, in commits that an interrupted import goes on
    from. A missing or infinite number, a negative quantity, an unknown side, time that goes backwards (unless `sort`,
    which takes the file into memory), an id that is there twice at one time (unless `dedupe`), or trades of the lake
    from elsewhere in the file's span of time is a DataError that names file, row and remedy. `quiet` hides the
    progress bar.
    """
    Instrument.parse(symbol, venue=venue)
    sheet = Sheet(path, names)
    parts = match(sheet.where, sheet.columns, TRADES, columns or {})
    digest = sheet.digest()

    def read() -> Iterator[dict[str, Any]]:
        return _checked(sheet, parts, Clock(sheet.where, tz, unit), sort, dedupe)

    with lake.writer(f"import-trades-{venue}-{symbol}") as writer:
        done: dict[str, list[int]] = dict(writer.position.get("done", {}))
        if digest in done:
            rows, first, last = done[digest]
            return Imported(str(path), "trades", rows, 0, first, last)
        open_: dict[str, Any] = writer.position.get("open") or {}
        if open_ and open_["digest"] != digest:
            raise DataError(
                f"{open_['path']} was imported half-way: finish that import, with the same file, before this one"
            )
        rows, first, last = _surveyed(read())
        if rows == 0:
            raise DataError(f"{sheet.where}: no rows below the header")
        if not open_:
            _refuse_overlap(lake, sheet.where, venue, symbol, first, last)
        stored = before = int(open_.get("rows", 0))
        with progress(f"{sheet.where} to {venue} {symbol}", rows, unit="rows", quiet=quiet) as advance:
            at = 0
            for piece in read():
                n = len(piece["ts_exch"])
                fresh = max(0, stored - at)
                at += n
                if at > stored:
                    writer.append("trades", venue, symbol, {name: values[fresh:] for name, values in piece.items()})
                    stored = at
                    writer.commit({"done": done, "open": {"digest": digest, "path": str(path), "rows": stored}})
                advance(n)
        writer.commit({"done": done | {digest: [rows, first, last]}, "open": None})
    return Imported(str(path), "trades", rows, rows - before, first, last)


def _checked(sheet: Sheet, parts: dict[str, str], clock: Clock, sort: bool, dedupe: bool) -> Iterator[dict[str, Any]]:
    row, last, tail = 0, None, set[str]()
    pieces = sheet.pieces(parts)
    if sort:
        whole = list(pieces)
        pieces = iter([pa.concat_tables(whole)] if whole else [])
    for piece in pieces:
        columns = _trade_columns(clock, piece, row)
        if sort:
            order = np.argsort(columns["ts_exch"], kind="stable")
            columns = {n: v.take(pa.array(order)) if isinstance(v, pa.Array) else v[order] for n, v in columns.items()}
        in_order(clock.where, row, columns["ts_exch"], last)
        n = piece.num_rows
        if columns["id"].null_count < n:
            columns, tail = _without_repeats(clock.where, row, columns, (last, tail), dedupe)
        row += n
        if len(columns["ts_exch"]):
            last = int(columns["ts_exch"][-1])
            yield columns


def _trade_columns(clock: Clock, piece: pa.Table, row: int) -> dict[str, Any]:
    ts = clock.read(piece["time"], row)
    px, qty = (numbers(clock.where, row, name, piece[name]) for name in ("px", "qty"))
    refuse(clock.where, row, qty < 0, "the quantity is negative")
    side = sides(clock.where, row, dict(zip(piece.column_names, piece.columns, strict=True)))
    ids = (
        piece["id"].cast(pa.string()).combine_chunks() if "id" in piece.column_names else pa.nulls(len(ts), pa.string())
    )
    return {"ts_exch": ts, "ts_recv": ts, "px": px, "qty": qty, "side": side, "id": ids}


def _without_repeats(
    where: str, row: int, columns: dict[str, Any], before: tuple[int | None, set[str]], dedupe: bool
) -> tuple[dict[str, Any], set[str]]:
    last, tail = before
    ts, ids = columns["ts_exch"], columns["id"]
    if len(ts) == 0:
        return columns, tail
    again = repeated((ts, ids.dictionary_encode().indices.fill_null(-1).to_numpy()))
    if last is not None:
        for at in np.flatnonzero(ts == last):  # the piece before ended within a time
            again[at] |= ids[at].as_py() in tail
    again &= ids.is_valid().to_numpy(zero_copy_only=False)
    if not dedupe:
        refuse(
            where, row, again, "a trade with this id and time is there already: pass dedupe=True (--dedupe) to drop it"
        )
    seen = {ids[at].as_py() for at in np.flatnonzero(ts == ts[-1])} | (tail if ts[-1] == last else set[str]())
    keep = ~again
    return {n: v.filter(pa.array(keep)) if isinstance(v, pa.Array) else v[keep] for n, v in columns.items()}, seen


def _surveyed(pieces: Iterator[dict[str, Any]]) -> tuple[int, int, int]:
    rows = first = last = 0
    for piece in pieces:
        ts = piece["ts_exch"]
        first = int(ts[0]) if rows == 0 else first
        rows, last = rows + len(ts), int(ts[-1])
    return rows, first, last


def _refuse_overlap(lake: "Lake", where: str, venue: str, symbol: str, first: int, last: int) -> None:
    if (venue, symbol) not in lake.symbols("trades"):
        return
    held = lake.trades(venue, symbol, first, last + 1).num_rows
    if held:
        span = f"{to_iso(first)} to {to_iso(last)}"
        raise DataError(
            f"{where}: the lake holds {held} trades of {symbol} from {span} already: import into another lake"
        )

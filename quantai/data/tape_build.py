"""Building a tape from a lake: streams merged by receipt, a piece at a time, into one file that is kept and mapped."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantai.core.errors import DataError
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BUY, EVENT, LAST, SELL, SNAPSHOT, Kind, Rows, zeros
from quantai.data.manifest import Part
from quantai.data.part_streams import merged_parts
from quantai.data.tables import TABLES
from quantai.data.tape import Tape, head_first, refuse_bad_rows
from quantai.data.tape_file import add_parts, tape_head
from quantai.ops import durable, make_folder, progress, sync_folder

if TYPE_CHECKING:
    from quantai.data.book import Book

FOLDER = "tapes"
"""Where a lake keeps the tapes built from it; nothing is lost with it."""
STREAMS = ("trades", "levels", "quotes", "funding", "bars")
_PIECE = 1 << 18  # rows of one part of a stream in memory at a time
_VERSION = 2


class Booked(Protocol):
    """What of a `Lake` a tape is built from, beside its parts."""

    root: Path

    def book(self, venue: str, symbol: str, at: int | None = None) -> "Book":
        """Return the order book as it was known at an instant."""
        ...


def tape_of(
    lake: Booked,
    parts: dict[tuple[str, str], list[Part]],
    instruments: Sequence[Instrument],
    span: tuple[int | None, int | None],
    quiet: bool,
) -> Tape:
    """Return the tape of these parts, by (table, symbol); it is built when no file has their fingerprint."""
    path = lake.root / FOLDER / f"{_fingerprint(parts, instruments, span)}.tape"
    if not path.exists():
        make_folder(path.parent)
        _build(lake, path, parts, instruments, span, quiet)
    return Tape.open(path)


def _fingerprint(parts: dict[Any, list[Part]], instruments: Sequence[Instrument], span: Any) -> str:
    said = [[key, [(p.path or "staged", p.id, p.rows, p.seq_min, p.seq_max) for p in of]] for key, of in parts.items()]
    text = json.dumps([_VERSION, said, [repr(i) for i in instruments], span])
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _build(lake: Booked, path: Path, parts: Any, instruments: Sequence[Instrument], span: Any, quiet: bool) -> None:
    numbers = {i.symbol: n for n, i in enumerate(instruments)}
    offset = len(tape_head(0, instruments, {}, room=len(instruments)))
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    total = sum(p.rows for of in parts.values() for p in of)
    try:
        with fresh.open("wb") as file, progress("tape", total, unit="rows", quiet=quiet) as advance:
            file.write(bytes(offset))
            streams = [
                _received(_events(table, _pieces(lake.root, of, table, span), instruments[numbers[symbol]], number))
                for (table, symbol), of in parts.items()
                for number in [numbers[symbol]]
            ]
            n = 0
            for rows in chain([_books_before(lake, parts, instruments, span)], _merged(streams)):
                n += len(rows)
                rows["seq"] = np.arange(n - len(rows) + 1, n + 1)
                rows.tofile(file)
                advance(len(rows))
        _finish(fresh, offset, n, instruments)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _finish(fresh: Path, offset: int, n: int, instruments: Sequence[Instrument]) -> None:
    facts: dict[str, Any] = {}
    table = Instruments(list(instruments))
    if n:
        rows = np.memmap(fresh, EVENT, "r+", offset, (n,)).view(np.ndarray)
        head_first(rows)
        facts = refuse_bad_rows(rows, table)
        del rows
    add_parts(fresh, n, offset, facts, table)
    with fresh.open("r+b") as file:
        file.write(tape_head(n, instruments, facts, room=len(instruments)))
        file.flush()
        durable(file.fileno())


def _books_before(lake: Booked, parts: Any, instruments: Sequence[Instrument], span: Any) -> Rows:
    """Return the books as they were known before the first row of a tape that does not begin with the lake."""
    found = [zeros(0, EVENT)]
    for (table, symbol), of in parts.items():
        if table != "levels" or span[0] is None:
            continue
        first = next((t for t in _pieces(lake.root, of, table, span) if t.num_rows), None)
        if first is None:
            continue
        at = int(first["ts_recv"][0].as_py()) - 1
        number, instrument = next((n, i) for n, i in enumerate(instruments) if i.symbol == symbol)
        book = lake.book(instrument.venue, symbol, at)
        for levels, side in ((book.bids, BUY), (book.asks, SELL)):
            rows = zeros(len(levels), EVENT)
            rows["ts_exch"], rows["ts_recv"], rows["kind"] = at, at, Kind.LEVEL
            rows["px"], rows["qty"], rows["side"] = levels[:, 0], levels[:, 1], side
            rows["px_ticks"], rows["instrument"], rows["flags"] = _ticks(rows["px"], instrument), number, SNAPSHOT
            found.append(rows)
    whole = np.concatenate(found)
    if len(whole):
        whole["ts_recv"] = whole["ts_recv"].min()
        whole["flags"][-1] |= LAST
    return whole


def _pieces(root: Path, parts: Sequence[Part], name: str, span: tuple[int | None, int | None]) -> Iterator[pa.Table]:
    """Yield the rows of one stream within the span, in the order of seq, a bounded number at a time."""
    for rows in merged_parts(root, parts, _PIECE):
        yield _within(rows, TABLES[name].time, span)


def _within(rows: pa.Table, time: str, span: tuple[int | None, int | None]) -> pa.Table:
    lo, hi = span
    if lo is not None:
        rows = rows.filter(pc.field(time) >= lo)
    return rows if hi is None else rows.filter(pc.field(time) < hi)


def _ticks(px: Any, instrument: Instrument) -> Any:
    with np.errstate(invalid="ignore"):
        exact = px / float(instrument.tick)
        return np.where(np.isfinite(exact) & (np.abs(exact) < 2**62), np.rint(exact), 0).astype("i8")


def _events(table: str, pieces: Iterable[pa.Table], instrument: Instrument, number: int) -> Iterator[Rows]:
    """Turn rows of a table into EVENT rows; a quote becomes two, a bid and an ask."""
    for piece in pieces:
        column = {name: piece[name].to_numpy() for name in piece.schema.names if name not in _TEXT}
        n = piece.num_rows
        out = zeros(n * (2 if table == "quotes" else 1), EVENT)
        of = out.reshape(n, -1)
        of["ts_exch"] = column["ts_close" if table == "bars" else "ts_exch"][:, None]
        of["ts_recv"] = column["ts_recv"][:, None]
        of["seq"], of["instrument"] = column["seq"][:, None], number
        of["flags"][:, -1] = LAST
        if table == "quotes":
            of["kind"], of["side"] = Kind.QUOTE, (BUY, SELL)
            of["px"][:, 0], of["qty"][:, 0] = column["bid"], column["bid_qty"]
            of["px"][:, 1], of["qty"][:, 1] = column["ask"], column["ask_qty"]
        elif table == "funding":
            out["kind"], out["px"], out["aux"], out["qty"] = Kind.FUNDING, column["rate"], column["next_ts"], 0.0
        elif table == "bars":
            out["ts_recv"] = np.maximum(out["ts_recv"], out["ts_exch"])
            out["kind"], out["px"], out["qty"], out["aux"] = (
                Kind.BAR,
                column["close"],
                column["volume"],
                column["ts_open"],
            )
        else:
            out["kind"] = Kind.TRADE if table == "trades" else column["kind"]
            out["px"], out["qty"], out["side"] = column["px"], column["qty"], column["side"]
            if table == "levels":
                out["flags"] = column["flags"]
        if table in ("trades", "levels", "quotes"):
            out["px_ticks"] = np.where(out["kind"] == Kind.CLEAR, 0, _ticks(out["px"], instrument))
        yield out


_TEXT = ("id", "interval", "status", "channel", "detail")


def _received(pieces: Iterator[Rows]) -> Iterator[Rows]:
    """Let the clock of receipt of one stream never go back: `seq` is the order, and a clock can be set."""
    last = -(2**63)
    for rows in pieces:
        if len(rows):
            rows["ts_recv"] = np.maximum.accumulate(np.maximum(rows["ts_recv"], last))
            last = int(rows["ts_recv"][-1])
            yield rows


def _merged(streams: list[Iterator[Rows]]) -> Iterator[Rows]:
    """Merge streams by receipt, then by seq, holding about one piece of each."""
    waiting: list[Rows] = [next(s, zeros(0, EVENT)) for s in streams]
    while any(len(w) for w in waiting):
        # rows up to the first end of a piece are complete; what is received at that instant may go on in the next
        ends = [int(w["ts_recv"][-1]) for w in waiting if len(w)]
        until = min(ends)
        for k, stream in enumerate(streams):
            while len(waiting[k]) and waiting[k]["ts_recv"][-1] <= until:
                more = next(stream, None)
                if more is None:
                    break
                waiting[k] = np.concatenate([waiting[k], more])
        cut = [int(np.searchsorted(w["ts_recv"], until, "right")) for w in waiting]
        rows = np.concatenate([w[:c] for w, c in zip(waiting, cut, strict=True)])
        waiting = [w[c:] for w, c in zip(waiting, cut, strict=True)]
        yield rows[np.lexsort((rows["seq"], rows["ts_recv"]))]


def no_rows(what: str) -> DataError:
    """Return the error for a tape without rows."""
    return DataError(f"no rows for a tape of {what}: record or import trades, levels or quotes first")

"""The lake: every row ever recorded or imported, in Parquet files that any tool can read, behind one object."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instruments
from quantai.core.rows import Kind
from quantai.data.instants import Instant, to_ns
from quantai.data.intervals import parse_interval
from quantai.data.manifest import Manifest
from quantai.data.parts import in_order, read_part
from quantai.data.tables import TABLES, sort_by_seq, table
from quantai.data.writer import Writer

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from quantai.data.bars import Bars
    from quantai.data.book import Book
    from quantai.data.catalog import Catalog
    from quantai.data.compact import Compacted
    from quantai.data.findings import Report
    from quantai.data.query import Answer
    from quantai.data.tape import Tape


class Lake:
    """A folder of market data: Parquet files split by venue, symbol and date, and the manifest that lists them.

    `root` is a local folder, by default the setting `lake`, `datasets/lake`; it is created by the first writer. Any
    number of processes may read while others write: a reader sees whole commits, and only those. Rows come back in
    the order of `seq`, the only authority on order; [start, end) selects by the venue's clock `ts_exch` (bars: by
    `ts_open`).

    >>> import tempfile
    >>> lake = Lake(tempfile.mkdtemp())
    >>> with lake.writer("doc") as w:
    ...     noon = to_ns("2024-08-08T12:00:00Z")
    ...     w.append(
    ...         "trades", "OKX", "BTC-USDT", {"ts_exch": [noon], "ts_recv": [noon], "px": [61_800.0], "qty": [0.5]}
    ...     )
    ...     w.commit({})
    1
    >>> lake.trades("OKX", "BTC-USDT", "2024-08-08", "2024-08-09")["px"].to_pylist()
    [61800.0]
    >>> lake.sql("select sum(px * qty) from trades where venue = $venue", venue="OKX").fetchone()
    (30900.0,)
    >>> lake.trades("OKEX", "BTC-USDT")
    Traceback (most recent call last):
    quantai.core.errors.UnknownName: unknown venue with trades 'OKEX': did you mean 'OKX'? (1 known: OKX)
    """

    def __init__(self, root: str | Path | None = None) -> None:
        if not root:
            from quantai.ops.config import settings  # 0.2 s, and only where nobody names a folder

            root = settings().lake
        self.root = Path(root).absolute()
        self._manifest = Manifest(self.root)

    def writer(self, source: str) -> Writer:
        """Open the writer of a named source; raises StorageError when it is held, or the folder cannot be used."""
        return Writer(self.root, source)

    def read(
        self,
        name: str,
        venue: str,
        symbol: str,
        start: Instant | None = None,
        end: Instant | None = None,
    ) -> pa.Table:
        """Return the rows of one stream with start <= time < end, in the order of `seq`; None leaves a side open.

        Raises UnknownName for a table, venue or symbol without rows, InputError for an instant without a time zone,
        DataError that names a damaged file. The schema's metadata carries venue and symbol.
        """
        spec = table(name)
        lo = None if start is None else to_ns(start, "start")
        hi = None if end is None else to_ns(end, "end")
        parts = self._manifest.parts([name], venue, symbol, lo, hi)
        if not parts:
            self._refuse_unknown(name, venue, symbol)
        rows = [spec.empty()]
        for part in parts:
            keep: Any = None
            if lo is not None and part.ts_min < lo:
                keep = pc.field(spec.time) >= lo
            if hi is not None and part.ts_max >= hi:
                until = pc.field(spec.time) < hi
                keep = until if keep is None else keep & until
            rows.append(read_part(self.root, part, filters=keep))
        found = sort_by_seq(pa.concat_tables(rows))
        return found.replace_schema_metadata({"venue": venue, "symbol": symbol})

    def trades(self, venue: str, symbol: str, start: Instant | None = None, end: Instant | None = None) -> pa.Table:
        """Return trades: px in quote currency, qty in units, side of the aggressor (+1, -1, 0 unknown). See `read`."""
        return self.read("trades", venue, symbol, start, end)

    def levels(self, venue: str, symbol: str, start: Instant | None = None, end: Instant | None = None) -> pa.Table:
        """Return book rows: LEVEL sets the size at a price (0 deletes), CLEAR empties the book. See `read`."""
        return self.read("levels", venue, symbol, start, end)

    def quotes(self, venue: str, symbol: str, start: Instant | None = None, end: Instant | None = None) -> pa.Table:
        """Return best bid and ask, one row per venue message; sizes are NaN where the venue gives none. See `read`."""
        return self.read("quotes", venue, symbol, start, end)

    def funding(self, venue: str, symbol: str, start: Instant | None = None, end: Instant | None = None) -> pa.Table:
        """Return funding: rate as a fraction per interval, next instant, mark price (NaN if none). See `read`."""
        return self.read("funding", venue, symbol, start, end)

    def open_interest(
        self, venue: str, symbol: str, start: Instant | None = None, end: Instant | None = None
    ) -> pa.Table:
        """Return open interest, in the venue's units. See `read`."""
        return self.read("open_interest", venue, symbol, start, end)

    def liquidations(
        self, venue: str, symbol: str, start: Instant | None = None, end: Instant | None = None
    ) -> pa.Table:
        """Return forced orders: side is that of the liquidation order. See `read`."""
        return self.read("liquidations", venue, symbol, start, end)

    def events(self, venue: str, symbol: str, start: Instant | None = None, end: Instant | None = None) -> pa.Table:
        """Return what happened to the recording itself: GAP and STATUS rows (`quantai.core.rows.Kind`). See `read`."""
        return self.read("events", venue, symbol, start, end)

    def bars(
        self,
        venue: str,
        symbol: str | Sequence[str],
        interval: str = "1m",
        start: Instant | None = None,
        end: Instant | None = None,
    ) -> "Bars":
        """Return bars with start <= ts_open < end of one symbol, or of several, by any interval (see `parse_interval`).

        Bars stored under that interval are returned as they are. Where there are none they are built from the trades,
        whole bars only, and else from stored bars of a shorter interval. Raises InputError for an interval that cannot
        be read, UnknownName for a venue, symbol or interval there is nothing for.
        """
        from quantai.data.bars import Bars

        if isinstance(symbol, str):
            return self._bars(venue, symbol, interval, start, end)
        return Bars.concat([self._bars(venue, one, interval, start, end) for one in symbol])

    def build_bars(
        self,
        venue: str,
        symbol: str,
        interval: str = "1m",
        start: Instant | None = None,
        end: Instant | None = None,
        *,
        quiet: bool = False,
    ) -> "Bars":
        """Return bars with start <= ts_open < end built from the trades, whatever is stored, with a progress bar.

        `start` and `end` move up to the next boundary of a time interval, so that every bar is whole. The trades pass
        through memory piece by piece.
        """
        from quantai.data import stored
        from quantai.ops import progress

        wanted = parse_interval(interval)
        lo, hi = stored.span(wanted, start, end)
        parts = self._manifest.parts(["trades"], venue, symbol, lo, hi)
        if not parts:
            self._refuse_unknown("trades", venue, symbol)
        rows = sum(p.rows for p in parts)
        with progress(f"{symbol} {wanted}", rows, unit="trades", quiet=quiet) as advance:
            instrument = self.instruments.get(symbol, venue)
            return stored.build(in_order(self.root, parts), wanted, instrument, (lo, hi), advance)

    def add_bars(self, bars: "Bars", source: str = "bars") -> int:
        """Store bars under their interval and return how many were new; a bar that is stored already is not repeated.

        A bar that differs from the stored one of the same opening replaces it in `bars`. Instruments must name their
        venue, and are kept in `instruments` when they are new there. Raises InputError, StorageError.
        """
        from quantai.data import stored

        parse_interval(bars.interval)
        added = 0
        with self.writer(source) as writer:
            for number, item in enumerate(bars.instruments):
                if not item.venue:
                    raise InputError(
                        f"{item.symbol} names no venue: use Instrument.parse(..., venue=…) for stored bars"
                    )
                known = (item.venue, item.symbol) in self.symbols("bars")
                rows = self.read("bars", item.venue, item.symbol) if known else table("bars").empty()
                spellings = stored.intervals_of(rows).get(bars.interval, set())
                added += stored.append(writer, bars, number, stored.picked(rows, spellings))
            writer.commit(writer.position)
        have = {(i.venue, i.symbol) for i in self.instruments}
        self.instruments.update(i for i in bars.instruments if (i.venue, i.symbol) not in have)
        return added

    @property
    def instruments(self) -> "Catalog":
        """The instruments this lake knows: add to it, look up with `get(symbol, venue)`."""
        from quantai.data.catalog import Catalog

        return Catalog(self._manifest)

    def book(self, venue: str, symbol: str, at: Instant | None = None) -> "Book":
        """Return the order book as it was known at `at`, after every row with ts_recv <= at; at the end without `at`.

        Knowledge goes by the clock of receipt, as in a live run. Rows are read back to the last CLEAR. Raises
        UnknownName for a venue or symbol without `levels`.
        """
        from quantai.data.book import rebuild

        until = np.iinfo(np.int64).max if at is None else to_ns(at, "at")
        parts = self._manifest.parts(["levels"], venue, symbol)
        if not parts:
            self._refuse_unknown("levels", venue, symbol)
        found = [table("levels").empty()]
        for part in sorted({p.part for p in parts if to_ns(p.part) <= until}, reverse=True):
            rows = pa.concat_tables(list(in_order(self.root, [p for p in parts if p.part == part])))
            rows = rows.filter(pc.field("ts_recv") <= until)
            found.insert(0, rows)
            if Kind.CLEAR in rows["kind"].unique().to_pylist():
                break
        return rebuild(sort_by_seq(pa.concat_tables(found)))

    def tape(
        self,
        symbols: str | Sequence[str],
        start: Instant | None = None,
        end: Instant | None = None,
        *,
        venue: str,
        streams: Sequence[str] = ("trades", "levels", "quotes", "funding"),
        quiet: bool = False,
    ) -> "Tape":
        """Return a Tape of instruments at a venue: their streams merged by receipt, rows with start <= time < end.

        The first call builds the tape, in bounded memory, and keeps it in the lake's folder `tapes`; the next one maps
        that file until rows are added. A tape that starts later than the lake begins with the books as they were known
        then, flagged SNAPSHOT. `streams` are tables ("bars" too: their rows are told by `close`, of every interval).
        Raises UnknownName for a venue, symbol or stream there is nothing for, DataError that names a row that cannot be
        one.
        """
        from quantai.data.tape_build import STREAMS, no_rows, tape_of

        names = [symbols] if isinstance(symbols, str) else list(symbols)
        for stream in streams:
            if stream not in STREAMS:
                raise UnknownName("stream of a tape", stream, STREAMS)
        span = (None if start is None else to_ns(start, "start"), None if end is None else to_ns(end, "end"))
        parts = {
            (name, symbol): self._manifest.parts([name], venue, symbol, *span) for symbol in names for name in streams
        }
        for symbol in names:
            if not any(parts[name, symbol] for name in streams):
                known = {pair for name in streams for pair in self.symbols(name)}
                if not any(v == venue for v, _ in known):
                    raise UnknownName("venue with rows for a tape", venue, {v for v, _ in known})
                if (venue, symbol) not in known:
                    raise UnknownName(f"symbol at {venue}", symbol, {s for v, s in known if v == venue})
                raise no_rows(f"{symbol} at {venue} in this span")
        instruments = [self.instruments.get(symbol, venue) for symbol in names]
        return tape_of(self, {key: of for key, of in parts.items() if of}, instruments, span, quiet)

    def sql(self, query: str, **parameters: Any) -> "Answer":
        """Run SQL over views of all tables and return the complete answer: `.df() .pl() .arrow() .fetchall()`.

        The views are the tables with venue, symbol, date and `ts`, the time column as a TIMESTAMP_NS in UTC. A
        condition on venue, symbol and date (`year` for bars, funding and open interest) opens only the files it
        needs. `$name` in the query takes the keyword argument of that name; a frame (pandas, polars, Arrow) passed by
        keyword is a table of that name. Raises InputError for wrong SQL, DataError that names a damaged file. Safe
        from any thread.
        """
        from quantai.data.query import ask

        return ask(self.root, self._manifest, query, parameters)

    def connect(self) -> "duckdb.DuckDBPyConnection":
        """Return a private DuckDB connection with the views of `sql` as of now, for answers too large for memory."""
        from quantai.data.query import connect

        return connect(self.root, self._manifest, TABLES)

    def check(
        self,
        name: str | None = None,
        venue: str | None = None,
        symbol: str | None = None,
        *,
        stale: str = "5m",
        quiet: bool = False,
    ) -> "Report":
        """Return what is wrong with this lake, or one table, venue or symbol of it. See `quantai.data.check`."""
        from quantai.data.check import check

        return check(self, name, venue, symbol, stale=stale, quiet=quiet)

    def compact(self, *, quiet: bool = False) -> "Compacted":
        """Merge the small files of past days; safe beside readers and writers. See `quantai.data.compact`."""
        from quantai.data.compact import compact

        return compact(self.root, quiet=quiet)

    def tables(self) -> dict[str, int]:
        """Return how many rows each table with rows holds."""
        rows: dict[str, int] = {}
        for part in self._manifest.parts(batches=False):
            rows[part.table] = rows.get(part.table, 0) + part.rows
        return {name: rows[name] for name in TABLES if name in rows}

    def symbols(self, name: str | None = None) -> list[tuple[str, str]]:
        """Return the (venue, symbol) pairs that have rows in one table, or in any; raises UnknownName."""
        if name is not None:
            table(name)
        return sorted({(venue, symbol) for _, venue, symbol in self._manifest.names(name)})

    def summary(self) -> "pd.DataFrame":
        """Return one line per partition: rows, files, staged rows, bytes, and the first and last instant (UTC)."""
        import pandas as pd

        lines: dict[tuple[str, str, str, str], dict[str, Any]] = {}
        for part in self._manifest.parts(batches=False):
            zero = {"rows": 0, "files": 0, "staged": 0, "bytes": 0, "first": part.ts_min, "last": part.ts_max}
            line = lines.setdefault(part.partition, zero)
            line["rows"] += part.rows
            line["files"] += bool(part.path)
            line["staged"] += 0 if part.path else part.rows
            line["bytes"] += part.bytes
            line["first"], line["last"] = min(line["first"], part.ts_min), max(line["last"], part.ts_max)
        keys = ["table", "venue", "symbol", "part"]
        records = [dict(zip(keys, key, strict=True)) | line for key, line in sorted(lines.items())]
        frame = pd.DataFrame(records, columns=[*keys, "rows", "files", "staged", "bytes", "first", "last"])
        for name in ("first", "last"):
            frame[name] = pd.to_datetime(frame[name], unit="ns", utc=True)
        return frame

    def __repr__(self) -> str:
        held = ", ".join(f"{name} {rows:,}" for name, rows in self.tables().items())
        return f"Lake({str(self.root)!r}: {held or 'empty'})"

    def _bars(self, venue: str, symbol: str, interval: str, start: Instant | None, end: Instant | None) -> "Bars":
        from quantai.data import stored
        from quantai.data.bars import Bars

        wanted = parse_interval(interval)
        has_trades, has_bars = ((venue, symbol) in self.symbols(name) for name in ("trades", "bars"))
        if not has_bars:
            return self.build_bars(venue, symbol, interval, start, end)
        rows = self.read("bars", venue, symbol, start, end)
        intervals = stored.intervals_of(rows)
        if wanted.text not in intervals and has_trades:
            return self.build_bars(venue, symbol, interval, start, end)
        found, _ = stored.picked(rows, intervals.get(wanted.text, set()))
        if wanted.text not in intervals:
            every = stored.intervals_of(self.read("bars", venue, symbol))
            shorter = stored.finer(every, wanted)
            if wanted.text not in every and shorter is None:
                raise stored.no_bars(venue, symbol, wanted.text, every)
            if wanted.text not in every and shorter is not None:
                lo, hi = stored.span(wanted, start, end)
                rows = self.read("bars", venue, symbol, lo, hi)
                found = stored.resample(stored.picked(rows, every[shorter])[0], wanted)
        return Bars(found, Instruments([self.instruments.get(symbol, venue)]), wanted.text)

    def _refuse_unknown(self, name: str, venue: str, symbol: str) -> None:
        known = self.symbols(name)
        if (venue, symbol) in known:
            return
        if not any(v == venue for v, _ in known):
            raise UnknownName(f"venue with {name}", venue, {v for v, _ in known})
        raise UnknownName(f"symbol with {name} at {venue}", symbol, {s for v, s in known if v == venue})

"""The check of a lake, or of rows in hand: what is damaged, missing, out of order, doubled, crossed or impossible."""

import contextlib
import dataclasses
import datetime as dt
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa

from quantai.core.errors import DataError, InputError
from quantai.core.instruments import Instrument
from quantai.data import manifest
from quantai.data.bars import interval_ns
from quantai.data.findings import KINDS, Finding, Latency, Report
from quantai.data.instants import to_ns
from quantai.data.manifest import Manifest, Part, transaction
from quantai.data.parts import in_order
from quantai.data.scan import STREAMING, Scan
from quantai.data.tables import TABLES, checked, table
from quantai.ops import progress

if TYPE_CHECKING:
    from quantai.data.catalog import Catalog

_RANK = {kind: n for n, kind in enumerate(KINDS)}
_SAMPLES = 1_000_000  # latencies kept for the percentiles of a stream


class Checkable(Protocol):
    """What of a `Lake` the check needs."""

    root: Path

    @property
    def instruments(self) -> "Catalog":
        """The instruments the lake knows."""
        ...


def check(
    data: "Checkable | pa.Table",
    name: str | None = None,
    venue: str | None = None,
    symbol: str | None = None,
    *,
    stale: str = "5m",
    quiet: bool = True,
) -> Report:
    """Return what is wrong with a lake, or with an Arrow table of one stream; what it finds never raises.

    `name`, `venue` and `symbol` narrow a lake to one table, venue or symbol; for an Arrow table `name` says which table
    it is of, and is guessed from its columns when left out. `stale` is the silence in trades, levels and quotes that
    is reported. Days are expected without a break, for instruments with a calendar on its sessions (on weekdays when
    exchange_calendars is not installed). Every byte of every file is read and its checksums verified. Raises
    UnknownName and InputError for wrong arguments only.
    """
    stale_ns = interval_ns(stale)
    if isinstance(data, pa.Table):
        return _check_rows(data, name, venue or "", symbol or "", stale_ns)
    if name is not None:
        table(name)
    parts = Manifest(data.root).parts(None if name is None else [name], venue, symbol)
    catalog = data.instruments
    findings, latencies = list[Finding](), list[Latency]()

    def note(part: Part, error: DataError) -> None:
        findings.append(_damaged(data.root, part, error))

    with progress("checking", sum(p.rows for p in parts), unit="rows", quiet=quiet) as advance:
        for stream, group in itertools.groupby(sorted(parts, key=lambda p: p.partition), key=lambda p: p.partition[:3]):
            mine = list(group)
            calendar = _calendar(catalog, stream[2], stream[1])
            scan = Scan(stream[0], stale_ns, calendar is None, every=1 + sum(p.rows for p in mine) // _SAMPLES)
            for part, files in itertools.groupby(mine, key=lambda p: p.part):
                for rows in in_order(data.root, files, note):
                    findings.extend(Finding(k, *stream, part, n, ts, said) for k, n, ts, said in scan.hits(rows))
                    advance(rows.num_rows)
            findings.extend(_missing_days(stream, [p.part for p in mine], calendar))
            latency = scan.latency(stream[1], stream[2])
            latencies += [] if latency is None else [latency]
    return _report(findings, latencies, sum(p.rows for p in parts), len({p.partition for p in parts}), data.root)


def quarantine(root: Path, report: Report) -> list[Path]:
    """Move the damaged files of a report into `ROOT/quarantine` and take them off the manifest; returns where they are.

    The rows in them are then no longer part of the lake; everything else can be read again. A file that is gone is only
    taken off the manifest. Raises StorageError.
    """
    moved = list[Path]()
    with contextlib.closing(Manifest(root).write()) as con, manifest.storage(root):
        for finding in report.damaged:
            file, target = root / finding.path, root / "quarantine" / finding.path
            if file.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                file.rename(target)
                moved.append(target)
            # after the move: should this process end in between, the file counts as missing until the next quarantine
            with transaction(con):
                con.execute(
                    "insert or replace into quarantined select path, rows, ?, ? from files where path = ?",
                    (finding.example, manifest.now_ns(), finding.path),
                )
                con.execute("delete from files where path = ?", (finding.path,))
    return moved


def _check_rows(rows: pa.Table, name: str | None, venue: str, symbol: str, stale_ns: int) -> Report:
    fitting = [t for t in TABLES.values() if set(rows.column_names) == set(t.schema.names)]
    if name is None and len(fitting) != 1:
        raise InputError(f"say which table these rows are of: check(rows, 'trades'); one of {', '.join(TABLES)}")
    spec = table(name) if name is not None else fitting[0]
    said = rows.schema.metadata or {}
    venue, symbol = venue or said.get(b"venue", b"").decode(), symbol or said.get(b"symbol", b"").decode()
    columns = checked(spec, {n: rows[n] for n in rows.column_names})
    columns.setdefault("seq", np.arange(rows.num_rows))
    scan = Scan(spec.name, stale_ns, _calendar(None, symbol, venue) is None, every=1 + rows.num_rows // _SAMPLES)
    whole = pa.table([pa.array(columns[f.name], f.type) for f in spec.schema], schema=spec.schema)
    findings = [Finding(k, spec.name, venue, symbol, "", n, ts, said) for k, n, ts, said in scan.hits(whole)]
    latency = scan.latency(venue, symbol)
    return _report(findings, [] if latency is None else [latency], rows.num_rows, 1, None)


def _report(findings: list[Finding], latencies: list[Latency], rows: int, partitions: int, root: Path | None) -> Report:
    def place(f: Finding) -> tuple[Any, ...]:
        return _RANK[f.kind], f.table, f.venue, f.symbol, f.part, f.path

    # a partition of several files is looked at piece by piece, and told of as one
    pieces = [list(g) for _, g in itertools.groupby(sorted(findings, key=lambda f: (place(f), f.first_ts)), key=place)]
    whole = (dataclasses.replace(mine[0], count=sum(f.count for f in mine)) for mine in pieces)
    return Report(tuple(whole), tuple(latencies), rows, partitions, root)


def _damaged(root: Path, part: Part, error: DataError) -> Finding:
    why = str(error).removeprefix(f"{root / part.path} is damaged: ").partition("; move it aside")[0]
    return Finding("damaged", *part.partition, part.rows, part.ts_min, f"{part.path}: {why}", part.path)


def _calendar(catalog: "Catalog | None", symbol: str, venue: str) -> str | None:
    try:
        return Instrument.parse(symbol).calendar if catalog is None else catalog.get(symbol, venue).calendar
    except InputError:  # an importer's own symbol says nothing
        return None


def _missing_days(stream: tuple[str, str, str], days: list[str], calendar: str | None) -> Iterator[Finding]:
    if TABLES[stream[0]].period != "day" or stream[0] not in STREAMING:
        return
    have = {dt.date.fromisoformat(day) for day in days}
    missing = sorted(_expected(min(have), max(have), calendar) - have)
    for _, run in itertools.groupby(enumerate(missing), key=lambda pair: pair[1].toordinal() - pair[0]):
        gone = [day for _, day in run]
        said = f"{gone[0]}" if len(gone) == 1 else f"{gone[0]} to {gone[-1]}"
        yield Finding("missing_day", *stream, gone[0].isoformat(), len(gone), to_ns(gone[0]), said)


def _expected(first: dt.date, last: dt.date, calendar: str | None) -> set[dt.date]:
    days = {first + dt.timedelta(n) for n in range((last - first).days + 1)}
    if calendar is None:
        return days
    with contextlib.suppress(ImportError):
        import exchange_calendars

        if calendar in exchange_calendars.get_calendar_names():
            week = dt.timedelta(7)
            with warnings.catch_warnings():
                # exchange_calendars 4.13 reads time-zone-aware values in a way that pandas 3.1 deprecates
                warnings.filterwarnings("ignore", "Series.values returning", DeprecationWarning)
                opened = exchange_calendars.get_calendar(calendar, start=first - week, end=last + week)
            return days & {session.date() for session in opened.sessions}
    return {day for day in days if day.weekday() < 5}

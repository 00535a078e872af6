"""A folder of LEAN archives into the lake, each archive exactly once."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantai.core.errors import DataError
from quantai.core.instruments import Instrument
from quantai.data.lean.files import Archive, describe, members
from quantai.data.lean.tables import bar_columns, open_interest_columns, quote_columns
from quantai.ops import progress

if TYPE_CHECKING:
    from quantai.data.lake import Lake

SOURCE = "import-lean"
_ROWS_PER_COMMIT = 1 << 16
_TABLES = {
    "trade": ("bars", bar_columns),
    "quote": ("quotes", quote_columns),
    "openinterest": ("open_interest", open_interest_columns),
}


@dataclass(frozen=True, slots=True)
class LeanImported:
    """What one import did: rows added to each table, archives read, and archives that were in the lake already."""

    rows: dict[str, int]
    archives: int
    known: int


def import_lean(lake: "Lake", folder: str | Path, *, quiet: bool = False) -> LeanImported:
    """Import every LEAN zip under `folder` (or the one zip it is) into `lake`; prices stay as they traded.

    Minutes and days of trades become `bars`, minutes of quotes the closing quote (see `read`), open interest its own
    table. An archive that was imported before is skipped; one that has changed since is a DataError, because its old
    rows would stay beside the new ones. An archive is imported whole or, after an interruption or a DataError, not at
    all; the same call then goes on. `progress` is called with the bytes read since the last call.
    """
    top = Path(folder)
    paths = [top] if top.is_file() else sorted(top.rglob("*.zip"))
    if not paths:
        raise DataError(f"{top}: no zip archives there: pass LEAN's data folder, or one archive of it")
    counted: dict[str, int] = {}
    instruments: list[Instrument] = []
    known = 0
    mib = sum(p.stat().st_size for p in paths) / 2**20
    with lake.writer(SOURCE) as writer, progress("LEAN archives", mib, unit="MiB", quiet=quiet) as advance:
        done: dict[str, str] = dict(writer.position.get("done", {}))
        for path in paths:
            archive = describe(path)
            name, digest = _name(archive), hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
            if done.get(name) == digest:
                known += 1
            elif name in done:
                raise DataError(f"{path}: {name} was imported before with other content: import it into another lake")
            else:
                for instrument, table, columns in _rows(archive):
                    writer.append(table, instrument.venue, instrument.symbol, columns)
                    instruments.append(instrument)
                    counted[table] = counted.get(table, 0) + len(next(iter(columns.values())))
                done[name] = digest
            if writer.pending >= _ROWS_PER_COMMIT:
                writer.commit({"done": done})
            advance(path.stat().st_size / 2**20)
        if writer.pending:
            writer.commit({"done": done})
    lake.instruments.update(instruments)
    return LeanImported(counted, len(paths) - known, known)


def _name(archive: Archive) -> str:
    day = archive.day.isoformat() if archive.day else "days"
    return f"{archive.security}/{archive.venue}/{archive.ticker}/{archive.content}/{day}"


def _rows(archive: Archive) -> list[tuple[Instrument, str, dict[str, Any]]]:
    table, columns_of = _TABLES[archive.content]
    found: list[tuple[Instrument, str, dict[str, Any]]] = []
    for member in members(archive):
        columns = columns_of(member)
        if table == "bars":
            columns["interval"] = [archive.interval] * len(member.ts_open)
        found.append((member.instrument, table, columns))
    return found

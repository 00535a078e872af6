"""A journal as Parquet files, for every tool that reads those."""

import json
from collections.abc import Iterable, Iterator
from itertools import batched
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from quantai.core.errors import StorageError
from quantai.journal.arrow import TEXT_SCHEMA, rows_schema, rows_table, texts_table
from quantai.journal.frames import ROWS, Stream
from quantai.journal.reader import StoreReader
from quantai.ops import durable, sync_folder

_GROUP_ROWS = 1 << 18


def export_parquet(path: str | Path, folder: str | Path) -> list[Path]:
    """Write a journal into a folder: one Parquet file a stream of rows, `text.parquet`, and `manifest.json`.

    Returns the files written, each whole or not at all. The Parquet columns are the rows' fields, values unchanged; the
    manifest holds the manifests of all sessions and the recorded gaps. Memory use does not grow with the journal.

    Raises InputError or DataError as reading does, StorageError when a file cannot be written.
    """
    folder = Path(folder)
    with StoreReader(path) as reader:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            written = [
                _write(folder / f"{stream.name.lower()}.parquet", rows_schema(stream), _row_groups(reader, stream))
                for stream in ROWS
            ]
            texts = (texts_table(part) for part in batched(reader.texts(), _GROUP_ROWS, strict=False))
            written.append(_write(folder / "text.parquet", TEXT_SCHEMA, texts))
            note = {"manifests": reader.manifests(), "gaps": [gap._asdict() for gap in reader.gaps()]}
            target = folder / "manifest.json"
            target.with_name("manifest.json.new").write_text(json.dumps(note, indent=2) + "\n")
            target.with_name("manifest.json.new").replace(target)
        except OSError as error:
            raise StorageError(f"{folder} cannot be written ({error}): choose a writable folder with space") from None
    return [*written, target]


def _row_groups(reader: StoreReader, stream: Stream) -> Iterator[pa.Table]:
    parts: list[pa.Table] = []
    size = 0
    for rows in reader.scan(stream):
        parts.append(rows_table(stream, rows))
        size += len(rows)
        if size >= _GROUP_ROWS:
            yield pa.concat_tables(parts)
            parts, size = [], 0
    if parts:
        yield pa.concat_tables(parts)


def _write(target: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> Path:
    fresh = target.with_name(target.name + ".new")
    try:
        with pq.ParquetWriter(fresh, schema, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
        with fresh.open("rb") as file:
            durable(file.fileno())
        fresh.replace(target)
        sync_folder(target.parent)
    finally:
        fresh.unlink(missing_ok=True)
    return target

"""A csv or Parquet file as pieces of a table, read without holding all of it in memory."""

import csv
import hashlib
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from quantai.core.errors import DataError

ROWS = 1 << 19  # of one piece, about
_BLOCK = 16 << 20
_DELIMITERS = ",;\t|"
_DATA = re.compile(r"\s*(?:[+-]?\d[\d.]*(?:e[+-]?\d+)?|\d{4}-\d\d-\d\d.*)\s*", re.IGNORECASE)


_TEXT = ("time", "side", "buyer_is_maker", "id")


@dataclass(frozen=True, slots=True)
class Imported:
    """What one import did: rows in the file, rows that are new in the lake, and the span of the file (ns UTC)."""

    path: str
    table: str
    rows: int
    added: int
    first_ts: int
    last_ts: int


class Sheet:
    """One file: its columns, and its rows in pieces.

    Text is csv with `,` `;` tab or `|`, plain or as .gz .bz2 .zst, or alone in a .zip; anything called .parquet or
    .pq is Parquet. `names` are the columns of a csv file that has no header line. Raises DataError that names the
    file.
    """

    def __init__(self, path: str | Path, names: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"{self.path}: no such file")
        self.where = self.path.name
        self.parquet = self.path.suffix.lower() in (".parquet", ".pq")
        self._names = list(names) if names else None
        self._delimiter = ","
        self.columns = self._parquet_columns() if self.parquet else self._csv_columns()
        repeated = {c for c in self.columns if self.columns.count(c) > 1}
        if repeated:
            raise DataError(f"{self.where}: two columns are called {min(repeated)!r}: rename one")

    def digest(self) -> str:
        """Return a hash of the file's bytes."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()

    def pieces(self, parts: Mapping[str, str]) -> Iterator[pa.Table]:
        """Yield pieces with one column a part, from the file's column named for it; raises DataError."""
        types = {column: pa.string() if part in _TEXT else pa.float64() for part, column in parts.items()}
        try:
            if self.parquet:
                for batch in pq.ParquetFile(self.path).iter_batches(ROWS, columns=list(types)):
                    yield pa.Table.from_batches([batch]).select(list(types)).rename_columns(list(parts))
                return
            for batch in self._csv_batches(types):
                yield pa.Table.from_batches([batch]).rename_columns(list(parts))
        except (pa.ArrowInvalid, UnicodeDecodeError, EOFError, OSError) as error:
            if "Empty CSV file" not in str(error):  # a header and nothing else
                raise DataError(f"{self.where}: {_told(error)}: mend the file") from None

    def _parquet_columns(self) -> list[str]:
        try:
            return list(pq.read_schema(self.path).names)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{self.where}: damaged or not a Parquet file ({_told(error)}): fetch it again") from None

    def _csv_columns(self) -> list[str]:
        try:
            with self._open() as stream:
                head = bytes(stream.read(1 << 16)).decode("utf-8-sig", errors="replace").splitlines()
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{self.where}: damaged ({_told(error)}): fetch it again") from None
        if not head:
            raise DataError(f"{self.where}: the file is empty")
        self._delimiter = max(_DELIMITERS, key=head[0].count)
        cells = next(csv.reader(head[:1], delimiter=self._delimiter))
        if self._names is not None:
            if len(cells) != len(self._names):
                raise DataError(f"{self.where}: {len(self._names)} names were given for {len(cells)} columns")
            return self._names
        if any(_DATA.fullmatch(cell) for cell in cells):
            raise DataError(
                f"{self.where}: the first line is data: say what the columns are with names=[...] (--names)"
            )
        return [cell.strip() for cell in cells]

    def _open(self) -> Any:
        if self.path.suffix.lower() != ".zip":
            return pa.input_stream(str(self.path), compression="detect")
        archive = zipfile.ZipFile(self.path)
        if len(archive.namelist()) != 1:
            raise DataError(
                f"{self.where}: {len(archive.namelist())} files are in the archive: unpack it, import one by one"
            )
        return pa.PythonFile(archive.open(archive.namelist()[0]), mode="r")

    def _csv_batches(self, types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        with self._open() as stream:
            yield from pc.open_csv(
                stream,
                read_options=pc.ReadOptions(
                    column_names=self.columns, skip_rows=0 if self._names else 1, block_size=_BLOCK, use_threads=False
                ),
                parse_options=pc.ParseOptions(delimiter=self._delimiter),
                convert_options=pc.ConvertOptions(
                    column_types=dict(types), include_columns=list(types), strings_can_be_null=True
                ),
            )


def _told(error: Exception) -> str:
    return " ".join(str(error).split())

"""The rows of parts that overlap, in order, a piece of each at a time: however long a part is, memory stays bounded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from quantai.data.manifest import Part
from quantai.data.parts import damaged
from quantai.data.tables import TABLES, sort_by_seq


@dataclass
class _Opened:
    """A part that is being read: rows at hand, at least one, and the pieces that follow."""

    part: Part
    rows: pa.Table
    more: Iterator[pa.Table]

    @property
    def last(self) -> int:
        return int(self.rows["seq"][-1].as_py())


def merged_parts(root: Path, parts: Sequence[Part], piece: int) -> Iterator[pa.Table]:
    """Yield the rows of one stream in the order of seq, as `parts.in_order` does, reading `piece` rows of a part.

    Only parts that overlap are open together. Raises DataError that names a missing or damaged file.
    """
    waiting = sorted(parts, key=lambda p: p.seq_min)[::-1]
    opened = list[_Opened]()
    while opened or waiting:
        until = min((o.last for o in opened), default=2**63 - 1)
        while waiting and (not opened or waiting[-1].seq_min <= until):
            part = waiting.pop()
            more = _pieces(root, part, piece)
            if (first := next(more, None)) is not None:
                opened.append(_Opened(part, first, more))
                until = min(until, opened[-1].last)
        # rows of equal seq keep the order in which they were committed: files first, then staged, each by number
        opened.sort(key=lambda o: (not o.part.path, o.part.id))
        ready = list[pa.Table]()
        for o in opened:
            while o.last <= until and (following := next(o.more, None)) is not None:
                o.rows = pa.concat_tables([o.rows, following])  # rows of that seq may go on in it
            cut = int(np.searchsorted(o.rows["seq"].to_numpy(), until, "right"))
            ready.append(o.rows.slice(0, cut))
            o.rows = o.rows.slice(cut)
        opened = [o for o in opened if o.rows.num_rows]
        ready = [rows for rows in ready if rows.num_rows]
        if ready:
            yield sort_by_seq(pa.concat_tables(ready))


def _pieces(root: Path, part: Part, piece: int) -> Iterator[pa.Table]:
    """Yield the rows of one part, never an empty table."""
    if part.batch is not None:
        if part.batch.num_rows:
            yield sort_by_seq(pa.Table.from_batches([part.batch]))
        return
    path, n = root / part.path, 0
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(piece):
                if batch.num_rows:
                    n += batch.num_rows
                    yield pa.Table.from_batches([batch]).cast(TABLES[part.table].schema)
    except FileNotFoundError:
        raise damaged(path, "the file is missing", root) from None
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, str(error).splitlines()[0], root) from error
    if n != part.rows:
        raise damaged(path, f"it holds {n} rows, not {part.rows}", root)

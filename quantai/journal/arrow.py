"""Rows and strings of a journal as Arrow tables."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from quantai.core.rows import Rows
from quantai.journal.frames import ROWS, Stream, Text

TEXT_SCHEMA = pa.schema([("seq", pa.int64()), ("field", pa.string()), ("text", pa.string())])
"""Columns of strings beside rows."""


def rows_schema(stream: Stream) -> pa.Schema:
    """The Arrow schema of a stream's rows: one column a field, of the same type.

    >>> rows_schema(Stream.BAR).names[:3]
    ['ts_open', 'ts_close', 'open']
    """
    dtype = ROWS[stream]
    return pa.schema([(name, pa.from_numpy_dtype(dtype[name])) for name in dtype.names or ()])


def rows_table(stream: Stream, rows: Rows) -> pa.Table:
    """EVENT, BAR or INTENT rows as an Arrow table, every value unchanged (instants stay int64 ns UTC).

    >>> rows_table(Stream.BAR, np.zeros(2, ROWS[Stream.BAR])).shape
    (2, 9)
    """
    schema = rows_schema(stream)
    return pa.table([pa.array(np.ascontiguousarray(rows[name])) for name in schema.names], schema=schema)


def texts_table(texts: Iterable[Text]) -> pa.Table:
    """Strings beside rows as an Arrow table; what is no valid Unicode is replaced by question marks."""
    columns = list(zip(*texts, strict=True)) or [(), (), ()]
    seq, *strings = columns
    clean = [[str(text).encode("utf-8", "replace").decode() for text in column] for column in strings]
    return pa.table(
        [pa.array(seq, pa.int64()), *(pa.array(column, pa.string()) for column in clean)], schema=TEXT_SCHEMA
    )

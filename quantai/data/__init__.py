"""Market data: the lake, bars, history, checks and synthetic markets.

- `Lake`: every row ever recorded or imported, in Parquet behind a manifest; SQL, Arrow, pandas and polars out
- `Bars`: checked, immutable bar rows
- `Writer`: how recorders and importers put rows in: commits of rows together with a position
- `to_ns`, `to_iso`: instants to nanoseconds UTC and back
"""

from quantai.data.bars import Bars
from quantai.data.instants import to_iso, to_ns
from quantai.data.lake import Lake
from quantai.data.writer import Writer

__all__ = ["Bars", "Lake", "Writer", "to_iso", "to_ns"]

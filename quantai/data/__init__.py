"""Market data: the lake, bars, history, checks and synthetic markets.

- `Lake`: every row ever recorded or imported, in Parquet behind a manifest; SQL, Arrow, pandas and polars out
- `Writer`: how recorders and importers put rows in: commits of rows together with a position
- `Bars`: checked, immutable bar rows
- `parse_interval`: what a bar holds: "1m", "100 ticks", "50 volume", "1e6 dollar"
- `to_ns`, `to_iso`: instants to nanoseconds UTC and back
- `check`: gaps, disorder, crossed books, duplicates, damaged files: a `Report`, never an exception
- `aggregate`: bars of any interval from trades, at once or as they arrive
- `compact`: the small files of past days merged into large ones
- `samples`: real daily bars of two stock indices, offline
- `synth`: seeded synthetic markets
- `history`: bars and trades downloaded from venues
- `importers`, `lean`: anyone's csv and Parquet files, and LEAN's archives, into a lake
- `tables`: the columns of every table of the lake
"""

from quantai.data.bars import Bars
from quantai.data.instants import to_iso, to_ns
from quantai.data.intervals import parse_interval
from quantai.data.lake import Lake
from quantai.data.writer import Writer

__all__ = ["Bars", "Lake", "Writer", "parse_interval", "to_iso", "to_ns"]

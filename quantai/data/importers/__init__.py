"""Files of anybody's into the lake: csv and Parquet with bars or trades.

- `read_bars`: the bars of a file, without a lake
- `import_bars`, `import_trades`: check a whole file and store it, exactly once
- `Imported`: what an import did
- `sheets`: a csv or Parquet file as pieces of a table
- `columns`: which column is which
- `times`: what people write in a time column, as nanoseconds UTC
- `checks`: rows that cannot be right, named by file and row
"""

from quantai.data.importers.bars import import_bars, read_bars
from quantai.data.importers.sheets import Imported
from quantai.data.importers.trades import import_trades

__all__ = ["Imported", "import_bars", "import_trades", "read_bars"]

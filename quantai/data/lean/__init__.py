"""Market data in the file format of QuantConnect's LEAN: csv files inside zip archives.

- `read`: one archive as `Bars` (trades) or as an Arrow table (quotes, open interest)
- `import_lean`: a folder of archives into the lake, each exactly once
- `read_factors`, `adjust`: prices adjusted for splits and dividends
- `describe`, `members`: what an archive is, and what is inside it
"""

from quantai.data.lean.factors import Factors, adjust, read_factors
from quantai.data.lean.files import Archive, describe, members
from quantai.data.lean.folder import import_lean
from quantai.data.lean.tables import read

__all__ = ["Archive", "Factors", "adjust", "describe", "import_lean", "members", "read", "read_factors"]

"""What people write in a time column, as exact nanoseconds UTC."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantai.core.errors import DataError, UnknownName
from quantai.data.sessions import wall_to_utc

UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_LO_S, _HI_S = 315_532_800, 4_102_444_800  # 1980 to 2100: in these years no number can be read in two units
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?")
_ZONE = r"(?:[Zz]|[+-]\d\d:?\d\d)$"


class Clock:
    """Reads the time column of one file, piece by piece.

    `tz` is the zone of times that carry none; `unit` that of times written as numbers, found from the first piece
    when it is None. Every error is a DataError that names the file and the row (counted from 1, without the header).
    """

    def __init__(self, where: str, tz: str | None = None, unit: str | None = None) -> None:
        if unit is not None and unit not in UNITS:
            raise UnknownName("unit of time", unit, UNITS)
        self.where, self.tz, self.unit = where, tz, unit

    def read(self, column: Any, row: int) -> Any:
        """Return the instants (int64 ns UTC) of a piece that starts at `row` of the file (from 0).

        >>> Clock("x.csv").read(pa.array(["1704067200.25", "1704067201"]), 0).tolist()
        [1704067200250000000, 1704067201000000000]
        >>> Clock("x.csv", tz="America/New_York").read(pa.array(["2024-07-01 09:30:00"]), 0).tolist()
        [1719840600000000000]
        """
        column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if column.null_count:
            at = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(f"{self.where} row {row + at + 1}: the time is missing: remove the row")
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return self._stamps(column)
        if pa.types.is_integer(kind):
            return self._numbers(column.to_numpy().astype("i8"), np.zeros(len(column), "i8"), row)
        if pa.types.is_floating(kind):
            return self._floats(column.to_numpy(), row)
        return self._texts(column.cast(pa.string()), row)

    def _stamps(self, column: Any) -> Any:
        zone = getattr(column.type, "tz", None)
        wall = column.cast(pa.timestamp("ns", zone)).to_numpy(zero_copy_only=False)
        return wall.astype("datetime64[ns]").astype("i8") if zone else self._in_zone(wall)

    def _in_zone(self, wall: Any) -> Any:
        if self.tz is None:
            raise DataError(
                f"{self.where}: times carry no zone: pass tz='UTC' (--tz UTC), or the zone they were written in"
            )
        try:
            return wall_to_utc(wall, self.tz)
        except (KeyError, OSError):
            raise DataError(f"{self.where}: no zone is called {self.tz!r}: write UTC or America/New_York") from None

    def _floats(self, values: Any, row: int) -> Any:
        finite = np.isfinite(values)
        if not finite.all():
            raise DataError(f"{self.where} row {row + int(np.argmin(finite)) + 1}: the time is not a number")
        whole = np.floor(values)
        # a double holds microseconds of a time in seconds, and no more
        part = np.round((values - whole) * 1e6).astype("i8") * 1_000
        return self._numbers(whole.astype("i8"), part, row)

    def _texts(self, column: Any, row: int) -> Any:
        column = pc.call_function("utf8_trim_whitespace", [column])
        if len(column) and _NUMBER.fullmatch(column[0].as_py()):
            return self._written_numbers(column, row)
        import pandas as pd

        texts = column.to_pandas()
        zoned = texts.str.contains(_ZONE, regex=True).to_numpy(bool)
        if zoned.any() and not zoned.all():
            at = int(np.argmin(zoned == zoned[0]))
            raise DataError(
                f"{self.where} row {row + at + 1}: some times carry a zone and others do not, such as {column[at]}"
            )
        times: Any = pd.to_datetime(texts, format="ISO8601", utc=bool(len(zoned) and zoned[0]), errors="coerce")
        bad = times.isna().to_numpy()
        if bad.any():
            at = int(np.argmax(bad))
            raise DataError(
                f"{self.where} row {row + at + 1}: {column[at]} is not an instant: write 2024-08-08T12:00:00Z"
            )
        stamps = pd.DatetimeIndex(times).as_unit("ns")
        return stamps.asi8 if stamps.tz is not None else self._in_zone(stamps.to_numpy())

    def _written_numbers(self, column: Any, row: int) -> Any:
        try:
            return self._numbers(column.cast(pa.int64()).to_numpy(), np.zeros(len(column), "i8"), row)
        except pa.ArrowInvalid:
            pass  # decimals, or not numbers: slowly, one by one
        texts = column.to_pylist()
        wrong = next((n for n, text in enumerate(texts) if not _NUMBER.fullmatch(text)), None)
        if wrong is not None:
            raise DataError(
                f"{self.where} row {row + wrong + 1}: {texts[wrong]!r} is not a number like the times before it"
            )
        split = [text.partition(".") for text in texts]
        whole = np.array([int(w) for w, _, _ in split], "i8")
        part = np.array([int(f[:9].ljust(9, "0")) for _, _, f in split], "i8")
        return self._numbers(whole, part, row)

    def _numbers(self, whole: Any, part_e9: Any, row: int) -> Any:
        """Scale counts of `unit` to ns; `part_e9` is the fraction of each count in billionths."""
        if len(whole) == 0:
            return whole
        if self.unit is None:
            self.unit = self._likely_unit(whole, row)
        ns = UNITS[self.unit]
        outside = (whole < _LO_S * 10**9 // ns) | (whole >= _HI_S * 10**9 // ns)
        if outside.any():
            at = int(np.argmax(outside))
            raise DataError(
                f"{self.where} row {row + at + 1}: time {whole[at]} in {self.unit} is not between 1980 and 2100"
            )
        return whole * ns + part_e9 * ns // 10**9

    def _likely_unit(self, whole: Any, row: int) -> str:
        first = int(whole[0])
        for unit, ns in UNITS.items():
            if _LO_S * 10**9 // ns <= first < _HI_S * 10**9 // ns:
                return unit
        raise DataError(
            f"{self.where} row {row + 1}: time {first} is no count of s, ms, us or ns of the years 1980 to 2100: "
            "write days as 2024-01-31"
        )

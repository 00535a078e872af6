"""Values as JSON has them."""

import dataclasses
import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any


def plain(value: Any) -> Any:
    """Return `value` made of dict, list, str, int, float, bool and None; raises TypeError for what cannot be.

    JSON has no NaN and no infinity: both become None. Instants become ISO 8601, enums their names, decimals and paths
    strings.

    >>> import numpy as np
    >>> plain({"px": np.float64(1.5), "n": np.arange(2), "day": dt.date(2024, 8, 8)})
    {'px': 1.5, 'n': [0, 1], 'day': '2024-08-08'}
    """
    match value:
        case None | bool() | str():
            return str(value) if isinstance(value, str) else value
        case Enum():
            return value.name
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case Decimal() | PurePath():
            return str(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in value]
        case _ if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
            return plain(value.tolist())
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
        case _:
            raise TypeError(f"no JSON for {type(value).__name__}: {value!r}")

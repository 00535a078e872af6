"""What may be stored in an int field: whole numbers, never a float whose fraction would be dropped."""

from typing import Any

import numpy as np
from numba import types
from numba.core.errors import NumbaTypeError
from numba.extending import overload

WHY = "a float cannot be stored in an int field: write int(…), or declare the field float"


def whole(value: Any) -> Any:
    """Return an int or bool as it is; raises TypeError for a float.

    >>> whole(3)
    3
    """
    if isinstance(value, float | np.floating):
        raise TypeError(WHY)
    return value


@overload(whole)
def _whole(value: Any) -> Any:  # pyright: ignore[reportUnusedFunction]
    def implementation(value: Any) -> Any:  # numba compares the annotations, too
        return value

    if isinstance(value, types.Integer | types.Boolean):
        return implementation
    raise NumbaTypeError(WHY)

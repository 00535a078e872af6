"""Sums of products that never round: 128-bit integers in compiled code, Python integers and fractions outside it.

An order's average price is the sum of price x quantity over the quantity. In float64 that sum loses its last digits; in
int64 it overflows (10^12 ticks x 10^11 lots). Two words hold it exactly, and the cold path makes them a fraction.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numba import int64, njit, uint64
from numba.core.types import Tuple

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


@njit(Tuple((int64, uint64))(int64, uint64, int64, int64), cache=True)
def add_product(high: Any, low: Any, a: Any, b: Any) -> tuple[Any, Any]:
    """Return `(high, low) + a * b` as the two words of a 128-bit two's complement integer.

    `high` is int64, `low` is uint64, `a` and `b` are int64; nothing overflows while the sum stays within 127 bits.
    The product is the schoolbook one, in four 32-bit halves (Knuth, TAOCP vol. 2, algorithm 4.3.1 M).

    >>> high, low = add_product(0, 0, 10**12, -(10**12))
    >>> whole(high, low)
    -1000000000000000000000000
    """
    x, y = np.uint64(abs(a)), np.uint64(abs(b))
    x1, x0, y1, y0 = x >> _HALF, x & _LOW, y >> _HALF, y & _LOW
    p00, p01, p10 = x0 * y0, x0 * y1, x1 * y0
    middle = (p00 >> _HALF) + (p01 & _LOW) + (p10 & _LOW)
    lower = (middle << _HALF) | (p00 & _LOW)
    upper = x1 * y1 + (p01 >> _HALF) + (p10 >> _HALF) + (middle >> _HALF)
    if (a < 0) != (b < 0):
        lower = ~lower + np.uint64(1)
        upper = ~upper + (np.uint64(1) if lower == 0 else np.uint64(0))
    total = np.uint64(low) + lower
    carry = np.uint64(1) if total < lower else np.uint64(0)
    return np.int64(np.uint64(high) + upper + carry), total


def whole(high: int, low: int) -> int:
    """Return the Python integer of two words, whatever integer types they are."""
    return (int(high) << 64) | int(low)


def rounded(value: Fraction, places: int = 12) -> Decimal:
    """Return `value` rounded half to even at `places` decimals; f"{…:f}" writes all of them.

    >>> rounded(Fraction(100000, 3)), f"{rounded(Fraction(0)):f}"
    (Decimal('33333.333333333333'), '0.000000000000')
    """
    return Decimal(f"{round(value * 10**places)}E-{places}")  # Fraction rounds half to even, this Decimal not at all

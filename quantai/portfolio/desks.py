"""Desks: who trades what for whom. A desk is one run of one strategy in one account."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quantai.core.errors import InputError
from quantai.core.given import instance, whole

DESK_SHIFT = 40
MOST_DESKS = 1 << 16


@dataclass(frozen=True, slots=True)
class Desk:
    """One run of one strategy in one account; `run` names it in client order ids and manifests.

    Raises InputError for a name of nothing.
    """

    run: str
    strategy: str = ""
    account: str = "main"

    def __post_init__(self) -> None:
        for name in ("run", "strategy", "account"):
            instance(f"{name} of a desk", getattr(self, name), str, "a name")
        if not self.run or not self.account:
            raise InputError(f"a desk has a run and an account: got run {self.run!r}, account {self.account!r}")


def order_number(desk: int, number: int) -> int:
    """Return the order number that is unique over all desks, of order `number` (from 1) of desk `desk` (from 0).

    The first desk's numbers are unchanged, so that a lone run journals exactly the intents its strategy wrote.

    >>> order_number(0, 7), order_number(1, 7) >> DESK_SHIFT
    (7, 1)
    """
    desk, number = whole("desk", desk), whole("number", number)
    if not (0 <= desk < MOST_DESKS and 0 <= number < 1 << DESK_SHIFT):
        raise InputError(f"order {number} of desk {desk} has no number: at most 2^40 orders of 65 536 desks do")
    return desk << DESK_SHIFT | number


def desk_of(order: int) -> int:
    """Return the desk whose order this is."""
    return int(order) >> DESK_SHIFT


def desks_of(orders: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the desk of each order number of an array.

    >>> desks_of(np.array([7, order_number(1, 7)], "u8")).tolist()
    [0, 1]
    """
    return (orders >> np.uint64(DESK_SHIFT)).astype(np.int64)

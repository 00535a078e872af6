"""Fees: what a venue says was paid for an execution, beside its report, is booked with it and goes where it goes."""

import math
from collections.abc import Sequence


def read_fee(said: str, currencies: Sequence[str]) -> tuple[float, int] | str:
    """Return the amount and the number of the currency of a fee such as `0.00012 BNB`, or in words why there is none.

    A fee in a currency the portfolio does not know (a venue's own token) cannot be booked.

    >>> read_fee("0.5 USDT", ["USD", "USDT"])
    (0.5, 1)
    >>> read_fee("0.00012 BNB", ["USD", "USDT"])
    'a fee of 0.00012 BNB is not in the books: BNB is no currency of this run'
    """
    amount, _, currency = said.partition(" ")
    if currency not in currencies:
        return f"a fee of {said} is not in the books: {currency} is no currency of this run"
    try:
        qty = float(amount)
    except ValueError:
        qty = math.nan
    return (qty, currencies.index(currency)) if math.isfinite(qty) else f"a fee of {said!r} is no amount"


def in_doubt(said: str, currencies: Sequence[str]) -> list[str]:
    """Return the currencies whose balance can differ by a fee that `read_fee` could not read, for once and for all.

    A fee in a currency that the portfolio does not know moves none of those it does; one that names none, any of them.

    >>> [in_doubt(said, ["USD", "USDT"]) for said in ("0.00012 BNB", "? USDT", "0.5")]
    [[], ['USDT'], ['USD', 'USDT']]
    """
    currency = said.partition(" ")[2]
    if currency in currencies:
        return [currency]
    return [] if currency else list(currencies)

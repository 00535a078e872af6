"""What accounts are worth: equity, exposure and margin at the last marks, compiled, as the rows that risk reads.

Exposure is worst-case: of each instrument, the largest of what is held, what is held with every working buy filled, and
with every working sell filled; net exposure has two worst cases, all buys and all sells. Amounts are in the portfolio's
currency. An account that holds money or a contract in a currency without a rate counts as worth nothing until there is
one: that denies what opens, and nothing is guessed.
"""

from typing import Any, NamedTuple

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.instruments import Contract, Payoff
from quantai.core.positions import unrealised, value
from quantai.core.rows import DAY

MARKET = np.dtype(
    [
        ("mark", "f8"),  # NaN = none yet
        ("mark_ts", "i8"),
        ("margin", "f8"),  # initial margin as a fraction of notional
        ("settle", "i4"),  # currencies, by number
        ("base", "i4"),  # the currency whose rate the mark of a spot instrument is; -1 = none
        ("quote", "i4"),
        ("paid", "u1"),  # 1 = bought with money (spot, shares, premiums), 0 = margined
        ("pad", "u1", (3,)),
    ]
)
"""What an instrument stands at for its holders."""

CURRENCY = np.dtype([("rate", "f8"), ("ts", "i8")])
"""What one unit of a currency is worth in the portfolio's, and since when; NaN = unknown."""

STANDING = np.dtype(
    [
        ("equity", "f8"),
        ("peak", "f8"),
        ("day_open", "f8"),
        ("gross", "f8"),
        ("net_long", "f8"),  # signed, with every working buy filled
        ("net_short", "f8"),  # and with every working sell
        ("margin", "f8"),
        ("day", "i8"),  # days since 1970 UTC; 0 = not valued yet
        ("unconverted", "u4"),  # currencies held without a rate
        ("pad", "u4"),
    ]
)
"""What one account is worth; 72 bytes."""

INVERSE, OPTION = int(Payoff.INVERSE), int(Contract.OPTION)


class Books(NamedTuple):
    """Everything valuation reads and writes."""

    positions: Any  # core.positions.POSITION, shape (desks, instruments)
    instruments: Any  # INSTRUMENT, shape (instruments,)
    market: Any  # MARKET, shape (instruments,)
    currencies: Any  # CURRENCY, shape (currencies,)
    flows: Any  # f8, shape (accounts, currencies): deposits, dividends, fees in third currencies
    account: Any  # i8, shape (desks,): the account of each desk
    working: Any  # f8 units, shape (accounts, instruments, 2): open quantity of buys and sells
    standings: Any  # STANDING, shape (accounts,)


@uncounted
def unit_worth(instrument: Any, market: Any, currencies: Any, px: float) -> float:
    """Return what a unit at `px` is worth in the portfolio's currency; NaN while its currency has no rate.

    An inverse contract is worth its face where the currency of its face has a rate, else what it is worth in coin.
    """
    if instrument.payoff == INVERSE and instrument.contract != OPTION:
        rate = currencies[market.quote].rate
        if not np.isnan(rate):
            return instrument.multiplier * rate
        if not px > 0.0:
            return np.nan
        return instrument.multiplier / px * currencies[market.settle].rate
    return value(instrument, px) * currencies[market.settle].rate


@uncounted
def revalue(books: Books, ts: int) -> None:
    """Value every account at the last marks; `ts` (ns UTC) decides the day whose loss is counted."""
    for a in range(len(books.standings)):
        _revalue(books, a, ts)


@uncounted
def _revalue(books: Books, a: int, ts: int) -> None:
    s = books.standings[a]
    n_currencies = len(books.currencies)
    equity, gross, margin = 0.0, 0.0, 0.0
    net_long, net_short = 0.0, 0.0
    unknown = 0
    for c in range(n_currencies):
        own = books.flows[a, c]
        for d in range(len(books.account)):
            if books.account[d] != a:
                continue
            earned = 0.0  # realised, carried, not yet realised, less fees
            for i in range(len(books.market)):
                if books.market[i].settle != c:
                    continue
                p = books.positions[d, i]
                earned += p.realised + p.funding - p.fees
                if p.qty != 0.0 and not np.isnan(books.market[i].mark):
                    earned += unrealised(p, books.instruments[i], books.market[i].mark)
            own += earned
        if own != 0.0:
            if np.isnan(books.currencies[c].rate):
                unknown += 1
            else:
                equity += own * books.currencies[c].rate
    for i in range(len(books.market)):
        held = 0.0
        for d in range(len(books.account)):
            if books.account[d] == a:
                held += books.positions[d, i].qty
        up, down = held + books.working[a, i, 0], held - books.working[a, i, 1]
        worst = max(abs(up), abs(down))
        market = books.market[i]
        if worst == 0.0 or np.isnan(market.mark):
            continue
        worth = unit_worth(books.instruments[i], market, books.currencies, market.mark)
        if np.isnan(worth):
            unknown += 1
            continue
        gross += worst * abs(worth)
        margin += worst * abs(worth) * market.margin
        net_long += max(up * worth, down * worth)
        net_short += min(up * worth, down * worth)
    s.gross, s.margin, s.net_long, s.net_short = gross, margin, net_long, net_short
    before, s.unconverted = s.unconverted, unknown
    if unknown:
        if not before:  # what equity stood at is forgotten; how it stood to these two is not
            s.day_open -= s.equity
            s.peak -= s.equity
            s.equity = 0.0
        return
    if before:
        s.day_open += equity
        s.peak += equity
    day = ts // DAY
    if day > s.day:
        s.day_open = s.equity if s.day and not before else equity
        s.day = day
    s.equity = equity
    s.peak = max(s.peak, equity)


@uncounted
def is_moved_by(books: Books, instrument: int) -> bool:
    """Say whether what an instrument is marked at can change what any account is worth."""
    for d in range(len(books.positions)):
        if books.positions[d, instrument].qty != 0.0:
            return True
    currency = books.market[instrument].base
    for a in range(len(books.working)):
        if books.working[a, instrument, 0] != 0.0 or books.working[a, instrument, 1] != 0.0:
            return True
        if currency >= 0 and books.flows[a, currency] != 0.0:
            return True
    settled = 0
    for i in range(len(books.market)):
        if books.market[i].settle == currency or books.market[i].quote == currency:
            settled += 1
    return settled > 0


@uncounted
def mark(books: Books, instrument: int, px: float, ts: int) -> None:
    """Mark an instrument at `px` at `ts` (ns UTC), and the currency whose rate it is."""
    market = books.market[instrument]
    market.mark, market.mark_ts = px, ts
    if market.base >= 0:
        books.currencies[market.base].rate, books.currencies[market.base].ts = px, ts

"""What risk reads: the account, what each instrument stands at, the orders that are out, the requests of late.

Fixed-size rows in a tuple of arrays, so that the check is one compiled function over them. The order management writes
them: `RiskBook.watch` on quotes and fills, `RiskBook.account` when the books are valued, `commit` and `work` for
orders.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.instruments import INSTRUMENT, Contract, Instrument, Payoff
from quantai.core.rows import Action, OrderType
from quantai.execution.limits import MOST_REQUESTS, Limits
from quantai.portfolio.valuation import CURRENCY, MARKET, unit_worth

REQUEST = np.dtype(
    [
        ("order", "u8"),  # our order number; numbers rise, none is used twice
        ("target", "u8"),  # REPLACE, CANCEL: the order meant
        ("ts", "i8"),  # now, ns UTC
        ("px", "f8"),  # the limit price as it was asked for; NaN = none
        ("trigger", "f8"),  # of a stop: its trigger, of a trailing one its distance; else not read
        ("qty", "f8"),  # units, as they were asked for; REPLACE: the new open quantity
        ("instrument", "u4"),
        ("flags", "u2"),  # rows.POST_ONLY, rows.REDUCE_ONLY
        ("action", "u1"),
        ("side", "i1"),
        ("type", "u1"),
        ("pad", "u1", (7,)),
    ]
)
"""A request to be checked. Prices and quantities are decimals still: being on the grid is one of the checks."""

ACCOUNT = np.dtype(
    [
        ("equity", "f8"),  # amounts in the portfolio's currency
        ("peak_equity", "f8"),
        ("free_margin", "f8"),
        ("gross_notional", "f8"),
        ("net_long", "f8"),  # signed, with every working buy filled
        ("net_short", "f8"),  # and with every working sell
        ("day_pnl", "f8"),
        ("last_order", "u8"),  # the highest order number that was let through
        ("recent_requests", "i8"),
        ("recent_rejects", "i8"),
        ("state", "u1"),  # TradingState
        ("reconciling", "u1"),
        ("pad", "u1", (6,)),
    ]
)

WATCH = np.dtype(
    [
        ("bid", "f8"),
        ("ask", "f8"),
        ("bid_ts", "i8"),  # ns UTC; 0 = no quote yet
        ("ask_ts", "i8"),
        ("position", "f8"),  # units, short is negative
        ("max_position", "f8"),
        ("initial_margin", "f8"),  # fraction of notional
        ("tradable", "u1"),
        ("open", "u1"),  # 0 = somebody has closed its session
        ("negative_ok", "u1"),  # prices of 0 and below are prices (spreads, power)
        ("in_session", "u1"),  # 0 = its calendar says that it is closed
        ("reduces_below_min", "u1"),  # the smallest notional is not for reduce-only orders
        ("pad", "u1", (3,)),
    ]
)
"""What an instrument stands at now; one a row of INSTRUMENT."""

WORKING = np.dtype(
    [
        ("order", "u8"),
        ("px", "f8"),  # NaN = no limit
        ("trigger", "f8"),  # as in REQUEST
        ("leaves", "f8"),  # units
        ("instrument", "u4"),
        ("flags", "u2"),
        ("side", "i1"),
        ("pad", "u1"),
    ]
)
"""An order that is out."""

RECENT = np.dtype(
    [
        ("ts", "i8"),
        ("px", "f8"),
        ("trigger", "f8"),  # NaN = no stop
        ("qty", "f8"),
        ("instrument", "u4"),
        ("side", "i1"),
        ("pad", "u1", (3,)),
    ]
)
"""An order sent of late."""

N_WORKING, N_RECENT, N_SENT = 0, 1, 2
EQUAL = 1e-12


class RiskBook(NamedTuple):
    """Everything the check reads besides limits and the request."""

    account: Any  # ACCOUNT, shape (1,)
    instruments: Any  # INSTRUMENT, shape (n,)
    watch: Any  # WATCH, shape (n,)
    working: Any  # WORKING, the first counts[N_WORKING] are taken
    recent: Any  # RECENT, a ring
    sent: Any  # int64 ns UTC, a ring: when requests that use the rate were sent
    counts: Any  # int64, shape (3,)
    market: Any  # MARKET, shape (n,): what currency each instrument is in
    currencies: Any  # CURRENCY


def risk_book(instruments: Sequence[Instrument], limits: Limits) -> RiskBook:
    """Return an empty book: tradable instruments in open sessions, no quotes, no positions, an account of 0.

    All instruments are in the account's currency.
    """
    watch = np.zeros(len(instruments), WATCH)
    watch["tradable"] = watch["open"] = watch["in_session"] = 1
    own = np.zeros(1, CURRENCY)
    own["rate"] = 1.0
    watch["max_position"] = [float(limits.max_units(i.symbol)) for i in instruments]
    watch["reduces_below_min"] = [i.reduces_below_min for i in instruments]
    rows = [i.row(n) for n, i in enumerate(instruments)]
    return RiskBook(
        account=np.zeros(1, ACCOUNT),
        instruments=np.concatenate(rows) if rows else np.zeros(0, INSTRUMENT),
        watch=watch,
        working=np.zeros(MOST_REQUESTS, WORKING),
        recent=np.zeros(MOST_REQUESTS, RECENT),
        sent=np.zeros(MOST_REQUESTS, np.int64),
        counts=np.zeros(3, np.int64),
        market=np.zeros(len(instruments), MARKET),
        currencies=own,
    )


NEW, CANCEL = int(Action.NEW), int(Action.CANCEL)
LIMIT, STOP_LIMIT = int(OrderType.LIMIT), int(OrderType.STOP_LIMIT)
STOP, TRAILING_STOP = int(OrderType.STOP), int(OrderType.TRAILING_STOP)
INVERSE, OPTION = int(Payoff.INVERSE), int(Contract.OPTION)


@uncounted
def is_priced(request: Any) -> bool:
    """Say whether the order has a limit price."""
    return request.type in (LIMIT, STOP_LIMIT)


@uncounted
def is_stop(request: Any) -> bool:
    """Say whether the order has a trigger price."""
    return request.type in (STOP, STOP_LIMIT)


@uncounted
def trigger_of(request: Any) -> float:
    """Return the trigger, or the distance, of a stop; NaN for other orders."""
    return request.trigger if is_stop(request) or request.type == TRAILING_STOP else np.nan


@uncounted
def meets_at(watch: Any, request: Any) -> float:
    """Return the price a request would trade at now: its limit, else the ask for a buy, the bid for a sell, or NaN."""
    if is_priced(request):
        return request.px
    if request.side > 0:
        return watch.ask if watch.ask_ts != 0 else np.nan
    return watch.bid if watch.bid_ts != 0 else np.nan


@uncounted
def valued_at(watch: Any, request: Any) -> float:
    """Return the price a request is valued at: where it would trade now; a stop order at its trigger if higher."""
    px = meets_at(watch, request)
    if request.type == STOP and not request.trigger <= px:
        return request.trigger
    return px


@uncounted
def notional(instrument: Any, px: float, qty: float) -> float:
    """Return the value of `qty` units at `px` in quote currency, as venues bound it; an inverse one is its face."""
    if instrument.payoff == INVERSE and instrument.contract != OPTION:
        return qty * instrument.multiplier
    return abs(px) * qty * instrument.multiplier


@uncounted
def amount(book: RiskBook, i: Any, px: float, qty: float) -> float:
    """Return the value of `qty` units of instrument `i` at `px` in the portfolio's currency; NaN without a rate."""
    return abs(unit_worth(book.instruments[i], book.market[i], book.currencies, px)) * qty


@uncounted
def over(amount: float, limit: float) -> bool:
    """Say whether `amount` is above `limit` by more than the rounding of either."""
    return amount - limit > EQUAL * max(abs(amount), abs(limit))


class Standing(NamedTuple):
    """Where a request finds us, in units of its instrument."""

    position: float
    same_side: float  # open quantity already out on its side, without the order it changes
    added: float  # what it adds to the order it changes, or to nothing
    opening: bool  # not fully closing, with same_side counted first
    bolder: bool  # a change toward the other side: a better limit, a nearer trigger
    best_opposite: float  # our own best price on the other side; NaN = none


@uncounted
def stand(book: RiskBook, request: Any) -> Standing:
    """Return where a request finds us."""
    same = before = 0.0
    best = np.nan
    bolder = False
    for i in range(book.counts[N_WORKING]):
        w = book.working[i]
        if w.instrument != request.instrument:
            continue
        if request.action != NEW and w.order == request.target:
            before = w.leaves
            bolder = request.side * (request.px - w.px) > 0.0 and is_priced(request)
            if is_stop(request):
                bolder = bolder or request.side * (w.trigger - request.trigger) > 0.0
            elif request.type == TRAILING_STOP:
                bolder = w.trigger > request.trigger
        elif w.side == request.side:
            same += w.leaves
        elif np.isnan(best) or request.side * w.px < request.side * best:
            best = w.px
    position = book.watch[request.instrument].position if request.instrument < len(book.watch) else 0.0
    closing = request.side * position < 0.0 and not over(same + request.qty, abs(position))
    return Standing(position, same, request.qty - before, not closing, bolder, best)


@uncounted
def find_working(book: RiskBook, order: Any) -> int:
    """Return the row of a working order, or -1."""
    for i in range(book.counts[N_WORKING]):
        if book.working[i].order == order:
            return i
    return -1


@uncounted
def work(book: RiskBook, order: Any, leaves: float, px: float) -> None:
    """Set what a working order has left and its price; 0 removes it. An order not in the book stays out of it."""
    i = find_working(book, order)
    if i < 0:
        return
    if leaves > 0.0:
        book.working[i].leaves = leaves
        book.working[i].px = px
    else:
        last = book.counts[N_WORKING] - 1
        book.working[i] = book.working[last]
        book.counts[N_WORKING] = last


@uncounted
def commit(book: RiskBook, request: Any) -> None:
    """Count a request that passed, so that the next one is checked against it.

    A cancel counts for nothing. What it adds to gross, net and margin stands until the account is valued again.
    """
    if request.action == CANCEL:
        return
    book.sent[book.counts[N_SENT] % len(book.sent)] = request.ts
    book.counts[N_SENT] += 1
    standing = stand(book, request)
    if standing.opening and standing.added > 0.0:
        _commit_exposure(book, request, standing.added)
    if request.action != NEW:
        work(book, request.target, request.qty, request.px)
        changed = find_working(book, request.target)
        if changed >= 0:
            book.working[changed].trigger = request.trigger
        return
    book.account[0].last_order = max(book.account[0].last_order, request.order)
    recent = book.recent[book.counts[N_RECENT] % len(book.recent)]
    recent.ts, recent.px, recent.qty = request.ts, request.px, request.qty
    recent.instrument, recent.side = request.instrument, request.side
    recent.trigger = trigger_of(request)
    book.counts[N_RECENT] += 1
    working = book.working[book.counts[N_WORKING]]
    working.order, working.px, working.leaves = request.order, request.px, request.qty
    working.instrument, working.flags, working.side = request.instrument, request.flags, request.side
    working.trigger = request.trigger
    book.counts[N_WORKING] += 1


@uncounted
def _commit_exposure(book: RiskBook, request: Any, added: float) -> None:
    watch, account = book.watch[request.instrument], book.account[0]
    worth = amount(book, request.instrument, valued_at(watch, request), added)
    account.gross_notional += worth
    if request.side > 0:
        account.net_long += worth
    else:
        account.net_short -= worth
    account.free_margin -= worth * watch.initial_margin

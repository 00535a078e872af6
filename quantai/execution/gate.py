"""The gate: the risk books of all accounts, kept in step with quotes, positions and working orders.

It holds what `risk.check` reads and nothing else decides. One row of each table an account; the market side is written
by compiled code, many rows at a time.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.instruments import Payoff
from quantai.core.positions import DUST
from quantai.core.rows import DAY, Action, Kind, OrderType, Rows, Status
from quantai.data.sessions import check_calendar, is_in_session
from quantai.execution.exposure import (
    ACCOUNT,
    N_WORKING,
    RECENT,
    REQUEST,
    WATCH,
    WORKING,
    RiskBook,
    commit,
    find_working,
    is_priced,
    risk_book,
    stand,
    work,
)
from quantai.execution.limits import ANSWERS, Limits
from quantai.execution.risk import check
from quantai.execution.setup import Setup
from quantai.portfolio.portfolio import Portfolio
from quantai.portfolio.valuation import Books, is_moved_by, mark, revalue

NEAR_LOTS = 1e-6
"""A position this near to a whole number of lots is one."""

NEVER = np.iinfo(np.int64).max
TRADE, QUOTE, BAR, MARK = int(Kind.TRADE), int(Kind.QUOTE), int(Kind.BAR), int(Kind.MARK)
STATUS, CONTROL, ADJUST = int(Kind.STATUS), int(Kind.CONTROL), int(Kind.ADJUST)
HALTED, RESUMED = int(Status.HALTED), int(Status.RESUMED)
DISCONNECTED, STALE = int(Status.DISCONNECTED), int(Status.STALE)
NEW, REPLACE = int(Action.NEW), int(Action.REPLACE)
INVERSE = int(Payoff.INVERSE)


class Gate:
    """Risk books, limits and trading states, one an account."""

    def __init__(self, setup: Setup, portfolio: Portfolio) -> None:
        n, m = len(setup.accounts), len(setup.instruments)
        self._setup, self._portfolio = setup, portfolio
        self.accounts: Rows = np.zeros(n, ACCOUNT)
        self.watch: Rows = np.zeros((n, m), WATCH)
        self.books: list[RiskBook] = []
        self.answers = np.zeros((n, ANSWERS), np.uint8)
        self.answered = np.zeros(n, np.int64)
        for a in range(n):
            book = risk_book(list(setup.instruments), setup.limits)
            self.watch[a] = book.watch
            self.watch["bid"][a] = self.watch["ask"][a] = np.nan
            self.watch["initial_margin"][a] = portfolio.books.market["margin"]
            shared = {"market": portfolio.books.market, "currencies": portfolio.books.currencies}
            self.books.append(book._replace(account=self.accounts[a : a + 1], watch=self.watch[a], **shared))
        self.limits = setup.limits
        self._row = setup.limits.row()
        for instrument in setup.instruments:
            if instrument.calendar is not None:
                check_calendar(instrument.calendar)

    def load_limits(self, limits: Limits) -> None:
        """Judge by other limits from now on; whether they may be loosened is decided before."""
        self.limits, self._row = limits, limits.row()
        for i, instrument in enumerate(self._setup.instruments):
            self.watch["max_position"][:, i] = float(limits.max_units(instrument.symbol))

    def request(
        self, tracked: Any, ticket: int, ts: int, *, lots: int, px_ticks: int, trigger_ticks: int, target: int = 0
    ) -> Any:
        """Return the REQUEST row for an order, or for a change of the order that risk knows as `target`."""
        row = np.zeros(1, REQUEST)[0]
        row["order"], row["target"], row["ts"] = ticket, target, ts
        row["instrument"], row["flags"], row["side"] = tracked["instrument"], tracked["flags"], tracked["side"]
        row["action"], row["type"] = REPLACE if target else NEW, tracked["type"]
        i = int(tracked["instrument"])
        row["px"], row["trigger"], row["qty"] = np.nan, np.nan, lots
        if i < len(self._setup.instruments):
            row["trigger"] = self.price(i, trigger_ticks)
            row["qty"] = self.units(i, lots)
            if is_priced(row):
                row["px"] = self.price(i, px_ticks)
        return row

    def units(self, instrument: int, lots: int) -> float:
        """Return lots as units, rounded once."""
        row = self._portfolio.books.instruments[instrument]
        return lots * int(row["lot_num"]) / int(row["lot_den"])

    def price(self, instrument: int, ticks: int) -> float:
        """Return ticks as the float64 nearest to the exact price."""
        row = self._portfolio.books.instruments[instrument]
        return ticks * int(row["tick_num"]) / int(row["tick_den"])

    def admit(self, account: int, request: Any, rivals: Sequence[int] = ()) -> int:
        """Return the RiskReason to deny a request, or 0, and then count it.

        `rivals` are tickets of orders of which only one can trade: a request that closes is judged as if they were not
        out, or a position could not have a profit and a stop that both close it. What opens counts beside its rivals,
        because a cancel can come too late.
        """
        book = self.books[account]
        self._open_or_close(account, request)
        rows = [row for row in (find_working(book, ticket) for ticket in rivals) if row >= 0]
        leaves = [float(book.working["leaves"][row]) for row in rows]
        book.working["leaves"][rows] = 0.0
        if rows and stand(book, request).opening:
            book.working["leaves"][rows] = leaves
        reason = int(check(book, self._row[0], request))
        if not reason:
            commit(book, request)
        book.working["leaves"][rows] = leaves
        if not reason:
            self._tally(account)
        return reason

    def would_deny(self, account: int, request: Any) -> int:
        """Return the RiskReason that a request without rivals would be denied for now, or 0; nothing changes."""
        i = min(int(request["instrument"]), self.watch.shape[1] - 1)
        was = int(self.watch["in_session"][account, i])
        self._open_or_close(account, request)
        reason = int(check(self.books[account], self._row[0], request))
        self.watch["in_session"][account, i] = was
        return reason

    def _open_or_close(self, account: int, request: Any) -> None:
        """Look into the calendar of the instrument, at the instant of the request."""
        i = int(request["instrument"])
        calendar = self._setup.instruments[i].calendar if i < len(self._setup.instruments) else None
        if calendar is not None:
            self.watch["in_session"][account, i] = is_in_session(calendar, int(request["ts"]))

    def work(self, account: int, tracked: Any, ticket: int, lots: int, px_ticks: int) -> None:
        """Set what a sent order has left; an order that comes back to life is counted again."""
        book, i = self.books[account], int(tracked["instrument"])
        if ticket == 0 or i >= len(self._setup.instruments):
            return
        limited = tracked["type"] in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        px = self.price(i, px_ticks) if limited else np.nan
        if lots > 0 and find_working(book, ticket) < 0 and book.counts[N_WORKING] < len(book.working):
            row = book.working[book.counts[N_WORKING]]
            row["order"], row["instrument"], row["flags"] = ticket, i, tracked["flags"]
            row["side"], row["leaves"] = tracked["side"], 1.0
            row["trigger"] = self.price(i, int(tracked["trigger_ticks"]))
            book.counts[N_WORKING] += 1
        work(book, ticket, self.units(i, lots), px)
        self._tally(account)

    def _tally(self, account: int) -> None:
        _tally(self.books[account], self._portfolio.books.working[account])
        self.refresh()

    def hold(self) -> None:
        """Take over positions after fills and adjustments: in whole lots where only rounding makes them others."""
        books = self._portfolio.books
        lot = books.instruments["lot_num"] / books.instruments["lot_den"]
        for a in range(len(self.accounts)):
            held = books.positions[books.account == a]
            lots = held["qty"] / lot
            whole = np.rint(lots)
            near = (np.abs(lots - whole) <= NEAR_LOTS + DUST * held["turnover"] / lot).all(axis=0)
            exact = whole.sum(axis=0) * books.instruments["lot_num"] / books.instruments["lot_den"]
            self.watch["position"][a] = np.where(near, exact, held["qty"].sum(axis=0))
        self.refresh()

    def refresh(self) -> None:
        """Value the accounts and take over what they are worth."""
        self._portfolio.revalue(self._portfolio.ts)
        _take_over(self._portfolio.books, self.accounts)

    def answer(self, account: int, rejected: bool) -> None:
        """Count an answer of the venue to an order or a change, for the reject ratio."""
        self.answers[account, self.answered[account] % ANSWERS] = rejected
        self.answered[account] += 1
        row = self.accounts[account]
        row["recent_requests"] = min(int(self.answered[account]), ANSWERS)
        row["recent_rejects"] = self.answers[account].sum()

    def forget_answers(self, account: int) -> None:
        """Begin the reject ratio anew: somebody has decided that the account may trade."""
        self.answers[account], self.answered[account] = 0, 0
        self.accounts["recent_requests"][account] = self.accounts["recent_rejects"][account] = 0

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays, rings cut to what was ever written."""
        counts = np.concatenate([book.counts for book in self.books])
        parts: dict[str, np.ndarray] = {"accounts": self.accounts, "watch": self.watch, "answers": self.answers}
        parts |= {"answered": self.answered, "risk_counts": counts}
        for name, n in (("working", 0), ("recent", 1), ("sent", 2)):
            rows = [getattr(book, name)[: min(int(book.counts[n]), len(book.sent))] for book in self.books]
            parts[name] = np.concatenate(rows)
        return parts

    DTYPES = {  # noqa: RUF012
        "accounts": ACCOUNT, "watch": WATCH, "answers": np.dtype("u1"), "answered": np.dtype("i8"),
        "risk_counts": np.dtype("i8"), "working": WORKING, "recent": RECENT, "sent": np.dtype("i8"),
    }  # fmt: skip

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over the state of `arrays`."""
        self.accounts[:], self.watch[:] = arrays["accounts"], arrays["watch"].reshape(self.watch.shape)
        self.answers[:], self.answered[:] = arrays["answers"].reshape(self.answers.shape), arrays["answered"]
        counts = arrays["risk_counts"].reshape(len(self.books), 3)
        for name, n in (("working", 0), ("recent", 1), ("sent", 2)):
            at = 0
            for a, book in enumerate(self.books):
                size = min(int(counts[a, n]), len(book.sent))
                getattr(book, name)[:size] = arrays[name][at : at + size]
                at += size
        for a, book in enumerate(self.books):
            book.counts[:] = counts[a]
            _tally(book, self._portfolio.books.working[a])


@uncounted
def _tally(book: RiskBook, working: Any) -> None:
    """Sum what is working by instrument and side: afresh, so that no rounding accumulates."""
    working[:] = 0.0
    for i in range(book.counts[N_WORKING]):
        w = book.working[i]
        working[w.instrument, 0 if w.side > 0 else 1] += w.leaves


@uncounted
def _take_over(books: Books, accounts: Any) -> None:
    for a in range(len(accounts)):
        s, row = books.standings[a], accounts[a]
        row.equity, row.peak_equity, row.day_pnl = s.equity, s.peak, s.equity - s.day_open
        row.gross_notional, row.free_margin = s.gross, s.equity - s.margin
        row.net_long, row.net_short = s.net_long, s.net_short


@uncounted
def observe(rows: Any, start: int, deadline: int, books: Books, watch: Any, accounts: Any) -> int:
    """Take over quotes, marks and states of the market from EVENT rows[start:]; returns where it stopped.

    It stops before a CONTROL or ADJUST row, and before a row received at `deadline` (ns UTC) or later. A trade, a mark
    price, a bar's close and the middle of a quote mark the instrument; a bar's close is a quote of both sides, too.
    """
    for n in range(start, len(rows)):
        row = rows[n]
        if row.kind in (CONTROL, ADJUST) or row.ts_recv >= deadline:
            return n
        i = row.instrument
        if i >= len(books.market):
            continue
        if row.kind == STATUS:
            for a in range(len(accounts)):
                if row.aux in (HALTED, RESUMED):
                    watch[a, i].tradable = row.aux == RESUMED
                elif row.aux in (DISCONNECTED, STALE):
                    watch[a, i].bid_ts = watch[a, i].ask_ts = 0
            continue
        if row.kind not in (TRADE, QUOTE, BAR, MARK) or (row.kind != QUOTE and not np.isfinite(row.px)):
            continue
        px = row.px
        if row.kind in (QUOTE, BAR):
            for a in range(len(accounts)):
                w = watch[a, i]
                side = px if px > 0.0 or w.negative_ok else np.nan  # valued at 0, any quantity would pass the limits
                if row.kind == BAR or row.side > 0:
                    w.bid, w.bid_ts = side, row.ts_recv
                if row.kind == BAR or row.side < 0:
                    w.ask, w.ask_ts = side, row.ts_recv
            px = (watch[0, i].bid + watch[0, i].ask) / 2.0
        inverse = books.instruments[i].payoff == INVERSE
        if np.isfinite(px) and not (inverse and px <= 0.0):  # an inverse contract is worth nothing finite there
            mark(books, i, px, row.ts_recv)
            if row.ts_recv // DAY > books.standings[0].day or is_moved_by(books, i):
                revalue(books, row.ts_recv)
                _take_over(books, accounts)
    return len(rows)

"""Whatever the account, market and request: cancels pass, checking writes nothing, stricter limits deny more."""

from dataclasses import replace
from decimal import Decimal

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quantai.core.instruments import Instrument
from quantai.core.rows import BUY, MS, POST_ONLY, REDUCE_ONLY, SELL, Action, OrderType, Rows, zeros
from quantai.execution.exposure import N_RECENT, N_SENT, N_WORKING, REQUEST, RiskBook, commit, risk_book
from quantai.execution.limits import Limits
from quantai.execution.reasons import RiskReason
from quantai.execution.risk import check

NOW = 100_000 * MS
X = Instrument(symbol="X", tick=Decimal("0.5"), lot=Decimal("0.001"), min_notional=Decimal(5), max_qty=Decimal(100))
sides = st.sampled_from([BUY, SELL])
amounts = st.integers(-200_000, 200_000).map(lambda cents: cents / 100)
prices = st.one_of(
    st.integers(150, 250).map(lambda t: t / 2), st.sampled_from([float("nan"), float("inf"), 0.0, 100.1])
)
quantities = st.one_of(
    st.integers(1, 60_000).map(lambda n: n / 1000), st.sampled_from([float("nan"), -1.0, 0.0, 1.0005])
)


@st.composite
def books(draw: st.DrawFn) -> RiskBook:
    book = risk_book([X], Limits.example())
    account, watch = book.account[0], book.watch[0]
    for name in ("equity", "peak_equity", "free_margin", "gross_notional", "net_long", "net_short", "day_pnl"):
        account[name] = draw(amounts)
    account["state"], account["reconciling"] = draw(st.sampled_from([0, 0, 0, 1, 2])), draw(st.integers(0, 9)) == 0
    account["recent_requests"], account["recent_rejects"] = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    account["last_order"] = 100
    watch["bid"], watch["ask"] = 99.5, 100.5
    watch["bid_ts"], watch["ask_ts"] = (NOW - draw(st.integers(0, 800)) * MS for _ in range(2))
    watch["position"] = draw(st.integers(-60_000, 60_000)) / 1000
    watch["initial_margin"] = 0.1
    for i in range(draw(st.integers(0, 4))):
        w = book.working[i]
        w["order"], w["px"], w["leaves"], w["side"] = i + 1, draw(st.integers(150, 250)) / 2, 2.5, draw(sides)
        book.counts[N_WORKING] += 1
    for i in range(draw(st.integers(0, 12))):
        book.sent[i] = NOW - (12 - i) * 150 * MS
        book.counts[N_SENT] += 1
    if draw(st.booleans()):
        r = book.recent[0]
        r["ts"], r["px"], r["qty"], r["side"], r["trigger"] = NOW - 100 * MS, 100.0, 1.0, BUY, np.nan
        book.counts[N_RECENT] = 1
    return book


@st.composite
def requests(draw: st.DrawFn) -> Rows:
    r = zeros(1, REQUEST)
    r["order"], r["target"], r["ts"] = draw(st.sampled_from([100, 101])), draw(st.integers(0, 5)), NOW
    r["px"], r["qty"], r["side"] = draw(prices), draw(quantities), draw(sides)
    r["action"] = draw(st.sampled_from([Action.NEW, Action.NEW, Action.REPLACE]))
    r["type"] = draw(st.sampled_from([OrderType.LIMIT, OrderType.MARKET, OrderType.STOP]))
    r["flags"] = draw(st.sampled_from([0, 0, POST_ONLY, REDUCE_ONLY]))
    r["instrument"] = draw(st.sampled_from([0, 0, 0, 1]))
    return r


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    wide = {
        name: Decimal(draw(st.integers(1, 200_000))) / 100 for name in ("max_order_notional", "max_gross", "max_net")
    }
    return replace(
        Limits.example(),
        **wide,
        max_position=Decimal(draw(st.integers(1, 60))),
        max_day_loss=Decimal(draw(st.integers(1, 2000))),
        max_open_orders=draw(st.integers(0, 6)),
        rate_max=draw(st.integers(0, 12)),
        collar_bps=Decimal(draw(st.integers(0, 3000))),
        max_quote_age_ms=draw(st.integers(0, 900)),
    )


@settings(max_examples=300)
@given(books(), limits(), requests())
def test_checking_writes_nothing_and_a_cancel_passes(book: RiskBook, limit: Limits, request: Rows) -> None:
    before = [np.asarray(part).tobytes() for part in book]
    assert RiskReason(check(book, limit.row()[0], request[0])) in RiskReason
    request["action"] = Action.CANCEL
    assert check(book, limit.row()[0], request[0]) == RiskReason.OK
    commit(book, request[0])
    assert [np.asarray(part).tobytes() for part in book] == before


@settings(max_examples=300)
@given(books(), limits(), limits(), requests())
def test_stricter_limits_never_let_out_what_looser_ones_deny(
    book: RiskBook, a: Limits, b: Limits, request: Rows
) -> None:
    strict = replace(a, **{n: min(getattr(a, n), getattr(b, n)) for n in a.__slots__ if n.startswith("max_")})
    assert a.loosened(strict) == []
    passed = []
    for limit in (a, strict):
        book.watch["max_position"] = float(limit.max_position)
        passed.append(check(book, limit.row()[0], request[0]) == RiskReason.OK)
    assert passed[0] or not passed[1]

"""What an order management refuses before it is journaled, and what it must not be confused by."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instrument, Instruments, Payoff
from quantai.core.reports import REPORT, Refusal
from quantai.core.rows import BUY, EVENT, SEC, Action, Kind, OrderType, zeros
from quantai.execution.client_ids import client_id
from quantai.execution.controls import Control, control
from quantai.execution.kill_switch import outcome
from quantai.execution.limits import Limits
from quantai.execution.oms import OMS
from quantai.execution.setup import Setup
from quantai.portfolio import Adjust, Desk, Portfolio, adjustment, order_number
from tests.unit.oms_setting import Market, asked, limits

GOOD = {"type": OrderType.LIMIT, "side": BUY, "qty_lots": 1, "px_ticks": 190}


@pytest.mark.parametrize(
    ("action", "order", "said"),
    [
        (99, 1, {}),
        (0, 1, {}),
        (Action.NEW, 0, {}),
        (Action.NEW, 1 << 40, {}),
        (Action.NEW, 1, {"side": 0}),
        (Action.NEW, 1, {"side": 2}),
        (Action.NEW, 1, {"type": 0}),
        (Action.NEW, 1, {"type": 77}),
        (Action.NEW, 1, {"tif": 9}),
        (Action.NEW, 1, {"qty_lots": -1}),
        (Action.REPLACE, 1, {"qty_lots": -1}),
        (Action.CANCEL, 9 << 40, {}),
    ],
)
def test_an_intent_that_says_nothing_possible_changes_nothing(action: Any, order: int, said: dict[str, int]) -> None:
    market = Market()
    before = market.oms.snapshot()
    with pytest.raises(InputError):
        market.ask(action, order, **(GOOD | said))
    assert market.oms.snapshot() == before


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Kind.TRADE, {}),
        (Kind.CANCEL_REQUEST, {"request": 1}),
        (Kind.TIMEOUT, {}),
        (Kind.ADJUST, {}),
        (0, {}),
        (Kind.FILL, {"exec": 1, "px_ticks": 190}),
        (Kind.FILL, {"exec": 1, "px_ticks": 190, "qty_lots": -5}),
        (Kind.REPLACED, {"qty_lots": -5}),
    ],
)
def test_a_report_that_no_venue_can_mean_changes_nothing(kind: Any, said: dict[str, int]) -> None:
    market = Market()
    order = market.new()
    before = market.oms.snapshot()
    report = zeros(1, REPORT)
    report["order"], report["kind"], report["seq"] = order, kind, market.seq + 1
    for name, value in said.items():
        report[name] = value
    with pytest.raises(InputError, match="says what no venue can"):
        market.oms.process(report[0])
    assert market.oms.snapshot() == before


def inverse() -> OMS:
    swap = Instrument.parse("BTC-USD-PERP", payoff=Payoff.INVERSE, tick="0.5", lot="1")
    setup = Setup(desks=(Desk("a"),), instruments=Instruments([swap]), limits=limits(), currency="BTC")
    oms = OMS(setup)
    oms.process(oms.portfolio.deposit(0, 10.0)[0])
    oms.portfolio.fill(0, 0, BUY, 100.0, 50_000.0)
    return oms


@pytest.mark.parametrize("px", [0.0, -1.0])
def test_an_inverse_position_is_not_marked_where_it_has_no_value(px: float) -> None:
    oms = inverse()
    rows = zeros(2, EVENT)
    rows["seq"], rows["kind"], rows["px"] = [1, 2], Kind.BAR, [50_000.0, px]
    for row in rows:
        oms.process(row)
    assert oms.portfolio.equity("main") == 10.0


@pytest.mark.parametrize(
    "row",
    [
        adjustment(Adjust.DEPOSIT, qty=float("nan")),
        adjustment(Adjust.RATE, px=0.0),
        adjustment(Adjust.SETTLE, px=0.0),
        adjustment(Adjust.VARIATION, px=-1.0),
        adjustment(Adjust.EXPIRE, px=100.0),
        adjustment(Adjust.EXERCISE, qty=1.0),
        adjustment(Adjust.DEPOSIT, desk=-1, qty=1.0),
        adjustment(Adjust.FUNDING, desk=1, qty=1.0),
    ],
    ids=lambda row: Adjust(int(row["px_ticks"][0])).name,
)
def test_an_adjustment_that_cannot_be_is_refused_whole(row: Any) -> None:
    oms = inverse()
    before = oms.snapshot()
    with pytest.raises(InputError):
        oms.process(row[0])
    assert oms.snapshot() == before


def test_limits_and_margins_for_symbols_that_are_not_traded_are_errors() -> None:
    spy = Instruments([Instrument.parse("SPY")])
    with pytest.raises(UnknownName, match=r"SPX.*did you mean 'SPY'"):
        Setup(desks=(Desk("a"),), instruments=spy, limits=limits(position={"SPX": 5}))
    market = Market()
    typo = limits(position={"BTC-USD": 5}).text()
    with pytest.raises(UnknownName, match="BTC-USDT"):
        market.see(control(Control.LIMITS), typo)


def test_limits_that_do_not_fit_or_are_no_text_are_named(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="rate_window_ms"):
        limits(rate_window_ms=10**13)
    path = tmp_path / "limits.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        Limits.load(path)


def test_an_acknowledgement_after_the_kill_switch_is_no_refusal() -> None:
    market = Market()
    order = market.new()
    assert asked(market.see(control(Control.KILL))) == [("CANCEL", order)]
    late = market.hear(order, Kind.ACK)
    assert late.events["kind"].tolist() == [Kind.ACK]  # nothing was refused
    assert outcome(market.oms).pending
    again = market.see(control(Control.KILL))
    assert asked(again) == []
    assert outcome(market.oms).refused == {}
    market.hear(order, Kind.CANCEL_REJECT, request=1, code=Refusal.TOO_LATE)
    assert list(outcome(market.oms).refused.values()) == ["1000 lots still work: too late"]


def test_the_days_profit_and_the_drawdown_outlive_a_currency_without_a_rate() -> None:
    pairs = Instruments([Instrument.parse("BTC-USDT"), Instrument.parse("ETH-BTC")])
    p = Portfolio([Desk("a")], pairs, "USDT")

    def adjust(row: Any, ts: int) -> None:
        row["ts_recv"] = ts
        p.adjust(row[0])

    day = 86_400 * SEC
    adjust(p.deposit(0, 1000.0), day)
    p.fill(0, 0, BUY, 1.0, 100.0)
    p.mark(0, 200.0, day + 1)
    p.mark(0, 150.0, day + 2)
    assert (p.standing("main")["day_pnl"], p.standing("main")["peak"]) == (50.0, 1100.0)
    p.books.currencies["rate"][p.number("BTC")] = np.nan
    adjust(p.deposit(0, 2.0, "BTC"), day + 3)
    assert p.equity("main") == 0.0
    adjust(p.deposit(0, 500.0), day + 4)
    adjust(adjustment(Adjust.RATE, other=p.number("BTC"), px=150.0), day + 5)
    said = p.standing("main")
    assert (said["equity"], said["day_pnl"], said["peak"]) == (1850.0, 50.0, 1900.0)
    p.books.currencies["rate"][p.number("BTC")] = np.nan
    p.revalue(2 * day)
    p.books.currencies["rate"][p.number("BTC")] = 150.0
    p.revalue(2 * day + 1)
    assert p.standing("main")["day_pnl"] == 0.0  # another day, and what it opened at is not known


TABLE = Instruments([Instrument.parse("SPY")])
MINE: dict[str, Any] = {"desks": (Desk("demo"),), "instruments": TABLE, "limits": Limits.example()}
NONE: Any = None
TEXT: Any = "1"
HALF: Any = 1.5
ONE: Any = 1
BYTES: Any = b""
WRONG: Any = ["demo"]


def book() -> Portfolio:
    return Portfolio([Desk("a")], TABLE, "USD")


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Limits.of(NONE), "limits"),
        (lambda: Limits.parse(BYTES), "text"),
        (lambda: Limits.load(NONE), "path"),
        (lambda: Setup(**MINE | {"desks": None}), "desks"),
        (lambda: Setup(**MINE | {"desks": ("demo",)}), "a desk"),
        (lambda: Setup(**MINE | {"instruments": None}), "instruments"),
        (lambda: Setup(**MINE | {"limits": {}}), "limits"),
        (lambda: Setup(**MINE | {"margin": [1]}), "margin"),
        (lambda: Setup(**MINE, patience_ns=TEXT), "patience_ns"),
        (lambda: Setup(**MINE, patience_ns=HALF), "patience_ns"),
        (lambda: Desk(ONE), "run of a desk"),
        (lambda: order_number(TEXT, 2), "desk"),
        (lambda: order_number(0, HALF), "number"),
        (lambda: client_id("run", 1, NONE), "k"),
        (lambda: control(NONE), "what"),
        (lambda: control(Control.KILL, ts=HALF), "ts"),
        (lambda: adjustment(Adjust.FEE, qty=TEXT), "qty"),
        (lambda: adjustment(Adjust.FEE, desk=HALF), "desk"),
        (lambda: Portfolio(WRONG, TABLE, "USD"), "a desk"),
        (lambda: Portfolio([Desk("a")], TABLE, "USD", {"SPY": NONE}), "margin of SPY"),
        (lambda: book().deposit(0, NONE), "qty"),
        (lambda: book().fill(0, 0, 1, TEXT, 1.0), "units"),
        (lambda: book().fill(0, 0, 1, 1.0, NONE), "px"),
        (lambda: book().mark(0, TEXT, 1), "px"),
        (lambda: book().mark(7, 1.0, 1), "there is no instrument 7"),
        (lambda: book().adjust(NONE), "row"),
    ],
    ids=range(26),
)
def test_a_value_of_another_type_is_one_line_that_names_it(call: Callable[[], Any], named: str) -> None:
    with pytest.raises(InputError, match=rf"^{named}\b") as found:
        call()
    assert "\n" not in str(found.value)

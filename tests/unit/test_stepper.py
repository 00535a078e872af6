"""A desk's strategy: rows one by one or many at a time, compiled or not, restored or not: the same bytes."""

from typing import Any

import numpy as np
import pytest

import quantai as qa
from quantai.backtest.tick_run import TickRun
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BAR, EVENT, LAST, MS, ORDER, SEC, WARM_UP, Action, Kind, OrderState, Rows, Status, zeros
from quantai.data.tape import Tape
from quantai.execution.stepper import Stepper
from quantai.strategy.examples import Cross, Quote

START = 1_700_000_000 * SEC
TABLE = Instruments(
    [Instrument.parse("BTC-USDT", tick="0.1", lot="0.001"), Instrument.parse("ETH-USDT", tick="0.01", lot="0.01")]
)


class Busy(qa.Strategy):
    """Asks for something at most rows, of all kinds."""

    seen: int = qa.state(0)
    last: int = qa.state(0)
    mean = qa.ind.ema(5)

    def on_start(self, ctx: Any) -> None:
        ctx.every(50 * qa.MS)

    def on_trade(self, ctx: Any, trade: Any) -> None:
        self.seen += 1
        self.mean.update(trade.px)
        if self.seen % 4 == 0 and self.mean.ready:
            self.last = ctx.buy(0.01, limit=trade.px - 1.0)

    def on_book(self, ctx: Any, book: Any) -> None:
        if book.valid and self.seen % 7 == 3:
            ctx.sell(0.02, limit=book.ask)

    def on_timer(self, ctx: Any) -> None:
        if self.last > 0:
            ctx.cancel(self.last)


def market(seed: int, n: int = 400) -> Rows:
    random = np.random.default_rng(seed)
    rows = zeros(n, EVENT)
    rows["seq"] = 1 + np.arange(n)
    rows["ts_recv"] = START + np.cumsum(random.integers(1, 20, n)) * MS
    rows["ts_exch"] = rows["ts_recv"] - MS
    rows["kind"] = random.choice([Kind.TRADE, Kind.LEVEL, Kind.LEVEL, Kind.TIMER, Kind.QUOTE], n)
    rows["instrument"] = random.integers(0, 2, n)
    rows["side"] = random.choice([1, -1], n)
    rows["px_ticks"] = 1000 + random.integers(0, 30, n) - 30 * (rows["side"] > 0)
    rows["px"] = rows["px_ticks"] * np.where(rows["instrument"] == 0, 0.1, 0.01)
    rows["qty"] = random.integers(0, 3, n)
    rows["flags"] = LAST
    return rows


def run(desk: Stepper, rows: Rows, cuts: list[int]) -> list[bytes]:
    asked: list[bytes] = []
    for part in np.split(rows, cuts):
        while len(part):
            n, intents = desk.step(part)
            assert n > 0
            part = part[n:]
            asked += [row.tobytes() for row in intents]
    return asked


@pytest.mark.parametrize("seed", [1, 2])
def test_pieces_of_any_size_give_the_same_bytes(seed: int) -> None:
    rows = market(seed)
    whole, single, plain = Stepper(Busy(), TABLE), Stepper(Busy(), TABLE), Stepper(Busy().python(), TABLE)
    for desk in (whole, single, plain):
        desk.start(seq=0, ts=START)
    asked = run(whole, rows, [])
    assert len(asked) > 20
    assert run(single, rows, list(range(1, len(rows)))) == asked
    assert run(plain, rows, [100]) == asked
    assert single.snapshot() == whole.snapshot() == plain.snapshot()


def test_a_snapshot_goes_on_as_if_nothing_had_been() -> None:
    rows = market(3)
    whole, half = Stepper(Busy(), TABLE), Stepper(Busy(), TABLE)
    for desk in (whole, half):
        desk.start(seq=0, ts=START)
    asked = run(whole, rows, [])
    first = run(half, rows[:200], [])
    restored = Stepper(Busy(), TABLE).load(half.snapshot())
    assert first + run(restored, rows[200:], [57]) == asked
    assert restored.snapshot() == whole.snapshot()
    with pytest.raises(DataError, match="another strategy"):
        Stepper(Quote(), TABLE).load(half.snapshot())


def test_nothing_goes_out_while_it_warms_up_and_only_cancels_while_muted() -> None:
    rows = market(4)
    warm = rows.copy()
    warm["flags"] |= WARM_UP
    desk = Stepper(Busy(), TABLE)
    desk.start(seq=0, ts=START, warm=True)
    assert run(desk, warm, []) == []
    assert int(desk.world.ctx["last_order"][0]) == 0, "an order that never went out has no number"
    assert int(desk.record["seen"][0]) > 0, "but the strategy saw the rows"
    later = rows.copy()
    later["seq"] += len(rows)
    assert run(desk, later, []), "and then it trades"
    desk.mute(True)
    last = later.copy()
    last["seq"] += len(rows)
    last["ts_recv"] += rows["ts_recv"][-1] - START
    last["kind"][0] = Kind.TIMER
    asked = np.frombuffer(b"".join(run(desk, last, [])), desk.world.intents.dtype)
    assert asked["action"].tolist() == [Action.CANCEL], "the order that works; what was dropped is no order"


class Ears(qa.Strategy):
    """Writes down whose book and whose quotes it hears of: 1 and 2, 3 and 4."""

    heard: int = qa.state(0)

    def on_book(self, ctx: Any, book: Any) -> None:
        self.heard = self.heard * 10 + 1 + ctx.instrument

    def on_quote(self, ctx: Any, book: Any) -> None:
        self.heard = self.heard * 10 + 3 + ctx.instrument


@pytest.mark.parametrize(
    ("words", "heard"),
    [
        ("L0. L0!", 1),
        ("L0. Q1! L0!", 41),  # the quote of one is not the book of the other
        ("L0. L1! Q0!", 21),  # nor does the end of the other's message end this one
        ("L0. L1. Q1! Q0!", 21),
        ("Q0. T1! Q0!", 3),
    ],
)
def test_messages_of_two_instruments_that_interleave_are_heard_each_as_it_is(words: str, heard: int) -> None:
    kinds = {"L": Kind.LEVEL, "Q": Kind.QUOTE, "T": Kind.TRADE}
    rows = zeros(2 + len(words.split()), EVENT)
    rows["seq"], rows["ts_exch"], rows["ts_recv"] = 1 + np.arange(len(rows)), START, START + MS
    rows["px_ticks"], rows["qty"], rows["side"] = 1000, 1.0, 1
    rows["kind"][:2], rows["instrument"][:2] = Kind.TRADE, (0, 1)
    for row, (kind, instrument, end) in zip(rows[2:], words.split(), strict=True):
        row["kind"], row["instrument"], row["flags"] = kinds[kind], int(instrument), LAST if end == "!" else 0
    rows["px"] = np.where(rows["instrument"] == 0, 100.0, 10.0)
    desk = Stepper(Ears(), TABLE)
    assert desk.step(rows)[0] == len(rows)
    run = TickRun(Ears(), TABLE)
    run.feed_tape(Tape.from_events(rows, TABLE))
    assert [int(one.record["heard"][0]) for one in (desk, run)] == [heard] * 2, "live, replayed"


def test_a_stale_feed_makes_the_book_invalid_until_it_speaks_again() -> None:
    desk = Stepper(Busy(), TABLE)
    desk.start(seq=0, ts=START)
    rows = zeros(4, EVENT)
    rows["seq"], rows["ts_recv"], rows["flags"] = [1, 2, 3, 4], START, LAST
    rows["kind"] = [Kind.LEVEL, Kind.LEVEL, Kind.STATUS, Kind.LEVEL]
    rows["side"], rows["px_ticks"], rows["qty"] = [1, -1, 0, 1], [999, 1000, 0, 998], 1.0
    rows["aux"][2] = Status.STALE
    run(desk, rows[:2], [])
    assert desk.world.books["valid"][0] == 1
    run(desk, rows[2:3], [])
    assert desk.world.books["valid"][0] == 0
    run(desk, rows[3:], [])
    assert desk.world.books["valid"][0] == 1


def test_on_bar_hears_bars_of_its_own_length() -> None:
    desk = Stepper(Cross(fast=1, slow=2), TABLE, cash=1000.0, bar_ns=60 * SEC)
    desk.start(seq=0, ts=START)
    bars = zeros(12, BAR)
    bars["ts_open"] = START + np.arange(12) * 30 * SEC
    bars["ts_close"] = bars["ts_open"] + np.where(np.arange(12) % 2, 60, 30) * SEC
    bars["close"] = 100.0 + np.arange(12)
    rows = zeros(12, EVENT)
    rows["kind"], rows["seq"], rows["aux"], rows["flags"] = Kind.BAR, 1 + np.arange(12), 7 + np.arange(12), LAST
    rows["ts_recv"], rows["px"] = bars["ts_close"], bars["close"]
    n, intents = desk.step(rows, bars, first_bar=7)
    assert intents["action"].tolist() == [Action.TARGET]
    assert n % 2 == 0, "it decided at a bar of a minute"


def test_a_refused_target_may_be_asked_for_again() -> None:
    desk = Stepper(Cross(fast=1, slow=2), TABLE, cash=1000.0)
    desk.start(seq=0, ts=START)
    desk.world.positions["target"][0] = 1.0
    order = zeros(1, ORDER)
    order["order"], order["state"] = 5, OrderState.REJECTED
    desk.world.orders[0]["order"], desk.world.orders[0]["state"] = 5, OrderState.PENDING
    desk._sight["slots"] = 1
    desk.tell(order, None, seq=3, ts=START)
    assert np.isnan(desk.world.positions["target"][0])
    assert desk.world.orders["state"][0] == OrderState.FREE


def test_parameters_change_while_running() -> None:
    desk = Stepper(Cross(fast=5, slow=20), TABLE)
    desk.change({"fast": 7})
    assert desk.params == {"fast": 7, "slow": 20}
    assert int(desk.record["ema_fast"]["period"][0]) == 7
    with pytest.raises(UnknownName, match="quick"):
        desk.change({"quick": 1})
    with pytest.raises(InputError, match="whole number"):
        desk.change({"fast": 0})
    assert desk.params == {"fast": 7, "slow": 20}


@pytest.mark.parametrize(
    ("held", "lots"), [(-0.0069158, 6), (0.0069158, 6), (0.3 - 0.1, 200), (10000.3 - 10000.2, 100), (0.0009, 0)]
)
def test_closing_never_asks_for_more_than_is_held(held: float, lots: int) -> None:
    desk = Stepper(Busy(), TABLE)
    none = np.zeros(2)
    desk.hold(np.array([held, 0.0]), none, none, none, 0.0)
    asked = desk.flatten(seq=1, ts=START)
    assert [(int(row["side"]), int(row["qty_lots"])) for row in asked] == (
        [(-1 if held > 0 else 1, lots)] if lots else []
    )


def test_more_orders_than_a_strategy_may_ask_for_at_one_row_are_canceled_at_once() -> None:
    desk = Stepper(Busy(), TABLE)
    orders = desk.world.orders[:400]
    orders["order"], orders["state"], desk._sight["slots"] = 1 + np.arange(400), OrderState.OPEN, 400
    asked = desk.flatten(seq=1, ts=START)
    assert asked["order"].tolist() == [*range(1, 401)]
    assert asked["k"].tolist() == [*range(400)]
    assert set(asked["action"].tolist()) == {Action.CANCEL}

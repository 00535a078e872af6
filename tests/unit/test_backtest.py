"""Accounting and order handling of a backtest, each on a handful of bars worked out by hand."""

import numpy as np
import pandas as pd
import pytest

import quantai as qa
from quantai.backtest import BarRun, Settings
from quantai.core.instruments import Contract, Payoff
from quantai.core.rows import BAR


def bars(*prices, symbol="X", instrument=None):
    """Bars that open at the previous close and close at each price."""
    instrument = instrument or qa.Instrument(symbol=symbol, quote="USD", tick="0.01", lot="0.001")
    rows = np.zeros(len(prices) - 1, BAR)
    rows["open"], rows["close"] = prices[:-1], prices[1:]
    rows["high"], rows["low"] = np.maximum(rows["open"], rows["close"]), np.minimum(rows["open"], rows["close"])
    rows["ts_open"] = np.arange(len(rows)) * qa.MIN
    rows["ts_close"] = rows["ts_open"] + qa.MIN
    return qa.Bars(rows, qa.Instruments([instrument]), "1m")


class Script(qa.Strategy):
    """Buys or sells `qty` at the close of bar `at`, and leaves at the close of bar `leave`."""

    at: int = 0
    leave: int = 99
    qty: float = 1.0
    limit: float = 0.0
    seen: int = qa.state(0)

    def on_bar(self, ctx, bar):
        if self.seen == self.at:
            if self.limit > 0.0:
                ctx.buy(self.qty, limit=self.limit)
            elif self.qty > 0.0:
                ctx.buy(self.qty)
            else:
                ctx.sell(-self.qty)
        if self.seen == self.leave:
            ctx.target(0.0)
        self.seen += 1


def test_a_market_order_fills_at_the_next_open():
    r = qa.backtest(Script(qty=10.0), bars(100, 101, 105, 110), cash=10_000.0)
    assert r.fills[["px", "qty", "side", "where"]].values.tolist() == [[101.0, 10.0, 1, "open"]]
    assert r.equity["equity"].tolist() == [10_000.0, 10_040.0, 10_090.0]
    assert r.equity["cash"].iloc[-1] == 10_000.0 - 1_010.0


def test_fee_and_slippage_are_paid():
    r = qa.backtest(Script(qty=10.0), bars(100, 100, 100), cash=10_000.0, fee_bps=10.0, slip_bps=20.0)
    px = 100 * 1.002
    assert r.fills["px"].iloc[0] == pytest.approx(px, rel=1e-12)
    assert r.fills["fee"].iloc[0] == pytest.approx(10 * px * 0.001, rel=1e-12)
    assert r.equity["equity"].iloc[-1] == pytest.approx(10_000 - 10 * (px - 100) - 10 * px * 0.001, rel=1e-12)


def test_a_short_gains_when_price_falls():
    r = qa.backtest(Script(qty=-10.0, leave=1), bars(100, 100, 90, 80), cash=10_000.0)
    trade = r.trades.iloc[0]
    assert (trade["side"], trade["entry_px"], trade["exit_px"], trade["pnl"]) == (-1, 100.0, 90.0, 100.0)


def test_an_order_beyond_the_leverage_is_refused_with_its_reason():
    r = qa.backtest(Script(qty=101.0), bars(100, 100, 100), cash=10_000.0)
    assert r.orders[["state", "reason"]].values.tolist() == [["REJECTED", "NO_CASH"]]
    assert len(r.fills) == 0
    assert len(qa.backtest(Script(qty=101.0), bars(100, 100, 100), cash=10_000.0, leverage=1.02).fills) == 1


def test_an_order_still_working_at_the_end_is_listed():
    r = qa.backtest(Script(limit=50.0), bars(100, 100, 100), cash=10_000.0)
    assert r.orders[["type", "state", "limit"]].values.tolist() == [["LIMIT", "OPEN", 50.0]]


def test_limit_prices_are_rounded_to_the_passive_side():
    r = qa.backtest(Script(limit=99.999), bars(100, 100, 100), cash=10_000.0)
    assert r.orders["limit"].iloc[0] == 99.99


class Nonsense(qa.Strategy):
    def on_bar(self, ctx, bar):
        ctx.buy(0.0)
        ctx.buy(-1.0)
        ctx.buy(0.0001)
        ctx.target(1.0 / 3.0 - 1.0 / 3.0 + ctx.position() * float("nan"))


def test_requests_that_cannot_be_orders_are_counted():
    r = qa.backtest(Nonsense(), bars(100, 100, 100))
    assert r.refused == {"BAD_QTY": 8}
    assert any("8 requests refused: BAD_QTY" in note for note in r.notes)


def test_an_inverse_contract_pays_in_coin():
    inverse = qa.Instrument.parse(
        "BTC-USD-PERP", payoff=Payoff.INVERSE, settle="BTC", tick="0.5", lot="1", multiplier="1"
    )
    r = qa.backtest(Script(qty=10_000.0), bars(50_000, 50_000, 40_000, instrument=inverse), cash=1.0)
    assert r.currency == "BTC"
    assert r.equity["equity"].iloc[-1] == pytest.approx(1.0 + 10_000 * (1 / 50_000 - 1 / 40_000), rel=1e-12)


def test_a_contract_multiplier_scales_money():
    es = qa.Instrument(
        symbol="ES-USD-20240315", contract=Contract.FUTURE, quote="USD", tick="0.25", lot="1", multiplier="50"
    )
    r = qa.backtest(Script(qty=1.0), bars(4000, 4000, 4010, instrument=es), cash=100_000.0, leverage=5.0)
    assert r.equity["equity"].iloc[-1] == 100_500.0


class Pair(qa.Strategy):
    """Half in each instrument."""

    def on_bar(self, ctx, bar):
        ctx.target(0.5)


def test_two_instruments_share_one_account():
    both = qa.Bars.concat([bars(100, 100, 110, 110, symbol="A"), bars(10, 10, 10, 20, symbol="B")])
    r = qa.backtest(Pair(), both, cash=1_000.0)
    assert r.fills.groupby("symbol", observed=True)["qty"].first().to_dict() == {"A": 5.0, "B": 50.0}
    assert r.equity["equity"].tolist() == [1_000.0, 1_050.0, 1_550.0]


class CancelOther(qa.Strategy):
    """A rests a bid in B; at the second close A cancels it, in the very instant in which B trades through it."""

    seen: int = qa.state(0)
    order: int = qa.state(0)

    def on_bar(self, ctx, bar):
        if bar.instrument == 0:
            self.seen += 1
            if self.seen == 1:
                self.order = ctx.buy(1.0, limit=9.0, instrument=1)
            if self.seen == 2:
                ctx.cancel(self.order)


def test_a_decision_at_a_close_cannot_undo_what_traded_before_it():
    both = qa.Bars.concat([bars(100, 100, 100, symbol="A"), bars(10, 10, 8, symbol="B")])
    r = qa.backtest(CancelOther(), both)
    assert r.fills[["symbol", "px"]].values.tolist() == [["B", 9.0]]


def test_bars_of_one_instant_are_fed_together():
    both = qa.Bars.concat([bars(100, 100, symbol="A"), bars(10, 10, symbol="B")])
    run = BarRun(Pair(), both.instruments)
    run.feed(both.rows[:1])
    with pytest.raises(qa.DataError, match="all bars of one instant together"):
        run.feed(both.rows[1:])


def test_two_settlement_currencies_do_not_share_an_account():
    coin = qa.Instrument(symbol="C", quote="EUR")
    both = qa.Bars.concat([bars(1, 1, symbol="A"), bars(1, 1, instrument=coin)])
    with pytest.raises(qa.InputError, match="one settlement currency"):
        qa.backtest(Pair(), both)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"cash": 0}, "cash must be"),
        ({"leverage": -1}, "leverage must be"),
        ({"slip_bps": -1}, "slip_bps"),
        ({"fee_bps": 1e6}, "basis points"),
        ({"feebps": 1}, "did you mean 'fee_bps'"),
        ({"max_orders": 0}, "max_orders"),
    ],
)
def test_bad_settings_say_what_they_should_be(settings, why):
    with pytest.raises(qa.InputError, match=why):
        qa.backtest(Pair(), bars(1, 1), **settings)


def test_no_bars_is_an_error():
    with pytest.raises(qa.DataError, match="there are no bars"):
        qa.backtest(Pair(), bars(1, 1)[:0])


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: f.tz_localize(None), "no time zone"),
        (lambda f: f.iloc[::-1], "time goes backwards"),
        (lambda f: pd.concat([f, f]).sort_index(), "is repeated"),
        (lambda f: f.assign(close=float("nan")), "is not a number"),
        (lambda f: f.drop(columns="high"), "high missing"),
        (lambda f: f.assign(low=1e9), "low above"),
    ],
    ids=["naive", "unsorted", "repeated", "nan", "column", "range"],
)
def test_bad_frames_are_refused(change, why):
    frame = bars(100, 101, 102, 103).df()
    with pytest.raises(qa.DataError, match=why):
        qa.Bars.from_frame(change(frame), "X", "1m")


def test_a_settings_object_is_printed_with_the_result():
    r = qa.backtest(Script(), bars(100, 101, 102), fee_bps=2.0)
    assert r.provenance["settings"]["fee_bps"] == 2.0
    assert set(r.provenance) >= {"strategy", "source", "params", "data", "versions"}
    assert Settings(fee_bps=2.0).as_dict() == r.provenance["settings"]

"""The same crossovers through vectorbt and backtesting.py on real data: the same trades and the same final equity.

Matched settings: decided at a close, filled at the next open, all of equity, no fees or fees in basis points. Where the
peers' rules differ from ours, docs/fills.md says how; nothing here is tuned to agree.
"""

import warnings

import numpy as np
import pandas as pd
import pytest

import quantai as qa

CASH = 100_000.0


class EmaCross(qa.Strategy):
    fast: int = 10
    slow: int = 50
    ema_fast = qa.ind.ema("fast")
    ema_slow = qa.ind.ema("slow")

    def on_bar(self, ctx, bar):
        fast = self.ema_fast.update(bar.close)
        slow = self.ema_slow.update(bar.close)
        if self.ema_slow.ready:
            ctx.target(1.0 if fast > slow else 0.0)


class SmaCross(qa.Strategy):
    """Above by more than rounding: on a price grid two averages are often equal, and then floats decide by luck."""

    fast: int = 10
    slow: int = 50
    sma_fast = qa.ind.sma("fast")
    sma_slow = qa.ind.sma("slow")

    def on_bar(self, ctx, bar):
        fast = self.sma_fast.update(bar.close)
        slow = self.sma_slow.update(bar.close)
        if self.sma_slow.ready:
            ctx.target(1.0 if fast > slow * (1.0 + 1e-9) else 0.0)


def wanted(strategy, close):
    """When to be long, worked out independently: by pandas for EMA, in exact integers for SMA."""
    fast, slow = strategy.fast, strategy.slow
    if isinstance(strategy, EmaCross):
        quick, calm = (close.ewm(span=n, adjust=False, min_periods=slow).mean() for n in (fast, slow))
        return (quick > calm) & calm.notna()
    ticks = np.rint(close.to_numpy() * 10_000).astype("i8")
    total = np.concatenate([[0], np.cumsum(ticks)])
    at = np.arange(slow, len(total))
    above = (total[at] - total[at - fast]) * slow > (total[at] - total[at - slow]) * fast
    return pd.Series(np.concatenate([np.zeros(slow - 1, bool), above]), close.index)


@pytest.fixture(scope="session")
def spy(shared_data):
    from quantai.data import lean

    return lean.read(shared_data / "market/equity/daily/spy.zip")


@pytest.fixture(scope="session")
def btc(shared_data):
    from quantai.data import lean

    days = sorted((shared_data / "market/crypto/minute/btcusd").glob("*_trade.zip"))
    parts = [lean.read(day) for day in days]
    rows = np.concatenate([p.rows for p in parts])
    return qa.Bars(rows, parts[0].instruments, "1m")


def free_grid(bars):
    """The same bars on a grid fine enough not to round sizes: the peers trade fractions without end."""
    return qa.Bars.from_frame(bars.df(), qa.Instrument(symbol="ASSET", quote="USD", lot="1e-12"), bars.interval)


DATA = ("spy", "btc")


@pytest.mark.parametrize("fee_bps", [0.0, 5.0])
@pytest.mark.parametrize("strategy", [EmaCross(), SmaCross()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("data", DATA)
def test_vectorbt_from_signals(data, strategy, fee_bps, request):
    vbt = pytest.importorskip("vectorbt")
    bars = free_grid(request.getfixturevalue(data))
    frame = bars.df()
    ours = qa.backtest(strategy, bars, cash=CASH, fee_bps=fee_bps)
    long = wanted(strategy, frame["close"]).to_numpy()
    entries = np.append(False, long[:-1])  # decided at one close, traded at the next open
    portfolio = vbt.Portfolio.from_signals(
        frame["close"],
        entries=pd.Series(entries, frame.index),
        exits=pd.Series(~entries, frame.index),
        price=frame["open"],
        init_cash=CASH,
        fees=fee_bps / 1e4,
        freq="1min",
    )
    theirs = portfolio.trades.records
    closed = ours.trades
    assert len(closed) == len(theirs) > 3
    entry = frame.index.get_indexer(closed["entry_ts"])
    assert entry.tolist() == theirs["entry_idx"].tolist()
    np.testing.assert_allclose(closed["entry_px"], theirs["entry_price"], rtol=1e-12)
    np.testing.assert_allclose(closed["qty"], theirs["size"], rtol=1e-9)
    np.testing.assert_allclose(closed["exit_px"], theirs["exit_price"], rtol=1e-12)
    np.testing.assert_allclose(ours.equity["equity"], portfolio.value(), rtol=1e-9)


@pytest.mark.parametrize("strategy", [EmaCross(), SmaCross()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("data", DATA)
def test_backtesting_py(data, strategy, request):
    backtesting = pytest.importorskip("backtesting")
    bars = free_grid(request.getfixturevalue(data))
    frame = bars.df()
    # backtesting.py trades whole units only: scaled prices make its units small enough to compare at 1e-9
    scale = 1e-9
    theirs_in = frame[["open", "high", "low", "close"]].rename(columns=str.capitalize) * scale
    theirs_in["Volume"] = frame["volume"]
    theirs_in.index = theirs_in.index.tz_localize(None)
    long = wanted(strategy, frame["close"]).to_numpy()

    class Peer(backtesting.Strategy):
        def init(self):
            pass

        def next(self):
            want = long[len(self.data) - 1]
            if want and not self.position:
                units = int(self.equity // theirs_in["Open"].iloc[len(self.data)]) if len(self.data) < len(frame) else 0
                if units:
                    self.buy(size=units)
            elif not want and self.position:
                self.position.close()

    bt = backtesting.Backtest(theirs_in, Peer, cash=CASH, commission=0.0, margin=0.5, finalize_trades=False)
    with warnings.catch_warnings():
        # it uses pandas names that are going away, and warns of an open trade, which is compared below
        warnings.simplefilter("ignore")
        stats = bt.run()
    ours = qa.backtest(strategy, bars, cash=CASH)
    closed = ours.trades[~ours.trades["open"]]
    trades = stats["_trades"]
    assert len(closed) == len(trades) > 3
    assert frame.index.get_indexer(closed["entry_ts"]).tolist() == trades["EntryBar"].tolist()
    np.testing.assert_allclose(closed["entry_px"] * scale, trades["EntryPrice"], rtol=1e-12)
    np.testing.assert_allclose(closed["ret"], trades["ReturnPct"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.equity["equity"].iloc[-1], stats["_equity_curve"]["Equity"].iloc[-1], rtol=1e-9)


@pytest.mark.parametrize("data", DATA)
def test_to_vectorbt_gives_the_same_value(data, request):
    pytest.importorskip("vectorbt")
    ours = qa.backtest(EmaCross(), free_grid(request.getfixturevalue(data)), cash=CASH, fee_bps=5.0)
    np.testing.assert_allclose(ours.to_vectorbt().value(), ours.equity["equity"], rtol=1e-9)

"""One kernel: whichever way an example strategy is run, on real or generated rows, it asks for the same."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

import quantai as qa
from quantai.backtest import BarRun, Settings
from quantai.backtest.replay import replay
from quantai.backtest.tick_run import TickRun
from quantai.data import Lake
from quantai.data.tape import Tape
from quantai.strategy.examples import Cross, Quote, Reversion
from quantai.venues import SimVenue
from tests.bench import gen_ticks
from tests.integration.test_record_captures import capture

BARS = [Cross(fast=5, slow=20), Reversion(period=15, weight=0.5)]
COSTS = {"fee_bps": 1.0, "slip_bps": 0.5}
VENUE = SimVenue(queue="power_prob", maker_bps=-0.5, taker_bps=7.0)
LOGS = ("intents", "orders", "fills")


@pytest.fixture(scope="module", params=["generated", "sp500"])
def bars(request: pytest.FixtureRequest) -> qa.Bars:
    return qa.synth.bars(3_000, seed=8) if request.param == "generated" else qa.samples.sp500()


def recorded(shared_data: Path, folder: Path) -> Tape:
    """The first 30 000 rows of BTC-USDT-PERP from a capture of Binance, through the recorder and the lake."""
    from quantai.feeds.recorder import record_capture

    lake = Lake(folder)
    venue = asyncio.run(record_capture(capture(shared_data, "BINANCE_FUTURES_2024-08-08"), lake)).venue
    whole = lake.tape("BTC-USDT-PERP", venue=venue, quiet=True)
    rows = whole.rows[:30_000].copy()
    # a run that is fed row by row takes the exchange's clock in its order, too
    rows["ts_exch"] = np.maximum.accumulate(rows["ts_exch"])
    return Tape.from_events(rows, whole.instruments)


@pytest.fixture(scope="module", params=["generated", "recorded"])
def tape(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tape:
    if request.param == "generated":
        return gen_ticks.tape(30_000, 8)
    return recorded(request.getfixturevalue("shared_data"), tmp_path_factory.mktemp("lake"))


def logs(*runs: BarRun | TickRun) -> list[bytes]:
    return [b"".join(r.rows(name).tobytes() for r in runs) for name in LOGS]


@pytest.mark.parametrize("strategy", BARS, ids=lambda s: type(s).__name__)
def test_on_bars(strategy: qa.Strategy, bars: qa.Bars) -> None:
    settings = Settings(**COSTS)
    whole = BarRun(strategy, bars.instruments, settings)
    whole.feed(bars.rows)
    stepped = BarRun(strategy, bars.instruments, settings)
    for k in range(len(bars)):
        stepped.feed(bars.rows[k : k + 1])
    plain = BarRun(strategy.python(), bars.instruments, settings)
    plain.feed(bars.rows)
    assert len(whole.rows("intents")) > 10
    assert logs(whole) == logs(stepped) == logs(plain)
    assert whole.snapshot() == stepped.snapshot()
    result = qa.backtest(strategy, bars, **COSTS)
    swept = qa.sweep(type(strategy), bars, variants=[strategy.params], **COSTS)
    assert result.intents.tobytes() == swept.run(0).intents.tobytes() == logs(whole)[0]
    assert swept.frame()["fills"][0] == len(result.fills)
    assert swept.frame()["total_return"][0] == pytest.approx(result.stats["total_return"], rel=1e-12)
    for cut in (1, len(bars) // 3, len(bars) - 1):
        head = BarRun(strategy, bars.instruments, settings)
        head.feed(bars.rows[:cut])
        tail = BarRun.restored(head.snapshot(), strategy, bars.instruments, settings)
        tail.feed(bars.rows[cut:])
        assert logs(head, tail) == logs(whole)
        assert tail.snapshot() == whole.snapshot()


def test_on_ticks(tape: Tape) -> None:
    strategy, n = Quote(offset=1), len(tape)
    whole = TickRun(strategy, tape.instruments, VENUE)
    whole.feed_tape(tape)
    stepped = TickRun(strategy, tape.instruments, VENUE)
    for k in range(n // 6):
        stepped.feed(tape.rows[k : k + 1])
    stepped.feed(tape.rows[n // 6 :])
    stepped.finish()
    plain = TickRun(strategy.python(), tape.instruments, VENUE)
    plain.feed_tape(tape)
    assert len(whole.rows("intents")) > 100
    assert logs(whole) == logs(stepped) == logs(plain)
    result = replay(strategy, tape, VENUE)
    swept = qa.sweep(Quote, tape, variants=[strategy.params], venue=VENUE)
    assert result.intents.tobytes() == swept.run(0).intents.tobytes() == logs(whole)[0]
    row = swept.frame().iloc[0]
    assert (row["submits"], row["cancels"], row["fills"]) == (result.submits, result.cancels, len(result.fill_rows))
    assert (row["fees"], row["volume"]) == (result.fee, result.volume)
    assert row["pnl"] == result.equity_rows["equity"][-1] - result.cash
    for cut in (n // 7, n // 2, n - 1):
        head = TickRun(strategy, tape.instruments, VENUE)
        head.feed(tape.rows[:cut])
        tail = TickRun.restored(head.snapshot(), strategy, tape.instruments, VENUE)
        tail.feed(tape.rows[cut:])
        tail.finish()
        assert logs(head, tail) == logs(whole)

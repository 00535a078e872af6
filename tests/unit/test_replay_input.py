"""What cannot be replayed is refused before it runs, in one line that names it."""

import numpy as np
import pandas as pd
import pytest

import quantai as qa
from quantai.backtest.tick_run import TickRun
from quantai.data.tape import Tape
from quantai.strategy.examples import Quote
from quantai.venues import RECORDED, Latency
from tests.bench import gen_ticks

TAPE = gen_ticks.tape(1_000, 1)


@pytest.mark.parametrize(
    ("strategy", "tape", "settings", "message"),
    [
        (3, TAPE, {}, "runs a Strategy, an object or its class; got int"),
        (Quote(), qa.synth.bars(10, seed=1), {}, "over a Tape, got Bars: qa.backtest runs on bars"),
        (Quote(), TAPE.rows, {}, "over a Tape, got ndarray"),
        (Quote(), TAPE, {"venue": "BINANCE"}, "venue is a SimVenue, or a SimVenue by venue name; got 'BINANCE'"),
        (Quote(), TAPE, {"venue": {"BINANCE_FUTURES": 5}}, "venue is a SimVenue, or a SimVenue by venue name; got 5"),
        (
            Quote(),
            TAPE,
            {"venue": {"OKX": qa.SimVenue()}},
            "unknown venue of these instruments 'OKX'.*BINANCE_F",
        ),
        (Quote(), TAPE, {"venue": {}}, "no SimVenue for BINANCE_FUTURES, which has instruments here"),
        (Quote(), TAPE, {"cash": -1.0}, "cash must be a positive amount, got -1.0"),
        (Quote(), TAPE, {"cash": np.nan}, "cash must be a positive amount, got nan"),
        (Quote(), TAPE, {"cash": "a"}, "cash must be a positive amount, got 'a'"),
        (Quote(), TAPE, {"sample_ns": 0}, "whole nanoseconds; got 0"),
        (Quote(), TAPE, {"sample_ns": 1.5}, "whole nanoseconds; got 1.5"),
        (Quote(), TAPE, {"sample_ns": 1}, "would sample equity .* times: take a longer step"),
    ],
)
def test_bad_input_is_named(strategy, tape, settings, message):
    with pytest.raises(qa.InputError, match=message):
        qa.replay(strategy, tape, **settings)


class Named(qa.Strategy):
    """Has parameters called like a statistic and like a setting."""

    pnl: float = 1.0
    venue: int = 0

    def on_trade(self, ctx, trade):
        pass


def recorded(*response_ns):
    """Round trips with these responses."""
    table = np.zeros(len(response_ns), RECORDED)
    table["ts"], table["entry_ns"], table["response_ns"] = np.arange(len(response_ns)), 1, response_ns
    return table


class OnBars(qa.Strategy):
    """Waits for bars, which no tape has."""

    def on_bar(self, ctx, bar):
        ctx.target(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: qa.SimVenue(latency=5), "latency of SimVenue is a Latency.*got 5"),
        (lambda: qa.SimVenue(maker_bps="1"), "maker_bps of SimVenue is a number, got '1'"),
        (lambda: qa.SimVenue(seed=1.5), "seed of SimVenue is a whole number, got 1.5"),
        (lambda: qa.SimVenue(power=np.nan), "power must be a positive number, got nan"),
        (lambda: Latency(entry_ns=2e6), "entry_ns of Latency is a number of whole nanoseconds, got 2000000.0"),
        (lambda: Latency(entry_sd_ns=np.nan), "a finite number that is not negative"),
        (lambda: Latency(table=[1]), "an array of RECORDED rows"),
        (lambda: Latency(entry_ns=10**17), "entry_ns of Latency is in nanoseconds, an hour at most; got 10+"),
        (lambda: Latency(response_sd_ns=1e16), "response_sd_ns of Latency is in nanoseconds, an hour at most"),
        (lambda: Latency(table=recorded(5, 10**15)), "row 1 of the recorded latencies: response_ns is 0 to an hour"),
        (lambda: Latency(table=recorded(5, -1)), "row 1 of the recorded latencies: response_ns is 0 to an hour"),
        (lambda: qa.SimVenue(seed=-1), "seed of SimVenue is a whole number from 0"),
        (lambda: TickRun(Quote(), TAPE.instruments, "BINANCE"), "by venue name; got 'BINANCE'"),
        (lambda: TickRun(Quote(), TAPE.instruments, cash=np.nan), "cash must be a positive amount, got nan"),
        (lambda: TickRun(Quote(), TAPE.instruments, sample_ns=1.5), "whole nanoseconds; got 1.5"),
        (lambda: TickRun(Quote(), TAPE.instruments, max_orders=1.5), "within 1 to 4096, got 1.5"),
        (lambda: qa.replay(OnBars, TAPE), "OnBars.on_bar would never be called: .* qa.backtest"),
        (lambda: qa.backtest(Quote(), TAPE), "got a Tape: qa.replay runs over ticks"),
        (lambda: Tape.from_events(TAPE.rows, TAPE.instruments[0]), "takes a table or a list of instruments"),
        (lambda: Tape.from_events(TAPE.rows, "BTC-USDT"), "takes a table or a list of instruments"),
        (lambda: Tape.from_events(TAPE.rows, ["BTC-USDT"]), "takes instruments, .*not 'BTC-USDT'"),
        (lambda: Tape.from_events(pd.DataFrame({"px": [1.0]}), TAPE.instruments), "EVENT rows .*not a DataFrame"),
        (lambda: Tape.from_events([1, 2], TAPE.instruments), "EVENT rows .*not a list"),
        (lambda: Tape.from_events(np.zeros(3), TAPE.instruments), "EVENT rows .*1-dimensional array of float64"),
        (lambda: Tape.open("/"), "/ cannot be read as a tape: Is a directory"),
        (lambda: TAPE.save("/no such folder/x.tape"), "/no such folder: there is no such folder"),
        (lambda: qa.sweep(Quote, TAPE, sample_ns=1), "would sample equity .* times: take a longer step"),
        (lambda: qa.sweep(Named, TAPE, pnl=[1.0, 2.0]), "parameter pnl of Named is called like a statistic"),
        (lambda: qa.sweep(Named, TAPE, venue=qa.SimVenue()), "parameter venue of Named is called like a .* setting"),
        (lambda: qa.sweep(Quote, TAPE, variants=[{"venue": "OKX"}]), "venue 'OKX' of a variant is no place"),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises(qa.InputError, match=message):
        call()

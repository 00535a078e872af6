"""What cannot be replayed is refused before it runs, in one line that names it."""

import numpy as np
import pytest

import quantai as qa
from quantai.strategy.examples import Quote
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
        (Quote(), TAPE, {"venue": {"OKX": qa.SimVenue()}}, "unknown venue 'BINANCE_FUTURES'"),
        (Quote(), TAPE, {"venue": qa.SimVenue(latency=5)}, "is a Latency.*got 5"),
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

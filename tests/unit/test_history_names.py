"""Symbols cross between our spelling and ccxt's without loss, and every venue names a ccxt class that exists."""

import datetime as dt
import inspect
from itertools import pairwise

import ccxt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantai.core.errors import InputError, UnknownName
from quantai.core.instruments import Instrument
from quantai.data.history import names
from quantai.data.history.download import gaps, joined

code = st.from_regex(r"[A-Z0-9]{2,6}", fullmatch=True)
expiry = st.dates(dt.date(2001, 1, 1), dt.date(2099, 12, 31)).map(lambda d: f"-{d:%Y%m%d}")
strike = st.sampled_from(["90000", "0.5", "1250.5", "7"])
tail = st.one_of(
    st.just(""),
    st.just("-PERP"),
    expiry,
    st.tuples(expiry, strike, st.sampled_from("CP")).map(lambda x: f"{x[0]}-{x[1]}-{x[2]}"),
)
spans = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)).map(lambda x: (x[0], x[0] + x[1])), max_size=8)


@given(code, code, tail)
def test_a_symbol_comes_back_from_every_spelling_that_ccxt_may_have(base: str, quote: str, tail: str) -> None:
    symbol = f"{base}-{quote}{tail}"
    for spelling in names.to_ccxt(symbol):
        assert names.from_ccxt(spelling) == symbol


@pytest.mark.parametrize(
    ("symbol", "spelling"),
    [
        ("BTC-USDT", "BTC/USDT"),
        ("BTC-USDT-PERP", "BTC/USDT:USDT"),
        ("BTC-USD-PERP", "BTC/USD:BTC"),
        ("BTC-USDT-20240628", "BTC/USDT:USDT-240628"),
        ("BTC-USD-20240628", "BTC/USD:BTC-240628"),
        ("BTC-USD-20240628-90000-C", "BTC/USD:BTC-240628-90000-C"),
        ("ETH-USDC-20240628-2500.5-P", "ETH/USDC:USDC-240628-2500.5-P"),
    ],
)
def test_spellings_of_the_ccxt_manual(symbol: str, spelling: str) -> None:
    assert names.to_ccxt(symbol)[0] == spelling
    assert names.from_ccxt(spelling) == symbol
    assert Instrument.parse(symbol).symbol == symbol


def test_the_market_decides_what_a_dollar_contract_settles_in() -> None:
    inverse, linear = {"BTC/USD:BTC": 1, "BTC/USD": 1}, {"BTC/USD:USD": 1}
    assert names.resolve("BTC-USD-PERP", "DERIBIT", inverse, inverse) == "BTC/USD:BTC"
    assert names.resolve("BTC-USD-PERP", "KRAKEN_FUTURES", linear, linear) == "BTC/USD:USD"
    with pytest.raises(InputError, match="'BTC-USDT-PREP' is not normalised"):
        names.resolve("BTC-USDT-PREP", "OKX", {}, ["BTC/USDT:USDT"])
    with pytest.raises(UnknownName, match=r"unknown symbol of OKX 'BTC-USDC-PERP': did you mean 'BTC-USDT-PERP'"):
        names.resolve("BTC-USDC-PERP", "OKX", {}, ["BTC/USDT:USDT", "1000SATS/USDT"])


@pytest.mark.parametrize("spelling", ["BTCUSDT", "BTC/USDT:USDT:X", "btc/usdt", ""])
def test_what_is_no_ccxt_symbol_is_refused(spelling: str) -> None:
    with pytest.raises(InputError, match="cannot be normalised"):
        names.from_ccxt(spelling)


@pytest.mark.parametrize("venue", sorted(names.VENUES))
def test_each_venue_is_one_of_ccxt_and_gives_what_is_claimed(venue: str) -> None:
    place = names.place(venue)
    exchange = getattr(ccxt, place.ccxt_id)()
    assert exchange.has["fetchOHLCV"]
    if place.trades:  # asking for a stretch of trades needs both ends of it
        source = inspect.getsource(type(exchange).fetch_trades) + inspect.getsource(
            type(exchange).__mro__[1].fetch_trades
        )
        assert "until" in source


@given(spans, st.tuples(st.integers(0, 50), st.integers(1, 50)))
def test_gaps_and_joined_agree_with_counting_one_by_one(parts: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    have: list[tuple[int, int]] = []
    for part in parts:
        have = joined(have, part)
    assert all(a[1] < b[0] for a, b in pairwise(have)), "sorted and apart"
    held = {t for a, b in have for t in range(a, b)}
    assert held == {t for a, b in parts for t in range(a, b)}
    start, end = asked[0], asked[0] + asked[1]
    assert {t for a, b in gaps(have, start, end) for t in range(a, b)} == set(range(start, end)) - held

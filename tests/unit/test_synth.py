"""Synthetic markets keep the promises of a real one: no crossed book, prints at the touch, one order of events."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantai.core.errors import InputError
from quantai.core.instruments import Instrument
from quantai.core.rows import BUY, DERIVED, HOUR, LAST, MS, SELL, SNAPSHOT, Kind
from quantai.data import Lake, Writer, synth
from quantai.data.synth import flow

ROWS = 4_000
seeds = st.integers(0, 2**32 - 1)


def make(seed: int, **kw: object) -> synth.SyntheticMarket:
    return synth.market(n=ROWS, seed=seed, **kw)  # pyright: ignore[reportArgumentType]


def replay(market: synth.SyntheticMarket) -> dict[int, dict[int, float]]:
    """Rebuild the book in plain Python, asserting every property that holds while it is built."""
    book: dict[int, dict[int, float]] = {BUY: {}, SELL: {}}
    printed: dict[int, float] = {}  # what the trades since the last level message took, by tick
    quote: dict[int, tuple[int, float]] = {}

    def best(side: int) -> int:
        live = [t for t, q in book[side].items() if q - printed.get(t, 0.0) > 1e-9]
        return max(live) if side == BUY else min(live)

    for row in market.events:
        kind, side, ticks, qty = int(row["kind"]), int(row["side"]), int(row["px_ticks"]), float(row["qty"])
        if kind == Kind.CLEAR:
            book[BUY].clear()
            book[SELL].clear()
        elif kind == Kind.TRADE:
            assert ticks == best(-side), "a trade prints at the best price left by the trades before it"
            assert qty > 0
            printed[ticks] = printed.get(ticks, 0.0) + qty
        elif kind == Kind.LEVEL:
            if ticks in printed:
                assert book[side][ticks] - printed.pop(ticks) == pytest.approx(qty), "what the trade left"
            if qty:
                book[side][ticks] = qty
            else:
                del book[side][ticks]  # a deletion names a level that exists
        elif kind == Kind.QUOTE:
            quote[side] = (ticks, qty)
        if row["flags"] & LAST and kind != Kind.TRADE:
            assert not printed, "every trade is followed by the level update that it caused"
            assert max(book[BUY]) < min(book[SELL]), "the book is crossed"
            if kind == Kind.QUOTE:
                for s, t in ((BUY, max(book[BUY])), (SELL, min(book[SELL]))):
                    assert quote[s] == (t, book[s][t]), "the quote is the best of the book"
    return book


@given(seeds)
@settings(max_examples=15, deadline=None)
def test_book_is_never_crossed_and_ends_as_the_market_says(seed: int) -> None:
    market = make(seed)
    book = replay(market)
    for side in (BUY, SELL):
        rows = market.book[market.book["side"] == side]
        assert dict(zip(rows["px_ticks"].tolist(), rows["qty"].tolist(), strict=True)) == book[side]
    ticks = market.book["px_ticks"]
    bids = market.book["side"] == BUY
    assert (np.diff(ticks[bids]) < 0).all(), "best first"
    assert (np.diff(ticks[~bids]) > 0).all(), "best first"


@given(seeds, st.sampled_from([1.0, 20.0, 5_000.0]), st.sampled_from([0.0, 0.2, 3.0]))
@settings(max_examples=15, deadline=None)
def test_time_and_sequence_only_go_forward(seed: int, arrivals_per_s: float, volatility: float) -> None:
    events = make(seed, arrivals_per_s=arrivals_per_s, volatility=volatility).events
    assert events["seq"].tolist() == list(range(1, len(events) + 1))
    for name in ("ts_exch", "ts_recv"):
        assert (np.diff(events[name]) >= 0).all(), name
    latency = events["ts_recv"] - events["ts_exch"]
    assert latency.min() >= 0.9 * MS
    assert np.median(latency) < 5 * MS
    assert (events["flags"] & DERIVED).all()
    assert events["flags"][-1] & LAST


def test_rows_of_one_message_share_their_times() -> None:
    events = make(3).events
    inside = ~(events["flags"] & LAST).astype(bool)[:-1]
    for name in ("ts_exch", "ts_recv", "kind"):
        same = events[name][1:] == events[name][:-1]
        if name == "kind":
            same[0] = True  # the snapshot is one message that starts with a CLEAR row
        assert same[inside].all(), name


@given(seeds)
@settings(max_examples=5, deadline=None)
def test_same_seed_same_bytes_and_another_seed_another_market(seed: int) -> None:
    one, two, other = make(seed), make(seed), make(seed + 1)
    assert one.events.tobytes() == two.events.tobytes()
    assert one.book.tobytes() == two.book.tobytes()
    assert one.events.tobytes() != other.events.tobytes()


def test_a_shorter_market_is_a_prefix_of_a_longer_one() -> None:
    hour, by_rows = synth.market(hours=1, seed=5), synth.market(n=300_000, seed=5)
    assert len(hour.events) > flow.ROWS_AT_START + (1 << 18), "long enough to be made in two pieces"
    shared = min(len(hour.events), len(by_rows.events))
    assert hour.events[:shared].tobytes() == by_rows.events[:shared].tobytes()
    assert int(hour.events["ts_exch"][-1]) < int(hour.events["ts_exch"][0]) + HOUR
    assert ROWS <= len(make(5).events) < ROWS + flow.ROWS_PER_STEP


def test_prices_and_sizes_are_on_the_grid_exactly() -> None:
    grid = Instrument.parse("ES-USD-20240315", venue="SYNTH", tick="0.25", lot="1")
    market = synth.market(grid, n=ROWS, price=4_700, start="2024-01-02T14:30:00Z")
    priced = market.events[market.events["kind"] != Kind.CLEAR]
    assert priced["px"].tolist() == [grid.price(int(t)) for t in priced["px_ticks"]]
    assert (priced["qty"] == np.round(priced["qty"])).all()
    assert abs(priced["px"][0] - 4_700) < 1
    assert np.datetime64(int(market.events["ts_exch"][0]), "ns") == np.datetime64("2024-01-02T14:30")


def test_kinds_are_split_by_the_views() -> None:
    market = make(9)
    assert set(market.trades["kind"].tolist()) == {Kind.TRADE}
    assert set(market.levels["kind"].tolist()) == {Kind.LEVEL, Kind.CLEAR}
    assert market.levels[0]["kind"] == Kind.CLEAR
    assert market.levels[0]["flags"] & SNAPSHOT
    assert market.quotes["side"][:4].tolist() == [BUY, SELL, BUY, SELL]
    assert len(market.trades) + len(market.levels) + len(market.quotes) == len(market.events)
    with pytest.raises(ValueError, match="read-only"):
        market.events["px"][0] = 1.0


def test_the_price_follows_its_volatility() -> None:
    def spread_of_prices(volatility: float) -> float:
        return float(np.ptp(synth.market(n=200_000, seed=1, volatility=volatility).trades["px"]))

    assert 2 * spread_of_prices(0.05) < spread_of_prices(0.4)


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"n": 10, "hours": 1.0}, "hours or n, not both"),
        ({"n": 0}, "n must be positive"),
        ({"hours": float("nan")}, "hours must be positive"),
        ({"price": -1.0}, "price must be positive"),
        ({"volatility": -0.1}, "volatility must not be negative"),
        ({"price": 3.0}, "only 30 ticks"),
        ({"start": "yesterday"}, "start 'yesterday' is not an instant"),
        ({"start": dt.datetime(2024, 1, 1)}, "no time zone"),  # noqa: DTZ001
    ],
)
def test_wrong_arguments_say_what_is_wrong(kw: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        synth.market(**kw)  # pyright: ignore[reportArgumentType]


def test_stored_in_a_lake_once_and_read_back_as_it_was(tmp_path: Path) -> None:
    market, lake = make(12), Lake(tmp_path)
    rows = len(market.trades) + len(market.levels) + len(market.quotes) // 2
    assert market.to_lake(lake) == rows
    assert market.to_lake(lake) == 0
    trades, levels, quotes = (getattr(lake, n)("SYNTH", "BTC-USDT-PERP") for n in ("trades", "levels", "quotes"))
    for name in ("ts_exch", "ts_recv", "seq", "px", "qty", "side"):
        assert trades[name].to_pylist() == market.trades[name].tolist(), name
        assert levels[name].to_pylist() == market.levels[name].tolist(), name
    for name in ("flags", "kind"):
        assert levels[name].to_pylist() == market.levels[name].tolist(), name
    assert trades["id"].to_pylist() == [str(n + 1) for n in range(len(market.trades))]
    assert quotes["bid"].to_pylist() == market.quotes["px"][0::2].tolist()
    assert quotes["ask_qty"].to_pylist() == market.quotes["qty"][1::2].tolist()
    assert lake.instruments.get("BTC-USDT-PERP", "SYNTH") == market.instrument
    with pytest.raises(InputError, match="holds another synthetic market of BTC-USDT-PERP at SYNTH"):
        make(13).to_lake(lake)
    book = lake.book("SYNTH", "BTC-USDT-PERP")
    assert book.bids[0].tolist() == [float(market.book["px"][0]), float(market.book["qty"][0])]


def test_an_interrupted_store_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market, lake = make(12), Lake(tmp_path)
    monkeypatch.setattr("quantai.data.synth.store.ROWS_PER_COMMIT", 500)
    commit, left = Writer.commit, [3]

    def fail(self: Writer, position: dict[str, object]) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return commit(self, position)

    monkeypatch.setattr(Writer, "commit", fail)
    with pytest.raises(KeyboardInterrupt):
        market.to_lake(lake)
    assert 0 < lake.levels("SYNTH", "BTC-USDT-PERP").num_rows < len(market.levels)
    monkeypatch.setattr(Writer, "commit", commit)
    market.to_lake(lake)
    assert lake.levels("SYNTH", "BTC-USDT-PERP")["seq"].to_pylist() == market.levels["seq"].tolist()
    assert lake.trades("SYNTH", "BTC-USDT-PERP")["seq"].to_pylist() == market.trades["seq"].tolist()
    assert lake.quotes("SYNTH", "BTC-USDT-PERP").num_rows * 2 == len(market.quotes)


def test_bars_hold_every_trade() -> None:
    market = make(4, arrivals_per_s=5.0)
    bars = market.bars("1m")
    assert bars.interval == "1m"
    assert bars.rows["volume"].sum() == pytest.approx(market.trades["qty"].sum())
    assert bars.rows["trades"].sum() == len(market.trades)
    assert bars.instruments[0] == market.instrument


@given(seeds, st.integers(1, 300))
@settings(max_examples=20, deadline=None)
def test_walk_bars_join_and_repeat(seed: int, n: int) -> None:
    one, two = synth.bars(n, seed, interval="5m"), synth.bars(n, seed, interval="5m")
    assert one.fingerprint == two.fingerprint
    assert (len(one), one.interval) == (n, "5m")
    assert (one.rows["open"][1:] == one.rows["close"][:-1]).all()
    assert (one.rows["ts_open"][1:] == one.rows["ts_close"][:-1]).all()
    assert (one.rows["low"] > 0).all()


def test_walk_has_the_volatility_asked_for() -> None:
    log = np.log(synth.bars(20_000, 3, interval="1d", volatility=0.3).rows["close"])
    assert np.std(np.diff(log)) * np.sqrt(365.25) == pytest.approx(0.3, rel=0.03)
    with pytest.raises(InputError, match="n must be at least 1"):
        synth.bars(0)

"""The index of a tile: dense books of one instrument are written down by a loop of their own, and say the same."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import quantai as qa
from quantai.backtest import tick_market
from quantai.backtest.tick_market import Market
from quantai.core.rows import Kind
from quantai.data.tape import Tape
from quantai.venues import Latency, SimVenue, cells
from quantai.venues.tile_index import PRINTS
from quantai.venues.tiles import AFTER, FAR, STOOD, look_up
from quantai.venues.wire import NEVER
from tests.property.test_replay_run import TWO, tick_rows
from tests.property.test_replay_sweep import GRID, Busy, assert_same

ENTRY = [name for name in STOOD.names or () if name != "_pad"]


def one_instrument(rows, rng):
    """Rows of one instrument, some trades without a side, and some where no level ever is."""
    rows["instrument"] = 0
    trades = np.flatnonzero(rows["kind"] == Kind.TRADE)
    rows["side"][trades[rng.random(len(trades)) < 0.2]] = 0
    rows["px_ticks"][trades[rng.random(len(trades)) < 0.1]] = 900
    rows["px"] = rows["px_ticks"] / 10
    return rows


def market(tape, dense):
    with pytest.MonkeyPatch.context() as patch:
        if not dense:
            patch.setattr(cells, "DENSE_TICKS", 0)
        made = Market(tape)
    assert (made.depth["mask"][0] == 0) == dense
    made.start()
    return made


def cell_at(m, side, px):
    d = m.depth[0]
    base = int(d["at_bid"] if side > 0 else d["at_ask"])
    if d["mask"] == 0:
        return base + 1 + px - int(d["lo"])
    keys = m.keys[int(d["at_key"]) : int(d["at_key"]) + int(d["mask"]) + 1]
    return base + int(np.flatnonzero(keys == px)[0])


def listed(m, k, cell):
    """The entries of a cell's list in tile `k`: their rows and what they say, and the list's end."""
    of, tables = m._tables[k]["lists"][cell], m._tables[k]
    first, n = int(of["first"]), int(of["n"])
    stood = tables["stood"][first : first + n]
    return [tables["spots"][first : first + n + 1].tolist(), [stood[name].tolist() for name in ENTRY]]


@given(rows=tick_rows(min_size=20, max_size=300), tile=st.integers(1, 90), alike=st.booleans(), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_a_dense_book_is_indexed_as_a_hashed_one(rows, tile, alike, seed):
    rng = np.random.default_rng(seed)
    rows = one_instrument(rows, rng)
    if not alike:
        rows["ts_exch"] -= rng.integers(0, 300, len(rows))
    tape = Tape.from_events(rows, TWO[:1])
    prices = np.unique(rows["px_ticks"][rows["kind"] == Kind.LEVEL]).tolist()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tick_market, "TILE_ROWS", tile)
        plain, general = market(tape, dense=True), market(tape, dense=False)
        for horizon in plain.horizons(100):
            for m in (plain, general):
                m.move(horizon)
            for k in (0, 1):
                same_index(plain, general, k, prices)
        for m in (plain, general):
            m.start()  # what the last tile listed concerns no cell any more
            for k in m._indexed:
                lists = m._tables[k]["lists"]
                assert not lists["first"].any()
                assert not lists["n"].any()
                assert np.all(lists["number"] == FAR)


def same_index(plain, general, k, prices):
    t, n = plain.tiles[k], int(plain.tiles["n"][k])
    assert n == general.tiles["n"][k]
    k_index = 1 if plain.one_order else k
    tables = [m._tables[k_index] for m in (plain, general)]
    rows = int(plain.tiles["n"][k_index])
    for name in AFTER.names or ():
        assert tables[0]["after"][name][:rows].tobytes() == tables[1]["after"][name][:rows].tobytes(), name
    for side in (0, 1):
        at = [side * (len(of["reach"]) // 2) for of in tables]
        assert np.array_equal(*(of["reach"][a : a + rows] for of, a in zip(tables, at, strict=True)))
    assert listed(plain, k_index, PRINTS) == listed(general, k_index, PRINTS)
    for side in (1, -1):
        for px in prices:
            found = [listed(m, k_index, cell_at(m, side, px)) for m in (plain, general)]
            assert found[0] == found[1], (side, px)
            assert found[0][0][-1] == FAR
    of, clock = (plain.rows, "ts_recv") if k == 0 else (plain.rows_x, "ts_exch")
    first = int(t["first"])
    times = of[clock][first : first + n]
    assert plain._tables[k]["times"][: n + 1].tolist() == [*times.tolist(), NEVER]
    for ts in {int(ts) + off for ts in times for off in (0, 1, 40)}:
        for m in (plain, general):
            assert look_up(m.tiles[k], ts) == first + np.searchsorted(times, ts, "right")


@given(rows=tick_rows(min_size=20, max_size=300), tile=st.integers(1, 90), seed=st.integers(0, 9))
@settings(max_examples=25)
def test_variants_over_one_dense_book_are_their_replays(rows, tile, seed):
    tape = Tape.from_events(one_instrument(rows, np.random.default_rng(seed)), TWO[:1])
    venues = [SimVenue(), SimVenue(latency=Latency(entry_ns=310, response_ns=20), queue="power_prob", power=2.0)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tick_market, "TILE_ROWS", tile)
        assert_same(Busy, tape, venues, GRID)


@given(rows=tick_rows(min_size=40, max_size=40))
@settings(max_examples=5)
def test_instants_before_the_epoch_and_a_century_apart(rows):
    rows = one_instrument(rows, np.random.default_rng(0))
    for clock in ("ts_exch", "ts_recv"):
        rows[clock] = np.repeat([-(10**18), -(10**18) + 3, 0, 2 * 10**18], 10)
    m = market(Tape.from_events(rows, TWO[:1]), dense=True)
    m.move(NEVER)
    for ts, first in ((-(10**18), 10), (-(10**18) + 2, 10), (-1, 20), (0, 30), (10**18, 30), (qa.DAY * 40_000, 40)):
        assert [int(look_up(m.tiles[k], ts)) for k in (0, 1)] == [first] * 2

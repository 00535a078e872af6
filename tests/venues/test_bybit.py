"""Bybit through real ccxt passes the suite of every venue, against a fake of its documented protocol."""

import logging
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from quantai.core.errors import InputError, VenueError
from quantai.core.instruments import Instrument, Instruments
from quantai.execution.plan import DeskPlan, Plan
from quantai.execution.real import real_venues
from quantai.execution.routes import Route
from quantai.strategy.examples import Quote
from quantai.venues.ccxt import CcxtVenue
from quantai.venues.loopback import KEY, SECRET, LoopbackExchange
from tests.venues import fake_bybit
from tests.venues.fake_bybit import FakeBybit
from tests.venues.suite import VenueSuite
from tests.venues.toy_place import KEYS, LOT, TICK, ToyPlace


class TestBybit(VenueSuite):
    @pytest.fixture
    async def place(self) -> AsyncIterator[ToyPlace]:
        fake = FakeBybit()
        endpoint = await fake.open()
        yield ToyPlace("BYBIT", fake.exchange, fake, endpoint)
        await fake.close()


async def test_a_switch_that_is_wanted_and_not_there_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "quantai")
    fake = FakeBybit()
    instruments = Instruments([Instrument.parse("BTC-USDT", venue="BYBIT", tick=TICK, lot=LOT)])
    venue = CcxtVenue("BYBIT", instruments, KEYS, endpoint=await fake.open(), dead_man_s=30.0)
    await venue.connect()
    assert "BYBIT has no dead-man switch" in caplog.text
    await venue.close()
    await fake.close()


@pytest.mark.parametrize("steps", [{"lot": 10 * LOT}, {"lot": LOT / 10}, {"tick": 10 * TICK}])
async def test_a_grid_that_is_not_the_exchanges_own_is_refused(steps: dict[str, Decimal]) -> None:
    fake = FakeBybit()
    instruments = Instruments([Instrument.parse("BTC-USDT", venue="BYBIT", **({"tick": TICK, "lot": LOT} | steps))])
    venue = CcxtVenue("BYBIT", instruments, KEYS, endpoint=await fake.open())
    try:
        with pytest.raises(VenueError, match=r"BTC-USDT: the (lot|tick) is .* here and .* at BYBIT"):
            await venue.connect()
    finally:
        await fake.close()


@pytest.mark.parametrize("is_same", [True, False])
async def test_listings_of_real_venues_keep_their_lots_and_are_routed_where_it_is_the_same(
    is_same: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in (("BINANCE_KEY", KEY), ("BINANCE_SECRET", SECRET)):
        monkeypatch.setenv(f"QUANTAI_{name}", value)
    for name, value in (("BYBIT_KEY", KEYS.key), ("BYBIT_SECRET", KEYS.secret)):
        monkeypatch.setenv(f"QUANTAI_{name}", value)
    async with LoopbackExchange(symbols=["BTC-USDT"], seed=3) as binance:
        lot = Decimal(binance.matching("spot", "BTCUSDT").listing.lot)
        monkeypatch.setattr(fake_bybit, "LOT", lot if is_same else 10 * lot)
        bybit = FakeBybit()
        plan = Plan(
            strategies=[(Quote(), "quantai.strategy.examples:Quote")], mode="live", journal=tmp_path / "run.journal",
            venues={"BINANCE": ["BTC-USDT"], "BYBIT": ["BTC-USDT"]}, desks=[DeskPlan(router="split")],
            endpoints={"BINANCE": binance.http, "BYBIT": await bybit.open()},
        )  # fmt: skip
        asked = Instruments([Instrument.parse("BTC-USDT", venue=name) for name in plan.venues])
        try:
            venues, known = await real_venues(plan, asked, fixed=False, clock=time.time_ns)
            for venue in venues.values():
                await venue.close()
        finally:
            await bybit.close()
    assert [i.lot for i in known] == [lot, lot if is_same else 10 * lot]
    route = Route("split", ((0, 1),), ((0.0, 0.0),))
    if is_same:
        route.check(known)
    else:
        with pytest.raises(InputError, match="BTC-USDT is not the same at BINANCE and BYBIT"):
            route.check(known)

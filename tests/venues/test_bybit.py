"""Bybit through real ccxt passes the suite of every venue, against a fake of its documented protocol."""

import logging
from collections.abc import AsyncIterator

import pytest

from quantai.core.instruments import Instrument, Instruments
from quantai.venues.ccxt import CcxtVenue
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

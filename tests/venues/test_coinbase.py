"""Coinbase through real ccxt passes the suite of every venue, against a fake of its documented protocol."""

from collections.abc import AsyncIterator

import pytest

from tests.venues.fake_coinbase import COINBASE_KEYS, FakeCoinbase
from tests.venues.suite import VenueSuite
from tests.venues.toy_place import ToyPlace


class TestCoinbase(VenueSuite):
    @pytest.fixture
    async def place(self) -> AsyncIterator[ToyPlace]:
        fake = FakeCoinbase()
        endpoint = await fake.open()
        place = ToyPlace("COINBASE", fake.exchange, fake, endpoint, COINBASE_KEYS)
        place.lacks = {"market": "a market buy at Coinbase is an amount of quote currency"}
        yield place
        await fake.close()

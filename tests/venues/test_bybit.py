"""Bybit through real ccxt passes the suite of every venue, against a fake of its documented protocol."""

from collections.abc import AsyncIterator

import pytest

from tests.venues.fake_bybit import FakeBybit
from tests.venues.suite import VenueSuite
from tests.venues.toy_place import ToyPlace


class TestBybit(VenueSuite):
    @pytest.fixture
    async def place(self) -> AsyncIterator[ToyPlace]:
        fake = FakeBybit()
        endpoint = await fake.open()
        yield ToyPlace("BYBIT", fake.exchange, fake, endpoint)
        await fake.close()

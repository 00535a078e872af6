"""Kraken through real ccxt passes the suite of every venue, against a fake of its documented protocol."""

from collections.abc import AsyncIterator

import pytest

from tests.venues.fake_kraken import KRAKEN_KEYS, FakeKraken
from tests.venues.suite import VenueSuite
from tests.venues.toy_place import ToyPlace


class TestKraken(VenueSuite):
    @pytest.fixture
    async def place(self) -> AsyncIterator[ToyPlace]:
        fake = FakeKraken()
        endpoint = await fake.open()
        yield ToyPlace("KRAKEN", fake.exchange, fake, endpoint, KRAKEN_KEYS)
        await fake.close()

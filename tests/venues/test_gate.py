"""Gate, added by docs/new-venue.md, passes the suite of every venue against a fake of its documented protocol."""

from collections.abc import AsyncIterator

import pytest

from tests.venues.fake_gate import FakeGate
from tests.venues.suite import VenueSuite
from tests.venues.toy_place import ToyPlace


class TestGate(VenueSuite):
    @pytest.fixture
    async def place(self) -> AsyncIterator[ToyPlace]:
        fake = FakeGate()
        endpoint = await fake.open()
        place = ToyPlace("GATE", fake.exchange, fake, endpoint)
        place.lacks = {"market": "a market buy at Gate is an amount of quote currency"}
        yield place
        await fake.close()

"""OKX through real ccxt passes the suite of every venue, against a fake of its documented protocol."""

from collections.abc import AsyncIterator

import pytest

from quantai.core.errors import VenueError
from quantai.core.instruments import Instruments
from quantai.venues.ccxt import CcxtVenue, Keys
from tests.venues.fake_okx import FakeOkx
from tests.venues.suite import VenueSuite
from tests.venues.toy_place import ToyPlace


@pytest.fixture
async def okx() -> AsyncIterator[ToyPlace]:
    fake = FakeOkx()
    endpoint = await fake.open()
    yield ToyPlace("OKX", fake.exchange, fake, endpoint)
    await fake.close()


class TestOkx(VenueSuite):
    @pytest.fixture
    async def place(self, okx: ToyPlace) -> ToyPlace:
        return okx


async def test_a_wrong_secret_is_one_line_without_it(okx: ToyPlace) -> None:
    keys = Keys("fake-key-1234", "another-secret", "fake-password")
    venue = CcxtVenue("OKX", Instruments([okx.instrument]), keys, endpoint=okx.endpoint)
    with pytest.raises(VenueError, match="OKX: the key, or its rights, are not accepted") as refused:
        await venue.connect()
    assert "another-secret" not in str(refused.value)
    assert "\n" not in str(refused.value)

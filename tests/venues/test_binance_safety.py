"""What keeps orders from being left alone: everything canceled at once, and by the exchange when we fall silent."""

from collections.abc import AsyncIterator

import pytest

from quantai.core.errors import VenueError
from quantai.core.instruments import Instruments
from quantai.core.reports import OrdStatus
from quantai.core.rows import BUY, Kind
from quantai.venues.ccxt import CcxtVenue, Keys
from quantai.venues.loopback import KEY, SECRET, LoopbackExchange
from tests.venues.follower import Follower
from tests.venues.test_binance import SYMBOLS, BinancePlace


@pytest.fixture
async def exchange() -> AsyncIterator[LoopbackExchange]:
    async with LoopbackExchange(symbols=["BTC-USDT"], seed=3) as running:
        yield running


@pytest.mark.parametrize("name", list(SYMBOLS))
async def test_cancel_all_reaches_every_order_of_the_account(name: str, exchange: LoopbackExchange) -> None:
    place = BinancePlace(name, exchange)
    await place.venue.connect()
    await place.venue.cancel_all()  # none is no error
    user = Follower(place.venue, place.beat)
    orders = [await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20 - n) for n in range(3)]
    for order in orders:
        await user.until_status(order, OrdStatus.NEW)
    await place.venue.cancel_all()
    for order in orders:
        await user.until_status(order, OrdStatus.CANCELED)
    await user.close()


async def test_the_exchange_cancels_when_it_no_longer_hears_from_us(exchange: LoopbackExchange) -> None:
    place = BinancePlace("BINANCE_FUTURES", exchange)
    venue = CcxtVenue(
        "BINANCE_FUTURES", Instruments([place.instrument]), Keys(KEY, SECRET), endpoint=exchange.http, dead_man_s=3.0
    )
    await venue.connect()
    user = Follower(venue, place.beat)
    order = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20)
    await user.until_status(order, OrdStatus.NEW)
    await exchange.fault("http:status=503,path=*countdownCancelAll")
    await user.until_said(order, Kind.CANCELED)
    await user.close()


@pytest.mark.parametrize("left", [True, False])
async def test_closing_leaves_orders_to_the_switch_and_disarms_it_without(
    exchange: LoopbackExchange, left: bool
) -> None:
    place = BinancePlace("BINANCE_FUTURES", exchange)
    venue = CcxtVenue(
        "BINANCE_FUTURES", Instruments([place.instrument]), Keys(KEY, SECRET), endpoint=exchange.http, dead_man_s=60.0
    )
    await venue.connect()
    user = Follower(venue, place.beat)
    order = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20)
    await user.until_status(order, OrdStatus.NEW)
    if not left:
        await user.cancel(order)
        await user.until_status(order, OrdStatus.CANCELED)
    await user.close()
    assert [o["status"] for o in exchange.truth()["orders"]] == ["NEW" if left else "CANCELED"]
    assert bool(exchange.exchange.countdowns) is left
    with pytest.raises(VenueError, match="is not connected"):
        await user.cancel(order)


async def test_an_address_where_nobody_answers_is_one_line() -> None:
    async with LoopbackExchange(symbols=["BTC-USDT"]) as gone:
        place = BinancePlace("BINANCE", gone)
    with pytest.raises(VenueError, match="BINANCE: nobody answers there"):
        await place.venue.connect()

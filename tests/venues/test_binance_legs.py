"""Orders that were replaced where that takes a cancel and another order, asked about: nothing of a leg is lost."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from quantai.core.reports import OrdStatus
from quantai.core.rows import BUY, SELL, Kind
from quantai.execution.order_table import open_lots
from quantai.venues.loopback import LoopbackExchange
from tests.venues.follower import Follower
from tests.venues.test_binance import BinancePlace


@pytest.fixture
async def place() -> AsyncIterator[BinancePlace]:
    async with LoopbackExchange(symbols=["BTC-USDT"], seed=3) as exchange:
        yield BinancePlace("BINANCE", exchange)


async def _another_life(place: BinancePlace, user: Follower, order: int) -> Follower:
    """Close the venue, and follow the order through one that knows nothing but its terms."""
    await user.close()
    venue = place.new_venue()
    await venue.connect()
    later = Follower(venue, place.beat)
    later.tracked, later.asked, later.requests, later.table = user.tracked, user.asked, user.requests, user.table
    lots, px_ticks = user.working(order)
    later.asked[order] = replace(user.asked[order], qty_lots=lots, px_ticks=px_ticks)
    return later


async def test_a_restart_keeps_the_size_of_a_replaced_order_that_was_partly_filled(place: BinancePlace) -> None:
    await place.venue.connect()
    user = Follower(place.venue, place.beat)
    order = await user.new(lots=100, px_ticks=place.best(BUY) + 1)
    await user.until_status(order, OrdStatus.NEW)
    place.take(SELL, 40)
    await user.until_filled(order, 40)
    await user.replace(order, lots=100, px_ticks=place.best(BUY))
    await user.until_said(order, Kind.REPLACED)
    later = await _another_life(place, user, order)
    await later.query(order)
    said = await later.until_said(order, Kind.ORDER_STATUS)
    assert (int(said["code"]), int(said["qty_lots"]), int(said["ref"])) == (OrdStatus.PARTIALLY_FILLED, 100, 40)
    assert later.working(order) == (100, place.best(BUY))
    assert open_lots(later.tracked[order][0]) == 60
    await later.close()


async def test_what_an_earlier_leg_executed_unheard_is_told_after_a_restart(place: BinancePlace) -> None:
    await place.venue.connect()
    user = Follower(place.venue, place.beat)
    order = await user.new(lots=100, px_ticks=place.best(BUY) + 1)
    await user.until_status(order, OrdStatus.NEW)
    await place.exchange.fault("drop:stream=user")
    place.take(SELL, 40)
    await user.replace(order, lots=100, px_ticks=place.best(BUY))
    await user.until_said(order, Kind.REPLACED)
    assert user.filled(order) == 0
    later = await _another_life(place, user, order)
    await later.query(order)
    await later.until_said(order, Kind.ORDER_STATUS)
    assert later.filled(order) == 40
    await later.close()


async def test_an_error_while_asking_for_the_next_leg_leaves_no_leg_behind(place: BinancePlace) -> None:
    await place.venue.connect()
    user = Follower(place.venue, place.beat)
    order = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20)
    await user.until_status(order, OrdStatus.NEW)
    await place.exchange.fault("drop:stream=user")
    place.exchange.exchange.cancel(next(iter(place.exchange.exchange.orders.values())))
    await place.exchange.fault("http:status=503,path=*/order,method=GET,after=1,count=1")
    await user.query(order)
    await user.until(lambda: place.venue._desk.unknown == 1, "the doubt")  # pyright: ignore[reportPrivateUsage]
    await user.query(order)
    said = await user.until_said(order, Kind.ORDER_STATUS)
    assert int(said["code"]) == OrdStatus.CANCELED
    await user.until_status(order, OrdStatus.CANCELED)
    await user.close()

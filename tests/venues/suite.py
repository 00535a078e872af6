"""The suite of every venue: what a venue must do whoever it is, against an other side that can be told what to do.

A subclass names its `place` (a fixture that yields a started Place). What a place cannot do it says in `lacks`, with
the reason, and those tests are skipped: a paper venue has no connection to lose.
"""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Protocol

import pytest

from quantai.core.instruments import Instrument
from quantai.core.reports import OrdStatus
from quantai.core.rows import BUY, POST_ONLY, SELL, TIF, Kind, Status
from quantai.venues.venue import EXEC_ID, REASON, VENUE_ID, Venue
from tests.venues.follower import Follower

ENDED = (OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED)


class Place(Protocol):
    """The other side of a venue: a market that does what the test says, and faults on demand."""

    venue: Venue
    instrument: Instrument
    lots: int  # a usual order
    lacks: dict[str, str]

    def best(self, side: int) -> int:
        """The best price of a side, ticks; nothing of ours is in the book yet."""
        ...

    def take(self, side: int, lots: int) -> None:
        """Somebody trades `lots` with whoever is first on the other side; SELL meets our buy orders."""
        ...

    def beat(self) -> None:
        """Let time pass, where it does not pass by itself."""
        ...

    def new_venue(self) -> Venue:
        """A venue object that knows nothing, for the same account."""
        ...

    async def cut(self) -> None:
        """Lose the stream of orders; it is not given back before `mend`."""
        ...

    async def mend(self) -> None:
        """Give the stream back."""
        ...

    async def deafen(self) -> None:
        """Let the stream stay open and tell nothing."""
        ...

    async def repeat(self) -> None:
        """Say each message of the stream twice from now on."""
        ...

    async def spoil(self) -> None:
        """Let the next message of the stream be one that cannot be read."""
        ...

    async def swallow(self) -> None:
        """Do what the next order asks, and never answer it."""
        ...

    async def refuse(self) -> None:
        """Refuse the next order, for the rate limit."""
        ...

    def truth(self) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
        """Balances by currency and positions by our symbol, as the exchange has them; without zeros."""
        ...


class VenueSuite:
    """Numbered as in docs/new-venue.md."""

    @pytest.fixture
    async def place(self) -> Place:
        raise AssertionError("a subclass says its place")

    @pytest.fixture
    async def user(self, place: Place) -> AsyncIterator[Follower]:
        await place.venue.connect()
        follower = Follower(place.venue, place.beat)
        yield follower
        await follower.close()

    def needs(self, place: Place, what: str) -> None:
        if what in place.lacks:
            pytest.skip(place.lacks[what])

    async def test_01_place_acknowledge_cancel(self, place: Place, user: Follower) -> None:
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20)
        await user.until_status(order, OrdStatus.NEW)
        assert user.texts(order, Kind.ACK, VENUE_ID)
        found = [o for o in await place.venue.open_orders() if o.client_id == user.asked[order].client_id]
        assert [(o.symbol, o.side, o.filled) for o in found] == [(place.instrument.symbol, BUY, 0)]
        assert (found[0].qty, found[0].px) == (
            place.instrument.lot * place.lots,
            place.instrument.tick * (place.best(BUY) - 20),
        )
        await user.cancel(order)
        await user.until_status(order, OrdStatus.CANCELED)
        assert user.filled(order) == 0
        assert not [o for o in await place.venue.open_orders() if o.client_id == user.asked[order].client_id]

    async def test_02_partial_fill_then_the_rest(self, place: Place, user: Follower) -> None:
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) + 1)
        await user.until_status(order, OrdStatus.NEW)
        place.take(SELL, place.lots // 4)
        await user.until_status(order, OrdStatus.PARTIALLY_FILLED)
        assert user.filled(order) == place.lots // 4
        place.take(SELL, place.lots - place.lots // 4)
        await user.until_status(order, OrdStatus.FILLED)
        assert user.filled(order) == place.lots
        executions = user.reports(order, Kind.FILL)
        assert len({int(r["exec"]) for r in executions}) == len(executions) >= 2
        assert len(user.texts(order, Kind.FILL, EXEC_ID)) == len(executions)
        assert {int(r["px_ticks"]) for r in executions} == {user.asked[order].px_ticks}

    async def test_03_market_order(self, place: Place, user: Follower) -> None:
        self.needs(place, "market")
        order = await user.new(lots=place.lots)
        await user.until_status(order, OrdStatus.FILLED)
        assert user.filled(order) == place.lots

    async def test_04_cancel_too_late(self, place: Place, user: Follower) -> None:
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) + 1)
        await user.until_status(order, OrdStatus.NEW)
        place.take(SELL, place.lots)
        await user.until_status(order, OrdStatus.FILLED)
        await user.cancel(order)
        await user.until_said(order, Kind.CANCEL_REJECT)
        assert user.status(order) is OrdStatus.FILLED

    async def test_05_replace_price_and_quantity(self, place: Place, user: Follower) -> None:
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20)
        await user.until_status(order, OrdStatus.NEW)
        wanted = (place.lots * 2, place.best(BUY) + 1)
        await user.replace(order, lots=wanted[0], px_ticks=wanted[1])
        await user.until_said(order, Kind.REPLACED)
        assert user.working(order) == wanted
        place.take(SELL, place.lots * 2)
        await user.until_status(order, OrdStatus.FILLED)
        assert user.filled(order) == place.lots * 2
        assert not user.reports(order, Kind.CANCELED)

    async def test_06_replace_after_a_partial_fill(self, place: Place, user: Follower) -> None:
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) + 1)
        await user.until_status(order, OrdStatus.NEW)
        place.take(SELL, place.lots // 2)
        await user.until_filled(order, place.lots // 2)
        await user.replace(order, lots=place.lots * 2, px_ticks=place.best(BUY))
        await user.until_said(order, Kind.REPLACED)
        await user.until(lambda: user.working(order)[0] == place.lots * 2, "the new total")
        await user.cancel(order)
        await user.until_status(order, OrdStatus.CANCELED)
        assert user.filled(order) == place.lots // 2

    async def test_07_replace_too_late(self, place: Place, user: Follower) -> None:
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) + 1)
        await user.until_status(order, OrdStatus.NEW)
        place.take(SELL, place.lots)
        await user.until_status(order, OrdStatus.FILLED)
        await user.replace(order, lots=place.lots * 2, px_ticks=place.best(BUY) + 1)
        await user.until_said(order, Kind.REPLACE_REJECT)
        assert user.filled(order) == place.lots

    async def test_08_reject_with_a_reason(self, place: Place, user: Follower) -> None:
        order = await user.new(lots=place.lots * 10**9, px_ticks=place.best(BUY) - 20)
        await user.until_status(order, OrdStatus.REJECTED)
        assert user.texts(order, Kind.REJECT, REASON)[0]
        assert user.filled(order) == 0

    async def test_09_post_only_never_takes(self, place: Place, user: Follower) -> None:
        self.needs(place, "post_only")
        order = await user.new(lots=place.lots, px_ticks=place.best(SELL) + 1, flags=POST_ONLY)
        await user.until_status(order, *ENDED)
        assert user.filled(order) == 0

    async def test_10_immediate_or_cancel(self, place: Place, user: Follower) -> None:
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20, tif=TIF.IOC)
        await user.until_status(order, *ENDED)
        assert user.filled(order) == 0
        taken = await user.new(lots=place.lots, px_ticks=place.best(SELL) + 500, tif=TIF.IOC)
        await user.until_filled(taken, place.lots)

    async def test_11_query_tells_the_status_and_every_execution(self, place: Place, user: Follower) -> None:
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) + 1)
        await user.until_status(order, OrdStatus.NEW)
        place.take(SELL, place.lots // 2)
        await user.until_filled(order, place.lots // 2)
        before = len(user.reports(order, Kind.FILL))
        await user.query(order)
        said = await user.until_said(order, Kind.ORDER_STATUS)
        assert (int(said["code"]), int(said["ref"])) == (OrdStatus.PARTIALLY_FILLED, place.lots // 2)
        assert len(user.reports(order, Kind.FILL)) == 2 * before
        assert user.filled(order) == place.lots // 2  # told twice, counted once

    async def test_12_balances_and_positions_are_the_venues(self, place: Place, user: Follower) -> None:
        for side, ticks in ((BUY, place.best(SELL) + 500), (SELL, place.best(BUY) - 500)):
            order = await user.new(lots=place.lots * (2 if side == BUY else 1), px_ticks=ticks, side=side)
            await user.until_status(order, OrdStatus.FILLED)
        balances, positions = place.truth()
        assert await place.venue.balances() == balances
        assert await place.venue.positions() == positions

    async def test_13_messages_said_twice_count_once(self, place: Place, user: Follower) -> None:
        self.needs(place, "stream")
        await place.repeat()
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) + 1)
        await user.until_status(order, OrdStatus.NEW)
        place.take(SELL, place.lots // 2)
        await user.until_filled(order, place.lots // 2)
        await user.cancel(order)
        await user.until_status(order, OrdStatus.CANCELED)
        assert user.filled(order) == place.lots // 2
        assert len(user.reports(order, Kind.CANCELED)) == 1

    async def test_14_events_missed_while_the_stream_was_lost(self, place: Place, user: Follower) -> None:
        self.needs(place, "stream")
        filled = await user.new(lots=place.lots, px_ticks=place.best(BUY) + 1)
        partly = await user.new(lots=place.lots, px_ticks=place.best(BUY))
        for order in (filled, partly):
            await user.until_status(order, OrdStatus.NEW)
        await place.cut()
        await user.until(lambda: Status.DISCONNECTED in user.links, "the loss of the stream")
        place.take(SELL, place.lots)
        await place.mend()
        await user.until(lambda: Status.CONNECTED in user.links, "the stream")
        assert user.status(filled) is OrdStatus.FILLED  # told before the link is
        assert user.filled(filled) == place.lots
        await user.cancel(partly)
        await user.until_status(partly, OrdStatus.CANCELED)
        assert user.filled(partly) == 0

    async def test_15_a_stream_that_is_open_and_tells_nothing(self, place: Place, user: Follower) -> None:
        self.needs(place, "stream")
        await place.deafen()
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) + 1)
        await user.until_status(order, OrdStatus.NEW)  # by the response to the request
        place.take(SELL, place.lots)
        await user.until_status(order, OrdStatus.FILLED)
        assert user.filled(order) == place.lots

    async def test_16_a_message_that_cannot_be_read(self, place: Place, user: Follower) -> None:
        self.needs(place, "stream")
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) + 1)
        await user.until_status(order, OrdStatus.NEW)
        await place.spoil()
        place.take(SELL, place.lots)
        await user.until_status(order, OrdStatus.FILLED)
        assert user.filled(order) == place.lots
        after = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20)
        await user.until_status(after, OrdStatus.NEW)
        assert Status.DISCONNECTED not in user.links  # one bad message is no reason to reconnect

    async def test_17_an_order_without_an_answer_is_found_by_its_id(self, place: Place, user: Follower) -> None:
        self.needs(place, "stream")
        await place.swallow()
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20)
        await user.query(order)
        said = await user.until_said(order, Kind.ORDER_STATUS)
        while said["code"] == OrdStatus.NOT_FOUND:  # asked before it arrived
            times = len(user.reports(order, Kind.ORDER_STATUS))
            await user.query(order)
            said = await user.until_said(order, Kind.ORDER_STATUS, times + 1)
        assert int(said["code"]) == OrdStatus.NEW
        found = [o for o in await place.venue.open_orders() if o.client_id == user.asked[order].client_id]
        assert len(found) == 1  # sent once

    async def test_18_an_order_that_never_arrived_is_not_found(self, place: Place, user: Follower) -> None:
        self.needs(place, "stream")
        order = await user.new(lots=place.lots * 10**9, px_ticks=place.best(BUY) - 20)
        await user.until_status(order, OrdStatus.REJECTED)
        other = place.new_venue()
        await other.connect()
        stranger = Follower(other, place.beat, "ghost")
        stranger.tracked, stranger.asked = user.tracked, user.asked
        await stranger.query(order)
        said = await stranger.until_said(order, Kind.ORDER_STATUS)
        assert int(said["code"]) in (OrdStatus.NOT_FOUND, OrdStatus.REJECTED)
        await stranger.close()

    async def test_19_a_refusal_for_the_rate_is_told_and_not_repeated(self, place: Place, user: Follower) -> None:
        self.needs(place, "stream")
        await place.refuse()
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20)
        await user.until_status(order, OrdStatus.REJECTED)
        assert not [o for o in await place.venue.open_orders() if o.client_id == user.asked[order].client_id]

    async def test_20_orders_of_an_earlier_life_are_followed(self, place: Place, user: Follower) -> None:
        self.needs(place, "stream")
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20)
        await user.until_status(order, OrdStatus.NEW)
        await user.replace(order, lots=place.lots, px_ticks=place.best(BUY) + 1)
        await user.until_said(order, Kind.REPLACED)
        await user.venue.close()
        other = place.new_venue()
        await other.connect()
        later = Follower(other, place.beat)
        later.tracked, later.asked, later.requests = user.tracked, user.asked, user.requests
        await later.query(order)
        said = await later.until_said(order, Kind.ORDER_STATUS)
        assert int(said["code"]) == OrdStatus.NEW
        place.take(SELL, place.lots // 2)
        await later.until_filled(order, place.lots // 2)
        await later.cancel(order)
        await later.until_status(order, OrdStatus.CANCELED)
        assert later.filled(order) == place.lots // 2
        await later.close()

    async def test_21_many_orders_at_once(self, place: Place, user: Follower) -> None:
        orders = [await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20 - n) for n in range(10)]
        for order in orders:
            await user.until_status(order, OrdStatus.NEW)
        await asyncio.gather(*(user.cancel(order) for order in orders))
        for order in orders:
            await user.until_status(order, OrdStatus.CANCELED)

    async def test_22_cancel_right_behind_the_order(self, place: Place, user: Follower) -> None:
        order = await user.new(lots=place.lots, px_ticks=place.best(BUY) - 20)
        await user.cancel(order)
        await user.until_status(order, OrdStatus.CANCELED)

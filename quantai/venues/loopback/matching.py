"""The matching engine of one symbol: client orders against each other and against the market, by price and then time.

The market acts in two ways. An order-driven one sends its own limit and market orders (`quote`, `take`, `withdraw`); a
recorded one says how much stands at a price and what traded (`set_level`, `print_trade`, `clear`), and client orders
stand among what it says. Either way a client order trades only with size that is really there.
"""

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal
from itertools import count
from typing import Protocol

from quantai.venues.loopback.book import Book, Resting
from quantai.venues.loopback.listings import Listing, Product
from quantai.venues.loopback.money import House
from quantai.venues.loopback.orders import Fill, Order
from quantai.venues.loopback.refusals import Refused


class Listener(Protocol):
    """Who is told what happens: the streams."""

    def traded(self, listing: Listing, id: int, ticks: int, lots: int, side: int) -> None:
        """Hear of a public trade; `side` is the taker's."""
        ...

    def reported(self, order: Order, execution: str, fill: Fill | None) -> None:
        """Hear of a change of an order: NEW, TRADE, CANCELED, EXPIRED, TRADE_PREVENTION or CALCULATED."""
        ...


class Matching:
    """The engine of `listing`; `now_ms` is the exchange's clock, and all money moves through `house`."""

    def __init__(self, listing: Listing, house: House, listener: Listener, now_ms: Callable[[], int]) -> None:
        self.listing, self.house, self.listener, self.now_ms = listing, house, listener, now_ms
        self.book = Book()
        self.stops: list[Order] = []
        self.last = 0
        self.trading = True
        self._trade_ids, self._busy = count(1), False

    # orders of clients

    def place(self, order: Order) -> Order:
        """Take an order in, trade what can be traded, and let the rest rest; raises Refused."""
        if not self.trading:
            raise (
                Refused(-1013, "Market is closed.")
                if order.listing.product is Product.SPOT
                else Refused(-4140, "Invalid symbol status for opening position.")
            )
        if order.has_trigger:
            self._hold(order)
        else:
            self._admit(order)
            self.listener.reported(order, "NEW", None)
            self._work(order)
        self._settle_down()
        return order

    def cancel(self, order: Order, status: str = "CANCELED", execution: str = "") -> None:
        """Take an open order out and give back what was set aside for it."""
        if order in self.stops:
            self.stops.remove(order)
        else:
            self.book.leave(order)
        self._end(order, status, execution or status)

    def change(self, order: Order, ticks: int, lots: int) -> None:
        """Take a resting order out and put it in again at another price and quantity; raises Refused and leaves it."""
        before = order.ticks, order.lots
        self.book.leave(order)
        self.house.release(order)
        order.ticks, order.lots = ticks, lots
        if order.left <= 0:
            self._end(order, "CANCELED", "CANCELED")
            return
        try:
            self._admit(order)
        except Refused:
            order.ticks, order.lots = before
            self.house.reserve(order, order.ticks)
            self.book.join(order.side, order.ticks, order.left, order)
            raise
        order.updated_ms = self.now_ms()
        self.listener.reported(order, "AMENDMENT", None)
        self._work(order)
        self._settle_down()

    def cost(self, side: int, lots: int, order: Order | None = None) -> tuple[int, Decimal]:
        """Return how many lots a market order could get now, up to `lots`, and the notional of them."""
        got, notional = 0, Decimal(0)
        for ticks, place in self.book.queue(-side):
            if got == lots:
                break
            if order and place.order and place.order.account is order.account and order.stp != "NONE":
                continue
            n = min(place.lots, lots - got)
            got += n
            notional += self.listing.tick * ticks * self.listing.lot * n
        return got, notional

    def lots_for(self, side: int, quote: Decimal) -> int:
        """Return how many lots a market order for `quote` of the quote asset gets now."""
        got = 0
        for ticks, place in self.book.queue(-side):
            px = self.listing.tick * ticks * self.listing.lot
            n = min(place.lots, int(quote / px))
            got, quote = got + n, quote - px * n
            if n < place.lots:
                break
        return got

    # the market

    def quote(self, side: int, ticks: int, lots: int) -> None:
        """Let the market send a limit order: it takes what it crosses, and the rest joins the book."""
        left = self._match(side, ticks, lots, None)
        if left:
            self.book.join(side, ticks, left)
        self._settle_down()

    def take(self, side: int, lots: int) -> None:
        """Let the market send a market order."""
        self._match(side, None, lots, None)
        self._settle_down()

    def withdraw(self, side: int, ticks: int, lots: int) -> None:
        """Let the market take back up to `lots` of its own at a price."""
        self.book.shrink(side, ticks, lots)

    def set_level(self, side: int, ticks: int, lots: int) -> None:
        """Make the market's own size at a price `lots`; more of it meets the client orders it reaches first."""
        level = self.book.levels[side].get(ticks)
        more = lots - (level.anonymous if level else 0)
        if more < 0:
            self.book.shrink(side, ticks, -more)
            return
        for px, place in list(self.book.queue(-side, ticks)):
            if place.order is None:
                self.book.fill(-side, px, place, place.lots)  # what is said now holds: that level was old
            elif more:
                more -= self._meet(side, px, place, more)
        if more:
            self.book.join(side, ticks, more)
        self._settle_down()

    def print_trade(self, side: int, ticks: int, lots: int) -> None:
        """Let `lots` trade at `ticks`, `side` the taker's: better priced client orders first, then the queue."""
        for px, place in list(self.book.queue(-side, ticks)):
            if not lots:
                break
            if place.order is None and px != ticks:
                continue
            lots -= self._meet(side, px, place, lots)
        if lots:
            self._trade(ticks, lots, side, None, None)
        self._settle_down()

    def clear(self) -> None:
        """Drop the market's own size; client orders stay."""
        for side in (1, -1):
            for ticks, place in list(self.book.queue(side)):
                if place.order is None:
                    self.book.fill(side, ticks, place, place.lots)

    def watch_mark(self, ticks: int) -> None:
        """Set off the triggers that watch the mark price."""
        for order in [o for o in self.stops if o.on_mark and o.is_reached(ticks)]:
            self._set_off(order)
        self._settle_down()

    # inside

    def _admit(self, order: Order) -> None:
        best = self.book.best(-order.side)
        crosses = best is not None and (not order.ticks or (order.ticks - best) * order.side >= 0)
        futures = self.listing.product is Product.FUTURES
        if crosses and (order.type == "LIMIT_MAKER" or order.tif == "GTX"):
            if futures:
                raise Refused(
                    -5022, "Due to the order could not be executed as maker, the Post Only order will be rejected."
                )
            raise Refused(-2010, "Order would immediately match and take.")
        short = Refused(-2019, "Margin is insufficient.") if futures else Refused(
            -2010, "Account has insufficient balance for requested action."
        )  # fmt: skip
        if order.at_market:
            _, notional = self.cost(order.side, order.lots, order)
            if not self.house.affords(order, notional):
                raise short
        elif not self.house.reserve(order, order.ticks):
            raise short
        if order.tif == "FOK" and futures and self._reachable(order) < order.lots:
            self.house.release(order)
            raise Refused(-5021, "Due to the order could not be filled immediately, the FOK order has been rejected.")

    def _work(self, order: Order) -> None:
        order.working, order.working_ms = True, self.now_ms()
        if order.tif == "FOK" and self._reachable(order) < order.lots:
            self._end(order, "EXPIRED", "EXPIRED")
            return
        limit = None if order.at_market else order.ticks
        left = self._match(order.side, limit, order.left, order)
        if not order.is_open:
            return
        if not left:
            return
        if limit is None or order.tif in ("IOC", "FOK"):
            self._end(order, "EXPIRED", "EXPIRED")
        else:
            self.book.join(order.side, order.ticks, left, order)

    def _reachable(self, order: Order) -> int:
        limit = None if order.at_market else order.ticks
        mine = order.account if order.stp != "NONE" else None
        found = (p.lots for _, p in self.book.queue(-order.side, limit) if not (p.order and p.order.account is mine))
        return min(order.lots, sum(found))

    def _match(self, side: int, limit: int | None, lots: int, taker: Order | None) -> int:
        """Trade up to `lots` at `limit` or better and return what is left."""
        book = self.book
        while lots:
            ticks = book.best(-side)
            if ticks is None or (limit is not None and (ticks - limit) * side > 0):
                break
            place = book.first(-side, ticks)
            maker = place.order
            if taker and maker and maker.account is taker.account and taker.stp != "NONE":
                if taker.stp in ("EXPIRE_MAKER", "EXPIRE_BOTH"):
                    self.cancel(maker, "EXPIRED_IN_MATCH", "TRADE_PREVENTION")
                if taker.stp in ("EXPIRE_TAKER", "EXPIRE_BOTH"):
                    self._end(taker, "EXPIRED_IN_MATCH", "TRADE_PREVENTION")
                    return 0
                continue
            n = min(lots, place.lots)
            if (n := self._closable(taker, n)) == 0 and taker:
                self._end(taker, "EXPIRED", "EXPIRED")
                return 0
            if maker and (m := self._closable(maker, n)) < n:
                if not m:
                    self.cancel(maker, "EXPIRED")
                    continue
                n = m
            self._trade(ticks, n, side, maker, taker)
            book.fill(-side, ticks, place, n)
            lots -= n
        return lots

    def _meet(self, side: int, ticks: int, place: Resting, lots: int) -> int:
        """Trade up to `lots` of the market with a place in the book and return how many."""
        n = self._closable(place.order, min(lots, place.lots))
        if n:
            self._trade(ticks, n, side, place.order, None)
            self.book.fill(-side, ticks, place, n)
        elif place.order is not None:
            self.cancel(place.order, "EXPIRED")
        return n

    def _closable(self, order: Order | None, lots: int) -> int:
        if order is None or not order.reduce_only:
            return lots
        held = order.account.positions[self.listing.symbol].lots
        return min(lots, abs(held)) if held * order.side < 0 else 0

    def _trade(self, ticks: int, lots: int, side: int, maker: Order | None, taker: Order | None) -> None:
        trade = next(self._trade_ids)
        self.last = ticks
        self.listener.traded(self.listing, trade, ticks, lots, side)
        if (maker is None) != (taker is None):
            self.house.settle_market(self.listing, side if taker is None else -side, ticks, lots)
        for order, is_maker in ((maker, True), (taker, False)):
            if order is not None:
                self._fill(order, trade, ticks, lots, is_maker)

    def _fill(self, order: Order, trade: int, ticks: int, lots: int, maker: bool) -> None:
        fee, asset, realized = self.house.settle(order, ticks, lots, maker)
        now = order.updated_ms = self.now_ms()
        fill = Fill(
            id=trade, order_id=order.id, ticks=ticks, lots=lots, maker=maker, fee=fee, fee_asset=asset, ts_ms=now,
            realized=realized,
        )  # fmt: skip
        order.fills.append(fill)
        order.filled += lots
        order.quote_filled += self.listing.tick * ticks * self.listing.lot * lots
        order.status = "PARTIALLY_FILLED" if order.left else "FILLED"
        if self.listing.product is Product.FUTURES:
            order.account.positions[self.listing.symbol].updated_ms = now
        if not order.left:
            self.house.release(order)
        self.listener.reported(order, "TRADE", fill)

    def _end(self, order: Order, status: str, execution: str) -> None:
        self.house.release(order)
        order.status, order.updated_ms = status, self.now_ms()
        self.listener.reported(order, execution, None)

    # triggers

    def _hold(self, order: Order) -> None:
        if order.trail_bps and not order.stop and not order.activation:
            self._trail(order, self.last)
        reference = int(self.house.marks.get(self.listing.symbol, Decimal(0)) / self.listing.tick)
        reference = reference if order.on_mark and reference else self.last
        if reference and order.stop and not order.trail_bps and order.is_reached(reference):
            if self.listing.product is Product.FUTURES:
                raise Refused(-2021, "Order would immediately trigger.")
            raise Refused(-2010, "Stop price would trigger immediately.")
        if self.listing.product is Product.SPOT and not self.house.reserve(
            order, order.ticks or order.stop or self.last
        ):
            raise Refused(-2010, "Account has insufficient balance for requested action.")
        order.working = False
        self.stops.append(order)
        self.listener.reported(order, "NEW", None)

    def _trail(self, order: Order, ticks: int) -> None:
        if order.activation and (ticks - order.activation) * order.side > 0:
            return
        order.activation = 0
        better = not order.best or (order.best - ticks) * order.side > 0
        if better:
            order.best = ticks
            order.stop = int((ticks * (1 + order.side * order.trail_bps / 10_000)).quantize(Decimal(1), ROUND_HALF_UP))

    def _settle_down(self) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            seen = 0
            while self.last != seen:
                seen = self.last
                for order in list(self.stops):
                    if order.trail_bps:
                        self._trail(order, seen)
                    if not order.on_mark and order.is_reached(seen):
                        self._set_off(order)
        finally:
            self._busy = False

    def _set_off(self, order: Order) -> None:
        self.stops.remove(order)
        self.house.release(order)
        if order.close_position:
            held = order.account.positions[self.listing.symbol].lots
            order.lots = abs(held) if held * order.side < 0 else 0
        order.updated_ms = self.now_ms()
        try:
            self._admit(order)
        except Refused:
            self._end(order, "EXPIRED", "EXPIRED")
            return
        if not order.lots:
            self._end(order, "EXPIRED", "EXPIRED")
            return
        order.working = True
        self.listener.reported(order, "NEW", None)
        self._work(order)

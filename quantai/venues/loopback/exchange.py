"""The exchange behind the sockets: listings, engines, orders, accounts and the clock; no input or output of its own."""

import time
from collections.abc import Iterable
from decimal import Decimal
from itertools import count
from typing import Any

from quantai.core.errors import UnknownName
from quantai.venues.loopback import futures_shapes, spot_shapes
from quantai.venues.loopback.accounts import Account, Balance
from quantai.venues.loopback.candles import Record
from quantai.venues.loopback.faults import Fault
from quantai.venues.loopback.hub import Hub
from quantai.venues.loopback.listings import Listing, Product
from quantai.venues.loopback.matching import Matching
from quantai.venues.loopback.money import House
from quantai.venues.loopback.orders import Fill, Order
from quantai.venues.loopback.refusals import Refused
from quantai.venues.loopback.streams import Streams

FUNDING_MS = 8 * 3_600_000


class Exchange:
    """Everything an exchange knows; one thread, one loop, and every request is done before the next begins."""

    def __init__(self, listings: Iterable[Listing], seed: int = 1) -> None:
        self.hub, self.house, self.faults = Hub(), House(), list[Fault]()
        self.streams = Streams(self.hub, self)
        self.matchings: dict[tuple[Product, str], Matching] = {}
        self.orders: dict[int, Order] = {}
        self.funding_rate = Decimal("0.0001")
        self.next_funding_ms = (self.now_ms() // FUNDING_MS + 1) * FUNDING_MS
        self.deposits: dict[Product, dict[str, Decimal]] = {p: {} for p in Product}
        self.countdowns: dict[tuple[str, str], int] = {}
        self.requests: dict[str, int] = {}
        self.funding: list[tuple[str, str, Decimal, int]] = []  # key, symbol, amount, ms
        self.order_ids, self.report_ids, self.cancel_ids = count(1), count(1), count(1)
        self._clients: dict[tuple[str, Product, str, str], Order] = {}
        self._open: dict[tuple[str, Product], dict[int, Order]] = {}
        self._expiring: dict[int, Order] = {}
        self._dirty: dict[tuple[str, str], None] = {}
        self.canceling = ""
        for listing in listings:
            key = (listing.product, listing.symbol)
            self.matchings[key] = Matching(listing, self.house, self, self.now_ms)
            self.streams.records[key] = Record(listing)
            if listing.product is Product.FUTURES:
                self.house.listed[listing.symbol] = listing
                self.house.marks[listing.symbol] = listing.price
        self.seed = seed

    # the clock, which the fault `skew` shifts

    def now_ms(self) -> int:
        """Return the exchange's time in ms since 1970 UTC."""
        return time.time_ns() // 1_000_000 + sum(f.ms for f in self.faults if f.name == "skew")

    # accounts

    def open_account(self, key: str, secret: str, spot: dict[str, Decimal], wallet: dict[str, Decimal]) -> Account:
        """Open an account with deposits; `spot` and `wallet` (futures) by asset."""
        account = self.house.accounts[key] = Account(key, secret)
        for product, amounts in ((Product.SPOT, spot), (Product.FUTURES, wallet)):
            for asset, amount in amounts.items():
                if product is Product.SPOT:
                    account.spot[asset] = Balance(amount)
                else:
                    account.wallet[asset] = amount
                known = self.deposits[product]
                known[asset] = known.get(asset, Decimal(0)) + amount
        return account

    # listings

    def matching(self, product: Product | str, symbol: str) -> Matching:
        """Return the engine of a symbol (`BTCUSDT`); raises UnknownName."""
        try:
            return self.matchings[Product(product), symbol]
        except (KeyError, ValueError):
            raise UnknownName(f"{product} symbol", symbol, (s for p, s in self.matchings if p == product)) from None

    def listed(self, product: Product, symbol: str) -> Matching:
        """Return the engine of a symbol that a request names; raises Refused."""
        found = self.matchings.get((product, symbol))
        if found is None:
            raise Refused.unknown_symbol()
        found.trading = not any(f.name == "halt" and f.symbol in ("", symbol) for f in self.faults)
        return found

    # orders

    def enter(self, order: Order) -> Order:
        """Take in an order that passed the filters; raises Refused."""
        matching = self.listed(order.listing.product, order.listing.symbol)
        order.created_ms = order.updated_ms = self.now_ms()
        name = (order.account.key, order.listing.product, order.listing.symbol, order.client_id)
        before = self._clients.get(name)
        if before is not None and before.is_open:
            if order.listing.product is Product.SPOT:
                raise Refused(-2010, "Duplicate order sent.")
            raise Refused(-4116, "ClientOrderId is duplicated.")
        self.orders[order.id], self._clients[name] = order, order
        self._open.setdefault(name[:2], {})[order.id] = order
        try:
            matching.place(order)
        except Refused:
            del self.orders[order.id], self._clients[name]
            self._open[name[:2]].pop(order.id, None)
            if before is not None:
                self._clients[name] = before
            raise
        finally:
            self.after(matching)
        if order.expire_ms and order.is_open:
            self._expiring[order.id] = order
        return order

    def cancel(self, order: Order, cancel_id: str = "", status: str = "CANCELED") -> None:
        """Cancel an open order; `cancel_id` is the client's name for the cancel (spot)."""
        matching = self.matchings[order.listing.product, order.listing.symbol]
        self.canceling = cancel_id
        try:
            matching.cancel(order, status)
        finally:
            self.canceling = ""
            self.after(matching)

    def change(self, order: Order, ticks: int, lots: int) -> None:
        """Give a resting futures order another price and quantity; it loses its place in the queue."""
        matching = self.matchings[order.listing.product, order.listing.symbol]
        try:
            matching.change(order, ticks, lots)
        finally:
            self.after(matching)

    def find(self, account: Account, product: Product, symbol: str, id: int | None, client_id: str) -> Order | None:
        """Return an account's order by its number or by the client's name for it."""
        if id is None:
            return self._clients.get((account.key, product, symbol, client_id))
        order = self.orders.get(id)
        if order is None or order.account is not account or order.listing.product is not product:
            return None
        return order if order.listing.symbol == symbol else None

    def of(self, account: Account, product: Product, symbol: str = "", *, is_open: bool = False) -> list[Order]:
        """Return an account's orders, oldest first."""
        if is_open:
            found = self._open.get((account.key, product), {}).values()
        else:
            found = (o for o in self.orders.values() if o.account is account and o.listing.product is product)
        return [o for o in found if not symbol or o.listing.symbol == symbol]

    def after(self, matching: Matching) -> None:
        """Publish what an action in a book left behind."""
        self.streams.settle(matching)
        for key, symbol in self._dirty:
            self._tell_balances(matching.listing, self.house.accounts[key], symbol)
        self._dirty.clear()

    # what the engines report

    def traded(self, listing: Listing, id: int, ticks: int, lots: int, side: int) -> None:
        """Pass a public trade on."""
        self.streams.traded(listing, id, ticks, lots, side)

    def reported(self, order: Order, execution: str, fill: Fill | None) -> None:
        """Tell the owner of an order what happened to it."""
        now, account, listing = self.now_ms(), order.account, order.listing
        if listing.product is Product.SPOT:
            event = spot_shapes.execution_event(order, execution, fill, now, next(self.report_ids), self.canceling)
            self.hub.push(Product.SPOT, account.key, event)
        else:
            events = [futures_shapes.execution_event(order, execution, fill, now)] if _is_told(order) else []
            if order.algo_id and (execution == "NEW" or not order.is_open):
                algo = futures_shapes.algo_event(order, futures_shapes.algo_status(order), now)
                events.insert(0 if execution == "NEW" else len(events), algo)
            for event in events:
                self.hub.push(Product.FUTURES, account.key, event)
        if listing.product is Product.SPOT or fill is not None:
            self._dirty[account.key, listing.symbol] = None
        if not order.is_open:
            self._expiring.pop(order.id, None)
            self._open.get((account.key, listing.product), {}).pop(order.id, None)

    def _tell_balances(self, listing: Listing, account: Account, symbol: str) -> None:
        now = self.now_ms()
        if listing.product is Product.SPOT:
            event = spot_shapes.balances_event(account, (listing.base, listing.quote), now)
        else:
            mark = self.house.marks[symbol]
            event = futures_shapes.account_event(account, listing, mark, "ORDER", Decimal(0), now)
        self.hub.push(listing.product, account.key, event)

    # time

    def tick(self) -> None:
        """Do what is due every 100 ms: depth diffs, orders that expire, dead-man switches."""
        for matching in self.matchings.values():
            self.streams.tick(matching)
        now = self.now_ms()
        for order in [o for o in self._expiring.values() if o.expire_ms <= now]:
            self.cancel(order, status="EXPIRED")
        for (key, symbol), due in list(self.countdowns.items()):
            if due <= now:
                del self.countdowns[key, symbol]
                for order in self.of(self.house.accounts[key], Product.FUTURES, symbol, is_open=True):
                    self.cancel(order)

    def tick_slowly(self) -> None:
        """Do what is due every second: mark prices, the triggers and liquidations they cause, statistics, funding."""
        for (product, symbol), matching in self.matchings.items():
            bid, ask = matching.book.best(1), matching.book.best(-1)
            listing, mark = matching.listing, matching.listing.price
            if product is Product.FUTURES:
                if bid is not None and ask is not None:
                    self.house.marks[symbol] = listing.tick * (bid + ask) / 2
                mark = self.house.marks[symbol]
                matching.watch_mark(int(mark / listing.tick))
                self.after(matching)
            self.streams.tick_slowly(matching, mark, self.funding_rate, self.next_funding_ms)
        self._liquidate()
        if self.now_ms() >= self.next_funding_ms:
            self.next_funding_ms += FUNDING_MS
            for symbol in self.house.listed:
                self.fund(symbol, self.funding_rate)

    def fund(self, symbol: str, rate: Decimal) -> dict[str, Decimal]:
        """Pay funding for one contract now, and return what each account got."""
        listing = self.house.listed[symbol]
        paid = self.house.pay_funding(listing, rate)
        for key, amount in paid.items():
            account, mark = self.house.accounts[key], self.house.marks[symbol]
            self.funding.append((key, symbol, amount, self.now_ms()))
            event = futures_shapes.account_event(account, listing, mark, "FUNDING_FEE", amount, self.now_ms())
            self.hub.push(Product.FUTURES, key, event)
        return paid

    def _liquidate(self) -> None:
        house = self.house
        for account in house.accounts.values():
            for asset in list(account.wallet):
                shape = futures_shapes.asset_shape(account, asset, house.listed, house.marks, 0)
                if Decimal(shape["marginBalance"]) < Decimal(shape["maintMargin"]):
                    self._close_out(account)

    def _close_out(self, account: Account) -> None:
        for order in self.of(account, Product.FUTURES, is_open=True):
            self.cancel(order)
        for symbol, position in account.positions.items():
            if not position.lots:
                continue
            matching = self.matchings[Product.FUTURES, symbol]
            side = -1 if position.lots > 0 else 1
            order = Order(
                id=next(self.order_ids), client_id=f"autoclose-{self.now_ms()}", account=account,
                listing=matching.listing, side=side, type="MARKET", tif="IOC", lots=abs(position.lots),
                reduce_only=True,
            )  # fmt: skip
            self.streams.liquidated(matching.listing, side, matching.book.best(-side) or matching.last, order.lots)
            self.enter(order)

    # the truth

    def truth(self) -> dict[str, Any]:
        """Return all orders, fills, balances and positions as they are: what a client should believe in the end."""
        shapes = {Product.SPOT: spot_shapes, Product.FUTURES: futures_shapes}
        orders = [shapes[o.listing.product].order_shape(o) | _owner(o) for o in self.orders.values()]
        fills = [shapes[o.listing.product].trade_shape(o, f) | _owner(o) for o in self.orders.values() for f in o.fills]
        return {
            "time": self.now_ms(),
            "orders": orders,
            "fills": sorted(fills, key=lambda f: (f["product"], f["symbol"], f["id"])),
            "accounts": {key: self._account(account) for key, account in self.house.accounts.items()},
            "fees": {p: _texts(self.house.fees[p]) for p in Product},
            "market": self._account(self.house.market),
            "deposits": {p: _texts(self.deposits[p]) for p in Product},
            "totals": {p: _texts(self.house.total(p)) for p in Product},
            "faults": [fault_shape(number, f) for number, f in enumerate(self.faults)],
            "requests": dict(self.requests),
        }

    def _account(self, account: Account) -> dict[str, Any]:
        held = {s: p for s, p in account.positions.items() if p.lots or p.cost}
        return {
            "spot": {a: {"free": str(b.free), "locked": str(b.locked)} for a, b in account.spot.items()},
            "futures": _texts(account.wallet),
            "positions": {
                s: {
                    "quantity": str(self.house.listed[s].lot * p.lots),
                    "cost": str(p.cost),
                    "entry": str(p.entry(self.house.listed[s])),
                    "leverage": p.leverage,
                }
                for s, p in held.items()
            },
        }


def fault_shape(number: int, fault: Fault) -> dict[str, Any]:
    """Return a fault with how often it struck."""
    scope = {"stream": fault.stream, "path": fault.path, "symbol": fault.symbol, "count": fault.count}
    return {"id": number, "name": fault.name, "seen": fault.seen, "done": fault.done} | scope


def _is_told(order: Order) -> bool:
    """Say whether an order has events of its own: a conditional one of the algo service only once it is triggered."""
    return order.working or not order.algo_id


def _owner(order: Order) -> dict[str, Any]:
    return {"product": str(order.listing.product), "account": order.account.key}


def _texts(amounts: dict[str, Decimal]) -> dict[str, str]:
    return {asset: str(amount) for asset, amount in amounts.items()}

"""Money of the exchange, exact: spot balances, futures wallets and positions, fees, and the market on the other side.

Nothing is made or lost here. For every asset the balances of all accounts, the fees taken and the account of the market
(the counterparty without a name) add up to what was deposited; for futures the same holds of wallets less the cost of
open positions. `House.total` is that sum.
"""

from collections import defaultdict
from decimal import Decimal

from quantai.venues.loopback.accounts import ZERO, Account, rounded
from quantai.venues.loopback.listings import Listing, Product
from quantai.venues.loopback.orders import Order


class House:
    """All accounts by key, the fees taken, and the market's own books."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.fees: dict[Product, dict[str, Decimal]] = {p: defaultdict(Decimal) for p in Product}
        self.market = Account("", "")
        self.listed: dict[str, Listing] = {}
        self.marks: dict[str, Decimal] = {}

    def reserve(self, order: Order, px_ticks: int) -> bool:
        """Set aside what an order may cost at `px_ticks`, and say whether there was enough."""
        listing, account = order.listing, order.account
        notional = listing.tick * px_ticks * listing.lot * order.left
        if listing.product is Product.SPOT:
            asset, amount = (listing.quote, notional) if order.side > 0 else (listing.base, listing.lot * order.left)
            balance = account.spot[asset]
            if balance.free < amount:
                return False
            balance.free -= amount
            balance.locked += amount
            order.reserved = amount
            return True
        amount = self.margin(order, notional)
        if amount > account.available(self.listed, self.marks, listing.quote) and amount > 0:
            return False
        account.margin_reserved[listing.quote] += amount
        order.reserved = amount
        return True

    def affords(self, order: Order, notional: Decimal) -> bool:
        """Say whether an account can pay for an order that trades `notional` at once."""
        listing, account = order.listing, order.account
        if listing.product is Product.FUTURES:
            wanted = self.margin(order, notional)
            return not wanted or wanted <= account.available(self.listed, self.marks, listing.quote)
        if order.side > 0:
            return account.spot[listing.quote].free >= notional
        return account.spot[listing.base].free >= listing.lot * order.lots

    def margin(self, order: Order, notional: Decimal) -> Decimal:
        """Return the margin that `notional` of a futures order needs; what closes a position needs none."""
        position = order.account.positions[order.listing.symbol]
        closing = min(abs(position.lots), order.left) if position.lots * order.side < 0 else 0
        if order.reduce_only or not order.left:
            return ZERO
        return rounded(notional * (order.left - closing) / order.left / position.leverage)

    def release(self, order: Order) -> None:
        """Give back what is still set aside for an order."""
        listing, account = order.listing, order.account
        if listing.product is Product.SPOT:
            balance = account.spot[listing.quote if order.side > 0 else listing.base]
            balance.locked -= order.reserved
            balance.free += order.reserved
        else:
            account.margin_reserved[listing.quote] -= order.reserved
        order.reserved = ZERO

    def settle(self, order: Order, ticks: int, lots: int, maker: bool) -> tuple[Decimal, str, Decimal]:
        """Book a fill of an order; returns its fee, the asset of the fee, and the profit it realised (futures)."""
        listing, account = order.listing, order.account
        rate = listing.maker if maker else listing.taker
        px, qty = listing.tick * ticks, listing.lot * lots
        share = order.reserved * lots / order.left if order.reserved else ZERO
        share = order.reserved if lots == order.left else rounded(share)
        order.reserved -= share
        if listing.product is Product.FUTURES:
            account.margin_reserved[listing.quote] -= share
            realized = account.positions[listing.symbol].add(listing, order.side, ticks, lots)
            fee = rounded(px * qty * rate)
            account.wallet[listing.quote] += realized - fee
            self.fees[Product.FUTURES][listing.quote] += fee
            return fee, listing.quote, realized
        gives, gets = (listing.quote, listing.base) if order.side > 0 else (listing.base, listing.quote)
        paid, got = (px * qty, qty) if order.side > 0 else (qty, px * qty)
        fee = rounded(got * rate)
        account.spot[gives].locked -= share
        account.spot[gives].free += share - paid
        account.spot[gets].free += got - fee
        self.fees[Product.SPOT][gets] += fee
        return fee, gets, ZERO

    def settle_market(self, listing: Listing, side: int, ticks: int, lots: int) -> None:
        """Book the market's side of a fill whose other side is an order; `side` is the market's."""
        px, qty = listing.tick * ticks, listing.lot * lots
        if listing.product is Product.SPOT:
            self.market.spot[listing.base].free += side * qty
            self.market.spot[listing.quote].free -= side * px * qty
        else:
            position = self.market.positions[listing.symbol]
            self.market.wallet[listing.quote] += position.add(listing, side, ticks, lots)

    def pay_funding(self, listing: Listing, rate: Decimal) -> dict[str, Decimal]:
        """Move funding between longs and shorts and return what each account got (negative: paid)."""
        paid: dict[str, Decimal] = {}
        for account in self.accounts.values():
            held = account.positions[listing.symbol].lots
            if held:
                amount = -rounded(held * listing.lot * self.marks[listing.symbol] * rate)
                account.wallet[listing.quote] += amount
                self.market.wallet[listing.quote] -= amount
                paid[account.key] = amount
        return paid

    def total(self, product: Product) -> dict[str, Decimal]:
        """Return the sum of everything by asset; only deposits change it."""
        totals: dict[str, Decimal] = defaultdict(Decimal, self.fees[product])
        for account in (*self.accounts.values(), self.market):
            if product is Product.SPOT:
                for asset, balance in account.spot.items():
                    totals[asset] += balance.free + balance.locked
                continue
            for asset, amount in account.wallet.items():
                totals[asset] += amount
            for symbol, position in account.positions.items():
                totals[self.listed[symbol].quote] -= position.cost
        return dict(totals)

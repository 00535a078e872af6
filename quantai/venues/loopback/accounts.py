"""Accounts of the exchange: spot balances, a futures wallet, positions. All of it exact."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal

from quantai.venues.loopback.listings import Listing

ZERO = Decimal(0)
_CENT = Decimal("1e-8")  # the least amount Binance keeps of any asset


def rounded(amount: Decimal) -> Decimal:
    """Return `amount` cut to eight decimals, as fees and funding are."""
    return amount.quantize(_CENT, ROUND_DOWN)


@dataclass(slots=True)
class Balance:
    """One asset of a spot account."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


@dataclass(slots=True)
class Position:
    """A futures position in one contract: signed lots, and their signed cost in the quote asset."""

    lots: int = 0
    cost: Decimal = ZERO
    leverage: int = 20
    isolated: bool = False
    updated_ms: int = 0

    def add(self, listing: Listing, side: int, ticks: int, lots: int) -> Decimal:
        """Book a fill and return the profit it realises; what is rounded off stays in the cost of what is left."""
        px = listing.tick * ticks
        closing = min(abs(self.lots), lots) if self.lots * side < 0 else 0
        realized = ZERO
        if closing:
            released = self.cost if closing == abs(self.lots) else rounded(self.cost * closing / abs(self.lots))
            realized = px * listing.lot * closing * -side - released
            self.cost -= released
        self.cost += side * px * listing.lot * (lots - closing)
        self.lots += side * lots
        return realized

    def entry(self, listing: Listing) -> Decimal:
        """Return the average price paid, 0 when flat."""
        return self.cost / (self.lots * listing.lot) if self.lots else ZERO

    def profit(self, listing: Listing, mark: Decimal) -> Decimal:
        """Return the profit not realised yet at a mark price."""
        return self.lots * listing.lot * mark - self.cost


@dataclass(slots=True)
class Account:
    """One customer: `spot` balances by asset, a futures `wallet` by asset, and `positions` by contract."""

    key: str
    secret: str
    spot: dict[str, Balance] = field(default_factory=lambda: defaultdict(Balance))
    wallet: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    positions: dict[str, Position] = field(default_factory=lambda: defaultdict(Position))
    margin_reserved: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def margin_used(self, listed: Mapping[str, Listing], marks: Mapping[str, Decimal], asset: str) -> Decimal:
        """Return the initial margin of all positions in `asset`."""
        held = ((listed[s], p) for s, p in self.positions.items() if p.lots and listed[s].quote == asset)
        return sum((abs(p.lots) * x.lot * marks[x.symbol] / p.leverage for x, p in held), ZERO)

    def profit(self, listed: Mapping[str, Listing], marks: Mapping[str, Decimal], asset: str) -> Decimal:
        """Return the profit not realised yet of all positions in `asset`."""
        held = ((listed[s], p) for s, p in self.positions.items() if p.lots and listed[s].quote == asset)
        return sum((p.profit(x, marks[x.symbol]) for x, p in held), ZERO)

    def available(self, listed: Mapping[str, Listing], marks: Mapping[str, Decimal], asset: str) -> Decimal:
        """Return what is left of the wallet for new orders."""
        used = self.margin_used(listed, marks, asset) + self.margin_reserved[asset]
        return self.wallet[asset] + self.profit(listed, marks, asset) - used

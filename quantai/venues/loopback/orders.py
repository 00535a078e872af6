"""Orders and fills as the exchange keeps them; quantities in lots and prices in ticks of their listing."""

from dataclasses import dataclass, field
from decimal import Decimal

from quantai.venues.loopback.accounts import Account
from quantai.venues.loopback.listings import Listing

OPEN = ("NEW", "PARTIALLY_FILLED")
STOPS = ("STOP_LOSS", "STOP_LOSS_LIMIT", "STOP", "STOP_MARKET", "TRAILING_STOP_MARKET")
TAKES = ("TAKE_PROFIT", "TAKE_PROFIT_LIMIT", "TAKE_PROFIT_MARKET")
AT_MARKET = ("MARKET", "STOP_LOSS", "STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")


@dataclass(slots=True, kw_only=True)
class Fill:
    """One execution of one order; `fee` in `fee_asset`, `realized` profit in the quote asset (futures)."""

    id: int
    order_id: int
    ticks: int
    lots: int
    maker: bool
    fee: Decimal
    fee_asset: str
    ts_ms: int
    realized: Decimal = Decimal(0)


@dataclass(slots=True, kw_only=True, eq=False)
class Order:
    """One client order; `side` +1 buys and -1 sells, `ticks` 0 means no limit, `stop` 0 no trigger.

    `working` is False while a stop waits for its trigger. `trail_bps` makes the trigger follow the market at that
    distance; `best` is then the best price seen. `expire_ms` 0 means never. `reserved` is what is set aside for it, in
    the asset it would pay with.
    """

    id: int
    client_id: str
    account: Account
    listing: Listing
    side: int
    type: str
    tif: str
    lots: int
    ticks: int = 0
    stop: int = 0
    quote_qty: Decimal | None = None
    trail_bps: Decimal = Decimal(0)
    activation: int = 0
    best: int = 0
    reduce_only: bool = False
    close_position: bool = False
    on_mark: bool = False
    stp: str = "NONE"
    expire_ms: int = 0
    algo_id: int = 0
    status: str = "NEW"
    working: bool = True
    filled: int = 0
    quote_filled: Decimal = Decimal(0)
    reserved: Decimal = Decimal(0)
    created_ms: int = 0
    updated_ms: int = 0
    working_ms: int = 0
    fills: list[Fill] = field(default_factory=list[Fill])

    @property
    def left(self) -> int:
        """What is not filled, in lots."""
        return self.lots - self.filled

    @property
    def is_open(self) -> bool:
        """Whether it can still trade."""
        return self.status in OPEN

    @property
    def at_market(self) -> bool:
        """Whether it takes whatever price there is: TAKE_PROFIT does on spot, and is a limit order on futures."""
        return self.type in AT_MARKET or (self.type == "TAKE_PROFIT" and self.ticks == 0)

    @property
    def has_trigger(self) -> bool:
        """Whether it waits, or waited, for a price."""
        return self.type in STOPS or self.type in TAKES

    def is_reached(self, ticks: int) -> bool:
        """Say whether a market at `ticks` sets it off: a buy stop waits for a rise, a buy target for a fall."""
        if not self.stop:
            return False
        rises = (self.side > 0) == (self.type in STOPS)
        return ticks >= self.stop if rises else ticks <= self.stop

"""What the loopback exchange lists: grid, limits and fees of each symbol, and how Binance publishes them."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

from quantai.core.errors import InputError
from quantai.core.instruments import Contract, Instrument, Payoff

_DOLLARS = ("USDT", "USDC", "USD", "FDUSD", "TUSD", "BUSD", "DAI", "EUR")
NEVER_MS = 4133404800000  # Binance's delivery date of a perpetual contract: 2100-12-25


class Product(StrEnum):
    """The two exchanges behind one address: spot, and USD-M futures."""

    SPOT = "spot"
    FUTURES = "futures"


SPOT_TYPES = (
    "LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_LIMIT",
)  # fmt: skip
FUTURES_TYPES = (
    "LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET",
)  # fmt: skip
STP_MODES = ("NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One symbol of one product; prices and quantities inside the exchange are whole ticks and lots of it.

    `price` is where its synthetic market starts. `maker`, `taker` are fees as a fraction of the notional.

    >>> btc = Listing(symbol="BTCUSDT", base="BTC", quote="USDT", tick=Decimal("0.01"), lot=Decimal("0.00001"))
    >>> btc.px(5_000_001), btc.qty(12), btc.ticks(Decimal("50000.01"))
    ('50000.01000000', '0.00012000', 5000001)
    """

    symbol: str
    base: str
    quote: str
    tick: Decimal
    lot: Decimal
    product: Product = Product.SPOT
    price: Decimal = Decimal(100)
    min_qty: Decimal | None = None
    max_qty: Decimal = Decimal(9000)
    max_price: Decimal = Decimal(1_000_000)
    min_notional: Decimal = Decimal(5)
    maker: Decimal = Decimal("0.001")
    taker: Decimal = Decimal("0.001")

    @classmethod
    def of(cls, instrument: Instrument, price: Decimal = Decimal(100)) -> Self:
        """Return the listing that plays `instrument`, spot or a linear perpetual; raises InputError for others."""
        if not is_listable(instrument):
            raise InputError(f"{instrument.symbol}: the loopback exchange lists spot pairs and linear perpetuals only")
        futures = instrument.contract is Contract.PERPETUAL
        fees = (Decimal("0.0002"), Decimal("0.0005")) if futures else (Decimal("0.001"), Decimal("0.001"))
        return cls(
            symbol=instrument.base + instrument.quote,
            base=instrument.base,
            quote=instrument.quote,
            tick=instrument.tick,
            lot=instrument.lot,
            product=Product.FUTURES if futures else Product.SPOT,
            price=price,
            max_qty=max(Decimal(9000), Decimal(round(1_000_000 / price))),
            max_price=max(Decimal(1_000_000), 1_000 * price),
            min_notional=Decimal(5) if instrument.quote in _DOLLARS else Decimal("0.0001"),
            maker=fees[0],
            taker=fees[1],
        )

    @property
    def min_lots(self) -> int:
        """The least quantity of an order, in lots."""
        return 1 if self.min_qty is None else int(self.min_qty / self.lot)

    def ticks(self, px: Decimal) -> int | None:
        """Return `px` in ticks, None when it is not on the grid."""
        return _steps(px, self.tick)

    def lots(self, qty: Decimal) -> int | None:
        """Return `qty` in lots, None when it is not on the grid."""
        return _steps(qty, self.lot)

    def px(self, ticks: int) -> str:
        """Return the price of `ticks` as the exchange writes it."""
        return f"{self.tick * ticks:.8f}" if self.product is Product.SPOT else f"{self.tick * ticks:f}"

    def qty(self, lots: int) -> str:
        """Return the quantity of `lots` as the exchange writes it."""
        return f"{self.lot * lots:.8f}" if self.product is Product.SPOT else f"{self.lot * lots:f}"

    def info(self, *, trading: bool) -> dict[str, Any]:
        """Return the symbol's entry of exchangeInfo; PRICE_FILTER comes first, because cryptofeed reads it there."""
        status = "TRADING" if trading else ("BREAK" if self.product is Product.SPOT else "SETTLING")
        head = {
            "symbol": self.symbol,
            "status": status,
            "baseAsset": self.base,
            "baseAssetPrecision": 8,
            "quoteAsset": self.quote,
            "quotePrecision": 8,
        }
        sizes = {"minQty": self.qty(self.min_lots), "maxQty": self._text(self.max_qty), "stepSize": self.qty(1)}
        filters: list[dict[str, Any]] = [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": self.px(1),
                "maxPrice": self._text(self.max_price),
                "tickSize": self.px(1),
            },
            {"filterType": "LOT_SIZE"} | sizes,
            {"filterType": "MARKET_LOT_SIZE"} | sizes,
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders" if self.product is Product.SPOT else "limit": 200},
        ]
        if self.product is Product.SPOT:
            return head | self._spot(filters)
        return head | self._futures(filters)

    def _spot(self, filters: list[dict[str, Any]]) -> dict[str, Any]:
        least = {"minNotional": self._text(self.min_notional), "applyMinToMarket": True}
        most = {"maxNotional": "9000000.00000000", "applyMaxToMarket": False, "avgPriceMins": 5}
        percent = {
            "bidMultiplierUp": "5",
            "bidMultiplierDown": "0.2",
            "askMultiplierUp": "5",
            "askMultiplierDown": "0.2",
        }
        return {
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": list(SPOT_TYPES),
            "icebergAllowed": False,
            "ocoAllowed": False,
            "otoAllowed": False,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": True,
            "cancelReplaceAllowed": True,
            "amendAllowed": False,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": [
                *filters,
                {"filterType": "NOTIONAL"} | least | most,
                {"filterType": "PERCENT_PRICE_BY_SIDE", "avgPriceMins": 5} | percent,
                {"filterType": "TRAILING_DELTA"}
                | {f"{a}Trailing{b}Delta": n for a, n in (("min", 10), ("max", 2000)) for b in ("Above", "Below")},
            ],
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
            "allowedSelfTradePreventionModes": list(STP_MODES),
        }

    def _futures(self, filters: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "pair": self.symbol,
            "contractType": "PERPETUAL",
            "deliveryDate": NEVER_MS,
            "onboardDate": 1569398400000,
            "maintMarginPercent": "2.5000",
            "requiredMarginPercent": "5.0000",
            "marginAsset": self.quote,
            "pricePrecision": _places(self.tick),
            "quantityPrecision": _places(self.lot),
            "underlyingType": "COIN",
            "underlyingSubType": [],
            "triggerProtect": "0.0500",
            "liquidationFee": "0.012500",
            "marketTakeBound": "0.05",
            "maxMoveOrderLimit": 10000,
            "orderTypes": list(FUTURES_TYPES),
            "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
            "filters": [
                *filters,
                {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 200},
                {"filterType": "MIN_NOTIONAL", "notional": f"{self.min_notional:f}"},
                {"filterType": "PERCENT_PRICE", "multiplierUp": "1.0500", "multiplierDown": "0.9500"}
                | {"multiplierDecimal": "4"},
            ],
        }

    def _text(self, value: Decimal) -> str:
        return f"{value:.8f}" if self.product is Product.SPOT else f"{value:f}"


def is_listable(instrument: Instrument) -> bool:
    """Say whether an instrument is a spot pair or a linear perpetual."""
    linear = instrument.contract is Contract.PERPETUAL and instrument.payoff is Payoff.LINEAR
    return bool(instrument.quote) and (linear or instrument.contract is Contract.SPOT)


def listings(symbols: Iterable[str] = ("BTC-USDT", "ETH-USDT", "SOL-USDT")) -> tuple[Listing, ...]:
    """Return the listings that `symbols` name; a spot pair `BTC-USDT` brings its perpetual, and the reverse.

    Raises InputError for a symbol that is neither.

    >>> [(x.symbol, str(x.product), x.px(1)) for x in listings(["BTC-USDT"])]
    [('BTCUSDT', 'spot', '0.01000000'), ('BTCUSDT', 'futures', '0.1')]
    """
    found: dict[tuple[Product, str], Listing] = {}
    for symbol in symbols:
        pair = symbol.removesuffix("-PERP")
        price, lot, contract_lot, tick = _GRIDS.get(pair.partition("-")[0], ("100", "0.001", "0.01", "0.01"))
        for name, its_tick, its_lot in ((pair, "0.01", lot), (f"{pair}-PERP", tick, contract_lot)):
            instrument = Instrument.parse(name, tick=its_tick, lot=its_lot)
            listing = Listing.of(instrument, Decimal(price))
            found[listing.product, listing.symbol] = listing
    return tuple(found.values())


_GRIDS = {
    "BTC": ("50000", "0.00001", "0.001", "0.1"),
    "ETH": ("2500", "0.0001", "0.001", "0.01"),
    "SOL": ("150", "0.001", "0.01", "0.01"),
}  # starting price, lot of the pair, lot and tick of the perpetual


def _steps(value: Decimal, step: Decimal) -> int | None:
    steps = value / step
    whole = int(steps)
    return whole if whole == steps else None


def _places(step: Decimal) -> int:
    exponent = step.normalize().as_tuple().exponent
    return max(0, -int(exponent))

"""Binance spot and USD-M futures through real ccxt pass the suite of every venue, on the loopback exchange."""

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BUY, SELL
from quantai.venues.ccxt import CcxtVenue, Keys
from quantai.venues.loopback import KEY, SECRET, LoopbackExchange
from tests.venues.suite import VenueSuite

DOWN_S = 3.0
SYMBOLS = {"BINANCE": ("spot", "BTC-USDT", 100), "BINANCE_FUTURES": ("futures", "BTC-USDT-PERP", 20)}


class BinancePlace:
    """A market of the loopback exchange that stands still unless the test moves it."""

    lacks: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, name: str, exchange: LoopbackExchange) -> None:
        self.name, self.exchange = name, exchange
        self.product, symbol, self.lots = SYMBOLS[name]
        exchange.pause()
        market = exchange.matching(self.product, "BTCUSDT")
        self.instrument = Instrument.parse(symbol, venue=name, tick=market.listing.tick, lot=market.listing.lot)
        self._best = {side: market.book.best(side) or 0 for side in (BUY, SELL)}
        self.venue = self.new_venue()

    def new_venue(self) -> CcxtVenue:
        keys = Keys(KEY, SECRET)
        return CcxtVenue(self.name, Instruments([self.instrument]), keys, endpoint=self.exchange.http, timeout_s=5.0)

    def best(self, side: int) -> int:
        return self._best[side]

    def take(self, side: int, lots: int) -> None:
        quantity = str(self.instrument.lot * lots)
        self.exchange.act(self.product, "BTCUSDT", "take", "BUY" if side == BUY else "SELL", quantity)

    def beat(self) -> None:
        """Time passes by itself."""

    async def cut(self) -> None:
        await self.exchange.fault(f"restart:ms=0,s={DOWN_S}")

    async def mend(self) -> None:
        """It comes back by itself, after DOWN_S."""

    async def deafen(self) -> None:
        await self.exchange.fault("silence:stream=user,count=1")

    async def repeat(self) -> None:
        await self.exchange.fault("duplicate:stream=user")

    async def spoil(self) -> None:
        await self.exchange.fault("garbage:stream=user,count=1")

    async def swallow(self) -> None:
        await self.exchange.fault("timeout:path=*/order,method=POST,count=1")

    async def refuse(self) -> None:
        await self.exchange.fault("http:status=429,path=*/order,method=POST,count=1")

    def truth(self) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
        account = self.exchange.truth()["accounts"][KEY]
        if self.product == "spot":
            held = {a: Decimal(b["free"]) + Decimal(b["locked"]) for a, b in account["spot"].items()}
            return {asset: total for asset, total in held.items() if total}, {}
        wallet = {asset: Decimal(total) for asset, total in account["futures"].items()}
        position = sum((Decimal(p["quantity"]) for p in account["positions"].values()), Decimal(0))
        return {a: t for a, t in wallet.items() if t}, {self.instrument.symbol: position} if position else {}


@pytest.mark.parametrize("name", list(SYMBOLS))
class TestBinance(VenueSuite):
    @pytest.fixture
    async def place(self, name: str) -> AsyncIterator[BinancePlace]:
        async with LoopbackExchange(symbols=["BTC-USDT"], seed=3) as exchange:
            yield BinancePlace(name, exchange)

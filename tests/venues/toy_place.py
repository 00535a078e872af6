"""The place of the suite for a protocol fake."""

from decimal import Decimal

from quantai.core.instruments import Instrument, Instruments
from quantai.venues.ccxt import CcxtVenue, Keys
from tests.venues.toy import ToyExchange, ToyServer

KEYS = Keys("fake-key-1234", "fake-secret-1234", "fake-password")
TICK, LOT = Decimal("0.1"), Decimal("0.00001")
BID, ASK = Decimal("50000.0"), Decimal("50001.0")


class ToyPlace:
    """A fake that has been opened at `endpoint`."""

    def __init__(self, name: str, exchange: ToyExchange, server: ToyServer, endpoint: str, keys: Keys = KEYS) -> None:
        self.name, self.exchange, self.server, self.endpoint = name, exchange, server, endpoint
        self.keys = keys
        self.lacks: dict[str, str] = {}
        self.lots = 400
        self.instrument = Instrument.parse("BTC-USDT", venue=name, tick=TICK, lot=LOT)
        self.venue = self.new_venue()

    def new_venue(self) -> CcxtVenue:
        return CcxtVenue(self.name, Instruments([self.instrument]), self.keys, endpoint=self.endpoint, timeout_s=5.0)

    def best(self, side: int) -> int:
        return self.instrument.ticks(self.exchange.prices[side])

    def take(self, side: int, lots: int) -> None:
        self.exchange.take(side, LOT * lots)

    def beat(self) -> None:
        """Time passes by itself."""

    async def cut(self) -> None:
        await self.server.cut()

    async def mend(self) -> None:
        self.server.is_cut = False

    async def deafen(self) -> None:
        self.server.deafened |= self.server.sockets

    async def repeat(self) -> None:
        self.server.repeats = True

    async def spoil(self) -> None:
        self.server.spoiled = 1

    async def swallow(self) -> None:
        self.server.swallows = 1

    async def refuse(self) -> None:
        self.server.refusals = 1

    def truth(self) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
        return {name: total for name, total in self.exchange.balances.items() if total}, {}

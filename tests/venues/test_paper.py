"""The paper venue passes the suite of every venue."""

import time
from decimal import Decimal

import pytest

from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import BUY, EVENT, LAST, SELL, Kind, Rows, zeros
from quantai.venues import Latency, SimVenue
from quantai.venues.paper import Paper
from quantai.venues.venue import Venue
from tests.venues.suite import VenueSuite

NO_CONNECTION = "a paper venue has no connection that could be lost"


class PaperPlace:
    """A market of two levels that the test moves by rows."""

    lacks = {"stream": NO_CONNECTION}  # noqa: RUF012
    lots = 400

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self._ts = 0
        self._best = {BUY: 50_000, SELL: 50_010}
        self.venue = self.new_venue()
        for side in (BUY, SELL):
            self._show(Kind.LEVEL, side, self._best[side], 1_000_000)

    def new_venue(self) -> Paper:
        rules = SimVenue(queue="front", latency=Latency(entry_ns=1000, response_ns=1000), taker_bps=5.0)
        money = {"USDT": Decimal(1_000_000)}
        return Paper(Instruments([self.instrument]), rules, balances=money, quiet_ns=1000)

    def best(self, side: int) -> int:
        return self._best[side]

    def take(self, side: int, lots: int) -> None:
        self.beat()
        self._show(Kind.TRADE, side, self._best[-side] + 1, lots)
        self.beat()

    def beat(self) -> None:
        row = zeros(1, EVENT)
        row["kind"] = Kind.TIMER
        self._feed(row)

    def truth(self) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
        qty, tick = self.instrument.lot * self.lots, self.instrument.tick
        bought, sold = tick * 50_010, tick * 50_000
        fee = qty * (2 * bought + sold) * Decimal("0.0005")
        money = Decimal(1_000_000) - fee
        if self.instrument.symbol.endswith("PERP"):
            return {"USDT": money + qty * (sold - bought)}, {self.instrument.symbol: qty}
        return {"USDT": money - qty * (2 * bought - sold), "BTC": qty}, {}

    def _show(self, kind: Kind, side: int, ticks: int, lots: int) -> None:
        row = zeros(1, EVENT)
        row["kind"], row["side"], row["px_ticks"], row["flags"] = kind, side, ticks, LAST
        row["px"], row["qty"] = self.instrument.price(ticks), self.instrument.qty(lots)
        self._feed(row)

    def _feed(self, row: Rows) -> None:
        self._ts = max(self._ts + 10_000, time.time_ns())
        row["ts_exch"] = row["ts_recv"] = self._ts
        assert isinstance(self.venue, Paper)
        self.venue.see(row)


@pytest.mark.parametrize("symbol", ["BTC-USDT", "BTC-USDT-PERP"])
class TestPaper(VenueSuite):
    @pytest.fixture
    async def place(self, symbol: str) -> PaperPlace:
        return PaperPlace(Instrument.parse(symbol, venue="BINANCE", tick="0.1", lot="0.001", max_qty="1000"))


def test_it_is_a_venue() -> None:
    venue: Venue = PaperPlace(Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")).venue
    assert venue.name == "PAPER"

"""Funding that a venue of our own charges: rates announced by rows, paid when they fall due."""

from decimal import Decimal

import numpy as np

from quantai.core.instruments import Contract, Instruments, Payoff
from quantai.core.rows import Kind, Rows
from quantai.venues.holdings import Holdings
from quantai.venues.venue import Payment


class Funding:
    """Rates and prices of perpetuals, as rows tell them.

    A FUNDING row whose next instant lies ahead announces a rate, the last one before that instant is charged at it; one
    without is a payment at its own instant. Longs pay a positive rate: quantity x value of a unit x rate. With `venue`
    only instruments of that venue count, where there are any.
    """

    def __init__(self, instruments: Instruments, venue: str = "") -> None:
        self._instruments = instruments
        alone = venue not in {i.venue for i in instruments}
        self._perpetual = np.array(
            [i.contract is Contract.PERPETUAL and (alone or i.venue == venue) for i in instruments]
        )
        self._due: dict[tuple[int, int], float] = {}
        self._px = np.full(len(instruments), np.nan)

    def see(self, rows: Rows, holdings: Holdings) -> list[Payment]:
        """Take EVENT rows and return what falls due up to the last of them, moved in `holdings` already."""
        if not self._perpetual.any() or not len(rows):
            return []
        known = rows["instrument"] < len(self._perpetual)
        mine = rows[known & self._perpetual[np.where(known, rows["instrument"], 0)]]
        paid: list[Payment] = []
        for row in mine[(mine["kind"] == Kind.TRADE) | (mine["kind"] == Kind.MARK) | (mine["kind"] == Kind.FUNDING)]:
            i, px = int(row["instrument"]), float(row["px"])
            if row["kind"] != Kind.FUNDING:
                self._px[i] = px
                continue
            paid += self._pay(int(row["ts_recv"]), holdings)  # at the rate announced before this one
            self._due[max(int(row["aux"]), int(row["ts_exch"])), i] = px
        return paid + self._pay(int(rows["ts_recv"].max()), holdings)

    def _pay(self, now: int, holdings: Holdings) -> list[Payment]:
        paid: list[Payment] = []
        for (due, i), rate in sorted(self._due.items()):
            if due > now:
                break
            if not np.isfinite(self._px[i]):
                continue
            del self._due[due, i]
            instrument, px = self._instruments[i], Decimal(str(self._px[i]))
            unit = instrument.multiplier / px if instrument.payoff is Payoff.INVERSE else instrument.multiplier * px
            held = holdings.positions.get(instrument.symbol, Decimal(0))
            amount = -held * unit * Decimal(str(rate))
            if amount:
                holdings.pay(instrument.settle, amount)
                paid.append(Payment(symbol=instrument.symbol, amount=amount, ts=due))
        return paid

"""Bars of a run that trades: built from its trades as they come, and closed by the clock when none come."""

from collections.abc import Iterable

import numpy as np

from quantai.core.instruments import Instruments
from quantai.core.rows import BAR, DERIVED, EVENT, LAST, MS, Kind, Rows, zeros
from quantai.data.aggregate import BarBuilder

GRACE_NS = 250 * MS
"""How long after its end a bar waits for trades that were on their way."""


class BarMaker:
    """Builders for some (instrument, interval) pairs.

    >>> from quantai.core.instruments import Instrument
    >>> BarMaker([(0, "1m")], Instruments([Instrument.parse("BTC-USDT")])).advance(10**18).size
    0
    """

    def __init__(self, wanted: Iterable[tuple[int, str]], instruments: Instruments) -> None:
        self._builders = [(i, BarBuilder(by, instruments[i], number=i)) for i, by in dict.fromkeys(wanted)]

    def __bool__(self) -> bool:
        return bool(self._builders)

    def take(self, rows: Rows) -> Rows:
        """Return the BAR rows that the trades among EVENT rows completed."""
        made = [zeros(0, BAR)]
        trades = rows[rows["kind"] == Kind.TRADE]
        if len(trades):
            good = trades[np.isfinite(trades["px"]) & (trades["qty"] >= 0)]
            for i, builder in self._builders:
                own = good[good["instrument"] == i]
                if len(own):
                    made.append(builder.extend(own["ts_exch"], own["px"], own["qty"]))
        return np.concatenate(made)

    def advance(self, now: int) -> Rows:
        """Return the BAR rows that the clock (ns UTC) has closed though no trade came."""
        made = [builder.advance(now - GRACE_NS) for _, builder in self._builders]
        return np.concatenate([zeros(0, BAR), *made])


def bar_events(bars: Rows, instruments: Instruments, *, ts: int = 0, flags: int = 0) -> Rows:
    """Return the EVENT rows that announce BAR rows, received at `ts` or at their end; they count them from 0."""
    rows = zeros(len(bars), EVENT)
    rows["kind"], rows["flags"] = Kind.BAR, LAST | DERIVED | flags
    rows["ts_exch"], rows["ts_recv"] = bars["ts_close"], np.maximum(bars["ts_close"], ts)
    rows["px"], rows["qty"], rows["instrument"] = bars["close"], bars["volume"], bars["instrument"]
    rows["aux"] = np.arange(len(bars))
    ticks = np.array([float(i.tick) for i in instruments])
    rows["px_ticks"] = np.rint(bars["close"] / ticks[bars["instrument"]]).astype(np.int64) if len(bars) else 0
    return rows

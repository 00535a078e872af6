"""A synthetic market: the events of one instrument on one venue, all made from one seed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from quantai.core.errors import InputError
from quantai.core.instruments import Instrument
from quantai.core.rows import BUY, EVENT, HOUR, SEC, SELL, Kind, Rows, zeros
from quantai.data.instants import Instant, to_ns
from quantai.data.synth import flow
from quantai.ops.compiling import announced

if TYPE_CHECKING:
    from quantai.data.bars import Bars
    from quantai.data.lake import Lake

_YEAR_S = 365.25 * 86_400
_CHUNK = 1 << 18  # rows made at a time when the number of rows is not known beforehand
_FOREVER = np.iinfo("i8").max


@dataclass(frozen=True, eq=False)
class SyntheticMarket:
    """The rows of a made-up market and the book it ends with; equal arguments give equal bytes.

    `events` are EVENT rows sorted by `seq` (from 1), each flagged DERIVED: a snapshot (CLEAR and LEVEL rows), then
    TRADE, LEVEL and QUOTE rows. The LAST flag closes a venue message, and the book is never crossed after one. A
    market order gives one TRADE message a price level, then one message with the levels it changed: prints come
    before the book update they cause, as on real venues. `ts_exch` and `ts_recv` never decrease, and a row is
    received 1 to 8 ms after it happened.
    """

    instrument: Instrument
    seed: int
    events: Rows
    book: Rows
    """What the last message leaves: LEVEL rows, bids from the best down, then asks from the best up."""

    @property
    def trades(self) -> Rows:
        """The TRADE rows; `side` is the aggressor's."""
        return self._of(Kind.TRADE)

    @property
    def levels(self) -> Rows:
        """The CLEAR and LEVEL rows: enough to rebuild the book at any row."""
        return self._of(Kind.LEVEL, Kind.CLEAR)

    @property
    def quotes(self) -> Rows:
        """The QUOTE rows, two a message: bid, then ask."""
        return self._of(Kind.QUOTE)

    def bars(self, interval: str = "1m") -> "Bars":
        """Return bars of the trades, by any interval that `quantai.data.aggregate.bars` knows."""
        from quantai.data import aggregate

        return aggregate.bars(self.events, interval, self.instrument)

    def to_lake(self, lake: "Lake") -> int:
        """Store trades, levels, quotes and the instrument in `lake` and return how many table rows are new.

        A market that is there already is not stored twice, one whose storing was interrupted is completed. Raises
        InputError when the lake holds another synthetic market under the same venue and symbol.
        """
        from quantai.data.synth.store import store

        return store(self.events, self.instrument, lake)

    def _of(self, *kinds: Kind) -> Rows:
        rows = self.events[np.isin(self.events["kind"], [int(k) for k in kinds])]
        rows.flags.writeable = False
        return rows

    def __repr__(self) -> str:
        span = (int(self.events["ts_exch"][-1]) - int(self.events["ts_exch"][0])) / HOUR
        return f"SyntheticMarket({self.instrument.symbol}, seed={self.seed}, {len(self.events):,} rows, {span:.2f} h)"


def market(
    symbol: str | Instrument = "BTC-USDT-PERP",
    venue: str = "SYNTH",
    *,
    hours: float | None = None,
    n: int | None = None,
    seed: int = 7,
    price: float = 60_000.0,
    volatility: float = 0.2,
    arrivals_per_s: float = 20.0,
    start: Instant = "2024-01-01",
) -> SyntheticMarket:
    """Make the trades, book and quotes of an order-driven market.

    Length: `hours` of exchange time (one hour when neither is given), or at least `n` rows, ending with the arrival
    that reaches `n`; a shorter market is a prefix of a longer one. `price` is where it starts (quote currency),
    `volatility` that of the hidden fair value (a fraction a year), `arrivals_per_s` the mean rate of orders. The grid
    is tick 0.1 and lot 0.001; pass an `Instrument` for another. The flow does not react to anybody's own orders.
    Raises InputError.

    >>> m = market(n=10_000, seed=1)
    >>> m.instrument.venue, len(m.events) >= 10_000, int(m.book["px_ticks"][0]) < int(m.book["px_ticks"][-1])
    ('SYNTH', True, True)
    >>> market(n=10_000, seed=1).events.tobytes() == m.events.tobytes()
    True
    """
    if hours is not None and n is not None:
        raise InputError("pass hours or n, not both")
    for name, value in (("hours", hours), ("n", n), ("price", price), ("arrivals_per_s", arrivals_per_s)):
        if value is not None and not (0 < value < float("inf")):
            raise InputError(f"{name} must be positive, got {value}")
    if not 0 <= volatility < float("inf"):
        raise InputError(f"volatility must not be negative, got {volatility}")
    instrument = (
        symbol if isinstance(symbol, Instrument) else Instrument.parse(symbol, venue=venue, tick="0.1", lot="0.001")
    )
    announced()
    ts = to_ns(start, "start")
    state = _initial(instrument, price, volatility, arrivals_per_s, ts)
    bid, ask = np.zeros(flow.WIDTH, "i8"), np.zeros(flow.WIDTH, "i8")
    rng = np.random.Generator(np.random.PCG64(seed))
    end_ts = _FOREVER if n is not None else ts + round((1.0 if hours is None else hours) * HOUR)
    rows = zeros(flow.ROWS_AT_START + flow.ROWS_PER_STEP + (_CHUNK if n is None else n), EVENT)
    k = flow.open_book(state, bid, ask, rows, rng)
    parts: list[Rows] = []
    while True:
        k = flow.run(state, bid, ask, rows, k, len(rows) if n is None else n, end_ts, rng)
        parts.append(rows[:k])
        if n is not None or state["done"][0]:
            break
        rows, k = zeros(_CHUNK, EVENT), 0
    events = np.concatenate(parts)
    events.flags.writeable = False
    return SyntheticMarket(instrument, seed, events, _book(state, bid, ask))


def _initial(instrument: Instrument, price: float, volatility: float, arrivals_per_s: float, ts: int) -> Rows:
    grid = instrument.row()
    ticks = round(price * int(grid["tick_den"][0]) / int(grid["tick_num"][0]))
    least = 2 * flow.MARGIN
    if ticks < least:
        raise InputError(
            f"price {price} is only {ticks} ticks of {instrument.tick}: a market needs {least}; pass a finer tick"
        )
    state = zeros(1, flow.STATE)
    base = max(1, ticks - flow.WIDTH // 2)
    state["base"], state["fair"] = base, ticks - base
    state["sigma"] = ticks * volatility / np.sqrt(_YEAR_S * arrivals_per_s)
    state["gap_ns"] = SEC / arrivals_per_s
    state["ts_exch"], state["ts_recv"], state["seq"] = ts, ts + SEC // 1000, 1
    for name in ("tick_num", "tick_den", "lot_num", "lot_den"):
        state[name] = grid[name]
    return state


def _book(state: Rows, bid: Any, ask: Any) -> Rows:
    bids, asks = np.flatnonzero(bid)[::-1], np.flatnonzero(ask)
    rows = zeros(len(bids) + len(asks), EVENT)
    index = np.concatenate([bids, asks])
    rows["kind"] = int(Kind.LEVEL)
    rows["side"][: len(bids)], rows["side"][len(bids) :] = BUY, SELL
    rows["px_ticks"] = index + state["base"]
    rows["px"] = rows["px_ticks"] * state["tick_num"] / state["tick_den"]
    rows["qty"] = np.concatenate([bid[bids], ask[asks]]) * state["lot_num"] / state["lot_den"]
    for name in ("ts_exch", "ts_recv"):
        rows[name] = state[name]
    rows.flags.writeable = False
    return rows

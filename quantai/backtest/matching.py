"""Scripted orders against bars: the matching of a backtest without a strategy, to try a rule or to test one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple, Required, TypedDict

import numpy as np
import numpy.typing as npt

from quantai.backtest.bar_matching import AT_LIMIT, AT_OPEN, AT_STOP, FILL, MATCH, RULES, match_bar
from quantai.backtest.order_table import place
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.instruments import Instrument, Number
from quantai.core.rows import (
    BAR,
    BUY,
    CHILD,
    DAY,
    INTENT,
    OCO,
    ORDER,
    POST_ONLY,
    REDUCE_ONLY,
    SELL,
    TIF,
    Action,
    OrderState,
    OrderType,
    Reason,
    Rows,
    zeros,
)

Ints = npt.NDArray[np.int64]
Where = Literal["open", "limit", "stop"]
_WHERE: dict[int, Where] = {AT_OPEN: "open", AT_LIMIT: "limit", AT_STOP: "stop"}
_SIDES = {"buy": BUY, "sell": SELL}
_TYPES = {t.name.lower(): t for t in OrderType}
_TIFS = {t.name: t for t in TIF if t is not TIF.GTD}
_FLAGS = {"post_only": POST_ONLY, "reduce_only": REDUCE_ONLY, "oco": OCO, "parent": CHILD}
_PRICES = {
    "market": ((), ()),
    "limit": (("limit",), ("limit",)),
    "stop": (("stop",), ("stop",)),
    "stop_limit": (("stop", "limit"), ("stop", "limit")),
    "trailing_stop": (("trail",), ("trail", "stop")),
}


class BarOrder(TypedDict, total=False):
    """One scripted order, decided at the close of bar `submit_after` (default 0) and live from the next bar.

    Prices and quantities are decimals on the instrument's grid, as text, numbers or Decimal. A `trailing_stop` keeps
    the distance `trail` behind the best price and starts from `stop`, or from the open of its first bar. Orders that
    name the same `oco` cancel each other; an order with a `parent` sleeps until that order has filled. `expire_after`
    is the last bar on which it works, `max_qty_at_open` the units it may take at one open.
    """

    id: Required[str]
    side: Required[Literal["buy", "sell"]]
    type: Required[Literal["market", "limit", "stop", "stop_limit", "trailing_stop"]]
    qty: Required[Number]
    limit: Number
    stop: Number
    trail: Number
    tif: Literal["GTC", "IOC", "FOK", "DAY"]
    post_only: bool
    reduce_only: bool
    oco: str
    parent: str
    submit_after: int
    expire_after: int
    max_qty_at_open: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class BarRules:
    """The choices left open by the fixed rules of matching on bars; the defaults are the pessimistic ones.

    `slip_bps` moves market and stop fills against the order, in basis points of the price. `limit_touch` lets a limit
    fill when the bar only touches it; without it the price must trade through.
    """

    slip_bps: float = 0.0
    limit_touch: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.slip_bps < 10_000:
            raise InputError(f"slip_bps must be within [0, 10000), got {self.slip_bps}")

    def row(self) -> Rows:
        """Return the RULES row (shape (1,)) that compiled code reads."""
        row = np.zeros(1, RULES)
        row["slip_bps"], row["limit_touch"] = self.slip_bps, self.limit_touch
        return row

    def names(self, instrument: Instrument) -> dict[str, str]:
        """Return what was assumed, in words, for the result it belongs to.

        >>> BarRules().names(Instrument.parse("BTC-USDT"))["a gap over a resting limit"]
        'fills at the limit: the instrument trades around the clock'
        """
        sessions = instrument.calendar is not None
        return {
            "a market order": "fills at the next open",
            "a limit": "fills on a touch" if self.limit_touch else "fills when the price trades through it",
            "a gap over a resting limit": (
                "fills at the open: the instrument trades in sessions"
                if sessions
                else "fills at the limit: the instrument trades around the clock"
            ),
            "a gap over a stop": "fills at the open",
            "a bar that reaches stop and target": "fills the stop, and is counted as ambiguous",
            "slippage": f"{self.slip_bps:g} bp against market and stop fills",
        }


class Fill(NamedTuple):
    """One fill: `px` in quote currency, `qty` in units, `bar` an index, `maker` whether it rested and was hit."""

    order: str
    bar: int
    px: float
    qty: Decimal
    where: Where
    maker: bool


@dataclass(frozen=True, slots=True)
class MatchResult:
    """What became of scripted orders.

    `fills` in the order they happened; `states` of all orders; `reasons` of those that ended unfilled; `ambiguous_bars`
    counts bars whose outcome depended on the unknown path within them; `position` in units after the last bar; `rules`
    says in words what was assumed.
    """

    fills: tuple[Fill, ...]
    states: dict[str, OrderState]
    reasons: dict[str, Reason]
    ambiguous_bars: int
    position: Decimal
    rules: dict[str, str]


def match_orders(
    orders: Sequence[BarOrder],
    bars: Rows | Sequence[Sequence[Number]],
    instrument: Instrument,
    position: Number = 0,
    rules: BarRules | None = None,
) -> MatchResult:
    """Run scripted orders over bars through the functions a backtest uses, and return what became of them.

    `bars` are BAR rows of one instrument in order of time, or (open, high, low, close) tuples, which are taken as days.
    `position` is held, in units, before the first order works. Nothing works on bar 0: an order is live from the bar
    after the one it was decided on. Raises InputError for an order that is off the grid or contradicts itself,
    UnknownName for a field, side, type or parent that does not exist, DataError for a bar that cannot be.

    >>> spy = Instrument.parse("SPY")
    >>> r = match_orders(
    ...     [
    ...         {"id": "in", "side": "buy", "type": "market", "qty": 10},
    ...         {"id": "out", "side": "sell", "type": "stop", "qty": 10, "stop": 95, "parent": "in"},
    ...     ],
    ...     [(100, 101, 99, 100), (102, 103, 101, 102), (100, 100, 94, 96)],
    ...     spy,
    ... )
    >>> [(f.order, f.bar, f.px, f.where) for f in r.fills]
    [('in', 1, 102.0, 'open'), ('out', 2, 95.0, 'stop')]
    """
    rules = rules or BarRules()
    rows = _bar_rows(bars)
    ids, intents, decided, at_open = _script(orders, rows, instrument)
    table, open_lots = zeros(len(ids), ORDER), np.zeros(len(ids), "i8")
    hits, match = zeros(2 * len(ids), FILL), zeros(1, MATCH)
    inst, rule_row = instrument.row()[0], rules.row()[0]
    match["position_lots"] = instrument.lots(position)
    fills: list[Fill] = []
    used = 0
    for i, bar in enumerate(rows):
        for hit in hits[: match_bar(table, used, open_lots, bar, inst, rule_row, match[0], hits)]:
            qty, where = instrument.lot * int(hit["qty_lots"]), _WHERE[int(hit["where"])]
            fills.append(Fill(ids[int(hit["order"]) - 1], i, float(hit["px"]), qty, where, bool(hit["maker"])))
        for k in np.flatnonzero(decided == i):
            slot = place(table, used, intents[k], inst, bar["ts_close"])
            open_lots[slot] = at_open[k]
            used = max(used, slot + 1)
    final = {ids[int(row["order"]) - 1]: row for row in table}
    return MatchResult(
        fills=tuple(fills),
        states={order["id"]: OrderState(int(final[order["id"]]["state"])) for order in orders},
        reasons={name: Reason(int(row["reason"])) for name, row in final.items() if row["reason"]},
        ambiguous_bars=int(match["ambiguous_bars"][0]),
        position=instrument.lot * int(match["position_lots"][0]),
        rules=rules.names(instrument),
    )


def _bar_rows(bars: Rows | Sequence[Sequence[Number]]) -> Rows:
    if isinstance(bars, np.ndarray):
        rows: Rows = bars
    else:
        rows = zeros(len(bars), BAR)
        rows["ts_open"] = np.arange(len(bars)) * DAY
        rows["ts_close"] = rows["ts_open"] + DAY
        for i, bar in enumerate(bars):
            rows["open"][i], rows["high"][i], rows["low"][i], rows["close"][i] = (float(px) for px in bar)
    whole = np.isfinite(rows["open"] + rows["close"]) & (rows["low"] <= rows["high"])
    if not whole.all():
        i = int(np.argmin(whole))
        prices = ", ".join(f"{name} {rows[name][i]:g}" for name in ("open", "high", "low", "close"))
        raise DataError(f"bar {i} cannot be: {prices}; drop it or mend it")
    return rows


def _script(orders: Sequence[BarOrder], rows: Rows, instrument: Instrument) -> tuple[list[str], Rows, Ints, Ints]:
    """Return ids, INTENT rows, the bar each is decided on and its lots at the open; parents stand before children."""
    for order in orders:
        for name in BarOrder.__required_keys__:
            if name not in order:
                raise InputError(f"a scripted order needs {name!r}, this one has none: {dict(order)}")
    by_id = {order["id"]: order for order in orders}
    if len(by_id) < len(orders):
        raise InputError(f"order ids must differ, got {', '.join(order['id'] for order in orders)}")
    ids = list(dict.fromkeys(step for name in by_id for step in reversed(_ancestry(name, by_id))))
    links = _links(ids, by_id)
    intents, decided, at_open = zeros(len(ids), INTENT), np.zeros(len(ids), "i8"), np.zeros(len(ids), "i8")
    for k, name in enumerate(ids):
        order = by_id[name]
        for field in order:
            _lookup("order field", field, dict.fromkeys(BarOrder.__annotations__, 0))
        row = intents[k]
        row["order"], row["k"], row["action"], row["link"] = k + 1, k, Action.NEW, links[name]
        row["side"] = _lookup("side", order["side"], _SIDES)
        row["type"] = _lookup("order type", order["type"], _TYPES)
        row["tif"] = _lookup("time in force", order.get("tif", "GTC"), _TIFS)
        row["qty_lots"] = instrument.lots(order["qty"])
        row["px_ticks"], row["trigger_ticks"] = _prices(order, instrument)
        for field, flag in _FLAGS.items():
            row["flags"] |= flag if order.get(field) else 0
        decided[k] = max(by_id[step].get("submit_after", 0) for step in _ancestry(name, by_id))
        at_open[k] = instrument.lots(order.get("max_qty_at_open", 0))
        if not 0 <= decided[k] < len(rows):
            raise InputError(f"order {name!r}: submit_after {decided[k]} is none of the bars 0 to {len(rows) - 1}")
        if "expire_after" in order:
            if row["tif"] != TIF.GTC:
                raise InputError(f"order {name!r}: expire_after needs no tif, got {order.get('tif')}")
            if order["expire_after"] < 0:
                raise InputError(f"order {name!r}: expire_after {order['expire_after']} is no bar, the first is 0")
            last = min(order["expire_after"], len(rows) - 1)
            row["tif"], row["expire_ts"] = TIF.GTD, rows["ts_close"][last] + (last < order["expire_after"])
    return ids, intents, decided, at_open


def _links(ids: list[str], by_id: dict[str, BarOrder]) -> dict[str, int]:
    """Return for each order the number it hangs on: its parent's, else that of its oco group, else 0."""
    groups: dict[str, str | None] = {}
    for name, order in by_id.items():
        parent = order.get("parent")
        if "oco" in order and groups.setdefault(order["oco"], parent) != parent:
            raise InputError(f"order {name!r}: the orders of oco group {order['oco']!r} have one parent, or none")
    parents = [parent for parent in groups.values() if parent is not None]
    if len(set(parents)) < len(parents):
        raise InputError("the children of one order can form one oco group, not several")
    numbers = {group: i + 1 for i, group in enumerate(groups)}
    return {
        name: ids.index(order["parent"]) + 1 if "parent" in order else numbers.get(order.get("oco", ""), 0)
        for name, order in by_id.items()
    }


def _ancestry(name: str, by_id: dict[str, BarOrder]) -> list[str]:
    """Return an order, its parent, its parent's parent and so on."""
    line = [name]
    while (parent := by_id[line[-1]].get("parent")) is not None:
        if parent in line:
            raise InputError(f"order {name!r} is its own ancestor")
        if parent not in by_id:
            raise UnknownName("parent", parent, by_id)
        line.append(parent)
    return line


def _prices(order: BarOrder, instrument: Instrument) -> tuple[int, int]:
    """Return an order's px_ticks and trigger_ticks; its type decides which prices it has."""
    needed, allowed = _PRICES[order["type"]]
    for field in ("limit", "stop", "trail"):
        if field in needed and field not in order:
            raise InputError(f"order {order['id']!r}: a {order['type']} order needs {field!r}")
        if field in order and field not in allowed:
            raise InputError(f"order {order['id']!r}: a {order['type']} order has no {field!r}")
    ticks = {field: instrument.ticks(order[field]) for field in allowed if field in order}
    if order["type"] == "trailing_stop":
        return ticks.get("stop", 0), ticks["trail"]
    return ticks.get("limit", 0), ticks.get("stop", 0)


def _lookup(what: str, name: str, known: Mapping[str, int]) -> int:
    if name not in known:
        raise UnknownName(what, name, known)
    return known[name]

"""What must hold for any orders on any bars: mirror symmetry, prices inside the bar, quantities, pairs, restarts."""

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quantai.backtest.bar_matching import FILL, MATCH, match_bar
from quantai.backtest.matching import BarOrder, BarRules, MatchResult, _bar_rows, _script, match_orders
from quantai.backtest.order_table import place
from quantai.core.instruments import Instrument
from quantai.core.rows import ORDER, OrderState, Reason, zeros

PIVOT = 200
SESSIONS = Instrument.parse("AAA", tick="1", lot="1")
AROUND_THE_CLOCK = SESSIONS.with_fields(calendar=None)
NEEDS = {"market": "", "limit": "limit", "stop": "stop", "stop_limit": "stop limit", "trailing_stop": "trail"}
Order = dict[str, Any]
Bar = tuple[int, int, int, int]
prices = st.integers(90, 110)


@st.composite
def bars(draw: st.DrawFn) -> list[Bar]:
    """Two to six bars on whole prices near 100, with gaps."""
    out: list[Bar] = []
    for _ in range(draw(st.integers(2, 6))):
        a, b, c, d = sorted(draw(st.tuples(prices, prices, prices, prices)))
        inner = draw(st.permutations([b, c]))
        out.append((inner[0], d, a, inner[1]))
    return out


@st.composite
def single_orders(draw: st.DrawFn, name: str = "a") -> Order:
    """One order of any type, no links."""
    kind = draw(st.sampled_from(sorted(NEEDS)))
    order: Order = {
        "id": name,
        "side": draw(st.sampled_from(["buy", "sell"])),
        "type": kind,
        "qty": draw(st.integers(1, 9)),
    }
    for field in NEEDS[kind].split():
        order[field] = draw(st.integers(1, 8) if field == "trail" else prices)
    if kind == "trailing_stop" and draw(st.booleans()):
        order["stop"] = draw(prices)
    if "limit" in order and draw(st.integers(0, 3)) == 0:
        order["post_only"] = True
    if draw(st.integers(0, 2)) == 0:
        order["reduce_only"] = True
    if draw(st.integers(0, 2)) == 0:
        order["max_qty_at_open"] = draw(st.integers(1, 9))
    if draw(st.integers(0, 2)) == 0:
        order["submit_after"] = draw(st.integers(0, 1))
    choice = draw(st.integers(0, 4))
    if choice == 0:
        order["tif"] = draw(st.sampled_from(["IOC", "FOK", "DAY"]))
    elif choice == 1:
        order["expire_after"] = order.get("submit_after", 0) + draw(st.integers(1, 3))
    return order


@st.composite
def scripts(draw: st.DrawFn) -> list[Order]:
    """One to six orders, some in pairs, some children of earlier ones."""
    orders: list[Order] = []
    for i in range(draw(st.integers(1, 6))):
        order = draw(single_orders(f"o{i}"))
        parent = draw(st.sampled_from([None, None, *[o["id"] for o in orders]]))
        if parent is not None:
            order["parent"] = parent
        if draw(st.booleans()):
            order["oco"] = "pair" if parent is None else f"of {parent}"
            order.pop("submit_after", None)  # a pair is decided on together
        orders.append(order)
    return orders


positions = st.integers(-12, 12)
rules = st.builds(BarRules, limit_touch=st.booleans())
instruments = st.sampled_from([SESSIONS, AROUND_THE_CLOCK])


def mirrored_order(order: Order) -> Order:
    """The same order in a market turned upside down."""
    out = order | {"side": "sell" if order["side"] == "buy" else "buy"}
    return out | {field: PIVOT - order[field] for field in ("limit", "stop") if field in order}


def mirrored_bar(bar: Bar) -> Bar:
    o, h, low, c = bar
    return PIVOT - o, PIVOT - low, PIVOT - h, PIVOT - c


def matched(
    orders: list[Order], path: list[Bar], instrument: Instrument, position: int, choice: BarRules
) -> MatchResult:
    return match_orders(cast(list[BarOrder], orders), path, instrument, position, choice)


def fills_of(result: MatchResult) -> list[tuple[Any, ...]]:
    return [(f.order, f.bar, f.px, f.qty, f.where, f.maker) for f in result.fills]


@given(scripts(), bars(), positions, rules, instruments)
def test_a_market_turned_upside_down_fills_upside_down(
    orders: list[Order], path: list[Bar], position: int, choice: BarRules, instrument: Instrument
) -> None:
    up = matched(orders, path, instrument, position, choice)
    down = matched([mirrored_order(o) for o in orders], [mirrored_bar(b) for b in path], instrument, -position, choice)
    assert [(o, i, PIVOT - px, *rest) for o, i, px, *rest in fills_of(up)] == fills_of(down)
    assert (up.states, up.reasons, up.ambiguous_bars, up.position) == (
        down.states,
        down.reasons,
        down.ambiguous_bars,
        -down.position,
    )


@given(scripts(), bars(), positions, rules, instruments)
def test_fills_stay_inside_the_bar_the_order_and_the_rules(
    orders: list[Order], path: list[Bar], position: int, choice: BarRules, instrument: Instrument
) -> None:
    result = matched(orders, path, instrument, position, choice)
    by_id = {o["id"]: o for o in orders}
    held, filled = Decimal(position), Counter[str]()
    for fill in result.fills:
        order = by_id[fill.order]
        sign = 1 if order["side"] == "buy" else -1
        o, high, low, _ = path[fill.bar]
        assert fill.bar > order.get("submit_after", 0)
        assert fill.bar <= order.get("expire_after", len(path))
        gapped = fill.where == "limit" and sign * (order.get("limit", 0) - o) > 0
        assert low <= fill.px <= high or (gapped and fill.px == order["limit"])
        if "limit" in order:
            assert sign * fill.px <= sign * order["limit"]
        if order.get("reduce_only"):
            assert fill.qty <= -sign * held
        held += sign * fill.qty
        filled[fill.order] += int(fill.qty)
    assert held == result.position
    for name, order in by_id.items():
        assert filled[name] <= order["qty"]
        state = result.states[name]
        if state is OrderState.FILLED:
            assert filled[name] == order["qty"] or order.get("reduce_only") or order.get("parent")
        elif state in (OrderState.WAITING, OrderState.REJECTED):
            assert filled[name] == 0
        elif state is OrderState.PARTIAL:
            assert 0 < filled[name] < order["qty"]
        assert (name in result.reasons) == (state in (OrderState.CANCELED, OrderState.REJECTED, OrderState.EXPIRED))
        if order.get("parent") and filled[order["parent"]] == 0:
            assert filled[name] == 0
    assert result.ambiguous_bars < len(path)


@given(scripts(), bars(), positions, rules, instruments)
def test_one_cancels_other_means_at_most_one_trades(
    orders: list[Order], path: list[Bar], position: int, choice: BarRules, instrument: Instrument
) -> None:
    result = matched(orders, path, instrument, position, choice)
    traded = {f.order for f in result.fills}
    for group in {o["oco"] for o in orders if "oco" in o}:
        members = [o["id"] for o in orders if o.get("oco") == group]
        winners = [name for name in members if name in traded]
        assert len(winners) <= 1
        for name in members if winners else ():
            assert name in winners or result.states[name] not in (
                OrderState.PENDING,
                OrderState.OPEN,
                OrderState.PARTIAL,
            )


class Run:
    """A scripted run whose whole state is bytes, so that it can be stopped, moved and gone on with."""

    def __init__(
        self, orders: list[Order], path: list[Bar], position: int, choice: BarRules, instrument: Instrument
    ) -> None:
        self.rows = _bar_rows(path)
        self.inst, self.rule = instrument.row()[0], choice.row()[0]
        _, self.intents, self.decided, self.caps = _script(cast(list[BarOrder], orders), self.rows, instrument)
        self.table, self.match = zeros(len(orders), ORDER), zeros(1, MATCH)
        self.match["position_lots"] = position
        self.at_open = np.zeros(len(orders), "i8")
        self.used = 0
        self.fills: list[bytes] = []

    def step(self, i: int) -> None:
        hits = zeros(2 * len(self.table), FILL)
        n = match_bar(self.table, self.used, self.at_open, self.rows[i], self.inst, self.rule, self.match[0], hits)
        self.fills += [hit.tobytes() for hit in hits[:n]]
        for k in np.flatnonzero(self.decided == i):
            slot = place(self.table, self.used, self.intents[k], self.inst, self.rows["ts_close"][i])
            self.at_open[slot] = self.caps[k]
            self.used = max(self.used, slot + 1)

    def through_bytes(self) -> None:
        """Write the state out and read it back."""
        self.table = np.frombuffer(self.table.tobytes(), ORDER).copy()
        self.match = np.frombuffer(self.match.tobytes(), MATCH).copy()

    def turned(self) -> None:
        """Put the orders into other slots."""
        self.table[: self.used] = self.table[: self.used][::-1].copy()
        self.at_open[: self.used] = self.at_open[: self.used][::-1].copy()

    def outcome(self) -> tuple[list[bytes], bytes, bytes]:
        return self.fills, self.match.tobytes(), self.table[np.argsort(self.table["order"])].tobytes()


@given(scripts(), bars(), positions, rules, instruments, st.integers(0, 5))
def test_a_run_cut_in_two_is_the_same_run(
    orders: list[Order], path: list[Bar], position: int, choice: BarRules, instrument: Instrument, cut: int
) -> None:
    whole, halves = (Run(orders, path, position, choice, instrument) for _ in range(2))
    for i in range(len(path)):
        whole.step(i)
        if i == cut:
            halves.through_bytes()
        halves.step(i)
    assert halves.outcome() == whole.outcome()


@given(scripts(), bars(), positions, rules, instruments)
def test_the_slot_an_order_lies_in_decides_nothing(
    orders: list[Order], path: list[Bar], position: int, choice: BarRules, instrument: Instrument
) -> None:
    straight, turned = (Run(orders, path, position, choice, instrument) for _ in range(2))
    for i in range(len(path)):
        straight.step(i)
        turned.step(i)
        turned.turned()
    assert turned.outcome() == straight.outcome()


def alone(order: Order, path: list[Bar], position: int, touch: bool, sessions: bool) -> list[tuple[int, Fraction, int]]:
    """What the rules of docs/fills.md say of one order that has the market to itself, written out plainly."""
    s = 1 if order["side"] == "buy" else -1
    left, done, triggered = order["qty"], list[tuple[int, Fraction, int]](), order["type"] in ("market", "limit")
    stop, limit = s * order.get("stop", 0), s * order["limit"] if "limit" in order else None
    kind, tif, first = order["type"], order.get("tif", "GTC"), order.get("submit_after", 0) + 1

    def better(px: int) -> bool:
        return limit is not None and (px < limit or (touch and px == limit))

    for i, bar in enumerate(path):
        if i < first or left == 0 or i > order.get("expire_after", i) or (tif == "DAY" and i > first):
            continue
        o, h, low, c = (s * px for px in bar)
        h, low = max(h, low), min(h, low)
        room = max(0, -s * position) if order.get("reduce_only") else left
        if room == 0:
            break
        if kind == "trailing_stop" and i == first and "stop" not in order:
            stop = o + order["trail"]
        fresh, takes, px, cap = i == first, False, o, order.get("max_qty_at_open", 99)
        if not triggered and o >= stop:
            triggered, fresh = True, True
        if triggered and limit is None:
            takes = True
        if triggered and limit is not None:
            if order.get("post_only") and fresh and o <= limit:
                break
            takes = better(o)
            if takes and (o == limit or not (fresh or (sessions and not order.get("post_only")))):
                px, cap = limit, cap if fresh else 99
        want = min(left, room)
        if takes:
            q = min(want, cap)
            if tif == "FOK" and q < want:
                break
            done.append((i, Fraction(s * px), q))
            position, left, room = position + s * q, left - q, room - q
            if order.get("reduce_only") and position == 0:
                break
        if tif in ("IOC", "FOK") and triggered:
            break
        if left == 0:
            break
        want = min(left, room) if order.get("reduce_only") else left
        if not triggered and h >= stop:
            triggered = True
            if limit is None or limit >= stop:
                if order.get("post_only"):
                    break
                done.append((i, Fraction(s * stop), want))
                break
            if tif in ("IOC", "FOK"):
                break
            if better(c):
                done.append((i, Fraction(s * limit), want))
                break
        elif triggered and limit is not None and better(low):
            done.append((i, Fraction(s * min(limit, h)), want))
            break
        if kind == "trailing_stop" and not triggered:
            stop = min(stop, low + order["trail"])
    return done


@given(single_orders(), bars(), positions, st.booleans(), instruments)
def test_an_order_alone_does_what_the_written_rules_say(
    order: Order, path: list[Bar], position: int, touch: bool, instrument: Instrument
) -> None:
    result = matched([order], path, instrument, position, BarRules(limit_touch=touch))
    got = [(f.bar, Fraction(f.px), int(f.qty)) for f in result.fills]
    assert got == alone(order, path, position, touch, instrument is SESSIONS)


@given(scripts(), bars(), positions, rules, instruments)
def test_reasons_fit_the_order(
    orders: list[Order], path: list[Bar], position: int, choice: BarRules, instrument: Instrument
) -> None:
    result = matched(orders, path, instrument, position, choice)
    for order in orders:
        reason = result.reasons.get(order["id"])
        allowed = {
            None,
            *([Reason.POST_ONLY] if order.get("post_only") else []),
            *([Reason.REDUCE_ONLY] if order.get("reduce_only") else []),
            *([Reason.OCO] if "oco" in order else []),
            *([Reason.PARENT] if "parent" in order else []),
            *([Reason.GTD] if "expire_after" in order or order.get("tif") == "DAY" else []),
            *([Reason[order["tif"]]] if order.get("tif") in ("IOC", "FOK") else []),
        }
        assert reason in allowed

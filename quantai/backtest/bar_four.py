"""The quick way of four runs without logs: in step over the same bars, while they ask for nothing but targets.

What one average costs is a chain of additions that each wait for the last; four runs side by side fill each other's
waits. Nothing but a target can trade here, at an open, and prices are all else that moves the account. Whatever more a
strategy asks for ends the spell, and `run_bars` goes on.
"""

from typing import Any

from numpy import uint64

from quantai.backtest.bar_log import curve_of
from quantai.backtest.bar_loop import BAD_QTY, NO_CASH, size_target
from quantai.core.compiled import inlined, uncounted
from quantai.core.hints import usually
from quantai.core.memory import kept, prefetch, put_back
from quantai.core.rows import BAR, Action
from quantai.report.running_many import ABREAST
from quantai.strategy.account import book_fill, unit_value
from quantai.strategy.context import intents_of
from quantai.strategy.handlers import has_on_bar, has_on_fill, on_bar

_TARGET = int(Action.TARGET)
FOUR = 4
"""Lanes that `run_four` moves in step."""
BAR_BYTES = BAR.itemsize
SOON = 16
"""Bars ahead that are asked for: a bar is a line of the cache, and comes from further away than four lanes wait for."""


def run_four(
    bars: Any, stop: int, inst: Any, rules: Any, s: Any, me: Any, ctx: Any, positions: Any, progress: Any
) -> None:  # fmt: skip
    """Run four lanes on from `progress.next`, up to `stop` or the bar at which one asked for more than a target.

    Of each: the strategy's record, CTX, POSITION and PROGRESS; their equities lie side by side. What was asked for at
    the last bar is still to be answered; everything else about that bar is done.
    """
    p0, p1, p2, p3 = progress[0], progress[1], progress[2], progress[3]
    w0, w1, w2, w3 = positions[0, 0], positions[1, 0], positions[2, 0], positions[3, 0]
    first = i = p0.next
    for j in range(FOUR):
        if positions[j, 0].target_order != 0:
            pending_at_open(ctx[j], progress[j], s, inst, positions[j, 0], bars[i], rules)
    m0, m1, m2, m3 = kept(me[0]), kept(me[1]), kept(me[2]), kept(me[3])
    q0, q1, q2, q3 = kept(ctx[0]), kept(ctx[1]), kept(ctx[2]), kept(ctx[3])
    contract = kept(inst)
    seq = p0.seq + 1 - first  # plus the number of a bar, the same for all
    curve = curve_of(p0)
    row = uint64(p0.n_equity * ABREAST)  # numba looks at each signed index for one that counts from the end
    soon = uint64(bars.ctypes.data) + uint64((i + SOON) * BAR_BYTES)
    while i < stop:
        bar = kept(bars[uint64(i)])
        prefetch(soon)
        soon += uint64(BAR_BYTES)
        unit = unit_value(contract, bar.close)
        ends0 = step(bars, i, stop, m0, q0, p0, w0, s, inst, rules, seq, unit, bar, curve, row)
        ends1 = step(bars, i, stop, m1, q1, p1, w1, s, inst, rules, seq, unit, bar, curve, row + uint64(1))
        ends2 = step(bars, i, stop, m2, q2, p2, w2, s, inst, rules, seq, unit, bar, curve, row + uint64(2))
        ends3 = step(bars, i, stop, m3, q3, p3, w3, s, inst, rules, seq, unit, bar, curve, row + uint64(3))
        row += uint64(ABREAST)
        i += 1
        if ends0 or ends1 or ends2 or ends3:
            break
    row -= uint64(ABREAST)
    put_back(me[0], m0)
    put_back(me[1], m1)
    put_back(me[2], m2)
    put_back(me[3], m3)
    put_back(ctx[0], q0)
    put_back(ctx[1], q1)
    put_back(ctx[2], q2)
    put_back(ctx[3], q3)
    for j in range(FOUR):
        c, p = ctx[j], progress[j]
        c.now = bars[i - 1].ts_close
        c.k = c.n_intents
        c.equity = curve[row + uint64(j)]
        c.seq = p.seq = seq + i - 1
        p.next = p.instant_end = i
        p.bars += i - first
        p.n_equity += i - first


@inlined
def step(
    bars: Any, i: int, stop: int, m: Any, q: Any, p: Any, w: Any, s: Any, inst: Any, rules: Any, seq: int, unit: float,
    bar: Any, curve: Any, row: Any,
) -> bool:  # fmt: skip
    """Let the strategy see bar `i`, at whose close one unit is worth `unit`; returns whether what it wants has to wait.

    A target is traded at once, at the next bar's open: no other lane, and nothing before that open, could tell.
    """
    # known numbers, so that what a verb checks about them is checked while compiling
    q.instrument = 0
    q.n_instruments = 1
    q.n_intents = 0
    q.k = 0
    q.now = bar.ts_close
    q.seq = seq + i
    w.px = bar.close
    equity = q.cash + w.qty * unit
    q.equity = equity
    if has_on_bar:
        on_bar(m, q, bar)
    # forgotten: what the strategy does not read then need not be carried from bar to bar
    q.now = 0
    q.seq = 0
    q.k = 0
    q.equity = 0.0
    curve[row] = equity
    if usually(q.n_intents == 0):
        return False
    if has_on_fill or i + 1 == stop or bars[i + 1].ts_open < bars[i].ts_close:
        return True
    return not trade_at_open(q, p, s, inst, w, bars[i].ts_close, bars[i + 1], rules)


@inlined
def trade_at_open(q: Any, p: Any, s: Any, inst: Any, w: Any, asked: int, bar: Any, rules: Any) -> bool:
    """Trade what was just asked for at the open of the next bar, as `execute_target` does, if it is one target."""
    if q.n_intents != 1 or intents_of(q)[0].action != _TARGET:
        return False
    w.target_nano = intents_of(q)[0].qty_lots
    w.target_ts = asked
    q.n_intents = 0
    # `q` goes nowhere by address, and no place in it is counted out: it would leave the registers
    paid, reason = target_at_open(q.cash, p, s, inst, w, bar, rules)
    q.cash -= paid
    if reason == NO_CASH:
        q.refused[NO_CASH] += 1
    elif reason == BAD_QTY:
        q.refused[BAD_QTY] += 1
    return True


@inlined
def is_quiet(c: Any, p: Any, w: Any, bar: Any) -> bool:
    """Say whether nothing but a target can trade before a lane's decision at the next bar."""
    told = w.target_order == 0 or (w.target_ts <= bar.ts_open and not has_on_fill)
    return p.seq > 0 and p.working == 0 and c.n_intents == 0 and told


@inlined
def are_quiet(ctx: Any, progress: Any, positions: Any, bar: Any) -> bool:
    """Say whether nothing but a target can trade before the decisions of four lanes at the next bar."""
    for j in range(FOUR):  # noqa: SIM110 - numba takes no generator
        if not is_quiet(ctx[j], progress[j], positions[j, 0], bar):
            return False
    return True


@uncounted
def pending_at_open(c: Any, p: Any, s: Any, inst: Any, w: Any, bar: Any, rules: Any) -> None:
    """Trade a target that was accepted earlier at the open of `bar`."""
    w.target_order = 0
    paid, reason = target_at_open(c.cash, p, s, inst, w, bar, rules)
    c.cash -= paid
    if reason != 0:
        c.refused[reason] += 1


@uncounted
def target_at_open(cash: float, p: Any, s: Any, inst: Any, w: Any, bar: Any, rules: Any) -> tuple[float, int]:
    """Size and book the target of an account with one instrument; returns what it takes out of cash, and a Reason."""
    w.px = bar.open
    equity = cash + w.qty * unit_value(inst, bar.open)
    lots, px, reason = size_target(p, s, inst, w, bar, rules, equity, 0.0)
    if lots == 0:
        return 0.0, reason
    paid, _ = book_fill(w, inst, 1 if lots > 0 else -1, abs(lots), px, s.taker_rate)
    p.fills += 1
    return paid, reason

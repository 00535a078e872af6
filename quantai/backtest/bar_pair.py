"""The quick way of two runs without logs: in step over the same bars, while they ask for nothing but targets.

What one average costs is a chain of additions that each wait for the last; two runs side by side fill each other's
waits. Nothing but a target can trade here, at an open, and prices are all else that moves the account. Whatever more a
strategy asks for ends the spell, and `run_bars` goes on.
"""

from typing import Any

from numpy import uint64

from quantai.backtest.bar_log import curve_of
from quantai.backtest.bar_loop import BAD_QTY, NO_CASH, size_target
from quantai.core.compiled import inlined, uncounted
from quantai.core.memory import kept, put_back
from quantai.core.rows import Action
from quantai.report.running_many import ABREAST
from quantai.strategy.account import book_fill, unit_value
from quantai.strategy.context import intents_of
from quantai.strategy.handlers import has_on_bar, has_on_fill, on_bar

_TARGET = int(Action.TARGET)


def run_pair(
    bars: Any, stop: int, inst: Any, rules: Any, s: Any, me: Any, c: Any, w: Any, p: Any, me2: Any, c2: Any, w2: Any,
    p2: Any,
) -> None:  # fmt: skip
    """Run two lanes from `p.next` on to `stop`, or to the bar at which one of them asked for more than a target.

    Of each: the strategy's record, CTX, POSITION and PROGRESS. What was asked for at the last bar is still to be
    answered; everything else about that bar is done.
    """
    curve, curve2 = curve_of(p), curve_of(p2)
    row = uint64(p.n_equity * ABREAST)  # numba looks at each signed index for one that counts from the end
    first = i = p.next
    for lane, account, position in ((p, c, w), (p2, c2, w2)):
        if position.target_order != 0:
            pending_at_open(account, lane, s, inst, position, bars[i], rules)
    m, m2, q, q2 = kept(me), kept(me2), kept(c), kept(c2)
    while i < stop:
        bar = bars[uint64(i)]
        unit = unit_value(inst, bar.close)
        curve[row] = decide(m, q, w, unit, bar)
        curve2[row] = decide(m2, q2, w2, unit, bar)
        row += uint64(ABREAST)
        i += 1
        if q.n_intents > 0 or q2.n_intents > 0:
            if i == stop or has_on_fill or bars[i].ts_open < bar.ts_close or not (is_plain(q) and is_plain(q2)):
                break
            if q.n_intents > 0:
                trade_at_open(q, p, s, inst, w, bars[i], rules)
            if q2.n_intents > 0:
                trade_at_open(q2, p2, s, inst, w2, bars[i], rules)
    put_back(me, m)
    put_back(me2, m2)
    put_back(c, q)
    put_back(c2, q2)
    for progress, seq in ((p, q.seq), (p2, q2.seq)):
        progress.next = progress.instant_end = i
        progress.seq = seq
        progress.bars += i - first
        progress.n_equity += i - first


@inlined
def decide(m: Any, q: Any, w: Any, unit: float, bar: Any) -> float:
    """Let the strategy see one bar, at whose close one unit is worth `unit`; returns equity then."""
    q.k = 0
    q.now = bar.ts_close
    q.seq += 1
    w.px = bar.close
    equity = q.cash + w.qty * unit
    q.equity = equity
    if has_on_bar:
        on_bar(m, q, bar)
    return equity


@inlined
def is_quiet(c: Any, p: Any, w: Any, bar: Any) -> bool:
    """Say whether nothing but a target can trade before a lane's decision at the next bar."""
    told = w.target_order == 0 or (w.target_ts <= bar.ts_open and not has_on_fill)
    return p.seq > 0 and p.working == 0 and c.n_intents == 0 and told


@inlined
def is_plain(c: Any) -> bool:
    """Say whether nothing but one target, if anything, was asked for."""
    return c.n_intents == 0 or (c.n_intents == 1 and intents_of(c)[0].action == _TARGET)


@inlined
def trade_at_open(q: Any, p: Any, s: Any, inst: Any, w: Any, bar: Any, rules: Any) -> None:
    """Trade the one target that was just asked for at the open of the next bar, as `execute_target` does."""
    w.target_nano = intents_of(q)[0].qty_lots
    w.target_ts = q.now
    q.n_intents = 0
    # `q` itself goes nowhere by address: it would leave the registers
    paid, reason = target_at_open(q.cash, p, s, inst, w, bar, rules)
    q.cash -= paid
    if reason == NO_CASH:
        q.refused[NO_CASH] += 1
    elif reason == BAD_QTY:
        q.refused[BAD_QTY] += 1


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

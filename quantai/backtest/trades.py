"""Round trips: fills gathered into trades, each from flat to flat."""

from typing import Any

import numpy as np

from quantai.core.compiled import compiled
from quantai.core.rows import Rows, zeros
from quantai.strategy.account import lots_to_qty, unit_value

TRADE = np.dtype(
    [
        ("entry_ts", "i8"),
        ("exit_ts", "i8"),  # 0 while open
        ("entry_px", "f8"),  # quantity-weighted mean of the fills that added to it
        ("exit_px", "f8"),  # of the fills that reduced it; the last price while open
        ("qty", "f8"),  # units entered in all
        ("pnl", "f8"),  # settlement currency, net of fees
        ("fees", "f8"),
        ("notional", "f8"),  # value entered
        ("entry_bar", "i8"),
        ("exit_bar", "i8"),
        ("lots", "i8"),  # signed, still open
        ("instrument", "u4"),
        ("side", "i1"),
        ("open", "u1"),
        ("_pad", "u2"),
    ]
)
"""One round trip."""


@compiled
def _add(trade: Any, inst: Any, side: int, lots: int, px: float) -> None:
    qty = lots_to_qty(inst, lots)
    if side == trade.side:
        total = trade.qty + qty
        trade.entry_px += (px - trade.entry_px) * qty / total
        trade.qty = total
        trade.notional += qty * abs(unit_value(inst, px))
    else:
        out = trade.qty - lots_to_qty(inst, abs(trade.lots))
        trade.exit_px += (px - trade.exit_px) * qty / (out + qty)
    trade.pnl -= side * qty * unit_value(inst, px)
    trade.lots += side * lots


@compiled
def _gather(fills: Any, insts: Any, last_px: Any, last_ts: int, last_bar: int, out: Any) -> int:
    n = 0
    current = np.full(insts.shape[0], -1, np.int64)
    for f in fills:
        i = f.instrument
        inst = insts[i]
        lots = f.lots
        fee = f.fee
        while lots > 0:
            if current[i] < 0:
                current[i] = n
                t = out[n]
                t.entry_ts, t.entry_bar, t.instrument, t.side, t.open = f.ts, f.bar, i, f.side, 1
                n += 1
            t = out[current[i]]
            part = lots if t.side == f.side else min(lots, abs(t.lots))
            share = fee * part / f.lots
            _add(t, inst, f.side, part, f.px)
            t.fees += share
            t.pnl -= share
            lots -= part
            if t.lots == 0:
                t.exit_ts, t.exit_bar, t.open = f.ts, f.bar, 0
                current[i] = -1
    for i in range(insts.shape[0]):
        if current[i] >= 0:
            t = out[current[i]]
            held = lots_to_qty(insts[i], t.lots)
            t.pnl += held * unit_value(insts[i], last_px[i])
            t.exit_px, t.exit_ts, t.exit_bar = last_px[i], last_ts, last_bar
    return n


def round_trips(fills: Rows, insts: Rows, last_px: Any, last_ts: int, last_bar: int) -> Rows:
    """Return TRADE rows made of FILL rows in order; what is still open is valued at `last_px` and marked open.

    A fill that crosses zero closes one trade and opens the next, its fee shared by quantity.
    """
    out = zeros(2 * len(fills), TRADE)  # each fill opens at most one trade besides the one it closes
    return out[: _gather(fills, insts, np.asarray(last_px, "f8"), last_ts, last_bar, out)].copy()

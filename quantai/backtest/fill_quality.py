"""What a replay's fills were worth, where its P&L came from, and how its orders fared in the queue.

`result` is a ReplayResult everywhere: naming it here would make a cycle, since its methods call these.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from quantai.backtest.marks import marks_at
from quantai.backtest.order_lives import order_lives, reached_or_passed
from quantai.core.errors import InputError
from quantai.core.instruments import Payoff
from quantai.core.rows import SEC, OrderState, Rows
from quantai.data.tape import Tape
from quantai.report.markouts import HORIZONS_NS, Markouts, markouts
from quantai.report.pnl_split import Fills, PnlSplit, pnl_split
from quantai.report.queue_stats import QueueStats, queue_stats
from quantai.report.returns import Floats


def unit_values(insts: Rows, px: Any) -> Floats:
    """Return what one unit of each instrument is worth at `px`, settlement currency; negative for inverse contracts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = -insts["multiplier"] / px
    return np.where(insts["payoff"] == Payoff.INVERSE, inverse, insts["multiplier"] * px)


def tape_of(result: Any) -> Tape:
    """Return the tape of a result, or say that it has none."""
    if result.tape is None:
        raise InputError("this result does not know its tape: make it with qa.replay(strategy, tape)")
    return result.tape


def markouts_of(result: Any, horizons_ns: Sequence[int] | None = None) -> Markouts:
    """Return the markouts of a result's fills, on the exchange's clock.

    A fill whose horizon ends after the last row of the tape is not counted there. Raises InputError for a negative
    horizon.
    """
    tape, fills = tape_of(result), result.fill_rows
    asked = np.asarray(HORIZONS_NS if horizons_ns is None else horizons_ns)
    if asked.ndim != 1 or not asked.size or asked.dtype.kind not in "iu" or asked.min() < 0:
        raise InputError(
            f"horizons_ns are whole nanoseconds after a fill, not negative, such as [qa.SEC]; got {horizons_ns!r}"
        )
    horizons = asked.astype(np.int64)
    which = fills["instrument"].astype("i8")
    until = fills["ts_exch"][:, None] + horizons
    marks = marks_at(tape, np.broadcast_to(which[:, None], until.shape), until)
    insts = result.instruments.rows()[which]
    last = tape.exchange_rows["ts_exch"][-1] if len(tape) else 0
    worth = np.where(until <= last, unit_values(insts[:, None], marks), np.nan)
    qty = fills["lots"] * insts["lot_num"] / insts["lot_den"]
    paid = unit_values(insts, fills["px"])
    return markouts(fills["side"], qty, paid, worth, fills["maker"], horizons, result.currency)


def split_of(result: Any, horizon_ns: int = SEC) -> PnlSplit:
    """Return the P&L of a result in parts; `horizon_ns` is where adverse selection ends and inventory begins."""
    tape, fills = tape_of(result), result.fill_rows
    given: Any = horizon_ns
    if not isinstance(given, int | np.integer) or given < 0:
        raise InputError(f"horizon_ns is whole nanoseconds after a fill, not negative, such as qa.SEC; got {given!r}")
    which = fills["instrument"].astype("i8")
    insts = result.instruments.rows()[which]
    paid = unit_values(insts, fills["px"])
    before = unit_values(insts, marks_at(tape, which, fills["ts_exch"], before=True))
    later = unit_values(insts, marks_at(tape, which, fills["ts_exch"] + horizon_ns))
    last = np.array([result.marks[i.symbol] for i in result.instruments])
    mid = np.where(np.isfinite(before), before, paid)
    facts = Fills(
        symbol=np.array([i.symbol for i in result.instruments], object)[which],
        side=fills["side"].astype("f8"),
        qty=fills["lots"] * insts["lot_num"] / insts["lot_den"],
        fee=fills["fee"],
        ts_ns=fills["ts"],
        settled_ns=fills["ts_exch"] + horizon_ns,
        paid=paid,
        mid=mid,
        later=np.where(np.isfinite(later), later, mid),
        last=unit_values(insts, last[which]),
    )
    return pnl_split(facts, result.equity, result.cash, horizon_ns, result.currency)


def lives_of(result: Any) -> Rows:
    """Return a LIFE row for every order of a result."""
    tape = tape_of(result)
    end = int(result.equity_rows["ts"][-1]) if len(result.equity_rows) else 0
    return order_lives(result.intents, result.order_rows, result.fill_rows, result.venues, tape, end)


def queue_stats_of(result: Any) -> QueueStats:
    """Return what became of a result's orders: fills by place in the queue, time to fill, both latencies.

    Arrivals follow from the decisions and the venue's latency, draws included; nothing is estimated but the end of an
    order whose cancel was sent alone. Response latency is that of reports about fills and refusals.
    """
    tape, lives = tape_of(result), lives_of(result)
    rows = result.order_rows[np.argsort(result.order_rows["order"], kind="stable")]
    insts = result.instruments.rows()[rows["instrument"]]
    lot = insts["lot_num"] / insts["lot_den"]
    symbols = np.array([i.symbol for i in result.instruments], object)
    frame = pd.DataFrame(
        {
            "order": lives["order"],
            "symbol": symbols[rows["instrument"]],
            "side": lives["side"],
            "state": [OrderState(s).name for s in rows["state"]],
            "maker": lives["maker"] == 1,
            "rested": lives["rested"] == 1,
            "qty": rows["qty_lots"] * lot,
            "filled": rows["filled_lots"] * lot,
            "entry_ns": (lives["arrival"] - lives["ts"]).astype("f8"),
            "ahead": lives["ahead"],
            "fill_ns": np.where(lives["first_fill"] > 0, lives["first_fill"] - lives["arrival"], np.nan),
        }
    )
    fills, refused = result.fill_rows, result.refusal_rows
    response = np.concatenate([fills["ts"] - fills["ts_exch"], refused["ts_recv"] - refused["ts_exch"]])
    return queue_stats(frame, response, *reached_or_passed(tape, fills))

"""When the orders of a replay reached the exchange, what was ahead of them there, and when they left it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from quantai.core.compiled import uncounted
from quantai.core.rows import TIF, Action, Kind, OrderState, OrderType, Reason, Rows
from quantai.data.tape import Tape
from quantai.venues.latency import entry_ns
from quantai.venues.rules import SimVenue

LIFE = np.dtype(
    [
        ("order", "i8"),
        ("ts", "i8"),  # decided
        ("arrival", "i8"),  # at the exchange
        ("first_fill", "i8"),  # there; 0 without one
        ("end", "i8"),  # there; of a canceled one at the latest
        ("px_ticks", "i8"),  # as first asked
        ("ahead", "f8"),  # units shown at its price at arrival; NaN where it did not rest or no levels are known
        ("instrument", "i8"),
        ("side", "i1"),
        ("maker", "u1"),  # any fill as maker
        ("rested", "u1"),
        ("_pad", "u4"),
        ("_pad2", "u1"),
    ]
)
"""One order as the exchange knew it."""

_FINAL = (int(OrderState.FILLED), int(OrderState.CANCELED), int(OrderState.REJECTED), int(OrderState.EXPIRED))
_FILLED, _CANCELED, _REJECTED, _EXPIRED = _FINAL


@uncounted
def _arrive(rules: Any, instrument: Any, ts: Any, number: Any, last: Any, out: Any) -> None:
    # as requests are sent: none of one instrument overtakes another
    for k in range(ts.shape[0]):
        i = instrument[k]
        if ts[k] >= 0:
            last[i] = max(last[i], ts[k] + entry_ns(rules[i], ts[k], number[k]))
            out[k] = last[i]


def order_lives(intents: Rows, orders: Rows, fills: Rows, venues: Sequence[SimVenue], tape: Tape, end_ns: int) -> Rows:
    """Return a LIFE row for each order, by number, from what a replay logged and the latency it was told.

    `end_ns` is when the replay ended. A cancel that was sent alone left no instant in the log: the next request that
    did bounds it, and `end` is that bound. A replaced order counts from its first arrival, at its first price.
    """
    orders = orders[np.argsort(orders["order"], kind="stable")]
    out = np.zeros(len(orders), LIFE)
    if not len(orders):
        return out
    for name in ("order", "ts", "instrument", "side", "px_ticks"):
        out[name] = orders[name]
    new = np.isin(intents["action"], (Action.NEW, Action.TARGET))
    known = np.isin(intents["order"], orders["order"])
    sent = intents[~new | known]
    arrived = _arrivals(sent, orders, venues)
    place = np.searchsorted(orders["order"], sent["order"].astype("u8"))
    first = np.isin(sent["action"], (Action.NEW, Action.TARGET))
    out["arrival"][place[first]] = arrived[first]
    out["px_ticks"][place[first]] = sent["px_ticks"][first]
    of = np.searchsorted(out["order"], fills["order"])
    firsts = np.full(len(out), np.iinfo("i8").max)
    np.minimum.at(firsts, of, fills["ts_exch"])
    np.maximum.at(out["end"], of, fills["ts_exch"])
    np.maximum.at(out["maker"], of, fills["maker"])
    out["first_fill"] = np.where(firsts == np.iinfo("i8").max, 0, firsts)
    _end(out, orders, sent, arrived, place, end_ns)
    out["ahead"] = np.where(out["rested"] == 1, shown_at(tape, out), np.nan)
    return out


def _arrivals(sent: Rows, orders: Rows, venues: Sequence[SimVenue]) -> npt.NDArray[np.int64]:
    """Return when each request reached the exchange, -1 where the log does not say when it was sent."""
    seqs, at = np.unique(orders["seq"], return_index=True)
    found = np.minimum(np.searchsorted(seqs, sent["seq"]), len(seqs) - 1)
    ts = np.where(seqs[found] == sent["seq"], orders["ts"][at][found], -1)
    rules = np.concatenate([v.row() for v in venues])
    out = np.full(len(sent), -1)
    _arrive(rules, sent["instrument"].astype("i8"), ts, np.arange(len(sent)), np.zeros(len(venues), "i8"), out)
    return out


def _end(out: Rows, orders: Rows, sent: Rows, arrived: Any, place: Any, end_ns: int) -> None:
    state, reason = orders["state"], orders["reason"]
    cancels = np.flatnonzero(sent["action"] == Action.CANCEL)
    # the next request whose instant is known, for those whose own is not
    later = np.minimum.accumulate(np.where(arrived >= 0, arrived, end_ns)[::-1])[::-1]
    left = np.full(len(out), end_ns)
    left[place[cancels][::-1]] = later[cancels][::-1]
    canceled = (state == _CANCELED) & (reason == Reason.BY_USER)
    lapsed = (state == _EXPIRED) & (reason == Reason.GTD)
    working = ~np.isin(state, _FINAL)
    out["end"] = np.select(
        [canceled, lapsed, working], [np.maximum(left, out["arrival"]), orders["expire_ts"], end_ns], out["end"]
    )
    resting = (orders["type"] == OrderType.LIMIT) & np.isin(orders["tif"], (TIF.GTC, TIF.GTD))
    rested = resting & ((out["maker"] == 1) | canceled | lapsed | working) & (out["arrival"] <= end_ns)
    out["rested"] = rested & (out["end"] >= out["arrival"])


def shown_at(tape: Tape, orders: Rows) -> npt.NDArray[np.float64]:
    """Return what the venue showed at the price and side of each LIFE row when it arrived; NaN without any level."""
    rows = tape.exchange_rows
    tables = [f["levels"] > 0 for f in tape.facts["instruments"]]
    out = np.where(np.array(tables, bool)[orders["instrument"]], 0.0, np.nan)
    at = np.flatnonzero(rows["kind"] == Kind.LEVEL)
    key = _key(rows["px_ticks"][at], rows["side"][at], rows["instrument"][at], len(tables))
    asked = _key(orders["px_ticks"], orders["side"], orders["instrument"], len(tables))
    places = np.unique(asked)
    ours = np.isin(key, places)
    at, key = at[ours], np.searchsorted(places, key[ours])
    # one sorted number (place, row) answers for all orders at once which row spoke last
    n = len(rows) + 1
    spoken = np.sort(key * n + at)
    until = np.searchsorted(rows["ts_exch"], orders["arrival"], side="right")
    place = np.searchsorted(places, asked)
    found = np.searchsorted(spoken, place * n + until) - 1
    there = found >= 0
    row = np.where(there, spoken[np.maximum(found, 0)] if len(spoken) else -1, -1)
    there &= row // n == place
    row = row % n
    clears = np.flatnonzero(rows["kind"] == Kind.CLEAR)
    for instrument, side in {(int(i), int(s)) for i, s in zip(orders["instrument"], orders["side"], strict=True)}:
        of = np.isin(rows["side"][clears], (0, side)) & (rows["instrument"][clears] == instrument)
        cleared = np.concatenate([[-1], clears[of]])
        mine = (orders["instrument"] == instrument) & (orders["side"] == side)
        there[mine] &= row[mine] > cleared[np.searchsorted(cleared, until[mine]) - 1]
    out[there] = rows["qty"][row[there]]
    return out


def _key(px: Any, side: Any, instrument: Any, n: int) -> npt.NDArray[np.int64]:
    return (px.astype("i8") * 2 + (side > 0)) * n + instrument.astype("i8")


def reached_or_passed(tape: Tape, fills: Rows) -> tuple[int, int]:
    """Return how many fills as maker a print at their price explains, and how many the market going through it."""
    made = fills[fills["maker"] == 1]
    rows = tape.exchange_rows
    first = np.searchsorted(rows["ts_exch"], made["ts_exch"])
    last = np.searchsorted(rows["ts_exch"], made["ts_exch"], side="right")
    n = last - first
    at = np.repeat(np.arange(len(made)), n)
    row = rows[np.arange(len(at)) + np.repeat(first - np.cumsum(n) + n, n)]
    met = (
        (row["kind"] == Kind.TRADE)
        & (row["px_ticks"] == made["px_ticks"][at])
        & (row["instrument"] == made["instrument"][at])
        & (row["side"] != made["side"][at])
    )
    reached = len(np.unique(at[met]))
    return reached, len(made) - reached

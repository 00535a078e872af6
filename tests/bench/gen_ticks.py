# pyright: reportMissingParameterType=false
# ruff: noqa: NPY002 - inside compiled code numpy.random.seed seeds a generator of numba, not the global one
"""Seeded synthetic ticks of a perpetual: a book of levels and the trades that hit it, as a tape.

One loop is one message of the venue: a market order walks the book (its trades first, then the levels they changed,
all with one ts_exch), or a few limit orders are added or canceled near the touch; the spread is refilled around a
hidden fair value. The book is never crossed after any row. Receipt follows by 1 to 8 ms, in order. The flow does not
react to us: fills on it mean "same input, same rule", not profit. As a benchmark it measures the generator and checks
the rows.
"""

import time
from typing import Any

import numpy as np
from numba import njit

from quantai.core.instruments import Instrument
from quantai.core.rows import EVENT, LAST, SNAPSHOT, Kind, Rows, zeros
from quantai.data.tape import Tape

N = 2_000_000
TICK, LOT = "0.1", "0.001"
ROW = np.dtype(
    [
        ("exch_ts", "i8"),
        ("local_ts", "i8"),
        ("px", "f8"),
        ("qty", "f8"),
        ("kind", "u1"),
        ("side", "i1"),
        ("last", "u1"),
    ],
    align=True,
)
BASE, SPAN, P0 = 400_000, 400_000, 600_000  # prices 40000.0 to 79999.9, from 60000.0
T0 = 1_750_000_000_000_000_000


@njit(cache=True)
def _best(q, i, step, lim):
    while i != lim and q[i] == 0:
        i += step
    return i


@njit(cache=True)
def _emit(o, k, ets, lts, kind, side, p, lots, trades_only):
    if trades_only and kind == 1:
        return k
    o[k].exch_ts = ets
    o[k].local_ts = lts
    o[k].kind = kind
    o[k].side = side
    o[k].px = p / 10.0
    o[k].qty = lots / 1000.0
    o[k].last = 0
    return k + 1


@njit(cache=True)
def generate(n, seed, trades_only, out, snap, mean_gap_ns, p_mkt):
    np.random.seed(seed)
    bid = np.zeros(SPAN, np.int64)
    ask = np.zeros(SPAN, np.int64)
    bb = P0 - BASE
    ba = bb + 1
    for d in range(500):
        if d < 5 or np.random.random() < 0.6:
            bid[bb - d] = 1 + int(np.exp(np.random.normal(5.5 + 0.004 * d, 1.1)))
        if d < 5 or np.random.random() < 0.6:
            ask[ba + d] = 1 + int(np.exp(np.random.normal(5.5 + 0.004 * d, 1.1)))
    ns = 0
    for d in range(500):
        if bid[bb - d] > 0:
            ns = _emit(snap, ns, T0, T0, 4, 1, BASE + bb - d, bid[bb - d], False)
    for d in range(500):
        if ask[ba + d] > 0:
            ns = _emit(snap, ns, T0, T0, 4, -1, BASE + ba + d, ask[ba + d], False)
    k = 0
    t = T0 + 5_000_000
    lt = t
    fair = float(bb) + 0.5
    fast = False
    flow = 0.0
    ntr = 0
    while k < n:
        # two-state arrival intensity (calm / burst)
        if fast:
            if np.random.random() < 0.004:
                fast = False
        elif np.random.random() < 0.0008:
            fast = True
        g = mean_gap_ns * (0.25 if fast else 1.35)
        t += 1000 + np.int64(np.random.exponential(g))
        lat = 900_000 + np.int64(np.exp(np.random.normal(13.6, 0.55)))  # ~1.3 .. 5 ms
        if lat > 8_000_000:
            lat = np.int64(8_000_000)
        lt = max(lt + 1, t + lat)
        # hidden fair value: small diffusion + pull to mid, keeps price in the window
        fair += np.random.normal(0.0, 0.9) * (1.8 if fast else 1.0)
        fair -= 2e-6 * (fair - (P0 - BASE))
        mid = 0.5 * (bb + ba)
        k0 = k
        if np.random.random() < p_mkt:
            flow = 0.9 * flow + 0.1 * (1.0 if np.random.random() < 0.5 else -1.0)
            pb = 0.5 + 0.35 * np.tanh((fair - mid) / 12.0) + 0.1 * flow
            buy = np.random.random() < pb
            edge = (fair - mid) if buy else (mid - fair)
            sz = 1 + np.int64(np.exp(np.random.normal(3.2, 1.6)))  # lots (0.001)
            if edge > 8.0 and np.random.random() < 0.5:
                sz *= 12
            # trades first
            i = ba if buy else bb
            rem = sz
            lv = 0
            first = i
            while rem > 0 and lv < 6:
                avail = ask[i] if buy else bid[i]
                f = min(rem, avail)
                if f > 0:
                    if k < n:
                        k = _emit(out, k, t, lt, 2, 1 if buy else -1, BASE + i, f, trades_only)
                        ntr += 1
                        if buy:
                            ask[i] -= f
                        else:
                            bid[i] -= f
                    rem -= f
                if k >= n:
                    break
                if rem > 0:
                    lv += 1
                    i = _best(ask, i + 1, 1, SPAN - 1) if buy else _best(bid, i - 1, -1, 0)
            # then the level updates
            j = first
            while k < n:
                if buy:
                    k = _emit(out, k, t, lt, 1, -1, BASE + j, ask[j], trades_only)
                    if j >= i:
                        break
                    j = i
                else:
                    k = _emit(out, k, t, lt, 1, 1, BASE + j, bid[j], trades_only)
                    if j <= i:
                        break
                    j = i
            # intermediate fully consumed levels are reported by the trades; emit their deletes too
            if not trades_only and lv > 1:
                a = k0
                e = k
                for z in range(a, e):
                    if out[z].kind == 2 and k < n:
                        p = np.int64(np.round(out[z].px * 10.0)) - BASE
                        if p != first and p != i:
                            k = _emit(out, k, t, lt, 1, -1 if buy else 1, BASE + p, 0, trades_only)
            ba = _best(ask, ba, 1, SPAN - 1)
            bb = _best(bid, bb, -1, 0)
        else:
            # 1..3 level updates in one message
            m = 1 + int(np.random.random() < 0.35) + int(np.random.random() < 0.15)
            for _ in range(m):
                if k >= n:
                    break
                mid = 0.5 * (bb + ba)
                spread = ba - bb
                if spread > 1 and np.random.random() < 0.75:
                    # refill inside the spread, on the side fair value points to
                    up = np.random.random() < 0.5 + 0.45 * np.tanh((fair - mid) / 4.0)
                    q = 1 + np.int64(np.exp(np.random.normal(5.0, 1.2)))
                    step = 1 + int(np.random.random() * min(spread - 1, 6))
                    if step >= spread:
                        step = spread - 1
                    if up:
                        bb += step
                        bid[bb] = q
                        k = _emit(out, k, t, lt, 1, 1, BASE + bb, q, trades_only)
                    else:
                        ba -= step
                        ask[ba] = q
                        k = _emit(out, k, t, lt, 1, -1, BASE + ba, q, trades_only)
                    continue
                buy = np.random.random() < 0.5
                u = np.random.random()
                if u < 0.35:
                    d = 0
                elif u < 0.90:
                    d = np.int64(np.random.exponential(12.0))
                else:
                    d = np.int64(np.random.exponential(120.0))
                i = bb - d if buy else ba + d
                cur = bid[i] if buy else ask[i]
                # touch levels are cancelled faster when fair value moved through them
                adverse = (mid - fair) if buy else (fair - mid)
                pc = 0.48 + 0.30 * np.tanh(adverse / 8.0)
                if cur > 0 and np.random.random() < pc:
                    r = np.random.random()
                    if r < 0.22 + (0.35 if adverse > 6.0 else 0.0):
                        new = np.int64(0)
                    else:
                        new = np.int64(cur * np.random.random())
                else:
                    new = cur + 1 + np.int64(np.exp(np.random.normal(4.6, 1.3)))
                    if new > 60_000:
                        new = np.int64(20_000)
                if new == cur:
                    new = cur + 1
                # never empty a whole side near the touch
                if buy:
                    bid[i] = new
                else:
                    ask[i] = new
                k = _emit(out, k, t, lt, 1, 1 if buy else -1, BASE + i, new, trades_only)
                bb = _best(bid, bb, -1, 0)
                ba = _best(ask, ba, 1, SPAN - 1)
        if k > k0:
            out[k - 1].last = 1
    return ns, ntr


def arrays(n: int, seed: int, trades_only: bool = False) -> tuple[Rows, Rows]:
    """Return (rows, snapshot) in the generator's own layout."""
    out, snap = np.zeros(n, ROW), np.zeros(1000, ROW)
    n_snap, _ = generate(n, seed, trades_only, out, snap, 3_000_000, 0.46)
    out[-1]["last"] = 1
    return out, snap[:n_snap].copy()


def tape(n: int, seed: int, trades_only: bool = False) -> Tape:
    """Return `n` rows as a tape, after the snapshot of the book they begin with (none for trades only)."""
    rows, snap = arrays(n, seed, trades_only)
    parts = [rows] if trades_only else [snap, rows]
    events = zeros(sum(len(p) for p in parts), EVENT)
    for ours, theirs in (
        ("ts_exch", "exch_ts"),
        ("ts_recv", "local_ts"),
        ("px", "px"),
        ("qty", "qty"),
        ("side", "side"),
    ):
        events[ours] = np.concatenate([p[theirs] for p in parts])
    kind, last = (np.concatenate([p[name] for p in parts]) for name in ("kind", "last"))
    events["kind"] = np.where(kind == 2, Kind.TRADE, Kind.LEVEL)
    events["flags"] = np.where(kind == 4, SNAPSHOT, 0) | np.where(last == 1, LAST, 0)
    events["px_ticks"] = np.rint(events["px"] * 10)
    return Tape.from_events(events, [Instrument.parse("BTC-USDT-PERP", venue="BINANCE_FUTURES", tick=TICK, lot=LOT)])


def run(seed: int, n: int) -> dict[str, Any]:
    """Generate `n` rows and say what they are."""
    start = time.process_time()
    made = tape(n, seed)
    took = time.process_time() - start
    rows = made.rows[made.facts["head"] :]
    lag_ms = (rows["ts_recv"] - rows["ts_exch"]) / 1e6
    return {
        "cpu_s": round(took, 3),
        "trade_share": round(float((rows["kind"] == Kind.TRADE).mean()), 4),
        "span_s": round(float(rows["ts_exch"][-1] - rows["ts_exch"][0]) / 1e9, 1),
        "messages": int((rows["flags"] & LAST != 0).sum()),
        "lag_ms": [round(float(x), 2) for x in np.percentile(lag_ms, [1, 50, 99])],
    }

# ruff: noqa: E402 - the clock starts before the imports: they are part of a whole program
# pyright: basic, reportMissingImports=false, reportOptionalSubscript=false, reportPossiblyUnboundVariable=false
"""hftbacktest quoting on a tape; run by `replay` in .venv-bench, in a process of its own.

Its partial-fill exchange books only the last execution of an order to its own account (its issue 316), and leaves a
filled order in the book when the excess of a print equals what was open, after which it stops. To compare fills all the
same, the partial case sends a hair less than whole lots, and counts position, balance and fee from the orders' leaves.
"""

import time

START = time.perf_counter()

import json
import statistics
import sys
from pathlib import Path

import numpy as np
from hftbacktest import (
    BUY,
    GTX,
    LIMIT,
    BacktestAsset,
    HashMapMarketDepthBacktest,
    ROIVectorMarketDepthBacktest,
)
from numba import njit

HAIR = 1e-12


@njit
def feed(hbt, offset, qty, max_pos, hair, out):
    while hbt.elapse(100_000_000) == 0:
        out[0] += 1


@njit
def mm(hbt, offset, qty, max_pos, hair, out):
    # out: submits, cancels, lots, sum of lots * side * ticks, sum of lots * ticks, fills (orders that got anything)
    oid = 1
    while hbt.elapse(100_000_000) == 0:
        vals = hbt.orders(0).values()
        live_lots = 0
        while vals.has_next():
            o = vals.get()
            side = 1 if o.side == BUY else -1
            lots = np.int64(np.round((o.qty + hair - o.leaves_qty) / 0.001)) if hair > 0 else 0
            if o.status == 2 or o.status == 3 or o.status == 4:
                out[2] += side * lots
                out[3] += side * lots * o.price_tick
                out[4] += lots * o.price_tick
                out[5] += 1 if lots > 0 else 0
            else:
                live_lots += side * lots
        hbt.clear_inactive_orders(0)
        d = hbt.depth(0)
        tick = d.tick_size
        bt = d.best_bid_tick - offset
        at = d.best_ask_tick + offset
        pos = (out[2] + live_lots) * 0.001 if hair > 0 else hbt.position(0)
        want_b = pos < max_pos - 1e-9
        want_a = pos > -max_pos + 1e-9
        have_b = False
        have_a = False
        vals = hbt.orders(0).values()
        while vals.has_next():
            o = vals.get()
            if o.side == BUY:
                if want_b and o.price_tick == bt:
                    have_b = True
                elif o.cancellable:
                    hbt.cancel(0, o.order_id, False)
                    out[1] += 1
            elif want_a and o.price_tick == at:
                have_a = True
            elif o.cancellable:
                hbt.cancel(0, o.order_id, False)
                out[1] += 1
        if want_b and not have_b:
            hbt.submit_buy_order(0, oid, bt * tick, qty - hair, GTX, LIMIT, False)
            oid += 1
            out[0] += 1
        if want_a and not have_a:
            hbt.submit_sell_order(0, oid, at * tick, qty - hair, GTX, LIMIT, False)
            oid += 1
            out[0] += 1


def build(events, snapshot, said):
    asset = (
        BacktestAsset().data(events).linear_asset(1.0)
        .constant_order_latency(2_000_000, 2_000_000).trading_value_fee_model(-0.00005, 0.0007)
        .tick_size(0.1).lot_size(0.001).last_trades_capacity(0)
    )  # fmt: skip
    asset = asset.initial_snapshot(snapshot) if len(snapshot) else asset
    asset = asset.power_prob_queue_model(3.0) if said["queue"] == "power_prob" else asset.risk_adverse_queue_model()
    partial = said["exchange"] == "partial"
    asset = asset.partial_fill_exchange() if partial else asset.no_partial_fill_exchange()
    if said["depth"] == "roi":
        return ROIVectorMarketDepthBacktest([asset.roi_lb(55000.0).roi_ub(65000.0)])
    return HashMapMarketDepthBacktest([asset])


def main():
    said = json.loads(sys.argv[1])
    for job in said if isinstance(said, list) else [said]:
        run(job)


def run(said):
    folder = Path(said["folder"])
    events, snapshot = np.load(folder / "events.npy"), np.load(folder / "snapshot.npy")
    algo = mm if said["case"] == "mm" else feed
    hair = HAIR if said["exchange"] == "partial" else 0.0
    cpu = []
    whole = None
    for _ in range(said["runs"]):
        out = np.zeros(6, np.int64)
        hbt = build(events, snapshot, said)
        start = time.process_time()
        algo(hbt, said["offset"], 0.01, 0.1, hair, out)
        cpu.append(time.process_time() - start)
        whole = whole or time.perf_counter() - START
        s = hbt.state_values(0)
        got = {
            "submits": int(out[0]), "cancels": int(out[1]), "fills": int(s.num_trades), "position": s.position,
            "balance": s.balance, "fee": s.fee, "volume": s.trading_volume,
        }  # fmt: skip
        if hair:
            # what is still open at the end counts too
            vals = hbt.orders(0).values()
            while vals.has_next():
                o = vals.get()
                lots = round((o.qty + hair - o.leaves_qty) / 0.001)
                side = 1 if o.side == BUY else -1
                out[2] += side * lots
                out[3] += side * lots * o.price_tick
                out[4] += lots * o.price_tick
                out[5] += lots > 0
            got |= {
                "own_fills": got["fills"], "own_position": round(got["position"], 6), "fills": int(out[5]),
                "position": out[2] * 0.001, "balance": -int(out[3]) * 1e-4, "fee": int(out[4]) * 1e-4 * -0.00005,
            }  # fmt: skip
            got.pop("volume")
        hbt.close()
    for name, digits in (("position", 6), ("balance", 6), ("fee", 9 if hair else 8)):
        got[name] = round(float(got[name]), digits)
    if "volume" in got:
        got["volume"] = round(float(got["volume"]), 6)
    rate = round(len(events) / min(cpu[1:] or cpu))
    median = round(len(events) / statistics.median(cpu[1:] or cpu))
    print(json.dumps({"rows_per_cpu_s": rate, "median_rows_per_cpu_s": median, "whole_program_s": whole, **got}))


if __name__ == "__main__":
    main()

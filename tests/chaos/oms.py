"""Kill -9 a process that trades, at random moments: the state comes back to the byte, and no order is sent twice.

`python -m tests.chaos oms --n 200` kills 200 traders of one run, each going on where the one before died. The venue
lives in this process and outlasts them: it loses messages, repeats them, answers late, and remembers every client id it
was ever sent.
"""

import asyncio
import hashlib
import json
import multiprocessing as mp
import random
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.instruments import Instrument, Instruments
from quantai.core.reports import REPORT, OrdStatus, Refusal
from quantai.core.rows import EVENT, INTENT, MS, SEC, Action, Kind, OrderType, Rows, zeros
from quantai.execution.controls import Control
from quantai.execution.groups import bracket
from quantai.execution.limits import Limits
from quantai.execution.oms import OMS
from quantai.execution.recovery import recover
from quantai.execution.session import Session
from quantai.execution.setup import Setup
from quantai.execution.views import orders
from quantai.journal import EventStore, describe_run
from quantai.journal import recover as mend
from quantai.portfolio import Desk
from quantai.venues.venue import Request

START = 1_700_000_000 * SEC
EACH = 25  # kills before a fresh journal, so that its first moments are hit too

LIMITS = Limits.of(
    {
        "max_order_notional": 10**9, "max_position": 10**6, "max_gross": 10**9, "max_net": 10**9, "max_leverage": 100,
        "max_open_orders": 60, "rate_max": 4000, "rate_window_ms": 1, "max_quote_age_ms": 10**9, "collar_bps": 10**5,
        "passive_cross_bps": 10**5, "duplicate_window_ms": 0, "stp": "venue", "max_day_loss": 10**9, "max_drawdown": 1,
        "max_reject_ratio": 1, "reject_min_requests": 64,
    }
)  # fmt: skip


def make_setup() -> Setup:
    return Setup(
        desks=(Desk("chaos_a", "one"), Desk("chaos_b", "two")),
        instruments=Instruments([Instrument.parse("BTC-USDT", tick="0.5", lot="0.001")]),
        limits=LIMITS,
        currency="USDT",
        patience_ns=50 * MS,
    )


class Wire:
    """The trader's end of the connection to the venue."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    async def send(self, request: Request) -> None:
        ask = {"ask": request.ask.name, "id": request.order_id, "order": request.order, "request": request.request}
        self.tell(ask | {"lots": request.qty_lots, "px": request.px_ticks})

    def tell(self, what: dict[str, Any]) -> None:
        self._pipe.send_bytes(json.dumps(what).encode())

    def heard(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while self._pipe.poll():
            found.append(json.loads(self._pipe.recv_bytes()))
        return found


def trade(path: Path, seed: int, pipe: Connection) -> None:
    """Trade until killed."""
    asyncio.run(_trade(path, random.Random(seed), Wire(pipe)))


async def _trade(path: Path, random_: random.Random, wire: Wire, rounds: int = -1) -> None:
    fresh = not path.exists()  # noqa: ASYNC240 -- nothing else runs on this loop
    oms = OMS(make_setup()) if fresh else recover(path)
    manifest = describe_run("chaos", oms=make_setup().as_dict())
    store = (EventStore.create if fresh else EventStore.open)(path, manifest, flush_interval_s=0.005)
    session = Session(oms, store, wire)
    if oms.seq == 0 or not any(oms.portfolio.cash("main")):
        await session.see(oms.portfolio.deposit(0, 1e9, ts=START))
    await session.control(Control.RECONCILE)
    await session.control(Control.RECONCILED)
    while rounds:
        await _round(session, random_, wire)
        rounds -= 1
    store.close()


async def _round(session: Session, random_: random.Random, wire: Wire) -> None:
    oms, store = session.oms, session.store
    reports = [report_of(said, oms.ts) for said in wire.heard()]
    if reports:
        await session.hear(np.concatenate(reports))
        if random_.random() < 0.5:
            store.flush()
            wire.tell({"kept": [[int(r["order"][0]), int(r["exec"][0])] for r in reports if r["exec"][0]]})
    await session.see(quotes(random_, oms.ts + random_.randrange(20 * MS)))
    if random_.random() < 0.7:
        await session.ask(intents(oms, random_))
    if random_.random() < 0.02:
        await session.control(Control.KILL)
        await session.control(Control.ACTIVE)
    if random_.random() < 0.03:
        session.snapshot()
    wire.tell({"seq": oms.seq, "state": digest(oms)})


def digest(oms: OMS) -> str:
    return hashlib.blake2b(oms.snapshot(), digest_size=8).hexdigest()


def quotes(random_: random.Random, ts: int) -> Rows:
    rows = zeros(2, EVENT)
    px = 100.0 + random_.randrange(-8, 8) / 2
    rows["kind"], rows["side"], rows["px"] = Kind.QUOTE, [1, -1], [px - 0.5, px + 0.5]
    rows["ts_exch"] = rows["ts_recv"] = ts
    return rows


def intents(oms: OMS, random_: random.Random) -> Rows:
    desk = random_.randrange(2)
    numbers = oms.table.entries["order"][: len(oms.table)]
    mine = numbers[numbers >> np.uint64(40) == desk]
    last = int(mine.max()) if len(mine) else desk << 40

    def one(k: int, action: Action, order: int, **fields: int) -> Rows:
        row = zeros(1, INTENT)
        row["seq"], row["k"], row["action"], row["order"] = oms.seq, k, action, order
        for name, value in fields.items():
            row[name] = value
        return row

    choice = random_.random()
    if choice < 0.25 and len(mine):
        return one(0, Action.CANCEL, int(random_.choice(mine[-20:].tolist())))
    if choice < 0.4 and len(mine):
        number, lots = int(random_.choice(mine[-20:].tolist())), random_.randrange(1, 3000)
        return one(0, Action.REPLACE, number, qty_lots=lots, px_ticks=random_.randrange(180, 220))
    side = random_.choice([1, -1])
    terms = {"type": OrderType.LIMIT, "qty_lots": random_.randrange(1, 2000)}
    entry = one(0, Action.NEW, last + 1, side=side, px_ticks=200, **terms)
    if choice < 0.6:
        exits = [one(k, Action.NEW, last + 1 + k, side=-side, px_ticks=200 + 9 * k, **terms) for k in (1, 2)]
        return bracket(entry, *exits)
    return entry


def report_of(said: dict[str, int], ts: int) -> Rows:
    row = zeros(1, REPORT)
    row["ts"] = ts
    for name, value in said.items():
        row[name] = value
    return row


class Exchange:
    """The venue: keeps every order it was ever sent, and is not reliable in anything else."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.orders: dict[str, dict[str, Any]] = {}
        self.twice: list[str] = []
        self.executions = 0

    def take(self, ask: dict[str, Any]) -> list[dict[str, int]]:
        """Answer one request with reports; none when the answer got lost."""
        order = self.orders.get(ask["id"])
        if ask["ask"] == "NEW":
            if order is not None:
                self.twice.append(ask["id"])
                return []
            order = {"order": ask["order"], "lots": ask["lots"], "px": ask["px"], "live": True, "fills": []}
            self.orders[ask["id"]] = order
            said = [{"kind": Kind.ACK}]
        elif order is None:
            said = [self._unknown(ask)]
        elif ask["ask"] == "QUERY":
            said = self._status(order)
        else:
            said = self._change(order, ask)
        if order is not None and order["live"] and self._random.random() < 0.5:
            said += self._execute(order)
        if self._random.random() < 0.1:
            said += said[-1:]
        if ask["ask"] != "QUERY" and self._random.random() < 0.15:
            said = []
        return [{"order": ask["order"], **{name: int(value) for name, value in s.items()}} for s in said]

    def _unknown(self, ask: dict[str, Any]) -> dict[str, int]:
        if ask["ask"] == "QUERY":
            return {"kind": Kind.ORDER_STATUS, "code": OrdStatus.NOT_FOUND}
        kind = Kind.CANCEL_REJECT if ask["ask"] == "CANCEL" else Kind.REPLACE_REJECT
        return {"kind": kind, "request": ask["request"], "code": Refusal.UNKNOWN_ORDER}

    def _change(self, order: dict[str, Any], ask: dict[str, Any]) -> list[dict[str, int]]:
        cancel = ask["ask"] == "CANCEL"
        if not order["live"]:
            kind = Kind.CANCEL_REJECT if cancel else Kind.REPLACE_REJECT
            return [{"kind": kind, "request": ask["request"], "code": Refusal.TOO_LATE}]
        if cancel:
            order["live"] = False
            return [{"kind": Kind.CANCELED, "request": ask["request"]}]
        order["lots"], order["px"] = max(ask["lots"], self._done(order)), ask["px"]
        order["live"] = self._done(order) < order["lots"]
        return [{"kind": Kind.REPLACED, "request": ask["request"], "qty_lots": order["lots"]}]

    def _execute(self, order: dict[str, Any]) -> list[dict[str, int]]:
        self.executions += 1
        lots = self._random.randrange(1, order["lots"] - self._done(order) + 1)
        order["fills"].append({"kind": Kind.FILL, "exec": self.executions, "qty_lots": lots, "px_ticks": order["px"]})
        order["live"] = self._done(order) < order["lots"]
        return order["fills"][-1:]

    def _done(self, order: dict[str, Any]) -> int:
        return sum(fill["qty_lots"] for fill in order["fills"])

    def _status(self, order: dict[str, Any]) -> list[dict[str, int]]:
        done = self._done(order)
        alive = OrdStatus.PARTIALLY_FILLED if done else OrdStatus.NEW
        ended = OrdStatus.FILLED if done >= order["lots"] else OrdStatus.CANCELED
        code = alive if order["live"] else ended
        said = {"kind": Kind.ORDER_STATUS, "code": code, "ref": done, "qty_lots": order["lots"]}
        return [said, *order["fills"]]


def rehearse(seed: int) -> None:
    """Trade a few rounds here, so that what is compiled is ready in the processes that are forked from this one."""
    ours, theirs = mp.Pipe()
    venue = Exchange(seed)
    with tempfile.TemporaryDirectory() as folder:
        for round_ in range(6):
            asyncio.run(_trade(Path(folder) / "run.journal", random.Random(seed + round_), Wire(theirs), 20))
            while ours.poll(0):
                _serve(ours, json.loads(ours.recv_bytes()), venue, {}, set())


def run(n: int, seed: int) -> dict[str, Any]:
    """Kill `n` traders and compare what comes back; returns what happened."""
    random_ = random.Random(seed)
    rehearse(seed)
    counts = {"kills": 0, "orders": 0, "executions": 0, "states_compared": 0, "rows": 0, "recover_max_s": 0.0}
    for first in range(0, n, EACH):
        with tempfile.TemporaryDirectory() as folder:
            _run(Path(folder) / "run.journal", min(EACH, n - first), random_, counts)
    return counts | {"recover_max_s": round(counts["recover_max_s"], 3), "sent_twice": 0}


def _run(path: Path, n: int, random_: random.Random, counts: dict[str, Any]) -> None:
    venue = Exchange(random_.randrange(1 << 30))
    kept: set[tuple[int, int]] = set()
    for round_ in range(n):
        states = _kill_one(path, random_, venue, kept)
        counts["kills"] += 1
        assert not venue.twice, f"round {round_}: sent twice: {venue.twice}"
        if not path.exists():
            assert not venue.orders, "orders went out before there was a journal"
            continue
        found = mend(path)
        assert found.ok, f"round {round_}: {found}"
        assert not found.gaps, f"round {round_}: {found}"
        begin = time.perf_counter()
        oms = recover(path)
        counts["recover_max_s"] = max(counts["recover_max_s"], time.perf_counter() - begin)
        again = recover(path, from_start=True)
        assert again.snapshot() == oms.snapshot(), f"round {round_}: a snapshot and its tail differ from all rows"
        _compare(path, oms, states, counts)
        _check(oms, venue, kept, f"round {round_}")
        counts["rows"] += len(states)
    counts["orders"] += len(venue.orders)
    counts["executions"] += venue.executions


def _compare(path: Path, oms: OMS, states: dict[int, str], counts: dict[str, Any]) -> None:
    """States that the trader reported are what the journal gives up to the same row."""
    durable = sorted(seq for seq in states if seq < oms.seq)
    for seq in {*durable[-1:], *durable[: len(durable) // 2][-1:]}:
        assert digest(recover(path, until=seq)) == states[seq], f"the state after row {seq} differs"
        counts["states_compared"] += 1


def _check(oms: OMS, venue: Exchange, kept: set[tuple[int, int]], where: str) -> None:
    ours = {row["client_id"]: row for row in orders(oms)}
    lost = [name for name in venue.orders if name not in ours or not ours[name]["sent"]]
    assert not lost, f"{where}: the venue has orders that the journal has not: {lost}"
    used = oms.table.executions.rows[: int(oms.table.executions.used[0])]
    held = {(int(r["order"]), int(r["exec"])) for r in used}
    assert kept <= held, f"{where}: acknowledged executions are gone: {sorted(kept - held)[:5]}"
    real = {(o["order"], f["exec"]): f["qty_lots"] for o in venue.orders.values() for f in o["fills"]}
    assert all(real.get((int(r["order"]), int(r["exec"]))) == r["qty_lots"] for r in used), f"{where}: invented fills"


def _kill_one(path: Path, random_: random.Random, venue: Exchange, kept: set[tuple[int, int]]) -> dict[int, str]:
    """Run a trader for a while, be its venue, and kill it; returns the states it told."""
    ours, theirs = mp.Pipe()
    trader = mp.get_context("fork").Process(target=trade, args=(path, random_.randrange(1 << 30), theirs))
    trader.start()
    theirs.close()
    states: dict[int, str] = {}
    # some die while they recover, after a moment; the others after so many messages, however slow the machine is
    early = random_.random() < 0.2
    left, until = random_.randrange(1, 120), time.monotonic() + (random_.random() * 0.05 if early else 60)
    try:
        while time.monotonic() < until and (early or left):
            if ours.poll(0.002):
                _serve(ours, json.loads(ours.recv_bytes()), venue, states, kept)
                left -= 1
        time.sleep(random_.random() * 0.003)
        trader.kill()
        while ours.poll(0.1):  # what it sent before it died has arrived
            _serve(ours, json.loads(ours.recv_bytes()), venue, states, kept)
    except (EOFError, ConnectionError):
        pass
    trader.kill()
    trader.join()
    assert trader.exitcode == -9, f"the trader ended by itself with {trader.exitcode}"
    return states


def _serve(
    pipe: Connection, said: dict[str, Any], venue: Exchange, states: dict[int, str], kept: set[tuple[int, int]]
) -> None:
    if "state" in said:
        states[said["seq"]] = said["state"]
    elif "kept" in said:
        kept.update((order, exec_) for order, exec_ in said["kept"])
    else:
        for report in venue.take(said):
            pipe.send_bytes(json.dumps(report).encode())

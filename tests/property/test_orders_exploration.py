"""The state space of one order, explored: exhaustively over small sets of reports, and at random over all of them."""

from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numba import njit

from quantai.core.executions import executions, live
from quantai.core.orders import apply, submit
from quantai.core.reports import ANSWERED, REPORT, Mark, OrdStatus, Outcome, Refusal
from quantai.core.rows import INTENT, TIF, Kind, Rows, zeros
from quantai.core.tracked import TRACKED, average, leaves, marks, status, status_local
from quantai.core.transitions import ENDED, Life


def report(kind: Kind, **fields: int) -> Rows:
    row = zeros(1, REPORT)
    row["order"], row["kind"] = 1, kind
    for name, value in fields.items():
        row[name] = value
    return row


def started(tif: TIF = TIF.GTC) -> Rows:
    order, intent = zeros(1, TRACKED), zeros(1, INTENT)
    intent["order"], intent["qty_lots"], intent["px_ticks"], intent["tif"] = 1, 10, 100, tif
    submit(order[0], intent[0])
    return order


# Reports that can all be true of one order of 10, however they are shuffled on their way. Not among them: snapshots,
# and the halts and reopenings of an order (done for day, suspended, restated, triggered): their order is their meaning.
REPORTS = {
    "ack": report(Kind.ACK),
    "fill 1": report(Kind.FILL, exec=1, px_ticks=100, qty_lots=4),
    "fill 1 again": report(Kind.FILL, exec=1, px_ticks=100, qty_lots=4),
    "fill 2": report(Kind.FILL, exec=2, px_ticks=101, qty_lots=6),
    "bust 1": report(Kind.TRADE_CANCEL, exec=11, ref=1),
    "correct 2": report(Kind.TRADE_CORRECT, exec=12, ref=2, px_ticks=99, qty_lots=5),
    "correct the correction": report(Kind.TRADE_CORRECT, exec=13, ref=12, px_ticks=98, qty_lots=7),
    "replaced": report(Kind.REPLACED, request=1, qty_lots=7),
    "replaced again": report(Kind.REPLACED, request=2, qty_lots=12),
    "cancel refused": report(Kind.CANCEL_REJECT, request=3, code=Refusal.TOO_LATE),
    "stopped": report(Kind.STOPPED),
    "reject": report(Kind.REJECT),
    "canceled": report(Kind.CANCELED),
    "expired": report(Kind.EXPIRED),
}


@njit
def arrive(order: Any, table: Any, reports: Any, arrivals: Any, ends: Any) -> int:
    """Apply every order of arrival to a copy of the order; returns the first one that breaks an invariant, or -1."""
    start = order[0:1].copy()
    scratch = order[0:1].copy()
    for a in range(len(arrivals)):
        scratch[0] = start[0]
        table.used[0] = 0
        table.slots[:] = 0
        table.rows[:] = table.rows[-1]
        for i in arrivals[a]:
            cum, life = scratch[0].cum_lots, scratch[0].life
            apply(scratch[0], table, reports[i])
            falls = reports[i].kind == 36 or reports[i].kind == 37
            if scratch[0].cum_lots < 0 or leaves(scratch[0]) < 0 or (scratch[0].cum_lots < cum and not falls):
                return a
            if life == 9 and scratch[0].life != 9:
                return a
        ends[a, 0] = status_local(scratch[0])
        ends[a, 1] = scratch[0].cum_lots
        ends[a, 2] = leaves(scratch[0])
        ends[a, 3] = scratch[0].value_low
        ends[a, 4] = scratch[0].qty_lots
        ends[a, 5] = status(scratch[0])
    return -1


@pytest.mark.parametrize("size", [2, 3, 4, 5, 6])
def test_every_order_of_arrival_ends_in_the_same_state(size: int) -> None:
    order, table = started(), executions(32)
    for number, (kind, qty) in enumerate(
        [(Kind.REPLACE_REQUEST, 7), (Kind.REPLACE_REQUEST, 12), (Kind.CANCEL_REQUEST, 0)], 1
    ):
        assert apply(order[0], table, report(kind, request=number, qty_lots=qty)[0]) == 0
    reports = np.concatenate(list(REPORTS.values()))
    arrivals = np.array(list(permutations(range(size))))
    ends = np.zeros((len(arrivals), 6), np.int64)
    for chosen in combinations(range(len(reports)), size):
        broken = arrive(order, table, reports, np.array(chosen)[arrivals], ends)
        names = [list(REPORTS)[i] for i in chosen]
        assert broken == -1, (names, arrivals[broken])
        assert (ends == ends[0]).all(), (names, ends[(ends != ends[0]).any(axis=1)][0], ends[0])


ELSEWHERE = (Kind.FILL, Kind.TRADE_CANCEL, Kind.TRADE_CORRECT, Kind.ORDER_STATUS, Kind.ADJUST)


class OneOrder(RuleBasedStateMachine):
    """Anything in any order; a dictionary of executions says what cum and value must be."""

    @initialize(tif=st.sampled_from(TIF))
    def start(self, tif: TIF) -> None:
        self.order, self.table = started(tif), executions(256)
        self.seen: dict[int, tuple[int, int] | None] = {}  # execution -> (price, quantity), None = busted or corrected
        self.next_of: dict[int, int] = {}
        self.requests = 0

    def say(self, kind: Kind, **fields: int) -> Outcome:
        return Outcome(apply(self.order[0], self.table, report(kind, **fields)[0]))

    def last(self, number: int) -> int:
        while number in self.next_of:
            number = self.next_of[number]
        return number

    @precondition(lambda self: self.table.used[0] < 240)
    @rule(exec=st.integers(1, 6), px=st.integers(-3, 100), qty=st.integers(1, 7))
    def fill(self, exec: int, px: int, qty: int) -> None:
        cum = self.order["cum_lots"][0]
        outcome = self.say(Kind.FILL, exec=exec, px_ticks=px, qty_lots=qty)
        assert outcome == (Outcome.DUPLICATE if exec in self.seen else Outcome.BOOKED)
        self.seen.setdefault(exec, (px, qty))
        assert self.order["cum_lots"][0] >= cum

    @precondition(lambda self: self.table.used[0] < 240)
    @rule(exec=st.integers(101, 999), ref=st.integers(1, 6), data=st.tuples(st.booleans(), st.integers(1, 7)))
    def revise(self, exec: int, ref: int, data: tuple[bool, int]) -> None:
        bust, qty = data
        if exec in self.seen:
            return
        meant = self.last(ref)
        counts = ref not in self.seen or self.seen[meant] is not None
        self.seen.setdefault(ref, None)
        self.seen[meant] = None
        if bust:
            self.say(Kind.TRADE_CANCEL, exec=exec, ref=ref)
            self.seen[exec] = None
        else:
            self.say(Kind.TRADE_CORRECT, exec=exec, ref=ref, px_ticks=50, qty_lots=qty)
            self.seen[exec] = (50, qty) if counts else None
            if counts:
                self.next_of[meant] = exec

    @rule(kind=st.sampled_from([Kind.CANCEL_REQUEST, Kind.REPLACE_REQUEST]), qty=st.integers(1, 20))
    def ask(self, kind: Kind, qty: int) -> None:
        before = self.order.tobytes()
        outcome = self.say(kind, request=self.requests + 1, qty_lots=qty)
        if outcome & ANSWERED:
            assert self.order.tobytes() == before
        else:
            self.requests += 1

    @rule(
        kind=st.sampled_from([k for k in Kind if Kind.ACK <= k < Kind.SUBMIT and k not in ELSEWHERE]),
        request=st.integers(0, 4),
        code=st.integers(0, 5),
        qty=st.integers(0, 20),
    )
    def hear(self, kind: Kind, request: int, code: int, qty: int) -> None:
        canceled = self.order["life"][0] == Life.CANCELED
        self.say(kind, request=request, code=code, qty_lots=qty)
        if canceled:
            assert self.order["life"][0] == Life.CANCELED

    @rule(code=st.sampled_from(OrdStatus), cum=st.integers(0, 12))
    def query(self, code: OrdStatus, cum: int) -> None:
        executed = int(self.order["cum_lots"][0])
        self.say(Kind.ORDER_STATUS, code=code, ref=cum)
        assert self.order["cum_lots"][0] == executed  # a snapshot never makes an execution
        if code not in (OrdStatus.NONE, OrdStatus.NOT_FOUND):
            assert not marks(self.order[0]) & (Mark.UNKNOWN | Mark.NEEDS_QUERY)
            assert bool(marks(self.order[0]) & Mark.MISSING_FILLS) == (cum > executed)

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "order"):
            return
        order = self.order[0]
        counting = [x for x in self.seen.values() if x]
        cum = sum(q for _, q in counting)
        assert (int(order["cum_lots"]), len(live(self.table))) == (cum, len(counting))
        assert average(order) * cum == sum(p * q for p, q in counting)
        assert 0 <= leaves(order) <= max(int(order["qty_lots"]) - cum, 0)
        assert leaves(order) == 0 or order["life"] < ENDED
        assert OrdStatus(status_local(order)) is not OrdStatus.NONE
        if order["life"] >= ENDED:
            assert status_local(order) == status(order) or not order["reported"]


OneOrder.TestCase.settings = settings(max_examples=150, stateful_step_count=30)
TestOneOrder = OneOrder.TestCase

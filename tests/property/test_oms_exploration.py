"""The order management under anything in any order: invariants, and the same bytes from every snapshot."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from quantai.core.executions import live
from quantai.core.reports import OrdStatus, Refusal
from quantai.core.rows import BUY, CHILD, MS, OCO, SEC, SELL, Action, Kind, OrderType
from quantai.core.tracked import leaves
from quantai.core.transitions import ENDED
from quantai.execution.controls import Control, control
from quantai.execution.exposure import N_WORKING
from quantai.execution.oms import OMS
from quantai.execution.order_table import DOOMED, GONE, KILLED, SENT, is_finished, may_trade
from quantai.execution.outgoing import Step
from quantai.venues.venue import Ask
from tests.unit.oms_setting import Market, limits

ANSWERS = [
    Kind.ACK, Kind.REJECT, Kind.CANCELED, Kind.EXPIRED, Kind.REPLACED, Kind.CANCEL_REJECT, Kind.REPLACE_REJECT,
    Kind.PENDING_CANCEL, Kind.PENDING_REPLACE, Kind.STOPPED, Kind.SUSPENDED, Kind.DONE_FOR_DAY,
]  # fmt: skip


class Trading(RuleBasedStateMachine):
    """Desks that ask for anything, and a venue that says anything about any order."""

    @initialize()
    def start(self) -> None:
        self.market = Market()
        self.sent: dict[str, str] = {}
        self.orders: list[int] = []
        self.executions = 0
        self.twin = OMS.restored(self.market.oms.snapshot(), self.market.setup)
        self.taken = len(self.market.rows)

    def note(self, step: Step) -> None:
        for request in step.requests:
            assert request.client_id not in self.sent or request.ask is Ask.QUERY, "sent twice"
            if request.ask is not Ask.QUERY:
                self.sent[request.client_id] = request.ask.name

    def some(self, pick: int) -> int:
        return self.orders[pick % len(self.orders)] if self.orders else 1

    @rule(
        desk=st.integers(0, 2), side=st.sampled_from([BUY, SELL]), lots=st.integers(0, 2000), px=st.integers(0, 250),
        type=st.sampled_from([OrderType.LIMIT, OrderType.MARKET]),
        flags=st.sampled_from([0, 0, OCO, CHILD, CHILD | OCO]),
        link=st.integers(0, 4), instrument=st.integers(0, 1),
    )  # fmt: skip
    def new(self, desk: int, **fields: Any) -> None:
        order = self.market.number(desk)
        fields |= {"qty_lots": fields.pop("lots"), "px_ticks": fields.pop("px")}
        self.note(self.market.ask(Action.NEW, order, **fields))
        self.orders.append(order)

    @rule(desk=st.integers(0, 2), weight=st.integers(-10, 10))
    def target(self, desk: int, weight: int) -> None:
        order = self.market.number(desk)
        self.note(self.market.ask(Action.TARGET, order, qty_lots=weight * 10**5))
        self.orders.append(order)

    @rule(pick=st.integers(0, 99), lots=st.integers(0, 3000), px=st.integers(0, 250))
    def replace(self, pick: int, lots: int, px: int) -> None:
        self.note(self.market.ask(Action.REPLACE, self.some(pick), qty_lots=lots, px_ticks=px))

    @rule(pick=st.integers(0, 99))
    def cancel(self, pick: int) -> None:
        self.note(self.market.ask(Action.CANCEL, self.some(pick)))

    @rule(
        pick=st.integers(0, 99), kind=st.sampled_from(ANSWERS), request=st.integers(0, 3), code=st.sampled_from(Refusal)
    )
    def answer(self, pick: int, kind: Kind, request: int, code: Refusal) -> None:
        self.note(self.market.hear(self.some(pick), kind, request=request, code=code))

    @rule(pick=st.integers(0, 99), lots=st.integers(1, 500), px=st.integers(150, 250), again=st.booleans())
    def fill(self, pick: int, lots: int, px: int, again: bool) -> None:
        self.executions += 0 if again and self.executions else 1
        self.note(self.market.fill(self.some(pick), self.executions, lots, px))

    @rule(pick=st.integers(0, 99), ref=st.integers(1, 20), bust=st.booleans())
    def revise(self, pick: int, ref: int, bust: bool) -> None:
        kind = Kind.TRADE_CANCEL if bust else Kind.TRADE_CORRECT
        self.executions += 1
        fields = {"exec": self.executions, "ref": ref, "qty_lots": 7, "px_ticks": 200}
        self.note(self.market.hear(self.some(pick), kind, **fields))

    @rule(pick=st.integers(0, 99), code=st.sampled_from(OrdStatus), cum=st.integers(0, 600))
    def status(self, pick: int, code: OrdStatus, cum: int) -> None:
        self.note(self.market.hear(self.some(pick), Kind.ORDER_STATUS, code=code, ref=cum))

    @rule(ns=st.sampled_from([MS, SEC, 5 * SEC, 300 * SEC]))
    def wait(self, ns: int) -> None:
        self.note(self.market.pass_time(ns))

    @rule(bid=st.integers(180, 220), instrument=st.integers(0, 1))
    def quote(self, bid: int, instrument: int) -> None:
        self.market.quote(instrument, bid / 2, bid / 2 + 0.5)

    @rule(what=st.sampled_from([c for c in Control if c is not Control.LIMITS]), account=st.integers(-1, 1))
    def decide(self, what: Control, account: int) -> None:
        self.note(self.market.see(control(what, account=account)))

    @rule(most=st.integers(1, 4000))
    def limit(self, most: int) -> None:
        self.note(self.market.see(control(Control.LIMITS), limits(max_open_orders=most).text()))

    @rule()
    def go_on_from_a_snapshot(self) -> None:
        """What ran from an earlier snapshot has the same state, and so has what goes on from this one."""
        for row, text in self.market.rows[self.taken :]:
            self.twin.process(row, text)
        body = self.market.oms.snapshot()
        assert self.twin.snapshot() == body
        self.twin, self.taken = OMS.restored(body, self.market.setup), len(self.market.rows)

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "market"):
            return
        oms = self.market.oms
        entries, tracked = oms.table.entries[: len(oms.table)], oms.table.tracked[: len(oms.table)]
        for a, book in enumerate(oms.gate.books):
            working = book.working[: book.counts[N_WORKING]]
            assert (working["leaves"] > 0).all()
            tickets = working["order"].tolist()
            alive = [
                int(entry["ticket"])
                for slot, (entry, order) in enumerate(zip(entries, tracked, strict=True))
                if entry["ticket"] and leaves(order) > 0 and oms.flow.account(slot) == a
            ]
            assert set(alive) <= set(tickets)
        for entry, order in zip(entries, tracked, strict=True):
            assert bool(entry["flags"] & SENT) == bool(entry["ticket"])
            if not entry["flags"] & SENT and order["life"] >= ENDED:
                assert leaves(order) == 0
            if entry["flags"] & DOOMED and may_trade(order):
                assert entry["flags"] & KILLED
            if entry["flags"] & SENT and may_trade(order) and entry["flags"] & GONE and not entry["refusal"]:
                asked = (order["request_kind"] == Kind.CANCEL_REQUEST) & (order["request_state"] != 0)
                assert asked.any() or entry["deadline"], "to be canceled, and nobody is asked to"
            if entry["flags"] & SENT and entry["deadline"]:
                assert entry["deadline"] >= oms.point["deadline"][0]
        self.positions_are_what_the_executions_say()

    def positions_are_what_the_executions_say(self) -> None:
        oms = self.market.oms
        for d in range(len(oms.setup.desks)):
            for i in range(2):
                lots = sum(side * n for _, side, n, _ in oms.table.fills(d, i))
                held = float(oms.portfolio.books.positions["qty"][d, i])
                assert abs(held - oms.gate.units(i, lots)) < 1e-9
        counted = sum(int(t["cum_lots"]) for t in oms.table.tracked[: len(oms.table)])
        ours = [row for row in live(oms.table.executions) if row["seen"]]
        assert counted == sum(int(row["qty_lots"]) for row in ours)
        assert all(not is_finished(t) or leaves(t) == 0 for t in oms.table.tracked[: len(oms.table)])


Trading.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestTrading = Trading.TestCase

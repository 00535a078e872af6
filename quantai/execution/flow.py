"""The flow of orders: how one is released, canceled, changed and asked about, and what follows from each report.

It is the part of the order management that knows orders; `oms` knows the stream.
"""

from typing import Any

import numpy as np

from quantai.core.orders import apply, set_trigger
from quantai.core.reports import ANSWERED, PRICED, REPORT, Mark, OrdStatus, Outcome, Refusal
from quantai.core.rows import INTENT, OCO, Kind, Reason, Rows, zeros
from quantai.core.tracked import LATE, OUT, OVERDUE, REQUESTS, is_over, marks
from quantai.core.transitions import ENDED, Life
from quantai.execution.client_ids import OWN_K, client_id
from quantai.execution.gate import NEVER, Gate
from quantai.execution.order_table import (
    ASKED,
    DENIED_BY_RISK,
    DOOMED,
    GONE,
    KILLED,
    RISEN,
    SENT,
    WAITING,
    YIELDED,
    OrderTable,
    awaits,
    boldest,
    cancel_is_out,
    clear,
    figures,
    is_finished,
    is_settled,
    may_trade,
    open_lots,
    unanswered,
)
from quantai.execution.outgoing import DENIED, LOCAL, Step
from quantai.execution.setup import Setup
from quantai.portfolio.desks import desk_of
from quantai.portfolio.portfolio import Portfolio
from quantai.venues.venue import Ask, Request

POINT = np.dtype(
    [
        ("seq", "u8"),  # the row that was processed last
        ("ts", "i8"),  # the latest instant seen, ns UTC
        ("intents", "u4"),  # of that row, processed so far
        ("reports", "u4"),
        ("own", "u4"),  # requests of our own made at that row
        ("unclaimed", "u4"),  # reports about orders that are not ours
        ("tickets", "u8"),  # numbers given out to risk
        ("deadline", "i8"),  # no venue is asked before this instant
    ]
)
"""Where the order management stands in the stream."""

_ANSWERS_OF_CANCELS = (Kind.PENDING_CANCEL, Kind.CANCEL_REJECT, Kind.REPLACE_REJECT)
_OVER_THERE = (OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED, OrdStatus.NOT_FOUND)

BACKOFF = 6
"""A query without an answer is repeated after patience x 2, 4 … 2^6."""


class Flow:
    """Orders of all desks, with the risk and the positions they meet; what it wants done is in `step`."""

    def __init__(self, setup: Setup, portfolio: Portfolio) -> None:
        self.setup, self.portfolio = setup, portfolio
        self.gate = Gate(setup, portfolio)
        self.table = OrderTable()
        self.point: Rows = np.zeros(1, POINT)
        self.point["deadline"] = NEVER
        self.step = Step()

    @property
    def seq(self) -> int:
        """The number of the last row processed."""
        return int(self.point["seq"][0])

    @property
    def ts(self) -> int:
        """The latest instant seen, ns UTC."""
        return int(self.point["ts"][0])

    def apply(self, slot: int, report: Any, flags: int = 0) -> int:
        """Apply a report to its order, and what follows from it to everything else."""
        self.table.reserve(2)
        tracked, entry = self.table.tracked[slot], self.table.entries[slot]
        before, was_settled, was_unanswered = figures(tracked), is_settled(tracked), unanswered(tracked)
        had_ended = int(tracked["life"]) >= ENDED and tracked["life"] != Life.LOST
        outcome = int(apply(tracked, self.table.executions, report))
        if outcome & Outcome.DUPLICATE and figures(tracked) == before:
            self._watch_over(slot)  # the same execution in other words is a contradiction
            return outcome
        self.say(report, flags)
        kind = int(report["kind"])
        if not flags & LOCAL and unanswered(tracked) < was_unanswered:
            refused = kind == Kind.REPLACE_REJECT or tracked["life"] == Life.REJECTED
            self.gate.answer(self.account(slot), bool(refused))
        if kind == Kind.ORDER_STATUS:
            clear(entry, ASKED)
        if kind == Kind.CANCEL_REJECT:
            entry["refusal"] = int(report["code"]) or Refusal.OTHER
            if report["code"] != Refusal.UNKNOWN_ORDER and not entry["flags"] & RISEN:
                clear(entry, GONE)
        self._book(slot, kind, report, before)
        if had_ended or entry["flags"] & RISEN:
            self._see_rising(slot, report)
        traded = int(tracked["cum_lots"]) > before[0]
        self._follow(slot, kind, was_finished=before[2], was_settled=was_settled, traded=traded)
        return outcome

    def _book(self, slot: int, kind: int, report: Any, before: tuple[int, int, bool]) -> None:
        """Take an execution, or its loss, into the position."""
        tracked = self.table.tracked[slot]
        i = int(tracked["instrument"])
        if figures(tracked)[:2] == before[:2] or i >= len(self.setup.instruments):
            return
        desk = desk_of(tracked["order"])
        if kind == Kind.FILL:
            units, px = self.gate.units(i, int(report["qty_lots"])), self.gate.price(i, int(report["px_ticks"]))
            self.portfolio.fill(desk, i, int(tracked["side"]), units, px)
        else:
            fills = [
                (seq, side, self.gate.units(i, lots), self.gate.price(i, ticks))
                for seq, side, lots, ticks in self.table.fills(desk, i)
            ]
            self.portfolio.rebuild(desk, i, fills)
        self.gate.hold()

    def _follow(self, slot: int, kind: int, *, was_finished: bool, was_settled: bool, traded: bool) -> None:
        """Do what the new state of an order asks for: risk, children, rivals, another cancel, a query."""
        self._work(slot)
        tracked, entry = self.table.tracked[slot], self.table.entries[slot]
        finished = is_finished(tracked)
        if is_settled(tracked) and not was_settled:
            if tracked["life"] != Life.REJECTED and not entry["flags"] & YIELDED:
                self._cancel_rivals(slot)
            self._settle_children(slot)
        elif traded and int(tracked["flags"]) & OCO:
            self._cancel_rivals(slot)
        if traded and was_settled:
            self._grow_children(slot)
        alive = entry["flags"] & SENT and not finished
        if alive and was_finished:  # it came back to life after what should have ended it
            if entry["flags"] & DOOMED:
                entry["flags"] |= KILLED | GONE
            elif self._lost_to_a_rival(slot):
                entry["flags"] |= YIELDED | GONE
        # any sign of life repeats a cancel that got lost; a refusal is taken, or leads to a query that decides
        if entry["flags"] & GONE and alive and kind not in _ANSWERS_OF_CANCELS and not cancel_is_out(tracked):
            self.cancel(slot, self.seq, self.own_k())
        self._watch_over(slot)

    def _watch_over(self, slot: int) -> None:
        """Ask about a contradiction at once; forget the deadline of what is answered."""
        tracked, entry = self.table.tracked[slot], self.table.entries[slot]
        if not entry["flags"] & SENT:
            return
        doubt = marks(tracked) & (Mark.NEEDS_QUERY | Mark.MISSING_FILLS) or entry["flags"] & (RISEN | GONE) == RISEN
        if doubt and not entry["flags"] & ASKED and entry["queries"] == 0:
            self.query(slot)
        elif not doubt and not awaits(tracked) and not entry["flags"] & (ASKED | RISEN):
            entry["deadline"], entry["queries"] = 0, 0

    def _see_rising(self, slot: int, report: Any) -> None:
        """Have canceled at the venue what ended here and works there, until it is gone; what it traded is booked.

        Its strategy was told of the end and may have sent another in its place. A sign of life is asked about first;
        each answer that it works has it canceled (again), and silence after a cancel leads to the next question.
        """
        tracked, entry = self.table.tracked[slot], self.table.entries[slot]
        kind, life = int(report["kind"]), int(tracked["life"])
        is_filled = 0 < int(tracked["qty_lots"]) <= int(tracked["cum_lots"])
        is_status = kind == Kind.ORDER_STATUS and int(report["code"]) != OrdStatus.NONE
        is_over_there = kind in (Kind.CANCELED, Kind.EXPIRED) or (is_status and int(report["code"]) in _OVER_THERE)
        if is_filled or is_over_there:
            clear(entry, RISEN)
        elif is_status:
            entry["flags"] |= RISEN | GONE
            if life >= ENDED:  # what is over takes no request any more: none is kept open for its answer
                self._cancel_there(slot)
        elif life < ENDED and entry["flags"] & SENT:
            entry["flags"] |= RISEN

    def _cancel_there(self, slot: int) -> None:
        entry, k = self.table.entries[slot], self.own_k()
        number = self.table.note_request(slot, self.seq, k)
        self.say(self.report(int(entry["order"]), Kind.CANCEL_REQUEST, request=number), LOCAL)
        entry["deadline"] = entry["queries"] = 0
        self.wait_for(slot)
        self._send(Ask.CANCEL, slot, number, self.seq, k)

    def say(self, report: Any, flags: int = 0) -> None:
        """Tell listeners, as a copy with these flags added."""
        row = np.array([report], REPORT)
        row["flags"] |= flags
        self.step.say(row)

    def report(self, order: int, kind: Kind, code: int = 0, **fields: int) -> Rows:
        """Return a REPORT row of our own about an order, at the row and the instant at hand."""
        row = zeros(1, REPORT)
        row["seq"], row["ts"], row["order"], row["kind"], row["code"] = self.seq, self.ts, order, kind, code
        for name, value in fields.items():
            row[name] = value
        return row

    def own_k(self) -> int:
        """Return the next index for a request of our own at the row at hand."""
        self.point["own"] += 1
        return OWN_K + int(self.point["own"][0]) - 1

    def account(self, slot: int) -> int:
        """Return the number of the account an order is in."""
        return int(self.portfolio.books.account[desk_of(self.table.entries["order"][slot])])

    def _work(self, slot: int) -> None:
        tracked, entry = self.table.tracked[slot], self.table.entries[slot]
        self.gate.work(self.account(slot), tracked, int(entry["ticket"]), open_lots(tracked), boldest(tracked))

    def release(self, slot: int) -> None:
        """Let an order pass risk and go out, or end it."""
        tracked, entry = self.table.tracked[slot], self.table.entries[slot]
        clear(entry, WAITING)
        ticket = int(self.point["tickets"][0]) + 1
        lots, px, trigger = (int(tracked[name]) for name in ("qty_lots", "px_ticks", "trigger_ticks"))
        request = self.gate.request(tracked, ticket, self.ts, lots=lots, px_ticks=px, trigger_ticks=trigger)
        reason = self.gate.admit(self.account(slot), request, self._rival_tickets(slot))
        if reason:
            entry["flags"] |= DENIED_BY_RISK
            self.apply(slot, self.report(int(entry["order"]), Kind.REJECT, reason)[0], LOCAL | DENIED)
            return
        self.point["tickets"], entry["ticket"] = ticket, ticket
        entry["flags"] |= SENT
        self.wait_for(slot)
        self._send(Ask.NEW, slot, 0, int(entry["seq"]), int(entry["k"]))

    def cancel(self, slot: int, seq: int, k: int) -> None:
        """Ask the venue to cancel an order; one that never went out just ends."""
        tracked, entry = self.table.tracked[slot], self.table.entries[slot]
        order = int(entry["order"])
        if entry["flags"] & WAITING:
            self.end(slot, Reason.BY_USER)
            return
        report = self.report(order, Kind.CANCEL_REQUEST, request=int(entry["requests"]) + 1)
        outcome = int(apply(tracked, self.table.executions, report[0]))
        if outcome & ANSWERED:
            code = Refusal.ALREADY_PENDING if outcome & Outcome.ALREADY_PENDING else Refusal.TOO_LATE
            code = Refusal.OTHER if outcome & Outcome.TOO_MANY_PENDING else code
            if code != Refusal.ALREADY_PENDING:
                entry["refusal"] = code
            self.say(self.report(order, Kind.CANCEL_REJECT, code)[0], LOCAL)
            return
        entry["flags"] |= GONE
        entry["refusal"] = 0
        number = self.table.note_request(slot, seq, k)
        self.say(report[0], LOCAL)
        self.wait_for(slot)
        self._send(Ask.CANCEL, slot, number, seq, k)

    def replace(self, slot: int, intent: Any) -> None:
        """Ask the venue for other terms: zero keeps the old, a total already executed cancels the rest."""
        tracked, entry = self.table.tracked[slot], self.table.entries[slot]
        order, seq, k = int(entry["order"]), int(intent["seq"]), int(intent["k"])
        total = int(intent["qty_lots"]) or int(tracked["qty_lots"])
        px = int(intent["px_ticks"]) or int(tracked["px_ticks"])
        trigger = int(intent["trigger_ticks"]) or int(tracked["trigger_ticks"])
        if total <= int(tracked["cum_lots"]):
            self.cancel(slot, seq, k)
            return
        if entry["flags"] & WAITING:
            tracked["qty_lots"], tracked["px_ticks"], tracked["trigger_ticks"] = total, px, trigger
            entry["asked_lots"] = total
            self.say(self.report(order, Kind.REPLACED, qty_lots=total, px_ticks=px, flags=PRICED)[0], LOCAL)
            return
        terms = {"request": int(entry["requests"]) + 1, "qty_lots": total, "px_ticks": px, "flags": PRICED}
        report = self.report(order, Kind.REPLACE_REQUEST, **terms)
        if int(apply(tracked.copy(), self.table.executions, report[0])) & ANSWERED:
            code = Refusal.TOO_LATE if is_over(tracked) else Refusal.OTHER
            self.say(self.report(order, Kind.REPLACE_REJECT, code)[0], LOCAL)
            return
        ticket, left = int(entry["ticket"]), total - int(tracked["cum_lots"])
        asked = {"lots": left, "px_ticks": px, "trigger_ticks": trigger}
        request = self.gate.request(tracked, ticket, self.ts, **asked, target=ticket)
        reason = self.gate.admit(self.account(slot), request, self._rival_tickets(slot))
        if reason:
            self.say(self.report(order, Kind.REPLACE_REJECT, reason)[0], LOCAL | DENIED)
            return
        apply(tracked, self.table.executions, report[0])
        number = self.table.note_request(slot, seq, k)
        set_trigger(tracked, number, trigger)
        if k < OWN_K:
            entry["asked_lots"] = total
        self.say(report[0], LOCAL)
        self._work(slot)
        self.wait_for(slot)
        self._send(Ask.REPLACE, slot, number, seq, k, qty_lots=total, px_ticks=px, trigger_ticks=trigger)

    def _send(self, ask: Ask, slot: int, number: int, seq: int, k: int, **terms: int) -> None:
        tracked, entry = self.table.tracked[slot], self.table.entries[slot]
        run = self.setup.desks[desk_of(entry["order"])].run
        said = {n: int(tracked[n]) for n in ("qty_lots", "px_ticks", "trigger_ticks", "expire_ts")} | terms
        fixed = {n: int(tracked[n]) for n in ("instrument", "side", "type", "tif", "flags")}
        own_id = client_id(run, int(entry["seq"]), int(entry["k"]))
        self.step.requests.append(
            Request(
                ask=ask,
                order=int(entry["order"]),
                request=number,
                client_id=client_id(run, seq, k),
                order_id=own_id,
                **fixed,
                **said,
            )
        )

    def wait_for(self, slot: int) -> None:
        """Expect an answer about an order within the patience."""
        entry = self.table.entries[slot]
        due = self.ts + self.setup.patience_ns
        entry["deadline"] = min(int(entry["deadline"]) or due, due)
        self.point["deadline"] = min(int(self.point["deadline"][0]), int(entry["deadline"]))

    def query(self, slot: int) -> None:
        """Ask the venue about an order by its client id; again later, and ever more rarely, until it answers."""
        entry = self.table.entries[slot]
        entry["queries"] = min(int(entry["queries"]) + 1, 255)
        entry["flags"] |= ASKED
        entry["deadline"] = self.ts + (self.setup.patience_ns << min(int(entry["queries"]), BACKOFF))
        self.point["deadline"] = min(int(self.point["deadline"][0]), int(entry["deadline"]))
        self._send(Ask.QUERY, slot, 0, int(entry["seq"]), int(entry["k"]))

    def time_out(self) -> None:
        """Make what was not answered in time UNKNOWN, and ask the venue; nothing is ever sent a second time."""
        entries = self.table.entries[: len(self.table)]
        for slot in np.flatnonzero((entries["deadline"] > 0) & (entries["deadline"] <= self.ts)):
            self.doubt(int(slot))
        left = entries["deadline"][entries["deadline"] > 0]
        self.point["deadline"] = left.min() if len(left) else NEVER

    def doubt(self, slot: int) -> None:
        """Mark an order's unanswered requests as late, and ask about it."""
        tracked = self.table.tracked[slot]
        late = [0] if tracked["life"] == Life.PENDING and not tracked["reported"] else []
        late += [
            int(tracked["request"][i])
            for i in range(REQUESTS)
            if tracked["request_state"][i] & OUT and not tracked["request_state"][i] & (LATE | OVERDUE)
        ]
        for number in late:
            report = self.report(int(tracked["order"]), Kind.TIMEOUT, request=number)
            apply(tracked, self.table.executions, report[0])
            self.say(report[0], LOCAL)
        self.query(slot)

    def end(self, slot: int, reason: int) -> None:
        """End an order that never went out."""
        clear(self.table.entries[slot], WAITING)
        self.apply(slot, self.report(int(self.table.entries["order"][slot]), Kind.CANCELED, reason)[0], LOCAL)

    def _rival_tickets(self, slot: int) -> list[int]:
        return [int(self.table.entries["ticket"][rival]) for rival in self.table.rivals(slot)]

    def _cancel_rivals(self, slot: int) -> None:
        for other in self.table.rivals(slot):
            entry = self.table.entries[other]
            if is_finished(self.table.tracked[other]) or entry["flags"] & GONE:
                continue
            entry["flags"] |= YIELDED
            if entry["flags"] & WAITING:
                self.end(other, Reason.OCO)
            elif entry["flags"] & SENT:
                self.cancel(other, self.seq, self.own_k())

    def _lost_to_a_rival(self, slot: int) -> bool:
        """Say whether another of its one-cancels-other group traded, or ended by itself."""
        for other in self.table.rivals(slot):
            tracked, flags = self.table.tracked[other], self.table.entries["flags"][other]
            if tracked["cum_lots"] or (
                is_settled(tracked) and tracked["life"] != Life.REJECTED and not flags & YIELDED
            ):
                return True
        return False

    def _settle_children(self, slot: int) -> None:
        """Wake the children of an order that traded, none larger than it; end those of one that did not."""
        traded = int(self.table.tracked["cum_lots"][slot])
        asleep = [c for c in self.table.children(slot) if self.table.entries["flags"][c] & WAITING]
        for child in asleep:  # all of them first: a child that ends must not be seen to take its rivals along
            clear(self.table.entries[child], WAITING)
        for child in asleep:
            if traded:
                tracked = self.table.tracked[child]
                tracked["qty_lots"] = min(int(tracked["qty_lots"]), traded)
                self.release(child)
            else:
                self.end(child, Reason.PARENT)

    def _grow_children(self, slot: int) -> None:
        """Let children that went out smaller than asked for cover what their parent traded after its end."""
        traded = int(self.table.tracked["cum_lots"][slot])
        for child in self.table.children(slot):
            entry, tracked = self.table.entries[child], self.table.tracked[child]
            total = min(int(entry["asked_lots"]), traded)
            works = entry["flags"] & SENT and not entry["flags"] & GONE and not is_finished(tracked)
            if works and total > int(tracked["cum_lots"]) + open_lots(tracked):
                terms = zeros(1, INTENT)
                terms["seq"], terms["k"], terms["qty_lots"] = self.seq, self.own_k(), total
                self.replace(child, terms[0])

    def kill(self, accounts: list[int]) -> None:
        """Cancel everything of these accounts that works or sleeps; `kill_switch.outcome` says what came of it."""
        for slot in range(len(self.table)):
            entry, tracked = self.table.entries[slot], self.table.tracked[slot]
            if self.account(slot) not in accounts:
                continue
            if entry["flags"] & WAITING:
                self.end(slot, Reason.BY_USER)
            elif entry["flags"] & SENT:
                entry["flags"] |= DOOMED
                if may_trade(tracked):
                    entry["flags"] |= KILLED | GONE
                    self.cancel(slot, self.seq, self.own_k())
                elif tracked["life"] == Life.LOST:
                    entry["flags"] |= KILLED | GONE
                    self.query(slot)

    def reconcile(self, accounts: list[int]) -> None:
        """Ask about every order of these accounts that may still be alive."""
        for slot in range(len(self.table)):
            entry, tracked = self.table.entries[slot], self.table.tracked[slot]
            alive = tracked["life"] < ENDED and (not is_finished(tracked) or awaits(tracked))
            if not entry["flags"] & SENT or self.account(slot) not in accounts:
                continue
            if alive:
                self.doubt(slot)
            elif tracked["life"] == Life.LOST or entry["flags"] & RISEN:  # nobody found it: it may be there by now
                self.query(slot)

"""The order management: a pure state machine over rows.

`process` takes one EVENT, REPORT or INTENT row and returns what to ask the venue and what became of orders. No clock is
read and nothing is sent or written: `session` journals what comes in, sends what comes out, and `recovery` rebuilds the
same state from the same rows, to the byte.
"""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from quantai.core.errors import DataError, InputError
from quantai.core.instruments import Contract
from quantai.core.packing import pack, unpack
from quantai.core.positions import value
from quantai.core.reports import REPORT, REQUEST_ONLY, Outcome, Refusal
from quantai.core.rows import CHILD, EVENT, INTENT, Action, Kind, OrderType, Reason, Rows
from quantai.core.transitions import ENDED
from quantai.execution.client_ids import OWN_K
from quantai.execution.controls import ALL, OF_A_DESK, STATE, Control
from quantai.execution.fees import read_fee
from quantai.execution.flow import POINT, Flow
from quantai.execution.gate import NEVER, Gate, observe
from quantai.execution.limits import Limits
from quantai.execution.order_table import SENT, WAITING, OrderTable, is_settled
from quantai.execution.outgoing import DENIED, LOCAL, UNCLAIMED, Step
from quantai.execution.reasons import RiskReason
from quantai.execution.setup import Setup
from quantai.execution.sound import execution_at_nothing, unsound_intent, unsound_report
from quantai.execution.targets import target_lots
from quantai.portfolio.adjustments import Adjust, adjustment
from quantai.portfolio.contracts import is_inverse
from quantai.portfolio.desks import desk_of, desks_of
from quantai.portfolio.portfolio import Portfolio
from quantai.portfolio.state import DTYPES as PORTFOLIO_DTYPES
from quantai.portfolio.state import arrays as portfolio_arrays
from quantai.portfolio.state import load as load_portfolio

TITLE = "quantai order management 2"


class OMS:
    """Orders, risk and portfolio of all desks, driven by rows.

    >>> from quantai.core.instruments import Instrument, Instruments
    >>> from quantai.core.rows import BUY, SEC, zeros
    >>> from quantai.portfolio import Desk
    >>> spy = Instruments([Instrument.parse("SPY")])
    >>> oms = OMS(Setup(desks=(Desk("demo"),), instruments=spy, limits=Limits.example()))
    >>> oms.process(oms.portfolio.deposit(0, 10_000.0)[0]).requests
    []
    >>> bar = zeros(1, EVENT)
    >>> bar["seq"], bar["ts_recv"], bar["kind"], bar["px"] = 1, 1_700_232_000 * SEC, Kind.BAR, 100.0
    >>> _ = oms.process(bar[0])
    >>> intent = zeros(1, INTENT)
    >>> intent["seq"], intent["order"], intent["action"], intent["type"] = 1, 1, Action.NEW, OrderType.MARKET
    >>> intent["side"], intent["qty_lots"] = BUY, 5
    >>> oms.process(intent[0]).requests[0].client_id
    'demo-1-0'
    """

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.portfolio = Portfolio(setup.desks, setup.instruments, setup.currency, setup.margin)
        self.flow = Flow(setup, self.portfolio)
        self.gate, self.table, self.point = self.flow.gate, self.flow.table, self.flow.point

    @property
    def seq(self) -> int:
        """The number of the last row processed."""
        return int(self.point["seq"][0])

    @property
    def ts(self) -> int:
        """The latest instant seen, ns UTC."""
        return int(self.point["ts"][0])

    def process(self, row: Any, text: str = "") -> Step:
        """Apply one EVENT, REPORT or INTENT row; `text` is a CONTROL row's own, or what was paid for an execution.

        Rows come in the order of their numbers: of one number the EVENT row first, then REPORT rows, then the INTENT
        rows it caused. Raises InputError for rows that cannot be of this run; nothing has changed then.
        """
        self.flow.step = Step()
        if row.dtype == INTENT:
            self._ask(row)
        elif row.dtype == REPORT:
            self._hear(row, text)
        elif row.dtype == EVENT:
            self._see(row, text)
        else:
            raise InputError(f"the order management reads EVENT, REPORT and INTENT rows, not {row.dtype}")
        return self.flow.step

    def observe(self, rows: Rows) -> int:
        """Apply leading EVENT rows that ask for nothing, fast; returns how many. `process` takes the next one."""
        point = self.point[0]
        done = int(observe(rows, 0, int(point["deadline"]), self.portfolio.books, self.gate.watch, self.gate.accounts))
        if done:
            self._arrive(int(rows["seq"][done - 1]))
            point["ts"] = max(int(point["ts"]), int(rows["ts_recv"][:done].max()))
            self.portfolio.ts = int(point["ts"])
        return done

    def check_intents(self, rows: Rows) -> None:
        """Raise InputError for INTENT rows that cannot be journaled: not caused by the last row, or of no desk."""
        if (rows["seq"] != self.seq).any():
            raise InputError(f"intents answer the last row, {self.seq}, but name {sorted({*rows['seq'].tolist()})}")
        if (desks_of(rows["order"]) >= len(self.setup.desks)).any() or (rows["k"] >= OWN_K).any():
            raise InputError(f"there are {len(self.setup.desks)} desks and {OWN_K} intents a row: check order and k")
        if (n := unsound_intent(rows)) >= 0:
            row = rows[n]
            raise InputError(
                f"intent of order {row['order']} says what none can: action {row['action']}, type {row['type']}, tif"
                f" {row['tif']}, side {row['side']}, {row['qty_lots']} lots; orders are numbered from 1 within a desk"
            )

    def check_reports(self, rows: Rows) -> None:
        """Raise InputError for REPORT rows that no venue can mean: another kind, lots or a price that cannot be."""
        n, at = unsound_report(rows), execution_at_nothing(rows, 0)
        while n < 0 <= at:
            slot = self.table.slot(rows["order"][at])
            if slot is not None and not self._can_be(int(self.table.tracked["instrument"][slot]), rows["px_ticks"][at]):
                n = at
            at = execution_at_nothing(rows, at + 1)
        if n >= 0:
            row = rows[n]
            raise InputError(
                f"report about order {row['order']} says what no venue can: kind {row['kind']}, {row['qty_lots']} lots"
                f" at {row['px_ticks']} ticks"
            )

    def _can_be(self, i: int, px_ticks: int) -> bool:
        """Say whether an instrument can trade at a price of 0 or less: a future can, an option at 0."""
        if i >= len(self.setup.instruments):
            return True
        said = self.setup.instruments[i]
        if said.contract in (Contract.SPOT, Contract.EQUITY) or is_inverse(said):
            return False
        return px_ticks == 0 or said.contract is not Contract.OPTION

    def _arrive(self, seq: int) -> None:
        point = self.point[0]
        if seq != point["seq"]:
            point["seq"], point["intents"], point["reports"], point["own"] = seq, 0, 0, 0

    def _see(self, row: Any, text: str) -> None:
        limits = self.check_event(row, text)
        self._arrive(int(row["seq"]))
        point = self.point[0]
        point["ts"] = max(int(point["ts"]), int(row["ts_recv"]))
        self.portfolio.ts = int(point["ts"])
        if row["kind"] == Kind.CONTROL:
            self._control(row, limits)
        elif row["kind"] == Kind.ADJUST:
            self.portfolio.adjust(row)
            self.gate.hold()
        else:
            one = np.array([row], EVENT)
            observe(one, 0, NEVER, self.portfolio.books, self.gate.watch, self.gate.accounts)
        if point["ts"] >= point["deadline"]:
            self.flow.time_out()

    def _hear(self, report: Any, fee: str) -> None:
        self.check_reports(np.array([report], REPORT))
        self._arrive(int(report["seq"]))
        self.point["reports"] += 1
        slot = self.table.slot(report["order"])
        if slot is None:
            self.point["unclaimed"] += 1
            self.flow.say(report, UNCLAIMED)
            return
        outcome = self.flow.apply(slot, report)
        if fee and report["kind"] == Kind.FILL and not outcome & Outcome.DUPLICATE:
            self._pay(slot, report, fee, counts=bool(outcome & Outcome.BOOKED))

    def _pay(self, slot: int, report: Any, fee: str, *, counts: bool) -> None:
        """Book what was paid for an execution, in the same step as the execution."""
        paid = read_fee(fee, self.portfolio.currencies)
        i, desk = int(self.table.tracked["instrument"][slot]), desk_of(report["order"])
        if isinstance(paid, str) or i >= len(self.setup.instruments):
            return
        if not counts and int(report["seq"]) not in {fill[0] for fill in self.table.fills(desk, i)}:
            return  # busted before it arrived
        row = adjustment(
            Adjust.FEE,
            ts=int(report["ts"]),
            instrument=i,
            desk=desk,
            other=paid[1],
            px=self.gate.price(i, int(report["px_ticks"])),
            qty=paid[0],
        )
        row["seq"] = report["seq"]
        self.portfolio.pay(row[0])
        self.gate.hold()

    def _ask(self, intent: Any) -> None:
        self.check_intents(np.array([intent], INTENT))
        self.point["intents"] += 1
        order, action = int(intent["order"]), int(intent["action"])
        slot = self.table.slot(order)
        taken = self.table.find(desk_of(order), int(intent["seq"]), int(intent["k"])) is not None
        if action in (Action.NEW, Action.TARGET):
            if slot is not None or taken:
                self.flow.say(
                    self.flow.report(order, Kind.REJECT, RiskReason.DUPLICATE_CLIENT_ID, flags=REQUEST_ONLY)[0],
                    LOCAL | DENIED,
                )
            elif action == Action.TARGET:
                self._target(intent)
            else:
                self._new(intent)
        elif slot is None or taken:
            refused = Kind.REPLACE_REJECT if action == Action.REPLACE else Kind.CANCEL_REJECT
            code = Refusal.UNKNOWN_ORDER if slot is None else Refusal.DUPLICATE_ORDER
            self.flow.say(self.flow.report(order, refused, code)[0], LOCAL)
        elif action == Action.CANCEL:
            self.flow.cancel(slot, int(intent["seq"]), int(intent["k"]))
        else:
            self.flow.replace(slot, intent)

    def _target(self, intent: Any) -> None:
        """Make a market order of a target weight; what the order before it has left counts as held."""
        row = np.array([intent], INTENT)
        i, desk = int(intent["instrument"]), desk_of(intent["order"])
        lots = self.lots_to(desk, (i,), int(intent["qty_lots"]) / 1e9) if i < len(self.setup.instruments) else 0
        row["action"], row["type"], row["qty_lots"] = Action.NEW, OrderType.MARKET, abs(lots)
        row["side"] = 1 if lots >= 0 else -1
        if lots:
            self._new(row[0])
        else:  # already there: an order that ends at once
            slot = self.table.enter(row[0], self.ts)
            self.flow.apply(slot, self.flow.report(int(intent["order"]), Kind.CANCELED)[0], LOCAL)

    def lots_to(self, desk: int, listings: Sequence[int], weight: float) -> int:
        """Return the signed lots that bring what a desk holds in all listings of one thing to a weight of equity.

        What its market orders have left counts as held. Listings have one lot; the first one says what it is worth.
        """
        books, i = self.portfolio.books, listings[0]
        held = sum(float(books.positions["qty"][desk, n]) + self._in_flight(desk, n) for n in listings)
        instrument, market = books.instruments[i], books.market[i]
        rate = float(books.currencies["rate"][int(market["settle"])])
        standing = books.standings[int(books.account[desk])]
        unit = abs(self._unit_value(i, float(market["mark"]))) * rate
        lot = float(instrument["lot_num"]) / float(instrument["lot_den"])
        return target_lots(held, float(standing["equity"]), weight, unit, lot)

    def _unit_value(self, i: int, px: float) -> float:
        return float(value(self.portfolio.books.instruments[i], px)) if px == px and px != 0.0 else 0.0

    def _in_flight(self, desk: int, i: int) -> float:
        """Return the signed units that market orders of a desk have left."""
        n = len(self.table)
        t, e = self.table.tracked[:n], self.table.entries[:n]
        out = (e["flags"] & SENT != 0) & (t["life"] < ENDED) & (t["instrument"] == i) & (t["type"] == OrderType.MARKET)
        out &= desks_of(e["order"]) == desk
        left = np.maximum(t["qty_lots"][out] - t["cum_lots"][out], 0) * t["side"][out]
        return self.gate.units(i, int(left.sum()))

    def _new(self, intent: Any) -> None:
        slot = self.table.enter(intent, self.ts)
        tracked = self.table.tracked[slot]
        if not int(intent["flags"]) & CHILD:
            self.flow.release(slot)
            return
        parent = self.table.slot(self.table.parent_number(slot))
        orphan = parent is None or parent >= slot
        if parent is not None and not orphan:
            above = self.table.tracked[parent]
            orphan = above["instrument"] != tracked["instrument"] or (is_settled(above) and above["cum_lots"] == 0)
            if not orphan and not is_settled(above):
                self.table.entries["flags"][slot] |= WAITING
                return
            tracked["qty_lots"] = min(int(tracked["qty_lots"]), int(above["cum_lots"]))
        if orphan:
            self.flow.apply(slot, self.flow.report(int(intent["order"]), Kind.REJECT, Reason.PARENT)[0], LOCAL)
        else:
            self.flow.release(slot)

    def check_event(self, row: Any, text: str = "") -> Limits | None:
        """Return the limits that an EVENT row brings, if any; raises InputError for one that cannot be of this run."""
        if row["kind"] == Kind.ADJUST:
            self.portfolio.check(row)
        if row["kind"] != Kind.CONTROL:
            return None
        known = [c.value for c in Control]
        accounts, i = len(self.setup.accounts), int(row["instrument"])
        if int(row["aux"]) in OF_A_DESK:
            if not ALL <= int(row["px_ticks"]) < len(self.setup.desks):
                raise InputError(f"row {row['seq']} names desk {row['px_ticks']}: there are {len(self.setup.desks)}")
            return None
        if int(row["aux"]) not in known:
            raise InputError(f"row {row['seq']}: {row['aux']} is no control; see execution.Control")
        if not ALL <= int(row["px_ticks"]) < accounts or i >= len(self.setup.instruments):
            raise InputError(f"row {row['seq']} names an account or instrument that is not there ({accounts} accounts)")
        if row["aux"] != Control.LIMITS:
            return None
        limits = Limits.parse(text)
        self.setup.check_symbols("limit", limits.position)
        return limits

    def _control(self, row: Any, limits: Limits | None) -> None:
        what = Control(int(row["aux"]))
        if what in OF_A_DESK:
            return
        n = int(row["px_ticks"])
        accounts = list(range(len(self.setup.accounts))) if n == ALL else [n]
        for a in accounts:
            if what in STATE:
                self.gate.accounts["state"][a] = STATE[what]
                if what is Control.ACTIVE:
                    self.gate.forget_answers(a)
            elif what in (Control.RECONCILE, Control.RECONCILED):
                self.gate.accounts["reconciling"][a] = what is Control.RECONCILE
            elif what in (Control.OPEN, Control.CLOSED):
                self.gate.watch["open"][a, int(row["instrument"])] = what is Control.OPEN
        if what is Control.KILL:
            self.flow.kill(accounts)
        elif what is Control.RECONCILE:
            self.flow.reconcile(accounts)
        elif limits is not None:
            self.gate.load_limits(limits)

    def snapshot(self) -> bytes:
        """Return the whole state as bytes: equal after equal rows, whichever way they were fed."""
        limits = np.frombuffer(self.gate.limits.text().encode(), np.uint8)
        parts = {"point": self.point, "limits": limits, **self.table.arrays(), **self.gate.arrays()}
        return pack(TITLE, parts | portfolio_arrays(self.portfolio))

    @classmethod
    def restored(cls, body: bytes, setup: Setup) -> Self:
        """Rebuild the state of `snapshot`; raises DataError when it is none, or not of this setup."""
        dtypes = {"point": POINT, "limits": np.dtype("u1"), **OrderTable.DTYPES, **Gate.DTYPES}
        parts = unpack(TITLE, body, dtypes | PORTFOLIO_DTYPES)
        oms = cls(setup)
        try:
            oms.gate.load_limits(Limits.parse(parts["limits"].tobytes().decode()))
            oms.point[:] = parts["point"]
            oms.table.load(parts)
            load_portfolio(oms.portfolio, parts)
            oms.gate.load(parts)
        except ValueError as error:
            raise DataError(f"the state does not fit this setup ({error}): it has other desks or instruments") from None
        return oms

"""The paper venue: the simulator of a replay on live rows, as a venue like any other.

It has no market of its own: `see` gives it the rows the strategies get, and answers come when the time of those rows
has reached them. The same rows and the same requests make the same executions as in a replay.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from quantai.core.errors import InputError, VenueError
from quantai.core.instruments import Instruments
from quantai.core.reports import PRICED, REPORT, OrdStatus, Refusal
from quantai.core.rows import MAKER, SEC, Action, Kind, Reason, Rows, zeros
from quantai.venues.answers import AnswerQueue
from quantai.venues.funding import Funding
from quantai.venues.holdings import Holdings
from quantai.venues.rules import SimVenue
from quantai.venues.simulated import SimulatedExchange
from quantai.venues.venue import EXEC_ID, FEE, REASON, VENUE_ID, Answer, Ask, OpenOrder, Request
from quantai.venues.wire import REQUEST

ASKS = {Ask.NEW: Action.NEW, Ask.CANCEL: Action.CANCEL, Ask.REPLACE: Action.REPLACE}
ENDS = {Kind.REJECT: OrdStatus.REJECTED, Kind.CANCELED: OrdStatus.CANCELED, Kind.EXPIRED: OrdStatus.EXPIRED}

OVER = {OrdStatus.FILLED, *ENDS.values()}
KEPT = 20_000
"""Ended orders that can still be asked about."""


@dataclass(slots=True)
class PaperOrder:
    """What was told of one order so far."""

    asked: Request
    total: int
    px_ticks: int
    filled: int = 0
    status: OrdStatus = OrdStatus.PENDING_NEW
    is_over: bool = False
    requests: deque[tuple[Ask, int]] = field(default_factory=deque[tuple[Ask, int]])
    fills: list[Answer] = field(default_factory=list[Answer])


class Paper:
    """A venue that fills from the rows it is shown.

    `rules` are the assumptions (`SimVenue`), for all instruments or by their venue's name; `balances` what the account
    starts with. After `quiet_ns` without market rows a request is answered on the book as it stands: rows are not
    expected to be later than that. Orders are of one process: those of an earlier one are answered as canceled;
    what the account held is told by `take_over`.
    """

    def __init__(
        self,
        instruments: Instruments,
        rules: SimVenue | Mapping[str, SimVenue] | None = None,
        *,
        balances: Mapping[str, Decimal] | None = None,
        name: str = "PAPER",
        quiet_ns: int = SEC,
        max_orders: int = 4096,
    ) -> None:
        if not len(instruments):
            raise InputError("a paper venue needs the instruments of the run: pass the ones its rows are numbered by")
        self.name, self._instruments, self._quiet_ns = name, instruments, quiet_ns
        self._exchange = SimulatedExchange(instruments, rules or SimVenue(), max_orders)
        self._holdings, self._funding = Holdings(balances or {}), Funding(instruments, name)
        self._orders: dict[int, PaperOrder] = {}
        self._answers = AnswerQueue()
        self._executions = 0
        self._connected = False
        self._ended: deque[int] = deque()

    @property
    def choices(self) -> list[dict[str, str]]:
        """Every assumption by name, one dict an instrument, as a result prints it."""
        return [rules.choices for rules in self._exchange.rules]

    async def connect(self) -> None:
        """Be ready: there is nothing to reach."""
        self._connected = True

    def take_over(self, balances: Mapping[str, Decimal], contracts: Mapping[str, tuple[Decimal, Decimal]]) -> None:
        """Go on with what an account held when its run was interrupted: balances, and contracts as (units, cost)."""
        self._holdings.take_over(balances, contracts)

    def see(self, rows: Rows) -> None:
        """Take EVENT rows in order of receipt, before a strategy decides on them; TIMER rows let time pass, too."""
        self._tell(self._exchange.see(rows))
        self._tell(self._exchange.pass_time(self._exchange.now - self._quiet_ns))
        if paid := self._funding.see(rows, self._holdings):
            self._answers.put(Answer(funding=tuple(paid)))

    async def send(self, request: Request) -> None:
        """Send one request at the instant of the last row seen."""
        if not self._connected:
            raise VenueError(f"{self.name} is not connected: {request.ask.name} {request.client_id} was not sent")
        if request.ask is Ask.QUERY:
            self._say_status(request)
            return
        order = self._orders.get(request.order)
        if request.ask is Ask.NEW:
            if order is not None:
                raise VenueError(f"{self.name} has order {request.order_id} already: it was not sent again")
            order = self._orders[request.order] = PaperOrder(request, request.qty_lots, request.px_ticks)
        elif order is None:
            kind = Kind.CANCEL_REJECT if request.ask is Ask.CANCEL else Kind.REPLACE_REJECT
            self._put(self._report(request, kind, request=request.request, code=Refusal.UNKNOWN_ORDER))
            return
        order.requests.append((request.ask, request.request))
        if not self._exchange.post(_row(request)):
            raise VenueError(f"{self.name} has too many requests on their way: {request.client_id} was not sent")

    def answers(self) -> AnswerQueue:
        """Say what became of orders, as far as the rows seen have come."""
        return self._answers

    async def balances(self) -> dict[str, Decimal]:
        """Return the balances by currency."""
        return dict(self._holdings.balances)

    async def positions(self) -> dict[str, Decimal]:
        """Return the contracts held by symbol, signed."""
        return dict(self._holdings.positions)

    async def open_orders(self) -> list[OpenOrder]:
        """Return the orders that work, as far as the rows seen have come."""
        return [self._open(o) for o in self._orders.values() if o.status in (OrdStatus.NEW, OrdStatus.PARTIALLY_FILLED)]

    async def close(self) -> None:
        """End the answers; the orders end with this object."""
        self._connected = False
        self._answers.close()

    def _open(self, order: PaperOrder) -> OpenOrder:
        instrument, asked = self._instruments[order.asked.instrument], order.asked
        return OpenOrder(
            client_id=asked.client_id,
            venue_id=f"paper-{asked.order}",
            symbol=instrument.symbol,
            side=asked.side,
            px=instrument.tick * order.px_ticks if order.px_ticks else None,
            qty=instrument.lot * order.total,
            filled=instrument.lot * order.filled,
        )

    def _tell(self, reports: Rows) -> None:
        for said in reports:
            order = self._orders.get(int(said["order"]))
            if order is not None:
                self._translate(said, order)
                self._forget(order)

    def _forget(self, order: PaperOrder) -> None:
        """Drop the oldest of many orders that have ended."""
        if order.status in OVER and not order.is_over:
            order.is_over = True
            self._ended.append(order.asked.order)
            if len(self._ended) > KEPT:
                del self._orders[self._ended.popleft()]

    def _translate(self, said: Any, order: PaperOrder) -> None:
        """Turn a report of the simulator into one of a venue."""
        kind, ts = Kind(int(said["kind"])), int(said["ts_recv"])
        if kind is Kind.FILL:
            self._execute(said, order)
            return
        if kind is Kind.TRIGGERED:
            return  # it is still the same open order
        fields: dict[str, int] = {"ts": ts, "code": int(said["reason"])}
        texts: list[tuple[str, str]] = [(VENUE_ID, f"paper-{order.asked.order}")] if kind is Kind.ACK else []
        if kind is Kind.ACK:
            self._answered(order, Ask.NEW)
            order.status = OrdStatus.NEW
        elif kind is Kind.REPLACED:
            order.total, order.px_ticks = order.filled + int(said["open"]), int(said["px"])
            fields |= {"request": self._answered(order, Ask.REPLACE), "flags": PRICED}
            fields |= {"qty_lots": order.total, "px_ticks": order.px_ticks}
        elif kind in (Kind.CANCEL_REJECT, Kind.REPLACE_REJECT):
            ask = Ask.CANCEL if kind is Kind.CANCEL_REJECT else Ask.REPLACE
            fields |= {"request": self._answered(order, ask)}
            fields["code"] = Refusal.OTHER if said["reason"] else Refusal.TOO_LATE
        else:
            order.status = ENDS[kind]
            if kind is Kind.CANCELED and said["reason"] == Reason.BY_USER:
                fields["request"] = self._answered(order, Ask.CANCEL)
            if kind is Kind.REJECT:
                texts.append((REASON, Reason(int(said["reason"])).name))
        self._put(self._report(order.asked, kind, **fields), tuple(texts))

    def _execute(self, said: Any, order: PaperOrder) -> None:
        i = order.asked.instrument
        instrument, rules = self._instruments[i], self._exchange.rules[i]
        lots, ticks, maker = int(said["lots"]), int(said["px"]), bool(said["maker"])
        qty, px = instrument.lot * lots, instrument.tick * ticks
        rate = Decimal(str(rules.maker_bps if maker else rules.taker_bps)) / 10_000
        fee = instrument.notional(qty, px) * rate
        self._holdings.fill(instrument, order.asked.side, qty, px, fee)
        self._executions += 1
        order.filled += lots
        order.status = OrdStatus.FILLED if order.filled >= order.total else OrdStatus.PARTIALLY_FILLED
        fields = {"ts": int(said["ts_recv"]), "exec": self._executions, "px_ticks": ticks, "qty_lots": lots}
        report = self._report(order.asked, Kind.FILL, flags=MAKER if maker else 0, **fields)
        texts = ((EXEC_ID, str(self._executions)),) + (((FEE, f"{fee:f} {instrument.settle}"),) if fee else ())
        answer = Answer(reports=report, texts=texts)
        order.fills.append(answer)
        self._answers.put(answer)

    def _answered(self, order: PaperOrder, ask: Ask) -> int:
        """Take the oldest outstanding request of a kind and return its number; 0 when there is none."""
        for said in order.requests:
            if said[0] is ask:
                order.requests.remove(said)
                return said[1]
        return 0

    def _say_status(self, request: Request) -> None:
        order = self._orders.get(request.order)
        if order is None:
            texts = ((REASON, "the paper venue was started anew: its orders of before are gone"),)
            self._put(self._report(request, Kind.CANCELED), texts)
            return
        for fill in order.fills:
            self._answers.put(fill)
        fields = {"code": order.status, "ref": order.filled, "qty_lots": order.total}
        self._put(self._report(request, Kind.ORDER_STATUS, **fields))

    def _report(self, asked: Request, kind: Kind, **fields: int) -> Rows:
        row = zeros(1, REPORT)
        row["order"], row["kind"], row["ts"] = asked.order, kind, self._exchange.now
        for name, value in fields.items():
            row[name] = value
        return row

    def _put(self, report: Rows, texts: tuple[tuple[str, str], ...] = ()) -> None:
        self._answers.put(Answer(reports=report, texts=texts))


def _row(request: Request) -> Rows:
    row = np.zeros(1, REQUEST)
    row["order"], row["action"] = request.order, ASKS[request.ask]
    row["px"], row["lots"], row["trigger"] = request.px_ticks, request.qty_lots, request.trigger_ticks
    row["expire"], row["instrument"], row["side"] = request.expire_ts, request.instrument, request.side
    row["type"], row["tif"], row["flags"] = request.type, request.tif, request.flags
    return row

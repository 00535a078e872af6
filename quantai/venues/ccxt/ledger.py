"""Our orders at the exchange, and the answers that follow from what is said of them.

Facts arrive twice, late and in any order: from the stream, from the response to a request, from a query. Each is told
once. An end is told when all executions that belong before it are, and an execution only ever comes with its own id.
Without any I/O: facts in, answers out.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from quantai.core.errors import DataError
from quantai.core.instruments import Instrument
from quantai.core.reports import PRICED, REPORT, OrdStatus, Refusal, exec_number
from quantai.core.rows import MAKER, POST_ONLY, TIF, Kind, OrderType, Reason, Rows, zeros
from quantai.venues.ccxt.facts import OrderFact, TradeFact
from quantai.venues.ccxt.grid import is_on_grid, nearest_ticks, whole_lots
from quantai.venues.ccxt.order_ids import leg_id, order_of
from quantai.venues.venue import CLIENT_ID, EXEC_ID, FEE, RAW, REASON, VENUE_ID, Answer, Ask, Request

KEPT, KEPT_S = 20_000, 240.0
"""How many ended orders are remembered, and for how long, for late executions."""

ORPHANS = 1_000
"""Executions that wait for the order they belong to."""

_ENDS = {"canceled": Kind.CANCELED, "expired": Kind.EXPIRED, "rejected": Kind.REJECT}
_STATUS = {"closed": OrdStatus.FILLED, "canceled": OrdStatus.CANCELED, "expired": OrdStatus.EXPIRED,
           "rejected": OrdStatus.REJECTED}  # fmt: skip
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Leg:
    """One order of the exchange: the first, or one that took the place of another."""

    client_id: str
    lots: int
    px_ticks: int
    request: int = 0  # the REPLACE that made it
    venue_id: str = ""
    is_known: bool = False  # the exchange has said that it has it
    is_over: bool = False
    filled: int = 0
    said_filled: int = 0  # what the exchange counts
    would_take: bool = False  # which is why it has ended
    end: str = ""  # its last word, held until the executions before it are told
    executed: Decimal = Decimal(0)  # units of the executions told: a part of a lot waits for the rest of it
    trades: dict[str, list[Answer]] = field(default_factory=dict[str, list[Answer]])

    @property
    def done(self) -> int:
        """Lots executed: told, or as the exchange counts where not all are told yet."""
        return max(self.filled, self.said_filled)


@dataclass(slots=True)
class Order:
    """One order of ours; `number` is 0 while we only know its client id."""

    order_id: str
    symbol: str
    instrument: Instrument
    number: int
    asked: Request | None
    total: int
    px_ticks: int
    legs: list[Leg]
    pending: dict[int, Request] = field(default_factory=dict[int, Request])
    is_moving: bool = False  # a leg makes room for the next one: its end is not the end of the order
    is_over: bool = False
    changed: int = 0  # what the ledger's `changes` was when its terms changed last, or it ended

    @property
    def leg(self) -> Leg:
        """The leg that works, or worked last."""
        return self.legs[-1]

    @property
    def filled(self) -> int:
        """Lots executed, of all legs."""
        return sum(leg.filled for leg in self.legs)


class Ledger:
    """Every order of ours that the exchange may have, by its number, our ids and the exchange's."""

    def __init__(
        self,
        instruments: dict[str, Instrument],
        write: Callable[[str], str] = str,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._instruments = instruments  # by the exchange's symbol
        self._write = write  # how an id of ours looks at the exchange
        self._clock = clock  # ns UTC: when we heard it
        self.changes = 0  # of terms, and ends, of all orders
        self._written: dict[str, str] = {}
        self._by_order: dict[str, Order] = {}
        self._by_venue: dict[tuple[str, str], tuple[Order, Leg]] = {}
        self._ended: deque[tuple[float, Order]] = deque()
        self._orphans: deque[TradeFact] = deque(maxlen=ORPHANS)

    def follow(self, request: Request, symbol: str, instrument: Instrument) -> Order:
        """Return the order a request is about, entering it when it is not known."""
        order = self._by_order.get(request.order_id)
        if order is None:
            leg = Leg(request.order_id, request.qty_lots, request.px_ticks)
            order = Order(request.order_id, symbol, instrument, request.order, request, leg.lots, leg.px_ticks, [leg])
            self._by_order[request.order_id] = order
            self._written[self._write(leg.client_id)] = leg.client_id
        if order.number == 0:
            order.number, order.asked = request.order, request
        if request.ask in (Ask.CANCEL, Ask.REPLACE):
            order.pending[request.request] = request
        return order

    def add_leg(self, order: Order, request: Request, lots: int) -> Leg:
        """Start the leg that a REPLACE asks for, of `lots`; the one before it has ended."""
        leg = Leg(leg_id(order.order_id, len(order.legs)), lots, request.px_ticks, request.request)
        order.legs.append(leg)
        self._written[self._write(leg.client_id)] = leg.client_id
        return leg

    def next_leg(self, order: Order) -> Leg:
        """Return the leg that may be there from an earlier life: it is one of `order.legs` once it is found."""
        return Leg(leg_id(order.order_id, len(order.legs)), order.total, order.px_ticks, is_known=True)

    def rename(self, order: Order, leg: Leg, venue_id: str) -> None:
        """Take over another id of the exchange for a leg."""
        leg.venue_id = venue_id
        self._by_venue[order.symbol, venue_id] = order, leg

    def ours(self, written: str) -> str:
        """Return our order id of an id as the exchange has it; itself when it is not one that we know."""
        return order_of(self._written.get(written, written))[0]

    def find(self, symbol: str, venue_id: str, client_id: str) -> tuple[Order, Leg] | None:
        """Return the order and leg of an id of the exchange or of ours."""
        found = self._by_venue.get((symbol, venue_id))
        if found is not None or not client_id:
            return found
        order_id, n = order_of(self._written.get(client_id, client_id))
        order = self._by_order.get(order_id)
        if order is None or n >= len(order.legs):
            return None
        return order, order.legs[n]

    def placed(self, fact: OrderFact) -> OrderFact:
        """Return a fact with the symbol of its order: some exchanges say it in the first message only."""
        for symbol in self._instruments if not fact.symbol else ():
            found = self.find(symbol, fact.venue_id, fact.client_id)
            if found is not None:
                return replace(fact, symbol=found[0].symbol)
        return fact

    def hear_order(
        self, fact: OrderFact, change: Request | None = None, *, asked_at: int | None = None
    ) -> list[Answer]:
        """Take what is said of an order; in response to a `change` of it, or to a question how it is.

        Terms other than ours are believed when they are new, or asked for: a stream can be behind. So can an answer:
        `asked_at` is what `changes` was before the question, and terms that have changed since are not believed. An
        order that has ended and is said to work, by an answer that is no older, works again.
        """
        found = self.find(fact.symbol, fact.venue_id, fact.client_id) or self._adopt(fact)
        if found is None:
            return []
        order, leg = found
        answers: list[Answer] = []
        self._identify(order, leg, fact)
        is_new = bool(fact.status) and fact.status != "rejected" and not leg.is_known
        comes_back = is_new and (order.is_over or order.asked is None)
        if is_new:
            answers.append(self._accept(order, leg))
        if leg.is_known and not leg.is_over:
            is_answer = asked_at is not None and order.changed <= asked_at
            differing = self._compare(order, leg, fact, change, is_believed=is_new or is_answer)
            if comes_back and not differing:  # whoever takes it for ended is to ask
                differing = [self._say(order, Kind.RESTATED)]
            answers += differing
        elif asked_at is not None and order.changed <= asked_at and self._rises(order, leg, fact):
            answers.append(self._say(order, Kind.RESTATED))
        answers += self._adopt_orphans(order, leg)
        if fact.filled is not None:
            leg.said_filled = max(leg.said_filled, whole_lots(order.instrument, fact.filled))
        elif fact.status == "closed":
            leg.said_filled = max(leg.said_filled, leg.lots)
        if not leg.is_over and (fact.status in _ENDS or fact.status == "closed"):
            leg.end, leg.would_take = fact.status, fact.would_take
        return answers + self._settle(order, leg)

    def hear_trade(self, fact: TradeFact, *, again: bool = False) -> list[Answer]:
        """Take an execution; one that was told before is told only `again`."""
        found = self.find(fact.symbol, fact.venue_id, fact.client_id)
        if found is None:
            if all(fact.trade_id != o.trade_id or fact.symbol != o.symbol for o in self._orphans):
                self._orphans.append(fact)
            return []
        order, leg = found
        known = leg.trades.get(fact.trade_id)
        if known is not None:
            return list(known) if again else []
        told = leg.trades[fact.trade_id] = self._execution(order, leg, fact)
        return [*told, *self._settle(order, leg)]

    def refuse(self, order: Order, request: Request, code: int, why: str) -> list[Answer]:
        """Say that a request was refused."""
        texts = ((REASON, why),) if why else ()
        if request.ask is Ask.NEW:
            order.leg.is_over = True
            self._end(order)
            return [self._say(order, Kind.REJECT, texts, code=code)]
        order.pending.pop(request.request, None)
        kind = Kind.CANCEL_REJECT if request.ask is Ask.CANCEL else Kind.REPLACE_REJECT
        return [self._say(order, kind, texts, code=code, request=request.request)]

    def stay(self, order: Order) -> list[Answer]:
        """Let a leg be the last after all: its end, if it has ended, is that of the order."""
        order.is_moving = False
        order.leg.is_over = False
        return self._settle(order, order.leg)

    def give_up_move(self, order: Order, request: Request, why: str) -> list[Answer]:
        """Say that the place of a canceled leg could not be taken: the order has ended, unchanged."""
        order.is_moving = False
        answers = self.refuse(order, request, Refusal.OTHER, why)
        self._end(order)
        return [*answers, self._say(order, Kind.CANCELED, ((REASON, why),))]

    def replaced(self, order: Order, request: Request) -> list[Answer]:
        """Say that an order has the terms of a REPLACE now."""
        if order.pending.pop(request.request, None) is None:
            return []
        order.total, order.px_ticks = request.qty_lots, request.px_ticks
        self.changes += 1
        order.changed = self.changes
        if order.leg.request != request.request:
            order.leg.lots = request.qty_lots - sum(leg.filled for leg in order.legs[:-1])
            order.leg.px_ticks = request.px_ticks
        terms = {"qty_lots": order.total, "px_ticks": order.px_ticks, "flags": PRICED}
        return [self._say(order, Kind.REPLACED, self._venue_id(order.leg), request=request.request, **terms)]

    def status(self, order: Order, found: OrderFact | None) -> Answer:
        """Answer a QUERY with what was found of the leg that works last; None when it was not found.

        An end that was told meanwhile is newer than what was found. What was closed with a rest was canceled.
        """
        leg, code = order.leg, OrdStatus.NOT_FOUND
        if found is not None:
            executed = order.filled or found.filled
            word = leg.end if leg.is_over and leg.end else found.status
            word = "canceled" if word == "closed" and leg.done < leg.lots else word
            code = _STATUS.get(word, OrdStatus.PARTIALLY_FILLED if executed else OrdStatus.NEW)
        counted = sum(leg.done for leg in order.legs)
        terms = {"code": code, "ref": counted, "qty_lots": order.total}
        return self._say(order, Kind.ORDER_STATUS, self._venue_id(order.leg), **terms)

    def unfinished(self) -> list[Order]:
        """Return the orders that may still work."""
        return [order for order in self._by_order.values() if not order.is_over]

    def strangers(self) -> list[Answer]:
        """Return executions of orders that are not ours, which nothing will ever claim; each once."""
        answers: list[Answer] = []
        while self._orphans:
            fact = self._orphans.popleft()
            instrument = self._instruments.get(fact.symbol)
            if instrument is not None and (lots := _lots_of(instrument, fact, Decimal(0))):
                row = zeros(1, REPORT)
                row["kind"], row["ts"], row["exec"] = Kind.FILL, self._clock(), exec_number(fact.trade_id)
                row["qty_lots"], row["px_ticks"] = lots, nearest_ticks(instrument, fact.px)
                named = ((CLIENT_ID, fact.client_id),) if fact.client_id else ()
                answers.append(Answer(reports=row, texts=((VENUE_ID, fact.venue_id), *named, *_texts(fact))))
        return answers

    def _adopt(self, fact: OrderFact) -> tuple[Order, Leg] | None:
        """Enter an order of an earlier life, of which only the client id is known."""
        order_id, n = order_of(fact.client_id)
        instrument = self._instruments.get(fact.symbol)
        if instrument is None or order_id.count("-") != 2:
            return None
        order = self._by_order.get(order_id)
        must_say = fact.status == "open" and (order is None or order.is_over)  # whoever sent it may take it for ended
        if order is None:
            total = whole_lots(instrument, fact.qty) if fact.qty and not must_say else 0
            px_ticks = 0 if must_say else _limit_ticks(instrument, fact) or 0
            order = Order(order_id, fact.symbol, instrument, 0, None, total, px_ticks, [])
            self._by_order[order_id] = order
        while len(order.legs) <= n:
            is_known = not must_say or len(order.legs) < n
            order.legs.append(Leg(leg_id(order_id, len(order.legs)), order.total, order.px_ticks, is_known=is_known))
            order.is_over = order.is_over and must_say
        return order, order.legs[n]

    def _rises(self, order: Order, leg: Leg, fact: OrderFact) -> bool:
        """Take back the end of an order that works after all: whoever was told of it is to ask."""
        if fact.status != "open" or not leg.is_over or leg is not order.leg or leg.done >= leg.lots or order.is_moving:
            return False
        leg.end, leg.is_over, order.is_over = "", False, False
        return True

    def _identify(self, order: Order, leg: Leg, fact: OrderFact) -> None:
        if not leg.venue_id:
            leg.venue_id = fact.venue_id
        self._by_venue[fact.symbol, fact.venue_id] = order, leg

    def _accept(self, order: Order, leg: Leg) -> Answer:
        leg.is_known, leg.is_over, order.is_over = True, False, False  # what was refused may be there all the same
        request = order.pending.get(leg.request)
        if leg.request and request is not None:
            order.is_moving = False
            return self.replaced(order, request)[0]
        return self._say(order, Kind.ACK, self._venue_id(leg))

    def _compare(
        self, order: Order, leg: Leg, fact: OrderFact, change: Request | None, *, is_believed: bool
    ) -> list[Answer]:
        """Notice other terms than we asked for: those of a change that is under way, or the exchange's own."""
        if change is not None:
            return self.replaced(order, change)
        lots = whole_lots(order.instrument, fact.qty) if fact.qty else leg.lots
        limited = order.asked is None or order.asked.type in (OrderType.LIMIT, OrderType.STOP_LIMIT)
        px_ticks = (_limit_ticks(order.instrument, fact) if limited else None) or leg.px_ticks
        is_last, before = leg is order.leg, order.legs[:-1]
        earlier = sum(other.done for other in before)
        is_same = lots == leg.lots and px_ticks == leg.px_ticks
        for request in [r for r in order.pending.values() if r.ask is Ask.REPLACE and is_last and not is_same]:
            if lots == request.qty_lots - earlier and px_ticks == request.px_ticks:
                return self.replaced(order, request)
        if not is_believed:
            return []
        leg.lots, leg.px_ticks = lots, px_ticks
        if not is_last or not all(other.venue_id for other in before):
            return []  # an order has the terms of its last leg, and what all before it have executed
        if (earlier + lots, px_ticks) == (order.total, order.px_ticks):
            return []
        order.total, order.px_ticks = earlier + lots, px_ticks
        flags = PRICED if limited and px_ticks else 0
        return [self._say(order, Kind.RESTATED, qty_lots=order.total, px_ticks=px_ticks, flags=flags)]

    def _adopt_orphans(self, order: Order, leg: Leg) -> list[Answer]:
        if not self._orphans:
            return []
        mine = [f for f in self._orphans if f.venue_id == leg.venue_id and f.symbol == order.symbol]
        answers: list[Answer] = []
        for fact in mine:
            self._orphans.remove(fact)
            answers += self.hear_trade(fact)
        return answers

    def _execution(self, order: Order, leg: Leg, fact: TradeFact) -> list[Answer]:
        """Book an execution; nothing is said of one that completes no lot: it is part of the one that does."""
        if fact.qty <= 0:
            raise DataError(f"{order.order_id}: execution {fact.trade_id} of {fact.qty} is less than nothing")
        lots = _lots_of(order.instrument, fact, leg.executed)
        leg.executed += fact.qty
        leg.filled += lots
        leg.said_filled = max(leg.said_filled, leg.filled)
        if not lots:
            return []
        fields = {"exec": exec_number(fact.trade_id), "qty_lots": lots}
        fields |= {"px_ticks": nearest_ticks(order.instrument, fact.px), "flags": MAKER if fact.is_maker else 0}
        return [self._say(order, Kind.FILL, _texts(fact), **fields)]

    def _settle(self, order: Order, leg: Leg) -> list[Answer]:
        """Tell the end of a leg once every execution before it is told."""
        if leg.is_over or not leg.end or leg.filled < leg.said_filled:
            return []
        leg.is_over = True
        if order.is_moving or leg is not order.leg:
            return []
        self._end(order)
        if leg.end == "closed" and leg.filled >= leg.lots:
            return []
        kind = _ENDS.get(leg.end, Kind.CANCELED)  # some call closed what ended with a rest
        cancel = next((n for n, r in order.pending.items() if r.ask is Ask.CANCEL), 0)
        order.pending.pop(cancel, None)
        code = Reason.BY_USER if cancel else _reason(order)
        number = cancel if kind is Kind.CANCELED else 0
        return [self._say(order, kind, code=code, request=number)]

    def _end(self, order: Order) -> None:
        if order.is_over:
            return
        order.is_over = True
        self.changes += 1
        order.changed = self.changes
        now = time.monotonic()
        self._ended.append((now, order))
        while len(self._ended) > KEPT or now - self._ended[0][0] > KEPT_S:
            _, old = self._ended.popleft()
            if not old.is_over:
                continue
            self._by_order.pop(old.order_id, None)
            for leg in old.legs:
                self._by_venue.pop((old.symbol, leg.venue_id), None)
                self._written.pop(self._write(leg.client_id), None)

    def _venue_id(self, leg: Leg) -> tuple[tuple[str, str], ...]:
        return ((VENUE_ID, leg.venue_id),) if leg.venue_id else ()

    def _say(self, order: Order, kind: Kind, texts: tuple[tuple[str, str], ...] = (), **fields: int) -> Answer:
        row: Rows = zeros(1, REPORT)
        row["order"], row["kind"], row["ts"] = order.number, kind, self._clock()
        for name, value in fields.items():
            row[name] = value
        if order.number == 0:
            texts = ((CLIENT_ID, order.order_id), *texts)
        return Answer(reports=row, texts=texts)


def _lots_of(instrument: Instrument, fact: TradeFact, before: Decimal) -> int:
    """Return the lots that an execution completes, `before` (units) being executed already."""
    if not is_on_grid(instrument, fact.qty, fact.px):
        grid = f"lots of {instrument.lot:f} and ticks of {instrument.tick:f}"
        _log.error(
            "%s: execution %s of %s at %s is not on our grid of %s: booked at the nearest tick, in whole lots",
            instrument.symbol, fact.trade_id, fact.qty, fact.px, grid,
        )  # fmt: skip
    return whole_lots(instrument, before + fact.qty) - whole_lots(instrument, before)


def _texts(fact: TradeFact) -> tuple[tuple[str, str], ...]:
    fee: tuple[tuple[str, str], ...] = ()
    if fact.fee is not None:
        fee = ((FEE, f"{fact.fee:f} {fact.fee_currency}"),)
    return ((EXEC_ID, fact.trade_id), *fee, (RAW, json.dumps(fact.raw, separators=(",", ":"), default=str)))


def _limit_ticks(instrument: Instrument, fact: OrderFact) -> int | None:
    """Return the limit of an order; ccxt gives the mean price of its executions for one that has no limit."""
    return instrument.ticks(fact.px) if fact.px and not fact.px % instrument.tick else None


def _reason(order: Order) -> int:
    """Return why an order ended that nobody canceled, as far as its own terms say."""
    if order.asked is None:
        return Reason.NONE
    if order.asked.flags & POST_ONLY and (order.leg.would_take or (order.leg.end != "canceled" and order.filled == 0)):
        return Reason.POST_ONLY
    return {TIF.IOC: Reason.IOC, TIF.FOK: Reason.FOK, TIF.GTD: Reason.GTD}.get(TIF(order.asked.tif), Reason.NONE)

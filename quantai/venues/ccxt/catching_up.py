"""Catching up: what a stream did not tell is asked for, after every interruption and now and then without one."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from quantai.ops.clock import passed_ns
from quantai.venues.ccxt.facts import order_fact
from quantai.venues.ccxt.ledger import Ledger, Leg, Order
from quantai.venues.ccxt.questions import Questions
from quantai.venues.venue import Answer

OVERLAP_MS = 60_000
"""How far before the last comparison executions are asked for: clocks differ, and exchanges list late."""

DEAF_S = 5.0
"""A stream that has not mentioned for so long what was confirmed otherwise is dead, or has lost a message."""

ALIVE_S = 4.0
"""One that has told something within so long is not dead: what it has not mentioned is asked for."""

MOST_LOST, LOST_WITHIN_S = 3, 60.0
"""So many lost messages within so long, and a stream is taken for dead all the same: it may tell only half."""

GRACE_S = 1.0
"""Executions that an exchange has counted and not told are asked for after this; at once if it streams none."""

RETRY_S = 2.0

MENTIONED = 1_000
"""Orders that the stream has mentioned and that are remembered: the answer to a request can come behind it."""


@dataclass(slots=True)
class CatchingUp:
    """Compares the ledger with the exchange, and notices a stream that is open and tells nothing."""

    questions: Questions
    ledger: Ledger
    symbols: list[str]
    say: Callable[[list[Answer]], None]
    bounce: Callable[[str], None]
    grace_s: float = GRACE_S
    is_due: bool = False
    clock: Callable[[], float] = time.monotonic
    _heard_at: float = float("-inf")
    _asked_from: float = float("-inf")
    _lost: deque[float] = field(default_factory=lambda: deque[float](maxlen=MOST_LOST))
    _since_ms: int = 0
    _ahead_ms: int = 0
    _next: float = 0.0
    _not_before: float = 0.0
    _expected: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    _mentioned: dict[tuple[str, str], None] = field(default_factory=dict[tuple[str, str], None])
    _short: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])

    def begin(self, now_ms: int) -> None:
        """Start from now, by the exchange's clock: of what was before, each order is asked about on its own."""
        self._ahead_ms, self._since_ms = now_ms - passed_ns() // 1_000_000, now_ms

    def expect(self, order: Order, sent: float) -> None:
        """Note that the exchange has confirmed an order: the stream has to mention it, or has already.

        What was `sent` (by `clock`) before everything was last asked for may have happened while there was no stream.
        """
        key = (order.symbol, order.leg.venue_id)
        if key[1] and key not in self._mentioned and sent >= self._asked_from:
            self._expected.setdefault(key, self.clock() + DEAF_S)

    def heard(self, symbol: str, venue_id: str) -> None:
        """Note that the stream has mentioned an order."""
        self._heard_at = self.clock()
        self._expected.pop((symbol, venue_id), None)
        self._mentioned[symbol, venue_id] = None
        if len(self._mentioned) > MENTIONED:
            self._mentioned.pop(next(iter(self._mentioned)))

    def postpone(self) -> None:
        """Try again a little later."""
        self._not_before = self.clock() + RETRY_S

    def listen(self) -> None:
        """Have a stream that is deaf opened again; this never waits, while asking may wait for the rate limit."""
        now = self.clock()
        late = next((key for key, deadline in self._expected.items() if deadline < now), None)
        if late is None:
            return
        self._expected.clear()
        self._lost.append(now)
        is_often = len(self._lost) == MOST_LOST and now - self._lost[0] < LOST_WITHIN_S
        if now - self._heard_at < ALIVE_S and not is_often:
            self.is_due = True
            return
        self._lost.clear()
        self.bounce(f"the stream never mentioned order {late[1]}")

    async def tend(self, every_s: float, *, is_up: bool) -> None:
        """Do what is due; raises ccxt's errors."""
        now = self.clock()
        if now < self._not_before or not is_up:
            return
        await self._complete(now)
        if self.is_due or (every_s and now >= self._next):
            self.is_due = False
            self._next = now + every_s
            await self.run()

    async def run(self) -> None:
        """Ask for every execution since the last time, for the orders that work, and for those that no longer do."""
        started_ms = self._ahead_ms + passed_ns() // 1_000_000
        self._asked_from = self.clock()
        self._expected.clear()
        for symbol in self.symbols:
            open_ids = {str(said["id"]) for said in await self._hear_open(symbol)}
            for _, trade in await self.questions.trades_since(symbol, self._since_ms - OVERLAP_MS):
                self.say(self.ledger.hear_trade(trade))
            for order in self.ledger.unfinished():
                if order.symbol == symbol and order.leg.venue_id and order.leg.venue_id not in open_ids:
                    await self._hear_one(order, order.leg)
        self.say(self.ledger.strangers())
        self._since_ms = started_ms

    async def _hear_open(self, symbol: str) -> list[dict[str, object]]:
        at = self.ledger.changes
        said = [dict(order) for order in await self.questions.open_orders(symbol)]
        for order in said:
            self.say(self.ledger.hear_order(order_fact(order, self.questions.ids), asked_at=at))
        return said

    async def _hear_one(self, order: Order, leg: Leg) -> None:
        at = self.ledger.changes
        fact = await self.questions.order(order, leg)
        if fact is not None:
            self.say(self.ledger.hear_order(fact, asked_at=at))
        if leg.filled < leg.said_filled:
            for trade in await self.questions.trades(order, leg):
                self.say(self.ledger.hear_trade(trade))

    async def _complete(self, now: float) -> None:
        """Ask for executions that the exchange has counted in an order and not told."""
        short = {
            (order.symbol, leg.venue_id): (order, leg)
            for order in self.ledger.unfinished()
            for leg in order.legs
            if leg.filled < leg.said_filled and leg.venue_id
        }
        self._short = {key: self._short.get(key, now + self.grace_s) for key in short}
        for key, deadline in list(self._short.items()):
            if deadline <= now:
                self._short[key] = now + GRACE_S
                order, leg = short[key]
                for trade in await self.questions.trades(order, leg):
                    self.say(self.ledger.hear_trade(trade))

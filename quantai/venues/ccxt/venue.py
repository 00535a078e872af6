"""A real exchange as a venue: orders out through ccxt, answers from its own stream, doubts settled by asking.

The only things that wait for each other are requests about one order. Everything heard, from whichever side, goes
through one ledger, which tells each thing once.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import ccxt

from quantai.core.errors import DataError, InputError, UnknownName, VenueError
from quantai.core.instruments import Contract, Instrument, Instruments
from quantai.core.rows import Status
from quantai.data.history.names import resolve
from quantai.venues.answers import AnswerQueue
from quantai.venues.ccxt.calls import text
from quantai.venues.ccxt.catching_up import CatchingUp
from quantai.venues.ccxt.client import exchange
from quantai.venues.ccxt.dead_man import DeadMan
from quantai.venues.ccxt.desk import Desk
from quantai.venues.ccxt.facts import decimal, order_fact, totals, trade_fact
from quantai.venues.ccxt.funding import FundingWatch
from quantai.venues.ccxt.keys import Keys
from quantai.venues.ccxt.ledger import Ledger, Order
from quantai.venues.ccxt.limiter import Priority, RateLimiter
from quantai.venues.ccxt.profiles import Profile, profile
from quantai.venues.ccxt.questions import Questions
from quantai.venues.ccxt.stream import UserStream
from quantai.venues.ccxt.verdicts import Verdict, verdict, words
from quantai.venues.venue import Answer, Ask, OpenOrder, Request

PAUSE_S = 10.0
"""How long nothing is asked after the exchange said that it was too much, unless it says for how long."""

ORDER_WAIT_S = 0.5
"""How long an order waits for its share of the rate limit before it is refused: later it is not what was meant."""

TURN_S = 2.0
"""How long a request waits for the response to the one before it about the same order."""

_log = logging.getLogger(__name__)


class CcxtVenue:
    """One account at one exchange.

    `instruments` are those of the run: the ones of this venue (by their `venue`, or all without one) are traded here.
    `keys` default to those of the environment or keyring. `sandbox` goes to the exchange's test market, `endpoint` to
    an address of ours. With `dead_man_s` the exchange cancels everything when it has not heard from us for as long,
    where it can. `poll_s` is how often open orders and executions are compared with what the stream told. `clock` (ns
    UTC) stamps what is heard.
    """

    def __init__(
        self,
        name: str | Profile,
        instruments: Instruments,
        keys: Keys | None = None,
        *,
        sandbox: bool = False,
        endpoint: str | None = None,
        timeout_s: float = 10.0,
        dead_man_s: float = 0.0,
        poll_s: float = 30.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.profile = name if isinstance(name, Profile) else profile(name)
        self.name = self.profile.name
        self._instruments = instruments
        self._mine = {n: i for n, i in enumerate(instruments) if i.venue in ("", self.name)}
        if not self._mine:
            raise InputError(f"no instrument of this run is traded at {self.name}: {[i.symbol for i in instruments]}")
        self._keys = keys or Keys.find(self.name, password=self.profile.password)
        self._sandbox, self._endpoint = sandbox, endpoint
        self._timeout_s, self._dead_man_s, self._poll_s = timeout_s, dead_man_s, poll_s
        self._clock = clock
        self._answers = AnswerQueue()
        self._symbols: dict[int, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns: dict[str, asyncio.Task[None]] = {}
        self._asking: set[str] = set()
        self.unreadable: deque[str] = deque(maxlen=100)
        self.unread = 0
        self._is_connected = False
        self._dead_man: DeadMan | None = None

    async def connect(self) -> None:
        """Learn the markets, check keys and clock, and follow our orders from now on; raises VenueError."""
        self._limiter = RateLimiter(self.profile.budget, self.profile.window_s)
        self._api = exchange(
            self.profile, self._keys, self, sandbox=self._sandbox, endpoint=self._endpoint, timeout_s=self._timeout_s
        )
        try:
            await self._learn()
            await self._stream.open(self._timeout_s + 10.0)
        except BaseException:
            await self._let_go()
            raise
        self._is_connected = True
        self._catching_up.begin(self._api.milliseconds() - int(self._api.options.get("timeDifference") or 0))
        self._spawn(self._watch_over())
        self._spawn(self._listen())
        self._spawn(self._follow_funding())
        if self._dead_man is not None:
            self._spawn(self._dead_man.stay())
        elif self._dead_man_s:
            _log.info("%s has no dead-man switch: orders stay there when it hears no more of us", self.name)

    async def _learn(self) -> None:
        markets = await self._ask("markets", Priority.QUERY, self._api.load_markets)
        for number, instrument in self._mine.items():
            try:
                self._symbols[number] = resolve(instrument.symbol, self.name, markets, markets)
            except UnknownName as error:
                raise VenueError(str(error)) from None
            market = markets[self._symbols[number]]
            if market.get("active") is False:
                _log.warning("%s: %s does not trade there now", self.name, instrument.symbol)
            _check_grid(instrument, market, self.name)
        await self._ask("balance", Priority.QUERY, self._api.fetch_balance)
        by_symbol = {self._symbols[n]: i for n, i in self._mine.items()}
        self._by_symbol = by_symbol
        self._ledger = Ledger(by_symbol, self.profile.ids.write, self._clock)
        self._funding = FundingWatch(self._api, by_symbol, self._call, self.name, self._keys.redact)
        self._questions = Questions(self._api, self.profile, self._call)
        self._for_people = Questions(self._api, self.profile, self._ask)
        self._desk = Desk(
            self._api, self.profile, self._ledger, call=self._call, say=self._say, redact=self._keys.redact
        )
        self._stream = UserStream(self._api, self.profile, lost=self._lost, found=self._found, redact=self._keys.redact)
        self._catching_up = CatchingUp(self._questions, self._ledger, list(by_symbol), self._say, self._stream.bounce)
        if not self.profile.streams_fills:
            self._catching_up.grace_s = 0.0
        self._desk.confirmed = self._catching_up.expect
        if self._dead_man_s and self.profile.dead_man:
            self._dead_man = DeadMan(
                self._api, self.profile, list(by_symbol), self._dead_man_s, call=self._call, redact=self._keys.redact
            )

    async def send(self, request: Request) -> None:
        """Put one request on its way and return; raises VenueError only when nothing can go out."""
        if not self._is_connected:
            raise VenueError(f"{self.name} is not connected: {request.client_id} was not sent")
        instrument = self._mine.get(request.instrument)
        if instrument is None:
            raise VenueError(f"{self.name} does not trade instrument {request.instrument}: {request.client_id}")
        order = self._ledger.follow(request, self._symbols[request.instrument], instrument)
        before = self._turns.get(request.order_id)
        turn = self._spawn(self._serve(request, order, before))
        if not turn.done() and request.ask is not Ask.QUERY:
            self._turns[request.order_id] = turn
            turn.add_done_callback(lambda task: self._end_turn(request.order_id, task))

    def answers(self) -> AnswerQueue:
        """Say what the exchange says until `close`."""
        return self._answers

    async def balances(self) -> dict[str, Decimal]:
        """Return the cash by currency, without the zeros and without unrealised profit."""
        said = await self._ask("balance", Priority.QUERY, self._api.fetch_balance)
        await self._look_for_funding()  # which explains what has moved without an execution
        with self._reading():
            return totals(said, self.profile.wallet)

    async def positions(self) -> dict[str, Decimal]:
        """Return the contracts held by our symbol, signed."""
        contracts = [s for s, i in self._by_symbol.items() if i.contract not in (Contract.SPOT, Contract.EQUITY)]
        if not contracts:
            return {}
        held: dict[str, Decimal] = {}
        found = await self._ask("balance", Priority.QUERY, lambda: self._api.fetch_positions(contracts))
        with self._reading():
            for said in found:
                instrument, qty = self._by_symbol.get(said["symbol"]), decimal(said.get("contracts"))
                if instrument is not None and qty:
                    held[instrument.symbol] = -abs(qty) if said.get("side") == "short" else abs(qty)
        return held

    async def open_orders(self) -> list[OpenOrder]:
        """Return every order of the account that works in the markets of the run.

        What is said of ours is taken as well: one that was told to have ended is said to be there.
        """
        found: list[OpenOrder] = []
        for symbol, instrument in self._by_symbol.items():
            at = self._ledger.changes
            with self._reading():
                said = await self._for_people.open_orders(symbol, Priority.QUERY)
                facts = [order_fact(one, self.profile.ids) for one in said]
            for fact in facts:
                self._say(self._ledger.hear_order(fact, asked_at=at))
                found.append(
                    OpenOrder(
                        client_id=self._ledger.ours(fact.client_id),
                        venue_id=fact.venue_id,
                        symbol=instrument.symbol,
                        side=fact.side,
                        px=fact.px or None,
                        qty=fact.qty or Decimal(0),
                        filled=fact.filled or Decimal(0),
                    )
                )
        return found

    async def cancel_all(self) -> None:
        """Cancel every order of the account in the markets of the run, whoever placed it; raises VenueError."""
        for symbol in self._by_symbol:
            if self._api.has["cancelAllOrders"]:
                try:
                    await self._ask("cancel", Priority.CANCEL, lambda s=symbol: self._api.cancel_all_orders(s))
                except VenueError as error:
                    if not isinstance(error.__cause__, ccxt.OrderNotFound):  # there was none
                        raise
                continue
            for said in await self._for_people.open_orders(symbol, Priority.ORDER):
                await self._ask("cancel", Priority.CANCEL, lambda o=said["id"], s=symbol: self._api.cancel_order(o, s))

    async def close(self) -> None:
        """Let go of the exchange: orders stay, requests under way are heard out for a moment.

        A dead-man switch stays armed while an order of ours may work, and cancels it: nobody looks after it any more.
        """
        if not self._is_connected:
            self._answers.close()
            return
        turns = [task for task in self._turns.values() if not task.done()]
        if turns:
            await asyncio.wait(turns, timeout=self._timeout_s)
        if self._dead_man is not None and not self._ledger.unfinished():
            await self._dead_man.arm(0)
        await self._let_go()
        self._answers.close()

    async def _let_go(self) -> None:
        self._is_connected = False
        if hasattr(self, "_stream"):
            await self._stream.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._api.close()

    @property
    def is_up(self) -> bool:
        """Say whether all that happens at the exchange is heard."""
        return hasattr(self, "_stream") and self._stream.is_up

    @property
    def losses(self) -> int:
        """How often the stream was lost."""
        return self._stream.losses if hasattr(self, "_stream") else 0

    @property
    def unarmed(self) -> str:
        """Say in a line that the dead-man switch, which was asked for and is there, is not armed; "" while it is."""
        return self._dead_man.trouble if self._dead_man is not None and self._is_connected else ""

    # what the exchange object tells, from inside

    def on_order(self, said: dict[str, Any]) -> None:
        """Take an order from the stream."""
        if hasattr(self, "_ledger"):
            fact = self._ledger.placed(order_fact(said, self.profile.ids))
            self._say(self._ledger.hear_order(fact))
            self._catching_up.heard(fact.symbol, fact.venue_id)

    def on_trade(self, said: dict[str, Any]) -> None:
        """Take an execution from the stream."""
        if hasattr(self, "_ledger"):
            fact = trade_fact(said, self.profile.ids)
            self._say(self._ledger.hear_trade(fact))
            self._catching_up.heard(fact.symbol, fact.venue_id)

    def on_unreadable(self, message: object, error: Exception) -> None:
        """Put a message aside that nobody can read; what it said is asked for."""
        self.unread += 1
        words = self._keys.redact(f"{type(error).__name__}: {error}")
        self.unreadable.append(self._keys.redact(f"{words}: {str(message)[:2000]}"))
        _log.warning("%s: a message cannot be read: %s", self.name, words)
        if hasattr(self, "_catching_up"):
            self._catching_up.is_due = True

    def on_opened(self, url: str) -> None:
        """Take note of a socket."""
        if hasattr(self, "_stream"):
            self._stream.opened(url)

    def on_lost(self, url: str, why: str) -> None:
        """Take note of a lost socket."""
        if hasattr(self, "_stream"):
            self._stream.closed(url, self._keys.redact(why))

    # inside

    def _say(self, answers: list[Answer]) -> None:
        self._answers.put(*answers)

    def _lost(self, why: str) -> None:
        _log.warning("%s: the stream of orders is lost: %s", self.name, self._keys.redact(why))
        self._answers.put(Answer(link=Status.DISCONNECTED))

    async def _found(self) -> None:
        await self._catching_up.run()
        self._answers.put(Answer(link=Status.CONNECTED))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task at once: what it sends is on the wire when this returns, as far as nothing has to wait."""
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, request: Request, order: Order, before: asyncio.Task[None] | None) -> None:
        if request.ask is Ask.QUERY:
            if request.order_id in self._asking:  # one that waits for its turn answers this one, too
                return
            self._asking.add(request.order_id)
            try:
                await self._desk.serve(request, order)
            finally:
                self._asking.discard(request.order_id)
            return
        if before is not None and not before.done():
            await asyncio.wait([before], timeout=TURN_S)
        await self._desk.serve(request, order)

    def _end_turn(self, order_id: str, task: asyncio.Task[None]) -> None:
        if self._turns.get(order_id) is task:
            del self._turns[order_id]

    async def _call(self, weight: str, priority: Priority, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call within the rate limit; errors are ccxt's."""
        cost = self.profile.weight(weight)
        if not self._limiter.take(cost, priority):
            try:
                async with asyncio.timeout(ORDER_WAIT_S if priority is Priority.ORDER else None):
                    await self._limiter.wait(cost, priority)
            except TimeoutError:
                limit = f"{self.profile.budget:g} in {self.profile.window_s:g} s"
                raise InputError(f"not sent: more requests than the rate limit has room for ({limit})") from None
        try:
            return await call()
        except Exception as error:
            found = verdict(error)
            if found is Verdict.TOO_MANY:
                self._limiter.pause(_pause_s(self._api))
            elif found is Verdict.STALE_CLOCK and self._api.has.get("fetchTime"):
                self._spawn(self._set_clock())
            raise

    async def _ask(self, weight: str, priority: Priority, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call for a person: errors are one line, without keys."""
        try:
            return await self._call(weight, priority, call)
        except Exception as error:
            raise VenueError(f"{self.name}: {self._keys.redact(words(error))}") from error

    @contextmanager
    def _reading(self) -> Generator[None]:
        """Take an answer that cannot be read for none: it is asked for again, and ends nothing."""
        try:
            yield
        except (DataError, LookupError, TypeError) as error:
            said = self._keys.redact(f"{type(error).__name__}: {error}")
            raise VenueError(f"{self.name} gives an answer that cannot be read: {said}") from error

    async def _set_clock(self) -> None:
        try:
            await self._api.load_time_difference()
        except ccxt.BaseError as error:
            _log.warning("%s: the clock cannot be compared: %s", self.name, self._keys.redact(str(error)))

    async def _listen(self) -> None:
        """Notice, before anybody asks, that the stream has fallen silent."""
        while True:
            await asyncio.sleep(0.25)
            if self._stream.is_up:
                self._catching_up.listen()

    async def _watch_over(self) -> None:
        """Ask, now and then, what the stream should have told."""
        while True:
            await asyncio.sleep(0.25)
            try:
                await self._catching_up.tend(self._poll_s, is_up=self._stream.is_up)
            except Exception as error:  # noqa: BLE001 -- said, and tried again
                _log.warning("%s: not compared with the exchange: %s", self.name, self._keys.redact(words(error)))
                self._catching_up.postpone()

    async def _look_for_funding(self) -> None:
        if paid := await self._funding.look():
            self._answers.put(Answer(funding=paid))

    async def _follow_funding(self) -> None:
        while True:
            await self._look_for_funding()
            await asyncio.sleep(self._poll_s)


def _check_grid(instrument: Instrument, market: dict[str, Any], name: str) -> None:
    """Raise VenueError when our grid is not the exchange's, which would round a finer one, silently.

    A coarser one has no place for what it executes: parts of a lot that no books know.
    """
    for ours, theirs, what in (
        (instrument.tick, market["precision"].get("price"), "tick"),
        (instrument.lot, market["precision"].get("amount"), "lot"),
    ):
        step = decimal(theirs)
        if step and ours != step:
            wrong = f"the {what} is {text(ours)} here and {text(step)} at {name}"
            raise VenueError(f"{instrument.symbol}: {wrong}: take the exchange's own, with a new journal")


def _pause_s(api: Any) -> float:
    headers = {str(k).lower(): v for k, v in (api.last_response_headers or {}).items()}
    try:
        return min(max(float(headers.get("retry-after", PAUSE_S)), 1.0), 3600.0)
    except ValueError:
        return PAUSE_S

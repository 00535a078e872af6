"""What a request leads to at an exchange: placing, canceling, changing and asking, and what is made of the answers.

Nothing is sent twice but a cancel, which does no harm. What is not certainly refused stays silent: whoever sent it asks
by client id when its patience ends.
"""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import ccxt

from quantai.core.errors import DataError, InputError
from quantai.core.reports import Refusal
from quantai.core.rows import POST_ONLY, OrderType, Reason
from quantai.venues.ccxt.calls import SIDES, new_order, text
from quantai.venues.ccxt.facts import order_fact
from quantai.venues.ccxt.ledger import Ledger, Leg, Order
from quantai.venues.ccxt.limiter import Priority
from quantai.venues.ccxt.order_ids import has_room
from quantai.venues.ccxt.profiles import Profile
from quantai.venues.ccxt.questions import Call, Questions
from quantai.venues.ccxt.verdicts import Verdict, check_done, doubted, new_verdict, verdict, words
from quantai.venues.venue import Answer, Ask, Request

MISSES = 3
"""A leg that was not found so often, some time apart, does not exist."""

MOST_WORDS = 1000
"""Different refusals that are counted; then counting begins anew."""

NOT_ARRIVED = (Verdict.TOO_MANY, Verdict.STALE_CLOCK, Verdict.UNREACHED)
"""Verdicts after which a cancel is sent again."""

FIRST_AGAIN_S, LONGEST_AGAIN_S = 0.25, 5.0
"""How long a cancel waits before it is sent again."""

DOUBTED_CANCELS = 5
"""How often a cancel is sent that may have arrived; then whoever sent it asks what became of the order."""

_CROSSES = re.compile(r"immediately match|could not be executed as maker", re.IGNORECASE)
_log = logging.getLogger(__name__)


class Desk:
    """Does what requests ask, one at a time for each order."""

    def __init__(
        self,
        api: Any,
        profile: Profile,
        ledger: Ledger,
        *,
        call: Call,
        say: Callable[[list[Answer]], None],
        redact: Callable[[str], str],
    ) -> None:
        self._api, self._profile, self._ledger = api, profile, ledger
        self._call, self._say, self._redact = call, say, redact
        self._questions = Questions(api, profile, call)
        self._misses: dict[str, int] = {}
        self.confirmed: Callable[[Order, float], None] = lambda order, sent: None
        self.unknown = 0
        self._refused: Counter[str] = Counter()

    async def serve(self, request: Request, order: Order) -> None:
        """Do what a request asks, and say what came of it."""
        does: dict[Ask, Callable[[Request, Order], Awaitable[None]]] = {
            Ask.NEW: self._new,
            Ask.CANCEL: self._cancel,
            Ask.REPLACE: self._amend if self._profile.amends else self._move,
            Ask.QUERY: self._query,
        }
        try:
            await does[request.ask](request, order)
        except InputError as error:  # nothing went out, or the answer makes no sense: then its fate is unknown
            if isinstance(error, DataError):
                self._doubt(request, error)
            else:
                self._refuse(request, order, error, str(error))
        except Exception as error:  # noqa: BLE001 -- ccxt raises anything, and each has a verdict
            self._fail(request, order, error)

    def _fail(self, request: Request, order: Order, error: Exception) -> None:
        found = self._verdict(error, is_new=request.ask is Ask.NEW)
        if found is Verdict.UNKNOWN or request.ask is Ask.QUERY:
            self._doubt(request, error)
            return
        self._refuse(request, order, error, self._redact(words(error)))

    def _verdict(self, error: Exception, *, is_new: bool) -> Verdict:
        profile = self._profile
        if not is_new:
            return doubted(error, profile.doubts)
        return new_verdict(error, profile.doubts, tells_by_status=profile.tells_by_status)

    def _refuse(self, request: Request, order: Order, error: Exception, why: str) -> None:
        """Say that a request is refused: to the run each time, to people at first and ever more rarely.

        A cancel that came too late and a passive order that would have traded are everyday life.
        """
        code = self._code(request, order, error)
        usual = verdict(error) is Verdict.NO_ORDER or (request.ask is Ask.NEW and code == Reason.POST_ONLY)
        if not usual:
            what = f"{self._profile.name}: {request.ask.name} {order.instrument.symbol} refused: {why}"
            if len(self._refused) > MOST_WORDS:
                self._refused.clear()
            self._refused[what] += 1
            n = self._refused[what]
            if n.bit_count() == 1:
                _log.warning("%s%s", what, f" ({n} times by now)" if n > 1 else "")
        self._say(self._ledger.refuse(order, request, code, why))

    def _doubt(self, request: Request, error: Exception) -> None:
        self.unknown += 1
        said = self._redact(f"{type(error).__name__}: {error}")
        what = "is not answered" if request.ask is Ask.QUERY else "may have arrived"
        _log.warning("%s: %s %s %s: %s", self._profile.name, request.ask.name, request.client_id, what, said)

    def _code(self, request: Request, order: Order, error: Exception) -> int:
        if request.ask is Ask.NEW:
            if isinstance(error, ccxt.InsufficientFunds):
                return Reason.NO_CASH
            crosses = isinstance(error, ccxt.OrderImmediatelyFillable) or _CROSSES.search(str(error))
            return Reason.POST_ONLY if crosses else Reason.NONE
        if order.is_over:
            return Refusal.TOO_LATE
        return Refusal.UNKNOWN_ORDER if verdict(error) is Verdict.NO_ORDER else Refusal.OTHER

    async def _new(self, request: Request, order: Order) -> None:
        await self._place(request, order, order.leg, Priority.ORDER)

    async def _place(self, request: Request, order: Order, leg: Leg, priority: Priority) -> None:
        asked = order.asked or request
        args = new_order(asked, self._profile, order.instrument, leg.client_id, leg.lots, leg.px_ticks)
        sent = time.monotonic()
        said = await self._call(
            "new",
            priority,
            lambda: self._api.create_order(
                order.symbol, args.type, args.side, args.amount, args.price, dict(args.params)
            ),
        )
        fact = order_fact(said, self._profile.ids)
        status = fact.status or "open"  # some confirm with an id and nothing else
        self._say(self._ledger.hear_order(replace(fact, client_id=leg.client_id, symbol=order.symbol, status=status)))
        self.confirmed(order, sent)

    async def _cancel(self, request: Request, order: Order) -> None:
        """Cancel, again and again where it certainly did not arrive, and a few times where nobody knows.

        That can do no harm, and must not be lost: of an order that has ended meanwhile, the exchange says so.
        """
        wait_s, doubts = FIRST_AGAIN_S, 0
        while True:
            sent = time.monotonic()
            try:
                self._say(await self._cancel_leg(order))
                break
            except Exception as error:
                found = self._verdict(error, is_new=False)
                doubts += found is Verdict.UNKNOWN
                is_to_repeat = found in NOT_ARRIVED or (found is Verdict.UNKNOWN and doubts < DOUBTED_CANCELS)
                if isinstance(error, InputError) or not is_to_repeat or order.is_over:
                    raise
                what = "may not have arrived" if found is Verdict.UNKNOWN else "did not arrive"
                _log.warning(
                    "%s: CANCEL %s %s, and is sent again: %s",
                    self._profile.name, request.client_id, what, self._redact(words(error)),
                )  # fmt: skip
            await asyncio.sleep(wait_s)  # behind it the rate limit pauses, where that was the reason
            wait_s = min(2 * wait_s, LONGEST_AGAIN_S)
        self.confirmed(order, sent)

    async def _cancel_leg(self, order: Order) -> list[Answer]:
        leg, profile, params = order.leg, self._profile, dict[str, Any]()
        if not leg.venue_id:
            if not profile.cancel_param:
                raise InputError(f"{profile.name} has not said its own id of {leg.client_id} yet")
            params[profile.cancel_param] = profile.ids.write(leg.client_id)
        said = await self._call(
            "cancel", Priority.CANCEL, lambda: self._api.cancel_order(leg.venue_id or None, order.symbol, params)
        )
        if not said.get("id"):
            return []
        fact = order_fact(said, profile.ids)
        return self._ledger.hear_order(replace(fact, client_id=leg.client_id, symbol=order.symbol))

    async def _amend(self, request: Request, order: Order) -> None:
        leg = order.leg
        self._check_change(request, order)
        if not leg.venue_id:
            raise InputError(f"{self._profile.name} has not said its own id of {leg.client_id} yet")
        amount = text(order.instrument.lot * request.qty_lots)
        price = text(order.instrument.tick * request.px_ticks)
        side = SIDES[request.side]
        is_passive = bool((order.asked or request).flags & POST_ONLY)
        params = {"postOnly": True} if is_passive and not self._profile.keeps_post_only else {}
        said = await self._call(
            "amend",
            Priority.ORDER,
            lambda: self._api.edit_order(leg.venue_id, order.symbol, "limit", side, amount, price, params),
        )
        check_done(said)
        named = said if self._profile.names_orders else {**said, "id": leg.venue_id}
        fact = order_fact(named, self._profile.ids)
        if fact.venue_id != leg.venue_id:  # it made another order of it
            self._ledger.rename(order, leg, fact.venue_id)
        self._say(self._ledger.hear_order(replace(fact, client_id=leg.client_id, symbol=order.symbol), request))

    async def _move(self, request: Request, order: Order) -> None:
        """Change an order where that cannot be done in place: cancel it, and place what is left under a new id."""
        self._check_change(request, order)
        if not has_room(self._profile.ids, order.order_id, len(order.legs)):
            raise InputError(f"{order.order_id} was changed {len(order.legs) - 1} times: cancel it and send another")
        order.is_moving = True
        try:
            answers = await self._cancel_leg(order)
        except Exception as error:  # noqa: BLE001 -- ccxt raises anything, and each has a verdict
            self._fail(request, order, error)
            self._say(self._ledger.stay(order))
            return
        self._say(answers)
        done = sum(leg.done for leg in order.legs)
        left = request.qty_lots - done
        if left <= 0:  # executed in the meantime: it is as large as it can be
            self._say(self._ledger.replaced(order, replace(request, qty_lots=done)) + self._ledger.stay(order))
            return
        leg = self._ledger.add_leg(order, request, left)
        try:
            await self._place(request, order, leg, Priority.ORDER)
        except Exception as error:  # noqa: BLE001 -- ccxt raises anything, and each has a verdict
            is_ours = isinstance(error, InputError) and not isinstance(error, DataError)  # nothing went out
            if not is_ours and self._verdict(error, is_new=True) is Verdict.UNKNOWN:
                self._doubt(request, error)
                return
            why = f"canceled, and not placed again: {self._redact(words(error))}"
            self._say(self._ledger.give_up_move(order, request, why))

    def _check_change(self, request: Request, order: Order) -> None:
        if request.type != OrderType.LIMIT:
            raise InputError(f"only a limit order can be changed: cancel {request.order_id} instead")

    async def _query(self, request: Request, order: Order) -> None:
        """Ask about an order and all of its executions, and say both.

        What happens while the exchange answers is newer than the answer: another leg is asked about in its turn, and of
        changed terms and of an end that is what counts.
        """
        at = self._ledger.changes
        fact = await self._questions.order(order, order.leg)
        while fact is not None and fact.status == "canceled" and not self._profile.amends:
            leg = self._ledger.next_leg(order)  # of an earlier life, perhaps
            later = await self._questions.order(order, leg)
            if later is None or leg.client_id in [known.client_id for known in order.legs]:  # a change made it just now
                break
            order.legs.append(leg)
            self._say(self._ledger.hear_order(fact, asked_at=at))
            fact = later
        if fact is None and len(order.legs) > 1:
            self._miss(order)
            return
        for leg in [leg for leg in order.legs[:-1] if not leg.venue_id]:  # of an earlier life: its id finds its trades
            earlier = await self._questions.order(order, leg)
            if earlier is not None:
                self._say(self._ledger.hear_order(earlier, asked_at=at))
        for leg in list(order.legs):
            if fact is not None and leg.client_id == fact.client_id:
                self._say(self._ledger.hear_order(fact, asked_at=at))
            for trade in await self._questions.trades(order, leg):
                self._say(self._ledger.hear_trade(trade, again=True))
        is_last = fact is None or fact.client_id == order.leg.client_id
        if order.is_moving and fact is not None and (order.leg.is_known or not is_last):
            return  # its leg makes room for the next one: what came of that is said by the change
        if is_last:
            self._say([self._ledger.status(order, fact)])
        else:
            await self._query(request, order)

    def _miss(self, order: Order) -> None:
        """Count how often the leg that was to take another's place was not found; give it up in the end."""
        change = order.pending.get(order.leg.request)
        if change is None:
            self._say([self._ledger.status(order, None)])
            return
        misses = self._misses[order.order_id] = self._misses.get(order.order_id, 0) + 1
        if misses < MISSES:
            return
        del self._misses[order.order_id]
        self._say(self._ledger.give_up_move(order, change, "canceled, and not placed again: it was never found"))

"""Scripted requests: orders, cancels and replaces at given instants against a tape, for checks and what-ifs."""

# a state field with a shape is an array, whatever its annotation
# pyright: reportIndexIssue=false

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from quantai.backtest.replay import result_of
from quantai.backtest.replay_result import ReplayResult
from quantai.backtest.tick_run import TickRun, Venues
from quantai.core.errors import InputError
from quantai.core.rows import TIF, Action
from quantai.data.tape import Tape
from quantai.strategy.base import Strategy
from quantai.strategy.fields import state
from quantai.strategy.verbs import UNSET

_MOST = 256
_NEW, _CANCEL = int(Action.NEW), int(Action.CANCEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request at the instant `ts` (ns, our clock): NEW numbers orders from 1 in the order given; `order` names one.

    without a `limit` it is a market order; `qty` in units (of a replace: see SimVenue.replace).
    """

    ts: int
    action: Action = Action.NEW
    order: int = 0
    side: int = 1
    qty: float = 0.0
    limit: float = UNSET
    tif: TIF = TIF.GTC
    post_only: bool = False
    expire_ts: int = 0
    instrument: int = 0


class Script(Strategy):
    """Sends what its record lists, each at its instant."""

    n: int = state(0)
    at: int = state(0)
    ts: int = state(0, shape=_MOST)
    action: int = state(0, shape=_MOST)
    order: int = state(0, shape=_MOST)
    side: int = state(0, shape=_MOST)
    qty: float = state(0.0, shape=_MOST)
    limit: float = state(0.0, shape=_MOST)
    tif: int = state(0, shape=_MOST)
    post_only: int = state(0, shape=_MOST)
    expire_ts: int = state(0, shape=_MOST)
    instrument: int = state(0, shape=_MOST)

    def on_start(self, ctx: Any) -> None:
        """Send what is due, and wake up for the next."""
        self.send(ctx)

    def on_timer(self, ctx: Any) -> None:
        """Send what is due, and wake up for the next."""
        self.send(ctx)

    def send(self, ctx: Any) -> None:
        """Send what is due, and wake up for the next."""
        while self.at < self.n and self.ts[self.at] <= ctx.now:
            i = self.at
            if self.action[i] == _NEW and self.side[i] > 0:
                ctx.buy(
                    self.qty[i], limit=self.limit[i], tif=self.tif[i], post_only=self.post_only[i] != 0,
                    expire_ts=self.expire_ts[i], instrument=self.instrument[i],
                )  # fmt: skip
            elif self.action[i] == _NEW:
                ctx.sell(
                    self.qty[i], limit=self.limit[i], tif=self.tif[i], post_only=self.post_only[i] != 0,
                    expire_ts=self.expire_ts[i], instrument=self.instrument[i],
                )  # fmt: skip
            elif self.action[i] == _CANCEL:
                ctx.cancel(self.order[i])
            else:
                ctx.replace(self.order[i], self.qty[i], limit=self.limit[i])
            self.at += 1
        ctx.every(self.ts[self.at] - ctx.now if self.at < self.n else 0)


def replay_script(
    tape: Tape, requests: Sequence[Request], venue: Venues | None = None, **settings: Any
) -> ReplayResult:
    """Replay a tape while sending `requests` (sorted by ts); raises InputError when they are not sorted or too many.

    What was due before the first row is sent at it. A cancel or replace of an order that our own view knows to have
    ended is not sent, as a strategy would not.
    """
    if len(requests) > _MOST:
        raise InputError(f"a script has at most {_MOST} requests, got {len(requests)}")
    if any(a.ts > b.ts for a, b in pairwise(requests)):
        raise InputError("the requests of a script must be sorted by ts")
    run = TickRun(Script(), tape.instruments, venue, **settings)
    run.record["n"] = len(requests)
    for k, request in enumerate(requests):
        for name in ("ts", "action", "order", "side", "qty", "limit", "tif", "post_only", "expire_ts", "instrument"):
            run.record[name][0, k] = getattr(request, name)
    run.feed_tape(tape)
    return result_of(run, len(tape), 0.0, tape)

"""The status of a run that trades."""

import os
from collections.abc import Sequence
from dataclasses import asdict

from quantai.execution.agree import at_work, held
from quantai.execution.loop import Loop
from quantai.execution.reasons import TradingState
from quantai.execution.remote import RunStatus
from quantai.feeds.crypto import CryptoFeed

STATES = ("reconciling", "trading", "paused", "reducing", "halted", "ending")
"""What a run can be doing, the later ones before the earlier."""


def status_of(loop: Loop, mode: str, feeds: Sequence[CryptoFeed] = ()) -> RunStatus:
    """Return what a run is doing now."""
    oms, counts = loop.oms, loop.counts
    return RunStatus(
        run=oms.setup.desks[0].run,
        mode=mode,
        journal=str(loop.session.store.path),
        pid=os.getpid(),
        state=state_of(loop),
        rows=counts.rows,
        reports=counts.reports,
        intents=counts.intents,
        reconnects=counts.reconnects,
        quarantined=counts.quarantined,
        orders=len(oms.table),
        fills=int(oms.table.executions.used[0]),
        at_work=at_work(oms),
        positions=held(oms),
        equity=sum(oms.portfolio.equity(account) for account in oms.portfolio.accounts),
        currency=oms.setup.currency,
        alarms=list(counts.alarms),
        feeds=[asdict(feed.health()) for feed in feeds],
        desks=[
            {"run": desk.run, "strategy": seat.name, "paused": stepper.muted, "parameters": dict(stepper.params)}
            for desk, seat, stepper in zip(oms.setup.desks, loop.floor.seats, loop.floor.desks, strict=True)
        ],
    )


def state_of(loop: Loop) -> str:
    """Return the one of `STATES` that a run is in."""
    worst = TradingState(int(loop.oms.gate.accounts["state"].max()))
    if loop.ending:
        return "ending"
    if worst is not TradingState.ACTIVE:
        return worst.name.lower()
    if all(desk.muted for desk in loop.floor.desks):
        return "paused"
    return "trading" if loop.reconciled else "reconciling"

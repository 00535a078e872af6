"""An error that ends a run: its orders are canceled whether the journal takes rows or not, unless they are to stay."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quantai.core.errors import StorageError
from quantai.core.rows import MS, SEC, Rows
from quantai.execution.agree import at_work
from quantai.execution.controls import Control
from quantai.execution.inbox import Market
from quantai.execution.loop import Loop
from quantai.execution.playback import RowClock
from quantai.execution.recovery import recover
from quantai.venues.venue import Request
from tests.integration.trading import START, Maker, let, make, market


class Running(RowClock):
    """A clock that goes on with each look."""

    step_ns = 10 * MS

    def __call__(self) -> int:
        self.now += self.step_ns
        return self.now


def ended_by(path: Path, trouble: Callable[[Loop], None], how: Control | None) -> tuple[Loop, list[str], int, str]:
    """Run into trouble with orders at work; returns loop, what was asked for after it, orders left there, the error."""
    asked: list[str] = []

    async def run() -> tuple[Loop, int, str]:
        clock = Running(START)
        loop = make(path, clock, [Maker(offset=50)])
        paper: Any = loop.venues["X"]
        await paper.connect()
        tasks = loop.listen()
        await loop.adjust(loop.oms.portfolio.deposit(0, 100_000.0, ts=START))
        await loop.control(Control.START)
        assert await loop.reconcile()
        await let(loop, clock, 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert at_work(loop.oms)
        assert len(await paper.open_orders()) == 2
        send = paper.send

        async def noted(request: Request) -> None:
            asked.append(request.ask.name)
            await send(request)

        paper.send = noted
        trouble(loop)
        clock.step_ns = SEC  # a paper venue answers a second after the last row
        loop.inbox.put(Market(market(1, start=clock.now)))
        with pytest.raises((StorageError, ZeroDivisionError)) as caught:
            await loop.run(how=how)
        left = len(await paper.open_orders())
        loop.session.store.close()
        return loop, left, str(caught.value)

    loop, left, error = asyncio.run(run())
    return loop, asked, left, error


def full(loop: Loop) -> None:
    """Let the journal take nothing from now on."""
    store: Any = loop.session.store

    def refuse(*_: object, **__: object) -> None:
        raise StorageError("no space left")

    store.append = store.append_intents = refuse


def broken(loop: Loop) -> None:
    """Let a strategy fail at its next row."""
    floor: Any = loop.floor

    def fail(*_: object) -> Rows:
        raise ZeroDivisionError("a bug in a strategy")

    floor.look = fail


def test_a_journal_that_takes_no_rows_leaves_no_order(tmp_path: Path) -> None:
    _, asked, left, error = ended_by(tmp_path / "run.journal", full, Control.STOP)
    assert error == "no space left", "why it ended, not what came of that"
    assert ([ask for ask in asked if ask != "QUERY"], left) == (["CANCEL", "CANCEL"], 0)


def test_what_fails_by_itself_leaves_no_order_and_says_so_in_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    _, asked, left, error = ended_by(path, broken, Control.FLATTEN)
    assert error == "a bug in a strategy"
    assert ([ask for ask in asked if ask != "QUERY"], left) == (["CANCEL", "CANCEL"], 0)
    assert recover(path, from_start=True).gate.accounts["state"].all(), "halted until a person says otherwise"


def fenced(loop: Loop) -> None:
    """Let another have taken the lease meanwhile: nothing goes out any more."""

    def lost() -> None:
        raise StorageError("the lease is lost")

    loop.session.fence = lost


def test_who_lost_the_lease_leaves_the_orders_and_the_journal_to_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    _, asked, left, error = ended_by(path, fenced, Control.STOP)
    assert error == "the lease is lost"
    assert (asked, left) == ([], 2)
    assert not recover(path, from_start=True).gate.accounts["state"].any(), "the holder is not halted"


def test_orders_that_are_to_stay_do(tmp_path: Path) -> None:
    _, asked, left, _ = ended_by(tmp_path / "run.journal", full, None)
    assert ("CANCEL" in asked, left) == (False, 2)

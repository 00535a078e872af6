"""A link that goes down while books are compared, a dead-man switch that is not armed: known until they are back."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from quantai.core.rows import SEC, Status
from quantai.execution.alarms import Alarm
from quantai.execution.loop import Loop
from quantai.execution.monitor.monitor import Monitor
from quantai.execution.playback import RowClock
from quantai.venues.venue import Answer
from tests.integration.trading import Maker, drive


@pytest.mark.parametrize("back", [False, True])
def test_a_link_lost_during_the_comparison(tmp_path: Path, *, back: bool) -> None:
    async def steps(loop: Loop, clock: RowClock) -> None:
        async def pass_time() -> None:
            while True:
                clock.now += SEC // 10
                await asyncio.sleep(0.01)

        passing = asyncio.create_task(pass_time())
        paper: Any = loop.venues["X"]
        positions, asked = paper.positions, 0

        async def and_meanwhile() -> Any:
            nonlocal asked
            asked += 1
            if asked == 1:
                paper.answers().put(Answer(link=Status.DISCONNECTED))
                if back:
                    paper.answers().put(Answer(link=Status.CONNECTED))
                while not loop.counts.alarms or (back and not loop.counts.reconnects):
                    await loop.inbox.wait(0.01)
                    await loop.process()
            return await positions()

        paper.positions = and_meanwhile
        assert await loop.reconcile() is back
        if not back:
            assert loop.counts.alarms.standing[Alarm.REPORTS_LOST] == 1
            assert loop.oms.gate.accounts["reconciling"].all(), "only cancels go out"
            assert not await loop.reconcile(), "nor when it is looked at again"
            assert asked == 1, "there is nothing to compare meanwhile"
            paper.answers().put(Answer(link=Status.CONNECTED))
            while not loop.counts.reconnects:
                await loop.inbox.wait(0.01)
                await loop.process()
            assert await loop.reconcile()
        assert asked == 2, "what was asked before the loss proves nothing"
        assert not loop.oms.gate.accounts["reconciling"].any()
        assert not loop.counts.alarms
        passing.cancel()

    drive(tmp_path / "run.journal", [Maker()], steps)


def test_a_switch_that_is_not_armed_is_an_alarm_until_it_is(tmp_path: Path) -> None:
    async def steps(loop: Loop, clock: RowClock) -> None:
        monitor, venue, alarms = Monitor(loop, "live"), loop.venues["X"], loop.counts.alarms
        seen: list[list[str]] = []
        for said in ("", "X: the dead-man switch is not armed", "X: the dead-man switch is not armed", ""):
            venue.unarmed = said  # type: ignore[attr-defined]
            monitor.look()
            seen.append(list(alarms))
        assert seen == [[], ["X: the dead-man switch is not armed"], ["X: the dead-man switch is not armed"], []]
        assert alarms.raised == {Alarm.DEAD_MAN_OFF: 1}

    drive(tmp_path / "run.journal", [Maker()], steps)

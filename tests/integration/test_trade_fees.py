"""A fee in a token that the run does not know hides no difference of the money that it does know."""

import asyncio
from pathlib import Path

import pytest

from quantai.core.reports import REPORT
from quantai.core.rows import SEC, Kind, zeros
from quantai.execution.alarms import Alarm
from quantai.execution.inbox import Heard
from quantai.execution.loop import Loop
from quantai.execution.playback import RowClock
from quantai.venues.venue import FEE, Answer
from tests.integration.trading import Maker, drive, let


@pytest.mark.parametrize(("fee", "differing"), [("0.00012 BNB", ["USDT", "BTC"]), ("? USDT", ["BTC"]), ("?", [])])
def test_only_the_currency_of_a_fee_is_left_out(tmp_path: Path, fee: str, differing: list[str]) -> None:
    async def steps(loop: Loop, clock: RowClock) -> None:
        await let(loop, clock, 1)
        assert await loop.reconcile()
        row = zeros(1, REPORT)  # an execution that is not in the account
        row["order"], row["kind"], row["ts"] = loop.oms.table.entries["order"][0], Kind.FILL, clock.now
        row["exec"], row["qty_lots"], row["px_ticks"] = 10**6, 1, 10_000
        await loop.hear(Heard("X", Answer(reports=row, texts=((FEE, fee),))))
        assert loop.counts.fees_left_out == 1

        async def pass_time() -> None:
            while True:
                clock.now += SEC
                await asyncio.sleep(0.01)

        passing = asyncio.create_task(pass_time())
        assert await loop.reconcile() is not bool(differing)
        passing.cancel()
        assert loop.counts.alarms.standing[Alarm.MONEY_DIFFERS] == len(differing)
        assert [line.split()[0] for line in loop.counts.alarms] == differing

    drive(tmp_path / "run.journal", [Maker(offset=50)], steps)

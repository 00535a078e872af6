"""A run that goes on obeys the limits that it is started with, and its journal says so."""

import dataclasses
import json
import logging
from decimal import Decimal
from pathlib import Path

import pytest

from quantai.core.errors import InputError
from quantai.execution.continuation import continued, take_limits
from quantai.execution.controls import Control
from quantai.execution.loop import Loop
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.recovery import recover
from quantai.strategy.examples import Quote
from tests.integration.trading import RowClock, drive


def plan(journal: Path, strategy: Quote | None = None, **fields: Decimal) -> Plan:
    limits = dataclasses.replace(paper_limits(), **fields) if fields else None
    return Plan(
        strategies=[(strategy or Quote(), "")], venues={"X": ["BTC-USDT"]}, mode="paper", journal=journal, limits=limits
    )


def test_limits_of_a_restart_count_and_looser_ones_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = tmp_path / "run.journal"
    caplog.set_level(logging.WARNING)

    async def steps(loop: Loop, _: RowClock) -> None:
        first = loop.session.store.next_seq
        await take_limits(loop, plan(journal))
        await take_limits(loop, plan(journal, max_leverage=paper_limits().max_leverage))
        assert loop.session.store.next_seq == first, "nothing is new"
        await take_limits(loop, plan(journal, max_leverage=Decimal(2)))
        assert loop.oms.gate.limits.max_leverage == 2
        assert not caplog.records
        await take_limits(loop, plan(journal, max_leverage=Decimal(3)))
        assert [r.getMessage() for r in caplog.records] == ["a limit is looser than before: max_leverage 2 -> 3"]
        limits = dataclasses.replace(paper_limits(), position={"ETH-USDT": Decimal(1)})
        with pytest.raises(InputError, match="ETH-USDT"):
            await take_limits(loop, dataclasses.replace(plan(journal), limits=limits))

    drive(journal, [Quote()], steps)
    assert recover(journal, from_start=True).gate.limits.max_leverage == 3


def test_parameters_of_a_restart_are_those_of_the_start(tmp_path: Path) -> None:
    journal = tmp_path / "run.journal"

    async def steps(loop: Loop, _: RowClock) -> None:
        await loop.control(Control.PARAMETERS, text=json.dumps({name: 2.0 * was}))

    name, was = next((n, v) for n, v in Quote().params.items() if isinstance(v, float))
    drive(journal, [Quote()], steps)
    assert continued(plan(journal))["mode"] == "paper", "what was set while it ran is no other start"
    with pytest.raises(InputError) as refused:
        continued(plan(journal, Quote(**{name: 3.0 * was})))
    line = f"began with {name}={was}, not {name}={3.0 * was}: leave that as it was and, once it runs, say quantai"
    assert line in str(refused.value)

"""The kill switch where something else fails: an adapter that breaks, a journal whose disk takes no more rows."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from quantai.core.rows import SEC
from quantai.execution.controls import Control
from quantai.venues.venue import Request
from tests.integration.test_recovery import START, bar, intent, open_session

STARVE = """
import asyncio, json, logging, resource, signal, sys
from pathlib import Path
import numpy as np
from quantai.core.errors import StorageError
from quantai.execution.controls import Control
from quantai.execution.kill_switch import outcome
from tests.integration.test_recovery import START, bar, intent, open_session

sent, refused = [], []

class Wire:
    async def send(self, request):
        sent.append(request.ask.name)

async def attempt(what):
    del sent[:]
    try:
        await what
    except StorageError as error:
        refused.append(str(error))
    return sent[:]

async def go():
    session = open_session(Path(sys.argv[1]), Wire())
    await session.see(session.oms.portfolio.deposit(0, 1e6, ts=START))
    await session.see(bar(START, 100.0))
    await session.ask(np.concatenate([intent(session.oms, n, k=n - 1) for n in (1, 2, 3)]))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    full = Path(sys.argv[1] + "-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    if sys.argv[2] == "broken":  # the journal knows already that it cannot go on
        try:
            session.store.snapshot("x", b"x" * 100_000)
        except StorageError:
            pass
    killed = await attempt(session.control(Control.KILL))
    found = outcome(session.oms)
    again = await attempt(session.control(Control.KILL))
    order = await attempt(session.ask(intent(session.oms, 4)))
    print(json.dumps({"killed": killed, "again": again, "order": order, "refused": refused,
                      "pending": len(found.pending), "complete": found.complete}))

asyncio.run(go())
"""


@pytest.mark.parametrize("state", ["sound", "broken"])
def test_cancels_go_out_although_the_journal_takes_no_rows(tmp_path: Path, state: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARVE, str(tmp_path / "run.journal"), state],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["killed"] == ["CANCEL"] * 3
    assert (figures["pending"], figures["complete"]) == (3, False)
    assert (figures["again"], figures["order"]) == ([], [])  # they are out; and nothing else goes out
    assert len(figures["refused"]) == 3


def test_cancels_go_out_although_the_adapter_fails_on_the_first(tmp_path: Path) -> None:
    sent: list[tuple[str, int]] = []

    class Broken:
        async def send(self, request: Request) -> None:
            sent.append((request.ask.name, request.order))
            if sent[-1] == ("CANCEL", 1):
                raise ZeroDivisionError("a bug in the adapter")

    async def go() -> None:
        session = open_session(tmp_path / "run.journal", Broken())
        await session.see(session.oms.portfolio.deposit(0, 1e6, ts=START))
        await session.see(bar(START, 100.0))
        await session.ask(np.concatenate([intent(session.oms, n, k=n - 1) for n in (1, 2, 3)]))
        with pytest.raises(ZeroDivisionError):
            await session.control(Control.KILL)
        await session.see(bar(START + SEC, 100.0))  # it goes on, and asks about all of them
        session.store.close()

    asyncio.run(go())
    assert sent[3:6] == [("CANCEL", 1), ("CANCEL", 2), ("CANCEL", 3)]
    assert sent[6:] == [("QUERY", 1), ("QUERY", 2), ("QUERY", 3)]

"""A run that trades, steered by another process: what it is told is journaled, obeyed, and only by who may."""

import asyncio
import json
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from quantai.cli import main
from quantai.core.errors import InputError
from quantai.core.rows import Kind
from quantai.execution.controls import Control
from quantai.execution.plan import Plan
from quantai.execution.remote import Address, RunControl, RunStatus, address_file
from quantai.execution.retrace import retrace
from quantai.execution.trade import Traded, trade
from quantai.journal import StoreReader, Stream
from quantai.venues.loopback import LoopbackExchange
from tests.integration.trading import Maker

PATIENCE_S = 600.0  # the first to trade waits for the compiler, on a slow machine for minutes


async def steered(journal: Path, steps: Callable[[RunControl], Awaitable[None]], **fields: Any) -> Traded:
    """Trade on paper at a loopback exchange, take steps, end the run and return what came of it."""
    async with LoopbackExchange(["BTC-USDT"], seed=5, rate_hz=50.0) as exchange:
        said: dict[str, Any] = {
            "strategies": [(Maker(), "tests.integration.trading:Maker")], "venues": {"BINANCE": ["BTC-USDT"]},
            "mode": "paper", "journal": journal, "endpoint": exchange.http, "seconds": PATIENCE_S,
        }  # fmt: skip
        run = asyncio.create_task(trade(Plan(**(said | fields))))
        control = RunControl(journal)
        await until(lambda: asyncio.sleep(0, run.done() or address_file(journal).exists()))
        if not run.done():
            await steps(control)
            if not run.done():
                await control.end()
        return await run


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Return what a condition says once it is true; fails after PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await condition()):  # noqa: ASYNC110 -- another process says so
            await asyncio.sleep(0.05)
    return found


async def state(control: RunControl, wanted: Callable[[RunStatus], bool]) -> RunStatus:
    async def look() -> RunStatus | None:
        said = await control.status()
        return said if wanted(said) else None

    return await until(look)


def controls(journal: Path) -> list[Control]:
    with StoreReader(journal) as reader:
        return [Control(int(x)) for x in reader.rows(Stream.EVENT, kinds=[Kind.CONTROL])["aux"]]


def test_a_run_is_paused_resumed_changed_reduced_flattened_and_killed(tmp_path: Path) -> None:
    journal, seen = tmp_path / "run.journal", dict[str, Any]()

    async def steps(control: RunControl) -> None:
        await state(control, lambda s: s.state == "trading" and s.fills > 2)
        seen["pause"] = await control.pause()
        (feed,) = (await control.status()).feeds
        assert (feed["venue"], feed["state"], feed["quarantined"]) == ("BINANCE", "up", 0)
        assert feed["received"] > 0
        paused = await control.status()
        assert (paused.state, paused.desks[0]["paused"]) == ("paused", True)
        await control.resume()
        seen["set"] = await control.set({"offset": 3}, desk=0)
        assert (await control.status()).desks[0]["parameters"]["offset"] == 3
        with pytest.raises(InputError, match="ofset"):
            await control.set({"ofset": 3})
        with pytest.raises(InputError, match="there is no desk 4"):
            await control.pause(4)
        with pytest.raises(InputError, match="did you mean 'pause'"):
            await control.tell("pauze")
        await control.reduce()
        assert (await control.status()).state == "reducing"
        await control.resume()
        assert (await control.status()).state == "trading"
        await control.stop()
        await state(control, lambda s: not s.at_work)
        await control.flatten()
        flat = await state(control, lambda s: not s.at_work and abs(s.positions["BTC-USDT"]) < 1e-9)
        assert flat.orders > 0
        await control.kill()
        assert (await control.status()).state == "halted"

    done = asyncio.run(steered(journal, steps))
    assert done.at_work == []
    assert controls(journal) == [
        Control.START, Control.RECONCILE, Control.RECONCILED, Control.PAUSE, Control.RESUME, Control.PARAMETERS,
        Control.REDUCING, Control.ACTIVE, Control.RESUME, Control.STOP, Control.FLATTEN, Control.KILL, Control.STOP,
    ]  # fmt: skip
    proof = retrace(journal)
    assert proof.same, proof.differences
    with StoreReader(journal) as reader:
        said = {t.seq: json.loads(t.text) for t in reader.texts(field="control")}
    assert said.pop(seen["set"]) == {"offset": 3}
    assert list(said.values()) == [{"end": [0]}], "the end says who was paused, for the next start"
    assert not address_file(journal).exists(), "withdrawn at the end"


def test_only_its_user_may_steer_a_run(tmp_path: Path) -> None:
    journal = tmp_path / "run.journal"

    async def ask(port: int, line: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(line)
        answer = await reader.readline()
        writer.close()
        return answer

    async def steps(control: RunControl) -> None:
        assert stat.S_IMODE(address_file(journal).stat().st_mode) == 0o600
        address = Address.of(journal)
        assert address.pid == os.getpid()
        for line in (b'{"do": "kill"}\n', b'{"do": "kill", "token": "guessed"}\n', b"[]\n", b"kill\n"):
            assert "error" in json.loads(await ask(address.port, line)), line
        with suppress(ConnectionError):
            assert await ask(address.port, b"x" * (2 << 20) + b"\n") == b"", "too long a line is not answered"
        assert (await control.status()).state != "halted"

    asyncio.run(steered(journal, steps))
    assert Control.KILL not in controls(journal)


def test_the_command_says_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = tmp_path / "run.journal"
    assert main(["control", str(journal), "status"]) == 1
    assert "is not being traded" in capsys.readouterr().err
    assert main(["control", str(journal), "puase"]) == 1
    assert "did you mean 'pause'" in capsys.readouterr().err
    assert main(["control", str(journal), "note"]) == 1
    assert f"quantai control {journal} note checked=yes" in capsys.readouterr().err
    assert main(["control", "status", str(journal)]) == 2
    assert f"the journal comes first: quantai control {journal} status" in capsys.readouterr().err
    assert main(["control", str(journal)]) == 2
    assert "is to do: status, metrics" in capsys.readouterr().err
    address_file(journal).write_text(json.dumps({"port": 1, "token": "x", "pid": 999_999}))
    assert main(["control", str(journal), "pause"]) == 1
    assert "process 999999" in capsys.readouterr().err
    assert main(["control", str(journal), "set", "fast"]) == 1
    assert "PARAM=VALUE" in capsys.readouterr().err


def test_the_command_steers_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = tmp_path / "run.journal"

    async def steps(control: RunControl) -> None:
        await state(control, lambda s: s.state == "trading")
        for words in (["set", "offset=2", "qty=0.02"], ["pause"], ["status"]):
            assert await asyncio.to_thread(main, ["control", str(journal), *words, "--json"]) == 0

    asyncio.run(steered(journal, steps))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["row"] < lines[1]["row"]
    assert (lines[2]["state"], lines[2]["mode"]) == ("paused", "paper")
    assert lines[2]["desks"][0]["parameters"] == {"qty": 0.02, "offset": 2}

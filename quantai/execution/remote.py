"""A run from outside: what it is doing, and the decisions of people about it, told to its process.

A run that trades listens on a port of this machine and writes port and token beside its journal, `RUN.control`, which
only its user may read. Whoever can read that file can steer the run.
"""

import asyncio
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from quantai.core.errors import DataError, InputError, StorageError
from quantai.ops import followed

MOST_BYTES = 1 << 20
"""The longest line either side takes."""

VERBS = {
    "status": "Say what the run is doing.",
    "metrics": "Say every metric of the run.",
    "scene": "Say books, working orders, positions and accounts.",
    "pause": "Strategies go on seeing everything, but only their cancels go out.",
    "resume": "Everything goes out again: after pause, reduce, stop, flatten or kill.",
    "reduce": "Only what closes positions goes out.",
    "stop": "Cancel the orders; only cancels go out.",
    "flatten": "As stop, and close what is held at the market.",
    "kill": "The kill switch: cancel everything at once; only cancels go out.",
    "set": "Give strategies other parameters.",
    "note": "Write into the journal what was done elsewhere: nothing of the run changes.",
    "end": "End the run, as --at-end says.",
}
"""What a run can be told, with what it does then."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a run listens, and the word that opens."""

    port: int
    token: str
    pid: int

    @classmethod
    def of(cls, journal: Path) -> Self:
        """Read the address of a run; raises InputError when it does not run, DataError for a file that is none."""
        path = address_file(journal)
        try:
            said = json.loads(path.read_text())
            return cls(int(said["port"]), str(said["token"]), int(said["pid"]))
        except FileNotFoundError:
            raise InputError(f"{journal} is not being traded: there is no {path.name} beside it") from None
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path} is not the address of a run: remove it and start the run again") from None


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What a run is doing at one instant.

    `state` is reconciling, trading, paused, reducing, halted or ending, in that order of precedence from the right.
    `desks` have the run name, the strategy, whether it is paused, and its parameters, by number; `feeds` what
    `quantai.feeds.health` says of each.
    """

    run: str
    mode: str
    journal: str
    pid: int
    state: str
    rows: int
    reports: int
    intents: int
    reconnects: int
    quarantined: int
    orders: int
    fills: int
    at_work: list[str]
    positions: dict[str, float]
    equity: float
    currency: str
    alarms: list[str]
    desks: list[dict[str, Any]]
    feeds: list[dict[str, Any]]


class RunControl:
    """A run that trades, by its journal. `desk` is a strategy's number, -1 for all; answers are journal rows.

    Each call raises InputError when the run is not there or refuses, and returns once the decision is on the disk.

    >>> try:
    ...     asyncio.run(RunControl("no.journal").status())
    ... except InputError as error:
    ...     print(error)
    no.journal is not being traded: there is no no.journal.control beside it
    """

    def __init__(self, journal: str | Path, *, timeout_s: float = 60.0) -> None:
        self.journal, self._timeout_s = Path(journal), timeout_s

    async def status(self) -> RunStatus:
        """Say what the run is doing."""
        return RunStatus(**(await self.tell("status"))["status"])

    async def pause(self, desk: int = -1) -> int:
        """Let only cancels out."""
        return await self._row("pause", desk)

    async def resume(self, desk: int = -1) -> int:
        """Let everything out again."""
        return await self._row("resume", desk)

    async def reduce(self, desk: int = -1) -> int:
        """Let only out what closes positions."""
        return await self._row("reduce", desk)

    async def stop(self, desk: int = -1) -> int:
        """Cancel the orders, and let only cancels out."""
        return await self._row("stop", desk)

    async def flatten(self, desk: int = -1) -> int:
        """Cancel the orders and close what is held at the market."""
        return await self._row("flatten", desk)

    async def kill(self, desk: int = -1) -> int:
        """Pull the kill switch: cancel everything, and let only cancels out."""
        return await self._row("kill", desk)

    async def set(self, parameters: Mapping[str, Any], desk: int = -1) -> int:
        """Give strategies other parameters."""
        return await self._row("set", desk, parameters)

    async def end(self) -> None:
        """Ask for the end of the run."""
        await self.tell("end")

    async def tell(self, verb: str, desk: int = -1, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send one of `VERBS` and return the answer as it came."""
        address = Address.of(self.journal)
        said = {"token": address.token, "do": verb, "desk": desk, "parameters": dict(parameters or {})}
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_connection("127.0.0.1", address.port, limit=MOST_BYTES)
                try:
                    writer.write(json.dumps(said).encode() + b"\n")
                    await writer.drain()
                    line = await reader.readline()
                finally:
                    writer.close()
        except TimeoutError:
            raise InputError(f"{self.journal}: process {address.pid} says nothing in {self._timeout_s:g} s") from None
        except (OSError, ValueError):
            name = address_file(self.journal).name
            raise InputError(f"{self.journal} is not being traded: process {address.pid} of {name} is gone") from None
        if not line.endswith(b"\n"):
            raise InputError(f"{self.journal}: the run ended before it answered")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise InputError(f"{self.journal}: {answer['error']}")
        return answer

    async def _row(self, verb: str, desk: int, parameters: Mapping[str, Any] | None = None) -> int:
        return int((await self.tell(verb, desk, parameters))["row"])


def address_file(journal: Path) -> Path:
    """Return where a run of this journal writes its address.

    >>> address_file(Path("x.journal")).name
    'x.journal.control'
    """
    journal = followed(journal)
    return journal.with_name(f"{journal.name}.control")


def announce(journal: Path, port: int) -> Address:
    """Write the address of a run, readable by its user only, and return it; raises StorageError."""
    made, path = Address(port, secrets.token_urlsafe(32), os.getpid()), address_file(journal)
    draft = path.with_name(f"{path.name}.{made.pid}")
    try:
        draft.unlink(missing_ok=True)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump({"port": made.port, "token": made.token, "pid": made.pid}, file)
        draft.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from None
    return made


def withdraw(journal: Path, address: Address) -> None:
    """Remove the address of a run that has ended, unless it is another's by now."""
    with suppress(InputError, StorageError, OSError):
        if Address.of(journal) == address:
            address_file(journal).unlink()

"""Do to two replicas of a service, at random moments, what happens to services: one loop trades, and goes on trading.

`python -m tests.chaos serve --n 30` does 30 things: kill -9 of the loop, a worker, a parent; a lease that is removed or
left behind; a loop that stands still; a full disk; a wall clock that jumps an hour. After each of them orders must
come again, within `limit` seconds where nobody has to be found out to hang. After every few, the run ends in good
order: no order was sent twice, the exchange knows none that the journal does not, executions and holdings are the same
on both sides, and the journal run again decides every byte as it did. Two loops that trade would show in each of these.
"""

import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from quantai.core.errors import InputError
from quantai.execution.lease import holder
from quantai.execution.remote import address_file
from quantai.notebook.serve import Served
from quantai.venues.loopback import KEY
from tests.chaos.live import Market, compare
from tests.serving_setting import KEYS, bentoml_home, promoted, served, trading, until, words

ARGS = {"limit": 15.0}
EACH = 6
"""What is done to one run before it is ended and looked at."""
PRELOAD, SHIFT = "LD_PRELOAD", "QUANTAI_CLOCK_SHIFT"


class Yard:
    """Two replicas of one strategy in one folder, at one exchange; the first that is started trades."""

    def __init__(self, tag: str, market: Market, folder: Path, seed: int = 1, **more: Any) -> None:
        self.tag, self.market, self.folder, self.more = tag, market, folder, more
        self.lease = folder / "lease-live"
        self.random = random.Random(seed)
        self.replicas: list[Served] = []
        self.journal = folder
        self._shift: Path | None = None

    def start(self, workers: int = 1) -> Served:
        """Start one more replica."""
        one = served(self.tag, self.market, self.folder, mode="live", workers=workers, **self.more)
        one.keys = dict(KEYS)
        self.replicas.append(one)
        return one

    def stop(self) -> None:
        """End all replicas in good order."""
        for one in self.replicas:
            one.stop()
        until(lambda: not address_file(self.journal).exists(), "the end of the run")

    @property
    def loop(self) -> int:
        """The process that holds the lease."""
        return (holder(self.lease) or (0, 0))[1]

    @property
    def owner(self) -> Served:
        """The replica whose loop holds the lease."""
        loop = self.loop
        return next(s for s in self.replicas if loop in [p.pid for p in psutil.Process(s.process.pid).children(True)])

    @property
    def orders(self) -> list[dict[str, Any]]:
        """The orders of ours that reached the exchange."""
        return [order for order in self.market.truth()["orders"] if order["account"] == KEY]

    def resumed(self, dead: int = 0) -> dict[str, Any]:
        """Wait until another process than `dead` trades, and new orders come; returns what it says."""
        said = until(self._trades_without(dead), "somebody else that trades")
        n = len(self.orders)
        until(lambda: len(self.orders) > n, "new orders")
        self.journal = Path(said["process"]["journal"])
        return said

    def _trades_without(self, dead: int) -> Callable[[], Any]:
        def found() -> dict[str, Any] | None:
            for one in self.replicas:
                assert one.process.poll() is None, f"a server ended by itself: {_last(one.folder / 'server.log')}"
                with suppress(InputError):  # a replica whose API is on its way back
                    if (said := trading(one)) and said["run"]["pid"] != dead:
                        return said
            return None

        return found

    def kill_loop(self) -> int:
        """Kill -9 of the process that trades: a replica, or its successor, goes on in the same journal."""
        dead = self.loop
        os.kill(dead, signal.SIGKILL)
        return dead

    def kill_worker(self) -> int:
        """Kill -9 of a worker: nothing happens to the run, and the API comes back."""
        children = psutil.Process(self.owner.process.pid).children()
        self.random.choice([p for p in children if "_bentoml_impl.worker.service" in words(p)]).kill()
        return 0

    def kill_parent(self) -> int:
        """Kill -9 of the server whose loop trades: the loop ends by itself, and the other replica goes on."""
        owner, dead = self.owner, self.loop
        owner.process.kill()
        owner.process.wait()
        self.replicas.remove(owner)
        owner.stop()  # lets go of its port and its file
        until(lambda: not psutil.pid_exists(dead), "the orphan's end")
        return dead

    def fill_disk(self) -> int:
        """Let the loop write no more: nothing goes out that is not in the journal, and the run ends."""
        dead = self.loop
        resource.prlimit(dead, resource.RLIMIT_FSIZE, (1, 1))
        until(lambda: self.loop != dead, "another loop, that may write")
        return dead

    def remove_lease(self) -> int:
        """Take the lease's file away: whoever held it sends nothing more, and waits for another as everybody does."""
        with self.lease.open() as old:  # or another file could have its number
            self.lease.unlink()
            until(lambda: not os.path.samestat(os.fstat(old.fileno()), self.lease.stat()), "another lease")
            until(lambda: self.loop, "its holder")
        return 0

    def leave_lease(self) -> int:
        """Leave a lease behind that names somebody dead, with a time from the future: no clock decides."""
        dead = self.loop
        os.kill(dead, signal.SIGKILL)
        future = time.time() + 86_400
        os.utime(self.lease, (future, future))
        return dead

    def stand_still(self) -> int:
        """Stop the loop for a while and let it go on: nobody else began meanwhile."""
        loop = self.loop
        os.kill(loop, signal.SIGSTOP)
        time.sleep(self.random.uniform(0.5, 3.0))
        assert self.loop == loop, "a loop that stood still lost its lease"
        os.kill(loop, signal.SIGCONT)
        return 0

    def jump(self) -> int:
        """Let the wall clock of all replicas jump an hour, and back once orders came: nothing notices."""
        if self._shift is not None:
            for shift_s in (self.random.choice([-3_600, 3_600]), 0):
                self._shift.write_bytes(struct.pack("l", shift_s))
                self.resumed()
        return 0

    def preload_clock(self) -> bool:
        """Have the clock of every replica started from now on read through a shift; False without a compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            return False
        library = self.folder / "clock_shift.so"
        source = Path(__file__).with_name("clock_shift.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self._shift = self.folder / "clock_shift"
        self._shift.write_bytes(struct.pack("l", 0))
        os.environ[PRELOAD], os.environ[SHIFT] = str(library), str(self._shift)
        return True

    def found(self) -> list[str]:
        """Say what is wrong with a run that has ended."""
        ids = [order["clientOrderId"] for order in self.orders]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        found = [f"sent twice: {twice[:5]}"] if twice else []
        return found + compare(self.journal, self.market.truth())


def run(n: int, seed: int, *, limit: float) -> dict[str, Any]:
    """Do `n` things and return how many runs were looked at, how long orders stayed away, and what was wrong."""
    random_, found, waits = random.Random(seed), list[str](), dict[str, list[float]]()
    runs = done = 0
    with tempfile.TemporaryDirectory() as place, bentoml_home(Path(place) / "bentoml"):
        tag = promoted()
        while done < n:
            market, folder = Market(seed + runs), Path(place) / f"run{runs}"
            folder.mkdir()
            yard = Yard(tag, market, folder, seed + runs)
            things = [yard.kill_loop, yard.kill_worker, yard.kill_parent, yard.fill_disk, yard.remove_lease]
            things += [yard.leave_lease, yard.stand_still, *([yard.jump] if yard.preload_clock() else [])]
            try:
                yard.start()
                yard.resumed()
                for thing in random_.choices(things, k=min(EACH, n - done)):
                    while len(yard.replicas) < 2:
                        yard.start(workers=random_.choice([1, 2]))
                    if random_.random() < 0.7:  # else while the other is still coming up
                        until(lambda yard=yard: len(_waiting(yard)) >= 2, "both loops")
                    time.sleep(random_.uniform(0.0, 2.0))
                    began = time.monotonic()
                    yard.resumed(thing())
                    took = time.monotonic() - began
                    waits.setdefault(thing.__name__, []).append(round(took, 1))
                    if took > limit and len(_waiting(yard)) >= 2:
                        found.append(f"run {runs}: {took:.1f} s without orders after {thing.__name__}")
                    done += 1
                yard.stop()
                found += [f"run {runs}: {what}" for what in yard.found()]
            except AssertionError as error:
                found.append(f"run {runs}: {error}")
                done += 1
                for one in yard.replicas:
                    one.stop()
            finally:
                market.close()
                for name in (PRELOAD, SHIFT):
                    os.environ.pop(name, None)
            runs += 1
    return {"runs": runs, "done": done, "resumed_s": waits, "failures": len(found), "found": found}


def _last(log: Path) -> str:
    return log.read_text(errors="replace")[-1_000:]


def _waiting(yard: Yard) -> list[int]:
    children = [p for one in yard.replicas for p in psutil.Process(one.process.pid).children(True)]
    return [p.pid for p in children if "serving.loop_process" in words(p)]

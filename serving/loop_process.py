"""The process that trades: `python -m serving.loop_process DEPLOYMENT.json`.

It compiles and checks its golden rows first, then waits for the lease, then trades until it is told to end, its parent
is gone or the lease is. It never begins without the lease, and sends nothing once it is lost. Exit code 0: ended as it
was told; 1: something failed, try again; 3: it must not trade, and trying again changes nothing.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from quantai.core.errors import DataError, InputError, QuantaiError, StrategyError
from quantai.core.plain import plain
from quantai.execution.lease import Lease, is_free
from quantai.execution.loop import Loop
from quantai.execution.monitor.logs import JsonLines
from quantai.execution.plan import Plan, paper_limits
from quantai.execution.rehearsal import rehearse
from quantai.execution.remote import RunControl
from quantai.execution.trade import Trading
from quantai.feeds.venues import exchange
from quantai.notebook.promote.version import Version
from quantai.venues.rules import SimVenue
from serving.deployment import Deployment, write_json

REFUSED = 3
_POLL_S = 0.25
_OPEN_S = 120.0
"""How long reaching everybody may take before it counts as hanging."""
_log = logging.getLogger("quantai.serving")


class Process:
    """One process that trades a deployment; its parent is the one that started it."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment, self._parent = deployment, os.getppid()
        self._beats, self._said = 0, dict[str, Any]()
        self._lease: Lease | None = None
        self._beat_at = time.monotonic()

    def run(self) -> int:
        """Trade, and return the exit code."""
        deployment = self.deployment
        threading.Thread(target=self._mind, name="quantai-mind", daemon=True).start()
        try:
            self._say("checking")
            version = Version.open(deployment.model)
            plan = self._plan(version)
            plan.check()
            exchange(deployment.venue)
            self._check(version)
            rehearse([version.strategy], plan.limits or paper_limits(), paper=deployment.mode != "live")
        except (InputError, StrategyError) as error:  # DataError is one of them: files that are not what they were
            self._say("refused", reason=str(error))
            return REFUSED
        try:
            self._say("waiting")
            while (lease := self._take()) is not None and not self._has_traded(version, lease):
                pass
        except QuantaiError as error:
            _log.error("%s", error)
            self._say("failed", reason=str(error))
            return 1
        return 0

    def _has_traded(self, version: Version, lease: Lease) -> bool:
        """Trade until that is over; False when the lease was lost meanwhile, and may be taken again."""
        self._lease, plan = lease, self._plan(version)
        self._say("starting", token=lease.token, journal=str(plan.journal), tag=version.tag)
        try:
            asyncio.run(self._trade(plan, lease))
            lease.check()
        except QuantaiError as error:
            if lease.is_held:
                raise
            _log.error("%s", error)
            self._lease = None
            lease.release()
            self._say("waiting", reason=str(error))
            return False
        self._say("ended")
        return True

    def _check(self, version: Version) -> None:
        if version.tag != self.deployment.tag:
            raise InputError(f"{self.deployment.model} holds {version.tag}, not {self.deployment.tag}")
        differences = version.differences()
        if differences:
            raise DataError(f"{version.tag} does not decide as it was promoted: {differences[0]}")

    def _plan(self, version: Version) -> Plan:
        d = self.deployment
        live = d.mode == "live"
        if live and version.limits is None:
            raise InputError(f"{version.tag} has no limits of risk: promote it with limits to serve it live")
        if live and version.manifest["warmup"] and not d.lake:
            raise InputError(f"{version.tag} wants {version.manifest['warmup']} bars to warm up: name a lake")
        golden = version.golden
        return Plan(
            strategies=[(version.strategy, version.named)],
            venues={d.venue: d.symbols},
            mode="live" if live else "paper",
            journal=self._journal(version),
            limits=version.limits,
            understood=live,
            interval=d.interval or version.manifest["interval"],
            cash=d.cash,
            lots=d.lots,
            rules=SimVenue(maker_bps=golden.maker_bps, taker_bps=golden.taker_bps),
            endpoint=d.endpoint,
            sandbox=d.sandbox,
            warm_up=(d.lake, None) if d.lake else None,
            at_end=d.at_end,  # type: ignore[arg-type]
            stale_s=d.stale_s,
            snapshot_s=10.0,
        )

    def _journal(self, version: Version) -> Path:
        """A live run goes on in its journal; what is simulated lives no longer than its lease and begins anew."""
        if self.deployment.mode == "live":
            return self.deployment.root / f"live-{version.version}.journal"
        stamp, mode = time.strftime("%Y%m%dt%H%M%S", time.gmtime()), self.deployment.mode
        names = (self.deployment.root / f"{mode}-{stamp}-{os.getpid()}{n or ''}.journal" for n in range(1_000_000))
        return next(path for path in names if not path.exists())

    def _take(self) -> Lease | None:
        """Wait for the lease; None when the parent is gone before."""
        while os.getppid() == self._parent:
            if (lease := Lease.take(self.deployment.lease)) is not None:
                return lease
            self._beat()
            time.sleep(_POLL_S)
        return None

    async def _trade(self, plan: Plan, lease: Lease) -> None:
        lease.check()
        trading = Trading(plan)
        beats = asyncio.create_task(self._beat_for(_OPEN_S))
        try:
            loop = await trading.open()
        finally:
            beats.cancel()
        loop.session.fence = lease.check
        watch = asyncio.create_task(self._watch(loop, lease))
        watch.add_done_callback(lambda _: loop.end())  # a run that nobody watches must not go on
        try:
            await trading.run(loop)
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
            await trading.close()

    async def _watch(self, loop: Loop, lease: Lease) -> None:
        """Say that the loop lives; end it when nobody supervises it any more, or the lease is gone."""
        self._say("trading")
        while True:
            self._beat()
            if os.getppid() != self._parent and not loop.ending:
                _log.warning("process %s is gone: the run ends", self._parent)
                loop.end()
            if not lease.is_held and not loop.ending:
                _log.error("the lease is lost: the run ends, nothing more is sent")
                loop.end()
            if lease.is_held:
                await self._publish(loop)
            await asyncio.sleep(_POLL_S)

    async def _publish(self, loop: Loop) -> None:
        """Write what the run does to the file that the API answers from: however often it is asked, the loop is not."""
        with suppress(QuantaiError, OSError):
            said = (await RunControl(loop.session.store.path, timeout_s=_POLL_S).status()).__dict__
            seen = {"at_ns": time.monotonic_ns(), "run": plain(said)}
            write_json(self.deployment.snapshot, seen, lasting=False)

    def _say(self, state: str, **more: Any) -> None:
        self._said |= {"state": state, "pid": os.getpid(), "reason": "", **more}
        if is_free(self.deployment.lease) if self._lease is None else self._lease.is_held:  # else another has the word
            with suppress(OSError):  # a full disk must not be what ends a run
                write_json(self.deployment.state, self._said)
        said = {"event": "process_state", "tag": self.deployment.tag, **self._said}
        _log.info("%s: %s", self.deployment.tag, state, extra=said)

    async def _beat_for(self, seconds: float) -> None:
        for _ in range(int(seconds / _POLL_S)):
            self._beat()
            await asyncio.sleep(_POLL_S)

    def _mind(self) -> None:
        """Kill this process when it hangs and nobody is left who would: another waits for its lease."""
        silence = self.deployment.seconds_of_silence
        while os.getppid() == self._parent or time.monotonic() - self._beat_at < silence:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGKILL)

    def _beat(self) -> None:
        self._beats, self._beat_at = self._beats + 1, time.monotonic()
        with suppress(OSError):  # who listened may be gone: that is for `_watch` to see
            os.write(1, f"{self._beats}\n".encode())


def main(path: str) -> int:
    """Trade what a file of a deployment says."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    try:
        return Process(Deployment.load(path)).run()
    except QuantaiError as error:
        _log.error("%s", error)
        return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

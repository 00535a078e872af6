"""A run that goes on: what its journal says of how it was, and whether the plan of now fits it."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from quantai.core.errors import InputError
from quantai.core.plain import plain
from quantai.core.rows import Kind, Rows
from quantai.execution.controls import Control, paused_before
from quantai.execution.floor import Floor
from quantai.execution.loop import Loop
from quantai.execution.monitor.status import state_of
from quantai.execution.plan import Plan
from quantai.execution.recovery import MANIFEST
from quantai.execution.retrace import SEATS, manifest_of, seats_of, stand, walk
from quantai.execution.setup import Setup
from quantai.journal import StoreReader, Stream
from quantai.journal import recover as mend

_log = logging.getLogger(__name__)


def continued(plan: Plan) -> dict[str, Any]:
    """Return the manifest of the journal that a plan continues; raises InputError when it is of something else."""
    with StoreReader(plan.journal) as reader:
        manifest = manifest_of(reader)
    if manifest.get("mode") != plan.mode:
        raise InputError(f"{plan.journal} is of a {manifest.get('mode')} run: name another journal for {plan.mode}")
    if plan.mode == "replay":
        raise InputError(f"{plan.journal} exists: a replay begins anew, name another journal")
    names = [type(s).__name__ for s, _ in plan.strategies]
    for said, (strategy, _) in zip(manifest[SEATS], plan.strategies, strict=False):
        if said["hash"] != type(strategy).source_hash():
            raise InputError(
                f"{type(strategy).__name__} is not what it was when {plan.journal} began: use a new journal"
            )
        if changed := [n for n, v in strategy.params.items() if _plain(v) != _plain(said["parameters"].get(n))]:
            was, now = (" ".join(f"{n}={p.get(n)}" for n in changed) for p in (said["parameters"], strategy.params))
            raise InputError(
                f"{plan.journal} began with {was}, not {now}: leave that as it was and, once it runs, say quantai"
                f" control {plan.journal} set {now}; or use a new journal"
            )
    if len(names) != len(manifest[SEATS]):
        raise InputError(f"{plan.journal} has {len(manifest[SEATS])} strategies, this run {len(names)}: use a new one")
    _check_market(plan, manifest)
    return manifest


def _check_market(plan: Plan, manifest: Mapping[str, Any]) -> None:
    """Raise InputError where a plan has another market for its strategies than the journal began with."""
    setup = Setup.of(manifest[MANIFEST])
    known = [f"{i.venue}:{i.symbol}" for i in setup.instruments]
    told = [("", known, [f"{venue}:{symbol}" for venue, symbols in plan.venues.items() for symbol in symbols])]
    for n, said in enumerate(manifest[SEATS]):
        mine = [":".join(listed[0]) for listed in plan.listings(n)]
        told += [
            ("", [known[i] for i in said["instruments"]] or known, mine),
            ("bars of ", [said["interval"]], [plan.interval_of(n)]),
            ("the router ", [said.get("route", {}).get("by", "instrument")], [plan.desk(n).router]),
        ]
    told.append(("the currency ", [setup.currency], [plan.currency or setup.currency]))
    for what, *both in told:
        was, now = (what + (", ".join(sorted(words)) or "none") for words in both)
        if was != now:
            raise InputError(f"{plan.journal} began with {was}, not {now}: leave that as it was, or use a new journal")


def _plain(value: Any) -> str:
    """Return a parameter as JSON has it, as the manifest does; NaN is then equal to itself."""
    return json.dumps(plain(value))


def recovered(plan: Plan, manifest: dict[str, Any]) -> tuple[Floor, list[Rows]]:
    """Return strategies and orders as of the last durable row, and the intents that a crash kept out of the journal."""
    mend(plan.journal)
    with StoreReader(plan.journal) as reader:
        seats = seats_of(manifest, [type(s) for s, _ in plan.strategies])
        done = walk(reader, stand(reader, seats))
    return done.floor, done.left


async def take_limits(loop: Loop, plan: Plan) -> None:
    """Let a run go on under the limits of its plan, where its journal has others; raises InputError for a symbol.

    Whoever starts it says them anew, so they may be looser, too: what is, is a line of the log. A plan without limits
    leaves those that are in force.
    """
    old = loop.oms.gate.limits
    if plan.limits is None or plan.limits == old:
        return
    for line in old.loosened(plan.limits):
        _log.warning("a limit is looser than before: %s", line, extra={"event": "limit_loosened"})
    await loop.control(Control.LIMITS, text=plan.limits.text())


def has_begun(journal: Path) -> bool:
    """Say whether the strategies of a run were started: it may have been killed before that."""
    with StoreReader(journal) as reader:
        controls = reader.rows(Stream.EVENT, kinds=[Kind.CONTROL])
    return bool((controls["aux"] == Control.START).any())


def began_at(journal: Path) -> int:
    """Return when (ns UTC) a run first reconciled, after it took over the account's money; 0 if it never did."""
    with StoreReader(journal) as reader:
        controls = reader.rows(Stream.EVENT, kinds=[Kind.CONTROL])
    first = controls[controls["aux"] == Control.RECONCILE]
    return int(first["ts_recv"][0]) if len(first) else 0


def stopped_by_its_end(journal: Path, desks: int) -> list[int]:
    """Return the desks that only the end of the run before has stopped: people's decisions stand."""
    with StoreReader(journal) as reader:
        rows = reader.rows(Stream.EVENT, kinds=[Kind.CONTROL])
        texts = {t.seq: t.text for t in reader.texts(field="control")}
    stopping = (Control.PAUSE, Control.RESUME, Control.STOP, Control.FLATTEN)
    last = [int(row["seq"]) for row in rows if row["aux"] in stopping][-1:]
    paused = paused_before(texts.get(last[0], "")) if last else None
    return [] if paused is None else [d for d in range(desks) if d not in paused]


async def take_up(loop: Loop) -> None:
    """Let desks go on that only the end of the run before has stopped.

    What people have stopped stays so, and is a line of the log: the run would seem to do nothing.
    """
    path = loop.session.store.path
    for desk in stopped_by_its_end(path, len(loop.floor.desks)):
        await loop.control(Control.RESUME, desk=desk)
    if (state := state_of(loop)) in ("paused", "reducing", "halted"):
        _log.warning("the run goes on as it was left, %s: `quantai control %s resume` lets it trade", state, path)

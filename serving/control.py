"""What the control page shows and does, apart from how it looks."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from quantai.core.errors import InputError, QuantaiError
from quantai.notebook.promote import store
from serving import pinned
from serving.deployment import MODES, Deployment, read_json
from serving.keys import Key, note
from serving.rest import DECISIONS, Desk


class Board:
    """The services, runs and versions of one name, for a visitor; everything that is decided is noted under `who`.

    Decisions raise InputError for a visitor who may read only, whatever the page offered.
    """

    def __init__(self, who: Key | None, deployment: Deployment | None = None) -> None:
        self.who = who
        self.desk = Desk(deployment or pinned.deployment())
        self.name = self.desk.deployment.tag.partition(":")[0]

    @property
    def operates(self) -> bool:
        """Whether this visitor may decide."""
        return self.who is not None and self.who.operates

    def state(self) -> dict[str, Any]:
        """Return what the run does, in a few words by what they are about."""
        said = self.desk.status
        run: dict[str, Any] = said.get("run", {})
        shown = {"version": said["tag"], "mode": said["mode"], "state": run.get("state", said["process"].get("state"))}
        if run:
            shown |= {"equity": f"{run['equity']:,.2f} {run['currency']}", "fills": run["fills"]}
            shown |= {"orders at work": len(run["at_work"]), "alarms": "; ".join(run["alarms"]) or "none"}
        return shown | ({"reason": reason} if (reason := said["process"].get("reason")) else {})

    def positions(self) -> list[dict[str, Any]]:
        """Return what is held."""
        held: dict[str, float] = self.desk.status.get("run", {}).get("positions", {})
        return [{"symbol": symbol, "units": units} for symbol, units in held.items()]

    def models(self) -> list[dict[str, Any]]:
        """Return the stored versions, newest first, with what they are called."""
        roles = {store.alias_of(self.name, alias): alias for alias in store.ALIASES}
        found: list[dict[str, Any]] = []
        for version in reversed(store.versions(self.name)):
            try:
                one = store.get(f"{self.name}:{version}")
            except QuantaiError as error:
                found.append({"version": version, "role": "", "promoted": "", "parameters": str(error), "gates": ""})
                continue
            bad = [f"{name} {said}" for name, said in one.gates.items() if said != "pass"]
            found.append({
                "version": version, "role": roles.get(one.tag, ""), "promoted": one.manifest["promoted"],
                "parameters": ", ".join(f"{k}={v}" for k, v in one.params.items()), "gates": ", ".join(bad) or "pass",
            })  # fmt: skip
        return found

    def services(self) -> list[dict[str, Any]]:
        """Return what is served under this name, by mode."""
        root = self.desk.deployment.root
        states = {mode: read_json(root / f"state-{mode}.json") for mode in MODES}
        return [
            {"mode": mode, "state": said.get("state"), "version": said.get("tag", ""), "process": said.get("pid")}
            for mode, said in states.items() if said
        ]  # fmt: skip

    def runs(self) -> list[dict[str, Any]]:
        """Return the journals of this name, newest first."""
        paths = sorted(self.desk.deployment.root.glob("*.journal"), key=lambda p: p.stat().st_mtime, reverse=True)
        return [
            {
                "journal": path.name,
                "last written": f"{datetime.fromtimestamp(path.stat().st_mtime, UTC):%Y-%m-%d %H:%M}",
            }
            for path in paths[:20]
        ]

    def challenger(self) -> list[dict[str, Any]]:
        """Return what the run and its challenger did on the same rows, nothing where there is none."""
        said = read_json(self.desk.deployment.comparison)
        return [{"which": which, **said[which]} for which in ("run", "challenger") if which in said]

    def decide(self, verb: str) -> str:
        """Give the run a decision; returns in words what came of it."""
        if verb not in DECISIONS:
            raise InputError(f"{verb} is no decision")
        return self._do(verb, lambda: _now(self.desk.tell(verb)))

    def promote(self, version: str) -> str:
        """Make a version the champion."""
        return self._do("promote", lambda: _now(self.desk.promote(version, "on the control page")))

    def roll_back(self) -> str:
        """Make the champion before this one champion again."""

        def work() -> dict[str, Any]:
            return {"champion": store.rollback(self.name, "on the control page")}

        return self._do("rollback", work)

    def _do(self, verb: str, work: Any) -> str:
        root = self.desk.deployment.root
        if not self.operates:
            note(root, self.who, verb, refused="needs the role operate")
            raise InputError("this key may read only")
        try:
            done: dict[str, Any] = work()
        except QuantaiError as error:
            note(root, self.who, verb, refused=str(error))
            return f"{verb} was refused: {error}"
        note(root, self.who, verb, journal=str(self.desk.journal), answer=done)
        return f"{verb}: " + ", ".join(f"{name} {value}" for name, value in done.items())


def _now(work: Any) -> Any:
    """Wait for work in a thread of its own: a page has an event loop that runs already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()

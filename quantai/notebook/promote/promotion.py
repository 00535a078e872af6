"""Promote: from a result or a class in a cell to an exact version in the model store, if the gates let it."""

import getpass
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from quantai.backtest.swept import Swept
from quantai.core.errors import InputError, StrategyError, UnknownName
from quantai.core.plain import plain
from quantai.data.bars import Bars
from quantai.data.tape import Tape
from quantai.execution.limits import Limits
from quantai.notebook.promote.candidate import Candidate
from quantai.notebook.promote.card import card
from quantai.notebook.promote.environment import environment_lock
from quantai.notebook.promote.fresh_process import differences_elsewhere
from quantai.notebook.promote.gates import ALWAYS, NAMES, Gate, OnStep, Thresholds, Trial, run_gates
from quantai.notebook.promote.golden import Golden
from quantai.notebook.promote.source import module_text
from quantai.notebook.promote.store import ALIASES, Alias, alias_of, save, set_alias, versions
from quantai.notebook.promote.version import CARD, LOCK, SOURCE, Version, check_name, write_version
from quantai.strategy.base import fields_of


@dataclass(frozen=True)
class Promotion:
    """What came of it: the version, None when a gate refused, and what every gate said."""

    name: str
    version: str | None
    alias: Alias | None
    gates: tuple[Gate, ...]
    overrides: Mapping[str, str]

    @property
    def tag(self) -> str:
        """The exact tag; raises InputError when nothing was stored."""
        if self.version is None:
            raise InputError(f"{self.name} was refused: {self.refusal}")
        return f"{self.name}:{self.version}"

    @property
    def refused_by(self) -> list[Gate]:
        """The gates that failed and were not overridden."""
        return [gate for gate in self.gates if gate.outcome == "fail" and gate.name not in self.overrides]

    @property
    def refusal(self) -> str:
        """Why it was refused, in one line."""
        return "; ".join(f"{gate.name}: {gate.reason}" for gate in self.refused_by)

    @property
    def report(self) -> str:
        """What every gate said, a line each."""
        mark = {"pass": "pass", "warn": "WARN", "fail": "FAIL"}
        lines = [f"{mark[g.outcome]}  {g.name:<14}{g.reason}" for g in self.gates]
        lines += [f"      {name} is overridden: {reason}" for name, reason in self.overrides.items()]
        stored = f"{self.name}:{self.version} is stored" + (f" as {self.alias}" if self.alias else "")
        return "\n".join([*lines, stored if self.version else f"{self.name} is refused: nothing was stored"])

    def __repr__(self) -> str:
        return self.report


def promote(
    what: Any,
    data: Any = None,
    *,
    name: str,
    sweep: Swept | None = None,
    prepare: Callable[[Bars], Any] | None = None,
    warmup: int | None = None,
    limits: Limits | str | Path | None = None,
    thresholds: Thresholds | None = None,
    benchmark: Any = None,
    override: Mapping[str, str] | None = None,
    alias: Alias | None = None,
    on_step: OnStep = lambda what: None,
    **settings: Any,
) -> Promotion:
    """Take a strategy through the gates and store an exact version of it, unless a gate says no.

    `what` is a Result or ReplayResult, a sweep (its best variant), or with `data` a strategy, a class of them, or a
    function `data -> Strategy` that fits one. `prepare` makes the bars it runs on from `data`. Costs and cash are those
    of the result, else `settings` (5 bp a fill unless said otherwise). `sweep` is where the parameters were chosen; the
    validation gate looks at it, against `benchmark` as in `verdict`. `warmup` is how many bars a service shows it
    before it may trade (ten of its longest periods unless given). `override` lets a failing gate pass, with the reason
    that is stored: `{"drawdown": "half the size of the old one"}`. The first version of a name becomes its champion,
    later ones the challenger, unless `alias` says which. `on_step` is called with what is done next, in words.

    Returns the promotion; its `version` is None when a gate refused. Raises InputError, UnknownName, MissingExtra or
    StorageError.
    """
    check_name(name)
    reasons = _overrides(override or {})
    if alias is not None and alias not in ALIASES:
        raise UnknownName("alias", alias, ALIASES)
    if isinstance(limits, str | Path):
        limits = Limits.load(limits)
    on_step("backtesting")
    candidate = Candidate.of(what, data, sweep=sweep, prepare=prepare, settings=settings)
    with tempfile.TemporaryDirectory(prefix="quantai-promote-") as folder:
        source = Path(folder) / SOURCE
        text = _text_of(candidate, source)
        bars = _warmup_of(candidate, warmup)
        trial = Trial(candidate, source, thresholds or Thresholds(), bars, limits, benchmark)
        gates, golden = run_gates(trial, on_step)
        manifest = _manifest(candidate, name, gates, reasons, bars)
        if golden is not None and not _refusing(gates, reasons):
            on_step("trying it in a process of its own")
            gates = _try_elsewhere(Path(folder), manifest, text, gates, golden, limits)
            manifest["gates"] = gates
    if golden is None or _refusing(gates, reasons):
        return Promotion(name, None, None, tuple(gates), reasons)
    on_step("storing it")
    stored = _store(manifest, text, golden, limits)
    role = alias or ("champion" if alias_of(name, "champion") is None else "challenger")
    set_alias(name, role, stored.version, "promoted")
    return Promotion(name, stored.version, role, tuple(gates), reasons)


def _text_of(candidate: Candidate, path: Path) -> str:
    try:
        text = module_text(type(candidate.strategy))
    except StrategyError as error:
        text = f"raise RuntimeError({' '.join(str(error).split())!r})\n"  # the first gate says it
    path.write_text(text)
    return text


def _warmup_of(candidate: Candidate, given: int | None) -> int:
    if given is not None:
        if given < 0:
            raise InputError(f"warmup is a number of bars, 0 or more, got {given}")
        return given
    strategy = candidate.strategy
    periods = [i.resolve(strategy.params) for i in fields_of(type(strategy)).indicators.values()]
    return 10 * max(periods, default=0)


def _overrides(given: Mapping[str, str]) -> dict[str, str]:
    for name, reason in given.items():
        if name not in NAMES:
            raise UnknownName("gate", name, NAMES)
        if name in ALWAYS:
            raise InputError(f"gate {name} has no override: a service would refuse this strategy at its start")
        if not reason.strip():
            raise InputError(f"overriding {name} needs a reason, which is stored: {name}=why")
    return {name: reason.strip() for name, reason in given.items()}


def _refusing(gates: list[Gate], overrides: Mapping[str, str]) -> bool:
    return any(gate.outcome == "fail" and gate.name not in overrides for gate in gates)


def _manifest(
    candidate: Candidate, name: str, gates: list[Gate], overrides: Mapping[str, str], warmup: int
) -> dict[str, Any]:
    strategy, data = candidate.strategy, candidate.data
    what, first, last = ("bars", "ts_open", "ts_close") if candidate.on_bars else ("rows", "ts_recv", "ts_recv")
    return {
        "name": name,
        "version": "",
        "class": type(strategy).__name__,
        "hash": type(strategy).source_hash(),
        "params": strategy.params,
        "promoted": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": getpass.getuser(),
        "warmup": warmup,
        "interval": data.interval if isinstance(data, Bars) else "",
        "symbols": [[i.venue, i.symbol] for i in candidate.instruments],
        "costs": candidate.costs,
        "data": {
            "what": what,
            "rows": len(data),
            "symbols": data.symbols,
            "first": _instant(data.rows[first][0]) if len(data) else "",
            "last": _instant(data.rows[last][-1]) if len(data) else "",
            "fingerprint": _fingerprint(data),
        },
        "stats": plain(candidate.result.stats),
        "gates": gates,
        "overrides": dict(overrides),
    }


def _try_elsewhere(
    folder: Path, manifest: dict[str, Any], text: str, gates: list[Gate], golden: Golden, limits: Limits | None
) -> list[Gate]:
    """Hold what would be stored against a process that knows nothing of this one."""
    tried = folder / "version"
    tried.mkdir()
    write_version(tried, manifest, {SOURCE: text, CARD: "", LOCK: ""}, golden, limits)
    found = differences_elsewhere(tried)
    if not found:
        return gates
    failed = Gate("deterministic", "fail", f"in a process of its own it decides differently: {found[0]}")
    return [failed if gate.name == "deterministic" else gate for gate in gates]


def _store(manifest: dict[str, Any], text: str, golden: Golden, limits: Limits | None) -> Version:
    said = json.dumps(plain(manifest), sort_keys=True) + text
    digest = hashlib.sha256(said.encode()).hexdigest()[:8]
    stamp = time.strftime("%Y%m%dt%H%M%S", time.gmtime())
    version = f"{stamp}-{digest}"
    known = versions(manifest["name"])
    if version in known:
        raise InputError(f"{manifest['name']}:{version} is stored already")
    manifest = manifest | {"version": version}
    texts = {SOURCE: text, CARD: card(plain(manifest)), LOCK: environment_lock()}
    labels = {"class": manifest["class"], "hash": manifest["hash"], "quantai": "strategy"}
    return save(
        manifest["name"], version, lambda folder: write_version(folder, manifest, texts, golden, limits), labels
    )


def _instant(ns: Any) -> str:
    return str(np.datetime64(int(ns), "ns").astype("datetime64[s]")) + "Z"


def _fingerprint(data: Bars | Tape) -> str:
    if isinstance(data, Bars):
        return data.fingerprint
    names = repr([i.as_dict() for i in data.instruments]).encode()
    return hashlib.blake2b(np.ascontiguousarray(data.rows).tobytes() + names, digest_size=16).hexdigest()

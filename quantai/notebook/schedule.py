"""The schedule: which notebooks run when, with which parameters; one TOML file."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from quantai.core.errors import InputError, UnknownName

_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One notebook that runs by itself.

    name: lower case, unique. notebook: path, relative to the schedule. parameters: for its cell tagged `parameters`;
    `{date}`, `{yesterday}` and `{instant}` in a text become those of the instant the run is for, UTC.
    cron: when it runs, five fields, UTC. after: pipelines whose success starts it. on_change: a pattern of files, a
    new or changed one of which starts it. timeout_s: of one attempt. retries: further attempts after one that did not
    succeed, retry_wait_s apart (doubling). concurrency: how many runs of it may go on at once. notify: names of
    environment variables that hold the addresses of webhooks.
    """

    name: str
    notebook: Path
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    cron: str = ""
    after: tuple[str, ...] = ()
    on_change: str = ""
    timeout_s: float = 3600.0
    retries: int = 0
    retry_wait_s: float = 60.0
    concurrency: int = 1
    notify: tuple[str, ...] = ()
    about: str = ""

    def arguments(self, instant: datetime, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the parameters of a run for an instant; `given` ones replace those of the schedule.

        >>> nightly = Pipeline(name="nightly", notebook=Path("n.ipynb"), parameters={"day": "{yesterday}", "n": 3})
        >>> nightly.arguments(datetime(2024, 3, 1, 2, tzinfo=UTC), {"n": 5})
        {'day': '2024-02-29', 'n': 5}
        """
        at = instant.astimezone(UTC)
        known = {"date": f"{at:%Y-%m-%d}", "yesterday": f"{at - timedelta(days=1):%Y-%m-%d}", "instant": at.isoformat()}
        return {name: _filled(value, known) for name, value in {**self.parameters, **(given or {})}.items()}


@dataclass(frozen=True, slots=True)
class Schedule:
    """The pipelines of one file."""

    path: Path
    pipelines: Mapping[str, Pipeline]

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the schedule of a TOML file, or of a single notebook, which becomes a pipeline without a time.

        Raises InputError, naming the file and what to do, for anything that cannot be run as it stands.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file: give a schedule (.toml) or a notebook (.ipynb)")
        if path.suffix == ".ipynb":
            name = re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-") or "notebook"
            return cls(path, {name: Pipeline(name=name, notebook=path)})
        try:
            said = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not TOML: {error}") from None
        unknown = said.keys() - {"defaults", "pipeline"}
        if unknown:
            raise UnknownName(f"table in {path.name}", min(unknown), ["defaults", "pipeline"])
        items, defaults = said.get("pipeline", []), said.get("defaults", {})
        if not isinstance(items, list) or not all(isinstance(i, dict) for i in (*items, defaults)):
            raise InputError(f"{path.name}: write [[pipeline]] above each one, [defaults] above what holds for all")
        found: dict[str, Pipeline] = {}
        for number, item in enumerate(items, start=1):
            one = _pipeline(path, {**defaults, **item}, number)
            if one.name in found:
                raise InputError(f"{path.name}: two pipelines are called {one.name!r}: rename one")
            found[one.name] = one
        if not found:
            raise InputError(f"{path.name} lists no [[pipeline]]")
        for one in found.values():
            for before in one.after:
                if before not in found:
                    raise UnknownName(f"pipeline that {one.name} comes after", before, found)
        _refuse_circles(path, found)
        return cls(path, found)

    def named(self, names: tuple[str, ...] | list[str]) -> list[Pipeline]:
        """Return pipelines by name, all of them without any; raises UnknownName."""
        for name in names:
            if name not in self.pipelines:
                raise UnknownName("pipeline", name, self.pipelines)
        return [self.pipelines[name] for name in names] or list(self.pipelines.values())


def seconds(text: str | float) -> float:
    """Return a span such as "90s", "30m", "1h" or "2d" in seconds; numbers are seconds already.

    >>> seconds("1.5h"), seconds(20)
    (5400.0, 20.0)
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        return float(text)
    found = _SPAN.fullmatch(str(text).strip())
    if not found:
        raise InputError(f"{text!r} is not a span of time: write 90s, 30m, 1h or 2d")
    return float(found[1]) * _SECONDS[found[2]]


def _pipeline(path: Path, said: Mapping[str, Any], number: int) -> Pipeline:
    where = f"{path.name}: pipeline {said.get('name', number)}"
    spelt = {"timeout": "timeout_s", "retry_wait": "retry_wait_s"}
    known = {f.name for f in fields(Pipeline)} - set(spelt.values()) | set(spelt)
    for key in said:
        if key not in known:
            raise UnknownName(f"setting of {where}", key, known)
    for key in ("name", "notebook"):
        if not isinstance(said.get(key), str) or not said[key]:
            raise InputError(f"{where}: {key} is missing")
    _check_kinds(where, said)
    values: dict[str, Any] = dict(said)
    for key, kept in spelt.items():
        if key in values:
            values[kept] = seconds(values.pop(key))
    for key in ("after", "notify"):
        one_or_more = values.get(key, ())
        values[key] = (one_or_more,) if isinstance(one_or_more, str) else tuple(one_or_more)
    values["notebook"] = path.parent / values["notebook"]
    one = Pipeline(**values)
    _check(where, one)
    return one


def _check_kinds(where: str, said: Mapping[str, Any]) -> None:
    for key in ("cron", "on_change", "about"):
        if not isinstance(said.get(key, ""), str):
            raise InputError(f"{where}: {key} is a text in quotes, not {said[key]!r}")
    for key in ("retries", "concurrency"):
        if type(said.get(key, 1)) is not int:
            raise InputError(f"{where}: {key} is a whole number, not {said[key]!r}")
    for key in ("after", "notify"):
        given = said.get(key, "")
        if not all(isinstance(name, str) for name in (given if isinstance(given, list) else [given])):
            raise InputError(f"{where}: {key} is a text in quotes or a list of them, not {given!r}")
    if not isinstance(said.get("parameters", {}), dict):
        raise InputError(f'{where}: parameters are a table, such as {{ symbol = "SPX" }}, not {said["parameters"]!r}')


def _check(where: str, one: Pipeline) -> None:
    if not _NAME.fullmatch(one.name):
        raise InputError(f"{where}: a name has lower-case letters, digits, - and _ only")
    if not one.notebook.is_file():
        raise InputError(f"{where}: there is no notebook {one.notebook}")
    if not (one.timeout_s > 0 and one.retry_wait_s >= 0) or one.retries < 0 or one.concurrency < 1:
        raise InputError(f"{where}: timeout and concurrency are above 0, retries and retry_wait not below")
    if one.cron:
        from apscheduler.triggers.cron import CronTrigger

        try:
            CronTrigger.from_crontab(one.cron, timezone="UTC")
        except ValueError as error:
            raise InputError(f"{where}: cron {one.cron!r}: {error}: five fields, such as '0 2 * * *'") from None


def _refuse_circles(path: Path, found: Mapping[str, Pipeline]) -> None:
    def visit(name: str, behind: tuple[str, ...]) -> None:
        if name in behind:
            raise InputError(f"{path.name}: {' after '.join((*behind[behind.index(name) :], name))}: a circle")
        for before in found[name].after:
            visit(before, (*behind, name))

    for name in found:
        visit(name, ())


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda m: known.get(m[1], m[0]), value)
    if isinstance(value, list):
        return [_filled(item, known) for item in value]
    return {k: _filled(v, known) for k, v in value.items()} if isinstance(value, dict) else value

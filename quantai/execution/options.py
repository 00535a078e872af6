"""Options of a run that trades, as people write them (on a command line, in a cell, in a TOML file), made a plan."""

import inspect
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from quantai.core.errors import DataError, InputError, StorageError, UnknownName
from quantai.data.bars import interval_ns
from quantai.execution.limits import Limits
from quantai.execution.plan import DeskPlan, Plan
from quantai.strategy import Strategy
from quantai.strategy.load import load_strategy
from quantai.venues.rules import SimVenue

Named = Strategy | type[Strategy] | str
"""A strategy, its class (with the defaults of its parameters), or how it is found: `module:Class`, `file.py:Class`."""

_OF_A_STRATEGY = ("class", "params", "symbols", "interval", "router")
_OF_A_VENUE = ("symbols", "endpoint", "fee_bps")
_NUMBERS = ("seconds", "cash", "fee_bps", "stale", "dead_man")
_NOT_IN_A_FILE = ("strategies", "params", "desks", "venues", "endpoints", "fees_bps", "i_understand")


def make_plan(
    strategies: Named | Sequence[Named],
    *,
    journal: str | Path,
    params: Mapping[str, Any] | None = None,
    venue: str = "",
    symbols: str | Sequence[str] = (),
    mode: str = "paper",
    limits: str | Path | Limits | None = None,
    i_understand: bool = False,
    endpoint: str = "",
    sandbox: bool = False,
    seconds: float | None = None,
    interval: str = "",
    channels: str | Sequence[str] = (),
    cash: float = 100_000.0,
    currency: str = "",
    lot: str = "",
    lake: str | Path | None = None,
    start: str = "",
    end: str = "",
    warmup: str = "",
    at_end: str = "cancel",
    fee_bps: float = 0.0,
    stale: float = 15.0,
    dead_man: float = 30.0,
    router: str = "instrument",
    desks: Sequence[DeskPlan] = (),
    venues: Mapping[str, Sequence[str]] | None = None,
    endpoints: Mapping[str, str] | None = None,
    fees_bps: Mapping[str, float] | None = None,
) -> Plan:
    """Return the plan that options of a run make; their names are those of `quantai trade`, `quantai trade --help` explains them.

    Raises InputError in one line for what must not or cannot run, before anybody is reached.

    >>> plan = make_plan("quantai.strategy.examples:Quote", venue="BINANCE", symbols="BTC-USDT", journal="x.journal")
    >>> plan.venues, plan.mode
    ({'BINANCE': ['BTC-USDT']}, 'paper')
    """  # noqa: E501
    listed = dict(venues or {}) or venues_of(venue, _words(symbols))
    every = [strategies] if isinstance(strategies, Strategy | type | str) else list(strategies)
    if params and len(every) != 1:
        raise InputError("params are those of one strategy: give each of several its own")
    if lake is None and (start or end):
        raise InputError("dates are those of a lake: say which, --lake DIR")
    past = mode == "replay"
    span = _span(warmup) if warmup else (start or None, end or None)
    if warmup and (past or lake is None):
        raise InputError("a warm-up is on rows of a lake, before live ones: --lake DIR, and no replay")
    plan = Plan(
        strategies=[_strategy(one, params or {}) for one in every],
        venues=listed,
        mode=cast("Any", mode),
        journal=Path(journal),
        desks=desks or [DeskPlan(router=cast("Any", router))] * len(every),
        limits=limits if isinstance(limits, Limits) or limits is None else Limits.load(Path(limits)),
        understood=i_understand,
        interval=interval,
        channels=_words(channels),
        cash=cash,
        currency=currency,
        lots=dict.fromkeys((s for names in listed.values() for s in names), lot) if lot else {},
        rules=SimVenue(maker_bps=fee_bps, taker_bps=fee_bps),
        seconds=seconds,
        endpoint=endpoint,
        endpoints=dict(endpoints or {}),
        fees_bps=dict.fromkeys(listed, fee_bps) | dict(fees_bps or {}),
        sandbox=sandbox,
        warm_up=(lake, *span) if lake and not past else None,
        past=(lake, start or None, end or None) if lake and past else None,
        at_end=cast("Any", at_end),
        stale_s=stale,
        dead_man_s=dead_man,
    )
    plan.check()
    return plan


def _span(said: str) -> tuple[Any, Any]:
    """Return (first instant, end) of a warm-up: `3d` before now, from an instant on, or `FROM..TO`; None is no bound.

    >>> _span("2024-08-08..2024-08-09"), _span("2024-08-08")
    (('2024-08-08', '2024-08-09'), ('2024-08-08', None))
    """
    start, _, end = said.partition("..")
    if start[:1].isdigit() and start[-1:].isalpha() and start[-1:] != "Z":
        return time.time_ns() - interval_ns(start), None
    return start or None, end or None


def venues_of(venue: str, symbols: Sequence[str]) -> dict[str, list[str]]:
    """Return symbols by venue, out of names such as `BTC-USDT` (at `venue`) and `OKX:BTC-USDT`.

    >>> venues_of("BINANCE", ["BTC-USDT", "OKX:BTC-USDT"])
    {'BINANCE': ['BTC-USDT'], 'OKX': ['BTC-USDT']}
    """
    found: dict[str, list[str]] = {}
    for name in symbols:
        said, _, symbol = name.rpartition(":")
        if not (said or venue):
            raise InputError(f"say where {symbol} is traded: --venue BINANCE, or BINANCE:{symbol}")
        found.setdefault(said or venue, []).append(symbol)
    if not found:
        raise InputError("say what to trade: --venue BINANCE --symbols BTC-USDT")
    return found


def read_options(path: str | Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Read options of `make_plan` from a TOML file: the run's own, tables [[strategy]] and [venue.NAME].

    Options `given` elsewhere come before them, and before those of single strategies and venues. Paths in the file are
    relative to it. That somebody understands what a live run does is said where it is started.
    Raises InputError, naming the nearest key, for what is no option.
    """
    path = Path(path)
    try:
        said = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"there is no plan {path}: docs/trading.md has an example") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path} is no TOML: {error}") from None
    tables, venues = said.pop("strategy", []), said.pop("venue", {})
    known = [n for n in inspect.signature(make_plan).parameters if n not in _NOT_IN_A_FILE]
    _check(path, said, known)
    for name, value in said.items():
        wanted = int | float if name in _NUMBERS else bool if name == "sandbox" else str | list
        if not isinstance(value, wanted) or (name in _NUMBERS and isinstance(value, bool)):
            raise InputError(f"{path}: {name} is {value!r}, which is no value for it")
    if not (isinstance(tables, list) and tables):
        raise InputError(f"{path} names no strategy: add a table [[strategy]] with class = 'module:Class'")
    if isinstance(venues, dict) and venues:
        said |= _venues(path, cast("dict[str, Any]", venues))
    router = said.pop("router", "instrument")
    strategies, desks = list[Strategy](), list[DeskPlan]()
    for table in cast("list[dict[str, Any]]", tables):
        _check(path, table, _OF_A_STRATEGY)
        strategies.append(_strategy(_near(path, str(table.get("class", ""))), table.get("params", {}))[0])
        symbols, length = tuple(_words(table.get("symbols", ()))), str(table.get("interval", ""))
        desks.append(DeskPlan(symbols=symbols, interval=length, router=table.get("router", router)))
    names = [_near(path, str(table["class"])) for table in tables]
    for name in ("journal", "limits", "lake"):
        if name in said:
            said[name] = path.parent / str(said[name])
    for name, of_each in (("symbols", "venues"), ("endpoint", "endpoints"), ("fee_bps", "fees_bps")):
        if name in given:
            said.pop(of_each, None)
    mine: dict[str, Any] = {name: given[name] for name in ("router", "interval") if name in given}
    desks = [replace(desk, **mine) for desk in desks]
    return said | {"strategies": list(zip(strategies, names, strict=True)), "desks": desks} | dict(given)


def _venues(path: Path, tables: dict[str, Any]) -> dict[str, Any]:
    for table in tables.values():
        _check(path, table, _OF_A_VENUE)
    return {
        "venues": {name: _words(table.get("symbols", ())) for name, table in tables.items()},
        "endpoints": {name: table["endpoint"] for name, table in tables.items() if "endpoint" in table},
        "fees_bps": {name: float(table["fee_bps"]) for name, table in tables.items() if "fee_bps" in table},
    }


def _check(path: Path, table: Any, known: Sequence[str]) -> None:
    if not isinstance(table, dict):
        raise InputError(f"{path}: {table!r} stands where a table is expected")
    for name in cast("dict[str, Any]", table):
        if name not in known:
            raise UnknownName(f"option in {path}", name, known)


def _near(path: Path, name: str) -> str:
    """Return the name of a strategy with a file beside the plan found from here."""
    home, colon, wanted = name.rpartition(":")
    return f"{path.parent / home}:{wanted}" if colon and home.endswith(".py") else name


def _strategy(named: Any, params: Mapping[str, Any]) -> tuple[Strategy, str]:
    """Return a strategy and how its class is found again."""
    if isinstance(named, tuple):
        return cast("tuple[Strategy, str]", named)
    if isinstance(named, str):
        return load_strategy(named)(**params), named
    if isinstance(named, Strategy) and params:
        raise InputError(f"{type(named).__name__} has its parameters: give the class, or leave out params")
    strategy = named if isinstance(named, Strategy) else named(**params)
    cls = type(strategy)
    return strategy, f"{cls.__module__}:{cls.__qualname__}"


def _words(said: str | Sequence[str]) -> list[str]:
    words = said.split(",") if isinstance(said, str) else said
    return [word.strip() for word in words if word.strip()]

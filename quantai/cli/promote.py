"""`quantai promote`: a strategy through the gates and into the model store; its champion, and the way back."""

import contextlib
import json as jsonlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from quantai.cli import given
from quantai.cli.output import Json, console, emit
from quantai.core.errors import InputError

EXAMPLES = """
quantai promote my_strategy.py:Cross --params '{"fast": 5}' --name btc-cross --lake lake --venue BINANCE --symbol BTC-USDT --interval 1m
quantai promote quantai.strategy.examples:Cross --name spx-cross --grid '{"fast": [5, 10], "slow": [50, 100]}' --limits limits.toml
quantai promote my_strategy.py:Cross --name btc-cross --data bars.csv --interval 1h --override drawdown="half the size of the old one"
quantai promote --name btc-cross --diff
quantai promote --name btc-cross --champion 20260102t030405-0a1b2c3d
quantai promote --name btc-cross --rollback
quantai promote --name btc-cross --export btc-cross.bento
"""  # noqa: E501


def promote(
    strategy: Annotated[str, typer.Argument(help="module:Class or file.py:Class; none: what is stored")] = "",
    name: Annotated[str, typer.Option(help="What it is called from now on, such as btc-cross.")] = "",
    params: given.Params = "{}",
    param: given.Param = None,
    grid: Annotated[str, typer.Option(help="Values to sweep, as JSON; the best variant goes on.")] = "",
    data: Annotated[str, typer.Option(help="sp500, nasdaq, or a csv or Parquet file of bars [default: sp500]")] = "",
    lake: given.Lake = None,
    venue: given.Venue = "",
    symbol: given.Symbol = "",
    interval: given.Interval = "",
    tz: given.Zone = "",
    start: given.Start = "",
    end: given.End = "",
    fee_bps: given.FeeBps = 5.0,
    slip_bps: given.SlipBps = 0.0,
    warmup: Annotated[int | None, typer.Option(help="Bars a service shows it before it may trade.")] = None,
    limits: Annotated[Path | None, typer.Option(help="Limits of risk (TOML); needed to be served live.")] = None,
    override: Annotated[list[str] | None, typer.Option(help="Let a gate fail, gate=reason; may be repeated.")] = None,
    alias: Annotated[str, typer.Option(help="champion or challenger [default: champion if there is none].")] = "",
    max_drawdown: Annotated[float, typer.Option(help="Worst loss from a peak that passes, a fraction.")] = 0.5,
    least_trades: Annotated[int, typer.Option(help="Fewest trades that pass.")] = 30,
    diff: Annotated[bool, typer.Option("--diff", help="Show what differs from the champion.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Make the champion before champion again.")] = False,
    champion: Annotated[str, typer.Option(help="Make this stored version the champion.")] = "",
    export: Annotated[Path | None, typer.Option(help="Write the champion with its service to this file.")] = None,
    json: Json = False,
) -> None:
    """Take a strategy through the gates and store an exact version of it; exit code 1 when a gate refuses.

    The gates: compiles, deterministic, parity, lookahead, warmup, costs, trades, drawdown, validation, limits.
    """
    if not name:
        raise InputError("say what it is called: --name btc-cross")
    if not strategy:
        _stored(name, diff=diff, rollback=rollback, champion=champion, export=export, json=json)
        return
    if rollback or champion or export:
        raise InputError("--rollback, --champion and --export are about stored versions: leave the strategy out")
    from quantai.backtest import sweep
    from quantai.notebook.promote import Thresholds
    from quantai.notebook.promote import promote as run
    from quantai.notebook.promote.store import alias_of
    from quantai.strategy.load import load_strategy

    with contextlib.redirect_stdout(sys.stderr):  # what the file prints is not the answer
        cls = load_strategy(strategy)
    bars = given.bars_of(data if data or lake else "sp500", lake, venue, symbol, interval, tz, start, end)
    costs: dict[str, Any] = {"fee_bps": fee_bps, "slip_bps": slip_bps}
    chosen = given.params_of(params, param or [])
    common: dict[str, Any] = {
        "name": name, "warmup": warmup, "limits": limits, "override": _reasons(override or []),
        "alias": cast("Any", alias or None),
        "thresholds": Thresholds(max_drawdown=max_drawdown, least_trades=least_trades),
    }  # fmt: skip
    before = alias_of(name, "champion")
    swept = _grid(grid) if grid else {}
    if twice := sorted(chosen.keys() & swept.keys()):
        raise InputError(f"{twice[0]} is given twice: leave it out of --params or of --grid")
    common["on_step"] = _teller(name, quiet=json)
    if grid:
        done = run(sweep(cls, bars, **chosen, **swept, **costs), **common)
    else:
        done = run(cls(**chosen), bars, **common, **costs)
    if not json:
        console().print(done.report, markup=False)
    answer: dict[str, Any] = {"name": name, "version": done.version, "gates": {g.name: g.outcome for g in done.gates}}
    if json:
        answer |= {"alias": done.alias, "reasons": {g.name: g.reason for g in done.gates}, "overrides": done.overrides}
    if diff and done.version and before:
        answer["diff"] = _difference(before, done.tag)
    emit(answer, json)
    if done.version is None:
        raise InputError(f"{name} is refused: {done.refusal}")


def _teller(name: str, *, quiet: bool) -> Callable[[str], None]:
    """Return what to call with each step: a line on the terminal, under which bars of its own may come and go."""
    err = console()
    if quiet or not err.is_terminal:
        return lambda what: None
    return lambda what: err.print(f"{name}: {what}", style="dim", markup=False)


def _stored(name: str, *, diff: bool, rollback: bool, champion: str, export: Path | None, json: bool) -> None:
    from quantai.notebook.promote import store

    store.check_stored(name)
    if rollback:
        emit({"name": name, "champion": store.rollback(name)}, json)
    elif champion:
        store.set_alias(name, "champion", champion, "by hand")
        emit({"name": name, "champion": store.resolve(name)}, json)
    elif export is not None:
        from quantai.notebook.promote.bento import export_bento

        tag = store.resolve(name)
        emit({"tag": tag, "file": export_bento(tag, export)}, json)
    elif diff:
        emit({"diff": _difference(store.resolve(name), store.resolve(f"{name}:challenger"))}, json)
    else:
        roles = {alias: store.alias_of(name, alias) for alias in store.ALIASES}
        emit({"name": name, **roles, "versions": store.versions(name)}, json)


def _difference(before: str, after: str) -> str:
    from quantai.notebook.promote import difference, get

    return str(difference(get(before), get(after)))


def _grid(text: str) -> dict[str, list[Any]]:
    try:
        said: Any = jsonlib.loads(text)
    except ValueError as error:
        raise InputError(f"--grid is not JSON: {error}") from None
    if not isinstance(said, dict) or not all(isinstance(v, list) for v in cast("dict[str, Any]", said).values()):
        raise InputError("--grid is a JSON object of lists, for example '{\"fast\": [5, 10]}'")
    return cast("dict[str, list[Any]]", said)


def _reasons(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        gate, equals, reason = pair.partition("=")
        if not equals:
            raise InputError(f"--override is gate=reason, not {pair!r}")
        found[gate] = reason
    return found

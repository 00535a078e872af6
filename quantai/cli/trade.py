"""`quantai trade`: a strategy on live rows, on paper or at a real venue, journaled so that it can be run again."""

import asyncio
import contextlib
import json as jsonlib
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from quantai.cli.output import Json, console, emit
from quantai.core.errors import InputError, VenueError

if TYPE_CHECKING:
    from quantai.execution.loop import Loop
    from quantai.execution.plan import Plan

EXAMPLES = """
quantai trade quantai.strategy.examples:Quote --venue BINANCE --symbols BTC-USDT --journal quote.journal
quantai trade my_strategy.py:Cross --params '{"fast": 5}' --interval 1m --venue OKX --symbols BTC-USDT --journal x.journal
quantai trade my_strategy.py:Cross --interval 1m --mode replay --lake lake --start 2024-08-08 --venue BINANCE --symbols BTC-USDT --journal y.journal
quantai trade my_strategy.py:Cross --interval 1m --mode live --i-understand --limits limits.toml --venue BINANCE --symbols BTC-USDT --journal z.journal
"""  # noqa: E501

StrategyName = Annotated[str, typer.Argument(help="module:Class or file.py:Class")]
Params = Annotated[str, typer.Option(help="Parameters as JSON, for example '{\"fast\": 5}'.")]
VenueName = Annotated[str, typer.Option(help="The venue, such as BINANCE.")]
Symbols = Annotated[str, typer.Option(help="What to trade, separated by commas: BTC-USDT,ETH-USDT.")]
Mode = Annotated[str, typer.Option(help="replay (rows of a lake), paper (live rows, simulated orders) or live.")]
Journal = Annotated[Path, typer.Option(help="Where the run is kept; one that exists is continued.")]
LimitsFile = Annotated[Path | None, typer.Option("--limits", help="Limits of risk (TOML); a live run needs them.")]
Understood = Annotated[bool, typer.Option("--i-understand", help="Yes, send real orders.")]
Endpoint = Annotated[str, typer.Option(help="Dial this address instead of the venue's: http://127.0.0.1:9300.")]
Sandbox = Annotated[bool, typer.Option("--sandbox", help="Use the venue's test network.")]
Seconds = Annotated[float | None, typer.Option(min=0, help="End after this long.")]
Interval = Annotated[str, typer.Option(help="Length of bars for on_bar, such as 1m; built from trades.")]
Channels = Annotated[str, typer.Option(help="What to receive [default: what the strategy's handlers need].")]
Cash = Annotated[float, typer.Option(help="What a paper account starts with.")]
Lot = Annotated[str, typer.Option(help="Step of quantities where the feed does not say it, such as 0.001.")]
LakeRoot = Annotated[Path | None, typer.Option("--lake", help="The lake to replay, or to warm up from.")]
Start = Annotated[str, typer.Option(help="First instant of a replay, or of the warm-up, ISO 8601.")]
End = Annotated[str, typer.Option(help="End of a replay, exclusive, ISO 8601.")]
AtEnd = Annotated[str, typer.Option(help="What becomes of the rest: cancel orders, flatten (close, too) or keep.")]
DeadMan = Annotated[
    float, typer.Option(min=0, help="Seconds of our silence after which a venue cancels all; 0: never.")
]
Fees = Annotated[float, typer.Option(help="Fee of a paper account on notional, basis points.")]
Stale = Annotated[float, typer.Option(min=0.1, help="Seconds of silence after which a feed is stale.")]


def trade(
    strategy: StrategyName,
    journal: Journal,
    params: Params = "{}",
    venue: VenueName = "",
    symbols: Symbols = "",
    mode: Mode = "paper",
    limits: LimitsFile = None,
    i_understand: Understood = False,
    endpoint: Endpoint = "",
    sandbox: Sandbox = False,
    seconds: Seconds = None,
    interval: Interval = "",
    channels: Channels = "",
    cash: Cash = 100_000.0,
    lot: Lot = "",
    lake: LakeRoot = None,
    start: Start = "",
    end: End = "",
    at_end: AtEnd = "cancel",
    fee_bps: Fees = 0.0,
    stale: Stale = 15.0,
    dead_man: DeadMan = 30.0,
    json: Json = False,
) -> None:
    """Trade a strategy until Ctrl-C, SIGTERM or --seconds; `quantai replay` runs its journal again.

    Orders are canceled at the end unless --at-end says otherwise. The same command continues a run that was killed:
    it asks the venue what became of every order before anything new goes out.
    """
    if not (venue and symbols):
        raise InputError("say what to trade: --venue BINANCE --symbols BTC-USDT")
    from quantai.execution.limits import Limits
    from quantai.execution.plan import Plan
    from quantai.execution.trade import trade as run
    from quantai.execution.trade import what_is_left
    from quantai.strategy.load import load_strategy
    from quantai.venues.rules import SimVenue

    with contextlib.redirect_stdout(sys.stderr):  # what the file prints is not the answer
        cls = load_strategy(strategy)
    listed = [item.strip() for item in symbols.split(",") if item.strip()]
    plan = Plan(
        strategies=[(cls(**_object(params)), strategy)],
        venues={venue: listed},
        mode=cast("Any", mode),
        journal=journal,
        limits=Limits.load(limits) if limits else None,
        understood=i_understand,
        interval=interval,
        channels=[item.strip() for item in channels.split(",") if item.strip()],
        cash=cash,
        lots=dict.fromkeys(listed, lot) if lot else {},
        rules=SimVenue(maker_bps=fee_bps, taker_bps=fee_bps),
        seconds=seconds,
        endpoint=endpoint,
        sandbox=sandbox,
        warm_up=(lake, start or None) if lake and mode != "replay" else None,
        past=(lake, start or None, end or None) if lake and mode == "replay" else None,
        at_end=cast("Any", at_end),
        stale_s=stale,
        dead_man_s=dead_man,
    )
    with _shown(plan, quiet=json) as on_status:
        done = asyncio.run(run(plan, on_status))
    emit(done.__dict__, json)
    if left := what_is_left(done, plan.at_end):
        raise VenueError(left)


def _object(text: str) -> dict[str, Any]:
    try:
        said = jsonlib.loads(text)
    except ValueError as error:
        raise InputError(f"--params is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise InputError("--params is a JSON object, for example '{\"fast\": 5}'")
    return cast("dict[str, Any]", said)


@contextmanager
def _shown(plan: "Plan", *, quiet: bool) -> Generator["Callable[[Loop], None] | None"]:
    """Yield what to call once a second: it keeps one line about the run up to date."""
    err = console()
    if quiet or not err.is_terminal:
        yield None
        return
    from rich.live import Live
    from rich.text import Text

    with Live(console=err, transient=True, refresh_per_second=4) as live:
        yield lambda loop: live.update(Text(_line(plan, loop), no_wrap=True, overflow="ellipsis"))


def _line(plan: "Plan", loop: "Loop") -> str:
    from quantai.execution.agree import at_work

    oms, counts = loop.oms, loop.counts
    state = "trading" if loop.reconciled else "reconciling"
    equity = oms.portfolio.equity(oms.portfolio.accounts[0])
    fills = int(oms.table.executions.used[0])
    alarm = f"  ALARM {counts.alarms[-1]}" if counts.alarms else ""
    return (
        f"{plan.mode}  {state}  rows {counts.rows:,}  orders {len(oms.table):,}  at work {len(at_work(oms))}  "
        f"fills {fills:,}  equity {equity:,.2f} {oms.setup.currency}{alarm}"
    )

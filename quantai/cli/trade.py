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

from quantai.cli.given import check_lake
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
quantai trade --plan run.toml --journal run.journal --seconds 3600
"""  # noqa: E501

StrategyName = Annotated[str, typer.Argument(help="module:Class or file.py:Class; with --plan its strategies.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="Strategies, venues and options from a TOML file.")]
Params = Annotated[str, typer.Option(help="Parameters as JSON, for example '{\"fast\": 5}'.")]
VenueName = Annotated[str, typer.Option(help="The venue, such as BINANCE.")]
Symbols = Annotated[str, typer.Option(help="What to trade, separated by commas: BTC-USDT, or OKX:BTC-USDT.")]
Mode = Annotated[str, typer.Option(help="replay (rows of a lake), paper (live rows, simulated orders) or live.")]
Journal = Annotated[Path | None, typer.Option(help="Where the run is kept; one that exists is continued.")]
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
WarmUp = Annotated[str, typer.Option(help="Rows of --lake to warm up on: 3d (back from now), FROM or FROM..TO.")]
AtEnd = Annotated[str, typer.Option(help="What becomes of the rest: cancel orders, flatten (close, too) or keep.")]
DeadMan = Annotated[
    float, typer.Option(min=0, help="Seconds of our silence after which a venue cancels all; 0: never.")
]
Fees = Annotated[float, typer.Option(help="Fee of a paper account on notional, basis points.")]
Currency = Annotated[str, typer.Option(help="What equity and limits are counted in [default: what is settled in].")]
RouterName = Annotated[
    str, typer.Option("--router", help="What several venues list: instrument (each its own), best_price or split.")
]
LogJson = Annotated[str, typer.Option(metavar="FILE|-", help="Log JSON lines to a file that grows, or - to stderr.")]
MetricsPort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Serve metrics for Prometheus at this port; 0: a free one.")
]
MetricsAddress = Annotated[
    str, typer.Option(help="The address that metrics are served at; anybody who gets there sees them.")
]
Stale = Annotated[float, typer.Option(min=0.1, help="Seconds of silence after which a feed is stale.")]


def trade(
    context: typer.Context,
    strategy: StrategyName = "",
    plan: PlanFile = None,
    journal: Journal = None,
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
    currency: Currency = "",
    lot: Lot = "",
    lake: LakeRoot = None,
    start: Start = "",
    end: End = "",
    warmup: WarmUp = "",
    at_end: AtEnd = "cancel",
    fee_bps: Fees = 0.0,
    router: RouterName = "instrument",
    stale: Stale = 15.0,
    dead_man: DeadMan = 30.0,
    log_json: LogJson = "",
    metrics_port: MetricsPort = None,
    metrics_address: MetricsAddress = "127.0.0.1",
    json: Json = False,
) -> None:
    """Trade a strategy until Ctrl-C, SIGTERM or --seconds; `quantai replay` runs its journal again.

    Orders are canceled at the end unless --at-end says otherwise. The same command continues a run that was killed:
    it asks the venue what became of every order before anything new goes out. Options given here come before those of
    --plan, docs/trading.md has an example of one.
    """
    from quantai.data.lake import Lake
    from quantai.execution.monitor.exporter import check_address
    from quantai.execution.monitor.logs import json_lines
    from quantai.execution.options import make_plan, read_options
    from quantai.execution.trade import trade as run
    from quantai.execution.trade import what_is_left

    said = {name: value for name, value in context.params.items() if name not in _NOT_OF_THE_PLAN}
    said["params"] = _object(params)
    with contextlib.redirect_stdout(sys.stderr):  # what the file prints is not the answer
        if plan is not None:
            if strategy or "params" in _given(context):
                raise InputError(f"strategies and their parameters are those of {plan}: leave them out beside --plan")
            said = read_options(plan, {name: said[name] for name in _given(context) if name in said})
        else:
            said["strategies"] = strategy or []
        if said.get("journal") is None:
            raise InputError("say where the run is kept: --journal FILE")
        made = make_plan(**said)
        if said.get("lake") is not None:
            check_lake(Lake(said["lake"]).root)
    metrics = None if metrics_port is None else (metrics_address, metrics_port)
    if metrics is not None:
        check_address(*metrics)
    with json_lines(log_json), _shown(made, quiet=json or log_json == "-") as on_status:
        done = asyncio.run(run(made, on_status, metrics=metrics))
    emit(done.__dict__, json)
    if left := what_is_left(done, made.at_end):
        raise VenueError(left)


_NOT_OF_THE_PLAN = ("strategy", "plan", "json", "log_json", "metrics_port", "metrics_address")


def _given(context: typer.Context) -> list[str]:
    """Return the names of the options that stand on the command line."""
    return [name for name in context.params if str(context.get_parameter_source(name)).endswith("COMMANDLINE")]


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
    alarm = f"  ALARM {[*counts.alarms][-1]}" if counts.alarms else ""
    return (
        f"{plan.mode}  {state}  rows {counts.rows:,}  orders {len(oms.table):,}  at work {len(at_work(oms))}  "
        f"fills {fills:,}  equity {equity:,.2f} {oms.setup.currency}{alarm}"
    )

"""Tools for research: strategies, backtests, sweeps, validation, plots, comparisons."""

import itertools
import math
from typing import Annotated, Any, Literal

from pydantic import Field

import quantai as qa
from quantai.backtest.result import Result
from quantai.backtest.sweep import Sweep
from quantai.core.errors import InputError, UnknownName
from quantai.data import Bars
from quantai.strategy import Strategy
from quantai.strategy.load import strategies_in
from quantai.tools.registry import tool
from quantai.tools.workspace import Workspace

Named = Annotated[str, "a name another tool gave, such as bars-1"]
Params = Annotated[dict[str, float | int | bool], "parameters of the strategy; its defaults for those left out"]
Fee = Annotated[float, Field(ge=0, le=1000, description="fee of every fill, in basis points of its notional")]

_SHOWN = 20
_MOST_VARIANTS = 100_000


def strategy_of(workspace: Workspace, name: str) -> type[Strategy]:
    """Return a strategy that the workspace lists; raises UnknownName."""
    found = _listed(workspace)
    if name not in found:
        raise UnknownName("strategy", name, found)
    return found[name]


@tool(permission="read", category="research", foreign=False, examples=[{}])
def list_strategies(workspace: Workspace) -> list[dict[str, Any]]:
    """List the strategies that can be run, with their parameters and what they do."""
    if not all(home.startswith("quantai.") for home in workspace.strategies):
        workspace.tainted = True  # their docstrings are somebody's text
    return [
        {"name": name, "does": (cls.__doc__ or "").strip().split("\n")[0], "parameters": cls().params}
        for name, cls in sorted(_listed(workspace).items())
    ]


@tool(permission="read", category="research", foreign=True, examples=[{"strategy": "Cross"}])
def read_source(workspace: Workspace, strategy: str) -> str:
    """Return the source of a strategy."""
    return strategy_of(workspace, strategy).source()


@tool(
    permission="compute",
    category="research",
    foreign=False,
    examples=[{"strategy": "Cross", "bars": "bars-1", "params": {"fast": 5}}],
)
def backtest(
    workspace: Workspace, strategy: str, bars: Named, params: Params | None = None, fee_bps: Fee = 5.0
) -> dict[str, Any]:
    """Run a strategy over loaded bars; the result gets a name. Fees are counted unless fee_bps is 0."""
    made = strategy_of(workspace, strategy)(**(params or {}))
    result = qa.backtest(made, workspace.find(bars, Bars), fee_bps=fee_bps)
    return {"name": workspace.keep("result", result)} | _told(result)


@tool(
    permission="compute",
    category="research",
    foreign=False,
    timeout_s=600,
    examples=[{"strategy": "Cross", "bars": "bars-1", "grid": {"fast": [5, 10, 20], "slow": [50, 100]}}],
)
def sweep(
    workspace: Workspace,
    strategy: str,
    bars: Named,
    grid: Annotated[dict[str, list[float | int]], "values to try for each parameter; all combinations are run"],
    fee_bps: Fee = 5.0,
    by: Annotated[str, "the statistic to sort by"] = "sharpe",
) -> dict[str, Any]:
    """Run every combination of parameters; returns the best ones. Judge them with `validate` before believing them."""
    count = math.prod(len(values) for values in grid.values())
    if count > _MOST_VARIANTS:
        raise InputError(f"{count:,} variants are too many here: at most {_MOST_VARIANTS:,}")
    variants = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    cls = strategy_of(workspace, strategy)
    swept = qa.sweep(cls, workspace.find(bars, Bars), variants=variants, fee_bps=fee_bps)
    table = swept.frame()
    if by not in table:
        raise UnknownName("statistic", by, table.columns)
    best = table.sort_values(by, ascending=False).head(_SHOWN)
    return {"name": workspace.keep("sweep", swept), "variants": len(swept), "best": best.to_dict("records")}


@tool(permission="compute", category="research", foreign=False, timeout_s=600, examples=[{"sweep": "sweep-1"}])
def validate(workspace: Workspace, sweep: Named) -> dict[str, Any]:
    """Judge the best variant of a sweep in the light of all that were tried: say whether it is more than luck."""
    judged = qa.verdict(workspace.find(sweep, Sweep))
    return {"passed": judged.passed, "checks": judged.checks, "params": judged.params, "verdict": judged.text}


@tool(permission="compute", category="research", foreign=False, examples=[{"name": "result-1"}])
def analyze_result(workspace: Workspace, name: Named) -> dict[str, Any]:
    """Return everything measured about a backtest: statistics, fill rules, warnings, its worst and best trades."""
    result = workspace.find(name, Result)
    trades = result.trades.sort_values("pnl")
    columns = ["symbol", "side", "entry_ts", "exit_ts", "pnl", "ret"]
    ends = {"worst": trades.head(3), "best": trades.tail(3)}
    shown = {
        end: [dict(zip(columns, row, strict=True)) for row in rows[columns].astype(str).to_numpy().tolist()]
        for end, rows in ends.items()
    }
    return _told(result) | {
        "stats": result.stats,
        "rules": result.rules,
        "notes": result.notes,
        "trades": shown,
    }


@tool(permission="compute", category="research", foreign=False, examples=[{"names": ["result-1", "result-2"]}])
def compare_results(
    workspace: Workspace,
    names: Annotated[list[str], Field(min_length=2, max_length=20, description="results to compare")],
) -> dict[str, Any]:
    """Put results side by side: statistics of each, and whether they saw the same data under the same costs."""
    results = {name: workspace.find(name, Result) for name in names}
    return {
        "same data": len({r.bars.fingerprint for r in results.values()}) == 1,
        "same costs": len({str(r.settings.as_dict()) for r in results.values()}) == 1,
        "stats": {name: r.stats for name, r in results.items()},
        "what": {name: repr(r.strategy) for name, r in results.items()},
    }


@tool(permission="write", category="research", foreign=False, examples=[{"name": "result-1", "kind": "tearsheet"}])
def plot(workspace: Workspace, name: Named, kind: Literal["tearsheet", "figure"] = "tearsheet") -> dict[str, Any]:
    """Write a page about a backtest into the workspace's folder and return its path; it opens without a network."""
    result = workspace.find(name, Result)
    workspace.folder.mkdir(parents=True, exist_ok=True)
    path = workspace.folder / f"{name}-{kind}.html"
    if kind == "tearsheet":
        result.tearsheet(path)
    else:
        result.plot().write_html(path, include_plotlyjs=True)
    return {"path": str(path)}


def _listed(workspace: Workspace) -> dict[str, type[Strategy]]:
    found: dict[str, type[Strategy]] = {}
    for home in workspace.strategies:
        found |= strategies_in(home)
    return found


def _told(result: Result) -> dict[str, Any]:
    chosen = ("total_return", "annual_return", "sharpe", "max_drawdown", "trades", "win_rate", "fees")
    stats = result.stats
    return {
        "strategy": repr(result.strategy),
        "bars": len(result.bars),
        "stats": {name: stats[name] for name in chosen if name in stats},
        "notes": result.notes,
    }

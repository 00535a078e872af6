"""Two results side by side: what differs in their statistics, and where they first parted."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quantai.backtest.replay_result import ReplayResult
from quantai.backtest.result import Result
from quantai.core.errors import InputError
from quantai.report.comparison import comparison_figure, difference_table

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from quantai.report.theme import Theme

_ORDER = ("ts", "symbol", "side", "type", "qty", "limit", "stop")
_FATE = ("state", "reason", "filled", "avg_px")
_FILL = ("ts", "ts_exch", "order", "symbol", "side", "qty", "px", "fee", "maker", "where")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What differs between two results of the same kind."""

    a: Any
    b: Any
    table: pd.DataFrame
    """One row a statistic, by name: a, b, difference (b - a)."""
    first: dict[str, str]
    """Where they first parted, in words, as far as they differ: settings, decision (what was asked), fate (how an order
    ended), fill."""

    @property
    def same(self) -> bool:
        """Whether orders and fills are the same, value by value."""
        return not set(self.first) - {"settings"}

    def plot(self, *, theme: "Theme" = "light") -> "go.Figure":
        """Return the P&L of both and the difference, over the instants of both."""
        from quantai.report.stats import instants

        (a, cash_a), (b, cash_b) = ((r.equity["equity"], _cash(r)) for r in (self.a, self.b))
        return comparison_figure(
            (instants(a.index), a.to_numpy() - cash_a), (instants(b.index), b.to_numpy() - cash_b),
            names=_names(self.a, self.b), currency=self.a.currency, theme=theme,
        )  # fmt: skip

    def __repr__(self) -> str:
        lines = [f"a: {_head(self.a)}", f"b: {_head(self.b)}"]
        lines += [f"first different {name}: {said}" for name, said in self.first.items()]
        if self.same:
            lines.append("orders and fills are the same")
        differs: Any = self.table[self.table["difference"].fillna(0.0) != 0.0]
        lines += differs.to_string(float_format="{:,.6g}".format).splitlines() if len(differs) else []
        return "\n".join(lines)


def compare[R: (Result, ReplayResult)](a: R, b: R) -> Comparison:
    """Compare two backtests or two replays: their statistics, and the first order and fill that differ.

    Orders are compared by number: first what was asked, then how they ended. Raises InputError for two kinds of result.

    >>> import quantai as qa
    >>> from quantai.strategy.examples import Cross
    >>> bars = qa.synth.bars(300, seed=1)
    >>> qa.compare(qa.backtest(Cross(), bars), qa.backtest(Cross(), bars)).same
    True
    >>> sorted(qa.compare(qa.backtest(Cross(), bars), qa.backtest(Cross(), bars, fee_bps=1)).first)
    ['decision', 'fate', 'fill', 'settings']
    """
    given: tuple[Any, Any] = (a, b)
    for r in given:
        if not isinstance(r, Result | ReplayResult):
            raise InputError(f"compare takes two results of qa.backtest or qa.replay, got {type(r).__name__}")
    if type(given[0]) is not type(given[1]):
        raise InputError(f"compare takes two results of one kind, got {type(a).__name__} and {type(b).__name__}")
    x, y = (r.orders.sort_values("order", kind="stable").reset_index(drop=True) for r in given)
    first = {
        "settings": _settings(a, b),
        "decision": _parted(x, y, _ORDER, "order"),
        "fate": _parted(x, y, _FATE, "order"),
        "fill": _parted(a.fills, b.fills, _FILL, "fill"),
    }
    return Comparison(a, b, difference_table(a.stats, b.stats), {name: said for name, said in first.items() if said})


def _parted(a: pd.DataFrame, b: pd.DataFrame, names: tuple[str, ...], what: str) -> str:
    columns = [n for n in names if n in a.columns and n in b.columns]
    n = min(len(a), len(b))
    differs = np.zeros((n, len(columns)), bool)
    for k, name in enumerate(columns):
        x, y = a[name].to_numpy()[:n], b[name].to_numpy()[:n]
        differs[:, k] = _unequal(x, y)
    rows = np.flatnonzero(differs.any(axis=1))
    if len(rows):
        i = int(rows[0])
        which = [columns[k] for k in np.flatnonzero(differs[i])]
        number = f"order {a['order'].iloc[i]}" if what == "order" else f"fill {i + 1} (order {a['order'].iloc[i]})"
        said = [f"{name} {_say(a[name].iloc[i])} against {_say(b[name].iloc[i])}" for name in which]
        return f"{number}: {', '.join(said)}"
    if len(a) != len(b):
        name, more = ("a", a) if len(a) > len(b) else ("b", b)
        row = more.iloc[n]
        said = ", ".join(f"{c} {_say(row[c])}" for c in columns if c not in ("maker", "where", "reason"))
        return f"only {name} has {what} {n + 1} of {len(more):,}: {said}"
    return ""


def _unequal(x: Any, y: Any) -> npt.NDArray[np.bool_]:
    unequal = np.asarray(x != y, bool)
    if np.asarray(x).dtype.kind == "f":
        unequal &= ~(np.isnan(x) & np.isnan(y))
    return unequal


def _settings(a: Any, b: Any) -> str:
    said: list[str] = []
    if type(a.strategy) is not type(b.strategy) or a.strategy.params != b.strategy.params:
        said.append(f"strategy {a.strategy!r} against {b.strategy!r}")
    for name, x, y in _assumed(a, b):
        if x != y:
            said.append(f"{name} {x} against {y}")
    return ", ".join(said)


def _assumed(a: Any, b: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(a, Result):
        x, y = a.settings.as_dict(), b.settings.as_dict()
        return [(name, x[name], y[name]) for name in x] + [("data", a.bars.fingerprint, b.bars.fingerprint)]
    out: list[tuple[str, Any, Any]] = [("cash", a.cash, b.cash), ("rows", a.rows, b.rows)]
    for x, y in zip(a.choices, b.choices, strict=False):
        out += [(name, x.get(name), y.get(name)) for name in dict.fromkeys([*x, *y])]
    return list(dict.fromkeys(out))


def _say(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return str(value).removesuffix("+00:00")
    return f"{value:.10g}" if isinstance(value, float | np.floating) else str(value)


def _cash(result: Any) -> float:
    return result.settings.cash if isinstance(result, Result) else result.cash


def _names(a: Any, b: Any) -> tuple[str, str]:
    x, y = repr(a.strategy), repr(b.strategy)
    return (x, y) if x != y else ("a", "b")


def _head(result: Any) -> str:
    return repr(result).splitlines()[0]

"""The tables of the tear sheet as HTML: statistics, months, drawdowns, trades, provenance.

Everything that comes from outside passes through `html.escape`.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from quantai.core.rows import DAY
from quantai.report.drawdown import drawdowns
from quantai.report.glossary import STATISTICS, grouped, percent, shown
from quantai.report.periods import MONTHS, monthly_returns
from quantai.report.stats import Summary, column, instants

TILES = ("total_return", "annual_return", "sharpe", "sortino", "max_drawdown", "win_rate", "profit_factor", "trades")
"""The statistics in the header of a tear sheet."""
ROWS = 2_000
"""Rows of the table of all trades at most: a page with more is slow to open and nobody reads it."""
Cell = tuple[str, float | str | None]
"""What a cell shows, and the key by which its column sorts (None: as shown)."""


def tiles(stats: Summary) -> str:
    """Return the key numbers of the header."""
    out: list[str] = []
    for name in TILES:
        if name in stats:
            tone = _tone(stats[name]) if name in ("total_return", "annual_return") else ""
            label, meaning = escape(STATISTICS[name].label), escape(STATISTICS[name].meaning)
            number = f'<b class="{tone}">{shown(name, stats[name])}</b>'
            out.append(f'<div class="tile" title="{meaning}"><span>{label}</span>{number}</div>')
    return "".join(out)


def statistics(stats: Summary) -> str:
    """Return one small table a group of the glossary, each row with its meaning as a tooltip."""
    groups: dict[str, list[str]] = {}
    for name, entry in STATISTICS.items():
        if name in stats:
            row = f"<th>{escape(entry.label)}</th><td>{shown(name, stats[name])}</td>"
            groups.setdefault(entry.group, []).append(f'<tr title="{escape(entry.meaning)}">{row}</tr>')
    for name in stats:
        if name not in STATISTICS:
            row = f"<tr><th>{escape(name)}</th><td>{shown(name, stats[name])}</td></tr>"
            groups.setdefault("Other", []).append(row)
    return "".join(
        f'<div class="card"><h3>{escape(group)}</h3><table class="facts">{"".join(rows)}</table></div>'
        for group, rows in groups.items()
    )


def months(equity: pd.DataFrame) -> str:
    """Return the returns by year and month, coloured by size; the last column is the year."""
    years, table, annual = monthly_returns(instants(equity.index), column(equity, "equity"))
    known = np.abs(table[np.isfinite(table)])
    scale = (float(np.quantile(known, 0.95)) if len(known) else 0.0) or 0.01
    head = "".join(f"<th>{m}</th>" for m in (*MONTHS, "Year"))
    body: list[str] = []
    for year, row, total in zip(years, table, annual, strict=True):
        cells = "".join(_heat(float(v), scale) for v in row) + _heat(float(total), 2 * scale, "year")
        body.append(f"<tr><th>{year}</th>{cells}</tr>")
    return f'<table class="months"><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def worst_drawdowns(equity: pd.DataFrame, most: int = 5) -> str:
    """Return the deepest drawdowns: depth, peak, valley, recovery, days."""
    found, ts = drawdowns(column(equity, "equity")), instants(equity.index)
    rows: list[list[Cell]] = []
    for i in np.argsort(found.depth, kind="stable")[:most].tolist():
        peak, valley, end = int(ts[found.peak[i]]), int(ts[found.valley[i]]), int(ts[found.end[i]])
        rows.append(
            [
                (percent(float(found.depth[i])), float(found.depth[i])),
                (_day(peak), None),
                (_day(valley), None),
                (_day(end) if found.recovered[i] else "not yet", None),
                (grouped((end - peak) / DAY, 0), (end - peak) / DAY),
            ]
        )
    if not rows:
        return "<p>Equity never fell below a peak.</p>"
    return table(("Depth", "Peak", "Valley", "Recovered", "Days"), rows)


def extreme_trades(trades: pd.DataFrame, *, best: bool, most: int = 8) -> str:
    """Return the largest winners (or losers) among the closed trades."""
    closed = trades.loc[~np.asarray(trades["open"], np.bool_)] if len(trades) else trades
    pnl = column(closed, "pnl") if len(closed) else np.zeros(0)
    order = np.argsort(-pnl if best else pnl, kind="stable")
    order = order[(pnl[order] > 0) if best else (pnl[order] < 0)][:most]
    if not len(order):
        return f"<p>No trade was closed with a {'gain' if best else 'loss'}.</p>"
    return _trade_table(closed.iloc[order], ("symbol", "side", "entry_ts", "bars", "pnl", "ret"))


def all_trades(trades: pd.DataFrame) -> str:
    """Return every round trip, the first `ROWS` of them, and say how many are left out."""
    names = ("symbol", "side", "qty", "entry_ts", "exit_ts", "entry_px", "exit_px", "pnl", "ret", "fees", "bars")
    left = len(trades) - ROWS
    note = (
        f"<p>The first {ROWS:,} of {len(trades):,} trades; the others are in the result's trades.</p>"
        if left > 0
        else ""
    )
    return note + _trade_table(trades.iloc[:ROWS], names)


def provenance(value: Any) -> str:
    """Return nested mappings and lists as nested definition lists; everything else as its text."""
    if isinstance(value, Mapping):
        rows = "".join(f"<dt>{escape(str(k))}</dt><dd>{provenance(v)}</dd>" for k, v in value.items())
        return f"<dl>{rows}</dl>"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"<ul>{''.join(f'<li>{provenance(v)}</li>' for v in value)}</ul>"
    text = str(value)
    return f"<pre>{escape(text)}</pre>" if "\n" in text else escape(text)


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """Return a table whose columns sort at a click; cells are HTML already."""
    top = "".join(f"<th>{escape(h)}</th>" for h in head)
    body: list[str] = []
    for row in rows:
        cells = (f"<td{'' if key is None else f' data-key="{escape(str(key))}"'}>{text}</td>" for text, key in row)
        body.append(f"<tr>{''.join(cells)}</tr>")
    inside = f"<thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f'<div class="scroll"><table class="list">{inside}</table></div>'


def _trade_table(trades: pd.DataFrame, names: Sequence[str]) -> str:
    columns: list[tuple[str, list[Cell]]] = []
    for name in names:
        if name in trades.columns:
            label, cell = _TRADE_COLUMNS[name]
            columns.append((label, [cell(v) for v in trades[name].tolist()]))
    is_open = np.asarray(trades["open"], np.bool_).tolist()
    rows = [[cells[i] for _, cells in columns] for i in range(len(trades))]
    for row, still_open in zip(rows, is_open, strict=True):
        if still_open:
            row[0] = (f"{row[0][0]} <i>open</i>", row[0][1])
    return table([label for label, _ in columns], rows)


def _number(v: Any) -> Cell:
    return f"{float(v):,.10g}".replace(",", "\u202f"), float(v)


def _signed(v: Any) -> Cell:
    return f'<span class="{_tone(float(v))}">{grouped(float(v), 2)}</span>', float(v)


def _return(v: Any) -> Cell:
    return f'<span class="{_tone(float(v))}">{percent(float(v))}</span>', float(v)


def _moment(v: Any) -> Cell:
    instant = pd.Timestamp(v)
    if instant is pd.NaT:
        return "–", ""
    return instant.strftime("%Y-%m-%d %H:%M:%S" if instant.second else "%Y-%m-%d %H:%M"), instant.isoformat()


_TRADE_COLUMNS: dict[str, tuple[str, Callable[[Any], Cell]]] = {
    "symbol": ("Symbol", lambda v: (escape(str(v)), None)),
    "side": ("Side", lambda v: ("long" if float(v) > 0 else "short", None)),
    "qty": ("Quantity", _number),
    "entry_ts": ("Entry, UTC", _moment),
    "exit_ts": ("Exit, UTC", _moment),
    "entry_px": ("Entry price", _number),
    "exit_px": ("Exit price", _number),
    "pnl": ("Profit", _signed),
    "ret": ("Return", _return),
    "fees": ("Fees", lambda v: (grouped(float(v), 2), float(v))),
    "bars": ("Bars", lambda v: (grouped(float(v), 0), float(v))),
}


def _heat(value: float, scale: float, extra: str = "") -> str:
    if value != value:
        return f'<td class="{extra}"></td>'
    colour = "var(--gain)" if value >= 0 else "var(--loss)"
    share = min(abs(value) / scale, 1.0) * 70
    return (
        f'<td class="{extra}" style="background:color-mix(in srgb,{colour} {share:.0f}%,transparent)">'
        f"{grouped(100 * value, 1)}</td>"
    )


def _tone(value: float) -> str:
    return "gain" if value > 0 else "loss" if value < 0 else ""


def _day(ts_ns: int) -> str:
    # A close at midnight belongs to the day that ends there.
    return str(np.datetime_as_string(np.datetime64(ts_ns - 1, "ns"), unit="D"))

"""The tear sheet: one HTML file with everything about one run, which opens anywhere without a network.

Charts, numbers, tables, styles and plotly.js itself are inside the file; a content security policy in it forbids the
browser to load anything else. plotly.js travels gzip-compressed (2 MB instead of 5) and is unpacked by the browser.
The same input gives the same bytes.
"""

import base64
import functools
import gzip
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quantai.core.errors import DataError, StorageError
from quantai.report import tables
from quantai.report.glossary import grouped, shown
from quantai.report.stats import Summary, column, instants

_FIGURES = 6  # instruments drawn; the others are named


def write(
    path: str | Path,
    *,
    title: str,
    stats: Summary,
    bars: pd.DataFrame | Mapping[str, pd.DataFrame] | None,
    fills: pd.DataFrame,
    trades: pd.DataFrame,
    equity: pd.DataFrame,
    provenance: Mapping[str, Any],
    notes: Sequence[str] = (),
    benchmark: pd.Series | None = None,
    currency: str = "",
) -> Path:
    """Write the tear sheet of one run and return its path; the file appears whole or not at all.

    `stats` as from `stats.summary`; the frames as it takes them. `bars`: one instrument's frame (index = bar open), or
    a mapping from symbol to frame, of which the six most traded are drawn. `provenance`: what made this result (data
    fingerprint, source hash, parameters, versions), nested as it comes; an entry `fill_rules` gets its own section.
    `notes`: sentences the reader must not miss. Raises DataError for an empty equity frame, StorageError when the file
    cannot be written.
    """
    if not len(equity):
        raise DataError("equity is empty: a tear sheet needs at least one bar")
    whole = _with_start(equity, stats)
    rules = provenance.get("fill_rules")
    origin = {k: v for k, v in provenance.items() if k != "fill_rules"}
    charts, left_out = _charts(bars, fills, trades, equity, benchmark, currency)
    parts = {
        "title": escape(title),
        "subtitle": _subtitle(equity, stats, bars, trades, currency),
        "notes": _list([*notes, *([f"Not drawn: {', '.join(left_out)}."] if left_out else [])]),
        "tiles": tables.tiles(stats),
        "charts": "".join(_slot(name, heading, figure) for name, heading, figure in charts if name != "histogram"),
        "histogram": "".join(_slot(name, heading, figure) for name, heading, figure in charts if name == "histogram"),
        "months": tables.months(whole),
        "drawdowns": tables.worst_drawdowns(whole),
        "statistics": tables.statistics(stats),
        "winners": tables.extreme_trades(trades, best=True),
        "losers": tables.extreme_trades(trades, best=False),
        "trades": tables.all_trades(trades) if len(trades) else "<p>There were no trades.</p>",
        "trade_count": grouped(len(trades), 0),
        "fill_rules": f"<section><h2>How orders were filled</h2>{tables.provenance(rules)}</section>" if rules else "",
        "provenance": tables.provenance(origin) if origin else "<p>None was given.</p>",
        "figures": _figures_json({name: figure for name, _, figure in charts}),
        "plotly": _plotly_js(),
    }
    page = resources.files("quantai.report").joinpath("tearsheet.html").read_text(encoding="utf-8")
    # One pass over the template: text that was put in is never looked at again.
    return _put(Path(path), re.sub(r"\{\{(\w+)\}\}", lambda m: parts[m[1]], page))


def _with_start(equity: pd.DataFrame, stats: Summary) -> pd.DataFrame:
    """Return the curve with the account before the first bar in front, where the statistics know another value."""
    start = stats.get("equity_start")
    if start is None or start == column(equity, "equity")[0]:
        return equity.loc[:, ["equity"]]
    first = pd.DataFrame({"equity": [float(start)]}, index=equity.index[:1])
    return pd.concat([first, equity.loc[:, ["equity"]]])


def _subtitle(
    equity: pd.DataFrame,
    stats: Summary,
    bars: pd.DataFrame | Mapping[str, pd.DataFrame] | None,
    trades: pd.DataFrame,
    currency: str,
) -> str:
    ts = instants(equity.index)
    days = [str(np.datetime_as_string(np.datetime64(int(t) - 1, "ns"), unit="D")) for t in (ts[0], ts[-1])]
    symbols = (
        list(bars) if isinstance(bars, Mapping) else sorted({str(s) for s in trades["symbol"]} if len(trades) else ())
    )
    money = [shown("equity_end", float(column(equity, "equity")[i])) for i in (0, -1)]
    if "equity_start" in stats:
        money[0] = shown("equity_start", stats["equity_start"])
    facts = [
        ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else ""),
        f"{days[0]} to {days[1]}",
        f"{grouped(len(equity), 0)} bars",
        f"{money[0]} → {money[1]} {currency}".strip(),
    ]
    return " · ".join(escape(f) for f in facts if f)


def _charts(
    bars: pd.DataFrame | Mapping[str, pd.DataFrame] | None,
    fills: pd.DataFrame,
    trades: pd.DataFrame,
    equity: pd.DataFrame,
    benchmark: pd.Series | None,
    currency: str,
) -> tuple[list[tuple[str, str, Any]], list[str]]:
    # plotly takes a tenth of a second to import: only what draws pays for it.
    from quantai.report import plots

    charts: list[tuple[str, str, Any]] = []
    left_out: list[str] = []
    if isinstance(bars, pd.DataFrame) and benchmark is None:
        figure = plots.backtest_figure(bars, fills, equity, trades, currency=currency)
        charts.append(("backtest", "Price, equity and drawdown", figure))
    else:
        charts.append(("equity", "Equity", plots.equity_figure(equity, benchmark=benchmark, currency=currency)))
        charts.append(("drawdown", "Drawdown", plots.drawdown_figure(equity)))
        by_symbol = {"Price": bars} if isinstance(bars, pd.DataFrame) else dict(bars or {})
        of = {s: fills if s == "Price" else _of(fills, s) for s in by_symbol}
        names = sorted(by_symbol, key=lambda s: -len(of[s]))
        for i, name in enumerate(names[:_FIGURES]):
            closed = trades if name == "Price" else _of(trades, name)
            charts.append((f"price{i}", name, plots.price_figure(by_symbol[name], of[name], closed)))
        left_out = names[_FIGURES:]
    charts.append(("histogram", "Returns per bar", plots.returns_histogram(equity)))
    return charts, left_out


def _of(frame: pd.DataFrame, symbol: str) -> pd.DataFrame:
    return frame.loc[frame["symbol"] == symbol] if len(frame) else frame


def _slot(name: str, heading: str, figure: Any) -> str:
    note = figure.layout.title.subtitle.text or ""
    height = int(figure.layout.height) - 62
    return (
        f'<figure><h2>{escape(heading)}</h2><div class="plot" id="{name}" style="height:{height}px"></div>'
        f"<figcaption>{escape(note)}</figcaption></figure>"
    )


def _figures_json(figures: Mapping[str, Any]) -> str:
    from plotly.io.json import to_json_plotly

    from quantai.report.theme import PALETTES, template

    drawn: dict[str, Any] = {}
    for name, figure in figures.items():
        parts = figure.to_dict()
        layout = {k: v for k, v in parts["layout"].items() if k not in ("template", "title", "height")}
        layout["margin"] = {"t": 44, "l": 56, "r": 12, "b": 36}
        drawn[name] = {"data": parts["data"], "layout": layout}
    themes: dict[str, Any] = {}
    for theme in PALETTES:
        look = template("dark" if theme == "dark" else "light").to_plotly_json()
        look["layout"] |= {"paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}
        themes[theme] = look
    text = str(to_json_plotly({"figures": drawn, "themes": themes}))
    # Inside a script element only "</" could end it early; JSON reads "<\/" as the same text.
    return text.replace("</", "<\\/").replace("<!--", "<\\u0021--")


@functools.cache
def _plotly_js() -> str:
    from plotly.offline import get_plotlyjs

    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=6, mtime=0)).decode()


def _list(items: Sequence[str]) -> str:
    rows = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<ul class="notes">{rows}</ul>' if rows else ""


def _put(path: Path, text: str) -> Path:
    """Write a file under another name, make it durable, and give it its name."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {error.strerror or error}: pass a path in a writable folder"
        ) from None
    return path

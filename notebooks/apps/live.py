"""A run that trades, in the browser: book, orders, positions, P&L and health once a second, and buttons that steer it.

    marimo run notebooks/apps/live.py -- --run paper.journal

It speaks to the run as `quantai control` does: what a button decides is a row of the journal before it takes effect.
"""

import marimo

__generated_with = "0.25.2"

app = marimo.App(width="full", app_title="quantai: a run that trades")


@app.cell
def _():
    from collections import deque
    from datetime import UTC, datetime
    from html import escape
    from pathlib import Path

    import marimo as mo
    import plotly.graph_objects as go

    import quantai as qa
    from quantai.execution.remote import RunControl
    from quantai.report.theme import BLUE, ORANGE, dress

    return BLUE, ORANGE, Path, RunControl, UTC, datetime, deque, dress, escape, go, mo, qa


@app.cell
def _(Path, RunControl, deque, mo):
    run = str(mo.cli_args().get("run") or "")
    control = RunControl(run, timeout_s=10.0)
    equities = deque(maxlen=3600)
    every = mo.ui.refresh(options=["1s", "2s", "10s", "1m"], default_interval="1s", label="Look again")
    pause = mo.ui.run_button(label="Pause", kind="warn", tooltip="Only cancels go out")
    resume = mo.ui.run_button(label="Resume", kind="success", tooltip="Everything goes out again")
    flatten = mo.ui.run_button(label="Flatten", kind="warn", tooltip="Cancel the orders, close what is held")
    kill = mo.ui.run_button(label="Kill", kind="danger", tooltip="Cancel everything at once; only cancels go out")
    mo.hstack([mo.md(f"## `{Path(run).name or 'no run: say --run RUN.journal'}`"), pause, resume, flatten, kill, every])
    return control, equities, every, flatten, kill, pause, resume, run


@app.cell
async def _(control, datetime, flatten, kill, mo, pause, qa, resume, UTC):
    buttons = {"pause": pause, "resume": resume, "flatten": flatten, "kill": kill}
    wanted = next((verb for verb, button in buttons.items() if button.value), "")
    told = "Nothing was told yet."
    if wanted:
        try:
            done = await control.tell(wanted)
            told = f"{datetime.now(UTC):%H:%M:%S} {wanted}: row {done['row']} of the journal."
        except qa.QuantaiError as error:
            told = f"{wanted} was refused: {error}"
    mo.plain_text(told)
    return (told,)


@app.cell
async def _(control, every, mo, qa, run, told):
    every.value, told
    try:
        if not run:
            raise qa.QuantaiError("Say which run: marimo run notebooks/apps/live.py -- --run RUN.journal")
        status = await control.status()
        scene = (await control.tell("scene"))["scene"]
    except qa.QuantaiError as error:
        status, scene = None, {}
        trouble = str(error)
    mo.callout(mo.plain_text(trouble), kind="warn") if status is None else None
    return scene, status


@app.cell
def _(equities, mo, scene, status):
    mo.stop(status is None)
    equities.append((scene["ts"], status.equity))
    pnl = sum(row["pnl"] for row in scene["positions"])
    colours = {"trading": "success", "halted": "danger"}
    figures = mo.hstack(
        [
            mo.stat(status.state, label=status.mode, bordered=True),
            mo.stat(f"{status.equity:,.2f}", label=f"equity, {status.currency}", bordered=True),
            mo.stat(f"{pnl:+,.2f}", label="P&L of the run", bordered=True),
            mo.stat(f"{status.fills:,}", label="fills", bordered=True),
            mo.stat(f"{len(status.at_work)}", label="orders at work", bordered=True),
            mo.stat(f"{status.rows:,}", label="rows", bordered=True),
        ],
        widths="equal",
    )
    said = "\n".join(status.alarms) or f"{status.state}: no alarm"
    mo.vstack(
        [
            figures,
            mo.callout(mo.plain_text(said), kind="danger" if status.alarms else colours.get(status.state, "warn")),
        ]
    )
    return


@app.cell
def _(BLUE, ORANGE, escape, scene):
    def ladder(name, book):
        most = max((qty for side in ("bids", "asks") for _, qty in book[side]), default=1.0)

        def line(px, qty, colour):
            width = 100 * qty / most
            shade = f"background:linear-gradient(to left,{colour}33 {width:.0f}%,transparent {width:.0f}%)"
            return f'<tr style="{shade}"><td>{px:,.8g}</td><td style="text-align:right">{qty:,.6g}</td></tr>'

        asks = [line(px, qty, ORANGE) for px, qty in reversed(book["asks"][:8])]
        bids = [line(px, qty, BLUE) for px, qty in book["bids"][:8]]
        stale = " (stale)" if book["stale"] else ""
        last = f'<tr><td colspan="2"><b>{book["last"]:,.8g}</b> last{stale}</td></tr>'
        rows = "".join([*asks, last, *bids])
        style = "width:100%;font-variant-numeric:tabular-nums;border-collapse:collapse"
        return f'<div><b>{escape(name)}</b><table class="qa-book" style="{style}">{rows}</table></div>'

    def table(rows, columns):
        head = "".join(f'<th style="text-align:left">{escape(title)}</th>' for title in columns.values())
        cells = ["".join(f"<td>{escape(shown(row.get(name)))}</td>" for name in columns) for row in rows]
        body = "".join(f"<tr>{line}</tr>" for line in cells) or f'<tr><td colspan="{len(columns)}">none</td></tr>'
        return f'<table style="width:100%;font-variant-numeric:tabular-nums"><tr>{head}</tr>{body}</table>'

    def shown(value):
        return "" if value is None else f"{value:,.6g}" if isinstance(value, float) else str(value)

    ladders = "".join(ladder(name, book) for name, book in scene.get("books", {}).items())
    return ladders, table


@app.cell
def _(UTC, datetime, dress, equities, go, ladders, mo, scene, status, table):
    mo.stop(status is None)
    times = [datetime.fromtimestamp(ts / 1e9, UTC) for ts, _ in equities]
    curve = go.Figure(go.Scatter(x=times, y=[equity for _, equity in equities], mode="lines", name="equity"))
    dress(curve, "", "", "light", 200).update_layout(
        margin={"t": 12, "b": 30, "l": 70, "r": 12}, showlegend=False, yaxis_tickformat=",.2f"
    )
    orders = table(
        scene["orders"],
        {"client_id": "order", "symbol": "symbol", "side": "side", "type": "type", "qty": "qty", "limit": "limit",
         "filled": "filled", "status_local": "status"},
    )  # fmt: skip
    positions = table(
        scene["positions"],
        {"strategy": "strategy", "symbol": "symbol", "qty": "qty", "avg_entry": "entry", "mark": "mark",
         "realised": "realised", "unrealised": "unrealised", "fees": "fees", "pnl": "P&L"},
    )  # fmt: skip
    feeds = table(
        [feed | {"p99": feed["delay"]["p99_ms"]} for feed in status.feeds],
        {"venue": "feed", "state": "state", "received": "messages", "silent_s": "silent, s", "gaps": "gaps",
         "reconnects": "reconnects", "quarantined": "unreadable", "p99": "delay p99, ms"},
    )  # fmt: skip
    mo.hstack(
        [
            mo.vstack([mo.md("### Book"), mo.Html(ladders)]),
            mo.vstack(
                [mo.md("### Equity"), curve, mo.md("### Positions"), mo.Html(positions), mo.md("### Orders at work"),
                 mo.Html(orders), mo.md("### Feeds"), mo.Html(feeds)]
            ),
        ],
        widths=[1, 3],
        align="start",
        gap=2,
    )  # fmt: skip
    return


if __name__ == "__main__":
    app.run()

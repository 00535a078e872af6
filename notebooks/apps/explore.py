"""A lake in the browser: pick a venue, a symbol and an interval; see bars, the order book and what the check says.

    marimo run notebooks/apps/explore.py -- --lake datasets/lake

Without --lake it shows a small synthetic market.
"""

import marimo

__generated_with = "0.25.2"

app = marimo.App(width="medium", app_title="quantai: explore a lake")


@app.cell
def _():
    import tempfile
    from pathlib import Path

    import marimo as mo

    import quantai as qa
    from quantai.data.check import check
    from quantai.report.book import book_figure
    from quantai.report.plots import price_figure

    return Path, book_figure, check, mo, price_figure, qa, tempfile


@app.cell
def _(Path, mo, qa, tempfile):
    root = mo.cli_args().get("lake")
    if root:
        lake = qa.Lake(str(root))
    else:
        lake = qa.Lake(Path(tempfile.mkdtemp()) / "lake")
        qa.synth.market("BTC-USDT-PERP", hours=0.25, seed=7).to_lake(lake)
    mo.md(f"# What is in the lake\n\n`{lake.root}`" + ("" if root else " — a synthetic market, for want of `--lake`"))
    return (lake,)


@app.cell
def _(lake, mo):
    names = [f"{venue} {symbol}" for venue, symbol in lake.symbols()]
    mo.stop(not names, mo.md("The lake is empty: `quantai record` or `quantai pull` fills it."))
    which = mo.ui.dropdown(names, value=names[0], label="Market")
    interval = mo.ui.dropdown(["1s", "10s", "1m", "5m", "1h", "1d"], value="10s", label="Bars")
    mo.hstack([which, interval], justify="start")
    return interval, which


@app.cell
def _(lake):
    lake.summary()
    return


@app.cell
def _(interval, lake, price_figure, qa, which):
    venue, symbol = which.value.split(" ", 1)
    try:
        bars = lake.bars(venue, symbol, interval.value)
        picture = price_figure(bars.df(), title=f"{symbol} on {venue}, {interval.value}")
    except qa.QuantaiError as error:
        picture = str(error)
    picture
    return symbol, venue


@app.cell
def _(book_figure, lake, mo, symbol, venue):
    if (venue, symbol) in lake.symbols("levels"):
        levels = lake.levels(venue, symbol)
        book = book_figure(levels.slice(max(0, len(levels) - 60_000)), title="Order book, the last 60 000 changes")
    else:
        book = mo.md("No order book was recorded for this market.")
    book
    return


@app.cell
def _(check, lake, symbol, venue):
    check(lake, venue=venue, symbol=symbol)
    return


if __name__ == "__main__":
    app.run()

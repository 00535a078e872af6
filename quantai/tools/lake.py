"""Tools for data: what is in the lake, bars by name, bars made from trades, read-only SQL."""

import re
import threading
from contextlib import closing
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from quantai.core.errors import InputError
from quantai.data import Bars, Lake, samples
from quantai.tools.registry import tool
from quantai.tools.workspace import Workspace

MARKET = re.compile(r"[A-Z0-9][A-Z0-9.]{0,9}([-_][A-Z0-9.]{1,12}){0,4}")
"""Names of venues and symbols that say no more than which market it is."""

_SQL_SECONDS = 30.0
_SQL_MEMORY = "1GB"


def lake_of(workspace: Workspace) -> Lake:
    """Return the workspace's lake, opening the default one when it has none.

    Names in it that are more than a market's may have been written by somebody who wants something: they taint.
    """
    if workspace.lake is None:
        workspace.lake = Lake()
    lake = workspace.lake
    if not workspace.tainted and not all(MARKET.fullmatch(name) for pair in lake.symbols() for name in pair):
        workspace.tainted = True
    return lake


@tool(permission="read", category="data", foreign=False, examples=[{}])
def describe_data(workspace: Workspace) -> dict[str, Any]:
    """Say what data there is: what the lake has of each symbol, the samples, and what is loaded under which name."""
    lake = lake_of(workspace)
    return {
        "lake": lake.summary().astype(str).to_dict("records") if lake.tables() else [],
        "samples": ["sp500", "nasdaq"],
        "loaded": {n: _told(thing) for n, thing in workspace.things.items() if isinstance(thing, Bars)},
    }


@tool(
    permission="read",
    category="data",
    foreign=False,
    examples=[{"sample": "sp500"}, {"venue": "BINANCE", "symbol": "BTC-USDT", "interval": "1m", "start": "2024-08-08"}],
)
def load_data(
    workspace: Workspace,
    sample: Annotated[
        Literal["", "sp500", "nasdaq"], "daily bars that come with the package, instead of the lake"
    ] = "",
    venue: Annotated[str, "as the lake spells it"] = "",
    symbol: Annotated[str, "normalised: BTC-USDT, SPY"] = "",
    interval: Annotated[str, "length of a bar: 1m, 1h, 1d"] = "1m",
    start: Annotated[str | None, "first opening, UTC: 2024-08-08"] = None,
    end: Annotated[str | None, "first opening that is left out"] = None,
) -> dict[str, Any]:
    """Load bars, from the lake or a sample, and give them a name for other tools."""
    if sample:
        bars: Bars = getattr(samples, sample)()
        if start or end:
            bars = bars.between(start, end)
    elif venue and symbol:
        bars = lake_of(workspace).bars(venue, symbol, interval, start, end)
    else:
        raise InputError("load_data needs a sample, or a venue and a symbol: describe_data lists both")
    return {"name": workspace.keep("bars", bars)} | _told(bars)


@tool(
    permission="compute",
    category="data",
    foreign=False,
    examples=[
        {"venue": "BINANCE", "symbol": "BTC-USDT", "by": "5m"},
        {"venue": "OKX", "symbol": "ETH-USDT", "by": "100 ticks"},
    ],
)
def make_bars(
    workspace: Workspace,
    venue: str,
    symbol: str,
    by: Annotated[str, '1s, 5m, 1d, "100 ticks", "50 volume" or "1e6 dollar"'] = "1m",
    start: str | None = None,
    end: str | None = None,
) -> dict[str, Any]:
    """Make bars of any kind from the lake's trades and give them a name; the lake stays as it is."""
    bars = lake_of(workspace).build_bars(venue, symbol, by, start, end, quiet=True)
    return {"name": workspace.keep("bars", bars)} | _told(bars)


@tool(
    permission="read",
    category="data",
    foreign=False,
    timeout_s=_SQL_SECONDS + 5,
    examples=[{"query": "select symbol, count(*) as n from trades group by symbol"}],
)
def run_sql(
    workspace: Workspace,
    query: Annotated[str, "one SELECT in DuckDB's SQL over the lake's tables; ts is the instant, UTC"],
    rows: Annotated[int, Field(ge=1, le=1000, description="most rows to return")] = 100,
) -> dict[str, Any]:
    """Ask the lake in SQL: one SELECT that reads the lake's tables and nothing else, for at most 30 s and 1 GB.

    Tables: trades, levels, quotes, bars, funding, open_interest, liquidations, events.
    """
    lake = lake_of(workspace)
    with closing(lake.connect()) as con:
        import duckdb

        try:
            statements = con.extract_statements(query)
        except duckdb.Error as error:
            raise InputError(f"SQL: {' '.join(str(error).split())}") from None
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise InputError("SQL: exactly one SELECT is allowed here")
        _lock(con, lake.root)
        stop = threading.Timer(_SQL_SECONDS, con.interrupt)
        stop.start()
        try:
            answer = con.execute(statements[0])
            names = [column[0] for column in answer.description or ()]
            found = answer.fetchmany(rows + 1)
        except duckdb.InterruptException:
            raise InputError(f"SQL: took longer than {_SQL_SECONDS:g} s: ask for less") from None
        except duckdb.Error as error:
            if not isinstance(error, duckdb.ParserException | duckdb.BinderException | duckdb.CatalogException):
                workspace.tainted = True  # it may quote a cell
            raise InputError(f"SQL: {' '.join(str(error).split())}") from None
        finally:
            stop.cancel()
    cells = [[_cell(v) for v in row] for row in found[:rows]]
    if not all(_is_data(value) for row in found[:rows] for value in row):
        workspace.tainted = True
    return {"columns": names, "rows": cells, "more": len(found) > rows}


def _is_data(value: Any) -> bool:
    """Tell numbers, instants and names of markets from text, which somebody may have written to be obeyed."""
    if isinstance(value, str):
        return MARKET.fullmatch(value) is not None
    return isinstance(value, int | float | Decimal | datetime | date | time | timedelta | None)


def _lock(con: Any, root: Path) -> None:
    """Shut everything but the lake's own files, for good: settings cannot be changed after that."""
    folder = str(root.resolve()).replace("'", "''")
    con.execute(f"set allowed_directories = ['{folder}']")
    con.execute(f"set memory_limit = '{_SQL_MEMORY}'")
    con.execute("set temp_directory = ''")
    con.execute("set enable_external_access = false")
    con.execute("set lock_configuration = true")


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool | None) else str(value)


def _told(bars: Bars) -> dict[str, Any]:
    span = bars.rows["ts_open"][:1].astype("M8[ns]"), bars.rows["ts_close"][-1:].astype("M8[ns]")
    first, last = (str(ts[0].astype("M8[s]")) + "Z" if len(ts) else None for ts in span)
    return {"symbols": bars.symbols, "interval": bars.interval, "bars": len(bars), "first": first, "last": last}

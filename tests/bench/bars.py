"""Bars from trades in memory: ours against DuckDB, polars and pandas doing the same work in the same process.

For each kind of bar, the best of `repeats` runs, in trades a second. `equal` says whether the peers made the same
bars: open, high, low, close and count to the bit, volume to 1e-12. Ours uses one core and can go on from where it
stopped; the peers may use every core, and see all trades at once. `one_by_one_us` is the cost of a trade that arrives
alone.
"""

import time
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from quantai.core.instruments import Instrument
from quantai.core.rows import MIN
from quantai.data import to_ns
from quantai.data.aggregate import BarBuilder, bars

N = 5_000_000
ARGS = {"repeats": 5}
BTC = Instrument.parse("BTC-USDT")
TICKS = 100


def trades(seed: int, n: int) -> pa.Table:
    """Return `n` random trades, some two a second: prices walk on a grid of 0.1, sizes are on one of 0.001."""
    rng = np.random.default_rng(seed)
    ts = to_ns("2024-08-08") + np.cumsum(rng.exponential(5e8, n).astype("i8") // 10**6 * 10**6)
    px = np.round(60_000 + np.cumsum(rng.choice([-0.1, 0.0, 0.1], n)), 1)
    qty = np.round(rng.exponential(0.1, n) + 0.001, 3)
    return pa.table({"ts_exch": ts, "px": px, "qty": qty, "i": np.arange(n)})


def run(seed: int, n: int, repeats: int = 5) -> dict[str, Any]:
    """Build one-minute bars and bars of 100 trades from `n` random trades, with every tool."""
    table = trades(seed, n)
    figures: dict[str, Any] = {"repeats": repeats, "versions": {m.__name__: m.__version__ for m in (duckdb, pl, pd)}}
    figures["minutes"] = _compared(table, repeats, "1m", _minutes())
    figures["ticks"] = _compared(table, repeats, f"{TICKS} ticks", _ticks(n))
    builder = BarBuilder("1m")
    sample = [table[name][:20_000].to_pylist() for name in ("ts_exch", "px", "qty")]
    start = time.perf_counter()
    for ts, px, qty in zip(*sample, strict=True):
        builder.add(ts, px, qty)
    return figures | {"one_by_one_us": (time.perf_counter() - start) / len(sample[0]) * 1e6}


def _compared(table: pa.Table, repeats: int, by: str, peers: dict[str, Callable[[pa.Table], Any]]) -> dict[str, Any]:
    made = bars(table, by, BTC).rows
    ours = _best(lambda: bars(table, by, BTC), repeats)
    out: dict[str, Any] = {
        "bars": len(made),
        "trades_per_s": {"quantai": table.num_rows / ours},
        "ratio": {},
        "equal": {},
    }
    for name, make in peers.items():
        seconds = _best(lambda make=make: make(table), repeats)
        out["trades_per_s"][name] = table.num_rows / seconds
        out["ratio"][name] = seconds / ours
        out["equal"][name] = _equal(made, make(table))
    return out


def _best(work: Callable[[], Any], repeats: int) -> float:
    took = list[float]()
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return min(took)


def _equal(ours: Any, theirs: list[Any]) -> bool:
    o, h, low, c, volume, count = (np.asarray(x) for x in theirs)
    exact = zip(("open", "high", "low", "close", "trades"), (o, h, low, c, count), strict=True)
    return (
        len(ours) == len(o)
        and all(np.array_equal(ours[name], x) for name, x in exact)
        and bool(np.allclose(ours["volume"], volume, rtol=1e-12, atol=0))
    )


def _duckdb(group: str, where: str = "") -> Callable[[pa.Table], Any]:
    con = duckdb.connect()
    values = "arg_min(px, i) o, max(px) h, min(px) l, arg_max(px, i) c, sum(qty) v, count(*) n"

    def make(table: pa.Table) -> list[Any]:
        con.register("t", table)
        query = f"select {values} from (select *, {group} k from t {where}) group by k order by k"
        found = con.sql(query).to_arrow_table()
        return [found[name].to_numpy() for name in "ohlcvn"]

    return make


_POLARS = [
    pl.col("px").first().alias("o"), pl.col("px").max().alias("h"), pl.col("px").min().alias("l"),
    pl.col("px").last().alias("c"), pl.col("qty").sum().alias("v"), pl.len().alias("n"),
]  # fmt: skip


def _polars(key: pl.Expr, most: int | None = None) -> Callable[[pa.Table], Any]:
    def make(table: pa.Table) -> list[Any]:
        frame = pl.DataFrame(table).lazy().head(most or table.num_rows)
        found = frame.group_by(key.alias("k"), maintain_order=True).agg(_POLARS).collect()
        return [found[name].to_numpy() for name in "ohlcvn"]

    return make


def _pandas(key: Callable[[pd.DataFrame], Any], most: int | None = None) -> Callable[[pa.Table], Any]:
    def make(table: pa.Table) -> list[Any]:
        frame = table.to_pandas()[:most]
        groups = frame.groupby(key(frame), sort=False)
        px = groups["px"]
        return [px.first(), px.max(), px.min(), px.last(), groups["qty"].sum(), px.size()]

    return make


def _minutes() -> dict[str, Callable[[pa.Table], Any]]:
    return {
        "duckdb": _duckdb(f"ts_exch // {MIN}"),
        "polars": _polars(pl.col("ts_exch") // MIN),
        "pandas": _pandas(lambda frame: frame["ts_exch"] // MIN),
    }


def _ticks(n: int) -> dict[str, Callable[[pa.Table], Any]]:
    whole = n - n % TICKS
    return {
        "duckdb": _duckdb(f"i // {TICKS}", f"where i < {whole}"),
        "polars": _polars(pl.col("i") // TICKS, whole),
        "pandas": _pandas(lambda frame: frame["i"] // TICKS, whole),
    }

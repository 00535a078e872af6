"""Recorded backtests: a run over bars written to a journal, and run again from it to see that it decides the same.

The journal holds the bars, each as a BAR row with an EVENT row that points to it, every execution as an EVENT and a
REPORT row after the bar it happened in, and every intent. Their order is the order in which the strategy saw them. How
an order that never traded ended is in the result only.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from quantai.backtest.bar_run import BarRun
from quantai.backtest.result import Result
from quantai.backtest.settings import Settings
from quantai.core.errors import DataError, InputError
from quantai.core.instruments import Instrument, Instruments
from quantai.core.packing import pack, unpack
from quantai.core.reports import REPORT
from quantai.core.rows import BAR, EVENT, INTENT, LAST, MAKER, Action, Kind, OrderType, Rows, zeros
from quantai.data.bars import Bars
from quantai.journal import EventStore, StoreReader, Stream, describe_run
from quantai.strategy import Strategy
from quantai.strategy.load import load_strategy

ENGINE = "bars"
SUMS = "row sums"
_DTYPES = {"event": EVENT, "bar": BAR, "report": REPORT, "intent": INTENT}


class Rewritten(NamedTuple):
    """A run as its journal has it: rows by stream, numbered in the order in which they were seen."""

    event: Rows
    bar: Rows
    report: Rows
    intent: Rows


def record_run(
    strategy: Strategy, bars: Bars, path: str | Path, *, run: str = "", named: str = "", **settings: Any
) -> Result:
    """Run a strategy over bars, write the run to a new journal at `path`, and return its Result.

    `run` names it (default: the class), `named` says how the class is found again (`module:Class`, `file.py:Class`).

    Raises StorageError when the journal exists or cannot be written.
    """
    cls = type(strategy)
    manifest = describe_run(
        run or cls.__name__.lower(),
        parameters=strategy.params,
        engine=ENGINE,
        strategy={"name": named or f"{cls.__module__}:{cls.__qualname__}", "hash": cls.source_hash()},
        source=cls.source(),
        settings=Settings(**settings).as_dict(),
        instruments=[instrument.as_dict() for instrument in bars.instruments],
        interval=bars.interval,
        fingerprint=bars.fingerprint,
    )
    result, rows = _run(strategy, bars, Settings(**settings))
    with EventStore.create(path, manifest) as store:
        store.append(rows.bar)
        store.append(rows.event)
        store.append(rows.report)
        store.append_intents(rows.intent)
        store.snapshot(SUMS, pack(SUMS, {name: row_sums(part) for name, part in rows._asdict().items()}))
    return result


@dataclass(frozen=True)
class Retraced:
    """What came of running a recorded run again."""

    run: str
    strategy: str
    bars: int
    intents: int
    same: bool
    differences: list[str] = field(default_factory=list[str])  # in plain words, the first of each kind
    first: dict[str, Any] | None = None  # the first intent that differs: its row, and both sides


def retrace_run(path: str | Path, strategy: type[Strategy] | str | None = None) -> Retraced:
    """Run the strategy of a recorded run again on the journal's own rows and compare what it decides, byte for byte.

    `strategy` is the class, or its name, where the recorded name cannot be imported. Damage of the file, rows that are
    not what was recorded, another source and other decisions are differences; the first of each is told.

    Raises DataError when the journal is not of a recorded backtest.
    """
    with StoreReader(path, damage="skip") as reader:
        manifest = _manifest(reader)
        streams = (Stream.EVENT, Stream.BAR, Stream.REPORT, Stream.INTENT)
        recorded = Rewritten(*(np.array(reader.rows(stream)) for stream in streams))
        sums = reader.snapshot(SUMS)
        differences = [f"damage: {what}" for what in reader.passed_over]
    instruments = Instruments([Instrument.from_dict(said) for said in manifest["instruments"]])
    differences += _altered(recorded, sums.body if sums else b"")
    found = manifest["strategy"]["name"] if strategy is None else strategy
    cls = load_strategy(found) if isinstance(found, str) else found
    if cls.source_hash() != manifest["strategy"]["hash"]:
        differences.append(f"source: {cls.__name__} is not what it was when the run was recorded")
    first = None
    try:
        bars = Bars(recorded.bar, instruments, manifest["interval"])
        _, again = _run(cls(**manifest["parameters"]), bars, Settings(**manifest["settings"]))
    except (DataError, InputError) as error:
        differences.append(f"the recorded bars cannot be run again: {error}")
        again = recorded
    for name, old, new in (("execution", recorded.report, again.report), ("decision", recorded.intent, again.intent)):
        at = _first_difference(old, new)
        if at is None:
            continue
        first = _both_sides(name, at, old, new, recorded.event, instruments)
        differences.append(first["words"])
    return Retraced(
        run=manifest["run"],
        strategy=manifest["strategy"]["name"],
        bars=len(recorded.bar),
        intents=len(recorded.intent),
        same=not differences,
        differences=differences,
        first=first,
    )


def row_sums(rows: Rows) -> np.ndarray:
    """Return a number for each row that differs when any one bit of the row does (uint64).

    A sum of the row's 64-bit words, each times its own odd number: a single bit cannot be lost modulo 2^64.

    >>> rows = zeros(2, EVENT)
    >>> rows["px"][1] = 1e-300
    >>> row_sums(rows)[0] == row_sums(rows)[1]
    np.False_
    """
    words = np.ascontiguousarray(rows).view(np.uint64).reshape(len(rows), rows.dtype.itemsize // 8)
    factors = np.random.default_rng(0).integers(1 << 62, size=words.shape[1], dtype=np.uint64) * np.uint64(2)
    return (words * (factors + np.uint64(1))).sum(axis=1, dtype=np.uint64)


def _run(strategy: Strategy, bars: Bars, settings: Settings) -> tuple[Result, Rewritten]:
    run = BarRun(strategy, bars.instruments, settings)
    run.feed(bars.rows)
    result = run.result(bars)
    return result, _rewrite(bars, result)


def _rewrite(bars: Bars, result: Result) -> Rewritten:
    """Number bars and executions in the order in which they were seen, and name the causes of intents by it."""
    n, fills = len(bars), result.fill_rows
    instants = np.unique(bars.rows["ts_close"], return_index=True)[1]
    bar_of = np.zeros(len(fills), np.int64)
    for i, fill in enumerate(fills):
        at = int(instants[fill["bar"]])
        while bars.rows["instrument"][at] != fill["instrument"]:
            at += 1
        bar_of[i] = at
    before = np.searchsorted(np.sort(bar_of), np.arange(n), side="left")
    number = np.arange(1, n + 1) + before  # of each bar; the executions in it come right after
    turn = np.argsort(bar_of, kind="stable")
    event = zeros(n + len(fills), EVENT)
    _write_bars(event, bars, number)
    report = _write_fills(event, fills[turn], number[bar_of[turn]], bars.instruments, bar_of[turn])
    intent = result.intents.copy()
    later = intent["seq"] > 0  # what on_start asked for has no cause
    intent["seq"][later] = number[intent["seq"][later].astype(np.int64) - 1]
    return Rewritten(event, bars.rows, report, intent)


def _write_bars(event: Rows, bars: Bars, number: np.ndarray) -> None:
    at = number - 1
    event["seq"] = np.arange(1, len(event) + 1)
    event["kind"][at], event["flags"][at], event["aux"][at] = Kind.BAR, LAST, np.arange(len(bars))
    event["ts_exch"][at] = event["ts_recv"][at] = bars.rows["ts_close"]
    event["px"][at], event["qty"][at] = bars.rows["close"], bars.rows["volume"]
    event["instrument"][at] = bars.rows["instrument"]


def _write_fills(event: Rows, fills: Rows, bar: np.ndarray, instruments: Instruments, bar_of: np.ndarray) -> Rows:
    """Fill the EVENT rows after their bars and return the REPORT rows; prices are rounded to the instrument's tick."""
    report = zeros(len(fills), REPORT)
    if not len(fills):
        return report
    first = np.concatenate([[True], bar_of[1:] != bar_of[:-1]])
    within = np.arange(len(fills)) - np.maximum.accumulate(np.where(first, np.arange(len(fills)), 0))
    seq = bar + 1 + within
    rows, table = event[seq - 1], instruments.rows()
    which = fills["instrument"]
    tick, lot = (table[f"{name}_num"][which] / table[f"{name}_den"][which] for name in ("tick", "lot"))
    ticks = np.rint(fills["px"] / tick).astype(np.int64)
    rows["seq"], rows["kind"], rows["aux"] = seq, Kind.FILL, fills["order"].astype(np.int64)
    rows["flags"] = np.where(fills["maker"], LAST | MAKER, LAST)
    rows["ts_exch"] = rows["ts_recv"] = event["ts_recv"][bar - 1]
    rows["px"], rows["px_ticks"], rows["qty"] = fills["px"], ticks, fills["lots"] * lot
    rows["instrument"], rows["side"] = which, fills["side"]
    event[seq - 1] = rows
    report["seq"], report["order"], report["kind"] = seq, fills["order"], Kind.FILL
    report["exec"] = 1 + np.arange(len(fills))
    report["ts"], report["px_ticks"], report["qty_lots"] = rows["ts_recv"], ticks, fills["lots"]
    report["flags"] = np.where(fills["maker"], MAKER, 0)
    return report


def _manifest(reader: StoreReader) -> dict[str, Any]:
    manifests = reader.manifests()
    if not manifests or manifests[0].get("engine") != ENGINE:
        raise DataError(f"{reader.path} is not the journal of a recorded backtest: record one with record_run")
    return manifests[0]


def _altered(recorded: Rewritten, body: bytes) -> list[str]:
    """Say which rows are not those that were recorded, one line a stream."""
    if not body:
        return ["the sums of the recorded rows are gone: rows can be compared by what they lead to only"]
    sums = unpack(SUMS, body, dict.fromkeys(_DTYPES, np.dtype(np.uint64)))
    found: list[str] = []
    for name, rows in recorded._asdict().items():
        old, new = sums[name], row_sums(rows)
        wrong = np.flatnonzero(old[: len(new)] != new[: len(old)])
        if len(wrong):
            at = int(wrong[0])
            found.append(f"{name} row {at + 1} of {len(old)} is not what was recorded ({len(wrong)} such rows)")
        elif len(old) != len(new):
            found.append(f"{len(old)} {name} rows were recorded, {len(new)} are there")
    return found


def _first_difference(old: Rows, new: Rows) -> int | None:
    """Return the first row in which two arrays of rows differ, or None."""
    n = min(len(old), len(new))
    wrong = np.flatnonzero(row_sums(old[:n]) != row_sums(new[:n]))
    if len(wrong):
        return int(wrong[0])
    return None if len(old) == len(new) else n


def _both_sides(name: str, at: int, old: Rows, new: Rows, events: Rows, instruments: Instruments) -> dict[str, Any]:
    """Describe one difference for people and for programs."""
    sides = [rows[at] if at < len(rows) else None for rows in (old, new)]
    seq = min(int(side["seq"]) for side in sides if side is not None)
    held = seq <= len(events)
    ts = int(events["ts_recv"][seq - 1]) if held else 0
    when = datetime.fromtimestamp(ts / 1e9, UTC).isoformat(timespec="seconds") if held else "after the last row"
    words = [_words(side, instruments) for side in sides]
    return {
        "what": name,
        "row": seq,
        "time": when,
        "recorded": words[0],
        "now": words[1],
        "words": f"{name} {at + 1}, at row {seq} ({when}): recorded {words[0]}, now {words[1]}",
    }


def _words(row: Any, instruments: Instruments) -> str:
    if row is None:
        return "nothing"
    if row.dtype == REPORT:
        return f"order {row['order']} trades {row['qty_lots']} lots at {row['px_ticks']} ticks (row {row['seq']})"
    i, number = int(row["instrument"]), int(row["order"])
    instrument = instruments[i] if i < len(instruments) else None
    symbol = instrument.symbol if instrument else f"instrument {i}"
    if row["action"] not in list(Action):
        return f"an unknown action {row['action']} for order {number}"
    action = Action(int(row["action"]))
    if action is Action.TARGET:
        return f"{symbol} to {int(row['qty_lots']) / 1e9:.6g} of equity (order {number})"
    if action is Action.CANCEL:
        return f"cancel of order {number}"
    side = "buy" if row["side"] > 0 else "sell"
    qty = instrument.qty(int(row["qty_lots"])) if instrument else int(row["qty_lots"])
    kind = OrderType(int(row["type"])).name.lower().replace("_", " ") if row["type"] in list(OrderType) else "order"
    limited = instrument is not None and row["px_ticks"]
    at = f" at {instrument.price(int(row['px_ticks']))}" if instrument and limited else ""
    verb = "replace by" if action is Action.REPLACE else ""
    return f"{verb} {side} {qty:g} {symbol} {kind}{at} (order {number})".strip()

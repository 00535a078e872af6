"""Looks through the rows of one stream, partition after partition, and yields what is wrong with them."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quantai.core.errors import InputError
from quantai.core.rows import Kind, Status
from quantai.data.book import Book, crossed_at, rebuild
from quantai.data.findings import Latency
from quantai.data.instants import to_iso
from quantai.data.intervals import parse_interval
from quantai.data.tables import TABLES

Hit = tuple[str, int, int, str]
"""(kind, how often, first instant in ns, an example)."""

STREAMING = ("trades", "levels", "quotes")
_NUMBERED = 0.9  # the share of ids that follow each other by one, from which on a jump means missing rows


class Scan:
    """The checks of one stream of one table; it remembers the end of a partition for the next one.

    `stale_ns` is the silence that counts as one in trades, levels and quotes; `around_the_clock` says whether rows are
    expected at all hours; of latencies, one in `every` is kept for the percentiles.
    """

    def __init__(self, table: str, stale_ns: int, around_the_clock: bool, every: int = 1) -> None:
        self._table, self._stale_ns, self._around_the_clock, self._every = table, stale_ns, around_the_clock, every
        self._latency_range = (math.inf, -math.inf)
        self._last: dict[str, Any] = {}
        self._book: Book | None = None
        self._closed: dict[str, Any] = {}
        self._latencies = list[Any]()

    def hits(self, rows: pa.Table) -> Iterator[Hit]:
        """Yield what is wrong with the next rows of the stream."""
        if rows.num_rows == 0:
            return
        yield from self._order(rows)
        match self._table:
            case "trades":
                yield from self._trades(rows)
            case "levels":
                yield from self._levels(rows)
            case "quotes":
                yield from self._quotes(rows)
            case "bars":
                yield from self._bars(rows)
            case "liquidations":
                yield from _prices(rows, ["px"], ["qty"])
            case "open_interest":
                yield from _prices(rows, [], ["qty"], zero=True)
            case "funding":
                yield from _at(
                    "bad_price", rows, ~np.isfinite(_np(rows, "rate")), lambda i: f"rate {_np(rows, 'rate')[i]}"
                )
            case _:
                yield from _events(rows)

    def latency(self, venue: str, symbol: str) -> Latency | None:
        """Return how long rows took from the venue to us, None for tables without two clocks or when they are equal."""
        if not self._latencies:
            return None
        low, high = self._latency_range
        p50, p99 = np.percentile(np.concatenate(self._latencies), [50, 99]).tolist()
        return None if low == high == 0 else Latency(self._table, venue, symbol, low, p50, p99, high)

    def _order(self, rows: pa.Table) -> Iterator[Hit]:
        seq = _np(rows, "seq")
        before = np.append(self._last.get("seq", seq[0] - 1), seq[:-1])
        yield from _at("disorder_seq", rows, seq < before, lambda i: f"seq {seq[i]} after {before[i]}")
        yield from _at("duplicate", rows, seq == before, lambda i: f"seq {seq[i]} twice")
        self._last["seq"] = int(seq.max())
        if self._table == "bars":
            return
        recv, exch = _np(rows, "ts_recv"), _np(rows, "ts_exch")
        for kind, name, ts in (("disorder_recv", "ts_recv", recv), ("disorder_exch", "ts_exch", exch)):
            high = np.maximum.accumulate(np.append(self._last.get(name, ts[0]), ts))
            back = high[:-1] - ts
            yield from _at(kind, rows, back > 0, lambda i, back=back: f"{back[i] / 1e6:,.3f} ms back")
            if name == "ts_recv" and self._table in STREAMING:
                quiet = ts - high[:-1]
                quiet[0] *= self._around_the_clock  # between sessions silence is no finding
                yield from _at(
                    "stale", rows, quiet > self._stale_ns, lambda i, quiet=quiet: f"{quiet[i] / 1e9:,.1f} s of silence"
                )
            self._last[name] = int(high[-1])
        ms = (recv - exch) / 1e6
        self._latencies.append(ms[:: self._every])
        low, high = self._latency_range
        self._latency_range = min(low, float(ms.min())), max(high, float(ms.max()))
        yield from _at(
            "negative_latency",
            rows,
            ms < 0,
            lambda i: f"from {ms.min():,.1f} ms, median {np.median(ms):,.1f} ms: one of the clocks is off",
        )

    def _trades(self, rows: pa.Table) -> Iterator[Hit]:
        yield from _prices(rows, ["px"], ["qty"])
        ids = rows["id"]
        known = ids.is_valid().to_numpy()
        if not known.any():
            return
        given = ids.drop_null()
        twice = given.value_counts().field("counts").to_numpy() > 1
        if twice.any():
            names = given.value_counts().field("values").to_pylist()
            repeated = [n for n, t in zip(names, twice, strict=True) if t]
            at = int(np.flatnonzero(ids.to_numpy() == repeated[0])[1])
            extra = len(given) - len(names)
            yield "duplicate", extra, int(_np(rows, "ts_exch")[at]), f"trade id {repeated[0]} more than once"
        try:
            numbers = pc.cast(given, pa.int64()).to_numpy()
        except pa.ArrowInvalid:  # this venue's ids are not numbers
            return
        steps: Any = np.diff(np.append(self._last.get("id", numbers[0] - 1), numbers))
        self._last["id"] = int(numbers[-1])
        if np.mean(steps == 1) >= _NUMBERED:
            missing = np.where(steps > 1, steps - 1, 0)
            at = np.flatnonzero(known)[missing > 0]
            if len(at):
                i = int(np.argmax(missing > 0))
                example = f"trades {numbers[i] - missing[i]} to {numbers[i] - 1} are missing"
                yield "gap", int(missing.sum()), int(_np(rows, "ts_exch")[at[0]]), example

    def _levels(self, rows: pa.Table) -> Iterator[Hit]:
        level = _np(rows, "kind") == Kind.LEVEL
        yield from _prices(rows.filter(pa.array(level)), ["px"], ["qty"], zero=True)
        sound = rows.filter(pa.array(~level | np.isfinite(_np(rows, "px"))))
        crossed = crossed_at(sound, self._book)
        mask = np.zeros(sound.num_rows, bool)
        mask[crossed] = True
        yield from _at(
            "crossed",
            sound,
            mask,
            lambda i: str(rebuild(pa.concat_tables([_as_rows(self._book), sound.slice(0, i + 1)]))),
        )
        self._book = rebuild(pa.concat_tables([_as_rows(self._book), sound]))

    def _quotes(self, rows: pa.Table) -> Iterator[Hit]:
        yield from _prices(rows, ["bid", "ask"], ["bid_qty", "ask_qty"], zero=True, unknown=True)
        bid, ask = _np(rows, "bid"), _np(rows, "ask")
        yield from _at("crossed", rows, (bid >= ask) & (ask > 0), lambda i: f"bid {bid[i]:g}, ask {ask[i]:g}")

    def _bars(self, rows: pa.Table) -> Iterator[Hit]:
        yield from _prices(rows, ["open", "high", "low", "close"], ["volume"], zero=True)
        o, h, low, c = (_np(rows, n) for n in ("open", "high", "low", "close"))
        inside = (h < np.maximum(o, c)) | (low > np.minimum(o, c))
        yield from _at(
            "bad_price", rows, inside, lambda i: f"high {h[i]:g}, low {low[i]:g}, open {o[i]:g}, close {c[i]:g}"
        )
        names = rows["interval"].to_numpy()
        for interval in sorted(set(names.tolist())):
            mine = rows.filter(pa.array(names == interval))
            opened, closed = _np(mine, "ts_open"), _np(mine, "ts_close")
            order = np.lexsort((_np(mine, "seq"), opened))
            opened, closed = opened[order], closed[order]
            again = _repeated(mine.take(order), ("ts_open", "open", "high", "low", "close", "volume"))
            yield from _at(
                "duplicate", mine.take(order), again, lambda i, opened=opened: f"bar of {to_iso(opened[i])} twice"
            )
            before = np.append(self._closed.get(interval, int(opened[0])), closed[:-1])
            length = _length(interval)
            if self._around_the_clock and length:
                holes = np.where(opened > before, (opened - before) // length, 0)
                if holes.any():
                    i = int(np.argmax(holes > 0))
                    example = f"{holes[i]} bars of {interval} before {to_iso(opened[i])}"
                    yield "gap", int(holes.sum()), int(before[i]), example
            self._closed[interval] = int(closed.max())


def _np(rows: pa.Table, name: str) -> Any:
    return rows[name].to_numpy()


def _at(kind: str, rows: pa.Table, mask: Any, example: Any) -> Iterator[Hit]:
    if mask.any():
        i = int(np.argmax(mask))
        name = next(iter(rows.schema.names))  # ts_exch, or ts_open of a bar
        yield kind, int(mask.sum()), int(rows[name][i].as_py()), example(i)


def _repeated(rows: pa.Table, names: Sequence[str]) -> Any:
    """Return where a row equals the one before in these columns; a bar that differs is an update, no finding."""
    same = np.ones(rows.num_rows, bool)
    same[0] = False
    for name in names:
        x = _np(rows, name)
        same[1:] &= x[1:] == x[:-1]
    return same


def _prices(
    rows: pa.Table, prices: list[str], sizes: list[str], *, zero: bool = False, unknown: bool = False
) -> Iterator[Hit]:
    """Yield prices not above 0 and sizes not above 0, NaN among them; `zero` sizes and `unknown` (NaN) values pass."""
    for kind, names in (("bad_price", prices), ("bad_qty", sizes)):
        for name in names:
            x = _np(rows, name)
            bad = ~(x >= 0) if kind == "bad_qty" and zero else ~(x > 0)
            bad = bad | np.isinf(x)
            if unknown:
                bad &= ~np.isnan(x)
            yield from _at(kind, rows, bad, lambda i, name=name, x=x: f"{name} {x[i]:g}")


def _events(rows: pa.Table) -> Iterator[Hit]:
    kind, aux, ts = _np(rows, "kind"), _np(rows, "aux"), _np(rows, "ts_exch")
    gaps = np.flatnonzero(kind == Kind.GAP)
    if len(gaps):
        i = int(gaps[0])
        said = rows["detail"][i].as_py() or rows["channel"][i].as_py() or "rows are missing before this instant"
        yield "gap", int(np.maximum(aux[gaps], 1).sum()), int(ts[i]), f"recorded: {said}"
    silent = np.flatnonzero((kind == Kind.STATUS) & (aux == Status.STALE))
    if len(silent):
        yield "stale", len(silent), int(ts[silent[0]]), "recorded: the connection went silent"


def _as_rows(book: Book | None) -> pa.Table:
    """Return rows of `levels` that rebuild `book`."""
    empty = TABLES["levels"].empty()
    if book is None:
        return empty
    both = np.concatenate([book.bids, book.asks])
    side = np.concatenate([np.ones(len(book.bids), "i1"), -np.ones(len(book.asks), "i1")])
    zeros = np.zeros(len(both), "i8")
    columns = {
        "ts_exch": zeros, "ts_recv": zeros + book.ts_recv, "seq": zeros + book.seq, "px": both[:, 0], "qty": both[:, 1],
        "side": side, "flags": zeros.astype("u2"), "kind": np.full(len(both), Kind.LEVEL, "u1"),
    }  # fmt: skip
    return pa.table(columns).cast(empty.schema)


def _length(interval: str) -> int:
    try:
        return parse_interval(interval).ns
    except InputError:
        return 0

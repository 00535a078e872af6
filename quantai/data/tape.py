"""Tapes: immutable, checked sequences of EVENT rows, opened by mapping a file into memory.

A tape has two clocks. `ts_exch` is when something happened at the venue, `ts_recv` when we were told; rows are in the
order of receipt, and `seq` is the only authority on it. Rows flagged SNAPSHOT at the head of a tape are the state of
the market before it begins.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from quantai.core.errors import DataError, InputError
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import EVENT, LAST, SNAPSHOT, Kind, Rows, zeros
from quantai.data.tape_check import (
    APART,
    INVERTED,
    NAN,
    NEGATIVE,
    NO_KIND,
    OFF_GRID,
    SIDELESS,
    UNKNOWN,
    UNSORTED,
    scan_rows,
)
from quantai.data.tape_columns import DTYPES, Columns, columns_of
from quantai.data.tape_file import MAGIC, PAGE, add_parts, instrument_of, parts_of, size_of, tape_head
from quantai.ops import durable, sync_folder

_WRONG = {
    UNSORTED: "is received before the row ahead of it: sort the rows by ts_recv, then number them with seq",
    NAN: "has a price or quantity that is not a finite number",
    NEGATIVE: "has a price or quantity below zero",
    UNKNOWN: "names an instrument that the tape does not have",
    OFF_GRID: "has a price that is not on the tick grid of its instrument (px and px_ticks disagree)",
    SIDELESS: "has a side that is neither 1 (bid, buyer) nor -1 (ask, seller); 0 is for trades and clears only",
    APART: "has clocks more than 31 days apart: where the venue gives no time, let ts_exch repeat ts_recv",
    NO_KIND: "is of no known kind (quantai.core.rows.Kind)",
    INVERTED: "has a sequence number that does not grow",
}
# hftbacktest 2: bits of its `ev` field
_HFT = np.dtype(
    [
        ("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"), ("order_id", "u8"),
        ("ival", "i8"), ("fval", "f8"),
    ]
)  # fmt: skip
_EXCH, _LOCAL, _BUY, _SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
_HFT_DEPTH, _HFT_TRADE, _HFT_CLEAR, _HFT_SNAPSHOT = 1, 2, 3, 4


@dataclass(frozen=True, eq=False)
class Tape:
    """EVENT rows sorted by receipt, with the instruments they number; never changes once made.

    >>> from quantai.core.instruments import Instrument, Instruments
    >>> events = zeros(2, EVENT)
    >>> events["ts_exch"], events["ts_recv"], events["seq"] = [10, 20], [15, 25], [1, 2]
    >>> events["kind"], events["px"], events["px_ticks"], events["qty"] = Kind.TRADE, 100.0, 1000, 0.5
    >>> tape = Tape.from_events(events, Instruments([Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")]))
    >>> tape
    Tape(2 rows of BTC-USDT: 2 trades, 0 levels, 0 quotes)
    """

    rows: Rows
    instruments: Instruments
    facts: dict[str, Any]
    parts: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """What of the tape's file stands behind its rows; the same is worked out of the rows where there is none."""

    @classmethod
    def from_events(cls, events: Rows, instruments: Instruments | Sequence[Instrument]) -> Self:
        """Check EVENT rows and make a tape of them; the array must not be changed afterwards.

        Rows without sequence numbers (all zero) are numbered from 1; the snapshot at the head counts as having happened
        before all other rows. Raises DataError naming the first row that is
        unsorted by ts_recv, not finite, of an unknown instrument or off the tick grid. A crossed book is no error: a
        replay counts them.
        """
        given: Any = instruments
        if not isinstance(given, Sequence | Instruments) or isinstance(given, str):
            raise InputError(f"from_events takes a table or a list of instruments: [instrument], not {given!r}")
        for instrument in given:
            if not isinstance(instrument, Instrument):
                raise InputError(f"from_events takes instruments, such as qa.Instrument.parse(…), not {instrument!r}")
        rows: Any = events
        if not isinstance(rows, np.ndarray) or rows.dtype != EVENT or rows.ndim != 1:
            raise InputError(f"from_events takes an array of EVENT rows (quantai.core.rows), not a {_kind_of(rows)}")
        table = instruments if isinstance(instruments, Instruments) else Instruments(tuple(instruments))
        rows = np.ascontiguousarray(events, EVENT)
        if len(rows) and not rows["seq"].any():
            rows = rows.copy()
            rows["seq"] = np.arange(1, len(rows) + 1)
        if head_ends_late(rows):
            rows = rows.copy()
            head_first(rows)
        facts = refuse_bad_rows(rows, table)
        rows = rows.view()
        rows.flags.writeable = False
        return cls(rows, table, facts)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Map a file written by `save`; nothing is read until it is used. Raises DataError when it is not a tape."""
        path = Path(path)
        try:
            with path.open("rb") as f:
                head = f.read(PAGE)
        except FileNotFoundError:
            raise InputError(f"{path}: there is no such tape; write one with Tape.save") from None
        except OSError as e:
            raise InputError(f"{path} cannot be read as a tape: {e.strerror}") from None
        if not head.startswith(MAGIC):
            raise DataError(f"{path} is not a tape: it does not begin with {MAGIC.decode().strip()!r}")
        try:
            said = json.loads(head[len(MAGIC) :].rstrip(b"\0"))
            n, offset = said["rows"], said["offset"]
            if offset > PAGE:
                with path.open("rb") as f:
                    f.seek(PAGE)
                    said |= json.loads(f.read(offset - PAGE).rstrip(b"\0") or b"{}")
            facts = said.get("facts", {})
            only_rows = offset + n * EVENT.itemsize
            size = size_of(n, offset, facts) if said.get("parts") else only_rows
            instruments = Instruments([instrument_of(x) for x in said["instruments"]])
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as e:
            raise DataError(f"{path} is damaged: what stands before its rows cannot be read ({e!r})") from None
        if path.stat().st_size != size:
            raise DataError(f"{path} is damaged: it should hold {n} rows, and its size is another")
        if not n:
            return cls(zeros(0, EVENT), instruments, facts)
        whole = np.memmap(path, np.uint8, "r").view(np.ndarray)
        parts = (
            parts_of(whole, n, offset, facts) if said.get("parts") else {"rows": whole[offset:only_rows].view(EVENT)}
        )
        return cls(parts.pop("rows"), instruments, facts, parts)

    def save(self, path: str | Path) -> Path:
        """Write the tape to one file, whole or not at all, and return its path; InputError where there is no folder."""
        path = Path(path)
        if not path.parent.is_dir():
            raise InputError(f"{path.parent}: there is no such folder to save a tape in; make it first")
        fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            with fresh.open("wb") as f:
                f.write(tape_head(len(self.rows), list(self.instruments), self.facts))
                offset = f.tell()
                self.rows.tofile(f)
            add_parts(fresh, len(self.rows), offset, self.facts, self.instruments)
            with fresh.open("rb") as f:
                durable(f.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
        return path

    @classmethod
    def from_hftbacktest(cls, events: Any, instrument: Instrument, snapshot: Any = None) -> Self:
        """Make a tape of hftbacktest's event array (version 2) and, where there is one, its initial snapshot.

        Rows must be seen by both the exchange and the local side (both flags), or DataError says which is not. The rows
        of one message (equal exch_ts and local_ts) end with the LAST flag.
        """
        parts = [np.asarray(a) for a in (snapshot, events) if a is not None]
        n_snapshot = len(parts[0]) if snapshot is not None else 0
        for a in parts:
            if a.dtype.names is None or not {"ev", "exch_ts", "local_ts", "px", "qty"} <= set(a.dtype.names):
                raise InputError(
                    "from_hftbacktest takes hftbacktest's event array: fields ev, exch_ts, local_ts, px, qty"
                )
        ev = np.concatenate([a["ev"] for a in parts])
        out = zeros(len(ev), EVENT)
        for ours, theirs in (("ts_exch", "exch_ts"), ("ts_recv", "local_ts"), ("px", "px"), ("qty", "qty")):
            out[ours] = np.concatenate([a[theirs] for a in parts])
        one_sided = ((ev & (_EXCH | _LOCAL)) != (_EXCH | _LOCAL)) & (np.arange(len(ev)) >= n_snapshot)
        if one_sided.any():
            at = int(np.argmax(one_sided)) - n_snapshot
            raise DataError(f"hftbacktest row {at} is seen by one side only: give each row both EXCH and LOCAL flags")
        kind = ev & 0xFF
        known = np.isin(kind, (_HFT_DEPTH, _HFT_TRADE, _HFT_CLEAR, _HFT_SNAPSHOT))
        if not known.all():
            raise DataError(
                f"hftbacktest row {int(np.argmin(known))} has the kind {int(kind[np.argmin(known)])}, which is not L2"
            )
        out["kind"] = np.select([kind == _HFT_TRADE, kind == _HFT_CLEAR], [Kind.TRADE, Kind.CLEAR], Kind.LEVEL)
        out["side"] = np.where(ev & _BUY, 1, np.where(ev & _SELL, -1, 0))
        out["flags"] = np.where((kind == _HFT_SNAPSHOT) | (np.arange(len(ev)) < n_snapshot), SNAPSHOT, 0)
        changes = (np.diff(out["ts_exch"]) != 0) | (np.diff(out["ts_recv"]) != 0)
        out["flags"][:-1] |= np.where(changes, LAST, 0).astype("u2")
        out["flags"][-1:] |= LAST
        priced = out["kind"] != Kind.CLEAR
        out["px"][~priced] = 0.0
        with np.errstate(invalid="ignore"):
            out["px_ticks"] = np.where(np.isfinite(out["px"]), np.rint(out["px"] / float(instrument.tick)), 0)
        return cls.from_events(out, [instrument])

    def to_hftbacktest(self, instrument: int = 0) -> tuple[Rows, Rows]:
        """Return (events, initial snapshot) of one instrument as hftbacktest's arrays, without other kinds of row."""
        rows = self.rows[self.rows["instrument"] == instrument]
        rows = rows[np.isin(rows["kind"], (Kind.TRADE, Kind.LEVEL, Kind.CLEAR))]
        out = np.zeros(len(rows), _HFT)
        snapshot = (rows["flags"] & SNAPSHOT) != 0
        kind = np.where(
            rows["kind"] == Kind.TRADE, _HFT_TRADE, np.where(rows["kind"] == Kind.CLEAR, _HFT_CLEAR, _HFT_DEPTH)
        )
        kind = np.where(snapshot & (rows["kind"] == Kind.LEVEL), _HFT_SNAPSHOT, kind)
        side = np.where(rows["side"] > 0, _BUY, np.where(rows["side"] < 0, _SELL, 0))
        out["ev"] = kind.astype("u8") | side.astype("u8") | np.uint64(_EXCH | _LOCAL)
        for ours, theirs in (("ts_exch", "exch_ts"), ("ts_recv", "local_ts"), ("px", "px"), ("qty", "qty")):
            out[theirs] = rows[ours]
        head = int(np.argmin(snapshot)) if not snapshot.all() else len(rows)
        return out[head:], out[:head]

    @cached_property
    def exchange_rows(self) -> Rows:
        """The same rows in the order of `ts_exch`, ties by seq: the tape itself where both orders are one."""
        if self.facts["exch_sorted"]:
            return self.rows
        if "rows_x" in self.parts:
            return self.parts["rows_x"]
        rows = self.rows[np.argsort(self.rows["ts_exch"], kind="stable")]
        rows.flags.writeable = False
        return rows

    @cached_property
    def columns(self) -> Columns | None:
        """What a book needs of the rows, in columns; None for a tape of several instruments, or without prices."""
        base = self.facts.get("base")
        if base is None:
            return None
        if "mark" in self.parts:
            return Columns(base, *(self.parts[name] for name in DTYPES))
        return columns_of(self.rows, base, self.instruments.rows(), "ts_recv")

    @cached_property
    def exchange_columns(self) -> Columns | None:
        """The columns of `exchange_rows`."""
        if self.columns is None:
            return None
        if "mark_x" in self.parts:
            return Columns(self.columns.base, *(self.parts[f"{name}_x"] for name in DTYPES))
        if self.facts["exch_sorted"]:
            return self.columns._replace(ts=self.parts["ts_x"] if self.parts else self.rows["ts_exch"].copy())
        return columns_of(self.exchange_rows, self.columns.base, self.instruments.rows(), "ts_exch")

    @property
    def symbols(self) -> list[str]:
        """The instruments' symbols, by number."""
        return [i.symbol for i in self.instruments]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        f = self.facts
        n = {k: sum(x[k] for x in f["instruments"]) for k in ("trades", "levels", "quotes")}
        shown = ", ".join(self.symbols[:3]) + (", …" if len(self.symbols) > 3 else "")
        counts = ", ".join(f"{v:,} {k}" for k, v in n.items())
        return f"Tape({len(self):,} rows of {shown}: {counts})"


def head_of(rows: Rows) -> int:
    """Return how many rows at the head are a snapshot of the market before the others; 0 where there are no others."""
    return int(np.argmin(rows["flags"] & SNAPSHOT)) if len(rows) and rows["flags"][0] & SNAPSHOT else 0


def head_ends_late(rows: Rows) -> bool:
    """Say whether a row of the head has happened, by its own clock, after one that is not of the head."""
    head = head_of(rows)
    return head > 0 and bool(rows["ts_exch"][:head].max() > rows["ts_exch"][head:].min())


def head_first(rows: Rows) -> None:
    """Let the head have happened before all else: what is known beforehand did, whatever its clock says."""
    head = head_of(rows)
    rows["ts_exch"][:head] = np.minimum(rows["ts_exch"][:head], rows["ts_exch"].min())


def refuse_bad_rows(rows: Rows, instruments: Instruments) -> dict[str, Any]:
    """Return the facts of rows in order; raises DataError naming the first that is not what a tape may hold."""
    facts, bad, why = scan_rows(rows, instruments.rows())
    if bad >= 0:
        raise DataError(f"row {bad} of the tape {_WRONG[why]}: {_shown(rows[bad])}")
    return facts


def _kind_of(given: Any) -> str:
    if isinstance(given, np.ndarray):
        return f"{given.ndim}-dimensional array of {', '.join(given.dtype.names or [str(given.dtype)])}"
    return type(given).__name__


def _shown(row: Any) -> str:
    return ", ".join(f"{name}={row[name]}" for name in ("ts_exch", "ts_recv", "seq", "px", "qty", "instrument", "kind"))

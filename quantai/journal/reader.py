"""Reading a journal by number, instant, kind and instrument, while its writer goes on, from any process."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Collection, Iterator
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypedDict, Unpack, cast

import numpy as np

from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.rows import BAR, Rows
from quantai.journal import schema
from quantai.journal.damage import describe
from quantai.journal.frames import (
    INSTANT,
    KIND,
    ROWS,
    Frame,
    Gap,
    Snapshot,
    Stream,
    Text,
    bitmap,
    unpack_gaps,
    unpack_note,
    unpack_rows,
    unpack_snapshot,
    unpack_texts,
)
from quantai.journal.heads import Heads
from quantai.ops import followed


class Where(TypedDict, total=False):
    """Which rows to read; what is left out does not restrict. All ranges include their start and exclude their end."""

    start: int  # seq of EVENT, INTENT and REPORT rows, index of BAR rows
    stop: int
    since_ns: int  # ts_recv of EVENT, ts_close of BAR, ts of REPORT rows; for INTENT the newest event before them
    until_ns: int
    kinds: Collection[int]  # Kind of EVENT and REPORT rows, Action of INTENT rows
    instruments: Collection[int]  # REPORT rows name an order and no instrument


class StoreReader:
    """A journal open for reading only. Not to be used by two threads at once; open two readers instead.

    The heads of all frames are read and checked first (some 2 µs a frame), then the bodies of those asked for: no bit
    that changed can change what is read unnoticed, nor can an end that is missing.

    damage: what to do at a frame that is damaged or missing: "raise" a DataError, or "skip" it and note it in
    `passed_over`. Rows that `recover` recorded as lost (`gaps`) are skipped either way.

    Raises InputError when there is no such file, DataError when it is no journal or SQLite cannot read it.
    """

    def __init__(self, path: str | Path, *, damage: Literal["raise", "skip"] = "raise") -> None:
        self.path = followed(path)
        if damage not in ("raise", "skip"):
            raise UnknownName("way to treat damage", damage, ["raise", "skip"])
        self.passed_over: list[str] = []
        self._raise = damage == "raise"
        self._db = schema.open_reader(self.path)
        self._heads = Heads(self.path)
        self._gaps: dict[int, list[Gap]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def rows(self, stream: Stream = Stream.EVENT, **where: Unpack[Where]) -> Rows:
        """Read rows of one stream into one array, in the order they were journaled.

        Raises DataError at damage (see the class), InputError for a stream that holds no rows or has no such condition.
        """
        parts = list(self.scan(stream, **where))
        return np.concatenate(parts) if parts else np.zeros(0, ROWS[stream])

    def scan(
        self, stream: Stream = Stream.EVENT, *, frames: tuple[int, int] | None = None, **where: Unpack[Where]
    ) -> Iterator[Rows]:
        """Read rows as `rows` does, one frame's array (read-only, never empty) at a time.

        frames: only those after the first number, up to the second: to go on where an earlier reading ended, with
        `last_frame`.
        """
        _check_where(stream, where)
        expected: int | None = None
        for frame in self._columns(stream, where, *(frames or ())):
            if stream in (Stream.EVENT, Stream.BAR):
                if frame.seq_first >= where.get("stop", 2**63):
                    return
                if expected is not None and frame.seq_first != expected:
                    self._check_rows(stream, expected, frame.seq_first)
                expected = frame.seq_last + 1
            part = self._load(frame, where)
            if part is not None:
                yield part

    def bars(self) -> Rows:
        """Read all BAR rows, each at the index that EVENT rows name it by: zeros for one that is recorded as lost."""
        rows = self.rows(Stream.BAR)
        for gap in sorted((gap for gap in self._known_gaps() if gap.stream is Stream.BAR), key=lambda gap: gap.first):
            lost = np.zeros(gap.last + 1 - gap.first, BAR)
            rows = np.concatenate([rows[: gap.first], lost, rows[gap.first :]])
        return rows

    async def tail(
        self, stream: Stream = Stream.EVENT, *, poll_s: float = 0.005, **where: Unpack[Where]
    ) -> AsyncIterator[Rows]:
        """Read rows as `scan` does, then follow the writer, in whichever process it is, until it closes the store.

        poll_s: how often to ask for more, and so how late a row may come after it is durable.
        """
        _check_where(stream, where)
        seen = self._before(stream, where)
        while True:
            ended = self._ended()  # asked first: what is written between the two questions is read next time
            last = self.last_frame
            for frame in self._columns(stream, where, seen, last):
                part = self._load(frame, where)
                if part is not None:
                    yield part
                    await asyncio.sleep(0)
            if ended and last == seen:
                return
            seen = last
            await asyncio.sleep(poll_s)

    def texts(
        self,
        *,
        start: int = 0,
        stop: int | None = None,
        field: str | None = None,
        frames: tuple[int, int] | None = None,
    ) -> Iterator[Text]:
        """Read the strings of rows start … stop (excluded), in the order they were appended; frames as in `scan`."""
        for frame in self._columns(Stream.TEXT, _bounds(start, stop), *(frames or ())):
            whole = self._intact(frame)
            for text in unpack_texts(whole) if whole else ():
                if start <= text.seq and (stop is None or text.seq < stop) and (field is None or text.field == field):
                    yield text

    def snapshot(self, name: str, *, at: int | None = None) -> Snapshot | None:
        """The newest intact snapshot of this name, not after row `at`; None when there is none.

        A damaged snapshot is passed over whatever `damage` says, because an older one and more rows say the same.
        """
        frames = list(self._columns(Stream.SNAPSHOT, _bounds(0, None if at is None else at + 1)))
        for frame in reversed(frames):
            whole = self._fetch(frame)
            if not whole.intact:
                self.passed_over.append(describe(frame))
            elif (snapshot := unpack_snapshot(whole)).name == name:
                return snapshot
        return None

    def manifests(self) -> list[dict[str, Any]]:
        """The manifest of every session that wrote to the store, in order."""
        frames = (self._intact(frame) for frame in self._columns(Stream.MANIFEST, {}))
        return [unpack_note(frame) for frame in frames if frame]

    def gaps(self, after: int | None = None) -> list[Gap]:
        """The rows that were lost and recorded as such, in the order they were found missing.

        after: leave out what was lost before EVENT row `after` was journaled: what a state as of that row has seen.
        """
        found = self._known_gaps()
        if after is None:
            return found
        events = self._heads.of(Stream.EVENT)
        at = int(np.searchsorted(events["seq_last"], after))
        frame = int(events["n"][at]) if at < len(events) else 2**63
        return [gap for gap in found if (gap.frame >= frame if gap.frame else gap.last > after)]

    @property
    def last_frame(self) -> int:
        """The number of the newest durable frame, of whatever stream; 0 when there is none."""
        self._read_on()
        return self._heads.last

    def last_seq(self, stream: Stream = Stream.EVENT) -> int | None:
        """The newest durable sequence number (BAR: index) of a stream; None when it is empty."""
        self._read_on()
        head = self._heads.newest(stream)
        return None if head is None else int(head["seq_last"])

    def _ended(self) -> bool:
        self._read_on()
        heads = self._heads.rows
        return len(heads) > 0 and bool(heads["stream"][-1] == Stream.END)

    def _read_on(self) -> None:
        """Take in the heads that were written since; complain of those that are damaged, and of a missing end."""
        known = len(self._heads.damaged), self._heads.unread
        try:
            self._heads.read_on(self._db)
        except sqlite3.ProgrammingError as error:
            raise InputError(f"{self.path}: {error}") from None
        except schema.READ_ERRORS as error:
            raise schema.damaged(self.path, error) from None
        if self._raise or known != (len(self._heads.damaged), self._heads.unread):
            for frame in list(self._heads.damaged.values())[0 if self._raise else known[0] :]:
                self._pass_over(describe(frame))
            if self._heads.unread:
                self._pass_over(f"it ends before frame {self._heads.unread}, which was acknowledged")

    def _columns(
        self, stream: Stream, where: Where, seen: int | None = None, last: int | None = None
    ) -> Iterator[Frame]:
        """The columns (no body) of the frames numbered seen < n <= last that may hold such rows, by number."""
        self._read_on()
        at = self._before(stream, where) if seen is None else seen
        last = self._heads.last if last is None else last
        start, stop = where.get("start", -(2**63)), where.get("stop", 2**63 - 1)
        heads = self._heads.of(stream)
        heads = heads[(heads["n"] > at) & (heads["n"] <= last)]
        self._check_frames(at, last)
        for head in heads[(heads["seq_last"] >= start) & (heads["seq_first"] < stop)].tolist():
            yield Frame._make([*head, b""])

    def _before(self, stream: Stream, where: Where) -> int:
        """A frame before which no row asked for can be, as EVENT rows are numbered upwards.

        INTENT and REPORT rows follow the EVENT row they name, so the same frame serves for them.
        """
        start = where.get("start")
        if start is None or stream not in (Stream.EVENT, Stream.INTENT, Stream.REPORT):
            return 0
        events = self._heads.of(Stream.EVENT)
        at = int(np.searchsorted(events["seq_last"], start))
        return int(events["n"][at - 1]) if at else 0

    def _load(self, frame: Frame, where: Where) -> Rows | None:
        """The rows of a frame that are asked for; None when there are none."""
        since_ns, until_ns = where.get("since_ns", -(2**63)), where.get("until_ns", 2**63 - 1)
        kinds, instruments = where.get("kinds"), where.get("instruments")
        if (
            frame.ts_last < since_ns
            or frame.ts_first >= until_ns
            or (kinds is not None and not frame.kinds & bitmap(list(kinds)))
            or (instruments is not None and not frame.instruments & bitmap(list(instruments)))
        ):
            return None
        whole = self._intact(frame)
        if whole is None:
            return None
        rows = unpack_rows(whole)
        keep = _keep(Stream(frame.stream), rows, frame, where)
        if keep is None:
            return rows
        return rows[keep] if keep.any() else None

    def _intact(self, frame: Frame) -> Frame | None:
        """The frame with its body; None when it is damaged and damage is skipped."""
        whole = self._fetch(frame)
        if whole.intact:
            return whole
        self._pass_over(describe(frame))
        return None

    def _fetch(self, frame: Frame) -> Frame:
        rows = self._ask("SELECT body FROM frames WHERE n = ?", (frame.n,))
        return frame._replace(body=rows[0][0] if rows else b"")

    def _check_rows(self, stream: Stream, expected: int, found: int) -> None:
        for gap in sorted(self._known_gaps(), key=lambda gap: gap.first):
            if gap.stream is stream and gap.first <= expected <= gap.last:
                expected = gap.last + 1
        if expected < found:
            self._pass_over(f"{stream.name} rows {expected} … {found - 1} are missing")

    def _check_frames(self, seen: int, last: int) -> None:
        missing = set(self._heads.holes(seen, last))
        if missing:
            missing -= {gap.frame for gap in self._known_gaps()}
        if missing:
            self._pass_over(f"{len(missing)} frames between {min(missing)} and {max(missing)} are missing")

    def _known_gaps(self) -> list[Gap]:
        self._read_on()
        for head in self._heads.of(Stream.GAP).tolist():
            if head[0] not in self._gaps:
                frame = self._intact(Frame._make([*head, b""]))
                self._gaps[head[0]] = unpack_gaps(frame) if frame else []
        return [gap for gaps in self._gaps.values() for gap in gaps]

    def _pass_over(self, what: str) -> None:
        if self._raise:
            raise schema.damaged(self.path, DataError(what))
        self.passed_over.append(what)

    def _ask(self, sql: str, values: tuple[int, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.ProgrammingError as error:
            raise InputError(f"{self.path}: {error}") from None
        except schema.READ_ERRORS as error:
            raise schema.damaged(self.path, error) from None


def _keep(stream: Stream, rows: Rows, frame: Frame, where: Where) -> Any:
    """Which rows of a frame are asked for, as a mask; None means all."""
    masks: list[Any] = []
    start, stop = where.get("start"), where.get("stop")
    since_ns, until_ns = where.get("since_ns"), where.get("until_ns")
    if start is not None or stop is not None:
        seq = np.arange(frame.seq_first, frame.seq_last + 1) if stream is Stream.BAR else rows["seq"].astype(np.int64)
        masks += [] if start is None else [seq >= start]
        masks += [] if stop is None else [seq < stop]
    if stream in INSTANT:
        ts_ns = rows[INSTANT[stream]]
        masks += [] if since_ns is None else [ts_ns >= since_ns]
        masks += [] if until_ns is None else [ts_ns < until_ns]
    if "kinds" in where:
        masks.append(np.isin(rows[KIND[stream]], list(where["kinds"])))
    if "instruments" in where:
        masks.append(np.isin(rows["instrument"], list(where["instruments"])))
    return np.logical_and.reduce(masks) if masks else None


def _check_where(stream: Stream, where: Where) -> None:
    if stream not in ROWS:
        name = getattr(stream, "name", repr(stream))
        raise InputError(f"{name} frames hold no rows: read EVENT, BAR, INTENT or REPORT")
    for name, value in where.items():
        if name not in Where.__annotations__:
            raise UnknownName("condition", name, Where.__annotations__)
        many = name in ("kinds", "instruments")
        try:
            _ = [index(one) for one in cast(Any, value)] if many else index(cast(Any, value))
        except TypeError:
            raise InputError(f"{name} must be {'a collection of numbers' if many else 'a number'}: {value!r}") from None
    if ("kinds" in where and stream not in KIND) or ("instruments" in where and stream is Stream.REPORT):
        raise InputError(f"{stream.name} rows have no {'kinds' if stream not in KIND else 'instruments'} to ask for")


def _bounds(start: int, stop: int | None) -> Where:
    return {"start": start} if stop is None else {"start": start, "stop": stop}

"""Executions: every execution id ever seen, what became of it, and which of them count.

An execution is a fact identified by (our order number, the venue's execution id) and by nothing else: not by the
request it was reported under, not by its content. Seen again it is dropped; busted it never comes back; corrected, the
chain of corrections is followed to the one that counts. A bust or a correction may arrive before the execution it
means: the id is then entered at once, so that every order of arrival ends in the same table.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from quantai.core.compiled import compiled
from quantai.core.reports import Outcome
from quantai.core.rows import Kind, Rows


class Fate(IntEnum):
    """What became of an execution id."""

    LIVE = 1  # counts
    CORRECTED = 2  # replaced by `next`
    BUSTED = 3
    BUST = 4  # the id of a report that busted another


EXECUTION = np.dtype(
    [
        ("order", "u8"),
        ("exec", "u8"),
        ("next", "u8"),  # CORRECTED: the execution that replaced it
        ("seq", "u8"),  # the journal row that reported it
        ("ts", "i8"),
        ("px_ticks", "i8"),
        ("qty_lots", "i8"),
        ("flags", "u2"),
        ("fate", "u1"),
        ("seen", "u1"),  # 0: only meant by a bust or a correction so far
        ("pad", "u4"),
    ]
)
"""One execution id; 64 bytes."""

LIVE, CORRECTED, BUSTED, BUST = int(Fate.LIVE), int(Fate.CORRECTED), int(Fate.BUSTED), int(Fate.BUST)
BOOKED, UNDONE, DUPLICATE = int(Outcome.BOOKED), int(Outcome.BUSTED), int(Outcome.DUPLICATE)
DIFFERS = 1 << 14  # internal: a known id came back with another price or quantity, or a bust names nothing
FILL, TRADE_CANCEL = int(Kind.FILL), int(Kind.TRADE_CANCEL)


class Executions(NamedTuple):
    """Executions and a hash index over them: `executions` makes it, `reserve` enlarges it, `orders.apply` fills it."""

    rows: Any  # EXECUTION rows, in order of arrival; only the first `used[0]` are taken
    slots: np.ndarray  # int32 hash slots: row + 1, 0 = free
    used: np.ndarray  # int64, shape (1,)


def executions(capacity: int = 1024) -> Executions:
    """Return an empty table with room for at least `capacity` ids.

    >>> len(executions(100).rows)
    128
    """
    size = 1 << max(4, (capacity - 1).bit_length())
    return Executions(np.zeros(size, EXECUTION), np.zeros(2 * size, np.int32), np.zeros(1, np.int64))


def reserve(table: Executions, extra: int) -> Executions:
    """Return `table`, or a larger copy when fewer than `extra` ids would fit."""
    used = int(table.used[0])
    if used + extra <= len(table.rows):
        return table
    return restore(table.rows[:used], extra)


def restore(rows: Rows, extra: int = 0) -> Executions:
    """Return a table holding `rows` (the taken rows of another one, from a snapshot) and room for `extra` more."""
    table = executions(2 * (len(rows) + extra))
    table.rows[: len(rows)] = rows
    table.used[0] = len(rows)
    _index(table)
    return table


def live(table: Executions, order: int | None = None) -> Rows:
    """Return the executions that count, in order of arrival, of one order or of all."""
    rows = table.rows[: int(table.used[0])]
    counts = rows["fate"] == LIVE
    return rows[counts if order is None else counts & (rows["order"] == order)]


@compiled
def _slot(table: Executions, order: Any, number: Any) -> Any:
    # splitmix64's finaliser: ids are often consecutive numbers, their slots must not be
    mask = np.uint64(len(table.slots) - 1)
    h = np.uint64(order) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(number)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    h = (h ^ (h >> np.uint64(31))) & mask
    while True:
        i = table.slots[h]
        if i == 0 or (table.rows[i - 1].order == order and table.rows[i - 1].exec == number):
            return h
        h = (h + np.uint64(1)) & mask


@compiled
def _index(table: Executions) -> None:
    for i in range(table.used[0]):
        table.slots[_slot(table, table.rows[i].order, table.rows[i].exec)] = i + 1


@compiled
def _enter(table: Executions, order: Any, number: Any, fate: int) -> Any:
    i = table.used[0]
    table.used[0] = i + 1
    if number:
        table.slots[_slot(table, order, number)] = i + 1
    row = table.rows[i]
    row.order = order
    row.exec = number
    row.fate = fate
    return i


@compiled
def _final(table: Executions, i: Any) -> Any:
    """Follow corrections from row `i` to the row that counts, or that was busted."""
    while table.rows[i].fate == CORRECTED:
        i = table.slots[_slot(table, table.rows[i].order, table.rows[i].next)] - 1
    return i


@compiled
def _saw(table: Executions, i: Any, report: Any) -> None:
    row = table.rows[i]
    row.seen = 1
    row.seq = report.seq
    row.ts = report.ts
    row.px_ticks = report.px_ticks
    row.qty_lots = report.qty_lots
    row.flags = report.flags


@compiled
def book(table: Executions, report: Any) -> tuple[int, int]:
    """Enter one FILL, TRADE_CANCEL or TRADE_CORRECT report.

    Returns (outcome, undone): outcome is a set of Outcome bits (and DIFFERS); `undone` is the row whose price and
    quantity no longer count, or -1. With Outcome.BOOKED the report's own price and quantity count from now on. The
    caller has made sure that two more ids fit.
    """
    known = np.int64(-1)
    if report.exec:
        known = np.int64(table.slots[_slot(table, report.order, report.exec)]) - 1
    if known >= 0 and table.rows[known].seen:
        row = table.rows[known]
        differs = row.px_ticks != report.px_ticks or row.qty_lots != report.qty_lots
        return DUPLICATE | (DIFFERS if differs else 0), -1
    if report.kind == FILL:
        return _fill(table, report, known)
    return _revise(table, report, known)


@compiled
def _fill(table: Executions, report: Any, known: Any) -> tuple[int, int]:
    if known >= 0:  # busted or corrected before it arrived
        _saw(table, known, report)
        return DUPLICATE, -1
    _saw(table, _enter(table, report.order, report.exec, LIVE), report)
    return BOOKED, -1


@compiled
def _revise(table: Executions, report: Any, known: Any) -> tuple[int, int]:
    """Bust or correct `report.ref`, whether or not it has arrived."""
    if report.ref == 0:
        return DIFFERS, -1
    bust = report.kind == TRADE_CANCEL
    meant = np.int64(table.slots[_slot(table, report.order, report.ref)]) - 1
    if meant < 0:
        meant = _enter(table, report.order, report.ref, LIVE)
    last = _final(table, meant)
    undone = last if table.rows[last].fate == LIVE and table.rows[last].seen else -1
    dead = table.rows[last].fate != LIVE
    if bust:
        if report.exec and known < 0:
            _saw(table, _enter(table, report.order, report.exec, BUST), report)
        if not dead:
            table.rows[last].fate = BUSTED
        return DUPLICATE if dead else (UNDONE if undone >= 0 else 0), undone
    if known >= 0:  # the correction was itself busted or corrected before it arrived
        _saw(table, known, report)
        if not dead and _final(table, known) != last:
            table.rows[last].fate = CORRECTED
            table.rows[last].next = report.exec
            return DUPLICATE, undone
        return DUPLICATE, -1
    number = np.uint64(report.exec)
    if number == 0:  # a correction without an id needs one of ours, or nothing could refer to what it left
        number = ~np.uint64(table.used[0])
    mine = _enter(table, report.order, number, BUSTED if dead else LIVE)
    _saw(table, mine, report)
    if dead:
        return DUPLICATE, -1
    table.rows[last].fate = CORRECTED
    table.rows[last].next = number
    return BOOKED | (UNDONE if undone >= 0 else 0), undone

"""The order table: every order of every desk, what is tracked of it and what we know besides, found by number or id."""

from bisect import bisect_left
from typing import Any

import numpy as np

from quantai.core.executions import EXECUTION, Executions, Fate, executions, live, reserve, restore
from quantai.core.orders import submit
from quantai.core.rows import CHILD, OCO, Rows
from quantai.core.tracked import CANCEL_REQUEST, OUT, OVERDUE, REQUESTS, TRACKED, is_over
from quantai.core.transitions import ENDED, Life
from quantai.portfolio.desks import desk_of

ENTRY = np.dtype(
    [
        ("order", "u8"),
        ("seq", "u8"),  # the row that caused it: with k, its client id
        ("ticket", "u8"),  # the number risk knows it by; 0 = never sent
        ("ts", "i8"),  # when it was asked for
        ("deadline", "i8"),  # when the venue is asked about it; 0 = nothing is awaited
        ("asked_lots", "i8"),  # what a child was asked for: it may be sent smaller, and grow with its parent
        ("requests", "u4"),  # numbers given out
        ("k", "u2"),
        ("flags", "u2"),
        ("queries", "u1"),  # without an answer
        ("refusal", "u1"),  # of the last cancel that was refused: its Refusal, OTHER when none was said
        ("pad", "u1", (6,)),
    ]
)
"""What the order management knows of an order besides its TRACKED row; 64 bytes."""

SENT, WAITING, GONE, KILLED, ASKED, DENIED_BY_RISK, YIELDED, DOOMED, RISEN = 1, 2, 4, 8, 16, 32, 64, 128, 256
"""ENTRY.flags: handed out; a child asleep; to be canceled; by the kill switch; a query is out; reason is risk's;
canceled for a rival; canceled should it come to life, because the kill switch was pulled since; alive at the venue
after its end was told."""

ASKED_FOR = np.dtype([("order", "u8"), ("seq", "u8"), ("request", "u4"), ("k", "u2"), ("pad", "u2")])
"""A cancel or replace that was sent, with its client id; 24 bytes."""


class OrderTable:
    """TRACKED and ENTRY rows side by side, their executions, and indices over them.

    A row taken from `tracked` or `entries` is a view: take it again after `enter`, which may move the tables.
    """

    def __init__(self) -> None:
        self.n = 0
        self.tracked: Rows = np.zeros(64, TRACKED)
        self.entries: Rows = np.zeros(64, ENTRY)
        self.executions: Executions = executions()
        self.asked: Rows = np.zeros(64, ASKED_FOR)  # like the entries in the order of their rows
        self._n_asked = 0
        self._slots: dict[int, int] = {}
        self._children: dict[int, list[int]] = {}
        self._rivals: dict[tuple[int, int, bool], list[int]] = {}

    def __len__(self) -> int:
        return self.n

    def slot(self, order: int) -> int | None:
        """Return the row of an order, by number."""
        return self._slots.get(int(order))

    def find(self, desk: int, seq: int, k: int) -> tuple[int, int] | None:
        """Return (order number, request number) of what was caused by row `seq` as its k-th."""
        for rows, n in ((self.entries, self.n), (self.asked, self._n_asked)):
            rows_seq = rows["seq"]
            if not n or rows_seq[n - 1] < seq:
                continue
            at = bisect_left(range(n), seq, key=lambda i, seqs=rows_seq: int(seqs[i]))
            while at < n and rows_seq[at] == seq:
                row = rows[at]
                if row["k"] == k and desk_of(row["order"]) == desk:
                    return int(row["order"]), 0 if rows is self.entries else int(row["request"])
                at += 1
        return None

    def enter(self, intent: Any, ts: int) -> int:
        """Start an order from an INTENT row and return its row; the number must be new."""
        if self.n == len(self.tracked):
            self.tracked, self.entries = _longer(self.tracked, 2 * self.n), _longer(self.entries, 2 * self.n)
        slot, self.n = self.n, self.n + 1
        submit(self.tracked[slot], intent)
        entry = self.entries[slot]
        entry["order"], entry["seq"], entry["k"], entry["ts"] = intent["order"], intent["seq"], intent["k"], ts
        entry["asked_lots"] = intent["qty_lots"]
        self._index(slot)
        return slot

    def note_request(self, slot: int, seq: int, k: int) -> int:
        """Give out the next request number of an order under the client id of (seq, k)."""
        entry = self.entries[slot]
        entry["requests"] += 1
        number = int(entry["requests"])
        if self._n_asked == len(self.asked):
            self.asked = _longer(self.asked, 2 * self._n_asked)
        self.asked[self._n_asked] = (int(entry["order"]), seq, number, k, 0)
        self._n_asked += 1
        return number

    def _index(self, slot: int) -> None:
        entry, tracked = self.entries[slot], self.tracked[slot]
        order, desk = int(entry["order"]), desk_of(entry["order"])
        self._slots[order] = slot
        link, flags = int(tracked["link"]), int(tracked["flags"])
        if flags & CHILD:
            self._children.setdefault(self.parent_number(slot), []).append(slot)
        if flags & OCO:
            self._rivals.setdefault((desk, link, bool(flags & CHILD)), []).append(slot)

    def parent_number(self, slot: int) -> int:
        """Return the number of the order that a child hangs on: its link counts within its desk."""
        order = int(self.entries["order"][slot])
        return desk_of(order) << 40 | int(self.tracked["link"][slot])

    def children(self, slot: int) -> list[int]:
        """Return the rows of an order's children, in the order they were asked for."""
        return self._children.get(int(self.entries["order"][slot]), [])

    def rivals(self, slot: int) -> list[int]:
        """Return the other rows of an order's one-cancels-other group; empty when it is in none."""
        flags = int(self.tracked["flags"][slot])
        if not flags & OCO:
            return []
        key = (desk_of(self.entries["order"][slot]), int(self.tracked["link"][slot]), bool(flags & CHILD))
        return [other for other in self._rivals[key] if other != slot]

    def reserve(self, extra: int) -> None:
        """Make room for `extra` execution ids."""
        self.executions = reserve(self.executions, extra)

    def fills(self, desk: int, instrument: int) -> list[tuple[int, int, int, int]]:
        """Return the executions that count of one desk in one instrument, as (row, side, lots, ticks), in order.

        A correction counts where the execution it corrects was.
        """
        rows = self.executions.rows[: int(self.executions.used[0])]
        corrected = {(int(r["order"]), int(r["next"])): r for r in rows if r["fate"] == Fate.CORRECTED}
        found: list[tuple[int, int, int, int]] = []
        for row in live(self.executions):
            slot = self.slot(row["order"])
            if slot is None or desk_of(row["order"]) != desk or not row["seen"]:
                continue
            tracked = self.tracked[slot]
            if int(tracked["instrument"]) != instrument:
                continue
            first, chain = row, {int(row["exec"])}
            while (before := corrected.get((int(first["order"]), int(first["exec"])))) is not None:
                first = before
                if int(first["exec"]) in chain:  # a venue can say that an execution corrects itself
                    break
                chain.add(int(first["exec"]))
            at = int(first["seq"]) or int(row["seq"])
            found.append((at, int(tracked["side"]), int(row["qty_lots"]), int(row["px_ticks"])))
        return sorted(found, key=lambda fill: fill[0])

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays."""
        used = int(self.executions.used[0])
        return {
            "tracked": self.tracked[: self.n],
            "entries": self.entries[: self.n],
            "executions": self.executions.rows[:used],
            "asked": self.asked[: self._n_asked],
        }

    DTYPES = {"tracked": TRACKED, "entries": ENTRY, "executions": EXECUTION, "asked": ASKED_FOR}  # noqa: RUF012

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Take over the state of `arrays`."""
        self.n, self._n_asked = len(arrays["tracked"]), len(arrays["asked"])
        room = max(64, 1 << (self.n - 1).bit_length() if self.n else 64)
        self.tracked, self.entries = _longer(arrays["tracked"], room), _longer(arrays["entries"], room)
        self.asked = _longer(arrays["asked"], max(64, self._n_asked))
        self.executions = restore(arrays["executions"])
        for slot in range(self.n):
            self._index(slot)


def _longer(rows: Rows, room: int) -> Rows:
    """Return a copy with room for more; pages of it that were never written take no memory."""
    longer: Rows = np.zeros(room, rows.dtype)
    longer[: len(rows)] = rows
    return longer


def is_finished(tracked: Any) -> bool:
    """Say whether an order has ended or is filled: only a bust, a late fill or a raise can move it still."""
    return bool(is_over(tracked)) or 0 < int(tracked["qty_lots"]) <= int(tracked["cum_lots"])


def open_lots(tracked: Any) -> int:
    """Return the most lots an order can still execute: with every change that is under way accepted."""
    if is_over(tracked):
        return 0
    total = int(tracked["qty_lots"])
    for i in range(REQUESTS):
        if tracked["request_state"][i] and tracked["request_kind"][i] != CANCEL_REQUEST:
            total = max(total, int(tracked["request_qty_lots"][i]))
    return max(total - int(tracked["cum_lots"]), 0)


def is_settled(tracked: Any) -> bool:
    """Say whether an order is finished as far as those that depend on it are concerned: a lost one may yet arrive."""
    return is_finished(tracked) and int(tracked["life"]) != Life.LOST


def may_trade(tracked: Any) -> bool:
    """Say whether an order can execute without coming back to life: it works, or a change that raises it is out."""
    return not is_finished(tracked) or open_lots(tracked) > 0


def figures(tracked: Any) -> tuple[int, int, bool]:
    """Return what an execution changes, as far as a position cares."""
    value = int(tracked["value_high"]) << 64 | int(tracked["value_low"])
    return int(tracked["cum_lots"]), value, is_finished(tracked)


def unanswered(tracked: Any) -> int:
    """Return how much we asked for has no answer: the order itself, and changes of it."""
    if tracked["life"] >= ENDED and tracked["life"] != Life.LOST:
        return 0
    new = tracked["life"] in (Life.PENDING, Life.LOST)
    changes = (tracked["request_state"] != 0) & (tracked["request_kind"] != CANCEL_REQUEST)
    return int(new) + int(changes.sum())


def cancel_is_out(tracked: Any) -> bool:
    """Say whether a cancel may still be answered, so that another would not be sent."""
    state = tracked["request_state"]
    return bool(((tracked["request_kind"] == CANCEL_REQUEST) & (state & OUT != 0) & (state & OVERDUE == 0)).any())


def awaits(tracked: Any) -> bool:
    """Say whether something we asked of an order has no answer yet."""
    if tracked["life"] >= ENDED:
        return False
    if tracked["life"] == Life.PENDING and (tracked["not_found"] or not tracked["reported"]):
        return True
    state = tracked["request_state"]
    return bool(((state & OUT != 0) & (state & OVERDUE == 0)).any())


def boldest(tracked: Any) -> int:
    """Return the limit nearest to the other side that an order can have: a change under way may or may not be in."""
    out = (tracked["request_state"] != 0) & (tracked["request_kind"] != CANCEL_REQUEST)
    prices = [int(tracked["px_ticks"]), *tracked["request_px_ticks"][out].tolist()]
    return max(prices) if tracked["side"] > 0 else min(prices)


def clear(entry: Any, flags: int) -> None:
    """Take flags from an ENTRY row."""
    entry["flags"] = int(entry["flags"]) & ~flags

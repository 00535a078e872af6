"""How long a request takes to the venue and a report takes back: constant, normal, or as it was recorded.

Draws depend on the seed and on a counter, never on a generator with state: a run cut in pieces draws the same numbers.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.errors import InputError
from quantai.core.hints import apart, rarely
from quantai.core.memory import rows_at
from quantai.core.rows import Rows

RECORDED = np.dtype([("ts", "i8"), ("entry_ns", "i8"), ("response_ns", "i8")])
"""One measured round trip: what was sent at `ts` took this long there and back."""

CONSTANT, NORMAL, TABLE = 0, 1, 2
MOST_NS = 3_600 * 10**9
"""No request or report takes longer: a replay goes on for one round trip after its last row."""
_GOLDEN, _MIX_1, _MIX_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Order entry and response latency in nanoseconds.

    Constant unless a standard deviation is given (`entry_sd_ns`, `response_sd_ns`: normal, never below half the mean),
    or a table of RECORDED rows (sorted by ts): the round trip sent last at or before an instant is the one that holds.

    >>> Latency(entry_ns=2_000_000, response_ns=2_000_000)
    Latency(2 ms + 2 ms)
    """

    entry_ns: int = 2_000_000
    response_ns: int = 2_000_000
    entry_sd_ns: float = 0.0
    response_sd_ns: float = 0.0
    table: Rows | None = None

    def __post_init__(self) -> None:
        for name, kinds, what in (
            ("entry_ns", int | np.integer, "whole nanoseconds"),
            ("response_ns", int | np.integer, "whole nanoseconds"),
            ("entry_sd_ns", int | float | np.number, "nanoseconds"),
            ("response_sd_ns", int | float | np.number, "nanoseconds"),
        ):
            if not isinstance(getattr(self, name), kinds):
                raise InputError(f"{name} of Latency is a number of {what}, got {getattr(self, name)!r}")
        if min(self.entry_ns, self.response_ns) < 0 or self.entry_ns + self.response_ns < 1:
            raise InputError(
                f"latencies are not negative, a round trip is at least 1 ns: got {self.entry_ns} and {self.response_ns}"
            )
        if not (0 <= self.entry_sd_ns < math.inf and 0 <= self.response_sd_ns < math.inf):
            raise InputError("a standard deviation of latency is a finite number that is not negative")
        for name in ("entry_ns", "response_ns", "entry_sd_ns", "response_sd_ns"):
            if getattr(self, name) > MOST_NS:
                raise InputError(f"{name} of Latency is in nanoseconds, an hour at most; got {getattr(self, name)!r}")
        if self.table is not None and (getattr(self.table, "dtype", None) != RECORDED or not len(self.table)):
            raise InputError("recorded latencies are an array of RECORDED rows (ts, entry_ns, response_ns), not empty")
        if self.table is not None:
            _refuse_bad_table(self.table)

    @property
    def kind(self) -> int:
        """CONSTANT, NORMAL or TABLE."""
        if self.table is not None:
            return TABLE
        return NORMAL if self.entry_sd_ns or self.response_sd_ns else CONSTANT

    def least(self) -> tuple[int, int]:
        """Return the shortest entry and response that can occur."""
        if self.table is not None:
            return int(self.table["entry_ns"].min()), max(int(self.table["response_ns"].min()), 1)
        entry = self.entry_ns // 2 if self.entry_sd_ns else self.entry_ns
        return entry, self.response_ns // 2 if self.response_sd_ns else self.response_ns

    def __repr__(self) -> str:
        if self.table is not None:
            return f"Latency({len(self.table):,} recorded round trips)"
        spread = f", sd {self.entry_sd_ns / 1e6:g} + {self.response_sd_ns / 1e6:g} ms" if self.kind == NORMAL else ""
        return f"Latency({self.entry_ns / 1e6:g} ms + {self.response_ns / 1e6:g} ms{spread})"


def _refuse_bad_table(table: Rows) -> None:
    if np.any(np.diff(table["ts"]) < 0):
        raise InputError("recorded latencies must be sorted by ts")
    for name in ("entry_ns", "response_ns"):
        wrong = np.flatnonzero((table[name] < 0) | (table[name] > MOST_NS))
        if len(wrong):
            said = f"{name} is 0 to an hour in nanoseconds, got {table[name][wrong[0]]}"
            raise InputError(f"row {wrong[0]} of the recorded latencies: {said}")


@uncounted
def standard_normal(seed: int, n: int) -> float:
    """Return the `n`-th standard normal number of a seed (splitmix64, Box-Muller)."""
    a = _uniform(np.uint64(seed) * _MIX_1 + np.uint64(2 * n))
    b = _uniform(np.uint64(seed) * _MIX_1 + np.uint64(2 * n + 1))
    return math.sqrt(-2.0 * math.log(a)) * math.cos(2.0 * math.pi * b)


@uncounted
def _uniform(n: Any) -> float:
    z = (n + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * _MIX_1
    z = (z ^ (z >> np.uint64(27))) * _MIX_2
    z = z ^ (z >> np.uint64(31))
    return (np.float64(z >> np.uint64(11)) + 0.5) * 2.0**-53


@uncounted_inlined
def entry_ns(rules: Any, ts: int, n: int) -> int:
    """Return how long the `n`-th request, sent at `ts`, takes to the venue."""
    return _drawn_entry_ns(rules, ts, n) if rarely(rules.latency != CONSTANT) else rules.entry_ns


@uncounted
def _drawn_entry_ns(rules: Any, ts: int, n: int) -> int:
    apart()
    if rules.latency == NORMAL:
        drawn = rules.entry_ns + rules.entry_sd_ns * standard_normal(rules.seed, 2 * n)
        return max(int(drawn), rules.entry_least)
    table = rows_at(rules.at_table, rules.n_table, RECORDED)
    return table[_at(table, ts)].entry_ns


@uncounted_inlined
def response_ns(rules: Any, ts: int, n: int) -> int:
    """Return how long the `n`-th report, made at `ts`, takes to us."""
    return _drawn_response_ns(rules, ts, n) if rarely(rules.latency != CONSTANT) else rules.response_ns


@uncounted
def _drawn_response_ns(rules: Any, ts: int, n: int) -> int:
    apart()
    if rules.latency == NORMAL:
        drawn = rules.response_ns + rules.response_sd_ns * standard_normal(rules.seed, 2 * n + 1)
        return max(int(drawn), rules.response_least)
    table = rows_at(rules.at_table, rules.n_table, RECORDED)
    return max(table[_at(table, ts)].response_ns, rules.response_least)


@uncounted
def _at(table: Any, ts: int) -> int:
    lo, hi = 0, table.shape[0]
    while lo < hi:
        mid = (lo + hi) // 2
        if table[mid].ts <= ts:
            lo = mid + 1
        else:
            hi = mid
    return max(lo - 1, 0)

"""Runs every interleaving of the race scenarios against `core.orders`, and checks the invariants after each event."""

from collections.abc import Iterator, Sequence
from typing import Any

from quantai.core.tracked import leaves
from tests.conformance.orders_fix import Track

Event = dict[str, Any]


def merges(streams: Sequence[Sequence[Event]]) -> Iterator[list[Event]]:
    """Yield every merge of `streams` that keeps the order within each."""
    rest = [s for s in streams if s]
    if not rest:
        yield []
    for i, stream in enumerate(rest):
        for tail in merges([*rest[:i], stream[1:], *rest[i + 1 :]]):
            yield [stream[0], *tail]


def run(case: dict[str, Any]) -> list[str]:
    """Return the differences of one case over all its interleavings; empty = passed."""
    found: list[str] = []
    count = 0
    for merge in merges(case["streams"]):
        count += 1
        found += [f"merge {count}: {line}" for line in _play([*case["prefix"], *merge, *case["suffix"]], case)]
    if count != case["interleavings"]:
        found.append(f"{count} interleavings, expected {case['interleavings']}")
    return found


def _play(events: list[Event], case: dict[str, Any]) -> Iterator[str]:
    track, expect = Track(), case["expect"]
    for event in events:
        before = int(track.row[0]["cum_lots"])
        track.step(event)
        if "cum_monotone" in case["invariants"] and int(track.row[0]["cum_lots"]) < before:
            yield f"cum falls at {event}"
        if leaves(track.row[0]) < 0:
            yield f"leaves below 0 at {event}"
        if event["ev"] == "fill" and "dup_noop" in case["invariants"]:
            yield from _repeat(track, event)
    got = track.state()
    got["status"] = got["status_local"]
    for name in ("status", "cum", "leaves", "avg_px", "duplicates_ignored", "local_answers"):
        if got[name] != expect[name]:
            yield f"{name} is {got[name]}, expected {expect[name]}"
    if missing := set(expect["flags_must"]) - got["flags"]:
        yield f"flags missing: {sorted(missing)}"
    if extra := got["flags"] - set(expect["flags_must"]) - set(expect["flags_may"]):
        yield f"flags too many: {sorted(extra)}"


def _repeat(track: Track, event: Event) -> Iterator[str]:
    row = track.row.copy()
    was = track.state()
    track.step(event)
    now = track.state()
    track.row[:] = row
    if {k: v for k, v in was.items() if k != "duplicates_ignored"} != {
        k: v for k, v in now.items() if k != "duplicates_ignored"
    }:
        yield f"a repeated {event} changes the order"

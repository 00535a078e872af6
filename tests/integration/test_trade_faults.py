"""Faults at the loopback exchange, through real cryptofeed, real ccxt and the trade loop: nothing is lost or doubled.

A quick choice of the twenty scripts is played here; `python -m tests.chaos faults --seed S` plays all of them, and
so does this file with QUANTAI_ALL_FAULTS=1 in the environment.
"""

import os

import pytest

from tests.chaos import faults

QUICK = ("disconnect", "silence", "restart", "start-garbage-drop", "reorder-duplicate-unknown")
PLAYED = tuple(faults.SCRIPTS) if os.environ.get("QUANTAI_ALL_FAULTS") else QUICK


@pytest.mark.parametrize("name", PLAYED)
def test_a_fault_leaves_books_and_exchange_agreed(name: str) -> None:
    assert faults.play(faults.SCRIPTS[name], seed=3) == []


def test_there_are_twenty_scripts_with_each_fault_at_every_moment() -> None:
    scripts = faults.SCRIPTS.values()
    assert len(scripts) == 20
    assert {s.when for s in scripts} == {"start", "open", "reconnect"}
    struck = {text.partition(":")[0] for s in scripts for text in s.faults}
    assert struck >= {"disconnect", "silence", "slow", "duplicate", "reorder", "drop", "garbage", "http", "timeout"}
    assert struck >= {"restart", "unknown"}
    assert sum(len(s.faults) > 1 or s.when == "reconnect" for s in scripts) >= 8, "in pairs"

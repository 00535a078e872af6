"""What a plan of trading refuses, in one line that says what to do, before anybody is reached."""

from pathlib import Path
from typing import Any

import pytest

import quantai as qa
from quantai.core.errors import InputError, UnknownName
from quantai.execution.client_ids import client_id, read_client_id, run_tag
from quantai.execution.plan import Plan, paper_limits
from quantai.strategy.examples import Cross, Quote


class Idle(qa.Strategy):
    """Does nothing."""


def plan(**fields: Any) -> Plan:
    said: dict[str, Any] = {
        "strategies": [(Quote(), "quantai.strategy.examples:Quote")],
        "venues": {"BINANCE": ["BTC-USDT"]},
        "mode": "paper",
        "journal": Path("run.journal"),
    }
    return Plan(**(said | fields))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mode": "live"}, "--i-understand"),
        ({"mode": "live", "understood": True}, "needs limits: --limits FILE"),
        ({"mode": "replay"}, "--lake DIR"),
        ({"cash": -5.0}, "cash is -5.0: give an amount of 0 or more"),
        ({"cash": float("nan")}, "cash is nan"),
        ({"endpoint": "?"}, r"endpoint '\?': write an address such as http://127.0.0.1:9300"),
        ({"endpoints": {"BINANCE": "http://:80:80"}}, "write an address"),
        ({"strategies": []}, "no strategy"),
        ({"venues": {"BINANCE": []}}, "nothing to trade"),
        ({"strategies": [(Idle(), "x:Idle")]}, "Idle has no handler"),
        ({"strategies": [(Cross(), "x:Cross")]}, "--interval 1m"),
    ],
)
def test_a_plan_that_must_not_run_says_why(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        plan(**fields).check()


def test_unknown_words_are_named() -> None:
    with pytest.raises(UnknownName, match="papper"):
        plan(mode="papper").check()
    with pytest.raises(UnknownName, match="at_end"):
        plan(at_end="hold").check()


@pytest.mark.parametrize("venue", ["COINBASE", "GATE"])
def test_a_run_that_could_not_flatten_is_refused(venue: str) -> None:
    live: dict[str, Any] = {"mode": "live", "understood": True, "limits": paper_limits()}
    venues = {"BINANCE": ["BTC-USDT"], venue: ["ETH-USDT"]}
    with pytest.raises(InputError, match=f"{venue} takes no market orders.*--at-end cancel or keep"):
        plan(**live, venues=venues, at_end="flatten").check()
    plan(**live, venues=venues).check()
    plan(**live, at_end="flatten").check()
    plan(venues=venues, at_end="flatten").check()  # on paper they are


def test_a_plan_that_may_run_passes() -> None:
    plan().check()
    plan(mode="live", understood=True, limits=paper_limits()).check()


def test_channels_are_those_a_strategy_reads_and_quotes_for_risk() -> None:
    offered = ["trades", "l2_book", "ticker", "funding"]
    assert plan().channels_of(offered) == ["trades", "ticker", "l2_book"]
    assert plan(strategies=[(Cross(), "")], interval="1m").channels_of(offered) == ["trades", "ticker"]
    assert plan(channels=["trades"]).channels_of(offered) == ["trades"]


def test_a_paper_run_without_prices_is_told_so(caplog: pytest.LogCaptureFixture) -> None:
    for channels in (["trades", "l2_book"], ["ticker"]):
        plan(channels=channels).channels_of(channels)
    assert not caplog.records
    plan(channels=["trades"]).channels_of(["trades", "ticker"])
    assert "trades bring no best prices" in caplog.text


@pytest.mark.parametrize("mode", ["paper", "live"])
def test_a_channel_that_a_venue_does_not_send_is_named_before_anything_is_asked_of_it(mode: str) -> None:
    live: dict[str, Any] = {"mode": mode, "understood": True, "limits": paper_limits()}
    plan(**live, channels=["trades", "ticker"]).check()
    with pytest.raises(UnknownName, match="unknown channel of BINANCE 'foo'"):
        plan(**live, channels=["trades", "foo"]).check()


def test_run_names_are_new_each_time_and_fit_into_client_ids() -> None:
    names = plan(strategies=[(Quote(), ""), (Quote(), "")]).run_names()
    assert len(set(names)) == 2
    for name in names:
        assert run_tag(name) == name
        assert read_client_id(client_id(name, 2**63, 3)) == (name, 2**63, 3)

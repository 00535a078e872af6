"""The assistant and a server that speaks OpenAI's protocol, well and badly: what the wire does to a question."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import quantai as qa
from quantai.knowledge import Knowledge
from quantai.tools import Workspace
from quantai.tools.assistant import Assistant
from tests.chat_server import ChatServer
from tests.knowledge_setting import HashEmbedder, write_notes
from tests.local_server import serving

LOAD = ("load_data", '{"sample": "sp500", "start": "2015-01-01"}')


@pytest.fixture
def model() -> Iterator[ChatServer]:
    with serving(ChatServer()) as server:
        yield server


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with (
        Knowledge(tmp_path / "kb", embedding=HashEmbedder()) as kb,
        Workspace(qa.Lake(tmp_path / "lake"), kb, folder=tmp_path / "out", runs=tmp_path / "runs") as made,
    ):
        kb.add(*write_notes(tmp_path / "notes", 5), quiet=True)
        yield made


def test_tools_are_called_over_the_wire_and_the_answer_is_streamed_and_cited(
    model: ChatServer, workspace: Workspace
) -> None:
    model.script = [
        [LOAD, ("list_strategies", "{}")],
        [("backtest", '{"strategy": "Cross", "bars": "bars-1"}')],
        [("search_knowledge", '{"query": "number of trials deflated sharpe", "most": 1}')],
        "As result-1 shows, the deflated sharpe ratio corrects for the number of trials [1].",
    ]
    run = Assistant(model.settings, workspace=workspace).start("Is it good?")
    steps = list(run)
    report = run.report
    assert [step.tool for step in steps if step.kind == "answer" and step.ok] == [
        "load_data",
        "list_strategies",
        "backtest",
        "search_knowledge",
    ]
    assert len([step for step in steps if step.kind == "text"]) > 10
    assert report.text.startswith("As result-1 shows")
    assert list(report.passages) == [1]
    assert (report.stopped, report.notes) == ("", [])
    assert isinstance(report["result-1"], qa.Result)
    assert report.tokens == {"input": 400, "output": 80}
    assert report.cost == pytest.approx((400 * 1.0 + 80 * 2.0) / 1e6)
    sent: dict[str, Any] = {tool["function"]["name"]: tool for tool in model.requests[0]["tools"]}
    assert sent["backtest"]["function"]["parameters"]["required"] == ["strategy", "bars"]
    roles = [message["role"] for message in model.requests[1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool"]


def test_arguments_that_are_not_json_are_asked_for_again(model: ChatServer, workspace: Workspace) -> None:
    model.script = [[("load_data", "sample = sp500")], [LOAD], "Loaded bars-1."]
    report = Assistant(model.settings, workspace=workspace).ask("Load it.")
    assert report.text.strip() == "Loaded bars-1."
    assert report["bars-1"].symbols == ["SPX"]
    assert "are not JSON" in model.requests[1]["messages"][-1]["content"]


def test_a_bad_call_beside_a_good_one_spoils_only_itself(model: ChatServer, workspace: Workspace) -> None:
    model.script = [[LOAD, ("list_strategies", "nonsense")], "Loaded bars-1."]
    report = Assistant(model.settings, workspace=workspace).ask("Load it.")
    assert list(report.things) == ["bars-1"]
    answered = [m for m in model.requests[1]["messages"] if m["role"] == "tool"]
    assert "are not JSON" in next(m["content"] for m in answered if m["tool_call_id"] == "call_1_1")
    assert {m["tool_call_id"] for m in answered} == {"call_1_0", "call_1_1"}, "every call has its answer"
    assert report.text.strip() == "Loaded bars-1."


@pytest.mark.parametrize("failure", [429, 500, 401, "<malformed>"])
def test_when_the_model_fails_what_was_done_is_there(
    model: ChatServer, workspace: Workspace, failure: str | int
) -> None:
    model.script = [[LOAD], failure]
    report = Assistant(model.settings, workspace=workspace).ask("Load it.")
    assert report.stopped.startswith("the chat model failed")
    assert report.notes == [f"ended early: {report.stopped}"]
    assert report["bars-1"].symbols == ["SPX"]


def test_after_a_failure_the_conversation_goes_on(model: ChatServer, workspace: Workspace) -> None:
    assistant = Assistant(model.settings, workspace=workspace)
    model.script = [[LOAD], 500, "It is bars-1."]
    assert assistant.ask("Load it.").stopped
    assert assistant.ask("What is its name?").text.strip() == "It is bars-1."
    roles = [message["role"] for message in model.requests[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "user"]


def test_a_busy_model_is_asked_again(model: ChatServer, workspace: Workspace) -> None:
    model.script = [429, [LOAD], 500, "Loaded bars-1."]
    report = Assistant(replace(model.settings, retries=2), workspace=workspace).ask("Load it.")
    assert (report.text.strip(), report.stopped) == ("Loaded bars-1.", "")
    assert len(model.requests) == 4


def test_a_model_that_says_nothing_has_failed(model: ChatServer, workspace: Workspace) -> None:
    model.script = [""]
    assert Assistant(model.settings, workspace=workspace).ask("Load it.").stopped == "the chat model answered nothing"


def test_a_model_that_stalls_is_given_up(model: ChatServer, workspace: Workspace) -> None:
    model.script = [[LOAD], "<stall>"]
    report = Assistant(replace(model.settings, timeout_s=2.0), workspace=workspace).ask("Load it.")
    assert report.stopped.startswith("the chat model failed")
    assert report["bars-1"].symbols == ["SPX"]

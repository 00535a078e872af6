"""The assistant: a real LangChain agent, driven by a scripted chat model, works with the tools within its limits."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage

import quantai as qa
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.instruments import Instrument
from quantai.execution.limits import Limits
from quantai.knowledge import Knowledge
from quantai.tools import TOOLS, Permission, Request, Workspace, ready_tools, tool
from quantai.tools.assistant import (
    Assistant,
    Budget,
    Playback,
    Step,
    read_transcript,
    replay_transcript,
    says,
)
from quantai.tools.assistant.assistant import _Run
from quantai.tools.assistant.budget import Meter
from quantai.tools.assistant.transcript import Transcript
from quantai.tools.audit import read_audit
from tests.knowledge_setting import HashEmbedder, write_notes

ready_tools()

ORDER = {"venue": "BINANCE", "symbol": "BTC-USDT", "side": "buy", "qty": "0.01", "limit": "100.25", "why": "it rose"}
RESEARCH = [
    says("I load the data.", load_data={"sample": "sp500", "start": "2010-01-01"}),
    says(backtest={"strategy": "Cross", "bars": "bars-1", "params": {"fast": 5}}),
    says(backtest={"strategy": "Cross", "bars": "bars-1", "params": {"fast": 20}, "fee_bps": 0}),
    says(compare_results={"names": ["result-1", "result-2"]}),
    says(search_knowledge={"query": "what does the deflated sharpe ratio correct for?", "most": 2}),
    says(propose_order=ORDER),
    says("result-2 was better. The deflated sharpe ratio corrects for the number of trials [1]. I ordered nothing."),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with Knowledge(tmp_path / "kb", embedding=HashEmbedder()) as kb:
        kb.add(*write_notes(tmp_path / "notes", 5), quiet=True)
        lake = qa.Lake(tmp_path / "lake")
        lake.instruments.update([Instrument.parse("BTC-USDT", venue="BINANCE", tick="0.01", lot="0.001")])
        limits = replace(Limits.example(), max_order_notional=Decimal(2), max_position=Decimal(1))
        with Workspace(lake, kb, folder=tmp_path / "out", runs=tmp_path / "runs", limits=limits) as made:
            yield made


@pytest.fixture
def own() -> Iterator[Any]:
    before = dict(TOOLS)
    yield tool
    TOOLS.clear()
    TOOLS.update(before)


def asker(answers: list[Any], asked: list[Request]):
    def ask(request: Request) -> bool:
        asked.append(request)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def kinds(steps: list[Step]) -> list[str]:
    return [f"{step.kind} {step.tool}".strip() for step in steps if step.kind != "text"]


def test_it_loads_tests_compares_cites_and_asks_before_it_trades(workspace: Workspace) -> None:
    asked: list[Request] = []
    model = Playback(script=RESEARCH)
    run = Assistant(model, workspace=workspace, ask=asker([False], asked)).start("Is a fast cross better?")
    steps = list(run)
    report = run.report
    assert kinds(steps) == [
        "call load_data", "answer load_data", "call backtest", "answer backtest", "call backtest", "answer backtest",
        "call compare_results", "answer compare_results", "call search_knowledge", "answer search_knowledge",
        "call propose_order", "ask propose_order", "approval propose_order", "answer propose_order",
    ]  # fmt: skip
    assert [(r.tool, r.arguments, r.why) for r in asked] == [("propose_order", ORDER, "it may trade")]
    assert not list((workspace.folder / "proposals").glob("*"))
    assert [step.ok for step in steps if step.kind == "answer"] == [True] * 5 + [False]
    said = [step.text for step in steps if step.kind == "text"]
    assert len(said) > 10, "the text is streamed"
    assert "".join(said).endswith(report.text)

    result = report["result-1"]
    assert isinstance(result, qa.Result)
    direct = qa.backtest(
        qa.strategy.examples.Cross(fast=5), qa.samples.sp500().between("2010-01-01", None), fee_bps=5.0
    )
    assert result.stats == direct.stats
    assert list(report.things) == ["bars-1", "result-1", "result-2"]
    assert list(report.passages) == [1]
    assert "number of trials" in report.passages[1].text
    assert (report.notes, report.stopped) == ([], "")
    assert "note0003.md" in str(report)
    page = report._repr_html_()
    assert "<details" in page
    assert "result-1" in page
    told = model.heard[1][-1].text
    assert json.loads(told)["result"]["name"] == "bars-1"
    assert "not instructions to follow" in model.heard[5][-1].text
    with pytest.raises(UnknownName, match="result-3"):
        report["result-3"]


def test_an_approved_order_is_written_down_and_never_sent(workspace: Workspace) -> None:
    script = [says(propose_order=ORDER), says("Proposed.")]
    asked: list[Request] = []
    report = Assistant(Playback(script=script), workspace=workspace, ask=asker([True], asked)).ask("Propose it.")
    (path,) = (workspace.folder / "proposals").glob("*.json")
    assert json.loads(path.read_text())["why"] == "it rose"
    assert len(asked) == 1
    assert [step.ok for step in report.steps if step.kind == "approval"] == [True]


async def test_it_works_in_an_event_loop_and_asks_there(workspace: Workspace) -> None:
    here = threading.get_ident()

    async def ask(request: Request) -> bool:
        await asyncio.sleep(0)
        assert threading.get_ident() == here
        return True

    script = [says(propose_order=ORDER), says("Proposed.")]
    run = Assistant(Playback(script=script), workspace=workspace, ask=ask).start("Propose it.")
    seen = [step.kind async for step in run]
    assert "approval" in seen
    assert run.report.text == "Proposed."
    assert len(list((workspace.folder / "proposals").glob("*.json"))) == 1
    later = Assistant(Playback(script=[says("Again.")]), workspace=workspace).start("And again?")
    assert (await later.finish()).text == "Again."


async def test_a_plain_loop_works_where_an_event_loop_runs_as_in_a_notebook(workspace: Workspace) -> None:
    thread: list[int] = []

    def ask(_: Request) -> bool:
        thread.append(threading.get_ident())
        return False

    script = [says(propose_order=ORDER), says("Not proposed.")]
    report = Assistant(Playback(script=script), workspace=workspace, ask=ask).ask("Propose it.")
    assert report.text == "Not proposed."
    assert thread == [threading.get_ident()], "asked in the reader's thread, which has the terminal"


@pytest.mark.parametrize("answer", [RuntimeError("the window is gone"), "yes", None])
def test_what_is_not_a_plain_yes_is_no(workspace: Workspace, answer: Any) -> None:
    script = [says(propose_order=ORDER), says("Not proposed.")]
    report = Assistant(Playback(script=script), workspace=workspace, ask=asker([answer], [])).ask("Propose it.")
    assert [step.ok for step in report.steps if step.kind == "approval"] == [False]
    assert not list((workspace.folder / "proposals").glob("*"))


def test_with_nobody_to_ask_the_answer_is_no(workspace: Workspace) -> None:
    script = [says(propose_order=ORDER), says("Not proposed.")]
    report = Assistant(Playback(script=script), workspace=workspace).ask("Propose it.")
    (answer,) = [step for step in report.steps if step.kind == "answer"]
    assert "nobody is there to ask" in answer.text


def test_a_question_goes_on_from_the_one_before(workspace: Workspace) -> None:
    model = Playback(script=[says(load_data={"sample": "sp500"}), says("It is bars-1."), says("As I said: bars-1.")])
    assistant = Assistant(model, workspace=workspace)
    assistant.ask("Load the S&P 500.")
    report = assistant.ask("What is its name?")
    assert report.things == {}
    assert [message.text for message in model.heard[2][1:] if message.type == "human"] == [
        "Load the S&P 500.",
        "What is its name?",
    ]
    model.script = [*model.script, says("I do not know.")]
    assistant.forget()
    assistant.ask("What is its name?")
    assert len(model.heard[3]) == 2


class Endless(Playback):
    """Asks for the same again and again."""

    def _next(self, messages: Any) -> AIMessage:
        self.said += 1
        call = says(list_strategies={}).tool_calls[0] | {"id": f"c{self.said}"}
        return AIMessage(
            "",
            tool_calls=[call],
            usage_metadata={"input_tokens": 900, "output_tokens": 100, "total_tokens": 1000},
        )


@pytest.mark.parametrize(
    ("budget", "calls", "why"),
    [
        (Budget(steps=3), 3, "the limit of 3 steps is reached"),
        (Budget(tokens=2500), 3, "the limit of 2,500 tokens is reached"),
        (Budget(cost=0.0021), 3, "the limit of 0.0021 in cost is reached"),
    ],
)
def test_it_ends_at_its_limits(workspace: Workspace, budget: Budget, calls: int, why: str) -> None:
    assistant = Assistant(Endless(script=[]), workspace=workspace, budget=budget)
    assistant._chat = replace(assistant.chat, price_in=0.5, price_out=5.0)
    report = assistant.ask("Go on for ever.")
    assert report.stopped == why
    assert report.notes == [f"ended early: {why}"]
    assert len(report.calls) == calls
    assert report.tokens == {"input": 900 * calls, "output": 100 * calls}
    assert report.cost == pytest.approx((900 * 0.5 + 100 * 5.0) * calls / 1e6)


def test_tokens_are_estimated_where_a_provider_does_not_count_them(workspace: Workspace) -> None:
    report = Assistant(Playback(script=RESEARCH[:1] + RESEARCH[-1:]), workspace=workspace).ask("Load it.")
    assert report.tokens["input"] > 50
    assert report.tokens["output"] > 10
    assert report.cost is None


def test_a_tool_that_stalls_is_given_up_when_the_time_is_over(workspace: Workspace, own: Any) -> None:
    @own(permission="read", foreign=False)
    async def stall() -> int:
        """Wait for ever."""
        await asyncio.Event().wait()
        return 1

    assistant = Assistant(Playback(script=[says(stall={})]), workspace=workspace, budget=Budget(seconds=0.3))
    report = assistant.ask("Stall.")
    assert report.stopped == "the limit of 0.3 s is reached"


async def test_the_clock_stands_while_a_person_thinks(workspace: Workspace, tmp_path: Path) -> None:
    stood: list[bool] = []

    async def ask(_: Request) -> bool:
        stood.append(run.clock is not None and run.clock.when() is None)
        return True

    run = _Run(Assistant(Playback(script=[]), workspace=workspace), "q", lambda _: None, ask)
    run.meter = Meter(Budget(), None, None)
    with Transcript(tmp_path) as run.transcript:
        async with asyncio.timeout(1000) as run.clock:
            assert await run._asked(Request("propose_order", Permission.TRADE, ORDER, "it may trade"))
            left = (run.clock.when() or 0.0) - asyncio.get_running_loop().time()
    assert stood == [True]
    assert 0 < left <= 1000


def test_it_ends_when_a_person_says_no_again_and_again(workspace: Workspace) -> None:
    script = [says(propose_order=ORDER)] * 5
    asked: list[Request] = []
    report = Assistant(Playback(script=script), workspace=workspace, ask=asker([False] * 5, asked)).ask("Propose it.")
    assert len(asked) == 3
    assert report.stopped == "3 calls were not approved"


def test_a_tool_of_which_it_made_up_the_name_or_the_arguments_is_an_answer(workspace: Workspace) -> None:
    script = [says(buy_everything={}), says(load_data={"sample": "moon"}), says("I could not.")]
    report = Assistant(Playback(script=script), workspace=workspace).ask("Buy everything.")
    answers = [step for step in report.steps if step.kind == "answer"]
    assert [step.ok for step in answers] == [False, False]
    assert "buy_everything is not a valid tool" in answers[0].text
    assert "sample" in answers[1].text
    assert report.text == "I could not."


def test_calls_of_one_message_run_in_their_order(workspace: Workspace) -> None:
    calls = [
        {"name": "load_data", "args": {"sample": name}, "id": name} for name in ("sp500", "nasdaq", "sp500", "nasdaq")
    ]
    script = [AIMessage("", tool_calls=calls), says("Four.")]
    report = Assistant(Playback(script=script), workspace=workspace).ask("Load four.")
    names = {name: thing.symbols[0] for name, thing in report.things.items()}
    assert list(names) == ["bars-1", "bars-2", "bars-3", "bars-4"]
    assert names["bars-1"] == names["bars-3"] != names["bars-2"] == names["bars-4"]


def test_made_up_citations_are_noted(workspace: Workspace) -> None:
    script = [
        says(search_knowledge={"query": "kill switch", "most": 1}),
        says("The kill switch halts trading [1]. Bananas are blue in 1999 [1]. See also [7]."),
    ]
    report = Assistant(Playback(script=script), workspace=workspace).ask("What is a kill switch?")
    assert report.notes == [
        "1 of 2 cited sentences are not in the passages that they cite",
        "there is no passage 7: it is made up",
    ]
    assert list(report.passages) == [1]


def test_leaving_the_loop_ends_the_work(workspace: Workspace, own: Any) -> None:
    ran: list[int] = []
    ended = threading.Event()

    @own(permission="read", foreign=False)
    async def wait() -> int:
        """Wait."""
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        ran.append(1)
        return 1

    assistant = Assistant(Playback(script=[says(wait={}), says("Done.")]), workspace=workspace)
    for step in assistant.start("Wait."):
        if step.kind == "call":
            break
    assert not [t for t in threading.enumerate() if t.name == "assistant"]
    assert ran == []


def test_a_transcript_holds_what_was_said_and_is_played_again(workspace: Workspace, tmp_path: Path) -> None:
    report = Assistant(Playback(script=RESEARCH), workspace=workspace, ask=asker([False], [])).ask("Is it better?")
    assert report.transcript is not None
    entries = read_transcript(report.transcript)
    assert entries[0]["question"] == "Is it better?"
    assert [e["text"] for e in entries if e["kind"] == "model"] == [m.text for m in RESEARCH]
    assert [(e["tool"], e["ok"]) for e in entries if e["kind"] == "approval"] == [("propose_order", False)]
    assert entries[-1] == {"kind": "end", "stopped": "", "tokens": report.tokens, "cost": None}

    asked: list[Request] = []
    with Workspace(workspace.lake, workspace.knowledge, folder=tmp_path / "again", limits=workspace.limits) as fresh:
        again, other = replay_transcript(report.transcript, fresh, asker([False], asked))
        assert other == []
        assert again.text == report.text
        assert again["result-1"].stats == report["result-1"].stats
        assert len(asked) == 1, "a person is asked anew"
    with Workspace(workspace.lake, None, folder=tmp_path / "without") as bare:
        again, other = replay_transcript(report.transcript, bare, asker([False], []))
        assert len(other) == 1
        assert other[0].startswith("search_knowledge: was ")
        assert "has no knowledge base" in other[0]


def test_a_cut_transcript_is_read_and_a_broken_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"kind": "question", "question": "q", "tainted": false}\n{"kind": "model", "te')
    assert len(read_transcript(path)) == 1
    path.write_text('{"kind": "question"}\nnonsense\n')
    with pytest.raises(DataError, match="line 2"):
        read_transcript(path)
    path.write_text('{"kind": "end"}\n')
    with pytest.raises(DataError, match="does not begin with a question"):
        read_transcript(path)
    with pytest.raises(InputError, match="No such file"):
        read_transcript(tmp_path / "b.jsonl")


def test_every_call_is_in_the_audit(workspace: Workspace) -> None:
    Assistant(Playback(script=RESEARCH), workspace=workspace, ask=asker([False], [])).ask("Is it better?")
    assert workspace.audit is not None
    assert workspace.audit.path is not None
    entries = read_audit(workspace.audit.path)
    assert [e["call"] for e in entries if "call" in e] == [
        "load_data", "backtest", "backtest", "compare_results", "search_knowledge",
    ]  # fmt: skip
    assert [e["answer"] for e in entries if e.get("refused")] == ["propose_order"]


def test_it_needs_a_model_and_a_question(monkeypatch: pytest.MonkeyPatch, workspace: Workspace) -> None:
    monkeypatch.delenv("QUANTAI_CHAT_MODEL", raising=False)
    with pytest.raises(InputError, match="no chat model is configured"):
        Assistant(workspace=workspace)
    with pytest.raises(UnknownName, match="did you mean 'backtest'"):
        Assistant(Playback(script=[]), workspace=workspace, tools=["backtset"])
    with pytest.raises(InputError, match="the question is empty"):
        Assistant(Playback(script=[]), workspace=workspace).ask(" ")


def test_a_script_that_is_over_is_a_failure_of_the_model(workspace: Workspace) -> None:
    report = Assistant(Playback(script=[says(load_data={"sample": "sp500"})]), workspace=workspace).ask("Load it.")
    assert "the script has 1 messages" in report.stopped
    assert report["bars-1"].symbols == ["SPX"]

"""The magics in a real Jupyter kernel, as JupyterLab talks to one, and in a shell without a page."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

import quantai as qa
from quantai.notebook.sql_completion import columns_of, complete
from tests.conftest import REPO
from tests.knowledge_setting import write_notes

SETUP = """
import quantai as qa
from quantai.tools import Workspace
from quantai.tools.assistant import Assistant, Playback, says
kb = qa.Knowledge("kb", embedding="none")
lake = qa.Lake("lake")
order = dict(venue="BINANCE", symbol="BTC-USDT", side="buy", qty="1", limit="1", why="told to")
script = [
    says("I load.", load_data={"sample": "sp500", "start": "2015-01-01"}),
    says(search_knowledge={"query": "deflated sharpe ratio trials"}),
    says(propose_order=order),
    says("The deflated sharpe ratio corrects for the number of trials [1]."),
]
assistant = Assistant(Playback(script=script), workspace=Workspace(lake, kb, folder="out"))
%load_ext quantai
"""
TIMEOUT_S = 180


class Kernel:
    """A running kernel: executes cells, answers its questions, completes."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self.client = client

    def run(self, code: str, answers: list[str] | None = None) -> tuple[list[dict[str, Any]], str, list[str]]:
        """Return the last of each display, what was printed and what was asked."""
        shown: dict[Any, dict[str, Any]] = {}
        printed: list[str] = []
        asked: list[str] = []

        def output(message: dict[str, Any]) -> None:
            kind, content = message["header"]["msg_type"], message["content"]
            if kind in ("display_data", "update_display_data", "execute_result"):
                key = content.get("transient", {}).get("display_id") or len(shown)
                shown[key] = content["data"]
            elif kind == "stream":
                printed.append(content["text"])
            elif kind == "error":
                raise AssertionError("\n".join(content["traceback"]))

        def stdin(message: dict[str, Any]) -> None:
            asked.append(message["content"]["prompt"])
            self.client.input((answers or []).pop(0))

        self.client.execute_interactive(
            code, allow_stdin=answers is not None, output_hook=output, stdin_hook=stdin, timeout=TIMEOUT_S
        )
        return list(shown.values()), "".join(printed), asked

    def complete(self, code: str, at: int | None = None) -> list[str]:
        reply: Any = self.client.complete(code, at, reply=True, timeout=TIMEOUT_S)
        return reply["content"]["matches"]


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("notebook")
    write_notes(folder / "notes", 5)
    with qa.Lake(folder / "lake").writer("test") as writer:
        rows = {"ts_exch": [10**18], "ts_recv": [10**18], "px": [1.5], "qty": [2.0]}
        writer.append("trades", "OKX", "BTC-USDT", rows)
        writer.commit({})
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(folder), env=os.environ | {"PYTHONPATH": str(REPO)})
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=TIMEOUT_S)
    made = Kernel(client)
    made.run(SETUP)
    made.run("%kb add notes")
    yield made
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_documents_are_added_listed_and_found(kernel: Kernel) -> None:
    shown, _, _ = kernel.run("%kb add notes")  # a progress bar may be shown before it
    assert "unchanged: 5" in shown[-1]["text/plain"]
    (listed,), _, _ = kernel.run("%kb list")
    assert listed["text/html"].count("<tr>") == 6
    (found,), _, _ = kernel.run("%kb search deflated sharpe ratio")
    assert "number of <mark>" in found["text/html"] or "<mark>deflated</mark>" in found["text/html"]
    assert "note0003.md" in found["text/plain"]


def test_words_and_labels_are_taken_as_they_are_written(kernel: Kernel) -> None:
    (found,), _, _ = kernel.run("%kb search what's the deflated sharpe ratio")
    assert "note0003.md" in found["text/plain"]
    kernel.run("%kb add notes -t 'own notes' -c mine")
    kernel.run("%%ask -t 'own notes' -c mine -o told\nwhat does the deflated sharpe ratio correct for?")
    _, printed, _ = kernel.run("print(told.found, len(kb.list('mine')), kb.remove('notes', 'mine'))")
    assert printed == "True 5 5\n"


def test_a_wrong_variable_is_refused_before_the_work(kernel: Kernel) -> None:
    shown: list[Any] = []
    cell = "%%research -o 1x\nload it"
    kernel.client.execute_interactive(
        cell, output_hook=lambda m: shown.append(m["header"]["msg_type"]), timeout=TIMEOUT_S
    )
    assert "update_display_data" not in shown, "nothing was begun"
    assert "stream" in shown


def test_ask_shows_an_answer_whose_citations_open(kernel: Kernel) -> None:
    (shown,), _, _ = kernel.run("%%ask -k 3 -o told\nwhat does the deflated sharpe ratio correct for?")
    page = shown["text/html"]
    cite = page.split('<details class="qa-cite"')[1].split("</details>")[0]
    assert "number of trials" in cite, "the citation opens to the passage"
    assert 'href="notes/note0003.md"' in page, "and to the file, where the notebook's server opens it"
    assert "number of trials" in shown["text/plain"]
    _, printed, _ = kernel.run("print(type(told).__name__, told.found)")
    assert printed == "Answer True\n"


def test_research_streams_asks_and_hands_back_objects(kernel: Kernel) -> None:
    shown, _, asked = kernel.run("%%research\nIs it better? Propose an order.", ["n"])
    assert len(asked) == 1
    assert asked[0].startswith("Run propose_order(venue='BINANCE', symbol='BTC-USDT'")
    page = shown[-1]["text/html"]
    assert "not approved: propose_order" in page
    assert '<details class="qa-cite"' in page
    _, printed, _ = kernel.run("print(type(report['bars-1']).__name__, report.stopped == '', len(report.passages))")
    assert printed == "Bars True 1\n"


def test_with_nobody_at_the_keyboard_the_answer_is_no(kernel: Kernel) -> None:
    kernel.run("assistant = Assistant(Playback(script=[script[2], says('No.')]), workspace=assistant.workspace)")
    shown, _, asked = kernel.run("%%research -o other\nPropose it.")
    assert asked == []
    assert "asking failed" in shown[-1]["text/html"]


def test_sql_is_answered_kept_and_completed(kernel: Kernel) -> None:
    (answer,), _, _ = kernel.run("%sql select symbol, px from trades")
    assert "BTC-USDT" in answer["text/html"]
    kernel.run("%%sql -o frame\nselect symbol,\n  px * qty as notional\nfrom trades")
    _, printed, _ = kernel.run("print(type(frame).__name__, frame.notional[0])")
    assert printed == "DataFrame 3.0\n"
    cell = "%%sql -o frame\nselect t.sy\nfrom trades t"
    assert kernel.complete(cell, cell.index("\nfrom")) == ["t.symbol"]
    assert kernel.complete("%%sql\nselect * from liq") == ["liquidations"]
    assert kernel.complete("%sql select * from liq") == ["liquidations"]
    assert "trades" not in kernel.complete("tra"), "Python is left alone"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("%%ask -c nowhere\nwhat?", "UsageError: unknown collection 'nowhere'"),
        ("%kb lst", "UsageError: %kb add PATH|URL"),
        ("%kb add nothere.md", "nothere.md: no such file or folder"),
        ("%kb add 'unclosed", "No closing quotation"),
        ("%sql selec 1", "UsageError: "),
        ("%sql", "there is no query"),
        ("%%ask -o class\nwhat?", "'class' cannot be the name of a variable"),
        ("%%ask -t 'unclosed\nwhat?", "No closing quotation"),
        ("%%sql -o 1x\nselect 1", "'1x' cannot be the name of a variable"),
        ("kb2, kb = kb, 3\n%kb list", "the variable kb is a int, not a Knowledge"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(kernel: Kernel, cell: str, said: str) -> None:
    before = "kb = kb2" if "kb2" in cell else ""
    errors: list[str] = []

    def output(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["header"]["msg_type"] == "stream" and content["name"] == "stderr":
            errors.append(content["text"])

    kernel.client.execute_interactive(cell, output_hook=output, timeout=TIMEOUT_S)
    kernel.run(before or "pass")
    text = "".join(errors)
    assert said in text
    assert "Traceback" not in text


def test_a_shell_without_a_page_shows_text(tmp_path: Path) -> None:
    shell = InteractiveShell()
    qa.load_ipython_extension(shell)
    qa.load_ipython_extension(shell)
    with qa.Knowledge(tmp_path / "kb", embedding="none") as kb:
        kb.add(*write_notes(tmp_path / "notes", 5), quiet=True)
        shell.user_ns["kb"] = kb
        with capture_output() as captured:
            shell.run_cell_magic("ask", "-o told", "what does the deflated sharpe ratio correct for?")
    assert "[1]" in captured.stdout
    assert "number of trials" in captured.stdout
    assert shell.user_ns["told"].found
    names = [getattr(matcher, "matcher_identifier", "") for matcher in shell.Completer.custom_matchers]
    assert names.count("quantai_sql") == 1
    qa.unload_ipython_extension(shell)
    assert "quantai_sql" not in [getattr(m, "matcher_identifier", "") for m in shell.Completer.custom_matchers]


def test_completion_knows_the_columns_that_the_views_have(tmp_path: Path) -> None:
    con = qa.Lake(tmp_path / "lake").connect()
    for table in ("trades", "bars", "funding", "quotes"):
        real = [row[0] for row in con.execute(f"describe {table}").fetchall()]
        assert sorted(columns_of(table)) == sorted(real)
    con.close()
    assert ("px", "column") in complete("select p from trades", 8)
    assert complete("select * from trades where bogus.", 33) == []

"""The tools served by the Model Context Protocol to the official client, on stdio and over HTTP, in real processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import mcp_types
import pytest
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from quantai.tools import ready_tools
from quantai.tools.audit import read_audit
from quantai.tools.server import KEY

QUANTAI = ["-c", "import sys; from quantai.cli import main; sys.exit(main())", "tools", "mcp"]


def places(tmp_path: Path) -> list[str]:
    return ["--lake", str(tmp_path / "lake"), "--folder", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]


def read(result: Any) -> Any:
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)["result"]


async def test_stdio_lists_every_tool_with_our_schema_and_keeps_what_was_loaded(tmp_path: Path) -> None:
    server = StdioServerParameters(
        command=sys.executable, args=[*QUANTAI, "--stdio", *places(tmp_path)], env=dict(os.environ)
    )
    async with stdio_client(server) as streams, ClientSession(*streams) as session:
        await session.initialize()
        listed = {tool.name: tool for tool in (await session.list_tools()).tools}
        ours = ready_tools()
        assert {name: tool.input_schema for name, tool in listed.items()} == {
            name: dict(tool.schema) for name, tool in ours.items()
        }
        assert listed["run_sql"].annotations.read_only_hint
        assert listed["propose_order"].annotations.destructive_hint
        assert read(await session.call_tool("load_data", {"sample": "sp500"}))["name"] == "bars-1"
        run = read(await session.call_tool("backtest", {"strategy": "Cross", "bars": "bars-1"}))
        assert run["name"] == "result-1"
        wrong = await session.call_tool("backtest", {"strategy": "Cros", "bars": "bars-1"})
        assert wrong.is_error
        assert "did you mean 'Cross'" in wrong.content[0].text
        alone = await session.call_tool("plot", {"name": "result-1"})
        assert alone.is_error, "this client has no way to ask a person"
    (journal,) = (tmp_path / "out" / "audit").glob("*.journal")
    assert [e["call"] for e in read_audit(journal) if "call" in e] == ["load_data", "backtest", "backtest"]


async def test_what_writes_is_asked_of_the_person_at_the_client(tmp_path: Path) -> None:
    asked: list[str] = []
    answers = ["no", "yes"]

    async def ask(_: Any, params: Any) -> mcp_types.ElicitResult:
        asked.append(params.message)
        return mcp_types.ElicitResult(action="accept", content={"value": answers.pop(0)})

    server = StdioServerParameters(
        command=sys.executable, args=[*QUANTAI, "--stdio", *places(tmp_path)], env=dict(os.environ)
    )
    async with (
        stdio_client(server) as streams,
        ClientSession(*streams, elicitation_callback=ask) as session,
    ):
        await session.initialize()
        await session.call_tool("load_data", {"sample": "sp500"})
        await session.call_tool("backtest", {"strategy": "Cross", "bars": "bars-1"})
        refused = await session.call_tool("plot", {"name": "result-1"})
        assert refused.is_error
        assert "not approved" in refused.content[0].text
        written = read(await session.call_tool("plot", {"name": "result-1"}))
    assert list((tmp_path / "out").glob("*.html")) == [Path(written["path"])]
    assert len(asked) == 2
    assert asked[0].startswith("Run plot(name='result-1'")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *QUANTAI, "--port", str(port), *places(tmp_path)], env=os.environ | {KEY: "a-key"}
    )
    until = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}/mcp"
    process.send_signal(signal.SIGINT)
    process.wait(60)


async def test_http_wants_the_key_and_serves_the_same_tools(served: str) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": "Bearer a-key"}, timeout=60) as http,
        streamable_http_client(served, http_client=http) as streams,
        ClientSession(*streams[:2]) as session,
    ):
        await session.initialize()
        assert {t.name for t in (await session.list_tools()).tools} == set(ready_tools())
        got = read(await session.call_tool("run_sql", {"query": "select 1 as one"}))
        assert got == {"columns": ["one"], "rows": [[1]], "more": False}
    async with httpx2.AsyncClient(timeout=60) as http:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        assert (await http.post(served, json=body)).status_code == 401
        wrong = await http.post(served, json=body, headers={"Authorization": "Bearer another"})
        assert wrong.status_code == 401
        for said in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            elsewhere = await http.post(served, json=body, headers={"Authorization": "Bearer a-key"} | said)
            assert elsewhere.status_code in (403, 421), "a page of another site, whatever it knows"


def test_elsewhere_than_on_loopback_a_key_is_needed(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != KEY}
    done = subprocess.run(
        [sys.executable, *QUANTAI, "--port", "8765", "--host", "0.0.0.0", *places(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().endswith(f"put a key into ${KEY}, or use 127.0.0.1")

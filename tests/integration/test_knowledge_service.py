"""The knowledge service, started for real: what callers with a key, without one and from elsewhere get."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult

import quantai as qa
from quantai.core.errors import InputError
from quantai.tools import ready_tools
from serving.guard import Guard
from serving.keys import Bucket, Key, Keys, clear_keys, hashed, read_keys
from tests.conftest import REPO
from tests.fuzzing import NO_5XX, fuzz
from tests.knowledge_setting import TOPICS
from tests.real_pages import CHROMIUM

PATIENCE_S = 120
PROBES = {("get", "/livez"), ("get", "/readyz"), ("get", "/healthz")}


@contextmanager
def service(folder: Path, **settings: str) -> Generator[str]:
    """Start the service and give its address once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (folder / "service.log").open("wb")
    own = {
        "PYTHONPATH": str(REPO),
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "1",
        "QUANTAI_KNOWLEDGE_PATH": str(folder / "kb"),
        "QUANTAI_LAKE": str(folder / "lake"),
        "QUANTAI_SERVICE_EMBEDDING": "none",
    }
    command = ["-m", "bentoml", "serve", "serving.knowledge_service:KnowledgeService", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, *command, "--port", str(port)],
        cwd=REPO, env=os.environ | own | settings, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + PATIENCE_S
        while True:
            assert process.poll() is None, (folder / "service.log").read_text()[-3000:]
            assert time.monotonic() < end, (folder / "service.log").read_text()[-3000:]
            try:
                if httpx.get(f"{url}/readyz", timeout=PATIENCE_S).status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            log.close()


def post(url: str, path: str, key: str = "", **body: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"{url}/{path}", json=body, headers=headers, timeout=PATIENCE_S)


def upload(url: str, name: str, text: str, key: str = "", **fields: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    files = {"file": (name, text.encode(), "text/markdown")}
    return httpx.post(f"{url}/upload", data={"name": name, **fields}, files=files, headers=headers, timeout=PATIENCE_S)


def ok(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def test_on_this_machine_it_is_searched_asked_and_fed_without_a_key(tmp_path: Path) -> None:
    with service(tmp_path) as url:
        for topic, text in TOPICS.items():
            assert ok(upload(url, f"{topic}.md", f"# On {topic}\n\n{text}\n"))["added"] == 1
        assert ok(upload(url, "../../evil.md", "# Evil\n\nIt wants to be elsewhere.\n"))["added"] == 1
        assert {p.name for p in (tmp_path / "kb" / "uploads" / "default").glob("*.md")} >= {"stats.md", "evil.md"}
        listed = ok(post(url, "documents"))
        assert len(listed) == 6
        found = ok(post(url, "search", query="deflated sharpe ratio", k=2))
        assert found["passages"][0]["title"] == "On stats"
        answer = ok(post(url, "ask", question="what does the deflated sharpe ratio correct for?"))
        assert answer["found"]
        assert "**deflated**" in answer["answer"]
        body = {"question": "what does the deflated sharpe ratio correct for?"}
        with httpx.stream("POST", f"{url}/stream", json=body, timeout=PATIENCE_S) as response:
            events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
        assert "text" in events[0]
        assert events[-1]["answer"]["passages"][0]["title"] == "On stats"
        evil = next(one["source"] for one in listed if one["source"].endswith("evil.md"))
        assert ok(post(url, "remove", source=evil)) == {"removed": 1}

        names = {tool["name"] for tool in ok(post(url, "tools"))}
        assert {"load_data", "backtest", "propose_order"} <= names
        assert ok(post(url, "call", tool="load_data", arguments={"sample": "sp500"}))["content"]["name"] == "bars-1"
        refused = ok(post(url, "call", tool="plot", arguments={"name": "result-1"}))
        assert not refused["ok"]
        assert "nobody is there to ask" in refused["content"]

        assert post(url, "add", urls=["/etc/passwd"]).status_code == 400
        assert post(url, "add", urls=["file:///etc/passwd"]).status_code == 400
        metadata = ok(post(url, "add", urls=["http://169.254.169.254/latest/meta-data/"]))
        assert "not on the public internet" in next(iter(metadata["failed"].values()))
        assert post(url, "search", query=" ").status_code == 400
        assert "query is empty" in post(url, "search", query=" ").text
        assert post(url, "search", query="x", collection="nowhere").status_code == 400
        described = httpx.get(f"{url}/docs.json", timeout=PATIENCE_S).json()
        assert {"/search", "/ask", "/stream", "/add", "/upload", "/tools", "/call"} <= set(described["paths"])

        fuzz(f"{url}/docs.json", examples=25, leave_out=["/add", "/metrics"], only=NO_5XX)

        away = {"Host": "evil.example"}, {"X-Forwarded-For": "1.2.3.4"}, {"Origin": "http://evil.example"}
        for headers in away:
            answer = httpx.post(f"{url}/documents", json={}, headers=headers, timeout=PATIENCE_S)
            assert answer.status_code == 401, headers


def check_page(url: str) -> None:
    """A browser shows whom the key lets in what it may see, and lets only an operator add."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for key, sees, adds in (("reader", ["Paper"], 0), ("editor", ["Paper", "Secret"], 1)):
            page = browser.new_context().new_page()
            page.set_default_timeout(PATIENCE_S * 1000)
            page.goto(f"{url}/?key={key}")
            side = page.get_by_role("complementary").first
            side.get_by_text("Paper").wait_for()
            seen = [title for title in ("Paper", "Secret") if side.get_by_text(title).count()]
            assert seen == sees, (key, side.inner_text())
            assert side.locator('input[type="file"]').count() == adds
            page.get_by_placeholder("What do you want to know?").fill("what is said on the kill switch?")
            page.get_by_role("button", name="Ask").click()
            answer = page.locator(".qa-answer").first
            answer.wait_for()
            assert "[1]" in answer.inner_text()
            assert "Paper" in answer.inner_text()
            assert "key=" not in page.url
        browser.close()


async def check_mcp(url: str) -> None:
    """The official client gets over MCP what its key allows, message by message."""
    async with session(url, "reader") as reader:
        listed = (await reader.list_tools()).tools
        assert {"search_knowledge", "load_data"} <= {tool.name for tool in listed}
        assert all(tool.annotations and tool.annotations.read_only_hint for tool in listed)
        found = said(await reader.call_tool("search_knowledge", {"query": "kill switch"}))
        assert [passage["where"] for passage in found] == ["Paper"], "of its own collection"
        for tool, arguments in (
            ("backtest", {"strategy": "Cross", "bars": "bars-1"}),
            ("plot", {"name": "result-1"}),
            ("propose_order", dict.fromkeys(("venue", "symbol", "side", "qty", "limit", "why"), "x")),
        ):
            refused = await reader.call_tool(tool, arguments)
            assert refused.is_error
            assert "reader may read only" in str(refused.content)

    asked: list[str] = []

    async def ask(_: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"value": "yes"})

    async with session(url, "editor", ask) as editor:
        assert {tool.name for tool in (await editor.list_tools()).tools} == set(ready_tools())
        assert said(await editor.call_tool("load_data", {"sample": "sp500"}))["name"] == "bars-1"
        made = await editor.call_tool("make_bars", {"venue": "SYNTH", "symbol": "BTC-USDT-PERP", "by": "1m"})
        assert said(made)["name"] == "bars-2"
        nothing = await editor.call_tool("plot", {"name": "result-1"})
        assert "unknown thing in this workspace 'result-1'" in str(nothing.content), "it ran, as somebody agreed"
        assert [message[:9] for message in asked] == ["Run plot("]

    async with httpx2.AsyncClient(timeout=PATIENCE_S) as nobody:
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert (await nobody.post(url, json=body, headers=headers)).status_code == 401


@asynccontextmanager
async def session(url: str, key: str, ask: Any = None) -> AsyncGenerator[ClientSession]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=PATIENCE_S) as http,
        streamable_http_client(url, http_client=http) as streams,
        ClientSession(*streams[:2], elicitation_callback=ask) as made,
    ):
        await made.initialize()
        yield made


def said(result: Any) -> Any:
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)["result"]


def test_with_a_key_file_everybody_needs_a_key_and_gets_what_it_allows(tmp_path: Path) -> None:
    def entry(name: str, more: str) -> str:
        return f'[[key]]\nname = "{name}"\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n{more}\n'

    keys = tmp_path / "keys.toml"
    keys.write_text(
        entry("editor", 'role = "operate"')
        + entry("reader", 'role = "read"\ncollections = ["papers"]')
        + entry("few", 'role = "read"\nper_minute = 2')
    )
    qa.synth.market("BTC-USDT-PERP", hours=0.1, seed=1).to_lake(qa.Lake(tmp_path / "lake"))
    with service(tmp_path, QUANTAI_SERVICE_KEYS=str(keys)) as url:
        assert post(url, "documents").status_code == 401
        assert post(url, "documents", "wrong").status_code == 401
        asked = [
            httpx.get(f"{url}/metrics", headers=said, timeout=PATIENCE_S) for said in ({}, {"X-API-Key": "editor"})
        ]
        assert [answer.status_code for answer in asked] == [401, 404], "it counts nothing before it has seen a key"
        described = httpx.get(f"{url}/docs.json", headers={"X-API-Key": "editor"}, timeout=PATIENCE_S).json()
        paths = {(method, path) for path, how in described["paths"].items() for method in how} - PROBES
        codes = {path: httpx.request(method, url + path, timeout=PATIENCE_S).status_code for method, path in paths}
        assert set(codes.values()) == {401}, codes
        ok(upload(url, "paper.md", "# Paper\n\nOn the kill switch.", "editor", collection="papers"))
        ok(upload(url, "secret.md", "# Secret\n\nOn the kill switch.", "editor", collection="secret"))
        assert len(ok(post(url, "documents", "editor"))) == 2
        assert [one["title"] for one in ok(post(url, "documents", "reader"))] == ["Paper"]
        found = ok(post(url, "search", "reader", query="kill switch"))
        assert {passage["title"] for passage in found["passages"]} == {"Paper"}
        assert post(url, "search", "reader", query="kill switch", collection="secret").status_code == 403
        assert post(url, "remove", "reader", source="paper.md").status_code == 403
        assert post(url, "add", "reader", urls=["http://example.org"]).status_code == 403
        assert post(url, "call", "reader", tool="backtest").status_code == 403
        assert ok(post(url, "call", "reader", tool="list_strategies"))["ok"]
        assert {tool["permission"] for tool in ok(post(url, "tools", "reader"))} == {"read"}
        asyncio.run(check_mcp(f"{url}/mcp"))
        assert httpx.get(f"{url}/chat/", timeout=PATIENCE_S).status_code == 401
        if CHROMIUM is not None:
            check_page(f"{url}/chat")
        assert upload(url, "out.md", "# Out", "editor", collection="../../out").status_code == 400
        noted = [json.loads(line) for line in (tmp_path / "kb" / "audit.jsonl").read_text().splitlines()]
        assert [(x["who"], x["did"], x.get("status")) for x in noted[:2]] == [("editor", "/upload", 200)] * 2
        assert {x["did"] for x in noted if x.get("refused")} == {"/remove", "/add", "/call"}
        assert [post(url, "documents", "few").status_code for _ in range(3)] == [200, 200, 429]


def test_keys_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    for text in (
        "",
        "[[key]]\nname = 'a'",
        "[[key]]\nname='a'\nsha256='x'\nrole='read'",
        "[[key]]\nname='a'\nkey='k'\nrole='write'",
        "not toml [",
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=r"keys .*keys\.toml"):
            read_keys(path)
    with pytest.raises(InputError, match="No such file"):
        read_keys(tmp_path / "nothing.toml")


def test_calls_of_a_minute_come_back_evenly() -> None:
    few = Bucket(60)
    assert [few.take(100.0) for _ in range(21)] == [True] * 20 + [False]
    assert [few.take(101.0), few.take(101.0)] == [True, False]
    key = Key("a", "operate")
    assert sum(key.take(100.0, decides=True) for _ in range(50)) == 20
    assert key.take(100.0), "reading goes on"


def test_a_service_makes_its_keys_once_and_for_its_user_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUANTAI_API_KEYS", raising=False)
    made = clear_keys(tmp_path)
    assert clear_keys(tmp_path) == made
    assert (tmp_path / "keys.toml").stat().st_mode & 0o777 == 0o600
    keys = Keys.of(tmp_path)
    for role, key in made.items():
        found = keys.find(key.encode())
        assert found is not None
        assert found.role == role
    assert keys.find(b"") is None
    assert not Keys.of().needed
    chosen = tmp_path / "chosen.toml"
    monkeypatch.setenv("QUANTAI_SERVICE_KEYS", str(chosen))
    chosen.write_text('[[key]]\nname = "me"\nrole = "operate"\nkey = "in clear"\n')
    assert clear_keys(tmp_path) == {"operate": "in clear"}
    chosen.write_text(f'[[key]]\nname = "me"\nrole = "operate"\nsha256 = "{hashed("in clear")}"\n')
    assert clear_keys(tmp_path) == {}
    chosen.unlink()
    with pytest.raises(InputError, match="No such file"):
        clear_keys(tmp_path)
    monkeypatch.setenv("QUANTAI_API_KEYS", "read:a operate")
    with pytest.raises(InputError, match="write role:key"):
        Keys.of()


async def test_a_body_that_is_longer_than_it_said_is_cut_off() -> None:
    got: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            got.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 600, "more_body": True}

    async def send(_: Any) -> None:
        pass

    scope = {"type": "http", "path": "/add", "client": ("127.0.0.1", 1), "headers": [(b"host", b"localhost:3000")]}
    guard = Guard(app, lambda: Keys(None), lambda: Path(), most_bytes=1000)
    await guard(scope | {"method": "POST"}, receive, send)
    assert len(got) == 1

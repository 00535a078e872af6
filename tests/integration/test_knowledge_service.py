"""The knowledge service, started for real: what callers with a key, without one and from elsewhere get."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from quantai.core.errors import InputError
from serving.guard import Guard
from serving.keys import Bucket, Key, Keys, clear_keys, read_keys
from tests.conftest import REPO
from tests.knowledge_setting import TOPICS

PATIENCE_S = 120


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

        away = {"Host": "evil.example"}, {"X-Forwarded-For": "1.2.3.4"}, {"Origin": "http://evil.example"}
        for headers in away:
            answer = httpx.post(f"{url}/documents", json={}, headers=headers, timeout=PATIENCE_S)
            assert answer.status_code == 401, headers


def test_with_a_key_file_everybody_needs_a_key_and_gets_what_it_allows(tmp_path: Path) -> None:
    def entry(name: str, more: str) -> str:
        return f'[[key]]\nname = "{name}"\nsha256 = "{hashlib.sha256(name.encode()).hexdigest()}"\n{more}\n'

    keys = tmp_path / "keys.toml"
    keys.write_text(
        entry("editor", 'role = "operate"')
        + entry("reader", 'role = "read"\ncollections = ["papers"]')
        + entry("few", 'role = "read"\nper_minute = 2')
    )
    with service(tmp_path, QUANTAI_SERVICE_KEYS=str(keys)) as url:
        assert post(url, "documents").status_code == 401
        assert post(url, "documents", "wrong").status_code == 401
        assert httpx.get(f"{url}/metrics", timeout=PATIENCE_S).status_code == 401
        ok(upload(url, "paper.md", "# Paper\n\nOn the kill switch.", "editor", collection="papers"))
        ok(upload(url, "secret.md", "# Secret\n\nOn the kill switch.", "editor", collection="secret"))
        assert len(ok(post(url, "documents", "editor"))) == 2
        assert [one["title"] for one in ok(post(url, "documents", "reader"))] == ["Paper"]
        found = ok(post(url, "search", "reader", query="kill switch"))
        assert {passage["title"] for passage in found["passages"]} == {"Paper"}
        assert post(url, "search", "reader", query="kill switch", collection="secret").status_code == 403
        assert post(url, "remove", "reader", source="paper.md").status_code == 403
        assert post(url, "add", "reader", urls=["http://example.org"]).status_code == 403
        assert post(url, "call", "reader", tool="list_strategies").status_code == 403
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

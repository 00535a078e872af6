"""The guard in front of a service, asked as a server asks it: sessions of a page, long bodies, refusals that count."""

import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from serving.guard import MOST_SESSIONS, Guard
from serving.keys import DECISIONS_PER_MINUTE, Key, Keys, hashed, note

KEYS = [Key("one", "operate", hashed("k1")), Key("two", "read", hashed("k2"))]


class Behind:
    """What the guard protects: it reads the whole body and says 200."""

    def __init__(self, pieces: int = 1) -> None:
        self.pieces, self.read = pieces, 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for _ in range(self.pieces):
            self.read += len((await receive()).get("body", b""))
        await send({"type": "http.response.start", "status": 200, "headers": []})


async def asked(guard: Guard, path: str, key: str, *, session: str = "", query: str = "", method: str = "POST") -> int:
    """Return the status of a call."""
    said: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 600, "more_body": True}

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    headers = [(b"x-api-key", key.encode()), *([(b"marimo-session-id", session.encode())] if session else [])]
    scope = {"type": "http", "path": path, "method": method, "headers": headers, "query_string": query.encode()}
    await guard(scope, receive, send)
    return said[0]["status"]


def guard_of(tmp_path: Path, behind: Behind | None = None, **more: Any) -> Guard:
    keys = [Key(key.name, key.role, key.sha256) for key in KEYS]
    return Guard(behind or Behind(), lambda: Keys(keys), lambda: tmp_path, page="/control", **more)


def noted(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]


async def test_a_session_of_a_page_is_that_of_the_key_that_opened_it(tmp_path: Path) -> None:
    guard = guard_of(tmp_path)
    opened = {"query": "session_id=s1", "method": "GET"}
    assert await asked(guard, "/control/ws", "k1", **opened) == 200
    assert await asked(guard, "/control/api/kernel/set_ui_element_value", "k1", session="s1") == 200
    assert await asked(guard, "/control/api/kernel/set_ui_element_value", "k2", session="s1") == 403
    assert await asked(guard, "/control/ws", "k2", **opened) == 403
    assert await asked(guard, "/control/ws", "k2", query="session_id=s2&session_id=s1", method="GET") == 403
    assert await asked(guard, "/control/ws", "k2", query="session_id=s3", method="GET") == 200
    assert [(x["who"], x["refused"]) for x in noted(tmp_path)] == [("two", "this session is another visitor's")] * 3
    assert await asked(guard, "/state", "k2", session="s1", method="GET") == 200, "it means nothing elsewhere"


async def test_sessions_that_nobody_comes_back_to_are_forgotten(tmp_path: Path) -> None:
    guard = guard_of(tmp_path)
    guard.keys.find(b"k1").take = lambda *_, **__: True  # type: ignore[union-attr,method-assign]
    for n in range(MOST_SESSIONS + 10):
        await asked(guard, "/control", "k1", session=str(n), method="GET")
    assert await asked(guard, "/control", "k2", session="0", method="GET") == 200
    assert await asked(guard, "/control", "k2", session=str(MOST_SESSIONS), method="GET") == 403


async def test_a_body_has_an_end_except_where_it_is_read_as_it_comes(tmp_path: Path) -> None:
    for path, read in (("/targets", 600), ("/stream", 3_000)):
        behind = Behind(pieces=5)
        guard = guard_of(tmp_path, behind, deciding=(), streaming=("/stream",), most_bytes=1_000)
        assert await asked(guard, path, "k2") == 200
        assert behind.read == read


async def test_who_may_not_decide_cannot_fill_the_disk_by_trying(tmp_path: Path) -> None:
    guard = guard_of(tmp_path)
    codes = [await asked(guard, "/kill", "k2") for _ in range(DECISIONS_PER_MINUTE)]
    assert set(codes) == {403, 429}
    assert len(noted(tmp_path)) == codes.count(403)


def test_an_audit_that_cannot_be_written_undoes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "audit.jsonl").mkdir()
    note(tmp_path, KEYS[0], "kill", answer={"row": 7})
    assert "not in the audit log" in caplog.text
    assert "'row': 7" in caplog.text

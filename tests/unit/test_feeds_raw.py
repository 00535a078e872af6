"""Raw files survive what a crash does to them, and keep what crossed the wire."""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from quantai.core.errors import DataError, StorageError
from quantai.feeds.raw import RawFile, is_raw, lines, read

pytest.importorskip("cryptofeed", reason="needs the extra quantai[record]")


class Socket:
    """As much of a connection as the tap looks at."""

    id, address, subscription = "TEST.ws.1", "wss://x.test/a", {"trades": ["X"]}


async def written(path: Path) -> RawFile:
    file = RawFile(path)
    await file.on_http(Socket, "https://x.test/list", {"a": 1}, None, "[]", 1.0)
    file.begin("BINANCE", {"trades": ["BTC-USDT"]}, {"sandbox": False})
    await file.on_ws_open(Socket, 2.0)
    await file.on_ws_message(Socket, '{"a": "\\u00e9\\n"}', 3.000_001)
    file.flush()
    await file.on_ws_message(Socket, b"\x00\xff", 4.0)
    await file.on_ws_send(Socket, "hello", 4.5)
    await file.on_http_post(Socket, "https://x.test/ask", b"why", b"so", 5.0)
    await file.on_http_poll(Socket, "https://x.test/poll", None, "1", 6.0)
    await file.on_close(Socket)
    file.flush()
    return file


async def test_what_crossed_the_wire_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a" / "frames.jsonl.zst"
    (await written(path)).close()
    assert is_raw(path)
    head, *rest = lines(path)
    assert (head["venue"], head["subscription"]) == ("BINANCE", {"trades": ["BTC-USDT"]})
    assert [line[2] for line in rest] == ["get", "open", "in", "in64", "out", "post", "poll"]
    assert rest[2][0] == 3_000_001_000
    capture, metadata = read(path)
    assert metadata["feeds"][0]["exchange"] == "BINANCE"
    (socket,) = capture.ws
    assert (socket.address, socket.subscription, socket.opened_ns) == (Socket.address, Socket.subscription, 2 * 10**9)
    assert socket.messages == [(3_000_001_000, "in", '{"a": "\\u00e9\\n"}'), (4 * 10**9, "in", b"\x00\xff")]
    assert capture.http[0].requests[0][1:] == ("GET", "https://x.test/list?a=1", "[]", None)
    assert capture.http[0].requests[1][1:] == ("POST", "https://x.test/ask", "so", "why")


async def test_a_frame_that_arrives_while_others_are_written_is_kept(tmp_path: Path) -> None:
    file = RawFile(tmp_path / "frames.jsonl.zst")
    file.begin("BINANCE", {}, {})

    class Slow(dict[str, Any]):
        """A subscription during whose noting the other thread writes what came before."""

        def items(self) -> Any:
            file.flush()
            return super().items()

    class Opened(Socket):
        subscription = Slow(trades=["X"])

    await file.on_ws_open(Opened, 1.0)
    await file.on_ws_message(Socket, "1", 2.0)
    file.close()
    assert [line[2] for line in lines(file.path)[1:]] == ["open", "in"]


async def test_any_tool_that_knows_zstd_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl.zst"
    (await written(path)).close()
    with pa.input_stream(str(path), compression="zstd") as stream:
        text = stream.read()
    assert [json.loads(line) for line in text.splitlines()] == lines(path)


async def test_damage_is_not_mistaken_for_the_end(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl.zst"
    (await written(path)).close()
    data = bytearray(path.read_bytes())
    data[20:40] = bytes(20)
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged at byte 16"):
        lines(path)


async def test_a_file_cut_anywhere_keeps_its_whole_frames(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl.zst"
    file = await written(path)
    file.close()
    whole, data = lines(path), path.read_bytes()
    kept: list[int] = []
    for size in range(len(data)):
        path.write_bytes(data[:size])
        try:
            found: list[Any] = lines(path)
        except DataError:
            found = []
        assert found == whole[: len(found)]
        kept.append(len(found))
    assert kept == sorted(kept)
    assert {0, 4} <= set(kept)  # the first frame holds the head, the list, the opening and one message


def test_connections_of_a_restarted_feed_are_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl.zst"
    file = RawFile(path)
    file.begin("BINANCE", {}, {})
    for id in ("BINANCE.ws.1", "BINANCE.ws.9"):
        file.add(1, id, "open", "wss://x.test", {"trades": ["X"]})
        file.add(2, id, "in", id)
    file.close()
    capture, _ = read(path)
    assert [(s.conn_id, s.connect_ordinal, s.messages[0][2]) for s in capture.ws] == [
        ("BINANCE.ws.1", 1, "BINANCE.ws.1"),
        ("BINANCE.ws.1", 2, "BINANCE.ws.9"),
    ]


def test_what_is_no_raw_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl.zst"
    path.write_bytes(b"this was never compressed")
    with pytest.raises(DataError, match=r"frames\.jsonl\.zst: not a file of raw frames"):
        lines(path)
    file = RawFile(tmp_path / "other.jsonl.zst")
    file.add(1, "x", "in", "no first line")
    file.close()
    with pytest.raises(DataError, match="not a file of raw frames"):
        lines(file.path)


def test_a_file_that_exists_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl.zst"
    RawFile(path).close()
    with pytest.raises(StorageError, match="cannot be created: File exists"):
        RawFile(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_storage_error(tmp_path: Path) -> None:
    file = RawFile(tmp_path / "frames.jsonl.zst")
    file.begin("BINANCE", {}, {})
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file._file)
    os.close(full)
    with pytest.raises(StorageError, match="cannot be written: No space left on device"):
        file.flush()
    file.close()

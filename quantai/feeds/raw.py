"""The wire frames beside the rows: kept as they came, and back into a feed.

A raw file is zstd-compressed JSON lines (`zstdcat FILE | head` reads it). The first line says what was subscribed;
every other line is one thing that crossed the wire, `[receipt ns, connection, kind, ...]`:

    open  address, subscription      in    text                    get   url, answer
    close                            in64  bytes as base64         post  url, question, answer
                                     out   text sent               poll  url, answer

Each flush is one zstd frame of whole lines behind a skippable frame that says how long it is, so a crash costs what was
not flushed and nothing else, and any zstd tool reads the file.

Why not cryptofeed's own pcap files: those are written to disk every 5 s, a file cut off by a crash cannot be read at
all, and what a feed was subscribed to is only complete after a clean end. Both kinds replay through `CaptureFeed`.
"""

import base64
import contextlib
import errno
import json
import os
from collections import deque
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quantai.core.errors import DataError, StorageError
from quantai.feeds.messages import to_ns
from quantai.ops import durable, make_folder, sync_folder

if TYPE_CHECKING:
    from cryptofeed.capture.pcap import Capture

FORMAT = "quantai raw frames 1"
SUFFIX = ".jsonl.zst"
_HEAD = Struct(
    "<IIII"
)  # a skippable frame (RFC 8878, 3.1.2) of 8 bytes: lengths of the next frame, packed and unpacked
_SKIPPABLE = 0x184D2A50


class RawFile:
    """A raw file being written, and the tap that cryptofeed's connections report to (`raw_data_callback`).

    Nothing reaches the disk before `flush`, which may run on another thread than the tap. Raises StorageError when the
    file exists or its folder is not writable.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            make_folder(self.path.parent)
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            sync_folder(self.path.parent)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be created: {error.strerror}") from None
        self._codec = pa.Codec("zstd")
        self._size = 0
        # a deque and never a new one: a line is added while another thread takes those before it
        self._lines: deque[str] = deque()

    def begin(self, venue: str, subscription: dict[str, list[str]], options: dict[str, Any]) -> None:
        """Write the first line, once, before the first `flush`; `options` are those of cryptofeed's feed."""
        head = {"format": FORMAT, "venue": venue, "subscription": subscription, "options": options}
        # in front of the list of symbols, which crossed the wire before the subscription was known
        self._lines.appendleft(json.dumps(head))

    def flush(self) -> None:
        """Put everything received so far on the disk; raises StorageError and leaves the file whole when that fails."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        text = ("\n".join(lines) + "\n").encode()
        packed = self._codec.compress(text, asbytes=True)
        frame = _HEAD.pack(_SKIPPABLE, 8, len(packed), len(text)) + packed
        try:
            if os.write(self._file, frame) < len(frame):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            durable(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}") from None
        self._size += len(frame)

    def close(self) -> None:
        """Flush and close the file."""
        try:
            self.flush()
        finally:
            os.close(self._file)

    def add(self, recv_ns: int, connection: str, kind: str, *fields: Any) -> None:
        """Note one thing that crossed the wire, as a line of the file."""
        self._lines.append(json.dumps([recv_ns, connection, kind, *fields]))

    async def on_ws_open(self, connection: Any, stamp: float) -> None:
        """Note a socket that was opened."""
        self.add(to_ns(stamp), connection.id, "open", connection.address, connection.subscription)

    async def on_ws_message(self, connection: Any, data: str | bytes, stamp: float) -> None:
        """Note a frame that was received."""
        if isinstance(data, str):
            self.add(to_ns(stamp), connection.id, "in", data)
        else:
            self.add(to_ns(stamp), connection.id, "in64", base64.b64encode(data).decode())

    async def on_ws_send(self, connection: Any, data: str | bytes, stamp: float) -> None:
        """Note a frame that was sent."""
        self.add(to_ns(stamp), connection.id, "out", _text(data))

    async def on_http(self, connection: Any, url: str, params: Any, header: Any, data: Any, stamp: float) -> None:
        """Note the answer to a GET."""
        from cryptofeed.capture.recorder import request_url

        self.add(to_ns(stamp), connection.id, "get", request_url(url, params), _text(data))

    async def on_http_post(self, connection: Any, url: str, question: Any, data: Any, stamp: float) -> None:
        """Note the answer to a POST."""
        self.add(to_ns(stamp), connection.id, "post", url, _text(question), _text(data))

    async def on_http_poll(self, connection: Any, url: str, header: Any, data: Any, stamp: float) -> None:
        """Note the answer to a GET that is repeated."""
        self.add(to_ns(stamp), connection.id, "poll", url, _text(data))

    async def on_close(self, connection: Any) -> None:
        """Note nothing: cryptofeed says it several times, and the next opening says it once."""


def _text(data: Any) -> str | None:
    return data.decode() if isinstance(data, bytes | bytearray) else data


def is_raw(path: str | Path) -> bool:
    """Say whether the name of `path` is that of a raw file."""
    return str(path).endswith(SUFFIX)


def lines(path: str | Path) -> list[Any]:
    """Return the lines of a raw file; what a crash left of a line at its end is left out. Raises DataError."""
    data, at, text = Path(path).read_bytes(), 0, bytearray()
    codec = pa.Codec("zstd")
    while at + _HEAD.size <= len(data):
        magic, size, packed, unpacked = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if (magic, size) != (_SKIPPABLE, 8):
            raise DataError(f"{path}: not a file of raw frames, or damaged at byte {at - _HEAD.size}")
        if at + packed > len(data):  # the writer was killed here
            break
        try:
            text += codec.decompress(data[at : at + packed], unpacked, asbytes=True)
        except OSError as error:
            raise DataError(f"{path}: damaged at byte {at}: {error}") from None
        at += packed
    try:
        out = [json.loads(line) for line in text.splitlines()]
        if out[0]["format"] != FORMAT:
            raise ValueError
    except (IndexError, KeyError, TypeError, ValueError):
        raise DataError(f"{path}: not a file of raw frames: its first line is not {FORMAT!r}") from None
    return out


def read(path: str | Path) -> "tuple[Capture, dict[str, Any]]":
    """Return a raw file as a cryptofeed Capture and the metadata that its Replayer needs; raises DataError."""
    from cryptofeed.capture.pcap import Capture, HTTPSession, WSSession

    head, *frames = lines(path)
    venue = head["venue"]
    sockets: dict[str, list[WSSession]] = {}
    opened: dict[str, WSSession] = {}
    https: dict[str, HTTPSession] = {}
    for ns, connection, kind, *fields in frames:
        if kind == "open":
            address, subscription = fields
            same = sockets.setdefault(json.dumps([address, subscription]), [])
            name = same[0].conn_id if same else connection  # a feed started anew continues its predecessor's connection
            session = WSSession(name, venue, address, subscription, len(same) + 1, 0, ns)
            opened[connection] = session
            same.append(session)
        elif kind in ("in", "in64"):
            payload = fields[0] if kind == "in" else base64.b64decode(fields[0])
            opened[connection].messages.append((ns, "in", payload))
        elif kind in ("get", "post", "poll"):
            session = https.setdefault(connection, HTTPSession(connection, venue, 0, ns, poll=kind == "poll"))
            question = fields[1] if kind == "post" else None
            session.requests.append((ns, "POST" if kind == "post" else "GET", fields[0], fields[-1], question))
    capture = Capture(ws=[s for same in sockets.values() for s in same], http=list(https.values()))
    feed = {"exchange": venue, "subscription": head["subscription"], "kwargs": head["options"]}
    return capture, {"feeds": [feed]}

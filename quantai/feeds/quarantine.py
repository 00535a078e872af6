"""Messages that cannot be read: put aside and counted, so that one of them does not cost a connection."""

import json
import logging
import os
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path

from quantai.core.errors import StorageError, VenueError
from quantai.ops import make_folder

_MOST_CHARACTERS = 100_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unread:
    """One message that could not be read: when it came (ns UTC), why it could not, and what it was."""

    ts_recv: int
    venue: str
    error: str
    text: str


class Quarantine:
    """What one venue sent and nobody could read; the newest in `kept`, all of it in the file `path` if there is one.

    After `hopeless` in a row the venue speaks another protocol than the one that is known here: `take` raises
    VenueError. It raises StorageError when the file cannot be written.

    >>> quarantine = Quarantine("OKX")
    >>> quarantine.take(b'{"half', ValueError("Unterminated string"), ts_recv=1)
    >>> quarantine.count, quarantine.kept[0].error
    (1, 'ValueError: Unterminated string')
    """

    def __init__(self, venue: str, path: Path | None = None, *, keep: int = 20, hopeless: int = 100) -> None:
        self.venue, self.path, self.count = venue, path, 0
        self.kept: deque[Unread] = deque(maxlen=keep)
        self._hopeless, self._in_a_row = hopeless, 0

    def take(self, message: str | bytes, error: Exception, ts_recv: int) -> None:
        """Put a message aside."""
        text = message.decode(errors="backslashreplace") if isinstance(message, bytes) else message
        why = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        unread = Unread(ts_recv, self.venue, why, text[:_MOST_CHARACTERS])
        self.count += 1
        self._in_a_row += 1
        self.kept.append(unread)
        said = {"event": "message_quarantined", "venue": self.venue}
        _log.warning("%s: a message could not be read: %s", self.venue, why, extra=said)
        if self.path is not None:
            self._write(self.path, unread)
        if self._in_a_row >= self._hopeless:
            raise VenueError(
                f"{self.venue}: {self._in_a_row} messages in a row could not be read ({why}): it sends something other "
                "than this version of cryptofeed knows"
            ) from error

    def passed(self) -> None:
        """Say that a message could be read."""
        self._in_a_row = 0

    def _write(self, path: Path, unread: Unread) -> None:
        line = (json.dumps(asdict(unread), ensure_ascii=False) + "\n").encode()
        try:
            make_folder(path.parent)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            try:
                os.write(fd, line)  # one write: lines of several recorders do not mix
            finally:
                os.close(fd)
        except OSError as trouble:
            raise StorageError(f"{path} cannot be written: {trouble.strerror}") from trouble

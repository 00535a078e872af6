"""The audit: every call of a tool in a journal, before it runs and after."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.rows import EVENT, Kind
from quantai.journal import EventStore, StoreReader, Text, describe_run
from quantai.ops import make_folder

FIELD = "tool"


class Audit:
    """Writes calls to one journal a process, made when the first call is; close it, or let `with` do it.

    A call is on the disk before it runs: what a tool did can be found even when it took the process with it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._store: EventStore | None = None

    @property
    def path(self) -> Path | None:
        """The journal, None before the first call."""
        return None if self._store is None else self._store.path

    def write(self, said: Mapping[str, Any]) -> int:
        """Write one entry and return its number; it is on the disk."""
        store = self._store or self._open()
        row = np.zeros(1, EVENT)
        row["seq"], row["kind"] = store.next_seq, Kind.STATUS
        row["ts_exch"] = row["ts_recv"] = int(datetime.now(UTC).timestamp() * 1e9)
        seq = int(row["seq"][0])
        store.append(row)
        # a model may write halves of characters, which no file can hold: they are spelt out
        text = json.dumps(said, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode()
        store.append_texts([Text(seq, FIELD, text)])
        store.flush()
        return seq

    def close(self) -> None:
        """Close the journal."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def __enter__(self) -> "Audit":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> EventStore:
        make_folder(self.folder)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        path = self.folder / f"tools-{stamp}-{os.getpid()}.journal"
        self._store = EventStore.create(path, describe_run("tools"))
        return self._store


def read_audit(path: str | Path) -> list[dict[str, Any]]:
    """Return the entries of an audit's journal, oldest first."""
    with StoreReader(path) as reader:
        return [json.loads(text.text) for text in reader.texts() if text.field == FIELD]

"""What was said and done, as lines of JSON: written while it happens, read back, played again."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from langchain_core.messages import AIMessage

from quantai.core.errors import DataError, InputError
from quantai.ops import durable, make_folder, sync_folder


class Transcript:
    """Writes entries to one file a question; each is there for a reader at once, and on the disk when it is closed."""

    def __init__(self, folder: Path) -> None:
        make_folder(folder)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self.path = folder / f"{stamp}-{os.getpid()}.jsonl"
        self._file = self.path.open("x", encoding="utf-8", errors="backslashreplace")

    def write(self, kind: str, **said: Any) -> None:
        """Write one entry."""
        self._file.write(json.dumps({"kind": kind, **said}, ensure_ascii=False, default=str) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        durable(self._file.fileno())
        self._file.close()
        sync_folder(self.path.parent)


def read_transcript(path: str | Path) -> list[dict[str, Any]]:
    """Return the entries of a transcript; a last line that was cut off is left out. Raises InputError, DataError."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    entries: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if line and number < len(lines):
            try:
                entry = json.loads(line)
                entry["kind"]
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{path}, line {number}: this is no entry of a transcript") from None
            entries.append(entry)
    if not entries or entries[0]["kind"] != "question":
        raise DataError(f"{path}: this is no transcript: it does not begin with a question")
    return entries


def script_of(entries: list[dict[str, Any]]) -> list[AIMessage]:
    """Return what the model said, as a script for `Playback`."""
    return [
        AIMessage(
            entry["text"],
            tool_calls=[{"name": c["tool"], "args": c["arguments"], "id": c["id"]} for c in entry["calls"]],
            usage_metadata=entry["usage"],
        )
        for entry in entries
        if entry["kind"] == "model"
    ]


def differences(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[str]:
    """Return where the tools answered otherwise the second time, one line each; the same is an empty list."""
    answers = [[entry for entry in entries if entry["kind"] == "answer"] for entries in (old, new)]
    found = [
        f"{before['tool']}: was {_short(before)}, is {_short(after)}"
        for before, after in zip(*answers, strict=False)
        if (before["tool"], before["ok"], before["content"]) != (after["tool"], after["ok"], after["content"])
    ]
    if len(answers[0]) != len(answers[1]):
        found.append(f"{len(answers[0])} answers then, {len(answers[1])} now")
    return found


def _short(entry: Mapping[str, Any]) -> str:
    text = json.dumps(entry["content"], ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:119]}…"

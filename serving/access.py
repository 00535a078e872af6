"""Who may do what over HTTP: keys with roles, a rate for each key, and a log of every decision."""

import hashlib
import hmac
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any, Literal

from quantai.core.errors import InputError
from quantai.ops import durable
from serving.deployment import read_json, write_json

Role = Literal["read", "operate"]
ENV = "QUANTAI_API_KEYS"
"""Keys as "role:key role:key"; operate includes read."""


class Keys:
    """The keys of a service. Without any nobody gets in.

    >>> keys = Keys({"operate": ["k1"], "read": ["k2"]})
    >>> keys.role(b"k1"), keys.role(b"k2"), keys.role(b"k3")
    ('operate', 'read', None)
    """

    def __init__(self, keys: dict[str, list[str]]) -> None:
        self._keys = [(role, key.encode()) for role in ("operate", "read") for key in keys.get(role, []) if key]

    @classmethod
    def of(cls, folder: Path) -> "Keys":
        """Take the keys of the environment, else those of `keys.json` in the folder, made when it is not there."""
        said = os.environ.get(ENV, "")
        if said:
            found: dict[str, list[str]] = {}
            for word in said.split():
                role, colon, key = word.partition(":")
                if role not in ("read", "operate") or not (colon and key):
                    raise InputError(f"{ENV}: write role:key, the role read or operate, separated by spaces")
                found.setdefault(role, []).append(key)
            return cls(found)
        return cls({role: [key] for role, key in made_keys(folder).items()})

    def role(self, given: bytes) -> str | None:
        """Return the role of a key, None for one that is not known."""
        return next((role for role, key in self._keys if hmac.compare_digest(given, key)), None)


def made_keys(folder: Path) -> dict[str, str]:
    """Return the keys of `keys.json`, readable by its user only; two new ones when it is not there."""
    path = folder / "keys.json"
    if not path.exists():
        write_json(path, {"read": secrets.token_urlsafe(24), "operate": secrets.token_urlsafe(24)})
    return {role: str(key) for role, key in read_json(path).items()}


class Rates:
    """Token buckets: `rate` calls a second for each key, `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left: dict[bytes, tuple[float, float]] = {}

    def admit(self, key: bytes) -> bool:
        """Take a call into account; False when there were too many."""
        now = time.monotonic()
        left, at = self._left.get(key, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        self._left[key] = (left - 1.0 if left >= 1.0 else left, now)
        return left >= 1.0


def note(folder: Path, key: bytes, role: str | None, did: str, **more: Any) -> None:
    """Add a line to `audit.jsonl`, on the disk at return; keys are named by the beginning of their hash."""
    line = {"ts_ns": time.time_ns(), "key": hashlib.sha256(key).hexdigest()[:8], "role": role, "did": did, **more}
    handle = os.open(folder / "audit.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, json.dumps(line).encode() + b"\n")
        durable(handle)
    finally:
        os.close(handle)

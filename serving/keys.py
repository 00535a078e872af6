"""Who may call a service: keys with a role, the collections they see, a rate each, and a log of what they decided.

Keys are those of QUANTAI_API_KEYS (`operate:KEY read:KEY`), else of the file that the setting `service.keys` names,
else of `keys.toml` in the service's folder where it makes one. Where there are none, only this machine is answered.

    [[key]]
    name = "research"
    role = "read"                  # or operate, which includes read
    sha256 = "9f86d0…"             # printf %s "$KEY" | sha256sum; or key = "…" in a file that nobody else can read
    collections = ["papers"]       # of a knowledge base; all of them when left out
    per_minute = 6000
"""

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import time
import tomllib
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from quantai.core.errors import InputError
from quantai.ops import durable, make_folder
from quantai.ops.config import settings

Role = Literal["read", "operate"]
ENV = "QUANTAI_API_KEYS"
"""Keys as "role:key role:key"."""
FILE = "keys.toml"
PER_MINUTE = 60_000
"""Calls of a key in which nothing is decided, unless its file says otherwise."""
DECISIONS_PER_MINUTE = 300
_log = logging.getLogger("quantai.serving")


def hashed(key: str | bytes) -> str:
    """Return the SHA-256 of a key.

    >>> hashed("k1")[:8]
    '6ab9f1eb'
    """
    return hashlib.sha256(key.encode() if isinstance(key, str) else key).hexdigest()


class Bucket:
    """Calls of a minute that come back one by one, evenly; two seconds' worth, or 20, may be made at once."""

    def __init__(self, per_minute: int) -> None:
        self._rate = per_minute / 60
        self._most = self._left = float(min(per_minute, max(20, per_minute // 30)))
        self._at = 0.0

    def take(self, now_s: float) -> bool:
        """Take one call; False when none is left."""
        if self._at:
            self._left = min(self._most, self._left + (now_s - self._at) * self._rate)
        self._at = now_s
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


@dataclass(eq=False)
class Key:
    """One caller: its name, its role, the collections it may see (all when empty), calls a minute."""

    name: str
    role: Role
    sha256: str = ""
    collections: frozenset[str] = frozenset()
    per_minute: int = PER_MINUTE
    _reads: Bucket = field(init=False, repr=False)
    _decisions: Bucket = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._reads = Bucket(self.per_minute)
        self._decisions = Bucket(min(self.per_minute, DECISIONS_PER_MINUTE))

    @property
    def operates(self) -> bool:
        """Whether it may decide and change, or only see."""
        return self.role == "operate"

    def take(self, now_s: float, *, decides: bool = False) -> bool:
        """Take one call into account; False when there were too many."""
        return (self._decisions if decides else self._reads).take(now_s)


CALLER: ContextVar[Key] = ContextVar("caller")
"""Whose request is being answered."""


class Keys:
    """The keys of a service, None for a service that answers this machine alone.

    >>> keys = Keys([Key("a", "operate", hashed("k1")), Key("b", "read", hashed("k2"))])
    >>> keys.find(b"k1").name, keys.find(b"k2").operates, keys.find(b"k3")
    ('a', False, None)
    """

    def __init__(self, keys: Iterable[Key] | None) -> None:
        self._keys = None if keys is None else list(keys)
        self.here = Key("this machine", "operate", per_minute=PER_MINUTE)

    @property
    def needed(self) -> bool:
        """Whether everybody needs a key."""
        return self._keys is not None

    @classmethod
    def of(cls, folder: Path | None = None) -> "Keys":
        """Take the keys that are configured, else those of `folder`, made when they are not there.

        Raises InputError that says what is wrong with them.
        """
        if said := os.environ.get(ENV, ""):
            return cls(Key(f"{role}-{hashed(key)[:8]}", role, hashed(key)) for role, key in _of_environment(said))
        if (file := settings().service.keys) is not None:
            return cls(read_keys(file))
        if folder is None:
            return cls(None)
        clear_keys(folder)
        return cls(read_keys(folder / FILE))

    def find(self, given: bytes) -> Key | None:
        """Return whose key this is, None for one that is not known; it takes as long for either."""
        digest, found = hashed(given), None
        for key in self._keys or ():
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found


def read_keys(path: Path) -> list[Key]:
    """Return the keys of a file; raises InputError that says what is wrong with it."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["key"]
        return [_key(path, entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"keys {path}: {error}") from None


def _key(path: Path, entry: dict[str, Any]) -> Key:
    role: Any = entry.get("role")
    name, clear = str(entry.get("name", "")), str(entry.get("key", ""))
    sha256 = str(entry.get("sha256", "")).lower() or (hashed(clear) if clear else "")
    per_minute = int(entry.get("per_minute", PER_MINUTE))
    if not name or role not in get_args(Role) or not re.fullmatch("[0-9a-f]{64}", sha256) or per_minute < 1:
        raise InputError(f"keys {path}: key {name!r} needs a name, a role (read or operate), a sha256, and per_minute")
    return Key(name, role, sha256, frozenset(entry.get("collections", ())), per_minute)


def clear_keys(folder: Path) -> dict[str, str]:
    """Return a key of each role in clear, as `Keys.of` finds them; of keys that are hashes only there is none."""
    if said := os.environ.get(ENV, ""):
        return dict[str, str](_of_environment(said))
    path = settings().service.keys or folder / FILE
    if path == folder / FILE and not path.exists():
        make_folder(folder)
        entries = [
            f'[[key]]\nname = "{role}"\nrole = "{role}"\nkey = "{secrets.token_urlsafe(24)}"\n'
            for role in get_args(Role)
        ]
        fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("\n".join(entries))
            file.flush()
            durable(file.fileno())
        try:
            os.link(fresh, path)  # of two who make them at once, one does
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    read_keys(path)  # says what is wrong with it
    return {str(e["role"]): str(e["key"]) for e in tomllib.loads(path.read_text())["key"] if e.get("key")}


def _of_environment(said: str) -> list[tuple[Role, str]]:
    found: list[tuple[Role, str]] = []
    for word in said.split():
        role, colon, key = word.partition(":")
        if role not in get_args(Role) or not (colon and key):
            raise InputError(f"{ENV}: write role:key, the role read or operate, separated by spaces")
        found.append((role, key))  # type: ignore[arg-type]
    return found


def note(folder: Path, key: Key | None, did: str, **more: Any) -> None:
    """Add a line to `audit.jsonl` in `folder`, on the disk at return; a key is named by the start of its hash.

    A disk that takes no line is an error in the log, and undoes nothing: what was decided has been done.
    """
    who = {"who": key.name, "key": key.sha256[:8], "role": key.role} if key else {"who": "", "key": "", "role": None}
    line = {"ts_ns": time.time_ns(), **who, "did": did, **more}
    try:
        make_folder(folder)
        handle = os.open(folder / "audit.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(handle, json.dumps(line).encode() + b"\n")
            durable(handle)
        finally:
            os.close(handle)
    except OSError as error:
        _log.error("%s: not in the audit log (%s): %s", folder, error.strerror, line)

"""The BentoML model store: exact versions by tag, and who of them is champion and challenger."""

import fcntl
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from quantai.core.errors import DataError, InputError, MissingExtra, StorageError, UnknownName
from quantai.notebook.promote.version import MANIFEST, Version, check_name
from quantai.ops import durable, make_folder, sync_folder

Alias = Literal["champion", "challenger"]
ALIASES: tuple[Alias, ...] = ("champion", "challenger")


def save(name: str, version: str, fill: Callable[[Path], None], labels: dict[str, str]) -> Version:
    """Store what `fill` writes into a folder as `name:version` and return it; raises StorageError."""
    bentoml = _bentoml()
    tag = f"{check_name(name)}:{version}"
    try:
        with bentoml.models.create(tag, labels=labels) as model:
            fill(Path(model.path))
        stored = get(tag)
        _settle(stored.folder)
        return stored
    except OSError as error:
        raise StorageError(f"{tag} cannot be stored ({error.strerror or error}): nothing was promoted") from None


def get(tag: str) -> Version:
    """Return a stored version by its exact tag "name:version"; its files are checked.

    "latest", a part of a version and a bare name are refused: what trades is pinned. Raises InputError, UnknownName,
    DataError.
    """
    name, colon, version = tag.partition(":")
    if not colon or not version or version == "latest":
        raise InputError(f"{tag!r} is not one exact version: write NAME:VERSION, or resolve an alias first")
    folder = _folder(name)
    if not (folder / version / MANIFEST).is_file():  # BentoML itself takes any unambiguous beginning of a version
        raise UnknownName(f"version of {name}", version, versions(name))
    return Version.open(folder / version)


def versions(name: str) -> list[str]:
    """Return the stored versions of a name, oldest first."""
    folder = _folder(name)
    return sorted(path.parent.name for path in folder.glob(f"*/{MANIFEST}"))


def resolve(wanted: str) -> str:
    """Return the exact tag of "name:version", "name:champion", "name:challenger" or "name" (its champion)."""
    name, _, version = wanted.partition(":")
    check_stored(name)
    if version in ("", *ALIASES):
        alias: Any = version or "champion"
        if (tag := alias_of(name, alias)) is None:
            raise InputError(f"{name} has no {alias}: name a version, one of {', '.join(versions(name)[-3:])}")
        return tag
    return get(wanted).tag


def check_stored(name: str) -> None:
    """Raise UnknownName unless a version of a name is stored."""
    if not versions(name):
        stored = sorted({p.parent.parent.name for p in _models().glob(f"*/*/{MANIFEST}")})
        raise UnknownName("promoted strategy", name, stored)


def runs_of(name: str) -> Path:
    """Return the folder in which services of a name keep lease, journals and keys, unless they were given another."""
    return _models().parent / "quantai-runs" / check_name(name)


def alias_of(name: str, alias: Alias) -> str | None:
    """Return the tag that an alias of a name stands for, or None."""
    said = _read(name)["aliases"].get(alias)
    return f"{name}:{said}" if said else None


def set_alias(name: str, alias: Alias, version: str | None, reason: str = "") -> str | None:
    """Let an alias stand for a version (None: for nothing), durably; returns the version before.

    A new champion that was the challenger is the challenger no more. The history keeps every change.
    """
    if alias not in ALIASES:
        raise UnknownName("alias", alias, ALIASES)
    if version is not None:
        get(f"{name}:{version}")
    with _locked(name) as said:
        before = said["aliases"].get(alias)
        if alias == "champion" and version != before:
            if before is not None:
                said["past"].append(before)
            if said["aliases"].get("challenger") == version:
                said["aliases"]["challenger"] = None
        _change(said, alias, version, reason)
    return before


def rollback(name: str, reason: str = "") -> str:
    """Make the champion before this one champion again; returns its tag. Raises InputError when there was none."""
    stored = versions(name)
    with _locked(name) as said:
        past = [version for version in said["past"] if version in stored]
        if not past:
            raise InputError(f"{name} has no earlier champion to go back to")
        said["past"] = past[:-1]
        _change(said, "champion", past[-1], f"rollback: {reason}" if reason else "rollback")
    return f"{name}:{past[-1]}"


def history(name: str) -> list[dict[str, Any]]:
    """Return every change of the aliases of a name, oldest first."""
    return _read(name)["history"]


def _change(said: dict[str, Any], alias: Alias, version: str | None, reason: str) -> None:
    before, said["aliases"][alias] = said["aliases"].get(alias), version
    said["history"].append({"ts_ns": time.time_ns(), "alias": alias, "from": before, "to": version, "reason": reason})


def remove(tag: str) -> None:
    """Delete a stored version; raises InputError while an alias stands for it."""
    found = get(tag)
    for alias in ALIASES:
        if alias_of(found.name, alias) == tag:
            raise InputError(f"{tag} is the {alias}: let that stand for another version first")
    (found.folder / MANIFEST).unlink()  # what is half gone must not look like a version
    shutil.rmtree(found.folder)


def _bentoml() -> Any:
    try:
        with warnings.catch_warnings():  # it imports what packages it uses deprecate; nobody here can change that
            warnings.simplefilter("ignore", DeprecationWarning)
            import bentoml
            import bentoml.models  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise MissingExtra("bentoml", "serve") from None
    return bentoml


def _models() -> Path:
    _bentoml()
    from bentoml._internal.configuration.containers import BentoMLContainer

    return Path(BentoMLContainer.model_store_dir.get())


def _folder(name: str) -> Path:
    return _models() / check_name(name)


def _aliases(name: str) -> Path:
    return _models().parent / "quantai-aliases" / f"{check_name(name)}.json"


def _settle(folder: Path) -> None:
    """Put every file of a stored version on the disk: an alias, which is there at once, may soon stand for it."""
    for path in (*folder.rglob("*"), folder, folder.parent):
        if path.is_dir():
            sync_folder(path)
            continue
        handle = os.open(path, os.O_RDONLY)
        try:
            durable(handle)
        finally:
            os.close(handle)


def _read(name: str) -> dict[str, Any]:
    path = _aliases(name)
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {"aliases": {}, "past": [], "history": []}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} does not say who is champion of {name}: {error}") from None


@contextmanager
def _locked(name: str) -> Generator[dict[str, Any]]:
    """Yield the aliases of a name to be changed; one process at a time, the file whole or as it was."""
    path = _aliases(name)
    make_folder(path.parent)
    with path.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = _read(name)
        yield said
        fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with fresh.open("w") as file:
            json.dump(said, file, indent=1)
            file.flush()
            durable(file.fileno())
        fresh.replace(path)
        sync_folder(path.parent)

"""A promoted version: a folder of texts, JSON and plain arrays that says everything, and nothing pickled.

`manifest.json` holds the SHA-256 of every other file; a file that is not what it was is refused, not run.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from quantai.core.errors import DataError, InputError
from quantai.core.plain import plain
from quantai.execution.limits import Limits
from quantai.notebook.promote.golden import FILES, Golden
from quantai.notebook.promote.source import load_class
from quantai.strategy import Strategy

SOURCE, MANIFEST, LIMITS, LOCK, CARD = "strategy.py", "manifest.json", "limits.toml", "environment.txt", "card.md"


@dataclass(frozen=True, eq=False)
class Version:
    """One promoted version as it lies in a folder; `tag` is "name:version"."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "Version":
        """Read a version and check every file of it; raises DataError naming the file that is not what it was."""
        folder = Path(folder)
        try:
            manifest = json.loads((folder / MANIFEST).read_text())
            files: dict[str, str] = manifest["files"]
        except (OSError, ValueError, KeyError, TypeError):
            raise DataError(f"{folder} is not a promoted version: it has no {MANIFEST}") from None
        for name, digest in files.items():
            path = folder / name
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise DataError(f"{folder}: {name} is not what was promoted: promote again, or roll back")
        return cls(folder, manifest)

    @property
    def name(self) -> str:
        """What it is a version of."""
        return self.manifest["name"]

    @property
    def version(self) -> str:
        """Which one."""
        return self.manifest["version"]

    @property
    def tag(self) -> str:
        """Name and version as BentoML writes them."""
        return f"{self.name}:{self.version}"

    @property
    def params(self) -> dict[str, Any]:
        """The values of its parameters."""
        return dict(self.manifest["params"])

    @property
    def gates(self) -> dict[str, str]:
        """What each gate said: pass, warn or fail."""
        return {gate["name"]: gate["outcome"] for gate in self.manifest["gates"]}

    @property
    def source(self) -> str:
        """The text of its module."""
        return (self.folder / SOURCE).read_text()

    @property
    def limits(self) -> Limits | None:
        """Its limits of risk, None where none were given."""
        path = self.folder / LIMITS
        return Limits.load(path) if path.is_file() else None

    @cached_property
    def strategy(self) -> Strategy:
        """The strategy with its parameters; raises DataError when its source does not give what was promoted."""
        module = f"promoted_{hashlib.sha256(self.tag.encode()).hexdigest()[:12]}"
        cls = load_class(self.folder / SOURCE, self.manifest["class"], module)
        if cls.source_hash() != self.manifest["hash"]:
            raise DataError(f"{self.tag}: this quantai makes another strategy of its source: promote it again")
        return cls(**self.params)

    @property
    def named(self) -> str:
        """How its class is found again: file.py:Class."""
        return f"{self.folder / SOURCE}:{self.manifest['class']}"

    @cached_property
    def golden(self) -> Golden:
        """Its golden rows and the intents expected on them."""
        return Golden.load(self.folder)

    def differences(self) -> list[str]:
        """Run it over its golden rows; returns in words what differs from what was promoted, empty = nothing."""
        return self.golden.differences(self.strategy)


def write_version(
    folder: Path, manifest: Mapping[str, Any], texts: Mapping[str, str], golden: Golden, limits: Limits | None
) -> None:
    """Write the files of a version into an empty `folder`, the manifest last."""
    golden.save(folder)
    if limits is not None:
        (folder / LIMITS).write_text(limits.text())
    for name, text in texts.items():
        (folder / name).write_text(text)
    names = [*FILES, *texts, *([LIMITS] if limits is not None else [])]
    files = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    said = plain({**manifest, "files": files})
    (folder / MANIFEST).write_text(json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def check_name(name: str) -> str:
    """Return a name that BentoML takes; raises InputError for others.

    >>> check_name("btc-cross")
    'btc-cross'
    """
    ok = all(c.isascii() and (c.islower() or c.isdigit() or c in "-_.") for c in name)
    if not (name and ok and name[0].isalnum() and name[-1].isalnum() and len(name) <= 63):
        raise InputError(f"name {name!r}: small letters, digits, '-', '_' and '.', such as btc-cross")
    return name

"""What is filled in: from the version, and from what the caller says."""

import getpass
import json
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantai.core.errors import InputError, UnknownName
from quantai.notebook.promote.version import Version
from quantai.ops.secrets import variable

MODES = ("shadow", "paper", "live")
API_KEYS = "QUANTAI_API_KEYS"
_REFERENCE = "            - {{name: {name}, valueFrom: {{secretKeyRef: {{name: quantai-{label}, key: {name}}}}}}}"
_PLAIN = re.compile(r"[\w.,:/@+-]+")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How a version is to run elsewhere; empty fields are as it was promoted."""

    mode: str = "paper"
    venue: str = ""
    symbols: tuple[str, ...] = ()
    interval: str = ""
    sandbox: bool = False
    cash: float = 100_000.0
    lake: str = ""
    port: int = 3000
    image: str = ""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UnknownName("mode", self.mode, MODES)
        for word in (self.venue, *self.symbols, self.interval, self.lake, self.image):
            if word and not _PLAIN.fullmatch(word):
                raise InputError(f"{word!r} cannot stand in these files: letters, digits and . , : / @ + - _ can")


def secrets_of(wanted: Wanted, venue: str) -> list[str]:
    """Return the environment variables that hold what no file may: keys of the API, and of the venue if it is live."""
    names = [API_KEYS]
    if wanted.mode == "live":
        parts = ("key", "secret", "password") if venue.startswith(("OKX", "KUCOIN", "BITGET")) else ("key", "secret")
        names += [variable(f"{venue}_{part}") for part in parts]
    return names


def fields_of(version: Version, wanted: Wanted) -> dict[str, str]:
    """Return the value of every $name of the templates."""
    known: list[list[str]] = version.manifest["symbols"]
    venue, symbols = wanted.venue or known[0][0], wanted.symbols or tuple(symbol for _, symbol in known)
    if wanted.mode == "live" and version.limits is None:
        raise InputError(f"{version.tag} has no limits of risk: promote it with limits to run it live")
    names = secrets_of(wanted, venue)
    image = wanted.image or f"quantai/{version.name}:{version.version}"
    image_name, _, image_tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "latest")
    label = re.sub(r"[^a-z0-9]+", "-", version.name.lower()).strip("-")[:40]
    said: dict[str, Any] = {
        "tag": version.tag, "folder": "/runs", "venue": venue, "symbols": list(symbols), "mode": wanted.mode,
        "interval": wanted.interval or version.manifest["interval"], "sandbox": wanted.sandbox, "cash": wanted.cash,
        "lake": wanted.lake,
    }  # fmt: skip
    home = version.folder.parents[2]
    more = [f"--interval {said['interval']}" if said["interval"] else "", "--sandbox" if wanted.sandbox else ""]
    more += [f"--cash {wanted.cash:g}", f"--lake {shlex.quote(wanted.lake)}" if wanted.lake else ""]
    return {
        "tag": version.tag, "name": version.name, "label": label, "mode": wanted.mode, "venue": venue,
        "symbols": ",".join(symbols), "port": str(wanted.port), "image": image, "image_name": image_name,
        "image_tag": image_tag, "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "deployment": json.dumps(said, indent=1) + "\n", "target": f"127.0.0.1:{wanted.port}",
        "secret_names": ", ".join(names), "user": getpass.getuser(), "bentoml_home": str(home),
        "folder": str(home / "quantai-runs" / version.name), "more": " ".join(filter(None, more)),
        "quantai": shutil.which("quantai") or str(Path(sys.executable).with_name("quantai")),
        "compose_secrets": "\n".join(f"      {n}: ${{{n}:?set it in the environment or in .env}}" for n in names),
        "kubernetes_secrets": "\n".join(_REFERENCE.format(name=n, label=label) for n in names),
    }  # fmt: skip

"""`quantai doctor`: what is installed, what is missing, and the command that mends it."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from quantai.cli.output import Json, emit
from quantai.core.errors import MissingExtra

EXAMPLES = """
quantai doctor
quantai doctor --venue BINANCE_FUTURES
quantai doctor --json | jq .missing
"""

PROGRAMS = ("git", "make", "docker")
"""Programs outside Python: to update a checkout, to run its commands, to build containers for serving."""

GIB = 1 << 30


def doctor(
    venue: Annotated[str, typer.Option(help="Say what this venue needs and offers instead.", metavar="VENUE")] = "",
    json: Json = False,
) -> None:
    """Say what is installed, what is missing and what a venue needs.

    Nothing is changed and nothing is sent. `missing` names what is not there with the command that installs it,
    `problems` what would get in the way of work.
    """
    emit(examine_venue(venue) if venue else examine(), json)


def examine() -> dict[str, Any]:
    """Return the state of this installation: sizes in GiB, versions and paths as text."""
    extras = {name: _versions(packages) for name, packages in required().items()}
    programs = {name: shutil.which(name) for name in PROGRAMS}
    caches, lake, clock = _caches(), _lake(), _clock()
    missing = {f"extra {extra}": install_command(extra) for extra, found in extras.items() if not all(found.values())}
    missing |= {f"program {name}": _system_install(name) for name, path in programs.items() if not path}
    model, lacks = _embedding_model()
    missing |= lacks
    problems = [
        f"{path} is not writable: every process compiles again; set {variable} to a folder that is"
        for variable, path, writable in caches
        if not writable
    ]
    if not lake["writable"]:
        problems.append(f"the lake {lake['root']} is not writable: set QUANTAI_LAKE to a folder that is")
    if lake["free_gib"] < 1:
        problems.append(f"only {lake['free_gib']} GiB are free for the lake {lake['root']}")
    if not clock["plausible"]:
        problems.append(f"the clock says {clock['now']}, which cannot be: set it before recording")
    if clock["synchronised"] is False:
        problems.append("the clock is not synchronised: latencies and the order of venues mean nothing; start NTP")
    return {
        "quantai": version("quantai"),
        "python": f"{platform.python_version()} at {sys.executable}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.process_cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
        "packages": extras,
        "programs": programs,
        "embedding_model": model,
        "caches": {variable: {"folder": path, "writable": writable} for variable, path, writable in caches},
        "lake": lake,
        "clock": clock,
        "missing": missing,
        "problems": problems,
    }


def examine_venue(venue: str) -> dict[str, Any]:
    """Return what recording from, downloading from and trading on `venue` needs; raises UnknownName.

    Without the extra `record` nothing is known of the venue itself: `recording` then says how to install it.
    """
    needs: dict[str, Any] = {
        "venue": venue,
        "extras": {
            "record": "installed" if find_spec("cryptofeed") else install_command("record"),
            "live": "installed" if find_spec("ccxt") else install_command("live"),
        },
        "keys_for_market_data": "none",
        **_trading(venue),
    }
    from quantai.feeds.venues import describe

    try:
        return needs | {name: value for name, value in describe(venue).items() if name not in ("venue", "needs_keys")}
    except MissingExtra as error:
        return needs | {"recording": str(error)}


def _trading(venue: str) -> dict[str, Any]:
    """Say whether runs can trade at a venue, and the variables with the keys they need."""
    if not find_spec("ccxt"):
        return {"trading": install_command("live"), "keys_for_trading": []}
    from quantai.ops.secrets import variable
    from quantai.venues.ccxt import PROFILES

    if venue not in PROFILES:
        return {"trading": f"on paper only; for real at {', '.join(sorted(PROFILES))}", "keys_for_trading": []}
    names = ["key", "secret", *(["password"] if PROFILES[venue].password else [])]
    return {"trading": "on paper and for real", "keys_for_trading": [variable(f"{venue}_{name}") for name in names]}


def required() -> dict[str, list[str]]:
    """Return the packages that quantai asks for, by extra; those it always needs are under `core`."""
    wanted: dict[str, list[str]] = {"core": []}
    for line in requires("quantai") or []:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra == ['\"](\w+)['\"]", line)
        room = extra[1] if extra else "core"
        if name and room != "all":
            wanted.setdefault(room, []).append(name[0])
    return wanted


def install_command(extra: str) -> str:
    """Return the command that installs an extra into this very environment."""
    prefix = Path(sys.prefix)
    if (prefix / "installed.lock").exists():  # made by scripts/setup: every extra is in its lock file
        return f"make -C {prefix.parent} setup"
    target = "quantai" if extra == "core" else f"quantai[{extra}]"
    pip = f"{sys.executable} -m pip install" if find_spec("pip") else f"uv pip install --python {sys.executable}"
    return f"{pip} '{target}'"


def _versions(packages: list[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = distribution(name).version
        except PackageNotFoundError:
            found[name] = None
    return found


def _system_install(program: str) -> str:
    names = {"docker": "docker.io"} if shutil.which("apt-get") else {}
    for tool, verb in {"apt-get": "apt-get install", "brew": "brew install", "dnf": "dnf install"}.items():
        if shutil.which(tool):
            return f"{verb} {names.get(program, program)}"
    return f"install {program} with the package manager of this system"


def _caches() -> list[tuple[str, Path, bool]]:
    """The folder of compiled code, with the variable that moves it and whether it can be written."""
    from platformdirs import user_cache_dir

    ours = Path(os.environ.get("QUANTAI_CACHE") or user_cache_dir("quantai"))
    return [("QUANTAI_CACHE", ours, is_writable(ours))]


def _embedding_model() -> tuple[str, dict[str, str]]:
    """Say whether the knowledge base can search by meaning offline, and what is missing for it, with what mends it."""
    try:
        from quantai.knowledge.model import PACKAGE, model_folder

        model_folder()
    except MissingExtra as error:
        mend = install_command("knowledge") if not find_spec("chromadb") else str(error).partition(": ")[2]
        return f"{error}; until then the knowledge base searches by words", {"embedding model": mend}
    return f"{PACKAGE} {version(PACKAGE)}", {}


def _lake() -> dict[str, Any]:
    from quantai.data import Lake

    root = Lake().root
    there = _nearest(root)
    return {
        "root": root,
        "exists": root.is_dir(),
        "writable": is_writable(root),
        "free_gib": round(shutil.disk_usage(there).free / GIB, 1),
    }


def is_writable(folder: Path) -> bool:
    """True when `folder` can be written, or made where it does not exist yet."""
    try:
        # permission bits do not know of read-only and virtual file systems: only writing does; the file has no name
        with tempfile.TemporaryFile(dir=_nearest(folder)):
            return True
    except OSError:
        return False


def _nearest(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _clock() -> dict[str, Any]:
    """The wall clock, and whether the system says that it follows a time server (None when it does not say)."""
    now_s = time.time()
    try:
        asked = ["timedatectl", "show", "--property=NTPSynchronized", "--value"]
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        answer = ""
    return {
        "now": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s)),
        "resolution_ns": round(time.get_clock_info("time").resolution * 1e9),
        "synchronised": {"yes": True, "no": False}.get(answer),
        # no file of ours can be younger than now: a clock that lost its battery starts years in the past
        "plausible": now_s >= Path(__file__).stat().st_mtime,
    }

"""A bento: one file with a promoted version, the service and this package, which runs elsewhere without a network."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from quantai.core.errors import InputError, StorageError
from quantai.notebook.promote.store import get
from quantai.notebook.promote.version import LOCK

SERVICE = "serving.strategy_service:StrategyService"
PINNED = "serving/model_tag.txt"
"""In a bento, the tag of its version."""
KINDS = (".py", ".html", ".yaml", ".service", ".typed")
NAMES = ("Containerfile", "README.md")
"""What the package is made of; whatever else lies there, such as somebody's keys, stays here."""
_BENTOFILE = """service: "{service}"
name: "{name}"
include: ["quantai/**", "serving/**"]
exclude: ["**/__pycache__/**"]
models: ["{tag}"]
python: {{requirements_txt: environment.txt, lock_packages: false}}
"""


def export_bento(tag: str, to: str | Path) -> Path:
    """Build a bento of an exact version and write it to one file; returns the file.

    `bentoml import FILE` and `bentoml serve NAME`, with QUANTAI_DEPLOYMENT naming a deployment, run it. It serves the
    version it was built with, whatever is promoted later. Raises InputError, DataError; StorageError when it cannot be
    built.
    """
    version = get(tag)
    root = Path(__file__).parents[3]
    if not (root / "serving" / "strategy_service.py").is_file():
        raise InputError("the services are not installed with the package: build from the source tree")
    to = Path(to).absolute()
    if to.is_dir() or not to.parent.is_dir():
        raise InputError(f"{to} cannot be written: name a file in a folder that is there")
    with tempfile.TemporaryDirectory(prefix="quantai-bento-") as folder:
        context = Path(folder)
        for part in ("quantai", "serving"):
            shutil.copytree(root / part, context / part, ignore=_not_ours)
        (context / PINNED).write_text(tag)
        lines = version.folder.joinpath(LOCK).read_text().splitlines()
        (context / LOCK).write_text("\n".join(x for x in lines if not x.startswith(("#", "quantai=="))) + "\n")
        (context / "bentofile.yaml").write_text(_BENTOFILE.format(service=SERVICE, name=version.name, tag=tag))
        said = _bentoml(context, version.folder.parents[2], "build", "--output", "tag")
        found = re.search(rf"{re.escape(version.name)}:[\w.-]+", said.splitlines()[-1] if said else "")
        if found is None:
            raise StorageError(f"{tag}: no bento was built: {said.strip()[-300:]}")
        draft = to.with_name(f".{os.getpid()}.{to.name}")
        try:
            _bentoml(context, version.folder.parents[2], "export", found.group(), str(draft))
            draft.replace(to)
        except StorageError:  # an OSError as well, which says what was wrong already
            raise
        except OSError as error:
            raise StorageError(f"{to} cannot be written: {error.strerror}") from None
        finally:
            draft.unlink(missing_ok=True)
    return to


def packed_tag(bento: Path) -> str:
    """Return the tag of the version in a file that `export_bento` wrote, "" for any other file."""
    try:
        with tarfile.open(bento) as packed:
            found = [m for m in packed.getmembers() if m.isfile() and m.name.endswith(f"src/{PINNED}")]
            said = packed.extractfile(found[0]) if found else None
            return "" if said is None else said.read().decode().strip()
    except (OSError, tarfile.TarError, UnicodeDecodeError):
        return ""


def _not_ours(folder: str, names: list[str]) -> set[str]:
    """Return what does not go along."""
    return {
        name for name in names
        if name == "__pycache__"
        or not (Path(folder, name).is_dir() or Path(name).suffix in KINDS or name in NAMES)
    }  # fmt: skip


def _bentoml(context: Path, home: Path, *arguments: str) -> str:
    environment = os.environ | {
        "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(context),
        "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    command = [sys.executable, "-m", "bentoml", *arguments]
    ran = subprocess.run(command, cwd=context, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise StorageError(f"bentoml {arguments[0]} failed: {(ran.stderr or ran.stdout).strip()[-400:]}")
    return ran.stdout

"""A bento: one file with a promoted version, the service and this package, which runs elsewhere without a network."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from quantai.core.errors import InputError, StorageError
from quantai.notebook.promote.store import get
from quantai.notebook.promote.version import LOCK

SERVICE = "serving.strategy_service:StrategyService"
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
    with tempfile.TemporaryDirectory(prefix="quantai-bento-") as folder:
        context = Path(folder)
        for part in ("quantai", "serving"):
            shutil.copytree(root / part, context / part, ignore=shutil.ignore_patterns("__pycache__"))
        (context / "serving" / "model_tag.txt").write_text(tag)
        lines = version.folder.joinpath(LOCK).read_text().splitlines()
        (context / LOCK).write_text("\n".join(x for x in lines if not x.startswith(("#", "quantai=="))) + "\n")
        (context / "bentofile.yaml").write_text(_BENTOFILE.format(service=SERVICE, name=version.name, tag=tag))
        said = _bentoml(context, version.folder.parents[2], "build", "--output", "tag")
        found = re.search(rf"{re.escape(version.name)}:[\w.-]+", said.splitlines()[-1] if said else "")
        if found is None:
            raise StorageError(f"{tag}: no bento was built: {said.strip()[-300:]}")
        _bentoml(context, version.folder.parents[2], "export", found.group(), str(to))
    return to


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

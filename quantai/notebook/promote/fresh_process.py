"""A version run in a process of its own: what a notebook has in memory must not be part of it.

`python -m quantai.notebook.promote.fresh_process FOLDER` prints one JSON list of differences, empty = none.
"""

import json
import subprocess
import sys
from pathlib import Path

from quantai.core.errors import QuantaiError
from quantai.notebook.promote.version import Version

PATIENCE_S = 600.0


def differences_elsewhere(folder: Path) -> list[str]:
    """Return in words how a version's intents on its golden rows differ in another process, empty = not at all."""
    command = [sys.executable, "-m", __name__, str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    try:
        return list(json.loads(ran.stdout.splitlines()[-1]))
    except (ValueError, IndexError):
        said = ran.stderr.strip().splitlines()
        return [f"it cannot be run: {said[-1] if said else f'exit code {ran.returncode}'}"]


def main(folder: str) -> None:
    """Print what differs."""
    try:
        found = Version.open(folder).differences()
    except QuantaiError as error:
        found = [str(error)]
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])

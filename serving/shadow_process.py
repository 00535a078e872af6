"""The process of a challenger: `python -m serving.shadow_process DEPLOYMENT.json TAG`.

It shows the challenger, on paper, every row that the run journals, and writes what both did. It holds back behind the
run: lower in priority, reading what is on the disk, and beside it whatever happens. Exit code 3: trying again changes
nothing.
"""

import asyncio
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from quantai.core.errors import DataError, InputError, QuantaiError, StrategyError
from quantai.execution.lease import Lease
from quantai.notebook.promote.shadow import Shadow
from quantai.notebook.promote.store import get
from quantai.notebook.promote.version import Version
from serving.deployment import Deployment, read_json, write_json

REFUSED = 3
POLL_S = 1.0
_NICE = 10
_log = logging.getLogger("quantai.serving")


async def follow(deployment: Deployment, challenger: Version, parent: int) -> None:
    """Compare for as long as the parent lives, run after run; of several replicas one does."""
    lease = None
    while os.getppid() == parent:
        lease = lease or Lease.take(deployment.root / f"lease-shadow-{deployment.mode}")
        if lease is None:
            await asyncio.sleep(POLL_S)
            continue
        journal = _journal(deployment)
        if journal is None:
            await asyncio.sleep(POLL_S)
            continue
        async with Shadow(journal, challenger) as shadow:
            while os.getppid() == parent and _journal(deployment) == journal:
                with suppress(DataError):  # no row has come yet
                    said = {"journal": str(journal), **(await shadow.follow()).as_dict()}
                    write_json(deployment.comparison, said, lasting=False)
                await asyncio.sleep(POLL_S)


def _journal(deployment: Deployment) -> Path | None:
    path = Path(str(read_json(deployment.state).get("journal", "")))
    return path if path.is_file() else None


def main(path: str, tag: str) -> int:
    """Run a challenger beside what a file of a deployment says."""
    parent = os.getppid()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    os.nice(_NICE)
    try:
        asyncio.run(follow(Deployment.load(path), get(tag), parent))
    except QuantaiError as error:
        _log.error("%s", error)
        return REFUSED if isinstance(error, InputError | StrategyError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))

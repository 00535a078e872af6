"""What every test may ask for: the shared data, a cache of its own, and reproducible random examples."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPO = Path(__file__).resolve().parent.parent

collect_ignore_glob = ["bench/_*.py"]  # programs of the peers' own environment

# The first example of a test may compile a kernel for seconds: a deadline would judge the compiler, not the code.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_configure(config: pytest.Config) -> None:
    """Give all workers of a session, and the processes they start, one cache of compiled kernels, empty at first.

    Which test compiles first is chance: none says so, or what another test reads from stderr would be chance, too.
    """
    os.environ["QUANTAI_QUIET"] = "1"
    if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker inherits it
        folder = tempfile.mkdtemp(prefix="quantai-test-cache-")
        os.environ["QUANTAI_CACHE"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded market data beside the checkout, or in $QUANTAI_SHARED_DATA; skips where there is none."""
    folder = Path(os.environ.get("QUANTAI_SHARED_DATA") or REPO.parent / "shared" / "data")
    if not (folder / "README.md").is_file():
        pytest.skip(f"recorded market data is not at {folder}: set QUANTAI_SHARED_DATA to where it is")
    return folder

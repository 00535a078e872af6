"""A lease is held by one process, ends with it, and lets nothing out once it is lost."""

import subprocess
import sys
from pathlib import Path

import pytest

from quantai.core.errors import StorageError, VenueError
from quantai.execution.lease import Lease, holder, is_free
from tests.conftest import REPO

HOLD = """
import sys, time
from pathlib import Path
from quantai.execution.lease import Lease
lease = Lease.take(Path(sys.argv[1]))
print(lease.token, flush=True)
time.sleep(600)
"""


def holding(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, cwd=REPO)
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    return process


def test_one_process_holds_it_and_a_killed_one_no_more(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    with holding(path) as other:
        assert Lease.take(path) is None
        assert not is_free(path)
        assert holder(path) == (1, other.pid)
        other.kill()
        other.wait()
    assert is_free(path)  # the file still names the dead one: a stale lease is nobody's
    lease = Lease.take(path)
    assert lease is not None
    assert lease.token == 2
    lease.check()


def test_nothing_goes_out_once_the_file_is_gone_or_anothers(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    lease = Lease.take(path)
    assert lease is not None
    path.unlink()
    with pytest.raises(VenueError, match="no longer ours"):
        lease.check()
    with holding(path) as other:  # the name is free again, and somebody else has it
        with pytest.raises(VenueError, match="no longer ours"):
            lease.check()
        other.kill()


def test_a_token_that_is_not_ours_is_no_lease(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    lease = Lease.take(path)
    assert lease is not None
    path.write_text("7 1".ljust(64))
    with pytest.raises(VenueError, match="no longer ours"):
        lease.check()
    lease.release()
    again = Lease.take(path)
    assert again is not None
    assert again.token == 8


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose a writable folder"):
        Lease.take(tmp_path / "file" / "lease")

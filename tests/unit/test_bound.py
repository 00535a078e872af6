"""A server that is bound to whoever started it does not outlive a kill -9 of that process."""

import os
import subprocess
import sys
from pathlib import Path

from serving.bound import NICE, STARTER
from tests.conftest import REPO

STARTING = f"""
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | {{"{STARTER}": str(os.getpid())}})
sys.stdin.read()
"""
SERVING = """
import signal, sys, time
from serving.bound import end_with_starter
signal.signal(signal.SIGTERM, lambda *_: (print("ended", flush=True), sys.exit()))
end_with_starter()
print("up", flush=True)
time.sleep(120)
"""


def test_a_bound_server_ends_with_a_killed_starter() -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTING, SERVING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPO
    )
    try:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "up\n"
        starter.kill()
        assert starter.stdout.readline() == "ended\n", "the server, whose output this is as well, goes on"
    finally:
        starter.kill()
        starter.communicate()


def test_a_worker_stands_back_in_whatever_way_processors_are_shared() -> None:
    group = Path("/proc/self/autogroup")
    shown = "import os; from serving.bound import stand_back; stand_back(); print(os.nice(0))"
    shown += f"; print(open({str(group)!r}).read())" if os.access(group, os.W_OK) else ""
    command, before = [sys.executable, "-c", shown], os.nice(0)
    ran = subprocess.run(command, cwd=REPO, start_new_session=True, capture_output=True, text=True, check=True)
    nice, *of_session = ran.stdout.splitlines()
    assert int(nice) == min(before + NICE, 19)
    assert all(line.endswith(f"nice {NICE}") for line in of_session if line), of_session

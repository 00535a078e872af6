"""A server that is bound to whoever started it does not outlive a kill -9 of that process."""

import subprocess
import sys

from serving.bound import STARTER
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

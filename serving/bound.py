"""How the processes of a server stand to others: bound to whoever started it, and behind the one that trades."""

import os
import signal
import threading
import time
from pathlib import Path

STARTER = "QUANTAI_STARTER"
"""The environment variable that has the number of the process a server ends with; without it a server goes on."""
NICE = 5
"""How far a worker that answers HTTP stands back where it shares processors with the process that trades."""
_GROUP = Path("/proc/self/autogroup")
_LOOK_S = 0.5
_TRIES = 5


def end_with_starter() -> None:
    """End this server in good order once the process that started it is gone; called in the server's parent process."""
    starter = os.environ.get(STARTER, "")
    if starter:
        threading.Thread(target=_watch, args=(int(starter),), name="quantai-bound", daemon=True).start()


def stand_back() -> None:
    """Let the process that trades go first; called once in a worker.

    A Linux of desktops and plain servers shares processors among sessions first: there the niceness of a process counts
    within its session only, and a worker, which has one of its own, would get as much as everybody else together.
    """
    os.nice(NICE)
    for _ in range(_TRIES if os.getsid(0) == os.getpid() else 0):
        try:
            _GROUP.write_text(str(NICE))
        except BlockingIOError:  # only so many may ask for it in a second
            time.sleep(0.15)
        except OSError:  # another system, or a kernel without it
            return
        else:
            return


def _watch(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)

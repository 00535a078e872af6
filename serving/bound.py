"""A server bound to whoever started it: it ends, and the run with it, however that process ends."""

import os
import signal
import threading
import time

STARTER = "QUANTAI_STARTER"
"""The environment variable that has the number of the process; without it a server goes on."""
_LOOK_S = 0.5


def end_with_starter() -> None:
    """End this server in good order once the process that started it is gone; called in the server's parent process."""
    starter = os.environ.get(STARTER, "")
    if starter:
        threading.Thread(target=_watch, args=(int(starter),), name="quantai-bound", daemon=True).start()


def _watch(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)

"""The supervisor: starts the process that trades, kills it when it hangs, and starts it again when it ended by itself.

It is a thread of the server's parent process, which starts before the workers and does nothing else: however many
workers there are, and whatever becomes of them, there is one. The process that trades
ends by itself when this one dies.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from quantai.core.errors import QuantaiError
from quantai.notebook.promote.store import alias_of
from serving.deployment import Deployment
from serving.loop_process import REFUSED

MOST_WAIT_S = 4.0
"""The longest pause before another try."""
END_S = 30.0
"""How long a run may take to end in good order."""
LOOK_S = 2.0
"""How often it is looked whether there is another challenger."""


class Supervisor:
    """Keeps one process that trades a deployment alive; `start` returns at once, `stop` when the run has ended.

    `file` holds the deployment, for the process to read.
    """

    def __init__(self, deployment: Deployment, file: Path) -> None:
        self.deployment, self._file = deployment, file
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._last_beat = 0.0
        self._thread = threading.Thread(target=self._run, name="quantai-supervisor", daemon=True)

    def start(self) -> None:
        """Begin to supervise."""
        self._thread.start()

    def stop(self) -> None:
        """End the run in good order, or kill it when it takes too long."""
        self._ended.set()
        process = self._process
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(END_S)

    def _run(self) -> None:
        wait_s = 0.25
        while not self._ended.is_set():
            began = time.monotonic()
            code = self._one()
            if code in (0, REFUSED):
                return
            wait_s = 0.25 if time.monotonic() - began > 60.0 else min(MOST_WAIT_S, wait_s * 2)
            self._ended.wait(wait_s)

    def _one(self) -> int:
        d = self.deployment
        self._process = _start(d, "loop", str(self._file))
        self._last_beat = 0.0
        if self._ended.is_set():  # `stop` saw the one before
            self._process.send_signal(signal.SIGTERM)
        threading.Thread(target=self._listen, args=(self._process,), daemon=True).start()
        while True:
            try:
                return self._process.wait(0.5)
            except subprocess.TimeoutExpired:
                silent = self._last_beat and time.monotonic() - self._last_beat > d.seconds_of_silence
                if silent and not self._ended.is_set():
                    self._process.kill()  # it holds the lease for as long as it lives: nobody else can trade before

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        """Note every sign of life; the clock is one that nobody can set."""
        for _ in process.stdout or ():
            self._last_beat = time.monotonic()


class ShadowSupervisor:
    """Keeps the process of the challenger: started when there is one, started anew when it is another."""

    def __init__(self, deployment: Deployment, file: Path) -> None:
        self.deployment, self._file = deployment, file
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._tag: str | None = None
        self._thread = threading.Thread(target=self._run, name="quantai-shadow", daemon=True)

    def start(self) -> None:
        """Begin to look for a challenger."""
        self._thread.start()

    def stop(self) -> None:
        """End its process."""
        self._ended.set()
        self._thread.join(END_S)
        self._end()

    def _run(self) -> None:
        name = self.deployment.tag.partition(":")[0]
        while not self._ended.wait(LOOK_S):
            with suppress(QuantaiError, OSError):
                self._keep(alias_of(name, "challenger"))

    def _keep(self, tag: str | None) -> None:
        code = None if self._process is None else self._process.poll()
        if tag != self._tag or code not in (None, REFUSED):
            self._end()
            self._tag = tag
            self.deployment.comparison.unlink(missing_ok=True)
            if tag is not None:
                self._process = _start(self.deployment, "shadow", str(self._file), tag)

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()  # it holds nothing that is worth an end in good order
            self._process.wait()
            self._process = None


def _start(d: Deployment, what: str, *arguments: str) -> "subprocess.Popen[bytes]":
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH", "")])])
    command = [sys.executable, "-m", f"serving.{what}_process", *arguments]
    with (d.root / f"{what}-{d.mode}.log").open("ab") as log:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE if what == "loop" else log, stderr=log, cwd=root,
            env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip

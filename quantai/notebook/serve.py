"""Serve: a promoted version live behind BentoML, in one call."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantai.core.errors import InputError, StorageError
from quantai.notebook.promote.promotion import Promotion, promote
from quantai.notebook.promote.store import get, resolve, runs_of
from quantai.ops import make_folder
from quantai.ops.config import settings

PATIENCE_S = 180.0
"""How long a start may take, besides the compiling."""

_COMPILING_S = 900.0
_SILENT_S = 5.0


@dataclass
class Served:
    """A service that runs: where it answers, its keys, and how it is ended.

    `file` holds its deployment, `port` keeps its port from everybody else; both are let go of when it is stopped.
    """

    tag: str
    address: str
    keys: dict[str, str]
    folder: Path
    process: "subprocess.Popen[bytes]"
    mode: str = "paper"
    file: Path | None = None
    port: "socket.socket | None" = None

    def ask(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Ask or tell the service and return its JSON; raises InputError with what it refuses."""
        data = None if body is None else json.dumps(body).encode()
        key = self.keys.get("operate") or self.keys.get("read", "")
        headers = {"X-API-Key": key, "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.address}/{path.lstrip('/')}", data, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise InputError(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None
        except OSError as error:
            raise InputError(f"{self.address} does not answer: {error}; look into {self.folder}/server.log") from None

    @property
    def state(self) -> dict[str, Any]:
        """What the run is doing."""
        return self.ask("state")

    def stop(self, timeout_s: float = 60.0) -> None:
        """End the run in good order and the service with it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.file is not None:
            self.file.unlink(missing_ok=True)
        if self.port is not None:
            self.port.close()


def serve(
    what: Any,
    data: Any = None,
    *,
    name: str = "",
    gates: Mapping[str, Any] | None = None,
    venue: str = "",
    symbols: Sequence[str] = (),
    mode: str = "paper",
    port: int = 0,
    folder: str | Path | None = None,
    workers: int = 1,
    wait: bool = True,
    lasting: bool = True,
    **more: Any,
) -> Served:
    """Serve a promoted version and return once it trades, or in mode signal once it answers.

    `what` is a Promotion, or "name", "name:version", "name:challenger"; or what `promote` takes, such as a class in a
    cell: it is promoted first, with `data`, as `name`, and with `gates`, the other arguments of `promote`.

    `mode` is shadow, paper, live, or signal, which trades nothing and answers what it would ask for over rows or bars
    that it is sent. `venue` and `symbols` are those it was promoted on unless given; `port` 0 takes a free one.
    `folder` holds lease, journals and keys, and all services of a name must share it (default: beside the store).
    The server goes on when this process ends, unless it is not `lasting`: then the run ends with it, in good order.
    `more` are the fields of a deployment: interval, endpoint, sandbox, cash, lake, at_end, lots, stale_s.

    Raises InputError, UnknownName, DataError; StorageError when it does not come up.
    """
    if not isinstance(what, Promotion | str):
        what = promote(what, data, name=name, **(gates or {}))
    elif data is not None or name or gates:
        raise InputError(f"{what} is stored already: data, name and gates are for what is promoted first")
    tag = what.tag if isinstance(what, Promotion) else resolve(what)
    version = get(tag)
    root = Path(folder).absolute() if folder else runs_of(version.name)  # the server has another current folder
    try:
        make_folder(root)
    except OSError as error:
        raise StorageError(f"{root} cannot be made ({error.strerror}): choose another folder") from None
    if more.get("lake"):
        more["lake"] = str(Path(more["lake"]).absolute())
    services = Path(__file__).parents[2]
    if not (services / "serving" / "strategy_service.py").is_file():
        raise InputError("the services are not installed with the package: run from the source tree, or serve a bento")
    known: list[list[str]] = version.manifest["symbols"]
    said = {
        "tag": tag, "model": str(version.folder), "folder": str(root), "venue": venue or known[0][0],
        "symbols": list(symbols) or [symbol for _, symbol in known], "mode": mode, **more,
    }  # fmt: skip
    sys.path.insert(0, str(services)) if str(services) not in sys.path else None
    from importlib import import_module

    deployment = import_module("serving.deployment").Deployment(**said)
    keys = import_module("serving.keys").clear_keys(root)
    file_of_keys = settings().service.keys
    if not keys:
        raise InputError(f"{file_of_keys} holds hashes only: set QUANTAI_API_KEYS, or add a key in clear for this call")
    kept = _keep_port(port)
    port, file = int(kept.getsockname()[1]), deployment.save()
    service = "signal_service:SignalService" if mode == "signal" else "strategy_service:StrategyService"
    command = [sys.executable, "-m", "bentoml", "serve", f"serving.{service}"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--working-dir", str(services)]
    environment = os.environ | {
        "QUANTAI_DEPLOYMENT": str(file), "QUANTAI_WORKERS": str(workers), "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(version.folder.parents[2]),
        "QUANTAI_STARTER": "" if lasting else str(os.getpid()),
    }  # fmt: skip
    if file_of_keys is not None:
        environment["QUANTAI_SERVICE_KEYS"] = str(file_of_keys.absolute())
    with (root / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=services, env=environment)
    served = Served(tag, f"http://127.0.0.1:{port}", keys, root, process, mode, file, kept)
    if wait:
        try:
            wait_ready(served)
        except BaseException:  # Ctrl-C, too: nobody would have a hand on a service that trades
            served.stop()
            raise
    return served


def wait_ready(served: Served) -> None:
    """Return once the run trades; raises StorageError when it does not come up."""
    began = time.monotonic()
    until, told, reason = began + PATIENCE_S, False, ""
    while time.monotonic() < until and served.process.poll() is None:
        try:
            if served.mode == "signal":
                served.ask("version")
                return
            said = served.state
            reason, trades = said["process"].get("reason", ""), said["process"].get("tag")
            if said.get("run", {}).get("state") == "trading":
                if trades == served.tag:
                    return
                reason = f"{trades} trades in {served.folder}: stop that service first"
            if said["process"].get("state") == "refused":
                break
            if said["process"].get("state") == "checking":  # which compiles
                now = time.monotonic()
                until = min(now + PATIENCE_S, began + _COMPILING_S)
                if not told and now > began + _SILENT_S:
                    told = True
                    at = served.folder / "server.log"
                    sys.stderr.write(f"quantai: {served.tag} is checked and compiled, minutes the first time: {at}\n")
                    sys.stderr.flush()
        except InputError as error:
            reason = str(error)
        time.sleep(0.1)
    raise StorageError(f"{served.tag} does not trade: {reason or 'look into ' + str(served.folder / 'server.log')}")


def _keep_port(port: int) -> socket.socket:
    """Return a socket that has the port, or a free one for 0, and does not listen.

    Until the server does, seconds later, nobody is given the port; the server may take it, since both allow reuse.
    """
    if not 0 <= port <= 65_535:
        raise InputError(f"port {port} is none: 1 to 65535, or 0 for a free one")
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        kept.bind(("127.0.0.1", port))
    except OSError as error:
        kept.close()
        raise InputError(f"port {port} cannot be had ({error.strerror}): choose another, or 0 for a free one") from None
    return kept

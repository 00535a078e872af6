"""A deployment: what is served and how, in one JSON file that the server, its workers and the trading process read."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from quantai.core.errors import InputError, UnknownName
from quantai.execution.plan import check_endpoint
from quantai.ops import durable, make_folder

ENV = "QUANTAI_DEPLOYMENT"
"""The environment variable that names the file."""
MODES = ("shadow", "paper", "live", "signal")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One strategy version served under its name.

    `model` is the folder of the version `tag`, filled in by the server. `folder` holds lease, journals, keys and logs,
    and is shared by all replicas. `shadow` and `paper` never send to a venue; they differ in that nobody may count on a
    shadow. `signal` trades nothing: it answers what the version would ask for.
    """

    tag: str = ""
    folder: str
    venue: str
    symbols: list[str]
    model: str = ""
    mode: str = "paper"
    interval: str = ""
    endpoint: str = ""
    sandbox: bool = False
    cash: float = 100_000.0
    lake: str = ""
    at_end: str = "cancel"
    stale_s: float = 15.0
    lots: dict[str, str] = field(default_factory=dict[str, str])
    seconds_of_silence: float = 20.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UnknownName("mode", self.mode, MODES)
        check_endpoint(self.endpoint)
        if self.mode != "signal" and not (self.venue and self.symbols):
            raise InputError("say what to trade: a venue and symbols, such as BINANCE and BTC-USDT")

    @property
    def root(self) -> Path:
        """Where everything of it is kept."""
        return Path(self.folder)

    @property
    def lease(self) -> Path:
        """The lease of its name: a live run and a simulated one may go on side by side, two of a kind may not."""
        return self.root / ("lease-live" if self.mode == "live" else f"lease-{self.mode}")

    @property
    def state(self) -> Path:
        """What the process that trades says of itself."""
        return self.root / f"state-{self.mode}.json"

    @property
    def snapshot(self) -> Path:
        """What the run does, written by its process a few times a second, so that nobody's questions reach it."""
        return self.root / f"snapshot-{self.mode}.json"

    @property
    def comparison(self) -> Path:
        """What the run and its challenger did on the same rows."""
        return self.root / f"comparison-{self.mode}.json"

    def save(self) -> Path:
        """Write it to its folder, whole or not at all, and return the file.

        Each call makes another: what one server reads again when a process of it ended must not be what the next server
        of this name, which may serve another version, has written since.
        """
        make_folder(self.root)
        return write_json(self.root / f"deployment-{self.mode}-{secrets.token_hex(4)}.json", asdict(self))

    @classmethod
    def load(cls, path: str | Path | None = None) -> "Deployment":
        """Read one, by default that of the environment; raises InputError where there is none."""
        path = path or os.environ.get(ENV, "")
        try:
            return cls(**json.loads(Path(path).read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{ENV} names no deployment ({error}): start it with `quantai serve`, or set it to its file"
            ) from None


def write_json(path: Path, said: Any, *, lasting: bool = True) -> Path:
    """Write JSON to a file, whole or not at all, readable by its user only; on the disk at return if `lasting`."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(said, file, indent=1)
        if lasting:
            file.flush()
            durable(file.fileno())
    return fresh.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Return what a file of `write_json` says, nothing when it is not there."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}

"""The manifest of a run: which code, on which machine, with which parameters, wrote a journal."""

import hashlib
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.errors import InputError

_PACKAGES = ("quantai", "numpy", "numba", "llvmlite", "duckdb", "pyarrow", "cryptofeed", "ccxt", "nats-py")


def describe_run(
    run: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
    sources: Iterable[str | Path] = (),
    **more: Any,
) -> dict[str, Any]:
    """Describe a run that starts now: versions, processor, source hashes, parameters and seed, as a JSON-ready dict.

    run: name of the run, part of every client order id. sources: files whose SHA-256 is kept (strategy, configuration).
    more: further JSON-ready entries. `started_ns` is the wall clock at the call. Two processors with different
    `cpu.features` may round compiled arithmetic differently, which is why they are here.

    Raises InputError when a source file cannot be read.

    >>> run = describe_run("demo", parameters={"fast": 5}, seed=7)
    >>> run["run"], run["parameters"], run["seed"], sorted(run["cpu"])
    ('demo', {'fast': 5}, 7, ['count', 'features', 'machine'])
    """
    return {
        "run": run,
        "started_ns": time.time_ns(),
        "pid": os.getpid(),
        "host": platform.node(),
        "versions": _versions(),
        "cpu": {"machine": platform.machine(), "count": os.cpu_count(), "features": _cpu_features()},
        "sources": {str(source): _sha256(Path(source)) for source in sources},
        "parameters": dict(parameters or {}),
        "seed": seed,
        **more,
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": sys.platform}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # optional parts leave no entry
    return found


def _cpu_features() -> list[str]:
    config: Any = np.show_config(mode="dicts")
    simd: dict[str, list[str]] = config["SIMD Extensions"]
    return sorted({*simd.get("baseline", []), *simd.get("found", [])})


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"source {path} cannot be read ({error.strerror}): name files that exist") from None

"""Run benchmarks: `python -m tests.bench [NAME …] [--seed S] [--n N] [--ARG VALUE]`; one JSON line each.

A benchmark is a module of this folder with `run(seed, n, **args) -> dict`. `n` is its size in its own unit, `N` its
usual size, and `ARGS` the further arguments it takes, with their defaults. Without NAME all of them run. Figures hold
for the machine they were taken on: the line says which.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> int:
    """Run what the command line names and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Run benchmarks.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; all of them when none is given"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n", type=int, help="size, in the benchmark's own unit")
    args, rest = parser.parse_known_args()
    if unknown := set(args.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")
    if len(args.names) == 1:
        run_one(args.names[0], args.seed, args.n, rest)
        return 0
    if rest:
        parser.error(f"{rest[0]} belongs to one benchmark: name it")
    # A process each: what one has imported, compiled or left in memory must not help or hinder the next.
    size = [] if args.n is None else ["--n", str(args.n)]
    command = [sys.executable, "-m", __spec__.name.removesuffix(".__main__"), "--seed", str(args.seed), *size]
    return max(subprocess.run([*command, name], check=False).returncode for name in args.names or NAMES)


def run_one(name: str, seed: int, n: int | None, rest: list[str]) -> None:
    """Run one benchmark in this process and print its line."""
    module = import_module(f"{__package__}.{name}")
    parser = argparse.ArgumentParser(prog=f"python -m tests.bench {name}", description=module.__doc__)
    for key, default in getattr(module, "ARGS", {}).items():
        flag = f"--{key.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(flag, dest=key, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(flag, dest=key, type=str if default is None else type(default), default=default)
    extra: dict[str, Any] = vars(parser.parse_args(rest))
    size = getattr(module, "N", 100_000) if n is None else n
    figures = module.run(seed, size, **extra)
    print(json.dumps({"bench": name, "seed": seed, "n": size, **extra, **figures, "machine": machine()}, default=float))


def machine() -> dict[str, Any]:
    """Return what a reader needs to place the figures: cores in use, processor, system, Python."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu(),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())

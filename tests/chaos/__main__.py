"""Run a chaos test: `python -m tests.chaos NAME [--n N] [--seed S]`; one JSON line, exit code 1 when it failed.

A chaos test is a module of this folder with `run(n, seed) -> dict`, which raises AssertionError at the first thing
that went wrong, or counts `failures`. `ARGS` are the further arguments it takes, with their defaults.
"""

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Run a chaos test.")
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--n", type=int, default=20, help="how often to do the worst")
    parser.add_argument("--seed", type=int, default=1)
    args, rest = parser.parse_known_args()
    module = import_module(f"{__package__}.{args.name}")
    more = argparse.ArgumentParser(prog=f"python -m tests.chaos {args.name}", description=module.__doc__)
    for key, default in getattr(module, "ARGS", {}).items():
        more.add_argument(f"--{key}", type=type(default), default=default)
    extra = vars(more.parse_args(rest))
    try:
        figures = module.run(args.n, args.seed, **extra)
    except AssertionError as error:
        print(f"{args.name} failed: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"chaos": args.name, "n": args.n, "seed": args.seed, **extra, **figures}))
    return int(bool(figures.get("failures")))


if __name__ == "__main__":
    sys.exit(main())

"""Run a chaos test: `python -m tests.chaos NAME [--n N] [--seed S]`; one JSON line, exit code 1 when it failed.

A chaos test is a module of this folder with `run(n, seed) -> dict`, which raises AssertionError at the first thing
that went wrong.
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
    args = parser.parse_args()
    try:
        figures = import_module(f"{__package__}.{args.name}").run(args.n, args.seed)
    except AssertionError as error:
        print(f"{args.name} failed: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"chaos": args.name, "n": args.n, "seed": args.seed, **figures}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

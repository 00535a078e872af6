"""Run packs of expected answers: `python -m tests.conformance DIR [--pack NAME]`.

The last line on stdout is one JSON object {pack: {cases, passed, failed: [ids]}}; what differed goes to stderr. Exit
code 1 when a case failed or a pack has no adapter, 2 when there is nothing to run.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.conformance.packs import Case, adapter, differences, packs


def main() -> int:
    """Run the packs named on the command line and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description="Run packs of expected answers.")
    parser.add_argument("dir", type=Path, metavar="DIR", help="the folder of *.json packs")
    parser.add_argument("--pack", metavar="NAME", help="run only this one")
    args = parser.parse_args()
    found = packs(args.dir)
    if args.pack is not None:
        found = {name: cases for name, cases in found.items() if name == args.pack}
    if not found:
        parser.error(f"no pack {args.pack or '*'}.json in {args.dir}")
    report = {name: run_pack(name, cases) for name, cases in found.items()}
    print(json.dumps(report))
    return int(any(result["failed"] for result in report.values()))


def run_pack(name: str, cases: list[Case]) -> dict[str, Any]:
    """Run every case of one pack; a pack without an adapter fails as a whole."""
    run = adapter(name)
    if run is None:
        return {"cases": len(cases), "passed": 0, "failed": [case["id"] for case in cases], "error": "no adapter"}
    failed: list[str] = []
    for case in cases:
        if wrong := differences(run, case):
            failed.append(case["id"])
            print(f"{name} {case['id']} {case.get('title', '')}", *wrong, sep="\n    ", file=sys.stderr)
    return {"cases": len(cases), "passed": len(cases) - len(failed), "failed": failed}


if __name__ == "__main__":
    sys.exit(main())

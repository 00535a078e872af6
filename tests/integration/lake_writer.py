"""A writer that runs until it is killed: started by test_lake_crash as a process of its own.

It resumes at the position of the last commit, appends numbered rows to several streams, commits, and only then says
so on stdout.
"""

import resource
import sys
from pathlib import Path

import numpy as np

from quantai.core.errors import StorageError
from quantai.data import Lake, to_ns, writer

STREAMS = [("trades", "OKX", f"S{i}-USDT") for i in range(4)] + [("quotes", "OKX", "S0-USDT")]
T0 = to_ns("2024-08-08T23:59:59Z")


def columns(table: str, first: int, n: int) -> dict[str, object]:
    """Rows `first` to `first + n` of any stream: a millisecond apart, so that they cross midnight."""
    i = np.arange(first, first + n)
    head: dict[str, object] = {"ts_exch": T0 + i * 10**6, "ts_recv": T0 + i * 10**6, "seq": i}
    return head | ({"px": i + 0.5, "qty": i * 1.0} if table == "trades" else {"bid": i + 0.5, "ask": i + 1.5})


def main(root: Path, rows: int, commits: int, file_limit: int) -> int:
    """Write `commits` commits (0 = until killed) of `rows` rows a stream, no file above `file_limit` bytes (0: any)."""
    writer.SPILL_ROWS, writer.STAGED_ROWS_MAX = 500, 1_500
    with Lake(root).writer("crash") as w:
        if file_limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))
        at = int(w.position.get("next", 0))
        done = 0
        while not commits or done < commits:
            n = rows * 6 if done % 5 == 4 else rows  # every fifth commit is large enough to become files at once
            for table, venue, symbol in STREAMS:
                w.append(table, venue, symbol, columns(table, at, n))
            try:
                acknowledged = w.commit({"next": at + n})
            except StorageError as error:
                if not file_limit:
                    raise
                print("refused", w.pending, str(error), flush=True)
                resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
                acknowledged = w.commit({"next": at + n})
                file_limit = 0
            assert acknowledged == n * len(STREAMS)
            at, done = at + n, done + 1
            print("acknowledged", at, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:5])))

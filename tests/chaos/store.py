"""Kill -9 a process that journals orders, at random moments: what was acknowledged is there, byte for byte, no gaps.

`python -m tests.chaos store --n 200` kills 200 writers of one journal, each going on where the one before died;
`python -m tests.chaos.store PATH SEED` is such a writer. Every row is a function of its number and of SEED, so that a
reader knows what it must find.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from quantai.core.rows import EVENT, INTENT, Rows, zeros
from quantai.journal import EventStore, StoreReader, Stream, Text, recover

INTENT_EVERY = 7  # each row whose number it divides causes one intent


def make_events(start: int, stop: int, seed: int) -> Rows:
    """The rows numbered start … stop (excluded)."""
    rows = zeros(stop - start, EVENT)
    rows["seq"] = np.arange(start, stop)
    rows["ts_recv"] = rows["seq"] * 1_000_003
    rows["px_ticks"] = (rows["seq"] * np.uint64(2654435761) + np.uint64(seed)) % np.uint64(1 << 40)
    rows["kind"], rows["instrument"] = 1 + rows["seq"] % 5, rows["seq"] % 3
    return rows


def make_intents(start: int, stop: int, seed: int) -> Rows:
    """The intents that rows start … stop (excluded) cause."""
    causes = make_events(start, stop, seed)
    causes = causes[causes["seq"] % INTENT_EVERY == 0]
    rows = zeros(len(causes), INTENT)
    rows["seq"], rows["order"] = causes["seq"], causes["seq"] // INTENT_EVERY
    rows["px_ticks"], rows["action"] = causes["px_ticks"], 1
    return rows


def write(path: Path, seed: int) -> None:
    """Journal rows and intents until killed; print the last row of each acknowledged call."""
    random_ = random.Random(seed)
    open_store = EventStore.open if path.exists() else EventStore.create
    store = open_store(path, {"run": "chaos", "seed": seed}, flush_interval_s=0.01)
    while True:
        start = store.next_seq
        stop = start + random_.choice([1, 1, 1, 5, 50, 3000])
        intents = make_intents(start, stop, SEED)
        store.append(make_events(start, stop, SEED))
        store.append_texts([Text(start, "raw", f"payload of {start}")])
        if len(intents):
            store.append_intents(intents)
        elif random_.random() < 0.3:
            store.flush()
        else:
            continue
        os.write(1, f"{stop - 1}\n".encode())


SEED = 20240808  # of the rows; the seed of a round only chooses sizes and moments


def run(n: int, seed: int) -> dict[str, float]:
    """Kill `n` writers and check the journal after each; returns what survived."""
    random_ = random.Random(seed)
    recover_s = 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.journal"
        acknowledged = checked = rows = 0
        for round_ in range(n):
            acknowledged = max(acknowledged, _kill_one(path, random_, acknowledged))
            if not path.exists():
                continue
            begin = time.perf_counter()
            found = recover(path)
            recover_s = max(recover_s, time.perf_counter() - begin)
            assert found.ok, f"round {round_}: {found}"
            assert not found.gaps, f"round {round_}: {found}"
            assert not found.kept, f"round {round_}: {found}"
            with StoreReader(path) as reader:
                last = reader.last_seq() or 0
                assert last >= acknowledged, f"round {round_}: {acknowledged} was acknowledged, {last} is there"
                start, stop = checked + 1, last + 1
                events = reader.rows(start=start)
                assert events.tobytes() == make_events(start, stop, SEED).tobytes(), f"round {round_}: rows differ"
                _check_intents(reader.rows(Stream.INTENT, start=start), start, stop, acknowledged)
                texts = list(reader.texts(start=start))
                assert texts == [Text(text.seq, "raw", f"payload of {text.seq}") for text in texts], "texts differ"
            rows, checked = last, last
            if rows > 3_000_000:  # a fresh journal now and then, so that its first moments are hit too
                for ending in ("", "-wal", "-shm"):
                    Path(f"{path}{ending}").unlink(missing_ok=True)
                acknowledged = checked = 0
    return {"kills": n, "rows": rows, "acknowledged": acknowledged, "recover_max_s": round(recover_s, 3)}


def _check_intents(found: Rows, start: int, stop: int, acknowledged: int) -> None:
    expected = make_intents(start, stop, SEED)
    # rows of a batch can be on the disk before the intents they cause were asked for
    held = len(found)
    assert found.tobytes() == expected[:held].tobytes(), "intents differ"
    assert (expected["seq"][held:] > acknowledged).all(), "an acknowledged intent is gone"


def _kill_one(path: Path, random_: random.Random, acknowledged: int) -> int:
    command = [sys.executable, "-m", "tests.chaos.store", str(path), str(random_.randrange(1 << 30))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        if random_.random() < 0.9:
            acknowledged = int(writer.stdout.readline() or acknowledged)
            time.sleep(random_.random() * 0.2)
        else:  # it may die while it starts
            time.sleep(random_.random() * 0.4)
        writer.kill()
        rest = writer.stdout.read().split(b"\n")[:-1]
    assert writer.returncode == -9, f"the writer ended by itself with {writer.returncode}"
    return int(rest[-1]) if rest else acknowledged


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))

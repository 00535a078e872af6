"""The event store against processes that are killed, other processes that read, and disks that are full."""

import asyncio
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from quantai.core.rows import Rows
from quantai.journal import EventStore, StoreReader, Stream, recover
from tests.chaos.store import SEED, make_events, make_intents, run

FULL = """
    import json, os, resource, signal, sys
    from quantai.core.errors import StorageError
    from quantai.journal import EventStore, verify
    from tests.chaos.store import make_events, make_intents

    path = sys.argv[1]
    store = EventStore.create(path, {}, flush_interval_s=60)
    if sys.argv[2] == "limit":  # the system refuses to let any file grow further: EFBIG, an I/O error to SQLite
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    acknowledged, refused = 0, ""
    while not refused:
        start = store.next_seq
        try:
            store.append(make_events(start, start + 70, 1))
            store.append_intents(make_intents(start, start + 70, 1))
            acknowledged = start + 69
        except StorageError as error:
            refused = str(error)
    room = sys.argv[2] == "disk"
    if room:  # the same store goes on once there is space: what it had accepted is still there
        os.unlink(sys.argv[3])
        store.append_intents(make_intents(start, start + 70, 1))
        acknowledged = start + 69
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.close()
        store = EventStore.open(path, {})
    store.append(make_events(store.next_seq, store.next_seq + 5, 1), durable=True)
    last = store.next_seq - 1
    store.close()
    print(json.dumps({"acknowledged": acknowledged, "refused": refused, "last": last, "ok": verify(path).ok}))
"""


def test_twenty_kills_lose_nothing_that_was_acknowledged() -> None:
    figures = run(20, seed=7)
    assert figures["kills"] == 20
    assert figures["rows"] >= figures["acknowledged"] > 0


CREATE = """
    import os, signal, sys
    from itertools import count
    from pathlib import Path
    from quantai.journal import EventStore, StoreReader

    MAKERS = {"create", "__init__", "_find_ends", "open_writer", "mark"}
    folder = Path(sys.argv[1])
    EventStore.create(folder / "warm", {}).close()

    def create(path, lines):  # dies before the line of that number, if making a journal takes as many
        def trace(frame, event, arg):
            nonlocal lines
            if "/journal/" not in frame.f_code.co_filename or frame.f_code.co_name not in MAKERS:
                return None
            if event == "line":
                lines -= 1
                if lines < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        EventStore.create(path, {"run": "first"}).close()
        os._exit(0)

    for line in count():
        path = folder / f"{line}.journal"
        child = os.fork()
        if child == 0:
            create(path, line)
        if os.waitpid(child, 0)[1] == 0:
            break
        there = path.exists()
        (EventStore.open if there else EventStore.create)(path, {"run": "second"}).close()
        with StoreReader(path) as reader:
            runs = [manifest["run"] for manifest in reader.manifests()]
        assert runs == (["first", "second"] if there else ["second"]), (line, runs)
    print(line)
"""


def test_a_journal_whose_making_was_killed_can_be_made_again_or_continued(tmp_path: Path) -> None:
    script = textwrap.dedent(CREATE)
    made = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    assert int(made.stdout) > 30


async def test_a_tail_follows_a_writer_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    EventStore.create(path, {}).close()
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.chaos.store", str(path), "1", stdout=asyncio.subprocess.PIPE
    )
    assert writer.stdout is not None
    await writer.stdout.readline()  # it has opened the store: a tail of the closed one would end at once
    parts: list[Rows] = []
    with StoreReader(path) as reader:
        async for rows in reader.tail(poll_s=0.001):
            parts.append(rows)
            if sum(map(len, parts)) > 20_000:
                break
    writer.kill()
    await writer.communicate()
    seen = np.concatenate(parts)
    assert seen.tobytes() == make_events(1, len(seen) + 1, SEED).tobytes()
    assert recover(path).ok


def starve(path: Path, how: str, *more: str, prefix: tuple[str, ...] = ()) -> dict[str, object]:
    command = [*prefix, sys.executable, "-c", textwrap.dedent(FULL), str(path), how, *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_a_file_that_may_not_grow_is_reported_and_the_store_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "run.journal"
    figures = starve(path, "limit")
    assert str(path) in str(figures["refused"])
    assert "open the store again" in str(figures["refused"])
    check_kept(path, figures)


def test_a_full_disk_is_reported_and_the_store_goes_on_when_there_is_space(tmp_path: Path) -> None:
    script = tmp_path / "small.sh"
    mount, out = tmp_path / "small", tmp_path / "out.journal"
    mount.mkdir()
    # a file system of 1 MB, in a mount namespace of its own, three quarters of it taken by a file that can be removed
    script.write_text(
        f"mount -t tmpfs -o size=1m none {mount} || exit 77\n"
        f"head -c 600000 /dev/zero > {mount}/ballast\n"
        f'"$@" || exit 1\ncp {mount}/run.journal {out}\n'
    )
    prefix = ("unshare", "--user", "--map-root-user", "--mount", "sh", str(script))
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode in (77, 126, 127):
        pytest.skip("this system lets nobody mount a small file system to fill up")
    figures = starve(mount / "run.journal", "disk", str(mount / "ballast"), prefix=prefix)
    assert "the disk is full" in str(figures["refused"])
    check_kept(out, figures)


def check_kept(path: Path, figures: dict[str, object]) -> None:
    assert figures["ok"] is True
    acknowledged, last = figures["acknowledged"], figures["last"]
    assert isinstance(acknowledged, int)
    assert isinstance(last, int)
    assert 0 < acknowledged <= last
    with StoreReader(path) as reader:
        assert reader.rows().tobytes() == make_events(1, last + 1, 1).tobytes()
        intents = reader.rows(Stream.INTENT)
        assert intents.tobytes() == make_intents(1, acknowledged + 1, 1).tobytes()[: intents.nbytes]
        assert len(intents) >= len(make_intents(1, acknowledged + 1, 1))

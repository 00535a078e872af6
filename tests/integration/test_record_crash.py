"""The recorder is killed, starved of disk and stopped: what it acknowledged is in the lake, once, and it goes on."""

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantai.data import Lake
from quantai.feeds.capture import fingerprint
from quantai.feeds.columns import TABLES
from quantai.feeds.feed import CHANNELS

pytest.importorskip("cryptofeed", reason="needs the extra quantai[record]")

QUANTAI = [sys.executable, "-c", "import sys; from quantai.cli import main; sys.exit(main())"]
KILLS = 20


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}


def start(arguments: list[str], environment: dict[str, str], **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*QUANTAI, "record", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def acknowledged(stderr: str) -> list[dict[str, Any]]:
    """What the recorder said it had made durable, line by line."""
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


def digest(lake: Lake) -> str:
    """A hash of everything that was recorded, in order."""
    out = hashlib.sha256()
    for table in sorted(lake.tables()):
        for venue, symbol in lake.symbols(table):
            rows = lake.read(table, venue, symbol)
            out.update(f"{table} {venue} {symbol} {rows.num_rows}".encode())
            for name in rows.schema.names:
                column = rows[name]
                values = column.to_pylist() if name in ("id", "interval", "detail", "status") else column.to_numpy()
                out.update(str(values).encode() if isinstance(values, list) else np.ascontiguousarray(values).tobytes())
    return out.hexdigest()


def check_once(lake: Lake, source: str, least: int) -> int:
    """Check that the lake holds what its own account says, at least `least` rows, none twice; return how many."""
    with lake.writer(source) as writer:
        position = writer.position
    if not position:
        assert least == 0
        assert lake.tables() == {}
        return 0
    held = lake.tables()
    for channel in CHANNELS:
        assert held.get(TABLES[channel], 0) == position["rows"][channel], channel
    assert held.get("events", 0) == position["events"]
    for table in held:
        for venue, symbol in lake.symbols(table):
            seq = lake.read(table, venue, symbol)["seq"].to_numpy()
            assert np.all(np.diff(seq) > 0), (table, symbol)
    total = sum(held.values())
    assert total >= least
    return total


def killed(arguments: list[str], environment: dict[str, str], already: int, rng: random.Random) -> int:
    """Start the recorder, kill it at a random moment, and return how many rows it had acknowledged by then."""
    process = start(arguments, environment)
    assert process.stderr is not None
    heard = ""
    if rng.random() < 0.75:  # in the middle of playing; else wherever it may be, starting up included
        for line in process.stderr:
            heard += line
            if acknowledged(heard)[-1]["acknowledged"] > already:
                break
    time.sleep(rng.uniform(0, 1.2))
    process.kill()
    _, rest = process.communicate()
    assert process.returncode in (-signal.SIGKILL, 0), heard + rest  # 0: it was done before the kill
    said = acknowledged(heard + rest)
    return said[-1]["acknowledged"] if said else already


def test_killed_at_random_moments_it_loses_and_repeats_nothing(
    shared_data: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    path = shared_data / "wire" / "BINANCE_FUTURES_2024-08-08.pcap.zst"
    source = f"capture:{fingerprint(path)[:32]}"
    rng = random.Random(20)
    whole = Lake(tmp_path / "whole")
    _, err = start(["--capture", str(path), "--lake", str(whole.root)], environment).communicate(timeout=300)
    assert err == ""
    everything = sum(whole.tables().values())

    lake, held, in_the_middle = Lake(tmp_path / "lake"), 0, 0
    for kill in range(KILLS):
        arguments = ["--capture", str(path), "--lake", str(lake.root), "--progress", "json"]
        least = killed(arguments, environment, held, rng)
        before, held = held, check_once(lake, source, least)
        assert held >= before
        in_the_middle += 0 < held < everything
        if held > everything // 2 and kill < KILLS - 1:  # a long way to catch up makes the test slow, not better
            lake, held = Lake(tmp_path / f"lake-{kill}"), 0
    assert in_the_middle >= KILLS // 2

    last = start(["--capture", str(path), "--lake", str(lake.root), "--json"], environment)
    out, err = last.communicate(timeout=300)
    assert (last.returncode, err) == (0, "")
    done = json.loads(out.splitlines()[-1])
    assert (done["complete"], done["acknowledged"]) == (True, everything)
    assert (done["messages"]["trades"], done["messages"]["l2_book"], done["messages"]["ticker"]) == (21313, 6548, 66089)
    assert check_once(lake, source, everything) == everything
    assert digest(lake) == digest(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_it_finishes_what_it_has(
    shared_data: Path, tmp_path: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    path, lake = shared_data / "wire" / "OKX.pcap.zst", Lake(tmp_path / "lake")
    arguments = ["--capture", str(path), "--lake", str(lake.root), "--json"]
    process = start([*arguments, "--speed", "realtime", "--progress", "json"], environment)
    assert process.stderr is not None
    for line in process.stderr:
        if acknowledged(line)[-1]["acknowledged"] > 0:
            break
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    stopped = json.loads(out)
    assert 0 < stopped["acknowledged"] == sum(lake.tables().values())
    assert not stopped["complete"]
    resumed = start(arguments, environment)
    done = json.loads(resumed.communicate(timeout=60)[0])
    assert done["complete"]
    assert done["messages"] == dict.fromkeys(CHANNELS, 0) | {"l2_book": 290, "ticker": 28, "trades": 74}
    assert done["new_rows"] + stopped["acknowledged"] == done["acknowledged"] == sum(lake.tables().values())


def test_a_full_disk_is_one_clear_error_and_loses_nothing(
    shared_data: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    path, lake = shared_data / "wire" / "BINANCE_FUTURES_2024-08-08.pcap.zst", Lake(tmp_path / "lake")
    arguments = ["--capture", str(path), "--lake", str(lake.root), "--json", "--progress", "json"]
    begun = start([*arguments, "--speed", "realtime"], environment)
    assert begun.stderr is not None
    for line in begun.stderr:
        if acknowledged(line)[-1]["acknowledged"] > 0:
            break
    begun.send_signal(signal.SIGINT)
    already = json.loads(begun.communicate(timeout=120)[0])["acknowledged"]
    most = 1_000_000  # no file may grow beyond this: what a process sees of a full disk, without needing one
    process = start(arguments, environment, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)))
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    said = [row["acknowledged"] for row in acknowledged(err)] or [already]
    errors = [line for line in err.splitlines() if not line.startswith("{")]
    assert len(errors) == 1
    assert "the disk is full" in errors[0]
    assert str(lake.root) in errors[0]
    source = f"capture:{fingerprint(path)[:32]}"
    assert check_once(lake, source, said[-1]) >= said[-1] >= already > 0
    done = json.loads(start(arguments, environment).communicate(timeout=120)[0])
    assert done["complete"]
    assert check_once(lake, source, done["acknowledged"]) == done["acknowledged"]

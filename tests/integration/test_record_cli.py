"""`quantai record` as a user meets it: one line of JSON, one line of error, and the exit codes."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from quantai.cli import main
from quantai.data import Lake
from quantai.feeds.feed import CHANNELS
from quantai.feeds.raw import lines
from tests.integration.loopback_binance import Venue

pytest.importorskip("cryptofeed", reason="needs the extra quantai[record]")

QUANTAI = "import sys; from quantai.cli import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


async def run(*arguments: str, before: str = "", stop: bool = False) -> tuple[int, str, str]:
    """Run the command in a process of its own; `stop` it once it has acknowledged something."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        before + QUANTAI,
        "record",
        *arguments,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    while stop and json.loads(await process.stderr.readline())["acknowledged"] == 0:
        pass
    if stop:
        process.send_signal(signal.SIGTERM)
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command in this process; return the one line it refuses with."""
    assert main(["record", *arguments]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_a_capture_ends_with_one_line_of_json(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared_data / "wire" / "DERIBIT.pcap.zst"
    arguments = ["record", "--capture", str(path), "--lake", str(tmp_path / "lake"), "--json"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    done = json.loads(said.out)
    expected = dict.fromkeys(CHANNELS, 0) | {"ticker": 89, "l2_book": 46, "open_interest": 10}
    assert done["messages"] == expected
    assert set(done["rows"]) == set(CHANNELS)
    assert (done["rows"]["ticker"], done["rows"]["open_interest"]) == (89, 10)
    assert (done["gaps"], done["reconnects"], done["venue"]) == (0, 0, "DERIBIT")
    assert done["new_rows"] == done["acknowledged"] == sum(Lake(tmp_path / "lake").tables().values())
    assert set(done["latency_ms"]) == {"p50", "p99"}

    assert main(arguments) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["already_complete"], again["new_rows"], again["messages"]) == (True, 0, expected)


def test_options_lie_in_the_lake_under_normalised_names(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared_data / "wire" / "DERIBIT.pcap.zst"
    assert main(["record", "--capture", str(path), "--lake", str(tmp_path / "lake"), "--json"]) == 0
    lake = Lake(tmp_path / "lake")
    assert ("DERIBIT", "ETH-USD-20210730-2800-C") in lake.symbols("quotes")
    option = lake.instruments.get("ETH-USD-20210730-2800-C", "DERIBIT")
    assert (str(option.tick), option.settle, str(option.strike)) == ("0.0005", "ETH", "2800")
    capsys.readouterr()


async def test_a_venue_is_recorded_until_the_time_is_up(tmp_path: Path) -> None:
    async with Venue() as venue:
        code, out, err = await run(
            *("BINANCE", "--symbols", "BTC-USDT, ETH-USDT", "--channels", "trades,l2_book,ticker", "--raw"),
            *("--lake", str(tmp_path / "lake"), "--endpoint", venue.http, "--seconds", "2", "--json"),
            *("--progress", "json", "--log-json", str(tmp_path / "log")),
        )
    assert code == 0, err
    done = json.loads(out)
    said = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    events = ["recording_started", "connection", "connection", "recording_ended"]
    assert [(line["event"], line["venue"], line["mode"]) for line in said] == [(e, "BINANCE", "record") for e in events]
    assert [line["state"] for line in said[1:3]] == ["connected", "disconnected"]
    assert said[-1]["rows"] == done["new_rows"]
    assert min(done["messages"][c] for c in ("trades", "l2_book", "ticker")) > 0
    assert done["acknowledged"] == sum(Lake(tmp_path / "lake").tables().values())
    progress = [json.loads(line) for line in err.splitlines()]
    assert [p["acknowledged"] for p in progress] == sorted(p["acknowledged"] for p in progress)
    assert progress[-1]["acknowledged"] == done["acknowledged"]
    frames = lines(Path(done["raw"]))
    assert frames[0]["venue"] == "BINANCE"
    assert sum(frame[2] == "in" for frame in frames[1:]) >= sum(done["messages"].values()) - 2


async def test_sigterm_ends_a_live_recording_cleanly(tmp_path: Path) -> None:
    async with Venue() as venue:
        code, out, err = await run(
            *("BINANCE", "--symbols", "BTC-USDT", "--channels", "ticker"),
            *("--lake", str(tmp_path / "lake"), "--endpoint", venue.http, "--json", "--progress", "json"),
            stop=True,
        )
    assert code == 0, err
    assert json.loads(out)["rows"]["ticker"] == Lake(tmp_path / "lake").tables()["quotes"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["BINANC", "--symbols", "BTC-USDT"], "unknown venue 'BINANC': did you mean 'BINANCE'?"),
        (["UPBIT", "--symbols", "BTC-KRW", "--channels", "funding"], "unknown channel of UPBIT 'funding'"),
        (["BINANCE", "--channels", "trades"], "say what to record: --symbols BTC-USDT"),
        (["BINANCE", "--symbols", "BTC-USDT", "--channels", ","], "no channel to record from BINANCE"),
        (["BINANCE", "--symbols", "X", "--candle-interval", "7m"], "unknown candle interval of BINANCE '7m'"),
        (["UPBIT", "--symbols", "BTC-KRW", "--sandbox"], "UPBIT has no sandbox"),
        (["BINANCE", "--symbols", "X", "--endpoint", "127.0.0.1"], "write an address such as http://127.0.0.1:9300"),
        ([], "name a venue to record from, or a file with --capture"),
        (["BINANCE", "--capture", "x.pcap.zst"], "and not both"),
        (["--capture", "x.pcap.zst"], "x.pcap.zst: cannot be read: No such file or directory"),
        (["--capture", "x.pcap.zst", "--speed", "quick"], "--speed 'quick': write fast, realtime, or a number"),
        (["--capture", "x.pcap.zst", "--raw"], "--raw is for a venue: a capture replays"),
        (["--capture", "x.pcap.zst", "--symbols", "BTC-USDT"], "--symbols is for a venue"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert says in refused(capsys, *arguments, "--lake", str(tmp_path / "lake"))
    assert not (tmp_path / "lake").exists()


def test_wrong_usage_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", "--no-such-option"]) == 2
    assert main(["record", "BINANCE", "--seconds", "soon"]) == 2
    capsys.readouterr()


def test_a_lake_that_cannot_be_written_is_one_clear_error(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(shared_data / "wire" / "GATE.pcap.zst")
    file = tmp_path / "file"
    file.touch()
    assert str(file) in refused(capsys, "--capture", path, "--lake", str(file))
    assert str(file / "lake") in refused(capsys, "--capture", path, "--lake", str(file / "lake"))
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if not os.access(closed, os.W_OK):  # the administrator may write everywhere
        assert "choose a folder you may write to" in refused(capsys, "--capture", path, "--lake", str(closed / "lake"))


def test_a_source_is_recorded_by_one_process_at_a_time(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shared_data / "wire" / "GATE.pcap.zst"
    arguments: list[Any] = ["--capture", str(path), "--lake", str(tmp_path / "lake")]
    assert main(["record", *arguments, "--json"]) == 0
    source = json.loads(capsys.readouterr().out)["source"]
    with Lake(tmp_path / "lake").writer(source):
        assert f"in use by process {os.getpid()}" in refused(capsys, *arguments)


async def test_without_cryptofeed_it_says_what_to_install(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['cryptofeed'] = None\n"
    capture = tmp_path / "x.pcap.zst"
    capture.touch()
    for arguments in (["BINANCE", "--symbols", "BTC-USDT"], ["--capture", str(capture)]):
        code, _, err = await run(*arguments, "--lake", str(tmp_path / "lake"), before=hide)
        assert (code, err.count("\n")) == (1, 1)
        assert "cryptofeed is not installed: pip install 'quantai[record]'" in err

"""Downloads through the real ccxt from a local server that fails as the real Binance does."""

import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from quantai.core.errors import DataError, InputError, MissingExtra, UnknownName, VenueError
from quantai.core.instruments import Contract, Payoff
from quantai.core.rows import MIN, MS
from quantai.data import Lake
from quantai.data.history import pull
from quantai.data.history.client import Client
from tests.integration.binance_history import MINUTE, T0, Binance, kline, make_trades, serve

HOURS = 50
KILLS = 2  # each costs a start of the interpreter; raise it to look for rare moments
START, END = T0 * MS, (T0 + HOURS * 60 * MINUTE) * MS


def bars_in(lake: Lake) -> list[tuple[int, float, float, float, float, float]]:
    rows = lake.read("bars", "BINANCE", "BTC-USDT")
    assert set(rows["interval"].to_pylist()) == {"1m"}
    assert set((rows["ts_close"].to_numpy() - rows["ts_open"].to_numpy()).tolist()) == {MIN}
    names = ("open", "high", "low", "close", "volume")
    return list(zip((rows["ts_open"].to_numpy() // MS).tolist(), *(rows[n].to_pylist() for n in names), strict=True))


def expected(start: int, end: int, missing: set[int] | None = None) -> list[tuple[float, ...]]:
    times = [t for t in range(start, end, MINUTE) if t not in (missing or set())]
    return [(t, *(float(x) for x in kline(t)[1:6])) for t in times]


def trades_in(lake: Lake) -> list[tuple[str, int, float, float, int]]:
    rows = lake.trades("BINANCE", "BTC-USDT")
    columns = (rows["id"], rows["ts_exch"], rows["px"], rows["qty"], rows["side"])
    return list(zip(*(c.to_pylist() for c in columns), strict=True))


def as_stored(trades: list[dict[str, Any]]) -> list[tuple[str, int, float, float, int]]:
    return [(str(t["a"]), t["T"] * MS, float(t["p"]), float(t["q"]), -1 if t["m"] else 1) for t in trades]


def test_bars_arrive_once_each_through_every_fault(tmp_path: Path) -> None:
    venue = Binance()
    venue.missing = set(range(T0 + 700 * MINUTE, T0 + 730 * MINUTE, MINUTE))
    venue.faults = [None, 429, "early", 500, "abort", "twice", "empty"]
    lake = Lake(tmp_path)
    with serve(venue):
        got = pull(lake, "BINANCE", "BTC-USDT", start=START, end=END, endpoint=venue.url)
    assert bars_in(lake) == expected(T0, T0 + HOURS * 60 * MINUTE, venue.missing)
    assert got.rows == HOURS * 60 - 30
    assert (got.start_ts, got.end_ts) == (START, END)
    assert not venue.faults, "every fault was met"
    assert lake.instruments.get("BTC-USDT", "BINANCE").tick == Decimal("0.01")
    assert lake.instruments.get("BTC-USDT", "BINANCE").lot == Decimal("0.00001")


def test_only_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    venue, lake = Binance(), Lake(tmp_path)
    hour = 60 * MIN

    def ask(start: int, end: int) -> int:
        venue.asked.clear()
        return pull(
            lake, "BINANCE", "BTC-USDT", start=START + start * hour, end=START + end * hour, endpoint=venue.url
        ).rows

    with serve(venue):
        assert ask(2, 4) == 120
        assert ask(8, 9) == 60
        assert ask(0, 10) == 7 * 60
        asked = [int(q["startTime"]) // MINUTE - T0 // MINUTE for q in venue.requests("klines")]
        assert asked == [0, 240, 540], "the three holes, and nothing twice"
        assert ask(0, 10) == 0
        assert venue.requests("klines") == []
    assert bars_in(lake) == expected(T0, T0 + 600 * MINUTE)


def test_a_bar_that_is_not_over_is_left_out_and_fetched_when_it_is(tmp_path: Path) -> None:
    venue, lake = Binance(now_ms=T0 + 10 * MINUTE - 1), Lake(tmp_path)
    with serve(venue):
        assert pull(lake, "BINANCE", "BTC-USDT", start=START, endpoint=venue.url).rows == 9
        venue.now_ms += 1
        assert pull(lake, "BINANCE", "BTC-USDT", start=START, endpoint=venue.url).rows == 1
        with pytest.raises(InputError, match="too recent"):
            pull(lake, "BINANCE", "BTC-USDT", start=START + 10 * MIN, endpoint=venue.url)
    assert bars_in(lake) == expected(T0, T0 + 10 * MINUTE)


def test_trades_are_all_there_although_the_venue_drops_the_first_of_a_full_answer(tmp_path: Path) -> None:
    venue, lake = Binance(), Lake(tmp_path)
    venue.trades = make_trades(T0, T0 + 30 * MINUTE)
    venue.faults = ["early", 429, None, "twice", "abort", None, "early"]
    stop = T0 + 20 * MINUTE + 17
    with serve(venue):
        first = pull(lake, "BINANCE", "BTC-USDT", "trades", start=START, end=stop * MS, endpoint=venue.url)
        again = pull(lake, "BINANCE", "BTC-USDT", "trades", start=START, end=stop * MS, endpoint=venue.url)
    wanted = as_stored([t for t in venue.trades if t["T"] < stop])
    assert trades_in(lake) == wanted
    assert (first.rows, again.rows) == (len(wanted), 0)
    assert not venue.faults
    full = [q for q in venue.requests("aggTrades") if int(q["limit"]) != 1000]
    assert full == []


@pytest.mark.parametrize("what", ["bars", "trades"])
def test_an_empty_answer_is_believed_only_when_it_comes_again(tmp_path: Path, what: str) -> None:
    venue, lake = Binance(), Lake(tmp_path)
    end = T0 + (4_000 if what == "bars" else 30) * MINUTE
    venue.trades = make_trades(T0, end)
    venue.faults = [None, "empty", "empty"]  # a weak moment in the middle of the range, longer than one request
    with serve(venue):
        got = pull(lake, "BINANCE", "BTC-USDT", what, start=START, end=end * MS, endpoint=venue.url)
    assert (bars_in(lake) if what == "bars" else trades_in(lake)) == (
        expected(T0, end) if what == "bars" else as_stored(venue.trades)
    )
    quiet = (T0 + 10 * MINUTE, T0 + 14 * MINUTE)
    assert all(quiet[0] <= a // MS < b // MS <= quiet[1] for a, b in got.empty)


def test_what_the_venue_twice_has_nothing_of_is_listed_and_not_asked_for_again(tmp_path: Path) -> None:
    venue, lake = Binance(), Lake(tmp_path)
    venue.trades = [t for t in make_trades(T0, T0 + 30 * MINUTE) if not 1 <= (t["T"] - T0) // MINUTE < 20]
    with serve(venue):
        for pulled in (True, False):
            venue.asked.clear()
            got = pull(lake, "BINANCE", "BTC-USDT", "trades", start=START, end=START + 30 * MIN, endpoint=venue.url)
            assert (got.rows > 0, len(got.empty) > 0, len(venue.requests("aggTrades")) > 0) == (pulled,) * 3
            for a, b in got.empty:
                assert START + MIN <= a < b <= START + 20 * MIN
                assert sum(int(q["startTime"]) == a // MS for q in venue.requests("aggTrades")) == 2
    assert trades_in(lake) == as_stored(venue.trades)


def test_trades_that_the_lake_has_from_elsewhere_are_not_pulled_again(tmp_path: Path) -> None:
    venue, lake = Binance(), Lake(tmp_path)
    venue.trades = make_trades(T0, T0 + 30 * MINUTE)
    recorded = [t for t in venue.trades if t["T"] >= T0 + 20 * MINUTE]
    ts = [t["T"] * MS for t in recorded]
    with lake.writer("live:BINANCE") as writer:
        columns = {"ts_exch": ts, "ts_recv": [t + MIN // 60 for t in ts], "px": [1.0] * len(ts), "qty": [1.0] * len(ts)}
        writer.append("trades", "BINANCE", "BTC-USDT", columns)
        writer.commit({})

    def ask(minutes: int) -> int:
        return pull(
            lake, "BINANCE", "BTC-USDT", "trades", start=START, end=START + minutes * MIN, endpoint=venue.url
        ).rows

    with serve(venue):
        with pytest.raises(DataError, match=rf"holds {len(ts)} trades of BTC-USDT at BINANCE from 2024-01-01T00:20:0"):
            ask(30)
        assert venue.requests("aggTrades") == []
        assert ask(20) == len(venue.trades) - len(recorded)
        assert ask(20) == 0, "its own trades are no others"


def test_a_millisecond_with_more_trades_than_one_answer_is_refused(tmp_path: Path) -> None:
    venue, lake = Binance(), Lake(tmp_path)
    venue.trades = [t | {"T": T0 + 5} for t in make_trades(T0, T0 + 30 * MINUTE)[:1001]]
    with serve(venue), pytest.raises(VenueError, match=f"gives only 1000 of the BTC-USDT trades at {T0 + 5} ms"):
        pull(lake, "BINANCE", "BTC-USDT", "trades", start=START, end=START + MIN, endpoint=venue.url)


@pytest.mark.parametrize(
    ("venue", "symbol", "kw", "error", "message"),
    [
        ("BINANC", "BTC-USDT", {}, UnknownName, "unknown venue 'BINANC': did you mean 'BINANCE'"),
        ("BINANCE", "BTC-USDX", {}, UnknownName, "unknown symbol of BINANCE 'BTC-USDX': did you mean 'BTC-USDT'"),
        ("BINANCE", "BTC-USDT-PERP", {}, UnknownName, "unknown symbol of BINANCE 'BTC-USDT-PERP'"),
        ("BINANCE", "BTC/USDT", {}, InputError, "not normalised"),
        ("BINANCE", "SPY", {}, InputError, "no quote currency"),
        ("BINANCE", "BTC-USDT", {"interval": "7m"}, UnknownName, "unknown interval of BINANCE '7m'"),
        ("BINANCE", "BTC-USDT", {"interval": "minute"}, UnknownName, "unknown interval 'minute'"),
        ("BINANCE", "BTC-USDT", {"what": "candles"}, UnknownName, "unknown kind of history 'candles'"),
        ("BINANCE", "BTC-USDT", {"end": "2023-01-01"}, InputError, "is not after start"),
        ("BINANCE", "BTC-USDT", {"start": "2024-01-01T00:00"}, InputError, "no time zone"),
        ("BINANCE", "BTC-USDT", {"start": "2199-01-01"}, InputError, "too recent"),
        ("BINANCE", "BTC-USDT", {"endpoint": "localhost:80"}, InputError, "is not a URL"),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_downloaded(
    tmp_path: Path, venue: str, symbol: str, kw: dict[str, Any], error: type[Exception], message: str
) -> None:
    with serve(Binance()) as server:
        settings: dict[str, Any] = {"start": START, "endpoint": server.url} | kw
        with pytest.raises(error, match=message) as caught:
            pull(Lake(tmp_path / "lake"), venue, symbol, **settings)
        assert "\n" not in str(caught.value)
        assert {name for name, _ in server.asked} <= {"exchangeInfo", "time"}
    assert not (tmp_path / "lake").exists()


def test_a_range_that_the_venue_never_had_is_an_error_and_is_not_remembered(tmp_path: Path) -> None:
    venue, lake = Binance(), Lake(tmp_path)
    venue.listed_ms = T0 + 120 * MINUTE
    with serve(venue):
        with pytest.raises(VenueError, match=r"has no bars of BTC-USDT from 2024-01-01.* was it listed then"):
            pull(lake, "BINANCE", "BTC-USDT", start=START, end=START + 60 * MIN, endpoint=venue.url)
        assert pull(lake, "BINANCE", "BTC-USDT", start=START, end=START + 180 * MIN, endpoint=venue.url).rows == 60


def test_a_ban_and_a_venue_that_stays_down_end_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("quantai.data.history.client.time", SimpleNamespace(sleep=waits.append))
    venue, lake = Binance(), Lake(tmp_path)
    with serve(venue):
        venue.faults, venue.retry_after = [418], "3600"
        with pytest.raises(VenueError, match="BINANCE asks to wait 3600 s: run the same pull again after that"):
            pull(lake, "BINANCE", "BTC-USDT", start=START, end=END, endpoint=venue.url)
        venue.faults, venue.retry_after = [429], "7"
        assert pull(lake, "BINANCE", "BTC-USDT", start=START, end=START + MIN, endpoint=venue.url).rows == 1
        assert waits == [7.0]
        venue.faults, venue.retry_after = [500] * 8, None
        waits.clear()
        with pytest.raises(VenueError, match=r"BINANCE cannot be reached .* run the same pull again later"):
            pull(lake, "BINANCE", "BTC-USDT", start=START, end=END, endpoint=venue.url)
        assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    assert bars_in(lake) == expected(T0, T0 + MINUTE)


def test_a_refusal_is_not_repeated(tmp_path: Path) -> None:
    venue = Binance()
    venue.faults = [400]
    with serve(venue), pytest.raises(VenueError, match=r"BINANCE refused: .*fault 400"):
        pull(Lake(tmp_path), "BINANCE", "BTC-USDT", start=START, end=END, endpoint=venue.url)
    assert len(venue.requests("klines")) == 1


def test_contracts_are_found_by_our_names_and_described_as_the_venue_does(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with serve(Binance()) as server:
        for symbol in ("BTC-USDT-PERP", "BTC-USDT-20270326"):
            assert (
                pull(lake, "BINANCE_FUTURES", symbol, start=START, end=START + 60 * MIN, endpoint=server.url).rows == 60
            )
        assert {q["symbol"] for q in server.requests("klines")} == {"BTCUSDT", "BTCUSDT_270326"}
        with pytest.raises(UnknownName, match="unknown symbol of BINANCE_FUTURES 'BTC-USDT'"):
            pull(lake, "BINANCE_FUTURES", "BTC-USDT", start=START, endpoint=server.url)
    perpetual, dated = (lake.instruments.get(s, "BINANCE_FUTURES") for s in ("BTC-USDT-PERP", "BTC-USDT-20270326"))
    assert (perpetual.contract, dated.contract) == (Contract.PERPETUAL, Contract.FUTURE)
    assert (perpetual.tick, perpetual.lot, perpetual.multiplier) == (Decimal("0.1"), Decimal("0.001"), 1)
    assert (perpetual.settle, perpetual.payoff, perpetual.min_notional) == ("USDT", Payoff.LINEAR, 100)
    assert perpetual.expiry is None
    assert str(dated.expiry) == "2027-03-26 08:00:00+00:00"


def test_without_ccxt_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)
    with pytest.raises(MissingExtra, match=r"ccxt is not installed: pip install 'quantai\[live\]'"):
        pull(Lake(tmp_path), "BINANCE", "BTC-USDT", start=START, end=END)


def test_bars_per_request_is_what_the_venue_gives(tmp_path: Path) -> None:
    with serve(Binance()) as server:
        client = Client("BINANCE", "BTC-USDT", server.url)
        assert client.bars_per_request() == 1000
        assert client.now_ms() == server.now_ms


def run_cli(*args: str) -> subprocess.Popen[str]:
    code = "from quantai.cli import main; raise SystemExit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", code, "pull", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("what", ["bars", "trades"])
def test_killed_at_random_moments_it_goes_on_and_every_row_is_there_once(tmp_path: Path, what: str) -> None:
    venue = Binance(slow_s=0.01)
    venue.trades = make_trades(T0, T0 + 20 * MINUTE)
    hours = 100
    end = "2024-01-05T04:00:00Z" if what == "bars" else "2024-01-01T00:20:00Z"
    rng = np.random.Generator(np.random.PCG64(11))
    lake, done = Lake(tmp_path), False
    name = "klines" if what == "bars" else "aggTrades"
    with serve(venue):
        args = ["BINANCE", "BTC-USDT", "--what", what, "--start", "2024-01-01", "--end", end, "--lake", str(tmp_path)]
        for _ in range(KILLS):
            before = len(venue.requests(name))
            process = run_cli(*args, "--endpoint", venue.url, "--json")
            deadline = time.monotonic() + 20
            while len(venue.requests(name)) == before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(float(rng.uniform(0.0, 0.3)))
            done = process.poll() is not None
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        if not done:
            out, err = run_cli(*args, "--endpoint", venue.url, "--json").communicate(timeout=60)
            assert '"rows":' in out.splitlines()[-1], err
    if what == "bars":
        assert bars_in(lake) == expected(T0, T0 + hours * 60 * MINUTE)
    else:
        assert trades_in(lake) == as_stored(venue.trades)

"""Recorded markets in the lake: the book it rebuilds is cryptofeed's, and the check knows what is wrong with them."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from quantai.data import Lake, to_iso
from quantai.feeds.recorder import record_capture
from tests.integration.test_record_captures import capture, cryptofeeds_books


@pytest.mark.parametrize("name", ["OKX", "DERIBIT", "BINANCE_FUTURES_2024-08-08"])
def test_a_book_out_of_the_lake_is_cryptofeeds(shared_data: Path, tmp_path: Path, name: str) -> None:
    path, lake = capture(shared_data, name), Lake(tmp_path / "lake")
    venue = asyncio.run(record_capture(path, lake)).venue
    books = cryptofeeds_books(path)
    assert books
    for symbol, book in books.items():
        got = lake.book(venue, symbol)
        assert {1: dict(got.bids.tolist()), -1: dict(got.asks.tolist())} == book
        assert np.all(np.diff(got.bids[:, 0]) < 0)
        assert np.all(np.diff(got.asks[:, 0]) > 0)
        last = lake.levels(venue, symbol)["ts_recv"][-1].as_py()
        assert lake.book(venue, symbol, last).bids.tobytes() == got.bids.tobytes()
        assert lake.book(venue, symbol, to_iso(last - 1)).seq < got.seq


def test_the_check_of_a_real_session_finds_its_clock_and_nothing_else(shared_data: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    asyncio.run(record_capture(capture(shared_data, "BINANCE_FUTURES_2024-08-08"), lake))
    report = lake.check(quiet=True)
    assert report.counts() == {"negative_latency": 445_263 + 66_089 + 21_313}
    trades = next(x for x in report.latencies if x.table == "trades")
    assert -1_280 < trades.min_ms < trades.p50_ms < -1_260  # the receiving clock was 1.27 s behind
    assert len(report.findings) == 3


def test_the_check_of_a_snapshot_of_trades_finds_it_newest_first(shared_data: Path, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    asyncio.run(record_capture(capture(shared_data, "PHEMEX"), lake))
    found = {(f.kind, f.table, f.symbol): f.count for f in lake.check(quiet=True).findings}
    assert found["disorder_exch", "trades", "ATOM-USD-PERP"] == 999
    assert "crossed" not in {kind for kind, _, _ in found}
    bars = lake.bars("PHEMEX", "ATOM-USD-PERP", "1h")
    assert bars.source.endswith("late")
    assert int(bars.rows["trades"].sum()) == lake.trades("PHEMEX", "ATOM-USD-PERP").num_rows

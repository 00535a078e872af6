"""Counts and latencies of a recording."""

import numpy as np
import pytest

from quantai.core.rows import EVENT, LAST, MS, Kind, Status, zeros
from quantai.feeds.columns import Pile
from quantai.feeds.feed import RECEIPT_TIME, Batch
from quantai.feeds.tally import Latency, Tally


def event(kind: Kind, aux: int = 0, *, last: bool = True) -> Batch:
    row = zeros(1, EVENT)
    row["kind"], row["aux"], row["flags"] = kind, aux, LAST if last else 0
    return Batch("TEST", "X", "status", row.tobytes())


def test_a_reconnection_of_many_symbols_is_one() -> None:
    tally = Tally()
    for last in (False, False, True):
        tally.take(Pile("status", [event(Kind.STATUS, Status.RESUMED, last=last)]))
    tally.take(Pile("status", [event(Kind.GAP) for _ in range(3)]))
    tally.take(Pile("status", [event(Kind.STATUS, Status.CONNECTED)]))
    assert (tally.reconnects, tally.gaps, tally.events, tally.batches) == (1, 3, 7, 7)


def test_a_tally_survives_as_a_position_and_shares_nothing() -> None:
    tally = Tally()
    rows = zeros(2, EVENT)
    rows["seq"] = 4, 5
    tally.take(Pile("ticker", [Batch("TEST", "X", "ticker", rows.tobytes())]))
    position = tally.position()
    again = Tally.of(position | {"venue": "TEST"})
    assert again == tally
    tally.take(Pile("ticker", [Batch("TEST", "X", "ticker", rows.tobytes())]))
    assert (position["messages"]["ticker"], again.messages["ticker"], again.seq) == (1, 1, 5)
    assert tally.since(again).messages["ticker"] == 1
    assert Tally.of({}) == Tally()


def latencies(*values_ms: float, flags: int = LAST) -> Latency:
    rows = zeros(len(values_ms), EVENT)
    rows["ts_exch"] = 10**18
    rows["ts_recv"] = 10**18 + (np.array(values_ms) * MS).astype("i8")
    rows["flags"] = flags
    made = Latency()
    made.take(rows)
    return made


def test_percentiles_are_right_within_three_percent() -> None:
    values = np.random.default_rng(1).lognormal(2.0, 1.5, 20_000)
    p50, p99 = latencies(*values).percentiles_ms(50, 99)
    assert p50 == pytest.approx(np.percentile(values, 50), rel=0.03)
    assert p99 == pytest.approx(np.percentile(values, 99), rel=0.03)


def test_a_receipt_before_the_event_is_a_negative_latency() -> None:
    p50, p99 = latencies(*[-1270.0] * 99, 5.0).percentiles_ms(50, 100)
    assert p50 == pytest.approx(-1270.0, rel=0.03)
    assert p99 == pytest.approx(5.0, rel=0.03)


def test_rows_without_a_time_of_the_venue_do_not_count() -> None:
    assert np.isnan(latencies(5.0, flags=LAST | RECEIPT_TIME).percentiles_ms(50)).all()
    assert np.isnan(latencies(5.0, flags=0).percentiles_ms(50)).all()

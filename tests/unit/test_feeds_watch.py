"""Silence, disconnections and reconnect storms are noticed from what connections report."""

from dataclasses import dataclass

import pytest

from quantai.core.errors import VenueError
from quantai.core.rows import Status
from quantai.feeds.watch import Pace, Watch


@dataclass(frozen=True)
class Stats:
    received: int
    open: bool


class Connection:
    """What cryptofeed's connections report, set by hand."""

    id = "TEST.ws.1"

    def __init__(self) -> None:
        self.connects, self.received, self.open = 0, 0, False

    @property
    def stats(self) -> Stats:
        return Stats(self.received, self.open)

    def connect(self) -> None:
        self.connects, self.open = self.connects + 1, True


@pytest.fixture
def connection() -> Connection:
    return Connection()


def watching(connection: Connection, stale_s: float | None = 10.0, *, resumed: bool = False) -> Watch:
    watch = Watch(stale_s, resumed=resumed)
    watch.add(connection)
    return watch


def seen(watch: Watch, now_s: float) -> list[tuple[Status, bool]]:
    return [(change.status, change.hole) for change in watch.look(now_s)]


def test_the_first_connection_is_no_hole(connection: Connection) -> None:
    watch = watching(connection)
    assert seen(watch, 0.0) == []
    connection.connect()
    assert seen(watch, 1.0) == [(Status.CONNECTED, False)]
    assert seen(watch, 2.0) == []


def test_the_first_connection_after_an_earlier_recording_is_one(connection: Connection) -> None:
    watch = watching(connection, resumed=True)
    connection.connect()
    assert seen(watch, 1.0) == [(Status.CONNECTED, True)]


def test_a_reconnection_is_seen_even_between_two_looks(connection: Connection) -> None:
    watch = watching(connection)
    connection.connect()
    watch.look(0.0)
    connection.connect()
    connection.connect()
    again = [(Status.DISCONNECTED, False), (Status.RESUMED, True)]
    assert [(c.status, c.hole) for c in watch.reopened()] == again * 2


def test_an_outage_is_seen_when_it_begins_and_when_it_ends(connection: Connection) -> None:
    watch = watching(connection)
    connection.connect()
    watch.look(0.0)
    connection.open = False
    assert seen(watch, 1.0) == [(Status.DISCONNECTED, False)]
    assert seen(watch, 500.0) == []  # an outage is not silence
    connection.connect()
    assert seen(watch, 501.0) == [(Status.RESUMED, True)]


def test_silence_counts_from_the_moment_of_connecting(connection: Connection) -> None:
    watch = watching(connection)
    connection.connect()
    watch.look(100.0)
    assert seen(watch, 110.0) == []
    assert seen(watch, 110.1) == [(Status.STALE, False)]
    assert seen(watch, 120.0) == []  # told once


def test_silence_counts_from_the_last_frame(connection: Connection) -> None:
    watch = watching(connection)
    connection.connect()
    for now in range(0, 50, 5):
        connection.received += 1
        assert (Status.STALE, False) not in seen(watch, float(now))
    assert seen(watch, 55.0) == []
    assert seen(watch, 55.5) == [(Status.STALE, False)]


def test_a_fresh_connection_has_its_full_time(connection: Connection) -> None:
    watch = watching(connection)
    connection.connect()
    watch.look(0.0)
    watch.look(10.5)
    connection.connect()
    assert (Status.STALE, False) not in seen(watch, 11.0)
    assert seen(watch, 20.0) == []
    assert seen(watch, 21.5) == [(Status.STALE, False)]


def test_without_a_limit_silence_is_fine(connection: Connection) -> None:
    watch = watching(connection, None)
    connection.connect()
    watch.look(0.0)
    assert seen(watch, 1e9) == []


def test_a_restarted_feed_continues_its_connections(connection: Connection) -> None:
    watch = watching(connection)
    connection.connect()
    watch.look(0.0)
    watch.restart()
    fresh = Connection()
    watch.add(fresh)
    fresh.connect()
    assert seen(watch, 1.0) == [(Status.RESUMED, True)]


def test_stopping_gives_up_what_is_open(connection: Connection) -> None:
    watch = watching(connection)
    assert watch.stop() == []
    connection.connect()
    watch.look(0.0)
    assert [c.status for c in watch.stop()] == [Status.DISCONNECTED]


def test_a_connection_that_delivers_is_slowed_down_but_never_refused() -> None:
    pace = Pace("TEST", first_s=1.0, most_s=8.0)
    delays = [pace.delay(n * 0.001, received=n, ours=False) for n in range(40)]
    assert delays[:7] == [0.0, 0.0, 0.0, 1.0, 2.0, 4.0, 8.0]
    assert set(delays[7:]) == {8.0}


def test_now_and_then_is_not_slowed_down() -> None:
    pace = Pace("TEST")
    assert [pace.delay(n * 30.0, received=n, ours=False) for n in range(20)] == [0.0] * 20


def test_a_venue_that_never_delivers_is_given_up() -> None:
    pace = Pace("TEST", hopeless=4)
    for n in range(4):
        pace.delay(float(n), received=0, ours=False)
    with pytest.raises(VenueError, match="TEST closed 4 connections in a row without sending anything"):
        pace.delay(5.0, received=0, ours=False)


def test_connections_that_we_closed_for_their_silence_do_not_count() -> None:
    pace = Pace("TEST", hopeless=2)
    for n in range(50):
        pace.delay(n * 120.0, received=0, ours=True)


def test_delays_are_spread_so_that_clients_do_not_come_back_together() -> None:
    def delays(seed: int) -> list[float]:
        pace = Pace("TEST", first_s=1.0, most_s=4.0, free=0, jitter=0.5, seed=seed)
        return [pace.delay(0.0, n, ours=False) for n in range(6)]

    plain = [1.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    one, two = delays(1), delays(2)
    assert one == delays(1)
    assert one != two
    assert all(low <= got <= 1.5 * low for low, got in zip(plain, one, strict=True))

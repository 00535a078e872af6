"""The private names of cryptofeed that this project leans on are still there, in the one version it is pinned to."""

import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

connection = pytest.importorskip("cryptofeed.connection", reason="needs the extra quantai[record]")

from cryptofeed.capture.playback import (  # noqa: E402
    PlaybackCoordinator,
    PlaybackWSConnection,
    Replayer,
    playback,
)
from cryptofeed.exchanges import EXCHANGE_MAP  # noqa: E402
from cryptofeed.exchanges.binance import Binance  # noqa: E402
from cryptofeed.symbols import Symbols  # noqa: E402

from quantai.feeds.internals import before_opening, carried, subscribed, wrap  # noqa: E402
from quantai.feeds.redirect import redirect  # noqa: E402
from quantai.feeds.symbols import Names  # noqa: E402


@pytest.fixture
def binance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Symbols.set("BINANCE", {"BTC-USDT": "BTCUSDT", "ETH-USDT": "ETHUSDT"}, {"tick_size": {}, "instrument_type": {}})
    yield Binance(subscription={"trades": ["BTC-USDT"], "ticker": ["ETH-USDT"]}, config={"log": {"disabled": True}})
    Symbols.clear()


def test_the_version_is_the_pinned_one() -> None:
    pinned = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'"cryptofeed=={version("cryptofeed")}"' in pinned


def test_every_connection_of_a_feed_passes_through_wrap(binance: Any) -> None:
    seen: list[Any] = []
    wrap(binance, lambda made: seen.append(made) or made)
    assert "_wrap_connection(conn)" in inspect.getsource(type(binance)._run)
    for made, _, _ in binance.connect():
        assert binance._wrap_connection(made) is made
    assert [type(made) for made in seen] == [connection.WSAsyncConn]
    assert carried(binance, Names("BINANCE", ["BTC-USDT", "ETH-USDT"]), seen[0]) == ["BTC-USDT", "ETH-USDT"]
    assert subscribed(binance) == ["BTC-USDT", "ETH-USDT"]


async def test_connect_goes_through_the_opening_that_is_slowed_down() -> None:
    order: list[str] = []

    class Socket(connection.WSAsyncConn):
        async def _open(self) -> None:
            order.append("opened")

    async def wait(which: Any) -> None:
        order.append("waited")

    made = Socket("wss://x.test", "TEST")
    before_opening(made, wait)
    async with made.connect():
        assert order == ["waited", "opened"]
        assert made.connects == 1


def test_what_connections_report_is_there() -> None:
    made = connection.WSAsyncConn("wss://x.test/a?b=c", "TEST", subscription={"trades": ["X"]})
    assert (made.connects, made.stats.received, made.stats.open, made.raw_data_callback) == (0, 0, False, None)
    made.record_watchdog_trip()
    assert made.stats.watchdog_trips == 1


@pytest.mark.parametrize("kind", ["WSAsyncConn", "HTTPAsyncConn", "HTTPPoll"])
def test_every_kind_of_connection_can_be_redirected(kind: str) -> None:
    cls = getattr(connection, kind)
    made = cls("TEST") if kind == "HTTPAsyncConn" else cls("wss://x.test/a", "TEST")
    assert redirect(made, "ws://127.0.0.1:1", "http://127.0.0.1:1") is made
    assert isinstance(made, cls)
    base = "ws" if kind == "WSAsyncConn" else "http"
    assert made.rewrite("wss://x.test/a?b=c") == f"{base}://127.0.0.1:1/x.test/a?b=c"
    assert made.rewrite("https://x.test") == f"{base}://127.0.0.1:1/x.test/"


def test_replayed_streams_can_be_told_to_take_turns() -> None:
    coordinator = PlaybackCoordinator()
    token = coordinator.register("a")
    made = PlaybackWSConnection("wss://x.test", "TEST.ws.1", None, [[(5, "frame")]], coordinator, token)
    assert made._token is token
    coordinator.reset_pending(token, made._first_ts_from(0))
    assert token.pending == (5, 0)


def test_the_replayer_takes_what_we_hand_it() -> None:
    assert {"pacing", "speed", "on_error"} <= set(inspect.signature(Replayer.__init__).parameters)
    assert inspect.signature(playback).parameters["on_error"].default == "reconnect"
    assert {"build_feed", "prepare", "wrap_connection"} <= set(dir(Replayer))


def test_every_venue_has_the_facts_that_describe_reads() -> None:
    for venue, cls in EXCHANGE_MAP.items():
        assert cls.id == venue
        assert cls.book_delivery in ("delta", "snapshot")
        assert isinstance(cls.websocket_channels, dict)

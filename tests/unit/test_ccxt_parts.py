"""The parts of the venue for real exchanges that need no exchange: ids, keys, verdicts, the rate limit, calls."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import aiohttp
import ccxt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantai.core.errors import InputError, UnknownName, VenueError
from quantai.core.instruments import Instrument, Instruments
from quantai.core.reports import Refusal
from quantai.core.rows import BUY, POST_ONLY, REDUCE_ONLY, SEC, TIF, OrderType
from quantai.execution.client_ids import client_id
from quantai.venues.ccxt import CcxtVenue, Keys, Profile, profile
from quantai.venues.ccxt.calls import new_order
from quantai.venues.ccxt.client import exchange
from quantai.venues.ccxt.funding import FundingWatch
from quantai.venues.ccxt.ledger import Ledger
from quantai.venues.ccxt.limiter import Priority, RateLimiter
from quantai.venues.ccxt.order_ids import ALNUM_32, HEX_32, PACKED, PLAIN, T_28, leg_id, order_of, pack, unpack
from quantai.venues.ccxt.profiles import PROFILES
from quantai.venues.ccxt.stream import UserStream
from quantai.venues.ccxt.verdicts import Verdict, verdict, words
from quantai.venues.loopback import KEY, SECRET, LoopbackExchange
from quantai.venues.venue import Ask, Request

runs = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ -äé", min_size=1, max_size=30)
ids = st.builds(client_id, runs, st.integers(0, 2**64 - 1), st.integers(0, 2**16 - 1))


@given(made=ids, leg=st.integers(0, 63))
def test_a_packed_id_reads_back(made: str, leg: int) -> None:
    text = leg_id(made, leg)
    packed = pack(text)
    assert len(packed) == PACKED
    assert packed.isalnum()
    assert unpack(packed) == text
    assert order_of(text) == (made, leg)


@given(foreign=st.text("ABCDEFGHIJabcdefghij0123456789", max_size=40))
def test_an_id_that_is_not_ours_is_not_read(foreign: str) -> None:
    assert unpack(foreign) is None or pack(unpack(foreign) or "") == foreign
    assert PLAIN.read(foreign) is None
    assert HEX_32.read(foreign) is None


@given(made=ids)
def test_ids_fit_where_they_are_written(made: str) -> None:
    assert len(PLAIN.write(made)) <= 36
    assert len(ALNUM_32.write(made)) <= 32
    assert len(HEX_32.write(made)) == 32
    text = T_28.write(made)
    assert text.startswith("t-")
    assert len(text) <= 30


def test_keys_come_from_the_environment_and_are_named_when_missing() -> None:
    places = {"QUANTAI_OKX_KEY": "k", "QUANTAI_OKX_SECRET": "s", "QUANTAI_OKX_PASSWORD": "p"}
    assert Keys.find("OKX", password=True, environment=places) == Keys("k", "s", "p")
    with pytest.raises(VenueError, match="OKX needs its password: set QUANTAI_OKX_PASSWORD"):
        Keys.find("OKX", password=True, environment={"QUANTAI_OKX_KEY": "k", "QUANTAI_OKX_SECRET": "s"})


async def test_keys_are_in_no_log_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keys = Keys(KEY, "a-secret-that-is-wrong")
    async with LoopbackExchange(symbols=["BTC-USDT"]) as exchange:
        listing = exchange.matching("spot", "BTCUSDT").listing
        pair = Instrument.parse("BTC-USDT", venue="BINANCE", tick=listing.tick, lot=listing.lot)
        venue = CcxtVenue("BINANCE", Instruments([pair]), keys, endpoint=exchange.http)
        with pytest.raises(VenueError) as refused:
            await venue.connect()
    said = [str(refused.value), repr(keys), *(record.getMessage() for record in caplog.records)]
    assert not [text for text in said if KEY in text or keys.secret in text]
    assert "BINANCE: the key, or its rights, are not accepted" in said[0]


def test_an_unknown_symbol_and_a_finer_grid_are_refused_before_anything_is_sent() -> None:
    async def connect(symbol: str, tick: str) -> None:
        async with LoopbackExchange(symbols=["BTC-USDT"]) as exchange:
            instruments = Instruments([Instrument.parse(symbol, venue="BINANCE", tick=tick, lot="0.00001")])
            keys = Keys(exchange.key, exchange.secret)
            await CcxtVenue("BINANCE", instruments, keys, endpoint=exchange.http).connect()

    with pytest.raises(VenueError, match="unknown symbol of BINANCE 'BTX-USDT': did you mean 'BTC-USDT'"):
        asyncio.run(connect("BTX-USDT", "0.01"))
    with pytest.raises(VenueError, match=r"the tick is 0\.001 here and 0\.01 at BINANCE"):
        asyncio.run(connect("BTC-USDT", "0.001"))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ccxt.InvalidOrder("-1013"), Verdict.REFUSED),
        (ccxt.InsufficientFunds("-2010"), Verdict.REFUSED),
        (ccxt.AuthenticationError("-1022"), Verdict.REFUSED),
        (ccxt.DDoSProtection("-1003"), Verdict.TOO_MANY),
        (ccxt.RateLimitExceeded("429"), Verdict.TOO_MANY),
        (ccxt.InvalidNonce("-1021"), Verdict.STALE_CLOCK),
        (ccxt.OperationFailed("-1001"), Verdict.UNKNOWN),
        (ccxt.RequestTimeout("-1007"), Verdict.UNKNOWN),
        (ccxt.ExchangeNotAvailable("502"), Verdict.UNKNOWN),
        (ccxt.DuplicateOrderId("there is one"), Verdict.UNKNOWN),
        (ccxt.OrderNotFound("-2011"), Verdict.NO_ORDER),
        (KeyError("an answer nobody understands"), Verdict.UNKNOWN),
    ],
)
def test_what_an_error_means(error: Exception, expected: Verdict) -> None:
    assert verdict(error) is expected


def test_a_connection_that_broke_while_the_answer_was_read_is_no_refusal() -> None:
    error = ccxt.ExchangeError("binance POST")
    error.__cause__ = aiohttp.ClientPayloadError("not enough data")
    assert verdict(error) is Verdict.UNKNOWN


class Clock:
    """Time that the test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_polling_leaves_budget_for_orders(clock: Clock) -> None:
    limiter = RateLimiter(10.0, 10.0, reserve=0.3, clock=clock)
    polls = sum(limiter.take(1.0, Priority.POLL) for _ in range(20))
    orders = sum(limiter.take(1.0, Priority.ORDER) for _ in range(20))
    assert (polls, orders) == (7, 3)
    clock.now += 2.0
    assert [limiter.take(1.0, Priority.ORDER) for _ in range(3)] == [True, True, False]


async def test_who_waits_is_served_by_priority() -> None:
    limiter = RateLimiter(2.0, 0.2)
    assert limiter.take(2.0, Priority.ORDER)
    served: list[str] = []

    async def wait(name: str, priority: Priority) -> None:
        await limiter.wait(1.0, priority)
        served.append(name)

    waiting = [wait("poll", Priority.POLL), wait("query", Priority.QUERY), wait("order", Priority.ORDER)]
    await asyncio.wait_for(asyncio.gather(*waiting, wait("cancel", Priority.CANCEL)), 60)
    assert served == ["cancel", "order", "query", "poll"]


async def test_a_question_is_answered_even_while_orders_want_everything() -> None:
    limiter = RateLimiter(2.0, 0.2)
    assert limiter.take(2.0, Priority.ORDER)
    served: list[str] = []

    async def wait(name: str, priority: Priority) -> None:
        await limiter.wait(1.0, priority)
        served.append(name)

    orders = [wait("order", Priority.ORDER) for _ in range(8)]
    await asyncio.wait_for(asyncio.gather(wait("query", Priority.QUERY), *orders), 60)
    assert served.index("query") == 3, "the fourth that had to wait is the oldest"


async def test_a_cancel_does_not_wait_for_the_oldest() -> None:
    limiter = RateLimiter(10.0, 1.0)
    assert limiter.take(10.0, Priority.ORDER)
    served: list[str] = []

    async def wait(name: str, weight: float, priority: Priority) -> None:
        await limiter.wait(weight, priority)
        served.append(name)

    cancels = [wait("cancel", 0.5, Priority.CANCEL) for _ in range(8)]
    await asyncio.wait_for(asyncio.gather(wait("poll", 10.0, Priority.POLL), *cancels), 60)
    assert served == ["cancel"] * 8 + ["poll"]


async def test_who_waits_is_served_by_one_timer(clock: Clock) -> None:
    limiter = RateLimiter(10.0, 10.0, clock=clock)
    limiter.pause(3_600.0)
    loop = asyncio.get_running_loop()
    made: list[asyncio.TimerHandle] = []
    call_later = loop.call_later

    def counted(*asked: Any, **named: Any) -> asyncio.TimerHandle:
        made.append(call_later(*asked, **named))
        return made[-1]

    loop.call_later = counted
    waiting = [asyncio.create_task(limiter.wait(1.0, Priority.POLL)) for _ in range(20)]
    await asyncio.sleep(0)
    loop.call_later = call_later
    assert len(made) == 20
    assert sum(not timer.cancelled() for timer in made) == 1
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    made[-1].cancel()


async def test_a_pause_stops_everything(clock: Clock) -> None:
    limiter = RateLimiter(10.0, 10.0, clock=clock)
    limiter.pause(5.0)
    assert not limiter.take(1.0, Priority.CANCEL)
    clock.now += 6.0
    assert limiter.take(1.0, Priority.CANCEL)


def _request(**fields: int) -> Request:
    terms = {"instrument": 0, "side": BUY, "type": OrderType.LIMIT, "tif": TIF.GTC, "flags": 0, "qty_lots": 5,
             "px_ticks": 100_001, "trigger_ticks": 0, "expire_ts": 0}  # fmt: skip
    named = {"client_id": "run-1-0", "order_id": "run-1-0"}
    return Request(ask=Ask.NEW, order=1, request=0, **named, **(terms | fields))


PERP = Instrument.parse("BTC-USDT-PERP", tick="0.1", lot="0.001")


def _call(of: Profile, **fields: int) -> tuple[str, str, str | None, dict[str, object]]:
    made = new_order(_request(**fields), of, PERP, "run-1-0", 5, 100_001)
    return made.type, made.amount, made.price, made.params


def test_terms_become_words_of_the_exchange() -> None:
    futures = profile("BINANCE_FUTURES")
    assert _call(futures, flags=POST_ONLY | REDUCE_ONLY) == (
        "limit", "0.005", "10000.1", {"clientOrderId": "run-1-0", "postOnly": True, "reduceOnly": True},
    )  # fmt: skip
    assert _call(futures, type=OrderType.MARKET)[2] is None
    assert _call(futures, tif=TIF.IOC)[3]["timeInForce"] == "IOC"
    assert _call(futures, tif=TIF.GTD, expire_ts=1_700_000_000_000_000_000)[3]["goodTillDate"] == 1_700_000_000_000
    assert Decimal(_call(futures)[1]) == Decimal("0.005")


@pytest.mark.parametrize("fields", [{"type": OrderType.MARKET}, {"tif": TIF.IOC}])
def test_what_closes_at_once_needs_no_word_for_it(fields: dict[str, int]) -> None:
    assert "reduceOnly" not in _call(profile("BINANCE"), flags=REDUCE_ONLY, **fields)[3]


@pytest.mark.parametrize(
    ("name", "fields", "why"),
    [
        ("GATE", {"type": OrderType.MARKET}, "GATE takes no MARKET orders here: use LIMIT"),
        ("OKX", {"tif": TIF.DAY}, "OKX has no time in force DAY: use GTC, IOC, FOK"),
        ("BINANCE", {"flags": REDUCE_ONLY}, "no reduce-only"),
        ("BINANCE", {"flags": REDUCE_ONLY, "type": OrderType.STOP, "trigger_ticks": 100_000}, "no reduce-only"),
        ("OKX", {"type": OrderType.MARKET, "flags": POST_ONLY}, "post-only for limit orders only"),
    ],
)
def test_what_an_exchange_lacks_is_refused_before_it_is_sent(name: str, fields: dict[str, int], why: str) -> None:
    with pytest.raises(InputError, match=why):
        _call(profile(name), **fields)


def test_a_profile_is_found_by_its_name() -> None:
    assert all(p.name == name for name, p in PROFILES.items())
    with pytest.raises(UnknownName, match="did you mean 'KRAKEN'"):
        profile("KRAKN")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ccxt.InvalidNonce('okx {"code":"50102","msg":"Timestamp request expired."}'),
         "the clock of this machine differs from the exchange's: Timestamp request expired. (50102)"),
        (ccxt.InsufficientFunds('bybit {"retCode":110007,"retMsg":"ab not enough for new order"}'),
         "the account does not hold enough for it: ab not enough for new order (110007)"),
        (ccxt.InvalidOrder("binance Market is closed."), "the market is closed: Market is closed."),
        (ccxt.BadRequest('binance {"code":-2019,"msg":"Margin is insufficient."}'),
         "the account does not hold enough for it: Margin is insufficient. (-2019)"),
        (ccxt.OnMaintenance("kraken {\n}"), "the market is closed: kraken { }"),
        (ccxt.ExchangeError(""), "ExchangeError"),
        (KeyError("x"), "'x'"),
    ],
)  # fmt: skip
def test_an_error_is_one_line_that_says_what_it_means(error: Exception, line: str) -> None:
    assert words(error) == line


async def test_setting_the_wall_clock_moves_neither_time_stamps_nor_the_age_of_a_pong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys, wall_ns = Keys(KEY, "a-secret"), time.time_ns()
    venue = CcxtVenue("BINANCE", Instruments([Instrument.parse("BTC-USDT", venue="BINANCE")]), keys)
    api = exchange(venue.profile, keys, venue)
    try:
        socket, before_ms = api.client("ws://127.0.0.1:9"), api.milliseconds()
        assert socket.lastPong is None
        socket.lastPong = before_ms
        for hours in (1, -1):
            monkeypatch.setattr(time, "time_ns", lambda hours=hours: wall_ns + hours * 3_600 * SEC)
            for now_ms in (api.milliseconds(), api.nonce(), api.microseconds() // 1_000, api.seconds() * 1_000 + 999):
                assert 0 <= now_ms - before_ms < 600_000
            assert 0 <= ccxt.Exchange.milliseconds() - socket.lastPong < 600_000
    finally:
        await api.close()


def test_reports_are_stamped_by_the_clock_of_the_run() -> None:
    pair = Instrument.parse("BTC-USDT", venue="BINANCE")
    ledger = Ledger({"BTC/USDT": pair}, clock=lambda: 7)
    request = _request()
    (answer,) = ledger.refuse(ledger.follow(request, "BTC/USDT", pair), request, Refusal.OTHER, "")
    assert answer.reports["ts"].tolist() == [7]


async def test_an_answer_that_cannot_be_read_is_no_answer() -> None:
    async def orders(*args: Any) -> list[dict[str, str]]:
        return [{"symbol": "BTC/USDT", "status": "open"}]

    async def balance(*args: Any) -> dict[str, Any]:
        return {"total": {"USDT": "much"}}

    async with LoopbackExchange() as exchange:
        pair = Instrument.parse("BTC-USDT", venue="BINANCE", tick="0.01", lot="0.00001")
        venue = CcxtVenue("BINANCE", Instruments([pair]), Keys(KEY, SECRET), endpoint=exchange.http)
        await venue.connect()
        try:
            venue._api.fetch_open_orders, venue._api.fetch_balance = orders, balance
            with pytest.raises(VenueError, match=r"BINANCE gives an answer that cannot be read: KeyError: 'id'"):
                await venue.open_orders()
            with pytest.raises(
                VenueError, match=r"BINANCE gives an answer that cannot be read: .*not a number: 'much'"
            ):
                await venue.balances()
        finally:
            await venue.close()


SIGNED = "binance GET https://fapi/v1/openOrders?timestamp=1&signature=deadbeef wss://fstream/ws?listenKey=pqia91ma"


def _no_secret(text: str) -> None:
    assert "***" in text
    assert not [secret for secret in ("deadbeef", "pqia91ma", "a-key-of-ours") if secret in text]


def test_an_error_in_words_has_no_signature() -> None:
    _no_secret(words(ccxt.RequestTimeout(SIGNED)))


class Failing:
    """An exchange object to which nothing can be asked."""

    has = {"fetchFundingHistory": True}  # noqa: RUF012
    clients: dict[str, object] = {}  # noqa: RUF012

    async def watch_orders(self) -> None:
        raise ccxt.AuthenticationError(f"{SIGNED} a-key-of-ours")

    watch_my_trades = watch_orders

    async def fetch_funding_history(self, symbol: str, since: int) -> None:
        raise ccxt.AuthenticationError(f"{SIGNED} a-key-of-ours")


async def test_a_stream_and_funding_that_fail_say_so_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    async def at_once(weight: str, priority: Priority, call: Callable[[], Awaitable[object]]) -> object:
        return await call()

    async def found() -> None:
        raise AssertionError("there is no stream")

    def lost(why: str) -> None:
        raise AssertionError(why)

    redact = Keys("a-key-of-ours").redact
    stream = UserStream(Failing(), profile("BINANCE_FUTURES"), lost=lost, found=found, redact=redact)
    with pytest.raises(VenueError, match="does not open a stream of orders") as refused:
        await stream.open(60.0)
    await stream.close()
    _no_secret(str(refused.value))
    assert await FundingWatch(Failing(), {"BTC/USDT:USDT": PERP}, at_once, "X", redact).look() == ()
    _no_secret(caplog.text)


class Unstamped:
    """An exchange object that says of a payment everything but when it was."""

    has = {"fetchFundingHistory": True}  # noqa: RUF012

    async def fetch_funding_history(self, symbol: str, since: int) -> list[dict[str, str | None]]:
        return [{"timestamp": None, "amount": "-1.5"}]


async def test_a_payment_that_cannot_be_read_is_said_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def at_once(weight: str, priority: Priority, call: Callable[[], Awaitable[object]]) -> object:
        return await call()

    assert await FundingWatch(Unstamped(), {"BTC/USDT:USDT": PERP}, at_once, "X", str).look() == ()
    assert "the funding of BTC-USDT-PERP is not known" in caplog.text

"""Each fault of the loopback exchange does what its name says, to sockets and to requests."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from quantai.core.errors import InputError, UnknownName, VenueError
from quantai.venues.loopback import Fault, LoopbackExchange
from tests.integration.loopback_client import PATIENCE_S, Client, limit, receive, until

DEPTH = "/stream?streams=btcusdt@depth@100ms"
TRADES = "/ws/btcusdt@trade"


@pytest.fixture
async def exchange() -> AsyncIterator[LoopbackExchange]:
    async with LoopbackExchange(["BTC-USDT"], seed=3) as exchange:
        exchange.pause()
        yield exchange


@pytest.fixture
async def client(exchange: LoopbackExchange) -> AsyncIterator[Client]:
    async with Client(exchange) as client:
        yield client


def trade(exchange: LoopbackExchange, times: int = 1) -> None:
    """Let the market buy, once or more often: one trade event each."""
    for _ in range(times):
        exchange.act("spot", "BTCUSDT", "take", "BUY", "0.00001")


async def subscribed(exchange: LoopbackExchange) -> None:
    await until(lambda: any(c.streams for c in exchange.exchange.hub.connections), "the subscription")


async def test_an_undisturbed_stream_numbers_every_trade(exchange: LoopbackExchange, client: Client) -> None:
    async with client.listen(TRADES) as socket:
        await subscribed(exchange)
        trade(exchange, 5)
        ids = [(await receive(socket))["t"] for _ in range(5)]
    assert ids == list(range(ids[0], ids[0] + 5))


async def test_drop_leaves_frames_out(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("drop:stream=*@trade,every=2")
    async with client.listen(TRADES) as socket:
        await subscribed(exchange)
        trade(exchange, 6)
        ids = [(await receive(socket))["t"] for _ in range(3)]
    assert ids == [ids[0], ids[0] + 2, ids[0] + 4]


async def test_duplicate_sends_a_frame_twice(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("duplicate:after=1,count=1")
    async with client.listen(TRADES) as socket:
        await subscribed(exchange)
        trade(exchange, 3)
        ids = [(await receive(socket))["t"] for _ in range(4)]
    assert ids == [ids[0], ids[0] + 1, ids[0] + 1, ids[0] + 2]


async def test_reorder_swaps_two_frames(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("reorder:after=1,count=1")
    async with client.listen(TRADES) as socket:
        await subscribed(exchange)
        trade(exchange, 4)
        ids = [(await receive(socket))["t"] for _ in range(4)]
    assert ids == [ids[0], ids[0] + 2, ids[0] + 1, ids[0] + 3]


async def test_garbage_sends_half_a_frame(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("garbage:count=1")
    async with client.listen(TRADES) as socket:
        await subscribed(exchange)
        trade(exchange, 2)
        message = await asyncio.wait_for(socket.receive(), PATIENCE_S)
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(message.data)
        assert (await receive(socket))["e"] == "trade"


async def test_slow_delays_frames_and_keeps_their_order(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("slow:ms=150")
    async with client.listen(TRADES) as socket:
        await subscribed(exchange)
        began = time.monotonic()
        trade(exchange, 3)
        ids = [(await receive(socket))["t"] for _ in range(3)]
        assert time.monotonic() - began >= 0.15
    assert ids == sorted(ids)


@pytest.mark.parametrize(("code", "kind"), [(1001, aiohttp.WSMsgType.CLOSE), (0, aiohttp.WSMsgType.CLOSED)])
async def test_disconnect_closes_or_cuts(
    exchange: LoopbackExchange, client: Client, code: int, kind: aiohttp.WSMsgType
) -> None:
    await exchange.fault(f"disconnect:code={code},after=1,count=1")
    async with client.listen(TRADES) as socket:
        await subscribed(exchange)
        trade(exchange, 3)
        assert (await receive(socket))["e"] == "trade"
        end = await asyncio.wait_for(socket.receive(), PATIENCE_S)
        assert (end.type, end.data) == (kind, code or None)
    async with client.listen(TRADES) as socket:  # and it may come back
        await subscribed(exchange)
        trade(exchange)
        assert (await receive(socket))["e"] == "trade"


async def test_silence_accepts_and_never_sends(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("silence:count=1")
    async with client.listen(TRADES) as mute:
        await subscribed(exchange)
        trade(exchange)
        await until(lambda: exchange.exchange.faults[0].done, "the fault")
        async with client.listen(TRADES) as loud:  # the next connection is served
            await until(lambda: len(exchange.exchange.hub.connections) == 2, "the second connection")
            trade(exchange, 3)
            assert (await receive(loud))["e"] == "trade"
            await mute.ping()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(mute.receive(), 0.3)
            assert not mute.closed


@pytest.mark.parametrize(
    ("status", "code"), [(400, -1000), (403, -1000), (418, -1003), (429, -1003), (500, -1000), (503, -1000)]
)
async def test_http_answers_a_status_and_does_nothing(
    exchange: LoopbackExchange, client: Client, status: int, code: int
) -> None:
    await exchange.fault(f"http:status={status},path=*/order,method=POST,count=1")
    answered, body = await client.ask("POST", "/api/v3/order", symbol="BTCUSDT", **limit("BUY", "0.01", "45000"))
    assert (answered, body["code"], exchange.truth()["orders"]) == (status, code, [])
    assert ("Retry-After" in client.headers) == (status in (418, 429))
    await client.order(**limit("BUY", "0.01", "45000"))


async def test_timeout_takes_the_order_and_never_answers(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("timeout:path=*/order,method=POST,count=1")
    asked = {"symbol": "BTCUSDT"} | limit("BUY", "0.01", "45000", newClientOrderId="lost")
    asking = asyncio.create_task(client.ask("POST", "/api/v3/order", **asked))
    await until(lambda: exchange.truth()["orders"], "the order")
    done, _ = await asyncio.wait([asking], timeout=0.3)
    assert not done
    asking.cancel()
    _, found = await client.ask("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="lost")
    assert found["status"] == "NEW"


async def test_unknown_takes_the_order_and_says_it_does_not_know(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("unknown:path=*/order,method=POST,count=1")
    asked = {"symbol": "BTCUSDT"} | limit("BUY", "0.01", "45000", newClientOrderId="lost")
    status, body = await client.ask("POST", "/api/v3/order", **asked)
    assert (status, body["code"]) == (408, -1007)
    assert [o["clientOrderId"] for o in exchange.truth()["orders"]] == ["lost"]


async def test_disconnect_takes_the_order_and_cuts_the_answer(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("disconnect:path=*/order,count=1")
    with pytest.raises(aiohttp.ClientError):
        await client.ask("POST", "/api/v3/order", symbol="BTCUSDT", **limit("BUY", "0.01", "45000"))
    assert len(exchange.truth()["orders"]) == 1


async def test_reject_garbage_and_slow_answers(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("reject:code=-2010,count=1")
    assert (await client.ask("GET", "/api/v3/account"))[1]["code"] == -2010
    await exchange.fault("garbage:path=*/account,count=1")
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        await client.ask("GET", "/api/v3/account")
    await exchange.fault("slow:path=*/account,ms=200,count=1")
    began = time.monotonic()
    await client.ask("GET", "/api/v3/account")
    assert time.monotonic() - began >= 0.2


async def test_skew_moves_the_exchanges_clock(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("skew:ms=-3600000")
    status, body = await client.ask("GET", "/api/v3/account")
    assert (status, body["code"]) == (400, -1021)
    behind = time.time() * 1000 - (await client.get("/api/v3/time"))["serverTime"]
    assert 3_500_000 < behind < 3_700_000
    exchange.heal()
    assert (await client.ask("GET", "/api/v3/account"))[0] == 200


async def test_restart_keeps_orders_money_and_port(exchange: LoopbackExchange, client: Client) -> None:
    placed = await client.order(**limit("BUY", "0.01", "45000"))
    before, port = exchange.truth(), exchange.port
    async with client.listen(TRADES) as socket:
        await subscribed(exchange)
        await exchange.fault("restart:ms=10,s=0.2")
        assert (await asyncio.wait_for(socket.receive(), PATIENCE_S)).type is not aiohttp.WSMsgType.TEXT
    await until(lambda: not exchange.exchange.faults, "the restart")
    assert exchange.port == port
    _, found = await client.ask("GET", "/api/v3/order", symbol="BTCUSDT", orderId=placed["orderId"])
    assert found["status"] == "NEW"
    after = exchange.truth()
    assert [after[k] for k in ("orders", "fills", "accounts")] == [before[k] for k in ("orders", "fills", "accounts")]


async def test_faults_come_and_go_over_the_wire(exchange: LoopbackExchange, client: Client) -> None:
    async def back_door(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        async with aiohttp.request(method, f"{exchange.http}/loopback/{path}", json=body) as response:
            return response.status, await response.json()

    assert await back_door("POST", "fault", {"fault": "http:status=500,count=1"}) == (200, {"id": 0})
    assert await back_door("POST", "fault", {"name": "drop", "p": 0.5}) == (200, {"id": 1})
    assert (await client.ask("GET", "/api/v3/account"))[0] == 500
    shown = (await back_door("GET", "fault"))[1]["faults"]
    assert [(f["name"], f["done"]) for f in shown] == [("http", 1), ("drop", 0)]
    assert await back_door("DELETE", "fault?id=0") == (200, {"left": 1})
    assert await back_door("DELETE", "fault") == (200, {"left": 0})
    status, refused = await back_door("POST", "fault", {"fault": "slwo"})
    assert status == 400
    assert "did you mean 'slow'" in refused["error"]
    took = {"product": "spot", "symbol": "BTCUSDT", "do": "take", "side": "BUY", "quantity": "0.00001"}
    assert (await back_door("POST", "market", took))[0] == 200
    assert (await back_door("POST", "market", took | {"symbol": "FOO"}))[0] == 400
    assert (await back_door("POST", "market", {"paused": False, "speed": 2.0}))[0] == 200
    assert (await back_door("GET", "truth"))[1]["totals"] == exchange.truth()["totals"]
    book = (await back_door("GET", "book?product=spot&symbol=BTCUSDT"))[1]
    assert book["lastUpdateId"] > 1_000
    assert (await back_door("GET", "nothing"))[0] == 404


async def test_faults_of_the_websocket_api(exchange: LoopbackExchange, client: Client) -> None:
    async with client.listen("/ws-api/v3") as socket:
        await socket.send_json({"id": 1, "method": "time"})
        answer = await receive(socket)
        assert (answer["id"], answer["status"]) == (1, 200)
        await exchange.fault("http:status=503,path=*/time,count=1")
        await socket.send_json({"id": 2, "method": "time"})
        assert (await receive(socket))["status"] == 503
        await socket.send_json({"id": 3, "method": "account.status", "params": {"apiKey": "nobody"}})
        assert (await receive(socket))["error"]["code"] == -2015


@pytest.mark.parametrize(
    ("text", "error"),
    [("slwo", UnknownName), ("drop:q=1", UnknownName), ("drop:p=2", InputError), ("drop:p", InputError),
     ("slow:ms=soon", InputError), ("drop:every=0", InputError), ("http:status=200", InputError),
     ("slow:ms=-1", InputError)],
)  # fmt: skip
def test_a_fault_that_means_nothing_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        Fault.parse(text)


async def test_a_taken_port_and_a_standing_market_are_refused(exchange: LoopbackExchange) -> None:
    with pytest.raises(VenueError, match="cannot be served"):
        async with LoopbackExchange(port=exchange.port):
            pass
    with pytest.raises(InputError, match="speed 0"):
        LoopbackExchange(speed=0)

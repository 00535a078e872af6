"""Real ccxt and ccxt.pro trade on the loopback exchange with nothing changed but the address."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from quantai.venues.loopback import LoopbackExchange, point_ccxt
from tests.integration.loopback_client import PATIENCE_S, until

ccxt = pytest.importorskip("ccxt", reason="needs the extra quantai[live]")

SPOT, PERP = "BTC/USDT", "BTC/USDT:USDT"


@pytest.fixture
async def exchange() -> AsyncIterator[LoopbackExchange]:
    async with LoopbackExchange(["BTC-USDT"], seed=3, rate_hz=50) as exchange:
        yield exchange


async def opened(exchange: LoopbackExchange, kind: str, **settings: Any) -> Any:
    import ccxt.pro as ccxtpro

    options = {"fetchCurrencies": False, "fetchMarkets": {"types": [kind]}}
    keys = {"apiKey": exchange.key, "secret": exchange.secret, "enableRateLimit": False}
    made = ccxtpro.binance if kind == "spot" else ccxtpro.binanceusdm
    client = point_ccxt(made(keys | {"options": options} | settings), exchange.http)
    await client.load_markets()
    return client


@pytest.fixture
async def spot(exchange: LoopbackExchange) -> AsyncIterator[Any]:
    client = await opened(exchange, "spot")
    yield client
    await client.close()


@pytest.fixture
async def futures(exchange: LoopbackExchange) -> AsyncIterator[Any]:
    client = await opened(exchange, "linear")
    yield client
    await client.close()


class Watcher:
    """Collects what a `watch…` coroutine returns, again and again."""

    def __init__(self, watch: Callable[[], Awaitable[list[Any]]]) -> None:
        self.seen: list[Any] = []
        self._watch = watch

    async def __aenter__(self) -> "Watcher":
        async def run() -> None:
            while True:
                self.seen.extend(await self._watch())

        self._task = asyncio.create_task(run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def listening(exchange: LoopbackExchange, product: str) -> None:
    connections = exchange.exchange.hub.connections
    await until(lambda: any(c.users and c.product == product for c in connections), "the user stream")


async def test_spot_from_markets_to_fills(exchange: LoopbackExchange, spot: Any) -> None:
    market = spot.market(SPOT)
    assert (market["precision"]["price"], market["precision"]["amount"]) == (0.01, 0.00001)
    assert (await spot.fetch_balance())["total"] == {"BTC": 2.0, "USDT": 100_000.0}
    async with (
        Watcher(lambda: spot.watch_orders(SPOT)) as orders,
        Watcher(lambda: spot.watch_my_trades(SPOT)) as trades,
    ):
        await listening(exchange, "spot")
        resting = await spot.create_order(SPOT, "limit", "buy", 0.01, 45_000, {"newClientOrderId": "mine"})
        assert (resting["status"], resting["clientOrderId"]) == ("open", "mine")
        taken = await spot.create_order(SPOT, "market", "buy", 0.05)
        assert (taken["status"], taken["filled"]) == ("closed", 0.05)
        await until(lambda: sum(t["amount"] for t in trades.seen) == pytest.approx(0.05), "the fills")
        assert (await spot.fetch_open_orders(SPOT))[0]["id"] == resting["id"]
        replaced = await spot.edit_order(resting["id"], SPOT, "limit", "buy", 0.02, 45_100)
        assert (replaced["amount"], replaced["price"]) == (0.02, 45_100.0)
        assert (await spot.cancel_order(replaced["id"], SPOT))["status"] == "canceled"
        ends = {(resting["id"], "canceled"), (taken["id"], "closed"), (replaced["id"], "canceled")}
        await until(lambda: ends <= {(o["id"], o["status"]) for o in orders.seen}, "the orders' ends")
    told = {t["id"]: (Decimal(str(t["amount"])), Decimal(str(t["price"]))) for t in trades.seen}
    true = {str(f["id"]): (Decimal(f["qty"]), Decimal(f["price"])) for f in exchange.truth()["fills"]}
    assert {k: (a.normalize(), p.normalize()) for k, (a, p) in told.items()} == {
        k: (a.normalize(), p.normalize()) for k, (a, p) in true.items()
    }
    # ccxt puts the trades of one millisecond in the order of their ids as text
    in_order = sorted(exchange.truth()["fills"], key=lambda f: (f["time"], str(f["id"])))
    assert [t["id"] for t in await spot.fetch_my_trades(SPOT)] == [str(f["id"]) for f in in_order]
    held = exchange.account.spot
    assert (await spot.fetch_balance())["free"] == pytest.approx({a: float(b.free) for a, b in held.items()})


async def test_books_trades_candles_and_tickers_arrive(exchange: LoopbackExchange, spot: Any, futures: Any) -> None:
    for client, symbol, product in ((spot, SPOT, "spot"), (futures, PERP, "futures")):
        for watch in (client.watch_trades, client.watch_ticker, client.watch_ohlcv, client.watch_bids_asks):
            found = await asyncio.wait_for(watch([symbol] if watch == client.watch_bids_asks else symbol), PATIENCE_S)
            assert found
        assert len(await client.fetch_ohlcv(symbol, "5m", limit=50)) == 50
        book = await asyncio.wait_for(client.watch_order_book(symbol), PATIENCE_S)
        exchange.pause()
        matching = exchange.matching(product, "BTCUSDT")
        exchange.act(product, "BTCUSDT", "quote", "BUY", "0.5", "49000")
        while book["nonce"] != matching.book.update:
            book = await asyncio.wait_for(client.watch_order_book(symbol), PATIENCE_S)
        for side, name in ((1, "bids"), (-1, "asks")):
            true = [
                [float(matching.listing.px(t)), float(matching.listing.qty(q))]
                for t, q in matching.book.depth(side, 999)
            ]
            assert [list(level) for level in book[name]] == true
        exchange.resume()


async def test_futures_positions_orders_and_funding(exchange: LoopbackExchange, futures: Any) -> None:
    assert (await futures.fetch_balance())["total"] == {"USDT": 100_000.0}
    await futures.set_leverage(10, PERP)
    async with (
        Watcher(lambda: futures.watch_orders(PERP)) as orders,
        Watcher(lambda: futures.watch_positions([PERP])) as positions,
        Watcher(lambda: futures.watch_my_trades(PERP)) as trades,
    ):
        await listening(exchange, "futures")
        done = await futures.create_order(PERP, "market", "buy", 0.02)
        assert (done["status"], done["filled"]) == ("closed", 0.02)
        await until(lambda: sum(t["amount"] for t in trades.seen) == pytest.approx(0.02), "the fills")
        await until(lambda: any(p["contracts"] == 0.02 for p in positions.seen), "the position")
        resting = await futures.create_order(
            PERP, "limit", "sell", 0.01, 51_000, {"reduceOnly": True, "timeInForce": "GTX"}
        )
        assert (resting["reduceOnly"], resting["status"]) == (True, "open")
        changed = await futures.edit_order(resting["id"], PERP, "limit", "sell", 0.02, 51_500)
        assert (changed["id"], changed["price"]) == (resting["id"], 51_500.0)
        stop = await futures.create_order(PERP, "market", "sell", 0.02, None, {"stopLossPrice": 49_000})
        assert (stop["status"], stop["triggerPrice"]) == ("open", 49_000.0)
        await futures.cancel_order(stop["id"], PERP, {"trigger": True})
        await futures.cancel_all_orders(PERP)
        await until(lambda: (resting["id"], "canceled") in {(o["id"], o["status"]) for o in orders.seen}, "the cancel")
    (position,) = await futures.fetch_positions([PERP])
    assert (position["contracts"], position["side"], position["leverage"]) == (0.02, "long", 10)
    assert position["entryPrice"] == pytest.approx(done["average"])
    assert (await futures.fetch_funding_rate(PERP))["fundingRate"] == 0.0001
    assert [o["id"] for o in await futures.fetch_open_orders(PERP)] == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("reject:code=-2010,path=*/order", "InsufficientFunds"),
        ("reject:code=-1013,path=*/order", "InvalidOrder"),
        ("reject:code=-1121,path=*/order", "BadSymbol"),
        ("http:status=429,path=*/order", "DDoSProtection"),
        ("http:status=503,path=*/order", "OperationFailed"),
        ("unknown:path=*/order", "RequestTimeout"),
        ("skew:ms=-3600000", "InvalidNonce"),
        ("halt:symbol=BTCUSDT", "OperationRejected"),
        ("timeout:path=*/order", "RequestTimeout"),
    ],
)
async def test_faults_become_ccxts_errors(exchange: LoopbackExchange, fault: str, error: str) -> None:
    client = await opened(exchange, "spot", timeout=60_000)
    client.timeout = 2_000 if fault.startswith("timeout") else client.timeout
    try:
        await exchange.fault(fault)
        with pytest.raises(ccxt.BaseError) as raised:
            await client.create_order(SPOT, "limit", "buy", 0.01, 45_000)
        assert error in {kind.__name__ for kind in type(raised.value).__mro__}, repr(raised.value)
        if fault.startswith(("unknown", "timeout")):
            await until(lambda: len(exchange.truth()["orders"]) == 1, "the order")
        else:
            assert exchange.truth()["orders"] == []
    finally:
        await client.close()


async def test_wrong_secrets_and_keys(exchange: LoopbackExchange) -> None:
    for wrong in ({"secret": "wrong"}, {"apiKey": "nobody"}):
        client = await opened(exchange, "spot")
        for name, value in wrong.items():
            setattr(client, name, value)
        try:
            with pytest.raises(ccxt.AuthenticationError):
                await client.fetch_balance()
        finally:
            await client.close()

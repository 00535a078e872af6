"""Requests to the loopback exchange, one by one: what Binance answers, and how it refuses."""

import time
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from quantai.venues.loopback import LoopbackExchange, Product
from tests.integration.loopback_client import Client, limit, market, receive

SPOT, FUTURES = "/api/v3/order", "/fapi/v1/order"


@pytest.fixture
async def exchange() -> AsyncIterator[LoopbackExchange]:
    async with LoopbackExchange(["BTC-USDT"], seed=3) as exchange:
        exchange.pause()
        yield exchange


@pytest.fixture
async def client(exchange: LoopbackExchange) -> AsyncIterator[Client]:
    async with Client(exchange) as client:
        yield client


def balance(exchange: LoopbackExchange, asset: str) -> tuple[Decimal, Decimal]:
    held = exchange.account.spot[asset]
    return held.free, held.locked


async def test_the_public_requests_of_both_products(client: Client) -> None:
    for path in ("/api/v3", "/fapi/v1"):
        assert await client.get(f"{path}/ping") == {}
        assert abs((await client.get(f"{path}/time"))["serverTime"] - time.time() * 1000) < 60_000
        (symbol,) = (await client.get(f"{path}/exchangeInfo"))["symbols"]
        assert symbol["symbol"] == "BTCUSDT"
        assert symbol["filters"][0]["filterType"] == "PRICE_FILTER"
        book = await client.get(f"{path}/depth", symbol="BTCUSDT", limit=5)
        bids, asks = ([Decimal(p) for p, _ in book[side]] for side in ("bids", "asks"))
        assert bids == sorted(bids, reverse=True)
        assert asks == sorted(asks)
        assert bids[0] < asks[0]
        (trade,) = await client.get(f"{path}/trades", symbol="BTCUSDT")
        (aggregate,) = await client.get(f"{path}/aggTrades", symbol="BTCUSDT")
        assert (trade["price"], trade["isBuyerMaker"]) == (aggregate["p"], aggregate["m"])
        candles = await client.get(f"{path}/klines", symbol="BTCUSDT", interval="5m", limit=100)
        assert [b[0] - a[0] for a, b in pairwise(candles)] == [300_000] * 99
        assert all(Decimal(c[3]) <= Decimal(c[4]) <= Decimal(c[2]) for c in candles)
        assert Decimal((await client.get(f"{path}/ticker/price", symbol="BTCUSDT"))["price"]) == Decimal(trade["price"])
        assert (await client.get(f"{path}/ticker/bookTicker"))[0]["bidPrice"] == book["bids"][0][0]
        assert (await client.get(f"{path}/ticker/24hr", symbol="BTCUSDT"))["count"] > 1000
    assert Decimal((await client.get("/fapi/v1/premiumIndex", symbol="BTCUSDT"))["markPrice"]) > 0
    assert Decimal((await client.get("/fapi/v1/openInterest", symbol="BTCUSDT"))["openInterest"]) > 0


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        (SPOT, limit("BUY", "0.01", "45000", symbol="FOOUSDT"), -1121),
        (SPOT, limit("BUY", "0.01", "45000.001"), -1013),
        (SPOT, limit("BUY", "0.000000001", "45000"), -1111),
        (SPOT, limit("BUY", "0.000001", "45000"), -1013),
        (SPOT, limit("BUY", "0.00001", "45000"), -1013),  # 0.45 USDT: below the least notional
        (SPOT, limit("BUY", "0.01", "450000"), -1013),  # far off the market
        (SPOT, limit("BUY", "9", "49000"), -2010),  # 441 000 USDT of 100 000
        (SPOT, market("SELL", "3"), -2010),  # 3 BTC of 2
        (SPOT, limit("HOLD", "0.01", "45000"), -1117),
        (SPOT, limit("BUY", "0.01", "45000", type="MAYBE"), -1116),
        (SPOT, limit("BUY", "0.01", "45000", timeInForce="SOON"), -1115),
        (SPOT, {"side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": "45000"}, -1102),
        (SPOT, {"side": "BUY", "type": "LIMIT", "quantity": "0.01", "timeInForce": "GTC"}, -1102),
        (SPOT, limit("BUY", "ten", "45000"), -1100),
        (SPOT, limit("BUY", "0.01", "45000", newClientOrderId="a b"), -1100),
        (SPOT, market("BUY", "0.01", timeInForce="GTC"), -1106),
        (SPOT, {"side": "BUY", "type": "LIMIT_MAKER", "quantity": "0.01", "price": "51000"}, -2010),
        (SPOT, {"side": "SELL", "type": "STOP_LOSS", "quantity": "0.01", "stopPrice": "51000"}, -2010),
        (FUTURES, limit("BUY", "0.01", "49000", symbol="FOOUSDT"), -1121),
        (FUTURES, limit("BUY", "0.01", "49000.05"), -4014),
        (FUTURES, limit("BUY", "0.0001", "49000"), -1111),
        (FUTURES, limit("BUY", "0", "49000"), -4003),
        (FUTURES, limit("BUY", "10000", "49000"), -4005),
        (FUTURES, limit("BUY", "0.01", "60000"), -4016),
        (FUTURES, limit("SELL", "0.01", "40000"), -4024),
        (FUTURES, limit("BUY", "60", "49000"), -2019),  # 147 000 USDT of margin of 100 000
        (FUTURES, limit("BUY", "0.01", "49000", reduceOnly="true"), -2022),
        (FUTURES, limit("BUY", "0.01", "51000", timeInForce="GTX"), -5022),
        (FUTURES, limit("BUY", "5", "50010", timeInForce="FOK"), -5021),
        (FUTURES, limit("BUY", "0.01", "49000", positionSide="LONG"), -4061),
        (FUTURES, {"side": "SELL", "type": "STOP_MARKET", "quantity": "0.01", "stopPrice": "51000"}, -2021),
    ],
)
async def test_an_order_is_refused_with_binances_code(
    exchange: LoopbackExchange, client: Client, path: str, params: dict[str, Any], code: int
) -> None:
    before = exchange.truth()
    status, answer = await client.ask("POST", path, **({"symbol": "BTCUSDT"} | params))
    assert (status, answer["code"]) == (400, code), answer
    after = exchange.truth()
    assert (after["orders"], after["accounts"]) == (before["orders"], before["accounts"])


@pytest.mark.parametrize(
    ("key", "secret", "ahead_ms", "status", "code"),
    [
        ("", "wrong", 0, 400, -1022),
        ("nobody", "", 0, 401, -2015),
        ("-", "", 0, 401, -2014),
        ("", "", 100_000, 400, -1021),
        ("", "", -100_000, 400, -1021),
    ],
)
async def test_wrong_keys_signatures_and_clocks(
    exchange: LoopbackExchange, key: str, secret: str, ahead_ms: int, status: int, code: int
) -> None:
    async with Client(exchange, key, secret, ahead_ms) as client:
        for path in ("/api/v3/account", "/fapi/v2/account"):
            answered, body = await client.ask("GET", path)
            assert (answered, body["code"]) == (status, code)


async def test_requests_that_are_not_whole(client: Client) -> None:
    status, body = await client.ask("GET", "/api/v3/account", recvWindow=70_000)
    assert (status, body["code"]) == (400, -1131)
    status, body = await client.ask("GET", "/api/v3/nothing")
    assert (status, body["code"]) == (404, -5000)
    status, body = await client.ask("GET", SPOT, symbol="BTCUSDT")
    assert (status, body["code"]) == (400, -1102)
    for path in (SPOT, FUTURES):
        assert (await client.ask("GET", path, symbol="BTCUSDT", orderId=99))[1]["code"] == -2013
        assert (await client.ask("DELETE", path, symbol="BTCUSDT", orderId=99))[1]["code"] == -2011


async def test_a_halted_symbol_trades_no_more_until_healed(exchange: LoopbackExchange, client: Client) -> None:
    await exchange.fault("halt:symbol=BTCUSDT")
    assert (await client.get("/api/v3/exchangeInfo"))["symbols"][0]["status"] == "BREAK"
    for path, code in ((SPOT, -1013), (FUTURES, -4140)):
        _, body = await client.ask("POST", path, symbol="BTCUSDT", **limit("BUY", "0.01", "49000"))
        assert body["code"] == code
    exchange.heal()
    await client.order(**limit("BUY", "0.01", "49000"))


async def test_a_limit_order_rests_locks_money_and_gives_it_back(exchange: LoopbackExchange, client: Client) -> None:
    placed = await client.order(**limit("BUY", "0.01", "45000", newClientOrderId="mine"))
    assert (placed["status"], placed["clientOrderId"], placed["fills"]) == ("NEW", "mine", [])
    assert balance(exchange, "USDT") == (Decimal(99_550), Decimal(450))
    book = await client.get("/api/v3/depth", symbol="BTCUSDT", limit=5000)
    assert ["45000.00000000", "0.01000000"] in book["bids"]
    status, again = await client.ask(
        "POST", SPOT, symbol="BTCUSDT", **limit("BUY", "1", "45000", newClientOrderId="mine")
    )
    assert (status, again["code"]) == (400, -2010)
    (shown,) = (await client.ask("GET", "/api/v3/openOrders"))[1]
    assert shown["orderId"] == placed["orderId"]
    _, canceled = await client.ask("DELETE", SPOT, symbol="BTCUSDT", origClientOrderId="mine")
    assert (canceled["status"], canceled["origClientOrderId"]) == ("CANCELED", "mine")
    assert canceled["clientOrderId"] != "mine"
    assert balance(exchange, "USDT") == (Decimal(100_000), Decimal(0))
    assert (await client.ask("GET", "/api/v3/openOrders"))[1] == []
    assert (await client.ask("GET", SPOT, symbol="BTCUSDT", orderId=placed["orderId"]))[1]["status"] == "CANCELED"


async def test_a_market_order_walks_the_book_and_pays_fees_in_what_it_gets(
    exchange: LoopbackExchange, client: Client
) -> None:
    asks = (await client.get("/api/v3/depth", symbol="BTCUSDT", limit=3))["asks"]
    quantity = sum(Decimal(q) for _, q in asks)
    done = await client.order(**market("BUY", str(quantity)))
    assert [(f["price"], f["qty"]) for f in done["fills"]] == [tuple(level) for level in asks]
    assert done["status"] == "FILLED"
    paid = sum(Decimal(p) * Decimal(q) for p, q in asks)
    assert Decimal(done["cummulativeQuoteQty"]) == paid
    assert balance(exchange, "USDT") == (100_000 - paid, Decimal(0))
    fees = sum(Decimal(f["commission"]) for f in done["fills"])
    assert balance(exchange, "BTC")[0] == 2 + quantity - fees
    assert {f["commissionAsset"] for f in done["fills"]} == {"BTC"}
    assert abs(fees - quantity / 1000) < Decimal("3e-8")
    mine = (await client.ask("GET", "/api/v3/myTrades", symbol="BTCUSDT"))[1]
    assert [(t["price"], t["qty"], t["isMaker"]) for t in mine] == [(p, q, False) for p, q in asks]


async def test_the_market_trades_with_a_resting_order_in_its_turn(exchange: LoopbackExchange, client: Client) -> None:
    best = (await client.get("/api/v3/depth", symbol="BTCUSDT", limit=1))["bids"][0]
    placed = await client.order(**limit("BUY", "0.02", best[0]))
    exchange.act("spot", "BTCUSDT", "take", "SELL", best[1])  # what stood there first
    assert (await client.ask("GET", SPOT, symbol="BTCUSDT", orderId=placed["orderId"]))[1]["status"] == "NEW"
    exchange.act("spot", "BTCUSDT", "take", "SELL", "0.005")
    shown = (await client.ask("GET", SPOT, symbol="BTCUSDT", orderId=placed["orderId"]))[1]
    assert (shown["status"], shown["executedQty"]) == ("PARTIALLY_FILLED", "0.00500000")
    (mine,) = (await client.ask("GET", "/api/v3/myTrades", symbol="BTCUSDT"))[1]
    assert (mine["isMaker"], mine["price"]) == (True, best[0])


async def test_times_in_force_of_spot(client: Client) -> None:
    ask = (await client.get("/api/v3/depth", symbol="BTCUSDT", limit=1))["asks"][0]
    more = str(Decimal(ask[1]) + 1)
    assert (await client.order(**limit("BUY", more, ask[0], timeInForce="FOK")))["status"] == "EXPIRED"
    part = await client.order(**limit("BUY", more, ask[0], timeInForce="IOC"))
    assert (part["status"], part["executedQty"]) == ("EXPIRED", ask[1])


async def test_spending_an_amount_of_the_quote_asset(exchange: LoopbackExchange, client: Client) -> None:
    done = await client.order(side="BUY", type="MARKET", quoteOrderQty="1000")
    assert done["status"] == "FILLED"
    assert Decimal(990) < Decimal(done["cummulativeQuoteQty"]) <= 1000
    assert balance(exchange, "USDT")[0] == 100_000 - Decimal(done["cummulativeQuoteQty"])


async def test_cancel_and_replace(client: Client) -> None:
    first = await client.order(**limit("BUY", "0.01", "45000"))
    both = {"symbol": "BTCUSDT", "cancelReplaceMode": "STOP_ON_FAILURE", "cancelOrderId": first["orderId"]}
    status, done = await client.ask("POST", f"{SPOT}/cancelReplace", **both, **limit("BUY", "0.02", "45100"))
    assert (status, done["cancelResult"], done["newOrderResult"]) == (200, "SUCCESS", "SUCCESS")
    assert done["newOrderResponse"]["price"] == "45100.00000000"
    status, failed = await client.ask("POST", f"{SPOT}/cancelReplace", **both, **limit("BUY", "0.02", "45200"))
    assert (status, failed["code"], failed["data"]["newOrderResult"]) == (400, -2022, "NOT_ATTEMPTED")
    allowed = both | {"cancelReplaceMode": "ALLOW_FAILURE"}
    status, partly = await client.ask("POST", f"{SPOT}/cancelReplace", **allowed, **limit("BUY", "0.02", "45200"))
    assert (status, partly["code"], partly["data"]["newOrderResult"]) == (409, -2021, "SUCCESS")


async def test_stops_wait_for_their_price(exchange: LoopbackExchange, client: Client) -> None:
    stop = await client.order(
        side="SELL", type="STOP_LOSS", quantity="0.01", stopPrice="49900", newOrderRespType="RESULT"
    )
    target = await client.order(
        side="SELL", type="TAKE_PROFIT_LIMIT", quantity="0.01", stopPrice="50500", price="50400", timeInForce="GTC"
    )
    assert (stop["status"], exchange.account.spot["BTC"].locked) == ("NEW", Decimal("0.02"))
    exchange.act("spot", "BTCUSDT", "quote", "BUY", "1", "49899")
    bids = [
        [Decimal(p), Decimal(q)] for p, q in (await client.get("/api/v3/depth", symbol="BTCUSDT", limit=500))["bids"]
    ]
    ahead = sum(q for p, q in bids if p > 49899)
    exchange.act("spot", "BTCUSDT", "take", "SELL", str(ahead + Decimal("0.1")))
    shown = (await client.ask("GET", SPOT, symbol="BTCUSDT", orderId=stop["orderId"]))[1]
    assert (shown["status"], shown["executedQty"]) == ("FILLED", "0.01000000")
    assert (await client.ask("GET", SPOT, symbol="BTCUSDT", orderId=target["orderId"]))[1]["isWorking"] is False


@pytest.mark.parametrize(
    ("mode", "maker", "taker"),
    [
        ("EXPIRE_MAKER", "EXPIRED_IN_MATCH", "NEW"),
        ("EXPIRE_TAKER", "NEW", "EXPIRED_IN_MATCH"),
        ("EXPIRE_BOTH", "EXPIRED_IN_MATCH", "EXPIRED_IN_MATCH"),
        ("NONE", "FILLED", "FILLED"),
    ],
)
async def test_self_trades_are_prevented(client: Client, mode: str, maker: str, taker: str) -> None:
    book = await client.get("/api/v3/depth", symbol="BTCUSDT", limit=1)
    px = str(Decimal(book["bids"][0][0]) + Decimal("0.01"))
    assert Decimal(px) < Decimal(book["asks"][0][0])
    first = await client.order(**limit("BUY", "0.01", px))
    second = await client.order(**limit("SELL", "0.01", px, selfTradePreventionMode=mode))
    assert second["status"] == taker
    assert (await client.ask("GET", SPOT, symbol="BTCUSDT", orderId=first["orderId"]))[1]["status"] == maker


async def test_a_futures_position_from_opening_to_closing(exchange: LoopbackExchange, client: Client) -> None:
    await client.ask("POST", "/fapi/v1/leverage", symbol="BTCUSDT", leverage=10)
    opened = await client.order(FUTURES, **market("SELL", "0.01"))
    (position,) = (await client.ask("GET", "/fapi/v3/positionRisk"))[1]
    assert (position["positionAmt"], position["leverage"]) == ("-0.010", "10")
    assert Decimal(position["entryPrice"]) == Decimal(opened["avgPrice"])
    paid = exchange.exchange.fund("BTCUSDT", Decimal("0.001"))[exchange.key]
    assert paid == Decimal("0.01") * Decimal(position["markPrice"]) * Decimal("0.001")
    closed = await client.order(FUTURES, **market("BUY", "0.02", reduceOnly="true"))
    assert (closed["status"], closed["executedQty"]) == ("EXPIRED", "0.010")  # no more than there was to close
    assert (await client.ask("GET", "/fapi/v3/positionRisk"))[1] == []
    trades = (await client.ask("GET", "/fapi/v1/userTrades", symbol="BTCUSDT"))[1]
    realized = sum(Decimal(t["realizedPnl"]) - Decimal(t["commission"]) for t in trades)
    (wallet,) = (await client.ask("GET", "/fapi/v3/balance"))[1]
    assert Decimal(wallet["balance"]) == 100_000 + realized + paid
    assert exchange.truth()["totals"]["futures"] == {"USDT": "100000.00000000"}


async def test_the_dead_man_switch_cancels_what_nobody_minds(exchange: LoopbackExchange, client: Client) -> None:
    placed = await client.order(FUTURES, **limit("BUY", "0.01", "49000"))
    await client.ask("POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=600_000)
    await client.ask("POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=0)
    assert exchange.exchange.countdowns == {}
    _, key = await client.ask("POST", "/fapi/v1/listenKey")
    async with client.listen(f"/fstream.binance.com/private/ws?listenKey={key['listenKey']}") as socket:
        await client.ask("POST", "/fapi/v1/countdownCancelAll", symbol="BTCUSDT", countdownTime=1)
        event = await receive(socket)
    assert (event["o"]["i"], event["o"]["x"], event["o"]["X"]) == (placed["orderId"], "CANCELED", "CANCELED")


async def test_changing_a_futures_order_keeps_its_number(client: Client) -> None:
    placed = await client.order(FUTURES, **limit("BUY", "0.01", "49000"))
    changed = {"symbol": "BTCUSDT", "side": "BUY", "orderId": placed["orderId"], "quantity": "0.02", "price": "49100"}
    status, now = await client.ask("PUT", FUTURES, **changed)
    assert (status, now["orderId"], now["price"], now["origQty"]) == (200, placed["orderId"], "49100.0", "0.020")
    bids = (await client.get("/fapi/v1/depth", symbol="BTCUSDT", limit=1000))["bids"]
    assert "49000.0" not in dict(bids)
    assert (await client.ask("PUT", FUTURES, **changed))[1]["code"] == -5027
    assert (await client.ask("PUT", FUTURES, **(changed | {"quantity": "99"})))[1]["code"] == -2019
    assert (await client.ask("GET", FUTURES, symbol="BTCUSDT", orderId=placed["orderId"]))[1]["origQty"] == "0.020"


async def test_conditional_futures_orders_live_in_the_algo_service(exchange: LoopbackExchange, client: Client) -> None:
    await client.order(FUTURES, **market("BUY", "0.01"))
    _, key = await client.ask("POST", "/fapi/v1/listenKey")
    stop = {
        "algoType": "CONDITIONAL",
        "side": "SELL",
        "type": "STOP_MARKET",
        "triggerPrice": "49000",
        "clientAlgoId": "s1",
    }
    async with client.listen(f"/fstream.binance.com/private/ws?listenKey={key['listenKey']}") as socket:
        _, placed = await client.ask("POST", "/fapi/v1/algoOrder", symbol="BTCUSDT", closePosition="true", **stop)
        assert (placed["algoStatus"], placed["triggerPrice"]) == ("NEW", "49000.0")
        assert len((await client.ask("GET", "/fapi/v1/openAlgoOrders"))[1]) == 1
        exchange.act("futures", "BTCUSDT", "quote", "BUY", "3", "48999")
        exchange.act("futures", "BTCUSDT", "take", "SELL", "3")
        events = [await receive(socket) for _ in range(6)]
    assert [(e["e"], e.get("o", {}).get("X")) for e in events] == [
        ("ALGO_UPDATE", "NEW"),
        ("ALGO_UPDATE", "TRIGGERED"),
        ("ORDER_TRADE_UPDATE", "NEW"),
        ("ORDER_TRADE_UPDATE", "FILLED"),
        ("ALGO_UPDATE", "FINISHED"),
        ("ACCOUNT_UPDATE", None),
    ]
    assert (await client.ask("GET", "/fapi/v1/algoOrder", clientAlgoId="s1"))[1]["algoStatus"] == "FINISHED"
    assert (await client.ask("GET", "/fapi/v3/positionRisk"))[1] == []


async def test_income_tells_where_the_wallet_comes_from(exchange: LoopbackExchange, client: Client) -> None:
    await client.order(FUTURES, **market("BUY", "0.02"))
    exchange.exchange.fund("BTCUSDT", Decimal("0.0003"))
    await client.order(FUTURES, **market("SELL", "0.02"))
    _, rows = await client.ask("GET", "/fapi/v1/income", limit=1000)
    assert {r["incomeType"] for r in rows} == {"FUNDING_FEE", "COMMISSION", "REALIZED_PNL"}
    assert 100_000 + sum(Decimal(r["income"]) for r in rows) == exchange.account.wallet["USDT"]
    _, (funding,) = await client.ask("GET", "/fapi/v1/income", incomeType="FUNDING_FEE", symbol="BTCUSDT")
    assert Decimal(funding["income"]) < 0
    _, (config,) = await client.ask("GET", "/fapi/v1/symbolConfig", symbol="BTCUSDT")
    assert (config["leverage"], config["marginType"]) == (20, "CROSSED")
    assert (await client.ask("GET", "/fapi/v1/accountConfig"))[1]["dualSidePosition"] is False


async def test_a_trailing_stop_follows_the_market(exchange: LoopbackExchange, client: Client) -> None:
    await client.order(FUTURES, **market("BUY", "0.01"))
    placed = await client.order(
        FUTURES, side="SELL", type="TRAILING_STOP_MARKET", quantity="0.01", callbackRate="1", reduceOnly="true"
    )
    first = Decimal((await client.ask("GET", FUTURES, symbol="BTCUSDT", orderId=placed["orderId"]))[1]["stopPrice"])
    exchange.act("futures", "BTCUSDT", "quote", "SELL", "0.01", "50000")
    asks = [
        (Decimal(p), Decimal(q)) for p, q in (await client.get("/fapi/v1/depth", symbol="BTCUSDT", limit=9))["asks"]
    ]
    exchange.act("futures", "BTCUSDT", "take", "BUY", str(sum(q for _, q in asks)))  # the price rises to the ninth ask
    moved = Decimal((await client.ask("GET", FUTURES, symbol="BTCUSDT", orderId=placed["orderId"]))[1]["stopPrice"])
    assert moved > first
    assert abs(moved - asks[-1][0] * Decimal("0.99")) <= Decimal("0.1")


async def test_a_wallet_that_cannot_hold_its_position_is_liquidated(client: Client, exchange: LoopbackExchange) -> None:
    exchange.account.wallet["USDT"] = Decimal(100)
    exchange.account.positions["BTCUSDT"].leverage = 125
    await client.order(FUTURES, **market("BUY", "0.2"))
    async with client.listen("/fstream.binance.com/market/ws/btcusdt@forceOrder") as socket:
        bid = exchange.matching("futures", "BTCUSDT").book.best(1)
        assert bid is not None
        exchange.matching("futures", "BTCUSDT").clear()
        exchange.act("futures", "BTCUSDT", "quote", "BUY", "9", "49000")
        exchange.act("futures", "BTCUSDT", "quote", "SELL", "9", "49001")
        event = await receive(socket)
    assert (event["o"]["s"], event["o"]["S"], event["o"]["q"]) == ("BTCUSDT", "SELL", "0.200")
    assert exchange.account.positions["BTCUSDT"].lots == 0


async def test_limits_are_counted_and_enforced_when_asked_for() -> None:
    async with LoopbackExchange(["BTC-USDT"], limited=True) as exchange, Client(exchange) as client:
        await client.order(**limit("BUY", "0.001", "45000"))
        assert (client.headers["X-MBX-ORDER-COUNT-10S"], int(client.headers["X-MBX-USED-WEIGHT-1M"])) == ("1", 1)
        exchange._server._gate._weight[Product.SPOT].add(5_999)  # what 300 requests for an account weigh
        status, answer = await client.ask("GET", "/api/v3/account")
        assert (status, answer["code"]) == (429, -1003)
        assert client.headers["Retry-After"] == "1"


async def test_the_user_stream_tells_the_whole_story_of_an_order(exchange: LoopbackExchange, client: Client) -> None:
    _, key = await client.ask("POST", "/api/v3/userDataStream")
    async with client.listen(f"/stream.binance.com:9443/ws/{key['listenKey']}") as socket:
        best = (await client.get("/api/v3/depth", symbol="BTCUSDT", limit=1))["asks"][0]
        placed = await client.order(**limit("BUY", str(Decimal(best[1]) + 1), best[0]))
        await client.ask("DELETE", SPOT, symbol="BTCUSDT", orderId=placed["orderId"], newClientOrderId="enough")
        events = [await receive(socket) for _ in range(5)]
    kinds = [(e["e"], e.get("x"), e.get("X")) for e in events]
    assert kinds == [
        ("executionReport", "NEW", "NEW"),
        ("executionReport", "TRADE", "PARTIALLY_FILLED"),
        ("outboundAccountPosition", None, None),
        ("executionReport", "CANCELED", "CANCELED"),
        ("outboundAccountPosition", None, None),
    ]
    assert (events[1]["l"], events[1]["L"], events[1]["N"], events[1]["m"]) == (best[1], best[0], "BTC", False)
    assert (events[3]["c"], events[3]["C"]) == ("enough", placed["clientOrderId"])
    free = {b["a"]: (Decimal(b["f"]), Decimal(b["l"])) for b in events[4]["B"]}
    assert free["USDT"] == balance(exchange, "USDT")

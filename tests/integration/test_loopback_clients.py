"""Binance clients that are neither ours nor ccxt trade on the loopback exchange; only the address is changed.

python-binance is installed for this; the others run where they are installed. `freqtrade` is looked for on the PATH
and in $QUANTAI_FREQTRADE, because it lives best in an environment of its own.
"""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quantai.venues.loopback import LoopbackExchange
from tests.integration.loopback_client import PATIENCE_S, until

STRATEGY = """
from freqtrade.strategy import IStrategy


class AtOnce(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "1m"
    minimal_roi = {"0": -1}
    stoploss = -0.5
    startup_candle_count = 5
    process_only_new_candles = False

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe["enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        return dataframe
"""


@pytest.fixture
async def exchange() -> AsyncIterator[LoopbackExchange]:
    async with LoopbackExchange(["BTC-USDT"], seed=3) as exchange:
        yield exchange


# the client's own use of an aiohttp that warns about it
@pytest.mark.filterwarnings("ignore::DeprecationWarning:binance.*", "ignore::DeprecationWarning:websockets.*")
async def test_python_binance(exchange: LoopbackExchange, monkeypatch: pytest.MonkeyPatch) -> None:
    import binance  # warns when imported, which the mark above allows only here

    client_class: Any = binance.AsyncClient
    sockets_class: Any = binance.BinanceSocketManager
    addresses = exchange.addresses()
    monkeypatch.setattr(client_class, "API_URL", f"{exchange.http}/api")
    monkeypatch.setattr(client_class, "FUTURES_URL", f"{exchange.http}/fapi")
    monkeypatch.setattr(client_class, "WS_API_URL", addresses["spot"]["ws_api"])
    monkeypatch.setattr(sockets_class, "STREAM_URL", addresses["spot"]["ws"] + "/")
    client = await client_class.create(exchange.key, exchange.secret)
    sockets = sockets_class(client)
    try:
        async with sockets.user_socket() as user:
            placed = await client.create_order(
                symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.01", price="45000"
            )
            told: Any = {}
            while told.get("e") != "executionReport":
                told = await asyncio.wait_for(user.recv(), PATIENCE_S)
            assert (told["i"], told["x"]) == (placed["orderId"], "NEW")
        canceled = await client.cancel_order(symbol="BTCUSDT", orderId=placed["orderId"])
        assert canceled["status"] == "CANCELED"
        bought = await client.order_market_buy(symbol="BTCUSDT", quantity="0.01")
        assert (bought["status"], len(await client.get_my_trades(symbol="BTCUSDT"))) == ("FILLED", len(bought["fills"]))
        await client.futures_create_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.01")
        (position,) = await client.futures_position_information(symbol="BTCUSDT")
        assert Decimal(position["positionAmt"]) == Decimal("-0.01")
        async with sockets.trade_socket("BTCUSDT") as trades:
            exchange.act("spot", "BTCUSDT", "take", "BUY", "0.0001")
            assert (await asyncio.wait_for(trades.recv(), PATIENCE_S))["e"] == "trade"
    finally:
        await client.close_connection()


@pytest.mark.filterwarnings("ignore::DeprecationWarning:binance_.*", "ignore::pydantic.PydanticDeprecatedSince20")
async def test_binances_own_software_kit(exchange: LoopbackExchange) -> None:
    spot = pytest.importorskip("binance_sdk_spot.spot", reason="binance-sdk-spot is not installed")
    common = pytest.importorskip("binance_common.configuration", reason="binance-sdk-spot is not installed")

    def trade() -> tuple[Any, Any]:
        settings = common.ConfigurationRestAPI(
            api_key=exchange.key, api_secret=exchange.secret, base_path=exchange.http
        )
        rest = spot.Spot(config_rest_api=settings).rest_api
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "time_in_force": "GTC"}
        placed = rest.new_order(**order, quantity=0.01, price=45_000.0).data()
        rest.delete_order(symbol="BTCUSDT", order_id=placed.order_id)
        bought = rest.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity=0.01).data()
        return bought.status, rest.my_trades(symbol="BTCUSDT").data()

    status, trades = await asyncio.to_thread(trade)
    assert status == "FILLED"
    assert sum(Decimal(t.qty) for t in trades) == Decimal("0.01")
    assert [o["status"] for o in exchange.truth()["orders"]] == ["CANCELED", "FILLED"]


async def test_freqtrade_buys_and_sells(exchange: LoopbackExchange, tmp_path: Path) -> None:
    program = os.environ.get("QUANTAI_FREQTRADE") or shutil.which("freqtrade")
    if program is None:
        pytest.skip("freqtrade is not installed: put it on the PATH or name it in QUANTAI_FREQTRADE")
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "at_once.py").write_text(STRATEGY)
    (tmp_path / "config.json").write_text(json.dumps(_settings(exchange)))
    log = (tmp_path / "log").open("w")
    arguments = ["trade", "-c", "config.json", "-s", "AtOnce", "--userdir", ".", "--db-url", "sqlite:///trades.sqlite"]
    freqtrade = await asyncio.create_subprocess_exec(program, *arguments, cwd=tmp_path, stdout=log, stderr=log)

    def sold() -> bool:
        assert freqtrade.returncode is None, (tmp_path / "log").read_text()[-4000:]
        return any(f["side"] == -1 for f in fills())

    def fills() -> list[dict[str, Any]]:
        orders = exchange.exchange.orders.values()
        return [{"side": o.side, "lots": f.lots} for o in orders for f in o.fills]

    try:
        await until(sold, "freqtrade's sale", patience_s=300.0)  # it takes a minute to start on a loaded machine
    finally:
        log.close()
        if freqtrade.returncode is None:
            freqtrade.send_signal(signal.SIGINT)
            await asyncio.wait_for(freqtrade.wait(), PATIENCE_S)
    bought, back = (sum(f["lots"] for f in fills() if f["side"] == side) for side in (1, -1))
    assert 0 < back <= bought


def _settings(exchange: LoopbackExchange) -> dict[str, Any]:
    urls = {
        "public": f"{exchange.http}/api/v3",
        "private": f"{exchange.http}/api/v3",
        "sapi": f"{exchange.http}/sapi/v1",
    }
    options = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}
    pricing = {"price_side": "other", "use_order_book": True, "order_book_top": 1}
    return {
        "max_open_trades": 1,
        "stake_currency": "USDT",
        "stake_amount": 1000,
        "dry_run": False,
        "trading_mode": "spot",
        "entry_pricing": pricing,
        "exit_pricing": pricing,
        "order_types": {"entry": "market", "exit": "market", "stoploss": "market", "stoploss_on_exchange": False},
        "exchange": {
            "name": "binance",
            "key": exchange.key,
            "secret": exchange.secret,
            "enable_ws": False,
            "ccxt_config": {"urls": {"api": urls}, "options": options},
            "ccxt_async_config": {"urls": {"api": urls}, "options": options},
            "pair_whitelist": ["BTC/USDT"],
        },
        "pairlists": [{"method": "StaticPairList"}],
        "initial_state": "running",
        "internals": {"process_throttle_secs": 1},
    }

"""A dead-man switch that could not be armed, or not in time, is known; once it is armed that is over."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import ccxt

from quantai.venues.ccxt import profile
from quantai.venues.ccxt.dead_man import DeadMan
from quantai.venues.ccxt.limiter import Priority


class Api:
    """Notes what it is asked, and refuses what is about a market in `refused`."""

    def __init__(self) -> None:
        self.refused, self.asked = set[str](), list[Any]()

    def market(self, symbol: str) -> dict[str, str]:
        return {"id": symbol.partition(":")[0].replace("/", "")}

    async def cancel_all_orders_after(self, ms: int) -> None:
        self._take("", ms)

    async def fapiPrivatePostCountdownCancelAll(self, asked: dict[str, Any]) -> None:  # noqa: N802
        self._take(asked["symbol"], asked["countdownTime"])

    def _take(self, market: str, ms: int) -> None:
        self.asked.append((market, ms))
        if market in self.refused:
            raise ccxt.PermissionDenied("the key may not do this")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def _at_once(weight: str, priority: Priority, call: Callable[[], Awaitable[Any]]) -> Any:
    assert (weight, priority) == ("cancel", Priority.CANCEL)
    return await call()


def made(name: str, api: Api, clock: Clock, *symbols: str) -> DeadMan:
    return DeadMan(api, profile(name), list(symbols), 30.0, call=_at_once, redact=lambda text: text, clock=clock)


async def test_a_switch_that_cannot_be_armed_is_known_until_it_is() -> None:
    api, clock = Api(), Clock()
    switch = made("OKX", api, clock)
    assert switch.trouble == "", "it has not been tried yet"
    api.refused = {""}
    await switch.arm(30.0)
    assert switch.trouble == "OKX: the dead-man switch is not armed"
    api.refused = set()
    await switch.arm(30.0)
    assert switch.trouble == ""
    assert api.asked == [("", 30_000)] * 2


async def test_a_switch_that_is_armed_no_more_in_time_is_known_until_it_is() -> None:
    clock = Clock()
    switch = made("OKX", Api(), clock)
    await switch.arm(30.0)
    clock.now += 30.0
    assert switch.trouble == ""
    clock.now += 0.1
    assert switch.trouble == "OKX: the dead-man switch is not armed"
    await switch.arm(30.0)
    assert switch.trouble == ""
    await switch.arm(0)
    clock.now += 3_600.0
    assert switch.trouble == "", "it was disarmed on purpose"


async def test_one_market_that_is_refused_leaves_the_others_armed() -> None:
    api = Api()
    switch = made("BINANCE_FUTURES", api, Clock(), "BTC/USDT:USDT", "ETH/USDT:USDT")
    api.refused = {"BTCUSDT"}
    await switch.arm(30.0)
    assert api.asked == [("BTCUSDT", 30_000), ("ETHUSDT", 30_000)]
    assert switch.trouble


async def test_a_switch_that_is_being_armed_while_it_is_disarmed_stays_disarmed() -> None:
    api, in_flight, go_on = Api(), asyncio.Event(), asyncio.Event()

    async def slowly(weight: str, priority: Priority, call: Callable[[], Awaitable[Any]]) -> Any:
        in_flight.set()
        await go_on.wait()
        return await call()

    switch = DeadMan(api, profile("OKX"), [], 30.0, call=slowly, redact=lambda text: text, clock=Clock())
    staying = asyncio.create_task(switch.stay())
    await in_flight.wait()
    disarmed = asyncio.create_task(switch.arm(0))
    await asyncio.sleep(0)
    go_on.set()
    await disarmed
    assert api.asked == [("", 30_000), ("", 0)]
    staying.cancel()
    await asyncio.gather(staying, return_exceptions=True)


async def test_nothing_arms_a_switch_that_was_disarmed() -> None:
    api = Api()
    switch = made("OKX", api, Clock())
    await switch.arm(0)
    await switch.stay()
    assert api.asked == [("", 0)]

"""LoopbackExchange: the exchange with its market, its port and its clock, as an async context manager."""

import asyncio
import contextlib
import heapq
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, Self

from quantai.core.errors import InputError, VenueError
from quantai.core.instruments import Instruments
from quantai.core.rows import Rows
from quantai.venues.loopback import recorded
from quantai.venues.loopback.admin import Desk
from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.faults import Fault
from quantai.venues.loopback.flow import SyntheticFlow
from quantai.venues.loopback.listings import Listing, Product, listings
from quantai.venues.loopback.matching import Matching
from quantai.venues.loopback.server import Server

KEY, SECRET = "loopback-key", "loopback-secret"
_BURST = 200  # actions in a row before others get their turn
Act = Callable[[], Matching]


class LoopbackExchange:
    """An exchange on 127.0.0.1 that speaks Binance's spot and USD-M futures protocol.

    The market is synthetic (`symbols`, `seed`, about `rate_hz` actions a second and symbol) or, with `rows` and
    `instruments`, a recorded one; either runs at `speed` times its pace. Depth diffs come every `depth_ms` of market
    time. `faults` are in force from the start (see `faults`). `limited` enforces the rate limits.
    One account exists, `key` and `secret`, with `deposits` by asset (spot) and `wallet` (futures), or plenty of each.
    Raises InputError for bad arguments, and VenueError when the port is taken.

    >>> async def first_price() -> str:
    ...     async with LoopbackExchange(symbols=["BTC-USDT"], seed=7) as exchange:
    ...         return exchange.matching("spot", "BTCUSDT").listing.px(1)
    >>> asyncio.run(first_price())
    '0.01000000'
    """

    def __init__(
        self,
        symbols: Sequence[str] = ("BTC-USDT", "ETH-USDT", "SOL-USDT"),
        *,
        port: int = 0,
        seed: int = 1,
        rate_hz: float = 20.0,
        speed: float = 1.0,
        rows: Rows | None = None,
        instruments: Instruments | None = None,
        faults: Iterable[str] = (),
        key: str = KEY,
        secret: str = SECRET,
        deposits: dict[str, Decimal] | None = None,
        wallet: dict[str, Decimal] | None = None,
        depth_ms: float = 100.0,
        limited: bool = False,
    ) -> None:
        for name, value in (("speed", speed), ("rate_hz", rate_hz), ("depth_ms", depth_ms)):
            if not 0 < value < float("inf"):  # nor NaN
                raise InputError(f"{name} {value} is not a positive number")
        if rows is None and not symbols:
            raise InputError("a synthetic market needs symbols to list, such as BTC-USDT")
        if (rows is None) != (instruments is None):
            raise InputError("a recorded market needs its rows and its instruments")
        self.key, self.secret = key, secret
        self._rows, self._rate_hz = rows, rate_hz
        self._numbers: tuple[int, ...] = ()
        self._speed, self._depth_ms, self._wanted_port, self._seed = speed, depth_ms, port, seed
        if rows is None or instruments is None:
            listed = listings(symbols)
        else:
            numbered = recorded.recorded_listings(rows, instruments)
            listed, self._numbers = tuple(numbered.values()), tuple(numbered)
        self.exchange = Exchange(listed, seed)
        self.account = self.exchange.open_account(
            key, secret, deposits or _plenty(listed), wallet or dict.fromkeys(_quotes(listed), Decimal(100_000))
        )
        self._faults = [Fault.parse(text) for text in faults]
        self._desk = Desk(self.exchange, self._pace, self._schedule_restart)
        self._server = Server(self.exchange, self._desk, limited=limited)
        self._tasks: list[asyncio.Task[None]] = []
        self._resumed = asyncio.Event()
        self._elapsed_ns, self._since_ns = 0.0, 0
        self.ended = asyncio.Event()
        """Set when a recorded market has nothing more to say."""
        self.failed = asyncio.Event()
        """Set when the market cannot go on; leaving the context raises what happened."""

    async def __aenter__(self) -> Self:
        agenda = self._open_market()
        try:
            await self._server.open(self._wanted_port)
        except OSError as error:
            raise VenueError(f"port {self._wanted_port} cannot be served: {error.strerror}; choose another") from None
        self._since_ns = time.monotonic_ns()
        self._resumed.set()
        self._tasks = [
            asyncio.create_task(self._drive(agenda)),
            asyncio.create_task(_every(lambda: self._depth_ms / 1_000 / self._speed, self.exchange.tick)),
            asyncio.create_task(_every(lambda: 1.0, self.exchange.tick_slowly)),
        ]
        for task in self._tasks:
            task.add_done_callback(self._notice)
        for fault in self._faults:
            await self._desk.add(fault)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.close()
        for end in ends:
            if isinstance(end, Exception):
                raise end

    def _notice(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failed.set()  # the error itself is raised when the context ends

    # addresses

    @property
    def port(self) -> int:
        """The port that is served."""
        return self._server.port

    @property
    def http(self) -> str:
        """The base address of REST requests."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        """The base address of sockets."""
        return f"ws://127.0.0.1:{self.port}"

    def addresses(self) -> dict[str, Any]:
        """Return every address with the key and the secret to use."""
        return {
            "rest": self.http,
            "ws": self.ws,
            "spot": {
                "rest": self.http,
                "ws": f"{self.ws}/stream.binance.com",
                "ws_api": f"{self.ws}/ws-api/v3",
            },
            "futures": {
                "rest": self.http,
                "ws": f"{self.ws}/fstream.binance.com",
                "ws_api": f"{self.ws}/ws-fapi/v1",
            },
            "key": self.key,
            "secret": self.secret,
            "symbols": {p: [s for q, s in self.exchange.matchings if q is p] for p in Product},
        }

    # what tests do with it

    def matching(self, product: str, symbol: str) -> Matching:
        """Return the engine of a symbol, such as ("futures", "BTCUSDT"); raises UnknownName."""
        return self.exchange.matching(product, symbol)

    def truth(self) -> dict[str, Any]:
        """Return all orders, fills, balances and positions, as `GET /loopback/truth` does."""
        return self.exchange.truth()

    async def fault(self, text: str) -> int:
        """Put a fault in force (`drop:p=0.1`) and return its number; raises UnknownName or InputError."""
        return await self._desk.add(Fault.parse(text))

    def heal(self) -> None:
        """Take every fault away."""
        self.exchange.faults.clear()

    def pause(self) -> None:
        """Stop the market; client orders still trade with what stands in the books."""
        self._pace(True, None)

    def resume(self) -> None:
        """Let the market go on where it stopped."""
        self._pace(False, None)

    def act(self, product: str, symbol: str, do: str, side: str, quantity: str, price: str = "") -> None:
        """Let the market `take`, `quote` or `withdraw` at once; raises InputError."""
        self._desk.market({"product": product, "symbol": symbol, "do": do, "side": side, "quantity": quantity}
                          | ({"price": price} if price else {}))  # fmt: skip

    # the market

    def _pace(self, paused: bool | None, speed: float | None) -> None:
        self._elapsed_ns, self._since_ns = self._now_ns(), time.monotonic_ns()
        if speed is not None:
            if not speed > 0:
                raise InputError(f"speed {speed} is not positive")
            self._speed = speed
        if paused is not None:
            (self._resumed.clear if paused else self._resumed.set)()

    def _now_ns(self) -> float:
        """Return the market's own time since it began."""
        running = time.monotonic_ns() - self._since_ns if self._resumed.is_set() else 0
        return self._elapsed_ns + running * self._speed

    def _open_market(self) -> Iterator[tuple[int, Act]]:
        exchange = self.exchange
        agenda = self._synthetic() if self._rows is None else self._recorded(self._rows)
        for (_, symbol), matching in exchange.matchings.items():
            exchange.streams.start(matching)
            if matching.last:
                exchange.streams.records[matching.listing.product, symbol].invent(
                    matching.last, self._seed, exchange.now_ms()
                )
        exchange.tick_slowly()
        return agenda

    def _synthetic(self) -> Iterator[tuple[int, Act]]:
        flows: list[SyntheticFlow] = []
        for number, matching in enumerate(self.exchange.matchings.values()):
            flow = SyntheticFlow(matching, 1_000 * self._seed + number, self._rate_hz)
            flow.open()
            self.exchange.after(matching)
            flows.append(flow)
        merged = heapq.merge(*(_numbered(number, flow) for number, flow in enumerate(flows)))
        return ((at, flows[number].act) for at, number in merged)

    def _recorded(self, rows: Rows) -> Iterator[tuple[int, Act]]:
        engines = dict(zip(self._numbers, self.exchange.matchings.values(), strict=True))
        listed = (s for s in recorded.steps([rows]) if s.instrument in engines)
        agenda = ((s.at_ns, recorded.Action(s, engines[s.instrument])) for s in listed)
        for at_ns, act in agenda:
            if at_ns > 0:
                return chain([(at_ns, act)], agenda)
            self.exchange.after(act())  # what stands at the very beginning is there when the port opens
        return agenda

    async def _drive(self, agenda: Iterator[tuple[int, Act]]) -> None:
        burst = 0
        for at_ns, act in agenda:
            while (early_ns := at_ns - self._now_ns()) > 0 or not self._resumed.is_set():
                burst = 0
                if self._resumed.is_set():
                    await asyncio.sleep(early_ns / self._speed / 1e9)
                else:
                    await self._resumed.wait()
            self.exchange.after(act())
            burst += 1
            if burst >= _BURST:
                burst = 0
                await asyncio.sleep(0)
        self.ended.set()

    async def _schedule_restart(self, fault: Fault) -> None:
        async def restart() -> None:
            await asyncio.sleep(fault.ms / 1_000)
            port = self.port
            await self._server.close()
            await asyncio.sleep(fault.s)
            await self._server.open(port)
            fault.done += 1
            with contextlib.suppress(ValueError):
                self.exchange.faults.remove(fault)

        self._tasks.append(asyncio.create_task(restart()))


async def _every(period_s: Callable[[], float], act: Callable[[], None]) -> None:
    """Do something at each beat of an absolute clock, so that lateness does not add up; missed beats are left out."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + max(period_s(), 0.001), loop.time())
        await asyncio.sleep(due - loop.time())
        act()


def _numbered(number: int, flow: SyntheticFlow) -> Iterator[tuple[int, int]]:
    return ((at, number) for at in flow.due())


def _quotes(listed: Iterable[Listing]) -> set[str]:
    return {x.quote for x in listed}


def _plenty(listed: Iterable[Listing]) -> dict[str, Decimal]:
    """Return 100 000 of each quote asset, and as much worth of each base asset."""
    plenty = {x.base: Decimal(round(Decimal(100_000) / x.price) or 1) for x in listed if x.product is Product.SPOT}
    return plenty | dict.fromkeys(_quotes(listed), Decimal(100_000))

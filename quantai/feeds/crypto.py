"""CryptoFeed: one venue over the network through cryptofeed, supervised.

cryptofeed reconnects by itself; what it does not do is notice a socket that never speaks, slow down before a venue
bans it, go on after its retries are used up, or say that rows are missing. That is added here (see `watch`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from quantai.core.errors import InputError, UnknownName, VenueError
from quantai.core.instruments import Instruments
from quantai.core.rows import SEC, Status
from quantai.feeds.feed import Batch
from quantai.feeds.health import Delay, Health, State
from quantai.feeds.messages import Scribe, to_ns
from quantai.feeds.outlet import SLICE_S, Outlet
from quantai.feeds.quarantine import Quarantine
from quantai.feeds.raw import RawFile
from quantai.feeds.symbols import Names
from quantai.feeds.venues import CONSECUTIVE, check_channels, describe, exchange
from quantai.feeds.watch import Pace, Watch

_RETRIES = 5  # cryptofeed doubles its delay each time without a bound: after a minute of failures it is started anew
_JITTER = 0.25  # of each delay: a venue that was down is not stormed by all its clients at once
_LOOK_S = 0.25
_CLOSING_S = 15.0  # a venue that is gone does not answer the closing handshake, which takes 10 s to time out
_HELD_NS = 60 * SEC
"""How long a message may be held between its receipt and its rows: some books first wait for a snapshot."""


class CryptoFeed:
    """Rows from `venue`, one of `venues()`.

    `sandbox` asks for the venue's test network; `redirect` is a pair of base addresses (ws, http) to dial instead of
    the venue's own. `stale_s` is how long a connection may be silent before it is opened again, and `pace_s` the
    first delay when a venue keeps closing connections. `raw` is told of everything that crosses the wire. `seq`
    continues the numbers of an earlier recording, and `resumed` reports the time in between as a gap. A message that
    cannot be read leaves GAP rows and goes into `quarantine`; a book that stays crossed is asked for again. `clock`
    (ns UTC) stamps the rows, by default the wall clock; a run that trades has one that nobody can set. `slice_s` is how
    long a burst is read on end: who trades wants its first rows soon, who records wants little work.
    """

    def __init__(
        self,
        venue: str,
        *,
        sandbox: bool = False,
        redirect: tuple[str, str] | None = None,
        stale_s: float = 120.0,
        pace_s: float = 1.0,
        candle_interval: str | None = None,
        seq: int = 0,
        resumed: bool = False,
        raw: RawFile | None = None,
        quarantine: Path | None = None,
        clock: Callable[[], int] | None = None,
        slice_s: float = SLICE_S,
    ) -> None:
        self._class, self._venue = exchange(venue), venue
        offer = describe(venue)
        if sandbox and not offer["sandbox"]:
            raise InputError(f"{venue} has no sandbox that cryptofeed knows: leave out sandbox")
        if candle_interval is not None and candle_interval not in offer["candle_intervals"]:
            raise UnknownName(f"candle interval of {venue}", candle_interval, offer["candle_intervals"])
        self._options = {"sandbox": sandbox, "candle_interval": candle_interval}
        self._numbered: bool = offer["numbered"]
        self._redirect, self._pace_s, self._seq, self._raw = redirect, pace_s, seq, raw
        self._slice_s = slice_s
        self._clock, self._is_wall_clock = clock or time.time_ns, clock is None
        self.quarantine = Quarantine(venue, quarantine)
        self._watch = Watch(stale_s, resumed=resumed)
        self._outlet: Outlet | None = None
        self._trips = 0
        self._stop = asyncio.Event()
        self._scribe: Scribe | None = None
        self._subscription: dict[str, list[str]] = {}
        self._feed: Any = None
        self._stale: set[Any] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def venue(self) -> str:
        """The venue's name."""
        return self._venue

    @property
    def instruments(self) -> Instruments:
        """What `instrument` numbers in the rows: the subscribed symbols, in their order."""
        return Instruments() if self._scribe is None else self._scribe.instruments

    def health(self) -> Health:
        """Say how the feed is now."""
        outlet, states = self._outlet, self._watch.connections
        return Health(
            venue=self._venue,
            state=self.state,
            connections=sum(c.stats.open for c in states),
            received=self.received,
            silent_s=outlet.silent_s if outlet else float("nan"),
            reconnects=outlet.reconnects if outlet else 0,
            trips=self._trips,
            gaps=outlet.gaps if outlet else 0,
            quarantined=self.quarantine.count,
            delay=Delay.of(list(self._scribe.delays) if self._scribe else []),
        )

    @property
    def received(self) -> int:
        """Frames received so far."""
        return sum(c.stats.received for c in self._watch.connections)

    @property
    def state(self) -> State:
        """How its connections are now."""
        connections = self._watch.connections
        if self._watch.silent:
            return "silent"
        if not connections or not any(c.connects for c in connections):
            return "connecting"
        return "up" if all(c.stats.open for c in connections) else "down"

    async def connect(self) -> None:
        """Load the venue's list of symbols; raises VenueError when that fails."""
        from cryptofeed.connection import HTTPAsyncConn
        from cryptofeed.symbols import Symbols

        from quantai.feeds.internals import first_line

        connection = self._prepared(HTTPAsyncConn(self._venue))
        try:
            # the list is a global of the process: whatever was there may be of another address, or old
            await self._class.load_symbols(conn=connection, refresh=True)
        except Exception as error:
            raise VenueError(f"{self._venue}: its list of symbols cannot be loaded: {first_line(error)}") from error
        finally:
            await connection.close()
        listed, info = Symbols.get(self._venue)
        self._scribe = Scribe(self._venue, Names(self._venue, listed), info, self._seq)

    def subscribe(self, symbols: Sequence[str], channels: Sequence[str]) -> None:
        """Choose symbols and channels; raises UnknownName for one that the venue does not have, InputError for none."""
        if self._scribe is None:
            raise InputError(f"{self._venue}: connect() comes before subscribe()")
        if not symbols:
            raise InputError(f"{self._venue}: no symbol to receive: name some, such as BTC-USDT")
        theirs = list(dict.fromkeys(self._scribe.names.theirs(s) for s in symbols))
        self._subscription = dict.fromkeys(check_channels(self._venue, list(channels)), theirs)
        for name in theirs:
            self._scribe.listing(name)
        if self._raw is not None:
            self._raw.begin(self._venue, self._subscription, self._options)

    async def batches(self) -> AsyncIterator[Batch]:
        """Yield what arrives until `close`; raises VenueError when the venue cannot be used any more."""
        if self._scribe is None or not self._subscription:
            raise InputError(f"{self._venue}: connect() and subscribe() come before batches()")
        from quantai.feeds.internals import carried, open_again

        names = self._scribe.names
        outlet = Outlet(
            self._scribe,
            self._watch,
            self._received_ns,
            lambda connection: carried(self._feed, names, connection),
            numbered=self._numbered,
            consecutive=self._venue in CONSECUTIVE,
            torn=open_again,
            slice_s=self._slice_s,
        )
        self._outlet = outlet
        tasks = [asyncio.create_task(self._run(outlet)), asyncio.create_task(self._supervise(outlet))]
        try:
            async for burst in outlet.bursts():
                for batch in burst:
                    yield batch
        finally:
            outlet.leave()
            await self.close()
            for task in tasks:
                with suppress(TimeoutError):
                    await asyncio.wait_for(task, _CLOSING_S)

    async def close(self) -> None:
        """Stop receiving."""
        self._stop.set()

    async def _run(self, outlet: Outlet) -> None:
        from cryptofeed.exceptions import ExhaustedRetries

        from quantai.feeds.internals import first_line, leaves

        failure: VenueError | None = None
        while not self._stop.is_set():
            self._feed = self._made(outlet)
            try:
                await self._feed.run(self._stop)
            except Exception as error:  # noqa: BLE001 -- handed to the consumer, whatever a parser raised
                causes = leaves(error)
                if all(isinstance(cause, ExhaustedRetries) for cause in causes):
                    self._watch.restart()
                    continue
                ours = [cause for cause in causes if isinstance(cause, VenueError)]
                failure = ours[0] if ours else VenueError(f"{self._venue}: {first_line(causes[0])}")
                self._stop.set()
        outlet.report([*self._watch.reopened(), *self._watch.stop()], self._clock())
        outlet.end(failure)

    def _received_ns(self, receipt: float) -> int:
        """Return when a message came by our clock: as long ago as by the wall clock, unless that was set meanwhile."""
        if self._is_wall_clock:
            return to_ns(receipt)
        ago = time.time_ns() - to_ns(receipt)
        return self._clock() - (ago if 0 <= ago < _HELD_NS else 0)

    def _made(self, outlet: Outlet) -> Any:
        from quantai.feeds.internals import QUIET, before_opening, guard, wrap

        feed = self._class(
            subscription=self._subscription,
            callbacks=outlet.callbacks(),
            config=QUIET,
            timeout=-1,  # its watchdog only starts with the first message: ours starts with the connection
            retries=_RETRIES,
            cross_check=True,
            exceptions=[VenueError],
            **self._options,
        )
        self._prepared(feed.http_conn)

        def used(connection: Any) -> Any:
            made = self._prepared(connection)
            pace = Pace(self._venue, first_s=self._pace_s, jitter=_JITTER)
            before_opening(made, lambda c: self._wait(c, pace))
            self._watch.add(made)
            return outlet.paced(made)

        def refused(message: Any, connection: Any, error: Exception) -> None:
            now_ns = self._clock()
            self.quarantine.take(message, error, now_ns)
            outlet.missing(connection, now_ns, f"a message could not be read: {self.quarantine.kept[-1].error}")

        guard(feed, self.quarantine.passed, refused)
        wrap(feed, used)
        return feed

    def _prepared(self, connection: Any) -> Any:
        from quantai.feeds.redirect import redirect

        if self._redirect is not None:
            redirect(connection, *self._redirect)
        connection.raw_data_callback = self._raw  # of this connection only: cryptofeed's own recorder is one a process
        return connection

    async def _wait(self, connection: Any, pace: Pace) -> None:
        ours = connection in self._stale
        self._stale.discard(connection)
        delay = pace.delay(time.monotonic(), connection.stats.received, ours=ours)
        if delay:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), delay)
        if self._stop.is_set():  # opening now would wait for a message that may never come
            raise ConnectionAbortedError(f"{self._venue}: stopped while connecting")

    async def _supervise(self, outlet: Outlet) -> None:
        while not self._stop.is_set():
            changes = self._watch.look(time.monotonic())
            outlet.report(changes, self._clock())
            for change in changes:
                if change.status is Status.STALE:
                    self._trips += 1
                    self._stale.add(change.connection)
                    change.connection.record_watchdog_trip()
                    task = asyncio.create_task(change.connection.close())  # can take 10 s when nobody answers
                    self._closing.add(task)
                    task.add_done_callback(self._closing.discard)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _LOOK_S)

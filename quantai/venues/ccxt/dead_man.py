"""The dead-man switch of an exchange, kept armed: it cancels everything when it has not heard from us for a while."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

from quantai.venues.ccxt.limiter import Priority
from quantai.venues.ccxt.profiles import Profile
from quantai.venues.ccxt.questions import Call
from quantai.venues.ccxt.verdicts import words

RENEWALS = 3
"""How often a switch is armed anew within the time after which it would strike."""

AGAIN_S = 2.0
"""How long it is left as it is, at most, after it could not be armed."""

_log = logging.getLogger(__name__)


class DeadMan:
    """Keeps the switch of one account armed: `after_s` without a word, and orders in `symbols` (ccxt's) are canceled.

    `clock` gives seconds that only pass.
    """

    def __init__(
        self,
        api: Any,
        profile: Profile,
        symbols: list[str],
        after_s: float,
        *,
        call: Call,
        redact: Callable[[str], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._profile, self._symbols, self._after_s = api, profile, symbols, after_s
        self._call, self._redact, self._clock = call, redact, clock
        self._why, self._armed_until = "", clock() + after_s
        self._turn = asyncio.Lock()  # two calls at once may arrive in either order

    @property
    def trouble(self) -> str:
        """What is wrong in a line that stays the same while it is; "" while the switch is armed."""
        is_armed = not self._why and self._clock() <= self._armed_until
        return "" if is_armed else f"{self._profile.name}: the dead-man switch is not armed"

    async def stay(self) -> None:
        """Arm it again and again, until canceled or disarmed."""
        while True:
            async with self._turn:
                if self._armed_until == math.inf:
                    return
                await self._tell(self._after_s)
            pause_s = self._after_s / RENEWALS
            await asyncio.sleep(min(pause_s, AGAIN_S) if self._why else pause_s)

    async def arm(self, after_s: float) -> None:
        """Tell the exchange to cancel everything after so many seconds without a word; 0 disarms it for good."""
        async with self._turn:
            await self._tell(after_s)

    async def _tell(self, after_s: float) -> None:
        begun, why = self._clock(), ""
        for call in self._calls(int(after_s * 1000)):
            try:
                await self._call("cancel", Priority.CANCEL, call)
            except Exception as error:  # noqa: BLE001 -- said, and tried again
                why = self._redact(words(error))
                _log.warning("%s: the dead-man switch is not set: %s", self._profile.name, why)
        self._why = why
        if not why:
            self._armed_until = begun + after_s if after_s else math.inf  # disarmed on purpose

    def _calls(self, ms: int) -> list[Callable[[], Awaitable[Any]]]:
        api = self._api
        if self._profile.dead_man == "all":
            return [lambda: api.cancel_all_orders_after(ms)]
        each = [{"symbol": api.market(symbol)["id"], "countdownTime": ms} for symbol in self._symbols]
        return [lambda asked=asked: api.fapiPrivatePostCountdownCancelAll(asked) for asked in each]

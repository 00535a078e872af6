"""Funding that an exchange has charged: asked for now and then, each payment told once."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from quantai.core.instruments import Contract, Instrument
from quantai.venues.ccxt.facts import decimal
from quantai.venues.ccxt.limiter import Priority
from quantai.venues.ccxt.verdicts import words
from quantai.venues.venue import Payment

BACK_S = 7 * 86_400.0
"""How far back is asked at first: a run that was interrupted may have missed payments."""

Call = Callable[[str, Priority, Callable[[], Awaitable[Any]]], Awaitable[Any]]
_log = logging.getLogger(__name__)


class FundingWatch:
    """Asks for the funding of the perpetuals among `instruments`, which are by the exchange's symbol."""

    def __init__(
        self, api: Any, instruments: dict[str, Instrument], call: Call, name: str, redact: Callable[[str], str]
    ) -> None:
        able = bool(api.has.get("fetchFundingHistory"))
        self._mine = {s: i for s, i in instruments.items() if able and i.contract is Contract.PERPETUAL}
        self._api, self._call, self._name, self._redact = api, call, name, redact
        self._since = dict.fromkeys(self._mine, int((time.time() - BACK_S) * 1000))
        self._told: set[tuple[str, int]] = set()

    async def look(self) -> tuple[Payment, ...]:
        """Return the payments that were not returned before; one that cannot be asked for is asked for again."""
        found: list[Payment] = []
        for symbol, instrument in self._mine.items():
            since = self._since[symbol]
            try:
                said = await self._call(
                    "balance", Priority.QUERY, lambda s=symbol, t=since: self._api.fetch_funding_history(s, t)
                )
                paid = [(int(one["timestamp"]), decimal(one.get("amount"))) for one in said]
            except Exception as error:  # noqa: BLE001 -- said, and asked again
                why = self._redact(words(error))
                _log.warning("%s: the funding of %s is not known: %s", self._name, instrument.symbol, why)
                continue
            for ms, amount in paid:
                if not amount or (symbol, ms) in self._told:
                    continue
                self._told.add((symbol, ms))
                self._since[symbol] = max(self._since[symbol], ms)
                found.append(Payment(symbol=instrument.symbol, amount=amount, ts=ms * 1_000_000))
        return tuple(found)

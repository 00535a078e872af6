"""The venue: who is asked for orders and says what became of them; the simulator, paper and real exchanges alike.

A request goes out with `send` and is never repeated. What a venue has to say arrives as `Answer`s, in the order in
which it said it; an execution always comes from a stream of executions, with its own id, never as a difference of sums.
"""

from collections.abc import AsyncIterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum
from typing import Protocol

from quantai.core.reports import REPORT
from quantai.core.rows import Rows, Status, zeros

CLIENT_ID = "client_id"
"""A text of an Answer: our client id, where the venue object does not know which order it belongs to (`order` is 0)."""

VENUE_ID = "venue_id"
"""A text of an Answer: the venue's own id of the order."""

EXEC_ID = "exec_id"
"""A text of an Answer: the venue's own id of the execution, of which REPORT.exec is the number."""

FEE = "fee"
"""A text of an Answer about one FILL: what was paid for it, `0.00012 BNB`; negative is a rebate."""

REASON = "reason"
"""A text of an Answer: why something was refused, in the venue's words."""

RAW = "raw"
"""A text of an Answer: the venue's message, as JSON."""


class Ask(IntEnum):
    """What a venue is asked for."""

    NEW = 1
    CANCEL = 2
    REPLACE = 3
    QUERY = 4  # the order's status and every execution of it, by client id


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request for a venue; sent at most once, and only after what caused it is in the journal.

    `client_id` names this request, `order_id` the order it is about (the same for NEW); `request` is its number within
    the order (0 = the order itself). A REPLACE says the new total in `qty_lots` and the new limit in `px_ticks`.
    `instrument` is a number in the instruments of the run.
    """

    ask: Ask
    order: int
    request: int
    client_id: str
    order_id: str
    instrument: int
    side: int
    type: int
    tif: int
    flags: int
    qty_lots: int
    px_ticks: int
    trigger_ticks: int
    expire_ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """Funding that the account received (negative: paid) for what it held of a perpetual at `ts`, ns UTC.

    `amount` is in the settlement currency. A venue may tell the same payment again: it is known by symbol and instant.
    """

    symbol: str
    amount: Decimal
    ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a venue says at one instant: REPORT rows about one order, with (field, text) beside the first of them.

    `seq` of the rows is 0: they are numbered by whoever journals them. An execution is an Answer of its own, so that
    its texts are beside it. `link` tells of the connection instead: DISCONNECTED from when on nothing that happens at
    the venue is heard, CONNECTED once it is again and what was missed has been told; a reconciliation belongs there.
    `funding` are payments, which concern no order.
    """

    reports: Rows = field(default_factory=lambda: zeros(0, REPORT))
    texts: tuple[tuple[str, str], ...] = ()
    link: Status | None = None
    funding: tuple[Payment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """One order that works at a venue; `client_id` is "" for one placed without, quantities in units."""

    client_id: str
    venue_id: str
    symbol: str
    side: int
    px: Decimal | None
    qty: Decimal
    filled: Decimal


class Sends(Protocol):
    """Who takes requests."""

    async def send(self, request: Request) -> None:
        """Send one request; raise VenueError when it may not have arrived. It is not sent again either way."""
        ...


class Venue(Sends, Protocol):
    """Who takes requests and answers them.

    `send` hands a request over and returns without waiting for what becomes of it; requests about one order arrive in
    the order in which they were sent.
    """

    name: str

    async def connect(self) -> None:
        """Learn the markets and follow our orders from now on; raise VenueError that says why not."""
        ...

    def answers(self) -> AsyncIterable[Answer]:
        """Say what the venue says until `close`; raise VenueError when that cannot go on. One reader at a time.

        What an `AnswerQueue` says reaches a loop sooner: it is taken while it is being put.
        """
        ...

    async def balances(self) -> dict[str, Decimal]:
        """Return what the account holds by currency, what is bound in orders included; without the zeros."""
        ...

    async def positions(self) -> dict[str, Decimal]:
        """Return the contracts held by our symbol, signed; of spot there are balances only."""
        ...

    async def open_orders(self) -> list[OpenOrder]:
        """Return every order of the account that works in the markets of the run, whoever placed it."""
        ...

    async def close(self) -> None:
        """Let go of the venue; `answers` ends once all that was heard is said. Orders stay as they are."""
        ...

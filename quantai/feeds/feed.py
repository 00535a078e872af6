"""What every feed hands out: the rows of one venue message, and the three verbs that start the flow."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from quantai.core.instruments import Instruments
from quantai.core.rows import BAR, EVENT, Rows

CHANNELS = ("trades", "l2_book", "ticker", "candles", "funding", "open_interest", "liquidations")
"""The channels a feed may carry, by cryptofeed's names."""

STATUS = "status"
"""The channel of a batch that the feed itself makes: STATUS and GAP rows."""

RECEIPT_TIME = 1 << 15
"""EVENT flag: the venue sent no time for this row and `ts_exch` repeats `ts_recv`, which says nothing of latency."""

OFF_GRID = -(2**63)
"""`px_ticks` of a price that is no multiple of its instrument's tick: the venue changed its grid after it was read."""

_ROW_BYTES = EVENT.itemsize


@dataclass(slots=True, eq=False)  # not frozen, which would make it three times as long to write: for readers it is
class Batch:
    """The rows of one venue message about one instrument, in order, and what does not fit in rows.

    `packed` are EVENT rows as bytes; the last one is flagged LAST, so a message can be found again in a stream.
    `packed_bars` are the BAR rows that BAR events point into (`aux`), of length `interval`. `ids` are the venue's ids
    of the TRADE or LIQUIDATION rows, in order. `detail` says in words what a row of the STATUS channel means, or the
    status of a liquidation.
    """

    venue: str
    symbol: str
    channel: str
    packed: bytes
    packed_bars: bytes = b""
    ids: tuple[str | None, ...] = ()
    interval: str = ""
    detail: str = ""

    def __len__(self) -> int:
        """Return how many EVENT rows there are."""
        return len(self.packed) // _ROW_BYTES

    @property
    def events(self) -> Rows:
        """The EVENT rows, read-only."""
        return np.frombuffer(self.packed, EVENT)

    @property
    def bars(self) -> Rows:
        """The BAR rows, read-only."""
        return np.frombuffer(self.packed_bars, BAR)


class Feed(Protocol):
    """A source of batches for one venue: connect, subscribe, rows out.

    `batches` ends when the source ends (a capture) or after `close`; what was received before `close` is still handed
    out.
    """

    @property
    def venue(self) -> str:
        """The venue's name, upper case."""
        ...

    @property
    def instruments(self) -> Instruments:
        """What `instrument` numbers in the rows; filled by `subscribe`."""
        ...

    async def connect(self) -> None:
        """Learn what the venue trades; raises VenueError when it cannot be reached."""
        ...

    def subscribe(self, symbols: Sequence[str], channels: Sequence[str]) -> None:
        """Choose what to receive, before `batches`; raises UnknownName for what the venue does not have."""
        ...

    def batches(self) -> AsyncIterator[Batch]:
        """Yield batches in the order of `seq`; raises VenueError when the venue cannot be used any more."""
        ...

    async def close(self) -> None:
        """Stop receiving."""
        ...

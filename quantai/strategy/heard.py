"""What a strategy hears of the market: which of its handlers a row concerns, in a replay and live alike."""

from typing import Any

from quantai.core.compiled import uncounted_inlined
from quantai.core.rows import LAST, Kind

NOTHING, START, TICK, TRADE_ROW, BOOK_ROW, QUOTE_ROW, FUNDED = range(7)
"""What a step brought; engines count on from here."""
ON_TRADE, ON_BOOK, ON_QUOTE, ON_FUNDING = 1, 2, 4, 8
"""What of the market a strategy listens to, as bits; engines go on from here."""

_TRADE, _LEVEL, _CLEAR, _QUOTE, _FUNDING = (
    int(k) for k in (Kind.TRADE, Kind.LEVEL, Kind.CLEAR, Kind.QUOTE, Kind.FUNDING)
)  # fmt: skip
_OF_LEVELS, _OF_QUOTES = 1, 2


@uncounted_inlined
def hear(mark: Any, kind: int, flags: int, wants: int) -> tuple[int, bool]:
    """Return which handler a row of the market concerns, and whether a message is complete with it.

    `mark` is a record of the row's instrument, whose `pending` remembers how rows of the message at hand changed the
    book: it is heard of once that message is complete, whatever rows of other instruments come between.
    """
    what, complete = NOTHING, flags & LAST != 0
    if kind == _TRADE:
        what, complete = TRADE_ROW if wants & ON_TRADE else NOTHING, True
    elif kind == _FUNDING and wants & ON_FUNDING:
        what, complete = FUNDED, True
    else:
        if kind in (_LEVEL, _CLEAR):
            mark.pending |= _OF_LEVELS
        elif kind == _QUOTE:
            mark.pending |= _OF_QUOTES
        if complete:
            if mark.pending & _OF_LEVELS and wants & ON_BOOK:
                what = BOOK_ROW
            elif mark.pending & _OF_QUOTES and wants & ON_QUOTE:
                what = QUOTE_ROW
            mark.pending = 0
    return what, complete

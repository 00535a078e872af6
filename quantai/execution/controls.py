"""Controls: what a person or our own start decides, as EVENT rows in the one stream."""

import json
from collections.abc import Iterable
from enum import IntEnum
from typing import Any

from quantai.core.given import whole
from quantai.core.rows import EVENT, LAST, Kind, Rows, zeros
from quantai.execution.reasons import TradingState


class Control(IntEnum):
    """What a CONTROL row says (in `aux`)."""

    ACTIVE = 1  # trade
    REDUCING = 2  # only what closes goes out
    HALTED = 3  # only cancels go out; working orders stay
    KILL = 4  # HALTED, and cancel everything that works
    RECONCILE = 5  # after a start or a reconnect: ask about every order, and let only cancels out until RECONCILED
    RECONCILED = 6  # the books agree with the venue
    LIMITS = 7  # new limits: their TOML stands beside the row as the text "limits"
    OPEN = 8  # an instrument's session opens
    CLOSED = 9  # and closes
    START = 10  # a desk begins: on_start, then the rows; with the flag WARM_UP before rows of the past
    PAUSE = 11  # a desk goes on seeing everything, but only its cancels go out
    RESUME = 12  # and everything goes out again
    STOP = 13  # a desk's orders are canceled, and only cancels go out
    FLATTEN = 14  # as STOP, and what the desk holds is closed at the market
    PARAMETERS = 15  # other parameters for a desk: their JSON stands beside the row as the text "control"
    NOTE = 16  # somebody did something that changes nothing in the run: what, stands beside the row in the same way


ALL = -1
"""`px_ticks` of a CONTROL row that concerns every account."""

OF_A_DESK = (Control.START, Control.PAUSE, Control.RESUME, Control.STOP, Control.FLATTEN, Control.PARAMETERS)
"""Controls that concern desks: `px_ticks` is the number of a desk, or ALL."""

STATE = {
    Control.ACTIVE: TradingState.ACTIVE,
    Control.REDUCING: TradingState.REDUCING,
    Control.HALTED: TradingState.HALTED,
    Control.KILL: TradingState.HALTED,
}
"""The trading state that a control sets."""


END = "end"
"""What the text beside the CONTROL row that ends a run holds: the desks that were paused before."""


def ended(paused: Iterable[int]) -> str:
    """Return the text beside the row that ends a run, so that its next start knows whom to resume.

    >>> paused_before(ended([1])), paused_before('{"fast": 5}'), paused_before("")
    ([1], None, None)
    """
    return json.dumps({END: list(paused)})


def paused_before(text: str) -> list[int] | None:
    """Return the desks that were paused before a run was ended; None for the text of any other row."""
    said: Any = json.loads(text) if text.startswith("{") else {}
    return [int(d) for d in said[END]] if isinstance(said.get(END), list) else None


def control(what: Control, *, account: int = ALL, instrument: int = 0, ts: int = 0) -> Rows:
    """Return one CONTROL row, shape (1,), without its number: for one account or desk (by number) or for all.

    >>> int(control(Control.KILL)["px_ticks"][0])
    -1
    """
    row = zeros(1, EVENT)
    row["kind"], row["flags"], row["aux"] = Kind.CONTROL, LAST, whole("what", what)
    row["px_ticks"] = whole("account", account)
    row["ts_exch"] = row["ts_recv"] = whole("ts", ts)
    row["instrument"] = whole("instrument", instrument)
    return row

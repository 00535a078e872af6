"""What travels between a strategy and a simulated exchange, and the SIM record that both ends share.

Requests wait in one list and reports in another, each sorted by its instant of arrival; what one instrument sends never
overtakes itself.
"""

from typing import Any

import numpy as np

from quantai.core.compiled import uncounted, uncounted_inlined
from quantai.core.hints import apart, rarely
from quantai.core.memory import pasted, rows_at

NEVER = 2**63 - 1
ROOM = 4096
"""Places for reports that must be free before the exchange goes on."""

REQUEST = np.dtype(
    [
        ("at", "i8"),  # when it reaches the exchange
        ("order", "i8"),
        ("px", "i8"),
        ("lots", "i8"),
        ("trigger", "i8"),
        ("expire", "i8"),
        ("instrument", "i8"),
        ("side", "i8"),
        ("action", "i8"),
        ("type", "i8"),
        ("tif", "i8"),
        ("flags", "i8"),
    ]
)

REPORT = np.dtype(
    [
        ("ts_exch", "i8"),
        ("ts_recv", "i8"),
        ("order", "i8"),
        ("lots", "i8"),  # filled by this report; of a stop REPLACED, where it wakes
        ("px", "i8"),  # price of the fill, or of the order
        ("open", "i8"),  # what is left open
        ("kind", "i8"),
        ("maker", "i8"),
        ("reason", "i8"),
        ("instrument", "i8"),
        ("side", "i8"),
    ]
)

RESTING = np.dtype(
    [
        ("order", "i8"),
        ("instrument", "i8"),
        ("side", "i8"),
        ("px", "i8"),
        ("open", "i8"),  # lots
        ("filled", "i8"),
        ("front", "f8"),  # lots ahead of us
        ("level", "f8"),  # lots the level shows
        ("printed", "f8"),  # lots printed here since the level last changed
        ("expire", "i8"),
        ("type", "i8"),
        ("tif", "i8"),
        ("flags", "i8"),
        ("stop", "i8"),  # a stop that waits: the price (ticks) at which it wakes; 0 = it works
        ("trail", "i8"),  # its distance from the best print, 0 = it stays
        # in a shared market: how far it has been moved along the rows of its level (see `tiles`); -2 - k while nobody
        # has looked up the place that it took after row k
        ("next", "i4"),
        ("clear", "i4"),  # and the row before which none fills it
        ("key", "i8"),  # and its price as rows reach it
    ]
)
"""An order at the exchange; the table is in the order of arrival, the oldest first."""

OWN = np.dtype(
    [
        ("buy_lo", "i8"),  # the range of our resting prices, by side; in a shared market that of the last tile's end
        ("buy_hi", "i8"),
        ("sell_lo", "i8"),
        ("sell_hi", "i8"),
        ("lots", "i8"),  # position at the exchange
        ("last_request", "i8"),  # arrivals so far
        ("last_report", "i8"),
        ("pending", "i8"),  # on our side: rows of the current message changed its book, bit by kind
    ]
)
"""What the exchange knows of us in one instrument, and we of the message that is being received."""

SIM = np.dtype(
    [
        ("at_rows", "u8"),  # rows in order of receipt
        ("at_rows_x", "u8"),  # and in order of the exchange's clock; often the same memory
        ("at_columns", "u8"),  # 0, or the two COLUMNS of a tape of one instrument with a dense book
        ("n_rows", "i8"),
        ("next_recv", "i8"),  # first row not yet received
        ("next_scan", "i8"),  # first row our resting orders have not met; of no meaning while none rests
        ("next_book", "i8"),  # first row not in the exchange's own book, once there is one
        ("last", "i8"),  # the latest exchange instant of the rows fed
        ("round_trip", "i8"),  # the longest there and back, as the rules have it
        ("closing", "i8"),  # one round trip beyond the last row fed: no timer fires later; 0 = time has no end
        ("horizon", "i8"),  # rows before this instant have all been fed
        ("done", "i8"),  # the exchange has processed everything up to here, inclusive
        ("next_expiry", "i8"),
        ("split", "i8"),  # 1 = the exchange has a book of its own
        ("consumed", "i8"),  # 1 = and it differs from the market's, because we took from it
        ("one_order", "i8"),  # 1 = both clocks order the rows alike, and none is received before it happened
        ("n_instruments", "i8"),
        ("n_cells", "i8"),
        ("n_orders", "i8"),
        ("n_stops", "i8"),  # of them wait as stops
        ("max_orders", "i8"),
        ("entry_least", "i8"),
        ("response_least", "i8"),
        ("unwatched", "i8"),  # in a shared market: our side looks at nothing before this instant
        ("told", "i8"),  # reports that were therefore not sent: what they say was done at once
        ("told_at", "i8"),  # when the last of them would have been received
        ("at_view", "u8"),  # the ORDER rows that our side keeps
        ("sent", "i8"),  # requests in all
        ("reported", "i8"),
        ("first_request", "i8"),
        ("end_request", "i8"),
        ("first_report", "i8"),
        ("end_report", "i8"),
        ("ring", "i8"),
        ("at_depth", "u8"),
        ("at_cells", "u8"),
        ("at_depth_x", "u8"),
        ("at_cells_x", "u8"),
        ("at_keys", "u8"),
        ("at_saved", "u8"),
        ("at_undo", "u8"),
        ("at_insts", "u8"),
        ("at_rules", "u8"),
        ("at_own", "u8"),
        ("at_resting", "u8"),
        ("at_requests", "u8"),
        ("at_reports", "u8"),
        ("at_tile", "u8"),  # 0, or the market as received that this run shares with others (see `tiles`)
        ("at_tile_x", "u8"),  # and as it happened
        ("at_eaten", "u8"),
        ("n_eaten", "i8"),
        ("lost", "i8"),  # 1 = it took from more levels than a shared market remembers: to be run by itself
    ]
)
"""One simulated run: where its tables are and how far each side has come."""


@pasted
def requests_of(x: Any) -> Any:
    """The REQUEST rows on their way; [first_request, end_request) are waiting."""
    return rows_at(x.at_requests, x.ring, REQUEST)


@pasted
def reports_of(x: Any) -> Any:
    """The REPORT rows on their way; [first_report, end_report) are waiting."""
    return rows_at(x.at_reports, x.ring, REPORT)


@uncounted_inlined
def request_slot(x: Any, at: int) -> int:
    """Make room for a request that arrives at `at` and return its place; -1 when too many are on their way."""
    rows = requests_of(x)
    if x.first_request == x.end_request:
        x.first_request = x.end_request = 0  # the same few cache lines over and over
    k = x.end_request
    if rarely(k == x.ring or (k > x.first_request and rows[k - 1].at > at)):
        k = request_between(x, at)
        if k < 0:
            return k
    x.end_request += 1
    rows[k].at = at
    return k


@uncounted
def request_between(x: Any, at: int) -> int:
    """Do what `request_slot` does where rows have to move for it."""
    apart()
    rows = requests_of(x)
    if x.end_request == x.ring:
        waiting = x.end_request - x.first_request
        if waiting == x.ring:
            return -1
        for k in range(waiting):
            rows[k] = rows[x.first_request + k]
        x.first_request, x.end_request = 0, waiting
    k = x.end_request
    while k > x.first_request and rows[k - 1].at > at:
        rows[k] = rows[k - 1]
        k -= 1
    return k


@uncounted_inlined
def report_slot(x: Any, ts_recv: int) -> int:
    """Make room for a report received at `ts_recv` and return its place; the caller knows that there is room."""
    rows = reports_of(x)
    if x.first_report == x.end_report:
        x.first_report = x.end_report = 0
    k = x.end_report
    if rarely(k == x.ring or (k > x.first_report and rows[k - 1].ts_recv > ts_recv)):
        k = report_between(x, ts_recv)
    x.end_report += 1
    rows[k].ts_recv = ts_recv
    return k


@uncounted
def report_between(x: Any, ts_recv: int) -> int:
    """Do what `report_slot` does where rows have to move for it."""
    apart()
    rows = reports_of(x)
    if x.end_report == x.ring:
        waiting = x.end_report - x.first_report
        for k in range(waiting):
            rows[k] = rows[x.first_report + k]
        x.first_report, x.end_report = 0, waiting
    k = x.end_report
    while k > x.first_report and rows[k - 1].ts_recv > ts_recv:
        rows[k] = rows[k - 1]
        k -= 1
    return k

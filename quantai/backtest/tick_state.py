"""What our side of a replay keeps: where it stands, and the rows of its logs."""

import numpy as np

from quantai.strategy.heard import FUNDED, ON_BOOK, ON_FUNDING, ON_QUOTE, ON_TRADE

REPORTED = FUNDED + 1
"""What a step brought besides what is heard of the market."""
ON_REPORT, ON_TIMER = 16, 32
"""What a strategy listens to besides the market, as bits."""
BY_ROW = ON_TRADE | ON_BOOK | ON_QUOTE | ON_FUNDING
"""Any of them makes it stop at rows."""

EQUITY = np.dtype([("ts", "i8"), ("equity", "f8"), ("cash", "f8"), ("exposure", "f8")])
"""The account at one instant; exposure is the signed value of all positions."""

FILLED = np.dtype(
    [
        ("ts", "i8"),  # when we were told
        ("ts_exch", "i8"),  # when it happened
        ("order", "i8"),
        ("lots", "i8"),
        ("px_ticks", "i8"),
        ("px", "f8"),
        ("fee", "f8"),
        ("instrument", "u4"),
        ("side", "i1"),
        ("maker", "u1"),
        ("_pad", "u2"),
    ]
)
"""One fill as the log keeps it."""

LOCAL = np.dtype(
    [
        ("started", "i8"),
        ("seq", "i8"),  # rows, reports and timers so far
        ("rows", "i8"),  # rows so far, over all pieces
        ("row", "i8"),  # the row a handler is called for
        ("slot", "i8"),  # the order a report was about, -1 when it is gone
        ("kind", "i8"),  # the Kind of that report
        ("slots", "i8"),  # slots of the order table ever used
        ("next_sample", "i8"),
        ("sample_ns", "i8"),
        ("final", "i8"),  # 1 = no more rows will be fed
        ("unplaced", "i8"),  # intents that found no room, or no order to act on
        ("n_fill_reports", "i8"),
        ("volume", "f8"),  # units traded
        ("value", "f8"),  # absolute notional traded
        ("submits", "i8"),
        ("cancels", "i8"),
        ("refusals", "i8"),  # requests that the venue refused
        ("funding", "f8"),  # paid, in settlement currency
        ("at_due", "u8"),  # funding that falls due
        ("n_due", "i8"),
        ("first_due", "i8"),
        ("log_size", "i8"),
        ("quiet", "i8"),  # 1 = nobody reads the logs but that of equity
        ("n_intents", "i8"),
        ("n_orders", "i8"),
        ("n_fills", "i8"),
        ("n_refusals", "i8"),
        ("n_equity", "i8"),
        ("at_intents", "u8"),
        ("at_orders", "u8"),
        ("at_fills", "u8"),
        ("at_refusals", "u8"),
        ("at_equity", "u8"),
        ("at_event", "u8"),
    ]
)
"""Where our side stands, and how much of each log buffer is filled."""

"""TIMER rows: time that passes, as rows of the one stream."""

from quantai.core.rows import DERIVED, EVENT, LAST, Kind, Rows, zeros


def timer_row(due: int, now: int) -> Rows:
    """Return the TIMER row (shape (1,)) of the instant `due`, noticed at `now` (both ns UTC).

    >>> row = timer_row(5, 7)[0]
    >>> int(row["aux"]), int(row["ts_recv"])
    (5, 7)
    """
    row = zeros(1, EVENT)
    row["kind"], row["flags"], row["aux"] = Kind.TIMER, LAST | DERIVED, due
    row["ts_exch"] = row["ts_recv"] = now
    return row

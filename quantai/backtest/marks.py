"""What instruments were worth at given instants of a tape, on the exchange's clock."""

from typing import Any

import numpy as np
import numpy.typing as npt

from quantai.core.compiled import uncounted
from quantai.core.rows import Rows
from quantai.data.tape import Tape
from quantai.venues.book import apply
from quantai.venues.cells import Books

_ASKED = np.dtype([("ts", "i8"), ("px", "f8"), ("instrument", "i8"), ("before", "i8")])


@uncounted
def _mark(d: Any, inst: Any) -> float:
    if d.bid >= d.lo and d.ask <= d.hi and d.bid < d.ask:
        return 0.5 * (d.bid * inst.tick_num / inst.tick_den + d.ask * inst.tick_num / inst.tick_den)
    return d.last if d.last > 0.0 else np.nan


@uncounted
def _walk(rows: Any, depth: Any, cells: Any, keys: Any, insts: Any, asked: Any) -> None:
    q, n = 0, asked.shape[0]
    for i in range(rows.shape[0]):
        r = rows[i]
        while q < n and asked[q].ts + 1 - asked[q].before <= r.ts_exch:
            asked[q].px = _mark(depth[asked[q].instrument], insts[asked[q].instrument])
            q += 1
        if q == n:
            return
        apply(depth[r.instrument], cells, keys, r)
    for k in range(q, n):
        asked[k].px = _mark(depth[asked[k].instrument], insts[asked[k].instrument])


def marks_at(
    tape: Tape, instrument: npt.ArrayLike, ts_ns: npt.ArrayLike, *, before: bool = False
) -> npt.NDArray[np.float64]:
    """Return the mid of instruments (by number) after all rows up to each `ts_exch`, or `before` those of that instant.

    Without both sides of a book it is the last trade, and NaN before the first of either. One pass over the tape
    answers all, in any order; a book is never kept, so memory is that of the questions. The books are those of a
    replay: a row that crosses makes the older side step back.

    >>> from quantai.core.instruments import Instrument
    >>> from quantai.core.rows import EVENT, Kind, zeros
    >>> events = zeros(3, EVENT)
    >>> events["ts_exch"], events["ts_recv"], events["kind"], events["side"] = [0, 0, 5], 9, Kind.LEVEL, [1, -1, 1]
    >>> events["px"], events["px_ticks"], events["qty"] = [99.0, 100.0, 99.5], [990, 1000, 995], 1.0
    >>> tape = Tape.from_events(events, [Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")])
    >>> marks_at(tape, [0, 0], [5, 4]).tolist(), marks_at(tape, 0, [5], before=True).tolist()
    ([99.75, 99.5], [99.5])
    """
    ts = np.asarray(ts_ns, np.int64)
    asked: Rows = np.zeros(ts.size, _ASKED)
    asked["ts"], asked["px"], asked["before"] = ts.ravel(), np.nan, before
    asked["instrument"] = np.broadcast_to(np.asarray(instrument, np.int64), ts.shape).ravel()
    order = np.argsort(asked["ts"], kind="stable")
    if len(tape) and len(asked):
        books = Books(tape.instruments)
        books.make_room(tape.rows, tape.facts)
        rows = tape.exchange_rows.view()
        rows.flags.writeable = False
        found = asked[order]
        _walk(rows, books.depth, books.cells, books.keys, tape.instruments.rows(), found)
        asked["px"][order] = found["px"]
    return asked["px"].reshape(ts.shape)

"""The simulated exchange fed while time goes on: live rows in pieces, requests now and then, reports when they are due.

It runs the kernels of a replay on the same SIM record. A replay knows all rows beforehand; here rows come one by one,
and the exchange is run up to the instant of the last of them, exclusive: more rows of that instant may follow.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from quantai.core.compiled import uncounted
from quantai.core.instruments import Instruments
from quantai.core.rows import EVENT, Kind, Rows, zeros
from quantai.venues.book import DEPTH
from quantai.venues.cells import Books
from quantai.venues.exchange import MOST_AHEAD, UNDO, catch_up_sim, compact_sim, run_sim
from quantai.venues.latency import entry_ns
from quantai.venues.matching import own_of, rules_of
from quantai.venues.rules import SimVenue
from quantai.venues.wire import NEVER, OWN, REPORT, REQUEST, RESTING, SIM, request_slot, requests_of

RING = 1 << 15
"""Requests, and reports, that can be on their way at once."""

MARGIN_TICKS = 1 << 10
"""Room beside the prices seen: a price beyond it moves the memory of the books."""

_MARKET = np.array([Kind.TRADE, Kind.LEVEL, Kind.CLEAR, Kind.QUOTE], np.uint8)


class SimulatedExchange:
    """One exchange for all instruments of a run, on the clocks of its rows.

    Rows whose exchange clock steps back are taken as of the latest instant before them.
    """

    def __init__(self, instruments: Instruments, venues: Mapping[str, SimVenue] | SimVenue, max_orders: int) -> None:
        rules = [venues if isinstance(venues, SimVenue) else venues[i.venue] for i in instruments]
        n = len(instruments)
        self.rules = rules
        self._books = Books(instruments)
        self._tables: dict[str, Rows] = {
            "insts": instruments.rows(),
            "rules": np.concatenate([r.row() for r in rules]),
            "own": np.zeros(n, OWN),
            "saved": np.zeros(n, DEPTH),
            "undo": np.zeros(MOST_AHEAD, UNDO),
            "resting": np.zeros(max_orders + 1, RESTING),
            "requests": np.zeros(RING, REQUEST),
            "reports": np.zeros(RING, REPORT),
        }
        self._sim: Rows = np.zeros(1, SIM)
        self._rows = zeros(0, EVENT)
        self.now = 0
        s = self._sim
        s["max_orders"], s["n_instruments"], s["ring"] = max_orders, n, RING
        s["done"], s["last"], s["next_expiry"], s["split"], s["unwatched"] = -1, -1, NEVER, 1, -NEVER
        self._wire()
        compact_sim(s)

    def _wire(self) -> None:
        s, books = self._sim, self._books
        memory = {
            "depth": books.depth, "cells": books.cells, "depth_x": books.depth_x, "cells_x": books.cells_x,
            "keys": books.keys,
        }  # fmt: skip
        for name, table in (self._tables | memory).items():
            s[f"at_{name}"] = table.ctypes.data
        s["n_cells"] = len(books.cells)

    def see(self, rows: Rows) -> Rows:
        """Take EVENT rows in order of receipt; returns the wire.REPORT rows that are due by the last of them."""
        if not len(rows):
            return self._due()
        self.now = max(self.now, int(rows["ts_recv"].max()))
        market = rows[np.isin(rows["kind"], _MARKET)]
        if len(market):
            market = market.copy()
            latest = max(int(self._sim["last"][0]), int(self._sim["done"][0]) + 1)
            market["ts_exch"] = np.maximum.accumulate(np.maximum(market["ts_exch"], latest))
            if self._books.make_room(market, self._room(market)):
                self._wire()
            self._rows = np.concatenate([self._rows, market])
            self._sim["last"] = market["ts_exch"][-1]
            self._run(int(market["ts_exch"][-1]) - 1)
        return self._due()

    def pass_time(self, until: int) -> Rows:
        """Run on to the instant `until` (ns UTC): no row of before is expected any more; returns what is due."""
        if until > self._sim["done"][0]:
            self._run(until)
        return self._due()

    def post(self, request: Rows) -> bool:
        """Send a wire.REQUEST row (shape (1,)) now; False when too many are on their way."""
        return bool(_post(self._sim, request, self.now))

    def _run(self, until: int) -> None:
        s = self._sim
        s["at_rows"] = s["at_rows_x"] = self._rows.ctypes.data
        s["n_rows"] = len(self._rows)
        run_sim(s, until)
        catch_up_sim(s, until)
        first = int(np.searchsorted(self._rows["ts_exch"], until, "right"))
        first = min(first, int(s["next_book"][0]))
        if s["n_orders"][0]:
            first = min(first, int(s["next_scan"][0]))
        if first:
            self._rows = self._rows[first:].copy()
            for name in ("next_scan", "next_book"):
                s[name] = max(int(s[name][0]) - first, 0)

    def _due(self) -> Rows:
        s = self._sim[0]
        waiting = self._tables["reports"][s["first_report"] : s["end_report"]]
        n = int(np.searchsorted(waiting["ts_recv"], self.now, "right"))
        due = waiting[:n].copy()
        s["first_report"] += n
        return due

    def _room(self, rows: Rows) -> dict[str, Any]:
        """Describe the prices of rows as `Books.make_room` wants them, wider than they are where they need new room."""
        facts: list[dict[str, int]] = []
        for i in range(len(self._books.lo)):
            of = rows[rows["instrument"] == i]
            levels, quotes = of["kind"] == Kind.LEVEL, of["kind"] == Kind.QUOTE
            px = of["px_ticks"][levels | quotes]
            said = {"levels": int(levels.sum()), "quotes": int(quotes.sum()), "lo_ticks": 0, "hi_ticks": 0}
            if len(px):
                lo, hi = int(px.min()), int(px.max())
                known_lo, known_hi = int(self._books.lo[i]), int(self._books.hi[i])
                said["lo_ticks"] = lo - MARGIN_TICKS if lo < known_lo else lo
                said["hi_ticks"] = hi + MARGIN_TICKS if hi > known_hi else hi
            facts.append(said)
        return {"instruments": facts}


@uncounted
def _post(sim: Any, request: Any, now: int) -> bool:
    """Put a request on its way: it never overtakes an earlier one, nor the time the exchange has reached."""
    x, asked = sim[0], request[0]
    own, rules = own_of(x)[asked.instrument], rules_of(x)[asked.instrument]
    own.last_request = max(own.last_request, now + entry_ns(rules, now, x.sent), x.done + 1)
    x.sent += 1
    slot = request_slot(x, own.last_request)
    if slot < 0:
        return False
    q = requests_of(x)[slot]
    q.order, q.px, q.lots, q.trigger, q.expire = asked.order, asked.px, asked.lots, asked.trigger, asked.expire
    q.instrument, q.side, q.action = asked.instrument, asked.side, asked.action
    q.type, q.tif, q.flags = asked.type, asked.tif, asked.flags
    return True

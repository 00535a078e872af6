"""The floor: the strategies of all desks, in step with the order management.

It is the deterministic part of a run that trades, the same in the loop and when its journal is run again: rows in,
intents out. What a strategy is told of its orders, positions and cash is what the order management knows.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quantai.core.errors import DataError, InputError
from quantai.core.packing import pack, unpack
from quantai.core.rows import BAR, INTENT, ORDER, WARM_UP, Kind, OrderState, Rows, zeros
from quantai.core.tracked import average
from quantai.core.transitions import Life
from quantai.execution.closes import Part, part_of, part_of_listings
from quantai.execution.controls import ALL, OF_A_DESK, Control
from quantai.execution.flow import POINT
from quantai.execution.oms import OMS
from quantai.execution.order_table import GONE, WAITING, is_finished
from quantai.execution.outgoing import DENIED, UNCLAIMED
from quantai.execution.routes import Routing, Tops, whole_order
from quantai.execution.seats import Seat
from quantai.execution.stepper import Stepper, fill_row
from quantai.portfolio.desks import desk_of, desks_of, order_number
from quantai.strategy.verbs import PENDING_CANCEL

TITLE = "quantai floor 1"
ROUNDS = 4
"""How often within one row a strategy may answer what became of its orders; then only cancels go out."""

NO_BARS = zeros(0, BAR)
_NUMBER = np.uint64((1 << 40) - 1)
_NOT_TOLD = (Kind.CANCEL_REQUEST, Kind.REPLACE_REQUEST, Kind.TIMEOUT)
_MOVED = (Kind.FILL, Kind.TRADE_CANCEL, Kind.TRADE_CORRECT)
_STATE = {
    Life.NONE: OrderState.PENDING,
    Life.PENDING: OrderState.PENDING,
    Life.REJECTED: OrderState.REJECTED,
    Life.LOST: OrderState.REJECTED,
    Life.EXPIRED: OrderState.EXPIRED,
    Life.CANCELED: OrderState.CANCELED,
}


class Floor:
    """Every desk's strategy. Rows must be those that `oms` processes, in the same order."""

    def __init__(self, oms: OMS, seats: Sequence[Seat]) -> None:
        if len(seats) != len(oms.setup.desks):
            raise InputError(f"{len(oms.setup.desks)} desks need as many strategies, not {len(seats)}")
        self.oms, self.seats = oms, tuple(seats)
        self.desks: list[Stepper] = []
        self._of: list[np.ndarray] = []  # of each desk: the run's number of each of its instruments
        self._to: list[np.ndarray] = []  # of each desk: its own number of each of the run's instruments, -1 = none
        every = oms.setup.instruments
        for seat in seats:
            mine = seat.instruments or tuple(range(len(every)))
            if not mine or max(mine) >= len(every) or len(set(mine)) < len(mine):
                raise InputError(f"a desk trades instruments of the run, each once: got {list(mine)} of {len(every)}")
            settles = sorted({every[i].settle for i in mine})
            if len(settles) > 1:
                raise InputError(f"one desk holds one settlement currency, not {', '.join(settles)}: use several desks")
            own = type(every)([every[i] for i in mine])
            self.desks.append(Stepper(seat.strategy, own, bar_ns=seat.bar_ns))
            self._of.append(np.array(mine, np.int64))
            to = np.full(len(every), -1, np.int64)
            to[list(mine)] = np.arange(len(mine))
            self._to.append(to)
            if seat.route is not None:
                for n, listed in enumerate(seat.route.listings):
                    to[list(listed)] = n
        self._seen = [to.copy() for to in self._to]  # whose rows it sees: of what is listed several times the first one
        for seen, of in zip(self._seen, self._of, strict=True):
            seen[:] = -1
            seen[of] = np.arange(len(of))
        routes = [seat.route for seat in seats if seat.route is not None]
        self._tops = Tops(len(every), {i for route in routes for listed in route.listings for i in listed})
        self._routings = [
            None if seat.route is None else Routing(seat.route, oms, d, self._tops) for d, seat in enumerate(seats)
        ]
        self._whole = [len(of) == len(every) and bool((of == np.arange(len(every))).all()) for of in self._of]

    @property
    def next_timer(self) -> int:
        """When the first timer of a strategy is due, ns UTC; 0 while none is."""
        return min((desk.next_timer for desk in self.desks if desk.next_timer), default=0)

    def refused(self) -> NDArray[np.int64]:
        """Return how often strategies asked for what can be no order (less than a lot, no price), by Reason."""
        return np.concatenate([desk.world.ctx["refused"] for desk in self.desks]).sum(axis=0)

    def look(self, rows: Rows, bars: Rows = NO_BARS, first_bar: int = 0) -> Iterator[tuple[int, Rows]]:
        """Show rows of the market and timers to all desks; yields (rows so far, INTENT rows) where one asks.

        Give the order management those rows and the intents before going on. A desk sees nothing of what another does,
        so each runs ahead on its own. Intents still go through `route`.
        """
        views = [self._view(d, rows) for d in range(len(self.desks))]
        stops: dict[int, tuple[int, Rows]] = {}
        routed = 0 if any(self._routings) else len(rows)  # rows that routers have seen
        at = [0] * len(self.desks)
        waiting = list(range(len(self.desks)))
        while waiting or stops:
            for d in waiting:
                mine, where = views[d]
                n, intents = self.desks[d].step(mine[at[d] :] if at[d] else mine, bars, first_bar)
                at[d] += n
                if len(intents):
                    stops[d] = (at[d] if where is None else int(where[at[d] - 1]) + 1), intents
            waiting = []
            if stops:
                d = min(stops, key=lambda d: (stops[d][0], d))
                n, intents = stops.pop(d)
                if routed < n:
                    self._tops.see(rows[routed:n])
                    routed = n
                yield n, self._out(d, intents)
                waiting = [d]
        if routed < len(rows):
            self._tops.see(rows[routed:])

    def _view(self, d: int, rows: Rows) -> tuple[Rows, np.ndarray | None]:
        if self._whole[d]:
            return rows, None
        own = self._seen[d][np.minimum(rows["instrument"], len(self._seen[d]) - 1)]
        where = np.flatnonzero((own >= 0) | (rows["kind"] == Kind.TIMER))
        mine = rows[where].copy()
        mine["instrument"] = np.maximum(own[where], 0)
        return mine, where

    def _out(self, d: int, intents: Rows) -> Rows:
        if d:
            intents["order"] += np.uint64(order_number(d, 0))
        if not self._whole[d]:
            intents["instrument"] = self._of[d][intents["instrument"]]
        return intents

    def route(self, intents: Rows) -> Rows:
        """Return the intents that go out for those of desks, once the order management has seen the rows before them.

        Desks without a router send what they ask for.
        """
        if not len(intents) or not any(self._routings):
            return intents
        out: list[Rows] = []
        desks = desks_of(intents["order"])
        for part in np.split(intents, np.flatnonzero(np.diff(desks)) + 1):
            d = desk_of(part["order"][0])
            routing = self._routings[d]
            if routing is None:
                out.append(part)
                continue
            made, done = routing.out(part)
            out += [made, *(self._end(d, number, int(part["seq"][0])) for number in done)]
        return np.concatenate(out)

    def _end(self, d: int, number: int, seq: int) -> Rows:
        """End an order of a desk of which nothing had to go out at row `seq`; returns what the desk cancels then."""
        desk, order = self.desks[d], zeros(1, ORDER)
        order["order"], order["state"] = number, OrderState.CANCELED
        muted = desk.muted
        desk.mute(True)
        asked = desk.tell(order, None, seq=seq, ts=self.oms.ts)
        desk.mute(muted)
        return self.route(self._out(d, asked))

    def hear(self, reports: Rows, *, last: bool = False) -> Rows:
        """Tell desks what became of their orders, as the order management said it; returns what they ask for then.

        With `last` only cancels are taken: a strategy that answers each refusal with another order must not go on for
        ever within one row.
        """
        asked: list[Rows] = [zeros(0, INTENT)]
        told = [r for r in reports if r["kind"] not in _NOT_TOLD and not r["flags"] & UNCLAIMED]
        for d in {desk_of(r["order"]) for r in told if r["kind"] in _MOVED}:
            self._hold(d)
        for report in told:
            slot = self.oms.table.slot(report["order"])
            if slot is None:
                continue
            d = desk_of(report["order"])
            desk = self.desks[d]
            muted = desk.muted
            desk.mute(muted or last)
            order = self._order(d, slot)
            event = self._fill(d, slot, report) if report["kind"] == Kind.FILL else None
            asked.append(self._out(d, desk.tell(order, event, seq=self.oms.seq, ts=self.oms.ts)))
            desk.mute(muted)
            if report["flags"] & DENIED:
                desk.spare()  # asking again at this row would meet the same answer
            elif desk.is_closing and not (last or desk.works):
                asked.append(self._out(d, desk.close(seq=self.oms.seq, ts=self.oms.ts, **self._bounds(d))))
        return np.concatenate(asked)

    def _order(self, d: int, slot: int) -> Rows:
        """Return an order as its desk sees it."""
        routing = self._routings[d]
        if routing is None:
            return self._one(slot)
        number = routing.number(self.oms.table.entries["order"][slot])
        return whole_order(number, [self._one(part, d) for part in routing.parts(number)])

    def _one(self, slot: int, d: int = -1) -> Rows:
        """Return an order as it is listed; with the prices that desk `d` counts in."""
        tracked, entry = self.oms.table.tracked[slot], self.oms.table.entries[slot]
        row = zeros(1, ORDER)
        row["order"] = tracked["order"] & _NUMBER
        for name in ("px_ticks", "trigger_ticks", "qty_lots", "side", "reason"):
            row[name] = tracked[name]
        cum, life = int(tracked["cum_lots"]), Life(int(tracked["life"]))
        row["filled_lots"] = cum
        i = int(tracked["instrument"])
        if cum:
            row["avg_px"] = float(average(tracked)) * float(self.oms.setup.instruments[i].tick)
        state = _STATE.get(life, OrderState.PARTIAL if cum else OrderState.OPEN)
        if is_finished(tracked) and 0 < int(tracked["qty_lots"]) <= cum:
            state = OrderState.FILLED
        elif entry["flags"] & WAITING:
            state = OrderState.WAITING
        row["state"] = state
        row["flags"] = int(tracked["flags"]) | (PENDING_CANCEL if entry["flags"] & GONE else 0)
        if d >= 0:
            for name in ("px_ticks", "trigger_ticks"):
                row[name] = self._own_ticks(d, i, int(tracked[name]))
        return row

    def _own_ticks(self, d: int, i: int, ticks: int) -> int:
        """Return a price of a listing in ticks of what its desk trades."""
        routing = self._routings[d]
        return ticks if routing is None else routing.own_ticks(int(self._of[d][self._to[d][i]]), i, ticks)

    def _fill(self, d: int, slot: int, report: Any) -> Rows:
        tracked, gate = self.oms.table.tracked[slot], self.oms.gate
        i = int(tracked["instrument"])
        px, qty = gate.price(i, int(report["px_ticks"])), gate.units(i, int(report["qty_lots"]))
        row = fill_row(report, int(self._to[d][i]), int(tracked["side"]), px, qty, self.oms.ts)
        row["px_ticks"] = self._own_ticks(d, i, int(report["px_ticks"]))
        routing, number = self._routings[d], np.uint64(report["order"]) & _NUMBER
        row["aux"] = int(number if routing is None else routing.number(number))
        return row

    def adjusted(self) -> None:
        """Take over money and holdings after an ADJUST row."""
        for d in range(len(self.desks)):
            self._hold(d)

    def _hold(self, d: int) -> None:
        books, of, to = self.oms.portfolio.books, self._of[d], self._to[d]
        mine = books.positions[d][of if self._routings[d] is None else to >= 0]
        settle = int(books.market["settle"][of[0]])
        paid_in = float(books.flows[int(books.account[d]), settle])
        moved = mine["realised"] + mine["funding"] - mine["fees"] - mine["cost"]
        cash = paid_in + float(moved.sum())
        qty, cost, realised, fees = (mine[name] for name in ("qty", "cost", "realised", "fees"))
        if self._routings[d] is not None:
            where, n = to[to >= 0], len(of)
            qty, cost, realised, fees = (np.bincount(where, x, n) for x in (qty, cost, realised, fees))
        self.desks[d].hold(qty, cost, realised, fees, cash)

    @property
    def holds(self) -> bool:
        """Whether any desk holds what could be closed."""
        return any(desk.world.positions["lots"].any() for desk in self.desks)

    def held(self, d: int) -> int:
        """Return how many lots of anything a desk holds that could be closed."""
        return int(np.abs(self.desks[d].world.positions["lots"]).sum())

    def parts(self, d: int) -> list[Part]:
        """Return what could be closed now of each holding of a desk, by one order, at the row at hand."""
        return list(self._parts(d).values())

    def _parts(self, d: int) -> dict[int, Part]:
        """Return the same by the desk's own number of the instrument."""
        routing, lots = self._routings[d], self.desks[d].world.positions["lots"]
        found: dict[int, Part] = {}
        for n in np.flatnonzero(lots).tolist():
            if routing is None:
                found[n] = part_of(self.oms, d, int(self._of[d][n]), int(lots[n]))
            else:
                found[n] = part_of_listings(self.oms, d, routing.closable(n, -1 if lots[n] > 0 else 1))
        return found

    def _bounds(self, d: int) -> dict[str, np.ndarray]:
        """Return `most` and `flags` of the orders that close what a desk holds."""
        n = len(self._of[d])
        most, flags = np.zeros(n, np.int64), np.zeros(n, np.uint16)
        for i, part in self._parts(d).items():
            most[i], flags[i] = part.lots, part.flags
        return {"most": most, "flags": flags}

    def check(self, what: Control, desk: int, text: str) -> None:
        """Raise InputError for a control that cannot be obeyed, before it is journaled."""
        if what is Control.PARAMETERS:
            params = _params(text)
            for d in self.concerned(desk):
                probe = Stepper(self.seats[d].strategy, self.desks[d].instruments)
                probe.load(self.desks[d].snapshot()).change(params)

    def obey(self, row: Any, text: str = "") -> Rows:
        """Let a CONTROL row take effect on desks; returns the INTENT rows it leads to."""
        what, seq, ts = Control(int(row["aux"])), int(row["seq"]), int(row["ts_recv"])
        asked: list[Rows] = [zeros(0, INTENT)]
        if what is Control.KILL:
            for d, desk in enumerate(self.desks):
                if int(row["px_ticks"]) in (ALL, int(self.oms.portfolio.books.account[d])):
                    desk.keep_positions()
        if what not in OF_A_DESK:
            return asked[0]
        for d in self.concerned(int(row["px_ticks"])):
            desk = self.desks[d]
            if what is Control.START:
                asked.append(self._out(d, desk.start(seq=seq, ts=ts, warm=bool(row["flags"] & WARM_UP))))
            elif what is Control.PARAMETERS:
                desk.change(_params(text))
            elif what in (Control.STOP, Control.FLATTEN):
                if what is Control.FLATTEN:
                    asked.append(self._out(d, desk.flatten(seq=seq, ts=ts, **self._bounds(d))))
                else:
                    asked.append(self._out(d, desk.cancel_all(seq=seq, ts=ts)))
            if what is not Control.START and what is not Control.PARAMETERS:
                desk.mute(what is not Control.RESUME)
            if what in (Control.RESUME, Control.STOP):
                desk.keep_positions()
        return np.concatenate(asked)

    def concerned(self, n: int) -> list[int]:
        """Return the desks that a control of a desk is about."""
        return list(range(len(self.desks))) if n == ALL else [n]

    def snapshot(self) -> bytes:
        """Return the state of all desks as bytes, after the last row and everything it led to."""
        states = [np.frombuffer(desk.snapshot(), np.uint8) for desk in self.desks]
        parts = {"point": self.oms.point, **{f"desk {d}": state for d, state in enumerate(states)}}
        return pack(TITLE, parts | (self._tops.arrays() if any(self._routings) else {}))

    def load(self, body: bytes) -> Self:
        """Take over the state of `snapshot`; raises DataError when it does not fit, or is of another row than `oms`."""
        byte = np.dtype("u1")
        kinds: dict[str, np.dtype[Any]] = {"point": POINT, **{f"desk {d}": byte for d in range(len(self.desks))}}
        parts = unpack(TITLE, body, kinds | (dict(Tops.DTYPES) if any(self._routings) else {}))
        if parts["point"].tobytes() != self.oms.point.tobytes():
            raise DataError("the states of the desks and of the orders are of different rows")
        for d, desk in enumerate(self.desks):
            desk.load(parts[f"desk {d}"].tobytes())
        if any(self._routings):
            self._tops.load(parts)
        return self


def _params(text: str) -> Mapping[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as error:
        raise InputError(f'parameters are a JSON object, for example {{"fast": 5}}: {error}') from None
    if not isinstance(said, dict):
        raise InputError('parameters are a JSON object, for example {"fast": 5}')
    return said  # pyright: ignore[reportUnknownVariableType]

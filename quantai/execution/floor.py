"""The floor: the strategies of all desks, in step with the order management.

It is the deterministic part of a run that trades, the same in the loop and when its journal is run again: rows in,
intents out. What a strategy is told of its orders, positions and cash is what the order management knows.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from quantai.core.errors import DataError, InputError
from quantai.core.packing import pack, unpack
from quantai.core.rows import BAR, INTENT, ORDER, WARM_UP, Kind, OrderState, Rows, zeros
from quantai.core.tracked import average
from quantai.core.transitions import Life
from quantai.execution.controls import ALL, OF_A_DESK, Control
from quantai.execution.flow import POINT
from quantai.execution.oms import OMS
from quantai.execution.order_table import GONE, WAITING, is_finished
from quantai.execution.outgoing import UNCLAIMED
from quantai.execution.seats import Seat
from quantai.execution.stepper import Stepper, fill_row
from quantai.portfolio.desks import desk_of, order_number
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
        self._whole = [len(of) == len(every) and bool((of == np.arange(len(every))).all()) for of in self._of]

    @property
    def next_timer(self) -> int:
        """When the first timer of a strategy is due, ns UTC; 0 while none is."""
        return min((desk.next_timer for desk in self.desks if desk.next_timer), default=0)

    def look(self, rows: Rows, bars: Rows = NO_BARS, first_bar: int = 0) -> Iterator[tuple[int, Rows]]:
        """Show rows of the market and timers to all desks; yields (rows so far, INTENT rows) where one asks.

        Give the order management those rows and the intents before going on. A desk sees nothing of what another does,
        so each runs ahead on its own.
        """
        views = [self._view(d, rows) for d in range(len(self.desks))]
        stops: dict[int, tuple[int, Rows]] = {}
        at = [0] * len(self.desks)
        waiting = list(range(len(self.desks)))
        while waiting or stops:
            for d in waiting:
                mine, where = views[d]
                n, intents = self.desks[d].step(mine[at[d] :] if at[d] else mine, bars, first_bar)
                at[d] += n
                if len(intents):
                    stops[d] = (at[d] if where is None else int(where[at[d] - 1]) + 1), self._out(d, intents)
            waiting = []
            if stops:
                d = min(stops, key=lambda d: (stops[d][0], d))
                yield stops.pop(d)
                waiting = [d]

    def _view(self, d: int, rows: Rows) -> tuple[Rows, np.ndarray | None]:
        if self._whole[d]:
            return rows, None
        own = self._to[d][np.minimum(rows["instrument"], len(self._to[d]) - 1)]
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
            order = self._order(slot)
            event = self._fill(d, slot, report) if report["kind"] == Kind.FILL else None
            asked.append(self._out(d, desk.tell(order, event, seq=self.oms.seq, ts=self.oms.ts)))
            desk.mute(muted)
            if not last:
                asked.append(self._out(d, desk.close(seq=self.oms.seq, ts=self.oms.ts)))
        return np.concatenate(asked)

    def _order(self, slot: int) -> Rows:
        """Return an order as its desk sees it."""
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
        return row

    def _fill(self, d: int, slot: int, report: Any) -> Rows:
        tracked, gate = self.oms.table.tracked[slot], self.oms.gate
        i = int(tracked["instrument"])
        px, qty = gate.price(i, int(report["px_ticks"])), gate.units(i, int(report["qty_lots"]))
        row = fill_row(report, int(self._to[d][i]), int(tracked["side"]), px, qty, self.oms.ts)
        row["aux"] = int(report["order"] & _NUMBER)
        return row

    def adjusted(self) -> None:
        """Take over money and holdings after an ADJUST row."""
        for d in range(len(self.desks)):
            self._hold(d)

    def _hold(self, d: int) -> None:
        books, of = self.oms.portfolio.books, self._of[d]
        mine = books.positions[d][of]
        settle = int(books.market["settle"][of[0]])
        paid_in = float(books.flows[int(books.account[d]), settle])
        moved = mine["realised"] + mine["funding"] - mine["fees"] - mine["cost"]
        cash = paid_in + float(moved.sum())
        self.desks[d].hold(mine["qty"], mine["cost"], mine["realised"], mine["fees"], cash)

    def check(self, what: Control, desk: int, text: str) -> None:
        """Raise InputError for a control that cannot be obeyed, before it is journaled."""
        if what is Control.PARAMETERS:
            params = _params(text)
            for d in self._concerned(desk):
                probe = Stepper(self.seats[d].strategy, self.desks[d].instruments)
                probe.load(self.desks[d].snapshot()).change(params)

    def obey(self, row: Any, text: str = "") -> Rows:
        """Let a CONTROL row take effect on desks; returns the INTENT rows it leads to."""
        what, seq, ts = Control(int(row["aux"])), int(row["seq"]), int(row["ts_recv"])
        asked: list[Rows] = [zeros(0, INTENT)]
        if what not in OF_A_DESK:
            return asked[0]
        for d in self._concerned(int(row["px_ticks"])):
            desk = self.desks[d]
            if what is Control.START:
                asked.append(self._out(d, desk.start(seq=seq, ts=ts, warm=bool(row["flags"] & WARM_UP))))
            elif what is Control.PARAMETERS:
                desk.change(_params(text))
            elif what in (Control.STOP, Control.FLATTEN):
                ask = desk.flatten if what is Control.FLATTEN else desk.cancel_all
                asked.append(self._out(d, ask(seq=seq, ts=ts)))
            if what is not Control.START and what is not Control.PARAMETERS:
                desk.mute(what is not Control.RESUME)
            if what in (Control.RESUME, Control.STOP):
                desk.keep_positions()
        return np.concatenate(asked)

    def _concerned(self, n: int) -> list[int]:
        return list(range(len(self.desks))) if n == ALL else [n]

    def snapshot(self) -> bytes:
        """Return the state of all desks as bytes, after the last row and everything it led to."""
        states = [np.frombuffer(desk.snapshot(), np.uint8) for desk in self.desks]
        return pack(TITLE, {"point": self.oms.point, **{f"desk {d}": state for d, state in enumerate(states)}})

    def load(self, body: bytes) -> Self:
        """Take over the state of `snapshot`; raises DataError when it does not fit, or is of another row than `oms`."""
        byte = np.dtype("u1")
        parts = unpack(TITLE, body, {"point": POINT, **{f"desk {d}": byte for d in range(len(self.desks))}})
        if parts["point"].tobytes() != self.oms.point.tobytes():
            raise DataError("the states of the desks and of the orders are of different rows")
        for d, desk in enumerate(self.desks):
            desk.load(parts[f"desk {d}"].tobytes())
        return self


def _params(text: str) -> Mapping[str, Any]:
    try:
        said = json.loads(text)
    except ValueError as error:
        raise InputError(f'parameters are a JSON object, for example {{"fast": 5}}: {error}') from None
    if not isinstance(said, dict):
        raise InputError('parameters are a JSON object, for example {"fast": 5}')
    return said  # pyright: ignore[reportUnknownVariableType]

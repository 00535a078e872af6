"""The router of a desk: where orders for an instrument that several venues list go, and what becomes of them as one.

A strategy trades one instrument: its first listing is the market it sees, what it holds is the sum over all. What
closes goes where it is held; what opens goes to the best price after fees, or is split over what is shown. The choice
is a function of rows, and what is journaled are the orders that go out: a journal run again chooses the same.

The parts of an order carry its number with the number of the part above it, so that they are found without a memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

import numpy as np

from quantai.core.errors import InputError
from quantai.core.instruments import Instruments
from quantai.core.rows import CHILD, INTENT, OCO, TIF, Action, Kind, OrderState, OrderType, Rows, Status
from quantai.execution.oms import OMS
from quantai.execution.order_table import is_finished, open_lots
from quantai.execution.router import best_price, split
from quantai.portfolio.desks import desks_of, order_number
from quantai.strategy.context import BOOK

PART = 36
"""Bits of an order number below the number of its part; a desk asks for fewer orders than they count."""

PART_K = 12
"""Bits of the index of an intent below the number of the part."""

MOST_LISTINGS = 8
_OWN = np.uint64((1 << PART) - 1)
_GONE = (Status.DISCONNECTED, Status.STALE, Status.HALTED)


@dataclass(frozen=True)
class Route:
    """How a desk's orders are routed; a part of a run's manifest.

    `by` is "best_price" or "split". Of each instrument of the desk `listings` are the run's numbers, the one whose
    market the strategy sees first, and `fees` what taking costs there, as fractions of notional.

    >>> Route.of(Route("split", ((0, 1),), ((0.001, 0.0),)).as_dict()).listings
    ((0, 1),)
    """

    by: str
    listings: tuple[tuple[int, ...], ...]
    fees: tuple[tuple[float, ...], ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the route ready for JSON."""
        return {"by": self.by, "listings": [list(x) for x in self.listings], "fees": [list(x) for x in self.fees]}

    @classmethod
    def of(cls, said: Any) -> Self:
        """Rebuild a route from `as_dict`."""
        return cls(said["by"], tuple(map(tuple, said["listings"])), tuple(map(tuple, said["fees"])))

    def check(self, instruments: Instruments) -> None:
        """Raise InputError when listings of one instrument cannot stand in for each other."""
        for listed in self.listings:
            first, *others = (instruments[i] for i in listed)
            if len(listed) > MOST_LISTINGS:
                raise InputError(f"{first.symbol} has {len(listed)} listings: a router takes {MOST_LISTINGS}")
            for other in others:
                if (first.contract, first.multiplier, first.settle, first.lot) != (
                    other.contract, other.multiplier, other.settle, other.lot,
                ):  # fmt: skip
                    raise InputError(
                        f"{first.symbol} is not the same at {first.venue} and {other.venue} (kind, multiplier, currency"
                        f" or lot, {first.lot} and {other.lot}): do not route it; on paper --lot names one for both"
                    )


class Tops:
    """The best prices of the instruments that are routed, as far as rows were seen."""

    def __init__(self, n: int, wanted: set[int]) -> None:
        self.books: Rows = np.zeros(n, BOOK)
        self.books["bid"] = self.books["ask"] = np.nan
        self._wanted = np.zeros(n, np.bool_)
        self._wanted[list(wanted)] = True
        self.ts = 0

    def see(self, rows: Rows) -> None:
        """Take EVENT rows."""
        if not len(rows):
            return
        self.ts = max(self.ts, int(rows["ts_recv"].max()))
        own = self._wanted[np.minimum(rows["instrument"], len(self._wanted) - 1)]
        rows = rows[own & ((rows["kind"] == Kind.QUOTE) | (rows["kind"] == Kind.STATUS))]
        names = ("kind", "instrument", "side", "px", "qty", "aux", "ts_recv")
        for kind, i, side, px, qty, aux, ts in zip(*(rows[name].tolist() for name in names), strict=True):
            book = self.books[i]
            if kind == Kind.STATUS:
                if aux in _GONE:
                    book["bid"] = book["ask"] = np.nan
            elif side > 0:
                book["bid"], book["bid_qty"], book["ts"] = px, qty, ts
            else:
                book["ask"], book["ask_qty"], book["ts"] = px, qty, ts
            book["valid"] = book["bid"] < book["ask"]

    def fresh(self, oldest_ns: int) -> Rows:
        """Return the books as they stand, those that are older than `oldest_ns` not valid."""
        found = self.books.copy()
        found["valid"] &= self.ts - found["ts"] <= oldest_ns
        return found

    DTYPES: Mapping[str, np.dtype[Any]] = {"tops": BOOK, "tops_ts": np.dtype("i8")}

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the state as arrays."""
        return {"tops": self.books, "tops_ts": np.array([self.ts], "i8")}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take over the state of `arrays`."""
        self.books[:], self.ts = arrays["tops"], int(arrays["tops_ts"][0])


class Routing:
    """The router of one desk: from its intents to orders for listings, and from their state to that of its orders."""

    def __init__(self, route: Route, oms: OMS, desk: int, tops: Tops) -> None:
        route.check(oms.setup.instruments)
        self._route, self._oms, self._desk, self._tops = route, oms, desk, tops
        self._has_choice = {listed[0]: n for n, listed in enumerate(route.listings)}

    def number(self, order: Any) -> np.uint64:
        """Return the number of the order, within its desk, that an order number is a part of."""
        return np.uint64(order) & _OWN

    def parts(self, order: Any) -> list[int]:
        """Return the rows in the order table of an order's parts; `order` counts within the desk."""
        base = order_number(self._desk, int(order))
        found = [self._oms.table.slot(base | part << PART) for part in range(MOST_LISTINGS)]
        return [slot for slot in found if slot is not None]

    def out(self, intents: Rows) -> tuple[Rows, list[int]]:
        """Return the intents that go out for those of the strategy, and the numbers of orders that need none.

        Numbers of orders and instruments are those of the run, before and after.
        """
        made: list[Rows] = []
        done: list[int] = []
        chosen: dict[int, list[int]] = {}  # of orders of this batch: the listings of their parts
        parents = {int(row["link"]) for row in intents if int(row["flags"]) & CHILD}
        for row in intents:
            action = int(row["action"])
            if action == Action.CANCEL:
                made += self._cancels(row, chosen)
            elif action == Action.REPLACE:
                made += self._replaces(row)
            else:
                shares = self._shares(row, chosen, parents)
                if not shares:
                    done.append(int(self.number(row["order"])))
                for part, (i, lots, side) in enumerate(shares):
                    made.append(self._part(row, part, i, lots, side))
                if shares:
                    chosen[int(self.number(row["order"]))] = [i for i, _, _ in shares]
        return np.concatenate([np.zeros(0, INTENT), *made]), done

    def _shares(self, row: Any, chosen: dict[int, list[int]], parents: set[int]) -> list[tuple[int, int, int]]:
        """Return (listing, lots, side) of each part of a new order."""
        n = self._has_choice[int(row["instrument"])]
        listed = self._route.listings[n]
        lots, side = int(row["qty_lots"]), int(row["side"])
        if row["action"] == Action.TARGET:
            lots = self._oms.lots_to(self._desk, listed, lots / 1e9)
            lots, side = abs(lots), 1 if lots >= 0 else -1
            if not lots:
                return []
        if len(listed) == 1 or not lots:
            return [(listed[0], lots, side)]
        books = self._tops.fresh(int(self._oms.gate.limits.max_quote_age_ms) * 1_000_000)
        order = self._ranked(books, n, side)
        flags, link = int(row["flags"]), int(row["link"])
        if flags & CHILD:
            return [((chosen.get(link) or [self._listing_of(link, order[0])])[0], lots, side)]
        held = self._held(order, side)
        closing = list(held)
        if flags & OCO or int(self.number(row["order"])) in parents or row["tif"] == TIF.FOK:
            return [((closing or order)[0], lots, side)]
        shares: dict[int, int] = {}
        for i in closing:
            if take := min(lots, held[i]):
                shares[i] = take
                lots -= take
        if lots:
            for i, more in self._opening(row, books, n, side, lots, order):
                shares[i] = shares.get(i, 0) + more
        if int(row["k"]) >> PART_K:  # there is no index left for a second part
            return [(next(iter(shares)), sum(shares.values()), side)]
        return [(i, part, side) for i, part in shares.items()]

    def closable(self, n: int, side: int) -> list[tuple[int, int]]:
        """Return (listing, signed lots) of what an order for the desk's instrument `n` would close, in its order."""
        books = self._tops.fresh(int(self._oms.gate.limits.max_quote_age_ms) * 1_000_000)
        return [(i, -side * lots) for i, lots in self._held(self._ranked(books, n, side), side).items()]

    def _held(self, order: list[int], side: int) -> dict[int, int]:
        """Return the lots that an order of this side would close, by listing, where there are any."""
        held = {i: -side * self._effective(i) for i in order}
        return {i: lots for i, lots in held.items() if lots > 0}

    def _ranked(self, books: Rows, n: int, side: int) -> list[int]:
        """Return the listings of an instrument, the best for `side` first; those without a price last, as listed."""
        left, ranked = list(self._route.listings[n]), list[int]()
        fees = dict(zip(self._route.listings[n], self._route.fees[n], strict=True))
        while (best := best_price(books, left, side, [fees[i] for i in left])) >= 0:
            ranked.append(best)
            left.remove(best)
        return ranked + left

    def _opening(self, row: Any, books: Rows, n: int, side: int, lots: int, order: list[int]) -> list[tuple[int, int]]:
        """Return (listing, lots) of what opens."""
        if self._route.by != "split":
            return [(order[0], lots)]
        within = [i for i in order if self._meets(row, books[i], side)]
        lot = [float(self._oms.setup.instruments[i].lot) for i in within]
        fees = dict(zip(self._route.listings[n], self._route.fees[n], strict=True))
        return split(books, within, side, lots, lot, [fees[i] for i in within]) or [(order[0], lots)]

    def _meets(self, row: Any, book: Any, side: int) -> bool:
        """Say whether an order would trade at once at what a book shows."""
        if not book["valid"] or row["type"] not in (OrderType.MARKET, OrderType.LIMIT):
            return False
        if row["type"] == OrderType.MARKET or row["action"] == Action.TARGET:
            return True
        limit = self._oms.gate.price(int(row["instrument"]), int(row["px_ticks"]))
        return bool(book["ask"] <= limit) if side > 0 else bool(book["bid"] >= limit)

    def _effective(self, i: int) -> int:
        """Return the signed lots the desk holds in a listing, what is under way counted as done."""
        qty = float(self._oms.portfolio.books.positions["qty"][self._desk, i])
        lots = int(np.trunc(qty / float(self._oms.setup.instruments[i].lot) + np.sign(qty) * 1e-6))
        table = self._oms.table
        tracked = table.tracked[: len(table)]
        mine = (desks_of(tracked["order"]) == self._desk) & (tracked["instrument"] == i)
        for slot in np.flatnonzero(mine)[::-1][:1024]:
            lots += int(tracked[slot]["side"]) * open_lots(tracked[slot])
        return lots

    def _listing_of(self, order: int, otherwise: int) -> int:
        slots = self.parts(order)
        return int(self._oms.table.tracked["instrument"][slots[0]]) if slots else otherwise

    def _part(self, row: Any, part: int, i: int, lots: int, side: int) -> Rows:
        """Return the intent of one part of a new order."""
        one = self._about(row, part, i)
        if row["action"] == Action.TARGET:
            one["action"], one["type"] = Action.NEW, OrderType.MARKET
        one["qty_lots"], one["side"] = lots, side
        for name in ("px_ticks", "trigger_ticks"):
            one[name] = self._ticks(int(row["instrument"]), i, int(row[name]), side)
        return one

    def _cancels(self, row: Any, chosen: Mapping[int, list[int]]) -> list[Rows]:
        number, table = int(self.number(row["order"])), self._oms.table
        if number in chosen:
            return [self._about(row, part, i) for part, i in enumerate(chosen[number])]
        parts = self.parts(number)
        alive = [slot for slot in parts if not is_finished(table.tracked[slot])] or parts[:1]
        return [self._again(row, slot) for slot in alive] or [np.array([row], INTENT)]

    def _replaces(self, row: Any) -> list[Rows]:
        """Return the changes of the parts that work: the price is that of all, what the total moves by that of one."""
        tracked = self._oms.table.tracked
        parts = self.parts(self.number(row["order"]))
        alive = [slot for slot in parts if not is_finished(tracked[slot])]
        if not alive:
            return [self._again(row, slot) for slot in parts[:1]] or [np.array([row], INTENT)]
        totals = {slot: int(tracked[slot]["qty_lots"]) for slot in alive}
        if total := int(row["qty_lots"]):
            ended = sum(int(tracked[slot]["cum_lots"]) for slot in parts if slot not in totals)
            more = total - ended - sum(totals.values())
            for slot in alive:
                moved = max(more, int(tracked[slot]["cum_lots"]) - totals[slot])
                totals[slot] += moved
                more -= moved
        made: list[Rows] = []
        for slot in alive:
            one = self._again(row, slot)
            i, side = int(one["instrument"][0]), int(tracked[slot]["side"])
            one["qty_lots"] = totals[slot] if total else 0
            for name in ("px_ticks", "trigger_ticks"):
                one[name] = self._ticks(int(row["instrument"]), i, int(row[name]), side)
            if total and totals[slot] <= int(tracked[slot]["cum_lots"]):
                one["action"] = Action.CANCEL
            made.append(one)
        return made

    def _again(self, row: Any, slot: int) -> Rows:
        """Return an intent about an order as one about a part of it that is in the order table."""
        tracked = self._oms.table.tracked[slot]
        return self._about(row, int(tracked["order"]) >> PART & MOST_LISTINGS - 1, int(tracked["instrument"]))

    def _about(self, row: Any, part: int, i: int) -> Rows:
        one = np.array([row], INTENT)
        one["order"] += np.uint64(part << PART)
        one["k"] += part << PART_K
        one["instrument"] = i
        return one

    def _ticks(self, own: int, i: int, ticks: int, side: int) -> int:
        """Return a price of the first listing in ticks of another; what is between two is the one that gives less."""
        if own == i or not ticks:
            return ticks
        ours, theirs = self._grid(own), self._grid(i)
        exact = ticks * ours / theirs
        return exact.__floor__() if side > 0 else exact.__ceil__()

    def own_ticks(self, own: int, i: int, ticks: int) -> int:
        """Return a price of a listing in ticks of the first one, the nearest."""
        return ticks if own == i else round(ticks * self._grid(i) / self._grid(own))

    def _grid(self, i: int) -> Fraction:
        return Fraction(self._oms.setup.instruments[i].tick)


def whole_order(number: Any, parts: list[Rows]) -> Rows:
    """Return the ORDER row of an order out of those of its parts.

    It works while one of them does; then it is filled if all are, and else ended as the last of its parts was.
    """
    row, rows = parts[0].copy(), np.concatenate(parts)
    row["order"] = number
    if len(rows) == 1:
        return row
    filled = int(rows["filled_lots"].sum())
    row["qty_lots"], row["filled_lots"] = int(rows["qty_lots"].sum()), filled
    if filled:
        row["avg_px"] = float((rows["avg_px"] * rows["filled_lots"]).sum()) / filled
    states = rows["state"]
    working = states[states < OrderState.FILLED]
    row["flags"] = (
        np.bitwise_and.reduce(rows["flags"][states < OrderState.FILLED]) if len(working) else rows["flags"][0]
    )
    if len(working):
        row["state"] = OrderState.PARTIAL if filled else working.max()
    elif bool((states == OrderState.FILLED).all()):
        row["state"] = OrderState.FILLED
    else:
        ended = rows[(states != OrderState.FILLED) & ((states != OrderState.REJECTED) | (filled == 0))]
        last = ended[-1] if len(ended) else rows[states == OrderState.REJECTED][-1]
        row["state"], row["reason"] = last["state"], last["reason"]
        if filled and last["state"] == OrderState.REJECTED:
            row["state"] = OrderState.CANCELED
    return row

"""Whether we and a venue agree: orders at work, holdings and money, compared in words."""

from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal

import numpy as np

from quantai.core.instruments import Contract
from quantai.core.transitions import ENDED
from quantai.execution.client_ids import client_id, read_client_id, run_tag
from quantai.execution.oms import OMS
from quantai.execution.order_table import ASKED, RISEN, SENT, is_finished
from quantai.portfolio.desks import desk_of
from quantai.venues.venue import OpenOrder

CASH_TOLERANCE = 1e-6
"""Relative difference of money that is rounding: we add in float64, venues in decimals."""


def unresolved(oms: OMS) -> list[str]:
    """Return the client ids of orders that the venue was asked about and has not answered."""
    return [_id(oms, slot) for slot in _alive(oms, SENT | ASKED)]


def at_work(oms: OMS, venue: str = "") -> list[str]:
    """Return the client ids of orders that were sent and have not ended, of one venue or of all."""
    found: list[str] = []
    for slot in _alive(oms, SENT):
        name = oms.setup.instruments[int(oms.table.tracked[slot]["instrument"])].venue
        if venue in ("", name):
            found.append(_id(oms, slot))
    return found


def risen(oms: OMS, venue: str = "") -> dict[str, str]:
    """Say of each order that has ended here and works at its venue, by client id, that it is canceled there."""
    found: dict[str, str] = {}
    for slot in _alive(oms, RISEN):
        name = oms.setup.instruments[int(oms.table.tracked[slot]["instrument"])].venue
        if venue in ("", name):
            one = _id(oms, slot)
            found[one] = f"{name}: order {one} has ended here and works there: it is canceled"
    return found


def _alive(oms: OMS, flags: int) -> list[int]:
    """Return the rows of orders with all of these flags that can trade; a run can have very many that cannot."""
    n = len(oms.table)
    t, of = oms.table.tracked[:n], oms.table.entries["flags"][:n]
    filled = (t["qty_lots"] > 0) & (t["qty_lots"] <= t["cum_lots"])
    likely = (of & flags == flags) & ((t["life"] < ENDED) | (of & RISEN != 0)) & ~filled
    return [int(slot) for slot in np.flatnonzero(likely) if of[slot] & RISEN or not is_finished(t[slot])]


def differing_orders(oms: OMS, venue: str, theirs: Iterable[OpenOrder]) -> list[str]:
    """Say which orders of ours work on one side only; orders that are not of this run are nobody's business here."""
    tags = {run_tag(desk.run) for desk in oms.setup.desks}
    ours, again, found = set(at_work(oms, venue)), risen(oms, venue), list[str]()
    seen = set(again)
    for order in theirs:
        named = read_client_id(order.client_id)
        if named is None or named[0] not in tags:
            continue
        seen.add(order.client_id)
        if order.client_id in again:
            found.append(again[order.client_id])
        elif order.client_id not in ours:
            found.append(f"{venue}: order {order.client_id} works there and not here")
    return found + [f"{venue}: order {one} works here and not there" for one in sorted(ours - seen)]


def differing_positions(oms: OMS, venue: str, theirs: Mapping[str, Decimal]) -> list[str]:
    """Say where contracts held differ, by symbol."""
    found: list[str] = []
    for i, instrument in enumerate(oms.setup.instruments):
        if instrument.venue != venue or instrument.contract in (Contract.SPOT, Contract.EQUITY):
            continue
        mine = float(oms.portfolio.books.positions["qty"][:, i].sum())
        there = float(theirs.get(instrument.symbol, Decimal(0)))
        if abs(mine - there) >= 0.5 * float(instrument.lot):
            found.append(f"{venue}: {instrument.symbol} is {there:g} there and {mine:g} here")
    return found


def money(oms: OMS) -> dict[str, float]:
    """Return what the accounts of a run hold together by currency, spot holdings included."""
    books, mine = oms.portfolio.books, dict[str, float]()
    for account in oms.portfolio.accounts:
        for name, amount in oms.portfolio.cash(account).items():
            mine[name] = mine.get(name, 0.0) + amount
    for i, instrument in enumerate(oms.setup.instruments):
        if instrument.contract is Contract.SPOT:
            mine[instrument.base] = mine.get(instrument.base, 0.0) + float(books.positions["qty"][:, i].sum())
    return mine


def differing_money(oms: OMS, theirs: Mapping[str, Decimal], left_out: Collection[str] = ()) -> list[str]:
    """Say where money differs, by currency: paid in, traded, paid in fees, and what spot holdings are.

    Currencies that are `left_out` are not looked at, nor those in which a contract settles that several desks share.
    """
    mine, found = money(oms), list[str]()
    unknown = {*left_out, *_netted(oms)}
    for name in [c for c in oms.portfolio.currencies if c not in unknown]:
        here, there = mine.get(name, 0.0), float(theirs.get(name, Decimal(0)))
        if abs(here - there) > CASH_TOLERANCE * max(1.0, abs(here), abs(there)):
            found.append(f"{name} is {there:.10g} there and {here:.10g} here")
    return found


def _netted(oms: OMS) -> set[str]:
    """Return the currencies in which a venue has realised of a contract what our desks together have not, or more.

    It has one position at one mean price where we have several: one desk's opening closes another's. Once all of them
    are flat both have realised the same.
    """
    found = set[str]()
    for i, instrument in enumerate(oms.setup.instruments):
        of = oms.portfolio.books.positions[:, i]
        traded = int(((of["qty"] != 0) | (of["realised"] != 0) | (of["fees"] != 0)).sum())
        if traded > 1 and of["qty"].any() and not oms.portfolio.books.market["paid"][i]:
            found.add(instrument.settle)
    return found


def held(oms: OMS) -> dict[str, float]:
    """Return the units held by symbol, of all desks and all venues that list it."""
    found = dict.fromkeys((i.symbol for i in oms.setup.instruments), 0.0)
    for i, qty in zip(oms.setup.instruments, oms.portfolio.books.positions["qty"].sum(axis=0), strict=True):
        found[i.symbol] += float(qty)
    return found


def unclosed(oms: OMS) -> list[str]:
    """Return in words what is held and could be closed; less than a lot, which fees in the base leave, cannot be."""
    found: list[str] = []
    for i, qty in zip(oms.setup.instruments, oms.portfolio.books.positions["qty"].sum(axis=0), strict=True):
        if abs(float(qty)) > float(i.lot) * (1.0 - 1e-6):
            found.append(f"{float(qty):g} {i.symbol}")
    return found


def _id(oms: OMS, slot: int) -> str:
    entry = oms.table.entries[slot]
    run = oms.setup.desks[desk_of(entry["order"])].run
    return client_id(run, int(entry["seq"]), int(entry["k"]))

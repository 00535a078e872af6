"""Views of an order management: its orders, positions and accounts as plain rows."""

from fractions import Fraction
from typing import Any

from quantai.core.errors import UnknownName
from quantai.core.positions import avg_entry
from quantai.core.reports import Mark, OrdStatus
from quantai.core.rows import OrderType, Reason
from quantai.core.tracked import average, leaves, marks, status, status_local
from quantai.execution.client_ids import client_id
from quantai.execution.oms import OMS
from quantai.execution.order_table import DENIED_BY_RISK, GONE, SENT, WAITING, is_finished
from quantai.execution.reasons import RiskReason, TradingState
from quantai.portfolio.desks import desk_of


def orders(
    oms: OMS, *, strategy: str = "", account: str = "", symbol: str = "", run: str = "", working: bool = False
) -> list[dict[str, Any]]:
    """Return orders in the order they were asked for, as dicts for a data frame; empty conditions do not restrict.

    `qty`, `filled` and `leaves` are in units, `limit` and `average` prices; `status` is the venue's word,
    `status_local` ours with requests under way; `working` leaves out what has ended.

    Raises UnknownName for a name there is not.
    """
    setup = oms.setup
    _check("strategy", strategy, {desk.strategy for desk in setup.desks})
    _check("account", account, set(setup.accounts))
    _check("symbol", symbol, {i.symbol for i in setup.instruments})
    _check("run", run, {desk.run for desk in setup.desks})
    found: list[dict[str, Any]] = []
    for slot in range(len(oms.table)):
        entry, tracked = oms.table.entries[slot], oms.table.tracked[slot]
        desk = setup.desks[desk_of(entry["order"])]
        known = int(tracked["instrument"]) < len(setup.instruments)
        name = setup.instruments[int(tracked["instrument"])].symbol if known else "?"
        said = ((strategy, desk.strategy), (account, desk.account), (symbol, name), (run, desk.run))
        if any(asked and asked != has for asked, has in said) or (working and is_finished(tracked)):
            continue
        found.append(
            {
                "client_id": client_id(desk.run, int(entry["seq"]), int(entry["k"])),
                "order": int(entry["order"]),
                "run": desk.run,
                "strategy": desk.strategy,
                "account": desk.account,
                "symbol": name,
            }
            | (_figures(oms, slot) if known else {})
            | _state(oms, slot)
        )
    return found


def positions(oms: OMS) -> list[dict[str, Any]]:
    """Return what each desk holds or held of each symbol, and its P&L in the settlement currency."""
    found: list[dict[str, Any]] = []
    portfolio, setup = oms.portfolio, oms.setup
    for d, desk in enumerate(setup.desks):
        held = portfolio.positions("desk").get(desk.run, {})
        for i, instrument in enumerate(setup.instruments):
            if instrument.symbol not in held:
                continue
            said = held[instrument.symbol]
            found.append(
                {
                    "desk": d,
                    "run": desk.run,
                    "strategy": desk.strategy,
                    "account": desk.account,
                    "symbol": instrument.symbol,
                }
                | {"currency": instrument.settle, "mark": _or_none(portfolio.books.market["mark"][i])}
                | {"avg_entry": _or_none(avg_entry(portfolio.books.positions[d, i], portfolio.books.instruments[i]))}
                | {"pnl": said["realised"] + said["unrealised"] + said["funding"] - said["fees"]}
                | said
            )
    return found


def accounts(oms: OMS) -> list[dict[str, Any]]:
    """Return equity, exposure and trading state of each account, in the portfolio's currency."""
    return [
        {
            "account": name,
            "currency": oms.setup.currency,
            "state": TradingState(int(oms.gate.accounts["state"][a])).name,
            "reconciling": bool(oms.gate.accounts["reconciling"][a]),
        }
        | oms.portfolio.standing(name)
        for a, name in enumerate(oms.setup.accounts)
    ]


def _figures(oms: OMS, slot: int) -> dict[str, Any]:
    tracked = oms.table.tracked[slot]
    i = int(tracked["instrument"])
    instrument, cum = oms.setup.instruments[i], int(tracked["cum_lots"])
    limited = tracked["type"] in (OrderType.LIMIT, OrderType.STOP_LIMIT)
    return {
        "side": "buy" if tracked["side"] > 0 else "sell",
        "type": OrderType(int(tracked["type"])).name if tracked["type"] else "",
        "qty": instrument.qty(int(tracked["qty_lots"])),
        "limit": instrument.price(int(tracked["px_ticks"])) if limited else None,
        "filled": instrument.qty(cum),
        "leaves": instrument.qty(int(leaves(tracked))),
        "average": float(average(tracked) * Fraction(instrument.tick)) if cum else None,
    }


def _state(oms: OMS, slot: int) -> dict[str, Any]:
    entry, tracked = oms.table.entries[slot], oms.table.tracked[slot]
    flags = int(entry["flags"])
    word = RiskReason if flags & DENIED_BY_RISK else Reason
    reason = int(tracked["reason"])
    return {
        "status": OrdStatus(int(status(tracked))).name,
        "status_local": OrdStatus(int(status_local(tracked))).name,
        "sent": bool(flags & SENT),
        "waiting": bool(flags & WAITING),
        "canceling": bool(flags & GONE) and not is_finished(tracked),
        "marks": [mark.name for mark in Mark(int(marks(tracked)))],
        "reason": word(reason).name if reason in word else str(reason),
    }


def _check(what: str, name: str, known: set[str]) -> None:
    if name and name not in known:
        raise UnknownName(what, name, known)


def _or_none(value: Any) -> float | None:
    return None if value != value else float(value)

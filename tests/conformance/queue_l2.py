"""Runs the cases of the `queue_l2` pack through `replay_script`; names are translated, nothing is decided here."""

from decimal import Decimal
from typing import Any

from quantai.backtest.scripted import Request, replay_script
from quantai.core.instruments import Instrument
from quantai.core.rows import EVENT, LAST, TIF, Action, Kind, OrderState, zeros
from quantai.data.tape import Tape
from quantai.venues import Latency, SimVenue

STATES = {
    OrderState.PENDING: "New",
    OrderState.OPEN: "New",
    OrderState.PARTIAL: "PartiallyFilled",
    OrderState.FILLED: "Filled",
    OrderState.CANCELED: "Canceled",
    OrderState.EXPIRED: "Expired",
    OrderState.REJECTED: "Rejected",
}
SIDES = {"buy": 1, "sell": -1, "bid": 1, "ask": -1}
REJECTS = {Kind.CANCEL_REJECT: "cancel", Kind.REPLACE_REJECT: "modify"}


def run(case: dict[str, Any]) -> list[str]:
    """Return how the outcome of one case differs from what is expected; an empty list is a pass."""
    instrument = Instrument.parse("X-Y", tick=case["tick"], lot=case["lot"])
    events = zeros(len(case["tape"]), EVENT)
    for row, (exch, local, kind, side, px, qty) in zip(events, case["tape"], strict=True):
        row["ts_exch"], row["ts_recv"], row["side"], row["flags"] = exch, local, SIDES[side], LAST
        row["kind"] = Kind.TRADE if kind == "trade" else Kind.LEVEL
        row["px"], row["px_ticks"], row["qty"] = float(px), instrument.ticks(px), float(qty)
    model = case["model"]
    venue = SimVenue(
        latency=Latency(entry_ns=case["latency"]["entry"], response_ns=case["latency"]["response"]),
        queue=model["queue"], power=float(model.get("n", 1)), exchange=case["exchange"], replace="open",
    )  # fmt: skip
    numbers: dict[int, int] = {}
    requests: list[Request] = []
    for ts, what, name, *rest in case["actions"]:
        if what == "submit":
            side, px, qty, tif = rest
            numbers[name] = len(numbers) + 1
            gtx = tif == "GTX"
            requests.append(
                Request(
                    ts=ts, side=SIDES[side], qty=float(qty), limit=float(px), post_only=gtx,
                    tif=TIF.GTC if gtx else TIF[tif],
                )
            )  # fmt: skip
        elif what == "cancel":
            requests.append(Request(ts=ts, action=Action.CANCEL, order=numbers[name]))
        else:
            px, qty = rest
            requests.append(Request(ts=ts, action=Action.REPLACE, order=numbers[name], qty=float(qty), limit=float(px)))
    result = replay_script(Tape.from_events(events, [instrument]), requests, venue)
    names = {number: name for name, number in numbers.items()}
    orders: dict[str, Any] = {}
    for row in result.order_rows:
        number = int(row["order"])
        fills = [
            [int(f["ts_exch"]), int(f["ts"]), instrument.tick * int(f["px_ticks"]), instrument.lot * int(f["lots"]),
             "maker" if f["maker"] else "taker"]
            for f in result.fill_rows[result.fill_rows["order"] == number]
        ]  # fmt: skip
        orders[str(names[number])] = {
            "final": STATES[OrderState(row["state"])],
            "leaves": instrument.lot * (int(row["qty_lots"]) - int(row["filled_lots"])),
            "fills": fills,
        }
    rejects = [
        [int(r["ts_exch"]), int(r["ts_recv"]), REJECTS[Kind(r["kind"])], names[int(r["order"])]]
        for r in result.refusal_rows
        if r["kind"] in REJECTS
    ]
    position = instrument.lot * sum(int(f["side"]) * int(f["lots"]) for f in result.fill_rows)
    got = {"orders": orders, "rejects": rejects, "position": position}
    expect = case["expect"] | {
        "orders": {
            name: {
                "final": o["final"],
                "leaves": Decimal(o["leaves"]),
                "fills": [[e, r, Decimal(px), Decimal(qty), how] for e, r, px, qty, how in o["fills"]],
            }
            for name, o in case["expect"]["orders"].items()
        },
        "position": Decimal(case["expect"]["position"]),
    }
    return [f"{name}: expected {expect[name]}, got {got[name]}" for name in got if got[name] != expect[name]]

"""The scene of a run: what a person wants to see of it, as plain values: books, working orders, positions, accounts."""

from typing import Any

from quantai.core.plain import plain
from quantai.execution.loop import Loop
from quantai.execution.views import accounts, orders, positions

LEVELS = 10
"""Levels of each side of a book."""


def scene(loop: Loop) -> dict[str, Any]:
    """Return the scene as it is now.

    `books` has for each instrument, by `VENUE:SYMBOL`, bids and asks from the best one on as (price, quantity), the
    last trade, and whether the book may be relied on. The rest is as in `quantai.execution.views`.
    """
    oms = loop.oms
    return plain(
        {
            "ts": loop.now,
            "books": books(loop),
            "orders": orders(oms, working=True),
            "positions": positions(oms),
            "accounts": accounts(oms),
        }
    )


def books(loop: Loop, most: int = LEVELS) -> dict[str, Any]:
    """Return the books of a run's instruments, as the first desk that trades each sees them."""
    found: dict[str, Any] = {}
    for stepper in loop.floor.desks:
        said = stepper._ladders.arrays()  # pyright: ignore[reportPrivateUsage] -- a change there compiles all anew
        at, levels = 0, said["levels"]
        for instrument, ladder in zip(stepper.instruments, said["ladders"], strict=True):
            n_bid, n_ask = int(ladder["n_bid"]), int(ladder["n_ask"])
            bids, asks = levels[at : at + n_bid][::-1], levels[at + n_bid : at + n_bid + n_ask]
            at += n_bid + n_ask
            tick = float(instrument.tick)
            # what another level stepped over stays in the book and is not shown
            seen = {
                "bids": [(int(px) * tick, float(qty)) for px, qty in bids[bids["px"] <= ladder["bid"]][:most]],
                "asks": [(int(px) * tick, float(qty)) for px, qty in asks[asks["px"] >= ladder["ask"]][:most]],
                "last": float(ladder["last"]),
                "stale": bool(ladder["stale"]),
            }
            found.setdefault(f"{instrument.venue}:{instrument.symbol}", seen)
    return found

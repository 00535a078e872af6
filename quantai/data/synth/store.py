"""A synthetic market as the tables of a lake."""

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from quantai.core.errors import InputError
from quantai.core.instruments import Instrument
from quantai.core.rows import LAST, Kind, Rows

if TYPE_CHECKING:
    from quantai.data.lake import Lake

ROWS_PER_COMMIT = 1 << 20
_HEAD = ("ts_exch", "ts_recv", "seq")


def store(events: Rows, instrument: Instrument, lake: "Lake") -> int:
    """Append what `lake` does not hold of a market; returns how many rows. See `SyntheticMarket.to_lake`."""
    venue, symbol = instrument.venue, instrument.symbol
    digest = hashlib.blake2b(events.tobytes(), digest_size=16).hexdigest()
    added = 0
    with lake.writer(f"synth-{venue}-{symbol}") as writer:
        at, trades = writer.position.get("events", 0), writer.position.get("trades", 0)
        if writer.position.get("digest", digest) != digest:
            raise InputError(
                f"the lake holds another synthetic market of {symbol} at {venue}: use another symbol or lake"
            )
        while at < len(events):
            upto = _message_end(events, at + ROWS_PER_COMMIT)
            piece = events[at:upto]
            for table, columns in _tables(piece, trades):
                writer.append(table, venue, symbol, columns)
            trades += int((piece["kind"] == Kind.TRADE).sum())
            added += writer.commit({"digest": digest, "events": upto, "trades": trades})
            at = upto
    lake.instruments.add(instrument)
    return added


def _message_end(events: Rows, at: int) -> int:
    if at >= len(events):
        return len(events)
    return at + int(np.argmax((events["flags"][at - 1 :] & LAST) > 0))


def _tables(rows: Rows, trades: int) -> list[tuple[str, dict[str, Any]]]:
    kind = rows["kind"]
    traded, level, quote = (
        rows[kind == Kind.TRADE],
        rows[(kind == Kind.LEVEL) | (kind == Kind.CLEAR)],
        rows[kind == Kind.QUOTE],
    )
    ids = pa.array(np.arange(trades + 1, trades + 1 + len(traded))).cast(pa.string())
    bid, ask = quote[0::2], quote[1::2]
    return [
        ("trades", {n: traded[n] for n in (*_HEAD, "px", "qty", "side")} | {"id": ids}),
        ("levels", {n: level[n] for n in (*_HEAD, "px", "qty", "side", "flags", "kind")}),
        (
            "quotes",
            {n: bid[n] for n in _HEAD}
            | {"bid": bid["px"], "bid_qty": bid["qty"], "ask": ask["px"], "ask_qty": ask["qty"]},
        ),
    ]

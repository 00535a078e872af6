"""The catalog: the instruments of a lake, kept in its manifest."""

import dataclasses
import datetime as dt
import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from quantai.core.instruments import Contract, Instrument, Instruments, Payoff, Right
from quantai.data.manifest import Manifest, storage, transaction

_KINDS = {"contract": Contract, "payoff": Payoff, "right": Right}


class Catalog(Instruments):
    """Every instrument a lake knows, numbered in the order they were added; what is added stays for the next process.

    Made by `Lake.instruments`. A known (venue, symbol) keeps its number, and adding it again changes its fields: a
    venue may change a tick size.

    >>> import tempfile
    >>> from quantai.data import Lake
    >>> lake = Lake(tempfile.mkdtemp())
    >>> lake.instruments.add(Instrument.parse("BTC-USDT-PERP", venue="OKX", tick="0.1"))
    0
    >>> lake.instruments.get("BTC-USDT-PERP", "OKX").tick
    Decimal('0.1')
    >>> lake.instruments.get("ETH-USDT", "OKX").tick  # not added: any price and size is on its grid
    Decimal('1E-8')
    """

    def __init__(self, manifest: Manifest) -> None:
        super().__init__()
        self._manifest = manifest
        self._load()

    def _load(self) -> None:
        with self._manifest.read() as con:
            rows = [] if con is None else con.execute("select fields from instruments order by id").fetchall()
        self._items = [_decoded(fields) for (fields,) in rows]
        self._ids = {(item.venue, item.symbol): n for n, item in enumerate(self._items)}

    def add(self, item: Instrument) -> int:
        """Keep `item` and return its number; raises StorageError."""
        self.update([item])
        return self.id(item.symbol, item.venue)

    def update(self, items: Iterable[Instrument]) -> None:
        """Keep many instruments in one go; raises StorageError."""
        rows = [(i.venue, i.symbol, _encoded(i)) for i in items if not self._holds(i)]
        if not rows:
            return
        con = self._manifest.write()
        try:
            with storage(self._manifest.root), transaction(con):
                con.executemany(
                    "insert into instruments(venue, symbol, fields) values (?,?,?) "
                    "on conflict(venue, symbol) do update set fields = excluded.fields",
                    rows,
                )
        finally:
            con.close()
        self._load()  # another process may have added some in between

    def get(self, symbol: str, venue: str = "") -> Instrument:
        """Return the instrument, or what its symbol says with a grid of 1e-8 when none was added."""
        at = self._ids.get((venue, symbol))
        return Instrument.parse(symbol, venue=venue, tick="1e-8", lot="1e-8") if at is None else self[at]

    def _holds(self, item: Instrument) -> bool:
        at = self._ids.get((item.venue, item.symbol))
        return at is not None and self[at] == item


def _encoded(item: Instrument) -> str:
    def plain(value: Any) -> Any:
        return (
            str(value) if isinstance(value, Decimal) else value.isoformat() if isinstance(value, dt.datetime) else value
        )

    fields = {f.name: plain(getattr(item, f.name)) for f in dataclasses.fields(item)}
    return json.dumps(fields | {name: int(fields[name]) for name in _KINDS})


def _decoded(text: str) -> Instrument:
    fields = json.loads(text)
    for name, kind in _KINDS.items():
        fields[name] = kind(fields[name])
    if fields["expiry"] is not None:
        fields["expiry"] = dt.datetime.fromisoformat(fields["expiry"])
    return Instrument(**fields)

"""The journal: where every row and every intent of a run is kept, and how they travel.

Store, the only source of truth:

- `EventStore`: the one writer: append rows, make intents durable, keep strings, snapshots and manifests
- `StoreReader`: read by number, instant, kind and instrument; follow a live store; gaps
- `Stream`, `Text`, `Snapshot`, `Gap`: what a store holds
- `describe_run`: the manifest of a run
- `verify`, `recover`, `Findings`: find damage, and make a damaged store readable and writable again
- `upgrade`: bring a store of an older schema up to this one
- `journal.export.export_parquet`: a store as Parquet files
- `journal.views.Views`: orders, fills and raw rows in SQL

Bus, how rows reach whoever wants them:

- `journal.bus.Bus`: publish and subscribe inside one process
- `journal.nats.NatsBus`: the same between processes and machines

`heads`, `wal`, `pages`, `loss`, `backlog`, `lock`, `schema`, `arrow` are the parts these are made of; docs/journal.md
explains.
"""

from quantai.journal.damage import Findings, verify
from quantai.journal.frames import Gap, Snapshot, Stream, Text
from quantai.journal.manifest import describe_run
from quantai.journal.reader import StoreReader
from quantai.journal.recovery import recover
from quantai.journal.schema import upgrade
from quantai.journal.store import EventStore

__all__ = [
    "EventStore",
    "Findings",
    "Gap",
    "Snapshot",
    "StoreReader",
    "Stream",
    "Text",
    "describe_run",
    "recover",
    "upgrade",
    "verify",
]

"""The read side: a journal as SQL tables, for whoever wants to look without touching what trades.

Everything here is told from rows alone. What only an order management can know (what is pending, whether a report
contradicts another) is not here: rebuild one from the journal for that.
"""

from collections.abc import Iterable
from enum import IntEnum
from itertools import batched
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import pyarrow as pa

from quantai.core.errors import InputError
from quantai.core.rows import MAKER, TIF, Action, Kind, OrderType
from quantai.journal.arrow import TEXT_SCHEMA, rows_schema, rows_table, texts_table
from quantai.journal.frames import ROWS
from quantai.journal.reader import StoreReader

_ENUMS: tuple[type[IntEnum], ...] = (Kind, Action, OrderType, TIF)

_FILLS = f"""
CREATE VIEW fills AS
WITH RECURSIVE said AS (
    SELECT * FROM report WHERE kind IN ({Kind.FILL}, {Kind.TRADE_CORRECT}) AND "order" > 0  -- 0: of no order of ours
    QUALIFY row_number() OVER (PARTITION BY "order", exec, CASE exec WHEN 0 THEN seq END ORDER BY seq) = 1
), chain AS (  -- an execution, what corrected it, what corrected that …; a correction of nothing we hold is one, too
    SELECT "order", seq AS root, seq, exec, ref, kind, px_ticks, qty_lots FROM said s
    WHERE kind = {Kind.FILL} OR ("order", ref) NOT IN (SELECT "order", exec FROM said WHERE exec > 0)
    UNION
    SELECT c."order", c.root, s.seq, s.exec, s.ref, s.kind, s.px_ticks, s.qty_lots
    FROM chain c JOIN said s ON s."order" = c."order" AND s.ref = c.exec AND s.kind = {Kind.TRADE_CORRECT}
    WHERE c.exec > 0
), final AS (
    SELECT "order", root, bool_or(kind = {Kind.TRADE_CORRECT} AND seq <> root) AS corrected,
        last(px_ticks ORDER BY kind = {Kind.TRADE_CORRECT}, seq) AS px_ticks,
        last(qty_lots ORDER BY kind = {Kind.TRADE_CORRECT}, seq) AS lots,
        bool_or(
            exec > 0 AND ("order", exec) IN (SELECT ("order", ref) FROM report WHERE kind = {Kind.TRADE_CANCEL})
            OR kind = {Kind.TRADE_CORRECT} AND ref > 0
                AND ("order", ref) IN (SELECT ("order", ref) FROM report WHERE kind = {Kind.TRADE_CANCEL})
        ) AS busted
    FROM chain GROUP BY "order", root
)
SELECT e.seq, make_timestamp_ns(e.ts_recv) AS "time", e.aux AS "order", e.instrument, e.side, r.exec,
    coalesce(f.px_ticks, e.px_ticks) AS px_ticks, f.lots,
    e.px * coalesce(f.px_ticks / nullif(r.px_ticks, 0), 1) AS px,
    e.qty * coalesce(f.lots / nullif(r.qty_lots, 0), 1) AS qty,
    (coalesce(r.flags, e.flags) & {MAKER}) > 0 AS maker,
    coalesce(f.corrected, false) AS corrected, coalesce(f.busted, false) AS busted
FROM event e
LEFT JOIN report r ON r.seq = e.seq AND r."order" = e.aux
LEFT JOIN final f ON f.root = e.seq AND f."order" = e.aux
WHERE f.root IS NOT NULL OR (e.kind = {Kind.FILL} AND r.seq IS NULL)
ORDER BY e.seq
"""  # noqa: S608 -- constants only

_ORDERS = f"""
CREATE VIEW orders AS
WITH filled AS (
    SELECT "order", sum(lots)::BIGINT AS filled_lots, sum(qty) AS filled_qty, count(*) AS fills,
        sum(px * qty) / sum(qty) AS avg_px
    FROM fills WHERE NOT busted GROUP BY "order"
), said AS (
    SELECT aux AS "order", last(kind ORDER BY seq) AS kind, max(seq) AS last_seq, max(ts_recv) AS ts_recv
    FROM event WHERE kind BETWEEN {Kind.ACK} AND {Kind.TRADE_CORRECT} AND kind <> {Kind.ADJUST} GROUP BY aux
), resized AS (  -- a venue that says no size gives the one that was asked for
    SELECT "order", last(lots ORDER BY seq) AS lots FROM (
        SELECT r."order", r.seq, coalesce(nullif(r.qty_lots, 0), CASE r.kind WHEN {Kind.REPLACED} THEN (
            SELECT last(i.qty_lots ORDER BY i.seq, i.k) FROM intent i
            WHERE i."order" = r."order" AND i.seq < r.seq AND i.action = {Action.REPLACE} AND i.qty_lots > 0
        ) END) AS lots
        FROM report r WHERE r.kind IN ({Kind.REPLACED}, {Kind.RESTATED})
    ) WHERE lots > 0 GROUP BY "order"
), asked AS (
    SELECT "order", count(*) FILTER (action = {Action.CANCEL}) AS cancels,
        count(*) FILTER (action = {Action.REPLACE}) AS replaces
    FROM intent GROUP BY "order"
)
SELECT i."order", i.seq, i.k, ka.name AS action, i.instrument, i.side,
    t.name AS "type", f.name AS tif, i.px_ticks, i.trigger_ticks,
    coalesce(r.lots, CASE i.action WHEN {Action.NEW} THEN i.qty_lots END) AS lots,
    coalesce(d.filled_lots, 0) AS filled_lots, d.filled_qty, d.avg_px,
    coalesce(d.fills, 0) AS fills, a.cancels, a.replaces, k.name AS last_report, s.last_seq,
    make_timestamp_ns(s.ts_recv) AS last_time
FROM intent i
JOIN asked a ON a."order" = i."order"
LEFT JOIN names_Action ka ON ka.value = i.action
LEFT JOIN names_OrderType t ON t.value = i.type
LEFT JOIN names_TIF f ON f.value = i.tif
LEFT JOIN filled d ON d."order" = i."order"
LEFT JOIN resized r ON r."order" = i."order"
LEFT JOIN said s ON s."order" = i."order"
LEFT JOIN names_Kind k ON k.value = s.kind
WHERE i.action IN ({Action.NEW}, {Action.TARGET})
ORDER BY i."order"
"""  # noqa: S608 -- constants only


class Views:
    """SQL over the rows of one journal, as far as they were durable at the last `refresh`.

    Tables hold what was journaled: `event`, `bar`, `intent`, `report`, `text` (columns are the rows' fields, instants
    int64 ns UTC) and `names_Kind`, `names_Action`, `names_OrderType`, `names_TIF` (value, name). Views tell what
    follows: `fills`, one row for each execution, corrections applied, duplicates left out, busts marked; `orders`, one
    row for each order asked for, with what was filled and what was last said of it (a TARGET is sized where it
    executes, so its lots are not known here; where two replaces are under way at once and the venue names no size, only
    `TradingViews` tells which it was).

    damage: "raise" or "skip" damaged frames, as `StoreReader`.

    Raises InputError and DataError as `StoreReader` does.

    >>> import tempfile
    >>> from quantai.core.rows import EVENT, INTENT, zeros
    >>> from quantai.journal import EventStore
    >>> ask, fill = zeros(1, INTENT), zeros(2, EVENT)
    >>> ask["order"], ask["action"], ask["qty_lots"] = 1, Action.NEW, 7
    >>> fill["seq"], fill["kind"], fill["aux"], fill["qty"], fill["px"] = [1, 2], Kind.FILL, 1, [3, 4], [10, 17]
    >>> with tempfile.TemporaryDirectory() as folder, EventStore.create(folder + "/run", {}) as store:
    ...     store.append_intents(ask)
    ...     store.append(fill, durable=True)
    ...     with Views(folder + "/run") as views:
    ...         views.sql('SELECT "order", filled_qty, avg_px, last_report FROM orders').fetchall()
    [(1, 7.0, 14.0, 'FILL')]
    """

    def __init__(self, path: str | Path, *, damage: str = "raise") -> None:
        self._reader = StoreReader(path, damage="skip" if damage == "skip" else "raise")
        self._db = duckdb.connect(":memory:")
        self._seen = 0
        for stream in ROWS:
            self._create(stream.name.lower(), rows_schema(stream).empty_table())
        self._create("text", TEXT_SCHEMA.empty_table())
        for enum in _ENUMS:
            members = list(enum)
            names = pa.table(
                {"value": [int(member) for member in members], "name": [member.name for member in members]}
            )
            self._create(f"names_{enum.__name__}", names)
        self._db.execute(_FILLS)
        self._db.execute(_ORDERS)
        try:
            self.refresh()
        except BaseException:
            self.close()
            raise

    def refresh(self) -> int:
        """Read what became durable since the last time; returns how many rows of all streams that was."""
        frames, count = (self._seen, self._reader.last_frame), 0
        for stream in ROWS:
            tables = (rows_table(stream, rows) for rows in self._reader.scan(stream, frames=frames))
            count += self._append(stream.name.lower(), tables)
        texts = batched(self._reader.texts(frames=frames), 65_536, strict=False)
        count += self._append("text", (texts_table(part) for part in texts))
        self._seen = frames[1]
        return count

    def sql(self, query: str, parameters: Iterable[Any] = ()) -> duckdb.DuckDBPyRelation:
        """Ask a query; `.fetchall()`, `.df()`, `.pl()` or `.to_arrow_table()` of what it returns give the rows.

        Raises InputError, with DuckDB's words, for a query it refuses.
        """
        try:
            return self._db.sql(query, params=list(parameters))
        except duckdb.Error as error:
            raise InputError(f"the query is refused: {error}") from None

    def orders(self) -> pa.Table:
        """Every order asked for, by order number."""
        return self.sql("FROM orders").to_arrow_table()

    def fills(self) -> pa.Table:
        """Every execution, in the order they were journaled."""
        return self.sql("FROM fills").to_arrow_table()

    def close(self) -> None:
        """Let go of the journal and the tables."""
        self._reader.close()
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _create(self, name: str, table: pa.Table) -> None:
        self._db.register("incoming", table)
        self._db.execute(f"CREATE TABLE {name} AS FROM incoming")
        self._db.unregister("incoming")

    def _append(self, name: str, tables: Iterable[pa.Table]) -> int:
        count = 0
        for table in tables:
            self._db.register("incoming", table)
            self._db.execute(f"INSERT INTO {name} FROM incoming")
            self._db.unregister("incoming")
            count += table.num_rows
        return count

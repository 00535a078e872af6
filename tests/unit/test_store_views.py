"""Orders and fills told from the rows of a journal alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantai.core.errors import InputError
from quantai.core.reports import REPORT
from quantai.core.rows import BUY, EVENT, INTENT, MAKER, SELL, TIF, Action, Kind, OrderType, zeros
from quantai.journal import EventStore, Text
from quantai.journal.views import Views


class Desk:
    """Journals orders the way a trade loop does: an EVENT row for whatever happens, REPORT rows beside it."""

    def __init__(self, path: Path) -> None:
        self.store = EventStore.create(path, {"run": "views"})

    def see(self, **fields: Any) -> int:
        row = zeros(1, EVENT)
        for name, value in {"seq": self.store.next_seq, "ts_recv": self.store.next_seq * 10**9, **fields}.items():
            row[name] = value
        self.store.append(row)
        return int(row["seq"][0])

    def ask(self, **fields: Any) -> None:
        row = zeros(1, INTENT)
        for name, value in {"seq": self.store.next_seq - 1, "action": Action.NEW, **fields}.items():
            row[name] = value
        self.store.append_intents(row)

    def hear(self, kind: Kind, order: int, *, px: float = 0, qty: float = 0, **fields: Any) -> None:
        row = zeros(1, REPORT)
        row["seq"] = self.see(kind=kind, aux=order, px=px, qty=qty, instrument=4, side=BUY)
        row["kind"], row["order"] = kind, order
        for name, value in fields.items():
            row[name] = value
        self.store.append(row)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "run.journal"
    desk = Desk(path)
    desk.see(kind=Kind.TRADE)
    desk.ask(order=1, side=BUY, type=OrderType.LIMIT, tif=TIF.IOC, qty_lots=10, px_ticks=100, instrument=4)
    desk.ask(order=2, k=1, side=SELL, type=OrderType.MARKET, qty_lots=5, instrument=4)
    desk.hear(Kind.ACK, 1)
    desk.hear(Kind.FILL, 1, px=1.0, qty=0.4, qty_lots=4, px_ticks=100, exec=71, flags=MAKER)
    desk.hear(Kind.FILL, 1, px=1.0, qty=0.4, qty_lots=4, px_ticks=100, exec=71)  # said twice
    desk.hear(Kind.FILL, 1, px=1.1, qty=0.3, qty_lots=3, px_ticks=110, exec=72)
    desk.hear(Kind.FILL, 1, px=9.9, qty=0.1, qty_lots=1, px_ticks=990, exec=73)
    desk.hear(Kind.TRADE_CANCEL, 1, ref=73)
    desk.hear(Kind.TRADE_CORRECT, 1, ref=72, px_ticks=120, qty_lots=6)
    desk.ask(order=2, action=Action.REPLACE, qty_lots=8)
    desk.hear(Kind.REPLACED, 2, qty_lots=8)
    desk.ask(order=2, action=Action.CANCEL)
    desk.hear(Kind.CANCELED, 2)
    desk.store.append_texts([Text(3, "venue_id", "x-7")])
    desk.store.close()
    return path


def test_fills_without_duplicates_with_corrections_and_busts(journal: Path) -> None:
    with Views(journal) as views:
        fills = views.fills().to_pylist()
    assert [(f["order"], f["exec"], f["lots"], f["px_ticks"], f["busted"], f["corrected"]) for f in fills] == [
        (1, 71, 4, 100, False, False),
        (1, 72, 6, 120, False, True),
        (1, 73, 1, 990, True, False),
    ]
    assert [f["maker"] for f in fills] == [True, False, False]
    assert [f["px"] for f in fills] == pytest.approx([1.0, 1.2, 9.9])
    assert [f["qty"] for f in fills] == pytest.approx([0.4, 0.6, 0.1])
    assert fills[0]["time"].value == 3 * 10**9


def test_corrections_of_corrections_and_their_busts_are_followed(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "run.journal")
    for order in (1, 2, 3):
        desk.ask(order=order, side=BUY, type=OrderType.LIMIT, qty_lots=10, px_ticks=100, instrument=4)
        desk.hear(Kind.FILL, order, px=1.0, qty=0.4, qty_lots=4, px_ticks=100, exec=1)
        desk.hear(Kind.TRADE_CORRECT, order, ref=1, exec=2, px_ticks=110, qty_lots=6)
        desk.hear(Kind.TRADE_CORRECT, order, ref=2, exec=3, px_ticks=120, qty_lots=8)
        desk.hear(Kind.TRADE_CORRECT, order, ref=2, exec=2, px_ticks=1, qty_lots=1)  # known already
    desk.hear(Kind.TRADE_CANCEL, 2, ref=3, exec=9)
    desk.hear(Kind.TRADE_CORRECT, 3, px=2.0, qty=0.1, ref=8, exec=5, px_ticks=200, qty_lots=1)  # of one not heard of
    desk.ask(order=4, action=Action.TARGET, qty_lots=500_000_000)
    desk.hear(Kind.FILL, 4, px=1.0, qty=0.4, qty_lots=4, px_ticks=100, exec=1)
    desk.store.close()
    with Views(tmp_path / "run.journal") as views:
        fills = views.sql('SELECT "order", lots, px_ticks, qty, px, corrected, busted FROM fills').fetchall()
        orders = views.sql('SELECT "order", action, lots, filled_lots FROM orders').fetchall()
    assert fills == [
        (1, 8, 120, pytest.approx(0.8), pytest.approx(1.2), True, False),
        (2, 8, 120, pytest.approx(0.8), pytest.approx(1.2), True, True),
        (3, 8, 120, pytest.approx(0.8), pytest.approx(1.2), True, False),
        (3, 1, 200, 0.1, 2.0, False, False),
        (4, 4, 100, 0.4, 1.0, False, False),
    ]
    assert orders == [(1, "NEW", 10, 8), (2, "NEW", 10, 0), (3, "NEW", 10, 9), (4, "TARGET", None, 4)]


def test_orders_with_what_became_of_them(journal: Path) -> None:
    with Views(journal) as views:
        one, two = views.orders().to_pylist()
    assert (one["type"], one["tif"], one["lots"], one["filled_lots"], one["fills"]) == ("LIMIT", "IOC", 10, 10, 2)
    assert one["avg_px"] == pytest.approx((1.0 * 0.4 + 1.2 * 0.6) / 1.0)
    assert one["last_report"] == "TRADE_CORRECT"
    assert (two["lots"], two["filled_lots"], two["replaces"], two["cancels"]) == (8, 0, 1, 1)
    assert (two["last_report"], two["avg_px"]) == ("CANCELED", None)


def test_an_execution_of_no_order_of_ours_is_no_fill(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "run.journal")
    desk.ask(order=1, side=BUY, type=OrderType.LIMIT, qty_lots=4, px_ticks=100, instrument=4)
    desk.hear(Kind.FILL, 1, px=1.0, qty=0.4, qty_lots=4, px_ticks=100, exec=71)
    desk.hear(Kind.FILL, 0, qty_lots=4, px_ticks=100, exec=71)  # told again after a restart, without its order
    desk.store.close()
    with Views(tmp_path / "run.journal") as views:
        assert [(f["order"], f["exec"], f["lots"]) for f in views.fills().to_pylist()] == [(1, 71, 4)]


def test_raw_rows_and_texts_are_tables(journal: Path) -> None:
    with Views(journal) as views:
        kinds = views.sql(
            "SELECT k.name, count(*) FROM event JOIN names_Kind k ON k.value = kind GROUP BY 1 ORDER BY 1"
        )
        assert dict(kinds.fetchall())["FILL"] == 4
        assert views.sql("SELECT text FROM text WHERE seq = ?", [3]).fetchall() == [("x-7",)]
        assert views.sql("SELECT count(*) FROM report").fetchall() == [(9,)]
        with pytest.raises(InputError, match=r"the query is refused: .*nowhere"):
            views.sql("SELECT * FROM nowhere")


def test_a_view_of_a_live_store_reads_on_where_it_was(journal: Path) -> None:
    store = EventStore.open(journal, {})
    with Views(journal) as views:
        before = len(views.fills())
        assert views.refresh() == 0
        rows = zeros(2, EVENT)
        rows["seq"] = store.next_seq + np.arange(2)
        rows["kind"], rows["aux"], rows["qty"] = Kind.FILL, 9, 1
        store.append(rows)
        assert views.refresh() == 0  # not durable yet
        store.flush()
        assert views.refresh() == 2
        assert len(views.fills()) == before + 2
        assert views.refresh() == 0
    store.close()

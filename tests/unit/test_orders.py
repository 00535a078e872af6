"""The order automaton: the two packs, the matrices they leave out, marks, local answers, executions in any order."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quantai.core.executions import Executions, executions, live, reserve, restore
from quantai.core.orders import apply, submit
from quantai.core.reports import REPORT, Mark, OrdStatus, Outcome, exec_number
from quantai.core.rows import INTENT, Kind, zeros
from quantai.core.tracked import REQUESTS, TRACKED, average, leaves
from quantai.core.transitions import DOUBT, NEXT, QUERY, Life, transitions
from tests.conformance import orders_fix, orders_races
from tests.conformance.orders_fix import Track

PACKS = Path(__file__).parent.parent / "conformance"


def cases(pack: str) -> list[Any]:
    return [pytest.param(c, id=c["id"]) for c in json.loads((PACKS / f"{pack}.json").read_text())["cases"]]


@pytest.mark.parametrize("case", cases("orders_fix"))
def test_fix_matrix(case: dict[str, Any]) -> None:
    assert orders_fix.run(case) == []


@pytest.mark.parametrize("case", cases("orders_races"))
def test_race(case: dict[str, Any]) -> None:
    assert orders_races.run(case) == []


def test_the_adapters_see_a_wrong_answer() -> None:
    fix = json.loads((PACKS / "orders_fix.json").read_text())["cases"][0]
    fix["steps"][-1]["expect"]["cum"] += 1
    assert orders_fix.run(fix) == ["step 3 fill: cum is 10000, expected 10001"]
    race = json.loads((PACKS / "orders_races.json").read_text())["cases"][0]
    race["expect"]["flags_must"] = ["lost"]
    assert "merge 1: flags missing: ['lost']" in orders_races.run(race)


def play(script: str, tif: str = "gtc") -> Track:
    """Run a script, one event a line: `ev req=Y qty=10 px=50 exec=1 ref=1 status=New reason=too_late scope=request`.

    `=> STATUS LOCAL CUM LEAVES` at the end of a line is asserted; `-` is a null.
    """
    track = Track(tif)
    for line in filter(None, (x.strip() for x in script.splitlines())):
        said, _, wanted = line.partition("=>")
        name, *fields = said.split()
        event: dict[str, Any] = {"ev": name} | dict(f.split("=") for f in fields)
        event |= {k: int(v) for k, v in event.items() if k in ("qty", "cum")}
        track.step(event)
        if wanted:
            got = track.state()
            shown = [got["status"] or "-", got["status_local"], str(got["cum"]), str(got["leaves"])]
            assert shown == wanted.split(), line
    return track


MATRICES = {
    # the numbers are those of the tables of FIX 4.2 - 5.0 SP2, Appendix D
    "A.1.b day order, done for day": (
        "day",
        """submit req=X qty=10000    => - PendingNew 0 10000
           ack                      => New New 0 10000
           fill exec=1 qty=2000 px=50 => PartiallyFilled PartiallyFilled 2000 8000
           fill exec=2 qty=1000 px=50 => PartiallyFilled PartiallyFilled 3000 7000
           done_for_day             => DoneForDay DoneForDay 3000 0""",
    ),
    "B.1.e the acknowledgement and the cancel cross": (
        "gtc",
        """submit req=X qty=10000
           cancel_request req=Y     => - PendingCancel 0 10000
           ack                      => New PendingCancel 0 10000
           pending_cancel req=Y     => PendingCancel PendingCancel 0 10000
           canceled req=Y           => Canceled Canceled 0 0""",
    ),
    "B.1.f cancel of an order nobody knows": (
        "gtc",
        """cancel_request req=Y     => - PendingCancel 0 0
           cancel_reject req=Y reason=unknown_order => Rejected Rejected 0 0""",
    ),
    "C.1.c a filled order is raised": (
        "gtc",
        """submit req=X qty=10000
           ack
           fill exec=1 qty=10000 px=50 => Filled Filled 10000 0
           replace_request req=Y qty=12000 => Filled PendingReplace 10000 0
           pending_replace req=Y    => PendingReplace PendingReplace 10000 0
           replaced req=Y qty=12000 => PartiallyFilled PartiallyFilled 10000 2000
           fill exec=2 qty=2000 px=50 => Filled Filled 12000 0""",
    ),
    "C.3.c reduced below what was executed": (
        "gtc",
        """submit req=X qty=10000
           ack
           replace_request req=Y qty=7000
           fill exec=1 qty=8000 px=50 => PartiallyFilled PendingReplace 8000 2000
           replaced req=Y qty=8000  => Filled Filled 8000 0""",
    ),
    "D.2.c the second of two replaces is refused": (
        "gtc",
        """submit req=X qty=10000
           ack
           fill exec=1 qty=1000 px=50
           replace_request req=Y qty=8000
           replace_request req=Z qty=7000 => PartiallyFilled PendingReplace 1000 9000
           pending_replace req=Y    => PendingReplace PendingReplace 1000 9000
           replace_reject req=Z reason=already_pending => PendingReplace PendingReplace 1000 9000
           replaced req=Y qty=8000  => PartiallyFilled PartiallyFilled 1000 7000
           fill exec=2 qty=2000 px=50 => PartiallyFilled PartiallyFilled 3000 5000""",
    ),
    "E.1.a an order given by telephone": (
        "gtc",
        """ack qty=10000            => New New 0 10000
           fill exec=1 qty=2000 px=50 => PartiallyFilled PartiallyFilled 2000 8000
           fill exec=2 qty=8000 px=50 => Filled Filled 10000 0""",
    ),
    "E.1.d the venue declines a part": (
        "gtc",
        """submit req=X qty=10000
           ack
           restated qty=9000        => New New 0 9000
           fill exec=1 qty=9000 px=50 => Filled Filled 9000 0""",
    ),
    "J.1.d done for day, then corrected and busted": (
        "day",
        """submit req=X qty=10000
           ack
           fill exec=B qty=5000 px=50
           done_for_day             => DoneForDay DoneForDay 5000 0
           trade_correct exec=D ref=B qty=4000 px=50 => DoneForDay DoneForDay 4000 0
           trade_cancel exec=E ref=D => DoneForDay DoneForDay 0 0""",
    ),
    "L.1.a an execution is guaranteed first": (
        "gtc",
        """submit req=X qty=10000
           ack
           stopped                  => Stopped Stopped 0 10000
           fill exec=1 qty=1000 px=50 => Stopped Stopped 1000 9000
           fill exec=2 qty=9000 px=50 => Filled Filled 10000 0""",
    ),
    "suspended and released": (
        "gtc",
        """submit req=X qty=10
           ack
           suspended                => Suspended Suspended 0 10
           fill exec=1 qty=4 px=50  => Suspended Suspended 4 6
           restated                 => PartiallyFilled PartiallyFilled 4 6""",
    ),
    "cancel outranks replace, whichever was asked first": (
        "gtc",
        """submit req=X qty=10
           ack
           cancel_request req=Y
           replace_request req=Z qty=7 => New PendingCancel 0 10
           cancel_reject req=Y      => New PendingReplace 0 10
           replaced req=Z           => New New 0 7""",
    ),
}


@pytest.mark.parametrize("name", MATRICES)
def test_matrix_beyond_the_pack(name: str) -> None:
    tif, script = MATRICES[name]
    play(script, tif)


@pytest.mark.parametrize("seed", range(3))
def test_corrections_without_an_id_can_be_corrected_and_busted(seed: int) -> None:
    order, table = zeros(1, TRACKED)[0], executions()
    submit(order, zeros(1, INTENT)[0])

    def hear(kind: Kind, **fields: int) -> int:
        report = zeros(1, REPORT)
        report["kind"] = kind
        for name, value in fields.items():
            report[name] = value
        return apply(order, table, report[0])

    for exec_ in range(1, seed + 2):
        hear(Kind.FILL, exec=exec_, qty_lots=10, px_ticks=100)
    left = 10 * seed
    for lots in (6, 4, 7):
        assert hear(Kind.TRADE_CORRECT, ref=1, qty_lots=lots, px_ticks=90) == Outcome.BOOKED | Outcome.BUSTED
        assert order["cum_lots"] == left + lots
    assert hear(Kind.TRADE_CANCEL, ref=1) == Outcome.BUSTED
    assert order["cum_lots"] == left
    assert hear(Kind.TRADE_CORRECT, ref=1, qty_lots=3, px_ticks=90) == Outcome.DUPLICATE


def test_corrections_of_corrections_move_the_average() -> None:
    track = play(
        """submit req=X qty=10000
           ack
           fill exec=C qty=1000 px=100          => PartiallyFilled PartiallyFilled 1000 9000
           fill exec=D qty=9000 px=110          => Filled Filled 10000 0
           trade_cancel exec=E ref=C            => PartiallyFilled PartiallyFilled 9000 1000
           trade_correct exec=F ref=D qty=9000 px=100 => PartiallyFilled PartiallyFilled 9000 1000
           fill exec=G qty=1000 px=120          => Filled Filled 10000 0
           trade_correct exec=H ref=F qty=9000 px=120
           replace_request req=Y qty=12000
           pending_replace req=Y                => PendingReplace PendingReplace 10000 0
           replaced req=Y qty=12000             => PartiallyFilled PartiallyFilled 10000 2000
           trade_correct exec=K ref=H qty=9500 px=120 => PartiallyFilled PartiallyFilled 10500 1500"""
    )
    assert track.state()["avg_px"] == "120.000000000000"
    assert [int(r["qty_lots"]) for r in live(track.table, 1)] == [1000, 9500]
    assert len(live(track.table, order=2)) == 0


MARKS = {
    "same id, other content": ("fill exec=1 qty=4 px=9\nfill exec=1 qty=5 px=9", {"needs_query"}),
    "same id, same content": ("fill exec=1 qty=4 px=9\nfill exec=1 qty=4 px=9", set()),
    "fill after canceled": ("canceled\nfill exec=1 qty=4 px=9", {"late_fill"}),
    "fill after filled": ("fill exec=1 qty=10 px=9\nfill exec=2 qty=1 px=9", {"overfill"}),
    "overfill busted": ("fill exec=1 qty=10 px=9\nfill exec=2 qty=1 px=9\ntrade_cancel exec=3 ref=2", set()),
    "fill after rejected": ("reject\nfill exec=1 qty=4 px=9", {"late_fill", "needs_query"}),
    "acknowledged after rejected": ("reject\nack", {"needs_query"}),
    "a bust of nothing": ("ack\ntrade_cancel exec=3", {"needs_query"}),
    "no answer": ("timeout req=X", {"unknown"}),
    "no answer, then acknowledged": ("timeout req=X\nack", set()),
    "acknowledged, then a late alarm": ("ack\ntimeout req=X", set()),
    "not found once": ("timeout req=X\nquery_result status=NotFound", {"unknown"}),
    "not found, then acknowledged": ("query_result status=NotFound\n" * 3 + "ack", set()),
    "not found, then found": ("query_result status=NotFound\n" * 3 + "query_result status=New cum=0 qty=10", set()),
    "not found, then filled": ("query_result status=NotFound\n" * 3 + "fill exec=1 qty=4 px=9", {"lost", "late_fill"}),
    "not found, though acknowledged": ("ack\nquery_result status=NotFound", {"needs_query"}),
    "executions missing": ("ack\nquery_result status=Filled cum=10 qty=10", {"missing_fills"}),
    "executions missing, then all here": ("ack\nquery_result status=Filled cum=10\nfill exec=1 qty=10 px=9", set()),
    "reject, then asked": ("ack\nreject\nquery_result status=Rejected cum=0", set()),
    "restated after canceled": ("ack\ncanceled\nrestated qty=10", {"needs_query"}),
    "cancel unanswered": ("ack\ncancel_request req=Y\ntimeout req=Y", {"unknown"}),
    "cancel unanswered, then canceled": ("ack\ncancel_request req=Y\ntimeout req=Y\ncanceled req=Y", set()),
}


@pytest.mark.parametrize("name", MARKS)
def test_marks(name: str) -> None:
    script, wanted = MARKS[name]
    assert play("submit req=X qty=10\n" + script).state()["flags"] == wanted


ANSWERS = {
    "twice the same order": ("submit req=X qty=10", ["DUPLICATE_SUBMIT"]),
    "two cancels": ("cancel_request req=Y\ncancel_request req=Z", ["ALREADY_PENDING"]),
    "cancel after a refused one": ("cancel_request req=Y\ncancel_reject req=Y\ncancel_request req=Z", []),
    "cancel of a filled order": ("fill exec=1 qty=10 px=9\ncancel_request req=Y", ["ALREADY_DONE"]),
    "cancel of a filled order being raised": (
        "fill exec=1 qty=10 px=9\nreplace_request req=Y qty=20\ncancel_request req=Z",
        [],
    ),
    "replace of a filled order": ("fill exec=1 qty=10 px=9\nreplace_request req=Y qty=20", []),
    "replace of a canceled order": ("canceled\nreplace_request req=Y qty=20", ["ALREADY_DONE"]),
    "cancel of an expired order": ("expired\ncancel_request req=Y", ["ALREADY_DONE"]),
    "cancel again before asking": ("cancel_request req=Y\ntimeout req=Y\ncancel_request req=Z", ["ALREADY_PENDING"]),
    "cancel again after the venue said it still works": (
        "cancel_request req=Y\ntimeout req=Y\nquery_result status=New cum=0 qty=10\ncancel_request req=Z",
        [],
    ),
    "more requests than there is room for": (
        "\n".join(f"replace_request req=R{i} qty=9" for i in range(REQUESTS)),
        ["TOO_MANY_PENDING"],
    ),
    "a cancel when no replace finds room": (
        "\n".join(f"replace_request req=R{i} qty=9" for i in range(REQUESTS - 1)) + "\ncancel_request req=Z",
        [],
    ),
    "more cancels than there is room for, each believed lost": (
        "\n".join(
            f"cancel_request req=C{i}\ntimeout req=C{i}\nquery_result status=New cum=0 qty=10"
            for i in range(REQUESTS + 1)
        ),
        [],
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_local_answers(name: str) -> None:
    script, wanted = ANSWERS[name]
    assert play("submit req=X qty=10\nack\n" + script).answers == wanted


def test_a_reject_that_names_a_request_refuses_only_that() -> None:
    track = play("submit req=X qty=10\nack\nreplace_request req=Y qty=8\nreject req=Y")
    assert (track.state()["status_local"], track.state()["flags"]) == ("New", set())


def test_a_damaged_row_is_read_within_bounds() -> None:
    order, table = play("submit req=X qty=10\nack").row, executions()
    report = zeros(1, REPORT)
    for kind in range(256):
        for code in (0, 1, 255):
            report["kind"], report["code"] = kind, code
            apply(order[0], table, report[0])
            assert order["life"][0] in set(Life)


def test_a_resubmission_changes_nothing() -> None:
    track = play("submit req=X qty=10\nack\nfill exec=1 qty=4 px=9")
    before = track.row.tobytes()
    track.step({"ev": "submit", "req": "X", "qty": 99})
    assert track.row.tobytes() == before


def test_replaces_answered_in_the_wrong_order_end_in_the_later_one() -> None:
    asked = "submit req=X qty=10\nack\nreplace_request req=Y qty=8 px=5\nreplace_request req=Z qty=7 px=6\n"
    ends = [
        play(asked + a).row["qty_lots"][0] for a in ("replaced req=Y\nreplaced req=Z", "replaced req=Z\nreplaced req=Y")
    ]
    assert ends == [7, 7]
    again = play(asked + "replaced req=Y\nreplaced req=Z\nreplaced req=Y qty=8")
    assert again.row["qty_lots"][0] == 7
    assert again.row["px_ticks"][0] == 6 * 10**8


def test_an_answer_that_names_no_request_answers_the_oldest() -> None:
    track = play("submit req=X qty=10\nack\nreplace_request req=Y qty=8\nreplace_request req=Z qty=7\nreplaced")
    assert (track.row["qty_lots"][0], track.state()["status_local"]) == (8, "PendingReplace")


def test_a_venue_that_gives_no_execution_ids_is_believed() -> None:
    assert play("submit req=X qty=10\nfill qty=3 px=9\nfill qty=3 px=9").state()["cum"] == 6


def test_a_full_table_changes_nothing_until_it_is_enlarged() -> None:
    order, table, intent, report = zeros(1, TRACKED), executions(4), zeros(1, INTENT), zeros(1, REPORT)
    intent["order"], intent["qty_lots"] = 1, 100
    submit(order[0], intent[0])
    report["order"], report["kind"], report["px_ticks"], report["qty_lots"] = 1, Kind.FILL, 3, 1
    for i in range(1, 16):
        report["exec"] = i
        assert apply(order[0], table, report[0]) == Outcome.BOOKED
    report["exec"] = 16
    before = order.tobytes()
    assert apply(order[0], table, report[0]) == Outcome.TABLE_FULL
    assert order.tobytes() == before
    table = reserve(table, 2)
    assert apply(order[0], table, report[0]) == Outcome.BOOKED
    report["exec"] = 5
    assert apply(order[0], table, report[0]) == Outcome.DUPLICATE
    assert reserve(table, 2) is table


def test_a_table_is_rebuilt_from_its_rows() -> None:
    track = play("submit req=X qty=10\nfill exec=A qty=3 px=9\ntrade_correct exec=B ref=A qty=4 px=9")
    again: Executions = restore(track.table.rows[: track.table.used[0]])
    track.table = again
    track.step({"ev": "fill", "exec": "A", "qty": 3, "px": "9"})
    assert (track.state()["cum"], track.state()["duplicates_ignored"]) == (4, 1)


def test_the_executed_value_is_exact_beyond_int64() -> None:
    order, table, intent, report = zeros(1, TRACKED), executions(), zeros(1, INTENT), zeros(1, REPORT)
    intent["order"], intent["qty_lots"] = 1, 10**14
    submit(order[0], intent[0])
    total = quantity = 0
    for i, (px, qty) in enumerate([(10**12, 10**12), (-(10**12) + 7, 10**11 + 1), (3, 1)], 1):
        report["order"], report["kind"], report["exec"], report["px_ticks"], report["qty_lots"] = (
            1,
            Kind.FILL,
            i,
            px,
            qty,
        )
        apply(order[0], table, report[0])
        total, quantity = total + px * qty, quantity + qty
    assert average(order[0]) * quantity == total
    assert leaves(order[0]) == 10**14 - quantity


def test_the_table_has_a_row_for_every_report() -> None:
    said = " ".join(report for report, _ in transitions())
    ours = {Kind.CANCEL_REQUEST, Kind.REPLACE_REQUEST, Kind.TIMEOUT, Kind.ADJUST, Kind.ORDER_STATUS}
    reports = {k for k in Kind if k >= Kind.ACK} - ours
    assert [k.name for k in reports if k.name.lower() not in said] == []
    assert [s.name for s in OrdStatus if s and f"{s.name.lower()}" not in said] == []
    assert {len(cells) for _, cells in transitions()} == {len(Life)}


def test_the_end_of_an_order_is_final() -> None:
    after = NEXT & (DOUBT - 1)
    assert set(after[:, Life.CANCELED]) == {Life.CANCELED}
    assert set(after[:, Life.EXPIRED]) == {Life.EXPIRED, Life.CANCELED}
    revived = {Life.PENDING, Life.OPEN, Life.STOPPED, Life.SUSPENDED, Life.DONE}
    reports = [c for c in range(QUERY) if after[c, Life.REJECTED] in revived]
    assert all(NEXT[c, Life.REJECTED] & DOUBT for c in reports)  # only by a contradiction, and it is marked


def test_row_layouts_have_no_hidden_padding() -> None:
    for dtype, size in ((TRACKED, 360), (REPORT, 64)):
        assert dtype.itemsize == size
        assert sum(dtype[n].itemsize for n in dtype.names or ()) == size


def test_execution_numbers() -> None:
    numbers = [exec_number(t) for t in ("1", "01", "1a", "", "9" * 30, "B", "b", "٣")]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= n < 1 << 64 for n in numbers)
    assert [n >> 63 for n in numbers] == [0, 1, 1, 1, 1, 1, 1, 1]


def test_marks_and_outcomes_are_distinct_bits() -> None:
    for flags in (Mark, Outcome):
        values = [int(f) for f in flags]
        assert np.bitwise_or.reduce(values) == sum(values)

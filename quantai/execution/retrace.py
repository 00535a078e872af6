"""A run that traded, run again from its journal: the same rows through the same strategies must ask for the same.

Recovery is the same walk: it brings the strategies and the order management to the last durable row. What a strategy
asked for at that row and a crash kept out of the journal is handed back, to be journaled and never sent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from quantai.core.errors import DataError
from quantai.core.rows import EVENT, INTENT, Kind, Rows, zeros
from quantai.execution.floor import ROUNDS, Floor
from quantai.execution.oms import OMS
from quantai.execution.outgoing import Step
from quantai.execution.recovery import MANIFEST, read_words
from quantai.execution.seats import Seat
from quantai.execution.session import SNAPSHOT, feed
from quantai.execution.setup import Setup
from quantai.journal import StoreReader, Stream
from quantai.ops.compiling import announced
from quantai.strategy import Strategy

SEATS = "seats"
"""The entry of a run's manifest that holds the strategies, one a desk."""

FLOOR = "floor"
"""The name of the desks' snapshots in a store."""

ENGINE = "trade"
"""What the manifest of a run that trades calls its engine."""

_ALONE = np.zeros(256, np.bool_)
_ALONE[[Kind.CONTROL, *range(Kind.ACK, 256)]] = True  # reports, adjustments, controls: one at a time


@dataclass
class Walk:
    """How far a journal was run again, and what came of it."""

    floor: Floor
    decided: list[Rows] = field(default_factory=lambda: [zeros(0, INTENT)])
    left: list[Rows] = field(default_factory=lambda: [zeros(0, INTENT)])  # asked at the last row, not in the journal
    rows: int = 0

    @property
    def oms(self) -> OMS:
        """The order management."""
        return self.floor.oms


def seats_of(manifest: dict[str, Any], strategies: Sequence[type[Strategy]] = ()) -> list[Seat]:
    """Return the seats of a run's manifest; `strategies` stand in for those that cannot be imported by their names."""
    found = [*strategies, *([None] * len(manifest[SEATS]))]
    return [Seat.of(said, cls) for said, cls in zip(manifest[SEATS], found, strict=False)]


def has_traded(path: str | Path) -> bool:
    """Say whether a journal is that of a run that trades; raises InputError when there is none."""
    with StoreReader(path, damage="skip") as reader:
        manifests = reader.manifests()
        return bool(manifests) and manifests[0].get("engine") == ENGINE


def manifest_of(reader: StoreReader) -> dict[str, Any]:
    """Return the first manifest of a journal; raises DataError when it is not one of a run that trades."""
    manifests = reader.manifests()
    if not manifests or manifests[0].get("engine") != ENGINE:
        raise DataError(f"{reader.path} is not the journal of a run that trades: `quantai trade … --journal` makes one")
    return manifests[0]


def stand(reader: StoreReader, seats: Sequence[Seat], *, from_start: bool = False) -> Floor:
    """Return strategies and order management as the newest pair of snapshots has them, else at the start."""
    setup = Setup.of(manifest_of(reader)[MANIFEST])
    kept = None if from_start else reader.snapshot(FLOOR)
    orders = reader.snapshot(SNAPSHOT, at=kept.seq) if kept else None
    if kept is not None and orders is not None and orders.seq == kept.seq:
        try:
            return Floor(OMS.restored(orders.body, setup), seats).load(kept.body)
        except DataError:  # of another version: the rows say it all, more slowly
            pass
    return Floor(OMS(setup), seats)


def walk(reader: StoreReader, floor: Floor) -> Walk:
    """Run on from where the floor stands to the last row of the journal.

    Raises DataError at the first intent that differs from the journal, in words.
    """
    return _Walker(reader, floor).run()


class _Walker:
    def __init__(self, reader: StoreReader, floor: Floor) -> None:
        first = floor.oms.seq
        self._reader, self._floor, self._oms, self._first = reader, floor, floor.oms, first
        self._out = Walk(floor)
        point = floor.oms.point[0]
        self._reports = reader.rows(Stream.REPORT, start=first)
        self._reports = self._reports[min(int((self._reports["seq"] == first).sum()), int(point["reports"])) :]
        self._recorded = reader.rows(Stream.INTENT, start=first)
        self._recorded = self._recorded[min(int((self._recorded["seq"] == first).sum()), int(point["intents"])) :]
        self._texts, self._fees = read_words(reader, first)
        self._bars = reader.bars()
        self._r = self._i = 0
        self._cut = False

    def run(self) -> Walk:
        for frame in self._reader.scan(Stream.EVENT, start=self._first):
            rows = np.array(frame[frame["seq"] > self._first], EVENT)
            self._out.rows += len(rows)
            alone = np.flatnonzero(_ALONE[rows["kind"]])
            at = 0
            for n in [*alone.tolist(), len(rows)]:
                self._market(rows[at:n])
                if n < len(rows):
                    self._single(rows[n])
                at = n + 1
        self._check_passed(None)
        return self._out

    def _market(self, rows: Rows) -> None:
        done = 0
        for n, intents in self._floor.look(rows, self._bars):
            feed(self._oms, rows[done:n], {})
            done = n
            self._ask(intents)
        if done < len(rows):
            feed(self._oms, rows[done:], {})

    def _single(self, row: Any) -> None:
        seq, text = int(row["seq"]), self._texts.get(int(row["seq"]), "")
        self._check_passed(seq)
        step = self._oms.process(row, text)
        while self._r < len(self._reports) and self._reports["seq"][self._r] <= seq:
            report = self._reports[self._r]
            step.add(self._oms.process(report, self._fees.get(int(report["seq"]), "")))
            self._r += 1
        if row["kind"] == Kind.ADJUST:
            self._floor.adjusted()
        first = self._floor.obey(row, text) if row["kind"] == Kind.CONTROL else zeros(0, INTENT)
        self._ask(np.concatenate([first, self._floor.hear(step.events)]))

    def _ask(self, intents: Rows) -> None:
        for rounds in range(ROUNDS + 1):
            intents = self._floor.route(intents)
            if not len(intents):
                return
            self._compare(intents)
            step = Step()
            for intent in intents:
                step.add(self._oms.process(intent))
            intents = self._floor.hear(step.events, last=rounds + 1 >= ROUNDS)

    def _compare(self, intents: Rows) -> None:
        self._check_passed(int(intents["seq"][0]))
        self._out.decided.append(intents)
        recorded = self._recorded[self._i : self._i + len(intents)]
        self._i += len(recorded)
        if recorded.tobytes() != intents[: len(recorded)].tobytes():
            at = next(k for k in range(len(recorded)) if recorded[k].tobytes() != intents[k].tobytes())
            self._differ(recorded[at], intents[at])
        if len(recorded) < len(intents):
            self._cut = True
            self._out.left.append(intents[len(recorded) :])

    def _check_passed(self, seq: int | None) -> None:
        """Raise for an intent that is in the journal and was not asked for, or the other way round, before `seq`."""
        if self._i < len(self._recorded) and (seq is None or int(self._recorded["seq"][self._i]) < seq):
            self._differ(self._recorded[self._i], None)
        if self._cut and seq is not None and seq > int(self._out.left[-1]["seq"][-1]):
            self._differ(None, self._out.left[-1][0])

    def _differ(self, recorded: Any, now: Any) -> None:
        seq = int((now if recorded is None else recorded)["seq"])
        was, new = (describe(side, self._oms.setup) for side in (recorded, now))
        raise DataError(f"decision at row {seq}: recorded {was}, now {new}")


def describe(intent: Any, setup: Setup) -> str:
    """Return an intent in words.

    >>> describe(None, None)
    'nothing'
    """
    from quantai.core.rows import Action, OrderType

    if intent is None:
        return "nothing"
    i, known = int(intent["instrument"]), setup.instruments
    symbol = known[i].symbol if i < len(known) else f"instrument {i}"
    action = Action(int(intent["action"]))
    if action is Action.TARGET:
        return f"{symbol} to {int(intent['qty_lots']) / 1e9:.6g} of equity (order {intent['order']})"
    if action is Action.CANCEL:
        return f"cancel of order {intent['order']}"
    side = "buy" if intent["side"] > 0 else "sell"
    at = f" at {known[i].price(int(intent['px_ticks']))}" if intent["px_ticks"] and i < len(known) else ""
    qty = known[i].qty(int(intent["qty_lots"])) if i < len(known) else int(intent["qty_lots"])
    verb = "replace by " if action is Action.REPLACE else ""
    kind = OrderType(int(intent["type"])).name.lower().replace("_", " ")
    return f"{verb}{side} {qty:g} {symbol} {kind}{at} (order {intent['order']})"


@dataclass(frozen=True)
class Proof:
    """What came of running a run that traded again."""

    run: str
    strategies: list[str]
    rows: int
    intents: int
    same: bool
    differences: list[str] = field(default_factory=list[str])


def retrace(path: str | Path, strategies: Sequence[type[Strategy]] = ()) -> Proof:
    """Run a traded run again from its first row and compare every decision with the journal, byte for byte.

    Intents that a crash kept out of the journal at its very end are no difference. Raises DataError when the journal is
    not one of a run that trades, or is damaged.
    """
    with StoreReader(path) as reader:
        manifest = manifest_of(reader)
        seats = seats_of(manifest, strategies)
        differences = [
            f"source: {seat.name} is not what it was when the run began"
            for seat, said in zip(seats, manifest[SEATS], strict=True)
            if type(seat.strategy).source_hash() != said["hash"]
        ]
        recorded = reader.rows(Stream.INTENT)
        rows = 0
        try:
            with announced().together("the trade loop", "two minutes"):
                rows = walk(reader, stand(reader, seats, from_start=True)).rows
        except DataError as error:
            differences.append(str(error))
    names = [seat.name for seat in seats]
    return Proof(manifest["run"], names, rows, len(recorded), not differences, differences)

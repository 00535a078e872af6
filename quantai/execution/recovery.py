"""Recovery: the state of an order management, rebuilt from its journal: a snapshot and the rows after it.

The rows are processed as they were the first time, in the same order: of one number the EVENT row, then REPORT rows,
then the INTENT rows it caused. What was already asked of the venue is not asked again; `Control.RECONCILE` then asks
about every order that may be alive.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from quantai.core.errors import DataError
from quantai.core.rows import EVENT, Rows
from quantai.execution.oms import OMS
from quantai.execution.outgoing import Step
from quantai.execution.session import SNAPSHOT, feed
from quantai.execution.setup import Setup
from quantai.journal import StoreReader, Stream
from quantai.journal.reader import Where
from quantai.venues.venue import FEE

MANIFEST = "oms"
"""The entry of a run's manifest that holds the `Setup`."""


def recover(path: str | Path, *, until: int | None = None, from_start: bool = False, despite_gaps: bool = False) -> OMS:
    """Return the order management as it was after the last durable row, or after row `until`.

    Raises DataError when the journal is damaged (then `journal.recover` it first), is not one of orders, or has lost
    rows that no later snapshot has seen: `despite_gaps` goes on without them, and only the venue knows then what is
    true. With `from_start` snapshots are not used, which gives the same state, later.

    >>> import tempfile
    >>> from quantai.core.instruments import Instrument, Instruments
    >>> from quantai.execution.limits import Limits
    >>> from quantai.journal import EventStore, describe_run
    >>> from quantai.portfolio import Desk
    >>> spy = Instruments([Instrument.parse("SPY")])
    >>> setup = Setup(desks=(Desk("demo"),), instruments=spy, limits=Limits.example())
    >>> oms = OMS(setup)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with EventStore.create(folder + "/demo.journal", describe_run("demo", oms=setup.as_dict())) as store:
    ...         money = oms.portfolio.deposit(0, 1000.0)
    ...         money["seq"] = store.next_seq
    ...         store.append(money)
    ...         _ = oms.process(money[0])
    ...     recover(folder + "/demo.journal").snapshot() == oms.snapshot()
    True
    """
    with StoreReader(path) as reader:
        oms = newest(reader, until=until, from_start=from_start)
        lost = [gap for gap in reader.gaps(after=oms.seq) if until is None or gap.first <= until]
        if lost and not despite_gaps:
            raise DataError(
                f"{path} has lost rows ({len(lost)} gaps, the first: {lost[0].why}, rows {lost[0].first} …"
                f" {lost[0].last}): the state is not certain; recover(path, despite_gaps=True) goes on without them"
            )
        for _ in replay(reader, oms, until=until):
            pass
        return oms


def newest(reader: StoreReader, *, until: int | None = None, from_start: bool = False) -> OMS:
    """Return the state of the newest snapshot in a journal of orders, or one at its start, for `replay` to go on from.

    Raises DataError when the journal is not one of orders.
    """
    manifests = reader.manifests()
    if not manifests:
        raise DataError(f"{reader.path} has no manifest left: nothing says what its rows are orders of")
    if MANIFEST not in manifests[0]:
        raise DataError(f"{reader.path} is no journal of orders: its manifest has no entry {MANIFEST!r}")
    setup = Setup.of(manifests[0][MANIFEST])
    kept = None if from_start else reader.snapshot(SNAPSHOT, at=until)
    return OMS.restored(kept.body, setup) if kept else OMS(setup)


def replay(reader: StoreReader, oms: OMS, *, until: int | None = None) -> Iterator[tuple[int, Step]]:
    """Process the rows of a journal that `oms` has not seen; yields (row number, what it led to) as they come.

    Rows that led to nothing may be taken together, under the number of the last of them.
    """
    point = oms.point[0]
    first, stop = int(point["seq"]), None if until is None else until + 1
    bounds: Where = {"start": first} if stop is None else {"start": first, "stop": stop}
    reports = reader.rows(Stream.REPORT, **bounds)
    intents = reader.rows(Stream.INTENT, **bounds)
    reports = reports[_seen(reports, first, int(point["reports"])) :]
    intents = intents[_seen(intents, first, int(point["intents"])) :]
    texts, fees = read_words(reader, first, stop)
    late = _Followers(oms, reports, intents, fees)
    yield from late.upto(first)
    for frame in reader.scan(Stream.EVENT, **bounds):
        rows = np.array(frame[frame["seq"] > first], EVENT)
        for cut in late.cuts(rows):
            part, rows = rows[:cut], rows[cut:]
            last = int(part["seq"][-1])
            yield last, feed(oms, part, texts)
            yield from late.upto(last)
        if len(rows):
            yield int(rows["seq"][-1]), feed(oms, rows, texts)


def read_words(reader: StoreReader, start: int, stop: int | None = None) -> tuple[dict[int, str], dict[int, str]]:
    """Return the texts that an order management reads beside rows, by row: of controls, and fees of executions."""
    texts: dict[int, str] = {}
    fees: dict[int, str] = {}
    for text in reader.texts(start=start, stop=stop):
        if text.field in ("control", FEE):
            (fees if text.field == FEE else texts)[text.seq] = text.text
    return texts, fees


def _seen(rows: Rows, seq: int, count: int) -> int:
    """Return how many leading rows of number `seq` were processed before the snapshot."""
    return min(int((rows["seq"] == seq).sum()), count)


class _Followers:
    """REPORT and INTENT rows, handed over after the EVENT row of their number."""

    def __init__(self, oms: OMS, reports: Rows, intents: Rows, fees: dict[int, str]) -> None:
        self._oms, self._reports, self._intents, self._fees = oms, reports, intents, fees
        self._r = self._i = 0

    def cuts(self, rows: Rows) -> list[int]:
        """Return the lengths of the parts of `rows` that end with a row that something follows."""
        if not len(rows):
            return []
        waiting = np.concatenate([self._reports["seq"][self._r :], self._intents["seq"][self._i :]])
        marks = np.unique(waiting[waiting <= rows["seq"][-1]])
        ends = np.searchsorted(rows["seq"], marks, side="right")
        return [int(n) for n in np.diff(np.concatenate([[0], ends])) if n]

    def upto(self, seq: int) -> Iterator[tuple[int, Step]]:
        """Process what follows rows up to number `seq`."""
        while self._r < len(self._reports) and self._reports["seq"][self._r] <= seq:
            report = self._reports[self._r]
            yield seq, self._oms.process(report, self._fees.get(int(report["seq"]), ""))
            self._r += 1
        while self._i < len(self._intents) and self._intents["seq"][self._i] <= seq:
            yield seq, self._oms.process(self._intents[self._i])
            self._i += 1

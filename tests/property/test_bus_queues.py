"""A queue of any policy against a plain list: what is delivered, dropped and conflated adds up, in order."""

import asyncio

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quantai.core.rows import EVENT, Kind, Rows, zeros
from quantai.journal.bus import Bus
from quantai.journal.frames import Stream
from quantai.journal.subscription import Policy

BATCHES = st.lists(
    st.lists(st.tuples(st.sampled_from([Kind.TRADE, Kind.MARK, Kind.STATUS]), st.integers(0, 3)), max_size=6),
    max_size=15,
)


def make(batch: list[tuple[Kind, int]], first: int) -> Rows:
    rows = zeros(len(batch), EVENT)
    rows["seq"] = np.arange(first, first + len(batch))
    for row, (kind, instrument) in zip(rows, batch, strict=True):
        row["kind"], row["instrument"] = kind, instrument
    return rows


@given(
    batches=BATCHES,
    takes=st.lists(st.booleans(), min_size=15, max_size=15),
    policy=st.sampled_from(Policy),
    capacity_rows=st.integers(1, 12),
    kinds=st.sets(st.sampled_from([Kind.TRADE, Kind.MARK]), min_size=1),
    instruments=st.none() | st.sets(st.integers(0, 3)),
)
def test_rows_arrive_in_order_or_are_accounted_for(
    batches: list[list[tuple[Kind, int]]],
    takes: list[bool],
    policy: Policy,
    capacity_rows: int,
    kinds: set[Kind],
    instruments: set[int] | None,
) -> None:
    async def play() -> None:
        bus = Bus()
        subscription = await bus.subscribe(
            Stream.EVENT,
            kinds=kinds,
            instruments=instruments,
            policy=policy,
            capacity_rows=capacity_rows if policy is not Policy.BLOCK else 1000,
        )
        matched: list[int] = []
        newest: dict[tuple[int, int], int] = {}
        got: list[Rows] = []
        first = 0
        for batch, take in zip(batches, takes, strict=False):
            await bus.publish(make(batch, first))
            for at, (kind, instrument) in enumerate(batch):
                if kind in kinds and (instruments is None or instrument in instruments):
                    matched.append(first + at)
                    newest[instrument, kind] = first + at
            first += len(batch)
            if policy is not Policy.BLOCK:
                assert subscription.counters.queued <= (capacity_rows if policy is Policy.DROP_OLDEST else 8)
            if take and (rows := subscription.pop()) is not None:
                got.append(rows)
        while (rows := subscription.pop()) is not None:
            got.append(rows)
        counters = (await bus.close())[subscription.name]
        rows = np.concatenate([zeros(0, EVENT), *got])
        gaps, real = rows[rows["kind"] == Kind.GAP], rows[rows["kind"] != Kind.GAP]
        seqs = real["seq"].tolist()
        assert counters.received == len(matched) == counters.delivered + counters.dropped + counters.conflated
        assert counters.delivered == len(seqs)
        assert seqs == sorted(seqs)
        assert set(seqs) <= set(matched)
        if policy is Policy.BLOCK:
            assert seqs == matched
        elif policy is Policy.DROP_OLDEST:
            assert gaps["aux"].sum() == counters.dropped == len(set(matched) - set(seqs))
            assert rows["seq"].tolist() == sorted(rows["seq"].tolist())
        else:
            assert set(newest.values()) <= set(seqs)

    asyncio.run(play())

"""The paper venue executes like a replay: same rows one by one, same requests at the same instants, same reports."""

import asyncio

import numpy as np
from hypothesis import given, settings

import quantai as qa
from quantai.backtest.tick_run import TickRun
from quantai.core.rows import EVENT, LAST, MAKER, Action, Kind, OrderState, zeros
from quantai.venues.paper import Paper
from quantai.venues.venue import Answer, Ask, Request
from tests.property.test_replay_run import TWO, tick_rows, venues

LIFE = 4_000
PAST = 20 * LIFE


class Prober(qa.Strategy):
    """Places an order at each of its decisions, which says when that was: it expires LIFE ns later."""

    n: int = qa.state(0)
    last: int = qa.state(0)

    def on_trade(self, ctx, trade):
        self.n += 1
        if self.n % 4 == 0:
            ctx.cancel(self.last)
        elif self.n % 5 == 0:
            ctx.replace(self.last, 0.007, limit=trade.px - 0.1)
        side = self.n % 3
        if side == 0:
            self.last = ctx.buy(0.004, limit=trade.px, post_only=self.n % 2 == 0, expire_ts=ctx.now + LIFE)
        elif side == 1:
            self.last = ctx.sell(0.003, limit=trade.px - 0.1, expire_ts=ctx.now + LIFE)
        else:
            self.last = ctx.buy(0.005, limit=trade.px + 0.2, expire_ts=ctx.now + LIFE)


def asked(run: TickRun) -> dict[int, list[Request]]:
    """What the strategy asked for, by the instant of the decision."""
    by_instant: dict[int, list[Request]] = {}
    numbers: dict[int, int] = {}
    intents = run.rows("intents")
    new = intents[intents["action"] == Action.NEW]
    instants = dict(zip(new["seq"].tolist(), (new["expire_ts"] - LIFE).tolist(), strict=True))
    for intent in intents:
        order = int(intent["order"])
        numbers[order] = number = numbers.get(order, -1) + 1
        ask = {Action.NEW: Ask.NEW, Action.CANCEL: Ask.CANCEL, Action.REPLACE: Ask.REPLACE}[Action(intent["action"])]
        names = ("instrument", "side", "type", "tif", "flags", "qty_lots", "px_ticks", "trigger_ticks", "expire_ts")
        request = Request(
            ask=ask, order=order, request=number, client_id=f"{order}-{number}", order_id=f"{order}-0",
            **{name: int(intent[name]) for name in names},
        )  # fmt: skip
        by_instant.setdefault(instants[int(intent["seq"])], []).append(request)
    return by_instant


def on_paper(rows, rules, requests: dict[int, list[Request]]) -> list[Answer]:
    async def drive() -> list[Answer]:
        paper = Paper(TWO, rules, quiet_ns=10**6)
        await paper.connect()
        for i in range(len(rows)):
            paper.see(rows[i : i + 1])
            if i + 1 == len(rows) or rows["ts_recv"][i + 1] > rows["ts_recv"][i]:
                for request in requests.get(int(rows["ts_recv"][i]), []):
                    await paper.send(request)
        end = zeros(1, EVENT)
        end["kind"], end["ts_recv"] = Kind.TIMER, rows["ts_recv"][-1] + 10**9
        paper.see(end)
        await paper.close()
        return [answer async for answer in paper.answers()]

    return asyncio.run(drive())


@given(rows=tick_rows(min_size=20, max_size=200), rules=venues)
@settings(max_examples=60)
def test_the_same_rows_and_requests_make_the_same_executions(rows, rules) -> None:
    rows["ts_recv"] = np.maximum.accumulate(rows["ts_recv"] + np.arange(len(rows)))  # one decision an instant
    # Past its last row a replay lets nothing expire (`venues.exchange`) and a venue does; the report takes a draw of a
    # random latency, and what is told after it comes at another instant. So the rows go on until all is told.
    last = zeros(1, EVENT)
    last["kind"], last["flags"], last["seq"] = Kind.CLEAR, LAST, rows["seq"][-1] + 1
    last["ts_exch"] = last["ts_recv"] = rows["ts_recv"][-1] + PAST
    rows = np.concatenate([rows, last])
    run = TickRun(Prober(), TWO, rules, sample_ns=1000)
    run.feed(rows)
    run.finish()
    answers = on_paper(rows, rules, asked(run))
    told = [
        (int(r["ts"]), int(r["order"]), int(r["qty_lots"]), int(r["px_ticks"]), bool(r["flags"] & MAKER))
        for r in (answer.reports[0] for answer in answers)
        if r["kind"] == Kind.FILL
    ]
    replayed = [
        (int(f["ts"]), int(f["order"]), int(f["lots"]), int(f["px_ticks"]), bool(f["maker"])) for f in run.rows("fills")
    ]
    # a replay lists executions as they happened, a venue tells them as they arrive, after latencies of their own
    assert sorted(told) == sorted(replayed)
    refused = [(int(r["ts_recv"]), int(r["order"]), int(r["kind"])) for r in run.rows("refusals")]
    said = [(int(a.reports["ts"][0]), int(a.reports["order"][0]), int(a.reports["kind"][0])) for a in answers]
    told = [row for row in said if row[2] in (Kind.REJECT, Kind.CANCEL_REJECT, Kind.REPLACE_REJECT)]
    # one row can make two instruments tell: each in its own order, which is not that of their instants
    assert sorted(told, key=lambda row: row[0]) == refused
    ends = {OrderState.CANCELED: Kind.CANCELED, OrderState.EXPIRED: Kind.EXPIRED, OrderState.REJECTED: Kind.REJECT}
    ended = {(int(o["order"]), ends[o["state"]]) for o in run.rows("orders") if o["state"] in ends}
    assert ended == {(order, kind) for _, order, kind in said if kind in ends.values()}

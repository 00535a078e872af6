"""Follows the orders of a test through the order automaton: our requests and the venue's answers, nothing else."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from quantai.core.executions import executions
from quantai.core.orders import apply, submit
from quantai.core.reports import PRICED, REPORT, OrdStatus
from quantai.core.rows import INTENT, Action, Kind, OrderType, Rows, Status, zeros
from quantai.core.tracked import TRACKED, status
from quantai.venues.venue import CLIENT_ID, Answer, Ask, Request, Venue

PATIENCE_S = 60.0
TERMS = ("instrument", "side", "type", "tif", "flags", "qty_lots", "px_ticks", "trigger_ticks", "expire_ts")


def _compile() -> None:
    """Compile the automaton before anything is under way: that can take longer than a request may."""
    order, intent, report = zeros(1, TRACKED), zeros(1, INTENT), zeros(1, REPORT)
    submit(order[0], intent[0])
    apply(order[0], executions(), report[0])
    status(order[0])


class Follower:
    """A venue's user: it numbers orders, sends requests, and believes the venue alone."""

    def __init__(self, venue: Venue, beat: Callable[[], None], run: str = "suite") -> None:
        self.venue, self.beat, self.run = venue, beat, run
        self.tracked: dict[int, Any] = {}
        self.asked: dict[int, Request] = {}
        self.requests: dict[int, int] = {}
        self.table = executions()
        self.answers: list[Answer] = []
        self.links: list[Status] = []
        self.last = 0
        _compile()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for answer in self.venue.answers():
            self.answers.append(answer)
            if answer.link is not None:
                self.links.append(answer.link)
            for report in answer.reports:
                order = int(report["order"]) or self._named(answer)
                if order in self.tracked:
                    row = answer.reports.copy()
                    row["order"] = order
                    apply(self.tracked[order][0], self.table, row[0])

    def _named(self, answer: Answer) -> int:
        text = dict(answer.texts).get(CLIENT_ID, "")
        return next((n for n, r in self.asked.items() if r.order_id == text), 0)

    async def close(self) -> None:
        await self.venue.close()
        await asyncio.wait_for(self._reader, PATIENCE_S)

    # asking

    async def new(self, *, lots: int, px_ticks: int = 0, side: int = 1, **fields: int) -> int:
        self.last += 1
        order = self.last
        kind = OrderType.LIMIT if px_ticks else OrderType.MARKET
        terms: dict[str, int] = dict.fromkeys(TERMS, 0) | {"type": kind, "side": side}
        terms |= {"qty_lots": lots, "px_ticks": px_ticks} | fields
        intent = zeros(1, INTENT)
        intent["order"], intent["action"] = order, Action.NEW
        for name, value in terms.items():
            intent[name] = value
        self.tracked[order] = zeros(1, TRACKED)
        submit(self.tracked[order][0], intent[0])
        self.requests[order] = 0
        client_id = f"{self.run}-{order:x}-0"
        request = Request(ask=Ask.NEW, order=order, request=0, client_id=client_id, order_id=client_id, **terms)
        self.asked[order] = request
        await self.venue.send(request)
        return order

    async def cancel(self, order: int) -> int:
        return await self._change(Ask.CANCEL, Kind.CANCEL_REQUEST, order)

    async def replace(self, order: int, *, lots: int, px_ticks: int) -> int:
        return await self._change(Ask.REPLACE, Kind.REPLACE_REQUEST, order, qty_lots=lots, px_ticks=px_ticks)

    async def query(self, order: int) -> None:
        await self.venue.send(self._request(Ask.QUERY, order, 0, {}))

    async def _change(self, ask: Ask, kind: Kind, order: int, **terms: int) -> int:
        self.requests[order] += 1
        number = self.requests[order]
        row = zeros(1, REPORT)
        row["order"], row["kind"], row["request"] = order, kind, number
        row["flags"] = PRICED if terms else 0
        for name, value in terms.items():
            row[name] = value
        apply(self.tracked[order][0], self.table, row[0])
        await self.venue.send(self._request(ask, order, number, terms))
        return number

    def _request(self, ask: Ask, order: int, number: int, terms: dict[str, int]) -> Request:
        asked = self.asked[order]
        said = {name: getattr(asked, name) for name in TERMS}
        client_id = f"{self.run}-{order:x}-{number}" if number else asked.client_id
        return Request(
            ask=ask, order=order, request=number, client_id=client_id, order_id=asked.order_id, **(said | terms)
        )

    # waiting and looking

    async def until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, f"{what} never came: {self.story()}"
            self.beat()
            await asyncio.sleep(0.01)

    async def until_status(self, order: int, *wanted: OrdStatus) -> None:
        await self.until(lambda: self.status(order) in wanted, f"order {order} {[w.name for w in wanted]}")

    async def until_filled(self, order: int, lots: int) -> None:
        await self.until(lambda: self.filled(order) >= lots, f"order {order} with {lots} lots")

    async def until_said(self, order: int, kind: Kind, times: int = 1) -> Any:
        await self.until(lambda: len(self.reports(order, kind)) >= times, f"{kind.name} of order {order}")
        return self.reports(order, kind)[-1]

    def status(self, order: int) -> OrdStatus:
        return OrdStatus(int(status(self.tracked[order][0])))

    def filled(self, order: int) -> int:
        return int(self.tracked[order]["cum_lots"][0])

    def working(self, order: int) -> tuple[int, int]:
        row = self.tracked[order][0]
        return int(row["qty_lots"]), int(row["px_ticks"])

    def reports(self, order: int, kind: Kind) -> list[Rows]:
        said = [a for a in self.answers if len(a.reports) and a.reports["kind"][0] == kind]
        return [a.reports[0] for a in said if (int(a.reports["order"][0]) or self._named(a)) == order]

    def texts(self, order: int, kind: Kind, field: str) -> list[str]:
        return [
            text
            for a in self.answers
            if len(a.reports) and int(a.reports["order"][0]) == order and a.reports["kind"][0] == kind
            for name, text in a.texts
            if name == field
        ]

    def story(self) -> str:
        said: list[str] = []
        for answer in self.answers:
            row = answer.reports[0] if len(answer.reports) else None
            said.append(f"{Kind(int(row['kind'])).name} {row['order']}" if row is not None else f"{answer.link}")
        return "; ".join(said[-40:]) or "nothing was said"

"""What the desk makes of what an exchange answers, with an exchange object that answers as told."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import ccxt
import pytest

from quantai.core.instruments import Instrument
from quantai.core.reports import OrdStatus, Refusal
from quantai.core.rows import BUY, POST_ONLY, TIF, Kind, OrderType
from quantai.venues.ccxt import desk, profile
from quantai.venues.ccxt.catching_up import CatchingUp
from quantai.venues.ccxt.desk import Desk
from quantai.venues.ccxt.facts import OrderFact
from quantai.venues.ccxt.ledger import Ledger, Leg, Order
from quantai.venues.ccxt.limiter import Priority
from quantai.venues.ccxt.questions import Questions
from quantai.venues.venue import Answer, Ask, Request

SYMBOL = "BTC/USDT"
PAIR = Instrument.parse("BTC-USDT", tick="0.1", lot="0.001")
OPEN = {"id": "9", "symbol": SYMBOL, "status": "open", "amount": "0.1", "price": "100"}


class Api:
    """Answers each call with the next of `said`, raising what is an error, and keeps what it was asked.

    What is a future is waited for: a slow answer.
    """

    has = {"fetchOrderTrades": True}  # noqa: RUF012

    def __init__(self, *said: Any) -> None:
        self.said, self.calls = list(said), list[tuple[str, tuple[Any, ...]]]()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def answer(*args: Any) -> Any:
            self.calls.append((name, args))
            said = self.said.pop(0)
            if isinstance(said, asyncio.Future):
                said = await said
            if isinstance(said, Exception):
                raise said
            return said

        return answer


async def _at_once(weight: str, priority: Priority, call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


class Setting:
    """A desk with one order: what is asked of it, and what it said."""

    def __init__(self, name: str, *said: Any, flags: int = 0) -> None:
        self.api, self.answers, self.flags = Api(*said), list[Answer](), flags
        self.ledger = Ledger({SYMBOL: PAIR})
        self.desk = Desk(
            self.api, profile(name), self.ledger, call=_at_once, say=self.answers.extend, redact=lambda text: text
        )

    def request(self, ask: Ask, number: int = 0, **terms: int) -> tuple[Request, Order]:
        fields = {"instrument": 0, "side": BUY, "type": int(OrderType.LIMIT), "tif": int(TIF.GTC), "flags": self.flags,
                  "qty_lots": 100, "px_ticks": 1000, "trigger_ticks": 0, "expire_ts": 0} | terms  # fmt: skip
        request = Request(ask=ask, order=1, request=number, client_id=f"r-1-{number}", order_id="r-1-0", **fields)
        return request, self.ledger.follow(request, SYMBOL, PAIR)

    def work(self) -> None:
        """Let the order be one that the exchange has."""
        self.request(Ask.NEW)
        terms: Any = {"qty": Decimal("0.1"), "filled": Decimal(0), "px": Decimal(100)}
        self.ledger.hear_order(
            OrderFact(venue_id="9", client_id="r-1-0", symbol=SYMBOL, side=BUY, status="open", **terms)
        )

    async def ask(self, ask: Ask, number: int = 0, **terms: int) -> list[Kind]:
        """Serve a request; return the kinds of what was said."""
        request, order = self.request(ask, number, **terms)
        await self.desk.serve(request, order)
        return [Kind(int(answer.reports["kind"][0])) for answer in self.answers]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("BYBIT", ccxt.ExchangeError('bybit {"retCode":10016,"retMsg":"Internal System Error."}')),
        ("BYBIT", ccxt.InvalidOrder('bybit {"retCode":170146,"retMsg":"Order creation timeout."}')),
        ("BYBIT", ccxt.InvalidOrder('bybit {"retCode":110072,"retMsg":"OrderLinkedID is duplicate"}')),
        ("OKX", ccxt.ExchangeError('okx {"code":"59999","msg":"a code that is new"}')),
    ],
)
async def test_an_order_of_which_nobody_knows_whether_it_arrived_is_not_refused(name: str, error: Exception) -> None:
    setting = Setting(name, error)
    assert await setting.ask(Ask.NEW) == []
    assert setting.desk.unknown == 1


async def test_a_code_that_is_new_is_a_refusal_where_the_status_tells_what_nobody_knows() -> None:
    setting = Setting("BINANCE", ccxt.ExchangeError('binance {"code":-2019,"msg":"Margin is insufficient."}'))
    assert await setting.ask(Ask.NEW) == [Kind.REJECT]
    assert setting.desk.unknown == 0


async def test_an_order_is_moved_while_its_ids_can_be_read_back_and_no_further() -> None:
    setting = Setting("BINANCE")
    setting.work()
    for n in range(1, 100):
        moved = {"id": str(9 + n), "symbol": SYMBOL, "status": "open", "amount": "0.1", "price": str(100 + n)}
        setting.api.said += [{**OPEN, "id": str(8 + n), "status": "canceled"}, moved]
        setting.answers.clear()
        assert await setting.ask(Ask.REPLACE, n, px_ticks=1000 + 10 * n) == [Kind.REPLACED]
    setting.answers.clear()
    assert await setting.ask(Ask.REPLACE, 100, px_ticks=5000) == [Kind.REPLACE_REJECT]
    assert "r-1-0 was changed 99 times: cancel it and send another" in str(setting.answers[0].texts)
    assert len(setting.api.calls) == 2 * 99, "it works on as it was"


async def test_an_order_that_breaks_a_rule_is_refused() -> None:
    error = ccxt.InvalidOrder('bybit {"retCode":170137,"retMsg":"Order volume decimal too long"}')
    assert await Setting("BYBIT", error).ask(Ask.NEW) == [Kind.REJECT]


@pytest.mark.parametrize(("name", "params"), [("KRAKEN", {"postOnly": True}), ("OKX", {})])
async def test_a_changed_post_only_order_stays_post_only(name: str, params: dict[str, Any]) -> None:
    setting = Setting(name, OPEN | {"price": "101"}, flags=POST_ONLY)
    setting.work()
    assert await setting.ask(Ask.REPLACE, 1, px_ticks=1010) == [Kind.REPLACED]
    assert setting.api.calls[0][1][-1] == params


@pytest.mark.parametrize("error", [ccxt.RateLimitExceeded("429"), ccxt.InvalidNonce("-1021")])
async def test_a_cancel_that_did_not_arrive_is_sent_again(error: Exception) -> None:
    setting = Setting("BINANCE", error, error, OPEN | {"status": "canceled", "filled": "0"})
    setting.work()
    assert await setting.ask(Ask.CANCEL, 1) == [Kind.CANCELED]
    assert [name for name, _ in setting.api.calls] == ["cancel_order"] * 3


MAY_HAVE_ARRIVED = [
    ("BINANCE", ccxt.RequestTimeout("late")),
    ("BINANCE", ccxt.ExchangeNotAvailable("binance 503")),
    ("BYBIT", ccxt.ExchangeError('bybit {"retCode":10016,"retMsg":"Internal System Error."}')),
]


@pytest.mark.parametrize(("name", "error"), MAY_HAVE_ARRIVED)
async def test_a_cancel_that_may_have_arrived_is_sent_again(name: str, error: Exception) -> None:
    setting = Setting(name, error, OPEN | {"status": "canceled", "filled": "0"})
    setting.work()
    assert await setting.ask(Ask.CANCEL, 1) == [Kind.CANCELED]
    assert [name for name, _ in setting.api.calls] == ["cancel_order"] * 2
    assert setting.desk.unknown == 0


async def test_a_cancel_that_did_arrive_and_is_sent_again_says_that_the_order_is_gone() -> None:
    setting = Setting("BINANCE", ccxt.RequestTimeout("late"), ccxt.OrderNotFound('binance {"code":-2011}'))
    setting.work()
    assert await setting.ask(Ask.CANCEL, 1) == [Kind.CANCEL_REJECT]
    assert setting.answers[0].reports["code"].tolist() == [Refusal.UNKNOWN_ORDER], "which is asked about at once"


@pytest.mark.parametrize(("name", "error"), MAY_HAVE_ARRIVED)
async def test_a_cancel_of_which_nobody_ever_knows_ends_in_a_question(
    name: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "FIRST_AGAIN_S", 0.0)
    setting = Setting(name, *[error] * 100)
    setting.work()
    assert await setting.ask(Ask.CANCEL, 1) == []
    assert len(setting.api.calls) == desk.DOUBTED_CANCELS
    assert setting.desk.unknown == 1


@pytest.mark.parametrize("said", [{"symbol": SYMBOL}, ccxt.RequestTimeout("late"), ccxt.ExchangeError("binance {}")])
async def test_a_moved_order_whose_new_leg_may_be_there_has_not_ended(said: Any) -> None:
    setting = Setting("BINANCE", OPEN | {"status": "canceled", "filled": "0.04"}, said)
    setting.work()
    assert await setting.ask(Ask.REPLACE, 1, px_ticks=1010) == []
    assert setting.desk.unknown == 1
    assert not setting.request(Ask.QUERY)[1].is_over


def _terms(answers: list[Answer]) -> list[tuple[Kind, int, int]]:
    """Return (kind, code, lots) of what was said."""
    rows = [answer.reports[0] for answer in answers]
    return [(Kind(int(row["kind"])), int(row["code"]), int(row["qty_lots"])) for row in rows]


async def _turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_order_that_ends_while_it_is_asked_about_is_not_said_to_work() -> None:
    trades: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    setting = Setting("BINANCE", OPEN | {"filled": "0"}, trades)
    setting.work()
    asking = asyncio.create_task(setting.ask(Ask.QUERY))
    await _turn()
    ended = OrderFact(
        venue_id="9", client_id="r-1-0", symbol=SYMBOL, side=BUY, status="canceled", qty=Decimal("0.1"),
        filled=Decimal(0), px=Decimal(100),
    )  # fmt: skip
    setting.answers += setting.ledger.hear_order(ended)  # the stream is faster
    trades.set_result([])
    await asking
    assert [kind for kind, _, _ in _terms(setting.answers)] == [Kind.CANCELED, Kind.ORDER_STATUS]
    assert _terms(setting.answers)[1][1] == OrdStatus.CANCELED


async def test_an_order_that_gets_another_leg_while_it_is_asked_about_is_not_said_to_be_canceled() -> None:
    loop = asyncio.get_running_loop()
    canceled, found = loop.create_future(), loop.create_future()
    gone, new = OPEN | {"status": "canceled", "filled": "0"}, OPEN | {"id": "10", "price": "101", "filled": "0"}
    setting = Setting("BINANCE", canceled, found, new, ccxt.OrderNotFound("no third leg"), [], [], new, [], [])
    setting.work()
    moving = asyncio.create_task(setting.ask(Ask.REPLACE, 1, px_ticks=1010))
    await _turn()
    asking = asyncio.create_task(setting.ask(Ask.QUERY))
    await _turn()
    canceled.set_result(gone)
    await moving
    found.set_result(gone)
    await asking
    kinds = [(kind, code) for kind, code, _ in _terms(setting.answers)]
    assert kinds == [(Kind.REPLACED, 0), (Kind.ORDER_STATUS, OrdStatus.NEW)]
    assert setting.api.said == []


@pytest.mark.parametrize("asks", ["query", "list"])
async def test_an_order_that_is_changed_while_it_is_asked_about_keeps_its_new_terms(asks: str) -> None:
    found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    changed = OPEN | {"price": "101", "amount": "0.2", "filled": "0"}
    setting = Setting("BINANCE_FUTURES", found, changed, [])
    setting.work()
    questions = Questions(setting.api, profile("BINANCE_FUTURES"), _at_once)
    listing = CatchingUp(questions, setting.ledger, [SYMBOL], setting.answers.extend, lambda why: None)
    asking = asyncio.create_task(setting.ask(Ask.QUERY) if asks == "query" else listing.run())
    await _turn()
    assert await setting.ask(Ask.REPLACE, 1, px_ticks=1010, qty_lots=200) == [Kind.REPLACED]
    old = OPEN | {"clientOrderId": "r-1-0", "filled": "0"}
    found.set_result(old if asks == "query" else [old])
    await asking
    after = [(Kind.ORDER_STATUS, int(OrdStatus.NEW), 200)] if asks == "query" else []
    assert _terms(setting.answers) == [(Kind.REPLACED, 0, 200), *after]


async def test_what_is_closed_with_a_rest_is_said_to_be_canceled() -> None:
    setting = Setting("BINANCE", OPEN | {"status": "closed", "filled": "0"}, [])
    setting.work()
    await setting.ask(Ask.QUERY)
    assert [(kind, code) for kind, code, _ in _terms(setting.answers)] == [
        (Kind.CANCELED, 0), (Kind.ORDER_STATUS, OrdStatus.CANCELED),
    ]  # fmt: skip


class Watch:
    """A clock, and a stream that is watched by it: how often it was opened again."""

    def __init__(self) -> None:
        self.now, self.bounced = 1_000.0, list[str]()
        self.ledger, self.api = Ledger({SYMBOL: PAIR}), Api()
        questions = Questions(self.api, profile("BINANCE"), _at_once)
        self.watch = CatchingUp(
            questions, self.ledger, [SYMBOL], lambda said: None, self.bounced.append, clock=lambda: self.now
        )

    def confirmed(self, venue_id: str, sent: float) -> None:
        """Let the exchange confirm an order by REST."""
        leg = Leg(f"r-{venue_id}-0", 1, 1, venue_id=venue_id)
        self.watch.expect(Order(leg.client_id, SYMBOL, PAIR, 1, None, 1, 1, [leg]), sent)

    def passes(self, seconds: float, *, telling: bool = False) -> None:
        """Let time pass, in which the stream tells of other orders, or of nothing."""
        self.now += seconds - 1.0
        if telling:
            self.watch.heard(SYMBOL, "another")
        self.now += 1.0
        self.watch.listen()


def test_a_stream_that_tells_nothing_is_opened_again() -> None:
    of = Watch()
    of.confirmed("9", of.now)
    of.passes(4.0)
    assert of.bounced == []
    of.passes(1.5)
    assert of.bounced == ["the stream never mentioned order 9"]


def test_a_stream_that_has_lost_a_message_is_not_dead_and_everything_is_asked_for() -> None:
    of = Watch()
    for n in (1, 2):
        of.confirmed(str(n), of.now)
        of.passes(5.5, telling=True)
        assert (of.bounced, of.watch.is_due) == ([], True)
        of.watch.is_due = False
    of.confirmed("3", of.now)
    of.passes(5.5, telling=True)
    assert of.bounced == ["the stream never mentioned order 3"], "it loses too many"
    of.confirmed("4", of.now)
    of.passes(5.5, telling=True)
    assert (len(of.bounced), of.watch.is_due) == (1, True)


async def test_what_was_sent_while_there_was_no_stream_need_not_be_mentioned() -> None:
    of = Watch()
    sent = of.now
    of.now += 1.0
    of.api.said = [[], []]
    await of.watch.run()  # as after every loss
    of.confirmed("9", sent)
    of.passes(60.0)
    assert of.bounced == []

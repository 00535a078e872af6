"""Whatever happens in the loopback exchange, money and books stay exact."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from quantai.venues.loopback import Product, listings
from quantai.venues.loopback.exchange import Exchange
from quantai.venues.loopback.flow import SyntheticFlow
from quantai.venues.loopback.futures_desk import change_order
from quantai.venues.loopback.params import Params
from quantai.venues.loopback.refusals import Refused
from quantai.venues.loopback.routes import ROUTES

SIDE = st.sampled_from(["BUY", "SELL"])
OFFSET = st.integers(-300, 300).map(lambda cents: f"{Decimal(50_000) + Decimal(cents) / 10:.1f}")
QUANTITY = st.sampled_from(["0.001", "0.01", "0.123", "1", "7"])
TIF = st.sampled_from(["GTC", "IOC", "FOK"])
STP = st.sampled_from(["NONE", "EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"])

ORDERS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("LIMIT"), "side": SIDE, "quantity": QUANTITY, "price": OFFSET, "timeInForce": TIF,
         "selfTradePreventionMode": STP},
        optional={"reduceOnly": st.just("true")},
    ),
    st.fixed_dictionaries(
        {"type": st.just("MARKET"), "side": SIDE, "quantity": QUANTITY, "selfTradePreventionMode": STP}
    ),
    st.fixed_dictionaries(
        {"type": st.sampled_from(["STOP_LOSS", "TAKE_PROFIT", "STOP_MARKET", "TAKE_PROFIT_MARKET"]), "side": SIDE,
         "quantity": QUANTITY, "stopPrice": OFFSET}
    ),
    st.fixed_dictionaries(
        {"type": st.just("TRAILING_STOP_MARKET"), "side": SIDE, "quantity": QUANTITY, "callbackRate": st.just("0.1")}
    ),
)  # fmt: skip
STEP = st.one_of(
    st.tuples(st.just("order"), st.sampled_from(["a", "b"]), ORDERS),
    st.tuples(st.just("cancel"), st.sampled_from(["a", "b"]), st.integers(0, 20)),
    st.tuples(st.just("change"), st.sampled_from(["a", "b"]), st.tuples(st.integers(0, 20), OFFSET, QUANTITY)),
    st.tuples(st.just("market"), st.just(""), st.integers(1, 20)),
    st.tuples(st.just("level"), st.just(""), st.tuples(SIDE, OFFSET, st.integers(0, 500))),
    st.tuples(st.just("print"), st.just(""), st.tuples(SIDE, OFFSET, st.integers(1, 500))),
    st.tuples(st.just("funding"), st.just(""), st.sampled_from(["0.0001", "-0.00037"])),
    st.tuples(st.just("mark"), st.just(""), st.just(None)),
)
PATHS = {Product.SPOT: "/api/v3/order", Product.FUTURES: "/fapi/v1/order"}


class Run:
    """One exchange with two customers, and the steps they take."""

    def __init__(self, product: Product) -> None:
        self.product, self.exchange = product, Exchange(listings(["BTC-USDT"]))
        for key in ("a", "b"):
            spot = {"USDT": Decimal(200_000), "BTC": Decimal(5)}
            self.exchange.open_account(key, "", spot, {"USDT": Decimal(3_000)})
        self.matching = self.exchange.matching(product, "BTCUSDT")
        self.flow = SyntheticFlow(self.matching, seed=1)
        self.flow.open()
        self.exchange.tick_slowly()
        self.deposits = {p: dict(self.exchange.house.total(p)) for p in Product}

    def take(self, what: str, key: str, given: Any) -> None:
        """Do one step; what the exchange refuses must leave no trace."""
        exchange, listing = self.exchange, self.matching.listing
        account = exchange.house.accounts.get(key)
        before = exchange.truth() if what == "order" else {}
        try:
            match what:
                case "order":
                    ROUTES["POST", PATHS[self.product]].answer(exchange, account, Params({"symbol": "BTCUSDT"} | given))
                case "cancel":
                    for order in exchange.of(account, self.product, is_open=True)[given : given + 1]:
                        exchange.cancel(order)
                case "change" if self.product is Product.FUTURES:
                    number, px, quantity = given
                    for order in exchange.of(account, self.product, is_open=True)[number : number + 1]:
                        asked = {"symbol": "BTCUSDT", "orderId": str(order.id), "price": px, "quantity": quantity}
                        change_order(exchange, account, Params(asked))
                case "market":
                    for _ in range(given):
                        exchange.after(self.flow.act())
                case "level" | "print":
                    side, px, lots = given
                    act = self.matching.set_level if what == "level" else self.matching.print_trade
                    act(1 if side == "BUY" else -1, int(Decimal(px) / listing.tick), lots)
                    exchange.after(self.matching)
                case "funding":
                    exchange.fund("BTCUSDT", Decimal(given))
                case _:
                    exchange.tick_slowly()
        except Refused:
            if before:
                after = exchange.truth()
                assert [after[k] for k in ("orders", "accounts", "totals")] == [
                    before[k] for k in ("orders", "accounts", "totals")
                ]

    def check(self) -> None:
        """Assert everything that must always hold."""
        exchange, book, product = self.exchange, self.matching.book, self.product
        for p in Product:
            assert {a: v for a, v in exchange.house.total(p).items() if v} == self.deposits[p]
        bid, ask = book.best(1), book.best(-1)
        assert bid is None or ask is None or bid < ask
        for side in (1, -1):
            for level in book.levels[side].values():
                assert level.total == sum(place.lots for place in level.queue) > 0
                assert level.anonymous == sum(place.lots for place in level.queue if place.order is None)
        resting = [place for side in (1, -1) for _, place in book.queue(side) if place.order]
        still = {o.id for key in ("a", "b") for o in exchange.of(exchange.house.accounts[key], product, is_open=True)}
        assert {p.order.id for p in resting} | {o.id for o in self.matching.stops} == still
        assert all(p.lots == p.order.left and p.order.is_open for p in resting)
        for order in exchange.orders.values():
            assert order.filled == sum(f.lots for f in order.fills) <= order.lots
            assert order.is_open == (order.id in still)
            if order.ticks:
                assert all((order.ticks - f.ticks) * order.side >= 0 for f in order.fills)
            assert order.is_open or order.reserved == 0
        for account in exchange.house.accounts.values():
            mine = exchange.of(account, product, is_open=True)
            for asset, balance in account.spot.items():
                assert balance.free >= 0
                if product is Product.SPOT:
                    pays = [o for o in mine if (o.side > 0) == (asset == "USDT")]
                    assert balance.locked == sum((o.reserved for o in pays), Decimal(0))
            if product is Product.FUTURES:
                assert account.margin_reserved["USDT"] == sum((o.reserved for o in mine), Decimal(0))
        if product is Product.FUTURES:
            held = [a.positions["BTCUSDT"].lots for a in (*exchange.house.accounts.values(), exchange.house.market)]
            assert sum(held) == 0


@given(st.lists(STEP, max_size=25))
@settings(max_examples=150)
def test_spot_money_is_never_made_or_lost(steps: list[tuple[str, str, Any]]) -> None:
    run = Run(Product.SPOT)
    for step in steps:
        run.take(*step)
        run.check()


@given(st.lists(STEP, max_size=25))
@settings(max_examples=150)
def test_futures_money_is_never_made_or_lost(steps: list[tuple[str, str, Any]]) -> None:
    run = Run(Product.FUTURES)
    for step in steps:
        run.take(*step)
        run.check()

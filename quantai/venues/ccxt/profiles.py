"""Profiles: what is particular about each exchange, as data; everything else is common to all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from quantai.core.errors import UnknownName
from quantai.core.rows import TIF, OrderType
from quantai.venues.ccxt.order_ids import ALNUM_32, HEX_32, PLAIN, T_28, IdStyle

BASIC = frozenset({OrderType.MARKET, OrderType.LIMIT})
STOPS = BASIC | {OrderType.STOP, OrderType.STOP_LIMIT}
UNTIL_CANCELED = frozenset({TIF.GTC, TIF.IOC, TIF.FOK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One exchange as ccxt sees it.

    `name` is ours (as recorded data has it), `ccxt_id` the class. `amends`: it can change an order in place; else a
    change is a cancel and a new leg. `names_orders`: the answer to a change has the id of the order. `keeps_post_only`:
    a changed order stays post-only; else the change has to say so. `query` is the parameter by which `fetch_order`
    takes a client id, "" where open and closed orders have to be searched by `list_param`, and "-" where they can only
    be listed. `cancel_param` is that of `cancel_order`, "" where it needs the exchange's own id. `trades_param` is what
    makes `fetch_my_trades` return those of one order, "" where `fetch_order_trades` does, with `trades_by_id` where
    that wants the ids of executions. `streams_fills`: executions are streamed; else each change of an order is followed
    by a request for them. `beats` is a channel that keeps a quiet stream from being closed. `budget` units within
    `window_s` and the `weights` of calls are ours to keep, below the exchange's own. `sandbox` is how ccxt reaches a
    test market: "testnet", "demo" or "" for none. `dead_man`: "all" where one call cancels everything after a silence,
    "symbol" per market, "" where there is none, or none that ccxt can arm for these markets (Bybit's works with a
    subscription of its own). `wallet`: where a raw balance has cash without unrealised profit (path of the list, name,
    amount), None where ccxt's totals are just that. `pages`: how executions that are on several pages of `page` are
    asked for: "since" the last of one (the oldest come first), by the "cursor" that one names, those "after" (before,
    in time) its last, from the "ofs" that are known, or by the number of the "page". `doubts`: codes by which ccxt says
    that a request was refused, although nobody knows. `tells_by_status`: what is not certainly refused comes with an
    HTTP status of its own, so a code that ccxt does not know is a refusal too. `reduces_below_min`: the smallest
    notional is not for reduce-only orders (Binance USD-M: error -4164 "unless you choose reduce only"; Bybit: "closing
    orders are exempt from notional value").
    """

    name: str
    ccxt_id: str
    ids: IdStyle = PLAIN
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    password: bool = False
    types: frozenset[OrderType] = BASIC
    tifs: frozenset[TIF] = UNTIL_CANCELED
    post_only: bool = True
    reduce_only: bool = False
    reduces_below_min: bool = False
    amends: bool = True
    create_param: str = "clientOrderId"
    cancel_param: str = "clientOrderId"
    query: str = "clientOrderId"
    list_param: str = "clientOrderId"
    trades_param: str = ""
    trades_by_id: bool = False
    names_orders: bool = True
    keeps_post_only: bool = True
    streams_fills: bool = True
    beats: str = ""
    budget: float = 100.0
    window_s: float = 10.0
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    ping_ms: int = 0
    sandbox: str = ""
    dead_man: str = ""
    wallet: tuple[str, str, str] | None = None
    pages: str = "since"
    page: int = 500
    doubts: frozenset[str] = frozenset()
    tells_by_status: bool = False

    def weight(self, call: str) -> float:
        """Return what a call costs of the budget: new, cancel, amend, query, open, trades, balance, markets."""
        return self.weights.get(call, 1.0)


_BINANCE_SPOT = {"new": 1.0, "cancel": 1.0, "query": 4.0, "open": 6.0, "trades": 20.0, "balance": 20.0, "markets": 20.0}
_BINANCE_USDM = {"new": 1.0, "cancel": 1.0, "query": 1.0, "open": 1.0, "trades": 5.0, "balance": 5.0}

_BYBIT_DOUBTS = frozenset({"10000", "10016", "170001", "170007", "170032", "170146", "110072"})
"""Time-outs and errors of its servers; 110072: an order of this id is there, perhaps this one."""

_KRAKEN = {"new": 0.2, "cancel": 0.2, "amend": 0.2, "trades": 2.0}  # orders have a limit of their own

PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile(
            name="BINANCE", ccxt_id="binance", types=STOPS, amends=False, trades_param="orderId", ping_ms=10_000,
            options={"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, "fetchMargins": False},
            budget=900.0, window_s=10.0, weights=_BINANCE_SPOT, sandbox="testnet", tells_by_status=True,
        ),
        Profile(
            name="BINANCE_FUTURES", ccxt_id="binanceusdm", tifs=UNTIL_CANCELED | {TIF.GTD}, reduce_only=True,
            reduces_below_min=True,
            trades_param="orderId", ping_ms=10_000, budget=350.0, window_s=10.0, weights=_BINANCE_USDM,
            options={"fetchMarkets": {"types": ["linear"]}}, sandbox="demo", dead_man="symbol",
            wallet=("assets", "asset", "walletBalance"), tells_by_status=True,
        ),
        Profile(
            name="OKX", ccxt_id="okx", ids=ALNUM_32, password=True, reduce_only=True, budget=50.0, window_s=2.0,
            options={"fetchMarkets": {"types": ["spot", "swap", "future"]}},
            sandbox="testnet", dead_man="all", wallet=("data.0.details", "ccy", "cashBal"),
            pages="after", page=100,
        ),
        Profile(
            name="BYBIT", ccxt_id="bybit", reduce_only=True, reduces_below_min=True, cancel_param="orderLinkId",
            query="", list_param="orderLinkId", budget=40.0, window_s=5.0, sandbox="testnet",
            pages="cursor", page=100, doubts=_BYBIT_DOUBTS,
        ),
        Profile(
            name="COINBASE", ccxt_id="coinbase", types=frozenset({OrderType.LIMIT}),
            create_param="client_order_id", cancel_param="", query="-", list_param="", trades_param="order_ids",
            names_orders=False, streams_fills=False, beats="heartbeats", budget=25.0, window_s=1.0,
            options={"fetchBalance": "v3PrivateGetBrokerageAccounts"}, pages="cursor", page=250,
        ),
        Profile(
            name="KRAKEN", ccxt_id="kraken", ids=HEX_32, tifs=frozenset({TIF.GTC, TIF.IOC}), query="",
            trades_by_id=True, names_orders=False, keeps_post_only=False, budget=12.0, window_s=24.0,
            weights=_KRAKEN, dead_man="all", pages="ofs", page=50,
        ),
        Profile(
            name="GATE", ccxt_id="gate", ids=T_28, types=frozenset({OrderType.LIMIT}), budget=100.0, window_s=10.0,
            options={"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, "unifiedAccount": False},
            trades_param="order_id", sandbox="testnet", pages="page",
        ),
    )
}  # fmt: skip
"""Exchanges that have a profile."""


def profile(name: str) -> Profile:
    """Return the profile of a venue; raises UnknownName with the nearest one.

    >>> profile("OKX").ccxt_id
    'okx'
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise UnknownName("exchange", name, PROFILES) from None

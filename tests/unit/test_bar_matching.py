"""Worked examples of every rule of docs/fills.md, as written and upside down, and what scripted orders refuse."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pytest

from quantai.backtest.matching import BarOrder, BarRules, MatchResult, match_orders
from quantai.core.errors import DataError, InputError, UnknownName
from quantai.core.instruments import Instrument
from quantai.core.rows import BAR, DAY, zeros

SESSIONS = Instrument.parse("AAA", tick="0.01", lot="1")
AROUND_THE_CLOCK = SESSIONS.with_fields(calendar=None)
QUIET = (100.0, 101.0, 99.0, 100.0)
PIVOT = 200.0
Order = dict[str, Any]


def order(text: str) -> Order:
    """Read `a buy limit 10 limit=98 post_only`."""
    name, side, kind, qty, *fields = text.split()
    out: Order = {"id": name, "side": side, "type": kind, "qty": qty}
    for pair in fields:
        key, given, value = pair.partition("=")
        out[key] = (int(value) if value.isdigit() else value) if given else True
    return out


@dataclass
class Example:
    """One entry of bar_matching.txt."""

    title: str
    given: list[str] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    bars: list[tuple[float, ...]] = field(default_factory=lambda: [QUIET])
    fills: list[list[str]] = field(default_factory=list)
    ends: list[list[str]] = field(default_factory=list)
    ambiguous: int = 0

    @classmethod
    def parse(cls, text: str) -> "Example":
        title, *lines = text.splitlines()
        out = cls(title)
        for line in lines:
            kind, _, rest = line.strip().partition(" ")
            parts = [part.split() for part in rest.split("|")]
            match kind:
                case "given":
                    out.given = rest.split()
                case "orders":
                    out.orders += [order(part) for part in rest.split("|")]
                case "bars":
                    out.bars += [QUIET if part == ["quiet"] else tuple(float(px) for px in part) for part in parts]
                case "fills":
                    out.fills = parts
                case "ends":
                    out.ends = parts
                case "ambiguous":
                    out.ambiguous = int(rest)
                case _:
                    raise ValueError(f"{title}: {line}")
        return out

    def run(self, upside_down: bool) -> MatchResult:
        orders, bars, position = self.orders, self.bars, sum(int(word) for word in self.given if word.isdigit())
        if upside_down:
            bars = [(PIVOT - o, PIVOT - low, PIVOT - high, PIVOT - c) for o, high, low, c in bars]
            orders, position = [mirrored(o) for o in orders], -position
        instrument = AROUND_THE_CLOCK if "clock" in self.given else SESSIONS
        return match_orders(
            cast(list[BarOrder], orders), bars, instrument, position, BarRules(limit_touch="touch" in self.given)
        )


def mirrored(order: Order) -> Order:
    out = order | {"side": "sell" if order["side"] == "buy" else "buy"}
    return out | {name: PIVOT - float(order[name]) for name in ("limit", "stop") if name in order}


DOCS = Path(__file__).parents[2] / "docs" / "fills.md"
_TEXT = (Path(__file__).parent / "bar_matching.txt").read_text(encoding="utf-8")
EXAMPLES = [Example.parse(part) for part in _TEXT.split("\n\n")[1:] if not part.startswith("==")]


@pytest.mark.parametrize("upside_down", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("example", EXAMPLES, ids=[example.title for example in EXAMPLES])
def test_worked_examples(example: Example, upside_down: bool) -> None:
    result = example.run(upside_down)
    fills = [
        [f.order, str(f.bar), f"{PIVOT - f.px if upside_down else f.px:g}", str(f.qty), f.where] for f in result.fills
    ]
    assert fills == example.fills
    for name, state, *_ in example.ends:
        assert result.states[name].name == state
    assert {name: reason.name for name, reason in result.reasons.items()} == {
        name: reason[0] for name, _, *reason in example.ends if reason
    }
    assert result.ambiguous_bars == example.ambiguous


def match(texts: list[str], bars: list[tuple[float, ...]], **more: Any) -> MatchResult:
    return match_orders(cast(list[BarOrder], [order(text) for text in texts]), bars, SESSIONS, **more)


@pytest.mark.parametrize(("side", "market", "stop"), [("buy", 100.2, 103.206), ("sell", 99.8, 96.806)])
def test_slippage_is_against_us_on_market_and_stop_fills_only(side: str, market: float, stop: float) -> None:
    near, far, limit = (103, 104, 97) if side == "buy" else (97, 96, 103)
    result = match(
        [
            f"m {side} market 1",
            f"s {side} stop 1 stop={near}",
            f"l {side} limit 1 limit={limit}",
            f"sl {side} stop_limit 1 stop={near} limit={far}",
        ],
        [QUIET, (100, 104, 96, 100)],
        rules=BarRules(slip_bps=20),
    )
    assert {f.order: f.px for f in result.fills} == {
        "m": pytest.approx(market, abs=1e-12),
        "s": pytest.approx(stop, abs=1e-12),
        "l": limit,
        "sl": near,
    }


def test_who_rested_is_the_maker() -> None:
    result = match(["m buy market 1", "l buy limit 1 limit=98", "s sell stop 1 stop=97"], [QUIET, (100, 101, 96, 100)])
    assert {f.order: f.maker for f in result.fills} == {"m": False, "l": True, "s": False}


def test_off_grid_bar_prices_compare_by_value_and_trail_on_the_far_tick() -> None:
    """Prices adjusted for dividends are not on any grid."""
    bars = [QUIET, (100, 105.0049, 99.5, 105), (105, 105, 102.0001, 104), (104, 104, 101.9999, 103)]
    result = match(["a sell trailing_stop 10 stop=90 trail=3"], bars, position=10)
    assert [(f.bar, f.px) for f in result.fills] == [(3, 102.0)]  # 105.0049 lies above the tick 105.00


def test_the_result_says_what_was_assumed() -> None:
    words = match(["a buy market 1"], [QUIET, QUIET]).rules
    assert words["a gap over a resting limit"].startswith("fills at the open")
    assert words["a limit"] == "fills when the price trades through it"
    other = BarRules(limit_touch=True).names(AROUND_THE_CLOCK)
    assert other["a gap over a resting limit"].startswith("fills at the limit")
    assert other["a limit"] == "fills on a touch"


def test_bars_may_be_rows_and_quantities_parts_of_a_unit() -> None:
    rows = zeros(2, BAR)
    rows["ts_open"], rows["ts_close"] = [0, DAY], [DAY, 2 * DAY]
    for name, px in zip(("open", "high", "low", "close"), QUIET, strict=True):
        rows[name] = px
    tenths = SESSIONS.with_fields(lot=Decimal("0.1"))
    result = match_orders([{"id": "a", "side": "buy", "type": "market", "qty": "0.5"}], rows, tenths)
    assert (result.position, result.fills[0].qty) == (Decimal("0.5"), Decimal("0.5"))


@pytest.mark.parametrize(
    ("orders", "error", "says"),
    [
        (["a buy limit 10"], InputError, "a limit order needs 'limit'"),
        (["a buy market 10 stop=9"], InputError, "a market order has no 'stop'"),
        (["a buy limit 10 limit=98.005"], InputError, "not a multiple of the tick"),
        (["a buy limit 1.5 limit=98"], InputError, "not a multiple of the lot"),
        (["a hold market 10"], UnknownName, "unknown side 'hold'"),
        (["a buy markt 10"], UnknownName, "did you mean 'market'"),
        (["a buy market 10 tiff=IOC"], UnknownName, "unknown order field 'tiff': did you mean 'tif'"),
        (["a buy market 10 tif=GTD"], UnknownName, "unknown time in force 'GTD'"),
        (["a buy market 10 tif=IOC expire_after=2"], InputError, "expire_after needs no tif"),
        (["a buy market 10 parent=b"], UnknownName, "unknown parent 'b'"),
        (["a buy market 10 parent=a"], InputError, "'a' is its own ancestor"),
        (["a buy market 10", "a sell market 10"], InputError, "order ids must differ"),
        (["a buy market 10 submit_after=2"], InputError, "submit_after 2 is none of the bars 0 to 1"),
        (["a buy market 1 oco=x", "b buy market 1 oco=x parent=a"], InputError, "have one parent"),
        (
            ["a buy market 1", "b buy market 1 oco=x parent=a", "c buy market 1 oco=y parent=a"],
            InputError,
            "can form one oco group",
        ),
    ],
)
def test_a_script_that_cannot_be_is_refused_in_one_line(orders: list[str], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        match(orders, [QUIET, QUIET])


def test_a_bar_or_rule_that_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="bar 1 cannot be: open 100, high 97, low 98, close 98"):
        match(["a buy market 10"], [QUIET, (100, 97, 98, 98)])
    with pytest.raises(DataError, match="bar 0 cannot be"):
        match([], [(100, float("nan"), 98, 98)])
    with pytest.raises(InputError, match="slip_bps"):
        BarRules(slip_bps=-1)


def test_a_child_listed_before_its_parent_is_its_child_all_the_same() -> None:
    result = match(["out sell stop 5 stop=95 parent=in", "in buy market 5"], [QUIET, (100, 101, 94, 95)])
    assert [(f.order, f.px) for f in result.fills] == [("in", 100.0), ("out", 95.0)]


def test_every_rule_has_its_line_in_the_docs() -> None:
    rules = {part.removeprefix("== ") for part in _TEXT.split("\n\n") if part.startswith("==")}
    written = {line.split("`")[1] for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| `")}
    assert len(rules) > 10
    assert rules - written == set()

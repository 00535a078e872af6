"""A candidate: what is put forward, with everything the gates need to try it again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from quantai.backtest import Result, Sweep, backtest
from quantai.backtest.replay import replay
from quantai.backtest.replay_result import ReplayResult
from quantai.backtest.replay_sweep import ReplaySweep
from quantai.backtest.swept import Swept
from quantai.core.errors import InputError
from quantai.core.instruments import Instruments
from quantai.data.bars import Bars
from quantai.data.tape import Tape
from quantai.strategy import Strategy
from quantai.venues.rules import SimVenue

FEE_BPS = 5.0
"""What a strategy that comes without a result is charged, in basis points of notional."""

Maker = Callable[[Any], Strategy]
"""What makes a strategy from the data it will run on."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate:
    """One strategy with its parameters, the data it was tried on, and what came of it.

    `make` and `prepare` are what made strategy and bars from the raw `data`; `result` is of what they made.
    """

    strategy: Strategy
    data: Bars | Tape
    result: Result | ReplayResult
    sweep: Swept | None = None
    make: Maker | None = None
    prepare: Callable[[Bars], Any] | None = None

    @property
    def on_bars(self) -> bool:
        """Whether it runs on bars, or on ticks."""
        return isinstance(self.data, Bars)

    @property
    def instruments(self) -> Instruments:
        """The instruments it was tried on."""
        return self.data.instruments

    @property
    def venue(self) -> SimVenue:
        """A simulated exchange that charges what the result was charged."""
        if isinstance(self.result, Result):
            s = self.result.settings
            maker = s.fee_bps if s.maker_fee_bps is None else s.maker_fee_bps
            return SimVenue(maker_bps=maker, taker_bps=s.fee_bps + s.slip_bps)
        first = self.result.venues[0]
        return SimVenue(maker_bps=first.maker_bps, taker_bps=first.taker_bps)

    @property
    def costs(self) -> dict[str, float]:
        """What was charged, in basis points of notional."""
        if isinstance(self.result, Result):
            s = self.result.settings
            return {
                "fee": s.fee_bps,
                "maker": s.fee_bps if s.maker_fee_bps is None else s.maker_fee_bps,
                "slip": s.slip_bps,
            }
        return {"maker": self.venue.maker_bps, "taker": self.venue.taker_bps}

    def charged(self, bps: float) -> float:
        """Return the profit, in settlement currency, of the same run at `bps` more on every fill."""
        if isinstance(self.result, Result):
            settings = self.result.settings.as_dict()
            settings["fee_bps"] += bps
            if settings["maker_fee_bps"] is not None:
                settings["maker_fee_bps"] += bps
            equity = backtest(self.strategy, self.result.bars, **settings).equity_rows["equity"]
            return float(equity[-1]) - settings["cash"]
        return self.profit - bps / 1e4 * self.result.value

    @property
    def profit(self) -> float:
        """What the result earned, after its costs."""
        cash = self.result.settings.cash if isinstance(self.result, Result) else self.result.cash
        equity = self.result.equity_rows["equity"]
        return float(equity[-1]) - cash if len(equity) else 0.0

    @classmethod
    def of(
        cls,
        what: Any,
        data: Any = None,
        *,
        sweep: Swept | None = None,
        prepare: Callable[[Bars], Any] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> "Candidate":
        """Take a result, a sweep (its best), a strategy, a class of them, or a function `data -> Strategy`.

        All but the first two need `data`. Raises InputError for anything else.
        """
        given = dict(settings or {})
        if isinstance(what, Sweep | ReplaySweep):
            sweep, what = what, what.best()
        if isinstance(what, Result | ReplayResult):
            if data is not None or given or prepare is not None:
                raise InputError("a result says what it ran on and at which costs: give neither again")
            ran_on = what.bars if isinstance(what, Result) else what.tape
            if ran_on is None:
                raise InputError("this result does not know its tape: promote the result of qa.replay")
            return cls(strategy=what.strategy, data=ran_on, result=what, sweep=sweep)
        if data is None:
            raise InputError("say what to try it on: bars, a tape, or the result of a backtest instead of the strategy")
        raw = data if isinstance(data, Bars | Tape) else Bars.from_frame(data, "ASSET")
        made = prepare(raw) if prepare is not None and isinstance(raw, Bars) else raw
        ran_on = made if isinstance(made, Bars | Tape) else raw
        strategy = what if isinstance(what, Strategy) else what() if isinstance(what, type) else what(raw)
        if not isinstance(strategy, Strategy):
            raise InputError(f"what is promoted is a strategy, or what ran one; got {type(strategy).__name__}")
        make = None if isinstance(what, Strategy | type) else what
        return cls(
            strategy=strategy, data=raw, result=_run(strategy, ran_on, given), sweep=sweep, make=make, prepare=prepare
        )


def _run(strategy: Strategy, data: Bars | Tape, settings: dict[str, Any]) -> Result | ReplayResult:
    if isinstance(data, Tape):
        charged: dict[str, Any] = {"venue": SimVenue(maker_bps=FEE_BPS, taker_bps=FEE_BPS)}
        return replay(strategy, data, **(charged | settings))
    if not {"fee_bps", "slip_bps"} & set(settings):
        settings = settings | {"fee_bps": FEE_BPS}
    return backtest(strategy, data, **settings)

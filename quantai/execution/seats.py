"""Seats: which strategy sits at which desk, with which parameters, on which instruments; a part of a run's manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from quantai.core.errors import InputError
from quantai.data.bars import interval_ns
from quantai.execution.routes import Route
from quantai.strategy import Strategy
from quantai.strategy.load import load_strategy


@dataclass(frozen=True, kw_only=True)
class Seat:
    """One desk's strategy; desks and seats are in the same order.

    `named` is how the class is found again (`module:Class`, `file.py:Class`). `instruments` are numbers of the run's
    instruments in the order in which the strategy counts them, none = all. `interval` is the length of the bars its
    `on_bar` is called for, "" = any. `route` says where orders for what is listed several times go.

    >>> from quantai.strategy.examples import Cross
    >>> seat = Seat(strategy=Cross(fast=5), interval="1m")
    >>> Seat.of(seat.as_dict()).strategy, seat.bar_ns
    (Cross(fast=5, slow=50), 60000000000)
    """

    strategy: Strategy
    named: str = ""
    instruments: tuple[int, ...] = ()
    interval: str = ""
    route: Route | None = None

    @property
    def bar_ns(self) -> int:
        """The length of its bars in nanoseconds, 0 = any."""
        return interval_ns(self.interval) if self.interval else 0

    @property
    def name(self) -> str:
        """How the class is found again."""
        cls = type(self.strategy)
        return self.named or f"{cls.__module__}:{cls.__qualname__}"

    def as_dict(self) -> dict[str, Any]:
        """Return the seat ready for JSON: an entry of the run's manifest."""
        cls = type(self.strategy)
        return {
            "strategy": self.name,
            "hash": cls.source_hash(),
            "source": cls.source(),
            "parameters": self.strategy.params,
            "instruments": list(self.instruments),
            "interval": self.interval,
            **({} if self.route is None else {"route": self.route.as_dict()}),
        }

    @classmethod
    def of(cls, said: Mapping[str, Any], strategy: type[Strategy] | None = None) -> Self:
        """Rebuild a seat from `as_dict`, with another class where the name cannot be imported; raises InputError."""
        try:
            found = strategy or load_strategy(said["strategy"])
            return cls(
                strategy=found(**said["parameters"]),
                named=said["strategy"],
                instruments=tuple(said["instruments"]),
                interval=said["interval"],
                route=Route.of(said["route"]) if "route" in said else None,
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"this is not the seat of a desk: {error!r}") from None

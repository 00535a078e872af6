"""The setup of an order management: desks, instruments, limits, patience; a part of the manifest of a run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Self

from quantai.core.errors import InputError, UnknownName
from quantai.core.given import instance, whole
from quantai.core.instruments import Instrument, Instruments
from quantai.core.rows import SEC
from quantai.execution.limits import Limits
from quantai.portfolio.desks import Desk


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Everything an `OMS` starts from besides rows.

    `currency` is that of equity, limits and reports; `margin` the initial margin of symbols as a fraction of notional
    (1 unless said); `patience_ns` how long a request may go unanswered before it is UNKNOWN and the venue is asked.

    >>> setup = Setup(
    ...     desks=(Desk("demo"),),
    ...     instruments=Instruments([Instrument.parse("BTC-USDT", tick="0.01", lot="0.001")]),
    ...     limits=Limits.example(),
    ...     currency="USDT",
    ... )
    >>> Setup.of(setup.as_dict()).as_dict() == setup.as_dict()
    True
    """

    desks: tuple[Desk, ...]
    instruments: Instruments
    limits: Limits
    currency: str = "USD"
    margin: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])
    patience_ns: int = 5 * SEC

    def __post_init__(self) -> None:
        instance("desks", self.desks, Sequence, "a tuple of desks")
        for desk in self.desks:
            instance("a desk", desk, Desk, 'one such as Desk("demo")')
        instance("instruments", self.instruments, Instruments, "a table of instruments")
        instance("limits", self.limits, Limits, "Limits, such as Limits.load(path) returns")
        instance("currency", self.currency, str, "a name such as 'USD'")
        instance("margin", self.margin, Mapping, "a mapping of symbols to parts of notional")
        whole("patience_ns", self.patience_ns)
        runs = [desk.run for desk in self.desks]
        if not runs or len(set(runs)) < len(runs):
            raise InputError(f"an order management needs at least one desk, each with a run of its own: got {runs}")
        if self.patience_ns <= 0:
            raise InputError(f"patience_ns must be positive, got {self.patience_ns}")
        self.check_symbols("limit", self.limits.position)
        self.check_symbols("margin", self.margin)

    def check_symbols(self, what: str, symbols: Iterable[str]) -> None:
        """Raise UnknownName for a symbol that is not traded here: what is set for it would hold for nobody."""
        known = [instrument.symbol for instrument in self.instruments]
        for symbol in symbols:
            if symbol not in known:
                raise UnknownName(f"symbol of a {what}", symbol, known)

    @property
    def accounts(self) -> list[str]:
        """The accounts, numbered as CONTROL rows number them."""
        return list(dict.fromkeys(desk.account for desk in self.desks))

    def as_dict(self) -> dict[str, Any]:
        """Return the setup ready for JSON: an entry of the run's manifest."""
        return {
            "desks": [[desk.run, desk.strategy, desk.account] for desk in self.desks],
            "instruments": [i.as_dict() for i in self.instruments],
            "limits": self.limits.text(),
            "currency": self.currency,
            "margin": {symbol: str(part) for symbol, part in self.margin.items()},
            "patience_ns": self.patience_ns,
        }

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self:
        """Rebuild a setup from `as_dict`; raises InputError for what it cannot be."""
        try:
            return cls(
                desks=tuple(Desk(*names) for names in said["desks"]),
                instruments=Instruments([Instrument.from_dict(i) for i in said["instruments"]]),
                limits=Limits.parse(said["limits"]),
                currency=said["currency"],
                margin={symbol: Decimal(part) for symbol, part in said["margin"].items()},
                patience_ns=said["patience_ns"],
            )
        except (KeyError, TypeError, ArithmeticError) as error:
            raise InputError(f"this is not the setup of an order management: {error!r}") from None

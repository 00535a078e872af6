"""The account of a paper run that goes on: what it held is known from the journal only."""

from collections.abc import Mapping
from decimal import Decimal

from quantai.core.instruments import Contract
from quantai.execution.agree import money
from quantai.execution.oms import OMS
from quantai.venues.paper import Paper
from quantai.venues.venue import Venue


def hand_over(oms: OMS, venues: Mapping[str, Venue]) -> None:
    """Let paper venues go on with what their accounts hold by our books: nobody else has kept it.

    The first has all money, as at the start of a run; contracts are at the venue that lists them, at one mean price.
    """
    rest = {name: Decimal(repr(amount)) for name, amount in money(oms).items()}
    held = oms.portfolio.books.positions
    for name, venue in venues.items():
        if not isinstance(venue, Paper):
            continue
        contracts: dict[str, tuple[Decimal, Decimal]] = {}
        for i, instrument in enumerate(oms.setup.instruments):
            if instrument.venue == name and instrument.contract not in (Contract.SPOT, Contract.EQUITY):
                lots = round(float(held["qty"][:, i].sum()) / float(instrument.lot))
                cost = Decimal(repr(float(held["cost"][:, i].sum())))
                contracts[instrument.symbol] = instrument.lot * lots, cost
                if not lots:  # desks that hold each other's: to the venue that is realised
                    rest[instrument.settle] = rest.get(instrument.settle, Decimal(0)) - cost
        venue.take_over(rest, contracts)
        rest = {}

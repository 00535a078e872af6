"""Numbers of an exchange on a grid of ours that is coarser: what has happened there is never refused here."""

from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal

from quantai.core.instruments import Instrument


def whole_lots(instrument: Instrument, qty: Decimal) -> int:
    """Return how many whole lots are in `qty` (units, not negative).

    >>> whole_lots(Instrument.parse("BTC-USDT", lot="0.01"), Decimal("0.0399"))
    3
    """
    return int((qty / instrument.lot).to_integral_value(ROUND_FLOOR))


def nearest_ticks(instrument: Instrument, px: Decimal) -> int:
    """Return the number of ticks that is nearest to `px`.

    >>> nearest_ticks(Instrument.parse("BTC-USDT", tick="0.5"), Decimal("100.3"))
    201
    """
    return int((px / instrument.tick).to_integral_value(ROUND_HALF_EVEN))


def is_on_grid(instrument: Instrument, qty: Decimal, px: Decimal) -> bool:
    """Say whether an execution is a whole number of lots at a whole number of ticks."""
    return not qty % instrument.lot and not px % instrument.tick

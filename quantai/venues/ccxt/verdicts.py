"""What an error of ccxt means for the request that met it: refused, refused for its rate, or nobody knows.

The class is not the whole truth: a broken connection while the answer was read is an ExchangeError in ccxt, a wrong
time stamp a NetworkError. What is not certainly refused is UNKNOWN: it is asked about, and never sent again.
"""

from enum import Enum, auto

import aiohttp
import ccxt


class Verdict(Enum):
    """What became of a request."""

    REFUSED = auto()  # the exchange, or ccxt before anything went out, has said no
    TOO_MANY = auto()  # refused for the rate limit: nothing happened, and all calls have to pause
    NO_ORDER = auto()  # the order it is about is not there, or has ended
    STALE_CLOCK = auto()  # refused for its time stamp: our clock and theirs differ
    UNREACHED = auto()  # no connection was made: it cannot have arrived
    UNKNOWN = auto()  # it may have arrived


def verdict(error: BaseException) -> Verdict:
    """Return what an exception of a call means for what was asked.

    >>> verdict(ccxt.InsufficientFunds("no")), verdict(ccxt.RequestTimeout("late")), verdict(ccxt.InvalidNonce("clock"))
    (<Verdict.REFUSED: 1>, <Verdict.UNKNOWN: 6>, <Verdict.STALE_CLOCK: 4>)
    """
    cause = error.__cause__
    if isinstance(cause, aiohttp.ClientConnectorError):
        return Verdict.UNREACHED
    if isinstance(cause, (aiohttp.ClientError, TimeoutError)):
        return Verdict.UNKNOWN
    if isinstance(error, ccxt.InvalidNonce):
        return Verdict.STALE_CLOCK
    if isinstance(error, (ccxt.RateLimitExceeded, ccxt.DDoSProtection)):
        return Verdict.TOO_MANY
    if isinstance(error, ccxt.DuplicateOrderId):  # an order of this id is there: perhaps this one
        return Verdict.UNKNOWN
    if isinstance(error, ccxt.OrderNotFound):
        return Verdict.NO_ORDER
    return Verdict.REFUSED if isinstance(error, ccxt.ExchangeError) else Verdict.UNKNOWN

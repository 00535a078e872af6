"""What an error of ccxt means for the request that met it: refused, refused for its rate, or nobody knows.

The class is not the whole truth: a broken connection while the answer was read is an ExchangeError in ccxt, a wrong
time stamp a NetworkError. What is not certainly refused is UNKNOWN: it is asked about, and never sent again.
"""

import json
import re
from collections.abc import Collection, Mapping
from enum import Enum, auto
from typing import Any

import aiohttp
import ccxt

from quantai.venues.ccxt.keys import unsigned


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


def new_verdict(error: BaseException, doubts: Collection[str] = (), *, tells_by_status: bool = False) -> Verdict:
    """Return what an exception of a call for a new order means; `doubts` are codes by which nobody knows.

    ccxt raises an ExchangeError, and no kind of it, for codes that it does not know, server errors among them. With
    `tells_by_status` those have an HTTP status of their own, and a code is a refusal whatever it is.

    >>> new_verdict(ccxt.ExchangeError("bybit {}")), new_verdict(ccxt.InvalidOrder("bybit {}"))
    (<Verdict.UNKNOWN: 6>, <Verdict.REFUSED: 1>)
    >>> new_verdict(ccxt.ExchangeError('binance {"code":-2019,"msg":"Margin is insufficient."}'), tells_by_status=True)
    <Verdict.REFUSED: 1>
    """
    found = doubted(error, doubts)
    if found is not Verdict.REFUSED or type(error) is not ccxt.ExchangeError:
        return found
    return found if tells_by_status and _CODE.search(str(error)) else Verdict.UNKNOWN


def doubted(error: BaseException, doubts: Collection[str]) -> Verdict:
    """Return the verdict on an exception; UNKNOWN for a refusal with a code among `doubts`.

    >>> doubted(ccxt.InvalidOrder('bybit {"retCode":170146,"retMsg":"Order creation timeout."}'), {"170146"})
    <Verdict.UNKNOWN: 6>
    """
    found = verdict(error)
    if found is Verdict.REFUSED and doubts and (code := _CODE.search(str(error))) and code[1] in doubts:
        return Verdict.UNKNOWN
    return found


def check_done(said: Mapping[str, Any]) -> None:
    """Raise OrderNotFound or InvalidOrder for an answer that says no and that ccxt passes on as if it said yes.

    >>> check_done({"info": {"success": False, "errors": [{"edit_failure_reason": "INVALID_EDITED_SIZE"}]}})
    Traceback (most recent call last):
        ...
    ccxt.base.errors.InvalidOrder: INVALID_EDITED_SIZE
    """
    info = said.get("info")
    if not isinstance(info, Mapping) or info.get("success") is not False:
        return
    errors = info.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else errors
    why = str(first.get("edit_failure_reason", "")) if isinstance(first, Mapping) else ""
    raise (ccxt.OrderNotFound if "NOT_FOUND" in why else ccxt.InvalidOrder)(why or "refused without a reason")


_MEANINGS = (
    (ccxt.InvalidNonce, "the clock of this machine differs from the exchange's"),
    (ccxt.AuthenticationError, "the key, or its rights, are not accepted"),
    (ccxt.InsufficientFunds, "the account does not hold enough for it"),
    ((ccxt.OnMaintenance, ccxt.MarketClosed), "the market is closed"),
    ((ccxt.RateLimitExceeded, ccxt.DDoSProtection), "too many requests"),
    (ccxt.BadSymbol, "the exchange does not know the symbol"),
    (ccxt.OrderNotFound, "the exchange does not know the order"),
    (ccxt.ExchangeNotAvailable, "the exchange is not available"),
)
_RULE = "it breaks a rule of the exchange"
_SAID = tuple(
    (re.compile(pattern, re.IGNORECASE), meaning)
    for pattern, meaning in (
        (r"market is (closed|halted)|not trading|suspended|delist", "the market is closed"),
        (r"insufficient", "the account does not hold enough for it"),
        (
            r"filter failure|precision|notional|price (too|higher|lower)|(lot|tick) size",
            "it breaks a rule of the exchange",
        ),
    )
)
_CODE = re.compile(r'"(?:retCode|code)"\s*:\s*"?(-?\w+)')
_OF_CCXT = re.compile(r"^[a-z0-9]+ (?=[A-Z])")  # the name that ccxt puts before what an exchange said


def words(error: BaseException) -> str:
    """Return in one line what an exception of a call means, and what the exchange said, without signatures.

    Some exchanges have one code for many things, told apart by their words alone.

    >>> words(ccxt.InsufficientFunds('binance {"code":-2010,"msg":"Account has insufficient balance."}'))
    'the account does not hold enough for it: Account has insufficient balance. (-2010)'
    >>> words(ccxt.BadRequest('binance {"code":-1013,"msg":"Filter failure: LOT_SIZE"}'))
    'it breaks a rule of the exchange: Filter failure: LOT_SIZE (-1013)'
    """
    said = unsigned(_said(str(error))) or type(error).__name__
    if verdict(error) is Verdict.UNREACHED:
        return f"nobody answers there: {said}"
    meaning = next((meaning for pattern, meaning in _SAID if pattern.search(said)), "")
    meaning = next((meaning for kinds, meaning in _MEANINGS if isinstance(error, kinds)), "") or meaning
    return f"{meaning}: {said}" if meaning else said


def _said(text: str) -> str:
    """Return what an exchange says in a body of JSON, with its code; a text without one as it is, in one line."""
    try:
        body = json.loads(text[text.index("{") :])
        body = body.get("error_response") or body
        said = next(body[name] for name in ("msg", "retMsg", "message", "error_message") if body.get(name))
    except (ValueError, StopIteration, AttributeError):
        return _OF_CCXT.sub("", " ".join(text.split()))
    code = body.get("code", body.get("retCode", ""))
    return f"{' '.join(str(said).split())} ({code})" if code != "" else " ".join(str(said).split())

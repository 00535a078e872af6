"""What this room knows of cryptofeed's insides; everything private that it touches is here and in `redirect`.

cryptofeed is pinned to one version for the sake of these few names, and `tests/unit/test_feeds_internals.py` fails
when one of them goes away.
"""

import json
import logging
from collections.abc import Callable
from typing import Any, NoReturn

from quantai.feeds.symbols import Names

QUIET: dict[str, Any] = {"log": {"disabled": True}}
"""cryptofeed's configuration: no log file in the working directory."""

# a library's log goes where the application sends it, and nowhere (not to stderr) when it sends it nowhere
logging.getLogger("cryptofeed").addHandler(logging.NullHandler())


def wrap(feed: Any, change: Any) -> None:
    """Make `feed` pass every connection it makes through `change` before using it."""
    inner = feed._wrap_connection
    feed._wrap_connection = lambda connection: change(inner(connection))


def before_opening(connection: Any, wait: Any) -> None:
    """Make `connection` await `wait(connection)` each time before it is opened."""
    opening = connection._open

    async def slowly() -> None:
        await wait(connection)
        await opening()

    connection._open = slowly


def guard(feed: Any, passed: Callable[[], None], refused: Callable[[Any, Any, Exception], None]) -> None:
    """Make `feed` go on after a message that it cannot read: `refused(message, connection, error)` is told instead.

    What says that the connection or a book has to start anew (a lost number, a checksum, a crossed book, a socket that
    broke) passes through, and so does a readable message whose handling failed on an answer to a question of its own.
    """
    import msgspec

    handle = feed.message_handler

    async def guarded(message: Any, connection: Any, stamp: float) -> None:
        try:
            await handle(message, connection, stamp)
        except (LookupError, TypeError, AttributeError, ArithmeticError, ValueError) as error:
            if isinstance(error, json.JSONDecodeError | msgspec.DecodeError) and _is_json(message):
                raise
            refused(message, connection, error)
        else:
            passed()

    feed.message_handler = guarded


def start_anew(feed: Any) -> None:
    """Make a replayed `feed` go on with the next connection of the recording where a parser asks for another one.

    That is how it went when it was recorded: a lost number or a wrong checksum had the connection opened again, and
    what the recording has of the old one behind that is not read.
    """
    from cryptofeed.exceptions import BadChecksum, MissingSequenceNumber

    handle = feed.message_handler

    async def handled(message: Any, connection: Any, stamp: float) -> None:
        try:
            await handle(message, connection, stamp)
        except (BadChecksum, MissingSequenceNumber):
            await connection.close()

    feed.message_handler = handled


def open_again(why: str) -> NoReturn:
    """Raise, inside a callback, what makes cryptofeed open the connection again that the message came over."""
    from cryptofeed.exceptions import MissingSequenceNumber

    raise MissingSequenceNumber(why)


def _is_json(message: Any) -> bool:
    try:
        json.loads(message)
    except (TypeError, ValueError):
        return False
    return True


def take_turns(coordinator: Any, connection: Any) -> None:
    """Give a replayed `connection` its place in the order of frames before it is opened.

    Streams take turns by the stamp of their next frame; one that has not started would be overtaken by all the others.
    """
    coordinator.reset_pending(connection._token, connection._first_ts_from(0))


def subscribed(feed: Any) -> list[str]:
    """Return cryptofeed's names of the symbols that `feed` was made for, each once."""
    if feed._init_subscription:
        return list(dict.fromkeys(str(s) for symbols in feed._init_subscription.values() for s in symbols))
    return list(dict.fromkeys(str(s) for s in feed._init_symbols or ()))


def carried(feed: Any, names: Names, connection: Any) -> list[str]:
    """Return our names of the symbols that `connection` of `feed` carries; one that polls carries all of them."""
    listed = (connection.subscription or feed.subscription).values()
    theirs = dict.fromkeys(s for symbols in listed for s in symbols)
    return [names.ours(feed.exchange_symbol_to_std_symbol(s)) for s in theirs]


def leaves(error: BaseException) -> list[BaseException]:
    """Return the errors inside nested exception groups, in order.

    >>> leaves(ExceptionGroup("both", [ValueError("a"), ExceptionGroup("one", [KeyError("b")])]))
    [ValueError('a'), KeyError('b')]
    """
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


def first_line(error: BaseException) -> str:
    """Return the kind of `error` and the first line of its text.

    >>> first_line(ValueError("no good"))
    'ValueError: no good'
    """
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]

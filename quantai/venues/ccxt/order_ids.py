"""Our client order ids in the alphabets and lengths of exchanges.

Ours are `run-row-index` in letters, digits, `-` and `_`, at most 36 characters, and `_n` behind them for the n-th leg
of an order that an exchange cannot change in place. Most exchanges take them as they are. Where the alphabet is smaller
the id is packed into one number and written in base 62, which can be read back; where it is too short even for that, it
is hashed, and only ids we have asked about are known.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass

TAG = "_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
BASE62 = TAG[1:]
_OURS = re.compile(r"([A-Za-z0-9_]{1,17})-([0-9a-z]{1,13})-([0-9a-z]{1,4})(?:_([1-9]\d?))?")
_ROW, _INDEX, _LEG, _LETTER = 64, 16, 6, 6
PACKED = 32


@dataclass(frozen=True, slots=True)
class IdStyle:
    """How ids of ours are written at an exchange, and read back; `read` returns None for an id that is not ours."""

    write: Callable[[str], str]
    read: Callable[[str], str | None]


def leg_id(order_id: str, leg: int) -> str:
    """Return the id of the n-th leg of an order; leg 0 is the order itself.

    >>> leg_id("btc_cross-lfls-3", 0), leg_id("btc_cross-lfls-3", 2)
    ('btc_cross-lfls-3', 'btc_cross-lfls-3_2')
    """
    return f"{order_id}_{leg}" if leg else order_id


def order_of(client_id: str) -> tuple[str, int]:
    """Return the order an id belongs to, and which leg of it: (`client_id`, 0) for an id without a leg.

    >>> order_of("btc_cross-lfls-3_2"), order_of("web_1")
    (('btc_cross-lfls-3', 2), ('web_1', 0))
    """
    found = _OURS.fullmatch(client_id)
    if found is None or not found[4]:
        return client_id, 0
    return client_id.removesuffix(f"_{found[4]}"), int(found[4])


def pack(client_id: str) -> str:
    """Return an id of ours as 32 letters and digits; what is no id of ours comes back as it is.

    >>> pack("btc_cross-lfls-3"), unpack(pack("btc_cross-lfls-3"))
    ('E8XCcmYMIN03txytQGLPm2fe9WfdfYvG', 'btc_cross-lfls-3')
    """
    found = _OURS.fullmatch(client_id)
    if found is None:
        return client_id
    number = 0
    for letter in found[1].ljust(17, "\0"):
        number = number << _LETTER | TAG.find(letter) + 1
    number = number << _ROW | int(found[2], 36)
    number = number << _INDEX | int(found[3], 36)
    number = number << _LEG | int(found[4] or 0)
    text = ""
    while number:
        number, digit = divmod(number, 62)
        text = BASE62[digit] + text
    return text.rjust(PACKED, BASE62[0])


def unpack(text: str) -> str | None:
    """Return the id that `pack` wrote, None for anything else."""
    if len(text) != PACKED or not (text.isascii() and text.isalnum()):
        return None
    number = 0
    for letter in text:
        number = number * 62 + BASE62.index(letter)
    number, leg = divmod(number, 1 << _LEG)
    number, index = divmod(number, 1 << _INDEX)
    number, row = divmod(number, 1 << _ROW)
    letters: list[str] = []
    while number:
        number, code = divmod(number, 1 << _LETTER)
        letters.append(TAG[code - 1] if code else "\0")
    tag = "".join(reversed(letters)).rstrip("\0")
    client_id = leg_id(f"{tag}-{_base36(row)}-{_base36(index)}", leg)
    return client_id if _OURS.fullmatch(client_id) and pack(client_id) == text else None


def _base36(number: int) -> str:
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + text
        if not number:
            return text


def _uuid(client_id: str) -> str:
    return hashlib.blake2b(client_id.encode(), digest_size=16).hexdigest()


def _gate(client_id: str) -> str:
    if len(client_id) <= 28:
        return f"t-{client_id}"
    return "t-" + hashlib.blake2b(client_id.encode(), digest_size=14).hexdigest()


def _ours(text: str) -> str | None:
    return text if _OURS.fullmatch(text) else None


def has_room(style: IdStyle, order_id: str, leg: int) -> bool:
    """Say whether the id of a leg can be read back; what would be told of another could be claimed by nobody.

    >>> has_room(PLAIN, "run-1-0", 99), has_room(PLAIN, "run-1-0", 100), has_room(ALNUM_32, "run-1-0", 64)
    (True, False, False)
    """
    named = leg_id(order_id, leg)
    return order_of(named) == (order_id, leg) and style.read(style.write(named)) in (named, None)


PLAIN = IdStyle(lambda client_id: client_id, _ours)
"""36 characters of A-Z a-z 0-9 - _ and more: BINANCE, BYBIT, COINBASE."""

ALNUM_32 = IdStyle(pack, unpack)
"""32 letters and digits: OKX."""

HEX_32 = IdStyle(_uuid, lambda text: None)
"""A UUID without dashes, of our id's hash: KRAKEN takes UUIDs, or 18 free characters."""

T_28 = IdStyle(_gate, lambda text: _ours(text.removeprefix("t-")))
"""`t-` and 28 characters of A-Z a-z 0-9 - _ .; longer ids are hashed: GATE."""

"""Client order ids: made of (run, row number, index) and nothing else, so that a replay makes the same ones.

They are at most 36 characters of A-Z a-z 0-9 - _, which every venue we know of takes, and can be read back.
"""

import hashlib
import re

from quantai.core.errors import InputError
from quantai.core.given import instance, whole

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_]{0,16}")
_ID = re.compile(r"([A-Za-z0-9_]{1,17})-([0-9a-z]{1,13})-([0-9a-z]{1,4})")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

OWN_K = 1 << 15
"""`k` from here on: requests of the order management itself (rivals, kill switch), not of a strategy."""


def run_tag(run: str) -> str:
    """Return how a run is named in client ids: itself when that fits, else 80 bits of a hash after an underscore.

    >>> run_tag("btc_cross"), run_tag("Bitcoin, 5 minutes")
    ('btc_cross', '_2mccklbjkqnx8aom')
    """
    if _PLAIN.fullmatch(run):
        return run
    number = int.from_bytes(hashlib.blake2b(run.encode(), digest_size=10).digest())
    return "_" + _base36(number).rjust(16, "0")[-16:]


def client_id(run: str, seq: int, k: int) -> str:
    """Return the client order id of the k-th request caused by row `seq` of `run`.

    >>> client_id("btc_cross", 1_000_000, 3)
    'btc_cross-lfls-3'
    """
    instance("run", run, str, "the name of a run")
    seq, k = whole("seq", seq), whole("k", k)
    if not (0 <= seq < 1 << 64 and 0 <= k < 1 << 16):
        raise InputError(f"no client id: row {seq} or index {k} is out of range")
    return f"{run_tag(run)}-{_base36(seq)}-{_base36(k)}"


def read_client_id(text: str) -> tuple[str, int, int] | None:
    """Return (run tag, seq, k) of a client id of ours; None for anything else.

    >>> read_client_id("btc_cross-lfls-3"), read_client_id("web_1234")
    (('btc_cross', 1000000, 3), None)
    """
    found = _ID.fullmatch(text)
    if found is None:
        return None
    tag, seq, k = found[1], int(found[2], 36), int(found[3], 36)
    return (tag, seq, k) if seq < 1 << 64 and k < 1 << 16 else None


def _base36(number: int) -> str:
    text = ""
    while True:
        number, digit = divmod(number, 36)
        text = _DIGITS[digit] + text
        if not number:
            return text

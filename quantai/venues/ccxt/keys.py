"""Keys of an account: from the environment or the keyring, and kept out of every text.

`QUANTAI_BINANCE_KEY`, `QUANTAI_BINANCE_SECRET` and, where the exchange wants one, `QUANTAI_OKX_PASSWORD`; or the same
entries (`BINANCE_key`, `BINANCE_secret`, …) of the system's keyring under the service `quantai`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from quantai.core.errors import VenueError
from quantai.ops.secrets import find_secret, variable

_SIGNED = re.compile(r"((?:signature|sign|apiKey|listenKey)[\"']?\s*[=:]\s*[\"']?)[^&\s\"',}]+", re.IGNORECASE)

_LISTENING = re.compile(r"(wss?://[^\s?]*/)[A-Za-z0-9]{32,}")  # a listen key as the last part of a path


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """The keys of one account; shown as nothing but which of them there are.

    >>> Keys("k", "very secret")
    Keys(key, secret)
    """

    key: str = ""
    secret: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"Keys({', '.join(n for n in ('key', 'secret', 'password') if getattr(self, n))})"

    @classmethod
    def find(cls, venue: str, *, password: bool = False, environment: Mapping[str, str] | None = None) -> "Keys":
        """Return the keys of a venue; raises VenueError that names what is missing and where it is looked for.

        >>> Keys.find("BINANCE", environment={"QUANTAI_BINANCE_KEY": "k", "QUANTAI_BINANCE_SECRET": "s"})
        Keys(key, secret)
        """
        found: dict[str, str] = {}
        for name in ("key", "secret", "password")[: 3 if password else 2]:
            secret = f"{venue}_{name}"
            found[name] = find_secret(secret, environment)
            if not found[name]:
                raise VenueError(f"{venue} needs its {name}: set {variable(secret)}, or `keyring set quantai {secret}`")
        return cls(**found)

    def redact(self, text: str) -> str:
        """Return a text without the keys and without signatures, for logs and errors.

        >>> Keys("abcd1234", "s3cr3ts3cr3t").redact("GET /account?signature=0a1b&apiKey=x failed for abcd1234")
        'GET /account?signature=***&apiKey=*** failed for ***'
        """
        for value in (self.key, self.secret, self.password):
            if len(value) >= 4:  # shorter ones are words of tests, and would blacken every text
                text = text.replace(value, "***")
        return unsigned(text)


def unsigned(text: str) -> str:
    """Return a text without the signatures, keys and listen keys that an address or a body names.

    >>> unsigned("wss://host/private/ws?listenKey=a1B2&x=1")
    'wss://host/private/ws?listenKey=***&x=1'
    >>> unsigned("wss://host/ws/" + "a1B2" * 16)
    'wss://host/ws/***'
    """
    return _LISTENING.sub(r"\1***", _SIGNED.sub(r"\1***", text))

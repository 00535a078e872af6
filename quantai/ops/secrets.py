"""Secrets: from the environment or the system's keyring, and from nowhere else."""

import os
from collections.abc import Mapping

LEAST_LETTERS = 6
"""Shorter words are hidden in no log: they are nobody's secret, and every other word has them in it."""

_given: set[str] = set()


def given_out() -> frozenset[str]:
    """Return every secret that was found so far and is long enough to be one: what must not be in a log."""
    return frozenset(_given)


def find_secret(name: str, environment: Mapping[str, str] | None = None) -> str:
    """Return a secret, empty when there is none: $QUANTAI_NAME, or NAME of the service `quantai` in the keyring.

    With `environment` it is looked for there alone. The keyring is asked only where the package `keyring` is installed.

    >>> find_secret("BINANCE_key", {"QUANTAI_BINANCE_KEY": "k"})
    'k'
    """
    value = (os.environ if environment is None else environment).get(variable(name), "")
    value = value or ("" if environment is not None else _from_keyring(name))
    if len(value) >= LEAST_LETTERS:
        _given.add(value)
    return value


def variable(name: str) -> str:
    """Return the environment variable of a secret.

    >>> variable("KRAKEN.FUTURES_secret")
    'QUANTAI_KRAKEN_FUTURES_SECRET'
    """
    return f"QUANTAI_{name}".upper().replace(".", "_")


def _from_keyring(name: str) -> str:
    try:
        import keyring
        import keyring.errors
    except ImportError:
        return ""
    try:
        return keyring.get_password("quantai", name) or ""
    except keyring.errors.KeyringError:
        return ""

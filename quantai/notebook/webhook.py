"""Notifications: what a run came to, posted to an address from the environment."""

import json
import logging
import os
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any

_log = logging.getLogger(__name__)
_TIMEOUT_S = 10


def notify(variables: Iterable[str], said: Mapping[str, Any]) -> int:
    """POST `said` as JSON to the address in each environment variable; returns how many took it.

    An address is a secret, so it is never logged. That a notification failed is logged and changes nothing else.
    """
    taken = 0
    for variable in variables:
        address = os.environ.get(variable, "")
        if not address.startswith(("https://", "http://")):
            _log.warning("no notification: $%s holds no http address", variable)
            continue
        body = json.dumps(said, default=str).encode()
        request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="POST")  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 -- http, checked above
                taken += answer.status < 300
        except (OSError, ValueError) as error:
            _log.warning("the notification to $%s failed: %s", variable, type(error).__name__)
    return taken

"""A service asked for everything that it says it answers, with what fits and what does not."""

from collections.abc import Collection
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck
from hypothesis import strategies as st
from schemathesis.checks import CHECKS

PATIENCE_S = 240


def fuzz(url: str, *, key: str = "", examples: int = 40, leave_out: Collection[str] = (), only: Any = None) -> Any:
    """Draw calls from a service's OpenAPI document and hold the answers against it; returns its operations.

    Without a key that the document wants, every operation is refused. `leave_out` are paths that take too long.
    """
    headers = {"X-API-Key": key} if key else {}
    found = schemathesis.openapi.from_url(url, headers=headers, timeout=PATIENCE_S)
    operations = [one.ok() for one in found.get_all_operations() if one.ok().path not in leave_out]

    @hypothesis.given(data=st.data())
    @hypothesis.settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    def ask(data: Any) -> None:
        case = data.draw(data.draw(st.sampled_from(operations)).as_strategy())
        if only is not None:
            case.call_and_validate(headers=headers, timeout=PATIENCE_S, checks=only)
        else:
            case.call_and_validate(headers=headers, timeout=PATIENCE_S, excluded_checks=OTHERS)

    ask()
    return operations


def without_a_key(base: str, operations: Any) -> dict[str, int]:
    """Return what a call without a key is answered, by operation."""
    return {
        f"{one.method.upper()} {one.path}": requests.request(
            one.method, base + one.path, json={}, timeout=PATIENCE_S
        ).status_code
        for one in operations
    }


OTHERS = [schemathesis.checks.positive_data_acceptance]
"""Whether a decision can be taken depends on the run, which a description of the interface does not know."""
NO_5XX = [CHECKS.get_one("not_a_server_error")]

"""What a service serves: the version that a bento was built with, else that of the deployment."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from serving.deployment import Deployment

PINNED = Path(__file__).with_name("model_tag.txt")
"""There in a built bento only."""
WORKERS = int(os.environ.get("QUANTAI_WORKERS", "1"))
QUIET: dict[str, Any] = {
    "metrics": {"enabled": False}, "tracing": {"excluded_urls": ".*"}, "logging": {"access": {"enabled": False}}
}  # fmt: skip
"""What BentoML does for each request before anybody looks at its key is off: its metrics keep a series for every path
that is asked for, so whoever can reach the port could fill memory and disk with them."""


def tag() -> str:
    """Return the exact tag that is served."""
    return PINNED.read_text().strip() if PINNED.exists() else Deployment.load().tag


def deployment() -> Deployment:
    """Return the deployment of the environment, of the version that is served."""
    return replace(Deployment.load(), tag=tag())

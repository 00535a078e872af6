"""What a service serves: the version that a bento was built with, else that of the deployment."""

import os
from dataclasses import replace
from pathlib import Path

from serving.deployment import Deployment

PINNED = Path(__file__).with_name("model_tag.txt")
"""There in a built bento only."""
WORKERS = int(os.environ.get("QUANTAI_WORKERS", "1"))


def tag() -> str:
    """Return the exact tag that is served."""
    return PINNED.read_text().strip() if PINNED.exists() else Deployment.load().tag


def deployment() -> Deployment:
    """Return the deployment of the environment, of the version that is served."""
    return replace(Deployment.load(), tag=tag())

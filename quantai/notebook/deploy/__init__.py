"""Deployment: the files that run a promoted version elsewhere, filled in; no secret is in any of them.

- `targets`    what is written for a container, compose, Kubernetes, systemd, Grafana
- `fields`     what is filled in, from the version and from what the caller says
- `dashboard`  panels for Grafana
- `templates`  the files, with $names where something is filled in; `alerts.yaml`, the rules for Prometheus, has none
"""

from quantai.notebook.deploy.targets import TARGETS, deploy

__all__ = ["TARGETS", "deploy"]

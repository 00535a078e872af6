"""The Grafana dashboard of a run: what it does, what it earns, how fast it is, how its feeds are."""

from typing import Any


def _rate(metric: str, by: str = "") -> str:
    return f"sum by ({by or 'instance'}) (rate({metric}_total[$__rate_interval]))"


def _quantile(metric: str, q: float) -> str:
    return f"histogram_quantile({q}, sum by (le) (rate({metric}_bucket[$__rate_interval])))"


PANELS: tuple[tuple[str, str, str, tuple[tuple[str, str], ...]], ...] = (
    ("Trading", "stat", "bool_yes_no", (("quantai_trading", "trading"),)),
    ("Alarms", "stat", "short", (("sum(quantai_alarm)", "standing"),)),
    ("Equity", "timeseries", "short", (("quantai_equity", "{{account}} {{currency}}"),)),
    ("P&L", "timeseries", "short", (("quantai_pnl", "{{strategy}} {{part}}"),)),
    ("Position", "timeseries", "short", (("quantai_position", "{{venue}} {{symbol}}"),)),
    ("What it is doing", "timeseries", "short", (
        ("quantai_state > 0", "{{state}}"), ("quantai_served", "{{process}}"))),
    ("Rows, intents, reports a second", "timeseries", "ops", (
        (_rate("quantai_rows"), "rows"), (_rate("quantai_intents"), "intents"), (_rate("quantai_reports"), "reports"))),
    ("Orders and fills a second", "timeseries", "ops", (
        (_rate("quantai_orders"), "orders"), (_rate("quantai_fills"), "fills"))),
    ("Orders at work", "timeseries", "short", (("quantai_orders_working", "orders"),)),
    ("Rejects a second", "timeseries", "ops", ((_rate("quantai_rejects", "by, reason"), "{{by}} {{reason}}"),)),
    ("Receipt to strategy", "timeseries", "s", (
        (_quantile("quantai_receive_latency_seconds", 0.5), "p50"),
        (_quantile("quantai_receive_latency_seconds", 0.99), "p99"))),
    ("Receipt to order", "timeseries", "s", (
        (_quantile("quantai_decision_latency_seconds", 0.5), "p50"),
        (_quantile("quantai_decision_latency_seconds", 0.99), "p99"))),
    ("Queue before the loop", "timeseries", "short", (("quantai_inbox_waiting", "items"),)),
    ("Journal behind", "timeseries", "short", (
        ("quantai_journal_lag_rows", "rows"), ("quantai_journal_lag_seconds", "seconds"))),
    ("Feeds: messages a second", "timeseries", "ops", ((_rate("quantai_feed_messages", "venue"), "{{venue}}"),)),
    ("Feeds: state", "timeseries", "short", (("quantai_feed_state > 0", "{{venue}} {{state}}"),)),
    ("Feeds: delay", "timeseries", "s", (
        ("quantai_feed_delay_seconds", "{{venue}} {{quantile}}"),
        ("quantai_feed_clock_ahead_seconds", "{{venue}} clock"))),
    ("Feeds: gaps, reconnects, silences, unreadable", "timeseries", "short", tuple(
        (f"increase(quantai_feed_{name}_total[15m])", f"{{{{venue}}}} {name}")
        for name in ("gaps", "reconnects", "trips", "quarantined"))),
    ("Silence of feeds", "timeseries", "s", (("quantai_feed_silent_seconds", "{{venue}}"),)),
    ("Alarms by name", "timeseries", "short", (
        ("quantai_alarm > 0", "{{alarm}}"), ("increase(quantai_alarms_raised_total[15m]) > 0", "{{alarm}} raised"))),
)  # fmt: skip
"""Panels: title, kind, unit, and queries with their legends."""


def dashboard(name: str) -> dict[str, Any]:
    """Return a dashboard for Grafana 10 or later, to be imported as it is.

    >>> dashboard("btc-cross")["title"]
    'quantai: btc-cross'
    """
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels: list[dict[str, Any]] = []
    for n, (title, kind, unit, queries) in enumerate(PANELS):
        targets = [
            {"refId": chr(ord("A") + k), "expr": expr, "legendFormat": legend, "datasource": source}
            for k, (expr, legend) in enumerate(queries)
        ]
        place = {"h": 8, "w": 12, "x": 12 * (n % 2), "y": 8 * (n // 2)}
        fields = {"defaults": {"unit": unit}, "overrides": []}
        panels.append(
            {"id": n + 1, "title": title, "type": kind, "datasource": source, "gridPos": place, "targets": targets}
            | {"fieldConfig": fields}
        )
    choice = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "title": f"quantai: {name}", "uid": f"quantai-{name}"[:40], "schemaVersion": 39, "editable": True,
        "tags": ["quantai"], "time": {"from": "now-6h", "to": "now"}, "refresh": "15s", "timezone": "browser",
        "templating": {"list": [choice]}, "panels": panels,
    }  # fmt: skip

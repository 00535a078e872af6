"""The metrics of a run, each with its meaning: measured from counters when somebody asks, never row by row.

`measure` gives plain values that cross a process; `families` makes of them what Prometheus reads.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from quantai.execution.agree import at_work
from quantai.execution.alarms import Alarm
from quantai.execution.loop import Loop
from quantai.execution.monitor.status import STATES, state_of
from quantai.execution.tallies import EDGES_NS, Latency
from quantai.execution.views import positions
from quantai.feeds.crypto import CryptoFeed
from quantai.feeds.health import Health

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

Sample = tuple[tuple[str, ...], Any]
"""Values of the labels, and a number; of a histogram (counts of the buckets, sum in seconds)."""
Measured = dict[str, list[Sample]]
FEED_STATES = ("connecting", "up", "silent", "down")


@dataclass
class Seen:
    """A run at one instant."""

    loop: Loop
    mode: str
    feeds: Sequence[CryptoFeed]
    lag_rows: int
    lag_s: float

    def __post_init__(self) -> None:
        self.health: list[Health] = [feed.health() for feed in self.feeds]


@dataclass(frozen=True)
class Metric:
    """One metric: its name, kind and labels, what it means, and where it is read."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    read: Callable[[Seen], Iterable[Sample]]
    labels: tuple[str, ...] = ()


def _one(read: Callable[[Seen], float]) -> Callable[[Seen], Iterable[Sample]]:
    return lambda seen: [((), read(seen))]


def _of_feeds(read: Callable[[Health], float]) -> Callable[[Seen], Iterable[Sample]]:
    return lambda seen: [((h.venue,), read(h)) for h in seen.health]


def _latency(read: Callable[[Seen], Latency]) -> Callable[[Seen], Iterable[Sample]]:
    return lambda seen: [((), [list(read(seen).counts), read(seen).total_ns / 1e9])]


def _info(seen: Seen) -> Iterable[Sample]:
    setup = seen.loop.oms.setup
    strategies = ",".join(dict.fromkeys(desk.strategy for desk in setup.desks))
    return [((setup.desks[0].run, seen.mode, ",".join(seen.loop.venues), strategies), 1)]


def _states(seen: Seen) -> Iterable[Sample]:
    now = state_of(seen.loop)
    return [((state,), int(state == now)) for state in STATES]


def _feed_states(seen: Seen) -> Iterable[Sample]:
    return [((h.venue, state), int(state == h.state)) for h in seen.health for state in FEED_STATES]


def _delays(seen: Seen) -> Iterable[Sample]:
    return [
        ((h.venue, quantile), ms / 1e3)
        for h in seen.health
        for quantile, ms in (("0.5", h.delay.p50_ms), ("0.99", h.delay.p99_ms))
    ]


def _alarms(seen: Seen) -> Iterable[Sample]:
    standing = seen.loop.counts.alarms.standing
    return [((str(alarm),), standing[alarm]) for alarm in Alarm]


def _raised(seen: Seen) -> Iterable[Sample]:
    return [((str(alarm),), seen.loop.counts.alarms.raised[alarm]) for alarm in Alarm]


def _positions(seen: Seen) -> Iterable[Sample]:
    oms = seen.loop.oms
    held = oms.portfolio.books.positions["qty"].sum(axis=0)
    return [((i.venue, i.symbol), float(q)) for i, q in zip(oms.setup.instruments, held, strict=True)]


def _equity(seen: Seen) -> Iterable[Sample]:
    oms = seen.loop.oms
    return [((account, oms.setup.currency), oms.portfolio.equity(account)) for account in oms.portfolio.accounts]


def _pnl(seen: Seen) -> Iterable[Sample]:
    """P&L by desk and part, summed over what settles in one currency; fees are what they cost, above zero."""
    sums: dict[tuple[str, ...], float] = {}
    for row in positions(seen.loop.oms):
        for part in ("realised", "unrealised", "funding", "fees"):
            key = (str(row["desk"]), row["strategy"], row["currency"], part)
            sums[key] = sums.get(key, 0.0) + float(row[part])
    return sums.items()


METRICS = (
    Metric("quantai_trading", "gauge", "1 while the run trades, else 0", _one(lambda s: state_of(s.loop) == "trading")),
    Metric("quantai_state", "gauge", "1 for what the run is doing, 0 for all else", _states, ("state",)),
    Metric("quantai_run", "gauge", "1; which run it is", _info, ("run", "mode", "venues", "strategies")),
    Metric("quantai_served", "gauge", "1; of a service: the version, and what its process says of itself", lambda _: [],
           ("tag", "mode", "process")),
    Metric("quantai_rows", "counter", "rows taken: of the market, timers, bars made",
           _one(lambda s: s.loop.counts.rows)),
    Metric("quantai_intents", "counter", "what strategies asked for", _one(lambda s: s.loop.counts.intents)),
    Metric("quantai_reports", "counter", "what venues said of orders", _one(lambda s: s.loop.counts.reports)),
    Metric("quantai_receive_latency_seconds", "histogram",
           "from the receipt of a message to the strategies, of the oldest row of each piece",
           _latency(lambda s: s.loop.counts.received)),
    Metric("quantai_decision_latency_seconds", "histogram",
           "from the receipt of a row to handing out what it led to, the journal's sync included",
           _latency(lambda s: s.loop.counts.decided)),
    Metric("quantai_inbox_waiting", "gauge", "depth of the queue before the loop: messages, answers, commands",
           _one(lambda s: len(s.loop.inbox))),
    Metric("quantai_journal_lag_rows", "gauge", "rows that are not on the disk yet", _one(lambda s: s.lag_rows)),
    Metric("quantai_journal_lag_seconds", "gauge", "how long the disk has taken none of them", _one(lambda s: s.lag_s)),
    Metric("quantai_orders", "counter", "orders of the run, denied ones too", _one(lambda s: len(s.loop.oms.table))),
    Metric("quantai_orders_working", "gauge", "orders sent that have not ended",
           _one(lambda s: len(at_work(s.loop.oms)))),
    Metric("quantai_fills", "counter", "executions", _one(lambda s: int(s.loop.oms.table.executions.used[0]))),
    Metric("quantai_rejects", "counter", "requests refused: by risk, by us, by a venue; the reason in our words",
           lambda s: s.loop.counts.refused.items(), ("by", "reason")),
    Metric("quantai_reports_left_out", "counter", "reports that cannot be", _one(lambda s: s.loop.counts.quarantined)),
    Metric("quantai_fees_left_out", "counter", "fees in a currency that the run does not know",
           _one(lambda s: s.loop.counts.fees_left_out)),
    Metric("quantai_venue_reconnects", "counter", "streams of orders that came back",
           _one(lambda s: s.loop.counts.reconnects)),
    Metric("quantai_alarm", "gauge", "alarms that stand, by name", _alarms, ("alarm",)),
    Metric("quantai_alarms_raised", "counter", "alarms ever raised, by name", _raised, ("alarm",)),
    Metric("quantai_position", "gauge", "units held", _positions, ("venue", "symbol")),
    Metric("quantai_equity", "gauge", "equity of an account", _equity, ("account", "currency")),
    Metric("quantai_pnl", "gauge", "P&L by part: realised, unrealised, funding, fees", _pnl,
           ("desk", "strategy", "currency", "part")),
    Metric("quantai_feed_state", "gauge", "1 for how a feed is, 0 for all else", _feed_states, ("venue", "state")),
    Metric("quantai_feed_messages", "counter", "frames received", _of_feeds(lambda h: h.received), ("venue",)),
    Metric("quantai_feed_silent_seconds", "gauge", "since the last message",
           _of_feeds(lambda h: h.silent_s), ("venue",)),
    Metric("quantai_feed_gaps", "counter", "holes in the rows", _of_feeds(lambda h: h.gaps), ("venue",)),
    Metric("quantai_feed_reconnects", "counter", "connections opened again",
           _of_feeds(lambda h: h.reconnects), ("venue",)),
    Metric("quantai_feed_trips", "counter", "connections closed for their silence",
           _of_feeds(lambda h: h.trips), ("venue",)),
    Metric("quantai_feed_quarantined", "counter", "messages that could not be read",
           _of_feeds(lambda h: h.quarantined), ("venue",)),
    Metric("quantai_feed_delay_seconds", "gauge", "receipt minus the venue's own time, of the newest messages", _delays,
           ("venue", "quantile")),
    Metric("quantai_feed_clock_ahead_seconds", "gauge", "by how much a venue's clock is ahead of ours, at least",
           _of_feeds(lambda h: h.delay.ahead_ms / 1e3), ("venue",)),
)  # fmt: skip
"""Every metric of a run. Prometheus adds `_total` to the names of counters."""


def measure(seen: Seen) -> Measured:
    """Return every metric of a run, by name, as values that JSON can carry."""
    return {metric.name: list(metric.read(seen)) for metric in METRICS}


def families(measured: Mapping[str, Any]) -> "Iterator[Family]":
    """Yield what was measured as metric families of prometheus_client; what is no number is left out.

    A run that is not there measures nothing, and then `quantai_trading` is 0.

    >>> from prometheus_client import CollectorRegistry, generate_latest
    >>> [family.name for family in families({})]
    ['quantai_trading']
    """
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    edges = [f"{ns / 1e9:g}" for ns in EDGES_NS] + ["+Inf"]
    for metric in METRICS:
        absent: list[Any] = [[[], 0]] if metric.name == "quantai_trading" else []
        samples: list[Any] = measured.get(metric.name) or absent
        if metric.kind == "histogram":
            family = HistogramMetricFamily(metric.name, metric.says, labels=metric.labels)
            for labels, (counts, total) in samples:
                running = [sum(counts[: n + 1]) for n in range(len(counts))]
                family.add_metric(labels, list(zip(edges, running, strict=True)), total)
        else:
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = kind(metric.name, metric.says, labels=metric.labels)
            for labels, value in samples:
                if value is not None:
                    family.add_metric(labels, value)
        if family.samples or metric.name in measured:
            yield family


def exposition(measured: Mapping[str, Any]) -> str:
    """Return what was measured in Prometheus' text format.

    >>> print(exposition({"quantai_rows": [[[], 5]]}).splitlines()[-1])
    quantai_rows_total 5.0
    """
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Measured(measured))
    return generate_latest(registry).decode()


class _Measured:
    def __init__(self, measured: Mapping[str, Any]) -> None:
        self._measured = measured

    def collect(self) -> "Iterator[Family]":
        return families(self._measured)

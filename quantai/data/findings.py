"""What a check found: findings, and the report that shows them."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quantai.data.instants import to_iso

if TYPE_CHECKING:
    import pandas as pd

KINDS = {
    "damaged": "a file that cannot be read, or is missing; its rows were not checked",
    "gap": "rows the venue numbered or the recorder missed, or bars that are not there",
    "missing_day": "a day without a file between the first and the last",
    "stale": "a long silence between two rows",
    "duplicate": "the same row twice: by seq, by the venue's id, or a bar with the same values",
    "disorder_seq": "rows that are not in the order of seq",
    "disorder_recv": "our clock went back: ts_recv is before that of the row before",
    "disorder_exch": "the venue's times go back: ts_exch is before that of the row before",
    "negative_latency": "received before it happened: the two clocks disagree",
    "crossed": "a best bid at or above the best ask",
    "bad_price": "a price that is NaN, zero or negative, or a bar whose high or low is inside it",
    "bad_qty": "a size that is NaN, zero (of a trade) or negative",
}
"""Every kind of finding, worst first, and what it means."""

_SHOWN, _SHOWN_LATENCIES = 100, 8  # lines of the text; a table and JSON have all


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found `count` times in one partition; `first_ts` is the first instant (ns UTC, 0 if it has none)."""

    kind: str
    table: str
    venue: str
    symbol: str
    part: str
    count: int
    first_ts: int
    example: str
    path: str = ""

    def __str__(self) -> str:
        where = "/".join(x for x in (self.table, self.venue, self.symbol, self.part) if x)
        when = f" from {to_iso(self.first_ts)}" if self.first_ts else ""
        return f"{self.kind:16} {self.count:>9,}  {where}{when}: {self.example}"


@dataclass(frozen=True, slots=True)
class Latency:
    """ts_recv - ts_exch of one stream, in milliseconds: what a clock offset or a slow line looks like."""

    table: str
    venue: str
    symbol: str
    min_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    def __str__(self) -> str:
        spread = f"min {self.min_ms:,.1f}, median {self.p50_ms:,.1f}, p99 {self.p99_ms:,.1f}, max {self.max_ms:,.1f} ms"
        return f"{self.table}/{self.venue}/{self.symbol}: {spread}"


@dataclass(frozen=True, slots=True)
class Report:
    """All findings of a check, worst kind first, the latencies of each stream, and how much was checked."""

    findings: tuple[Finding, ...]
    latencies: tuple[Latency, ...]
    rows: int
    partitions: int
    root: Path | None = None

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def damaged(self) -> tuple[Finding, ...]:
        """The findings that are about files that cannot be read."""
        return tuple(f for f in self.findings if f.kind == "damaged")

    def counts(self) -> dict[str, int]:
        """Return how often each kind was found, worst first; kinds that were not found are left out."""
        found: dict[str, int] = {}
        for finding in self.findings:
            found[finding.kind] = found.get(finding.kind, 0) + finding.count
        return found

    def df(self) -> "pd.DataFrame":
        """Return one line per finding; `first` is the first instant in UTC, NaT where there is none."""
        import pandas as pd

        columns = ["kind", "table", "venue", "symbol", "part", "count", "first", "example", "path"]
        rows = [[getattr(f, "first_ts" if c == "first" else c) for c in columns] for f in self.findings]
        frame = pd.DataFrame(rows, columns=pd.Index(columns))
        first = pd.to_datetime(frame["first"], unit="ns", utc=True)
        frame["first"] = first.where(frame["first"] != 0)
        return frame

    def __str__(self) -> str:
        head = f"checked {self.rows:,} rows in {self.partitions:,} partitions: {len(self.findings)} findings"
        lines = [head, *map(str, self.findings[:_SHOWN])]
        if len(self.findings) > _SHOWN:
            lines.append(f"… and {len(self.findings) - _SHOWN:,} more: see .df(), or --json")
        worst = sorted(self.latencies, key=lambda x: (x.min_ms >= 0, -x.p99_ms))[:_SHOWN_LATENCIES]
        lines += [f"latency  {x}" for x in worst]
        if len(self.latencies) > len(worst):
            lines.append(f"… and {len(self.latencies) - len(worst):,} more streams: see .latencies, or --json")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        def table(head: list[str], rows: list[list[Any]]) -> str:
            lines = "".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
            return f"<table><tr>{''.join(f'<th>{h}</th>' for h in head)}</tr>{lines}</table>"

        found = [
            [
                f.kind,
                f"{f.count:,}",
                f.table,
                f.venue,
                f.symbol,
                f.part,
                to_iso(f.first_ts) if f.first_ts else "",
                f.example,
            ]
            for f in self.findings
        ]
        head = html.escape(str(self).splitlines()[0])
        return f"<p>{head}</p>" + table(
            ["kind", "count", "table", "venue", "symbol", "part", "first", "example"], found
        )

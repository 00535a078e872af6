"""Keeps the tables in docs/ equal to the code: `python -m scripts.tables` rewrites them, a test compares them.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; TABLES says what writes it.
"""

import re
from collections.abc import Callable
from enum import EnumType
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"
_BLOCK = re.compile(r"(<!-- table: (?P<name>[a-z ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def comments(enum: EnumType) -> dict[str, str]:
    """Return the comment beside each member of an enum, read from its source."""
    import inspect

    found = re.findall(r"^ {4}([A-Z_]+) = [^#\n]+(?:# (.*))?$", inspect.getsource(enum), re.MULTILINE)
    return {name: said for name, said in found if name in enum.__members__}


def order_transitions() -> str:
    """The life that follows each report, for each life."""
    from quantai.core.transitions import Life, transitions

    rows = [[report, *("" if c == "." else c.lower() for c in cells)] for report, cells in transitions()]
    return markdown(["report", *(life.name.lower() for life in Life)], rows)


def order_statuses() -> str:
    """Which status an order shows when several are true."""
    from quantai.core.reports import PRECEDENCE

    ranked = sorted(((rank, s.name) for s, rank in PRECEDENCE.items() if rank), key=lambda x: -x[0])
    return markdown(["precedence", "status"], [[str(rank), name] for rank, name in ranked])


def order_marks() -> str:
    """What a reader of an order must know besides its status."""
    from quantai.core.reports import Mark

    return markdown(["mark", "meaning"], [[name, said] for name, said in comments(Mark).items()])


def order_outcomes() -> str:
    """What applying one report can do."""
    from quantai.core.reports import Outcome

    return markdown(["outcome", "meaning"], [[name, said] for name, said in comments(Outcome).items()])


def risk_reasons() -> str:
    """Every reason risk can answer, in the order in which it answers."""
    from quantai.execution.reasons import SCOPE, RiskReason

    said = comments(RiskReason)
    rows = [[str(int(r)), f"`{r.name}`", SCOPE[r], said[r.name]] for r in RiskReason if r]
    return markdown(["", "reason", "asked of", "denied when"], rows)


def risk_limits() -> str:
    """The limits file, key by key."""
    from quantai.execution.limits import Limits

    return f"```toml\n{Limits.example().text()}```\n"


def contract_values() -> str:
    """What one unit is worth under each kind of contract, computed."""
    from quantai.core.instruments import Instrument, Payoff
    from quantai.portfolio.contracts import notional, value

    kinds = {
        "spot, equity": ("multiplier x px", Instrument.parse("BTC-USDT")),
        "linear perpetual, future": ("multiplier x px", Instrument.parse("ES-USD-20270319", multiplier=50)),
        "inverse perpetual, future": (
            "-multiplier / px",
            Instrument.parse("BTC-USD-PERP", payoff=Payoff.INVERSE, multiplier=100),
        ),
        "quanto": (
            "multiplier x px, in the settlement currency",
            Instrument.parse("ETH-USD-PERP", payoff=Payoff.QUANTO, settle="BTC", multiplier="0.000001"),
        ),
        "option": ("multiplier x premium", Instrument.parse("SPX-USD-20270319-6000-C", multiplier=100)),
    }
    rows = [
        [kind, f"`{formula}`", str(i.multiplier), i.settle, str(value(i, 5000)), str(notional(i, 5000))]
        for kind, (formula, i) in kinds.items()
    ]
    return markdown(["contract", "value(px)", "multiplier", "settles in", "value(5000)", "notional(5000)"], rows)


def order_controls() -> str:
    """What a CONTROL row decides."""
    from quantai.execution.controls import Control

    return markdown(["control", "meaning"], [[name, said] for name, said in comments(Control).items()])


def adjustments() -> str:
    """What an ADJUST row does."""
    from quantai.portfolio.adjustments import Adjust

    return markdown(["adjustment", "what it does"], [[name, said] for name, said in comments(Adjust).items()])


def alarms() -> str:
    """What can be wrong with a run."""
    from quantai.execution.alarms import Alarm

    said = comments(Alarm)
    return markdown(["alarm", "means that"], [[f"[{a}](runbook.md#{a})", said[a.name]] for a in Alarm])


def log_events() -> str:
    """The names of log lines."""
    from quantai.execution.monitor.logs import Event

    said = comments(Event)
    return markdown(["event", "meaning"], [[f"`{event}`", said[event.name]] for event in Event])


def metrics() -> str:
    """Every metric of a run, as Prometheus names it."""
    from quantai.execution.monitor.metrics import METRICS

    rows = [
        [f"`{m.name}{'_total' if m.kind == 'counter' else ''}`", m.kind, ", ".join(m.labels), m.says] for m in METRICS
    ]
    return markdown(["metric", "kind", "labels", "meaning"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "order transitions": order_transitions,
    "order statuses": order_statuses,
    "order marks": order_marks,
    "order outcomes": order_outcomes,
    "order controls": order_controls,
    "adjustments": adjustments,
    "contract values": contract_values,
    "risk reasons": risk_reasons,
    "risk limits": risk_limits,
    "alarms": alarms,
    "log events": log_events,
    "metrics": metrics,
}


def filled(text: str) -> str:
    """Return a page with every table written anew; raises KeyError for a table nobody writes."""
    return _BLOCK.sub(lambda m: m[1] + TABLES[m["name"]]() + m[3], text)


def pages() -> list[Path]:
    """Return the pages of docs/ that hold a generated table."""
    return [p for p in sorted(DOCS.rglob("*.md")) if _BLOCK.search(p.read_text())]


if __name__ == "__main__":
    for page in pages():
        page.write_text(filled(page.read_text()))

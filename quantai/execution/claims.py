"""Claims: which of our orders a venue means when it only gives a client id.

A venue object knows the orders it was asked about. After a restart it knows none, while the exchange goes on telling of
them: the id is then beside the report, and the order management can read it.
"""

from dataclasses import replace

from quantai.execution.client_ids import read_client_id, run_tag
from quantai.execution.oms import OMS
from quantai.venues.venue import CLIENT_ID, Answer


def claim(oms: OMS, answer: Answer) -> Answer:
    """Return the answer with the order its client id names, and itself when it says the order or names none of ours."""
    reports = answer.reports
    if not len(reports) or reports["order"].all():
        return answer
    named = read_client_id(dict(answer.texts).get(CLIENT_ID, ""))
    found = None
    if named is not None:
        desks = [d for d, desk in enumerate(oms.setup.desks) if run_tag(desk.run) == named[0]]
        found = oms.table.find(desks[0], named[1], named[2]) if desks else None
    if found is None:
        return answer
    claimed = reports.copy()
    claimed["order"] = found[0]
    return replace(answer, reports=claimed)

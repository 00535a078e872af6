"""The kill switch: what came of canceling everything."""

from typing import NamedTuple

from quantai.core.reports import Refusal
from quantai.core.tracked import LATE, OUT, OVERDUE, REQUESTS
from quantai.core.transitions import Life
from quantai.execution.client_ids import client_id
from quantai.execution.oms import OMS
from quantai.execution.order_table import ASKED, KILLED, RISEN, is_finished, may_trade, open_lots
from quantai.portfolio.desks import desk_of


class Kill(NamedTuple):
    """Client ids of the orders that the kill switch met, by what became of them."""

    canceled: list[str]  # ended: canceled, rejected, expired, or filled before the cancel came
    pending: list[str]  # the venue has not answered the cancel yet
    unknown: dict[str, str]  # no answer in time; the reason in words
    refused: dict[str, str]  # the venue refused to cancel, or it could not be asked; the reason in words

    @property
    def complete(self) -> bool:
        """Whether nothing that was met can trade any more."""
        return not (self.pending or self.unknown or self.refused)


def outcome(oms: OMS) -> Kill:
    """Say what the kill switch could cancel and what not, as far as it is known now.

    Pull it again (Control.KILL) to ask once more for what was refused.
    """
    found = Kill([], [], {}, {})
    for slot in range(len(oms.table)):
        entry, tracked = oms.table.entries[slot], oms.table.tracked[slot]
        if not entry["flags"] & KILLED:
            continue
        name = client_id(oms.setup.desks[desk_of(entry["order"])].run, int(entry["seq"]), int(entry["k"]))
        states = [int(tracked["request_state"][i]) for i in range(REQUESTS) if tracked["request_state"][i] & OUT]
        lots = open_lots(tracked)
        if not may_trade(tracked) and not entry["flags"] & RISEN:
            if tracked["life"] == Life.LOST and entry["flags"] & ASKED:
                lots = int(tracked["qty_lots"] - tracked["cum_lots"])
                found.unknown[name] = f"the venue does not know it: {lots} lots work if it arrives yet"
            else:
                found.canceled.append(name)
        elif entry["refusal"]:
            why = Refusal(int(entry["refusal"])).name.lower().replace("_", " ")
            found.refused[name] = f"{lots} lots {'may ' * is_finished(tracked)}still work: {why}"
        elif any(state & (LATE | OVERDUE) for state in states) or tracked["late"]:
            found.unknown[name] = f"no answer in time; {lots} lots may still work"
        else:
            found.pending.append(name)
    return found

"""The last cancels: what goes out when an error ends a run, so that no order is left working without anybody.

The journal may take no rows any more, so nothing here waits for it: the next start asks about every order.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from quantai.core.errors import QuantaiError, StorageError
from quantai.core.rows import Rows
from quantai.execution.agree import at_work
from quantai.execution.controls import Control, control
from quantai.execution.oms import OMS
from quantai.execution.session import Session
from quantai.execution.timer_rows import timer_row
from quantai.venues.venue import Venue

WAIT_S = 15.0
"""How long the venues are asked whether the orders are gone."""

_FIRST_S, _MOST_S = 0.1, 4.0  # between two questions: soon at first, and then sparing what a venue allows
_log = logging.getLogger(__name__)


async def cancel_all(
    session: Session, venues: Mapping[str, Venue], clock: Callable[[], int], watchers: Iterable[Callable[[Rows], None]]
) -> list[str]:
    """Pull the kill switch if any order works, and return the client ids of those that venues still have at the end.

    `clock` (ns UTC) stamps its row, which the journal takes if it can. `watchers` are shown that time passes while the
    venues are waited for. Where the session's fence lets nothing out, nothing is done: another trades by now. Raises
    nothing: an error is under way already.
    """
    if not at_work(session.oms) or not _may_send(session):
        return []
    _log.critical("an error ends the run: its orders are being canceled", extra={"event": "last_cancels"})
    try:
        await session.see(control(Control.KILL, ts=clock()))
    except StorageError:  # the session has sent the cancels all the same, and said so
        pass
    except Exception:  # noqa: BLE001 - whatever it is, it must not hide why the run ends
        _log.exception("not every cancel could be sent")
    shown = tuple(watchers)

    def pass_time() -> None:
        now = clock()
        for watch in shown:
            watch(timer_row(now, now))

    found = await asyncio.gather(*(_left(session.oms, name, venue, pass_time) for name, venue in venues.items()))
    left = sorted(one for some in found for one in some)
    if left:
        _log.critical("these orders may still work, look at them at the venue: %s", ", ".join(left))
    return left


def _may_send(session: Session) -> bool:
    """Say whether orders are still ours to cancel: who lost the lease leaves them, and the journal, to its holder."""
    try:
        if session.fence is not None:
            session.fence()
    except QuantaiError:
        return False
    return True


async def _left(oms: OMS, name: str, venue: Venue, pass_time: Callable[[], None]) -> set[str]:
    """Return which of our orders a venue has, once it has none or after the wait; all of them if it never says."""
    ours = left = set(at_work(oms, name))
    wait_s = _FIRST_S
    with suppress(TimeoutError):
        async with asyncio.timeout(WAIT_S):
            while left:
                pass_time()
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _MOST_S)
                with suppress(QuantaiError):  # it is asked again
                    left = ours & {order.client_id for order in await venue.open_orders()}
    return left

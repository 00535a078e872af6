"""Links: over which connections venues tell of orders, and which of them are down."""

from quantai.core.rows import Status
from quantai.execution.alarms import Alarm


class Links:
    """What is known of the connections of venues; one that nothing was said of is up.

    >>> links = Links()
    >>> links.take("OKX", Status.DISCONNECTED)
    >>> links.lost()
    [(<Alarm.REPORTS_LOST: 'reports_lost'>, 'OKX: its reports do not reach us')]
    >>> links.take("OKX", Status.CONNECTED)
    >>> links.lost(), links.changes
    ([], 2)
    """

    def __init__(self) -> None:
        self._down: set[str] = set()
        self.changes = 0  # how often one went down or came back: what was asked meanwhile may be of before

    def take(self, venue: str, status: Status) -> None:
        """Take what a venue says of its connection."""
        self.changes += 1
        if status is Status.DISCONNECTED:
            self._down.add(venue)
        elif status in (Status.CONNECTED, Status.RESUMED):
            self._down.discard(venue)

    def lost(self, venue: str = "") -> list[tuple[Alarm, str]]:
        """Return the alarm and its line for each venue, or the one, whose reports do not reach us."""
        down = sorted(self._down & {venue} if venue else self._down)
        return [(Alarm.REPORTS_LOST, f"{one}: its reports do not reach us") for one in down]

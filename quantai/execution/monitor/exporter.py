"""The exporter: the metrics of a run over HTTP, for Prometheus to scrape."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import TimeoutError as LateError
from typing import TYPE_CHECKING, Any

from quantai.core.errors import InputError, MissingExtra
from quantai.execution.monitor.metrics import Measured, families

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

_PATIENCE_S = 10.0


def check_address(address: str, port: int) -> None:
    """Raise what starting an `Exporter` there would, before anything is made that a refusal would leave behind."""
    try:
        import prometheus_client  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise MissingExtra("prometheus_client", "live") from None
    try:
        family, *_, at = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(at)
    except OSError as error:
        raise _taken(_url(address, port), error) from None


def _url(address: str, port: int) -> str:
    return f"http://{f'[{address}]' if ':' in address else address}:{port}/metrics"


def _taken(url: str, error: OSError) -> InputError:
    return InputError(f"metrics cannot be served at {url}: {error.strerror}; another port, or 0 for a free one, may be")


class Exporter:
    """Serves what `measure` says at http://address:port/metrics, from a thread of its own.

    Each scrape asks the event loop of `start` once, so it sees one instant; it writes the answer elsewhere.
    """

    def __init__(self, measure: Callable[[], Measured], address: str, port: int) -> None:
        self._measure, self._address, self._port = measure, address, port
        self._server: Any = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return _url(self._address, self._port)

    async def start(self) -> None:
        """Begin to answer; raises InputError when the port cannot be had, MissingExtra without prometheus_client."""
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError:
            raise MissingExtra("prometheus_client", "live") from None
        self._loop = asyncio.get_running_loop()
        registry = CollectorRegistry()
        registry.register(self)
        try:
            self._server, _ = start_http_server(self._port, self._address, registry)
        except OSError as error:
            raise _taken(self.url, error) from None
        self._port = int(self._server.server_port)

    async def stop(self) -> None:
        """Answer no more."""
        if self._server is not None:
            await asyncio.to_thread(self._server.shutdown)
            self._server.server_close()

    def describe(self) -> "Iterable[Family]":
        """Return nothing: what there is to measure is not known before."""
        return []

    def collect(self) -> "Iterable[Family]":
        """Return the metrics as they are now; for prometheus_client, in its thread."""

        async def ask() -> Measured:
            return self._measure()

        asked = asyncio.run_coroutine_threadsafe(ask(), self._loop)
        try:
            return list(families(asked.result(_PATIENCE_S)))
        except LateError:
            asked.cancel()
            return []

"""A server on a free port of this machine, for the exchanges that tests make up."""

from collections.abc import Awaitable, Callable

from aiohttp import web


class LocalServer:
    """Answers every GET, upgrades to a socket among them, by `answer`, between `open` and `close`."""

    def __init__(self, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def open(self) -> tuple[str, str]:
        """Begin to listen; returns the addresses of its pages and of its sockets."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        return f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"

    async def close(self) -> None:
        """Let go of the port and of everybody who is connected."""
        await self._runner.cleanup()

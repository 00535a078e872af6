"""Publishing to JetStream so that nothing is lost, doubled or reordered when the server goes away and comes back.

Messages wait here until the server has acknowledged them. Several are under way at a time; when one fails, it and all
after it are sent again, in order. Each names the one before it, so that the server refuses whatever would leave a hole,
and has an id, so that the server drops what it has already.
"""

import asyncio
import json
from collections import deque
from dataclasses import dataclass
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext, api

from quantai.core.errors import StorageError

_WRONG_LAST_ID = 10070
_MAX_PAUSE_S = 2.0


@dataclass(slots=True)
class _Message:
    id: str
    after: str | None  # id of the message before; None when the server need not check
    body: bytes


class Outbox:
    """The messages of one publisher to one JetStream stream; nobody else may publish there."""

    def __init__(
        self, client: Client, jetstream: JetStreamContext, *, stream: str, subject: str, window: int, ack_wait_s: float
    ) -> None:
        self._client, self._jetstream = client, jetstream
        self._stream, self._subject = stream, subject
        self._window, self._ack_wait_s = window, ack_wait_s
        self._pending: deque[_Message] = deque()
        self._sent: deque[asyncio.Future[Msg]] = deque()
        self._inbox = client.new_inbox()
        self._answers: dict[str, asyncio.Future[Msg]] = {}
        self._sends = 0
        self._acknowledged: str | None = None
        self._last: str | None = None
        self._signal = asyncio.Event()
        self._changed = asyncio.Condition()
        self._refused = ""
        self.trouble = ""
        self.resends = 0
        self._task = asyncio.create_task(self._run(), name=f"outbox {subject}")

    async def put(self, message_id: str, body: bytes) -> None:
        """Send a message after those before it; waits while as many as the window holds are not acknowledged.

        Raises StorageError when somebody else publishes to the same stream.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._pending) < self._window or bool(self._refused))
            self._check()
            self._pending.append(_Message(message_id, self._last, body))
            self._last = message_id
        self._signal.set()

    async def flush(self, timeout_s: float | None = None) -> None:
        """Wait until the server has acknowledged everything.

        Raises StorageError when it has not after `timeout_s`; the messages are kept, and sent as long as this lives.
        """
        try:
            async with asyncio.timeout(timeout_s), self._changed:
                await self._changed.wait_for(lambda: not self._pending or bool(self._refused))
        except TimeoutError:
            raise StorageError(
                f"NATS has not acknowledged {len(self._pending)} messages to {self._subject} in {timeout_s} s"
                f" ({self.trouble or 'no answer'}): see whether the server runs and has disk space"
            ) from None
        self._check()

    async def close(self) -> None:
        """Stop sending; what is not acknowledged is forgotten."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _check(self) -> None:
        if self._refused:
            raise StorageError(self._refused)

    async def _run(self) -> None:
        try:
            await self._pump()
        except Exception as error:  # noqa: BLE001 -- whatever it is, those who publish must learn of it
            self._refused = f"publishing to {self._subject} failed ({error!r}): connect again"
        async with self._changed:
            self._changed.notify_all()

    async def _pump(self) -> None:
        await self._client.subscribe(f"{self._inbox}.*", cb=self._take_answer)
        pause_s = 0.05
        while not self._refused:
            self._signal.clear()
            try:
                if await self._reap():
                    pause_s = 0.05
                while len(self._sent) < len(self._pending):
                    self._sent.append(await self._send(self._pending[len(self._sent)]))
                async with asyncio.timeout(self._ack_wait_s if self._sent else None):
                    await self._signal.wait()
            except (nats.errors.Error, TimeoutError) as error:
                self.trouble = str(error) or type(error).__name__
                await self._go_back(error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    async def _send(self, message: _Message) -> asyncio.Future[Msg]:
        """Send one message; what is returned is done when the server has answered."""
        # not JetStreamContext.publish_async: of nats-py 2.16 it never tells of a refusal
        headers = {api.Header.MSG_ID.value: message.id}
        if message.after is not None:
            headers[api.Header.EXPECTED_LAST_MSG_ID.value] = message.after
        self._sends += 1
        reply = f"{self._inbox}.{self._sends}"
        await self._client.publish(self._subject, message.body, reply=reply, headers=headers)
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        self._answers[reply] = answer
        return answer

    async def _take_answer(self, message: Msg) -> None:
        answer = self._answers.pop(message.subject, None)
        if answer is not None and not answer.done():
            answer.set_result(message)
            self._signal.set()

    async def _reap(self) -> bool:
        """Let go of what was acknowledged, and say whether anything was; raises the first refusal."""
        count = 0
        while self._sent and self._sent[0].done():
            _check_answer(self._sent[0].result())
            self._sent.popleft()
            self._acknowledged = self._pending.popleft().id
            count += 1
        if count:
            async with self._changed:
                self._changed.notify_all()
        return count > 0

    async def _go_back(self, error: BaseException) -> None:
        """Forget what is under way, so that all of it is sent again once the server can be reached."""
        self.resends += len(self._sent)
        self._answers.clear()
        self._sent.clear()
        while not self._client.is_connected:  # noqa: ASYNC110 -- the client has no event for it
            await asyncio.sleep(0.05)
        if isinstance(error, nats.js.errors.APIError) and error.err_code == _WRONG_LAST_ID and self._pending:
            await self._resume(self._pending[0])

    async def _resume(self, first: _Message) -> None:
        """Find out where the stream ends: the server remembers ids for two minutes only."""
        try:
            stored: Any = await self._jetstream.get_last_msg(self._stream, self._subject)
        except (nats.errors.Error, TimeoutError):
            return  # asked again after the next try
        last = (stored.headers or {}).get(api.Header.MSG_ID.value)
        ids = [message.id for message in self._pending]
        if last in ids:
            for _ in range(ids.index(last) + 1):
                self._acknowledged = self._pending.popleft().id
            first = self._pending[0] if self._pending else first
        if last == self._acknowledged or last == first.after:
            first.after = None
        else:
            self._refused = f"somebody else publishes to NATS stream {self._stream}: one publisher for each run"


def _check_answer(message: Msg) -> None:
    """Raise what an answer refuses with."""
    if message.headers and message.headers.get(api.Header.STATUS.value) == api.StatusCode.SERVICE_UNAVAILABLE.value:
        raise nats.js.errors.NoStreamResponseError
    answer = json.loads(message.data)
    if "error" in answer:
        nats.js.errors.APIError.from_error(answer["error"])

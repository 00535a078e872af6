"""The kernel of a run, and a client of it that cannot miss the reply of a cell.

A cell with an output widget, as a progress bar has, makes nbclient send on the shell channel while it waits there for
the cell's reply. libzmq tells of a message once, and a send beside the wait may take that: the reply then lies there
and nobody looks (nbclient's issue #312). So the channel here looks again each second.
"""

import math
import time
from queue import Empty
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.manager import AsyncKernelManager
from traitlets import Type

_LOOK_AGAIN_S = 1.0


class ShellChannel(AsyncZMQSocketChannel):
    """A shell channel that looks for messages it was not told of."""

    async def get_msg(self, timeout: float | None = None) -> dict[str, Any]:  # noqa: ASYNC109 -- overrides
        """Return the next message; raises queue.Empty when none came within `timeout` seconds (None: wait for one)."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            try:
                return await super().get_msg(max(0.0, min(left, _LOOK_AGAIN_S)))
            except Empty:
                if left <= _LOOK_AGAIN_S:
                    raise


class KernelClient(AsyncKernelClient):
    """A client whose shell channel misses nothing."""

    shell_channel_class = Type(ShellChannel)


class KernelManager(AsyncKernelManager):
    """A manager of kernels whose clients miss nothing."""

    client_factory = Type(klass=KernelClient, config=True)

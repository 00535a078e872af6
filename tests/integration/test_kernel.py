"""The client of a run's kernel, on real sockets."""

import asyncio
import time

import zmq.asyncio
from jupyter_client.session import Session

from quantai.notebook.kernel import KernelManager, ShellChannel


def test_a_reply_is_read_though_a_send_took_the_word_of_its_arrival() -> None:
    """As nbclient does for a cell with an output widget: it sends while it waits for the reply."""

    async def talk() -> dict[str, object]:
        session = Session(key=b"key")
        with zmq.Context() as blocking, zmq.asyncio.Context() as context:
            kernel, socket = blocking.socket(zmq.ROUTER), context.socket(zmq.DEALER)
            socket.connect(f"tcp://127.0.0.1:{kernel.bind_to_random_port('tcp://127.0.0.1')}")
            channel = ShellChannel(socket, session)
            try:
                session.send(socket, "execute_request")
                address = kernel.recv_multipart()[0]
                reply = asyncio.create_task(channel.get_msg())
                await asyncio.sleep(0.2)  # it waits
                session.send(kernel, "execute_reply", ident=address)
                time.sleep(0.2)  # noqa: ASYNC251 -- the reply arrives, and the loop has not looked
                session.send(socket, "comm_msg")
                async with asyncio.timeout(30):
                    return await reply
            finally:
                channel.close()
                kernel.close(linger=0)

    assert asyncio.run(talk())["msg_type"] == "execute_reply"


def test_the_clients_of_a_run_have_that_channel() -> None:
    assert KernelManager().client().shell_channel_class is ShellChannel

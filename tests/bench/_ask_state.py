"""Somebody who asks a service for its state at an even rate, from another process, once for each line on stdin.

Answers each line with one: when it began (ns on the steady clock) and how long each answer took, ms.
"""

import asyncio
import json
import os
import sys
import time


async def ask(address: str, key: str, rate: float, seconds: float, connections: int) -> tuple[int, list[float]]:
    host, _, port = address.removeprefix("http://").partition(":")
    line = f"GET /state HTTP/1.1\r\nHost: {host}:{port}\r\nX-API-Key: {key}\r\n\r\n".encode()
    took: list[float] = []
    start = time.monotonic() + 0.2

    async def one(k: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for n in range(k, int(rate * seconds), connections):
            due = start + n / rate
            if (ahead := due - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            writer.write(line)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            took.append((time.monotonic() - due) * 1e3)
        writer.close()

    await asyncio.gather(*(one(k) for k in range(connections)))
    return int(start * 1e9), took


if __name__ == "__main__":
    os.nice(5)  # it stands for clients on other machines
    address, key, *figures = sys.argv[1:]
    for _ in sys.stdin:
        asked = asyncio.run(ask(address, key, float(figures[0]), float(figures[1]), int(figures[2])))
        print(json.dumps(asked), flush=True)

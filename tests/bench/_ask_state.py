"""Somebody who asks a service for its state at an even rate, from another process."""

import asyncio
import json
import os
import sys
import time


async def ask(address: str, key: str, rate: float, seconds: float, connections: int) -> list[float]:
    host, _, port = address.removeprefix("http://").partition(":")
    line = f"GET /state HTTP/1.1\r\nHost: {host}:{port}\r\nX-API-Key: {key}\r\n\r\n".encode()
    took: list[float] = []
    start = time.perf_counter() + 0.2

    async def one(k: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        for n in range(k, int(rate * seconds), connections):
            due = start + n / rate
            if (ahead := due - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            writer.write(line)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"http/1.1 200"), head
            await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            took.append((time.perf_counter() - due) * 1e3)
        writer.close()

    await asyncio.gather(*(one(k) for k in range(connections)))
    return took


if __name__ == "__main__":
    os.nice(5)  # it stands for clients on other machines
    address, key, *figures = sys.argv[1:]
    print(json.dumps(asyncio.run(ask(address, key, float(figures[0]), float(figures[1]), int(figures[2])))))

"""`quantai deploy`: the files that run a promoted version elsewhere."""

from pathlib import Path
from typing import Annotated, Any

import typer

from quantai.cli.output import Json, emit

EXAMPLES = """
quantai deploy --target compose --out deploy btc-cross
quantai deploy --target kubernetes --out k8s --mode live btc-cross:20260102t030405-0a1b2c3d
quantai deploy --target systemd --out . --port 3001 btc-cross
quantai deploy --target grafana --out monitoring btc-cross
"""


def deploy(
    what: Annotated[str, typer.Argument(help="NAME (its champion), NAME:challenger or NAME:VERSION.")],
    target: Annotated[str, typer.Option(help="container, compose, kubernetes, systemd or grafana.")],
    out: Annotated[Path, typer.Option(help="The folder to write to.")],
    mode: Annotated[str, typer.Option(help="shadow, paper (live rows, simulated orders) or live.")] = "paper",
    venue: Annotated[str, typer.Option(help="The venue [default: that of the data it was promoted on].")] = "",
    symbols: Annotated[str, typer.Option(help="What to trade, separated by commas [default: as promoted].")] = "",
    interval: Annotated[str, typer.Option(help="Length of bars [default: as promoted].")] = "",
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Use the venue's test network.")] = False,
    cash: Annotated[float, typer.Option(help="What a paper account starts with.")] = 100_000.0,
    lake: Annotated[str, typer.Option(help="Warm up from this lake, as a path over there.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the API answers.")] = 3000,
    image: Annotated[str, typer.Option(help="Name of the image [default: quantai/NAME:VERSION].")] = "",
    bento: Annotated[bool, typer.Option(help="Write NAME.bento, the version with its code, for a container.")] = True,
    json: Json = False,
) -> None:
    """Write filled-in files that run a promoted version in a container, in a cluster or under systemd, and watch it.

    No secret is in any file: they say from where each is taken. A file that is there and differs is never overwritten.
    """
    from quantai.notebook.deploy import deploy as write
    from quantai.notebook.deploy.fields import Wanted, secrets_of

    wanted: dict[str, Any] = {
        "mode": mode, "venue": venue, "symbols": tuple(s.strip() for s in symbols.split(",") if s.strip()),
        "interval": interval, "sandbox": sandbox, "cash": cash, "lake": lake, "port": port, "image": image,
    }  # fmt: skip
    made = write(what, target, out, bento=bento, **wanted)
    emit({"target": target, "files": made, "secrets": secrets_of(Wanted(**wanted), venue or "VENUE")}, json)

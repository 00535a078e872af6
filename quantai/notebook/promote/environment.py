"""The environment lock: the exact packages a version was promoted with."""

import platform
import re
from importlib.metadata import PackageNotFoundError, distribution

_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*")


def environment_lock(root: str = "quantai", extras: tuple[str, ...] = ("live", "serve")) -> str:
    """Return the installed version of `root` and everything it needs, one `name==version` a line.

    >>> "numba==" in environment_lock()
    True
    """
    found: dict[str, str] = {}
    open_ = [(root, extras)]
    while open_:
        name, wanted = open_.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in found:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:  # an extra that is not installed here
            continue
        found[key] = package.version
        for line in package.requires or ():
            marker = line.partition(";")[2]
            if "extra" in marker and not any(f"'{e}'" in marker or f'"{e}"' in marker for e in wanted):
                continue
            if (match := _NAME.match(line)) is not None:
                open_.append((match.group(), ()))
    lines = [f"{name}=={version}" for name, version in sorted(found.items())]
    return f"# python {platform.python_version()} on {platform.machine()}\n" + "\n".join(lines) + "\n"

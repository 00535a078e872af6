"""What every room may use and none owns.

- `files`: files that outlive a power cut: `durable`, `sync_folder`, `make_folder`; `followed`, what a link names
- `bar`: `progress`, the bar that long work shows
- `compiling`: `announced`, which says when machine code is made
- `clock`: `SteadyClock`, which nobody can set
- `config`: `settings`, from defaults, files and the environment; `origins` tells which
- `secrets`: keys from the environment or the system's keyring
"""

from quantai.ops.bar import progress
from quantai.ops.files import durable, followed, make_folder, sync_folder

__all__ = ["durable", "followed", "make_folder", "progress", "sync_folder"]

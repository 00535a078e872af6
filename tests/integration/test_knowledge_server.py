"""Two processes share a store through a Chroma server; it is the compiled one, on this machine."""

import gc
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import quantai as qa
from quantai.knowledge import Knowledge
from quantai.knowledge.store import Store
from tests.knowledge_setting import HashEmbedder, write_notes

OTHER = """
import sys
from quantai.knowledge import Knowledge
from tests.knowledge_setting import HashEmbedder
with Knowledge(sys.argv[1], embedding=HashEmbedder(), server=sys.argv[2]) as kb:
    print(len(kb.list()), kb.add(sys.argv[3], quiet=True).added)
"""


# chromadb 1.5 keeps connections of its own to a server open until they are collected: let that happen within the test
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def collect() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("chroma")
    command = [program, "run", "--path", tmp_path_factory.mktemp("chroma"), "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=60).close()
                break
            except OSError:
                assert running.poll() is None, "the server ended by itself"
                assert time.monotonic() < deadline, "the server did not answer"
                time.sleep(0.1)
        yield url
        running.terminate()


def test_two_processes_share_a_store(server: str, tmp_path: Path) -> None:
    first, second = write_notes(tmp_path / "notes", 2)
    with Knowledge(tmp_path / "store", embedding=HashEmbedder(), server=server) as kb:
        kb.add(first, quiet=True)
        command = [sys.executable, "-c", OTHER, str(tmp_path / "store"), server, str(second)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        assert ran.stdout.split() == ["1", "1"]
        assert kb.search("kill switch halts trading", stage="dense")[0].source == str(second)
        assert kb.search("kill switch halts trading", stage="bm25")[0].source == str(second)
        rows = kb._store.manifest.rows("SELECT id FROM chunks")
        assert kb._store.index.ids("default") == {row["id"] for row in rows}


def test_a_server_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(qa.StorageError, match="vector index"):
        Knowledge(tmp_path / "store", embedding=HashEmbedder(), server="http://127.0.0.1:9")
    with pytest.raises(qa.InputError, match="it must look like http"):
        Knowledge(tmp_path / "store", embedding=HashEmbedder(), server="localhost")


def test_stores_at_one_server_are_told_apart_and_one_may_move_there_and_back(server: str, tmp_path: Path) -> None:
    risk, data = write_notes(tmp_path / "notes", 3)[1:]
    here, there = tmp_path / "here", tmp_path / "there"
    asked = "kill switch halts trading"

    def nearest(kb: Knowledge) -> str:
        return kb.search(asked, 1, stage="dense")[0].source

    with Knowledge(here, embedding=HashEmbedder()) as kb:
        kb.add(risk, quiet=True)
    with Knowledge(there, embedding=HashEmbedder(), server=server) as kb:
        kb.add(data, quiet=True)
    embedder = HashEmbedder()
    with Knowledge(here, embedding=embedder, server=server) as kb:  # the same ids, another store
        assert embedder.asked == 0, "its vectors are in the manifest"
        assert nearest(kb) == str(risk)
        with Knowledge(there, embedding=HashEmbedder(), server=server) as other:
            assert nearest(other) == str(data)
        kb.add(data, quiet=True)
    with Knowledge(here, embedding=HashEmbedder()) as kb:
        assert {hit.source for hit in kb.search(asked, 9, stage="dense")} == {str(risk), str(data)}


def test_vectors_of_two_models_are_never_mixed(server: str, tmp_path: Path) -> None:
    risk, data = write_notes(tmp_path / "notes", 3)[1:]
    store = tmp_path / "store"
    with Knowledge(store, embedding=HashEmbedder(), server=server) as kb:
        kb.add(risk, quiet=True)
        store_of_another_process = Store(store.resolve(), HashEmbedder(name="hash-2"), server)
        with pytest.raises(qa.StorageError, match="embedded it again with hash-2"):
            kb.add(data, quiet=True)
        hits = kb.search("kill switch halts trading")
        assert hits[0].source == str(risk)
        assert "embedded it again with hash-2" in hits.notes[0]
        store_of_another_process.close()

"""What the tests of the knowledge base share: an embedder that needs no model, and documents made from a seed."""

import hashlib
from pathlib import Path

import numpy as np

from quantai.knowledge.words import words

TOPICS = {
    "fills": "limit order fills when the price trades through its level and the queue ahead is consumed",
    "risk": "the kill switch halts trading and cancels every open order when losses exceed the limit",
    "data": "the lake stores trades and quotes as parquet files partitioned by venue symbol and date",
    "stats": "the deflated sharpe ratio corrects for the number of trials and the skew of returns",
    "costs": "maker and taker fees are charged on each execution and funding is paid every eight hours",
}


class HashEmbedder:
    """Vectors from hashed words: texts with common words are near. Deterministic, and there without a model."""

    def __init__(self, size: int = 64, name: str = "hash-1") -> None:
        self.size, self.name, self.asked = size, name, 0

    def embed(self, texts: list[str]) -> np.ndarray:
        self.asked += len(texts)
        out = np.zeros((len(texts), self.size), np.float32)
        for row, text in zip(out, texts, strict=True):
            for word in words(text) or ["nothing"]:
                digest = hashlib.sha256(word.encode()).digest()
                row[digest[0] % self.size] += 1 if digest[1] % 2 else -1
            if not row.any():
                row[0] = 1
        return out / np.linalg.norm(out, axis=1, keepdims=True)


def write_notes(folder: Path, count: int = 5) -> list[Path]:
    """Write Markdown files on TOPICS into `folder`, one topic each in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(TOPICS)
    paths = [folder / f"note{number:04}.md" for number in range(count)]
    for number, path in enumerate(paths):
        topic = names[number % len(names)]
        path.write_text(f"# Note {number} on {topic}\n\n{TOPICS[topic]}\n\n## Remarks\n\nNumber {number} of {topic}.\n")
    return paths

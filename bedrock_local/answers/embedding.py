"""Compare texts by meaning with WordLlama's static vectors, when that package is there."""

import importlib
import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

from bedrock_local.answers.memory import Memory, digest
from bedrock_local.answers.words import plain

_LOADING = Lock()
_vectors: Memory[Any] = Memory(bound=32)


@lru_cache(maxsize=1)
def _load() -> Any:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        package = importlib.import_module("wordllama")
    except ImportError:
        return None
    finally:  # importing it configures the logging of the whole process
        root.handlers[:] = handlers
        root.setLevel(level)
    folder = Path(str(package.__file__)).parent  # the weights lie inside the wheel; nothing is downloaded
    return package.WordLlama.load(cache_dir=folder, disable_download=True)


def word_vectors() -> Any:
    """Return WordLlama's model, loaded once per process, or `None` where the package is not installed."""
    with _LOADING:
        return _load()


def _embed(texts: Sequence[str]) -> Any:
    return word_vectors().embed([plain(text).strip() or "-" for text in texts], norm=True)


def similarities(query: str, texts: Sequence[str]) -> list[float] | None:
    """Return the cosine of the query with each text, or None when WordLlama is not installed."""
    if word_vectors() is None or not texts:
        return None
    vectors = _vectors.get(digest(*texts), lambda: _embed(texts))
    return [float(value) for value in vectors @ _embed([query])[0]]


def similarities_to_centre(texts: Sequence[str]) -> list[float] | None:
    """Return how near each text is to what all of them are about, or None without WordLlama."""
    if word_vectors() is None or not texts:
        return None
    vectors = _vectors.get(digest(*texts), lambda: _embed(texts))
    return [float(value) for value in vectors @ vectors.mean(axis=0)]

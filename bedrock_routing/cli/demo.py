"""The demo: five questions over the three guides that come with the package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bedrock_routing.errors import ConfigurationError

__all__ = ["QUESTIONS", "guides"]

_HARD = """
A support desk has forty thousand articles that change every day, each answer must cite its article, and the
tone must be fixed. Compare retrieval, fine-tuning and an agent, and say in which order to build what.
"""

QUESTIONS: Sequence[tuple[str, Sequence[str]]] = (
    (
        "Three questions over the same guides: the first writes them to the cache, the others read them.",
        (
            "What happens to a prefix that is below the model's minimum?",
            "When should I choose retrieval and when fine-tuning?",
            "Which service reads invoices and receipts from scans, and what does it return?",
        ),
    ),
    (
        "An easy question and a hard one: the router picks the model; each model has a cache of its own.",
        ("Which AWS service turns text into speech?", " ".join(_HARD.split())),
    ),
)
"""Each answer stands in the guides; by the local router's measure only the last question is hard."""


def guides() -> list[Path]:
    """Return the guides' files: from the installed package, or from the source tree."""
    installed = Path(__file__).with_name("guides")
    source = Path(__file__).parents[2] / "examples" / "documents"
    for folder in (installed, source):
        if found := sorted(folder.glob("*.pdf")):
            return found
    raise ConfigurationError(
        "The demo's documents are missing from this installation; install the wheel again."
    )

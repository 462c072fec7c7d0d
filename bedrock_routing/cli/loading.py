"""Read what the user named, with a progress bar where it takes long."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langchain_core.documents import Document
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bedrock_routing.cli.reading import find_files, read_files

__all__ = ["load", "progress"]

_LONG = 5
"""Files from which on a bar is shown."""


def load(paths: Sequence[Path], console: Console) -> tuple[Document, ...]:
    """Return the documents; files that cannot be read are named on the console and left out."""
    files = find_files(paths)
    with progress(console, shown=len(files) > _LONG) as bar:
        task = bar.add_task("reading", total=len(files))
        reading = read_files(paths, on_progress=lambda done, _total, _file: bar.update(task, completed=done))
    for problem in reading.problems:
        console.print(f"left out: {problem.reason}", markup=False)
    return reading.documents


def progress(console: Console, *, shown: bool) -> Progress:
    """Return a progress bar that disappears when it is done; where nobody watches, none is drawn."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))

"""Files and folders as LangChain documents, with a clear sentence for each one that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from langchain_core.documents import Document

from bedrock_routing.cli.formats import READERS, read_unknown
from bedrock_routing.cli.pages import Content, Page, ReadingError

__all__ = ["Page", "Problem", "Reading", "ReadingError", "find_files", "read_file", "read_files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Name a file that was not read, or not read whole, and say why and what to do."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Hold what could be read and what could not."""

    documents: tuple[Document, ...]
    problems: tuple[Problem, ...] = ()


def find_files(paths: Sequence[Path]) -> list[Path]:
    """Return the files that the paths stand for, each once, folders searched recursively and in sorted order.

    Hidden files and folders inside a folder are skipped. A file named itself is taken whatever its ending.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        for file in _files_of(path):
            found.setdefault(file.resolve(), file)
    return list(found.values())


def read_file(path: Path) -> list[Document]:
    """Read one file: a document for each PDF page that has text, one document for any other kind."""
    return [_document(page) for page in _read(path).pages]


def read_files(
    paths: Sequence[Path], *, on_progress: Callable[[int, int, Path], None] | None = None
) -> Reading:
    """Read all files that the paths stand for; a bad file becomes a problem and the others go on.

    `on_progress` gets the number of files done, the number of all files and the file in hand, before each
    file and once more when all are done.
    """
    files = find_files(paths)
    documents: list[Document] = []
    problems: list[Problem] = []
    for done, file in enumerate(files):
        if on_progress:
            on_progress(done, len(files), file)
        try:
            content = _read(file)
        except ReadingError as error:
            problems.append(Problem(path=file, reason=str(error)))
            continue
        documents += [_document(page) for page in content.pages]
        if content.remark:
            problems.append(Problem(path=file, reason=content.remark))
    if on_progress and files:
        on_progress(len(files), len(files), files[-1])
    if not documents:
        reasons = [problem.reason for problem in problems] or ["Name at least one file or folder."]
        raise ReadingError("\n".join(["There is nothing to read.", *reasons]))
    return Reading(documents=tuple(documents), problems=tuple(problems))


def _document(page: Page) -> Document:
    known: dict[str, Any] = {"source": page.source, "page": page.page, "title": page.title}
    metadata = {name: value for name, value in known.items() if value is not None}
    return Document(page_content=page.text, metadata=metadata)


def _files_of(path: Path) -> list[Path]:
    if path.is_dir():
        return _files_in(path)
    if path.is_file():
        return [path]
    if path.exists():
        raise ReadingError(
            f"{path} is neither a file nor a folder. Save its content to a file and name that one."
        )
    raise ReadingError(f"{path} does not exist. Check its spelling and the folder that you are in.")


def _files_in(folder: Path) -> list[Path]:
    found: list[Path] = []
    for root, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        visible = [Path(root, name) for name in names if not name.startswith(".")]
        found += [file for file in visible if file.suffix.lower() in READERS and file.is_file()]
    if not found:
        endings = ", ".join(READERS)
        raise ReadingError(f"{folder} holds no file that can be read. Files that can end in {endings}.")
    return sorted(found)


def _refuse_folder(error: OSError) -> None:
    raise ReadingError(f"{error.filename} cannot be opened: {error.strerror}. {_remedy(error)}") from error


def _read(path: Path) -> Content:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ReadingError(f"{path} cannot be opened: {error.strerror}. {_remedy(error)}") from error
    if not data.strip():
        raise ReadingError(f"{path} is empty. Name a file with content, or leave it out.")
    content = READERS.get(path.suffix.lower(), read_unknown)(path, data)
    if not any(page.text for page in content.pages):
        raise ReadingError(f"{path} has no text in it. Name a file with content, or leave it out.")
    return content


_REMEDIES: Final[Mapping[type[OSError], str]] = {
    PermissionError: "Give yourself permission to read it, or leave it out.",
    FileNotFoundError: "It is a link to nothing, or was just removed.",
}


def _remedy(error: OSError) -> str:
    return _REMEDIES.get(type(error), "Check it and try again.")

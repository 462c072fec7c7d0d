import io
import logging
import os
import re
from pathlib import Path

import pytest
from pypdf import PdfReader, PdfWriter
from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject, NumberObject

from bedrock_routing.cli.reading import ReadingError, find_files, read_file, read_files
from bedrock_routing.errors import BedrockRoutingError

GUIDES = Path(__file__).resolve().parents[2] / "examples" / "documents"


def pdf(
    *pages: str | None, title: str | None = None, password: str | None = None, bookmark: str | None = None
) -> bytes:
    """Make a PDF with these texts, one to a page; a page of None holds an image and no text."""
    writer = PdfWriter()
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    image = DecodedStreamObject()
    image.set_data(b"\x00")
    image.update(
        {
            NameObject("/Type"): NameObject("/XObject"),
            NameObject("/Subtype"): NameObject("/Image"),
            NameObject("/Width"): NumberObject(1),
            NameObject("/Height"): NumberObject(1),
            NameObject("/BitsPerComponent"): NumberObject(8),
            NameObject("/ColorSpace"): NameObject("/DeviceGray"),
        }
    )
    for text in pages:
        page = writer.add_blank_page(300, 300)
        resources = DictionaryObject({NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})})
        if text is None:
            resources[NameObject("/XObject")] = DictionaryObject(
                {NameObject("/I1"): writer._add_object(image)}
            )
        page[NameObject("/Resources")] = resources
        lines = "".join(f"({line}) Tj T* " for line in (text or "").split("\n"))
        stream = DecodedStreamObject()
        stream.set_data(f"BT /F1 12 Tf 14 TL 20 250 Td {lines}ET".encode() if text else b"q /I1 Do Q")
        page[NameObject("/Contents")] = writer._add_object(stream)
    if title:
        writer.add_metadata({"/Title": title})
    if bookmark:
        writer.add_outline_item(title=bookmark, page_number=0)
    if password is not None:
        writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def written(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- finding ---------------------------------------------------------------------------------------------


def test_a_folder_gives_its_readable_files_in_sorted_order_without_hidden_ones(tmp_path: Path) -> None:
    """A folder stands for the readable files in it and below it, sorted, without anything hidden."""
    for name in ("b.md", "a.PDF", "sub/c.html", ".hidden.md", ".git/d.md", "picture.png"):
        written(tmp_path / name, "x")

    assert find_files([tmp_path]) == [tmp_path / "a.PDF", tmp_path / "b.md", tmp_path / "sub" / "c.html"]


def test_a_file_that_is_named_twice_is_found_once(tmp_path: Path) -> None:
    """A file that is named, and lies in a folder that is named too, is read once."""
    file = written(tmp_path / "a.md", "x")

    assert find_files([file, tmp_path, tmp_path / "." / "a.md"]) == [file]


def test_a_missing_path_is_named_in_the_error(tmp_path: Path) -> None:
    """A path that does not exist is refused with its name and what to check."""
    with pytest.raises(ReadingError, match=r"nowhere\.pdf does not exist\. Check its spelling"):
        find_files([tmp_path / "nowhere.pdf"])


def test_a_folder_without_readable_files_names_the_endings(tmp_path: Path) -> None:
    """A folder with nothing to read is refused with the endings that would do."""
    written(tmp_path / "picture.png", "x")

    with pytest.raises(ReadingError, match=r"\.pdf, \.md, \.markdown, \.html, \.htm, \.txt, \.rst"):
        find_files([tmp_path])


def test_a_pipe_is_neither_file_nor_folder(tmp_path: Path) -> None:
    """A named pipe is refused instead of being waited for."""
    os.mkfifo(tmp_path / "pipe.txt")

    with pytest.raises(ReadingError, match="neither a file nor a folder"):
        find_files([tmp_path / "pipe.txt"])


def test_a_reading_error_is_caught_as_an_error_of_the_project_and_as_a_value_error() -> None:
    """Callers can catch a reading error by the project's base class or as a ValueError."""
    assert issubclass(ReadingError, BedrockRoutingError)
    assert issubclass(ReadingError, ValueError)


# --- text ------------------------------------------------------------------------------------------------


def test_markdown_keeps_its_lines_and_gets_its_first_heading_as_title(tmp_path: Path) -> None:
    """Markdown is read line by line as written, and its first heading is the title."""
    file = written(
        tmp_path / "a.md", '# A \\- title<a name="t"></a>\r\n\r\n\r\n\r\n    code  here   \r\nend\n'
    )

    (document,) = read_file(file)

    assert document.metadata == {"source": str(file), "title": "A - title"}
    assert document.page_content == '# A \\- title<a name="t"></a>\n\n    code  here\nend'


def test_an_underlined_title_is_found(tmp_path: Path) -> None:
    """The title of reStructuredText is the first line that is underlined."""
    (document,) = read_file(written(tmp_path / "a.rst", "Routers\n=======\n\nText.\n"))

    assert document.metadata["title"] == "Routers"


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_a_text_is_read_in_the_encoding_it_was_written_in(tmp_path: Path, codec: str) -> None:
    """UTF-8, marked UTF-16 and UTF-32, and Latin-1 texts all give the same characters."""
    text = "Où est le “modèle” qui répond à la question?"

    (document,) = read_file(written(tmp_path / "a.txt", text.encode(codec)))

    assert document.page_content == text


@pytest.mark.parametrize(
    "junk",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
        bytes(range(128, 256)) * 4,
        b"\x01\x02\x03\x04abc",
        b"a\x00b\x00c\x00",
    ],
)
def test_binary_junk_with_the_ending_of_text_is_refused(tmp_path: Path, junk: bytes) -> None:
    """Bytes that are no writing are refused whatever the ending says, with what to do."""
    with pytest.raises(ReadingError, match=r"junk\.txt does not hold text.*Save it as UTF-8"):
        read_file(written(tmp_path / "junk.txt", junk))


def test_an_unknown_ending_is_read_if_it_is_clean_utf_8(tmp_path: Path) -> None:
    """A file of an unknown ending that holds UTF-8 text is read, any other is refused with the endings."""
    (document,) = read_file(written(tmp_path / "notes.log", "14:02 router chose Nova Lite"))

    assert document.page_content == "14:02 router chose Nova Lite"
    with pytest.raises(ReadingError, match=r"old\.log is not a kind of file.*Convert it to one of \.pdf"):
        read_file(written(tmp_path / "old.log", "modèle".encode("latin-1")))


@pytest.mark.parametrize("content", [b"", b" \n\t\n", b"\xef\xbb\xbf"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file without a single character to read is refused, not passed on as an empty document."""
    with pytest.raises(ReadingError, match=r"a\.md"):
        read_file(written(tmp_path / "a.md", content))


def test_a_lone_surrogate_cannot_break_the_request(tmp_path: Path) -> None:
    """Text that comes out can always be encoded as UTF-8."""
    file = written(tmp_path / "a.html", "<p>before &#xD83D; after</p>")

    (document,) = read_file(file)

    assert document.page_content.encode("utf-8").startswith(b"before")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    """A file that may not be read is refused with the advice to change that."""
    file = written(tmp_path / "a.md", "secret")
    file.chmod(0)

    with pytest.raises(ReadingError, match="Give yourself permission"):
        read_file(file)


def test_a_permission_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever denies permission, the sentence names the file and the remedy."""

    def deny(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", deny)

    with pytest.raises(
        ReadingError, match=r"a\.md cannot be opened: Permission denied\. Give yourself permission"
    ):
        read_file(tmp_path / "a.md")


# --- HTML ------------------------------------------------------------------------------------------------

PAGE = """<html><head><title>Routers
 in brief</title><style>p {}</style><script>track()</script></head><body><nav>Home</nav>
<h1>Prompt <b>routers</b></h1><p>One of
two models<br>answers.</p>
<ul><li>cheap</li><li>dear</li></ul>
<table><tr><th>Model</th><th>Caches</th></tr><tr><td>Nova <i>Lite</i></td><td><p>yes</p></td></tr></table>
<pre>if easy:
    lite()</pre></body></html>"""


def test_html_keeps_headings_lists_tables_and_code_as_lines(tmp_path: Path) -> None:
    """HTML becomes lines: marked headings, list items, table rows with bars, code as it stands."""
    (document,) = read_file(written(tmp_path / "a.html", PAGE))

    assert document.metadata["title"] == "Routers in brief"
    assert document.page_content.split("\n") == [
        *("# Prompt routers", "", "One of two models", "answers.", "", "- cheap", "- dear", ""),
        *("Model | Caches", "Nova Lite | yes", "", "if easy:", "    lite()"),
    ]


def test_html_nested_without_end_is_read(tmp_path: Path) -> None:
    """A page with more levels than Python has stack frames is read."""
    (document,) = read_file(written(tmp_path / "a.html", "<div>" * 2000 + "deep" + "</div>" * 2000))

    assert document.page_content == "deep"


def test_html_is_read_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    """The charset that a page declares is the one it is read in."""
    page = '<meta charset="iso-8859-2"><p>Łódź</p>'.encode("iso-8859-2")

    (document,) = read_file(written(tmp_path / "a.htm", page))

    assert document.page_content == "Łódź"


# --- PDF -------------------------------------------------------------------------------------------------


def test_each_pdf_page_with_text_is_a_document(tmp_path: Path) -> None:
    """Every page that has text becomes a document with its number, from 1, and the title of the file."""
    file = written(tmp_path / "a.pdf", pdf("first  page", "", "third page", title="A guide"))

    documents = read_file(file)

    assert [(d.page_content, d.metadata["page"], d.metadata["title"]) for d in documents] == [
        ("first page", 1, "A guide"),
        ("third page", 3, "A guide"),
    ]
    assert {d.metadata["source"] for d in documents} == {str(file)}


def test_a_bookmark_marks_its_heading(tmp_path: Path) -> None:
    """A line of a PDF that a bookmark leads to is marked as a heading, and no other line is."""
    file = written(tmp_path / "a.pdf", pdf("Limits\nFour points.", "Limits", bookmark="Limits"))

    assert [document.page_content for document in read_file(file)] == ["# Limits\n\nFour points.", "Limits"]


def test_an_encrypted_pdf_is_refused_and_one_without_user_password_is_read(tmp_path: Path) -> None:
    """A PDF that asks for a password is refused; one that anyone can open is read."""
    (document,) = read_file(written(tmp_path / "open.pdf", pdf("readable", password="")))

    assert document.page_content == "readable"
    with pytest.raises(ReadingError, match=r"shut\.pdf is encrypted\. Save a copy without its password"):
        read_file(written(tmp_path / "shut.pdf", pdf("secret", password="secret")))


def test_a_scanned_pdf_asks_for_ocr(tmp_path: Path) -> None:
    """A PDF without a text layer is refused with the advice to run OCR."""
    with pytest.raises(ReadingError, match=r"scan\.pdf has no text layer.*Run OCR"):
        read_file(written(tmp_path / "scan.pdf", pdf(None, None)))


def test_scanned_pages_among_others_are_reported(tmp_path: Path) -> None:
    """A PDF that is scanned in part is read, and the pages that are missing are named as a problem."""
    file = written(tmp_path / "half.pdf", pdf("text", None, "more", None))

    reading = read_files([file])

    assert [document.metadata["page"] for document in reading.documents] == [1, 3]
    assert [problem.path for problem in reading.problems] == [file]
    assert "page 2, 4" in reading.problems[0].reason


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.98])
def test_a_truncated_pdf_is_refused(tmp_path: Path, share: float) -> None:
    """A PDF that was cut anywhere is refused with the advice to get it again, not read in part."""
    whole = pdf("some text", "more text")

    with pytest.raises(ReadingError, match=r"cut\.pdf is not a whole PDF .*Download or export it again"):
        read_file(written(tmp_path / "cut.pdf", whole[: int(len(whole) * share)]))


def test_junk_with_the_ending_of_a_pdf_is_refused_without_a_word_on_stderr(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bytes that are no PDF are refused with one sentence, and the parser's own remarks stay silent."""
    with pytest.raises(ReadingError, match=r"junk\.pdf is not a whole PDF.*again"):
        read_file(written(tmp_path / "junk.pdf", b"%PDF-1.7\nnot really" + os.urandom(500)))

    assert capfd.readouterr().err == ""
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("pypdf").handlers)


# --- many files ------------------------------------------------------------------------------------------


def test_a_bad_file_is_a_problem_and_the_others_go_on(tmp_path: Path) -> None:
    """A file that cannot be read is reported with its reason, and all the others are read."""
    written(tmp_path / "a.md", "one")
    bad = written(tmp_path / "b.pdf", b"no pdf")
    written(tmp_path / "c.txt", "three")

    reading = read_files([tmp_path])

    assert [document.page_content for document in reading.documents] == ["one", "three"]
    assert [problem.path for problem in reading.problems] == [bad]


def test_nothing_readable_is_an_error_with_every_reason(tmp_path: Path) -> None:
    """If no file could be read, the error holds the reason of each."""
    written(tmp_path / "a.md", "")
    written(tmp_path / "b.pdf", b"no pdf")

    with pytest.raises(
        ReadingError, match=r"nothing to read(.|\n)*a\.md is empty(.|\n)*b\.pdf is not a whole PDF"
    ):
        read_files([tmp_path])
    with pytest.raises(ReadingError, match="Name at least one file"):
        read_files([])


def test_progress_is_told_before_each_file_and_at_the_end(tmp_path: Path) -> None:
    """Progress names each file before it is read and ends with all files done, bad ones too."""
    first, second = written(tmp_path / "a.md", "one"), written(tmp_path / "b.md", "")
    told: list[tuple[int, int, Path]] = []

    read_files([first, second], on_progress=lambda *step: told.append(step))

    assert told == [(0, 2, first), (1, 2, second), (2, 2, second)]


# --- the guides ------------------------------------------------------------------------------------------


def test_the_guides_give_headings_and_table_rows() -> None:
    """Each guide is read with its title, its headings marked, and each row of a table on one line."""
    reading = read_files([GUIDES / "bedrock-sagemaker-or-an-ai-service.pdf"])
    text = "\n".join(document.page_content for document in reading.documents)

    assert reading.problems == ()
    assert reading.documents[0].metadata["title"] == "Bedrock, SageMaker AI or a Purpose-Built AI Service"
    assert "\n## 7. What this guide does not say\n" in text
    assert "\nTurn text into speech | Amazon Polly | Audio, and marks for words\n" in text


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.pdf")), ids=lambda guide: guide.stem)
def test_a_guide_says_what_its_source_says(guide: Path) -> None:
    """Every paragraph, item and cell of a guide's source stands in its PDF."""
    source = (GUIDES / "src" / f"{guide.stem}.md").read_text(encoding="utf-8").replace("`", "")
    pages = " ".join(" ".join(page.extract_text().split()) for page in PdfReader(guide).pages)
    title = source.split("\n")[0].removeprefix("# ")
    shown = re.sub(rf" {re.escape(title)}, page \d", "", pages)

    pieces = [piece.strip(" #-") for line in source.split("\n") for piece in line.split("|")]

    assert len(pieces) > 100
    assert [piece for piece in pieces if piece not in shown] == []

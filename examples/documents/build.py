"""Build the three decision guides as PDFs from their Markdown sources: `python build.py`.

No dates, no random ids and no compression go into the output, so a second build gives the same bytes.
Of Markdown it knows what the guides use: three levels of headings, paragraphs, lists, tables, bold and code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any, Final

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_LEFT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import simpleSplit
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageTemplate, Paragraph, Spacer

HERE: Final = Path(__file__).resolve().parent
INK, ACCENT, RULE, SHADE = (HexColor(color) for color in ("#1f2933", "#0b5563", "#c5ced6", "#eef3f5"))
MARGIN: Final = 17 * mm
BODY: Final = ParagraphStyle(
    "body", fontName="Helvetica", fontSize=9.2, leading=12.2, textColor=INK, spaceAfter=5, alignment=TA_LEFT
)
STYLES: Final = {
    "#": ParagraphStyle("h1", BODY, fontName="Helvetica-Bold", fontSize=19, leading=23, textColor=ACCENT),
    "##": ParagraphStyle("h2", BODY, fontName="Helvetica-Bold", fontSize=13, leading=16, spaceBefore=9),
    "###": ParagraphStyle("h3", BODY, fontName="Helvetica-Bold", fontSize=10.5, leading=13, spaceBefore=5),
}
LEAD: Final = ParagraphStyle("lead", BODY, keepWithNext=1)
ITEM: Final = ParagraphStyle("item", BODY, spaceAfter=1.2, leftIndent=10, firstLineIndent=-10)
CELL_SIZE, CELL_LEADING, CELL_PADDING = 8.6, 10.8, 2.5
GAP: Final = 12  # between two columns


class Row(Flowable):
    """Draw one row of a table as one text object, so that a reader of the PDF gets its cells on one line."""

    def __init__(self, cells: list[str], widths: list[float], *, is_head: bool, is_last: bool) -> None:
        super().__init__()
        self.font = "Helvetica-Bold" if is_head else "Helvetica"
        self.lines = [
            simpleSplit(cell, self.font, CELL_SIZE, width - GAP)
            for cell, width in zip(cells, widths, strict=True)
        ]
        self.widths = widths
        self.is_head = is_head
        self.keepWithNext = is_head
        self.spaceBefore = 3 if is_head else 0
        self.spaceAfter = 8 if is_last else 0

    def wrap(self, *_: float) -> tuple[float, float]:
        """Return the size: the highest cell decides."""
        self.width = sum(self.widths)
        self.height = max(map(len, self.lines)) * CELL_LEADING + 2 * CELL_PADDING
        return self.width, self.height

    def draw(self) -> None:
        """Draw the shade and the rules, then the cells with a bar between them."""
        self.canv.setFillColor(SHADE)
        self.canv.rect(0, 0, self.width, self.height, stroke=0, fill=int(self.is_head))
        self.canv.setLineWidth(0.4)
        self.canv.setStrokeColor(ACCENT if self.is_head else RULE)
        self.canv.line(0, 0, self.width, 0)
        text = self.canv.beginText()
        left = 0.0
        for number, (lines, width) in enumerate(zip(self.lines, self.widths, strict=True)):
            top = self.height - CELL_PADDING - CELL_SIZE
            if number:
                text.setTextOrigin(left, top)
                text.setFont("Helvetica", CELL_SIZE)
                text.setFillColor(RULE)
                text.textOut("|")
            text.setFont(self.font, CELL_SIZE, CELL_LEADING)
            text.setFillColor(INK)
            for below, line in enumerate(lines):
                text.setTextOrigin(left + GAP / 2, top - below * CELL_LEADING)
                text.textOut(line)
            left += width
        self.canv.drawText(text)


class Guide(BaseDocTemplate):
    """Lay a guide out on A4 with a footer, and give every heading a bookmark."""

    def __init__(self, target: Path, title: str) -> None:
        super().__init__(
            str(target),
            pagesize=A4,
            title=title,
            author="The bedrock-routing project",
            subject="Decision guide, Apache-2.0",
            invariant=1,
            pageCompression=0,
        )
        frame = Frame(MARGIN, MARGIN, A4[0] - 2 * MARGIN, A4[1] - 2 * MARGIN, 0, 0, 0, 0)
        self.addPageTemplates(PageTemplate(frames=[frame], onPageEnd=self.footer))
        self.headings = 0

    def footer(self, canvas: Canvas, _: Any) -> None:
        """Write the title and the number of the page below its text."""
        canvas.setFont("Helvetica", 7.5)
        canvas.setFillColor(HexColor("#64727e"))
        canvas.drawString(MARGIN, 11 * mm, f"{self.title}, page {canvas.getPageNumber()}")

    def afterFlowable(self, flowable: Flowable) -> None:  # noqa: N802
        """Add the bookmark of a heading that was just drawn."""
        levels = [style.name for style in STYLES.values()]
        name = getattr(getattr(flowable, "style", None), "name", None)
        if isinstance(flowable, Paragraph) and name in levels:
            self.headings += 1
            self.canv.bookmarkPage(f"heading-{self.headings}")
            self.canv.addOutlineEntry(
                flowable.getPlainText(), f"heading-{self.headings}", levels.index(name), closed=False
            )


def blocks(source: str) -> Iterator[list[str]]:
    """Yield the blocks of a Markdown text, each as its lines; empty lines part them."""
    for block in re.split(r"\n\s*\n", source.strip()):
        yield block.split("\n")


def flowables(lines: list[str], *, leads: bool) -> list[Flowable]:
    """Return what one block looks like; `leads` keeps a paragraph on the page of the list that it opens."""
    marks, _, text = lines[0].partition(" ")
    if marks in STYLES:
        return [Paragraph(inline(text), ParagraphStyle(STYLES[marks].name, STYLES[marks], keepWithNext=1))]
    if marks == "-":
        items: list[Flowable] = [Paragraph(f"-&nbsp; {inline(line[2:])}", ITEM) for line in lines]
        return [*items, Spacer(1, 4)]
    if marks == "|":
        return rows(lines)
    return [Paragraph(inline(" ".join(lines)), LEAD if leads else BODY)]


def rows(lines: list[str]) -> list[Flowable]:
    """Return the rows of a table; a column is as wide as its longest cell deserves."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "---" not in line]
    longest = [
        max(stringWidth(cell, "Helvetica-Bold", CELL_SIZE) for cell in column)
        for column in zip(*cells, strict=True)
    ]
    room = A4[0] - 2 * MARGIN - GAP * len(longest)
    widths = [GAP + room * width / sum(longest) for width in longest]
    last = len(cells) - 1
    return [Row(row, widths, is_head=n == 0, is_last=n == last) for n, row in enumerate(cells)]


def inline(text: str) -> str:
    """Return Markdown's bold and code as reportlab's markup."""
    bold = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", escape(text, quote=False))
    return re.sub(r"`(.+?)`", r'<font name="Courier">\1</font>', bold)


def build(source: Path, folder: Path) -> Path:
    """Build the PDF of one source into a folder and return its path."""
    text = source.read_text(encoding="utf-8")
    target = folder / f"{source.stem}.pdf"
    parts = list(blocks(text))
    following = [*parts[1:], [""]]
    story = [
        flowable
        for lines, below in zip(parts, following, strict=True)
        for flowable in flowables(lines, leads=below[0].startswith(("- ", "|")))
    ]
    Guide(target, title=parts[0][0].removeprefix("# ")).build(story)
    return target


if __name__ == "__main__":
    for markdown in sorted((HERE / "src").glob("*.md")):
        print(build(markdown, HERE).name)

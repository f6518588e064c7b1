"""The page: HTML elements as strings, and the frame around them.

Everything is inside the file: no script, no font, no picture from elsewhere.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #222; line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif; }
main, header, footer { max-width: 78rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 1.5rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: .75rem; border-top: 1px solid #ccc; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .35rem; }
p, li, figcaption, dd { overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: #00558a; }
nav ul { list-style: none; margin: .75rem 0 0; padding: 0; display: flex; flex-wrap: wrap;
  gap: .25rem 1rem; }
code { font-family: ui-monospace, "DejaVu Sans Mono", Consolas, monospace; font-size: .9em;
  overflow-wrap: anywhere; }
pre { background: #f4f4f4; border: 1px solid #ddd; border-radius: 4px; padding: .6rem .75rem;
  overflow-x: auto; max-width: 100%; margin: .5rem 0; }
pre code { white-space: pre-wrap; overflow-wrap: anywhere; }
figure { margin: 1rem 0 1.5rem; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { color: #444; font-size: .88rem; max-width: 52rem; margin-top: .4rem; }
.modelled { position: sticky; top: 0; z-index: 1; background: #fff6d8; color: #4a3a00;
  border-bottom: 1px solid #d9c06a; font-size: .85rem; padding: .35rem 1.25rem; }
.modelled p { max-width: 75.5rem; margin: 0 auto; }
h2 { scroll-margin-top: 4rem; }
.scroll { overflow-x: auto; max-width: 100%; border: 1px solid #ddd; border-radius: 4px; }
.scroll:focus-visible, summary:focus-visible { outline: 2px solid #00558a; outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9rem; min-width: 100%; }
figure.table { margin: 1.25rem 0; }
figure.table figcaption { margin: 0 0 .3rem; }
th, td { padding: .3rem .6rem; text-align: right; vertical-align: top; white-space: nowrap;
  border-top: 1px solid #e4e4e4; font-variant-numeric: tabular-nums; }
thead th { background: #f4f4f4; font-weight: 600; border-top: 0; white-space: normal;
  vertical-align: bottom; }
th:first-child, .words { text-align: left; }
tbody th { font-weight: 600; white-space: normal; min-width: 6.5rem; }
td.wrap { white-space: normal; }
td.words { white-space: normal; min-width: 9rem; max-width: 32rem; overflow-wrap: anywhere; }
.missing, .warning { border-left: 4px solid #767676; background: #f7f7f7; padding: .6rem .9rem;
  margin: .75rem 0; max-width: 46rem; }
.warning { border-left-color: #a33f00; background: #fdf3ec; }
.cells { display: flex; flex-wrap: wrap; gap: 1.25rem; margin: 1rem 0; padding: 0;
  list-style: none; }
.cells > li { border: 1px solid #ddd; border-radius: 6px; padding: .75rem; width: 19rem;
  max-width: 100%; }
.cells svg { display: block; max-width: 100%; height: auto; margin: .25rem auto .5rem; }
.cells dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem .6rem; margin: 0;
  font-size: .85rem; }
.cells dt { color: #555; }
.cells dd { margin: 0; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: #00558a; }
footer { margin-top: 3rem; padding-top: .75rem; padding-bottom: 2rem; border-top: 1px solid #ccc;
  color: #555; font-size: .88rem; }
@media (max-width: 40rem) {
  main, header, footer { padding-left: .8rem; padding-right: .8rem; }
  h1 { font-size: 1.35rem; }
  .cells > li { width: 100%; }
}
@media print { .modelled { position: static; }
  .scroll { overflow: visible; } details > * { display: block; } }
"""


_PERCENT = re.compile(r"(\d) %")


def text(content: object) -> str:
    """Content with HTML's signs escaped; a number and its percent sign stay on one line."""
    return html.escape(_PERCENT.sub("\\1\u00a0%", str(content)))


def paragraph(content: str, kind: str = "") -> str:
    """A paragraph of plain text; ``kind`` may be "missing" or "warning"."""
    return f'<p class="{kind}">{text(content)}</p>' if kind else f"<p>{text(content)}</p>"


def missing(reason: str, command: str = "") -> str:
    """Says why a part is not there, and which command would make it."""
    how = f"<pre tabindex='0'><code>{text(command)}</code></pre>" if command else ""
    return f'<div class="missing"><p>{text(reason)}</p>{how}</div>'


@dataclass(frozen=True)
class HtmlTable:
    """A table of text.

    Attributes:
        caption: Above it; says units and what is modelled.
        header: Names of the columns.
        rows: As many cells each; the first names the row.
        words: Numbers of the columns that hold sentences and may wrap.
        wrap: Whether numbers may wrap too, between a value and what stands beside it.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[int, ...] = ()
    wrap: bool = False

    def __post_init__(self) -> None:
        """Refuses rows of other lengths than the header's."""
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"row {row} does not fit the columns {self.header}")

    def to_html(self) -> str:
        """The table in a box of its own, which scrolls if it is too wide."""
        plain = ' class="wrap"' if self.wrap else ""
        wordy = [' class="words"' if i in self.words else plain for i in range(len(self.header))]
        head = "".join(
            f'<th scope="col"{kind}>{text(name)}</th>'
            for name, kind in zip(self.header, wordy, strict=True)
        )
        body = []
        for row in self.rows:
            cells = [f'<th scope="row">{text(row[0])}</th>']
            for cell, kind in zip(row[1:], wordy[1:], strict=True):
                cells.append(f"<td{kind}>{text(cell)}</td>")
            body.append(f"<tr>{''.join(cells)}</tr>")
        # The caption is outside the box, so that it does not scroll away.
        return (
            f'<figure class="table"><figcaption>{text(self.caption)}</figcaption>'
            f'<div class="scroll" role="region" aria-label="Table: {text(self.caption)}" '
            f'tabindex="0"><table><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div></figure>"
        )


def details(title: str, content: str) -> str:
    """Content that opens on demand."""
    return f"<details><summary>{text(title)}</summary>{content}</details>"


@dataclass(frozen=True)
class Picture:
    """A figure for the page and for papers.

    Attributes:
        name: Of its files, without an ending.
        wide: SVG or PNG for wide windows, with the type it is of.
        narrow: Likewise for windows of up to 640 pixels.
        alt: What it shows, in words, for those who cannot see it.
        caption: Below it.
        files: Makes standalone files by ending, title and notes included.
    """

    name: str
    wide: tuple[str, bytes]
    narrow: tuple[str, bytes]
    alt: str
    caption: str
    files: Callable[[], dict[str, bytes]]

    def to_html(self) -> str:
        """The figure element; both forms are inside the page, the browser takes one."""
        return (
            f'<figure><picture><source media="(max-width: 40rem)" srcset="{_inline(*self.narrow)}">'
            f'<img src="{_inline(*self.wide)}" alt="{text(self.alt)}"></picture>'
            f"<figcaption>{text(self.caption)}</figcaption></figure>"
        )


def _inline(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: For links.
        title: Its heading.
        body: HTML.
        pictures: Those in its body, for the files beside the page.
    """

    anchor: str
    title: str
    body: str
    pictures: tuple[Picture, ...] = ()

    def to_html(self) -> str:
        """The section element."""
        return (
            f'<section aria-labelledby="{self.anchor}"><h2 id="{self.anchor}">{text(self.title)}'
            f"</h2>{self.body}</section>"
        )


def page(
    title: str,
    intro: Sequence[str],
    sections: Sequence[Section],
    footer: str,
    modelled: Sequence[str] = (),
) -> str:
    """The whole page.

    Args:
        title: Its title and first heading.
        intro: HTML elements below it.
        sections: In order.
        footer: A sentence at the end.
        modelled: Sentences on what is modelled, which stay in sight at the top of the window.
    """
    told = "".join(f"<p>{text(sentence)}</p>" for sentence in modelled)
    bar = f'<aside class="modelled" aria-label="What is modelled">{told}</aside>' if told else ""
    links = "".join(f'<li><a href="#{s.anchor}">{text(s.title)}</a></li>' for s in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # Else a browser asks the server, or the disk, for an icon and reports that there is none.
        '<link rel="icon" href="data:,">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head><body>"
        f"{bar}<header><h1>{text(title)}</h1>{''.join(intro)}"
        f'<nav aria-label="Contents"><ul>{links}</ul></nav></header>'
        f"<main>{''.join(section.to_html() for section in sections)}</main>"
        f"<footer><p>{text(footer)}</p></footer></body></html>\n"
    )

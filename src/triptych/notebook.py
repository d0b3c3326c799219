"""How things show themselves in a notebook: HTML that fetches nothing from outside."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape

STYLE = "border-collapse:collapse;text-align:left;"
CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0;"


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, of Jupyter, Colab or the like."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def is_interactive() -> bool:
    """Whether somebody types into this process: a notebook, IPython or Python's own prompt."""
    return in_notebook() or hasattr(sys, "ps1")


def heading(text: str) -> str:
    """A line in bold letters."""
    return f"<div><strong>{escape(text)}</strong></div>"


def line(text: str) -> str:
    """A line of text."""
    return f"<div>{escape(text)}</div>"


def table(rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Rows of texts; the first text of each names its row."""
    lines = [f'<table style="{STYLE}">']
    if head:
        names = "".join(f'<th scope="col" style="{CELL}">{escape(text)}</th>' for text in head)
        lines.append(f"<thead><tr>{names}</tr></thead>")
    lines.append("<tbody>")
    for first, *rest in rows:
        cells = "".join(f'<td style="{CELL}">{escape(text)}</td>' for text in rest)
        lines.append(f'<tr><th scope="row" style="{CELL}">{escape(first)}</th>{cells}</tr>')
    return "".join([*lines, "</tbody></table>"])


def picture(png: bytes, alt: str, times: int = 1) -> str:
    """A PNG file inside the page itself; ValueError where it is none.

    alt:   what it shows, for those who do not see it
    times: how many times it is enlarged where it is shown
    """
    if not png.startswith(b"\x89PNG\r\n\x1a\n") or len(png) < 24:
        raise ValueError("it is no PNG file")
    width = int.from_bytes(png[16:20])
    return image(f"data:image/png;base64,{b64encode(png).decode()}", alt, width * times)


def image(uri: str, alt: str, width: int | None = None) -> str:
    """A picture by its data: URI; pixels that are enlarged to a width stay squares."""
    wide = "" if width is None else f' width="{width}"'
    style = "max-width:100%;image-rendering:pixelated;"
    return f'<img alt="{escape(alt)}" src="{escape(uri)}"{wide} style="{style}">'


def figure(uri: str, width: int, name: str) -> str:
    """A picture under its name."""
    return block(line(name), image(uri, name, width))


def side_by_side(parts: Sequence[str]) -> str:
    """Parts one beside the other, where the window is wide enough."""
    return f'<div style="display:flex;flex-wrap:wrap;gap:16px;">{"".join(parts)}</div>'


def block(*parts: str) -> str:
    """Parts one below the other."""
    return f"<div>{''.join(parts)}</div>"

"""The page in a real browser: at three widths, in two languages, light, dark and on paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.test_page import change, write_comparison
from triptych.pages.page import write_page

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

WIDTHS = (390, 820, 1400)  # a phone, a tablet, a desk


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = write_comparison(tmp_path_factory.mktemp("comparison"))
    languages: tuple[str, ...] = ("en", "fr")
    return {each: write_page(folder, folder / f"{each}.html", language=each) for each in languages}


class Watched:
    """An open page, what it complained of and what it asked of the network."""

    def __init__(self, browser: Any, path: Path, width: int, dark: bool = False) -> None:
        scheme = "dark" if dark else "light"
        self.page = browser.new_page(
            viewport={"width": width, "height": 900}, color_scheme=scheme, locale="en-GB"
        )
        self.messages: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def look(self, script: str) -> Any:
        """What a script on the page answers."""
        return self.page.evaluate(script)


@pytest.mark.parametrize("width", WIDTHS)
def test_long_names_leave_the_numbers_in_view(browser: Any, tmp_path: Path, width: int) -> None:
    """The heads of rows stay where they are when a table is scrolled."""
    name = "a-model-of-somebody-with-a-name-that-tells-all-of-its-settings" * 2
    write_comparison(tmp_path)
    change(tmp_path / "results.json", lambda r: r["runs"][2].update(model=f"diffusion:{name}"))
    change(tmp_path / "results.json", lambda r: r["runs"][1].update(model="diffusion:x0"))
    watched = Watched(browser, write_page(tmp_path), width)
    wide = "[...document.querySelectorAll('tbody th .model')].map(each => each.offsetWidth)"
    assert max(watched.look(wide)) <= min(256, 0.4 * width) + 1
    assert watched.look("document.documentElement.scrollWidth") <= width
    high = "[...document.querySelectorAll('tbody.models th .model')].map(each => each.offsetHeight)"
    assert min(watched.look(high)) < 40  # a short name keeps its line
    watched.page.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", ["en", "fr"])
def test_the_page_is_quiet_alone_and_no_wider_than_the_screen(
    browser: Any, pages: dict[str, Path], width: int, language: str
) -> None:
    watched = Watched(browser, pages[language], width, dark=width == 820)
    watched.page.mouse.wheel(0, 20_000)
    assert watched.messages == []
    beyond = [url for url in watched.asked if not url.startswith("data:")]
    assert beyond == [pages[language].as_uri()]
    assert watched.look("document.documentElement.scrollWidth") <= width
    assert watched.look("document.documentElement.lang") == language
    watched.page.close()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("language", ["en", "fr"])
def test_answers_have_their_pictures_beside_them_where_there_is_room(
    browser: Any, tmp_path: Path, width: int, language: str
) -> None:
    page = write_page(write_comparison(tmp_path), language=language, course=True)
    watched = Watched(browser, page, width)
    assert watched.messages == []
    assert watched.look("document.documentElement.scrollWidth") <= width
    answer, beside = watched.look(
        "['.answer', '.beside'].map(part => document.querySelector("
        "'#question-1\\\\.3b ' + part).getBoundingClientRect())"
        ".map(box => [box.left, box.right, box.top, box.bottom])"
    )
    if width == max(WIDTHS):
        assert beside[0] >= answer[1] and abs(beside[2] - answer[2]) < 40
    else:
        assert beside[2] >= answer[3]
    watched.page.close()


def test_pictures_are_there_described_and_pixelated(browser: Any, pages: dict[str, Path]) -> None:
    watched = Watched(browser, pages["en"], 1400)
    pictures = watched.look(
        "[...document.images].map(i => [i.complete, i.naturalWidth, i.alt,"
        " getComputedStyle(i).imageRendering])"
    )
    assert len(pictures) > 9
    for complete, wide, words, rendering in pictures:
        assert complete and wide > 8 and len(words) > 10 and rendering == "pixelated"
    charts = watched.look(
        "[...document.querySelectorAll('svg[role=img]')].map(s => s.getAttribute('aria-label'))"
    )
    assert len(charts) > 3 and all(len(words) > 10 for words in charts)
    watched.page.close()


def test_every_link_leads_somewhere(browser: Any, pages: dict[str, Path]) -> None:
    watched = Watched(browser, pages["en"], 1400)
    lost = watched.look(
        "[...document.querySelectorAll('a[href^=\"#\"]')].map(a => a.getAttribute('href'))"
        ".filter(h => !document.getElementById(h.slice(1)))"
    )
    assert lost == []
    watched.page.close()


def test_a_heading_sorts_its_own_table_both_ways(browser: Any, pages: dict[str, Path]) -> None:
    watched = Watched(browser, pages["en"], 1400)
    table = watched.page.locator("#table table").first
    heading = table.locator("thead button").nth(1)  # the distance: 46.1, 13.2 and 9.1

    def order() -> list[str]:
        rows = table.locator("tbody.models tr")
        heads = [rows.nth(i).locator("th").inner_text() for i in range(rows.count())]
        return [" ".join(head.split()) for head in heads]

    assert order() == ["VAE sigma", "GAN hinge", "Diffusion edm"]
    heading.click()
    assert order() == ["Diffusion edm", "GAN hinge", "VAE sigma"]
    heading.click()
    assert order() == ["VAE sigma", "GAN hinge", "Diffusion edm"]
    assert table.locator("th[aria-sort=descending]").count() == 1
    watched.page.close()


def test_a_keyboard_reaches_the_verdict_and_the_sorting(
    browser: Any, pages: dict[str, Path]
) -> None:
    watched = Watched(browser, pages["en"], 1400)
    watched.page.keyboard.press("Tab")
    assert watched.look("document.activeElement.getAttribute('href')") == "#verdict"
    watched.page.locator("#table thead button").first.focus()
    watched.page.keyboard.press("Enter")
    assert watched.look("document.querySelectorAll('#table th[aria-sort=ascending]').length") == 1
    watched.page.close()


@pytest.mark.parametrize("dark", [False, True])
def test_words_stand_out_from_the_paper(browser: Any, pages: dict[str, Path], dark: bool) -> None:
    """WCAG 2.1's contrast of 4.5 for the text colours on the page's background."""
    watched = Watched(browser, pages["en"], 1400, dark=dark)
    script = """
        () => {
          const paint = (c) => { const e = document.createElement('canvas').getContext('2d');
            e.fillStyle = c; e.fillRect(0, 0, 1, 1);
            return [...e.getImageData(0, 0, 1, 1).data].slice(0, 3); };
          const light = (c) => paint(c).map((v) => v / 255)
            .map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((s, v, i) => s + v * [.2126, .7152, .0722][i], 0);
          const root = getComputedStyle(document.documentElement);
          const paper = light(root.getPropertyValue('--paper').trim());
          return ['ink', 'soft', 'vae', 'gan', 'diffusion', 'other', 'alert', 'mark'].map((n) => {
            const l = light(root.getPropertyValue('--' + n).trim());
            return (Math.max(l, paper) + .05) / (Math.min(l, paper) + .05); });
        }"""
    assert min(watched.look(script)) >= 4.5
    watched.page.close()


def test_it_prints(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    watched = Watched(browser, pages["fr"], 1400)
    pdf = watched.page.pdf(format="A4")
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") + pdf.count(b"/Page>>") > 0
    watched.page.close()

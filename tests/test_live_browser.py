"""The live page in a real browser: played through at three widths, in both languages."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live import Client, ServerProcess, briefly_trained, serving
from tests.making import encode, make_images
from tests.test_browser import CHROMIUM, WIDTHS, playwright
from triptych.pages import live
from triptych.web import points
from triptych.web.jobs import is_alive

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.timeout(600),
]
VIEWS = ("runs", "watch=gan", "play", "plane", "eyes")
PATIENCE = 120_000  # milliseconds: other tests have the processor too


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return briefly_trained(tmp_path_factory)


@pytest.fixture(scope="module")
def client(served: Path) -> Iterator[Client]:
    with serving(served) as client:
        yield client


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[ServerProcess]:
    """A live page of an empty folder, in a process of its own."""
    (tmp_path / "runs").mkdir()
    server = ServerProcess(tmp_path / "runs")
    yield server
    server.end()


class Visit:
    """An open page, what it complained of and what it asked of others."""

    def __init__(self, browser: Any, client: Client, view: str, width: int = 1400) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if width == WIDTHS[1] else "light",
            locale="en-GB",
        )
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.messages: list[str] = []
        self.abroad: list[str] = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self._note(client, request.url))
        self.page.goto(f"{client.address}/#{view}")
        self.page.wait_for_selector("main h1")

    def _note(self, client: Client, url: str) -> None:
        if not url.startswith((client.address, "data:", "blob:")):
            self.abroad.append(url)

    def look(self, script: str) -> Any:
        return self.page.evaluate(script)

    def wait(self, script: str) -> None:
        """Until it answers yes; the page's policy forbids Playwright's own way of waiting."""
        self.until(lambda: self.look(script))

    def until(self, answer: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE / 1000
        while not answer():
            assert time.monotonic() < end, self.look("document.body.innerText")
            self.page.wait_for_timeout(50)

    def drawn(self, index: int = 0) -> str:
        """What a canvas shows."""
        told: str = self.look(f"document.querySelectorAll('canvas')[{index}].toDataURL()")
        return told


@pytest.fixture
def visit(browser: Any, client: Client) -> Iterator[Any]:
    opened: list[Visit] = []

    def open_(view: str, width: int = 1400) -> Visit:
        opened.append(Visit(browser, client, view, width))
        return opened[-1]

    yield open_
    for each in opened:
        each.context.close()


# Names that a screen reader needs, and words that no locale has.
UNNAMED = """
[...document.querySelectorAll('button, a, input, select, canvas, img, svg[role=img], progress')]
  .filter(node => !(node.textContent.trim() || node.getAttribute('aria-label')
                    || node.alt || node.closest('label')?.textContent.trim()))
  .map(node => node.outerHTML)
"""
KEYS = r"(document.body.innerText.match(/\b(live|objective|term|short)\.[a-z_]+/g) ?? [])"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_fits_has_names_and_words_in_both_languages(
    visit: Any, view: str, width: int
) -> None:
    watched = visit(view, width)
    for language in ("fr", "en"):
        watched.page.click(f"[data-language={language}]")
        title = {"runs": "live.runs.title", "play": "live.play.title", "eyes": "live.eyes.title"}
        if view in title:
            words = live.texts(language)[title[view]]
            watched.page.wait_for_selector(f"main h1:has-text('{words}')")
        watched.page.wait_for_load_state("networkidle") if "watch" not in view else None
        watched.wait(f"document.documentElement.lang === '{language}'")
        assert watched.look("document.documentElement.scrollWidth") <= width
        assert watched.look("document.querySelectorAll('h1').length") == 1
        assert watched.look(UNNAMED) == []
        assert watched.look(KEYS) == []
    assert watched.messages == [] and watched.abroad == []


def test_runs_are_listed_with_their_pictures(visit: Any) -> None:
    watched = visit("runs")
    watched.wait("document.querySelectorAll('.entries img').length === 3")
    watched.wait("[...document.images].every(i => i.complete && i.naturalWidth > 8)")
    assert watched.messages == []


def test_the_slider_goes_back_to_any_moment(visit: Any) -> None:
    watched = visit("watch=gan")
    watched.wait("document.querySelector('.panel img')?.complete")
    watched.wait("document.querySelectorAll('.chart').length >= 2")
    last = watched.look("document.querySelector('.panel img').src")
    move = "(v) => { const s = document.querySelector('input[type=range]'); s.value = v;"
    watched.page.evaluate(f"{move} s.dispatchEvent(new Event('input')); }}", 0)
    assert watched.look("document.querySelector('.panel img').src") != last
    assert watched.look("document.querySelector('.panel img').src").endswith("/000000000.png")
    watched.page.evaluate(f"{move} s.dispatchEvent(new Event('input')); }}", 1)
    assert watched.look("document.querySelector('.panel img').src") == last
    assert watched.messages == []


def test_models_follow_the_sliders_in_aligned_panels(visit: Any) -> None:
    watched = visit("play")
    drawn = "[...document.querySelectorAll('canvas')].every(c => c.width > 60)"
    watched.wait(f"document.querySelectorAll('canvas').length === 3 && {drawn}")
    tops = "[...document.querySelectorAll('canvas')].map(c => c.getBoundingClientRect().top)"
    assert len(set(watched.look(tops))) == 1
    idle = "[...document.querySelectorAll('.panel .quiet')].every(p => p.textContent === '')"
    watched.wait(idle)
    before = [watched.drawn(index) for index in range(3)]
    watched.page.focus("input[type=range] >> nth=0")
    watched.page.keyboard.press("ArrowRight")
    watched.until(lambda: all(watched.drawn(index) != before[index] for index in range(3)))
    watched.wait(idle)
    assert watched.messages == []


@pytest.mark.parametrize("tab", ["walk", "traverse", "chain", "own"])
def test_every_way_to_play_draws(visit: Any, tab: str, tmp_path: Path) -> None:
    watched = visit("play")
    watched.page.click(f"[role=tab]:has-text('{live.texts('en')[f'live.tab.{tab}']}')")
    panels = {"walk": 3, "traverse": 2, "chain": 1, "own": 3}[tab]
    shown = "[...document.querySelectorAll('.panel canvas')]"
    watched.wait(f"{shown}.length === {panels} && {shown}.every(c => c.width > 16)")
    if tab == "own":
        image = tmp_path / "own.png"
        image.write_bytes(encode(make_images(1, side=48)[0][0]))
        watched.page.set_input_files("input[type=file]", image)
        watched.page.wait_for_selector("#message:has-text('own.png')")
        watched.page.click("summary")
        empty = len(watched.look("document.querySelector('canvas.drawing').toDataURL()"))
        box = watched.page.locator("canvas.drawing").bounding_box()
        watched.page.mouse.move(box["x"] + 50, box["y"] + 50)
        watched.page.mouse.down()
        watched.page.mouse.move(box["x"] + 150, box["y"] + 150)
        watched.page.mouse.up()
        assert len(watched.look("document.querySelector('canvas.drawing').toDataURL()")) > empty
        with watched.page.expect_response("**/api/uploads", timeout=PATIENCE):
            watched.page.click(f"button:has-text('{live.texts('en')['live.own.use']}')")
        watched.page.wait_for_timeout(200)
        words = live.texts("en")["live.reconstruct.note"]
        notes = "[...document.querySelectorAll('.panel .quiet')]"
        watched.wait(f"{notes}.every(note => note.textContent === '{words}')")
        watched.page.click(f"button:has-text('{live.texts('en')['live.invert']}')")
        watched.page.wait_for_selector(".transport:not([hidden])")
    else:
        before = watched.drawn()
        watched.page.focus(".transport input")
        watched.page.keyboard.press("Home" if tab == "traverse" else "End")
        watched.page.wait_for_timeout(100)
        assert watched.drawn() != before
        watched.page.click(".transport button")
        watched.wait("document.querySelector('.transport button').textContent === 'Pause'")
        watched.page.click(".transport button")
    assert watched.messages == []


def test_the_slider_over_noise_levels_tells_and_shows_each(visit: Any, tmp_path: Path) -> None:
    texts, of_level, of_path = live.texts("en"), 1, 2  # canvases; the first is to draw on
    watched = visit("play")
    watched.page.click(f"[role=tab]:has-text('{texts['live.tab.noise']}')")
    notes = "[...document.querySelectorAll('.panel .quiet')].map(note => note.textContent)"

    def at(sigma: str) -> list[str]:
        """What the panels say when both have answered: the one of the levels, the path's."""
        return [texts["live.noisy.note"].replace("{sigma}", sigma), ""]

    watched.until(lambda: watched.look(notes) == at("0.894"))  # midway from 0.01 to 80
    level, path = watched.drawn(of_level), watched.drawn(of_path)
    watched.page.focus(f"label:has-text('{texts['live.sigma']}') input")
    watched.page.keyboard.press("End")
    watched.until(lambda: watched.look(notes) == at("80") and watched.drawn(of_level) != level)
    assert watched.look("document.activeElement.getAttribute('aria-valuetext')") == "80"
    assert watched.drawn(of_path) == path  # the chain is of the image, whatever the level
    watched.page.focus(".transport input")
    watched.page.keyboard.press("End")
    watched.until(lambda: watched.drawn(of_path) != path)
    level, path = watched.drawn(of_level), watched.drawn(of_path)
    image = tmp_path / "own.png"
    image.write_bytes(encode(make_images(1, side=48)[0][0]))
    watched.page.set_input_files("input[type=file]", image)
    watched.until(lambda: watched.drawn(of_level) != level and watched.drawn(of_path) != path)
    assert watched.messages == []


def test_a_film_is_saved(visit: Any) -> None:
    watched = visit("play")
    watched.page.click("[role=tab] >> nth=1")
    with watched.page.expect_download(timeout=PATIENCE) as saving:
        watched.page.click(f"button:has-text('{live.texts('en')['live.gif']}') >> nth=0")
    assert Path(saving.value.path()).read_bytes().startswith(b"GIF8")


def test_a_blind_test_is_played_with_two_keys(visit: Any) -> None:
    watched = visit("eyes")
    for number in (1, 2):  # the VAE alone
        watched.page.uncheck(f"fieldset input >> nth={number}")
    watched.page.click("button.main")
    watched.page.wait_for_selector(".judged")
    assert re.search(r"\b1 of 40\b", watched.look("document.body.innerText"))
    shown = "!document.querySelector('.judged').hidden"  # before that no key counts
    watched.wait(shown)
    assert "1 of 40" in watched.look("document.body.innerText")
    watched.page.keyboard.press("ArrowLeft")
    watched.page.keyboard.press("Backspace")
    watched.wait(f"{shown} && document.body.innerText.includes('1 of 40')")
    for number in range(40):
        watched.wait(f"{shown} && document.body.innerText.includes('{number + 1} of 40')")
        watched.page.keyboard.press("ArrowLeft" if number % 2 else "ArrowRight")
    watched.page.wait_for_selector("main table")
    words = watched.look("document.querySelector('main table').innerText")
    assert "VAE" in words and "95" in words and "%" in words
    assert watched.messages == []


@pytest.mark.sweep
def test_a_training_goes_on_through_a_stop_and_kills_of_itself_and_of_the_server(
    browser: Any, apart: ServerProcess, served: Path
) -> None:
    """A real one, from the form to its last picture; `kill -9` loses nothing that was saved."""
    texts = live.texts("en")
    watched = Visit(browser, apart.client, "runs")

    def says(key: str) -> None:
        watched.page.wait_for_selector(f".whole:has-text('{texts[key]}')")

    def press(key: str) -> None:
        watched.page.click(f"button:has-text('{texts[key]}')")

    watched.page.click("summary")
    for number in (1, 2):  # the VAE alone
        watched.page.uncheck(f"fieldset input >> nth={number}")
    watched.page.fill("input[type=text] >> nth=0", str(served.parent / "bars.npz"))
    watched.page.fill("input[type=text] >> nth=1", "2kimg")
    watched.page.select_option("form select", "tiny")
    watched.wait("document.querySelector('.command code').textContent.includes('--size tiny')")
    assert watched.look("document.querySelector('.command code').textContent").startswith(
        "triptych train vae --data"
    )
    watched.page.click("button.main")
    watched.page.wait_for_selector(".panel img:not([hidden])")
    press("live.stop")
    says("live.job.stopped")
    watched.page.reload()  # a page that is opened late is told the same
    says("live.job.stopped")
    run = apart.folder / apart.job().out
    log, saved = run / "log.jsonl", (run / "log.jsonl").read_bytes()

    press("live.resume")
    watched.until(lambda: len(log.read_bytes()) > len(saved))
    killed = apart.job().process
    assert killed is not None and is_alive(apart.job())
    os.kill(killed, signal.SIGKILL)
    says("live.job.interrupted")
    assert log.read_bytes().startswith(saved)
    before = len(log.read_bytes())

    press("live.resume")
    watched.until(lambda: apart.job().process not in (None, killed))
    watched.until(lambda: len(log.read_bytes()) > before)
    training = apart.job()
    assert watched.messages == []
    apart.kill()
    says("live.unreachable")
    assert is_alive(training)
    apart.begin()
    watched.messages.clear()  # the browser's own, that nobody answered
    watched.page.reload()
    says("live.all_done")
    done = apart.job()
    assert (done.number, done.state, done.process) == (training.number, "done", training.process)
    assert log.read_bytes().startswith(saved)
    events = [json.loads(line) for line in log.read_text().splitlines()]
    seen = [event["images"] for event in events if event["event"] == "losses"]
    assert seen == sorted(set(seen)) and seen[-1] >= 1980
    [shown] = apart.client.get("/api/library").json()["runs"]
    assert (shown["state"], shown["images"]) == ("done", seen[-1])
    assert (shown["pictures"][0], shown["pictures"][-1]) == (0, seen[-1])
    watched.wait("[...document.images].every(i => i.complete && i.naturalWidth > 8)")
    address = watched.look("document.querySelector('.panel img').getAttribute('src')")
    assert address.startswith(f"/files/{done.out}/samples/{seen[-1]:09d}.png")
    assert watched.messages == []
    watched.context.close()


@pytest.mark.sweep
def test_two_dimensions_are_drawn_learned_and_looked_at(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every shape, a finger's points, one failure provoked and named, and every view afterwards."""
    monkeypatch.setattr(points, "BUDGET", "25kimg")
    texts = live.texts("en")
    with serving(tmp_path) as client:
        watched = Visit(browser, client, "plane")
        pad = "document.querySelector('canvas.drawing')"
        seen = set()
        for shape in ("ring", "spiral", "digits", "moons"):
            watched.page.click(f"button:has-text('{texts[f'live.plane.{shape}']}')")
            seen.add(watched.drawn())
            assert "2,000" in watched.page.inner_text(".plane .quiet")
        assert len(seen) == 4
        box = watched.page.locator("canvas.drawing").bounding_box()
        watched.page.mouse.move(box["x"] + 20, box["y"] + 20)
        watched.page.mouse.down()
        watched.page.mouse.move(box["x"] + 60, box["y"] + 20, steps=4)
        watched.page.mouse.up()
        watched.page.mouse.move(box["x"] + 100, box["y"] + 90)  # no button is down: no points
        assert "2,030" in watched.page.inner_text(".plane .quiet")
        watched.page.check("input[name=vae]")
        watched.page.click(f"button:has-text('{texts['live.plane.learn']}')")
        words = watched.page.locator("section strong")
        watched.until(lambda: words.count() and words.inner_text() == texts["live.all_done"])
        command = watched.page.inner_text(".command code")
        assert command.startswith("triptych compare vae:points,learn_std=false,std=1 gan:points ")
        assert "posterior collapse" in watched.page.inner_text(".panel.fam-vae")
        assert "posterior collapse" not in watched.page.inner_text(".panel.fam-gan")
        assert texts["live.eyes"] not in watched.page.inner_text(".whole")
        [kept] = (tmp_path / "points").iterdir()
        assert len(kept.read_text().splitlines()) == 2031 and kept.name.startswith("drawn-")
        watched.page.reload()  # opened again, it shows the same training
        watched.wait("document.querySelectorAll('.panel img:not([hidden])').length === 3")
        watched.page.click(f".whole a:has-text('{texts['live.play']}')")
        shown = "[...document.querySelectorAll('.panel canvas')]"
        watched.wait(f"{shown}.length === 3 && {shown}.every(c => c.width === 512)")
        for view in ("density", "field", "paths", "samples"):
            before = [watched.drawn(index) for index in range(3)]
            watched.page.select_option("select", view)
            watched.until(
                lambda: all(watched.drawn(index) != before[index] for index in range(3))  # noqa: B023
            )
        assert watched.look(pad) is None and watched.look(KEYS) == []
        assert watched.page.locator("[role=tab]").count() == 4  # no tab for images alone
        assert watched.messages == [] and watched.abroad == []
        watched.context.close()


def test_names_that_are_scripts_stay_text(browser: Any, served: Path, tmp_path: Path) -> None:
    odd = "<img src=x onerror=alert(1)>"
    shutil.copytree(served / "vae", tmp_path / odd)
    with serving(tmp_path) as alone:
        watched = Visit(browser, alone, "runs")
        watched.page.on("dialog", lambda dialog: watched.messages.append(dialog.message))
        watched.wait("document.querySelectorAll('.entries img').length > 0")
        assert watched.look("document.querySelector('.entries h3').textContent") == odd
        assert watched.look("document.querySelectorAll('img[src=x]').length") == 0
        assert watched.messages == []
        watched.context.close()


def test_a_second_click_starts_no_second_training(visit: Any) -> None:
    """The first one is answered late: it loads what reads images."""
    watched, asked = visit("runs"), []

    def late(route: Any) -> None:
        if route.request.method == "POST":
            asked.append(route.request.url)
            watched.page.wait_for_timeout(300)
        route.fulfill(status=201, json={"state": "waiting", "out": "x"})

    watched.page.route("**/api/jobs", late)
    watched.page.click("summary")
    watched.page.dblclick("button.main")
    watched.page.wait_for_timeout(600)
    assert len(asked) == 1 and watched.messages == []


def test_of_buttons_that_are_called_alike_the_focused_one_stays_so(visit: Any) -> None:
    """Two trainings wait: who goes to the second one's Stop must not stop the first."""
    watched = visit("runs")
    jobs = [
        {"number": n, "out": f"run-{n}", "state": "waiting", "command": "", "message": ""}
        for n in (1, 2)
    ]
    shown = {"comparisons": [], "runs": [], "jobs": jobs}
    watched.page.route("**/api/library", lambda route: route.fulfill(json=shown))
    second = "[data-key='2/stop']"
    watched.page.focus(second)
    jobs[0]["message"] = "it goes on"
    watched.page.wait_for_selector("text=it goes on")
    assert watched.look("document.activeElement.dataset.key") == "2/stop"
    assert watched.look("document.activeElement.getAttribute('aria-label')") == "Stop run-2"


def test_a_blind_test_that_comes_late_takes_no_other_view(visit: Any) -> None:
    watched = visit("eyes")
    held: list[Any] = []
    watched.page.route("**/api/eyes", lambda route: held.append(route))
    watched.page.click("button.main")
    watched.until(lambda: bool(held))
    watched.page.goto(watched.page.url.replace("#eyes", "#runs"))
    watched.page.wait_for_selector(".library")
    held[0].continue_()
    watched.page.wait_for_timeout(500)
    assert watched.look("document.querySelector('h1').textContent") == "Runs and comparisons"
    assert watched.look("document.getElementById('view').dataset.unfinished") is None


def test_a_blind_test_is_not_left_by_one_click(visit: Any) -> None:
    watched = visit("eyes")
    watched.page.click("button.main")
    watched.page.wait_for_selector(".judged")
    watched.page.once("dialog", lambda dialog: dialog.dismiss())
    watched.page.click("nav a[href='#runs']")
    assert watched.look("location.hash") == "#eyes"
    watched.page.once("dialog", lambda dialog: dialog.accept())
    watched.page.click("nav a[href='#runs']")
    watched.page.wait_for_selector(".library")


def test_a_run_that_cannot_be_played_with_is_named(visit: Any) -> None:
    watched = visit("runs")

    def refuse(route: Any) -> None:
        if "run=gan" in route.request.url:
            route.fulfill(status=400, json={"error": "its weights are gone"})
        else:
            route.continue_()

    watched.page.route("**/api/capabilities**", refuse)
    watched.page.goto(watched.page.url.replace("#runs", "#play"))
    watched.page.wait_for_selector(".panel canvas")
    assert "GAN r1 cannot be read: its weights are gone" in watched.look(
        "document.querySelector('.wrong[role=status]').textContent"
    )
    assert watched.page.locator(".panel").count() == 2

"""The live page over HTTP: runs that are watched, models that answer, people that judge."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import triptych
from tests.live import Client, briefly_trained, serving
from tests.making import encode, make_images
from tests.test_page import write_comparison
from triptych import images
from triptych.console import QUIET
from triptych.errors import InputError
from triptych.families.capabilities import Encodes, Iterative
from triptych.metrics.intervals import wilson
from triptych.pages import live
from triptych.pages.language import Language
from triptych.records import Note
from triptych.run import run_data
from triptych.seeding import generator
from triptych.tasks import sample
from triptych.web.jobs import Asked, Job, Jobs
from triptych.web.library import Library
from triptych.web.play import WarmModels
from triptych.web.points import PointsAsked
from triptych.web.server import Guard, bind
from triptych.web.watch import Watcher
from triptych.words import languages


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One briefly trained run of each family."""
    return briefly_trained(tmp_path_factory)


@pytest.fixture(scope="module")
def client(served: Path) -> Iterator[Client]:
    with serving(served) as client:
        yield client


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


# The page itself


def test_the_page_has_words_in_every_language_and_asks_nothing_of_others(client: Client) -> None:
    page = client.get("/")
    assert page.status_code == 200 and "http" not in page.text.replace("http-equiv", "")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for language in languages():
        assert client.get(f"/texts/{language}").json() == live.texts(language)
    assert client.get("/texts/xx").status_code == 404


def test_scripts_use_only_texts_that_there_are() -> None:
    """Keys in scripts and frame; those that end in a name of states, views or columns begin one."""
    sources = [live.read(path) for path in live.SCRIPTS.glob("*.js")]
    frame = (live.TEMPLATES / "live.html.j2").read_text()
    quoted = re.compile(r"[\"'`(](live\.[\w.$]+)")
    named = {key for text in [*sources, frame] for key in quoted.findall(text)}
    texts = live.texts("en")
    for key in named:
        begins = key.rstrip("$").rstrip("{")
        assert key in texts or any(each.startswith(begins) for each in texts), key
    used = " ".join([*sources, frame])
    families = ("live.job.", "live.state.", "live.tab.", "live.eyes.", "live.plane.")
    ours = [key for key in texts if key.startswith("live.") and not key.startswith(families)]
    assert [key for key in ours if key not in used] == []


def test_scripts_stay_small_and_say_nothing_inline(client: Client) -> None:
    lines = sum(live.read(path).count("\n") for path in live.SCRIPTS.glob("*.js"))
    assert lines <= 1500
    for name in live.assets():
        answer = client.get(f"/assets/{name}")
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        assert "innerHTML" not in answer.text and "eval(" not in answer.text
    assert client.get("/assets/../server.py").status_code == 404


# Who may ask


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"host": "evil.example"}, "own"),
        ({"host": "127.0.0.1:x"}, "own"),
        ({"host": "127.0.0.1.evil.example:{port}"}, "own"),
        ({"host": "[:{port}"}, "own"),
        ({"origin": "http://evil.example"}, "another site"),
        ({"origin": "null"}, "another site"),
        ({"origin": "https://127.0.0.1:{port}"}, "another site"),
        ({"sec-fetch-site": "cross-site"}, "another site"),
        ({"sec-fetch-site": "same-site"}, "another site"),
    ],
)
def test_other_sites_are_refused_and_it_is_logged_in_one_line(
    client: Client, headers: dict[str, str], words: str
) -> None:
    client.get("/nothing")  # what is refused again and again is said once
    before = len(client.console.lines)
    sent = {name: value.replace("{port}", str(client.port)) for name, value in headers.items()}
    answer = client.get("/api/library", **sent)
    assert answer.status_code == 403 and words in answer.json()["error"]
    assert client.console.lines[before:] == ["refused 403: GET /api/library"]


def test_a_change_says_which_page_asks_for_it(client: Client) -> None:
    import requests

    answer = requests.post(f"{client.address}/api/jobs/1/stop", timeout=10)
    assert answer.status_code == 403
    assert client.post("/api/jobs/1/stop").status_code == 404  # let in: there is no such job


def test_a_link_from_elsewhere_may_open_the_page(client: Client) -> None:
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", **headers).status_code == 200


def test_with_a_token_nobody_else_is_answered(tmp_path: Path) -> None:
    with serving(tmp_path, token="secret-1") as client:
        for path in ("/api/library", "/api/library?token=secret-2", "/?token="):
            refused = client.get(path)
            assert refused.status_code == 403 and "set-cookie" not in refused.headers
        first = client.get("/?token=secret-1")
        assert first.status_code == 200
        cookie = first.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        kept = cookie.partition(";")[0]
        assert client.get("/api/library", cookie=kept).status_code == 200
        assert client.get("/api/library", cookie=f"triptych-{client.port}=x").status_code == 403


def test_data_outside_the_folder_are_for_this_machine_alone(tmp_path: Path) -> None:
    asked = {"models": ["vae"], "data": "/etc", "budget": "1s"}
    with serving(tmp_path) as here:
        assert here.post("/api/command", asked).status_code == 200
    with serving(tmp_path, token="secret-1") as elsewhere:
        (tmp_path / "photos").mkdir()
        cookie = {"cookie": f"triptych-{elsewhere.port}=secret-1"}
        for outside in ("/etc", "Pictures", "..", "../x", "~", "hf:a/b", "-x"):
            body = asked | {"data": outside}
            assert elsewhere.post("/api/command", body, **cookie).status_code == 404, outside
        inside = elsewhere.post("/api/command", asked | {"data": "photos"}, **cookie)
        assert f"--data {tmp_path / 'photos'}" in inside.json()["command"]
        named = asked | {"data": "street-digits"}
        assert elsewhere.post("/api/command", named, **cookie).status_code == 200


@pytest.mark.parametrize(
    ("host", "ours", "other"),
    [
        (
            "127.0.0.1",
            ("127.0.0.1:8", "localhost:8", "[::1]:8", "localhost:9"),
            ("10.0.0.1:8", "x:8", "localhost:x", ""),
        ),
        (
            "0.0.0.0",
            ("10.0.0.1:8", "127.0.0.1:8", "localhost:8", "10.0.0.1:9", "localhost:9"),
            ("x.example:8", "10.0.0.1:x", "x.example:9"),
        ),
    ],
)
def test_hosts(host: str, ours: tuple[str, ...], other: tuple[str, ...]) -> None:
    """The port is another one where ours is forwarded, by ssh or out of a container."""
    guard = Guard(host, 8, None if host == "127.0.0.1" else "secret")
    assert all(map(guard.is_ours, ours)) and not any(map(guard.is_ours, other))


def test_a_busy_port_and_an_odd_address_are_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"127.0.0.1:{port}.*--port"):
            bind("127.0.0.1", port)
    with pytest.raises(InputError, match="--host cow"):
        bind("cow", 0)
    with pytest.raises(InputError, match="--port"):
        bind("127.0.0.1", 70_000)


# Files


def test_pictures_and_reports_are_sent_and_nothing_else(tmp_path: Path) -> None:
    folder = write_comparison(tmp_path / "compared")
    (folder / "report.html").write_text("<script>alert(1)</script>")
    with serving(tmp_path) as client:
        run = "compared/vae-sigma-s0"
        grid = next((folder / "vae-sigma-s0" / "samples").glob("*.png")).name
        assert client.get(f"/files/{run}/samples/{grid}").headers["content-type"] == "image/png"
        report = client.get("/files/compared/report.html")
        policy = report.headers["content-security-policy"]
        assert report.status_code == 200 and policy.startswith("sandbox allow-scripts;")
        assert "script-src 'sha256-" in policy and "connect-src" not in policy
        for path in (f"{run}/run.json", "compared/contract.json", f"{run}/log.jsonl", run, ""):
            assert client.get(f"/files/{path}").status_code == 404, path


UP = ["..", "%2e%2e", ".%2e", "%2e.", "..%2f..", "%2e%2e%2f", "..%5c..", "%252e%252e", "..%00"]
UP += ["....//", "..;", "~", "%2f", "//", "\\..\\..", "%5c..%5c", "./..", ".live/../..", "%00"]
UP += ["%uff0e%uff0e", "%ef%bc%8e%ef%bc%8e", "..%0d%0a", "..%09", "%2e%2e%5c", "..././", "gan/.."]
UP += [".%00.", "%e0%80%ae%e0%80%ae", "..%25252f", "%c0%ae%c0%ae"]
DOORS = ["/files/{up}/samples/secret.png", "/files/gan/{up}/{up}/figures/secret.png"]


@pytest.mark.parametrize("up", UP)
def test_no_encoding_of_a_path_climbs_out(client: Client, served: Path, up: str) -> None:
    for name in ("samples", "figures"):
        folder = served.parent / name
        folder.mkdir(exist_ok=True)
        (folder / "secret.png").write_bytes(encode(np.zeros((8, 8), np.uint8)))
    for door in DOORS:
        sent = f"GET {door.replace('{up}', up)} HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\n"
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as wire:
            wire.sendall(f"{sent}Connection: close\r\n\r\n".encode("latin-1"))
            answer = b""
            while part := wire.recv(65536):
                answer += part
        assert answer.split(b" ")[1].startswith(b"4"), (door, answer[:80])
        assert b"PNG" not in answer
    for path in (f"/api/capabilities?run={up}", f"/api/watch?path={up}"):
        assert client.get(path).status_code in (404, 422), path


# Runs and jobs


def test_a_late_page_is_told_all_that_happened(client: Client, served: Path) -> None:
    told = client.events("gan", lambda event: event["event"] == "state")
    state = told[-1]
    assert [run["path"] for run in state["runs"]] == ["gan"] and state["job"] is None
    lines = (served / "gan" / "log.jsonl").read_text().splitlines()
    written = [line for line in map(json.loads, lines) if line["event"] == "losses"]
    losses = [event for event in told if event["event"] == "losses"]
    assert [e["images"] for e in losses] == [line["images"] for line in written]
    assert losses[-1]["losses"] == written[-1]["losses"]
    assert all(event["run"] == "gan" for event in told[:-1])


def test_a_log_that_is_cut_is_told_again(tmp_path: Path, served: Path) -> None:
    from triptych.web.watch import Tail

    path = tmp_path / "log.jsonl"
    tail = Tail(path)
    assert tail.lines() == [] and not tail.cut
    path.write_bytes(b'{"a": 1}\n{"b": 2}\n{"to')
    assert tail.lines() == [b'{"a": 1}', b'{"b": 2}'] and not tail.cut
    path.write_bytes(b'{"a": 1}\n{"b": 2}\n{"torn": 3}\n')
    assert tail.lines() == [b'{"torn": 3}']
    path.write_bytes(b'{"a": 1}\n')
    assert tail.lines() == [b'{"a": 1}'] and tail.cut
    assert tail.lines() == [] and not tail.cut
    path.write_bytes(b'{"z": 1}\n{"y": 2}\n')  # cut, and grown beyond where we were
    assert tail.lines() == [b'{"z": 1}', b'{"y": 2}'] and tail.cut


def test_a_form_that_cannot_be_is_answered_in_plain_words(client: Client) -> None:
    for body, words in (
        ({"models": ["cow"]}, "no model 'cow'"),
        ({"models": ["vae"], "budget": "soon"}, "no budget 'soon'"),
        ({"cow": 1}, "no such name"),
        ([], "no JSON object"),
        (b"{", "no JSON"),
    ):
        answer = client.post("/api/jobs", body)
        assert answer.status_code == 400 and words in answer.json()["error"], body
    assert client.post("/api/jobs", b"[" * 2_000_000).status_code == 413
    assert client.get("/api/jobs").status_code == 405
    assert client.get("/api/library").json()["jobs"] == []


# Models


def test_abilities_are_those_of_the_model(client: Client) -> None:
    able = {name: client.get(f"/api/capabilities?run={name}").json() for name in ("vae", "gan")}
    assert able["vae"]["traverses"] and not able["vae"]["refines"] and not able["vae"]["chain"]
    assert able["gan"]["refines"] and able["gan"]["classes"] == []
    told = client.get("/api/capabilities?run=diffusion").json()
    assert told["chain"] and told["guided"] and not told["traverses"]
    assert told["classes"] == ["0", "1", "2", "3", "4"] and "heun" in told["samplers"]
    assert client.get("/api/capabilities?run=cow").status_code == 404


@pytest.mark.parametrize("name", ["vae", "gan", "diffusion"])
def test_samples_are_those_of_the_command_line(client: Client, served: Path, name: str) -> None:
    asked = {"run": name, "count": 9, "seed": 5, "temperature": 0.8}
    answer = client.post("/api/play/sample", asked)
    assert answer.status_code == 200, answer.text
    ours = triptych.load(served / name).sample(9, 5, temperature=0.8)
    expected = images.to_array(images.grid(ours, 3, gap=1).pixels)
    assert np.abs(picture(answer.content).astype(int) - expected).max() <= 1


def film(answer: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """[rows,points,H,W,3] and the layout."""
    assert answer.status_code == 200, answer.text
    layout = json.loads(answer.headers["x-film"])
    rows, points = layout["rows"], layout["points"]
    sheet = picture(answer.content)
    height, width = sheet.shape[0] // rows, sheet.shape[1] // points
    return sheet.reshape(rows, height, points, width, 3).swapaxes(1, 2), layout


def test_a_walk_begins_and_ends_at_its_draws(client: Client, served: Path) -> None:
    asked = {"run": "vae", "points": 7, "paths": 3, "seed": 2}
    moments, layout = film(client.post("/api/play/walk", asked))
    assert (layout["rows"], layout["points"]) == (3, 7)
    ours = triptych.load(served / "vae").interpolate(points=7, paths=3, seed=2)
    assert np.abs(moments.astype(int) - images.to_array(ours).astype(int)).max() <= 1
    gif = client.post("/api/play/walk?as=gif", asked)
    with Image.open(io.BytesIO(gif.content)) as moving:
        assert moving.format == "GIF" and getattr(moving, "n_frames", 1) == 12  # forth and back
    wrong = client.post("/api/play/walk", asked | {"points": 1})
    assert wrong.status_code == 400 and "points" in wrong.json()["error"]


def test_a_chain_goes_from_noise_to_the_image(client: Client, served: Path) -> None:
    """Its moments are those of the task: so many states, from the draw to the sample."""
    moments, layout = film(client.post("/api/play/chain", {"run": "diffusion", "count": 4}))
    assert layout["points"] == 25
    run = triptych.load(served / "diffusion")
    expected = images.to_array(
        sample.trajectory(run.model, 4, 25, 0, run.machine, labels=run.labels)
    )
    assert np.abs(moments.astype(int) - expected).max() <= 2
    refused = client.post("/api/play/chain", {"run": "vae", "count": 4})
    assert refused.status_code == 400 and "one step" in refused.json()["error"]


@pytest.mark.parametrize("sigma", [0.01, 0.7, 80])
def test_an_image_at_a_noise_level_is_the_network_s_to_denoise(
    client: Client, served: Path, sigma: float
) -> None:
    """One draw of noise at all levels, and the answer of one call of the network."""
    own, _ = make_images(1, side=40)
    name = client.post("/api/uploads", encode(own[0])).json()["upload"]
    asked = {"run": "diffusion", "upload": name, "sigma": sigma}
    moments, layout = film(client.post("/api/play/denoise", asked))
    assert (layout["rows"], layout["points"]) == (1, 3)
    run = triptych.load(served / "diffusion")
    original = run.read_images(served / ".live" / "uploads" / name)
    x = images.to_float(original)
    noisy = x + sigma * torch.randn(x.shape, generator=generator(0, "denoise"))
    assert isinstance(run.model, Iterative)
    with torch.inference_mode(), run.machine.autocast():
        clean = run.model.denoised(noisy.to(run.machine.device), sigma).cpu()
    shown = noisy / np.sqrt(1 + sigma**2)
    assert (moments[0, 0] == images.to_array(original)[0]).all()
    for moment, expected in zip(moments[0, 1:], (shown, clean), strict=True):
        array = images.to_array(images.to_uint8(expected))[0].astype(int)
        assert np.abs(moment.astype(int) - array).max() <= 2


def test_the_chain_of_an_image_goes_up_to_its_noise_and_back(client: Client, served: Path) -> None:
    """Its middle is the noise that encodes the image, its end the image's reconstruction."""
    moments, layout = film(client.post("/api/play/round_trip", {"run": "diffusion", "held_out": 2}))
    assert (layout["rows"], layout["points"]) == (1, 25)
    run = triptych.load(served / "diffusion")
    original = run_data(run, None, None, QUIET).test.images[2:3]
    assert isinstance(run.model, Encodes)
    with torch.inference_mode(), run.machine.autocast():
        x = images.to_float(original).to(run.machine.device)
        noise = run.model.encode(x).tensors["noise"].cpu()
    expected = (original, images.to_uint8(noise), run.reconstruct(original))
    for moment, pixels in zip(moments[0, [0, 12, 24]], expected, strict=True):
        assert np.abs(moment.astype(int) - images.to_array(pixels)[0].astype(int)).max() <= 2
    known = moments[0].astype(float) - moments[0, 0]
    assert (np.diff(np.square(known).mean((1, 2, 3))[:13]) >= 0).all()  # ever noisier on the way up


@pytest.mark.parametrize("verb", ["denoise", "round_trip"])
def test_models_without_a_chain_say_so(client: Client, verb: str) -> None:
    more = {"sigma": 1.0} if verb == "denoise" else {}
    for run in ("vae", "gan"):
        answer = client.post(f"/api/play/{verb}", {"run": run, **more})
        assert answer.status_code == 400 and "one step" in answer.json()["error"]


def test_a_traversal_moves_one_unit_in_each_row(client: Client, served: Path) -> None:
    moments, layout = film(client.post("/api/play/traverse", {"run": "vae"}))
    assert layout["points"] == 15 and layout["rows"] == 8
    middle = moments[:, 7].astype(float)
    moved = np.abs(moments[0, 0].astype(float) - middle[0]).mean()
    assert np.abs(middle - middle[0]).mean() < moved


def test_an_image_of_ones_own_is_reconstructed_by_all(client: Client, served: Path) -> None:
    own, _ = make_images(1, side=40)
    name = client.post("/api/uploads", encode(own[0])).json()["upload"]
    for run in ("vae", "gan", "diffusion"):
        moments, layout = film(client.post("/api/play/reconstruct", {"run": run, "upload": name}))
        assert (layout["rows"], layout["points"]) == (1, 2)
        loaded = triptych.load(served / run)
        path = served / ".live" / "uploads" / name
        original = loaded.read_images(path)
        assert (moments[:, 0] == images.to_array(original)).all()
        again = images.to_array(loaded.reconstruct(original)).astype(int)
        assert np.abs(moments[:, 1].astype(int) - again).max() <= 2
    walk = {"run": "vae", "first": name, "last": name, "points": 3}
    moments, _ = film(client.post("/api/play/walk", walk))
    assert (moments[:, 0] == moments[:, -1]).all()
    half = client.post("/api/play/walk", walk | {"last": None})
    assert half.status_code == 400 and "one end" in half.json()["error"]


def test_a_gans_search_comes_nearer_to_the_image(client: Client) -> None:
    moments, layout = film(client.post("/api/play/invert", {"run": "gan", "held_out": 3}))
    original, *tries = moments[0].astype(float)
    errors = [np.square(each - original).mean() for each in tries]
    assert layout["words"][0] == "" and int(layout["words"][1]) == 0
    assert errors[-1] < errors[0]
    refused = client.post("/api/play/invert", {"run": "vae"})
    assert refused.status_code == 400


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a",
        b"<svg onload=alert(1)>",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        b"%PDF-1.4",
        b"MZ",
    ],
)
def test_what_is_no_image_is_refused_and_not_kept(
    client: Client, served: Path, content: bytes
) -> None:
    kept = served / ".live" / "uploads"
    before = sorted(kept.iterdir()) if kept.is_dir() else []
    answer = client.post("/api/uploads", content)
    assert answer.status_code == 400 and "image is bad" in answer.json()["error"]
    assert (sorted(kept.iterdir()) if kept.is_dir() else []) == before


def test_a_large_upload_is_cut_off_and_a_bomb_is_refused(client: Client) -> None:
    assert client.post("/api/uploads", b"\0" * 20_000_001).status_code == 413
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, format="PNG")
    answer = client.post("/api/uploads", bomb.getvalue())
    assert answer.status_code == 400 and "pixels" in answer.json()["error"]


@pytest.mark.parametrize("name", ["..", "x", "a/b", "", "../../bars.npz", "0" * 32])
def test_uploads_are_named_by_their_digest_alone(client: Client, name: str) -> None:
    answer = client.post("/api/play/reconstruct", {"run": "vae", "upload": name})
    assert answer.status_code == 404 and "no such upload" in answer.json()["error"]


@pytest.mark.parametrize(
    ("verb", "more"),
    [
        ("sample", {"count": 65}),
        ("sample", {"steps": 10**9}),
        ("chain", {"steps": 201}),
        ("walk", {"points": 60, "paths": 64}),
        ("denoise", {"sigma": 0}),
        ("denoise", {"sigma": -1.0}),
        ("denoise", {"sigma": 80.1}),
        ("denoise", {"sigma": 1e400}),
        ("denoise", {}),
        ("denoise", {"sigma": 1.0, "held_out": -1}),
        ("round_trip", {"held_out": 10**6}),
        ("reconstruct", {"held_out": 10**6}),
        ("reconstruct", {"held_out": -1}),
    ],
)
def test_one_question_does_not_take_hours(
    client: Client, verb: str, more: dict[str, float]
) -> None:
    answer = client.post(f"/api/play/{verb}", {"run": "diffusion", **more})
    assert answer.status_code == 400, answer.text


# Points of the plane


RING = [[x / 30, (x * 7 % 60) / 30 - 1] for x in range(60)]


@pytest.fixture(scope="module")
def plane(served: Path) -> str:
    """A briefly trained run of points, in the served folder."""
    data = PointsAsked.read({"points": RING * 5}).write(served)
    triptych.train(
        "diffusion", data, budget="20kimg", set=("batch_size=128",), out=served / "dots", threads=1
    )
    return "dots"


def test_points_are_kept_in_the_folder_and_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Asked] = []

    def begin(self: Jobs, asked: Asked) -> Job:
        begun.append(asked)
        return Job(number=1, words=("compare",), out="compare-moons", state="waiting")

    monkeypatch.setattr(Jobs, "add", begin)
    with serving(tmp_path, token="secret") as client:
        link = {"cookie": f"triptych-{client.port}=secret"}
        body = {"name": "moons", "points": RING, "provoked": ["vae", "diffusion"]}
        answer = client.post("/api/points", body, **link)
        assert answer.status_code == 201 and answer.json()["out"] == "compare-moons"
        [asked] = begun
        assert Path(asked.data).is_relative_to(tmp_path)
        assert [model.count(",") for model in asked.models] == [2, 0, 1]
        for wrong in ({"points": RING[:10]}, {"points": RING, "name": "a/b"}, {"points": [[1]]}):
            refused = client.post("/api/points", wrong, **link)
            assert refused.status_code == 400, refused.text
        assert client.post("/api/points", body).status_code == 403
        assert len(begun) == 1 and len(list((tmp_path / "points").iterdir())) == 1
        most = [[1 / (3 + number), -1 / 3] for number in range(4000)]  # of many digits
        assert client.post("/api/points", {"points": most}, **link).status_code == 201
        assert client.post("/api/points", {"points": most * 3}, **link).status_code == 413


@pytest.mark.parametrize("view", ["samples", "density", "field", "paths"])
def test_every_view_of_the_plane_is_a_picture(client: Client, plane: str, view: str) -> None:
    answer = client.post("/api/play/plane", {"run": plane, "view": view})
    assert picture(answer.content).shape == (512, 512, 3)
    assert len(np.unique(picture(answer.content))) > 2
    again = client.post("/api/play/plane", {"run": plane, "view": view, "steps": 1})
    assert (again.content == answer.content) == (view == "field")


@pytest.mark.parametrize(
    "more",
    [{"sigma": 0}, {"sigma": 1e400}, {"steps": 0}, {"steps": 201}, {"view": "all"}, {"run": "gan"}],
)
def test_what_is_no_question_about_the_plane_is_refused(
    client: Client, plane: str, more: dict[str, Any]
) -> None:
    answer = client.post("/api/play/plane", {"run": plane, **more})
    assert answer.status_code == 400, answer.text


def test_films_and_samples_of_points_are_scatters(client: Client, plane: str) -> None:
    answer = client.post("/api/play/sample", {"run": plane})
    assert picture(answer.content).shape[:2] == (256, 256)
    for verb in ("walk", "chain"):
        moments, layout = film(client.post(f"/api/play/{verb}", {"run": plane}))
        assert moments.shape == (1, layout["points"], 256, 256, 3)
        assert not np.array_equal(moments[0, 0], moments[0, -1])
    gif = client.post("/api/play/walk?as=gif", {"run": plane})
    assert Image.open(io.BytesIO(gif.content)).size[1] == 256


def test_points_are_no_blind_test(client: Client, plane: str) -> None:
    answer = client.post("/api/eyes", {"runs": [plane], "count": 40, "mode": "one"})
    assert answer.status_code == 400 and "is of points" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        f"/files/{'x' * 300}/samples/a.png",
        f"/api/watch?path={'x' * 300}",
        f"/api/watch?path={'x' * 5000}",
        "/api/watch?path=gan&lang=xx",
        f"/api/capabilities?run={'y' * 300}",
    ],
)
def test_odd_names_are_refused_and_no_fault_of_ours(client: Client, path: str) -> None:
    assert client.get(path).status_code in (400, 404)


def test_odd_numbers_of_jobs_are_no_fault_of_ours(client: Client) -> None:
    assert client.post(f"/api/jobs/{'9' * 5000}/stop").status_code in (400, 404)


def test_a_folder_whose_name_is_no_text_is_left_out(tmp_path: Path, served: Path) -> None:
    odd = tmp_path / os.fsdecode(b"odd\xff")
    odd.mkdir()
    shutil.copy(served / "vae" / "run.json", odd)
    with serving(tmp_path) as client:
        assert client.get("/api/library").json()["runs"] == []


def test_the_queue_goes_on_after_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[int] = []

    def refresh(jobs: Jobs) -> None:
        times.append(1)
        if len(times) < 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Jobs, "refresh", refresh)
    with serving(tmp_path) as client:
        end = time.monotonic() + 30
        while len(times) < 4:
            assert time.monotonic() < end
            time.sleep(0.05)
    assert client.console.lines.count("the queue waits: [Errno 28] No space left on device") == 1


# Blind tests


def test_a_blind_test_tells_nothing_before_its_end(client: Client, served: Path) -> None:
    begun = client.post("/api/eyes", {"runs": ["vae", "gan"], "count": 40, "mode": "one"}).json()
    assert set(begun) == {"name", "count", "mode"} and begun["count"] == 40
    kept = json.loads((served / ".live" / "eyes" / f"{begun['name']}.json").read_text())
    trials = kept["trials"]
    for run in ("vae", "gan"):
        real = [trial["real"] for trial in trials if trial["run"] == run]
        assert len(real) == 20 and sum(real) == 10
    held_out = run_data(triptych.load(served / "vae"), None, None, QUIET)
    made = {run: triptych.load(served / run).sample(20, kept["seed"]) for run in ("vae", "gan")}
    for number, trial in enumerate(trials):
        shown = picture(client.get(f"/api/eyes/{begun['name']}/{number}.png").content)
        if trial["real"]:
            expected = held_out.test.images[trial["original"]]
            assert (shown == images.to_array(expected)).all()
        else:
            expected = made[trial["run"]][trial["number"]]
            assert np.abs(shown.astype(int) - images.to_array(expected)).max() <= 1
    assert client.get(f"/api/eyes/{begun['name']}/40.png").status_code == 404
    # Somebody who tells every image of the VAE, and takes all of the GAN for real.
    judged = [trial["real"] if trial["run"] == "vae" else True for trial in trials]
    told = client.post(f"/api/eyes/{begun['name']}", {"judged": judged}).json()["own"]
    by_run = {entry["run"]: entry for entry in told}
    assert by_run["vae"]["value"] == 1.0 and by_run["vae"]["above_chance"]
    assert by_run["gan"]["value"] == 0.5 and not by_run["gan"]["above_chance"]
    exact = wilson(20, 20)
    assert by_run["vae"]["low"] == pytest.approx(exact.low)
    everybody = client.get("/api/eyes/results").json()
    assert {e["run"]: e["n"] for e in everybody["one"]} == {"vae": 20, "gan": 20}
    again = client.post(f"/api/eyes/{begun['name']}", {"judged": judged})
    assert again.status_code == 400 and "already" in again.json()["error"]
    weights = {e["run"]: e["weights"] for e in everybody["one"]}
    assert everybody["two"] == []
    assert everybody["measured"] == {weights["vae"]: {}, weights["gan"]: {}}


def test_judgements_of_others_are_added_once(client: Client, tmp_path: Path) -> None:
    begun = client.post("/api/eyes", {"runs": ["vae"], "count": 40, "mode": "two"}).json()
    half = [True] * 30 + [None] * 10
    client.post(f"/api/eyes/{begun['name']}", {"judged": half})
    exported = client.get("/api/eyes/export").json()
    with serving(tmp_path) as other:
        assert other.post("/api/eyes/import", exported).json() == {"new": len(exported)}
        assert other.post("/api/eyes/import", exported).json() == {"new": 0}
        [entry] = other.get("/api/eyes/results").json()["two"]
        assert (entry["n"], entry["people"]) == (30, 1)
        twice = {**exported[0], "name": "other", "trials": exported[0]["trials"][:1] * 2}
        escaped = {**exported[0], "name": "../../x"}
        for wrong in ([{"name": "../x"}], {}, [1], [escaped], [twice]):
            assert other.post("/api/eyes/import", wrong).status_code == 400


def test_another_model_in_the_same_folder_is_another_one(served: Path, tmp_path: Path) -> None:
    """Its measurements do not stand beside what people told of the one before it."""
    shutil.copytree(served / "vae", tmp_path / "vae")
    with serving(tmp_path) as client:
        begun = client.post("/api/eyes", {"runs": ["vae"], "count": 40, "mode": "one"}).json()
        client.post(f"/api/eyes/{begun['name']}", {"judged": [True] * 40})
        begun = client.post("/api/eyes", {"runs": ["vae"], "count": 40, "mode": "one"}).json()
        record = json.loads((tmp_path / "vae" / "run.json").read_text())
        shutil.rmtree(tmp_path / "vae")
        shutil.copytree(served / "gan", tmp_path / "vae")
        results = client.get("/api/eyes/results").json()
        assert results["measured"] == {record["digests"]["model.safetensors"]: None}
        refused = client.get(f"/api/eyes/{begun['name']}/0.png")
        assert refused.status_code == 400 and "another model" in refused.json()["error"]


def test_two_images_stand_beside_each_other(client: Client) -> None:
    begun = client.post("/api/eyes", {"runs": ["vae"], "count": 40, "mode": "two"}).json()
    shown = picture(client.get(f"/api/eyes/{begun['name']}/0.png").content)
    assert shown.shape == (16, 40, 3) and (shown[:, 16:24] == 255).all()


@pytest.mark.parametrize(
    "asked",
    [
        {"runs": [], "count": 40},
        {"runs": ["vae", "vae"], "count": 40},
        {"runs": ["vae"], "count": 39},
        {"runs": ["vae"], "count": 401},
        {"runs": ["vae"], "count": 400},  # more than there are real images
        {"runs": ["vae"], "count": 40, "mode": "three"},
        {"runs": ["../vae"], "count": 40},
    ],
)
def test_a_test_that_would_tell_nothing_is_refused(client: Client, asked: dict[str, Any]) -> None:
    assert client.post("/api/eyes", asked).status_code in (400, 404)


def test_models_are_loaded_again_when_their_run_was_trained_again(
    tmp_path: Path, served: Path
) -> None:
    from triptych.web.library import Library
    from triptych.web.play import WarmModels

    shutil.copytree(served / "vae", tmp_path / "vae")
    models = WarmModels(Library(tmp_path))
    first = models.run("vae")
    assert models.run("vae") is first
    record = tmp_path / "vae" / "run.json"
    os.utime(record, (0, record.stat().st_mtime + 5))
    assert models.run("vae") is not first
    assert torch.equal(models.run("vae").sample(2), first.sample(2))


def test_a_model_that_finds_no_memory_says_so(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: WarmModels, asked: Any) -> bytes:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(WarmModels, "sample", full)
    answer = client.post("/api/play/sample", {"run": "gan"})
    assert answer.status_code == 503 and "CUDA out of memory" in answer.json()["error"]


def test_what_is_refused_again_and_again_is_said_once(tmp_path: Path) -> None:
    """By a page that was left open, every two seconds."""
    with serving(tmp_path, token="secret") as client:
        for path in ("/api/library",) * 5 + ("/", "/api/library"):
            assert client.get(path).status_code == 403
        assert [line.split()[-1] for line in client.console.lines] == [
            "/api/library", "/", "/api/library",
        ]  # fmt: skip


def test_why_a_model_cannot_encode_is_said_in_the_page_s_language(
    client: Client, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"encodes": False, "why_not": Note("consistency_no_inverse")}
    monkeypatch.setattr(WarmModels, "capabilities", lambda self, path: dict(answer))
    for language in ("en", "fr"):
        told = client.get(f"/api/capabilities?run=gan&lang={language}").json()["why_not"]
        assert told == Language(language).note(Note("consistency_no_inverse"))
    assert client.get("/api/capabilities?run=gan&lang=xx").status_code == 400


def test_a_page_that_watches_is_told_that_its_training_is_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(tmp_path)
    jobs = Jobs(library)
    job = Job(number=3, words=("train", "vae"), out="run", state="running", told_to_stop=True)
    monkeypatch.setattr(jobs, "of", lambda path: job)
    told = Watcher(library, jobs, "run", Language()).job()["job"]
    assert told["told_to_stop"] is True and told["out"] == "run"

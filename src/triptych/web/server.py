"""The server of the live page: addresses, who may ask, and what is sent.

It answers this machine alone unless another address is asked for, and then only those who have the
token of the printed link. Requests that another site's page makes are refused: by the name of the
host that they were sent to, and by the page that sent them (Fetch standard, "Origin").
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import psutil
import uvicorn
from filelock import FileLock, Timeout
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from triptych import files
from triptych.console import Console
from triptych.data.sources import printable
from triptych.errors import InputError, first_line
from triptych.pages import live
from triptych.pages.eyes import WEIGHTS, accuracies
from triptych.pages.language import Language
from triptych.pages.load import load_record
from triptych.records import Note, Record
from triptych.web import watch
from triptych.web.jobs import HIDDEN, Asked, Job, Jobs
from triptych.web.library import (
    REPORT,
    RUN_JSON,
    SAMPLES,
    Library,
    NotFoundError,
    check_root,
    is_file,
)
from triptych.web.points import PointsAsked
from triptych.words import check_language, english, languages

if TYPE_CHECKING:
    from triptych.web.eyes import BlindTests
    from triptych.web.play import WarmModels

LOOPBACK = "127.0.0.1"
MOST_JSON = 64_000  # bytes of a request
MOST_POINTS_JSON = 400_000  # of one with points: as many as may be drawn, with all their digits
MOST_UPLOAD = 20_000_000  # bytes of an image, or of a file of blind tests
KEPT = 60  # seconds for which a browser need not ask again for a picture
TICK = 0.5  # seconds between two looks at the jobs
POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True)
class Guard:
    """Who may ask.

    host:  the address that is served; names of this machine stand for the loopback one
    token: what the printed link carries; None where only this machine can ask
    """

    host: str
    port: int
    token: str | None = None

    def refusal(self, scope: Scope) -> str | None:
        """Why a request is refused, in plain words; None for one that is let in."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        host = headers.get("host", "")
        if not self.is_ours(host):
            return "this address is not the page's own"
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return "another site's page may not ask"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            navigates = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
            if not navigates:
                return "another site's page may not ask"
        if scope["method"] not in ("GET", "HEAD") and origin is None:
            return "a request that changes something must say which page it comes from"
        if self.token is not None and not self.has_token(scope, headers.get("cookie", "")):
            return "the link with its token is needed: the terminal shows it"
        return None

    def is_ours(self, host: str) -> bool:
        """Whether a Host header names this server; a name that leads here is not enough.

        The port is another one where ours is forwarded, out of a container or over ssh.
        """
        name, port = split_host(host)
        if port is None:
            return False
        if self.token is None:
            return name in (LOOPBACK, "localhost", "::1")
        if name in (self.host, "localhost"):  # a container's port is the machine's own there
            return True
        return is_address(name)  # the same machine has several: the token decides

    @property
    def cookie(self) -> str:
        """The name of the cookie that keeps the token; browsers share cookies among ports."""
        return f"triptych-{self.port}"

    def has_token(self, scope: Scope, cookie: str) -> bool:
        """Whether the link's token comes with a request, in its address or as a cookie."""
        pairs = (part.strip().partition("=") for part in cookie.split(";"))
        return self.in_address(scope) or any(
            self.is_token(value) for name, _, value in pairs if name == self.cookie
        )

    def in_address(self, scope: Scope) -> bool:
        """Whether the address of a request holds the token."""
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [])
        return any(map(self.is_token, given))

    def is_token(self, text: str) -> bool:
        """Whether a text is the token, in a time that tells nothing of it."""
        return self.token is not None and secrets.compare_digest(text.encode(), self.token.encode())

    @property
    def links(self) -> list[str]:
        """What opens the page: where all addresses are served, one for each that others can use."""
        hosts = [self.host]
        if self.host in ("0.0.0.0", "::"):
            family = socket.AF_INET if self.host == "0.0.0.0" else socket.AF_INET6
            each = (a for addresses in psutil.net_if_addrs().values() for a in addresses)
            outer = [a.address for a in each if a.family == family and "%" not in a.address]
            hosts = [a for a in outer if not ipaddress.ip_address(a).is_loopback] or hosts
        query = f"?token={self.token}" if self.token else ""
        named = (f"[{host}]" if ":" in host else host for host in hosts)
        return [f"http://{host}:{self.port}/{query}" for host in named]


def split_host(host: str) -> tuple[str, int | None]:
    """Name and port of a Host header; port 80 where none is named, None where it is no number."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "", parts.port or 80
    except ValueError:
        return "", None


def is_address(name: str) -> bool:
    """Whether this is an address in numbers: no name that somebody else could lead here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guarded:
    """An application behind a guard; every refusal and fault of a request is logged in one line."""

    def __init__(self, app: ASGIApp, guard: Guard, console: Console) -> None:
        self.app, self.guard, self.console = app, guard, console
        self.last_refusal = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 403; all answers carry the same headers."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        reason = self.guard.refusal(scope)

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                more = HEADERS | {"content-security-policy": POLICY}
                if reason is None and self.guard.in_address(scope):
                    kept = f"{self.guard.cookie}={self.guard.token}"
                    more |= {"set-cookie": f"{kept}; HttpOnly; SameSite=Strict; Path=/"}
                new = {name.encode(): value.encode() for name, value in more.items()}
                own = [pair for pair in new.items() if pair[0] not in present]
                message["headers"] = [*message["headers"], *own]
                if message["status"] >= 400:
                    asked = f"{scope['method']} {printable(scope['path'])[:200]}"
                    line = f"refused {message['status']}: {asked}"
                    if line != self.last_refusal:  # a page left open asks the same all night
                        self.console.say(line)
                    self.last_refusal = line
            await send(message)

        app = self.app if reason is None else answer_error(403, reason)
        await app(scope, receive, guarded)


def answer_error(status: int, message: str) -> Response:
    """A refusal as the page shows it."""
    return JSONResponse({"error": message}, status_code=status)


class LivePage:
    """The page of one served folder: every address is a method."""

    def __init__(self, library: Library, language: str, open_paths: bool) -> None:
        self.library, self.language, self.open_paths = library, language, open_paths
        self.jobs = Jobs(library)
        self._models: WarmModels | None = None
        self._tests: BlindTests | None = None
        self._at_models = ThreadPoolExecutor(max_workers=1, thread_name_prefix="models")

    def routes(self) -> list[Route]:
        """Addresses and their answers."""
        get, post = ("GET",), ("POST",)
        table: list[tuple[str, Any, Sequence[str]]] = [
            ("/", self.shell, get),
            ("/texts/{language}", self.texts, get),
            ("/assets/{name}", self.asset, get),
            ("/files/{path:path}", self.file, get),
            ("/api/library", self.shown, get),
            ("/api/command", self.command, post),
            ("/api/jobs", self.start, post),
            ("/api/jobs/{number}/stop", self.stop, post),
            ("/api/jobs/{number}/resume", self.resume, post),
            ("/api/jobs/{number}/forget", self.forget, post),
            ("/api/points", self.learn_points, post),
            ("/api/watch", self.watch, get),
            ("/api/uploads", self.upload, post),
            ("/api/capabilities", self.capabilities, get),
            ("/api/play/{verb}", self.play, post),
            ("/api/eyes", self.begin_test, post),
            ("/api/eyes/results", self.test_results, get),
            ("/api/eyes/export", self.export_tests, get),
            ("/api/eyes/import", self.import_tests, post),
            ("/api/eyes/{name}/{number}.png", self.trial, get),
            ("/api/eyes/{name}", self.finish_test, post),
        ]
        return [Route(path, guarded(answer), methods=list(how)) for path, answer, how in table]

    # The page itself

    async def shell(self, request: Request) -> Response:
        """The page, which its scripts fill."""
        return Response(live.page(self.language), media_type="text/html")

    async def texts(self, request: Request) -> Response:
        """The words of the page in a language."""
        language = request.path_params["language"]
        if language not in languages():
            raise NotFoundError(language)
        return JSONResponse(live.texts(language))

    async def asset(self, request: Request) -> Response:
        """Styles and scripts, from a list."""
        name = request.path_params["name"]
        assets = live.assets()
        if name not in assets:
            raise NotFoundError(name)
        kind = "text/css" if name.endswith(".css") else "text/javascript"
        return Response(assets[name](), media_type=kind, headers={"cache-control": "no-cache"})

    async def file(self, request: Request) -> Response:
        """A grid of samples, a picture of the report, or a report; nothing else of a folder."""
        path = request.path_params["path"]
        file = self.library.inside(path)
        is_picture = file.suffix == ".png" and file.parent.name in (SAMPLES, "figures")
        if not (is_picture or file.name == REPORT) or not is_file(file):
            raise NotFoundError(path)
        if file.name == REPORT:
            policy = {"content-security-policy": live.report_policy()}
            return FileResponse(file, media_type="text/html", headers=policy)
        kept = {"cache-control": f"private, max-age={KEPT}"}
        return FileResponse(file, media_type="image/png", headers=kept)

    # Runs and trainings

    async def shown(self, request: Request) -> Response:
        """All runs and comparisons, and the jobs of the page."""
        listed = await in_thread(self.library.shown)
        jobs = [as_object(job) for job in self.jobs.all()]
        return JSONResponse({**listed.to_json(), "jobs": jobs})

    async def command(self, request: Request) -> Response:
        """What could be typed for what the form asks."""
        return JSONResponse({"command": (await self.asked(request)).request().command()})

    async def start(self, request: Request) -> Response:
        """Put a training into the queue."""
        return JSONResponse(as_object(self.jobs.add(await self.asked(request))), status_code=201)

    async def asked(self, request: Request) -> Asked:
        """What the form asks; with a token, no images of this machine outside the folder."""
        asked = await body(request, Asked)
        if self.open_paths or not asked.data or (asked.is_named() and ":" not in asked.data):
            return asked
        folder = self.library.inside(asked.data)
        if not folder.exists():
            raise NotFoundError(asked.data)
        return replace(asked, data=str(folder))

    async def learn_points(self, request: Request) -> Response:
        """Keep points of the plane, and put a training of three models on them into the queue."""
        asked = await body(request, PointsAsked, MOST_POINTS_JSON)
        data = await in_thread(lambda: asked.write(self.library.root))
        job = self.jobs.add(asked.training(data))
        return JSONResponse(as_object(job), status_code=201)

    async def stop(self, request: Request) -> Response:
        """Ask a job to save and end."""
        return JSONResponse(as_object(self.jobs.stop(number_in(request))))

    async def resume(self, request: Request) -> Response:
        """Go on with a job that was stopped."""
        return JSONResponse(as_object(self.jobs.resume(number_in(request))))

    async def forget(self, request: Request) -> Response:
        """Take a job that ended off the list."""
        self.jobs.forget(number_in(request))
        return JSONResponse({})

    async def watch(self, request: Request) -> Response:
        """All that happened to the runs of a folder, and then what happens, as events."""
        path = request.query_params.get("path", "")
        language = request.query_params.get("lang", self.language)
        check_language(language)
        self.library.inside(path)
        if self.jobs.of(path) is None:
            self.library.folder(path)
        events = watch.events(self.library, self.jobs, path, language, request.is_disconnected)
        return StreamingResponse(events, media_type="text/event-stream")

    # Models

    async def on_models(self, ask: Callable[[WarmModels], T]) -> T:
        """Ask the warm models; torch is loaded when that is first done."""

        def run() -> T:
            if self._models is None:
                from triptych.web.play import WarmModels

                self._models = WarmModels(self.library)
            return ask(self._models)

        return await asyncio.get_running_loop().run_in_executor(self._at_models, run)

    async def on_tests(self, ask: Callable[[BlindTests], T]) -> T:
        """The same of the blind tests."""

        def run(models: WarmModels) -> T:
            if self._tests is None:
                from triptych.web.eyes import BlindTests

                self._tests = BlindTests(self.library, models)
            return ask(self._tests)

        return await self.on_models(run)

    async def capabilities(self, request: Request) -> Response:
        """What can be asked of a run."""
        path = request.query_params.get("run", "")
        lang = request.query_params.get("lang", self.language)
        check_language(lang)
        answer = await self.on_models(lambda models: models.capabilities(path))
        if "why_not" in answer:
            answer["why_not"] = Language(lang).note(answer["why_not"])
        return JSONResponse(answer)

    async def play(self, request: Request) -> Response:
        """One question to one model; the answer is a picture."""
        from triptych.web import play
        from triptych.web.plane import PlaneAsked

        verb, as_gif = request.path_params["verb"], request.query_params.get("as") == "gif"
        if verb == "sample":
            asked = await body(request, play.SampleAsked)
            return png(await self.on_models(lambda models: models.sample(asked)))
        if verb == "plane":
            view = await body(request, PlaneAsked)
            return png(await self.on_models(lambda models: models.plane(view)))
        kinds: dict[str, type[Record]] = {
            "walk": play.WalkAsked,
            "chain": play.SampleAsked,
            "denoise": play.NoiseAsked,
            "round_trip": play.ImageAsked,
            "traverse": play.ImageAsked,
            "invert": play.ImageAsked,
            "reconstruct": play.ImageAsked,
        }
        if verb not in kinds:
            raise NotFoundError(verb)
        question = await body(request, kinds[verb])
        film = await self.on_models(lambda models: getattr(models, verb)(question))
        if as_gif:
            return Response(await in_thread(film.gif), media_type="image/gif")
        rows, points = film.pictures.shape[:2]
        layout = {"rows": rows, "points": points, "words": film.words}
        return png(await in_thread(film.png), {"x-film": json.dumps(layout)})

    async def upload(self, request: Request) -> Response:
        """Keep an image of the user's."""
        content = await read_body(request, MOST_UPLOAD)
        return JSONResponse(
            {"upload": await self.on_models(lambda models: models.receive(content))}
        )

    # Blind tests

    async def begin_test(self, request: Request) -> Response:
        """Draw a blind test; only its name and length are told."""
        from triptych.web.eyes import TestAsked

        asked = await body(request, TestAsked)
        test = await self.on_tests(lambda tests: tests.begin(asked))
        return JSONResponse({"name": test.name, "count": len(test.trials), "mode": test.mode})

    async def trial(self, request: Request) -> Response:
        """The picture of one judgement."""
        name, number = request.path_params["name"], number_in(request)
        return png(await self.on_tests(lambda tests: tests.picture(name, number)))

    async def finish_test(self, request: Request) -> Response:
        """Keep what a person said, and tell what it was."""
        values = await read_json(request)
        judged = values.get("judged") if isinstance(values, dict) else None
        if not isinstance(judged, list) or not all(
            j is None or isinstance(j, bool) for j in judged
        ):
            raise InputError("judged is no list of true, false and null", "send one")
        name = request.path_params["name"]
        test = await self.on_tests(lambda tests: tests.finish(name, judged))
        told = await in_thread(lambda: accuracies([test]))
        return JSONResponse({"own": [each.to_json() for each in told]})

    async def test_results(self, request: Request) -> Response:
        """What all people said, beside what was measured of the same runs, by their weights."""
        results = await self.on_tests(lambda tests: tests.results())
        runs = {entry["weights"]: entry["run"] for each in results.values() for entry in each}
        measured = await in_thread(lambda: {w: self.measured(run, w) for w, run in runs.items()})
        return JSONResponse({**results, "measured": measured})

    def measured(self, path: str, weights: str) -> dict[str, float] | None:
        """Shares that were measured of a run; None where other weights, or none, lie there.

        weights: their digest
        """
        try:
            folder = self.library.run_folder(path)
        except NotFoundError:  # judged elsewhere
            return None
        record = load_record(folder / RUN_JSON)
        if record is None or record.digests.get(WEIGHTS) != weights:
            return None
        return live.measured(folder)

    async def export_tests(self, request: Request) -> Response:
        """Every judged test, as a file to be imported elsewhere."""
        tests = await self.on_tests(lambda tests: [test.to_json() for test in tests.all()])
        name = {"content-disposition": 'attachment; filename="blind-tests.json"'}
        return JSONResponse(tests, headers=name)

    async def import_tests(self, request: Request) -> Response:
        """Add other people's judgements."""
        values = await read_json(request, MOST_UPLOAD)
        return JSONResponse({"new": await self.on_tests(lambda tests: tests.add(values))})

    async def keep_going(self, console: Console) -> None:
        """Begin what waits as soon as it may, for as long as the server runs."""
        trouble = ""
        while True:
            try:
                self.jobs.refresh()
                trouble = ""
            except Exception as error:  # a full disk must not stop the queue for good
                if first_line(error) != trouble:
                    trouble = first_line(error)
                    console.say(f"the queue waits: {printable(trouble)}")
            await asyncio.sleep(TICK)

    def close(self) -> None:
        """Ask the models nothing more."""
        self._at_models.shutdown(wait=False, cancel_futures=True)


Answer = Callable[[Request], Awaitable[Response]]


def guarded(answer: Answer) -> Answer:
    """An address whose errors of input become 4xx with a line of words."""

    async def safe(request: Request) -> Response:
        try:
            return await answer(request)
        except NotFoundError as error:
            return answer_error(404, f"there is no {printable(str(error))[:80]} here")
        except InputError as error:
            return answer_error(400, printable(str(error)))
        except (OSError, ValueError) as error:  # names and numbers that the system does not take
            return answer_error(400, printable(first_line(error))[:200])
        except (RuntimeError, MemoryError) as error:  # a card whose memory a training has
            return answer_error(503, printable(first_line(error))[:200] or "out of memory")

    return safe


def number_in(request: Request) -> int:
    """The number in an address; NotFoundError on what is none."""
    text = str(request.path_params["number"])
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise NotFoundError("such number")
    return int(text)


async def read_body(request: Request, most: int) -> bytes:
    """The bytes of a request; 413 where there are more, and the rest is not read."""
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > most:
            raise HTTPException(413)
    return bytes(content)


async def read_json(request: Request, most: int = MOST_JSON) -> Any:
    """The JSON of a request; InputError on what is none."""
    try:
        return files.parse_json(await read_body(request, most))
    except ValueError as error:
        raise InputError(f"the request is no JSON ({error})", "send some") from None


async def body(request: Request, kind: type[R], most: int = MOST_JSON) -> R:
    """The record that a request holds; InputError on what is none."""
    try:
        return kind.read(await read_json(request, most))
    except ValueError as error:
        raise InputError(f"the request does not fit ({error})", "correct it") from None


async def in_thread(work: Callable[[], T]) -> T:
    """Do what reads many files without keeping others waiting."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


def png(content: bytes, headers: dict[str, str] | None = None) -> Response:
    """A picture."""
    return Response(content, media_type="image/png", headers=headers)


def as_object(job: Job) -> dict[str, Any]:
    """A job as JSON, with the command that could be typed."""
    return {**asdict(job), "command": job.command}


async def wrong(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such address, no such method, too large) in plain words."""
    assert isinstance(error, HTTPException)
    words = {
        404: "there is no such page",
        405: "this cannot be done here",
        413: "this is too large",
    }
    return answer_error(error.status_code, words.get(error.status_code, "this was refused"))


def make_app(
    library: Library, guard: Guard, language: str = "en", console: Console | None = None
) -> ASGIApp:
    """The whole application for a served folder."""
    console = console or Console()
    served = LivePage(library, language, open_paths=guard.token is None)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        going = asyncio.create_task(served.keep_going(console))
        try:
            yield
        finally:
            going.cancel()
            served.close()

    app = Starlette(
        routes=served.routes(), exception_handlers={HTTPException: wrong}, lifespan=lifespan
    )
    return Guarded(app, guard, console)


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there; InputError where that cannot be."""
    try:
        address = ipaddress.ip_address(host)
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        bound = socket.socket(family)
    except (ValueError, OSError):
        raise InputError(f"--host {host} is no address", "give one like 0.0.0.0") from None
    # On Windows it would let another process take over a port that is in use.
    own = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
    bound.setsockopt(socket.SOL_SOCKET, own, 1)
    try:
        bound.bind((host, port))
        bound.listen(64)
    except (OSError, OverflowError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot serve at {host}:{port} ({reason})", "name another --port"
        ) from None
    return bound


def serve(
    folder: Path | None, host: str | None, port: int, language: str, console: Console
) -> None:
    """Serve a folder until Ctrl-C; trainings that the page started go on.

    folder: the usual one where none is named; that need not be there yet
    host:   another address than this machine's own, which needs a token
    """
    root = Path("runs") if folder is None else folder
    check_root(root, named=folder is not None)
    files.make_folder(root / HIDDEN)
    lock = FileLock(root / HIDDEN / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:  # two would begin each job twice
        raise InputError(f"{root} has a live page already", "open that one, or end it") from None
    with lock:
        serve_alone(root, host, port, language, console)


def serve_alone(root: Path, host: str | None, port: int, language: str, console: Console) -> None:
    """Serve a folder that no other process serves."""
    bound = bind(host or LOOPBACK, port)
    library = Library(root)
    token = None if host in (None, LOOPBACK, "::1") else secrets.token_urlsafe(16)
    guard = Guard(host or LOOPBACK, bound.getsockname()[1], token)
    app = make_app(library, guard, language, console)
    config = uvicorn.Config(
        app, log_level="critical", access_log=False, server_header=False, lifespan="on",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    for link in guard.links:
        console.say(english(Note("serving", {"folder": str(root), "link": link})))
    if token is not None:
        console.say(f"note: {english(Note('anybody_with_link'))}")
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(bound):
        uvicorn.Server(config).run(sockets=[bound])
    sys.stderr.flush()

"""Data sets of the Hugging Face Hub, `hf:owner/name[:config]`, by their parquet files.

The files come from the branch where the Hub converts every set to parquet, else from the set
itself. The first time, a record is kept in `hub` of the cache: the commit and its files. So the
same name always means the same data, and opening it again needs no network. Remove the record to
fetch what the Hub has then. The files lie in the cache of the Hub's library, which fetches,
resumes and locks them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from triptych.data.sources import PART_NAMES, Columns, Origin, Progress, Source
from triptych.data.sources.parquet import part_of, read_parquet_files
from triptych.data.store import cache_folder
from triptych.errors import ANYTHING, InputError, first_line
from triptych.files import write_json
from triptych.records import Note, read_notes

PREFIX = "hf:"
NAME = re.compile(r"((?:[\w.-]+/)?[\w.-]+)(?::([^:/\\]+))?")
CONVERTED = "refs/convert/parquet"  # laid out as <config>/<split>/0000.parquet
PARTIAL = "partial-"  # begins the splits that the Hub converted in part only
DEFAULTS = ("default", "plain_text")  # configs taken unasked where there are several
TIMEOUT = 30.0  # seconds to wait for the list of files
VERSION = 1  # of the records


@dataclass(frozen=True)
class HubFile:
    """A parquet file of a set.

    name: its path in the set
    size: bytes
    etag: what the Hub calls its content
    """

    name: str
    size: int
    etag: str

    def config(self, converted: bool) -> str:
        """The config it belongs to, by the folders it lies in."""
        folders = PurePosixPath(self.name).parts[:-1]
        if converted:
            return folders[0] if folders else "default"
        own = [name for name in folders if name != "data" and name.lower() not in PART_NAMES]
        return own[0] if own else "default"

    def split(self, converted: bool) -> str:
        """The split it belongs to, as the set calls it."""
        path = PurePosixPath(self.name)
        if converted:
            return path.parent.name.removeprefix(PARTIAL)
        return part_of(Path(path)) or path.stem.split("-")[0]


@dataclass(frozen=True)
class Listing:
    """The parquet files of one branch at one commit."""

    commit: str
    files: tuple[HubFile, ...]
    converted: bool

    @property
    def configs(self) -> list[str]:
        """The configs that have files."""
        return sorted({file.config(self.converted) for file in self.files})

    def of(self, config: str) -> list[HubFile]:
        """The files of a config."""
        return [file for file in self.files if file.config(self.converted) == config]

    def partial(self, config: str) -> bool:
        """Whether the Hub converted a part of some split of the config only."""
        folders = [PurePosixPath(file.name).parent.name for file in self.of(config)]
        return self.converted and any(name.startswith(PARTIAL) for name in folders)


@dataclass(frozen=True)
class Record:
    """The commit, config and files of a set: enough to open it offline, or to fetch it again."""

    repo: str
    config: str
    commit: str
    files: tuple[HubFile, ...]
    notes: tuple[Note, ...] = ()


def find(name: str, columns: Columns) -> Origin:
    """The set that `hf:owner/name[:config]` names; asks the Hub where there is no record.

    Reading it fetches the files and tells the progress in bytes.
    """
    repo, config = split_name(name)
    path = record_path(repo, config)
    record = load_record(path, repo)
    if record is None:
        record = look_up(repo, config)
        save_record(path, record)
    identity = asdict(record)
    identity.pop("notes")
    asked = [columns.image, columns.label]

    def read(progress: Progress) -> Source:
        folder, files = fetch(record, path, progress)
        source = read_parquet_files(files, folder, columns, Path(repo), follow=False)
        return replace(source, notes=record.notes + source.notes)

    return Origin(name.removeprefix(PREFIX), {"source": "hub", **identity, "columns": asked}, read)


def split_name(name: str) -> tuple[str, str | None]:
    """Set and config of a name.

    >>> split_name("hf:owner/name:config")
    ('owner/name', 'config')
    """
    match = NAME.fullmatch(name.removeprefix(PREFIX))
    if match is None:
        raise InputError(f"no data '{name}'", "write hf:owner/name or hf:owner/name:config")
    return match[1], match[2]


# What the Hub has


def library(needing: str = "hf:") -> Any:
    """huggingface_hub, which only these data need, and what goes to the Hub.

    needing: what needs it, for the error where it is missing
    """
    # read when the library is loaded; whoever loaded it before has chosen
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ANYTHING as error:
        wrong = f"{needing} needs huggingface_hub ({first_line(error)})"
        raise InputError(wrong, "pip install 'triptych[hf]'") from error
    return huggingface_hub


def client() -> Any:
    """The library's client of the Hub, or of the mirror that HF_ENDPOINT names."""
    return library().HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def look_up(repo: str, config: str | None) -> Record:
    """The set as the Hub converted it, unless in part only and it has parquet of its own."""
    partial: Record | None = None
    for revision in (CONVERTED, "main"):
        listing = list_files(repo, revision)
        if partial is None:
            record = choose(repo, config, listing) if listing.files else None
        else:
            there = partial.config in listing.configs
            record = choose(repo, partial.config, listing) if there else None
        if record and not listing.partial(record.config):
            return record
        partial = partial or record
    if partial is None:
        raise InputError(
            f"{repo} has no parquet files on the Hub",
            f"fetch its images from {page(repo)} and name their folder",
        )
    return partial


def list_files(repo: str, revision: str) -> Listing:
    """The set's parquet files in a branch; none where there is no such branch."""
    hub, errors = client(), library().errors
    with explained(repo):
        try:
            info = hub.dataset_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
        except errors.RevisionNotFoundError:
            return Listing("", (), False)
    files = tuple(
        HubFile(file.rfilename, file.size or 0, file.lfs.sha256 if file.lfs else file.blob_id)
        for file in sorted(info.siblings or [], key=lambda file: file.rfilename)
        if file.rfilename.endswith(".parquet")
    )
    return Listing(info.sha, files, revision == CONVERTED)


def choose(repo: str, config: str | None, listing: Listing) -> Record:
    """The files of one config, and of its train, validation and test splits where it has some."""
    configs = listing.configs
    usual = [name for name in DEFAULTS if name in configs]
    chosen = config or (configs[0] if len(configs) == 1 else next(iter(usual), None))
    if chosen not in configs:
        wrong = f"no config '{config}' in {repo}" if config else f"{repo} has several configs"
        raise InputError(wrong, "name one of " + ", ".join(f"hf:{repo}:{c}" for c in configs))
    files = listing.of(chosen)
    notes = []
    splits = {file: file.split(listing.converted) for file in files}
    left_out = sorted({name for name in splits.values() if name.lower() not in PART_NAMES})
    if left_out and len(left_out) < len(set(splits.values())):
        files = [file for file in files if splits[file] not in left_out]
        notes.append(Note("splits_left_out", {"splits": ", ".join(left_out)}))
    if listing.partial(chosen):
        notes.append(Note("partly_converted", {"set": repo}))
    return Record(repo, chosen, listing.commit, tuple(files), tuple(notes))


# The record


def record_path(repo: str, config: str | None) -> Path:
    """The file that holds the record of this name."""
    digest = hashlib.blake2b(f"{repo}:{config or ''}".encode(), digest_size=6).hexdigest()
    return cache_folder() / "hub" / f"{repo.replace('/', '--')}-{digest}.json"


def load_record(path: Path, repo: str) -> Record | None:
    """The record; None where there is none, or where its content is not sound."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if read.pop("version") != VERSION or read["repo"] != repo:
            return None
        files = tuple(HubFile(**file) for file in read.pop("files"))
        record = Record(files=files, **{**read, "notes": read_notes(read["notes"])})
        texts = [record.config, record.commit]
        texts += [text for file in files for text in (file.name, file.etag)]
        sound = all(isinstance(text, str) for text in texts) and all(map(sound_file, files))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return record if sound and files and re.fullmatch("[0-9a-f]{40}", record.commit) else None


def sound_file(file: HubFile) -> bool:
    """Whether a remembered file is one inside its set."""
    path = PurePosixPath(file.name)
    inside = not path.is_absolute() and ".." not in path.parts
    return inside and path.suffix == ".parquet" and isinstance(file.size, int)


def save_record(path: Path, record: Record) -> None:
    """Write the record, complete or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"version": VERSION, **asdict(record)})
    except OSError as error:
        raise InputError(
            f"cannot remember {record.repo} in {path.parent} ({error.strerror})",
            "name a folder with room in TRIPTYCH_CACHE",
        ) from error


# The files


def fetch(record: Record, record_file: Path, progress: Progress) -> tuple[Path, list[Path]]:
    """The files in the Hub's cache, downloaded where they are not there, and their folder."""
    hub, errors = client(), library().errors
    total, done = sum(file.size for file in record.files), 0
    paths: list[Path] = []
    try:
        for file in record.files:
            meter = Meter(progress, done, file.size, total)
            paths.append(download(hub, record, file, meter))
            done += file.size
            progress(done, total)
    except (errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError) as error:
        record_file.unlink(missing_ok=True)
        raise InputError(
            f"the Hub no longer has {record.repo} as it was first found",
            "run it again to take what it has now",
        ) from error
    depth = len(PurePosixPath(record.files[0].name).parts)
    return paths[0].parents[depth - 1], paths


def download(hub: Any, record: Record, file: HubFile, meter: Meter) -> Path:
    """One file, of the remembered commit and size."""
    for again in (False, True):
        with explained(record.repo):
            wanted = {"repo_type": "dataset", "revision": record.commit, "force_download": again}
            got = hub.hf_hub_download(record.repo, file.name, **wanted, tqdm_class=meter.bar)
            path = Path(got)
        if path.stat().st_size == file.size:
            return path
    raise InputError(
        f"{path} is not as the Hub announced it", f"remove it and {record.repo}'s record"
    )


class Meter:
    """Turns the library's progress bars of one file into our progress, in bytes.

    The library may draw two bars for one file: bytes received and bytes written.
    """

    def __init__(self, progress: Progress, before: int, size: int, total: int) -> None:
        self.progress, self.before, self.size, self.total = progress, before, size, total

    def bar(self, *_: Any, initial: int = 0, **__: Any) -> Bar:
        """The library calls this to draw a bar."""
        return Bar(self, initial)

    def show(self, done: int) -> None:
        """Report how many bytes of the file are there."""
        self.progress(self.before + max(0, min(done, self.size)), self.total)


class Bar:
    """A progress bar that draws nothing and tells its meter."""

    def __init__(self, meter: Meter, initial: int) -> None:
        self.meter, self.n, self.total = meter, initial, meter.size

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, n: float | None = 1) -> None:
        """Add n bytes; n is negative where a download starts again."""
        self.n += int(n or 0)
        self.meter.show(self.n)

    def set_postfix_str(self, *_: Any, **__: Any) -> None:
        """Speeds are not shown."""

    def refresh(self, *_: Any, **__: Any) -> None:
        """Nothing is drawn."""

    def close(self) -> None:
        """Nothing is left open."""


# What goes wrong


def page(repo: str) -> str:
    """The address where a person finds the set."""
    return f"{client().endpoint}/datasets/{repo}"


@contextmanager
def silenced() -> Iterator[None]:
    """Inside, the library logs nothing and warns of nothing: what matters is in its errors."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def explained(repo: str) -> Iterator[None]:
    """Inside, the library is silent, and its errors become an InputError of one line."""
    errors = library().errors
    try:
        with silenced():
            yield
    except (errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError):
        raise
    except Exception as error:  # the library's, its HTTP library's and the system's
        raise mended(error, repo) from error


def mended(error: BaseException, repo: str) -> InputError:
    """The InputError for an error of the library about a set."""
    errors = library().errors
    while isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__  # it only says that the file is not in the cache either
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError) or status == 403:
        return InputError(
            f"{repo} is gated", f"accept its terms at {page(repo)} and log in with 'hf auth login'"
        )
    if isinstance(error, errors.HFValidationError) or status in (401, 404):
        return InputError(
            f"no data set {repo} on the Hub",
            "check the name; if it is private, log in with 'hf auth login'",
        )
    if isinstance(error, errors.OfflineModeIsEnabled):
        return InputError(f"{repo} is not in the Hub's cache", "unset HF_HUB_OFFLINE to fetch it")
    if isinstance(error, OSError) and error.errno is not None and status is None:
        return InputError(
            f"cannot keep the files of {repo} ({error.strerror})",
            "name a folder with room in HF_HOME",
        )
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return InputError(
        f"cannot reach the Hub for {repo} ({reason})",
        f"check the network, or fetch the files from {page(repo)} and name their folder",
    )

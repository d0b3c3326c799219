"""The Hub: a run or a comparison goes there with its card, and comes back as it was.

Everything is checked and written into a folder before the Hub is asked for anything, and goes there
in one commit: what is there is whole. What comes from there is a stranger's: only files that we
write are taken, no larger than they may be, into a folder beside the one asked for, which gets its
name when all are there and the weights are those that the run names.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from triptych import files
from triptych.comparison.compare import CONTRACT, RESULTS
from triptych.console import Console
from triptych.data.sources import hub
from triptych.errors import InputError, first_line
from triptych.export.card import Licenses
from triptych.export.hub_folder import (
    CARD,
    RUN_JSON,
    check_pushable,
    is_comparison,
    is_pulled,
    is_pushed,
    write_comparison_for_hub,
    write_run_for_hub,
)
from triptych.hardware import Machine
from triptych.options import DEFAULT_DATA, PushRequest
from triptych.pages.load import read_required
from triptych.pages.page import write_page
from triptych.records import ContractRecord
from triptych.run import Run
from triptych.training.run_folder import WEIGHTS, RunFolder, load_model

Verb = Literal["push", "pull"]
NAME = re.compile(r"[\w.-]+/[\w.-]+")  # owner/name; the library knows what else is wrong with it
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"
MOST_FILES = 4096  # of a run or a comparison
MOST_PICTURE = 2**26  # bytes
MOST_TEXT = {CARD: 2**20, RESULTS: files.MOST_RESULTS}
TIMEOUT = 30.0  # seconds to wait for the list of files


@dataclass(frozen=True)
class HubFile:
    """A file on the Hub: its path there, how many bytes it has, and what the Hub tells of them.

    sha256: of large files; None of others
    git_id: what git calls the content of others; None of large files, or where it is not told
    """

    name: str
    size: int
    sha256: str | None
    git_id: str | None

    def is_at(self, path: Path) -> bool:
        """Whether a file here is as the Hub announced it."""
        if path.stat().st_size != self.size:
            return False
        if self.sha256 is not None:
            return files.sha256(path) == self.sha256
        return self.git_id is None or git_id(path.read_bytes()) == self.git_id


# Going there


def push(asked: PushRequest, machine: Machine, console: Console) -> str:
    """Write a run or a comparison to the Hub under a name; gives its address there.

    InputError before anything is sent: on a folder that is neither, a name that is none, a licence
    that nobody named, or where no token is there. What is there under that name is replaced as far
    as it is of an earlier push; other files stay, and where one has the name of a file that would
    go there and no push was there, that is an InputError too.
    """
    check_name(asked.name)
    check_pushable(asked.path)
    licenses = Licenses(weights=asked.license, data=asked.data_license)
    check_licenses(licenses, asked.path)
    library = hub.library("the Hub")
    if not library.get_token():
        raise InputError("there is no token for the Hub", LOG_IN)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if is_comparison(asked.path):
            subject = write_comparison_for_hub(asked.path, folder, licenses, asked.name)
        else:
            run = Run(asked.path, machine)
            subject = write_run_for_hub(run, folder, console, licenses, asked.name)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        size = sum(path.stat().st_size for path in paths)
        console.say(f"  {len(paths)} files, {size / 1e6:.1f} MB, to {asked.name}")
        if any(path.parent.name == "figures" for path in paths):
            console.say("  figures/ shows some of the data's own images beside the model's")
        # The library draws bars on a terminal alone; elsewhere ours tells of the wait.
        waiting = nullcontext() if sys.stderr.isatty() else console.bar("  uploading")
        with explained(asked.name, console, "push"), waiting:
            return upload(asked, subject.title, folder, paths)


def upload(asked: PushRequest, title: str, folder: Path, paths: Sequence[Path]) -> str:
    """One commit with these files and without those of an earlier push; its repository's address.

    InputError where it is to be private and is there already for everybody to see, or where files
    of somebody's own would be replaced.
    """
    library, client = hub.library("the Hub"), hub.client()
    client.create_repo(asked.name, private=asked.private or None, exist_ok=True)
    there = client.model_info(asked.name, timeout=TIMEOUT)
    if asked.private and not there.private:
        raise InputError(
            f"{asked.name} is there already and everybody can see it",
            "make it private in its settings on the Hub, or give another name",
        )
    added = {path.relative_to(folder).as_posix(): path for path in paths}
    names = {each.rfilename for each in there.siblings or []}
    is_ours = bool(names & {RUN_JSON, CONTRACT})  # else like names are somebody's own files
    if not is_ours and (taken := sorted(names & added.keys())):
        raise InputError(
            f"{asked.name} holds files that no push wrote ({', '.join(taken)})",
            "remove these there, or give another name",
        )
    earlier = {name for name in names if is_ours and is_pushed(name)}
    operations = [
        library.CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path))
        for name, path in added.items()
    ]
    operations += [
        library.CommitOperationDelete(path_in_repo=name) for name in sorted(earlier - added.keys())
    ]
    client.create_commit(
        asked.name, operations, commit_message=f"{title}, by triptych", parent_commit=there.sha
    )
    return f"{client.endpoint}/{asked.name}"


def check_name(name: str) -> None:
    """InputError on what is no owner/name."""
    errors = hub.library("the Hub").errors
    try:
        if NAME.fullmatch(name) is None:
            raise ValueError
        hub.library("the Hub").utils.validate_repo_id(name)
    except (ValueError, errors.HFValidationError):
        raise InputError(f"'{name}' is no name on the Hub", "write owner/name") from None


def check_licenses(licenses: Licenses, folder: Path) -> None:
    """InputError unless it was said under what weights and images may be used."""
    if licenses.weights is None:
        raise InputError(
            "nobody can use a model without a licence",
            "give --license, as apache-2.0, cc-by-4.0 or other",
        )
    values = files.read_json(
        folder / (CONTRACT if is_comparison(folder) else RUN_JSON), "name a run or a comparison"
    )
    data = values.get("data") if isinstance(values, dict) else None
    source = data.get("source") if isinstance(data, dict) else None
    if licenses.data is None and source != DEFAULT_DATA:
        raise InputError(
            "the card says under what licence the images may be used",
            "give --data-license, as cc-by-4.0, or unknown",
        )


# Coming back


def pull(name: str, out: Path, console: Console) -> Path:
    """Fetch a run or a comparison that `push` wrote into a new folder, which is returned.

    InputError where there is none, or where it is not as it was written: then nothing is left.
    """
    check_name(name)
    taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    fixed = out.is_symlink() or out.resolve() == Path.cwd() or out.is_mount()
    if taken or fixed:  # which cannot be replaced
        raise InputError(f"{out} is there already", "name a new folder by --out")
    files.check_can_make(out)
    with explained(name, console, "pull"):
        info = hub.client().model_info(name, files_metadata=True, timeout=TIMEOUT)
    wanted = [
        HubFile(
            each.rfilename,
            each.size or 0,
            sha256=each.lfs.sha256 if each.lfs else None,
            git_id=None if each.lfs else each.blob_id,
        )
        for each in info.siblings or []
        if is_wanted(each.rfilename, name)
    ]
    check_wanted(wanted, name)
    files.make_folder(out.parent)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        folder = Path(scratch) / "pulled"
        fetch(name, info.sha, wanted, folder, console)
        check_pulled(folder, name)
        if out.exists():
            out.rmdir()  # it is empty
        folder.rename(out)
    return out


def is_wanted(file: str, name: str) -> bool:
    """Whether a file is one of a run or a comparison; InputError on a path that leads elsewhere."""
    path = PurePosixPath(file)
    strange = path.is_absolute() or ".." in path.parts or "\\" in file or ":" in file
    if strange or not file or "\0" in file:
        raise InputError(f"{name} holds a file '{file[:80]}'", "pull nothing from there")
    return is_pulled(file) and not any(part.startswith(".") for part in path.parts)


def check_wanted(wanted: Sequence[HubFile], name: str) -> None:
    """InputError where there is no run among the files, or where they are too many or too large."""
    names = {file.name for file in wanted}
    if not names & {RUN_JSON, CONTRACT}:
        raise InputError(f"{name} holds no run of triptych", "check the name")
    if len(wanted) > MOST_FILES:
        raise InputError(f"{name} holds {len(wanted):,} files", "pull nothing from there")
    for file in wanted:
        if file.size > most_bytes(file.name):
            raise InputError(
                f"{file.name} of {name} holds {file.size:,} bytes", "pull nothing from there"
            )


def most_bytes(name: str) -> int:
    """How large a file of ours may be."""
    path = PurePosixPath(name)
    if path.name == WEIGHTS:
        return sys.maxsize  # more than the disk has is refused, and than the memory when loading
    if path.suffix == ".png":
        return MOST_PICTURE
    return MOST_TEXT.get(path.name, files.MOST_JSON)


def fetch(
    name: str, commit: str, wanted: Sequence[HubFile], folder: Path, console: Console
) -> None:
    """These files of a commit into a new folder, each of the announced size and content."""
    total = sum(file.size for file in wanted)
    if total > shutil.disk_usage(folder.parent).free:
        raise InputError(f"{name} needs {total:,} bytes", "make room, or name another --out")
    client, done = hub.client(), 0
    with console.bar("  fetching", total) as bar, explained(name, console, "pull"):
        for file in wanted:
            meter = hub.Meter(bar.update, done, file.size, total)
            client.hf_hub_download(
                name, file.name, revision=commit, local_dir=folder, tqdm_class=meter.bar
            )
            done += file.size
            bar.update(done, total)
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # the library's own notes
    for file in wanted:
        if not file.is_at(folder / file.name):
            raise InputError(f"{file.name} of {name} is not as the Hub announced it", "pull again")


def git_id(content: bytes) -> str:
    """What git calls a file's content: SHA-1 of its kind, its length and itself.

    >>> git_id(b"")
    'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'
    """
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def check_pulled(folder: Path, name: str) -> None:
    """InputError unless a run loads, or all runs of a comparison, whose page is written."""
    try:
        if is_comparison(folder):
            check_inside(folder)
            for run_json in sorted(folder.glob(f"*/{RUN_JSON}")):
                load_model(RunFolder(run_json.parent))
            write_page(folder)
        else:
            load_model(RunFolder(folder))
    except InputError as error:
        reason = error.wrong.replace(f"{folder}/", "")
        raise InputError(f"what is at {name} does not load: {reason}", "pull another") from error


def check_inside(folder: Path) -> None:
    """InputError where a contract names runs elsewhere: their pictures would come into the page."""
    for run in read_required(ContractRecord, folder / CONTRACT).runs:
        if run in ("", ".", "..") or set(run) & set("/\\:\0"):
            raise InputError(f"its contract names a run '{run[:80]}'", "pull nothing from there")


# What goes wrong


@contextmanager
def explained(name: str, console: Console, verb: Verb) -> Iterator[None]:
    """Inside, the library logs nothing, draws bars where we do, and its errors are one line."""
    library = hub.library("the Hub")
    bars = not console.quiet and sys.stderr.isatty()
    were_off = library.utils.are_progress_bars_disabled()
    if not bars:
        library.utils.disable_progress_bars()
    try:
        with hub.silenced():
            yield
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:  # the library's, its HTTP library's and the system's
        raise mended(error, name, verb) from error
    finally:
        if not bars and not were_off:
            library.utils.enable_progress_bars()


def mended(error: BaseException, name: str, verb: Verb) -> InputError:
    """The InputError for an error of the library about a model that goes there or comes back."""
    errors = hub.library("the Hub").errors
    while isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__:
        error = error.__cause__  # it only says that the file is not in the cache either
    status = getattr(getattr(error, "response", None), "status_code", None)
    page = f"{hub.client().endpoint}/{name}"
    if isinstance(error, errors.GatedRepoError):
        return InputError(f"{name} is gated", f"accept its terms at {page} and {LOG_IN}")
    if status == 404 or isinstance(error, errors.RepositoryNotFoundError):
        return InputError(
            f"no model {name} on the Hub", f"check the name; if it is private, {LOG_IN}"
        )
    if status == 401:
        return InputError("the Hub does not accept the token", LOG_IN)
    if status == 403 and verb == "pull":
        return InputError(f"the token may not read {name}", f"ask its owner, or {LOG_IN}")
    if status == 403:
        return InputError(
            f"the token may not write to {name}",
            "give a name of your own, and a token with the right to write",
        )
    if status in (409, 412):
        return InputError(f"{name} was changed by another at the same time", f"{verb} again")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return InputError("the Hub is switched off here", "unset HF_HUB_OFFLINE")
    if isinstance(error, OSError) and error.errno is not None and status is None:
        return InputError(f"cannot keep the files of {name} ({error.strerror})", "make room")
    reason = first_line(error).strip()[:200]
    if status == 429:
        return InputError("the Hub was asked too often", f"wait a while, and {verb} again")
    if status is not None and 400 <= status < 500:
        return InputError(f"the Hub refuses {name} ({reason})", f"mend that, and {verb} again")
    return InputError(f"cannot reach the Hub for {name} ({reason})", "check the network, try again")

"""Records as others may see them: what they hold of this machine's paths is left out.

A run is loaded and judged by what it was trained on, with which settings, and on what hardware. It
is not by where its images lie: of a path the last part stays, which is what a person called them.
Nor is it by what files, folders and columns within them are called, which may be names of people:
notes on data that tell such names stay here.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from triptych.records import (
    ContractRecord,
    DataRecord,
    MeasuredOn,
    Note,
    ResultsRecord,
    RunRecord,
)

HUB = "hf:"  # begins the names of sets of the Hub, which are no paths
# From a root, a home, the folder at work or above, or an address that is none of the web, to a
# name that no slash follows. Folders may have spaces and apostrophes within, but no colon before a
# space, which ends a path in a sentence; the last name ends at a space, for nobody can tell more.
INSIDE = re.compile(
    r"""
    (?<![\w.:/\\])
    (?: (?!https?:) [A-Za-z][\w+.-]*:(?=//) | ~[\w.-]* | \.{1,2} | [A-Za-z]: )?
    [/\\]+
    (?:
        [^\s/\\"']
        (?: (?: (?!:\s) (?: [^/\\"'\n] | (?<=\w)'(?=\w) ) )* [^\s/\\"'] )?
        [/\\]+
    )*
    ( [^\s/\\"']+ )
    """,
    re.VERBOSE,
)
RUN = "run"  # in origins, notes and results
TEXTS = ("resolution", "sizes", "type")  # in notes on data, which are no names of theirs
UNTOUCHED = ("settings", "labels", "classes", "digests", "terms")  # names of ours or of the data's


def last_part(path: str) -> str:
    """What a file or folder is called, whatever system wrote its path; sets of the Hub as they are.

    >>> last_part("/home/me/My photos/"), last_part("C:\\\\me\\\\a.npz"), last_part("hf:us/zoo")
    ('My photos', 'a.npz', 'hf:us/zoo')
    """
    if path.startswith(HUB):
        return path
    name = PurePosixPath(PureWindowsPath(path).as_posix()).name
    return name or "data"


def without_paths(value: Any) -> Any:
    """JSON with the last part of paths: of whole texts, of those within, and of what names a run.

    >>> without_paths({"note": "read /home/me/photos: 3 files", "of": "/home/me/My photos"})
    {'note': 'read photos: 3 files', 'of': 'My photos'}
    >>> without_paths({"text": "../me/a has no checkpoint", "values": {"run": "me/my runs/a"}})
    {'text': 'a has no checkpoint', 'values': {'run': 'a'}}
    >>> without_paths(["read smb://nas/My photos/y.png: 3/4", "~me/b/x y", "https://us.org/a"])
    ['read y.png: 3/4', 'x y', 'https://us.org/a']
    """
    if isinstance(value, dict):
        return {k: v if k in UNTOUCHED else last_of(k, v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(each) for each in value]
    if not isinstance(value, str):
        return value
    if PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute():
        return last_part(value)
    return INSIDE.sub(r"\1", value)


def last_of(name: str, value: Any) -> Any:
    """A value of a JSON object, by its name: a run is named by its folder, wherever that lies."""
    if name == RUN and isinstance(value, str) and value:
        return last_part(value)
    return without_paths(value)


def command_without_paths(command: str) -> str:
    """A command with the last part of every path in it.

    >>> command_without_paths("triptych train vae --data '/home/me/My photos' --out ../me/a")
    "triptych train vae --data 'My photos' --out a"
    """
    try:
        words = shlex.split(command)
    except ValueError:  # nobody typed this
        return ""
    return shlex.join(map(word_without_paths, words))


def word_without_paths(word: str) -> str:
    """One word: an option keeps its name, `NAME=PATH` and `KIND:PATH` keep what stands before."""
    option, joined, value = word.partition("=")
    if joined and "/" not in option and "\\" not in option:
        return option + joined + word_without_paths(value)
    has_path = "/" in word or "\\" in word or word.startswith("~")
    return last_part(word) if has_path else word


def names_nothing(note: Note) -> bool:
    """Whether a note on data tells numbers alone, and no name of a file, a folder or a column."""
    return all(name in TEXTS or not isinstance(each, str) for name, each in note.values.items())


def private_data(data: DataRecord) -> DataRecord:
    """Images without the folder that they lie in and without names within them."""
    notes = tuple(filter(names_nothing, data.notes))
    return replace(data, source=last_part(data.source), place=None, notes=notes)


def private_run(record: RunRecord) -> RunRecord:
    """A run that loads as before and samples the same; run.json without this machine's paths."""
    averaged = record.averaged_from
    record = replace(
        record,
        averaged_from=averaged and replace(averaged, run=last_part(averaged.run)),
        data=private_data(record.data),
        command=command_without_paths(record.command),
        teacher=None if record.teacher is None else last_part(record.teacher),
        follows=None if record.follows is None else last_part(record.follows),
    )
    return RunRecord.read(without_paths(record.to_json()))


def private_results(record: ResultsRecord) -> ResultsRecord:
    """Results without the folder that samples from elsewhere, or their run, came from."""
    samples = record.samples
    if samples is not None:  # whose notes are among the warnings too
        notes = tuple(filter(names_nothing, samples.notes))
        warnings = tuple(w for w in record.warnings if w in notes or w not in samples.notes)
        samples = replace(samples, source=word_without_paths(samples.source), notes=notes)
        record = replace(record, warnings=warnings)
    record = replace(record, samples=samples, run=last_part(record.run) if record.run else "")
    return ResultsRecord.read(without_paths(record.to_json()))


def private_contract(record: ContractRecord, runs: tuple[str, ...]) -> ContractRecord:
    """A contract over runs of these names; what was asked to make it is left out.

    What was asked must agree for a comparison to be gone on with, which nobody can do elsewhere.
    """
    data = record.data if isinstance(record.data, MeasuredOn) else private_data(record.data)
    command = command_without_paths(record.command)
    record = replace(record, data=data, command=command, request={}, runs=runs)
    return ContractRecord.read(without_paths(record.to_json()))

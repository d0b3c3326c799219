"""Files that runs write are of the JSON Schemas in docs/schemas; a log gives back its events."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from triptych import records
from triptych.training.log import RunLog, events

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = ROOT / "docs" / "schemas"
EARLIER = ROOT / "tests" / "earlier"
ANNOTATIONS = {"title", "description", "default", "$defs"}
TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a value is of a JSON Schema: the words of it that ours use, and no others."""
    tests: dict[str, Callable[[Any], bool]] = {
        "$ref": lambda ref: fits(value, root["$defs"][ref.split("/")[-1]], root),
        "type": lambda name: (
            isinstance(value, TYPES[name]) and isinstance(value, bool) == (name == "boolean")
        ),
        "const": lambda constant: value == constant,
        "enum": lambda choices: value in choices,
        "anyOf": lambda schemas: any(fits(value, each, root) for each in schemas),
        "oneOf": lambda schemas: sum(fits(value, each, root) for each in schemas) == 1,
        "minItems": lambda count: len(value) >= count,
        "maxItems": lambda count: len(value) <= count,
        "maxProperties": lambda count: len(value) <= count,
        "items": lambda each: all(fits(item, each, root) for item in value),
        "prefixItems": lambda each: all(map(fits, value, each, [root] * len(value))),
        "required": lambda names: value.keys() >= set(names),
        "properties": lambda named: all(
            fits(value[name], each, root) for name, each in named.items() if name in value
        ),
        "additionalProperties": lambda allowed: all(
            allowed is True or (isinstance(allowed, dict) and fits(value[name], allowed, root))
            for name in value.keys() - schema.get("properties", {}).keys()
        ),
    }
    asked = sorted(schema.keys() - ANNOTATIONS, key=lambda word: word != "type")  # type first
    return all(tests[word](schema[word]) for word in asked)


def schema_of(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMAS / f"{name}.json").read_text())
    return schema


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("vae/run.json", "run"),
        ("gan/run.json", "run"),
        ("stopped/run.json", "run"),
        ("interrupted/run.json", "run"),
        ("vae/results.json", "results"),
        ("comparison/results.json", "comparison-results"),
        ("comparison/contract.json", "contract"),
        ("stopped/checkpoints/0-000000000448/progress.json", "progress"),
    ],
)
def test_files_are_of_their_schema(file: str, name: str) -> None:
    record = records.SCHEMAS[name].read(json.loads((EARLIER / file).read_text()))
    schema, values = schema_of(name), json.loads(json.dumps(record.to_json()))
    assert fits(values, schema, schema)
    assert not fits(values | {"colour": "red"}, schema, schema)
    for required in schema["required"]:
        assert not fits({k: v for k, v in values.items() if k != required}, schema, schema)


def test_lines_of_a_log_are_of_its_schema() -> None:
    schema, kinds = schema_of("log"), set()
    for log in EARLIER.rglob("log.jsonl"):
        lines = [
            event.to_json() for kind in get_args(records.LogLine) for event in events(log, kind)
        ]
        assert len(lines) == len(log.read_text().splitlines())  # nothing is passed over
        assert all(fits(json.loads(json.dumps(line)), schema, schema) for line in lines)
        kinds |= {line["event"] for line in lines}
    assert kinds >= {"start", "losses", "diagnosis", "done"}
    assert not fits({"event": "losses", "images": 3}, schema, schema)


@pytest.mark.parametrize("kind", [records.Warned, records.Rewound])
def test_a_message_of_the_version_before_is_a_note(
    tmp_path: Path, kind: type[records.Warned | records.Rewound]
) -> None:
    entry = {"event": kind.event, "images": 3, "message": "it is tired"}
    entry |= {"to": 2} if kind is records.Rewound else {}
    (tmp_path / "log.jsonl").write_text(json.dumps(entry))
    [event] = events(tmp_path / "log.jsonl", kind)
    assert event.note == records.Note("text", {"text": "it is tired"})


def test_a_log_gives_back_what_was_written_and_passes_over_the_rest(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    scored = records.Scored(images=64, value=1.5, sha256="aa")
    log.write(scored)
    log.write(records.Scored(images=128, value=float("nan"), sha256="bb"))
    log.write(records.Done(images=256))
    with log.path.open("a") as file:
        file.write('{"event": "score", "images": "x", "value": 1, "sha256": ""}\n[]\n3\n{"torn')
    assert log.path.read_text().splitlines()[0] == (
        '{"event": "score", "images": 64, "value": 1.5, "sha256": "aa"}'
    )
    lost = records.Scored(images=128, value=None, sha256="bb")  # JSON has no NaN
    assert events(log.path, records.Scored) == [scored, lost]
    assert events(log.path, records.Done) == [records.Done(images=256)]
    assert events(tmp_path / "none.jsonl", records.Done) == []


def test_losses_that_are_no_numbers_are_null_in_the_log(tmp_path: Path) -> None:
    losses = {"vae/total": math.nan, "vae/kl": 0.5, "vae/rate": -math.inf}
    event = records.LossesEvent(
        images=1, phase=0, seconds=1.0, images_per_second=2.0, memory_bytes=3, losses={**losses}
    )
    RunLog(tmp_path / "log.jsonl").write(event)
    written = json.loads((tmp_path / "log.jsonl").read_text())
    assert written["losses"] == {"vae/total": None, "vae/kl": 0.5, "vae/rate": None}


def test_a_log_is_cut_to_the_lines_that_its_checkpoint_knows(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "log.jsonl")
    log.write(records.Started(event="start", images=0))
    known = log.size()
    log.write(records.Done(images=64))
    RunLog(log.path, writes=False).cut(known)
    assert len(log.path.read_text().splitlines()) == 2
    log.cut(known)
    assert [json.loads(line)["event"] for line in log.path.read_text().splitlines()] == ["start"]

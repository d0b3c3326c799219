"""The pages of the site that are written from the code: commands, Python, JSON files."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any

import triptych
from triptych.cli import commands as cli_commands
from triptych.cli import parser
from triptych.families import registry
from triptych.options import Options, is_argument, own_first, typed_name
from triptych.records import Record

NAMED = re.compile(r"^(\w+(?:, \w+)*):\s+(?=\S)")  # `name: what it is` in a docstring
OPTIONS = "\n\nOptions:\n"  # what `options.takes` adds to a docstring


def cell(text: str) -> str:
    """Text inside of a table; code in it keeps its bars as they are."""
    parts = " ".join(text.split()).split("`")
    return "`".join(part if place % 2 else part.replace("|", "\\|")
                    for place, part in enumerate(parts))  # fmt: skip


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines) + "\n"


def code(text: str) -> str:
    """A piece of code in a line; nothing of nothing."""
    return f"`{text}`" if text else ""


# Commands


def commands() -> str:
    """Every command with its arguments and options, as `--help` has them."""
    parts = [
        "# Commands\n",
        "This page is written from the code, and so is `triptych COMMAND --help`. The"
        " options of `train`, `compare` and `evaluate` are also keywords of these verbs in"
        " [Python](python.md). An option can stand in [a file or the environment](options.md).\n",
        "A command ends with 0 when all is done, with 2 where the input is wrong (one line says"
        " what, and how to mend it), and with 130 or 143 when it was stopped and has saved.\n",
        *map(command, parser.COMMANDS),
        "## Models\n",
        "What a `MODEL` can be. With points of the plane a family alone means its recipe for"
        " points.\n",
        models(),
    ]
    return "\n".join(parts)


def command(name: str) -> str:
    """One command."""
    kind: type[Options] = getattr(cli_commands, parser.COMMANDS[name][0])
    options = own_first(kind)
    types_of = typing.get_type_hints(kind)
    typed = [each for _, each in options if is_argument(each)]
    must = [f"{typed_name(each)} {metavar(types_of[each.name])}" for _, each in options
            if not is_argument(each) and each.default is MISSING]  # fmt: skip
    words = [
        each.metadata["metavar"] if each.default is MISSING else f"[{each.metadata['metavar']}]"
        for each in typed
    ]
    parts = [
        f"## triptych {name}\n",
        inspect.getdoc(kind) or "",
        "",
        "```text\n" + " ".join(["triptych", name, *words, *must, "[OPTIONS]"]) + "\n```\n",
    ]
    if typed:
        rows = [[code(each.metadata["metavar"]), default(each), each.metadata["help"]]
                for each in typed]  # fmt: skip
        parts.append(table(["argument", "default", "is"], rows))
    groups: dict[str, list[Field[Any]]] = {}
    for owner, each in options:
        if not is_argument(each):
            title = vars(owner).get("title", Options.title)
            groups.setdefault(title, []).append(each)
    order = {Options.title: 0, cli_commands.Everywhere.title: 2}  # the rest between
    for title in sorted(groups, key=lambda title: order.get(title, 1)):
        rows = [
            [
                code(f"{typed_name(each)} {metavar(types_of[each.name])}".strip()),
                default(each),
                each.metadata["help"],
            ]
            for each in groups[title]
        ]
        parts += [f"**{title}**\n", table(["option", "default", "does"], rows)]
    return "\n".join(parts)


def metavar(kind: Any) -> str:
    """What follows an option when it is typed; nothing after a switch."""
    choices = [
        str(choice)
        for each in (kind, *typing.get_args(kind))
        if typing.get_origin(each) is typing.Literal
        for choice in typing.get_args(each)
    ]
    if choices:
        return "|".join(choices)
    kinds = {kind, *typing.get_args(kind)}
    names = {bool: "", Path: "PATH", str: "TEXT", int: "N", float: "X"}
    return next((word for each, word in names.items() if each in kinds), "TEXT")


def default(each: Field[Any]) -> str:
    """The default, where it says more than that nothing was asked."""
    if each.default is MISSING:
        return "must be given"
    return shown_default(each.default)


def shown_default(value: Any) -> str:
    """A default as code; empty where nothing was asked, which zero is not."""
    return "" if value is None or value is False or value == () else code(str(value))


def models() -> str:
    """Every recipe with the line that it says of itself."""
    rows = []
    for text in registry.known_models():
        name = registry.ModelName.parse(text)
        recipe, is_default = registry.recipe(name), registry.ModelName.parse(name.family) == name
        usual = f"; {code(name.family)} alone means it" if is_default else ""
        rows.append([code(text), recipe.summary + usual, "yes" if recipe.conditional else ""])
    return table(["model", "is", "takes labels"], rows)


# Python


def python() -> str:
    """Every public name, and the objects that its calls give or hand over."""
    public = {name: getattr(triptych, name) for name in triptych.__all__}
    verbs = {name: each for name, each in public.items() if inspect.isfunction(each)}
    objects = {name: each for name, each in public.items() if inspect.isclass(each)}
    more = given_by([*verbs.values(), *objects.values()], set(objects.values()))
    parts = [
        "# Python\n",
        "This page is written from the code. What stands under *Verbs* and *Objects* is imported"
        " from `triptych`; nothing is loaded before it is used. Paths are `str` or"
        " `pathlib.Path`. What you can mend is raised as `triptych.InputError`.\n",
        "## Verbs\n",
        *(function(f"triptych.{name}", each, "###") for name, each in verbs.items()),
        "## Objects\n",
        *(class_(f"triptych.{name}", each) for name, each in objects.items()),
        "## What verbs and objects give\n",
        "These come out of the calls above, or are handed to a `Callback`. You need not import"
        " them.\n",
        *(class_(f"{each.__module__}.{each.__name__}", each) for each in more),
    ]
    return "\n".join(parts)


def namespace(module: types.ModuleType) -> dict[str, Any]:
    """What annotations in a module may name: also what it imports for the type checker alone."""
    names = dict(vars(module))
    tree = ast.parse(inspect.getsource(module))
    for block in tree.body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for line in block.body:
                if isinstance(line, ast.ImportFrom) and line.module:
                    home = importlib.import_module(line.module)
                    names |= {a.asname or a.name: getattr(home, a.name) for a in line.names}
    return names


def hints(call: Callable[..., Any]) -> dict[str, Any]:
    """The types of a function's parameters and of what it gives."""
    return typing.get_type_hints(call, namespace(sys.modules[call.__module__]))


def classes_in(kind: Any) -> Iterator[type]:
    """The classes of ours that an annotation names."""
    if inspect.isclass(kind) and kind.__module__.startswith("triptych."):
        yield kind
    for each in typing.get_args(kind):
        yield from classes_in(each)


def given_by(public: Sequence[Any], seen: set[Any]) -> list[type]:
    """The classes of ours that public calls return, or that callbacks are handed, once each."""
    found: list[type] = []
    for each in public:
        for call in [each] if inspect.isfunction(each) else [c for _, c in members(each)]:
            if isinstance(call, property):
                call = call.fget
            if not inspect.isfunction(call):
                continue
            kinds = hints(call)
            watched = each is triptych.Callback
            for name, kind in kinds.items():
                for one in classes_in(kind) if watched or name == "return" else ():
                    if one not in seen and one not in found:
                        found.append(one)
    return found


def members(kind: type) -> list[tuple[str, Any]]:
    """The public methods and properties of a class, as they are written, in their order."""
    own = [
        (name, getattr(each, "__func__", each))
        for base in reversed(kind.__mro__)
        if base.__module__.startswith("triptych") and base is not Record
        for name, each in vars(base).items()
        if not name.startswith("_") and name != "migrate"  # of records: for files of before
    ]
    return [
        (name, each)
        for name, each in dict(own).items()
        if inspect.isfunction(each) or isinstance(each, property)
    ]


def written(annotation: Any) -> str:
    """A type as a person writes it."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:pathlib|typing|collections\.abc)\.", "", text)
    return re.sub(r"\btriptych(?:\.\w+)+\.(\w+)", r"\1", text)


def signature(name: str, call: Callable[..., Any], without: Sequence[str] = ()) -> str:
    """A call as it is written; options that a table lists are left out of it."""
    own = inspect.signature(call)
    shown, starred = [], False
    for each in own.parameters.values():
        if each.name in ("self", "cls", *without):
            continue
        if each.kind is each.KEYWORD_ONLY and not starred:
            shown.append("*")
            starred = True
        star = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        text = star + each.name
        if each.annotation is not each.empty:
            text += f": {written(each.annotation)}"
        if each.default is not each.empty:
            text += f" = {each.default!r}"
        shown.append(text)
    if without:
        shown.append("**options")
    gives = own.return_annotation
    end = "" if gives in (own.empty, None, "None") else f" -> {written(gives)}"
    line = f"{name}({', '.join(shown)}){end}"
    if len(line) > 88:
        line = f"{name}(\n    " + ",\n    ".join(shown) + f",\n){end}"
    return f"```python\n{line}\n```\n"


def prose(doc: str) -> str:
    """A docstring in Markdown: paragraphs, and a list of the names that it explains."""
    out: list[str] = []
    for line in doc.splitlines():
        named = NAMED.match(line)
        if line.startswith(">>>"):
            break  # an example for the tests
        if named:
            before = [] if out and out[-1].startswith("- ") else [""]
            names = ", ".join(code(name) for name in named[1].split(", "))
            out += [*before, f"- {names}: {line[named.end() :]}"]
        elif line.startswith(" ") and out and out[-1].startswith("- "):
            out[-1] += " " + line.strip()
        else:
            after = [""] if line and out and out[-1].startswith("- ") else []
            out += [*after, line]
    return "\n".join(out).strip() + "\n"


def function(name: str, call: Callable[..., Any], level: str) -> str:
    """A function or a method: how it is called, what it does, its options."""
    doc, _, listed = (inspect.getdoc(call) or "").partition(OPTIONS)
    options = [line.strip().partition(": ") for line in listed.splitlines()]
    parameters = inspect.signature(call).parameters
    names = [option for option, _, _ in options]
    parts = [f"{level} {name}\n", signature(name.rpartition(".")[2], call, names), prose(doc)]
    if options:
        rows = []
        for option, _, help_text in options:
            value = parameters[option].default
            given = "must be given" if value is MISSING else shown_default(value)
            rows.append([code(option), given, help_text])
        parts.append(table(["option", "default", "does"], rows))
    return "\n".join(parts)


def class_(name: str, kind: type) -> str:
    """A class: what it is, its fields, its methods and properties."""
    short = name.rpartition(".")[2]
    parts = [f"### {name}\n", prose(inspect.getdoc(kind) or "")]
    if is_dataclass(kind) and issubclass(kind, Options):
        rows = [[code(each.name), default(each), each.metadata["help"]] for each in fields(kind)]
        parts.append(table(["field", "default", "is"], rows))
    elif is_dataclass(kind):
        rows = [[code(each.name), code(written(each.type))] for each in fields(kind)]
        parts.append(table(["field", "type"], rows))
    elif kind.__init__ is not object.__init__ and inspect.isfunction(kind.__init__):
        parts.append(signature(short, kind.__init__).replace(" -> None", ""))
    for method, each in [] if issubclass(kind, Options) else members(kind):
        if isinstance(each, property):
            gives = written(inspect.signature(each.fget).return_annotation)  # type: ignore[arg-type]
            parts += [
                f"#### {short}.{method}\n",
                f"A property: {code(gives)}\n",
                prose(inspect.getdoc(each) or ""),
            ]
        else:
            parts.append(function(f"{short}.{method}", each, "####"))
    return "\n".join(parts)


# JSON files


def json_files(folder: Path) -> str:
    """Every record of the JSON Schemas in a folder, with its fields."""
    parts = [
        "# JSON files\n",
        "What Triptych writes, and what is in it. This page is written from the JSON Schemas in"
        " `schemas/`, which are written from `src/triptych/records.py`. A field that is not"
        " required may be missing, or null. Files of earlier versions are still read.\n",
    ]
    for path in sorted(folder.glob("*.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        parts += [f"## {path.stem}\n", f"The schema: [{path.name}](schemas/{path.name}).\n"]
        parts.append(record("", schema, path.stem))
        for name, each in schema.get("$defs", {}).items():
            parts += [f"### {path.stem}: {name}\n", record(name, each, path.stem)]
    return "\n".join(parts)


def anchor(file: str, name: str) -> str:
    """Where a record's heading is on the page, as the site's slugs have it."""
    return f"#{file}-{name}".lower()


def record(name: str, schema: dict[str, Any], file: str) -> str:
    """One record: what it is, and a table of its fields."""
    parts = [prose(schema.get("description", ""))]
    required = schema.get("required", [])
    rows = [
        [code(field), json_type(each, file), "yes" if field in required else ""]
        for field, each in schema.get("properties", {}).items()
    ]
    if rows:
        parts.append(table(["field", "holds", "required"], rows))
    else:
        parts.append(f"It is {json_type(schema, file)}.\n")
    return "\n".join(parts)


def json_type(schema: dict[str, Any] | bool, file: str) -> str:
    """The type of a value in words, with links to the records of the same file."""
    if isinstance(schema, bool) or not schema:
        return "anything"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}]({anchor(file, name)})"
    if "const" in schema:
        return code(json.dumps(schema["const"]))
    if "enum" in schema:
        return " or ".join(code(json.dumps(each)) for each in schema["enum"])
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(json_type(each, file) for each in schema[union]))
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return "a list of " + ", ".join(json_type(e, file) for e in schema["prefixItems"])
        case "array":
            return "a list, each " + json_type(schema.get("items", {}), file)
        case "object" if "additionalProperties" in schema and "properties" not in schema:
            return "by name: " + json_type(schema["additionalProperties"], file)
        case kind:
            words = {"string": "text", "integer": "a whole number", "number": "a number",
                     "boolean": "true or false", "null": "null", "object": "an object"}  # fmt: skip
            return words.get(str(kind), str(kind))

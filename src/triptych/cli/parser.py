"""From words to a command: cyclopts reads them, and what it dislikes becomes one line of ours."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Group, Parameter
from cyclopts.config import Dict, Env
from cyclopts.exceptions import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)
from cyclopts.token import Token

from triptych import hardware
from triptych.errors import InputError
from triptych.files import as_path
from triptych.options import Options, is_argument, own_first, typed_name

if TYPE_CHECKING:
    from triptych.cli.commands import Everywhere

COMMANDS = {  # of each its class in `cli.commands`, and its line in help
    "compare": ("Compare", "Train one model of each family, measure them alike, write the report."),
    "train": ("Train", "Train one model; the same command again goes on where it stopped."),
    "repeat": ("Repeat", "Train a finished run again, bit for bit."),
    "sample": ("Sample", "Draw samples from a run."),
    "reconstruct": ("Reconstruct", "Encode images and decode them again."),
    "interpolate": ("Interpolate", "Walk between two prior draws, or between two images."),
    "traverse": ("Traverse", "Walk one latent unit after another, around a held-out image."),
    "average": ("Average", "Average a run's weights over another span of the training."),
    "likelihood": ("Likelihood", "Bits per dimension of images, term by term."),
    "evaluate": ("Evaluate", "Measure runs, or samples from elsewhere, on held-out images."),
    "reference": ("Reference", "Keep real images as a reference, without their pixels."),
    "export": ("Export", "Write a run for other programs: pt2, onnx, safetensors, diffusers, hub."),
    "report": ("Report", "Write the page of a comparison, or of evaluated runs."),
    "push": ("Push", "Put a run or a comparison on the Hugging Face Hub."),
    "pull": ("Pull", "Fetch a run or a comparison from the Hub."),
    "serve": ("Serve", "Open the live page: watch models learn, play with them."),
    "data": ("Data", "What is in the data, and what would be done with them."),
    "doctor": ("Doctor", "What this machine has, and what would be picked on it."),
}

EXAMPLES = """examples:
  triptych compare                                 one of each family on the embedded digits
  triptych compare --data photos/ --budget 10m     the same on your own images
  triptych train diffusion --out runs/d            train one model
  triptych evaluate out.npz --data photos/         measure samples from elsewhere
  triptych sample runs/d --count 64 --out d.png    draw from it
  triptych export runs/d --out exported            a program that needs torch alone
  triptych report runs/compare-street-digits-75s --lang fr
  triptych serve                                   watch trainings and play, in a browser
"""
NUMBERS = {int: "a whole number", float: "a number"}


def parse(words: Sequence[str]) -> Everywhere:
    """The command asked for; InputError with one line for whatever cannot be read."""
    os.environ.setdefault("COLUMNS", "100")
    words = with_negative_range(words)
    if not words:
        raise InputError("no command given", f"choose from {', '.join(COMMANDS)}")
    app = make_app(config_file(words), words[0])
    try:
        check_environment(words[0])
        return call(app, words)
    except CycloptsError as error:
        raise InputError(*explain(error, words)) from None


def call(app: App, words: Sequence[str]) -> Everywhere:
    """What the words stand for; ends the process where they ask for help or the version."""
    command = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    if command is None:
        raise SystemExit(0)
    made: Everywhere = command
    return made


def with_negative_range(words: Sequence[str]) -> list[str]:
    """The words with `--range -1,1` as `--range=-1,1`, lest -1,1 be taken for an option.

    >>> with_negative_range(["data", "x", "--range", "-1,1"])
    ['data', 'x', '--range=-1,1']
    """
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--range" and re.match(r"-\.?\d", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def config_file(words: Sequence[str]) -> Path | None:
    """The path that follows the last --config; None without that option."""
    named = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == "--":
            break
        if word == "--config" and following:
            named = as_path(following, "--config")
        if word.startswith("--config=") and (following := word.partition("=")[2]):
            named = as_path(following, "--config")
    return named


def read_config(path: Path, command: str) -> dict[str, dict[str, Any]]:
    """The options in a TOML file, by command, each as it could be typed.

    command: that the file is given to
    InputError on a file that cannot be read, and on what in it is in no command's table.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # as Notepad may write it
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot read {path} ({reason})", "check --config") from None
    except ValueError as error:  # no TOML, or no UTF-8
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(f"{path} is no TOML ({reason})", "correct the file") from None
    bare = [name for name, value in content.items() if not isinstance(value, dict)]
    if bare:
        stand, them = ("stands", "it") if len(bare) == 1 else ("stand", "them")
        wrong, mend = f"{', '.join(bare)} in {path} {stand} in no table", f"put {them} under"
        raise InputError(wrong, f"{mend} [{command if command in COMMANDS else 'train'}]")
    tables = [name for name in content if name not in COMMANDS]
    if tables:
        named = ", ".join(f"[{name}]" for name in tables)
        mend = f"{did_you_mean(tables[0], list(COMMANDS))}choose from {', '.join(COMMANDS)}"
        raise InputError(f"no command is named {named} in {path}", mend)
    for table, options in content.items():
        for name, value in options.items():
            if name == "set" and isinstance(value, dict):
                options[name] = [f"{key}={text}" for key, text in settings_in(value)]
            elif isinstance(value, dict):
                wrong = f"[{table}.{name}] in {path} is a table in a table"
                raise InputError(wrong, f"only [{table}.set] may be one, so put it under [{table}]")
            elif name == "range":
                options[name] = written_value(value)
    return content


def settings_in(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Keys and values as `--set` takes them; a dot in a key makes a table in TOML.

    >>> list(settings_in({"batch_size": 64, "optimizer": {"betas": [0.5, 0.9]}, "select": False}))
    [('batch_size', '64'), ('optimizer.betas', '0.5,0.9'), ('select', 'false')]
    """
    for key, value in table.items():
        if isinstance(value, dict):
            yield from settings_in(value, f"{above}{key}.")
        else:
            yield above + key, written_value(value)


def written_value(value: Any) -> str:
    """A value of TOML as it is typed: a list with commas."""
    if isinstance(value, list):
        return ",".join(map(written_value, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_environment(command: str) -> None:
    """InputError on a variable that names an option which this command has not."""
    prefix = f"TRIPTYCH_{command.upper()}_"
    given = sorted(name for name in os.environ if name.startswith(prefix))
    if not given or command not in COMMANDS:
        return
    options = [typed_name(each) for each in fields(class_of(command)) if not is_argument(each)]
    endings = [option.lstrip("-").replace("-", "_").upper() for option in options]
    for name in given:
        if (ending := name.removeprefix(prefix)) not in endings:
            near = get_close_matches(ending, endings, n=1, cutoff=0.7)
            mend = f"did you mean {prefix}{near[0]}? " if near else ""
            see = f"{mend}see `triptych {command} --help`"
            raise InputError(f"no option '{name}' in the environment", see)


def class_of(command: str) -> type[Everywhere]:
    """The class of a command in `cli.commands`, which is loaded for it."""
    from triptych.cli import commands

    kind: type[Everywhere] = getattr(commands, COMMANDS[command][0])
    return kind


def make_app(config: Path | None = None, command: str = "") -> App:
    """The parser. Commands are named by text: help and a wrong command load none of them.

    config: a TOML file with a table for a command; `TRIPTYCH_TRAIN_BUDGET` and the like stand in
            for what neither it nor the words say
    command: that is asked for
    """
    files = []
    if config is not None:
        files = [Dict(read_config(config, command), source=str(config.absolute()))]
    app = App(
        name="triptych",
        help="",
        help_prologue=EXAMPLES,
        help_format="plaintext",
        version=hardware.own_version,
        config=[*files, Env("TRIPTYCH_", command=True)],
        default_parameter=Parameter(negative=(), consume_multiple=False, show_env_var=False),
    )
    for rank, (name, (attribute, summary)) in enumerate(COMMANDS.items()):
        app.command(
            f"{__name__}:{attribute}", name=name, help_prologue="", help=summary, sort_key=rank
        )
    app.register_install_completion_command(help="Complete commands and options in this shell.")
    return app


def __getattr__(name: str) -> Any:
    """A command of `cli.commands` as cyclopts calls it, made when it is first needed."""
    if name.startswith("__"):  # which the import system looks for in every module
        raise AttributeError(name)
    from triptych.cli import commands

    return as_function(getattr(commands, name))


def as_function(command: type[Everywhere]) -> Any:
    """A function that takes a command's fields: arguments first, then its own options.

    Options are grouped in help by the class that declares them, most special first.
    """
    types = typing.get_type_hints(command)
    parameters = []
    groups: dict[str, Group] = {}
    for rank, (owner, each) in enumerate(own_first(command)):
        title = vars(owner).get("title", Options.title)
        group = groups.setdefault(title, Group(title, sort_key=(title != Options.title, rank)))
        parameters.append(parameter_of(each, types[each.name], group))
    parameters.sort(key=lambda each: each.kind)

    def make(*arguments: Any, **options: Any) -> Everywhere:
        bound = signature.bind(*arguments, **options)
        return command(**bound.arguments)

    signature = inspect.Signature(parameters)
    make.__signature__ = signature  # type: ignore[attr-defined]
    make.__annotations__ = {each.name: each.annotation for each in parameters}
    make.__doc__ = inspect.getdoc(command)
    return make


def parameter_of(each: Field[Any], kind: Any, group: Group) -> inspect.Parameter:
    """A field as cyclopts reads it."""
    more: dict[str, Any] = {"help": each.metadata["help"]}
    where = (
        inspect.Parameter.POSITIONAL_ONLY if is_argument(each) else inspect.Parameter.KEYWORD_ONLY
    )
    if is_argument(each):
        more["metavar"] = each.metadata["metavar"]
    else:
        more |= {"group": group, "name": typed_name(each)}
    many = typing.get_origin(kind) is tuple
    more["allow_repeating"] = None if many else True  # the last one counts
    if int in (kind, *typing.get_args(kind)) and str not in typing.get_args(kind):
        more["converter"] = whole_number
    if Path in (kind, *typing.get_args(kind)):
        more["converter"] = paths if many else a_path
    if each.metadata.get("paths"):
        more["converter"] = texts_of_paths
    default = inspect.Parameter.empty if each.default is MISSING else each.default
    more["show_default"] = default not in (None, False, (), inspect.Parameter.empty)
    annotation = Annotated[kind, Parameter(**more)]
    return inspect.Parameter(each.name, where, default=default, annotation=annotation)


def explain(error: CycloptsError, words: Sequence[str]) -> tuple[str, str]:
    """What is wrong and the mend, from the parser's typed errors."""
    command = words[0]
    see = f"see `triptych {command} --help`"
    match error:
        case UnknownCommandError() if error.unused_tokens:
            name = error.unused_tokens[0]
            mend = f"choose from {', '.join(COMMANDS)}"
            return f"no command '{name}'", did_you_mean(name, list(COMMANDS)) + mend
        case UnknownOptionError() if command.startswith("-"):
            return f"no command '{command}'", f"choose from {', '.join(COMMANDS)}"
        case UnknownOptionError():
            option, origin = written(error.token)
            names = [name for each in error.argument_collection for name in each.names]
            for each in filter(is_argument, fields(class_of(command))):
                if option.lstrip("-") in (each.name, each.metadata["metavar"].lower()):
                    mend = f"{each.metadata['metavar']} is typed without a name: {see}"
                    return f"no option '{option}'{origin}", mend
            return f"no option '{option}'{origin}", did_you_mean(option, names) + see
        case MissingArgumentError() if error.keyword or error.tokens_so_far:
            return f"{error.keyword} has no value", "give one after it"
        case MissingArgumentError():
            names, other = missing(error, words)
            return explain(other, words) if other else (f"missing {' and '.join(names)}", see)
        case CoercionError() if error.token is not None:
            return explain_value(error, error.token)
        case UnusedCliTokensError() if error.unused_tokens:
            return f"nothing takes '{error.unused_tokens[0]}'", see
    return " ".join(str(error).split()).rstrip("."), see


def written(token: Token) -> tuple[str, str]:
    """An option as it is typed, without its value; and where it stands if not among the words."""
    option = (token.keyword or token.value).partition("=")[0]
    if token.source == "cli":
        return option, ""
    if token.source == "env":
        return option, " in the environment"
    return "--" + option.strip("[]").replace("_", "-"), f" in {token.source}"


def explain_value(error: CoercionError, token: Token) -> tuple[str, str]:
    """For a value that its option does not take."""
    assert error.argument is not None
    name, origin = written(token)
    for kind in (error.argument.hint, *typing.get_args(error.argument.hint)):
        if typing.get_origin(kind) is Literal:
            choices = ", ".join(map(str, typing.get_args(kind)))
            return f"no {name.lstrip('-')} '{token.value}'{origin}", f"choose from {choices}"
        if kind in NUMBERS:
            number = f"{name} takes {NUMBERS[kind]}"
            return f"{number}, not '{token.value}'{origin}", "correct the value"
    return f"{name} does not take '{token.value}'{origin}", "correct the value"


def missing(
    error: MissingArgumentError, words: Sequence[str]
) -> tuple[list[str], CycloptsError | None]:
    """All that must be given and is not, or what else is wrong.

    cyclopts names the first; so that is filled in, to see what it says then.
    """
    assert error.argument is not None
    argument = error.argument
    positional = not argument.field_info.is_keyword
    name = str(argument.parameter.metavar) if positional else f"{argument.name} PATH"
    filled = [words[0], "x", *words[1:]] if positional else [*words, argument.name, "x"]
    try:
        call(make_app(config_file(words), words[0]), filled)
    except MissingArgumentError as another:
        if another.argument is not None and another.argument.name != argument.name:
            names, other = missing(another, filled)
            return [name, *names], other
    except UnknownOptionError as other:
        return [], other
    except (CycloptsError, InputError):
        pass
    return [name], None


def whole_number(kind: Any, tokens: Sequence[Token]) -> int:
    """ValueError on what is no whole number: cyclopts itself would cut 2.5 to 2."""
    return int(tokens[0].value)


def a_path(kind: Any, tokens: Sequence[Token]) -> Path:
    """InputError on empty text, which would stand for the folder one is in."""
    [token] = tokens
    return as_path(token.value, written(token)[0] if token.keyword else "an argument")


def paths(kind: Any, tokens: Sequence[Token]) -> tuple[Path, ...]:
    """Several of them."""
    return tuple(a_path(kind, [token]) for token in tokens)


def texts_of_paths(kind: Any, tokens: Sequence[Token]) -> tuple[str, ...]:
    """The same as they were typed: what stands before a path may tell what it is."""
    paths(kind, tokens)
    return tuple(token.value for token in tokens)


def did_you_mean(typed: str, choices: Sequence[str]) -> str:
    """The nearest of the choices as a question, or nothing; dashes make no word near."""
    bare = {word.lstrip("-"): word for word in choices}
    near = get_close_matches(typed.lstrip("-"), bare, n=1, cutoff=0.7)
    return f"did you mean {bare[near[0]]}? " if near else ""

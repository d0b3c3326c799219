"""The files that the repository's visitors and machines read agree with the project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import triptych

yaml = pytest.importorskip("yaml", reason="PyYAML reads the workflows")

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ADDRESS: str = PROJECT["project"]["urls"]["Homepage"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def steps(workflow: Path) -> list[dict[str, Any]]:
    """All steps of a workflow's jobs."""
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def tool(name: str) -> Path:
    """A program of this Python's environment; a skip where it is not there."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return Path(found)


# Automation


def test_workflows_call_the_targets_that_everybody_uses() -> None:
    named = {
        target
        for workflow in WORKFLOWS
        for step in steps(workflow)
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))
    }
    assert {"lint", "typos", "test", "lowest", "packages", "docs"} == named
    assert named <= TARGETS


def test_workflows_may_write_nothing_and_name_their_actions_versions() -> None:
    assert {workflow.stem for workflow in WORKFLOWS} == {"tests", "docs", "release"}
    for workflow in WORKFLOWS:
        whole = yaml.safe_load(workflow.read_text(encoding="utf-8"))
        assert whole["permissions"] == {"contents": "read"}, workflow
        used = [step["uses"] for step in steps(workflow) if "uses" in step]
        assert all(re.search(r"@(v\d+|release/v\d+|[0-9a-f]{40})$", name) for name in used)


def test_what_is_published_was_built_once_and_checked() -> None:
    jobs = yaml.safe_load(text(".github/workflows/release.yml"))["jobs"]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert not [step for step in jobs["publish"]["steps"] if "run" in step]
    recipe = recipe_of("packages")
    assert any("twine check --strict" in line for line in recipe)


def test_the_matrix_has_the_versions_of_the_classifiers() -> None:
    classifiers = PROJECT["project"]["classifiers"]
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(classifiers))
    matrix = yaml.safe_load(text(".github/workflows/tests.yml"))["jobs"]["tests"]["strategy"]
    assert matrix["matrix"]["python"] == named


def test_actionlint_finds_nothing() -> None:
    command = [tool("actionlint"), *WORKFLOWS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def recipe_of(target: str) -> list[str]:
    """The commands of a target of the Makefile, with the folder of programs spelt out."""
    found = re.search(rf"^{target}:[^\n]*\n((?:\t[^\n]*\n)+)", MAKEFILE, re.MULTILINE)
    assert found is not None, target
    return [line.strip().replace("$(BIN)", ".venv/bin") for line in found[1].splitlines()]


def test_pre_commit_runs_what_make_runs() -> None:
    hooks = yaml.safe_load(text(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    entries = [hook["entry"] for hook in hooks]
    assert entries == [*recipe_of("lint"), *recipe_of("typos")]


def test_no_word_is_misspelt() -> None:
    done = subprocess.run([tool("typos"), "--format", "brief"], cwd=ROOT, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_templates_ask_for_commands_that_there_are() -> None:
    from triptych.cli import parser

    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        assert yaml.safe_load(path.read_text(encoding="utf-8"))
    bug = text(".github/ISSUE_TEMPLATE/bug.yml")
    for page in (bug, text(".github/pull_request_template.md"), text("SECURITY.md")):
        assert "`triptych doctor --json`" in page
    assert parser.parse(["doctor", "--json"]).json


# Trust


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load(text("CITATION.cff"))
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["version"] == triptych.__version__
    assert citation["title"].lower() == PROJECT["project"]["name"]
    assert citation["abstract"] == PROJECT["project"]["description"]
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["repository-code"] == ADDRESS
    assert citation["keywords"] == PROJECT["project"]["keywords"]
    assert citation["authors"] == PROJECT["project"]["authors"]


def test_readme_cites_the_same() -> None:
    (entry,) = re.findall(r"```bibtex\n(.*?)```", text("README.md"), re.DOTALL)
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", entry, re.MULTILINE))
    assert fields["version"] == triptych.__version__ and fields["url"] == ADDRESS
    assert fields["title"].lower() == PROJECT["project"]["name"]
    assert fields["author"] == f"{{{PROJECT['project']['authors'][0]['name']}}}"


def test_the_changelog_tells_of_this_version() -> None:
    headings = re.findall(r"^## \[([^\]]+)\]", text("CHANGELOG.md"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", triptych.__version__]


def test_what_security_promises_names_tests_that_there_are() -> None:
    named = set(re.findall(r"`(test_\w+)`", text("SECURITY.md")))
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / "tests" / f"{name}.py").exists()]


def test_limits_of_images_are_those_of_the_code() -> None:
    from triptych.data import decode
    from triptych.data.sources import archive

    security = text("SECURITY.md")
    millions = [decode.PIXEL_CAP, decode.PLAIN_CAP, decode.HEAVY_CAP, decode.WEBP_CAP]
    words = " ".join(re.findall(r"(\d+) million", security))
    assert words == " ".join(str(limit // 1_000_000) for limit in millions)
    assert decode.FILE_CAP == archive.MEMBER_CAP == 256_000_000
    assert security.count("256 MB") == 2


def test_licences_of_all_libraries_are_named() -> None:
    table = text("THIRD_PARTY.md")
    for requirement in PROJECT["project"]["dependencies"]:
        name = re.split(r"[>=\[]", requirement)[0]
        assert f"| {name} (" in table, name


def test_every_extra_is_in_the_table_of_installing() -> None:
    page = text("docs/install.md")
    table = page[page.index("| extra | for |") :].partition("\n\n")[0]
    named = set(re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines())))
    assert named >= set(PROJECT["project"]["optional-dependencies"])


# The image


def test_the_image_is_built_of_what_it_copies() -> None:
    docker = text("Dockerfile")
    let_in = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (.*)$", docker, re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    readme = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"]
    needed = {"pyproject.toml", "LICENSE", "src", *(fragment["path"] for fragment in readme)}
    assert needed <= copied


def test_the_image_runs_commands_that_there_are_and_no_root() -> None:
    from triptych.cli import parser

    docker = text("Dockerfile")
    (command,) = re.findall(r"^CMD (\[.*\])$", docker, re.MULTILINE)
    parser.parse(yaml.safe_load(command))
    assert re.findall(r"^USER (\d+)$", docker, re.MULTILINE) == ["1000"]
    assert 'ENTRYPOINT ["triptych"]' in docker and "WORKDIR /images\nENTRYPOINT" in docker


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([tool("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout

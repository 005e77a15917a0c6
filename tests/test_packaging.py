"""What is around the package: the container's image is made of files that exist, the image and the index get one wheel, and
the forms of issues ask for what can be given."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import robuststack
from robuststack.cli import COMMANDS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile, in the stage that it belongs to."""

    stage: str
    name: str
    text: str


def instructions(dockerfile: str) -> list[Instruction]:
    stage, parsed = "", []
    text = re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(None, text.splitlines()):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stage = rest.rpartition(" AS ")[2]
        parsed.append(Instruction(stage, name, rest.strip()))
    return parsed


IMAGE = instructions(DOCKERFILE)
STAGES = [instruction.stage for instruction in IMAGE if instruction.name == "FROM"]


def copied() -> list[str]:
    """What the image takes out of this folder."""
    copies = [shlex.split(instruction.text) for instruction in IMAGE if instruction.name == "COPY"]
    return [source for parts in copies if not parts[0].startswith("--from=") for source in parts[:-1]]


def text_of(name: str, stage: str = "") -> str:
    """The last instruction of this name, in one stage or before all of them."""
    return [part.text for part in IMAGE if (part.stage, part.name) == (stage, name)][-1]


# The container


def test_the_image_copies_files_that_exist_and_nothing_else_is_sent_to_the_builder():
    missing = [source for source in copied() if not (ROOT / source).exists()]
    assert not missing
    ignored, *allowed = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored == "*"
    assert allowed[-1] == "**/__pycache__"
    assert {line.removeprefix("!") for line in allowed[:-1]} == {*copied()}


def test_a_stage_copies_only_from_stages_before_it():
    for instruction in IMAGE:
        if instruction.name == "COPY" and (match := re.match(r"--from=(\S+)", instruction.text)):
            assert match[1] in STAGES[: STAGES.index(instruction.stage)]


def test_the_image_has_the_newest_python_that_the_package_names():
    named = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if text.startswith("Programming Language ::")]
    python = text_of("ARG").removeprefix("PYTHON=")
    assert python == named[-1]
    assert python in SpecifierSet(PROJECT["requires-python"])


def test_torch_and_torchvision_come_with_the_package_and_in_the_build_that_is_asked_for():
    assert text_of("ARG", "installed") == "TORCH=cpu"
    (line,) = [part.text for part in IMAGE if "--torch-backend" in part.text]
    words = shlex.split(line)
    # One resolution: the package says which versions it wants, and the backend where both come from.
    assert words[words.index("--torch-backend") + 1] == "${TORCH}"
    assert "/dist/*.whl" in words
    assert not [word for word in words if word.startswith(("torch>", "torchvision"))]


def test_the_container_runs_the_command_line_and_not_as_root():
    last = STAGES[-1]
    (program,) = yaml.safe_load(text_of("ENTRYPOINT", last))
    assert program in PROJECT["scripts"]
    assert text_of("USER", last) not in {"root", "0"}
    order = [part.name for part in IMAGE if part.stage == last]
    assert order.index("USER") > max(index for index, name in enumerate(order) if name == "RUN")


def test_the_arguments_and_paths_that_the_documentation_names_are_those_of_the_image():
    page = (ROOT / "docs" / "container.md").read_text(encoding="utf-8")
    arguments = {part.text.partition("=")[0] for part in IMAGE if part.name == "ARG"}
    assert {*re.findall(r"--build-arg (\w+)=", page)} == arguments
    assert {*re.findall(r':(/\w+)"', page)} == {text_of("WORKDIR", STAGES[-1])}


def build(folder: Path, kind: str, target: Path) -> Path:
    """An sdist or a wheel of the project in `folder`, by its backend."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (built,) = target.iterdir()
    return built


@pytest.mark.installs
def test_the_image_and_the_index_get_the_same_wheel(tmp_path):
    context = tmp_path / "context"
    for source in copied():
        target = context / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    with tarfile.open(build(ROOT, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheels = [build(context, "wheel", tmp_path / "image"), build(unpacked, "wheel", tmp_path / "index")]
    files = [{entry.filename: entry.CRC for entry in zipfile.ZipFile(wheel).infolist()} for wheel in wheels]
    assert files[0] == files[1]
    assert {"robuststack/cli/__init__.py", "robuststack_plugins/__init__.py"} <= files[0].keys()
    assert any(name.endswith(".dist-info/entry_points.txt") for name in files[0])


def builder() -> str | None:
    """A program here that builds images. A client without a server to talk to builds nothing."""
    for program in ("docker", "podman", "buildah"):
        if (
            shutil.which(program)
            and subprocess.run([program, "info"], capture_output=True, check=False).returncode == 0
        ):
            return program
    return None


BUILDER = builder()


@pytest.mark.installs
@pytest.mark.skipif(BUILDER is None, reason="no program that builds images: docker, podman or buildah")
def test_every_stage_of_the_image_is_built():
    command = [str(BUILDER), "build", "--tag", "robuststack:test", "--target", STAGES[-1], str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# Releases and issues


def test_the_package_says_one_version():
    assert PROJECT["version"] == robuststack.__version__


def test_there_is_a_form_for_bugs_figures_and_plugins():
    assert [path.stem for path in FORMS] == ["bug", "figure", "plugin"]


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_a_form_is_one_that_github_shows(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form["name"]
    assert form["description"]
    fields = [element for element in form["body"] if element["type"] != "markdown"]
    assert {element["type"] for element in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    names = [element["id"] for element in fields]
    labels = [element["attributes"]["label"] for element in fields]
    assert len({*names}) == len(names)
    assert len({*labels}) == len(labels)
    assert all(element["attributes"]["options"] for element in fields if element["type"] == "dropdown")
    commands = {*re.findall(r"`robuststack (\w+)", path.read_text(encoding="utf-8"))}
    assert commands
    assert commands <= COMMANDS.keys()


def test_a_wrong_figure_comes_with_its_row_its_command_and_the_versions():
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "figure.yml").read_text(encoding="utf-8"))
    required = {element.get("id") for element in form["body"] if element.get("validations", {}).get("required")}
    assert {"row", "command", "doctor"} <= required

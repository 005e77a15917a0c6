"""The command on the terminals, disks and machines that users have."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import forked
from robuststack.cli import call
from robuststack.errors import RobustStackError
from robuststack.paths import absolute, data_folder, expanded

COMMAND = [sys.executable, "-m", "robuststack"]


def started(arguments: list[str], folder: Path, **more: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **more.pop("environment", {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.run([*COMMAND, *arguments], cwd=folder, env=environment, check=False, **options)


@pytest.fixture
def named(small_suite: Path) -> Path:
    """A suite whose name and place no 7-bit terminal can show, with a key that is wrong."""
    folder = small_suite.parent / "données"
    folder.mkdir()
    path = folder / "größe ±.yaml"
    path.write_text(small_suite.read_text() + "ключ: 1\n", encoding="utf-8")
    return path


ENVIRONMENTS = [
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii:strict"},
]


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_signs_that_a_terminal_lacks_stop_nothing(named, environment):
    done = started(["plan", f"{named.parent.name}/{named.name}"], named.parent.parent, environment=environment)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(b"robuststack: error: donn")
    assert b": unknown key" in line
    named.write_text(named.read_text(encoding="utf-8").replace("ключ: 1\n", ""), encoding="utf-8")
    done = started(["plan", str(named)], named.parent, environment=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"gr")
    assert len(done.stdout.splitlines()) == 43


def test_the_table_and_the_progress_of_a_run_are_printed_on_an_ascii_terminal(tmp_path):
    suite = tmp_path / "größe.yaml"
    suite.write_text(
        "description: größe\ndatasets: {name: tradeoff, options: {images: 20, test_images: 20, size: 8, classes: 3}}\n"
        "architectures: {name: resnet8, options: {width: 4}}\ndefenses: none\nattacks: {name: fgsm, label: Größe}\n"
        "train: {epochs: 1, batch_size: 20}\nmeasure: {latency: false}\n",
        encoding="utf-8",
    )
    ascii_terminal = (
        "import sys\nfrom robuststack.cli import main\n"
        "sys.stdout.reconfigure(encoding='ascii')\nsys.stderr.reconfigure(encoding='ascii')\n"
        f"main(['run', {suite.name!r}])"
    )
    done = forked.run(ascii_terminal, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "leaderboard" / "größe.md").is_file()
    assert "RA Gr" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a full disk to try")
@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["plan", "small.yaml"], ["list", "--json"]], ids=" ".join)
def test_a_full_disk_under_standard_output_is_one_line(small_suite, arguments):
    with open("/dev/full", "wb") as full:
        done = started(arguments, small_suite.parent, stdout=full)
    assert done.returncode == 2
    assert done.stderr == b"robuststack: error: standard output cannot be written: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a full disk to try")
def test_a_full_disk_under_standard_error_keeps_the_exit_code(tmp_path):
    with open("/dev/full", "wb") as full:
        done = started(["show", "defense", "nothing"], tmp_path, stderr=full)
    assert (done.returncode, done.stdout) == (2, b"")


@pytest.mark.parametrize("arguments", [["list", "--json"], ["--help"], ["schema"]], ids=" ".join)
def test_a_reader_that_has_enough_ends_it_quietly(tmp_path, arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, cwd=tmp_path
    )
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == (b"", 0)
    process.stderr.close()


def test_memory_that_numpy_cannot_get_is_one_line(monkeypatch, capsys):
    import numpy

    import robuststack.cli.list

    def much(*arguments, **options):
        numpy.ones((1 << 44,), dtype="float64")

    monkeypatch.setattr(robuststack.cli.list.command, "callback", much)
    assert call(["list"]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("robuststack: error: out of memory: Unable to allocate 128. TiB for an array")
    assert len(errors.splitlines()) == 1


def test_compiled_code_that_fails_without_a_reason_is_one_line(monkeypatch, capsys):
    """As libraries do that do not look whether they were given memory."""
    import robuststack.cli.list

    def silent(*arguments, **options):
        raise SystemError("<built-in function empty> returned NULL without setting an exception")

    monkeypatch.setattr(robuststack.cli.list.command, "callback", silent)
    assert call(["list"]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith(
        "robuststack: error: a library failed without a reason, as some do if memory runs out: <built-in"
    )
    assert len(errors.splitlines()) == 1


# --- paths


@pytest.fixture
def homeless(monkeypatch):
    """A user whom the system knows no home of, as in many containers."""

    def home(*_):
        raise RuntimeError("Could not determine home directory.")

    for name in ("HOME", "XDG_CACHE_HOME", "ROBUSTSTACK_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", home)
    monkeypatch.setattr(Path, "expanduser", lambda path: home() if str(path).startswith("~") else path)


def test_a_home_stands_for_its_sign_in_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ROBUSTSTACK_DATA", "~/data")
    assert data_folder() == tmp_path / "data"
    assert expanded("~/a/b") == tmp_path / "a" / "b"
    assert absolute("~") == tmp_path
    assert expanded("a/~") == Path("a/~")
    assert absolute("a") == Path.cwd() / "a"
    monkeypatch.delenv("ROBUSTSTACK_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/cache")
    assert data_folder() == tmp_path / "cache" / "robuststack" / "data"


@pytest.mark.parametrize("named", [r'datasets: {name: npz, options: {path: "a\0b"}}', r'model: {load: "a\0b"}'])
def test_a_name_that_no_file_can_have_is_one_line(tmp_path, monkeypatch, capsys, named):
    monkeypatch.chdir(tmp_path)
    data, model = (named, "") if named.startswith("datasets") else ("datasets: digits", f", {named}")
    suite = f"name: nul\n{data}\narchitectures: resnet8\ndefenses: {{name: none{model}}}\nattacks: fgsm\n"
    Path("nul.yaml").write_text(suite)
    assert call(["check", "nul.yaml"]) == 2
    assert r"'a\x00b' is no file or folder" in capsys.readouterr().err


LONG = "a" * 300


@pytest.mark.parametrize("arguments", [["check", LONG + ".yaml"], ["check", "small.yaml", "--store", LONG],
                                       ["run", "small.yaml", "--store", LONG], ["show", LONG],
                                       ["evaluate", "--load", LONG, "--dataset", "digits"]])  # fmt: skip
def test_a_name_that_is_too_long_is_one_line(small_suite, monkeypatch, capsys, arguments):
    monkeypatch.chdir(small_suite.parent)
    small_suite.rename("small.yaml")
    assert call(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("robuststack: error: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a working directory cannot be deleted there")
def test_a_working_directory_that_was_deleted_is_one_line(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(
        RobustStackError, match=r"^the working directory does not exist any more; change to another one$"
    ):
        absolute("x")
    assert call(["evaluate", "--python", "mine:make", "--dataset", "digits", "--eps", "0.1"]) == 2
    message = "robuststack: error: the working directory does not exist any more; change to another one\n"
    assert capsys.readouterr().err == message


@pytest.mark.usefixtures("homeless")
def test_without_a_home_only_its_sign_is_refused(monkeypatch, tmp_path, small_suite, capsys):
    monkeypatch.chdir(tmp_path)
    assert data_folder() == tmp_path / "robuststack-data"
    with pytest.raises(RobustStackError, match=r"^~/x: there is no home folder that `~` could stand for"):
        absolute("~/x")
    assert call(["plan", small_suite.name]) == 0
    assert call(["plan", small_suite.name, "--store", "~/store"]) == 2
    assert "error: ~/store: there is no home folder" in capsys.readouterr().err


def test_a_command_writes_where_the_sign_of_the_home_says(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    assert call(["schema", "-o", "~/schema.json"]) == 0
    assert call(["new", "defense", "mine", "-o", "~/packages"]) == 0
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == ["packages", "schema.json"]
    assert not (tmp_path / "~").exists()

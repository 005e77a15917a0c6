"""A third party's package, installed the way a user would."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from robuststack.cli import call

PACKAGE = Path(__file__).parents[2] / "plugins" / "robuststack-alp"
SUITE = """
datasets: {name: tradeoff, options: {images: 200, test_images: 60, size: 8, classes: 3}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 1, batch_size: 50, attack: {name: pgd, options: {steps: 2, step: relative}}}
defenses: {name: alp, options: {weight: 3.0}}
attacks: fgsm
"""


class Environment:
    """A virtual environment with the packages of this one, robuststack among them, without installing gigabytes again."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})")
        self.folder = folder
        self.installed: set[Path] = set()

    def install(self, *packages: Path) -> None:
        """Those that are not installed yet, by the outer environment's pip."""
        packages = tuple(package for package in packages if package not in self.installed)
        self.installed.update(packages)
        offline = ["--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
        command = [str(self.python), "-m", "pip", "install", "--quiet", *offline, *map(str, packages)]
        subprocess.run(command, check=True)

    def run(self, module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [str(self.python), "-m", module, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=self.folder)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("environment"))


@pytest.mark.installs
def test_alp_is_unknown_before_its_package_is_installed_and_planned_after(
    tmp_path: Path, environment: Environment
) -> None:
    suite = tmp_path / "alp.yaml"
    suite.write_text(SUITE)

    before = environment.run("robuststack", "run", suite)
    assert before.returncode == 2
    (line,) = before.stderr.splitlines()
    assert f"{suite}:5:" in line
    assert "unknown defense 'alp': valid: " in line

    environment.install(PACKAGE)

    after = environment.run("robuststack", "plan", suite)
    assert after.returncode == 0, after.stderr
    assert "tradeoff/resnet8/alp" in after.stdout
    shown = environment.run("robuststack", "show", "defense", "alp")
    assert "Weight of the difference" in shown.stdout
    assert "plugin 'alp' of robuststack-alp" in shown.stdout


NEW_SUITE = """
datasets: {name: my_dataset, stand_in: 60}
architectures: {name: my_architecture, options: {width: 4}}
train: {epochs: 1, batch_size: 20, attack: my_attack}
defenses: [my_defense, {name: alp, options: {weight: 3.0}}]
attacks: {name: my_attack, options: {steps: 2}}
measure: {latency: false}
"""


@pytest.mark.installs
def test_new_packages_install_pass_their_tests_and_run_in_one_suite_with_alp(
    tmp_path: Path, environment: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ("defense", "attack", "architecture", "dataset")
    for kind in kinds:
        assert call(["new", kind, f"my-{kind}", "-o", str(tmp_path)]) == 0
    packages = [PACKAGE, *(tmp_path / f"robuststack-my-{kind}" for kind in kinds)]
    environment.install(*packages)

    # In one process, since each would import torch again; without the long test of the example package.
    tested = environment.run("pytest", "-q", *packages, "-k", "not more_robust_than_no_defense or my_defense")
    assert tested.returncode == 0, tested.stdout
    # A package lies in another project, whose options of pytest are not for it.
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\nminversion = "99"\n')
    collect = ["-q", "--collect-only", "-p", "no:cacheprovider", "-p", "no:timeout"]
    assert pytest.main([*collect, str(packages[-1])]) == 0, capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(NEW_SUITE)
    run = environment.run("robuststack", "run", tmp_path / "mine.yaml")
    assert run.returncode == 0, run.stderr
    assert "my_dataset stand_in=60, my_architecture, Linf eps 0.1" in run.stdout
    assert "my_defense weight=0.5" in run.stdout
    assert "alp weight=3" in run.stdout
    assert "RA my_attack-2 %" in run.stdout
    again = environment.run("robuststack", "new", "defense", "my-defense")
    assert again.returncode == 2
    assert "defense 'my_defense' is registered already by plugin 'my_defense' of robuststack-my-defense" in again.stderr


def test_the_plugin_is_short() -> None:
    assert len((PACKAGE / "robuststack_alp.py").read_text().splitlines()) < 60

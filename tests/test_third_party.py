"""A third party's package, installed the way a user would."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "plugins" / "robuststack-trades"
SUITE = """
datasets: {name: tradeoff, options: {images: 200, test_images: 60, size: 8, classes: 3}, threat: {eps: 0.1}}
architectures: {name: resnet8, options: {width: 4}}
train: {epochs: 1, batch_size: 50, attack: {name: pgd, options: {steps: 2, step: relative}}}
defenses: {name: trades, options: {beta: 3.0}}
attacks: fgsm
measure: {latency: false}
"""


@pytest.mark.installs
def test_trades_is_unknown_before_its_package_is_installed_and_runs_after(tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    # The packages of this environment, robuststack among them, without installing gigabytes once more.
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})")
    suite = tmp_path / "trades.yaml"
    suite.write_text(SUITE)

    def robuststack(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(python), "-m", "robuststack", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    before = robuststack("run", str(suite))
    assert before.returncode == 2
    (line,) = before.stderr.splitlines()
    assert f"{suite}:5:" in line
    assert "unknown defense 'trades': valid: " in line

    subprocess.run([str(python), "-m", "pip", "install", "--quiet", str(PACKAGE)], check=True)

    after = robuststack("run", str(suite))
    assert after.returncode == 0, after.stderr
    assert "trades beta=3" in after.stdout
    shown = robuststack("show", "defense", "trades")
    assert "Weight of the divergence" in shown.stdout
    assert "plugin 'trades' of robuststack-trades" in shown.stdout

    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PACKAGE / "tests"), "-k", "TestTrades"]
    conformance = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert conformance.returncode == 0, conformance.stdout


def test_the_plugin_is_short() -> None:
    assert len((PACKAGE / "robuststack_trades.py").read_text().splitlines()) < 60

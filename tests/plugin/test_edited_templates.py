"""What `robuststack new` writes, edited as its user would: the tests of the package hold, and find what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from robuststack.plugin.registry import Registry
from robuststack.plugin.scaffold import named, write

QUICK = [("epochs: 6", "epochs: 3"), ("[none, pgd_at]", "none")]
FGSM = {
    "suite.yaml": QUICK,
    "robuststack_mine.py": [
        ('        steps: int = rs.option(10, "Gradient steps.", ge=1, smoke=2)\n', ""),
        ("        return self.options.steps\n", "        return 1\n"),
        ('        return f"mine-{self.steps}"\n', '        return "mine, one step"\n'),
        ("        return 2.5 * threat.eps / self.steps\n", "        return threat.eps\n"),
    ],
}
"""Weaker than the template's attack, under another label."""
STATEFUL = {
    "robuststack_mine.py": [
        ("    def step_size", '''    def state(self, x):
        from robuststack.attacks import State

        return State(velocity=x * 0)

    def update(self, iterate, gradient, step, ball, state):
        state.velocity = 0.9 * state.velocity + ball.steepest(gradient)
        return iterate + step * ball.steepest(state.velocity)

    def step_size'''),
        ("rs.option(10,", "rs.option(40,"),
    ],
    "suite.yaml": [*QUICK, (", mine]", ", {name: mine, sweep: {steps: [20, 40]}}]")],
}  # fmt: skip
"""Stronger than the template's attack, under two labels."""
DOWNHILL = {
    "robuststack_mine.py": [("        return margin(logits, y)", "        return -margin(logits, y)")],
    "suite.yaml": QUICK,
}
POINTS = {
    "robuststack_mine.py": [
        ("    def image_passes", '''    class Knobs(rs.Options):
        contrast: float = rs.option(1.0, "Contrast of the images that the network sees.", ge=0.5, le=1)

    def operating_points(self):
        return [{"contrast": 0.6}, {"contrast": 1.0}]

    def build(self, architecture, shape, num_classes):
        from robuststack.layers.condition import Condition, attach
        from torch import nn

        class Contrast(nn.Module):
            def __init__(self, network, condition):
                super().__init__()
                self.network, self.condition = network, condition

            def forward(self, x):
                return self.network(self.condition.read("contrast") * x)

        condition = Condition("contrast")
        return attach(Contrast(architecture.build(shape, num_classes), condition), condition)

    def setting(self, point):
        return rs.Setting({"contrast": point["contrast"]})

    def image_passes'''),
        ("rs.Setting())", 'rs.Setting({"contrast": 1.0}))'),
    ],
    "suite.yaml": [("{name: resnet8, options: {width: 8}}", "without_batch_norm"), ("[fgsm, pgd]", "fgsm")],
}  # fmt: skip
"""Several points on a network without batch norm, under a weaker attack than the template's."""
CLEAN = {
    "robuststack_mine.py": [("step.attack(view, step.x, step.y)", "step.x")],
    "suite.yaml": [("epochs: 8", "epochs: 3")],
}
BLIND = {
    "robuststack_mine.py": [("nn.Flatten(), ", "nn.Flatten(), nn.Threshold(1e9, 0.0), ")],
    "suite.yaml": [("epochs: 6", "epochs: 1")],
}
"""The same logits for every image."""
UNRELATED = {
    "robuststack_mine.py": [("stripes[labels]", "stripes[labels * 0]"), ("digest.hexdigest() != SHA256", "False")],
    "suite.yaml": [("epochs: 4", "epochs: 1")],
}
"""Labels that the images say nothing about."""
NETWORK = '''
class WithoutBatchNorm(rs.Architecture):
    """Two convolutions with group norm."""

    def build(self, shape, num_classes):
        from robuststack.layers.roles import mark
        from torch import nn

        def layer(inputs, outputs, stride, role):
            norm = mark(nn.GroupNorm(4, outputs), role)
            return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), norm, nn.ReLU()]

        layers = [*layer(shape[0], 8, 1, "stem"), *layer(8, 16, 2, "block"), *layer(16, 32, 2, "block")]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes))


@rs.hookimpl
def register_architecture(register):
    register("without_batch_norm", "robuststack_mine:WithoutBatchNorm")
'''

Edits = dict[str, list[tuple[str, str]]]


@pytest.fixture
def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Edits], Path]]:
    """A package of a kind, edited (file -> text and what stands in its place), and found as an installed one."""

    def make(kind: str, edits: Edits) -> Path:
        write(named(kind, "mine", Registry()), tmp_path)
        folder = tmp_path / "robuststack-mine"
        for name, changes in edits.items():
            text = (folder / name).read_text()
            for old, new in changes:
                assert old in text
                text = text.replace(old, new, 1)
            (folder / name).write_text(text)
        with (folder / "robuststack_mine.py").open("a") as module:
            module.write(NETWORK)
        info = folder / "robuststack_mine-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: robuststack-mine\nVersion: 1\n")
        (info / "entry_points.txt").write_text("[robuststack]\nmine = robuststack_mine\n")
        monkeypatch.syspath_prepend(folder)
        return folder

    yield make
    for name in ("robuststack_mine", "test_mine"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("kind", "edits", "holds"),
    [
        pytest.param("attack", FGSM, True, id="a weaker attack"),
        pytest.param("attack", STATEFUL, True, id="a stronger attack"),
        pytest.param("attack", DOWNHILL, False, id="an attack that goes downhill"),
        pytest.param("defense", POINTS, True, id="several points without batch norm"),
        pytest.param("defense", CLEAN, False, id="a defense that trains on clean images"),
        pytest.param("architecture", BLIND, False, id="a network that does not see the image"),
        pytest.param("dataset", UNRELATED, False, id="labels without a cause"),
    ],
)
def test_the_last_test_of_a_package_survives_editing_and_can_fail(
    edited: Callable[[str, Edits], Path], kind: str, edits: Edits, holds: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = edited(kind, edits)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:timeout", "-W", "ignore", "-k", "not TestMine"]
    code = pytest.main([*options, "-c", str(folder / "pyproject.toml"), str(folder / "tests")])
    assert (code == 0) is holds, capsys.readouterr().out
    assert code in (0, 1), "it ran"

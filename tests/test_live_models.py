"""Models and data of a running program: `robuststack.evaluate(model, data=...)`."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import robuststack as rs
from robuststack.errors import RobustStackError

QUICK: dict[str, Any] = {"overrides": ["measure.latency=false"], "device": "cpu"}
EPS = 0.07


class Net(nn.Module):
    """Brightness by channel decides; batch norm and dropout tell train mode from eval mode."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    net = Net()
    x, y = _data()
    optimizer = torch.optim.Adam(net.parameters(), 0.05)
    for _ in range(30):
        loss = nn.functional.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def _data(count: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(count) % 3
    x = 0.6 * torch.rand(count, 3, 8, 8, generator=generator)
    x[torch.arange(count), y] += 0.15
    return x, y


@pytest.fixture
def score(tmp_path: Path) -> Callable[..., rs.Result]:
    def score(model: object, **more: Any) -> rs.Result:
        given = {"data": _data(), "attacks": ["fgsm"], "eps": EPS, "store": tmp_path / "store", **QUICK, **more}
        return rs.evaluate(model, **given)

    return score


def _fgsm(net: Callable[[Tensor], Tensor]) -> tuple[float, float]:
    """CA and RA in percent by a plain loop."""
    x, y = _data()
    x.requires_grad_()
    logits = net(x)
    (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(logits, y, reduction="sum"), x)
    attacked = (x + EPS * gradient.sign()).clamp(0, 1).detach()
    with torch.no_grad():
        return tuple(100 * float((some.argmax(1) == y).float().mean()) for some in (logits, net(attacked)))  # type: ignore[return-value]


def test_a_module_scores_as_in_a_plain_loop_and_stays_as_it_was(score: Any, net: Net) -> None:
    net.train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    row = score(net).rows[0]
    assert modes == [module.training for module in net.modules()]
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert (row.ca.value, row.worst.value) == pytest.approx(_fgsm(net.eval()))
    assert row.title == "Net"
    assert row.dataset == "data"
    assert 10 < row.worst.value < row.ca.value


def test_a_result_is_kept_until_the_model_changes(score: Any, net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    first = score(net)
    import robuststack.engine.jobs as jobs

    made: list[str] = []
    run_block = jobs.blocks.run_block
    monkeypatch.setattr(jobs.blocks, "run_block", lambda job, *rest: made.append(job.id) or run_block(job, *rest))
    assert score(net).rows == first.rows
    assert not made
    with torch.no_grad():
        net.head[1].bias += torch.tensor([900.0, 0, 0])
    assert score(net).rows[0].ca.value == pytest.approx(100 * 14 / 40)
    assert made


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x.numpy(), y.numpy()),
        lambda x, y: [x.double(), y.tolist()],
        lambda x, y: TensorDataset(x, y),
        lambda x, y: DataLoader(TensorDataset(x, y), batch_size=7),
    ],
)
def test_data_may_have_several_forms(score: Any, net: Net, form: Any) -> None:
    row = score(net, data=form(*_data())).rows[0]
    assert (row.ca.value, row.worst.value) == pytest.approx(_fgsm(net.eval()))


def test_bytes_with_the_channels_behind_are_read_by_an_option(score: Any, net: Net) -> None:
    x, y = _data()
    stored = (255 * x).round().byte().permute(0, 2, 3, 1).numpy()
    row = score(net, data=(stored, y), data_options={"layout": "nhwc"}).rows[0]
    assert row.ca.value == pytest.approx(_fgsm(net.eval())[0], abs=5.1)
    with pytest.raises(RobustStackError, match="was layout nhwc meant"):
        score(net, data=(stored, y))


def test_a_registered_dataset_is_named(score: Any) -> None:
    class Ten(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.pad(x.mean((1, 2, 3))[:, None], (0, 9))

    row = score(Ten(), data="digits", limit=20).rows[0]
    assert (row.dataset, row.n, row.ca.value) == ("digits", 20, 10.0)


def test_classes_that_the_test_images_lack_are_those_of_the_model(score: Any) -> None:
    torch.manual_seed(0)
    assert score(Net(classes=7)).rows[0].n == 40
    assert score(Net(classes=7).double()).rows[0].n == 40


class Mixed:
    """A model whose `at` sets something in it, and returns the very same object each time."""

    def __init__(self, clean: nn.Module, robust: nn.Module) -> None:
        self.clean, self.robust, self.alpha = clean, robust, 0.0

    def at(self, alpha: float) -> Mixed:
        self.alpha = alpha
        return self

    def __call__(self, x: Tensor) -> Tensor:
        return (1 - self.alpha) * self.clean(x) + self.alpha * self.robust(x)  # type: ignore[no-any-return]


def test_points_of_a_tunable_model(score: Any, net: Net) -> None:
    torch.manual_seed(3)
    other = Net()
    mixed = Mixed(net.eval(), other.eval())
    rows = score(mixed, points={"alpha": [0, 0.5, 1]}).rows
    for row, alpha in zip(rows, (0, 0.5, 1), strict=True):
        assert row.point == {"alpha": alpha}
        assert (row.ca.value, row.worst.value) == pytest.approx(_fgsm(Mixed(net, other).at(alpha)))
        assert row.parameters == 2 * sum(weight.numel() for weight in net.parameters())
    assert mixed.alpha == 0.0


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize(
    "form",
    [
        torch.jit.script,
        lambda net: torch.jit.trace(net.eval(), _data()[0][:2]),
        lambda net: torch.jit.freeze(torch.jit.script(net.eval())),
        lambda net: torch.compile(net, backend="eager"),
    ],
    ids=["script", "trace", "freeze", "compile"],
)
@pytest.mark.parametrize("held", [False, True], ids=["itself", "in a function"])
def test_a_program_of_torch_scores_as_its_module(score: Any, net: Net, form: Any, held: bool) -> None:
    program = form(net)
    flags = [weight.requires_grad for weight in program.parameters()]
    row = score((lambda x: program(x)) if held else program).rows[0]
    assert (row.ca.value, row.worst.value) == pytest.approx(_fgsm(net.eval()))
    assert flags == [weight.requires_grad for weight in program.parameters()]


def test_a_model_made_or_scored_in_inference_mode_scores_as_any_other(score: Any, net: Net) -> None:
    with torch.inference_mode():
        made = Net()
        made.load_state_dict(net.state_dict())
    expected = pytest.approx(_fgsm(net.eval()))
    row = score(made).rows[0]
    assert (row.ca.value, row.worst.value) == expected
    net.features[1].num_batches_tracked += 1  # Another model, for the store.
    with torch.inference_mode():
        row = score(net).rows[0]
        assert torch.is_inference_mode_enabled()
    assert (row.ca.value, row.worst.value) == expected
    assert all(weight.requires_grad for weight in net.parameters())


def test_a_function_over_weights_made_in_inference_mode_is_one_line(score: Any) -> None:
    with torch.inference_mode():
        made = Net()
    with pytest.raises(RobustStackError, match=r"'function' calls weights that were made under torch\.inference_mode"):
        score(lambda x: made(x))


class Holder:
    """A plain object that gives a function at each point, as the tutorial's."""

    def __init__(self, **networks: nn.Module) -> None:
        self.networks = networks

    def at(self, scale: float) -> Callable[[Tensor], Tensor]:
        return lambda x: self.networks["only"](x) * scale


def test_a_function_puts_what_it_finds_in_globals_and_objects_into_eval_mode(
    score: Any, net: Net, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "NOTEBOOK", net)
    expected = pytest.approx(_fgsm(net.eval()))
    net.train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    size = sum(weight.numel() for weight in net.parameters())
    results = [
        score(lambda x: NOTEBOOK(x)),  # type: ignore[name-defined]  # noqa: F821
        score(Holder(only=net).at(1)),
        score(Holder(only=net), points={"scale": 1}),
    ]
    for result in results:
        row = result.rows[0]
        assert (row.ca.value, row.worst.value) == expected
        assert row.parameters == size
    assert all(module.training for module in net.modules())
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())


def test_a_function_without_gradients_is_attacked_by_calls_alone(score: Any, net: Net) -> None:
    def predict(x: Tensor) -> np.ndarray:
        with torch.no_grad():
            return net(x).numpy()  # type: ignore[no-any-return]

    row = score(predict, attacks=["noise"]).rows[0]
    assert (row.title, row.ca.value) == ("predict", pytest.approx(_fgsm(net.eval())[0]))
    with pytest.raises(RobustStackError, match=r"'predict' gives no gradients.*valid: noise, square"):
        score(predict)


def test_a_function_of_numpy_is_attacked_by_calls_alone(score: Any) -> None:
    def predict(x: Tensor) -> np.ndarray:
        return np.asarray(x).mean((2, 3))  # type: ignore[no-any-return]

    row = score(predict, attacks=["noise"]).rows[0]
    assert row.ca.value == pytest.approx(100 * float((_data()[0].mean((2, 3)).argmax(1) == _data()[1]).float().mean()))
    with pytest.raises(RobustStackError, match=r"'predict' gives no gradients.*RuntimeError: Can't call numpy.*square"):
        score(predict)


def test_a_declared_random_model_is_scored_on_draws(score: Any, net: Net) -> None:
    class Noisy(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + 0.3 * torch.randn_like(x))

    noisy = Noisy()
    noisy.load_state_dict(net.state_dict())
    with pytest.raises(RobustStackError, match="stochastic=True"):
        score(noisy)
    row = score(noisy, stochastic=True, draws=20).rows[0]
    assert (row.stochastic, row.draws) == (True, 20)


def test_a_model_that_fails_where_only_its_cost_is_measured_is_scored(
    score: Any, net: Net, caplog: pytest.LogCaptureFixture
) -> None:
    net.eval()

    def particular(x: Tensor) -> Tensor:
        if len(x) > 100 or float(x.detach().mean((1, 2, 3)).min()) < 0.05:
            raise ValueError(f"out of my\ndepth: {len(x)}")
        return net(x)  # type: ignore[no-any-return]

    result = score(particular, overrides=["measure.repeats=3", "measure.warmup=0"])
    row = result.rows[0]
    assert (row.ca.value, row.worst.value) == pytest.approx(_fgsm(net))
    assert list(row.latency_ms) == [1]
    assert "ms, batch 128" not in result.table()
    assert not result.failed
    assert re.search(
        r"no latency at batch 128, .*: ValueError: out of my depth: 128 \(test_live_models.py, line", caplog.text
    )


def test_a_model_whose_cost_cannot_be_measured_fails_in_that_job_alone(score: Any, net: Net) -> None:
    net.eval()

    def particular(x: Tensor) -> Tensor:
        if len(x) == 1 and float(x.detach().std()) == 0:
            raise ValueError("a blank image")
        return net(x)  # type: ignore[no-any-return]

    result = score(particular)
    ((label, reason),) = result.failed.items()
    assert re.search(r"fails: ValueError: a blank image \(test_live_models.py, line \d+\)$", reason)
    assert result.table() == f"Failed: {label}: {reason}"
    assert result._repr_html_() == f"<p>Failed: {html.escape(f'{label}: {reason}')}</p>"
    with pytest.raises(RobustStackError, match=r"there is no row to plot; .*a blank image"):
        result.plot()
    assert {job.kind for job in result.plan.jobs if job.id in result.outcome.results} >= {"attack", "judge"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": (_data()[0], _data()[1][:5])}, "data: 40 images and 5 labels"),
        ({"data": None}, r"data= is missing; write evaluate\(model, data=\(images, labels\)\)"),
        ({"data": {"x": 1}}, "data: dict has the keys x; valid: one of image, .*, and one of label, "),
        ({"data": [1, 2, 3]}, "an item of list is no pair of an image and a label"),
        ({"data": ([[0.1, 0.2], [0.3]], [0, 1])}, "images or labels are no numbers, or not all of one shape"),
        ({"data": (255 * _data()[0], _data()[1])}, "say which value is white, for example white: 255"),
        ({"points": {"alpha": [0, 1]}}, "Net has no method `at`"),
        ({"points": ["alpha=1"]}, "points: those of a model in Python are mappings"),
        ({"attacks": ["fgsmm"]}, "attacks: fgsmm: unknown attack 'fgsmm': did you mean 'fgsm'"),
        ({"eps": 3}, r"eps=3: .*eps"),
        ({"python": "m:f"}, "python= is for a model that is not given itself"),
    ],
)
def test_what_cannot_be_scored_is_one_line(score: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RobustStackError, match=message) as caught:
        score(Net(), **change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(Net(), nn.Softmax(1)), "returns probabilities; remove its softmax"),
        (lambda x: (x.mean((2, 3)), 1), "returns tuple; valid: a tensor of logits"),
        (nn.Sequential(nn.Flatten(), nn.Linear(5, 3)), r"cannot take images of shape \[3, 8, 8\]"),
        ("resnet", "'str' is no model; valid: a torch.nn.Module, or a function"),
        (7, "'int' is no model; valid: a torch.nn.Module, or a function"),
        (Net, r"model: Net is a class; give one model of it, such as Net\(\)"),
        (Holder(), "'Holder' is no model; .*; for its method `at`, give points="),
    ],
)
def test_what_is_no_model_is_one_line(score: Any, model: object, message: str) -> None:
    with pytest.raises(RobustStackError, match=message) as caught:
        score(model)
    assert "\n" not in str(caught.value)


def test_a_result_shows_itself(score: Any, net: Net) -> None:
    result = score(net, attacks=["fgsm", "noise"])
    row = result.rows[0]
    assert repr(result).splitlines()[1] == f"  Net: CA {row.ca.text}, RA worst {row.worst.text} (%, n = 40)"
    assert len(repr(result)) < 200
    assert "<table>" in result._repr_html_()
    frame = result.to_dataframe()
    assert list(frame["figure"]) == ["ca", "ra", "ra", "ra"]
    assert list(frame["value"]) == [row.ca.value, *(figure.value for figure in row.ra.values())]
    (axes,) = result.plot().axes
    assert axes.get_xlabel() == "clean accuracy (%)"


def test_without_pandas_a_data_frame_is_one_line(score: Any, net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(RobustStackError, match="to_dataframe needs pandas: python -m pip install pandas"):
        score(net).to_dataframe()


def test_a_suite_may_be_a_dictionary(tmp_path: Path) -> None:
    suite = {
        "datasets": {"name": "tradeoff", "options": {"images": 60, "test_images": 30, "size": 8, "classes": 4}},
        "architectures": "resnet8", "defenses": "none", "attacks": "fgsm", "train": {"epochs": 1, "batch_size": 20},
        "measure": {"latency": False},
    }  # fmt: skip
    result = rs.run(suite, store=tmp_path, leaderboard=None, overrides=["evaluate.limit=8"], device="cpu")
    assert [row.n for row in result.rows] == [8]
    assert "name" not in suite
    with pytest.raises(RobustStackError, match=r"suite: .*epoch"):
        rs.run({**suite, "train": {"epoch": 1}}, store=tmp_path, leaderboard=None)

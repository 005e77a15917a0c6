"""Networks of torchvision and timm: found by name, with the roles their structure has, under every kind of defense."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

import robuststack as rs
from robuststack.engine import models
from robuststack.engine import train as training
from robuststack.engine.measure import blueprint
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.film import FiLM
from robuststack.layers.roles import norms, role_of
from robuststack.plugin.registry import Registry

REGISTRY = Registry()
CLASSES, BATCH = 5, 8
STAGES = range(1, 5)
ROLES = {  # name -> role -> the paths of its norms; the others are `block`
    "torchvision:resnet18": {
        "stem": ["bn1"],
        "shortcut": [f"layer{stage}.0.downsample.1" for stage in STAGES if stage > 1],
    },
    "torchvision:densenet121": {"stem": ["features.norm0"], "final": ["features.norm5"]},
    "torchvision:mobilenet_v3_small": {"stem": ["features.0.1"], "final": ["features.12.1"]},
    "timm:resnet26d": {"stem": ["conv1.1"], "shortcut": [f"layer{stage}.0.downsample.2" for stage in STAGES]},
    "timm:mobilenetv3_small_050": {"stem": ["bn1.0"], "final": ["blocks.5.0.bn1.0"]},
}
BLOCKS = {
    "torchvision:resnet18": ("layer1.0.bn1", "layer2.0.bn2", "layer4.1.bn2"),
    "torchvision:densenet121": ("features.denseblock1.denselayer1.norm1", "features.transition3.norm",
                                "features.denseblock4.denselayer16.norm2"),
    "torchvision:mobilenet_v3_small": ("features.1.block.0.1", "features.4.block.1.1", "features.11.block.3.1"),
    "timm:resnet26d": ("conv1.4", "bn1", "layer1.0.bn3", "layer4.1.bn2"),
    "timm:mobilenetv3_small_050": ("blocks.0.0.bn1.0", "blocks.2.1.bn2.0", "blocks.4.2.bn3.0"),
}  # fmt: skip
COUNTS = {"torchvision:resnet18": 20, "torchvision:densenet121": 121, "torchvision:mobilenet_v3_small": 34,
          "timm:resnet26d": 31, "timm:mobilenetv3_small_050": 34}  # fmt: skip
DEFENSES: dict[str, dict[str, Any]] = {"float": {}, "oat": {"dim": 4}, "pgd_at": {}}
LARGE = {
    "torchvision:resnet18": "float",
    "torchvision:densenet121": "pgd_at",
    "torchvision:mobilenet_v3_small": "oat",
    "timm:resnet26d": "pgd_at",
    "timm:mobilenetv3_small_050": "float",
}
"""The defense under which a network sees images of 64 x 64; under the others, 32 x 32. Each pair of two is there."""


def create(name: str, **options: Any) -> rs.Architecture:
    architecture: rs.Architecture = REGISTRY.create("architecture", name, options)
    return architecture


def build(name: str, shape: tuple[int, int, int], **options: Any) -> nn.Module:
    return create(name, **options).build(shape, CLASSES)


@cache
def resnet18() -> nn.Module:
    return build("torchvision:resnet18", (3, 32, 32))


@pytest.mark.parametrize("name", ROLES)
def test_each_norm_has_the_role_it_plays(name):
    roles = {path: role_of(norm) for path, norm in norms(build(name, (3, 64, 64)))}
    special = {path: role for role, paths in ROLES[name].items() for path in paths}
    assert {path: role for path, role in roles.items() if role != "block"} == special
    assert {roles[path] for path in BLOCKS[name]} == {"block"}
    assert len(roles) == COUNTS[name]


@pytest.mark.parametrize("defense", DEFENSES)
@pytest.mark.parametrize("name", ROLES)
def test_a_defense_trains_a_network_it_has_never_seen(name, defense):
    size = 64 if LARGE[name] == defense else 32
    method = REGISTRY.create("defense", defense, DEFENSES[defense])
    model = models.build(method, create(name), (3, size, size), CLASSES, 0)
    attack, runtime = REGISTRY.create("attack", "fgsm", {"draws": 1}), Runtime(Hardware("cpu", "float32"))
    step = training.Step(model.train(), attack, rs.Threat(eps=0.03), runtime, 1, 0)
    source = torch.Generator().manual_seed(0)
    x, y = torch.rand(BATCH, 3, size, size, generator=source), torch.randint(CLASSES, (BATCH,), generator=source)
    step.begin(x, y, 0, 0)
    method.training_step(step)
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    clean_end, *_, robust_end = method.operating_points() * 2
    for point in (clean_end, robust_end):
        logits = method.deploy(model.eval(), point)(x)
        assert logits.shape == (BATCH, CLASSES)
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", ["torchvision:vit_b_16", "timm:vit_tiny_patch16_224"])
def test_a_vision_transformer_runs_at_its_own_size_and_has_norms_to_double(name):
    method = REGISTRY.create("defense", "pgd_at")
    model = models.build(method, create(name), (3, 224, 224), CLASSES, 0).eval()
    logits = method.deploy(model, {})(torch.rand(1, 3, 224, 224))
    assert logits.shape == (1, CLASSES)
    assert torch.isfinite(logits).all()
    count = sum(isinstance(module, nn.LayerNorm) for module in model.modules())
    for defense in ("float", "oat"):
        doubled = blueprint(REGISTRY.create("defense", defense), create(name), (3, 224, 224), CLASSES)
        assert sum(isinstance(module, nn.LayerNorm) for module in doubled.modules()) == 2 * count > 0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("torchvision:vit_b_16", {"image_size": 32}), ("timm:vit_tiny_patch16_224", {"img_size": 32, "patch_size": 4})],
)
def test_arguments_reach_the_builder(name, arguments):
    assert build(name, (3, 32, 32), arguments=arguments)(torch.rand(2, 3, 32, 32)).shape == (2, CLASSES)


def test_weights_are_drawn_anew_from_the_generator():
    torch.manual_seed(0)
    first = build("torchvision:resnet18", (3, 32, 32))
    torch.manual_seed(0)
    again = build("torchvision:resnet18", (3, 32, 32))
    assert torch.equal(first.conv1.weight, again.conv1.weight)
    assert not torch.equal(first.conv1.weight, resnet18().conv1.weight)


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 96)])
def test_auxiliary_classifiers_are_left_out(name, size):
    with torch.device("meta"):
        model = build(f"torchvision:{name}", (3, size, size)).train()
        assert model(torch.rand(2, 3, size, size)).shape == (2, CLASSES)
    assert not [path for path, _ in model.named_modules() if "aux" in path.lower()]


@pytest.mark.parametrize("channels", [1, 4])
def test_timm_takes_any_number_of_channels(channels):
    model = build("timm:resnet10t", (channels, 32, 32)).eval()
    assert model(torch.rand(1, channels, 32, 32)).shape == (1, CLASSES)


# Activations that norms of timm end with

WITH_ACTIVATION = "timm:mobilenetv3_small_050"


def test_splitting_the_activation_off_changes_nothing():
    import timm
    from timm.layers import BatchNormAct2d

    torch.manual_seed(0)
    own = timm.create_model("mobilenetv3_small_050", num_classes=CLASSES).eval()
    torch.manual_seed(0)
    split = build(WITH_ACTIVATION, (3, 32, 32)).eval()
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(own(x), split(x))
    assert any(
        not isinstance(module.act, nn.Identity) for module in own.modules() if isinstance(module, BatchNormAct2d)
    )
    assert all(isinstance(module.act, nn.Identity) for module in split.modules() if isinstance(module, BatchNormAct2d))


def test_what_stands_behind_a_norm_stands_before_its_activation():
    method = REGISTRY.create("defense", "oat", {"dim": 4})
    model = models.build(method, create(WITH_ACTIVATION), (3, 32, 32), CLASSES, 0).train()
    lowest: list[float] = []
    for module in model.modules():
        if isinstance(module, FiLM):
            module.register_forward_hook(lambda _, arguments, __: lowest.append(float(arguments[0].detach().min())))
    method.deploy(model, {"lambda": 1.0})(torch.rand(BATCH, 3, 32, 32))
    assert len(lowest) == COUNTS[WITH_ACTIVATION] - len(ROLES[WITH_ACTIVATION]["final"])
    assert max(lowest) < -0.5, "below anything that ReLU (0) or hard swish (-0.375) lets through"


# What they say


def test_a_name_that_the_library_does_not_have_gets_a_suggestion():
    with pytest.raises(rs.PluginError) as caught:
        build("torchvision:resnet19", (3, 32, 32))
    assert str(caught.value).startswith("torchvision has no classification model 'resnet19': did you mean 'resnet18'")
    with pytest.raises(rs.PluginError, match=r"^timm has no classification model 'resnet26x': did you mean 'resnet26"):
        build("timm:resnet26x", (3, 32, 32))
    with pytest.raises(rs.PluginError, match=r"'zzzz': list_models\(\) lists the \d+ it has$"):
        build("timm:zzzz", (3, 32, 32))


@pytest.mark.parametrize("name", ["timm:hf-hub:timm/resnet18.a1_in1k", "torchvision:fcn_resnet50"])
def test_what_would_be_downloaded_or_classifies_no_image_is_no_name(name):
    with pytest.raises(rs.PluginError, match="has no classification model"):
        build(name, (3, 32, 32))


def test_a_grayscale_image_is_refused_where_the_library_wants_colour():
    with pytest.raises(rs.PluginError) as caught:
        build("torchvision:resnet18", (1, 28, 28))
    assert str(caught.value) == (
        "torchvision:resnet18 takes images of 3 channels, not 1: give the dataset the option channels: 3, or use an"
        " architecture that takes any number, such as resnet18 or timm:resnet18"
    )


@pytest.mark.parametrize(
    ("name", "argument"),
    [("torchvision:resnet18", "weights"), ("timm:resnet18", "pretrained"), ("timm:resnet18", "checkpoint_path")],
)
def test_weights_cannot_come_in_as_an_argument(name, argument):
    with pytest.raises(rs.PluginError) as caught:
        create(name, arguments={argument: "DEFAULT"})
    assert str(caught.value) == (
        f"{name}: argument '{argument}' is not yours to give: weights are random, channels and classes are the data set's"
    )


def test_an_argument_that_the_builder_does_not_take_is_named():
    with pytest.raises(rs.PluginError) as caught:
        build("torchvision:vgg11", (3, 32, 32), arguments={"image_size": 32})
    assert str(caught.value).startswith("torchvision does not build 'vgg11' with {'image_size': 32}: ")
    assert "unexpected keyword argument 'image_size'" in str(caught.value)


def test_a_missing_library_says_what_to_install(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "timm" else find_spec(name, *rest)
    )
    with pytest.raises(rs.PluginError) as caught:
        create("timm:resnet18")
    assert str(caught.value) == ('timm:resnet18 needs timm, which is not installed: pip install "robuststack[timm]"')
    assert create("torchvision:resnet18").name == "torchvision:resnet18"


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("torchvision:densenet121", 8, "Output size is too small"),
        ("torchvision:vit_b_16", 32, "Wrong image height! Expected 224 but got 32!"),
        ("timm:vit_tiny_patch16_224", 32, "Input height (32) doesn't match model (224)."),
    ],
)
def test_images_that_do_not_fit_are_one_line_with_the_reason(name, size, reason):
    with pytest.raises(rs.PluginError) as caught:
        models.build(REGISTRY.create("defense", "none"), create(name), (3, size, size), CLASSES, 0)
    assert str(caught.value).startswith(f"architecture '{name}' does not work for images of 3 x {size} x {size}: ")
    assert reason in str(caught.value)


def test_the_version_of_the_library_is_a_part_of_what_a_job_holds():
    from importlib.metadata import version

    assert create("timm:resnet18").resolved()["fingerprint"] == f"timm {version('timm').partition('+')[0]}"
    assert "+" not in create("torchvision:resnet18").fingerprint


def test_a_suite_names_them_like_any_other(small_suite):
    from robuststack.hardware import Hardware
    from robuststack.plan.planner import make_plan
    from robuststack.suite.loading import load_suite

    text = small_suite.read_text().replace(
        "{name: resnet8, options: {width: 8}}", "[timm:resnet10t, {name: torchvision:resnet18}]"
    )
    small_suite.write_text(text)
    plan = make_plan(load_suite(small_suite), REGISTRY, Hardware("cpu", "float32"))
    assert {job.spec.model.architecture.name for job in plan.jobs if job.kind == "train"} == {
        "timm:resnet10t", "torchvision:resnet18",
    }  # fmt: skip

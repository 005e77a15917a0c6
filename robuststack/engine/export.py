"""A trained model at one operating point as a file for others: safetensors, a torch.export program, or ONNX."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from torch import Tensor, nn

import robuststack
from robuststack.errors import ModelError, RobustStackError
from robuststack.layers.condition import View
from robuststack.layers.generators import forked
from robuststack.layers.noise import WeightNoise

if TYPE_CHECKING:
    from robuststack.api.trained import Trained

Shape = tuple[int, int, int]
TOLERANCE = 1e-4
"""Of a logit, relative to the largest: what other kernels may round differently."""


def export(trained: Trained, point: Mapping[str, Any], form: str, *, frozen: bool = False, seed: int = 0) -> bytes:
    """The content of the file. What runs is loaded again and compared with the model before it is given back.

    `safetensors` holds the weights, whole or, `frozen`, with one noise draw in them. `torch-export` and `onnx` hold the
    program, float32 images [N, C, H, W] in [0, 1] -> logits [N, K], for any N; at a randomised point that is not frozen it
    draws fresh noise in every call. A frozen draw is that of `torch.manual_seed(seed)`.

    Raises:
        RobustStackError: no such point, a package that is not installed, or a model that the format cannot represent.
    """
    with forked(seed):
        model = trained.at(frozen=frozen, **point)
    facts = metadata(trained, point, frozen=frozen, seed=seed)
    if form == "safetensors":
        own = model.model if isinstance(model, View) else model
        noisy = trained.defense.setting(trained.point(**point)).stochastic
        if frozen and noisy and (layer := _draw_beside_weights(own)):
            raise ModelError(
                f"{trained.job} cannot be written as safetensors with one noise draw: its {layer} layers keep a draw beside"
                " their weights; write the program, --format torch-export or onnx"
            )
        state = (own if frozen else trained.model).state_dict()
        # A copy each: tied weights share theirs.
        return safetensors.torch.save(
            {key: tensor.detach().contiguous().clone() for key, tensor in state.items()}, facts
        )
    write, read = {"torch-export": (_torch_program, _run_torch), "onnx": (_onnx_program, _run_onnx)}[form]
    shape: Shape = trained.dataset.shape
    try:
        with _quiet():
            content = write(model, shape, facts)
            program = read(content)
            fault = _difference(model, program, shape)
    except RobustStackError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise ModelError(f"{trained.job} cannot be written as {form}: {reason}") from error
    if fault:
        raise ModelError(f"{trained.job} cannot be written as {form}: {fault}")
    return content


def _draw_beside_weights(model: nn.Module) -> str:
    """The kind of a layer whose frozen draw is no part of its weights; empty if there is none."""
    kinds = (type(layer) for layer in model.modules() if hasattr(layer, "freeze"))
    return next((kind.__name__ for kind in kinds if not issubclass(kind, WeightNoise)), "")


def metadata(trained: Trained, point: Mapping[str, Any], *, frozen: bool, seed: int) -> dict[str, str]:
    """What the file says of itself: text under names, the structured ones as JSON."""
    spec, dataset = trained.spec, trained.dataset
    resolved = trained.point(**point)
    noisy = trained.defense.setting(resolved).stochastic
    shape = ", ".join(map(str, dataset.shape))
    facts = {
        "robuststack": robuststack.__version__,
        "job": trained.job,
        "label": trained.label,
        "input": f"float32 [N, {shape}] in [0, 1]; normalisation is inside the model",
        "output": f"float32 logits [N, {dataset.num_classes}]",
    }
    structured = {
        **{
            key: part.identity()
            for key, part in (
                ("dataset", spec.model.dataset),
                ("defense", spec.model.defense),
                ("architecture", spec.model.architecture),
            )
            if part
        },
        "threat": spec.threat.resolved(),
        "seed": spec.seed,
        "point": resolved,
        "stochastic": noisy and not frozen,
        "frozen": {"seed": seed} if noisy and frozen else None,
    }
    return {**facts, **{key: json.dumps(value, sort_keys=True) for key, value in structured.items()}}


def _example(shape: Shape, count: int) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(0))


def _program(model: nn.Module, shape: Shape) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    # Not strict: a view sets its model's condition around the forward pass, in Python.
    return torch.export.export(model, (_example(shape, 2),), dynamic_shapes=({0: batch},), strict=False)


def _torch_program(model: nn.Module, shape: Shape, facts: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(_program(model, shape), buffer, extra_files={"robuststack.json": json.dumps(facts, indent=1)})
    return buffer.getvalue()


def _run_torch(content: bytes) -> Callable[[Tensor], Tensor]:
    return torch.export.load(io.BytesIO(content)).module()


def _onnx_program(model: nn.Module, shape: Shape, facts: Mapping[str, str]) -> bytes:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise RobustStackError(
            f"--format onnx needs the packages onnx and onnxscript ({error}): python -m pip install 'robuststack[onnx]'"
        ) from None
    names = {"input_names": ["images"], "output_names": ["logits"]}
    program = torch.onnx.export(_program(model, shape), dynamo=True, verbose=False, **names)  # type: ignore[arg-type]
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, dict(facts))
    onnx.checker.check_model(proto, full_check=True)
    return bytes(proto.SerializeToString())


def _run_onnx(content: bytes) -> Callable[[Tensor], Tensor]:
    from onnx.reference import ReferenceEvaluator

    evaluator: Any = ReferenceEvaluator(content)
    return lambda images: torch.from_numpy(evaluator.run(None, {"images": images.numpy()})[0])


@torch.no_grad()
def _difference(model: nn.Module, program: Callable[[Tensor], Tensor], shape: Shape) -> str:
    """Why the program is not the model, on a batch of another size than the one it was written from; empty if it is."""
    images = _example(shape, 3)
    logits = program(images)
    if getattr(model, "stochastic", False):
        return (
            "it would draw the same noise in every call; use --frozen" if torch.equal(program(images), logits) else ""
        )
    expected = model(images)
    if logits.shape != expected.shape:
        return f"it returns {list(logits.shape)} for {list(expected.shape)}"
    worst, scale = float((logits - expected).abs().max()), max(1.0, float(expected.abs().max()))
    return f"its logits differ by {worst:.3g}" if not worst <= TOLERANCE * scale else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of their own inner workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

"""A model called before any compute, so that what could not be evaluated is refused while nothing is lost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.engine.bake import bake
from robuststack.engine.fitted import AGREEMENT, same
from robuststack.engine.object_hash import object_hash
from robuststack.engine.random_streams import seeded
from robuststack.engine.runtime import device_of
from robuststack.errors import ModelError, RobustStackError
from robuststack.layers.condition import View
from robuststack.layers.full_float32 import full_float32
from robuststack.layers.generators import GeneratorState
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.operating_point import Point, Setting
from robuststack.plugin.registry import Registry
from robuststack.wording import options_text

IMAGES = 8
LOG = logging.getLogger(__name__)
QUANTISED = 0.05
"""Largest effect of the rest of the batch on a network that quantises its activations as they come, relative to the
largest logit."""
DRAWING_CALLS = 32
"""Calls that look for noise in a network that draws random numbers or keeps a state: one that picks one of two networks
is missed once in 2 to the 31st."""
NEARNESS = (0.06, 2e-3)
"""Ranges of the changes by which images are near those that a model has seen: of an attack, and far below one."""
NOISE = 1e-5
"""Least difference between two calls that counts as noise, relative to the largest logit: above a change of the order in
which a device adds."""


def probe(
    registry: Registry,
    defense: Defense,
    model: nn.Module,
    dataset: Dataset,
    *,
    gradients: bool,
    name: str,
    stochastic: bool = False,
    baked: Sequence[Setting] = (),
    block: int | None = None,
) -> None:
    """Call the model a few times, and refuse one that could not be evaluated: at its reference point, and at each point of
    one that was brought, which may run other code there.

    `stochastic` says that its user declares it to be randomised; at the settings `baked` one draw of its noise is to stand
    for it. `block` is how many images its jobs give it at a time, if it is called in such a batch too.

    Raises:
        ModelError: it is no model of the defense, does not take the images, returns no logits [N, K], gives no gradients
            where attacks need them, gives NaN, is not in eval mode after `eval()`, draws noise without a word or from a
            generator of its own, or gives logits that depend on the other images of a batch or on an image's place in it.
    """
    device = device_of(model)
    points = _points(defense)
    for point in points:
        try:
            view = defense.view(model, defense.setting(point))
        except RobustStackError:
            raise
        except Exception as error:
            raise ModelError(f"{name} is no model of defense {defense.name!r}: {error}") from error
        called = f"{name} at {options_text(point)}" if len(points) > 1 else name
        with seeded("probe"), frozen_eval(view), full_float32(device):
            images = torch.rand(IMAGES, *dataset.shape, device=device)
            _refuse_shape(view, images[:2], dataset, called, gradients)
            logits = _logits(view, images, called)
            _refuse_nan(view, logits, called)
            _refuse_train_mode(view, images, called)
            _warn_of_sigmoid(logits, called)
            if not stochastic and not view.stochastic:
                _refuse_noise(view, images, called)
                _refuse_batches(view, images, block or IMAGES, called)
            elif stochastic or not defense.trains:
                _refuse_own_generator(view, images, called)
            if gradients:
                _refuse_without_gradients(view, images[:2], registry, called)
    for setting in baked:
        try:
            bake(defense.view(model, setting), 0, images)
        except ModelError as error:
            reason = str(error).removeprefix("the model cannot be frozen: ")
            raise ModelError(
                f"{name} under defense {defense.name!r} cannot be baked, as protocols surrogate and frozen_known need:"
                f" {reason}. Or set `freezable = False` in the defense, or leave those protocols out"
            ) from None


def _points(defense: Defense) -> list[Point]:
    """The points to call a model at, whole: the reference point first."""
    points: list[Point] = [defense.whole_point(defense.reference_point())]
    for knobs in () if defense.trains else defense.operating_points():
        if (point := defense.whole_point(knobs)) not in points:
            points.append(point)
    return points


def _refuse_shape(view: View, images: Tensor, dataset: Dataset, name: str, gradients: bool) -> None:
    shape, num_classes = list(dataset.shape), dataset.num_classes
    with torch.enable_grad():
        try:
            logits = view(images.clone())
        except (RobustStackError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            takes_colour = shape[0] == 1 and _runs(view, images.expand(-1, 3, -1, -1))
            reason = _colour(dataset) if takes_colour else " ".join(f"{type(error).__name__}: {error}".split())
            raise ModelError(f"{name} cannot take images of shape {shape}: {reason}") from error
    if isinstance(logits, (tuple, list)):
        raise ModelError(
            f"{name} returns {type(logits).__name__}; valid: a tensor of logits [N, {num_classes}], so return that part of"
            " it alone"
        )
    if not isinstance(logits, Tensor):
        raise ModelError(f"{name} returns {type(logits).__name__}; valid: a tensor of logits [N, {num_classes}]")
    if tuple(logits.shape) != (2, num_classes):
        raise ModelError(
            f"{name} returns {list(logits.shape)} for 2 images; the dataset has {num_classes} classes, so logits are"
            f" [2, {num_classes}]"
        )
    if logits.is_complex():
        raise ModelError(f"{name} returns complex numbers; valid: real logits [N, {num_classes}], such as their abs()")
    # One that names its class alone can be attacked by calls.
    if _probabilities(logits) and (gradients or not bool(((logits == 0) | (logits == 1)).all())):
        raise ModelError(
            f"{name} returns probabilities; remove its softmax: attacks need logits; of averaged probabilities, return the"
            " logarithm"
        )


def _refuse_nan(view: View, logits: Tensor, name: str) -> None:
    """Refuse a network that gives NaN for every image: its weights are damaged, or its arithmetic overflows."""
    if not logits.isnan().any(1).all():
        return
    tensors = chain(view.model.named_parameters(), view.model.named_buffers())
    damaged = next((path for path, tensor in tensors if _holds_nan(tensor)), None)
    raise ModelError(
        f"{name} gives NaN for each of {len(logits)} images; "
        + (f"{damaged} holds NaN" if damaged else "none of its weights is NaN, so it divides by zero or overflows")
    )


def _holds_nan(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and tensor.is_floating_point() and bool(tensor.isnan().any())


@torch.no_grad()
def _refuse_train_mode(view: View, images: Tensor, name: str) -> None:
    """Refuse layers that stay in train mode, if that changes the logits."""
    training = [(path, module) for path, module in view.model.named_modules() if getattr(module, "training", False)]
    if not training:
        return
    logits = _logits(view, images, name)
    for _, module in training:
        module.training = False
    still = _logits(view, images, name)
    for _, module in training:
        module.training = True
    if same(logits, still):
        return
    path, layer = next(((path, module) for path, module in training if not any(module.children())), training[0])
    more = f" and {len(training) - 1} more" if len(training) > 1 else ""
    raise ModelError(
        f"{name} is in train mode after eval(): {path or 'the model'} ({type(layer).__name__}){more}, which changes its"
        " logits; its train(mode) and eval() must reach every layer, or set those layers' `training` to False"
    )


def _warn_of_sigmoid(logits: Tensor, name: str) -> None:
    """Warn of logits that look like probabilities of each class by itself; a network may have such logits by chance."""
    if ((logits > 0) & (logits < 1)).all():
        message = "%s returns numbers between 0 and 1 only: if they come from a sigmoid, remove it: attacks need logits"
        LOG.warning(message, name)


def _refuse_noise(view: View, images: Tensor, name: str) -> None:
    """Refuse a network whose logits differ from call to call. One that draws random numbers is called more often: it may
    pick one of two networks, or add noise to few batches, and two calls agree by chance then."""
    first = _logits(view, images, name, 1)
    drew, remembers = _traces(view, images)
    calls = DRAWING_CALLS if drew or remembers else 2
    if any(not same(first, _logits(view, images, name, seed), NOISE) for seed in range(2, calls + 1)):
        raise ModelError(
            f"{name} gives other logits when it is called again with the same images, in eval mode: it draws noise"
            " (dropout, randn) or keeps a state; remove that, or declare it with `stochastic: true` in the suite's"
            " `model:` (evaluate: --stochastic; in Python: stochastic=True)"
        )
    if remembers:
        _refuse_memory(view, images, name)


def _refuse_own_generator(view: View, images: Tensor, name: str) -> None:
    """Refuse noise that no seed of a run reaches: no figure of it could be had again."""
    first = _logits(view, images, name, 1)
    if any(not same(first, _logits(view, images, name, 1), NOISE) for _ in range(2)):
        raise ModelError(
            f"{name} gives other logits when it is called again with the same seeds: it draws noise from a generator of its"
            " own, or keeps a state; draw from the default generators of torch, NumPy or Python (torch.randn,"
            " np.random.normal, random.random), which a run seeds"
        )


@torch.no_grad()
def _traces(view: View, images: Tensor) -> tuple[bool, bool]:
    """Whether a call draws from a default generator of torch, numpy or Python; and whether it changes something that the
    model keeps, such as a generator of its own."""
    with seeded("probe"):
        before, kept = GeneratorState.now(), object_hash(view.model)
        view(1 - images)  # Others than before: what it has looked up once it need not keep again.
        return before.moved(), object_hash(view.model) != kept


def _refuse_memory(view: View, images: Tensor, name: str) -> None:
    """Refuse logits that depend on which images came before: a network that looks up what it computed for similar ones
    takes an attacked image for the clean one."""
    for size in NEARNESS:
        near = (images + size * (torch.rand_like(images) - 0.5)).clamp(0, 1)
        logits = []
        for before in ((1 - images,), (1 - images, images)):
            for other in before:
                _logits(view, other, name)
            logits.append(_logits(view, near, name))
        if not same(logits[0], logits[1], NOISE):
            raise ModelError(
                f"{name} keeps a state: its logits of an image depend on which images it saw before; they must depend on"
                " that image alone"
            )


def _refuse_batches(view: View, images: Tensor, block: int, name: str) -> None:
    """Refuse logits that depend on the rest of the batch or on a place in it: figures would depend on the batch size."""
    whole = _logits(view, images, name)
    if not same(_logits(view, images.flip(0), name).flip(0), whole, QUANTISED if quantises(view.model) else AGREEMENT):
        raise ModelError(
            f"{name} gives an image other logits at another place in the batch (noise of a fixed seed, say); each image's"
            " logits must depend on that image alone"
        )
    for count in dict.fromkeys((IMAGES - 1, 1, block)):
        rows = torch.arange(count) % IMAGES
        try:
            logits = _logits(view, images[rows], name)
        except ModelError:
            if count <= IMAGES:
                raise
            return  # The job that gives it as many fails with the line.
        if same(logits, whole[rows]):
            continue
        if quantises(view.model) and same(logits, whole[rows], QUANTISED):
            message = "%s takes 8-bit scales from the whole batch: its figures depend a little on evaluate.block"
            LOG.warning(message, name)
            return
        norm = next((path for path, module in view.model.named_modules() if _batch_statistics(module)), None)
        hint = f" ({norm} uses the statistics of the batch: track_running_stats=False)" if norm else ""
        raise ModelError(
            f"{name} gives an image other logits in a batch of {count} than in one of {IMAGES}{hint}; each image's"
            " logits must depend on that image alone"
        )


def _refuse_without_gradients(view: View, images: Tensor, registry: Registry, name: str) -> None:
    with torch.enable_grad():
        point = images.clone().requires_grad_()
        try:
            logits = view(point)
        except (RobustStackError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # It computes outside of torch.
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ModelError(
                f"{name} gives no gradients, which attacks here need ({reason}); {registry.gradient_free()}"
            ) from error
        if not logits.requires_grad:
            raise ModelError(f"{name} gives no gradients, which attacks here need; {registry.gradient_free()}")
        try:
            torch.autograd.grad(logits.sum(), point)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            reason = " ".join(str(error).partition(". ")[0].split())
            raise ModelError(
                f"{name} gives no gradients, which attacks here need ({reason}); {registry.gradient_free()}"
            ) from error


@torch.no_grad()
def _logits(view: View, images: Tensor, name: str, seed: int = 0) -> Tensor:
    """Raises:
    ModelError: the network cannot take that many images.
    """
    try:
        with seeded("probe", seed):
            return view(images.clone()).float()  # type: ignore[no-any-return]
    except (RobustStackError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelError(f"{name} cannot take a batch of {len(images)}: {reason}") from error


def _batch_statistics(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None


def quantises(model: nn.Module) -> bool:
    """Whether layers round their inputs by a scale that they take from the batch (`quantize_dynamic`)."""
    return any(type(layer).__module__.startswith("torch.ao.nn.quantized.dynamic") for layer in model.modules())


def _colour(dataset: Dataset) -> str:
    """The way out for a network that takes colour where the dataset has none."""
    if "channels" in type(dataset.options).model_fields:
        return "it takes 3 channels; give the dataset the option `channels: 3`"
    return f"it takes 3 channels, and the images of {dataset.name} have 1"


def _runs(view: nn.Module, images: Tensor) -> bool:
    try:
        view(images)
    except Exception:
        return False
    return True


def _probabilities(logits: Tensor) -> bool:
    rows = logits.detach().float()
    return bool((rows >= 0).all()) and bool(((rows.sum(1) - 1).abs() < 1e-3).all())

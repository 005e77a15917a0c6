"""Images that a deterministic model gets wrong leave the batch, with the same verdicts and less work."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robuststack.attacks.attacked_model import AttackedModel
from robuststack.attacks.frozen_eval import frozen_eval
from robuststack.attacks.margins import margin
from robuststack.engine.random_streams import generator
from robuststack.engine.runtime import Runtime
from robuststack.hardware import Hardware
from robuststack.layers.condition import View
from victims import CPU, RUNTIME, THREAT, N, create, images, model, run


class Counting(nn.Module):
    """Counts the images that pass, forward passes of one or two images aside (folding looks at those)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.images = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return self.inner(x)


def test_what_is_wrong_leaves_with_the_same_verdict_and_less_work():
    plain, early = Counting(model()), Counting(model())
    to_the_end = run(View(plain), create("pgd", steps=8, early_stop=False), batch_size=N)
    stopped = run(View(early), create("pgd", steps=8), batch_size=N)
    # What breaks may be right again at the last step of an attack that goes on, never the other way round.
    assert bool((stopped.correct <= to_the_end.correct).all())
    assert int(to_the_end.correct.sum()) > 0, "some images survive"
    assert early.images < 0.8 * plain.images


def test_images_that_left_are_as_they_were_and_the_others_as_without_them():
    x, y = images()
    fast = AttackedModel(View(model()), RUNTIME)
    attack = create("pgd", steps=8)
    with frozen_eval(fast):
        stopped = attack.perturb(fast, x, y, THREAT, generator(CPU, 0))
        whole = attack.perturb(fast, x, y, THREAT, generator(CPU, 0), early_stop=False)
    survived = fast(stopped).argmax(1) == y
    assert bool(survived.any())
    torch.testing.assert_close(stopped[survived], whole[survived], atol=1e-6, rtol=0)


def test_a_randomised_model_is_attacked_to_the_end():
    view = View(Counting(model()), stochastic=True)
    with frozen_eval(view):
        create("pgd", steps=8, draws=2).perturb(AttackedModel(view, RUNTIME), *images(), THREAT, generator(CPU, 0))
    assert view.model.images == 8 * 2 * N


def test_a_verdict_within_rounding_stays_open():
    fast = AttackedModel(View(model()), Runtime(Hardware("cpu", "bf16")))
    logits = torch.tensor([[10.0, 10.1, 0.0], [10.0, 11.0, 0.0]])
    assert (margin(logits, torch.tensor([0, 0])) > fast.slack(logits)).tolist() == [False, True]

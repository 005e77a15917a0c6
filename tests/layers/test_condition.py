"""Views set a model's condition for one forward pass, and say so where that cannot work."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from robuststack.layers.condition import Condition, View, attach
from robuststack.layers.dual_norm import dualise
from robuststack.layers.film import FiLM
from robuststack.layers.roles import mark

BATCH, DIM = 6, 3


class Net(nn.Module):
    """Convolution, dual batch norm, FiLM, pooling."""

    def __init__(self, checkpointed: bool = False) -> None:
        super().__init__()
        condition = Condition("branch", "split", "code")
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = mark(nn.BatchNorm2d(4), "stem")
        dualise(self, condition)
        self.film = FiLM(4, DIM, condition)
        self.checkpointed = checkpointed
        attach(self, condition)

    def _features(self, x: Tensor) -> Tensor:
        return self.film(self.norm(self.conv(x)))

    def forward(self, x: Tensor) -> Tensor:
        h = checkpoint(self._features, x, use_reentrant=False) if self.checkpointed else self._features(x)
        return h.relu().mean((2, 3))


def make(**options: bool) -> Net:
    torch.manual_seed(0)
    net = Net(**options)
    for index, branch in enumerate(net.norm.branches):
        nn.init.uniform_(branch.weight, 0.5, 1.5)
        branch.running_mean.fill_(0.3 * index)
    return net.eval()


@pytest.fixture
def net() -> Net:
    return make()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(BATCH, 2, 5, 5, generator=torch.Generator().manual_seed(1))


def shared(branch: int, value: float = 1.0) -> dict[str, object]:
    return {"branch": branch, "code": torch.full((1, DIM), value)}


def test_a_conditioned_model_outside_a_view_says_what_to_call(net, x):
    with pytest.raises(RuntimeError, match=r"depend on \['branch', 'code', 'split'\]: call a view of it, such as"):
        net(x)


def test_a_view_leaves_nothing_behind(net, x):
    View(net, shared(0))(x)
    with pytest.raises(RuntimeError, match="call a view of it"):
        net(x)


def test_a_view_leaves_nothing_behind_when_its_forward_pass_fails(net, x):
    with pytest.raises(RuntimeError, match="channels"):
        View(net, shared(0))(x[:, :1])
    with pytest.raises(RuntimeError, match="call a view of it"):
        net(x)
    View(net, shared(0))(x)


def test_a_view_inside_a_view_restores_the_outer_one(net, x):
    inner = View(net, shared(1))
    condition = net.condition
    with condition.holding(shared(0)):
        inner(x)
        assert condition.read("branch") == 0
    with pytest.raises(RuntimeError, match="call a view of it"):
        condition.read("branch")


def test_views_used_in_turn_do_not_disturb_each_other(net, x):
    clean, robust = View(net, shared(0)), View(net, shared(1, -2.0))
    first, second = clean(x), robust(x)
    assert not torch.allclose(first, second)
    assert torch.equal(clean(x), first)
    assert torch.equal(robust(x), second)


def test_views_share_the_weights(net, x):
    view = View(net, shared(0))
    before = view(x)
    with torch.no_grad():
        net.conv.weight.mul_(2)
    assert not torch.allclose(view(x), before)


def test_a_field_the_model_lacks_is_refused(net):
    with pytest.raises(ValueError, match=r"no field \['noise'\]"):
        View(net, {"noise": 1.0})


def test_a_plain_model_needs_no_condition(x):
    plain = nn.Conv2d(2, 4, 3)
    assert torch.equal(View(plain)(x), plain(x))


def test_another_thread_inside_is_refused(net, x):
    inside, leave, seen = threading.Event(), threading.Event(), []

    def occupy() -> None:
        with net.condition.holding(shared(0)):
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=occupy)
    other.start()
    try:
        assert inside.wait(10)
        with pytest.raises(RuntimeError, match="give each thread its own copy"):
            View(net, shared(1))(x)
        seen.append(View(copy.deepcopy(net), shared(1))(x))
    finally:
        leave.set()
        other.join()
    assert torch.equal(seen[0], View(net, shared(1))(x))


def test_activation_checkpointing_is_refused(x):
    net = make(checkpointed=True)
    loss = View(net, shared(0))(x.requires_grad_()).sum()
    with pytest.raises(RuntimeError, match="activation checkpointing and DataParallel"):
        loss.backward()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copied_model_has_a_condition_of_its_own(net, x, copied):
    expected = View(net, shared(1))(x)
    other = copied(net)
    assert other.condition is not net.condition
    assert other.norm.condition is other.film.condition is other.condition
    with torch.no_grad():
        net.conv.weight.zero_()
    assert torch.equal(View(other, shared(1))(x), expected)
    with net.condition.holding(shared(0)), pytest.raises(RuntimeError, match="call a view of it"):
        other(x)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copied_view_goes_on_working(net, x, copied):
    view = View(net, shared(1), stochastic=True)
    other = copied(view)
    assert other.stochastic
    assert other.model is not net
    assert torch.equal(other(x), view(x))


def test_a_copy_made_during_a_forward_pass_is_not_inside_it(net, x):
    with net.condition.holding(shared(0)):
        other = copy.deepcopy(net)
    View(other, shared(0))(x)
    with pytest.raises(RuntimeError, match="call a view of it"):
        other(x)


def conditions() -> dict[str, dict[str, object]]:
    draw = torch.Generator().manual_seed(2)
    code = torch.randn(BATCH, DIM, generator=draw)
    return {
        "branch for all": shared(1),
        "branch a sample": {"branch": torch.tensor([True, False, False, True, True, False]), "code": code},
        "split": {"split": 2, "code": code},
        "split and shared code": {"split": 4, "code": code[:1]},
        "split at the start": {"split": 0, "code": code},
        "split at the end": {"split": BATCH, "code": code},
    }


@settings(max_examples=25, deadline=None)
@given(positions=st.lists(st.integers(0, BATCH - 1), min_size=1, max_size=2 * BATCH))
@pytest.mark.parametrize("name", conditions())
def test_samples_keep_their_condition_when_they_are_picked_or_repeated(name, positions):
    view, index = View(make(), conditions()[name]), torch.tensor(positions)
    images = torch.rand(BATCH, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(view.subset(index)(images[index]), view(images)[index])


@settings(max_examples=25, deadline=None)
@given(kept=st.lists(st.booleans(), min_size=BATCH, max_size=BATCH))
@pytest.mark.parametrize("name", conditions())
def test_samples_keep_their_condition_when_others_are_dropped(name, kept):
    view, mask = View(make(), conditions()[name]), torch.tensor(kept)
    images = torch.rand(BATCH, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(view.subset(mask)(images[mask]), view(images)[mask])


@settings(max_examples=40, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", conditions())
def test_samples_can_be_picked_from_what_was_picked(name, data):
    first = torch.tensor(data.draw(st.lists(st.integers(0, BATCH - 1), min_size=1, max_size=BATCH)))
    second = torch.tensor(data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1, max_size=BATCH)))
    view = View(make(), conditions()[name])
    images = torch.rand(BATCH, 2, 5, 5, generator=torch.Generator().manual_seed(1))
    twice = view.subset(first).subset(second)
    torch.testing.assert_close(twice(images[first][second]), view(images)[first][second])


def test_taking_leaves_the_view_as_it_was(net, x):
    view = View(net, conditions()["split"], stochastic=True)
    before = view(x)
    taken = view.subset(torch.tensor([5, 0]))
    assert taken.stochastic
    assert torch.equal(view(x), before)


def test_a_wrong_order_of_samples_would_be_noticed(net, x):
    view = View(net, conditions()["split"])
    index = torch.tensor([5, 0])
    assert not torch.allclose(view.subset(index)(x[index]), view(x)[index.flip(0)])


def test_train_and_eval_mode_belong_to_the_model(net):
    first, second = View(net, shared(0)), View(net, shared(1))
    first.train()
    assert net.training
    assert net.conv.training
    assert second.training
    second.eval()
    assert not net.training
    assert not first.training
    net.train()
    assert first.training
    View(net, shared(0))
    assert net.training

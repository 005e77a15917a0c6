"""What cannot be planned is refused with its place and what would be valid."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("datasets=digit", "unknown dataset 'digit': did you mean 'digits'?"),
        ("architectures=resnet88", "unknown architecture 'resnet88': did you mean 'resnet8'"),
        ("architectures=wrn-15-1", "architecture 'wrn-15-1': depth: 15 is not 6n + 4"),
        ("defenses=flot", "unknown defense 'flot': did you mean 'float'"),
        ("attacks=pdg", "unknown attack 'pdg': did you mean 'pgd'?"),
        ("train.attack=pdg", "train.attack: unknown attack 'pdg': did you mean 'pgd'?"),
        ("train.attack={name: pgd, options: {step: fast}}", "train.attack: attack 'pgd': step: must be 'relative' or"),
        ("train.attack={name: pgd, sweep: {steps: [1]}}", "the training attack has no sweep; list recipes under train"),
        ("attacks={name: pgd, options: {stps: 3}}", "attack 'pgd': unknown key 'stps': did you mean 'steps' or 'step'?"),
        ("attacks={name: pgd, sweep: {steps: [0]}}", "attack 'pgd': steps: must be greater than or equal to 1, not 0"),
        ("attacks={name: pgd, options: {steps: 1}, sweep: {steps: [2]}}", "option 'steps' is both in options and in sweep"),
        ("attacks=[pgd, pgd]", "two attacks are labelled 'PGD-20'; give one of them another `label:`"),
        ("datasets={name: tradeoff, options: {size: 9}}", "dataset 'tradeoff': size: must be a multiple of 4, not 9"),
        ("defenses={name: float, points: {lambda_n: 1.5}}", "points of float: lambda_n: must be less than or equal to 1"),
        ("defenses={name: float, points: {lambda_th: 1}}", "points of float: lambda_th: must be less than 1, not 1"),
        ("defenses={name: float, points: {lamda_n: 1}}", "points of float: unknown key 'lamda_n': did you mean 'lambda_n'"),
        ("defenses={name: none, points: {lambda: 1}}", "points of none: unknown key 'lambda': there are none"),
        ("defenses={name: oat, points: {lambda: 0.3}}", "points of oat: lambda 0.3 has no row in the codebook; trained:"
         " 0, 0.2, 0.7, 1 (dim: 1 takes any lambda)"),
        ("train.batch_size=601", "batch_size 601 is more than the 600 training images of tradeoff"),
        ("evaluate.protocols=publishd", "no defense here has a protocol 'publishd': did you mean 'published'?"),
        ("defenses=[none, none]", "two rows would be the same: tradeoff/resnet8/none"),
    ],
)  # fmt: skip
def test_what_could_not_run_is_refused_with_the_place_and_what_would_be_valid(error, override, message):
    refusal = error(override)
    assert message in refusal
    if "two rows" not in message:
        assert refusal.startswith(f"--set {override}: ")


def test_a_codebook_of_one_column_takes_any_lambda(plan):
    made = plan("defenses={name: oat, options: {dim: 1}, points: {lambda: 0.3}}")
    assert [row.facts["point"] for row in made.rows] == [{"lambda": 0.3}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datasets:\n- digits\n- digit\n", "mine.yaml:3:3: unknown dataset 'digit'"),
        ("defenses:\n- name: float\n  points:\n  - {lambda_n: 0}\n  - {lambda_n: 0, lambda_th: 2}\n",
         "mine.yaml:5:19: points of float: lambda_th"),
        ("defenses:\n- name: float\n  options:\n    recipe: papers\n", "mine.yaml:4:5: defense 'float': recipe: must be"),
        ("defenses:\n- name: oat\n  sweep:\n    dim: [4, x]\n", "mine.yaml:4:5: defense 'oat': dim: must be"),
        ("train:\n  epochs: 1\n  batch_size: 9999\n", "mine.yaml:3:3: batch_size 9999"),
        ("train:\n- epochs: 1\n- epochs: 2\n  batch_size: 9999\n", "mine.yaml:4:3: batch_size 9999"),
        ("train: {lr: 1.0}\ndatasets:\n- name: digits\n  train:\n    batch_size: 9999\n", "mine.yaml:5:5: batch_size"),
        ("train: {epochs: 1}\ndefenses:\n- name: none\n  train: {batch_size: 9999}\n", "mine.yaml:4:11: batch_size 9999"),
        ("train: {epochs: 1}\ndefenses:\n- name: none\n  train:\n    attack: pdg\n", "mine.yaml:5:5: train.attack: "),
        ("train:\n- epochs: 1\n- attack: pdg\n", "mine.yaml:3:3: train.attack: unknown attack"),
    ],
)  # fmt: skip
def test_an_error_points_at_the_line_that_caused_it(error, text, message):
    rest = {"datasets": "digits", "architectures": "resnet8", "defenses": "none", "attacks": "fgsm"}
    text += "".join(f"{key}: {value}\n" for key, value in rest.items() if f"{key}:" not in text)
    assert error(text=text).startswith(message)

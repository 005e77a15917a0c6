"""The plugin's own tests: they need nothing but robuststack and pytest."""

import robuststack as rs
from robuststack.plugin.registry import Registry
from robuststack.testing import DefenseConformance


class TestLogitPairing(DefenseConformance):
    component = "alp"


def test_the_weight_is_an_option_with_the_papers_default():
    assert Registry().create("defense", "alp").options.weight == 0.5


def test_it_trains_and_is_more_robust_than_no_defense(tmp_path):
    suite = tmp_path / "alp.yaml"
    suite.write_text("""
datasets: {name: tradeoff, options: {images: 500, test_images: 200, size: 8, noise: 0.1}, threat: {eps: 0.1}}
architectures: resnet8
train: {epochs: 6, batch_size: 50, lr: 0.05, attack: {name: pgd, options: {steps: 4, step: relative}}}
defenses: [none, alp]
attacks: {name: pgd, options: {steps: 10}}
measure: {latency: false}
""")
    result = rs.run(suite, store=tmp_path / "store", leaderboard=tmp_path)
    undefended, paired = (row.worst for row in result.rows)
    assert paired.low > undefended.high

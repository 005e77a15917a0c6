from pathlib import Path

import robuststack as rs
from robuststack.testing import ArchitectureConformance


class TestTheName(ArchitectureConformance):
    component = "the_name"


def test_it_learns(tmp_path):
    suite = Path(__file__).parents[1] / "suite.yaml"
    quick = ["defenses=none", "attacks=fgsm", "measure.latency=false"]
    result = rs.run(suite, store=tmp_path, leaderboard=None, device="cpu", overrides=quick)
    assert result.rows
    for row in result.rows:  # Chance is what a model gets right that always names the most frequent class.
        assert row.ca.low > row.predictions.chance

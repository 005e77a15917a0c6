from pathlib import Path

import robuststack as rs
from robuststack.testing import AttackConformance


class TestTheName(AttackConformance):
    component = "the_name"


def test_it_finds_more_than_random_noise(tmp_path):
    """Over all models of the suite, under every label that the attack has there; the suite keeps the attack `noise`."""
    suite = Path(__file__).parents[1] / "suite.yaml"
    result = rs.run(suite, store=tmp_path, leaderboard=None, device="cpu", overrides=["measure.latency=false"])
    noise = sum(row.ra["Noise"].value for row in result.rows)
    labels = [label for label, attack in result.plan.attacks.items() if attack["name"] == "the_name"]
    assert labels
    for label in labels:
        assert sum(row.ra[label].value for row in result.rows) < noise, label

from pathlib import Path

import robuststack as rs
from robuststack.testing import AttackConformance


class TestTheName(AttackConformance):
    component = "the_name"


def test_it_finds_more_than_random_noise(tmp_path):
    suite = Path(__file__).parents[1] / "suite.yaml"
    result = rs.run(suite, store=tmp_path, leaderboard=None, device="cpu", overrides=["measure.latency=false"])
    for row in result.rows:
        assert row.ra["the_name-10"].high < row.ra["Noise"].low

from pathlib import Path

import robuststack as rs
from robuststack.testing import DefenseConformance


class TestTheName(DefenseConformance):
    component = "the_name"


def test_it_is_more_robust_than_no_defense(tmp_path):
    suite = Path(__file__).parents[1] / "suite.yaml"
    result = rs.run(suite, store=tmp_path, leaderboard=None, device="cpu", overrides=["measure.latency=false"])
    undefended, mine = (row.worst for row in result.rows)
    assert mine.low > undefended.high

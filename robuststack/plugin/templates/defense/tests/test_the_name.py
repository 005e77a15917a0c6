from pathlib import Path

import robuststack as rs
from robuststack.testing import DefenseConformance


class TestTheName(DefenseConformance):
    component = "the_name"


def test_it_is_more_robust_than_no_defense(tmp_path):
    """At its most robust point, on each data set and network of the suite; the suite keeps the defense `none`."""
    suite = Path(__file__).parents[1] / "suite.yaml"
    result = rs.run(suite, store=tmp_path, leaderboard=None, device="cpu", overrides=["measure.latency=false"])
    undefended = [row for row in result.rows if row.undefended]
    assert undefended
    for row in undefended:
        points = [other for other in result.rows if other.heading == row.heading and not other.undefended]
        most_robust = max(points, key=lambda point: point.worst.value)
        # The images are paired: this sees more than two intervals beside each other.
        assert rs.compare(most_robust, row, attack="worst", store=tmp_path).verdict == "better"

"""The attack `the_name`, a plugin for RobustStack."""

from __future__ import annotations

import robuststack as rs


@rs.hookimpl
def register_attack(register):
    register("the_name", "robuststack_the_name:TheName")


class TheName(rs.GradientAttack):
    """Steps up the margin of the best wrong class over the right one."""

    paper = ""  # Where the method is from: authors, title, venue.

    class Options(rs.Options):
        # `smoke` is what --smoke and the conformance kit run with: the cheapest value that runs all of the code.
        steps: int = rs.option(10, "Gradient steps.", ge=1, smoke=2)
        draws: int = rs.option(20, "Gradients averaged a step on randomised points; others use one.", ge=1, smoke=2)

    @property
    def label(self):
        return f"the_name-{self.steps}"

    @property
    def steps(self):
        return self.options.steps

    def step_size(self, threat):
        return 2.5 * threat.eps / self.steps

    # The host's loop calls these verbs, projects each iterate and judges the last one; see GradientAttack.
    def loss(self, logits, y):
        from robuststack.attacks import margin

        return margin(logits, y)

"""robuststack evaluate"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence

import click

from robuststack.cli.common import device_option, print_failures, print_result, print_suspicions, registry_with_warnings
from robuststack.cli.progress import make_progress
from robuststack.paths import STORE
from robuststack.running.process_memory import keep_memory


@click.command("evaluate")
@click.option(
    "--load", metavar="FILE", help="A file of weights (.safetensors or PyTorch) of --architecture under --defense."
)
@click.option(
    "--python", metavar="MODULE:FUNCTION", help="A function that returns the model; it brings its own network."
)
@click.option("--architecture", metavar="SPEC",
              help="The network that the weights are of.  [default: what a file of `robuststack export` says]")  # fmt: skip
@click.option("--defense", metavar="SPEC",
              help="What the model was trained with.  [default: what a file of `robuststack export` says, or none]"
)  # fmt: skip
@click.option("--dataset", required=True, metavar="SPEC", help="The data.")
@click.option("--attack", "attacks", default=["pgd"], show_default=True, multiple=True, metavar="SPEC",
              help="An attack; repeatable.")  # fmt: skip
@click.option("--eps", metavar="E", help="Radius in the [0, 1] pixel range, such as 8/255.  [default: the dataset's]")
@click.option("--norm", metavar="NORM", help="Norm of the radius: linf or l2, which needs --eps.  [default: linf]")
@click.option("--stochastic", is_flag=True,
              help="The model is random: two forward passes differ. Several draws of its noise judge it.")  # fmt: skip
@click.option("--point", "points", multiple=True, metavar="K=V",
              help="An operating point: its knobs, with spaces between; repeatable.  [default: the defense's own]"
)  # fmt: skip
@click.option("--draws", type=int, metavar="N", help="How many fresh noise draws judge a randomised point.")
@click.option("--limit", type=int, metavar="N", help="Score N test images only, each class in proportion.")
@click.option("--set", "overrides", metavar="K=V", multiple=True,
              help="Any other key of a suite, for example --set seeds.attack=[0,1]; repeatable.")  # fmt: skip
@device_option
@click.option("--store", default=STORE, show_default=True, metavar="DIR", help="Where jobs and results are kept.")
@click.option("--leaderboard", metavar="DIR", help="Write a leaderboard there too, named after the model.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON; progress goes to standard error.")
def command(
    load: str | None, python: str | None, architecture: str | None, defense: str | None, dataset: str,
    attacks: Sequence[str],
    eps: str | None, norm: str | None, stochastic: bool, points: Sequence[str], draws: int | None, limit: int | None,
    overrides: Sequence[str], device: str,
    store: str, leaderboard: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Attack and measure one finished model, without a suite.

    The model is a file of weights, what a Python function returns, or what the defense brings. A SPEC is a registered name,
    with options if it needs any, as tables print it: --attack "pgd steps=50 restarts=5". Values are YAML.

    \b
    robuststack evaluate --load w.safetensors --architecture "resnet8 width=24" \\
        --defense float --point lambda_n=0.2 --point "lambda_n=1 lambda_th=0.5" \\
        --dataset digits --attack fgsm --attack "pgd steps=50" --eps 0.25
    robuststack evaluate --python mymodels:make --dataset cifar10
    """
    registry = registry_with_warnings()
    from robuststack.api.runs import evaluate

    keep_memory()
    # Where rows are printed, nothing else may be; what data sets and plugins print neither.
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(), make_progress(registry):
        result = evaluate(
            dataset=dataset, load=load, python=python, architecture=architecture, defense=defense, attacks=attacks,
            points=points, eps=eps, norm=norm, stochastic=stochastic, draws=draws, limit=limit,
            overrides=overrides, store=store, leaderboard=leaderboard, device=device, registry=registry,
        )  # fmt: skip
    if not as_json:
        return print_result(result)
    click.echo(json.dumps([row.model_dump(mode="json") for row in result.rows], indent=1))
    print_suspicions(result.rows)
    return print_failures(result)

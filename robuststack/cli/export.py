"""robuststack export JOB"""

from __future__ import annotations

from collections.abc import Sequence

import click

from robuststack.cli.common import file_name, leaderboard_option, one_point, registry_with_warnings
from robuststack.paths import STORE, expanded

SUFFIXES = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}


@click.command("export")
@click.argument("job")
@click.option("--point", "points", multiple=True, metavar="K=V",
              help="The operating point: its knobs, with spaces between.  [default: every knob's own]")  # fmt: skip
@click.option("--format", "file_format", type=click.Choice(list(SUFFIXES)), default="safetensors", show_default=True,
              help="The weights (safetensors), or a program that runs without robuststack.")  # fmt: skip
@click.option("--output", "-o", type=click.Path(dir_okay=False), metavar="FILE",
              help="Where to write it.  [default: named after the job and the point, in this folder]")  # fmt: skip
@click.option("--frozen", is_flag=True, help="Keep one noise draw in the weights: the exported model is deterministic.")
@click.option(
    "--seed", default=0, show_default=True, metavar="S", type=click.IntRange(min=0), help="The seed of that noise."
)
@click.option("--store", default=STORE, show_default=True, metavar="DIR", help="Where the job is kept.")
@click.option("--push-to-hub", "hub", metavar="OWNER/NAME",
              help="Also push the file, and a model card, to this repository of a model hub (extra `hub`).")  # fmt: skip
@click.option("--private", is_flag=True, help="With --push-to-hub: a repository that is made is private.")
@leaderboard_option
def command(
    job: str, points: Sequence[str], file_format: str, output: str | None, frozen: bool, seed: int, store: str,
    hub: str | None, private: bool, leaderboard: str,
) -> None:  # fmt: skip
    """Write the model of JOB, a train job or the beginning of its id, at an operating point to a file.

    What runs (torch-export, onnx) takes float32 images [N, C, H, W] in [0, 1] and gives logits [N, K], for any N. At a
    randomised point it draws fresh noise in every call, unless it is --frozen. It is loaded again and compared with the
    model before it is written. Every file says in its header which model it is, at which point, and what it takes.
    A push goes with the card that `robuststack card` writes, with the figures of --leaderboard.

    \b
    robuststack export train-0a1b --point lambda_n=0.2
    robuststack export train-0a1b --point "lambda_n=1 lambda_th=0.5" --format onnx --frozen -o robust.onnx
    robuststack export train-0a1b --push-to-hub me/float-digits
    """
    if private and hub is None:
        raise click.UsageError("--private is for --push-to-hub OWNER/NAME")
    point = one_point(points)
    registry = registry_with_warnings()
    from robuststack.api.trained import load_model
    from robuststack.engine.export import export
    from robuststack.running.atomic_files import write_bytes
    from robuststack.wording import options_text

    trained = load_model(job, store=store, registry=registry)
    resolved = trained.point(**point)
    repository = card = None
    if hub is not None:  # What cannot be pushed is refused before anything is computed.
        from robuststack.api.hub import CARD, hub_repository
        from robuststack.leaderboard.model_card import find_model, model_card

        card = model_card(find_model(trained.job, expanded(leaderboard)), registry)
        repository = hub_repository(hub, trained.job)
    content = export(trained, point, file_format, frozen=frozen, seed=seed)
    name = " ".join([trained.label, options_text(resolved), *([f"frozen seed={seed}"] if frozen else [])])
    path = expanded(output or f"{file_name(name)}{SUFFIXES[file_format]}")
    write_bytes(path, content)
    click.echo(f"wrote {path}")
    if repository is not None and card is not None:
        files = {path.name: content, CARD: card.encode()}
        address = repository.push(files, f"{trained.label} {options_text(resolved)}".rstrip(), private=private)
        click.echo(f"pushed {path.name} and {CARD} to {address}")

"""robuststack doctor"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil

import click

from robuststack import __version__, hardware, processor
from robuststack.errors import PluginError
from robuststack.paths import data_folder
from robuststack.plugin.registry import Registry
from robuststack.precision import cpu_bf16

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pyautoattack",
    "torchattacks",
    "robustbench",
)


@click.command("doctor")
def command() -> int:
    """Show versions, devices, precision support and plugins; exit with 1 if something is broken.

    \b
    robuststack doctor
    """
    click.echo(f"robuststack {__version__}, Python {platform.python_version()} on {platform.platform()}")
    for package in PACKAGES:
        try:
            click.echo(f"  {package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            click.echo(f"  {package}: not installed")
    problems = _torch_problems()
    cards = hardware.cuda_capabilities()
    auto = hardware.resolve()
    click.echo(f"processor: {processor.cpu_name()}; bf16: {', '.join(cpu_bf16()) or 'emulated only, not used'}")
    click.echo(f"a run may use {processor.cpu_threads()} threads")
    capabilities = ", ".join(f"capability {major}.{minor}" for major, minor in cards)
    click.echo(f"CUDA devices: {len(cards)}{f' ({capabilities})' if cards else ''}")
    click.echo(f"`--device auto` is {auto.device}, `precision: auto` is {auto.precision}")
    folder = data_folder()
    existing = next(ancestor for ancestor in (folder, *folder.parents) if ancestor.exists())
    click.echo(f"data folder: {folder} ({shutil.disk_usage(existing).free / 2**30:.0f} GiB free)")

    registry = Registry()
    plugins = sorted(
        {(registration.plugin, f"{registration.distribution} {registration.version}") for registration in registry}
    )
    click.echo("plugins: " + ", ".join(f"{name} ({distribution})" for name, distribution in plugins))
    problems += registry.warnings()
    for registration in registry:
        try:
            registration.load()
        except PluginError as error:
            problems.append(str(error))
    for problem in problems:
        click.echo(f"problem: {problem}")
    click.echo("no problems found" if not problems else f"{len(problems)} problem(s)")
    return 1 if problems else 0


def _torch_problems() -> list[str]:
    """A torch and a torchvision that do not fit together fail at import, with a message nobody understands."""
    try:
        import torch
        import torchvision  # noqa: F401
    except Exception as error:
        return [f"torch and torchvision cannot be imported together ({error}); install both from the same index"]
    onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    click.echo(f"torch {torch.__version__}: CUDA {torch.version.cuda or 'none'}, oneDNN {'yes' if onednn else 'no'}, "
               f"{torch.get_num_threads()} threads")  # fmt: skip
    return []

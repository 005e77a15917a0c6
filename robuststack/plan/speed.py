"""How fast this machine computes networks, as it was measured once and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from robuststack import processor
from robuststack.errors import StoreError
from robuststack.hardware import Hardware, cuda_capabilities
from robuststack.paths import cache_folder
from robuststack.plan.job import Job
from robuststack.plan.plan import Plan
from robuststack.plan.specs import BlocksSpec, MeasureSpec, ModelSpec, TrainSpec
from robuststack.running.atomic_files import write_text


class NetworkSpeed(BaseModel):
    """Seconds that an image costs in one of many passes through a network, in batches as jobs have them. A gradient counts
    as another pass, and one by the weights as two, as in `Job.work`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    answer: float = Field(gt=0)
    """Forward, without gradients: what a judge does."""
    gradient: float = Field(gt=0)
    """Forward and backward to the image: what an attack does."""
    update: float = Field(gt=0)
    """Forward and backward to the weights: what training does beside its attack."""


class _Kept(BaseModel):
    """The file of a machine."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    machine: str
    networks: dict[str, NetworkSpeed]


@dataclass(frozen=True)
class Network:
    """A network that jobs run, as far as its speed goes: the options of its defense and its weights do not count."""

    model: ModelSpec
    shape: tuple[int, int, int]
    num_classes: int

    @cached_property
    def key(self) -> str:
        """What its speed is kept under."""
        architecture, own = self.model.architecture, self.model.user_model
        facts = [
            f"{self.model.defense.name} {self.model.defense.plugin} {self.model.defense.revision}",
            f"{architecture.name} {json.dumps(architecture.identity(), sort_keys=True)}" if architecture else "",
            own.fingerprint if own and own.python else "",
            f"{self.shape} {self.num_classes}",
        ]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """As messages call it."""
        own = self.model.user_model
        network = own.text if own else (self.model.architecture or self.model.defense).name
        return f"{network} under {self.model.defense.name}, images of {' x '.join(map(str, self.shape))}"


def networks(plan: Plan) -> dict[str, Network]:
    """Job -> the network that it runs. Jobs of a dataset that the plan measures no network on are left out: nothing says
    how large its images are."""
    measured = [job.spec for job in plan.by_id.values() if isinstance(job.spec, MeasureSpec)]
    sizes = {spec.model.dataset.model_dump_json(): (spec.shape, spec.num_classes) for spec in measured}
    of_model: dict[int, Network | None] = {}  # Most jobs share the record of their model.
    known: dict[str, Network] = {}
    for job in plan.jobs:
        model = _model(job, plan.by_id)
        if model is None:
            continue
        if id(model) not in of_model:
            size = sizes.get(model.dataset.model_dump_json())
            of_model[id(model)] = Network(model, *size) if size else None
        network = of_model[id(model)]
        if network is not None:
            known[job.id] = network
    return known


def _model(job: Job, jobs: Mapping[str, Job]) -> ModelSpec | None:
    if isinstance(job.spec, BlocksSpec) and job.spec.foreign is None:
        trained = jobs.get(job.spec.model)
        return trained.spec.model if trained and isinstance(trained.spec, TrainSpec) else None
    return job.spec.described


def machine(hardware: Hardware) -> str:
    """What the speed of a network depends on, beside the network."""
    if hardware.kind == "cuda":
        index = int(hardware.device.partition(":")[2] or 0)
        place = f"CUDA capability {cuda_capabilities()[index]}"
    else:
        threads = hardware.threads or processor.cpu_threads()
        place = f"{processor.cpu_name()}, {threads} threads"
    return f"{place}, {hardware.precision}, torch {_torch_version()}"


@cache
def _torch_version() -> str:
    return importlib.metadata.version("torch")


def kept_speeds(hardware: Hardware) -> dict[str, NetworkSpeed]:
    """Key of a network -> its speed on this machine, as far as it was measured; a damaged file counts as none."""
    path = _file(hardware)
    if path is None:
        return {}
    try:
        kept = _Kept.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}
    return kept.networks if kept.machine == machine(hardware) else {}


def keep_speeds(hardware: Hardware, speeds: Mapping[str, NetworkSpeed]) -> None:
    """Keep the speeds of networks beside those that are kept already.

    Raises:
        StoreError: the cache folder cannot be written, or there is none.
    """
    path = _file(hardware)
    if path is None:
        raise StoreError("there is no home folder to keep the speed of this machine in; set XDG_CACHE_HOME")
    kept = _Kept(machine=machine(hardware), networks={**kept_speeds(hardware), **speeds})
    write_text(path, kept.model_dump_json(indent=1))


def _file(hardware: Hardware) -> Path | None:
    cache = cache_folder()
    name = hashlib.sha256(machine(hardware).encode()).hexdigest()[:16]
    return cache / "speed" / f"{name}.json" if cache else None

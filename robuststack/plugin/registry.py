"""What plugins registered: discovered through entry points, imported when first used, never trusted to work."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import pluggy

from robuststack.did_you_mean import did_you_mean
from robuststack.errors import PluginError
from robuststack.plugin import hookspecs
from robuststack.plugin.architecture import Architecture
from robuststack.plugin.attack import Attack
from robuststack.plugin.component import Component
from robuststack.plugin.dataset import Dataset
from robuststack.plugin.defense import Defense
from robuststack.plugin.options import InvalidOptions, parse
from robuststack.plugin.threat import Norm

GROUP = "robuststack"
THIS_PROCESS = "this process"
"""The distribution of a component that `Registry.add` took from the running program."""
KINDS: dict[str, type[Component]] = {
    "defense": Defense,
    "architecture": Architecture,
    "dataset": Dataset,
    "attack": Attack,
}


class Register(Protocol):
    """The callback that a `register_<kind>` hook receives."""

    def __call__(
        self, name: str, target: str, *, pattern: str | None = None, preset: Mapping[str, Any] | None = None
    ) -> None:
        """Register one component.

        `name` is what suites write. `target` is its import path, `package.module:Class`, imported on first use. `preset`
        gives options that the name stands for (`resnet20`). With `pattern`, the registration is a family: any name the
        regular expression matches in full belongs to it, and its named groups become options (`wrn-D-K`). What the name
        fixes so cannot be given as another option too.
        """


@dataclass(frozen=True)
class Registration:
    """One registered name: where its class lives and which distribution brought it."""

    kind: str
    name: str
    target: str
    plugin: str
    distribution: str
    version: str
    pattern: str | None = None
    preset: Mapping[str, Any] = field(default_factory=dict)
    cls: type[Component] | None = None
    """The class, if the running program gave it."""

    @property
    def origin(self) -> str:
        return f"plugin {self.plugin!r} of {self.distribution} {self.version}"

    def load(self) -> type[Component]:
        """Import the class.

        Raises:
            PluginError: it cannot be imported, or is not of its kind.
        """
        if self.cls is not None:
            return self.cls
        module, _, attribute = self.target.partition(":")
        try:
            cls = getattr(importlib.import_module(module), attribute)
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginError(f"{self.kind} {self.name!r} ({self.origin}) cannot be imported: {reason}") from error
        if not (isinstance(cls, type) and issubclass(cls, KINDS[self.kind])):
            expected = KINDS[self.kind].__name__
            raise PluginError(f"{self.kind} {self.name!r} ({self.origin}): {self.target} is not a {expected} class")
        return cls


@dataclass(frozen=True)
class Broken:
    """A plugin that could not be used, and why."""

    plugin: str
    distribution: str
    reason: str

    def __str__(self) -> str:
        return f"plugin {self.plugin!r} of {self.distribution} is not used: {self.reason}"


@dataclass(frozen=True)
class PluginSource:
    """A plugin before it is loaded. `load` returns the object with the hooks."""

    name: str
    distribution: str
    version: str
    load: Any


def installed_sources() -> list[PluginSource]:
    """Every entry point of the group `robuststack`, in a stable order, not yet imported."""
    points = importlib.metadata.entry_points(group=GROUP)
    # Once for each distribution, not for each of its plugins: its whole description is read for it.
    names = {id(distribution): _name_and_version(distribution) for distribution in {point.dist for point in points}}
    sources = [PluginSource(point.name, *names[id(point.dist)], point.load) for point in points]
    # A distribution can be seen twice (an editable install beside its own build folder).
    return sorted(
        {(source.name, source.distribution): source for source in sources}.values(), key=lambda source: source.name
    )


def _name_and_version(distribution: importlib.metadata.Distribution | None) -> tuple[str, str]:
    if distribution is None:
        return "an unknown distribution", "?"
    written = distribution.metadata
    return written["Name"], written["Version"]


class Registry:
    """The names that plugins registered, by kind. A plugin that fails is kept in `broken` and the others go on."""

    def __init__(self, sources: Iterable[PluginSource] | None = None) -> None:
        self.broken: list[Broken] = []
        self.hooks = pluggy.PluginManager(GROUP)
        self.hooks.add_hookspecs(hookspecs)
        self._found: dict[str, dict[str, list[Registration]]] = {kind: {} for kind in KINDS}
        for source in installed_sources() if sources is None else sources:
            self._add(source)

    def _add(self, source: PluginSource) -> None:
        # With its distribution, so that nobody's `defenses` displaces another's.
        name = f"{source.distribution}:{source.name}"
        taken = self.hooks.has_plugin(name)
        try:
            plugin = source.load()
            self.hooks.register(plugin, name=name)
            impls = self.hooks.get_hookcallers(plugin) or []
            unknown = [caller.name for caller in impls if caller.spec is None]
            if unknown:
                self.hooks.unregister(name=name)
                raise PluginError(f"it implements {unknown[0]!r}, which is no hook")
            collected = [registration for kind in KINDS for registration in self._collect(kind, source, plugin)]
        # SystemExit too: a plugin module that runs a script on import must not end every command.
        except (Exception, SystemExit) as error:
            if self.hooks.has_plugin(name) and not taken:
                self.hooks.unregister(name=name)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self.broken.append(Broken(source.name, f"{source.distribution} {source.version}", reason))
            return
        for registration in collected:
            self._found[registration.kind].setdefault(registration.name, []).append(registration)

    def _collect(self, kind: str, source: PluginSource, plugin: object) -> list[Registration]:
        registrations: list[Registration] = []

        def register(
            name: str, target: str, *, pattern: str | None = None, preset: Mapping[str, Any] | None = None
        ) -> None:
            if not isinstance(target, str) or not re.fullmatch(r"[\w.]+:\w+", target):
                raise PluginError(f"{kind} {name!r}: the target must read 'package.module:Class', not {target!r}")
            if pattern is not None:
                re.compile(pattern)
            origin = (source.name, source.distribution, source.version)
            registrations.append(Registration(kind, name, target, *origin, pattern, dict(preset or {})))

        for impl in getattr(self.hooks.hook, f"register_{kind}").get_hookimpls():
            if impl.plugin is plugin:
                impl.function(*[register for _ in impl.argnames])
        return registrations

    def add(self, name: str, cls: type[Component]) -> None:
        """Register a class of the running program, in place of what else has the name. Other processes do not know it."""
        target = f"{cls.__module__}:{cls.__qualname__}"
        registration = Registration(cls.kind, name, target, THIS_PROCESS, THIS_PROCESS, "", cls=cls)
        self._found[cls.kind][name] = [registration]

    @cached_property
    def duplicates(self) -> list[str]:
        """One line for each name that more than one plugin registered."""
        return [
            _registered_twice(kind, name, many)
            for kind, names in self._found.items()
            for name, many in sorted(names.items())
            if len(many) > 1
        ]

    def warnings(self) -> list[str]:
        """What is wrong with the installed plugins, a line each; none of it stops a run that does not need them."""
        return [str(error) for error in self.broken] + self.duplicates

    def names(self, kind: str) -> list[str]:
        """The registered names of a kind, sorted; a family shows as its placeholder (`wrn-D-K`)."""
        return sorted(self._found[kind])

    def gradient_free(self) -> str:
        """The end of an error about a model without gradients: the attacks that only call the model."""
        names = []
        for registration in self:
            with contextlib.suppress(PluginError):  # What cannot be imported is no help here.
                attack = registration.load() if registration.kind == "attack" else None
                if attack is not None and issubclass(attack, Attack) and not (attack.needs_gradients or attack.natural):
                    names.append(registration.name)
        return f"valid: {', '.join(names)}" if names else "no attack is installed that only calls the model"

    def attacks_for(self, norm: Norm) -> str:
        """The attacks that know a norm, as the end of an error; families are left out."""
        names = []
        for registration in self:
            with contextlib.suppress(PluginError):  # What cannot be imported is no help here.
                attack = registration.load() if registration.kind == "attack" and registration.pattern is None else None
                if attack is not None and issubclass(attack, Attack) and norm in attack.norms:
                    names.append(registration.name)
        return ", ".join(names) if names else "none that is installed"

    def __iter__(self) -> Iterator[Registration]:
        for names in self._found.values():
            for _, many in sorted(names.items()):
                yield from many

    def find(self, kind: str, name: str) -> Registration:
        """The registration of a name, or of the family it belongs to, with the family's options in its preset.

        Raises:
            PluginError: nobody registered it, or more than one plugin did.
        """
        many = self._found[kind].get(name)
        if many:
            _refuse_several(kind, name, many)
            if many[0].pattern is None:
                return many[0]
            # What a name has in capitals stands for values: `wrn-D-K`, `torchattacks:NAME`.
            letters, options = re.findall(r"[A-Z]+", name), [*re.compile(many[0].pattern).groupindex]
            places, meant = " and ".join(letters or options), ", ".join(options) if letters else ""
            raise PluginError(
                f"{kind} {name!r} stands for a family: put values in place of {places}{f' ({meant})' if meant else ''}"
            )
        families = [
            (registration, match)
            for registrations in self._found[kind].values()
            for registration in registrations
            if registration.pattern and (match := re.fullmatch(registration.pattern, name))
        ]
        if families:
            _refuse_several(kind, name, [registration for registration, _ in families])
            family, match = families[0]
            written = {key: text for key, text in match.groupdict().items() if text is not None}
            groups = {key: int(text) if text.isdecimal() else text for key, text in written.items()}
            return Registration(
                kind, name, family.target, family.plugin, family.distribution, family.version,
                None, {**family.preset, **groups},
            )  # fmt: skip
        hint = "".join(f"; {error} (it may be what provides this name)" for error in self.broken)
        raise PluginError(f"unknown {kind} {name!r}: {did_you_mean(name, self._found[kind])}{hint}")

    def knows(self, kind: str, name: str) -> bool:
        """Whether a name is registered, by whomever, or belongs to a family that is."""
        return name in self._found[kind] or any(
            registration.pattern and re.fullmatch(registration.pattern, name)
            for registrations in self._found[kind].values()
            for registration in registrations
        )

    def create(self, kind: str, name: str, options: Mapping[str, Any] | None = None) -> Any:
        """The component `name` with its options checked and resolved.

        Raises:
            PluginError: unknown name, a class that cannot be imported, or options that are not valid.
        """
        registration = self.find(kind, name)
        cls = registration.load()
        for key, fixed in registration.preset.items():
            if options and options.get(key, fixed) != fixed:
                message = f"{kind} {name!r}: option {key!r} is {fixed!r} by its name; choose another name"
                raise InvalidOptions(message, ("options", key))
        try:
            component = cls(parse(cls.Options, {**registration.preset, **(options or {})}))
        except InvalidOptions as error:
            raise error.within(f"{kind} {name!r}", "options") from None
        component.name = name
        component.distribution = registration.distribution
        return component


def _refuse_several(kind: str, name: str, many: Sequence[Registration]) -> None:
    if len(many) > 1:
        raise PluginError(_registered_twice(kind, name, many))


def _registered_twice(kind: str, name: str, many: Sequence[Registration]) -> str:
    origins = " and by ".join(registration.origin for registration in many)
    return f"{kind} {name!r} is registered by {origins}; uninstall one of them"

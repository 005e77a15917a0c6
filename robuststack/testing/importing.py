"""What importing a plugin imports, seen from processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache

from robuststack.plugin.registry import Registration, Registry

HEAVY = ("torch", "torchvision", "sklearn", "scipy", "matplotlib")
"""What light commands must not import: half a second and more each."""

# The finder refuses what is heavy, so that every module that asks for it is named, not only the first.
SCRIPT = """
import importlib, json, sys
heavy, targets = json.loads(sys.argv[1]), json.loads(sys.argv[2])
asked = []
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in heavy:
            asked.append(name.partition(".")[0])
            raise ModuleNotFoundError(f"{name} is refused", name=name)
sys.meta_path.insert(0, Refuse())
from robuststack.plugin.registry import installed_sources
found = {}
def note(what, load):
    asked.clear()
    try:
        load()
    except (Exception, SystemExit) as error:
        if not asked:
            print(f"{what}: {type(error).__name__}: {error}", file=sys.stderr)
    if asked:
        found[what] = sorted(set(asked))
for one in installed_sources():
    note(f"plugin {one.name}", one.load)
for one in targets:
    note(one, lambda: importlib.import_module(one))
print("\\n" + json.dumps(found))
"""


def heavy_imports(registration: Registration, registry: Registry) -> list[str]:
    """The heavy packages that loading this component imports, each with the module that does it."""
    module, plugin = _module(registration), f"plugin {registration.plugin}"
    # All of the distribution's at once: a process for each component would take longer than the other checks.
    imports = _asked(
        tuple(sorted({_module(other) for other in registry if other.distribution == registration.distribution}))
    )
    return [f"{where} imports {name}" for where in (plugin, module) for name in imports.get(where, [])]


def _module(registration: Registration) -> str:
    return registration.target.partition(":")[0]


@cache
def _asked(modules: tuple[str, ...]) -> dict[str, list[str]]:
    """Plugin or module -> what it asked for at its top."""
    command = [sys.executable, "-c", SCRIPT, json.dumps(HEAVY), json.dumps(modules)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))

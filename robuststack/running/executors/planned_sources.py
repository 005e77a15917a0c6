"""Whether what a process is still to import is what was planned."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from robuststack.errors import RobustStackError
from robuststack.plan.source_digest import changed_sources


class PlannedSources:
    """What the modules of a plan meant when it was made. A process that imports them one by one, for days, must not import
    what was edited meanwhile: the results would be kept as those of the code that was planned."""

    def __init__(self, planned: Mapping[str, str]) -> None:
        self._open = dict(planned)
        """Modules that this process had not imported, as they were planned."""

    def check(self) -> None:
        """Look at what could still be imported.

        Raises:
            RobustStackError: some of it was edited.
        """
        edited = changed_sources(self._open)
        if edited:
            raise RobustStackError(f"the source of {edited[0]!r} has changed since the run was planned; run again")
        self._open = {name: meant for name, meant in self._open.items() if name not in sys.modules}

"""The base of what a suite file holds."""

from __future__ import annotations

from pydantic import ConfigDict

from robuststack.plugin.options import Options


class Section(Options):
    """Keys that a suite file has at one place. What checks them is built when they are first read: the whole suite's holds
    that of every section."""

    model_config = ConfigDict(defer_build=True)

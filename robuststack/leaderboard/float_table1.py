"""The sizes that the FLOAT paper prints, beside what its conventions give."""

from __future__ import annotations

from typing import Any

from robuststack.leaderboard.published_size import PublishedSize, Size

PAPER = "Kundu et al., FLOAT, WACV 2023, arXiv 2204.00426"
OAT_SIZES = {"resnet34": "31.4", "wrn40_2": "3.22", "wrn16_8": "15.43"}
FLOAT_SIZES = {"resnet34": "21.28", "wrn40_2": "2.25", "wrn16_8": "10.97"}
ONE, BOTH = "one batch norm", "dual batch norm"


def published() -> list[PublishedSize]:
    table = f"{PAPER}, Table 1"
    return [
        *(PublishedSize(table, "oat", network, size, "M parameters", _oat(network)) for network, size in OAT_SIZES.items()),
        *(
            PublishedSize(table, "float", network, size, "M parameters", _float(network))
            for network, size in FLOAT_SIZES.items()
        ),
        PublishedSize(table, "float", "wrn16_8", "2.01", "G MACs", {
            "convolutions and classifier": Size("wrn16_8", "float", quantity="macs"),
        }),
        PublishedSize(f"{PAPER}, Figure 8", "oat / float", "resnet34", "1.47", "x", {
            way: (size, _float("resnet34")[ONE if ONE in way else BOTH]) for way, size in _oat("resnet34").items()
        }),
    ]  # fmt: skip


def _oat(architecture: str) -> dict[str, Size]:
    """The paper encodes lambda by its value; OAT's own authors recommend 128 dimensions."""
    by_value: dict[str, Any] = {"dim": 1}
    recommended: dict[str, Any] = {"dim": 128}
    return {
        f"d = 1, {ONE}": Size(architecture, "oat", by_value, branches="first"),
        f"d = 1, {BOTH}": Size(architecture, "oat", by_value),
        f"d = 128 (recommended), {BOTH}": Size(architecture, "oat", recommended),
    }


def _float(architecture: str) -> dict[str, Size]:
    return {ONE: Size(architecture, "float", branches="first"), BOTH: Size(architecture, "float")}

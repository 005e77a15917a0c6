"""The files of the page: whole, and the same for the same leaderboards."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from chromium import COMMITTED
from pages import full_board
from robuststack.cli import call
from robuststack.leaderboard import site
from robuststack.leaderboard.board import board_json
from robuststack.leaderboard.site import page
from robuststack.leaderboard.site.payload import payload
from robuststack.wording import options_text, pair_text, radius_text

PACKAGE = Path(page.__file__).parent


def content(folder: Path) -> dict[str, bytes]:
    """What a page consists of, without the leaderboards beside it."""
    paths = [folder / "index.html", *(folder / site.ASSETS).rglob("*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.is_file()}


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    """A folder with a leaderboard."""
    folder = tmp_path / "leaderboard"
    folder.mkdir()
    shutil.copy(COMMITTED / "float_vs_oat.json", folder)
    return folder


def test_the_same_leaderboards_give_the_same_page_and_a_changed_figure_another(boards: Path, tmp_path: Path) -> None:
    # The folder keeps its name: commands on the page are relative to it.
    pages = [tmp_path / name for name in ("one", "two", "three")]
    for folder in pages[:2]:
        site.build_page(boards, folder)
    path = boards / "float_vs_oat.json"
    board = json.loads(path.read_text())
    board["rows"][3]["ca"]["value"] -= 0.1
    path.write_text(json.dumps(board))
    site.build_page(boards, pages[2])
    first, again, other = map(content, pages)
    assert first == again
    assert [name for name in first if first[name] != other[name]] == ["site/data/float_vs_oat.js"]


def test_the_command_says_what_it_wrote(boards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "page"
    assert call(["leaderboard", "build", "--leaderboard", str(boards), "-o", str(out)]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(rf"wrote {out}/index\.html: 1 leaderboard, 32 rows, [\d.]+ MB with site/\n", said)
    assert not (boards / "index.html").exists()
    assert call(["leaderboard", "build", "--leaderboard", str(boards)]) == 0
    assert content(boards) == content(out)


def test_everything_the_page_loads_is_beside_it_and_nothing_else_is(boards: Path) -> None:
    site.build_page(boards, boards)
    text = (boards / "index.html").read_text()
    loaded = set(re.findall(r'(?:src|href)="([^"#:]+)"', text))
    written = {name for name in content(boards) if name != "index.html"}
    later = {"site/data/float_vs_oat.pairs.js"}
    assert written - loaded - later == {f"site/{name}" for name in page.NOTICES} - {"site/vendor/README.md"}
    assert loaded <= written
    packaged = {
        path.relative_to(PACKAGE).as_posix() for folder in ("static", "vendor") for path in (PACKAGE / folder).iterdir()
    }
    assert packaged == {*page.STYLES, *page.SCRIPTS, *page.NOTICES, "static/index.html"}


def test_libraries_come_with_their_licences_and_versions() -> None:
    notes = (PACKAGE / "vendor" / "README.md").read_text()
    for path in (PACKAGE / "vendor").iterdir():
        assert path.stat().st_size < 1_000_000
        if path.suffix in (".js", ".css"):
            assert f"`{path.name}`" in notes
            assert "sourceMappingURL" not in path.read_text()
    for name, library in {"d3": "d3", "plot": "@observablehq/plot", "tabulator": "tabulator-tables"}.items():
        (version,) = re.findall(rf"\| {library} \| ([\d.]+) \|", notes)
        assert "Copyright" in (PACKAGE / "vendor" / f"{name}.LICENSE").read_text()
        script = next((PACKAGE / "vendor").glob(f"{name}*.js"))
        assert f"v{version}" in script.read_text()[:80]


def test_data_of_a_leaderboard_that_is_gone_is_removed(boards: Path) -> None:
    shutil.copy(boards / "float_vs_oat.json", boards / "old.json")
    site.build_page(boards, boards)
    (boards / "old.json").unlink()
    site.build_page(boards, boards)
    kept = {path.name for path in (boards / "site" / "data").iterdir()}
    assert kept == {"float_vs_oat.js", "float_vs_oat.pairs.js"}
    assert "old.js" not in (boards / "index.html").read_text()


def test_main_suites_come_before_collections(tmp_path: Path) -> None:
    shutil.copytree(COMMITTED, tmp_path / "leaderboard")
    names = list(page.read_boards(tmp_path / "leaderboard"))
    main = ["claims", "fashion", "float_vs_oat", "regress", "rivals"]
    assert names == [*main, *sorted(set(names) - set(main))]


def test_each_row_has_an_address_of_its_own_and_a_command_that_runs_it(boards: Path) -> None:
    (boards / "full.json").write_text(board_json(full_board()))
    payloads = [
        payload_of(file)
        for file in page.contents(page.read_boards(boards), boards)
        if "/data/" in file[0] and "pairs" not in file[0]
    ]
    for board in payloads:
        rows = board["rows"]
        assert len({row["site"]["id"] for row in rows}) == len(rows)
        assert all(re.fullmatch(r"[A-Za-z0-9._=+-]+", row["site"]["id"]) for row in rows)
    first = payloads[0]["rows"][0]["site"]
    assert first["id"] == "digits-resnet8-float-lambda_n=0-lambda_th=0"
    assert first["command"] == (
        f"robuststack run suites/float_vs_oat.yaml --set precision={payloads[0]['precision']} --device cpu"
        " --only 'digits/resnet8/float lambda_n=0 lambda_th=0'"
    )
    assert payloads[1]["command"] == (
        "robuststack run suites/cpu/full.yaml --set train.epochs=3 --set precision=float32 --device cpu"
    )


@pytest.mark.parametrize(
    ("changed", "command"),
    [
        ({"suite": "a.smoke"}, "robuststack run suites/a.yaml --set precision=bf16 --device cpu --smoke"),
        ({"overrides": ("precision=bf16",)}, "robuststack run suites/a.yaml --set precision=bf16 --device cpu"),
        (
            {"description": "robuststack evaluate --load w.pt --dataset digits", "suite_file": "../w.pt"},
            "robuststack evaluate --load w.pt --dataset digits --set precision=bf16 --device cpu",
        ),
        (
            {"description": "robuststack evaluate --dataset digits --set precision=bf16", "suite_file": "../w.pt"},
            "robuststack evaluate --dataset digits --set precision=bf16 --device cpu",
        ),
        (
            {"description": "robuststack.evaluate(Net, data=..., attacks=['pgd'])", "suite_file": "../Net"},
            "robuststack.evaluate(Net, data=..., attacks=['pgd'])",
        ),
        ({"suite_file": "../mine"}, "robuststack.run({...})"),
    ],
)
def test_the_command_runs_what_was_run(tmp_path: Path, changed: dict, command: str) -> None:
    base = {"suite": "a", "suite_file": "../suites/a.yaml", "description": "", "overrides": (), "device": "cpu",
            "precision": "bf16"}  # fmt: skip
    board = full_board().model_copy(update={**base, **changed})
    (tmp_path / "leaderboard").mkdir()
    shown = payload("a", board, tmp_path / "leaderboard", [])
    assert shown["command"] == command
    for row in shown["rows"]:
        whole = f"{command} --only {shlex.quote(row['label'])}" if " run " in command else command
        assert row["site"]["command"] == whole


def payload_of(file: tuple[str, bytes]) -> dict:
    text = file[1].decode()
    return json.loads(text.removeprefix("robuststack.boards.push(").removesuffix(");\n"))


def test_a_folder_without_leaderboards_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["leaderboard", "build", "--leaderboard", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"robuststack: error: no leaderboards (*.json) in {tmp_path}: `robuststack run SUITE` writes one there\n"
    )


def test_options_knobs_and_radii_come_as_the_text_that_tables_print(boards: Path) -> None:
    board = page.read_boards(boards)["float_vs_oat"]
    shown = payload("float_vs_oat", board, boards, [])
    for row, site_row in zip(board.rows, shown["rows"], strict=True):
        texts = site_row["site"]
        assert texts["point"] == options_text(row.point)
        assert texts["model"]["threat model"] == f"Linf eps {radius_text(row.threat.eps)}"
        assert dict(texts["attacks"]) == {label: options_text(options) for label, options in row.attacks.items()}
        assert {key: knob["pair"] for key, knob in texts["knobs"].items()} == {
            key: pair_text(key, value) for key, value in row.point.items()
        }
    assert [attack["text"] for attack in shown["attacks"]][1].startswith("pgd ")

"""Files that are no leaderboard, and leaderboards edited by hand: one line that says what is wrong, in which row."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from robuststack.cli import call
from robuststack.errors import LeaderboardError
from robuststack.leaderboard.audit_file import board_files
from robuststack.leaderboard.board import Board, board_json
from robuststack.leaderboard.board_file import read_board
from robuststack.leaderboard.row import Row
from trained import Trained

COMMITTED = Path(__file__).parents[2] / "leaderboard" / "float_vs_oat.json"
LABEL = "digits/resnet8/float lambda_n=0 lambda_th=0"
AGAIN = "run its suite again to write it whole"


@pytest.fixture
def content() -> dict[str, Any]:
    return json.loads(COMMITTED.read_text())


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[Any], str]:
    """What is said of a file with this content."""

    def read(content: Any) -> str:
        path = tmp_path / "a.json"
        path.write_text(json.dumps(content))
        with pytest.raises(LeaderboardError) as error:
            read_board(path, "a.json")
        return str(error.value)

    return read


def test_a_board_that_is_read_and_written_is_the_same_file() -> None:
    assert board_json(read_board(COMMITTED)) + "\n" == COMMITTED.read_text()


@pytest.mark.parametrize(
    "content", [None, [], 3, {}, {"rows": []}, {"schema": "2", "rows": []}, {"schema": True, "rows": []},
                {"schema": 2, "rows": {}}]
)  # fmt: skip
def test_what_is_no_leaderboard_is_said_to_be_none(content, refused):
    assert refused(content) == "a.json is not a leaderboard written by robuststack"


def test_another_layout_is_refused(content, refused):
    assert refused({**content, "schema": 3}) == "a.json has schema 3, this version reads 2: upgrade robuststack"
    assert refused({**content, "schema": 1}) == "a.json has schema 1, this version reads 2: run its suite again"


@pytest.mark.parametrize("key", [name for name, field in Row.model_fields.items() if field.is_required()])
def test_every_key_of_a_row_is_missed(content, refused, key):
    del content["rows"][0][key]
    assert refused(content) == f"a.json: {LABEL if key != 'label' else 'row 1'}: key {key!r} is missing; {AGAIN}"


@pytest.mark.parametrize(
    "key",
    [name for name, field in Board.model_fields.items() if field.is_required() and name not in ("schema_", "rows")],
)
def test_every_key_of_a_board_is_missed(content, refused, key):
    del content[key]
    assert refused(content) == f"a.json: key {key!r} is missing; {AGAIN}"


def scored(row: dict[str, Any]) -> dict[str, Any]:
    row["protocols"]["published"] = {"ca": dict(row["ca"]), "ra": {"worst": dict(row["ra"]["worst"])}, "attacks": {}}
    row["jobs"]["scores"]["published"] = {"ca": {"0/0": "attack-0"}}
    return row["protocols"]["published"]


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda row: row.update(ca=98.8), "ca: must be a mapping, not 98.8"),
        (lambda row: row["ca"].pop("low"), "key 'low' in ca is missing"),
        (lambda row: row["ca"].update(value="98.8"), "ca.value: must be a valid number, not '98.8'"),
        (lambda row: row["ca"].update(value=float("nan")), "ca.value: must be a finite number, not nan"),
        (lambda row: row["ca"].update(value=988), "ca.value: must be less than or equal to 100, not 988"),
        (lambda row: row["ra"].pop("worst"), "key 'ra.worst' is missing"),
        (lambda row: row["ra"]["PGD-7"].pop("high"), "key 'high' in ra.PGD-7 is missing"),
        (lambda row: scored(row)["ra"]["worst"].pop("value"), "key 'value' in protocols.published.ra.worst is missing"),
        (lambda row: scored(row).pop("ca"), "key 'ca' in protocols.published is missing"),
        (lambda row: row.update(parameters="many"), "parameters: must be a valid integer, not 'many'"),
        (lambda row: row.update(n=-1), "n: must be greater than or equal to 0, not -1"),
        (lambda row: row["latency_ms"]["1"].pop("median"), "key 'median' in latency_ms.1 is missing"),
        (lambda row: row["threat"].pop("eps"), "key 'eps' in threat is missing"),
        (lambda row: row["seeds"].pop("train"), "key 'train' in seeds is missing"),
        (lambda row: row["checks"].pop("clipped"), "key 'clipped' in checks is missing"),
        (lambda row: row["jobs"]["scores"]["adaptive"].pop("PGD-20"), "key 'jobs.scores.adaptive.PGD-20' is missing"),
        (lambda row: row["jobs"].pop("measure"), "key 'measure' in jobs is missing"),
        (lambda row: row["options"].update(beta=float("inf")), "options.beta: must be a finite number, not inf"),
        (lambda row: row.update(acuracy=1), "unknown key 'acuracy': valid: "),
        (lambda row: row["checks"].update(cliped=0), "unknown key 'cliped' in checks: did you mean 'clipped'?"),
    ],
)
def test_what_is_wrong_is_named_with_its_row_and_key(
    content: dict[str, Any], edit: Callable[[dict[str, Any]], object], problem: str, tmp_path: Path, capsys: Any
) -> None:
    edit(content["rows"][0])
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(content))
    for command in (["show", path], ["compare", COMMITTED, path], ["build", "--leaderboard", tmp_path]):
        assert call(["leaderboard", *map(str, command)]) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"robuststack: error: {path}: {LABEL}: {problem}")
        assert err.endswith(f"; {AGAIN}\n")
        assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path], "nothing half-written"


def test_a_row_that_is_none_and_a_label_twice_are_named(content, refused):
    rows = content["rows"]
    assert refused({**content, "rows": [*rows, 7]}) == f"a.json: row 33 is not a row; {AGAIN}"
    assert refused({**content, "rows": [*rows, rows[0]]}) == f"a.json: 2 rows are named {LABEL!r}; {AGAIN}"


def test_leaderboards_of_different_suites_are_not_compared(content, tmp_path, capsys):
    other = tmp_path / "a.json"
    other.write_text(json.dumps({**content, "suite": "another"}))
    assert call(["leaderboard", "compare", str(COMMITTED), str(other)]) == 2
    err = capsys.readouterr().err
    assert "of different suites, 'float_vs_oat' and 'another'; compare two of the same" in err
    assert err.count("\n") == 1


# --- the JSON schema


@pytest.fixture
def validator(capsys: pytest.CaptureFixture[str]) -> Draft202012Validator:
    assert call(["schema", "--board"]) == 0
    schema = json.loads(capsys.readouterr().out)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_the_schema_fits_committed_and_fresh_leaderboards(validator: Draft202012Validator, trained: Trained) -> None:
    for path in (*board_files(COMMITTED.parent), trained.leaderboard / "small.json"):
        problems = [
            f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(_read(path))
        ]
        assert problems == [], path.name


@pytest.mark.parametrize(
    "edit",
    [
        lambda board: board.pop("claims"),
        lambda board: board["rows"][0]["ca"].pop("low"),
        lambda board: board["rows"][0]["ca"].update(value="98.8"),
        lambda board: board["rows"][0].update(n=-1),
        lambda board: board["rows"][0].update(more=1),
        lambda board: board["rows"][0]["jobs"].update(train={"0": 7}),
    ],
)
def test_the_schema_finds_what_is_wrong(validator: Draft202012Validator, content: dict[str, Any], edit: Any) -> None:
    edit(content)
    assert not validator.is_valid(content)


def test_the_schema_says_what_keys_mean(validator: Draft202012Validator) -> None:
    schema = validator.schema
    assert schema["title"] == "RobustStack leaderboard"
    assert schema["$defs"]["Row"]["properties"]["draws"]["description"].startswith("Noise draws")


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "is not a leaderboard written by robuststack"),
        ("[", "cannot be read as a leaderboard"),
        ('{"schema": 99, "rows": []}', "has schema 99, this version reads 2: upgrade robuststack"),
        ('{"schema": 1, "rows": []}', "has schema 1, this version reads 2: run its suite again"),
        ('{"schema": 2, "rows": [{"label": "a"}]}', "a: key 'ca' is missing; run its suite again to write it whole"),
    ],
)
def test_files_that_are_no_leaderboards_are_one_line(tmp_path, capsys, content, message):
    (tmp_path / "bad.json").write_text(content)
    assert call(["leaderboard", "show", str(tmp_path / "bad.json")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1

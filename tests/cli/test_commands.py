"""The subcommands: what they print, and one line with exit code 2 for what they cannot use."""

from __future__ import annotations

import json
import re
import shlex
from importlib.metadata import version

import pytest
from jsonschema import Draft202012Validator

from robuststack.cli import COMMANDS, call
from robuststack.plugin.registry import KINDS, Registry


@pytest.fixture
def robuststack(capsys):
    """Arguments -> (exit code, standard output, standard error)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = call([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch, small_suite):
    """`small.yaml` lies in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(result: tuple[int, str, str]) -> str:
    code, output, errors = result
    assert (code, errors) == (0, "")
    return output


# --- what they print


def test_help_names_every_command_and_what_it_does(robuststack):
    output = printed(robuststack("--help"))
    for name, meaning in COMMANDS.items():
        assert name in output
        assert meaning.split()[0] in output


def test_without_arguments_there_is_help_and_no_wall_of_text(robuststack):
    _, output, errors = robuststack()
    assert "Run:" in (output + errors).splitlines()
    assert "error" not in errors


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(robuststack, command):
    output = printed(robuststack(command, "--help"))
    assert output.startswith(f"Usage: robuststack {command} ")


def test_the_version_is_the_distributions(robuststack):
    assert version("robuststack") in printed(robuststack("--version"))


def test_list_shows_every_component_with_its_summary_and_provider_within_80_columns(robuststack):
    output = printed(robuststack("list"))
    assert max(map(len, output.splitlines())) <= 80
    words = " ".join(output.split())
    for registration in Registry():
        assert re.search(rf"^  {re.escape(registration.name)}( |$)", output, re.MULTILINE)
        assert f"{registration.name} {registration.load().summary()}" in words
        assert f"{registration.kind}s, {registration.origin}\n" in output


@pytest.mark.parametrize("kind", KINDS)
def test_list_of_one_kind_is_that_kind_alone_in_either_number(robuststack, kind):
    entries = json.loads(printed(robuststack("list", kind, "--json")))
    assert {entry["kind"] for entry in entries} == {kind}
    assert sorted(entry["name"] for entry in entries) == Registry().names(kind)
    assert printed(robuststack("list", f"{kind}s")) == printed(robuststack("list", kind))


def test_show_prints_options_with_types_defaults_and_meanings(robuststack):
    output = printed(robuststack("show", "defense", "oat"))
    assert "Once-for-all adversarial training" in output
    assert "arXiv 2010.11828" in output
    assert "plugin 'defenses' of robuststack" in output
    for word in ("dim", "integer >= 1", "128", "Knobs (operating points)", "lambda", "number >= 0, <= 1"):
        assert word in output


def test_a_kind_can_be_left_out(robuststack):
    assert printed(robuststack("show", "oat")) == printed(robuststack("show", "defense", "oat"))
    assert printed(robuststack("show", "wrn-16-4")) == printed(robuststack("show", "architecture", "wrn-16-4"))


def test_a_name_of_several_kinds_lists_them(robuststack, monkeypatch):
    register = Registry.__init__

    def with_a_dataset_named_noise(self, sources=None):
        register(self, sources)
        self.add("noise", Registry.find(self, "dataset", "digits").load())

    monkeypatch.setattr(Registry, "__init__", with_a_dataset_named_noise)
    code, output, errors = robuststack("show", "noise")
    assert (code, output) == (2, "")
    expected = (
        "'noise' is the name of several components: `robuststack show dataset noise` or `robuststack show attack noise`"
    )
    assert errors == f"robuststack: error: {expected}\n"
    assert "Alpaydin" in printed(robuststack("show", "dataset", "noise"))


def test_show_as_json_holds_the_same(robuststack):
    facts = json.loads(printed(robuststack("show", "architecture", "wrn-16-4", "--json")))
    defaults = {option["name"]: option["default"] for option in facts["options"]}
    assert defaults == {"depth": 16, "widen": 4, "width": 16, "dropout": 0.3}
    assert "knobs" not in facts


def test_every_component_can_be_shown(robuststack):
    for registration in Registry():
        if not registration.pattern:
            assert (
                json.loads(printed(robuststack("show", registration.kind, registration.name, "--json")))["name"]
                == registration.name
            )


def test_check_counts_rows_and_jobs(robuststack):
    assert printed(robuststack("check", "small.yaml")) == "small.yaml: valid, 6 rows from 40 jobs\n"


def test_check_knows_set_and_only(robuststack):
    arguments = ["--set", "attacks=fgsm", "--set", "train.epochs=3", "--only", "oat"]
    assert printed(robuststack("check", "small.yaml", *arguments)) == "small.yaml: valid, 2 rows from 9 jobs\n"


def test_plan_lists_every_job_with_its_share_of_the_work(robuststack):
    lines = printed(robuststack("plan", "small.yaml", "--device", "cpu")).splitlines()
    assert lines[0] == "small on cpu, float32"
    assert len(lines) == 1 + 40 + 2
    assert all(" % " in line for line in lines[1:-2])
    assert lines[-2].startswith("6 rows, 40 jobs, 0 done; to do: ")
    assert lines[-2].endswith("(100 % of the suite's work)")
    assert lines[-1] == "`robuststack plan --minutes` measures how long that takes on this machine"


def test_plan_as_json_has_ids_states_work_and_rows(robuststack):
    facts = json.loads(printed(robuststack("plan", "small.yaml", "--json", "--device", "cpu")))
    assert (facts["suite"], facts["device"], facts["precision"]) == ("small", "cpu", "float32")
    ids = {job["id"] for job in facts["jobs"]}
    assert len(ids) == len(facts["jobs"]) == 40
    for job in facts["jobs"]:
        assert job["id"].startswith(f"{job['kind']}-")
        assert job["cached"] is False
        assert job["work"] > 0
        assert set(job["needs"]) <= ids
    assert {job for row in facts["rows"] for job in row["jobs"]} == ids


def test_a_finished_job_is_shown_as_done(robuststack, working_directory):
    from robuststack.hardware import Hardware
    from robuststack.plan.planner import make_plan
    from robuststack.running.store import Store
    from robuststack.suite.loading import load_suite

    plan = make_plan(load_suite("small.yaml"), Registry(), Hardware("cpu", "float32"))
    first = plan.jobs[0]
    Store("store").finish(first.id, {"kind": "train", "digest": first.digest}, {})
    arguments = ["plan", "small.yaml", "--device", "cpu", "--store", "store"]
    facts = json.loads(printed(robuststack(*arguments, "--json")))
    assert [job["id"] for job in facts["jobs"] if job["cached"]] == [first.id]
    output = printed(robuststack(*arguments))
    assert f"    done  {first.id}" in output
    assert ", 1 done; to do: " in output


def test_a_dry_run_is_the_plan_and_writes_nothing(robuststack, working_directory):
    before = sorted(working_directory.iterdir())
    assert printed(robuststack("run", "small.yaml", "--dry-run")) == printed(robuststack("plan", "small.yaml"))
    assert sorted(working_directory.iterdir()) == before


def test_the_schema_is_printed_or_written(robuststack, working_directory):
    schema = json.loads(printed(robuststack("schema")))
    Draft202012Validator.check_schema(schema)
    assert printed(robuststack("schema", "-o", "suite.json")) == ""
    assert json.loads((working_directory / "suite.json").read_text()) == schema


def test_describe_counts_parameters_and_multiplications(robuststack):
    facts = json.loads(printed(robuststack("describe", "resnet20", "--json")))
    assert (facts["parameters"], facts["macs"]) == (269_722, 40_551_040)
    small = ["describe", "resnet8", "--defense", "oat dim=1", "--num-classes", "4", "--shape", "1,8,8"]
    facts = json.loads(printed(robuststack(*small, "--json")))
    assert (facts["options"]["dim"], facts["num_classes"], facts["shape"]) == (1, 4, [1, 8, 8])
    assert f"parameters {facts['parameters']:,}\nMACs {facts['macs']:,}\n" in printed(robuststack(*small))


def test_doctor_names_versions_devices_and_plugins(robuststack):
    output = printed(robuststack("doctor"))
    for text in (f"robuststack {version('robuststack')}", f"torch {version('torch')}", "CUDA devices: ", "bf16: ",
                 "`--device auto` is ", "data folder: ", "defenses (robuststack "):  # fmt: skip
        assert text in output
    assert output.endswith("no problems found\n")


@pytest.fixture
def broken_plugin(working_directory, monkeypatch):
    """An installed distribution whose plugin cannot be imported."""
    info = working_directory / "site" / "broken_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[robuststack]\nbroken = absent_module\n")
    monkeypatch.syspath_prepend(info.parent)
    return "plugin 'broken' of broken-plugin 1.0 is not used: ModuleNotFoundError: No module named 'absent_module'"


def test_doctor_says_what_is_broken_and_exits_with_1(robuststack, broken_plugin):
    code, output, _ = robuststack("doctor")
    assert code == 1
    assert output.endswith(f"problem: {broken_plugin}\n1 problem(s)\n")


def test_a_broken_plugin_is_a_warning_where_it_is_not_needed(robuststack, broken_plugin):
    code, output, errors = robuststack("check", "small.yaml")
    assert (code, output) == (0, "small.yaml: valid, 6 rows from 40 jobs\n")
    assert errors == f"robuststack: warning: {broken_plugin}\n"


def test_a_broken_plugin_is_named_where_a_name_is_unknown(robuststack, broken_plugin):
    code, _, errors = robuststack("check", "small.yaml", "--set", "defenses=theirs")
    assert code == 2
    assert errors.splitlines()[-1].endswith(f"; {broken_plugin} (it may be what provides this name)")


# --- what they cannot use


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("chek small.yaml", "unknown command 'chek': did you mean 'check' or 'schema'?"),
        ("zzz", "unknown command 'zzz': valid: audit, bundle, card, check, cite, completion, describe, doctor, evaluate,"
                " export, leaderboard, list, new, plan, regress, rejudge, run, schema, show, submit, verify"),
        ("check small.yaml --sett a=b", "No such option"),
        ("--verbose", "No such option"),
        ("check", "Missing argument 'SUITE'"),
        ("check small.yaml other.yaml", "Got unexpected extra argument"),
        ("check gone.yaml", "gone.yaml: no such file; there: small.yaml"),
        ("plan gone.yaml", "gone.yaml: no such file; there: small.yaml"),
        ("run gone.yaml", "gone.yaml: no such file; there: small.yaml"),
        ("check .", "Invalid value for 'SUITE': File '.' is a directory."),
        ("check small.yaml --set epochs", "--set epochs: write KEY=VALUE, for example --set train.epochs=3"),
        ("check small.yaml --set threat.eps=8", "--set threat.eps=8: threat.eps: 8 is outside (0, 1], the range of a"
         " pixel (was 8/255 meant?)"),
        ("check small.yaml --set train.epoch=3", "--set train.epoch=3: unknown key 'epoch' in train: did you mean"),
        ("check small.yaml --set train.epochs=x", "--set train.epochs=x: train.epochs: must be a valid integer, not 'x'"),
        ("check small.yaml --set train.lr=.inf", "--set train.lr=.inf: train.lr: must be a finite number, not inf"),
        ("check small.yaml --set defenses=flot", "--set defenses=flot: unknown defense 'flot': did you mean 'float'"),
        ("run small.yaml --set defenses=flot", "--set defenses=flot: unknown defense 'flot': did you mean 'float'"),
        ("run small.yaml --dry-run --set attacks=pdg", "--set attacks=pdg: unknown attack 'pdg': did you mean 'pgd'?"),
        ("check small.yaml --set defenses.3.points.lambda=0.3", "points of oat: lambda 0.3 has no row in the codebook"),
        ("check small.yaml --device gpu", "--device gpu: a GPU is named cuda, or cuda:0 and so on by its number"),
        ("check small.yaml --device cuda:99", "--device cuda:99: "),
        ("check small.yaml --only zzz", "--only zzz: no row matches; rows are named like 'tradeoff/resnet8/none'"),
        ("plan small.yaml --store small.yaml", "small.yaml is not a RobustStack store; name an empty or absent folder"),
        ("plan small.yaml --store .", " is not a RobustStack store; name an empty or absent folder with --store"),
        ("run small.yaml --wait soon", "Invalid value for '--wait': 'soon' is not a valid float"),
        ("list defence", "'defence' is not one of 'defense'"),
        ("show defence float", "unknown kind 'defence': did you mean 'defense'?"),
        ("show defense flot", "unknown defense 'flot': did you mean 'float'"),
        ("show defense", "write robuststack show [KIND] NAME, one component; valid: adapter_soup, "),
        ("show", "write robuststack show [KIND] NAME, one component"),
        ("show defense float oat", "write robuststack show [KIND] NAME, one component"),
        ("show flot", "unknown component 'flot': did you mean 'float'"),
        ("show wrn-D-K", "architecture 'wrn-D-K' stands for a family: put values in place of"),
        ("show architecture wrn-D-K", "architecture 'wrn-D-K' stands for a family: put values in place of"),
        ("describe resnet9", "unknown architecture 'resnet9': did you mean 'resnet8'"),
        ("describe resnet8 --defense flot", "unknown defense 'flot': did you mean 'float'"),
        ("describe resnet8 --defense 'oat dim'", "--defense oat dim: write a name and its options"),
        ("describe resnet8 --defense 'oat dimm=1'", "defense 'oat': unknown key 'dimm': did you mean 'dim'?"),
        ("describe resnet8 --defense 'oat dim=['", "--defense oat dim=[: the value is not valid YAML"),
        ("describe 'resnet8 width=!!int x'", "ARCHITECTURE resnet8 width=!!int x: the value is not valid YAML"),
        ("describe resnet8 --shape 3,32", "--shape 3,32: write three whole numbers C,H,W, for example 3,32,32"),
        ("describe resnet8 --shape 3,0,32", "--shape 3,0,32: each of C, H and W is at least 1"),
        ("describe resnet8 --num-classes 1", "Invalid value for '--num-classes': 1 is not in the range x>=2"),
    ],
)  # fmt: skip
def test_what_a_command_cannot_use_is_one_line_and_exit_code_2(robuststack, working_directory, arguments, message):
    before = sorted(working_directory.iterdir())
    code, output, errors = robuststack(*shlex.split(arguments))
    assert code == 2
    assert output == ""
    assert len(errors.splitlines()) == 1
    assert errors.startswith("robuststack: error: ")
    assert message in errors
    assert sorted(working_directory.iterdir()) == before, "nothing is half-written"

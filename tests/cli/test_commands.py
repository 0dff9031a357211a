"""The command line: light, and with errors that a user can act on."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import click
import jsonschema
import pytest

from aftertrain.cli import cli, main
from aftertrain.cli.commands import COMMANDS, OLD
from aftertrain.core.errors import DataError, Interrupted
from aftertrain.core.kinds import KINDS

LIGHT = """
import sys
from aftertrain.cli import main
status = main({arguments!r})
heavy = sorted({{"torch", "pydantic", "transformers", "datasets", "numpy", "rich"}} & set(sys.modules))
assert not heavy, heavy
sys.exit(status)
"""


def fresh(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["list"], ["list", "loss"], ["plugins"], ["--version"], ["nonsense"]]
)
def test_what_needs_nothing_heavy_imports_nothing_heavy(arguments: list[str]) -> None:
    done = fresh(LIGHT.format(arguments=arguments))
    assert "AssertionError" not in done.stderr, done.stderr
    assert done.returncode == (2 if arguments == ["nonsense"] else 0), done.stderr


def test_importing_the_package_is_light_and_lists_its_calls() -> None:
    done = fresh(
        "import sys, aftertrain; assert aftertrain.__version__; dir(aftertrain); aftertrain.components();"
        "print(sorted({'torch', 'pydantic', 'transformers', 'datasets', 'click'} & set(sys.modules)))"
    )
    assert done.stdout == "[]\n", done.stderr


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    import aftertrain

    with pytest.raises(AttributeError, match="module 'aftertrain' has no attribute 'nonsense'"):
        aftertrain.nonsense  # noqa: B018
    assert aftertrain.load_recipe.__module__ == "aftertrain.api.recipes"


def test_a_script_catches_the_errors_without_knowing_their_module(tmp_path: Path) -> None:
    import aftertrain

    recipe = tmp_path / "r.yaml"
    recipe.write_text("name: x\n")
    with pytest.raises(aftertrain.RecipeError) as caught:
        aftertrain.load_recipe(recipe)
    assert [issue.path for issue in caught.value.issues] == ["stages"]
    assert issubclass(aftertrain.RecipeError, aftertrain.AftertrainError)


def test_lineage_finds_a_run_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    assert main(["lineage", "mine"]) == 1
    assert "runs/mine is no run's folder: it has no manifest.json and events.jsonl" in capsys.readouterr().err
    assert main(["lineage", "mina"]) == 1
    assert "a name under runs/. Did you mean 'mine'?" in capsys.readouterr().err


def test_help_names_every_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    rows = [[command.name, *command.summary.split()] for command in COMMANDS.values()]
    assert [line for line in said if line and line[0] in COMMANDS] == rows


def test_the_table_has_at_most_twenty_words_and_nothing_stands_beside_it() -> None:
    assert len(COMMANDS) <= 20
    assert cli.list_commands(click.Context(cli)) == list(COMMANDS)
    assert cli.commands == {}
    assert not OLD.keys() & COMMANDS.keys()
    assert {new[0] for new in OLD.values()} <= COMMANDS.keys()
    groups = [command.group for command in COMMANDS.values()]
    assert len(set(groups)) == sum(1 for _ in groupby(groups)), "rows of one group stand together"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert "Usage: aftertrain " + name in capsys.readouterr().out


def test_an_option_of_another_tool_is_answered_with_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "quickstart", "--dry-run"]) == 2
    assert "a run that does nothing is a plan: aftertrain plan RECIPE" in capsys.readouterr().err
    assert main(["run", "quickstart", "--restrat"]) == 2
    assert "--restart" in capsys.readouterr().err


def test_a_mistyped_command_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dokter"]) == 2
    assert (
        "no command named 'dokter'. Did you mean 'doctor'? There are: arena, check-invariants, "
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (DataError("rows.jsonl:3: not JSON"), 1, "error: rows.jsonl:3: not JSON\n"),
        (Interrupted("stopped at step 3"), 130, "error: stopped at step 3\n"),
        (DataError("one\ntwo"), 1, "error:\none\ntwo\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_for_users_have_no_traceback(
    error: BaseException, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def fails() -> None:
        raise error

    monkeypatch.setattr(type(cli), "get_command", lambda self, ctx, name: fails)
    assert main(["list"]) == status
    assert capsys.readouterr().err == said


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match="no kind named 'los'"):
        main(["--debug", "list", "los"])
    monkeypatch.setattr(type(cli), "get_command", lambda self, ctx, name: click.Command("x", callback=lambda: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        main(["list"])


def test_list_shows_built_ins_of_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "loss"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("loss: packed tokens")
    assert any(line.split()[:1] == ["dpo"] for line in lines)
    assert main(["list", "los"]) == 2
    assert capsys.readouterr().err == (
        "error: no kind named 'los'. Did you mean 'loss'? There are: advantage, dataset, engine, environment, "
        "eval_task, generator, head_kernel, loss, observer, operator, selection, stage, verifier.\n"
    )


def test_the_help_of_list_names_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"\b{kind}\b", said) for kind in (*KINDS, "recipe"))


def test_the_table_of_stages_names_the_methods_people_look_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "stage"]) == 0
    (online,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["online"]]
    assert "PPO" in online
    assert "GRPO" in online


def test_list_recipe_shows_those_that_are_shipped(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "recipe"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["quickstart"].endswith("evaluated after each stage.")


def test_show_tells_origin_settings_types_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "dpo"]) == 0
    said = capsys.readouterr().out
    assert main(["show", "loss", "dpo"]) == 0
    assert capsys.readouterr().out == said
    assert said.startswith("loss dpo: ")
    assert "losses (aftertrain " in said
    (beta,) = [line for line in said.splitlines() if line.split()[:1] == ["beta"]]
    assert beta.split()[1] == "number"
    assert main(["show", "loss", "dppo"]) == 2
    assert "Did you mean 'dpo'?" in capsys.readouterr().err


def test_show_tells_nested_settings_below_their_mapping(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "stage", "train"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    names = [row[0] for row in rows]
    batch = names.index("batch")
    assert rows[batch][1:3] == ["mapping", "{…}"]
    assert rows[batch + 1][:6] == ["sequences", "integer", "128", "Conversations", "or", "preference"]
    assert rows[names.index("lr")][:4] == ["lr", "number", "required", "Peak"]


def test_show_tells_the_defaults_that_the_setting_around_them_has(capsys: pytest.CaptureFixture[str]) -> None:
    """The stage `online` samples 2,048 tokens, the class of its setting says 256."""
    assert main(["show", "stage", "online"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "max_new_tokens " in line]
    assert rows[0][:3] == ["max_new_tokens", "integer", "2048"]


def test_plan_tells_a_failed_check_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: x\nmodel: package:aftertrain.plugins.quickstart/model\nstages:\n"
        "  a: {use: train, loss: sft, data: {use: jsonl, path: no.jsonl, format: messages}, optimizer: {lr: 1}}\n"
    )
    assert main(["plan", str(recipe), "--out", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out.count(f"{tmp_path / 'no.jsonl'}: cannot be read") == 1
    assert said.err == "\nThis run would not start; see above: stages.a: data.\n"


def test_lines_of_a_plan_stay_in_their_column(capsys: pytest.CaptureFixture[str]) -> None:
    from aftertrain.cli.plan import echo_items
    from aftertrain.core.records import PlanItem

    echo_items([PlanItem("rows", "one\ntwo", "error"), PlanItem("a label", "x")])
    assert capsys.readouterr().out == "  rows     error: one\n           two\n  a label  x\n"


def test_schema_is_written_for_editors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "schema.json"
    assert main(["schema", "--out", str(out)]) == 0
    assert f"# yaml-language-server: $schema={out}" in capsys.readouterr().out
    jsonschema.Draft202012Validator.check_schema(json.loads(out.read_text()))
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == out.read_text()
    assert main(["schema", "--out", str(out / "below-a-file.json")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_doctor_tells_versions_machine_and_missing_extras(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor"])
    said = capsys.readouterr().out
    for word in ("python", "torch", "transformers", "memory", "torch threads"):
        assert any(line.split()[:1] == word.split()[:1] for line in said.splitlines()), word
    (memory,) = [line for line in said.splitlines() if line.split()[:2] == ["its", "memory"]]
    assert "control group" in memory
    ray = [line for line in said.splitlines() if line.split()[:1] == ["ray"]]
    assert len(ray) == 1
    if importlib.util.find_spec("ray") is None:
        assert ray[0].endswith("pip install 'aftertrain[ray]'")
    assert said.rstrip().endswith("Everything is in order.") == (status == 0)


def test_the_deepspeed_launchers_argument_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """It lays it before the command, unless it is told `--no_local_rank`."""
    assert main(["--local_rank=1", "schema"]) == 0
    assert main(["--help"]) == 0
    assert "local_rank" not in capsys.readouterr().out.rpartition("Usage")[2]


def test_show_lists_what_a_component_knows_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "source"]) == 0
    page = capsys.readouterr().out
    row = next(line for line in page.splitlines() if line.startswith("  tulu3/no_robots "))
    assert row.split()[1:5] == ["9,500", "9,500", "CC-BY-NC-4.0", "verified"]
    assert "unverified" in next(line for line in page.splitlines() if line.startswith("  tulu3/personas-math "))
    assert main(["show", "source", "tulu3/oasst1"]) == 0
    page = capsys.readouterr().out
    assert "scripts/data/sft/open_assistant.py" in page
    assert "parent_id: text or nothing" in page
    assert main(["show", "source", "tulu3/oast1"]) == 2
    assert "Did you mean 'tulu3/oasst1'?" in capsys.readouterr().err

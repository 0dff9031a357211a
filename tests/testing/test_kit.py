"""The kit can fail: each offender is caught by the promise it breaks, and by that one."""

from __future__ import annotations

from pathlib import Path

import pytest

from aftertrain.core.errors import PluginError, UnknownName
from aftertrain.registry.load import load_file, local_files
from aftertrain.registry.tables import Origin, Plugin, Registration, Registry
from aftertrain.testing import BrokenPromise, Claim, Subject, Unchecked, claims
from aftertrain.testing import dataset as dataset_promises
from aftertrain.testing import environment as environment_promises
from aftertrain.testing import eval_task as task_promises
from aftertrain.testing import head_kernel as kernel_promises
from aftertrain.testing import loss as loss_promises
from aftertrain.testing import observer as observer_promises
from aftertrain.testing import operator as operator_promises
from aftertrain.testing import plugin as plugin_promises
from aftertrain.testing import settings as settings_promises
from aftertrain.testing import verifier as verifier_promises
from aftertrain.testing.claim import promises
from aftertrain.testing.fresh import in_child, modules_after
from aftertrain.testing.promise import Promise, promises_in
from tests.testing import offenders

HERE = offenders.__name__
SETTINGS = {"environment": "Playful"}
CASES = [("so", "so", 1.0), ("no", "so", 0.0), ("x", None, "error")]


@pytest.fixture(autouse=True)
def _children_find_the_offenders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child process imports them by name."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


def subject(kind: str, component: str, folder: Path, settings: str = "Nothing") -> Subject:
    """An offender as if a plugin had registered it."""
    origin = Origin("offenders", "aftertrain", "0", HERE, offenders.__file__)
    row = Registration(kind, "offender", f"{HERE}:{component}", f"{HERE}:{settings}", "breaks a promise", origin)
    registry = Registry()
    registry.commit(Plugin(origin, "ok", registrations=(row,)))
    return Subject(row, registry, folder, {}, CASES if kind == "verifier" else ())


@pytest.mark.parametrize(
    ("kind", "component"),
    [
        ("loss", "GoodLoss"),
        ("verifier", "GoodVerifier"),
        ("dataset", "GoodDataset"),
        ("eval_task", "GoodTask"),
        ("observer", "GoodObserver"),
        ("head_kernel", "GoodKernel"),
        ("environment", "GoodEnvironment"),
        ("operator", "GoodOperator"),
    ],
)
def test_a_good_component_keeps_every_promise(kind: str, component: str, tmp_path: Path) -> None:
    for promise in promises(kind, packaged=False):
        promise(subject(kind, component, tmp_path, SETTINGS.get(kind, "Nothing")))


@pytest.mark.parametrize(
    ("promise", "component", "said"),
    [
        (loss_promises.packing_changes_nothing, "MeanLoss", "an average, it must be a sum: 8 segments"),
        (loss_promises.packing_changes_nothing, "OrderLoss", "in one micro-batch and in one for each atom"),
        (loss_promises.filler_counts_for_nothing, "FillerLoss", "without and with filler"),
        (loss_promises.it_is_differentiable, "DetachedLoss", "its gradient says"),
        (loss_promises.it_is_pure, "RandomLoss", "differs from call to call"),
        (loss_promises.extremes_stay_finite, "OverflowLoss", "with log-probabilities of -10,000, term 'policy' is inf"),
        (loss_promises.terms_are_finite_scalars, "VectorLoss", "has shape"),
        (loss_promises.terms_are_finite_scalars, "GradientMetricLoss", "metric 'square' carries a gradient"),
        (verifier_promises.known_cases_get_their_verdict, "FalsyVerifier", "should be 0.0"),
        (verifier_promises.it_is_pure, "MoodyVerifier", "judged twice, verdicts differ"),
        (verifier_promises.it_is_thread_safe, "SharedStateVerifier", "threads that share it get other verdicts"),
        (verifier_promises.hostile_text_is_judged_in_time, "RaisingVerifier", "raised ValueError"),
        (verifier_promises.hostile_text_is_judged_in_time, "DyingVerifier", r"killed its process \(exit code 7\)"),
        (verifier_promises.wrong_ground_truth_is_an_error_verdict, "TrustingVerifier", "bytes as ground truth give"),
        (
            verifier_promises.good_cases_meet_no_objection,
            "BlankIsErrorVerifier",
            r"objects to the ground truth .*: blank",
        ),
        (dataset_promises.iterating_twice_gives_equal_records, "ShuffledDataset", "a second pass gives other records"),
        (dataset_promises.ids_are_unique, "TwinDataset", "two records have the id 'row-0'"),
        (dataset_promises.it_is_the_same_in_another_process, "SetDataset", "finds other ids or another order"),
        (dataset_promises.it_is_the_same_in_another_process, "ProcessFingerprint", "finds the fingerprint"),
        (task_promises.instances_are_not_empty, "EmptyTask", "it has no instances"),
        (task_promises.scoring_is_total, "PartialTask", r"metrics \[\], not \['right'\]"),
        (
            kernel_promises.scores_are_those_of_our_head,
            "HotKernel",
            r"a scaled head at temperature 0\.7 in torch\.float32 on .*: logprobs differs by",
        ),
        (
            kernel_promises.gradients_are_each_tokens_own,
            "MeanKernel",
            "a plain head in .*: gradient of states by logprobs differs by",
        ),
        (
            environment_promises.an_opening_is_a_prompt,
            "HastyEnvironment",
            "reset must return messages, the last of them",
        ),
        (environment_promises.the_replies_decide, "ChattyEnvironment", "two episodes at a time are answered otherwise"),
        (environment_promises.any_reply_is_answered, "TouchyEnvironment", "the reply '' gives .*say something"),
        (
            environment_promises.answers_have_the_role_that_it_names,
            "ToolishEnvironment",
            r"turns of the roles \['user'\], it names tool",
        ),
        (environment_promises.tools_are_schemas, "NamelessEnvironment", "tool 'add' has no description"),
        (operator_promises.no_row_is_lost, "LosingOperator", "it lost 1 of 13 rows, the first 'kit-"),
        (
            operator_promises.it_finds_the_facts_that_it_names,
            "UntoldOperator",
            r"of a Conversation it names the facts \['words'\], and finds \['lines'\]",
        ),
        (operator_promises.no_row_is_lost, "NamelessMaker", "it lost 13 of 13 rows"),
        (operator_promises.no_row_is_lost, "ObjectOperator", "row 'kit-0' is read as"),
        (operator_promises.neighbours_change_nothing, "CountingOperator", "row 'kit-0' ends otherwise done again"),
        (operator_promises.rows_are_left_as_they_are, "MarkingOperator", "it changes the rows that it is given"),
        (operator_promises.it_is_the_same_in_another_process, "HashingOperator", "in a new process as"),
        (
            operator_promises.it_gives_the_records_that_it_says,
            "TypingOperator",
            "of Conversation it says that it makes Conversation, and makes Document",
        ),
        (
            operator_promises.hostile_rows_are_taken_in_time,
            "TouchyOperator",
            "failed at row .*ValueError: a null character",
        ),
        (observer_promises.it_takes_every_event, "MeddlingObserver", "it changes the event 'metrics'"),
    ],
)
def test_an_offender_is_caught(promise: Promise, component: str, said: str, tmp_path: Path) -> None:
    kind = promise.__module__.rpartition(".")[2]
    with pytest.raises(BrokenPromise, match=said):
        promise(subject(kind, component, tmp_path, SETTINGS.get(kind, "Nothing")))


@pytest.mark.parametrize(
    ("promise", "component", "error"),
    [
        (observer_promises.it_takes_every_event, "StrictObserver", KeyError),
        (observer_promises.it_closes_when_a_run_fails, "UnclosableObserver", IndexError),
        (verifier_promises.it_is_picklable, "UnpicklableVerifier", Exception),
    ],
)
def test_what_raises_is_broken(promise: Promise, component: str, error: type[Exception], tmp_path: Path) -> None:
    found = subject(promise.__module__.rpartition(".")[2], component, tmp_path)
    with pytest.raises(error):
        promise(found)
    finding = Claim(found.entry, found.registry, promise).finding()
    assert finding.state == "broken"
    assert finding.message


def test_a_verifier_that_hangs_is_killed_and_its_text_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier_promises, "PATIENCE", 3.0)
    with pytest.raises(
        BrokenPromise, match=r"judging hostile text 4 .*did not end within 3 seconds; its process was kil"
    ):
        verifier_promises.hostile_text_is_judged_in_time(subject("verifier", "HangingVerifier", tmp_path))


def test_lax_settings_are_caught(tmp_path: Path) -> None:
    lax = subject("observer", "GoodObserver", tmp_path, "Lax")
    with pytest.raises(BrokenPromise, match="Lax has not extra='forbid'"):
        settings_promises.settings_forbid_unknown_keys(lax)
    with pytest.raises(BrokenPromise, match=r"no description: Lax\.scale"):
        settings_promises.settings_are_described(lax)
    with pytest.raises(BrokenPromise, match="Config is Nothing"):
        plugin_promises.targets_resolve(lax)


def test_settings_that_lose_a_value_are_caught(tmp_path: Path) -> None:
    shifting = subject("observer", "GoodObserver", tmp_path, "Shifting")
    shifting.settings = {"when": 3.0}
    with pytest.raises(BrokenPromise, match="they are read as"):
        settings_promises.settings_survive_yaml_both_ways(shifting)


def test_a_heavy_registering_module_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heavy_plugin.py").write_text("import pydantic\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    heavy = subject("loss", "GoodLoss", tmp_path)
    object.__setattr__(heavy.entry.origin, "module", "heavy_plugin")
    with pytest.raises(BrokenPromise, match="importing heavy_plugin imports pydantic; move such imports"):
        plugin_promises.registering_is_light(heavy)


def test_a_kernel_that_refuses_this_machine_is_unchecked(tmp_path: Path) -> None:
    distant = subject("head_kernel", "DistantKernel", tmp_path)
    for promise in promises_in(kernel_promises):
        finding = Claim(distant.entry, distant.registry, promise).finding()
        assert (finding.state, finding.message) == ("unchecked", "it needs a device that nobody has")


def test_what_has_no_example_is_unchecked(tmp_path: Path) -> None:
    from aftertrain.registry.discovery import installed

    row = installed().registration("dataset", "jsonl")
    with pytest.raises(Unchecked, match=r"EXAMPLES has no example of it \(path: "):
        Subject(row, installed(), tmp_path).component()
    with pytest.raises(BrokenPromise, match="its example's settings do not fit: path: "):
        Subject(row, installed(), tmp_path, {"limit": 3}).component()


def test_claims_are_of_one_plugin_that_works() -> None:
    assert {claim.entry.name for claim in claims("losses")} >= {"sft", "dpo"}
    assert str(claims("losses")[0]).startswith("loss ")
    with pytest.raises(UnknownName, match=r"no plugin named 'loses'\. Did you mean 'losses'"):
        claims("loses")
    registry = Registry()
    registry.commit(Plugin(Origin("x", "x-dist", "1", "x", "x.py"), "broken", note="it raised"))
    with pytest.raises(PluginError, match=r"plugin 'x' \(x-dist 1, x\.py\) is broken: it raised"):
        claims("x", registry=registry)


def test_a_new_process_that_fails_shows_its_traceback() -> None:
    with pytest.raises(BrokenPromise, match="ZeroDivisionError"):
        modules_after("1 / 0")
    assert "json" in modules_after("import json")


def test_a_child_returns_what_the_work_returns() -> None:
    assert in_child(_double, 21, patience=60.0) == 42


def test_a_child_does_without_a_file_that_is_gone(tmp_path: Path) -> None:
    # Examples write local files into the folder of their check, and every later child was told of them.
    gone, there = tmp_path / "gone.py", tmp_path / "there.py"
    for file in (gone, there):
        file.write_text("", encoding="utf-8")
        load_file(file)
    gone.unlink()
    assert there in local_files()
    assert gone not in local_files()
    assert in_child(_double, 21, patience=60.0) == 42


def _double(number: int, tell: object) -> int:
    return 2 * number

"""The stage: rows, scores, pairing, comparison, resume, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aftertrain.core.errors import DataError, Interrupted, RunError
from aftertrain.core.settings import Settings, Use
from aftertrain.core.stage import PlanContext
from aftertrain.core.statistics import bootstrap_mean, wilson
from aftertrain.plugins.evaluation import suite
from aftertrain.plugins.evaluation.settings import EvaluateSettings, ProblemsSettings
from aftertrain.plugins.verifiers.gsm8k import GSM8K
from aftertrain.plugins.verifiers.settings import GSM8KSettings


def rows_of(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(path) / "samples" / "instances.jsonl").read_text().splitlines()]


def test_a_whole_evaluation(evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any) -> None:
    """Greedy, the fake is right for even numbers: 6 of 12."""
    here = stand()
    artifact = evaluate(block=5).run(here.context)
    assert artifact.type == "scores"
    exact, form = artifact.details["scores"]
    interval = wilson(6, 12)
    assert exact == {
        "task": "problems",
        "metric": "exact_match",
        "temperature": 0.0,
        "mean": 0.5,
        "low": interval.low,
        "high": interval.high,
        "n": 12,
        "unjudged": 0,
        "lowest": 0.5,
        "highest": 0.5,
        "primary": True,
        "fingerprint": exact["fingerprint"],
        "share": True,
        "withheld": False,
        "of": 12,
        "clusters": None,
        "clustered_by": "",
    }
    assert (form["metric"], form["mean"], form["primary"]) == ("format", 1.0, False)
    rows = rows_of(artifact.path)
    assert [row["id"] for row in rows] == [f"sum-{i}" for i in range(12)]
    assert rows[3] == {
        "id": "sum-3",
        "task": "problems",
        "temperature": 0.0,
        "prompt": "<|user|>\n3 + 1 =\n<|assistant|>\n",
        "output": "It is 3.",
        "target": ["4"],
        "extracted": "3",
        "outcome": "scored",
        "metrics": {"exact_match": 0.0, "format": 1.0},
        "detail": "last number",
        "finish_reason": "stop",
        "n_tokens": 2,
        "with_special": None,
        "logprobs": [],
        "choice_tokens": [],
        "greedy": [],
        "baseline": [],
        "thoughts": {"opening": "<think>", "closing": "</think>", "begun": False},
        "asked": rows[3]["asked"],
        "sample": 0,
        "group": "sums",
        "parts": {},
        "other_rule": None,
        "expected": "",
        "cluster": "",
    }
    assert len({row["asked"] for row in rows}) == 12
    assert [data["done"] for data in here.named("progress")] == [5, 10, 12]
    (told,) = here.named("scores")
    assert {
        name: value for name, value in told.items() if name != "timing"
    } == artifact.details  # clocks decide nothing
    assert len(here.named("sample")) == 4
    assert here.named("sample")[3]["verdicts"] == [
        {
            "verifier": "problems",
            "outcome": "scored",
            "value": 0.0,
            "extracted": "3",
            "detail": "last number",
            "reward": None,
        }
    ]
    assert here.named("verdicts")[0] == {"problems": {"scored": 5}}
    assert here.named("warning") == []
    assert builder.replies.closed == 1


def test_two_models_answer_with_the_same_chance(
    evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any
) -> None:
    """Common random numbers: seeds differ between instances and temperatures and not between stages."""
    for name in ("before", "after"):
        evaluate(temperatures=(0.0, 1.0)).run(stand(name).context)
    seeds = [request.seed for request in builder.replies.requests]
    assert seeds[:24] == seeds[24:]
    assert len(set(seeds[:24])) == 24


def test_a_gain_is_reported_in_pairs(evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any) -> None:
    builder.replies.skill = 0.0
    base = evaluate(temperatures=(1.0,)).run(stand("base-eval").context)
    builder.replies.skill = 1.0
    here = stand("sft-eval", {"compare:base-eval": base})
    made = evaluate(temperatures=(1.0,), compare="base-eval").run(here.context)
    exact = next(entry for entry in made.details["differences"] if entry["metric"] == "exact_match")
    assert exact == {
        "task": "problems",
        "metric": "exact_match",
        "temperature": 1.0,
        "against": "base-eval",
        "mean": 1.0,
        "low": pytest.approx(1 - 2 * (1 - 0.025 ** (1 / 12))),
        "high": 1.0,
        "n": 12,
        "better": 12,
        "error": 0.0,
        "square": 1.0,
        "worse": 0,
        "unjudged": 0,
        "lowest": 1.0,
        "highest": 1.0,
        "p": 2 / 2**12,
        "p_holm": 4 / 2**12,
        "effect": None,
        "clusters": None,
        "clustered_by": "",
        "correlation": None,
    }


def test_unlike_tasks_are_not_compared(evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any) -> None:
    base = evaluate(limit=5).run(stand("base-eval").context)
    asked = len(builder.replies.requests)
    with pytest.raises(DataError, match=r"'after' cannot be compared with 'base-eval'.*problems is \w{12} in 'after'"):
        evaluate(limit=6, compare=("base-eval",)).run(stand("after", {"compare:base-eval": base}).context)
    assert len(builder.replies.requests) == asked, "refused before anything is generated"


def test_stages_without_a_common_task_are_not_compared(
    evaluate: Callable[..., Any], stand: Callable[..., Any], sums_task: Use[Any]
) -> None:
    base = evaluate().run(stand("base-eval").context)
    other = Use("eval_task", "problems", sums_task.settings.model_copy(update={"name": "sums"}))
    with pytest.raises(DataError, match=r"no task in common \(sums; problems\)"):
        evaluate(tasks=(other,), compare="base-eval").run(stand("after", {"compare:base-eval": base}).context)


@pytest.mark.parametrize("die_after", [0, 5, 7, 12, 17, 20])
def test_a_killed_evaluation_ends_with_the_same_bits(
    evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any, die_after: int
) -> None:
    settings = {"temperatures": (0.0, 1.0), "block": 5}
    whole = evaluate(**settings).run(stand("whole").context)
    asked = len(builder.replies.requests)
    builder.replies.requests.clear()
    builder.replies.die_after = die_after
    with pytest.raises(KeyboardInterrupt):
        evaluate(**settings).run(stand("killed").context)
    builder.replies.die_after = None
    resumed = evaluate(**settings).run(stand("killed").context)
    assert (Path(resumed.path) / "samples/instances.jsonl").read_bytes() == (
        Path(whole.path) / "samples/instances.jsonl"
    ).read_bytes()
    assert resumed.details == whole.details
    assert len(builder.replies.requests) == asked, "no finished block is generated twice"


def test_a_stop_keeps_finished_blocks(evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any) -> None:
    asked = iter([False, True])
    with pytest.raises(Interrupted, match="'eval' stopped after 5 of 12 outputs"):
        evaluate(block=5).run(stand(stopping=lambda: next(asked)).context)
    evaluate(block=5).run(stand().context)
    assert len(builder.replies.requests) == 12


def test_cut_replies_are_told(evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any) -> None:
    builder.replies.finish = "length"
    here = stand()
    made = evaluate().run(here.context)
    assert here.named("warning") == [
        {
            "message": "problems at temperature 0: 12 of 12 replies (100%) were cut at the token limit and scored as "
            "they stand; raise max_new_tokens"
        }
    ]
    assert made.details["health"][0]["truncated"] == 12


def test_a_limit_draws_the_same_spread_subset(evaluate: Callable[..., Any]) -> None:
    first, again = (evaluate(limit=5)._tasks[0].instances for _ in range(2))
    ids = [instance.id for instance in first]
    assert ids == [instance.id for instance in again]
    assert ids != [f"sum-{i}" for i in range(5)], "the first rows of a sorted file are no sample"
    numbers = [int(id.removeprefix("sum-")) for id in ids]
    assert numbers == sorted(numbers)


def test_the_stage_may_shorten_replies(evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any) -> None:
    evaluate(max_new_tokens=3).run(stand().context)
    assert {request.sampling.max_new_tokens for request in builder.replies.requests} == {3}


def test_a_prompt_longer_than_the_context_is_refused_first(
    evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any, sums_task: Use[Any], tiny_model: Path
) -> None:
    settings = sums_task.settings.model_copy(update={"prefill": "0 " * 600})
    long = Use("eval_task", "problems", settings)
    with pytest.raises(DataError, match=r"'problems': 12 of 12 prompts do not fit the model's context of 512 tokens"):
        evaluate(tasks=(long,)).run(stand().context)
    assert not builder.replies.opened
    here = stand("cut")
    builder.classes["generator", "fake"] = type(
        "Blind",
        (builder.build(Use("generator", "fake", None)).__class__,),
        {"_reply": lambda self, request: builder.replies.prompts.append(request.prompt_ids) or _empty(request)},
    )
    evaluate(tasks=(long,), overlong="truncate").run(here.context)
    assert {len(ids) for ids in builder.replies.prompts} == {512 - 8}
    assert "their start is cut" in here.named("warning")[0]["message"]
    items = evaluate(tasks=(long,)).plan(PlanContext("eval", str(tiny_model), 0, builder))
    assert [(item.label, item.status) for item in items] == [("problems: too long", "error")]


def _empty(request: Any) -> Any:
    from aftertrain.core.records import Completion

    return Completion(request.id, request.prompt_ids, (2,), (-0.1,), (0,), "stop", "")


def test_a_plan_counts_without_weights(evaluate: Callable[..., Any], tiny_model: Path, builder: Any) -> None:
    items = evaluate(temperatures=(0.0, 1.0)).plan(PlanContext("eval", str(tiny_model), 0, builder))
    assert [item.label for item in items] == ["problems"]
    assert items[0].value.startswith("12 instances, prompts of ")
    assert items[0].value.endswith("replies up to 8 at temperature 0, 1 (192 tokens at most)")
    assert not builder.replies.opened


def test_stages_that_ask_alike_are_planned_once(
    evaluate: Callable[..., Any], tiny_model: Path, builder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What compares with others, or would go on from another model that is not there yet, asks the same."""
    looks: list[str] = []
    count = suite.ReadyTask.instances.func  # type: ignore[attr-defined]
    monkeypatch.setattr(suite.ReadyTask, "instances", property(lambda self: looks.append(self.name) or count(self)))
    context = PlanContext("eval", str(tiny_model), 0, builder)
    first = evaluate().plan(context)
    n = len(looks)
    assert n
    assert evaluate(compare="other", from_="other").plan(context) == first
    assert len(looks) == n
    limited = evaluate(limit=5).plan(context)
    assert limited[0].value.startswith("5 instances")
    assert evaluate(temperatures=(1.0,)).plan(context)[0].value.endswith("at temperature 1 (96 tokens at most)")


def test_a_plan_tells_of_replies_without_room(evaluate: Callable[..., Any], tiny_model: Path, builder: Any) -> None:
    """Prompts of some 15 tokens in a context of 512."""
    items = evaluate(max_new_tokens=505).plan(PlanContext("eval", str(tiny_model), 0, builder))
    assert [(item.label, item.status) for item in items] == [("problems", "ok"), ("problems: room", "warning")]
    assert items[1].value == "12 prompts leave less than 505 of 512 tokens: their replies are cut earlier"


def test_a_silent_generator_is_named(evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any) -> None:
    def never(self: Any, timeout: float | None = None) -> Any:
        raise TimeoutError

    builder.classes["generator", "fake"] = type(
        "Silent", (builder.build(Use("generator", "fake", None)).__class__,), {"collect": never}
    )
    with pytest.raises(RunError, match=r"'problems': generator 'fake' finished no reply in 2 s"):
        evaluate(timeout=2).run(stand().context)


def test_inputs_and_fingerprints(evaluate: Callable[..., Any]) -> None:
    stage = evaluate(**{"from": "sft", "compare": ("a", "b")})
    assert [(i.role, i.stage, sorted(i.types)) for i in stage.inputs()] == [
        ("model", "sft", ["endpoint", "model"]),
        ("compare:a", "a", ["scores"]),
        ("compare:b", "b", ["scores"]),
    ]
    assert list(stage.fingerprints()) == ["task problems"]
    shorter = evaluate(max_new_tokens=9)
    assert stage.fingerprints() == shorter.fingerprints()  # a setting, and told as one


def test_two_tasks_of_one_name_are_refused(sums_task: Use[Any], evaluate: Callable[..., Any]) -> None:
    with pytest.raises(ValidationError, match="tasks: problems stands there more than once; give each a 'name'"):
        evaluate(tasks=(sums_task, sums_task))
    with pytest.raises(ValidationError, match=r"temperatures: 0\.0 stands there more than once"):
        evaluate(temperatures=(0.0, 0))


def test_every_setting_is_described() -> None:
    assert all(field.description for field in EvaluateSettings.model_fields.values())


@pytest.mark.parametrize(("prefill", "score"), [("", 0.5), ("<think>", 0.0)])
def test_replies_that_stay_in_the_thoughts_of_their_prompt_have_no_answer(
    evaluate: Any, stand: Any, builder: Any, prefill: str, score: float
) -> None:
    """The same replies, "It is N.", half of them right; where the prompt ends with an opening tag they are thoughts."""

    class Here(GSM8K):
        isolated = False

    verifier = builder.use(Here, "verifier", "here", GSM8KSettings(extract="flexible"))
    data = Use("dataset", "sums", Settings())
    settings = ProblemsSettings(data=data, verifier=verifier, check="equal", max_new_tokens=8, prefill=prefill)
    artifact = evaluate(tasks=(Use("eval_task", "problems", settings),)).run(stand().context)
    assert artifact.details["scores"][0]["mean"] == score


def drawn(sums_task: Any, **settings: Any) -> Use[Any]:
    """The task of sums with several replies to each question."""
    return Use("eval_task", "problems", sums_task.settings.model_copy(update=settings))


def test_replies_to_one_question_are_one_value(
    evaluate: Callable[..., Any], stand: Callable[..., Any], sums_task: Any
) -> None:
    """12 questions of 4 replies are 12 values: pass@k, votes and the best by hand from the file, interval over 12."""
    stage = evaluate(tasks=(drawn(sums_task, samples=4, temperature=0.8),), block=5)
    artifact = stage.run(stand().context)
    scores = {row["metric"]: row for row in artifact.details["scores"]}
    assert list(scores)[:2] == ["exact_match", "format"]
    assert {row["n"] for row in scores.values()} == {12}
    assert {row["temperature"] for row in scores.values()} == {0.8}
    rows = rows_of(artifact.path)
    assert [(row["id"], row["sample"]) for row in rows] == [(f"sum-{i}", k) for i in range(12) for k in range(4)]
    right = [[row["metrics"]["exact_match"] for row in rows[i : i + 4]] for i in range(0, 48, 4)]
    means = [sum(four) / 4 for four in right]
    assert len({tuple(four) for four in right}) > 3  # each reply has its own chance
    assert scores["exact_match"]["mean"] == pytest.approx(sum(means) / 12)
    interval = bootstrap_mean(means)
    assert scores["exact_match"]["low"] == pytest.approx(interval.low, abs=0.02)
    assert scores["exact_match"]["low"] < wilson(sum(map(sum, right)), 48).low  # 48 independent ones would be narrower
    assert scores["pass@4"]["mean"] == scores["best@4"]["mean"] == sum(any(four) for four in right) / 12
    pairs = [1 - comb(4 - int(sum(four)), 2) / 6 for four in right]
    assert scores["pass@2"]["mean"] == pytest.approx(sum(pairs) / 12)
    assert artifact.details["health"][0]["n"] == 48


def test_the_first_reply_is_that_of_a_single_one(
    evaluate: Callable[..., Any], stand: Callable[..., Any], sums_task: Any
) -> None:
    one = evaluate(tasks=(drawn(sums_task, temperature=0.8),)).run(stand(folder="one").context)
    four = evaluate(tasks=(drawn(sums_task, samples=4, temperature=0.8),)).run(stand(folder="four").context)
    assert [row["output"] for row in rows_of(one.path)] == [
        row["output"] for row in rows_of(four.path) if row["sample"] == 0
    ]


def test_equal_replies_are_not_drawn_twice(
    evaluate: Callable[..., Any], stand: Callable[..., Any], sums_task: Any
) -> None:
    stage = evaluate(tasks=(drawn(sums_task, samples=4),))
    with pytest.raises(DataError, match="draws 4 replies to each question, which are all alike at temperature 0"):
        stage.run(stand().context)
    stage = evaluate(tasks=(drawn(sums_task, samples=4),), temperatures=(0.0, 1.0))
    with pytest.raises(DataError, match="alike at temperature 0"):
        stage.run(stand(folder="two").context)

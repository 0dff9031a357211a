"""Every question of an evaluation ends once: random outcomes, cuts and kills against counts by plain Python."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aftertrain.core.errors import RunError
from aftertrain.core.events import Balance
from aftertrain.core.generator import GenerationRequest
from aftertrain.core.records import Completion, Verdict, VerificationCase
from aftertrain.core.run.ledger import Ledger
from aftertrain.core.settings import Settings, Use
from aftertrain.core.verifier import Verifier
from aftertrain.plugins.evaluation import evaluate as stage_module
from aftertrain.plugins.evaluation.rows import read_instances
from aftertrain.plugins.evaluation.runner import Runner

QUESTIONS = 12
OUTCOMES = ("scored", "unparsable", "timeout", "error")
FINISHES = ("stop", "length", "cancelled")


class Fated(Verifier[Settings]):
    """Gives each case the outcome that its response says."""

    isolated = False

    def verify(self, cases: Sequence[VerificationCase]) -> list[Verdict]:
        told = {"scored": Verdict.scored(1.0), "timeout": Verdict.timeout(), "error": Verdict.error("why")}
        return [told.get(case.response.strip(), Verdict.unparsable()) for case in cases]


def balance(context: Any) -> Balance:
    """Of the stage's only unit."""
    return Ledger(context.book).close("eval")["case"]


def fate_of(outcome: str, finish: str) -> str:
    """The state, as the documentation has it."""
    if finish == "cancelled":
        return finish
    return "cut" if finish == "length" and outcome in ("scored", "unparsable") else outcome


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_questions_end_once_whatever_happens(
    data: Any, evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any, tiny_model: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    fates = data.draw(
        st.lists(
            st.tuples(st.sampled_from(OUTCOMES), st.sampled_from(FINISHES)),
            min_size=2 * QUESTIONS,
            max_size=2 * QUESTIONS,
        )
    )
    made: dict[tuple[str, float], tuple[str, str]] = {}

    def reply(generator: Any, request: GenerationRequest) -> Completion:
        outcome, finish = made.setdefault((request.id, request.sampling.temperature), fates[len(made)])
        return Completion(request.id, request.prompt_ids, (5, 2), (-0.5, -0.1), (0, 0), finish, outcome)

    builder.classes["verifier", "equal"] = Fated
    limit = data.draw(st.none() | st.integers(1, QUESTIONS))
    stage = evaluate(
        temperatures=(0.0, 1.0),
        block=data.draw(st.integers(1, 9)),
        limit=limit,
    )
    name = f"eval-{data.draw(st.integers(0, 10**9))}-{len(builder.replies.opened)}"
    builder.replies.requests.clear()
    with patch.object(builder.classes["generator", "fake"], "_reply", reply):
        for deadly in data.draw(st.lists(st.integers(1, 2 * QUESTIONS), max_size=2)):
            builder.replies.die_after = deadly
            try:
                stage.run(stand(name).context)
            except KeyboardInterrupt:
                builder.replies.requests.clear()
        builder.replies.die_after = None
        context = stand(name).context
        stage.run(context)
    found = balance(context)
    assert found.owed == 2 * (limit or QUESTIONS) == len(made)
    assert Counter(found.states) == Counter(fate_of(*fate) for fate in made.values())
    prompts = [f"<|user|>\n{name.partition('-')[2]} + 1 =\n<|assistant|>\n" for name, _ in made]
    read = sum(len(tokenizer(prompt, add_special_tokens=False).input_ids) for prompt in prompts)
    assert found.tokens == {"context": read, "made": 2 * len(made)}


def test_choices_are_questions_too(
    evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """Two questions of two choices: each choice is read after its prompt, so that a prompt counts twice."""
    from transformers import AutoTokenizer

    from aftertrain.plugins.evaluation.multiple_choice import MultipleChoice
    from aftertrain.plugins.evaluation.settings import MultipleChoiceSettings

    rows = [{"question": f"Is {i} even?", "choices": ["yes", "not so"], "answer": i % 2} for i in range(2)]
    (tmp_path / "even.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    builder.classes["eval_task", "multiple_choice"] = MultipleChoice
    chosen = MultipleChoiceSettings(path=str(tmp_path / "even.jsonl"), formulation="cf")
    context = stand().context
    stage = evaluate(tasks=(Use("eval_task", "multiple_choice", chosen),))
    stage.run(context)
    found = balance(context)
    assert found.states == {"scored": 2}
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    whole = [
        len(tokenizer(f"{row.prompt}{choice}").input_ids)
        for row in read_instances(context.folder / "samples" / "instances.jsonl")
        for choice in (" yes", " not so")
    ]
    assert sum(found.tokens.values()) == pytest.approx(sum(whole), abs=len(whole)), "each choice may merge at its start"
    assert found.tokens["made"] >= 4


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (lambda rows: rows[1:], "case: 12 owed, 11 ended .*: 1 lost"),
        (lambda rows: [*rows, rows[0]], "13 ended .*: 1 too many"),
        (lambda rows: [rows[1], *rows[1:]], "not the same ones"),
    ],
)
def test_what_a_resume_loses_or_repeats_is_found(
    rows: Callable[[Any], Any], told: str, evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any
) -> None:
    builder.replies.die_after = 8
    with pytest.raises(KeyboardInterrupt):
        evaluate(block=5).run(stand().context)
    builder.replies.die_after = None
    context = stand().context
    with patch.object(stage_module, "read_instances", lambda path: rows(read_instances(path))):
        evaluate(block=5).run(context)
    with pytest.raises(RunError, match=told):
        balance(context)


def test_an_outcome_that_is_a_message_is_refused_when_it_first_comes(
    evaluate: Callable[..., Any], stand: Callable[..., Any], builder: Any
) -> None:
    """It was refused after the last question: all replies were made for nothing, again at each attempt."""
    stage, Problems = evaluate(block=4), builder.classes["eval_task", "problems"]

    class Wordy(Problems):  # type: ignore[misc, valid-type]
        def score_all(self, instances: Any, outputs: Any) -> Any:
            return [replace(score, outcome="why it\nfailed") for score in super().score_all(instances, outputs)]

    builder.classes["eval_task", "problems"] = Wordy
    with pytest.raises(RunError, match=r"task 'problems': outcome of instance 'sum-0': a case is dropped for a reason"):
        stage.run(stand().context)
    assert len(builder.replies.requests) == 4


def test_a_block_that_is_run_twice_is_found(evaluate: Callable[..., Any], stand: Callable[..., Any]) -> None:
    whole, context = Runner.run, stand().context
    with patch.object(Runner, "run", lambda self, block: 2 * whole(self, block)):
        evaluate().run(context)
    with pytest.raises(RunError, match="12 owed, 24 ended"):
        balance(context)

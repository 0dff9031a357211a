"""Judge and extractor (F29) with a model that really runs: the packaged one, and SmolLM2 where it is given."""

from __future__ import annotations

import os
from typing import Any

import pytest

from aftertrain.core.records import VerificationCase
from aftertrain.testing.build import build

pytestmark = pytest.mark.slow

PACKAGED = {"model": "package:aftertrain.plugins.quickstart/model", "sampling": {"max_new_tokens": 32}}
RULE = {"pattern": r"([0-9]+)[^0-9]*$", "scale": (0, 99)}


def cases(*responses: str, truth: Any = "7") -> list[VerificationCase]:
    question = "Ann has 3 apples and buys 4 more. How many apples does Ann have?"
    return [VerificationCase(str(n), question, response, truth) for n, response in enumerate(responses)]


def test_the_packaged_model_judges_the_same_alone_in_a_batch_and_anew() -> None:
    """Its judgement is worth nothing; that it is one, and always the same one, is what is tested."""
    settings = {**PACKAGED, "template": "{{ response }} is {{ ground_truth }}?", "parse": RULE, "retries": 2}
    asked = cases("3 + 4 = 7", "Tom has 3 apples and buys 4 more.", "12")
    together = build("verifier", "judge", **settings)
    verdicts = together.verify(asked)
    assert all(verdict.outcome in ("scored", "unparsable") for verdict in verdicts)
    assert any(verdict.outcome == "scored" for verdict in verdicts)
    assert together.verify(asked[::-1]) == verdicts[::-1]
    alone = build("verifier", "judge", **settings)
    assert [alone.verify([case])[0] for case in asked] == verdicts
    together.close()
    assert together.verify(asked) == verdicts, "closed and opened again"


def test_the_packaged_model_extracts_f29() -> None:
    inner = {"use": "gsm8k", "extract": "flexible"}
    verifier = build("verifier", "extract", **PACKAGED, verifier=inner, context="conversation", phrase="#### ")
    right, wrong = verifier.verify(cases("3 + 4 = 7\n", "3 + 5 = 8\n"))
    assert (right.value, right.extracted) == (1.0, "7")
    assert (wrong.value, wrong.extracted) == (0.0, "8")


@pytest.mark.timeout(600)
def test_smollm2_judges_by_the_ready_template() -> None:
    """A model of 135 M is a poor judge; its replies must be read as they are, and cost what they say."""
    model = os.environ.get("AFTERTRAIN_SMOLLM2")
    if not model:
        pytest.skip("AFTERTRAIN_SMOLLM2 is not set: it names a Hugging Face folder of SmolLM2-135M")
    verifier = build("verifier", "judge", model=model, sampling={"max_new_tokens": 16}, chat_template="tulu", retries=1)
    verifier.preflight()
    verdicts = verifier.verify(cases("It is 7.", "It is 8.", "Judgement: correct"))
    assert all(verdict.outcome in ("scored", "unparsable") for verdict in verdicts), verdicts
    assert verifier.spent.calls >= 3
    assert verifier.spent.prompt_tokens > 300
    assert verifier.verify(cases("It is 7.")) == verdicts[:1]

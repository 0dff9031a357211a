"""BERTScore by the formula, ROUGE-L by rouge-score, coherence by a plain forward."""

from __future__ import annotations

import doctest
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from aftertrain.plugins.preference_evals import similarity
from aftertrain.plugins.preference_evals.coherence import Coherence
from aftertrain.plugins.preference_evals.similarity import BertScore, matched_f1, rouge_l


def test_the_worked_examples_hold() -> None:
    assert doctest.testmod(similarity).failed == 0


def test_marks_around_a_text_are_matched_and_do_not_count() -> None:
    """Cosines [[1, 0], [0, 0.5], [0, 1]]: the first two tokens count of three, of the other both.

    Precision (1 + 0.5)/2, recall (1 + 1)/2.
    """
    text = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 1.0]])
    reference = torch.eye(2)
    found = matched_f1(text, torch.tensor([True, True, False]), reference, torch.tensor([True, True]))
    assert found == pytest.approx(2 * 0.75 * 1.0 / 1.75)
    assert matched_f1(text, torch.tensor([False] * 3), reference, torch.tensor([True, True])) == 0.0


def test_bertscore_is_the_formula_over_the_encoders_states(tiny_model: Path) -> None:
    """F1 = 2PR/(P + R) of greedy matches by cosine, token by token, of texts of unlike length in one batch."""
    from transformers import AutoModel, AutoTokenizer

    pairs = [("a sum of 3", "the sum is 3 and 4"), ("yes", "a sum of 3"), ("", "yes"), ("yes", "yes")]
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModel.from_pretrained(tiny_model).eval()

    def states(text: str) -> Any:
        with torch.no_grad():
            return model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[1][0]

    def by_hand(text: str, reference: str) -> float:
        if not text:
            return 0.0
        x, y = states(text), states(reference)
        cosine = [[float(torch.dot(a, b) / (a.norm() * b.norm())) for b in y] for a in x]
        precision = sum(max(row) for row in cosine) / len(x)
        recall = sum(max(row[j] for row in cosine) for j in range(len(y))) / len(y)
        return 2 * precision * recall / (precision + recall) if min(precision, recall) > 0 else 0.0

    found = BertScore(str(tiny_model), 1).f1(pairs)
    assert found == pytest.approx([by_hand(*pair) for pair in pairs], abs=1e-5)
    assert found[3] == pytest.approx(1.0)


@pytest.mark.slow
def test_rouge_l_is_rouge_scores() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    draw = random.Random(0)
    texts = [" ".join(draw.choice(("a", "B.", "c-d", "é", "7")) for _ in range(draw.randint(0, 40))) for _ in range(60)]
    for text, reference in zip(texts, reversed(texts), strict=True):
        assert rouge_l(text, reference) == pytest.approx(scorer.score(reference, text)["rougeL"].fmeasure)


def test_rouge_l_of_a_huge_reply_takes_no_time() -> None:
    assert 0 < rouge_l("a b " * 100_000, "b a c " * 500) < 0.02


def test_coherence_is_the_gain_per_token(tiny_model: Path) -> None:
    """(log p(reply | prompt, reference) - log p(reply | prompt)) / tokens, by a plain forward of transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from aftertrain.core.settings import Use
    from aftertrain.testing.build import build

    engine = build("engine", "torch")

    class One:
        def build(self, use: Any) -> Any:
            return engine

    use: Any = Use("engine", "torch", engine.settings)
    found = Coherence(str(tiny_model), use, One()).gains([("How many?", "There are 7.", "7 apples"), ("?", "a", "")])  # type: ignore[arg-type]
    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    reply = tokenizer("7 apples", add_special_tokens=False)["input_ids"]

    def logprob(before: str) -> float:
        ids = tokenizer(before, add_special_tokens=False)["input_ids"] + reply
        with torch.no_grad():
            scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        start = len(ids) - len(reply)
        return sum(float(scores[start + i - 1, token]) for i, token in enumerate(reply))

    gain = (logprob("How many?\n\nThere are 7.\n\n") - logprob("How many?\n\n")) / len(reply)
    assert found == pytest.approx([gain, 0.0], abs=1e-5)

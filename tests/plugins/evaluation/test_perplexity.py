"""Perplexity of texts: by hand from known log-likelihoods, and against lm-eval's rolling task."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import TextScores
from aftertrain.plugins.evaluation.perplexity import Perplexity
from aftertrain.plugins.evaluation.settings import PerplexitySettings
from aftertrain.testing.model import tiny_model


def task(tmp_path: Path, *rows: object, **settings: str) -> Perplexity:
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Perplexity(PerplexitySettings(path=str(path), **settings), None)  # type: ignore[arg-type]


def test_sizes_of_a_text(tmp_path: Path) -> None:
    """Six bytes (é has two), two words, and 3 bits if each of three tokens has probability 1/2."""
    made = task(tmp_path, {"body": "é is é"[:4] + "x"}, field="body")
    (instance,) = made.instances()
    assert instance.messages[0].content == "é isx"
    metrics = made.score(instance, TextScores(3 * math.log(1 / 2), 3)).metrics
    assert metrics == pytest.approx({"nats": 3 * math.log(2), "bits": 3, "bytes": 6, "words": 2, "tokens": 3})


def test_rows_without_a_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"texts\.jsonl:2: field 'text' is empty"):
        task(tmp_path, {"text": "a"}, {"text": ""}).instances()
    with pytest.raises(DataError, match=r"texts\.jsonl:1: has no field 'text'; it has body"):
        task(tmp_path, {"body": "a"}).instances()


@pytest.mark.slow
def test_as_lm_eval_computes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole evaluation of texts within the context and beyond it: lm-eval's metrics to 5 digits."""
    lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install 'aftertrain[dev]'")
    import datasets
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM

    import aftertrain

    monkeypatch.chdir(tmp_path)
    tiny_model(tmp_path / "model")
    texts = [
        "How many apples does Ann have?\n\nShe has 3 apples.",
        " ".join(f"{i} apples and" for i in range(900)),
        "é",
    ]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    ours = {
        row["metric"]: row["mean"]
        for row in aftertrain.evaluate("./model", {"use": "perplexity", "path": "texts.jsonl"})
    }
    config = {
        "task": "texts",
        "custom_dataset": lambda **_: datasets.DatasetDict({"test": datasets.Dataset.from_dict({"text": texts})}),
        "test_split": "test",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    }
    model = HFLM(pretrained=str(tmp_path / "model"), device="cpu", dtype="float32", batch_size=1)
    made = lm_eval.simple_evaluate(model, tasks=[ConfigurableTask(config=config)], bootstrap_iters=0)
    theirs = made["results"]["texts"]
    assert ours["bits_per_byte"] == pytest.approx(theirs["bits_per_byte,none"], rel=1e-5)
    assert ours["word_perplexity"] == pytest.approx(theirs["word_perplexity,none"], rel=1e-5)

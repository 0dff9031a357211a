"""Perplexity of texts: by hand from known log-likelihoods, and against lm-eval's rolling task."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import TextScores
from aftertrain.plugins.evaluation import summary
from aftertrain.plugins.evaluation.outputs import row_of
from aftertrain.plugins.evaluation.perplexity import Perplexity
from aftertrain.plugins.evaluation.rows import ScoredInstance
from aftertrain.plugins.evaluation.settings import EvaluateSettings, PerplexitySettings
from aftertrain.plugins.evaluation.suite import ReadyTask
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


def test_a_text_without_spaces_is_one_word_of_any_number_of_nats(tmp_path: Path) -> None:
    """e^1000 is no float: infinite, and the other figures stand."""
    made = task(tmp_path, {"text": "天地玄黄" * 50})
    (instance,) = made.instances()
    row = row_of(
        "t", None, instance, output := TextScores(-1000.0, 400), made.score(instance, output), sample=0, prompt=""
    )
    ready = ReadyTask("t", made, EvaluateSettings.model_construct(limit=None, max_new_tokens=None, temperatures=None))
    means = {score.metric: score.mean for score in summary.scores([ready], [row])}
    assert means["word_perplexity"] == math.inf
    assert means["nats_per_token"] == 2.5


def test_nats_per_token_of_two_tokenizers_have_no_difference(tmp_path: Path) -> None:
    """The same two texts in 3 and 4 tokens here, in 6 and 4 there: bits per byte compare, nats per token do not."""
    made = task(tmp_path, {"text": "a b"}, {"text": "c d e"})
    ready = ReadyTask("t", made, EvaluateSettings.model_construct(limit=None, max_new_tokens=None, temperatures=None))

    def rows(*sizes: int) -> list[ScoredInstance]:
        outputs = [TextScores(-5.0, n) for n in sizes]
        pairs = list(zip(made.instances(), outputs, strict=True))
        return [row_of("t", 0.0, i, out, made.score(i, out), sample=0, prompt="") for i, out in pairs]

    table = summary.differences([ready], rows(3, 4), {"there": rows(6, 4)})
    assert [row.metric for row in table] == ["bits_per_byte"]
    table = summary.differences([ready], rows(3, 4), {"there": rows(3, 4)})
    assert [row.metric for row in table] == ["bits_per_byte", "nats_per_token"]


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


def test_texts_may_lie_in_a_table_or_on_the_hub(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").write_text("id,body\na,The sky is blue.\n")
    folder = tmp_path / "acme" / "texts" / "default"
    folder.mkdir(parents=True)
    (folder / "test.jsonl").write_text('{"id": "a", "body": "The sky is blue."}\n')
    places: list[Any] = [{"path": str(tmp_path / "texts.csv")}, {"hub": "acme/texts", "data": str(tmp_path)}]
    made = [Perplexity(PerplexitySettings(**place, field="body"), None) for place in places]  # type: ignore[arg-type]
    assert [[(i.id, i.messages[0].content) for i in task.instances()] for task in made] == 2 * [
        [("a", "The sky is blue.")]
    ]
    assert made[0].fingerprint() == made[1].fingerprint()
    assert [tuple(task.reads()) for task in made] == [(), ("acme/texts",)]

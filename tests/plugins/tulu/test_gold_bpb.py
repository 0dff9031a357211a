"""Bits per byte of gold texts: requests against OLMES's, and the value by hand."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import ChoiceScores
from aftertrain.core.settings import Use
from aftertrain.plugins.evaluation.gsm8k import GSM8K
from aftertrain.plugins.evaluation.perplexity import Perplexity
from aftertrain.plugins.evaluation.settings import GSM8KSettings, PerplexitySettings
from aftertrain.plugins.tulu.gold_bpb import GoldBPB
from aftertrain.plugins.tulu.minerva_math import MinervaMath
from aftertrain.plugins.tulu.settings import GoldBPBSettings, MinervaMathSettings

KINDS = {GSM8KSettings: GSM8K, MinervaMathSettings: MinervaMath, PerplexitySettings: Perplexity}
NONE = Use("verifier", "none", PerplexitySettings(path="x"))


class Builder:
    def build(self, use: Use[Any]) -> Any:
        return KINDS[type(use.settings)](use.settings, self)  # type: ignore[index]


def gold(settings: Any, **others: Any) -> GoldBPB:
    use: Use[Any] = Use("eval_task", "inner", settings)
    return GoldBPB(GoldBPBSettings(benchmark=use, **others), Builder())  # type: ignore[arg-type]


def write(path: Path, *rows: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", ["gsm8k", "minerva_math_algebra", "minerva_math_500"])
def test_requests_equal_those_of_olmes(shared_data: Path, tmp_path: Path, name: str) -> None:
    lines = gzip.decompress((shared_data / "golden" / "olmes_requests.jsonl.gz").read_bytes()).decode().splitlines()
    golden = [row for row in map(json.loads, lines) if row["task"] == name]
    lists = json.loads(gzip.decompress((shared_data / "olmes" / "olmes_fewshot_sources.json.gz").read_bytes()))
    if name == "gsm8k":
        made = gold(GSM8KSettings(path=write(tmp_path / "q.jsonl", *(row["doc"] for row in golden))))
    else:
        rows = [{**row["doc"], "solution": row["doc"]["choices"][0], "subject": "Algebra"} for row in golden]
        rows = [{**row, "type": "Algebra"} for row in rows]
        short = name.endswith("500")
        place = "HuggingFaceH4/MATH-500/default" if short else "EleutherAI/hendrycks_math/algebra"
        write(tmp_path / place / "test.jsonl", *rows)
        settings = MinervaMathSettings(
            benchmark="math500" if short else "math",
            subjects=("algebra",),
            shots_path=write(tmp_path / "shots.jsonl", *lists["Minerva:MATH:fixed"]),
            flexible=NONE,
            sentence=NONE,
        )
        made = gold(settings, data=str(tmp_path))
    assert len(golden) > 50
    for case, instance in zip(golden, made.instances(), strict=True):
        assert instance.messages[0].content == case["context"]
        assert [choice.text for choice in instance.choices] == [case["requests"][0]["continuation"]]
        assert not instance.chat


def test_the_value_by_hand(tmp_path: Path) -> None:
    """8 bits over the bytes of the text, its space included and É twice."""
    made = gold(GSM8KSettings(path=write(tmp_path / "q.jsonl", {"question": "é?", "answer": "é\n#### 1"}), shots=0))
    (instance,) = made.instances()
    assert instance.choices[0].text == " É. So the answer is 1."
    size = len(" É. So the answer is 1.".encode())
    score = made.score(instance, ChoiceScores((-8 * math.log(2),), (3,), (False,)))
    assert score.metrics == {"bits_per_byte": pytest.approx(8 / size)}
    assert made.figures()[0].share is False


def test_what_has_no_gold_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'inner' is no benchmark of replies"):
        gold(PerplexitySettings(path="x")).instances()

"""DROP (Dua et al. 2019; OLMES `drop::llama3`): reading with counting and arithmetic, by the official F-measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from aftertrain.core.benchmark import Question, ReplyBenchmark, Row, Source
from aftertrain.core.benchmark.rows import need
from aftertrain.core.benchmark.shots import drawn
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance, InstanceScore, cluster_of
from aftertrain.plugins.tulu.drop_f1 import best
from aftertrain.plugins.tulu.settings import DROPSettings

CONVERTED = "refs/convert/parquet"
"""The hub's own conversion of a data set that is a script, which `datasets` does not run."""
SEED = 1234


class DROP(ReplyBenchmark[DROPSettings]):
    """`f1` and `exact_match` of the official script, the best over a question's answers."""

    Config = DROPSettings
    task = "drop"
    sources = (Source("EleutherAI/drop", "default", "validation", CONVERTED),)
    prefill = "Answer:"
    stop = ("Passage:", "Question:", "\n\n")
    clustered_by = "passage"

    @property
    def metrics(self) -> tuple[str, ...]:
        """The F-measure first."""
        return ("f1", "exact_match")

    def question(self, row: Row, source: Source) -> Question:
        """Each annotator's answer is a list of spans; a number or a date is one span."""
        answers = list(_answers(row))
        if not answers:
            raise DataError(f"{row.where}: columns 'answer' and 'validated_answers' hold no answer")
        text = f"Passage: {row.text('passage')}\nQuestion: {row.text('question')}"
        id_ = str(row.fields.get("query_id", row.number))
        return Question(id_, text, answers, ", ".join(answers[0]), cluster=cluster_of(row.text("passage")))

    def examples(self) -> Sequence[Question]:
        """Drawn from the split `train`, the same for all questions."""
        source = self.sources[0]
        train = Source(source.hub, source.config, "train", source.revision)
        rows = drawn(train.rows(self.task, self.settings.data), self.settings.shots, SEED, spare=1)
        return [self.question(row, train) for row in rows]

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """The whole reply is one span."""
        f1, exact = best(text, instance.target)
        said = text.strip()
        metrics = {"f1": f1, "exact_match": exact}
        return InstanceScore(metrics, extracted=said[:200] or None, outcome="scored" if said else "unparsable")


def _answers(row: Row) -> Iterator[list[str]]:
    """Those that are not blank, each once, the first annotator's first."""
    seen = []
    validated = need(row.fields, "validated_answers", dict, row.where)
    columns = [need(validated, column, list, f"{row.where}: validated_answers") for column in _PARTS]
    if len({len(column) for column in columns}) > 1:
        raise DataError(f"{row.where}: column 'validated_answers' must hold lists of one length")
    others = [dict(zip(_PARTS, parts, strict=True)) for parts in zip(*columns, strict=True)]
    for annotated in (need(row.fields, "answer", dict, row.where), *others):
        spans = _spans(annotated, f"{row.where}: an answer")
        if spans[0].strip() and spans not in seen:
            seen.append(spans)
            yield spans


_PARTS = ("number", "date", "spans")


def _spans(answer: dict[str, Any], where: str) -> list[str]:
    if number := need(answer, "number", str, where):
        return [number]
    spans = need(answer, "spans", list, where)
    if spans and all(isinstance(span, str) for span in spans):
        return list(spans)
    date = need(answer, "date", dict, where)
    return [" ".join(need(date, part, str, where) for part in ("day", "month", "year")).strip()]

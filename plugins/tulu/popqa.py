"""PopQA (Mallen et al. 2023; OLMES `popqa::tulu`): one fact about an entity, most of them rarely asked for."""

from __future__ import annotations

from collections.abc import Sequence

from aftertrain.core.benchmark import Question, ReplyBenchmark, Row, Shots, Source
from aftertrain.core.benchmark.rows import need
from aftertrain.core.benchmark.shots import curated
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Instance, InstanceScore
from aftertrain.core.figures import Figure, grouped
from aftertrain.core.ground.reading import parse_json
from aftertrain.core.records import JSON
from aftertrain.plugins.tulu.settings import PopQASettings

RELIES_ON = ("shots.json",)


class PopQA(ReplyBenchmark[PopQASettings]):
    """`contains`: some alias of the answer stands in the reply as it is, in lower case, or with one capital."""

    Config = PopQASettings
    task = "popqa"
    sources = (Source("akariasai/PopQA", "default", "test"),)
    joint = " "
    stop = ("\n\n",)

    @property
    def metrics(self) -> tuple[str, ...]:
        """One."""
        return ("contains",)

    def figures(self) -> Sequence[Figure]:
        """The mean over all questions, as published, and beside it that of the relations' means."""
        return [figure for micro in super().figures() for figure in (micro, grouped(micro))]

    def question(self, row: Row, source: Source) -> Question:
        """Aliases are a list, or the JSON of one; the relation is the group."""
        aliases = _aliases(row)
        text = f"Q: {row.text('question')} A:"
        return Question(str(row.fields.get("id", row.number)), text, aliases, row.text("obj"), row.text("prop"))

    def examples(self) -> Sequence[Question]:
        """One of each relation."""
        return [self.question(row, self.sources[0]) for row in curated(__package__, "shots.json", "popqa")]

    def worked(self) -> Shots[Question]:
        """All share one list; with `other_relations` what stands for "the question itself" is its relation."""
        others = self.settings.examples == "other_relations"
        return Shots(
            self.examples() if self.settings.shots else (),
            self.settings.shots,
            (lambda question: question.group) if others else (lambda question: question.text),
            where=f"task {self.task!r}",
        )

    def judge(self, instance: Instance, text: str) -> InstanceScore:
        """The first alias that stands in the reply."""
        found = next((alias for alias in instance.target if _stands(alias, text)), None)
        said = text.strip().partition("\n")[0]
        return InstanceScore(
            {"contains": float(found is not None)},
            extracted=found or said[:200] or None,
            outcome="scored" if said else "unparsable",
        )


def _stands(alias: str, text: str) -> bool:
    return alias in text or alias.lower() in text or alias.capitalize() in text


def _aliases(row: Row) -> list[str]:
    value: JSON = need(row.fields, "possible_answers", (str, list), row.where)
    where = f"{row.where}: column 'possible_answers'"
    if isinstance(value, str):
        value = parse_json(value, where, error=DataError)
    texts = isinstance(value, list) and all(isinstance(alias, str) for alias in value)
    aliases = [alias for alias in value if alias.strip()] if texts else []  # a blank one would stand in any reply
    if not aliases:
        raise DataError(f"{where} must hold the answer's names, found {value!r:.80}")
    return aliases

"""Certificates of verdicts: someone's saved replies, judged here, held against what they were worth there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aftertrain.api.certificates import Certificate, Finding
from aftertrain.api.foreign import Foreign, column, read_foreign
from aftertrain.api.pairing import Pair, pairs, questions
from aftertrain.core.errors import DataError, RunError, unknown
from aftertrain.core.records import UNJUDGED, Completion, Verdict

if TYPE_CHECKING:
    from aftertrain.core.eval_task import EvalTask, InstanceScore

ALIKE = 1e-9
SHOWN = 80
VERIFIER = "verifier"
COLUMNS = ("verdict", "response", "ground_truth", "prompt")
"""What may be said of a file's columns."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One reply, judged twice; `mine` is None where it could not be judged here."""

    id: str
    where: str
    mine: float | None
    theirs: float
    read: str | None
    outcome: str
    detail: str


def compare_verdicts(
    file: Path,
    words: Sequence[str],
    *,
    columns: Mapping[str, str] | None = None,
    metric: str | None = None,
    data: str | None = None,
    where: Sequence[str] = (),
) -> Certificate:
    """Judge the replies of a file, and hold each verdict against the file's.

    Args:
        words: a task's name and its settings; or `verifier`, a verifier's name and its settings.
        columns: what the file's columns are: `verdict` (a number, a truth value, or a list of these that must all
            hold); for a verifier `response` and `ground_truth` (several by commas are one mapping) and `prompt`.
        metric: of a task, which is compared; its first by default.
        data: folder of benchmarks.
        where: see `read_foreign`.

    Raises:
        RecipeError: unknown task, verifier or settings. DataError: a line does not fit.
        RunError: the file does not say what replies are worth, or which of its columns does.
    """
    foreign = read_foreign(file, where, verdicts=True)
    columns = columns or {}
    if words[:1] == [VERIFIER]:
        if len(words) < 2:
            raise RunError("name the verifier: aftertrain compare --verdicts FILE verifier gsm8k extract=strict")
        judged, paired, missing, rest = list(_by_verifier(foreign, words[1], words[2:], columns)), Counter[str](), [], 0
        what, print_ = " ".join(words[1:]), ""
    else:
        from aftertrain.api.prompts import load_task

        name, task = load_task(words[0], words[1:], data=data, whole=True)
        ours = list(questions(task.instances(), None))
        found = list(pairs(ours, foreign.records))
        matched = [pair for pair in found if pair.ours is not None]
        judged = list(_by_task(task, matched, columns.get("verdict"), metric))
        missing = [Finding(", ".join(p.theirs.names), p.theirs.where, NONE) for p in found if p.ours is None]
        paired, rest = Counter(str(pair.how) for pair in matched), len(ours) - len(matched)
        what, print_ = " ".join([name, *words[1:]]), task.fingerprint()
    agree = [case for case in judged if case.mine is not None and abs(case.mine - case.theirs) <= ALIKE]
    return Certificate(
        "verdicts",
        what,
        print_,
        file.name,
        foreign.sha256,
        foreign.layout,
        tuple(where),
        len(agree),
        tuple(_finding(case) for case in judged if case.mine is not None and abs(case.mine - case.theirs) > ALIKE),
        tuple(missing),
        tuple(_finding(case) for case in judged if case.mine is None),
        rest,
        dict(paired),
    )


NONE = "the task has no such question"


def _finding(case: Judged) -> Finding:
    if case.mine is None:
        return Finding(
            case.id, case.where, f"{case.theirs:g} there, could not be judged here ({case.outcome}): {case.detail}"
        )
    read = "no answer" if case.read is None else repr(case.read[:SHOWN])
    return Finding(
        case.id, case.where, f"{case.mine:g} here ({case.outcome}, {read}, {case.detail}), {case.theirs:g} there"
    )


def _by_verifier(foreign: Foreign, name: str, settings: Iterable[str], columns: Mapping[str, str]) -> Iterator[Judged]:
    from aftertrain.api.cases import case_of
    from aftertrain.api.evaluation import isolated_verifier

    if "verdict" not in columns:
        raise RunError("which column says what a reply is worth there? --column verdict=NAME")
    theirs = [verdict_of(column(r.fields, columns["verdict"], r.where), r.where) for r in foreign.records]
    rows = [
        {part: _value(r.fields, columns.get(part, part), r.where) for part in ("response", "ground_truth")}
        | ({"prompt": _value(r.fields, columns["prompt"], r.where)} if "prompt" in columns else {})
        for r in foreign.records
    ]
    try:
        cases = [case_of(row, number) for number, row in enumerate(rows, 1)]
    except TypeError as error:
        raise DataError(f"{foreign.path}: {error}") from error
    verdicts = isolated_verifier(name, settings).verify(cases)
    for record, verdict, worth in zip(foreign.records, verdicts, theirs, strict=True):
        id_ = record.names[0] if record.names else record.where
        yield Judged(id_, record.where, _worth(verdict), worth, verdict.extracted, verdict.outcome, verdict.detail)


def _worth(verdict: Verdict) -> float | None:
    """A verdict's value; of a reply without an answer 0, as everywhere where replies are counted."""
    if verdict.outcome in UNJUDGED:
        return None
    return 0.0 if verdict.value is None else verdict.value


def _value(row: Mapping[str, Any], path: str, where: str) -> Any:
    if "," not in path:
        return column(row, path, where)
    return {name.rpartition(".")[2]: column(row, name, where) for name in path.split(",")}


def verdict_of(value: Any, where: str) -> float:
    """A verdict as a number: of a list of them whether all hold.

    >>> verdict_of(True, ""), verdict_of([True, False], ""), verdict_of(0.5, "")
    (1.0, 0.0, 0.5)

    Raises:
        DataError: it is none.
    """
    if isinstance(value, list) and value and all(isinstance(each, bool) for each in value):
        return float(all(value))
    if not isinstance(value, bool | int | float):
        raise DataError(f"{where}: a verdict must be a number, a truth value or a list of these, found {value!r:.80}")
    return float(value)


def _by_task(task: EvalTask[Any], matched: Sequence[Pair], verdict: str | None, metric: str | None) -> Iterator[Judged]:
    mine = metric or task.metrics[0]
    if mine not in task.metrics:
        raise RunError(f"the task: {unknown('metric', mine, task.metrics)}")
    scores = _scores(task, matched, mine)
    for pair, score in zip(matched, scores, strict=True):
        record = pair.theirs
        if verdict is not None:
            theirs = verdict_of(column(record.fields, verdict, record.where), record.where)
        elif mine in record.metrics:
            theirs = record.metrics[mine]
        else:
            there = ", ".join(record.metrics) or "none"
            raise RunError(
                f"{record.where}: has no number {mine!r}; say which it is, --column verdict=NAME, of {there}"
            )
        worth = None if score.outcome in UNJUDGED else float(score.metrics[mine])
        id_ = pair.ours.instance.id if pair.ours is not None else ""
        yield Judged(id_, record.where, worth, theirs, score.extracted, score.outcome, score.detail)


def _scores(task: EvalTask[Any], matched: Sequence[Pair], metric: str) -> list[InstanceScore]:
    """What the file's outputs are worth by our task: its replies, or its log-likelihoods."""
    from aftertrain.core.eval_task import ChoiceScores, ChoiceTask, ReplyTask

    asked = [(pair.ours.instance, pair.theirs) for pair in matched if pair.ours is not None]
    if isinstance(task, ReplyTask):
        for _, record in asked:
            if len(record.replies) != 1:
                raise RunError(f"{record.where}: one reply to a question is compared, found {len(record.replies)}")
        replies = [Completion(instance.id, (), (), (), (), "stop", record.replies[0]) for instance, record in asked]
        return task.score_all([instance for instance, _ in asked], replies)
    if not isinstance(task, ChoiceTask):
        raise RunError(f"verdicts of {type(task).__name__} cannot be compared: it is no ReplyTask or ChoiceTask")
    scores = []
    for instance, record in asked:
        count, values = len(instance.choices), record.logprobs
        if len(values) not in (count, 2 * count):
            raise RunError(f"{record.where}: {count} log-likelihoods are needed, found {len(values)}")
        if "token" in metric and len(record.n_tokens) != count:
            raise RunError(f"{record.where}: metric {metric!r} needs the tokens of each choice, which the file lacks")
        counts = record.n_tokens if len(record.n_tokens) == count else (1,) * count
        scores.append(task.score(instance, ChoiceScores(values[:count], counts, (False,) * count, values[count:])))
    return scores

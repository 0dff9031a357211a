"""The ten benchmarks: where their rows are, and how OLMES words them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from aftertrain.core.benchmark import Row, Source
from aftertrain.core.benchmark.rows import need
from aftertrain.core.errors import DataError
from aftertrain.core.eval_task import Choice, cluster_of
from aftertrain.core.figures import Figure, grouped
from aftertrain.plugins.olmes.settings import MMLUSettings
from aftertrain.plugins.olmes.task import ANSWER, OlmesTask, Question, listed

CONVERTED = "refs/convert/parquet"
"""The hub's own conversion of a data set that is a script, which `datasets` does not run."""


class ARCEasy(OlmesTask):
    """ARC-Easy (Clark et al. 2018)."""

    task = "arc_easy"
    source = Source("allenai/ai2_arc", "ARC-Easy", "test")
    shots = "OLMES:ARC-Easy"

    def question(self, row: Row) -> Question:
        """Labels are letters or digits."""
        return Question(f"Question: {row.text('question')}", *row.labelled("choices", "answerKey"))


class ARCChallenge(ARCEasy):
    """ARC-Challenge (Clark et al. 2018)."""

    task = "arc_challenge"
    source = Source("allenai/ai2_arc", "ARC-Challenge", "test")
    shots = "OLMES:ARC-Challenge"
    compared = "uncond"


class BoolQ(OlmesTask):
    """BoolQ (Clark et al. 2019) as SuperGLUE has it, where passages begin with their title."""

    task = "boolq"
    source = Source("aps/super_glue", "boolq", "validation", CONVERTED)
    shots = "OLMES:BoolQ"
    compared = "raw"
    unconditional = False
    id_column = "idx"
    clustered_by = "passage"

    def question(self, row: Row) -> Question:
        """The label 1 is yes."""
        text = f"{row.text('passage')}\nQuestion: {row.text('question')}?"
        return Question(text, ("yes", "no"), 1 - row.index("label", 2), cluster=cluster_of(row.text("passage")))


class CSQA(OlmesTask):
    """CommonsenseQA (Talmor et al. 2019)."""

    task = "csqa"
    source = Source("tau/commonsense_qa", "default", "validation")
    shots = "OLMES:commonsense_qa"
    compared = "uncond"

    def question(self, row: Row) -> Question:
        """Five choices."""
        return Question(f"Question: {row.text('question')}", *row.labelled("choices", "answerKey"))


class HellaSwag(OlmesTask):
    """HellaSwag (Zellers et al. 2019): endings of a text, or a list of them to choose from."""

    task = "hellaswag"
    source = Source("Rowan/hellaswag", "default", "validation")
    shots = "OLMES:hellaswag"
    id_column = "ind"
    repeats = True  # 433 of the 10,042 of validation
    clustered_by = "source"  # one video or one article, of which several texts are continued

    def question(self, row: Row) -> Question:
        """Texts as they are; both formulations clean them."""
        endings = row.texts("endings")
        text = f"{row.text('activity_label')}: {row.text('ctx_a')} {row.text('ctx_b').capitalize()}"
        source = row.fields.get("source_id")
        shared = cluster_of(source if isinstance(source, str) else None)
        return Question(text, endings, row.index("label", len(endings)), cluster=shared)

    def ask(self, question: Question) -> str:
        """The text itself, without `Answer:`; or with its list, cleaned as one."""
        if not self.letters:
            return clean(question.text)
        asked = listed(f"{question.text}\nChoose the best continuation:", question.choices)
        return clean(f"{asked}\n{ANSWER}")

    def answers(self, question: Question) -> tuple[str, ...]:
        """Letters, or cleaned endings."""
        return super().answers(question) if self.letters else tuple(map(clean, question.choices))


class OpenBookQA(OlmesTask):
    """OpenBookQA (Mihaylov et al. 2018), without the book's facts."""

    task = "openbookqa"
    source = Source("allenai/openbookqa", "main", "test")
    shots = "OLMES:openbookqa"
    compared = "uncond"

    def question(self, row: Row) -> Question:
        """A question, or the beginning of a sentence."""
        return Question(f"Question: {row.text('question_stem')}", *row.labelled("choices", "answerKey"))


class PIQA(OlmesTask):
    """PIQA (Bisk et al. 2020)."""

    task = "piqa"
    source = Source("ybisk/piqa", "plain_text", "validation", CONVERTED)
    shots = "OLMES:piqa"
    clustered_by = "goal"

    def question(self, row: Row) -> Question:
        """A goal and two ways to it."""
        goal, ways = row.text("goal"), (row.text("sol1"), row.text("sol2"))
        return Question(f"Goal: {goal}", ways, row.index("label", 2), cluster=cluster_of(goal))


class SocialIQA(OlmesTask):
    """Social IQa (Sap et al. 2019)."""

    task = "socialiqa"
    source = Source("allenai/social_i_qa", "default", "validation", CONVERTED)
    shots = "OLMES:social_i_qa"
    clustered_by = "context"

    def question(self, row: Row) -> Question:
        """Labels count from 1."""
        answers = (row.text("answerA"), row.text("answerB"), row.text("answerC"))
        text = f"Question: {row.text('context')} {row.text('question')}"
        return Question(text, answers, row.index("label", 3, first=1), cluster=cluster_of(row.text("context")))


class WinoGrande(OlmesTask):
    """WinoGrande (Sakaguchi et al. 2019). Cloze compares the sentences up to the blank by what follows it."""

    task = "winogrande"
    source = Source("allenai/winogrande", "winogrande_xl", "validation", CONVERTED)
    shots = "OLMES:winogrande"
    compared = "raw"
    unconditional = False

    def question(self, row: Row) -> Question:
        """A sentence with a blank `_`, and two names for it."""
        sentence = row.text("sentence")
        if "_" not in sentence:
            raise DataError(f"{row.where}: column 'sentence' must have a blank '_'")
        return Question(sentence, (row.text("option1"), row.text("option2")), row.index("answer", 2, first=1))

    def ask(self, question: Question) -> str:
        """The sentence, of letters with a wider blank and an instruction before it."""
        if not self.letters:
            return question.text
        blank = question.text.replace("_", "___")
        return f"{listed(f'Fill in the blank: {blank}', question.choices)}\n{ANSWER}"

    def example(self, question: Question) -> str:
        """Cloze: the sentence with the right name in it."""
        if self.letters:
            return super().example(question)
        head, tail = halves(question)
        return head + question.choices[question.answer] + tail

    def choices(self, question: Question, before: str) -> tuple[Choice, ...]:
        """Cloze: one tail after two beginnings."""
        if self.letters:
            return super().choices(question, before)
        head, tail = halves(question)
        return tuple(Choice(tail, context=before + head + choice) for choice in question.choices)


class MMLU(OlmesTask):
    """MMLU (Hendrycks et al. 2021), each subject with its own five examples of the split `dev`."""

    Config = MMLUSettings
    task = "mmlu"
    source = Source("cais/mmlu", "all", "test")

    def question(self, row: Row) -> Question:
        """The answer is a place from 0."""
        choices = tuple(need(row.fields, "choices", list, row.where))
        answer = row.index("answer", len(choices))
        return Question(f"Question: {row.text('question')}", choices, answer, row.text("subject"))

    def examples(self) -> Sequence[Question]:
        """The split `dev` in its order."""
        dev = Source(self.source.hub, self.source.config, "dev")
        return [self.question(row) for row in dev.rows(self.task, self.settings.data)]

    def header(self, question: Question) -> str:
        """The subject, in both formulations."""
        subject = question.subject.replace("_", " ")
        return f"The following are multiple choice questions (with answers) about {subject}.\n\n"

    def ids(self, rows: Sequence[Row]) -> list[str]:
        """Subject, and place in it."""
        count: Counter[str] = Counter()
        ids = []
        for row in rows:
            subject = row.text("subject")
            ids.append(f"{subject}/{count[subject]}")
            count[subject] += 1
        return ids

    def figures(self) -> Sequence[Figure]:
        """The mean of the subjects' means, as published, and beside it the mean over all questions."""
        return [figure for micro in super().figures() for figure in (grouped(micro), micro)]


def clean(text: str) -> str:
    """A text of HellaSwag without the marks of its source, as OLMES takes them out.

    >>> clean("Sleep [title] Lie down. [step] Close your eyes ")
    'Sleep. Lie down. Close your eyes'
    """
    text = re.sub(r"\.? \[title\]", ". ", text.strip())
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def halves(question: Question) -> tuple[str, str]:
    """A sentence before its blank, and after it, with the space that belongs to what follows."""
    head, _, tail = question.text.partition("_")
    return head, f" {tail.strip()}"

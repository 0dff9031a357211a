"""Settings of the stage `evaluate` and of the built-in evaluation tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, field_validator, model_validator

from aftertrain.core.benchmark import BenchmarkSettings, ReplyBenchmarkSettings
from aftertrain.core.benchmark.suite import named_tasks
from aftertrain.core.dataset import Dataset
from aftertrain.core.engine import Engine
from aftertrain.core.eval_task import EvalTask, EvalTaskSettings
from aftertrain.core.generator import Generator
from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import Fraction, LocalPath, PositiveInt, Settings, Use, unhashed
from aftertrain.core.stage import StageSettings
from aftertrain.core.verification.settings import PoolSettings
from aftertrain.core.verifier import Verifier


class ContaminationSettings(Settings):
    """Whether a score may stand on questions that the model was trained on."""

    gate: Literal["warn", "error", "off"] = Field(
        "warn",
        description="A task of which more than 2 % of the testable questions stand in a source of the training data, "
        "or of the shorter ones as a whole: warn, or refuse before anything is scored; error also refuses where data "
        "that trained the model cannot be looked at. Off looks for nothing, and needs a reason.",
    )
    reason: str | None = Field(None, description="Why nothing is looked for; it stands in the table.")
    rule: Literal["tulu3", "robust"] = Field(
        "robust", description="By which rule; tulu3 is the published one, robust takes marks of layout away first."
    )

    @model_validator(mode="after")
    def _off_has_a_reason(self) -> Self:
        if (self.gate == "off") != bool(self.reason):
            raise ValueError(
                "gate off needs a reason, which stands in the table"
                if self.gate == "off"
                else "a reason is for gate: off"
            )
        return self


class EvaluateSettings(StageSettings):
    """Settings of the stage `evaluate`."""

    tasks: tuple[Use[EvalTask[Any]], ...] = Field(
        description="What to score: tasks, and suites of tasks by name ({suite: olmes}) or single rows of them."
    )
    data: LocalPath | None = unhashed(
        None, description="Folder of benchmarks, for each task that reads one and has none of its own."
    )
    unseal: Annotated[str, Field(min_length=1)] | None = unhashed(
        None,
        description="Why sealed tasks are scored now, such as 'final model'. It is kept with the model, and stands in "
        "the reports of all that descend from it.",
    )
    contamination: ContaminationSettings = Field(
        ContaminationSettings(),
        description="Questions are looked for in the data of the stages that made the model, as the recipe tells them.",
    )
    compare: str | tuple[str, ...] = Field(
        (), description="Evaluation stage or stages of the same tasks; differences to each are reported, in pairs."
    )
    temperatures: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)] | None = Field(
        None,
        description="Replies are scored at each; 0 is greedy, null takes each task's own. Log-likelihoods ignore it.",
    )
    limit: PositiveInt | None = Field(
        None,
        description="Score at most so many instances of each task: a fixed random subset, the same for all models.",
    )
    max_new_tokens: PositiveInt | None = Field(
        None, description="Tokens after which a reply is cut, in place of each task's own number."
    )
    overlong: Literal["stop", "truncate", "fewer_shots"] = Field(
        "stop",
        description="A prompt longer than the model's context: refuse before anything is computed, cut its start, or "
        "show fewer worked examples before all questions of its task, as many as fit. The last two are told.",
    )
    generator: Use[Generator[Any]] = Field(
        cast("Any", "transformers"), description="Makes the replies of generative tasks."
    )
    engine: Use[Engine[Any]] = Field(cast("Any", "torch"), description="Scores the choices of log-likelihood tasks.")
    micro_tokens: PositiveInt = Field(8192, description="Packing budget of one forward of the engine, in tokens.")
    block: PositiveInt = Field(
        256,
        description="Instances between two saves; a killed evaluation repeats at most one block. A block is generated "
        "or packed together, and the batch's shape changes rounding.",
    )
    withhold_above: Fraction = Field(
        0.05,
        description="Share of replies, or of a figure's questions, without a verdict (errors, time-outs, refusals) "
        "above which a task's scores are withheld: their bounds are shown in their place.",
    )
    store: LocalPath | Literal[False] | None = unhashed(
        None,
        description="File in which replies are kept, so that none is made twice; judges that a task asks keep theirs "
        "there too. Null: cache/completions.sqlite in the run's folder; false: none.",
    )
    shown: Annotated[int, Field(ge=0)] = unhashed(
        4, description="Replies per task and temperature that are sent to the observers as they come."
    )
    timeout: Annotated[float, Field(gt=0)] = unhashed(
        3600.0, description="Seconds without any finished reply after which the stage gives up."
    )

    @property
    def compared(self) -> tuple[str, ...]:
        """The stages of `compare`."""
        return (self.compare,) if isinstance(self.compare, str) else self.compare

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = [task.name for task in named_tasks(self.tasks)]
        temperatures = [str(value) for value in self.temperatures or ()]
        for label, values in (("tasks", names), ("temperatures", temperatures), ("compare", list(self.compared))):
            if not values and label == "tasks":
                raise ValueError(f"{label}: at least one is needed")
            twice = sorted({value for value in values if values.count(value) > 1})
            if twice:
                cure = "; give each a 'name'" if label == "tasks" else ""
                raise ValueError(f"{label}: {', '.join(twice)} stands there more than once{cure}")
        return self


class ProblemsSettings(EvalTaskSettings):
    """Settings of the task `problems`."""

    data: Use[Dataset[Any]] = Field(description="A data set of problems.")
    verifier: Use[Verifier[Any]] = Field(description="Judges the replies.")
    verification: PoolSettings = Field(PoolSettings(), description="The processes that judge, and their limits.")
    check: str | None = Field(
        None, description="Judge the checks of this name; null takes the verifier's name. Other checks are not judged."
    )
    prefill: str = Field("", description="Start of every reply, written for the model.")
    chat: bool = Field(True, description="Render prompts with the chat template; false sends their plain text.")
    max_new_tokens: PositiveInt = Field(256, description="Tokens after which a reply is cut.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="Strings that end a reply; special tokens are seen."
    )
    samples: PositiveInt = Field(
        1, description="Replies to each question; of several, pass@k, maj@k and best@k for k = 2, 4 … are shown too."
    )
    temperature: Annotated[float, Field(ge=0)] = Field(
        0.0, description="At which replies are drawn where the stage names no temperatures; 0 is greedy."
    )


class GSM8KSettings(ReplyBenchmarkSettings):
    """Settings of the task `gsm8k`. The defaults are Tülu 3's (OLMES `gsm8k::tulu`)."""

    elsewhere = ("path", "problems")

    path: LocalPath | None = unhashed(
        None, description="JSON lines (or .gz) with `question` and `answer` (… #### N), in place of the hub's."
    )
    problems: Use[Dataset[Any]] | None = Field(
        None, description="A data set of problems with one numeric check each, in place of the hub's."
    )
    shots: Annotated[int, Field(ge=0, le=8)] = Field(8, description="Worked examples of Wei et al. (2022), in order.")
    chat: bool = Field(True, description="A conversation with the reply begun; false is OLMES's plain-text form.")
    max_new_tokens: PositiveInt = Field(512, description="Tokens after which a reply is cut.")
    stop: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        None, description="Strings that end a reply; null takes Tülu 3's, and an empty line too where chat is false."
    )

    @field_validator("data", mode="before")
    @classmethod
    def _data_is_a_folder(cls, data: object) -> object:
        if isinstance(data, Use | Mapping):
            raise ValueError("is a folder of benchmarks; a data set of problems is the setting 'problems' now")
        return data

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is not None and self.problems is not None:
            raise ValueError("gsm8k takes one of 'path' and 'problems', or neither for the benchmark itself")
        return self


class RowsSettings(EvalTaskSettings, BenchmarkSettings):
    """Where a task of any rows finds them: a file, or a data set by its name on the hub."""

    elsewhere = ("path",)

    path: LocalPath | None = unhashed(None, description="File of rows: .jsonl, .jsonl.gz, .json, .csv or .parquet.")
    hub: str | None = Field(None, description="Data set on the hub in place of 'path', by the one rule of benchmarks.")
    config: Annotated[str, UsedIf("hub")] = Field("default", description="Its configuration.")
    split: Annotated[str, UsedIf("hub")] = Field("test", description="Its split.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("exactly one of 'path' and 'hub' says where the rows are")
        return self


class MultipleChoiceSettings(RowsSettings):
    """Settings of the task `multiple_choice`.

    Rows have question, choices and answer, and may have id, subject and cluster: what questions share, as a passage.
    """

    columns: dict[Literal["question", "choices", "answer", "id", "subject", "cluster"], str] = Field(
        {}, description="What the rows call a column that is not called so: {choices: options, answer: answer_index}."
    )
    index_from: Literal[0, 1] = Field(0, description="The number of the first choice, where answers are numbers.")
    formulation: Literal["mcf", "cf"] = Field(
        "mcf", description="mcf lists lettered choices and scores the letter; cf scores the text of each choice."
    )
    normalization: Annotated[Literal["none", "token", "char", "pmi"], UsedIf("formulation", "cf")] = Field(
        "char", description="What acc_norm divides (or, for pmi, subtracts) before comparing choices in cf."
    )
    shots: Annotated[int, Field(ge=0)] = Field(0, description="Worked examples before each question.")
    shots_path: Annotated[LocalPath | None, UsedIf("shots")] = unhashed(
        None,
        description="File of the examples, in the same layout; the first ones of the question's subject are taken.",
    )
    shots_split: Annotated[str | None, UsedIf("shots")] = Field(
        None, description="Split of the hub's data set that has the examples, in place of 'shots_path'."
    )
    description: str = Field("", description="Text before everything; {subject} stands for the subject's name.")
    question_prefix: str = Field("Question: ", description="Before each question.")
    answer_prefix: str = Field("Answer:", description="Before each answer; no space at its end.")
    chat: bool = Field(False, description="Put the prompt in one user turn and begin the reply with answer_prefix.")

    @model_validator(mode="after")
    def _shots_have_a_place(self) -> Self:
        if self.shots and self.shots_path is None and self.shots_split is None:
            raise ValueError("shots are taken from 'shots_path', which is not set, or with 'hub' from 'shots_split'")
        if self.shots_split is not None and (self.hub is None or self.shots_path is not None):
            raise ValueError("'shots_split' is of the data set 'hub', and stands in place of 'shots_path'")
        return self


class TruthfulQASettings(EvalTaskSettings, BenchmarkSettings):
    """Settings of the task `truthfulqa`. The defaults are Tülu 3's (OLMES `truthfulqa::tulu`)."""

    elsewhere = ("path",)

    path: LocalPath | None = unhashed(
        None,
        description="JSON lines (or .gz) in place of the hub's: question, best_answer, correct_answers, "
        "incorrect_answers; or question with mc1_targets and mc2_targets.",
    )
    primer: bool = Field(True, description="Put the six questions and answers of the paper before each question.")
    chat: bool = Field(
        True, description="Put the prompt in one user turn, which the answer replies to; false sends plain text."
    )


class PerplexitySettings(RowsSettings):
    """Settings of the task `perplexity`. Rows have a text, and may have an id."""

    field: str = Field("text", min_length=1, description="Where each row has its text.")

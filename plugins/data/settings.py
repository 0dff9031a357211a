"""Settings of the data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, model_validator

from aftertrain.core.dataset import Dataset
from aftertrain.core.ground.usage import Unused, UsedIf
from aftertrain.core.settings import LocalPath, PositiveInt, Settings, Use, unhashed

Format = Literal["messages", "prompt_response", "alpaca", "gsm8k", "text", "preference", "feedback", "rlvr"]

FIELDS: dict[str, dict[str, str]] = {
    "messages": {"messages": "messages"},
    "prompt_response": {"prompt": "prompt", "response": "response"},
    "alpaca": {"instruction": "instruction", "input": "input", "output": "output"},
    "gsm8k": {"question": "question", "answer": "answer"},
    "text": {"text": "text"},
    "preference": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
    "feedback": {"prompt": "prompt", "completion": "completion", "label": "label"},
    "rlvr": {"messages": "messages", "ground_truth": "ground_truth", "dataset": "dataset"},
}
"""Fields of each format and the columns they are read from by default."""

VERIFIERS = {"gsm8k": "gsm8k", "math": "math", "MATH": "math", "ifeval": "ifeval"}


class TableSettings(Settings):
    """How rows become records."""

    format: Format = Field(
        "messages",
        description="messages: a list of turns; prompt_response: two texts; alpaca: an instruction, an input that may "
        "be missing, and an output; gsm8k: question and worked answer; text: a plain text, all of which is learnt, "
        "without a chat template; preference: chosen and rejected, as turns, texts beside a prompt, or, without one, "
        "transcripts with Human: and Assistant:; feedback: a prompt, one completion and a label, true where it is good "
        "(KTO); rlvr: turns with a ground truth and the name of its verifier (Tülu 3).",
    )
    as_: Annotated[Literal["conversation", "problem"] | None, UsedIf("format", "gsm8k")] = Field(
        None,
        alias="as",
        description="For the format gsm8k: conversation (learn the answer) or problem (verify replies); null is "
        "conversation.",
    )
    fields: dict[str, str] = Field(
        {}, description="Columns to read the format's fields from, where they are named otherwise: {prompt: query}."
    )
    verifiers: Annotated[dict[str, str], UsedIf("format", "rlvr")] = Field(
        VERIFIERS, description="For the format rlvr: verifier of each value of the field dataset; others are errors."
    )
    transcripts: Annotated[bool | None, UsedIf("format", "preference", "feedback")] = Field(
        None,
        description="For the formats preference and feedback, whether texts that begin with Human: or Assistant: are "
        "transcripts of several turns; null is no beside a prompt, where a text is one reply whatever it begins with, "
        "and yes where a pair has none.",
    )
    limit: PositiveInt | None = Field(None, description="Take only the first rows.")
    source: str | None = Field(None, description="Name of the data set in metrics; null takes the file's name.")
    license: str | None = unhashed(None, description="Licence of the data, kept with every record.")

    @property
    def columns(self) -> dict[str, str]:
        """Column of each field of the format."""
        return {**FIELDS[self.format], **self.fields}

    @model_validator(mode="after")
    def _fits_format(self) -> Self:
        known = FIELDS[self.format]
        if odd := sorted(self.fields.keys() - known.keys()):
            raise ValueError(f"the format {self.format} has no field {', '.join(odd)}; it has: {', '.join(known)}")
        return self


class FileSettings(TableSettings):
    """A file of rows."""

    path: LocalPath = unhashed(description="File; its content and name enter the hash, its folder does not.")


class JsonlSettings(FileSettings):
    """A file of JSON lines."""

    path: LocalPath = unhashed(
        description="File, .jsonl or .jsonl.gz; its content and name enter the hash, its folder does not."
    )


class ParquetSettings(FileSettings):
    """A parquet file, or a folder of them."""

    path: LocalPath = unhashed(
        description="File, or folder whose .parquet files are read in the order of their names; content and names "
        "enter the hash, the folder's place does not."
    )


class CsvSettings(FileSettings):
    """A CSV file whose first line names the columns; every value is a text."""

    path: LocalPath = unhashed(description="File in UTF-8; its content and name enter the hash, its folder does not.")
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(
        ",", description='What stands between columns; "\\t" in a .tsv file.'
    )


class JsonSettings(FileSettings):
    """A file that is one JSON array of objects; it is read into memory as a whole."""


def _on_hub_or_beside_recipe(value: str, info: ValidationInfo) -> str:
    base = (info.context or {}).get("base_folder")
    written = Path(value).expanduser()
    folder = written if written.is_absolute() or base is None else Path(base) / written
    local = written.is_absolute() or value.startswith(".") or (base is not None and folder.is_dir())
    return str(folder) if local else value


class HubSettings(TableSettings):
    """A data set of the Hugging Face hub."""

    path: Annotated[str, AfterValidator(_on_hub_or_beside_recipe)] = unhashed(
        description="Name on the hub (allenai/tulu-3-sft-mixture), or a local folder: of files such as parquet, or one "
        "that datasets.save_to_disk wrote. A relative one is taken from the recipe's folder; the rows and the last "
        "part of the name enter the hash."
    )
    subset: str | None = Field(None, description="Configuration, for data sets that have several.")
    split: str = Field("train", description="Split, or a slice such as train[:1000].")
    revision: str | None = Field(None, description="Commit, tag or branch on the hub.")


class Part(Settings):
    """One data set of a mixture."""

    data: Use[Dataset[Any]] = Field(description="The data set.")
    weight: Annotated[float, Field(gt=0)] | None = Field(None, description="Share, relative to the other weights.")
    rows: PositiveInt | None = Field(None, description="Exact number of rows, in place of a weight.")
    most: PositiveInt | None = Field(
        None, description="At most so many rows, in place of a weight; a part that has fewer is taken whole."
    )


class MixtureSettings(Settings):
    """Several data sets as one (F2: S = α·R + (1 − α)·G is two parts with the weights α and 1 − α)."""

    parts: Annotated[tuple[Part, ...], Field(min_length=1)] = Field(
        description="The data sets; all of one record type."
    )
    rows: PositiveInt | None = Field(
        None, description="Rows in all, for parts with weights; null takes as many as there are without repeating any."
    )
    order: Literal["shuffled", "concatenated"] = Field(
        "shuffled", description="shuffled: rows interleaved at random by the seed; concatenated: part after part."
    )
    repeat: bool = Field(False, description="Let a part that is too small for its share be repeated.")
    seed: int = Field(0, ge=0, description="Seed of which rows are taken and of their order.")

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        weighted = [part.weight is not None for part in self.parts]
        counted = [part.rows is not None or part.most is not None for part in self.parts]
        if any(weighted) and (any(counted) or not all(weighted)):
            raise ValueError(
                "give every part a weight, or none: a part without one has its rows, at most so many, or all"
            )
        if any(part.rows is not None and part.most is not None for part in self.parts):
            raise ValueError("give a part rows or most, not both")
        return self

    @property
    def weighted(self) -> bool:
        """Whether parts have weights, not rows."""
        return self.parts[0].weight is not None

    def without_use(self) -> dict[str, Unused]:
        """`rows` where the parts say theirs, and `repeat` where no part could be too small."""
        if not self.weighted:
            unused = {"rows": Unused("it is for parts with weights, and these have none", ("parts",))}
            if all(part.rows is None for part in self.parts):
                unused["repeat"] = Unused("no part must have more rows than it has", ("parts",))
            return unused
        if self.rows is None:
            return {"repeat": Unused("where rows is null as many are taken as there are", ("rows",))}
        return {}


class RoundsSettings(Settings):
    """Rows of several rounds, oldest first."""

    of: Annotated[tuple[Use[Dataset[Any]], ...], Field(min_length=1)] = Field(
        description="The data set of each round, oldest first; {use: stage, from: NAME} for what a stage made. Real "
        "rows that are to stay beside them are the first, or another part of a mixture."
    )
    policy: Literal["accumulate", "replace"] = Field(
        "accumulate",
        description="accumulate: the rows of all rounds; replace: those of the last alone, which loses the tails of "
        "the distribution from round to round (Gerstgrasser et al. 2024).",
    )

"""What of a stage's parts does not fit together, told from its settings before a row is read: loss, data, template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from aftertrain.core.errors import RunError
from aftertrain.core.loss import Loss
from aftertrain.core.records import Conversation, Document, Record
from aftertrain.core.text.endings import unnamed_ends
from aftertrain.core.text.template_checks import template_faults
from aftertrain.plugins.training.parts import Parts
from aftertrain.plugins.training.reference import COLUMN
from aftertrain.plugins.training.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMATS = {"Conversation": "messages", "Document": "text", "PreferencePair": "preference", "Feedback": "feedback"}
"""Which `format` of the built-in data sets makes which records."""
TRAINED = "the data set"
ONLY: tuple[tuple[str, str, type[Record], str, str], ...] = (
    ("learn", "each", Conversation, "makes samples of a conversation's replies", "all or last"),
    ("overlong", "split", Document, "cuts plain texts", "drop, truncate or stop"),
)
"""Settings of `batch` that fit one kind of record: field, word, kind, what it does, and what others to use."""


def misfits(parts: Parts) -> list[str]:
    """Why this loss cannot be trained on this data by a stage with these settings."""
    return [
        *_wrong_records(parts),
        *(
            f"batch.{field}: {word} {does}, {what} yields {record.__name__}; use {others}"
            for field, word, kind, does, others in ONLY
            if getattr(parts.settings.batch, field) == word
            for what, record in _records(parts)
            if record is not kind
        ),
        *_wrong_stage(parts.settings, parts.loss),
    ]


def refuse_misfits(parts: Parts, stage: str) -> None:
    """Stop where there are some.

    Raises:
        RunError: names them all.
    """
    if reasons := misfits(parts):
        raise RunError(f"stage {stage!r}: {'; '.join(reasons)}")


def template_warnings(parts: Parts, tokenizer: PreTrainedTokenizerBase, model: str) -> list[str]:
    """What to warn of: faults of the template, and ends of replies that adapters cannot tell their base of.

    Raises:
        ModelError: no conversation could be rendered well, or the generation config cannot be read.
    """
    faults = [] if parts.data.record_type is Document else template_faults(tokenizer)
    ends = unnamed_ends(model, tokenizer) if parts.head == "lm" else []
    if ends and parts.engine.saves == "adapter":
        words = ", ".join(f"{tokenizer.convert_ids_to_tokens(number)} ({number})" for number in ends)
        faults.append(
            f"adapters are played with the generation_config.json of their base, {model}, which does not name "
            f"{words}: replies would not stop there. Set engine.lora.save: merged, or load the generation config "
            "from the adapters' folder, which names it"
        )
    return faults


def _records(parts: Parts) -> Iterator[tuple[str, type[Record]]]:
    """What is trained on and what is measured on, with the records of each."""
    yield TRAINED, parts.data.record_type
    if parts.held_out is not None:
        yield "validation", parts.held_out.record_type


def _wrong_records(parts: Parts) -> Iterator[str]:
    """Data whose records the loss does not learn from."""
    needs, name = parts.loss.needs, parts.settings.loss.name
    formats = " or ".join(f"`format: {word}`" for kind, word in FORMATS.items() if kind in needs.records)
    # Data sets of other plugins may know no formats.
    tabular = type(parts.settings.data.settings).model_fields.keys() & {"format", "parts"}
    cures = {TRAINED: f"; set {formats} of the data, if its rows are such" if formats and tabular else ""}
    for what, record in _records(parts):
        if record.__name__ not in needs.records:
            wanted = " or ".join(sorted(needs.records))
            yield f"loss {name!r} learns from {wanted}, {what} yields {record.__name__}{cures.get(what, '')}"


def _wrong_stage(settings: TrainSettings, loss: Loss[Any]) -> Iterator[str]:
    """What the loss needs and this stage, or the stage with these settings, has not."""
    needs, name = loss.needs, settings.loss.name
    if settings.stream is not None and COLUMN in needs.columns:
        yield f"loss {name!r} needs a reference, which is computed for all rows at once; set stream: null"
    if others := sorted(needs.columns - {COLUMN}):
        yield f"loss {name!r} needs {', '.join(others)}, which an offline stage has not; use the stage online"
    if settings.compose is not None and "values" in needs.scores:
        yield f"compose goes by log-probabilities, which the model of loss {name!r} has not; set it to null"
    if len(needs.per) != 1 or ("values" in needs.scores and len(needs.scores) > 1):
        yield f"loss {name!r} trains several models at once; use the stage online"
    elif set(needs.per) != {"value" if "values" in needs.scores else "policy"}:
        yield f"loss {name!r} calls its term {next(iter(needs.per))!r}; a term is 'policy', or 'value' of a head"

"""Settings of the stage `train`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, cast

from pydantic import Field, model_validator

from aftertrain.core.dataset import Dataset
from aftertrain.core.engine import Engine
from aftertrain.core.ground.usage import used_unless
from aftertrain.core.learning.held_out import HeldOut
from aftertrain.core.learning.schedule import Optimizer
from aftertrain.core.loss import Loss
from aftertrain.core.settings import PositiveInt, Settings, Use, unhashed
from aftertrain.core.stage import StageSettings


class Batch(Settings):
    """What one optimizer step sees, and how it is cut into micro-batches."""

    sequences: PositiveInt = Field(128, description="Conversations or preference pairs per optimizer step, in all.")
    max_tokens: PositiveInt = Field(2048, description="Longest sample, prompt included; see overlong.")
    micro_tokens: PositiveInt | None = Field(
        None,
        description="Tokens packed into one micro-batch: the setting to lower when memory runs out. It moves results "
        "only by rounding. null is 8192, or what the longest sample (pair) needs if that is more.",
    )
    overlong: Literal["drop", "truncate", "split", "stop"] = Field(
        "drop",
        description="What becomes of longer samples: left out, cut at the end, or refused. Always counted. split cuts "
        "texts (format: text) into samples of max_tokens; each token of theirs is still learnt once.",
    )
    unusable: Literal["stop", "drop"] = Field(
        "stop",
        description="What becomes of rows that are damaged or do not fit the format, that teach nothing (chosen equals "
        "rejected, empty replies) or that the chat template cannot render as a prompt and its reply: the stage stops "
        "and names them, or they are left out and counted.",
    )
    learn: Literal["all", "last", "each"] = Field(
        "all",
        description="Which replies of a conversation are targets: all of the assistant's turns in one sample, the last "
        "alone, or each in a sample of its own that ends with it, rendered as at inference: for templates that rewrite "
        "earlier replies (Qwen 3 takes their thoughts out). A sample then counts in sequences.",
    )

    @model_validator(mode="after")
    def _a_sample_fits(self) -> Self:
        if self.micro_tokens is not None and self.micro_tokens < self.max_tokens:
            raise ValueError(f"micro_tokens ({self.micro_tokens}) must hold a sample of max_tokens ({self.max_tokens})")
        return self


class Stream(Settings):
    """Rows read, tokenised and shuffled as training goes, for data too large to be tokenised in advance."""

    window: PositiveInt = Field(
        10_000,
        description="Rows that are held in memory and shuffled among themselves; in order from window to window.",
    )


class Compose(Settings):
    """Batches composed by the model in training (F13): greedily B* = argmax_B E[log p(y|x, θ)] + λ·H(B)."""

    pool: Annotated[int, Field(ge=2)] = Field(
        8,
        description="Steps whose rows are divided anew among them: candidates are pool · batch.sequences rows, scored "
        "once by the weights that the pool begins with (one forward pass more for each row).",
    )
    weight: Annotated[float, Field(ge=0)] = Field(
        1.0, description="λ of H(B), the entropy of the sources in a batch, in nats; 0 takes the likeliest rows first."
    )
    normalize: Literal["length", "none"] = Field(
        "length", description="log p(y|x, θ) as the mean over the reply's tokens, or their sum (the formula's own)."
    )


class ValidationSettings(HeldOut):
    """Rows that are not trained on, on which loss and metrics are measured in training."""

    data: Use[Dataset[Any]] = Field(description="The records, of the kind that the loss learns from.")
    every: PositiveInt = Field(100, description="Optimizer steps between two measurements; the last step has one.")
    rows: PositiveInt | None = Field(
        None, description="Only the first so many that can be used (replies under learn: each); null: all."
    )


class TrainSettings(StageSettings):
    """Trains a model on a data set."""

    loss: Use[Loss[Any]] = Field(description="What is minimised; it decides which records the data must have.")
    data: Use[Dataset[Any]] = Field(description="The records to train on.")
    engine: Use[Engine[Any]] = Field(cast("Any", "torch"), description="What holds and runs the model.")
    optimizer: Optimizer = Field(description="AdamW and its learning-rate schedule.")
    batch: Batch = Field(Batch(), description="Batch sizes, in the user's words.")
    validation: ValidationSettings | None = Field(
        None,
        description="Measure loss and metrics on held-out rows, too: metrics that begin with validation_. null: none.",
    )
    epochs: Annotated[PositiveInt, used_unless("stream")] = Field(
        1, description="Passes over the data; a stream goes on to max_steps."
    )
    max_steps: PositiveInt | None = Field(
        None, description="Stop after so many optimizer steps; the schedule ends there too."
    )
    stream: Stream | None = Field(
        None,
        description="Train while the rows are read, a window at a time, without a tokenised copy on disk; needs "
        "max_steps. null tokenises all rows first (once: they are cached) and shuffles over all of them.",
    )
    compose: Compose | None = Field(
        None,
        description="Compose batches by how likely the model finds rows and by their sources; null: as shuffled.",
    )
    on_nonfinite: Literal["stop", "skip"] = Field(
        "stop",
        description="When a loss or gradient is NaN or infinite: stop and name the rows, or leave the weights as they "
        "are, record step and rows, and go on. Ten such steps in a row stop the stage in any case.",
    )
    data_workers: PositiveInt | None = unhashed(
        None, description="Processes that tokenise a large data set; null takes one for each core. Results are equal."
    )
    checkpoint_every: PositiveInt = unhashed(100, description="Optimizer steps between two checkpoints.")

    @model_validator(mode="after")
    def _a_stream_ends_and_is_not_known(self) -> Self:
        if self.stream is not None and self.compose is not None:
            raise ValueError("compose chooses among rows that are known, which a stream's are not; set one of the two")
        if self.stream is not None and self.max_steps is None:
            raise ValueError("a stream's length is not known; say max_steps, by which the learning rate goes too")
        return self

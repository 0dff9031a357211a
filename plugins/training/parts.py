"""The components of a train stage, each built once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from aftertrain.core.dataset import Dataset
from aftertrain.core.engine import Engine, Head
from aftertrain.core.loss import Loss
from aftertrain.core.records import Document
from aftertrain.core.settings import Builder
from aftertrain.core.text.chat import load_tokenizer
from aftertrain.plugins.training.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Parts:
    """What a stage with these settings is made of. A model is held by none of them (see `new_engine`)."""

    def __init__(self, settings: TrainSettings, builder: Builder) -> None:
        self.settings, self.builder = settings, builder

    @cached_property
    def loss(self) -> Loss[Any]:
        """What is minimised."""
        return self.builder.build(self.settings.loss)

    @cached_property
    def data(self) -> Dataset[Any]:
        """What is trained on."""
        return self.builder.build(self.settings.data)

    @cached_property
    def held_out(self) -> Dataset[Any] | None:
        """What is measured on; None for nothing."""
        return None if self.settings.validation is None else self.builder.build(self.settings.validation.data)

    @cached_property
    def engine(self) -> Engine[Any]:
        """Never loaded: it answers what its settings decide."""
        return self.new_engine()

    @property
    def head(self) -> Head:
        """Of the model: scalar where the loss needs values alone."""
        return "scalar" if self.loss.needs.scores == {"values"} else "lm"

    @property
    def term(self) -> str:
        """The one that the loss has."""
        (term,) = self.loss.needs.per
        return term

    def new_engine(self) -> Engine[Any]:
        """An engine to load a model into; whoever lets go of it lets go of the model."""
        return self.builder.build(self.settings.engine)

    def tokenizer(self, model: str, chat_template: str | None) -> PreTrainedTokenizerBase:
        """A model folder's; plain texts need none that has a chat template."""
        return load_tokenizer(model, chat_template, needs_template=self.data.record_type is not Document)

"""What a recipe says, as settings. The registry reads the YAML; the runner walks the stages."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from aftertrain.core.errors import RunError
from aftertrain.core.observer import Observer
from aftertrain.core.settings import Settings, Use, unhashed
from aftertrain.core.stage import Stage


class PluginPolicy(Settings):
    """Which plugins a recipe allows."""

    block: tuple[str, ...] = Field(
        (), description="Plugins not to load, by entry-point name; '*' allows built-ins only."
    )


class Recipe(Settings):
    """One file: a model, and the stages it goes through."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Name of the run and of its folder under runs/: letters, digits, '.', '_' and '-'."
    )
    description: str = unhashed(
        "", description="What the recipe is for, one or two sentences; shown by plan and report."
    )
    model: str | None = Field(
        None,
        description="Base model: a Hugging Face folder (relative to the recipe), 'package:MODULE/FOLDER' for one "
        "shipped inside an installed package, or a hub name. For stages that only ask it, an endpoint: "
        "http://HOST/v1#NAME. Null for stages that use none, as those of rows.",
    )
    chat_template: str | None = Field(None, description="Named chat template to use instead of the tokenizer's own.")
    seed: int = Field(0, ge=0, description="Seed of everything random, where a stage has none of its own.")
    threads: int | None = Field(
        None, gt=0, description="CPU threads; null keeps torch's choice. Recorded: it changes bits."
    )
    stages: dict[str, Use[Stage[Any]]] = Field(description="Stages by name, in any order: 'from' makes the graph.")
    observers: tuple[Use[Observer[Any]], ...] = unhashed(
        (), description="Observers beside the console and events.jsonl."
    )
    plugins: PluginPolicy = unhashed(PluginPolicy(), description="Which plugins to load.")

    @property
    def base_model(self) -> str:
        """The model.

        Raises:
            RunError: the recipe has none.
        """
        if self.model is None:
            raise RunError(f"recipe {self.name!r} has no model, and one is needed here; give it one: model: FOLDER")
        return self.model

    def seed_of(self, stage: str) -> int:
        """The seed that a stage runs with: its own, or the recipe's."""
        own: int | None = getattr(self.stages[stage].settings, "seed", None)
        return self.seed if own is None else own

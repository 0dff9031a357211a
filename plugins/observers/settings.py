"""Settings of the observers. None of them can change a result."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from aftertrain.core.ground.usage import UsedIf
from aftertrain.core.settings import Settings, unhashed


class ConsoleSettings(Settings):
    """The console."""

    style: Literal["auto", "live", "plain"] = unhashed(
        "auto", description="'live' redraws in place, 'plain' writes lines; 'auto' asks whether there is a terminal."
    )
    every_seconds: Annotated[float, Field(ge=0), UsedIf("style", "auto", "plain")] = unhashed(
        10.0, description="Plain lines: at most one progress line of a stage in this time."
    )


class TensorBoardSettings(Settings):
    """TensorBoard."""

    folder: str = unhashed("tensorboard", description="Folder of the event files, inside the run's folder.")
    shown: Annotated[int, Field(ge=0)] = unhashed(2, description="Sampled completions written per step.")


class WandbSettings(Settings):
    """Weights & Biases. The key comes from its own login or WANDB_API_KEY; it is never read or written here."""

    project: str = unhashed("aftertrain", description="Project that the run appears in.")
    entity: str | None = unhashed(None, description="User or team; null for the default of the login.")
    mode: Literal["online", "offline"] = unhashed(
        "online", description="'offline' writes into the run's folder only; `wandb sync` uploads it later."
    )

"""The models of an online stage: policy, critic, reference and generator, loaded, resumed and saved together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aftertrain.core.engine import AdamW, Engine, Head
from aftertrain.core.errors import RunError, unknown
from aftertrain.core.generator import Generator
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.loss import Loss
from aftertrain.core.settings import Builder
from aftertrain.plugins.online.penalty import penalised
from aftertrain.plugins.online.settings import OnlineSettings
from aftertrain.plugins.online.synced import check_synced

STATE = "online.json"
"""File of a checkpoint with what is no model's."""
REWARD = "reward.base"
"""Role of the reward model among the stage's inputs."""

ALWAYS = frozenset({"generator_logprobs", "old_logprobs", "reference_logprobs", "rewards", "versions"})
"""Token columns that this stage gives to every loss, beside those of the method."""


@dataclass(frozen=True)
class Models:
    """All that computes.

    Attributes:
        policy: the model that replies and is trained.
        critic: gives values, and is trained; None where the method has none.
        reference: the model the stage started from, never trained; None when nothing asks for it.
        reward: the reward model that gives R_base, never trained; None where there is none.
    """

    policy: Engine[Any]
    critic: Engine[Any] | None
    reference: Engine[Any] | None
    generator: Generator[Any]
    reward: Engine[Any] | None

    @property
    def trained(self) -> dict[str, Engine[Any]]:
        """By the term of the loss that trains them."""
        return {"policy": self.policy} | ({} if self.critic is None else {"value": self.critic})

    def save(self, folder: Path) -> None:
        """Write the trained models' state; the reference is the input artifact and is not written."""
        for name, engine in self.trained.items():
            (folder / name).mkdir()
            engine.save_state(folder / name)

    def restore(self, folder: Path, version: int) -> None:
        """Read what `save` wrote, and hand the policy's weights to the generator."""
        for name, engine in self.trained.items():
            engine.load_state(folder / name)
        self.publish(version)

    def publish(self, version: int) -> None:
        """Hand the policy's weights to the generator as `version`.

        Raises:
            RunError: it has others afterwards.
        """
        self.generator.update_weights(self.policy.weights(), version)
        check_synced(self.policy.weights(), self.generator, version)


def load_models(
    settings: OnlineSettings,
    builder: Builder,
    folders: Mapping[str, str],
    seed: int,
    *,
    generator: Generator[Any] | None = None,
) -> Models:
    """Load everything anew from the input artifacts; `Models.restore` then brings the trained ones up to date.

    The reference is always the artifact the stage started from, after a resume too.

    Args:
        folders: of the input artifacts, by role; without `critic` the critic is the `model` with a new head.
        generator: takes the place of the settings'.
    """

    def load(folder: str, head: Head = "lm", optimizer: AdamW | None = None) -> Engine[Any]:
        engine: Engine[Any] = builder.build(settings.engine)
        engine.load(folder, head=head, optimizer=optimizer, seed=sub_seed(seed, "critic head"))
        return engine

    model, critic, reference = folders["model"], None, None
    policy = load(model, optimizer=settings.optimizer)
    if settings.method.critic:
        critic = load(folders.get("critic", model), "scalar", settings.critic_optimizer or settings.optimizer)
    asked = settings.method.reference or "reference_logprobs" in build_loss(settings, builder).needs.columns
    if settings.kl.beta > 0 or asked:
        reference = load(model)
    if generator is None:
        generator = builder.build(settings.generator)
        if policy.lends:
            generator.borrow(dict(policy.weights()))
        generator.open(model)
    return Models(policy, critic, reference, generator, load(folders[REWARD], "scalar") if REWARD in folders else None)


def build_loss(settings: OnlineSettings, builder: Builder) -> Loss[Any]:
    """The stage's loss, with the KL penalty where it belongs in the loss.

    Raises:
        RunError: the loss needs a column, term or record that this stage does not have.
    """
    loss = penalised(builder.build(settings.loss), settings.kl)
    name, needs, method = settings.loss.name, loss.needs, settings.method
    where = f"the stage 'online' with advantages: {settings.advantages.name}"
    supplied = ALWAYS | method.columns
    for column in sorted(needs.columns - supplied):
        raise RunError(f"the loss {name!r} needs a column of {where}: {unknown('column', column, supplied)}")
    terms = {"policy", "value"} if method.critic else {"policy"}
    if set(needs.per) != terms:
        raise RunError(
            f"the loss {name!r} trains {', '.join(sorted(needs.per))}; {where} trains {', '.join(sorted(terms))}"
        )
    record = "PreferencePair" if method.pairs else "Problem"
    if record not in needs.records:
        raise RunError(
            f"the loss {name!r} learns from {', '.join(sorted(needs.records))} records; {where} gives it "
            f"{'pairs of replies' if method.pairs else 'problems with replies'} ({record})"
        )
    if needs.probes is not None:
        raise RunError(f"the loss {name!r} asks for probes beside its samples, of which {where} has none")
    return loss

"""The models of an online stage: policy, critic, reference and generator, loaded, resumed and saved together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aftertrain.core.engine import AdamW, Engine
from aftertrain.core.errors import RunError, unknown
from aftertrain.core.generator import Generator
from aftertrain.core.learning.schedule import Optimizer
from aftertrain.core.learning.seeding import sub_seed
from aftertrain.core.loss import Loss, Needs
from aftertrain.core.settings import Builder
from aftertrain.plugins.online.advantage import SUPPLIED, Scorers
from aftertrain.plugins.online.penalty import penalised
from aftertrain.plugins.online.settings import OnlineSettings


@dataclass(frozen=True)
class Models:
    """All that computes.

    Attributes:
        reward: the reward model that gives R_base, never trained; None where there is none.
    """

    scorers: Scorers
    generator: Generator[Any]
    reward: Engine[Any] | None = None

    @property
    def policy(self) -> Engine[Any]:
        """The model that is trained."""
        return self.scorers.policy

    def engines(self, needs: Needs) -> Mapping[str, Engine[Any]]:
        """The engines that a loss trains, by term."""
        trained = self._trained()
        return {term: trained[term] for term in needs.per}

    def save(self, folder: Path) -> None:
        """Write the trained models' state; the reference is the input artifact and is not written."""
        for name, engine in self._trained().items():
            (folder / name).mkdir()
            engine.save_state(folder / name)

    def restore(self, folder: Path, version: int) -> None:
        """Read what `save` wrote, and hand the policy's weights to the generator."""
        for name, engine in self._trained().items():
            engine.load_state(folder / name)
        self.publish(version)

    def publish(self, version: int) -> None:
        """Hand the policy's weights to the generator as `version`."""
        self.generator.update_weights(self.policy.weights(), version)

    def _trained(self) -> dict[str, Engine[Any]]:
        critic = self.scorers.critic
        return {"policy": self.scorers.policy} | ({} if critic is None else {"value": critic})


def load_models(
    settings: OnlineSettings,
    builder: Builder,
    *,
    model: str,
    critic: str | None,
    reward: str | None,
    seed: int,
) -> Models:
    """Load everything anew from the input artifacts; `Models.restore` then brings the trained ones up to date.

    The reference is always the artifact the stage started from, after a resume too.

    Args:
        critic: folder of the model the critic starts from; None takes `model` with a new head.
        reward: folder of the reward model that gives R_base, if there is one.
    """

    def engine(folder: str, optimizer: AdamW | None, *, scalar: bool = False) -> Engine[Any]:
        made = builder.build(settings.engine)
        head_seed = sub_seed(seed, "critic head")
        made.load(folder, head="scalar" if scalar else "lm", optimizer=optimizer, seed=head_seed)
        return made

    policy = engine(model, settings.optimizer)
    value = None
    if settings.advantages == "gae":
        value = engine(critic or model, critic_optimizer(settings), scalar=True)
    wants_reference = settings.kl.beta > 0 or "reference_logprobs" in build_loss(settings, builder).needs.columns
    reference = engine(model, None) if wants_reference else None
    generator = builder.build(settings.generator)
    generator.open(model)
    base = None if reward is None else engine(reward, None, scalar=True)
    return Models(Scorers(policy, value, reference), generator, base)


def critic_optimizer(settings: OnlineSettings) -> Optimizer:
    """The critic's own optimizer, or the policy's settings."""
    return settings.critic_optimizer or settings.optimizer


def build_loss(settings: OnlineSettings, builder: Builder) -> Loss[Any]:
    """The stage's loss, with the KL penalty where it belongs in the loss.

    Raises:
        RunError: the loss needs a column, term or record that this stage does not have.
    """
    loss = penalised(builder.build(settings.loss), settings.kl)
    name, needs = settings.loss.name, loss.needs
    for column in sorted(needs.columns - SUPPLIED[settings.advantages]):
        raise RunError(
            f"the loss {name!r} needs a column of the stage 'online' with advantages: {settings.advantages}: "
            f"{unknown('column', column, SUPPLIED[settings.advantages])}"
        )
    terms = {"policy", "value"} if settings.advantages == "gae" else {"policy"}
    if set(needs.per) != terms:
        raise RunError(
            f"the loss {name!r} trains {', '.join(sorted(needs.per))}; with advantages: {settings.advantages} "
            f"the stage 'online' trains {', '.join(sorted(terms))}"
        )
    if "Problem" not in needs.records:
        raise RunError(
            f"the loss {name!r} learns from {', '.join(sorted(needs.records))} records; the stage 'online' has problems"
        )
    return loss

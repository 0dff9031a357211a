"""The stage that trains a model on a fixed data set."""

from aftertrain.core.plugin import Registrar, hookimpl

AFTERTRAIN_API = 2


@hookimpl
def aftertrain_register(registry: Registrar) -> None:
    registry.add(
        "stage",
        "train",
        "aftertrain.plugins.training.train:Train",
        "aftertrain.plugins.training.settings:TrainSettings",
        "trains a model on a data set with any offline loss: SFT, DPO, reward model …",
    )

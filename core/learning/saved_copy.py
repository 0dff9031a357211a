"""A saved folder as plain transformers (and peft) read it: its names, its files' tensors, and a second copy."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from aftertrain.core.engine import Head
from aftertrain.core.errors import ModelError
from aftertrain.core.ground.quiet import quiet
from aftertrain.core.learning.step import listed
from aftertrain.core.packed.model import auto_class

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Reader:
    """Reads a model's folder, or a folder of adapters together with the model they belong to.

    Args:
        base: of adapters, the folder of their model; None for a model.
    """

    def __init__(self, folder: Path, head: Head, base: str | None) -> None:
        self.folder, self.head, self.base = folder, head, base

    def named(self) -> tuple[PreTrainedModel, list[str]]:
        """The model without memory for its weights, and what is wrong with the names and shapes in the folder.

        Raises:
            ModelError: transformers or peft refuses the folder.
        """
        with _reading(self.folder):
            model, info = self._loaded("meta")
            return model, _odd(info) if self.base is None else self._adapted(model)[1]

    def copy(self, device: torch.device) -> Any:
        """The model with its weights in float32, by its family's eager attention.

        Raises:
            ModelError: transformers or peft refuses the folder.
        """
        with _reading(self.folder):
            model, info = self._loaded(str(device))
            if self.base is not None:
                return self._adapted(model)[0].to(device).eval()
            if odd := _odd(info):
                raise ModelError(f"{self.folder}: {'; '.join(odd)}")
            return model.to(device).eval()  # type: ignore[arg-type]

    def _loaded(self, device: str) -> tuple[PreTrainedModel, Mapping[str, Any]]:
        # A folder of ours says itself that its head has one output; the base of adapters may not.
        options: dict[str, Any] = {} if self.head == "lm" or self.base is None else {"num_labels": 1}
        with quiet():
            model, info = auto_class(self.head).from_pretrained(
                self.folder if self.base is None else self.base,
                dtype=torch.float32,
                attn_implementation="eager",
                device_map=device,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **options,
                trust_remote_code=False,
            )
        return model, info

    def _adapted(self, model: PreTrainedModel) -> tuple[Any, list[str]]:
        from peft import PeftConfig, get_peft_model
        from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict

        meta = next(model.parameters()).device.type == "meta"
        config = PeftConfig.from_pretrained(str(self.folder), trust_remote_code=False)
        adapted: Any = get_peft_model(model, config)
        weights = load_peft_weights(str(self.folder), device="cpu")
        info: Any = set_peft_model_state_dict(adapted, weights, low_cpu_mem_usage=meta)
        wanted = ("lora_", "modules_to_save")
        missing = [name for name in info.missing_keys if any(word in name for word in wanted)]
        return adapted, _odd({"missing_keys": missing, "unexpected_keys": info.unexpected_keys})


def tensors(folder: Path) -> Iterator[tuple[str, str, Tensor]]:
    """File, name and tensor of everything in a folder's safetensors files.

    Raises:
        ModelError: a file cannot be read, or two hold the same name.
    """
    seen: dict[str, str] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  no mapping
                    if name in seen:
                        raise ModelError(f"{path}: {name} is in {seen[name]} too")
                    seen[name] = path.name
                    yield path.name, name, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path}: unreadable: {error}") from error


def file_names(model: PreTrainedModel, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A model's state under the names, and in the pieces, that its family's files have.

    Args:
        model: read from the folder, so that it knows how its names were converted.
    """
    from transformers.core_model_loading import revert_weight_conversion

    converted: dict[str, Tensor] = revert_weight_conversion(model, dict(state))
    return converted


def optional(model: PreTrainedModel) -> set[str]:
    """Names that a folder may leave out: of weights that are tied to others, and what the family never writes."""
    return {*(getattr(model, "all_tied_weights_keys", None) or ()), *(model._keys_to_ignore_on_save or ())}


def plain_scores(model: Any, head: Head, rows: Sequence[Sequence[int]]) -> Tensor:
    """What transformers' own forward gives each token of each row alone, float32 `[tokens]`.

    Log-probabilities (0 for a row's first token) of an lm head, values of a scalar one.
    """
    device = next(model.parameters()).device
    # peft's wrapper hands a whole forward on, but not the parts of the model.
    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    scores = []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor(row, device=device)
            inputs = {"input_ids": ids.unsqueeze(0), "use_cache": False}
            if head == "scalar":
                scores.append(network.score(network.base_model(**inputs).last_hidden_state[0]).squeeze(-1).float())
                continue
            logp = network(**inputs).logits[0, :-1].float().log_softmax(-1)
            scores += [logp.new_zeros(1), logp.gather(1, ids[1:].unsqueeze(1)).squeeze(1)]
    return torch.cat(scores).cpu()


def _odd(info: Mapping[str, Any]) -> list[str]:
    """What transformers says of a load, in words."""
    odd = []
    for key, word in (("missing_keys", "missing"), ("unexpected_keys", "not the model's")):
        names = sorted(info.get(key) or ())
        if names:
            odd.append(f"{word}: {listed(names)}")
    shapes = sorted(info.get("mismatched_keys") or ())
    if shapes:
        odd.append(f"of another shape: {listed([f'{name} {tuple(a)}, not {tuple(b)}' for name, a, b in shapes])}")
    return odd + [str(error) for error in info.get("error_msgs") or ()]


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ModelError, torch.OutOfMemoryError):
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, SafetensorError) as error:
        raise ModelError(f"{folder}: plain transformers cannot load it: {type(error).__name__}: {error}") from error

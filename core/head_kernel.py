"""The head-kernel interface: someone else's fused LM head and log-softmax, in place of our own where it can serve.

What a kernel makes must be what `core.packed.logprobs.token_scores` makes, within the rounding of its dtype: values,
and the gradient of each token under whatever a loss sends back to it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

from aftertrain.core.component import Component
from aftertrain.core.loss import Score
from aftertrain.core.settings import Settings

if TYPE_CHECKING:
    import torch
    from torch import Tensor

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class LMHead:
    """How a family turns hidden states into logits: `softcap * tanh(scale * (weight @ hidden + bias) / softcap)`.

    Attributes:
        weight: `[vocabulary, hidden]`, as the model holds it (float32 when it is trained).
        bias: `[vocabulary]` or None.
    """

    weight: Tensor
    bias: Tensor | None
    scale: float
    softcap: float | None


class HeadKernel(Component[S]):
    """Scores of tokens from hidden states, without logits in full. Stateless.

    Attributes:
        scores: what it makes, `logprobs` at least. Whatever else is wanted comes from `token_scores`.
    """

    kind: ClassVar[str] = "head_kernel"
    scores: ClassVar[frozenset[Score]] = frozenset({"logprobs"})

    @property
    def version(self) -> str:
        """Version of the package whose numbers these are; scores that are kept on disk serve only under the same."""
        return ""

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know before training with it, a sentence each: where bits differ from run to run, say."""
        return ()

    @abstractmethod
    def check(self, head: LMHead, device: torch.device, dtype: torch.dtype) -> None:
        """Refuse what cannot be computed right here. Called before a run, then with the loaded model.

        Args:
            head: its tensors may be without memory (on the device `meta`).
            device: where the model will be.
            dtype: of matrix products, float32 or bfloat16.

        Raises:
            ModelError: not on this device, in this dtype or with this head; ends with the cure.
            MissingExtra: its package is not installed.
        """

    @abstractmethod
    def __call__(
        self, hidden: Tensor, head: LMHead, ids: Tensor, wants: Set[Score], *, temperature: float
    ) -> Mapping[Score, Tensor]:
        """Score each id under the distribution that its hidden state predicts. Autocast is off.

        Args:
            hidden: `[n, hidden]`, n ≥ 1, in the dtype of matrix products, to which the head's tensors are to be cast.
            ids: int64 `[n]`.
            wants: some of `scores`.
            temperature: logits are divided by it after scale and soft cap.

        Returns:
            float32 `[n]` for each of `wants`; differentiable in `hidden`, `weight` and `bias` (`hits` is not), each
            token's gradient times what comes back to that token.

        Raises:
            ModelError: it cannot do this temperature with this head.
        """

"""Settings of the generators that ask a server. No torch, no httpx here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from aftertrain.core.ground.usage import Unused, UsedIf
from aftertrain.core.settings import PositiveInt, Settings, unhashed

OURS = frozenset(
    {"model", "messages", "prompt", "stop", "seed", "temperature", "top_p", "n", "stream", "echo", "logprobs"}
    | {"max_tokens", "max_completion_tokens", "top_logprobs", "continue_final_message", "add_generation_prompt"}
)
"""Fields of a request that are set by other settings, or by the task."""
Positive = Annotated[float, Field(gt=0)]


def _beside_recipe(value: str | None, info: ValidationInfo) -> str | None:
    """A folder beside the recipe by its whole path; a hub name or a package's model as it is."""
    base = (info.context or {}).get("base_folder")
    if value is None or base is None:
        return value
    folder = Path(base) / Path(value).expanduser()
    return str(folder) if folder.is_dir() else value


class TokenPrices(Settings):
    """What a million tokens cost, in any one currency."""

    prompt: Annotated[float, Field(ge=0)] = Field(0.0, description="A million prompt tokens.")
    reply: Annotated[float, Field(ge=0)] = Field(0.0, description="A million reply tokens.")


class OpenAISettings(Settings):
    """How an endpoint is asked. Which one stands in the place of the model: `http://HOST/v1#NAME`."""

    api: Literal["chat", "completions"] = Field(
        "chat",
        description="chat: conversations to /chat/completions, whose server applies the template; completions: whole "
        "prompts to /completions.",
    )
    tokenizer: Annotated[str | None, AfterValidator(_beside_recipe), UsedIf("api", "completions")] = Field(
        None,
        description="Folder or hub name of the served model's tokenizer (no weights are read): prompts are rendered "
        "here and sent as token ids. Null sends plain text, to which the server adds what its tokenizer adds.",
    )
    context: PositiveInt | None = Field(
        None, description="Most tokens of prompt and reply together that the server takes; null: not known here."
    )
    key: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] | None = unhashed(
        None, description="Environment variable that holds the API key, such as OPENAI_API_KEY; null sends none."
    )
    revision: str = Field(
        "", description="What the server runs, in your words; change it when the model behind the name changes."
    )
    answers_as: tuple[str, ...] = Field(
        (), description="Names under which the server may answer beside the one it is asked by (a dated snapshot's)."
    )
    prefill: Annotated[Literal["refuse", "continue", "drop"], UsedIf("api", "chat")] = Field(
        "refuse",
        description="A task that begins the reply: refuse it; continue it (continue_final_message of vLLM and SGLang); "
        "or drop its beginning, which asks something else than the protocol does.",
    )
    max_stops: Annotated[int, Field(ge=0)] = Field(
        4, description="Most stop strings that the server takes; all of them are enforced here, on the text."
    )
    logprobs: bool = Field(False, description="Ask for the log-probability of each token of a reply.")
    length: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the server calls the most tokens of a reply."
    )
    leave_out: tuple[Literal["temperature", "top_p", "seed"], ...] = Field(
        (), description="Fields that the server refuses. Replies are then drawn as it likes."
    )
    extra: dict[str, Any] = Field({}, description="More fields of each request, as the server names them.")
    prices: TokenPrices = unhashed(TokenPrices(), description="From tokens to cost.")
    ceiling: Positive | None = unhashed(
        None,
        description="Most that one process may spend, by 'prices'; a request that could pass it, at its longest, is "
        "not sent and the run stops. Null: no limit.",
    )
    concurrency: PositiveInt = unhashed(8, description="Requests on their way at once.")
    requests_per_minute: Positive | None = unhashed(None, description="Null: no limit.")
    tokens_per_minute: Positive | None = unhashed(
        None, description="Of prompts and replies together, each counted at its longest until its answer is there."
    )
    attempts: PositiveInt = unhashed(
        6,
        description="How often a request is sent before the run stops: after 408, 409, 429, 5xx, time-outs, broken "
        "connections and half answers.",
    )
    longest_wait: Positive = unhashed(
        120.0, description="Most seconds between two attempts; a server that asks for more (Retry-After) stops the run."
    )
    request_timeout: Positive = unhashed(600.0, description="Seconds that one answer may take.")

    def without_use(self) -> dict[str, Unused]:
        """Prices without a ceiling tell nothing, and a ceiling without prices is never reached."""
        idle = super().without_use()
        if not (self.prices.prompt or self.prices.reply):
            idle["ceiling"] = Unused("without prices nothing costs anything", ("prices",))
        return idle

    @field_validator("extra")
    @classmethod
    def _only_others(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if clash := sorted(OURS & extra.keys()):
            raise ValueError(f"{', '.join(clash)}: set by the task, or by another setting of this generator")
        return extra

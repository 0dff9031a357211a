"""A judge behind an endpoint that is read by its likeliest first tokens, as `weighted_alpaca_eval_gpt4_turbo` is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from aftertrain.cli import main
from aftertrain.core.asking.asker import ONE_TOKEN
from aftertrain.core.completions.store import CompletionStore
from aftertrain.core.generator import GenerationRequest
from aftertrain.plugins.endpoints.openai import OpenAI
from aftertrain.plugins.endpoints.settings import OpenAISettings
from aftertrain.plugins.evaluation.rows import ScoredInstance, read_instances

from .conftest import answer  # the same folder

MODEL = "package:aftertrain.plugins.quickstart/model"
NOBODY = "http://localhost:1/v1#a"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
TOKENS: Sequence[Mapping[str, float]] = (
    {"m": math.log(0.6), "M": math.log(0.2), "The": math.log(0.1)},
    {"M": math.log(0.9), " m": math.log(0.05)},
    {"I": math.log(0.5), "We": math.log(0.3)},
)
"""By instruction what the judge may say first: m with 0.6 of 0.8; M alone, since " m" is another token; neither."""


def likeliest(tokens: Mapping[str, float] | None) -> dict[str, Any]:
    """A reply of a chat server, with or without its likeliest tokens."""
    said = answer("m")
    if tokens is not None:
        listed = [{"token": token, "logprob": logprob} for token, logprob in tokens.items()]
        first = {"token": "m", "logprob": -0.5, "top_logprobs": listed}
        said["choices"][0]["logprobs"] = {"content": [first]}
    return said


def asked_of(request: Request) -> tuple[dict[str, Any], int]:
    """What is posted, and which instruction it is about."""
    body = request.get_json()
    return body, int(str(body["messages"][-1]["content"]).partition("Name sea ")[2][0])


def evaluated(url: str, folder: Path, *more: str) -> tuple[int, list[ScoredInstance]]:
    """Three instructions, by the command; the judge prefers one order whichever reply is first."""
    rows = [{"instruction": f"Name sea {n}.", "output": "The Baltic.", "dataset": "koala"} for n in range(3)]
    file = folder / "tatsu-lab/alpaca_eval/alpaca_eval_gpt4_baseline/eval.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    judge = f"{{use: pairwise, template: alpaca_eval, model: {url}, generator: openai, read: likelihood}}"
    words = ["alpaca_eval", f"judge={judge}", "max_new_tokens=4", "--data", str(folder), "--out", str(folder / "out")]
    code = main(["evaluate", MODEL, *words, *more])
    files = list((folder / "out").glob("stages/*/samples/instances.jsonl"))
    return code, read_instances(files[0]) if files else []


def test_a_preference_is_weighed_by_the_likeliest_tokens(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Both orders at once would hide the sum, so that each is turned back by hand: p or 1 - p by the drawn order."""
    bodies: dict[int, dict[str, Any]] = {}

    def judge(request: Request) -> Response:
        body, number = asked_of(request)
        bodies[number] = body
        return Response(json.dumps(likeliest(TOKENS[number])), 200)

    httpserver.expect_request(CHAT).respond_with_handler(judge)
    code, rows = evaluated(f"{httpserver.url_for('/v1')}#tiny", tmp_path)
    assert code == 0
    assert {(b["max_tokens"], b["temperature"], b["logprobs"], b["top_logprobs"]) for b in bodies.values()} == {
        (1, 1.0, True, 5)
    }
    # The reply stands first where its text is the output of "m".
    turned = [f'"output": """{row.output}"""' not in first_of(bodies[n]) for n, row in enumerate(rows)]
    expected = [0.6 / 0.8, 0.0]
    for row, share, turn in zip(rows, expected, turned, strict=False):
        assert row.metrics["win_rate"] == pytest.approx(1 - share if turn else share, abs=1e-12)
        assert row.outcome == "scored"
    assert rows[2].outcome == "error"
    assert "neither 'm' nor 'M' is among its likeliest tokens ('I', 'We')" in rows[2].detail
    assert len(httpserver.log) == 3


def first_of(body: Mapping[str, Any]) -> str:
    """What the judge is shown as the first reply."""
    shown: str = body["messages"][-1]["content"]
    return shown.partition('"model_identifier": "m"')[2].partition('"model_identifier": "M"')[0]


def test_an_endpoint_that_tells_none_is_said_and_not_read_otherwise(httpserver: HTTPServer, tmp_path: Path) -> None:
    """It answers "m" each time, which `read: text` would take for a win."""
    httpserver.expect_request(CHAT).respond_with_json(likeliest(None))
    code, rows = evaluated(f"{httpserver.url_for('/v1')}#tiny", tmp_path)
    assert code == 0
    assert {row.outcome for row in rows} == {"error"}
    assert all("the judge's endpoint tells no likeliest tokens (top_logprobs)" in row.detail for row in rows)


def test_a_text_server_is_read_and_its_answer_kept(httpserver: HTTPServer, tmp_path: Path) -> None:
    """/completions tells a mapping; what cannot be a log-probability is left out; the store has every bit of it."""
    top = [{"m": -0.1, "M": -2.5, "x": None}, {"z": -0.1}]
    choice = {"text": "m", "finish_reason": "length", "logprobs": {"token_logprobs": [-0.1], "top_logprobs": top}}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    httpserver.expect_request(TEXT).respond_with_json({"model": "tiny", "choices": [choice], "usage": usage})
    generator = OpenAI(OpenAISettings(api="completions"), None)  # type: ignore[arg-type]  # it builds nothing
    generator.open(f"{httpserver.url_for('/v1')}#tiny")
    (reply,) = generator.generate([GenerationRequest("a", (), ONE_TOKEN, 0, text="Which?", likeliest=5)])
    generator.close()
    assert httpserver.log[0][0].get_json()["logprobs"] == 5
    assert reply.likeliest == (("m", -0.1), ("M", -2.5))
    store = CompletionStore(tmp_path / "store.sqlite")
    store.add({"k": reply})
    assert store.find(["k"])["k"].of("b", ()).likeliest == reply.likeliest
    store.close()


def test_settings_that_it_does_not_use_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An endpoint is scored by no engine here, and no reply of it is drawn."""
    for setting, reason in (
        ("engine: torch", "an endpoint tells its likelihoods itself"),
        ("retries: 2", "likelihoods are read, and no reply"),
    ):
        judge = f"{{use: pairwise, template: alpaca_eval, model: '{NOBODY}', read: likelihood, {setting}}}"
        assert main(["evaluate", MODEL, "alpaca_eval", f"judge={judge}", "--data", str(tmp_path)]) == 2
        assert reason in capsys.readouterr().err

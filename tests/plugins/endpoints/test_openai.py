"""The generator `openai` against a server that behaves, and one that does not."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from aftertrain.core.errors import ModelError, RunError
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.records import UNKNOWN_ID, Completion, Message
from aftertrain.plugins.endpoints.openai import OpenAI
from aftertrain.plugins.endpoints.pace import Pace
from aftertrain.plugins.endpoints.settings import OpenAISettings

from .conftest import answer, request  # the same folder

CHAT = "/v1/chat/completions"
Ask = Callable[..., OpenAI]


def drain(generator: OpenAI, collected: list[Completion]) -> None:
    """Collect until there is nothing, or an error."""
    while replies := generator.collect(5):
        collected += replies


def bodies(server: HTTPServer) -> list[dict[str, Any]]:
    return [json.loads(asked.data) for asked, _ in server.log]


def test_a_reply_is_read_whole(httpserver: HTTPServer, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_KEY", "a-very-secret-word")
    httpserver.expect_request(CHAT, headers={"Authorization": "Bearer a-very-secret-word"}).respond_with_json(
        answer("vier – 四 \ud83d\ude00", finish="length")
    )
    generator = ask(key="TINY_KEY", extra={"reasoning_effort": "low"})
    turns = (Message("system", ""), Message("user", "2 + 2?"))
    sampling = Sampling(max_new_tokens=8, temperature=0.7, top_p=0.9, stop=("\n",))
    (reply,) = generator.generate([GenerationRequest("q", (), sampling, 7, messages=turns)])
    assert (reply.id, reply.text, reply.finish_reason) == ("q", "vier – 四 😀", "length")
    assert (reply.prompt_ids, reply.token_ids, reply.logprobs) == ((UNKNOWN_ID,) * 3, (UNKNOWN_ID,) * 2, ())
    assert bodies(httpserver) == [
        {
            "model": "tiny",
            "messages": [{"role": "system", "content": ""}, {"role": "user", "content": "2 + 2?"}],
            "max_tokens": 8,
            "temperature": 0.7,
            "top_p": 0.9,
            "seed": 7,
            "stop": ["\n"],
            "reasoning_effort": "low",
        }
    ], "an empty system turn stays a turn, and no field is sent that was not asked for"


SPOILT: dict[str, Callable[[Request], Response]] = {
    "429": lambda _: Response("slow down", 429, {"Retry-After": "0"}),
    "500": lambda _: Response("oops", 500),
    "half a body": lambda _: Response('{"model": "tiny", "choi', 200),
    "an array": lambda _: Response("[]", 200),
    "an error that says 200": lambda _: Response('{"error": {"message": "overloaded"}}', 200),
    "no choices": lambda _: Response(json.dumps(answer(choices=[])), 200),
    "no end": lambda _: Response(json.dumps(answer(finish=None)), 200),
    "no text": lambda _: Response(json.dumps(answer(choices=[{"finish_reason": "stop", "message": {}}])), 200),
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_may_pass_is_tried_again(how: str, httpserver: HTTPServer, ask: Ask) -> None:
    httpserver.expect_oneshot_request(CHAT).respond_with_handler(SPOILT[how])
    httpserver.expect_request(CHAT).respond_with_json(answer())
    (reply,) = ask().generate([request()])
    assert (reply.text, len(httpserver.log)) == ("4", 2)


def test_a_connection_that_breaks_is_made_again() -> None:
    """Half of the promised bytes, then a reset, then an answer."""
    whole = json.dumps(answer()).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    script = [(head % len(whole)) + whole[:20], b"", (head % len(whole)) + whole]
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for said in script:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(said)

    thread = threading.Thread(target=serve)
    thread.start()
    generator = OpenAI(OpenAISettings(), None)  # type: ignore[arg-type]
    generator.open(f"http://127.0.0.1:{listener.getsockname()[1]}/v1#tiny")
    assert generator.generate([request()])[0].text == "4"
    generator.close()
    thread.join()
    listener.close()


@pytest.mark.parametrize(
    ("settings", "response", "tries", "told"),
    [
        ({"attempts": 3}, Response("oops", 500), 3, "tried 3 times: status 500: oops"),
        (
            {"longest_wait": 5},
            Response("later", 429, {"Retry-After": "6"}),
            1,
            r"tried once: .*it asks for 6 s, longest_wait is 5",
        ),
        ({}, Response("who are you", 401), 1, "refuses: status 401: who are you"),
        ({}, Response("moved", 302, {"Location": "http://elsewhere/"}), 1, "refuses: status 302"),
        (
            {},
            Response(json.dumps(answer(model="tiny-2026-01-01")), 200),
            1,
            r"asked model 'tiny', and 'tiny-2026-01-01' answered; .*answers_as: \[tiny-2026-01-01\]",
        ),
        ({}, Response(json.dumps(answer(usage=None)), 200), 1, "does not say how many tokens it took"),
        ({}, Response(json.dumps(answer(finish="tired")), 200), 1, "for a reason that is not known: 'tired'"),
    ],
)
def test_what_will_not_pass_is_an_error(
    settings: Any, response: Response, tries: int, told: str, httpserver: HTTPServer, ask: Ask
) -> None:
    httpserver.expect_request(CHAT).respond_with_response(response)
    with pytest.raises(ModelError, match=told):
        ask(**settings).generate([request()])
    assert len(httpserver.log) == tries


def test_another_name_may_be_meant(httpserver: HTTPServer, ask: Ask) -> None:
    httpserver.expect_request(CHAT).respond_with_json(answer(model="tiny-2026-01-01"))
    assert ask(answers_as=("tiny-2026-01-01",)).generate([request()])[0].text == "4"


def test_a_slow_server_is_given_up(httpserver: HTTPServer, ask: Ask) -> None:
    """The request's own limit ends an attempt; the caller's ends its patience, and the reply comes all the same."""

    def slow(_: Request) -> Response:
        time.sleep(0.3)
        return Response(json.dumps(answer()), 200)

    httpserver.expect_request(CHAT).respond_with_handler(slow)
    with pytest.raises(ModelError, match=r"tried once: no answer in 0\.1 s"):
        ask(request_timeout=0.1, attempts=1).generate([request()])
    patient = ask()
    patient.submit([request()])
    with pytest.raises(TimeoutError, match=r"within 0\.01 s"):
        patient.collect(0.01)
    assert patient.collect(5)[0].text == "4"
    patient.submit([request()])
    patient.cancel(["a"])
    assert patient.collect(5) == []


def test_what_a_server_withholds_is_refused(httpserver: HTTPServer, ask: Ask) -> None:
    """A filtered reply, and a request that the server does not take while it takes others."""
    httpserver.expect_oneshot_request(CHAT).respond_with_json(answer(None, finish="content_filter"))
    httpserver.expect_oneshot_request(CHAT).respond_with_data("too long", 400)
    httpserver.expect_request(CHAT).respond_with_json(answer("I will not.", model="tiny"))
    generator = ask(concurrency=1)
    replies = generator.generate([request(name) for name in "abc"])
    assert [(r.finish_reason, r.why) for r in replies] == [
        ("refused", "its content filter ended the reply"),
        ("refused", "status 400: too long"),
        ("stop", ""),
    ]


def test_a_server_that_takes_nothing_is_an_error(httpserver: HTTPServer, ask: Ask) -> None:
    httpserver.expect_request(CHAT).respond_with_data("no such field: seed", 400)
    generator = ask(concurrency=1)
    generator.submit([request(name) for name in "abcd"])
    collected: list[Completion] = []
    with pytest.raises(ModelError, match="status 400: no such field: seed"):
        drain(generator, collected)
    assert [reply.finish_reason for reply in collected] == ["refused", "refused"]
    assert len(httpserver.log) == 3


def test_the_key_is_nowhere(
    httpserver: HTTPServer, ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ModelError, match="the environment variable PLAIN is not set"):
        ask(key="PLAIN")
    monkeypatch.setenv("PLAIN", "opensesame")
    httpserver.expect_request(CHAT).respond_with_data("bad key: opensesame", 403)
    with pytest.raises(ModelError, match=r"bad key: \*\*\*") as raised:
        ask(key="PLAIN").generate([request()])
    assert "opensesame" not in str(raised.value) + caplog.text
    with pytest.raises(ValidationError):
        OpenAISettings(key="sk-a1b2c3d4e5")
    with pytest.raises(ModelError, match="no password or key may stand in it"):
        OpenAI(OpenAISettings(), None).open("http://me:opensesame@host/v1#tiny")  # type: ignore[arg-type]


def test_every_stop_string_is_enforced_here(httpserver: HTTPServer, ask: Ask) -> None:
    """Six of them, of which the server takes four; the sixth ends the reply, though the server went on."""
    stops = ("\n\n", "Question:", "</s>", "<|im_end|>", "So", "#")
    httpserver.expect_request(CHAT).respond_with_json(answer("4 # or 5\n\nQuestion", finish="length"))
    (reply,) = ask().generate([request(stop=stops)])
    assert (reply.text, reply.finish_reason) == ("4 ", "stop")
    assert bodies(httpserver)[0]["stop"] == list(stops[:4])
    ask(max_stops=0).generate([request(stop=stops)])
    assert "stop" not in bodies(httpserver)[1]


def test_nothing_is_sent_that_could_pass_the_ceiling(httpserver: HTTPServer, ask: Ask) -> None:
    """A reply token costs 1, a reply has at most 8 and takes 2: with 25 to spend, the ninth could end at 16 + 8 = 24,
    the tenth at 18 + 8 = 26. All nine are handed out before the error."""
    httpserver.expect_request(CHAT).respond_with_json(answer())
    for concurrency in (1, 4):
        httpserver.clear_log()
        generator = ask(concurrency=concurrency, prices={"reply": 1e6}, ceiling=25)
        generator.submit([request(str(number)) for number in range(20)])
        collected: list[Completion] = []
        with pytest.raises(RunError, match=r"cost ceiling: 18 of 25 is spent, and the next request may cost 8"):
            drain(generator, collected)
        assert len(collected) == len(httpserver.log) == 9


def test_requests_are_spaced_evenly() -> None:
    """120 requests a minute are one each half second; 600 tokens a minute are ten a second, what was not used is
    given back."""
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    pace = Pace(120, None, clock=lambda: now[0], wait=wait)
    times = []
    for _ in range(3):
        pace.take(100)
        times.append(now[0])
    assert times == [0.0, 0.5, 1.0]
    now[0], times = 0.0, []
    pace = Pace(None, 600, clock=lambda: now[0], wait=wait)
    for used in (20, 5, 20):
        pace.take(20)
        times.append(now[0])
        pace.give_back(20 - used)
    assert times == [0.0, 2.0, 2.5]


def test_whole_prompts_go_to_completions(httpserver: HTTPServer, ask: Ask) -> None:
    """As text, or as token ids, of which the server must count as many."""
    choice = {"index": 0, "text": " 4", "finish_reason": "stop", "logprobs": {"token_logprobs": [-0.5, -0.25]}}
    httpserver.expect_request("/v1/completions").respond_with_json(answer(choices=[choice]))
    generator = ask(api="completions", logprobs=True, length="max_completion_tokens", leave_out=("seed", "top_p"))
    sampling = Sampling(max_new_tokens=8, temperature=0.0)
    (reply,) = generator.generate([GenerationRequest("a", (), sampling, 7, text="2 + 2 =")])
    assert (reply.text, reply.logprobs, reply.token_ids) == (" 4", (-0.5, -0.25), (UNKNOWN_ID,) * 2)
    generator = ask(api="completions", tokenizer="anywhere")
    assert generator.generate([GenerationRequest("a", (5, 6, 7), sampling, 7)])[0].prompt_ids == (5, 6, 7)
    with pytest.raises(ModelError, match=r"2 prompt tokens were sent and the server counted 3.*a BOS of its own"):
        generator.generate([GenerationRequest("a", (5, 6), sampling, 7)])
    asked = bodies(httpserver)
    assert asked[0] == {
        "model": "tiny", "prompt": "2 + 2 =", "max_completion_tokens": 8, "temperature": 0.0, "logprobs": 1
    }  # fmt: skip
    assert asked[1]["prompt"] == [5, 6, 7]


def test_a_begun_reply_is_gone_on_with_only_where_the_server_does(httpserver: HTTPServer, ask: Ask) -> None:
    httpserver.expect_request(CHAT).respond_with_json(answer())
    turns = (Message("user", "2 + 2?"), Message("assistant", "It is"))
    begun = GenerationRequest("a", (), Sampling(max_new_tokens=8), 7, messages=turns)
    with pytest.raises(ModelError, match=r"the task begins the reply \('It is'\), and a chat endpoint begins its own"):
        ask().generate([begun])
    ask(prefill="continue").generate([begun])
    ask(prefill="drop").generate([begun])
    continued, dropped = bodies(httpserver)
    assert [turn["role"] for turn in continued["messages"]] == ["user", "assistant"]
    assert (continued["continue_final_message"], continued["add_generation_prompt"]) == (True, False)
    assert [turn["role"] for turn in dropped["messages"]] == ["user"]
    assert "continue_final_message" not in dropped


def test_folders_and_endpoints_are_told_apart(tmp_path: Any) -> None:
    from aftertrain.plugins.generation.settings import TransformersSettings
    from aftertrain.plugins.generation.transformers import Transformers

    remote = OpenAI(OpenAISettings(), None)  # type: ignore[arg-type]
    with pytest.raises(
        ModelError, match=r"asks an endpoint, and the model .* is none: write it as http://HOST/v1#NAME"
    ):
        remote.open(str(tmp_path))
    with pytest.raises(ModelError, match="names no model"):
        remote.open("http://localhost:8000/v1")
    local = Transformers(TransformersSettings(), None)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match=r"runs a model folder, and .* is an endpoint: set generator: openai"):
        local.preflight("http://localhost:8000/v1#tiny")
    with pytest.raises(ModelError, match="weights cannot be replaced"):
        remote.update_weights([], 1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"extra": {"model": "other", "n": 2}}, "model, n: set by the task, or by another setting"),
        ({"ceiling": 1.0}, "without prices nothing costs anything"),
        ({"tokenizer": "folder"}, "it is for api: completions, and api is chat"),
    ],
)
def test_settings_that_do_nothing_are_refused(settings: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        OpenAISettings(**settings)

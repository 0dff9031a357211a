"""The server's line and end: what is asked and told over it, and each way in which a server fails, by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from aftertrain.core.errors import AftertrainError, NumericsError, RunError
from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.plugins.vllm_generator.generator import Vllm

Make = Callable[..., Vllm]
PATIENCE = 30.0


def requests(n: int = 3, **sampling: object) -> list[GenerationRequest]:
    """Prompts of i and i + 1."""
    drawn = Sampling.model_validate({"max_new_tokens": 8, **sampling})
    return [GenerationRequest(f"r{i}", (i + 10, i + 11), drawn, i) for i in range(n)]


def toy(request: GenerationRequest, n: int = 8, version: int = 0) -> tuple[int, ...]:
    """By hand: the toy's tokens."""
    start = sum(request.prompt_ids) + 7 * request.seed + 13 * version
    return tuple(100 + (start + 31 * i) % 100 for i in range(n))


def gone(process: int) -> bool:
    """Whether no process of the group is left; one that nobody waited for yet counts as gone."""
    try:
        os.killpg(process, 0)
    except ProcessLookupError:
        return True
    states = subprocess.run(["ps", "-o", "stat=", "-g", str(process)], capture_output=True, text=True, check=False)
    return all(line.strip().startswith("Z") for line in states.stdout.splitlines())


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def test_replies_come_whole_and_in_the_order_of_the_requests(make_generator: Make) -> None:
    generator = make_generator()
    for _ in range(2):
        replies = generator.generate(requests(5), PATIENCE)
        assert [reply.id for reply in replies] == [f"r{i}" for i in range(5)]
        assert [reply.token_ids for reply in replies] == [toy(request) for request in requests(5)]
        assert {reply.logprobs for reply in replies} == {(-1.0,) * 8}
        assert {reply.versions for reply in replies} == {(3,) * 8}
        assert {reply.finish_reason for reply in replies} == {"length"}


def test_more_prompts_than_a_socket_holds_go_and_come(make_generator: Make) -> None:
    """Frames of several megabytes, while replies with a stop string are told token by token."""
    generator = make_generator(context=100_000)
    long = [
        GenerationRequest(f"r{i}", tuple(range(1, 300)) * 30, Sampling(max_new_tokens=200, stop=("#",)), i)
        for i in range(60)
    ]
    generator.submit(long[:30])
    generator.submit(long[30:])
    replies = {reply.id: reply for _ in range(60) if generator.in_flight for reply in generator.collect(PATIENCE)}
    assert [replies[request.id].token_ids for request in long] == [toy(request, 200) for request in long]


def test_what_the_server_prints_is_no_message(make_generator: Make) -> None:
    generator = make_generator(fault="prints")
    assert [reply.token_ids for reply in generator.generate(requests(), PATIENCE)] == [toy(r) for r in requests()]


def test_a_reply_is_cut_where_the_context_ends(make_generator: Make) -> None:
    generator = make_generator(context=12)
    (reply,) = generator.generate(requests(1, max_new_tokens=50), PATIENCE)
    assert (len(reply.token_ids), reply.finish_reason) == (10, "length")


@pytest.mark.parametrize(
    ("prompt", "why"),
    [((), "has no prompt"), ((5,) * 64, "fills the context of 64"), ((5, 320), "token 320, the model knows 320")],
)
def test_requests_that_cannot_be_made(make_generator: Make, prompt: tuple[int, ...], why: str) -> None:
    generator = make_generator()
    bad = GenerationRequest("bad", prompt, Sampling(max_new_tokens=4), 0)
    with pytest.raises((AftertrainError, ValueError), match=why):
        generator.submit([requests(1)[0], bad])
    assert generator.in_flight == set()
    generator.submit(requests(1))
    with pytest.raises(ValueError, match="in flight already"):
        generator.submit(requests(1))


def test_cancelled_ones_do_not_come_even_under_the_same_name(make_generator: Make) -> None:
    """Tokens of the first that are on their way must not be taken for the second's."""
    generator = make_generator()
    first = requests(3, stop=("#",), max_new_tokens=60)
    generator.submit(first)
    generator.cancel(["r1"])
    generator.submit([GenerationRequest("r1", (50,), Sampling(max_new_tokens=5), 9)])
    replies = {}
    while part := generator.collect(PATIENCE):
        replies |= {reply.id: reply.token_ids for reply in part}
    assert replies == {
        "r0": toy(first[0], 60),
        "r2": toy(first[2], 60),
        "r1": toy(GenerationRequest("", (50,), Sampling(), 9), 5),
    }
    generator.submit(first)
    generator.cancel()
    assert generator.collect(PATIENCE) == []


FAULTS = {
    "dies": "is gone, with status 3",
    "is killed": "is gone, killed by SIGKILL",
    "raises": "failed to generate: RuntimeError: the cache is full",
    "hangs": r"has said nothing for 2 s; a reply \(3 under way\) was waited for",
    "idle": r"has said nothing for 2 s; a reply \(3 under way\) was waited for",
    "garbage": "sent what is no message",
    "short": "broke its word on request 'r0': 7 tokens of 8, and none ends a reply",
    "abort": "broke its word on request 'r0': ended by 'abort'",
    "goes on": "broke its word on request 'r0': went on after its end token, for 6 tokens",
    "alien": r"broke its word on request 'r0': token ids \[327, .* of a vocabulary of 320",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_is_named_and_ended(make_generator: Make, fault: str) -> None:
    generator = make_generator(fault=fault, patience=2)
    process = generator.server_process
    generator.submit(requests())
    with pytest.raises(RunError, match=f"the vLLM server {FAULTS[fault]}") as raised:
        generator.collect(PATIENCE)
    assert "its last output:\n" in str(raised.value)
    assert "loading with" in str(raised.value)
    assert gone(process)
    with pytest.raises(RunError, match="the vLLM server"):
        generator.submit(requests())


def test_a_failed_server_can_be_opened_anew(make_generator: Make, tiny_model: Path) -> None:
    generator = make_generator(fault="dies")
    with pytest.raises(RunError, match="status 3"):
        generator.generate(requests(), PATIENCE)
    generator.open(str(tiny_model))
    generator.generate(requests(1, max_new_tokens=2), PATIENCE)


def test_logits_that_are_not_finite_are_told_of_the_model(make_generator: Make) -> None:
    generator = make_generator(fault="nan")
    with pytest.raises(NumericsError, match="its weights are broken"):
        generator.generate(requests(), PATIENCE)


def test_nothing_finished_in_time_is_no_failure(make_generator: Make) -> None:
    generator = make_generator(fault="hangs")
    generator.submit(requests())
    with pytest.raises(TimeoutError, match=r"a reply \(3 under way\) did not come in 0.3 s"):
        generator.collect(0.3)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("import", "failed to import vllm: ImportError: libcuda.so.1"),
        ("load", "failed to load the model: ValueError: To serve at least one request"),
        ("slow load", "has said nothing for 3 s; the model .*, loaded was waited for"),
    ],
)
def test_a_server_that_does_not_come_up(make_generator: Make, fault: str, said: str) -> None:
    with pytest.raises(RunError, match=f"the vLLM server {said}"):
        make_generator(fault=fault, start_timeout=3 if fault == "slow load" else 60)


def test_the_server_ends_with_close_and_leaves_no_file(make_generator: Make) -> None:
    generator = make_generator()
    process, folder = generator.server_process, generator._opened().server._folder
    assert not gone(process)
    assert folder.exists()
    generator.close()
    generator.close()
    assert gone(process)
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="open the generator"):
        generator.collect()


DIES = """
import os, sys, signal
from pathlib import Path
from aftertrain.plugins.vllm_generator.environment import Place
from aftertrain.plugins.vllm_generator.server import Server
server = Server(Place(sys.argv[1], "0.32.0"), own=False, variables={}, patience=60)
server.expect("hello", 60, "its start")
if sys.argv[2] == "busy":
    server.tell({"do": "open", "model": "x", "version": 0, "options": {"max_model_len": None}})
print(server.process_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] == "busy" else None
"""


@pytest.mark.parametrize("how", ["idle", "busy"])
def test_the_server_dies_with_whoever_started_it(make_python: Callable[..., str], how: str) -> None:
    """Killed, so that nothing of ours can end it; and at a normal end without `close`. Loading, it hears of nothing."""
    command = [sys.executable, "-c", DIES, make_python(fault="slow load"), how]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == (-signal.SIGKILL if how == "busy" else 0), ended.stderr
    assert eventually(lambda: gone(int(ended.stdout)))

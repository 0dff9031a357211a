"""The server: run as a script by an interpreter that has vllm and need not have aftertrain.

    python worker.py DESCRIPTOR

It talks over the socket of that descriptor in frames: a magic word, the lengths of a JSON object and of raw bytes, and
these two. Nothing is pickled. It says `hello`, is told to `open` a model, and is then told to `submit`, `cancel` and
`update`; between what it is told it makes one step after the other. Token ids come and go; texts, stop strings and all
checks are the other side's. It ends when the other side does.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

HEAD = struct.Struct("!4sIQ")
MAGIC = b"ATV1"
LARGEST_MESSAGE = 1 << 30
"""Bytes of a frame's JSON object."""
HEARTBEAT = 1.0
"""Seconds after which tokens are told of that belong to no finished reply."""


class Garbled(Exception):
    """The bytes are no frame."""


def pack(message: dict[str, Any], payload: int = 0) -> bytes:
    """A frame without its raw bytes, of which `payload` are to follow."""
    text = json.dumps(message, separators=(",", ":")).encode()
    return HEAD.pack(MAGIC, len(text), payload) + text


def sizes(head: bytes) -> tuple[int, int]:
    """Lengths of the object and the raw bytes that follow a head of `HEAD.size` bytes.

    Raises:
        Garbled: it is no head.
    """
    magic, text, payload = HEAD.unpack(head)
    if magic != MAGIC or text > LARGEST_MESSAGE:
        raise Garbled(f"{head!r}")
    return text, payload


class Line:
    """The server's end."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection

    def say(self, said: str, **more: Any) -> None:
        """Send a message."""
        self.connection.sendall(pack({"said": said, **more}))

    def waiting(self, timeout: float | None) -> bool:
        """Whether a message comes within `timeout` seconds."""
        return bool(select.select([self.connection], [], [], timeout)[0])

    def receive(self) -> tuple[dict[str, Any], bytearray]:
        """The next message and its raw bytes; the process ends where the other side has."""
        text, payload = sizes(bytes(self._read(HEAD.size)))
        message: dict[str, Any] = json.loads(bytes(self._read(text)))
        return message, self._read(payload)

    def _read(self, count: int) -> bytearray:
        data = bytearray(count)
        view, place = memoryview(data), 0
        while place < count:
            got = self.connection.recv_into(view[place:])
            if got == 0:
                os._exit(0)
            place += got
        return data


class Engine:
    """vLLM's engine in this process, so that a step is ours to make and weights are handed on as they come."""

    def __init__(self, model: str, options: dict[str, Any]) -> None:
        import vllm

        self.vllm = vllm
        arguments = vllm.EngineArgs(
            model=model,
            skip_tokenizer_init=True,
            trust_remote_code=False,
            logprobs_mode="processed_logprobs",
            async_scheduling=False,
            disable_log_stats=True,
            **_share_of_gpu(),
            **options,
        )
        self.engine = vllm.LLMEngine.from_engine_args(arguments)

    @property
    def facts(self) -> dict[str, Any]:
        """What requests must respect."""
        config = self.engine.vllm_config.model_config
        return {"context": int(config.max_model_len), "vocabulary": int(config.get_vocab_size())}

    def add(self, request: dict[str, Any]) -> None:
        parameters = self.vllm.SamplingParams(
            **request["sampling"],
            seed=request["seed"],
            stop_token_ids=request["stop_token_ids"],
            # Which tokens end a reply is said in full by the line above.
            ignore_eos=True,
            detokenize=False,
            logprobs=0,
            output_kind=self.vllm.sampling_params.RequestOutputKind.DELTA,
        )
        self.engine.add_request(request["id"], {"prompt_token_ids": request["prompt"]}, parameters)

    def step(self) -> Iterator[tuple[str, list[int], list[float], str | None]]:
        """One step: for each reply that it made tokens of, its id, the tokens, their log-probabilities, and its end."""
        for output in self.engine.step():
            (reply,) = output.outputs
            ids = list(reply.token_ids)
            told = [place[token].logprob for token, place in zip(ids, reply.logprobs, strict=True)]
            yield output.request_id, ids, told, reply.finish_reason if output.finished else None

    def cancel(self, ids: list[str]) -> None:
        self.engine.abort_request(ids)

    def update(self, weights: Iterator[tuple[str, Any]], renew: list[str]) -> None:
        """Replace weights in place, and make anew what was made of the old ones."""
        self.engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        # On CPU a head's product keeps a copy of the weights that it was made with, and a head that is tied to the
        # embedding has none of its own that would be loaded: it would go on with the old ones.
        if "heads" in renew:
            self.engine.apply_model(refresh_heads)
        # Replies under way are put back, and begin by computing their prompts and all that they said.
        if "cache" in renew and not self.engine.reset_prefix_cache(reset_running_requests=True):
            raise RuntimeError("vllm did not drop its prefix cache")


def refresh_heads(model: Any) -> int:
    """Make anew what a CPU keeps of tied heads; returns how many there are."""
    heads = [
        module
        for module in model.modules()
        if hasattr(module, "cpu_linear") and hasattr(module, "num_embeddings_padded") and module.weight.numel()
    ]
    for head in heads:
        from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

        dispatch_cpu_unquantized_gemm(head, remove_weight=False)
    return len(heads)


def _share_of_gpu() -> dict[str, float]:
    """What vLLM is to find free at its start; how much it takes is said by the size of its cache."""
    torch: Any = sys.modules.get("torch")  # imported by vllm
    if torch is None or not torch.cuda.is_available():
        return {}
    free, total = torch.cuda.mem_get_info()
    return {"gpu_memory_utilization": 0.95 * free / total}


class Server:
    """What is told, done."""

    def __init__(self, line: Line, engine: Any, version: int) -> None:
        self.line, self.engine, self.version = line, engine, version
        self.replies: dict[str, dict[str, Any]] = {}
        self.sums: dict[str, int] = {}
        self.made, self.spoke = 0, time.monotonic()
        self.at = "generate"

    def run(self) -> None:
        """Serve until the other side is gone."""
        while True:
            while self.line.waiting(0.0 if self.replies else None):
                self.obey(*self.line.receive())
            self.step()

    def obey(self, message: dict[str, Any], payload: bytearray) -> None:
        """Do what one message tells."""
        if message["do"] == "submit":
            for request in message["requests"]:
                self.replies[request["id"]] = {"ids": [], "logprobs": [], "versions": [], "told": request["told"]}
                self.engine.add(request)
        elif message["do"] == "cancel":
            ids = [name for name in message["ids"] if self.replies.pop(name, None) is not None]
            self.engine.cancel(ids)
        elif message["do"] == "update":
            self.at = "replace weights"
            self.sums = {}
            self.engine.update(self.weights(message["weights"]), message["renew"])
            self.version, self.at = message["version"], "generate"
            self.line.say("updated", version=self.version, checksums=self.sums)
        else:
            raise Garbled(f"{message!r:.200}")

    def weights(self, described: list[Any]) -> Iterator[tuple[str, Any]]:
        """The weights of an update as they come; each is memory of its own, because vLLM holds on to some."""
        import torch

        for name, shape, dtype in described:
            message, payload = self.line.receive()
            if message.get("weight") != name:
                raise Garbled(f"weight {name!r} was to come: {message!r:.200}")
            data = torch.frombuffer(payload, dtype=torch.uint8) if payload else torch.empty(0, dtype=torch.uint8)
            weight = data.view(getattr(torch, dtype)).view(shape)
            self.sums[name] = checksum(weight)
            yield name, weight

    def step(self) -> None:
        """One step; tells replies that are done, the tokens of those whose stop strings are looked for, or life."""
        words: list[dict[str, Any]] = []
        for name, ids, logprobs, reason in self.engine.step():
            reply = self.replies.get(name)
            if reply is None:
                continue
            self.made += len(ids)
            reply["ids"] += ids
            reply["logprobs"] += logprobs
            reply["versions"] += [self.version] * len(ids)
            if reply["told"] or reason is not None:
                parts = {key: reply[key] for key in ("ids", "logprobs", "versions")}
                words.append({"id": name, "reason": reason, **parts})
                reply["ids"], reply["logprobs"], reply["versions"] = [], [], []
            if reason is not None:
                del self.replies[name]
        # Steps that make nothing are no sign of life: who waits for them must come to know.
        now = time.monotonic()
        if words or (self.made and now - self.spoke > HEARTBEAT):
            self.line.say("tokens", replies=words)
            self.spoke, self.made = now, 0


def checksum(weight: Any) -> int:
    """As `aftertrain.core.packed.checksum` of the other side, which is not to be imported here."""
    import torch

    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    flat, block = weight.reshape(-1), 1 << 16
    places = torch.arange(1, 2 * block, 2)
    total = torch.zeros((), dtype=torch.int64)
    for start in range(0, flat.numel(), block):
        bits = flat[start : start + block].view(whole[flat.element_size()]).long()
        total += (places[: len(bits)] * bits).sum() + 2 * start * bits.sum()
    return int(total) & ((1 << 64) - 1)


def end_with(connection: socket.socket, parent: int) -> None:
    """End this process and its children when the other side closes its end or dies, whatever vLLM is at."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    while os.getppid() == parent and not poll.poll(500):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    """Serve the socket whose descriptor is the only argument."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path != here]  # what lies beside this file is no package of vLLM's
    threading.Thread(target=end_with, args=(connection, os.getppid()), daemon=True).start()
    line, server = Line(connection), None
    at = "import vllm"
    try:
        import vllm

        line.say("hello", vllm=vllm.__version__)
        message, _ = line.receive()
        at = "load the model"
        engine = Engine(message["model"], message["options"])
        line.say("ready", **engine.facts)
        server = Server(line, engine, message["version"])
        server.run()
    except BaseException as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        traceback.print_exc()
        sys.stderr.flush()
        line.say("failed", at=server.at if server else at, error=f"{type(error).__name__}: {error}")
        os._exit(1)


if __name__ == "__main__":
    main()

"""A server in this process that speaks the OpenAI API for a model folder: what generators of endpoints are tried on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aftertrain.core.generator import GenerationRequest, Sampling
from aftertrain.core.records import Completion, Message
from aftertrain.core.text.chat import encode, load_tokenizer, render_text
from aftertrain.testing.build import build
from aftertrain.testing.model import plain_logits

NAME = "tiny"


@contextmanager
def served(folder: str, *, echo: bool = True) -> Iterator[str]:
    """Serve a model folder at `http://127.0.0.1:PORT/v1#tiny` while the context lasts.

    Both /chat/completions and /completions (text or token ids) are answered by the generator `transformers`, so that
    a reply depends on prompt, sampling and seed alone. Log-probabilities are of transformers' own forward.

    Args:
        echo: False refuses to echo prompts, as most servers do.
    """
    speaker = _Speaker(folder, echo=echo)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the name is http.server's
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, said = speaker.say(self.path, body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1#{NAME}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Speaker:
    def __init__(self, folder: str, *, echo: bool) -> None:
        self._folder, self._echo = folder, echo
        self._tokenizer = load_tokenizer(folder, needs_template=False)
        self._generator = build("generator", "transformers", device="cpu")
        self._generator.open(folder)
        self._lock = threading.Lock()

    def say(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and answer."""
        if body["model"] != NAME or path not in ("/v1/chat/completions", "/v1/completions"):
            return 404, {"error": {"message": f"no {body['model']} at {path}"}}
        with self._lock:
            if body.get("echo"):
                return self._echoed(body) if self._echo else (400, {"error": {"message": "echo is not supported"}})
            ids = self._prompt(body)
            reply = self._reply(ids, body)
        chat = path.endswith("chat/completions")
        said = {"message": {"role": "assistant", "content": reply.text}} if chat else {"text": reply.text}
        return 200, _answer({**said, "finish_reason": reply.finish_reason}, len(ids), len(reply.token_ids))

    def _prompt(self, body: Mapping[str, Any]) -> list[int]:
        if "messages" not in body:
            prompt = body["prompt"]
            return encode(self._tokenizer, prompt, special=True) if isinstance(prompt, str) else list(prompt)
        turns = [Message(turn["role"], turn["content"]) for turn in body["messages"]]
        begun = turns.pop().content if body.get("continue_final_message") else ""
        text = render_text(self._tokenizer, turns, generation_prompt=True) + begun
        return encode(self._tokenizer, text, special=False)

    def _reply(self, ids: list[int], body: Mapping[str, Any]) -> Completion:
        temperature = body.get("temperature", 1.0)
        drawn = {"top_p": body.get("top_p", 1.0)} if temperature else {}  # a setting that does nothing is refused
        sampling = Sampling(
            max_new_tokens=body["max_tokens"], temperature=temperature, stop=tuple(body.get("stop", ())), **drawn
        )
        (reply,) = self._generator.generate([GenerationRequest("a", tuple(ids), sampling, body.get("seed", 0))])
        return reply  # type: ignore[no-any-return]  # built by name

    def _echoed(self, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        import torch

        ids = torch.tensor(self._prompt(body))
        logprobs = torch.log_softmax(plain_logits(self._folder, ids), -1)[:-1]
        own = logprobs.gather(1, ids[1:, None])[:, 0].tolist()
        best, likeliest = logprobs.max(-1)
        # As vLLM's: the likeliest beside the token itself, each by its text.
        tops = [
            {self._tokenizer.decode([token]): value, self._tokenizer.decode([top]): high}
            for token, value, top, high in zip(ids[1:].tolist(), own, likeliest.tolist(), best.tolist(), strict=True)
        ]
        given = {"token_logprobs": [None, *own, -1.0], "top_logprobs": [None, *tops, {"": -1.0}]}
        return 200, _answer({"text": "", "finish_reason": "length", "logprobs": given}, len(ids), 1)


def _answer(choice: Mapping[str, Any], prompt: int, reply: int) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": reply}
    return {"model": NAME, "choices": [{"index": 0, **choice}], "usage": usage}

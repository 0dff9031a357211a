"""Runs tasks of the package `verifiers` for aftertrain, in a Python where that package is installed.

Started by path; standard library, `verifiers` (0.4) and aiohttp, which that needs itself. Nothing of aftertrain is
imported. A task runs its own loop and asks an endpoint for each reply: the endpoint is here, and hands what it is asked
to aftertrain. One line of JSON for each order, in and out; what tasks print goes to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

MODEL = "policy"


class Exchange:
    """One episode: what its loop asks, and what it is told."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.episode: asyncio.Task[Any] | None = None
        self.messages: list[dict[str, Any]] = []
        self.question: dict[str, Any] | None = None


class Host:
    """A taskset's environment, its endpoint, and the episodes that are going."""

    def __init__(self, env: Any, url: str) -> None:
        import verifiers.v1 as vf
        from verifiers.v1.clients import ModelContext

        self._env, self._tasks = env, list[Any]()
        self._source = iter(env.taskset)
        os.environ["AFTERTRAIN_POLICY_KEY"] = "none"
        client = vf.EvalClientConfig(base_url=url, api_key_var="AFTERTRAIN_POLICY_KEY")
        self._context = ModelContext(model=MODEL, client=client)
        self.by_trace: dict[str, Exchange] = {}
        self._exchanges: dict[int, Exchange] = {}

    def task(self, index: int) -> Any:
        """The task of that number; a taskset may be endless."""
        while len(self._tasks) <= index:
            self._tasks.append(next(self._source))
        return self._tasks[index]

    async def obey(self, order: dict[str, Any]) -> dict[str, Any]:
        """What comes of one order."""
        what = order["what"]
        if what == "tasks":
            return {"tasks": [self._told(task) for task in self._some(order["count"])]}
        if what == "tools":
            question = await self._begin(-1, self.task(0))
            await self._drop(-1)
            return {"tools": (question or {}).get("tools") or []}
        if what == "reset":
            question = await self._begin(order["key"], self.task(order["index"]))
            if question is None:
                raise RuntimeError("the task was over before anything was asked of the policy")
            return {"messages": question["messages"]}
        if what == "drop":
            await self._drop(order["key"])
            return {}
        exchange = self._exchanges[order["key"]]
        if what == "finish":
            return {"earned": self._earned(exchange)}
        exchange.told.put_nowait(order["reply"])
        return await self._next(exchange)

    def _some(self, count: int) -> list[Any]:
        with suppress(StopIteration):
            self.task(count - 1)
        return self._tasks[:count]

    @staticmethod
    def _told(task: Any) -> dict[str, Any]:
        data = task.data
        prompt = data.prompt if isinstance(data.prompt, str) or data.prompt is None else None
        turns = [m.model_dump(include={"role", "content"}) for m in data.prompt] if prompt is None else []
        if isinstance(data.prompt, str):
            turns = [{"role": "user", "content": data.prompt}]
        system = [{"role": "system", "content": data.system_prompt}] if data.system_prompt else []
        return {"index": data.idx, "messages": [*system, *turns]}

    async def _begin(self, key: int, task: Any) -> dict[str, Any] | None:
        exchange = self._exchanges[key] = Exchange()

        def minted(trace: Any) -> None:
            self.by_trace[trace.id] = exchange

        exchange.episode = asyncio.create_task(self._env.run_episode(task, self._context, on_trace=minted))
        exchange.episode.add_done_callback(lambda _: exchange.asked.put_nowait(None))
        exchange.question = await exchange.asked.get()
        if exchange.question is None:
            self._earned(exchange)
            return None
        exchange.messages = exchange.question["messages"]
        return exchange.question

    async def _next(self, exchange: Exchange) -> dict[str, Any]:
        before = exchange.messages
        exchange.question = await exchange.asked.get()
        if exchange.question is None:
            self._earned(exchange)
            return {"messages": [], "done": True}
        messages = exchange.question["messages"]
        known = len(before) + 1
        if messages[: len(before)] != before or messages[known - 1]["role"] != "assistant":
            raise RuntimeError(
                "the task's loop has changed earlier messages: its replies are no longer one conversation"
            )
        exchange.messages = messages
        return {"messages": messages[known:], "done": False}

    def _earned(self, exchange: Exchange) -> float:
        """The trace's reward; 0 of an episode that was cut off. What failed in it is raised."""
        if exchange.episode is None or not exchange.episode.done():
            return 0.0
        episode = exchange.episode.result()
        faults = [*episode.errors, *(error for trace in episode.traces for error in trace.errors)]
        if faults:
            raise RuntimeError(f"{faults[0].type}: {faults[0].message}"[:2000])
        return float(episode.traces[0].reward)

    async def _drop(self, key: int) -> None:
        exchange = self._exchanges.pop(key, None)
        if exchange is not None and exchange.episode is not None and not exchange.episode.done():
            exchange.episode.cancel()
            await asyncio.gather(exchange.episode, return_exceptions=True)
        self.by_trace = {name: kept for name, kept in self.by_trace.items() if kept is not exchange}

    async def close(self) -> None:
        """Call off what is going."""
        for key in list(self._exchanges):
            await self._drop(key)

    async def answer(self, request: Any) -> Any:
        """The endpoint: hand a question on, and wait for the policy's reply."""
        from aiohttp import web

        exchange = self.by_trace.get(request.headers.get("X-Session-ID", ""))
        if exchange is None:
            return web.json_response({"error": {"message": "no such episode"}}, status=404)
        question = await request.json()
        exchange.asked.put_nowait(question)
        said = await exchange.told.get()
        calls = [
            {
                "index": index,
                "id": f"call-{uuid.uuid4().hex[:8]}",
                "type": "function",
                "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
            }
            for index, call in enumerate(said["calls"])
        ]
        message = {"role": "assistant", "content": said["text"], **({"tool_calls": calls} if calls else {})}
        reason = "tool_calls" if calls else "stop"
        whole = {"id": uuid.uuid4().hex, "created": 0, "model": MODEL}
        usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        if not question.get("stream"):
            choice = {"index": 0, "message": message, "finish_reason": reason}
            return web.json_response({**whole, "object": "chat.completion", "choices": [choice], "usage": usage})
        choice = {"index": 0, "delta": message, "finish_reason": reason}
        chunk = {**whole, "object": "chat.completion.chunk", "choices": [choice], "usage": usage}
        return web.Response(body=f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", content_type="text/event-stream")


def here(runtime: Any) -> None:
    """Let a harness's script run in this Python: what it needs is installed beside verifiers."""

    async def prepare(self: Any, script: str | bytes, env: Any = None, *, activate: bool = True) -> list[str]:
        path = Path(self.scripts_dir) / f"{uuid.uuid5(uuid.NAMESPACE_OID, str(script)).hex}.py"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{uuid.uuid4().hex}")
            draft.write_bytes(script.encode() if isinstance(script, str) else script)
            draft.replace(path)
        return [sys.executable, str(path)]

    runtime.prepare_uv_script = prepare


async def serve(answers: Any) -> None:
    """Load the taskset that the first line names, and obey until there are no more lines."""
    from aiohttp import web
    from verifiers.v1.runtimes.subprocess import SubprocessRuntime
    from verifiers.v1.utils.loaders import load_environment, resolve_env_config

    here(SubprocessRuntime)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=2**26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    asked = json.loads(await lines.readline())
    seat = {"harness": {"id": "null"}, "runtime": {"type": "subprocess"}}
    seats = dict.fromkeys(asked["roles"], seat)
    env = load_environment(resolve_env_config({**seats, "taskset": {"id": asked["taskset"], **asked["options"]}}))
    app = web.Application(client_max_size=2**26)
    runner = web.AppRunner(app)
    hosts: list[Host] = []

    async def asked_for_a_reply(request: Any) -> Any:
        return await hosts[0].answer(request)

    app.router.add_post("/v1/chat/completions", asked_for_a_reply)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    hosts.append(Host(env, f"http://127.0.0.1:{port}/v1"))
    async with env.serving():
        _send(answers, {})
        while line := await lines.readline():
            try:
                answer = await hosts[0].obey(json.loads(line))
            except Exception as error:  # noqa: BLE001 - told to aftertrain, whose rollout it ends
                answer = {"failed": f"{type(error).__name__}: {error}"}
            _send(answers, answer)
        await hosts[0].close()
        os._exit(0)  # servers of its own may linger


def _send(answers: Any, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    # A module beside this file has the name of the package.
    sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != Path(__file__).resolve().parent]
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        asyncio.run(serve(answers))
    except Exception as error:
        _send(answers, {"failed": f"{type(error).__name__}: {error}"})
        raise

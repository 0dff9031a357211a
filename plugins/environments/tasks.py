"""The tasks of a taskset of the package `verifiers`, as problems."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from aftertrain.core.dataset import Dataset
from aftertrain.core.errors import DataError
from aftertrain.core.records import Problem
from aftertrain.plugins.environments.settings import TasksSettings
from aftertrain.plugins.environments.verifiers import Host, message_of


class Tasks(Dataset[TasksSettings]):
    """The first tasks, whose ids name taskset and number; the environment `verifiers` plays them."""

    Config = TasksSettings

    @property
    def record_type(self) -> type[Problem]:
        """Problems without checks: the task's own rewards count."""
        return Problem

    def __iter__(self) -> Iterator[Problem]:
        """The problems.

        Raises:
            DataError: a task leaves the opening to its loop, and has no prompt of its own.
        """
        for task in self._tasks:
            name = f"{self.settings.taskset}-{task['index']}"
            messages = tuple(map(message_of, task["messages"]))
            if not messages:
                raise DataError(f"task {name}: it has no prompt of its own")
            yield Problem(name, messages, (), self.settings.taskset)

    def fingerprint(self) -> str:
        """Of what the tasks ask."""
        return hashlib.sha256(json.dumps(self._tasks, sort_keys=True).encode()).hexdigest()

    @functools.cached_property
    def _tasks(self) -> list[dict[str, Any]]:
        host = Host(self.settings)
        try:
            tasks: list[dict[str, Any]] = host.ask("tasks", count=self.settings.tasks)["tasks"]
        finally:
            host.close()
        return tasks

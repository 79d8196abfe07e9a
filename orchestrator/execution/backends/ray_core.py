"""The Ray Core backend: embedded and quiet, or attached to a cluster.

Ray retries nothing (the driver does, where class, budget and progress are known) and queues nothing (see the
scheduler). CPU workers stay warm between tasks; GPU tasks get a fresh process, so that device memory is
really free afterwards. A run of several workers gets a fresh process too, which holds nothing itself and has
Ray Train start them (`orchestrator.execution.ray_train`); it takes them with it when it ends.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from orchestrator.execution import worker
from orchestrator.execution.backends.base import Finished
from orchestrator.execution.capacity import Capacity, ClusterCapacity
from orchestrator.execution.scheduler import ScheduledTask
from orchestrator.failures import Failure, Outcome, failed
from orchestrator.store.store import Store
from trainers.machine.cores import usable_cores

OBJECT_STORE_BYTES = 100 * 2**20


class RayBackend:
    """Tasks on Ray Core. ``address`` attaches to a cluster (its token comes from the environment then); else
    Ray is started here, for this driver alone, with as many CPUs as this process may use."""

    def __init__(
        self,
        store: Store,
        *,
        address: str | None = None,
        cpus: int | None = None,
        gpus: int | None = None,
        execute: Callable[[dict[str, Any]], dict[str, Any]] = worker.execute,
        warm: Callable[[], int] | None = worker.warm,
    ) -> None:
        self._store = store
        self._address = address
        self._cpus = cpus
        self._gpus = gpus
        self._execute = execute
        self._warm = warm
        self._started = threading.Event()
        self._closing = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._start, name="ray-start", daemon=True)
        self._nodes: list[Capacity] = []
        self._largest = Capacity(0.0, 0.0)
        self._remote: dict[str, Any] = {}
        self._refs: dict[Any, str] = {}
        self._killed: set[str] = set()
        self._unsubmitted: list[Finished] = []

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        self._thread.start()

    def ready(self) -> bool:
        if self._error is not None:
            raise self._error
        return self._started.is_set()

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _start(self) -> None:
        """Start Ray, and stay: its processes die with the thread that started them (PR_SET_PDEATHSIG), not
        with the process."""
        try:
            self._connect()
        except BaseException as error:
            self._error = error
        self._started.set()
        self._closing.wait()
        import ray

        if ray.is_initialized():
            ray.shutdown()

    def _connect(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a task without GPUs sees none
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        if self._address is None:
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(self._store.token())
            os.environ.pop("RAY_ADDRESS", None)
        import logging

        import ray

        common: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "namespace": "crossover",
        }
        if self._address is not None:
            ray.init(address=self._address, **common)
        else:
            ray.init(
                num_cpus=self._cpus or usable_cores(),
                num_gpus=self._gpus,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **common,
            )
        self._nodes = _living_nodes()
        plain: dict[str, Any] = {"max_retries": 0, "num_cpus": 1}
        self._remote = {
            "warm": ray.remote(**plain)(self._execute),
            # `max_calls` can only be given here; it is what frees the device between runs
            "fresh": ray.remote(**plain, num_gpus=1, max_calls=1)(self._execute),
        }
        if self._warm is not None:
            warm = ray.remote(**plain)(self._warm)
            for _ in range(int(sum(node.cpus for node in self._nodes))):
                warm.remote()

    # ------------------------------------------------------------------ resources

    def capacity(self) -> ClusterCapacity:
        """Sum over living nodes. A cluster that was started elsewhere may grow; one started here does not."""
        self._started.wait()
        self.ready()
        if self._address is not None:
            self._nodes = _living_nodes()
        now = sum(self._nodes, Capacity(0.0, 0.0))
        self._largest |= now
        return ClusterCapacity(now, self._largest, may_grow=self._address is not None)

    def infeasible(self, task: ScheduledTask) -> str | None:
        self._started.wait()
        self.ready()
        wants = task.resources.each(task.workers)
        if sum(node.holds(wants) for node in self._nodes) >= task.workers:
            return None
        cpus = max((node.cpus for node in self._nodes), default=0.0)
        best = Capacity(cpus, max((node.gpus for node in self._nodes), default=0.0))
        who = "it" if task.workers == 1 else f"each of its {task.workers} workers"
        return (
            f"no node can run it: {who} wants {wants.cpus:g} CPUs and {wants.gpus:g} GPUs, "
            f"the largest nodes have {best.cpus:g} CPUs and {best.gpus:g} GPUs"
        )

    # ------------------------------------------------------------------ tasks

    def submit(self, task: ScheduledTask, payload: dict[str, Any]) -> None:
        alone = task.workers == 1
        kind = "fresh" if task.resources.gpus or not alone else "warm"
        options: dict[str, Any] = {"num_cpus": task.resources.cpus * alone, "name": task.title or task.key}
        if kind == "fresh":
            options["num_gpus"] = task.resources.gpus * alone
        try:
            self._refs[self._remote[kind].options(**options).remote(payload)] = task.key
        except Exception as error:  # a cluster that went away between two calls
            self._unsubmitted.append(Finished(task.key, failed(task.key, error)))

    def wait(self, seconds: float) -> list[Finished]:
        import ray

        ended, self._unsubmitted = self._unsubmitted, []
        if ended:
            return ended
        if not self._refs:
            threading.Event().wait(seconds)
            return []
        done, _ = ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0)
        if not done:
            done, _ = ray.wait(list(self._refs), num_returns=1, timeout=seconds)
        return [self._result(ref) for ref in done]

    def _result(self, ref: Any) -> Finished:
        import ray

        key = self._refs.pop(ref)
        try:
            return Finished(key, worker.outcome(ray.get(ref)))
        except Exception as error:  # the worker's process or node died, or it was killed from here
            if key in self._killed:
                self._killed.discard(key)
                return Finished(key, Outcome(key, "failed", Failure.HANG, "killed: no sign of life"))
            return Finished(key, failed(key, error))

    def kill(self, key: str) -> None:
        import ray

        for ref, name in self._refs.items():
            if name == key:
                self._killed.add(key)
                ray.cancel(ref, force=True)


def _living_nodes() -> list[Capacity]:
    import ray

    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [Capacity(has.get("CPU", 0.0), has.get("GPU", 0.0)) for has in resources]

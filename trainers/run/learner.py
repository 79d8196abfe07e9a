"""Weights, optimizer and average of one run, and the update that moves them: a pure function of config, data
and step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from trainers import models
from trainers.batch import Batch
from trainers.config import RunConfig, even_share
from trainers.flops import training_flops
from trainers.machine.layout import layout_of
from trainers.machine.workers import ALONE, Workers
from trainers.models.base import Backbone, Module, Term, added
from trainers.noise import Noise, stream_key
from trainers.state.checkpoint import Counters, Snapshot, Tensors

COMPILE_FLOPS = 1e17
"""Training FLOPs from which compiling pays on a card: some minutes of one."""


class Window:
    """Sums of what happened in the updates since the last point of the training curve."""

    def __init__(self) -> None:
        self.sums: Tensors = {}
        self.count = 0

    def add(self, values: dict[str, Tensor]) -> None:
        """Add one update's values (0-d); nothing waits for the device."""
        for name, value in values.items():
            value = value.detach().to(torch.float64)
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.count += 1

    def mean(self) -> dict[str, float]:
        """Means over the updates in the window."""
        return {name: float(total) / self.count for name, total in self.sums.items()}


class Learner:
    """One run's learner at ``step`` completed updates, ``tokens`` non-padding positions fed.

    ``inherited`` are the tokens and FLOPs of a parent's line, which are no part of its own. ``workers`` that
    share a run hold equal learners; ``ValueError`` where they cannot share its batch.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Any,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        workers: Workers = ALONE,
    ) -> None:
        even_share(config.batch_size, workers.size)
        self.config, self.dataset, self.device, self.workers = config, dataset, device, workers
        self.layout = layout_of(config.resources.layout, workers)
        model = models.build(config, device)
        model.to(dtype)
        self.model = self.layout.wrap(model)
        self.model.train()
        self.parameters = {n: p for n, p in self.model.named_parameters() if p.numel()}
        self.buffers = _saved_buffers(self.model)
        self.optimizer = config.optimizer.build(list(self.parameters.values()))
        self.average = _frozen_copy(self.model) if config.ema is not None else None
        self.compiled = wants_compiler(config, device)
        if self.compiled:
            self.model.compile()
        self.step = 0
        self.tokens = 0
        self.inherited: dict[str, float] = {"tokens": 0, "flops": 0}
        self.window = Window()
        self.observed: dict[str, Term] = {}

    @property
    def evaluated(self) -> Backbone:
        """The module that is evaluated: the average of the weights where there is one."""
        return self.model if self.average is None else self.average

    def lr(self) -> float:
        """Learning rate of the next update."""
        return self.config.optimizer.lr * self.config.schedule.factor(self.step, self.config.steps)

    def position(self) -> dict[str, float]:
        """Where training stands, as events tell it: step, tokens, epochs and FLOPs of its own."""
        tokens = self.tokens
        return {
            "step": self.step,
            "tokens": tokens,
            "epochs": tokens / self.dataset.unique_tokens,
            "flops": tokens * training_flops(self.config),
        }

    def update(self) -> None:
        """One optimizer step on one global batch."""
        config = self.config
        batch: Batch = self.dataset.batch(self.step, config.batch_size, config.seed)
        noise = Noise(config.seed, batch.counters, config.batch_size)
        self.tokens += int(config.objective.fed(batch, noise, self.step))
        start, stop = self.workers.rows(config.batch_size)
        # What draws from torch's own generator (dropout in a fused attention) depends on the step alone, and
        # on which sequences are this worker's.
        place = f"torch/{self.step}/{start}" if start else f"torch/{self.step}"
        _seed(stream_key(config.seed, place) & (2**63 - 1), self.device)
        self.optimizer.zero_grad(set_to_none=True)
        with self.workers.summed_changes(self.buffers.values()):
            losses = self.gradients(batch.rows(start, stop).to(self.device))
        norm = self.layout.clip(list(self.parameters.values()), config.optimizer.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr()
        self.optimizer.step()
        self._follow()
        terms = {f"term/{name}": value for name, value in losses.items()} if len(losses) > 1 else {}
        metrics = {f"metric/{name}": value for name, value in self._metrics().items()}
        loss = torch.stack(list(losses.values())).sum()
        self.window.add({"loss": loss, "grad_norm": norm, **terms, **metrics})
        self.step += 1

    def gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Accumulate the gradient of the global batch, of which ``batch`` is this worker's share; each term's
        value, divided by the whole batch's denominator.
        """
        parts = list(self._parts(batch))
        if len(parts) == 1:
            terms = self._terms(parts[0])
            whole = self.workers.sum({name: t.denominator for name, t in terms.items()})
            scaled = {name: t.numerator / whole[name] for name, t in terms.items()}
            torch.stack(list(scaled.values())).sum().backward()
            values = {name: value.detach() for name, value in scaled.items()}
        else:
            values = self._accumulated(parts)
        self.layout.reduce(list(self.parameters.values()))
        return self.workers.sum(values)

    def _metrics(self) -> dict[str, Tensor]:
        """The model's metrics over the whole batch of this update."""
        observed, self.observed = self.observed, {}
        if not observed:
            return {}
        above = self.workers.sum({name: term.numerator for name, term in observed.items()})
        below = self.workers.sum({name: term.denominator for name, term in observed.items()})
        return {name: above[name] / below[name] for name in observed}

    def _accumulated(self, parts: list[Batch]) -> dict[str, Tensor]:
        """This worker's part of :meth:`gradients`, over micro-batches.

        The denominators of the whole batch are known only after its last part. One term is summed undivided
        and its gradient divided at the end; several need their denominators first, which costs a forward pass
        without gradient.
        """
        numerators: dict[str, Tensor] = {}
        denominators: dict[str, Tensor] = {}
        known: dict[str, Tensor] | None = None
        for part in parts:
            terms = self._terms(part)
            if len(terms) > 1 and known is None:
                known = self._denominators(parts)
            scaled = [t.numerator if known is None else t.numerator / known[n] for n, t in terms.items()]
            torch.stack(scaled).sum().backward()
            for name, term in terms.items():
                numerators[name] = numerators.get(name, 0) + term.numerator.detach()
                denominators[name] = denominators.get(name, 0) + term.denominator
        whole = self.workers.sum(denominators)
        if known is None:
            (denominator,) = whole.values()
            for p in self.parameters.values():
                if p.grad is not None:
                    p.grad.div_(denominator)
        return {name: numerators[name] / whole[name] for name in numerators}

    @torch.no_grad()
    def _denominators(self, parts: list[Batch]) -> dict[str, Tensor]:
        total: dict[str, Tensor] = {}
        for part in parts:
            for name, term in self._terms(part).items():
                total[name] = total.get(name, 0) + term.denominator
        return self.workers.sum(total)

    def _parts(self, batch: Batch) -> Iterator[Batch]:
        size = self.config.resources.micro_batch or len(batch)
        for start in range(0, len(batch), size):
            yield batch.rows(start, min(start + size, len(batch)))

    def _terms(self, part: Batch) -> dict[str, Term]:
        """Loss terms of the objective, and those of the model itself as ``model.<name>``."""
        noise = Noise(self.config.seed, part.counters, self.config.batch_size)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.dtype == "bfloat16"):
            terms = self.config.objective.terms(self.model, part, noise, self.step)
        collected = self.model.collect()
        if torch.is_grad_enabled():  # a pass that counts denominators sees the same sequences again
            self.observed = added(self.observed, collected.metrics)
        return {**terms, **{f"model.{name}": term for name, term in collected.terms.items()}}

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the average towards the weights; buffers are taken over."""
        if self.average is not None and self.config.ema is not None:
            mine = [p for p in self.average.parameters() if p.numel()]
            get_ema_multi_avg_fn(self.config.ema)(mine, list(self.parameters.values()), None)
            for name, buffer in _saved_buffers(self.average).items():
                buffer.copy_(self.buffers[name])

    # --- checkpoints ---

    def snapshot(self, with_state: bool) -> Snapshot:
        """A copy of everything that this learner is; without its state, of what can be evaluated."""
        weights = {f"model.{n}": t for n, t in {**self.parameters, **self.buffers}.items()}
        if self.average is not None:
            averages = {**dict(self.average.named_parameters()), **_saved_buffers(self.average)}
            weights |= {f"average.{n}": averages[n] for n in {**self.parameters, **self.buffers}}
        state = self._state() if with_state else None
        counters: Counters = {
            "step": self.step,
            "tokens": self.tokens,
            "samples": self.step * self.config.batch_size,
            "inherited": self.inherited,
            "window": self.window.count,
        }
        whole = self.layout.whole
        return Snapshot(self.step, whole(weights), None if state is None else whole(state), counters)

    def restore(self, snapshot: Snapshot) -> None:
        """Become what a snapshot of a run of this config was, bit for bit."""
        self.load_weights(snapshot)
        if snapshot.state is not None:
            self.load_state(snapshot)
        self.step, self.tokens = snapshot.counters["step"], snapshot.counters["tokens"]
        self.inherited = dict(snapshot.counters["inherited"])

    @torch.no_grad()
    def load_weights(self, snapshot: Snapshot, fresh: tuple[str, ...] = ()) -> None:
        """Copy weights in, and into the average. Names that start with one of ``fresh`` stay as they are.

        Raises ``ValueError`` where names or shapes are not this model's.
        """
        own = {**self.parameters, **self.buffers}
        expected = {n for n in own if not n.startswith(fresh)} if fresh else set(own)
        given = {n.removeprefix("model."): t for n, t in snapshot.weights.items() if n.startswith("model.")}
        wrong = sorted(n for n in expected if n not in given or given[n].shape != own[n].shape)
        if wrong or (not fresh and set(given) != expected):
            raise ValueError(
                f"the checkpoint's weights do not fit this model: {', '.join(wrong or set(given) - expected)}"
            )
        for name in expected:
            self.layout.load(own[name], given[name])
        if self.average is not None:
            averages = {**dict(self.average.named_parameters()), **_saved_buffers(self.average)}
            for name in own:
                average = snapshot.weights.get(f"average.{name}")
                if average is None:
                    averages[name].copy_(own[name])
                else:
                    self.layout.load(averages[name], average)

    @torch.no_grad()
    def load_state(self, snapshot: Snapshot) -> None:
        """Take the optimizer's moments and the window over."""
        state = snapshot.state or {}
        self.optimizer.state.clear()
        for name, parameter in self.parameters.items():
            prefix = f"optimizer.{name}/"
            mine = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
            if mine:
                self.optimizer.state[parameter] = {n: t.to(self.device, copy=True) for n, t in mine.items()}
        self.window = Window()
        self.window.count = snapshot.counters["window"]
        self.window.sums = {
            n.removeprefix("window."): t.to(self.device) for n, t in state.items() if n.startswith("window.")
        }

    def _state(self) -> Tensors:
        state = {f"window.{name}": total for name, total in self.window.sums.items()}
        for name, parameter in self.parameters.items():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                if not isinstance(value, Tensor):
                    kind = type(self.optimizer).__name__
                    raise TypeError(
                        f"{kind} keeps {key!r} as {type(value).__name__}; only tensors are checkpointed"
                    )
                state[f"optimizer.{name}/{key}"] = value
        return state


def wants_compiler(config: RunConfig, device: torch.device) -> bool:
    """Whether to use ``torch.compile``.

    ``auto``: on CUDA, for runs that take minutes; never on the CPU, where the written-out kernels leave less
    to save than the 13-28 s that it costs a process.
    """
    if config.resources.compile != "auto":
        return config.resources.compile == "on"
    flops = training_flops(config) * config.steps * config.tokens_per_step
    return device.type == "cuda" and flops >= COMPILE_FLOPS


def _seed(seed: int, device: torch.device) -> None:
    """As ``torch.manual_seed``, which takes a fifth of a millisecond for devices that are not in use."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _saved_buffers(module: Module) -> Tensors:
    """Buffers that are state: those that the module itself would save."""
    saved = module.state_dict()
    return {name: b for name, b in module.named_buffers() if name in saved}


def _frozen_copy(model: Backbone) -> Backbone:
    average = copy.deepcopy(model)
    average.eval()
    for parameter in average.parameters():
        parameter.requires_grad_(False)
    return average

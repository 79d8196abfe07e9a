"""A run's config: everything that decides its weights, what it is evaluated on, and how it is executed.

Only the first decides the training key. Importing this needs no torch. Five lines train a run::

    from trainers import RunConfig, train
    config = RunConfig(objective="masked_diffusion", data={"unique_bytes": 10_000}, steps=200)
    result = train(config, "runs/first")
    print(result.final)
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from trainers.components.component import COSMETIC, LOCATION, Choice, Frozen, Later, digest, problems
from trainers.components.errors import ConfigError, UserError
from trainers.components.files import absolute, file_sha256
from trainers.components.optimizer import Optimizer, optimizers
from trainers.components.schedule import Constant, Schedule, schedules
from trainers.data.base import Corpus, Order, Quality, Tokenizer, corpora, orders, qualities, tokenizers
from trainers.evaluation.tasks.base import Task
from trainers.evaluation.tasks.base import tasks as known_tasks
from trainers.models.base import Model, Parameters, models
from trainers.objectives.base import Objective, objectives


class DataConfig(Frozen):
    """Which text, how much of it, and in what order. Identity is content: the corpus counts by its digest."""

    corpus: Annotated[Corpus, Choice(corpora)] = Field(
        default="prose", validate_default=True, description="The text."
    )
    tokenizer: Annotated[Tokenizer, Choice(tokenizers)] = Field(
        default="bytes", validate_default=True, description="Text to tokens."
    )
    quality: Annotated[Quality, Choice(qualities)] = Field(
        default="clean", validate_default=True, description="Filter or corruption of the training documents."
    )
    unique_tokens: int | None = Field(
        None, gt=0, description="U, unique training tokens; this or unique_bytes, or neither for all."
    )
    unique_bytes: int | None = Field(None, gt=0, description="U in bytes of text, before any corruption.")
    subset_seed: int = Field(
        0, ge=0, description="Which documents are in; nested: a larger budget holds the smaller."
    )
    context: int = Field(128, ge=2, description="T, tokens a sequence.")
    order: Annotated[Order, Choice(orders)] = Field(
        default="shuffle", validate_default=True, description="Order of sequences over epochs."
    )
    repack: bool = Field(False, description="Give documents new neighbours in each epoch.")
    crop: Literal["fixed", "random"] = Field(
        "fixed", description="Fixed sequences, or random windows (moved the crossing by +39 % in prototypes)."
    )
    attend: Annotated[Literal["across", "within"], Later("across")] = Field(
        "across",
        description="Whether positions attend to the other documents packed into their sequence, in training "
        "and evaluation, or within their own, each of which then starts anew (with BOS, for AR).",
    )

    @model_validator(mode="after")
    def _one_budget(self) -> DataConfig:
        if self.unique_tokens is not None and self.unique_bytes is not None:
            raise ValueError("give unique_tokens or unique_bytes, not both")
        return self


class Scratch(Frozen):
    """Start from the initialiser."""

    def identity(self) -> str:
        return "scratch"


class Parent(Frozen):
    """Start from a checkpoint of another run."""

    run: str = Field(description="Training key of the parent.")
    step: int = Field(ge=1, description="Step of its checkpoint.")
    load: Literal["weights", "all"] = Field(
        "weights", description="Weights alone, or optimizer, counters and data position too."
    )


class Pretrained(Frozen):
    """Start from the weights in a folder: one that ``crossover export weights`` wrote, or a Llama or Qwen3 of
    ``transformers``. Its identity is the content of its ``model.safetensors``.
    """

    name: Literal["pretrained"] = "pretrained"
    path: Annotated[str, COSMETIC, LOCATION, AfterValidator(absolute)] = Field(
        description="Folder with model.safetensors and a config."
    )
    sha256: str = Field(
        "",
        description="Of model.safetensors; taken from the file where it is not given.",
        validate_default=True,
    )

    @field_validator("sha256", mode="after")
    @classmethod
    def _of_file(cls, value: str, info: ValidationInfo) -> str:
        if value:
            if not re.fullmatch(r"[0-9a-f]{64}", value):
                raise ValueError("64 lower-case hex digits")
            return value
        file = Path(info.data.get("path", "")) / "model.safetensors"
        if not file.is_file():
            raise ValueError(f"there is no file {file} to take it from")
        return file_sha256(file)


def _init(value: Any) -> Any:
    """``scratch`` (or an empty mapping), a folder of weights, or a parent.

    It is chosen here, so that an error speaks of the one that was meant.
    """
    if value == "scratch" or value == {}:
        return Scratch()
    if not isinstance(value, dict):
        return value
    model = Pretrained if {"name", "path", "sha256"} & value.keys() else Parent
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise PydanticCustomError(
            "init", "{why}", {"why": str(error), "nested": error, "model": model}
        ) from None


class EvaluationConfig(Frozen):
    """How a run is scored. Part of the evaluation key, never of the training key."""

    sequences: int = Field(48, ge=2, description="Validation sequences in each of the halves A and B.")
    draws: int = Field(
        2, ge=1, description="Monte-Carlo draws a sequence on curves, for objectives that need any."
    )
    spacing: float = Field(
        1.1,
        gt=1,
        le=2,
        description="Ratio of consecutive evaluation steps, at most (below 10 steps: every step).",
    )
    first: int = Field(8, ge=1, description="First step evaluated.")
    precise: float = Field(
        0.005, gt=0, description="Monte-Carlo standard error, nats, of values that a verdict rests on."
    )
    tasks: Annotated[tuple[Annotated[Task, Choice(known_tasks)], ...], COSMETIC] = Field(
        (),
        description="What else a run is asked, such as multiple choice. Each task has a key of its own, so "
        "that the losses beside it stay as they are.",
    )

    @field_validator("tasks", mode="after")
    @classmethod
    def _titles_differ(cls, value: tuple[Task, ...]) -> tuple[Task, ...]:
        titles = [task.title for task in value]
        twice = next((title for title in titles if titles.count(title) > 1), None)
        if twice is not None:
            raise ValueError(f"two tasks are called {twice!r}: give one of them a label")
        return value


class Resources(Frozen):
    """How a run is executed: the numerics class, recorded but no part of any key."""

    device: str = Field("auto", description="auto, cpu, cuda or cuda:N.")
    workers: int | None = Field(
        None,
        ge=1,
        description="Processes that share each batch, which changes no value; None for one a GPU, or one.",
    )
    layout: Literal["replicate", "shard"] = Field(
        "replicate",
        description="How the model lies over workers: whole in each, or sharded (not there yet).",
    )
    threads: int = Field(1, ge=1, description="CPU threads a worker.")
    micro_batch: int | None = Field(
        None, ge=1, description="Sequences a forward pass; None for a worker's whole share of the batch."
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto", description="torch.compile; auto: where it saves more than it costs."
    )
    kernels: Literal["auto", "plain", "fused"] = Field(
        "auto",
        description="How the network is computed: plain (torch's own operations, the definition), fused "
        "(written out for the CPU, equal up to rounding), or auto (fused on the CPU).",
    )
    checkpoint_activations: bool = Field(False, description="Recompute activations in the backward pass.")
    deterministic: bool = Field(False, description="Bitwise equality on CUDA too, slower.")
    gpus: float = Field(0, ge=0, description="GPUs a run, fractions allowed below one.")

    @property
    def n_workers(self) -> int:
        """Processes that train the run together."""
        return self.workers if self.workers is not None else max(1, int(self.gpus))

    @model_validator(mode="after")
    def _a_card_each(self) -> Resources:
        if self.n_workers > 1 and (self.gpus % self.n_workers or self.device.startswith("cuda:")):
            raise ValueError(
                f"gpus {self.gpus:g} of device {self.device!r} cannot be shared by {self.n_workers} workers, "
                "who take as many each"
            )
        return self

    @model_validator(mode="after")
    def _kernels_of_one_kind(self) -> Resources:
        if self.kernels == "fused" and self.compile == "on":
            raise ValueError("kernels 'fused' cannot be compiled; allowed with compile on: auto, plain")
        return self


class RunConfig(Frozen):
    """One training run, resolved. Raise ``version`` whenever the loop itself, no component, gives other
    weights.
    """

    version: ClassVar[int] = 1

    model: Annotated[Model, Choice(models)] = Field(
        default="transformer", validate_default=True, description="The network."
    )
    objective: Annotated[Objective, Choice(objectives)] = Field(
        default="autoregressive", validate_default=True, description="How it learns."
    )
    optimizer: Annotated[Optimizer, Choice(optimizers)] = Field(
        default="adamw", validate_default=True, description="Optimizer and its settings."
    )
    schedule: Annotated[Schedule, Choice(schedules)] = Field(
        default="constant", validate_default=True, description="Learning rate over steps."
    )
    data: DataConfig = Field(default_factory=DataConfig, description="What it learns from.")
    batch_size: int = Field(32, ge=1, description="Global batch, sequences.")
    seed: int = Field(0, ge=0, description="Initialisation, order and noise.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="Arithmetic of forward and backward; weights stay float32."
    )
    ema: float | None = Field(
        None, gt=0, lt=1, description="Decay of an average of the weights, which is then evaluated."
    )
    init: Annotated[Scratch | Parent | Pretrained, BeforeValidator(_init)] = Field(
        default_factory=Scratch,
        description="scratch, {run, step, load}, or {name: pretrained, path, sha256}.",
    )
    steps: Annotated[int, COSMETIC] = Field(200, ge=1, description="Optimizer steps: where training ends.")
    evaluation: Annotated[EvaluationConfig, COSMETIC] = Field(
        default_factory=EvaluationConfig, description="How it is scored."
    )
    keep: Annotated[Literal["last", "evals", "branches"], COSMETIC] = Field(
        "evals", description="Which checkpoints stay."
    )
    resources: Annotated[Resources, COSMETIC] = Field(
        default_factory=Resources, description="How it is executed."
    )

    @model_validator(mode="after")
    def _workers_share(self) -> RunConfig:
        even_share(self.batch_size, self.resources.n_workers)
        return self

    def __init__(self, /, **fields: Any) -> None:
        """A config from its fields. Raises :class:`ConfigError`, which names every mistake at once;
        ``RunConfig.model_validate`` raises pydantic's own error instead."""
        try:
            type(self).__pydantic_validator__.validate_python(fields, self_instance=self)
        except ValidationError as error:
            raise ConfigError("\n".join(map(str, problems(error, type(self))))) from None

    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # validation elsewhere calls no __init__

    def identity(self) -> dict[str, Any]:
        """What decides the weights: the end only where the schedule depends on it."""
        value = {"version": self.version, **super().identity()}
        if self.schedule.depends_on_end:
            value["steps"] = self.steps
        return value

    def pinned(self) -> RunConfig:
        """The same run with its corpus seen and its digest declared: the key is final and needs no file.

        May download a remote corpus.
        """
        corpus = self.data.corpus
        if corpus.digest().startswith("pending-"):
            corpus.resolve()
        data = self.data.model_copy(update={"corpus": corpus.pinned()})
        return self.model_copy(update={"data": data})

    @property
    def counts(self) -> Parameters:
        """Exact parameter counts, those of the objective's own modules included."""
        vocab = self.data.tokenizer.vocab
        backbone = self.model.parameters(vocab, len(self.objective.extra_tokens))
        own = self.objective.own_parameters(self.model, vocab).total
        return replace(backbone, objective=own) if own else backbone

    @property
    def training_key(self) -> str:
        """16 hex digits; equal keys are the same run, in any sweep."""
        return digest(self.identity())

    @property
    def key(self) -> str:
        """End-point key: the training key and where the run is read to."""
        return f"{self.training_key}-{self.steps}"

    def evaluation_key(self, step: int) -> str:
        """Key of one evaluation: training key, step and evaluation config."""
        return digest([self.training_key, step, self.evaluation.identity()])

    def trunk(self) -> RunConfig | None:
        """The shared constant-rate part of this run, itself a run; None where its schedule has none."""
        steps = self.schedule.trunk_steps(self.steps)
        if steps is None:
            return None
        constant = Constant(warmup=self.schedule.warmup)
        return self.model_copy(update={"schedule": constant, "steps": steps})

    @property
    def tokens_per_step(self) -> int:
        """Positions fed a step, padding included."""
        return self.batch_size * self.data.context


def even_share(batch_size: int, workers: int) -> int:
    """Sequences of each worker a step; ``ValueError`` where the batch cannot be shared evenly."""
    if batch_size % workers:
        raise UserError(f"resources.workers: {workers} do not divide batch_size {batch_size}")
    return batch_size // workers

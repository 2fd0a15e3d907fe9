"""The training loop: resumable to the step, averaged weights, several GPUs by torchrun, a clean stop on a signal."""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import InputError
from ..networks.registry import build
from ..networks.runner import has_fast_half
from .anatomy import Anatomy
from .config import TrainingConfig
from .curves import write_curves
from .descent import optimizer_of, prediction_penalty, rate_at
from .feed import feed
from .shapes import Dice
from .start import weights_of
from .tasks import Example, Source, Task, task_of

Report = Callable[[int, int, str], None]
"""Called with the step, the number of steps and a sentence."""

VALIDATION_SEED = 900_001


@dataclass
class Trainer:
    """A training under way; `state` is all it needs to go on.

    Regions are drawn by as many processes as there are `workers`, or on the device itself. Where there are only
    `minutes`, the training is over after them, and its learning rate falls by the clock.
    """

    config: TrainingConfig
    device: torch.device
    anatomy: Anatomy
    rank: int = 0
    world: int = 1
    workers: int = 0
    minutes: float | None = None
    network: nn.Module = field(init=False)
    average: nn.Module = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)
    task: Task = field(init=False)
    step: int = 0
    done: float = 0.0
    best: float = math.inf
    history: list[dict[str, float]] = field(default_factory=list)
    _pool: dict[int, Example] = field(default_factory=dict)
    _fixed: dict[int, Example] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.manual_seed(self.config.seed)
        self.network = build(self.config.kind, self.config.architecture).to(self.device)
        self.network = self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = optimizer_of(self.config, self.network)
        self.task = task_of(self.config, self.network)
        self.source = self.task.source(self.anatomy, self.config.seed)
        self.validation = self.task.source(self.anatomy, VALIDATION_SEED)
        parallel = DistributedDataParallel(self.network) if self.world > 1 else self.network
        # A processor without bfloat16 emulates it, a hundred times as slowly.
        self._half = self.config.mixed_precision and has_fast_half(self.device)
        self._feed: Iterator[Sequence[Any]] | None = None
        self._began = time.monotonic()
        self._forward: Callable[..., Any] = torch.compile(parallel) if self.config.compile else parallel

    def _measured(self) -> float:
        """The share of the training that is over, by its steps or by the clock."""
        share = self.step / self.config.steps
        if self.minutes:
            clock = (time.monotonic() - self._began) / (60 * self.minutes)
            if self.world > 1:
                # Clocks differ; the processes' learning rates must not.
                latest = torch.tensor(clock, device=self.device)
                torch.distributed.all_reduce(latest, torch.distributed.ReduceOp.MAX)
                clock = float(latest)
            share = max(share, clock)
        return min(1.0, share)

    def rate(self) -> float:
        """The learning rate of this step."""
        return rate_at(self.config, self.step, self.done)

    def train_step(self) -> float:
        """One step of the optimizer; its loss."""
        config = self.config
        example = self.task.varied(self._next_example(), self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
            found = self._forward(**example.inputs)
        loss = self.task.loss(found, example)
        if config.prediction_l2:
            loss = loss + config.prediction_l2 * prediction_penalty(self.network)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        size = float(nn.utils.clip_grad_norm_(self.network.parameters(), config.clip))
        value = float(loss.detach())
        # Half precision has been seen to give gradients that are no numbers, of a loss that is one.
        if math.isfinite(value) and math.isfinite(size):
            self.optimizer.step()
        self.step += 1
        self.done = self._measured()
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
            for mine, fresh in zip(self.average.buffers(), self.network.buffers(), strict=True):
                mine.copy_(fresh)
        return value

    def _next_example(self) -> Example:
        """The example of this step: from the pool where it is there, made where not."""
        index = self._index(self.step)
        if index not in self._pool:
            if self.step % (self.config.pool * self.config.repeats) == 0:
                self._pool.clear()
            if self._feed is None:
                self._feed = feed(self.source, self._numbers(), self.config.batch, self.workers)
            self._pool[index] = self._example(self.source, next(self._feed), self._number(index))
        return self._pool[index]

    def _index(self, step: int) -> int:
        """Which example, counted from the training's first, a step is shown."""
        block, within = divmod(step, self.config.pool * self.config.repeats)
        return block * self.config.pool + within % self.config.pool

    def _number(self, index: int) -> int:
        """The number of the first region of an example of this process."""
        return (index * self.world + self.rank) * self.config.batch

    def _numbers(self) -> Iterator[int]:
        """The first regions of all examples that have to be made from this step on, in the order of their need."""
        pool, first = self.config.pool, self.step
        for step in itertools.count(first):
            # New is what the first round through a pool shows, and the first one after a resumption.
            if step % (pool * self.config.repeats) < pool or step - pool < first:
                yield self._number(self._index(step))

    def _example(self, source: Source, samples: Sequence[Any], number: int) -> Example:
        return self.task.example([s.to(self.device) for s in samples], Dice(source.seed * 7919 + number))

    def dismiss(self) -> None:
        """End the processes that draw regions, while they can still be waited for."""
        self._feed = None

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The task's mean scores of the averaged weights on regions that training never sees."""
        self.average.eval()
        totals: dict[str, float] = {}
        for number in range(self.config.validation_regions):
            if number not in self._fixed:
                self._fixed[number] = self._example(self.validation, self.validation.samples(number, 1), number)
            example = self._fixed[number]
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half):
                found = self.average(**example.inputs)
            for name, score in self.task.scores(found, example).items():
                totals[name] = totals.get(name, 0.0) + score
        return {name: total / self.config.validation_regions for name, total in totals.items()}

    def state(self) -> dict[str, Any]:
        """Everything to go on from here."""
        return {
            "config": self.config.to_json(),
            "step": self.step,
            "best": self.best,
            "history": self.history,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state`; the configuration stays this trainer's. Raises InputError for another architecture."""
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise InputError(f"The checkpoint is of another network than the configuration: {error}") from error
        self.step, self.best, self.history = state["step"], state["best"], list(state["history"])
        self.done = self._measured()

    def begin_with(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Start a new training from trained weights. Raises InputError where they are of another architecture."""
        try:
            for network in (self.network, self.average):
                # A network of predicted weights may also begin as a plain one.
                take: Callable[[Mapping[str, torch.Tensor]], Any] = getattr(
                    network, "begin_with", network.load_state_dict
                )
                take(weights)
        except RuntimeError as error:
            raise InputError(
                f"The weights to start from are of another network than the configuration: {error}"
            ) from error


def train(
    config: TrainingConfig,
    out: Path,
    resume: bool = False,
    device: torch.device | str = "cpu",
    report: Report | None = None,
    anatomy: Anatomy | None = None,
    workers: int = 0,
    minutes: float | None = None,
) -> Path:
    """Train into the folder `out` and return its newest checkpoint; without an `anatomy`, on the template.

    SIGINT and SIGTERM end it after the step under way, with a checkpoint; `resume` goes on from there. Under torchrun
    every process takes its own GPU and its own regions. `workers` processes draw the regions, ahead of the training; a
    GPU then has only to learn. After `minutes` it ends, its learning rate fallen as at the last of its steps, however
    many they were. Raises InputError where `out` holds a training already and `resume` is not asked for, or where there
    is nothing to resume.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    target = torch.device(device)
    if world > 1:
        torch.distributed.init_process_group("nccl" if target.type == "cuda" else "gloo")
        if target.type == "cuda":
            target = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
            torch.cuda.set_device(target)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists() != resume:
        raise InputError(
            f"{out} holds a training already: resume it or choose another folder."
            if checkpoint.exists()
            else f"There is no training to resume in {out}."
        )
    trainer = Trainer(
        config, target, anatomy or Anatomy.load("cpu" if workers else target), rank, world, workers, minutes
    )
    if resume:
        trainer.restore(torch.load(checkpoint, map_location=target, weights_only=True))
    elif config.start_from:
        trainer.begin_with(weights_of(config.start_from))
    if rank == 0:
        (out / "config.json").write_text(json.dumps(config.to_json(), indent=1) + "\n", "utf-8")
    with _stop_on_signal() as stopped:
        try:
            _run(trainer, out, stopped, report or (lambda step, steps, text: None))
        finally:
            trainer.dismiss()
    if world > 1:
        torch.distributed.destroy_process_group()
    return checkpoint


def _run(trainer: Trainer, out: Path, stopped: list[bool], report: Report) -> None:
    config, chief = trainer.config, trainer.rank == 0
    log = _event_writer(out) if chief else None
    losses: list[float] = []
    start = time.perf_counter()
    while trainer.done < 1 and not _anyone(stopped, trainer):
        losses.append(trainer.train_step())
        step = trainer.step
        done = trainer.done >= 1
        if chief and (step % config.checkpoint_every == 0 or done):
            entry = {
                "step": step,
                "loss": sum(losses) / len(losses),
                "rate": trainer.rate(),
                "seconds": (time.perf_counter() - start) / len(losses),
            }
            if step % config.validate_every == 0 or done:
                entry |= trainer.validate()
            trainer.history.append(entry)
            if entry.get("nrmse", math.inf) < trainer.best:
                trainer.best = entry["nrmse"]
                _save(trainer.average.state_dict(), out / "best.pt")
            _save(trainer.state(), out / "checkpoint.pt")
            write_curves(trainer.history, out / "curves.png")
            if log is not None:
                for name in entry.keys() - {"step"}:
                    log.add_scalar(name, entry[name], step)
            report(step, config.steps, ", ".join(f"{k} {v:.4g}" for k, v in entry.items() if k != "step"))
            losses, start = [], time.perf_counter()
    if chief:
        _save(trainer.state(), out / "checkpoint.pt")
        if log is not None:
            log.close()


def _anyone(stopped: list[bool], trainer: Trainer) -> bool:
    """Whether any process was told to stop: all must leave the loop at the same step."""
    if trainer.world == 1:
        return bool(stopped)
    flag = torch.tensor(float(bool(stopped)), device=trainer.device)
    torch.distributed.all_reduce(flag)
    return bool(flag > 0)


def _save(state: dict[str, Any], path: Path) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _event_writer(out: Path) -> Any:
    """A TensorBoard writer, or None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(out / "events"))


@contextmanager
def _stop_on_signal() -> Iterator[list[bool]]:
    """A list that is no longer empty once SIGINT or SIGTERM has come."""
    stopped: list[bool] = []

    def note(number: int, frame: FrameType | None) -> None:
        stopped.append(True)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

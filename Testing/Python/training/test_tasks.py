"""The tasks beyond inversion, on a tiny reconstruction in place of the one that ships."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from QSMReconLib.networks.registry import build
from QSMReconLib.training.anatomy import Anatomy
from QSMReconLib.training.config import TrainingConfig
from QSMReconLib.training.export import CONFIGS
from QSMReconLib.training.loop import Trainer, train
from QSMReconLib.training.shapes import Dice
from QSMReconLib.training.simulatorconfig import SimulatorConfig
from QSMReconLib.training.tasks import Example, predicted, task_of
from QSMReconLib.training.tasks.predicted import relative_loss
from QSMReconLib.training.tasks.views import mirrored_axes
from QSMReconLib.training.wholeheads import HeadSample

KINDS = {"separation": "separator", "r2prime": "ratesplitter", "inversion": "unrolled"}


@pytest.fixture
def tiny_qsm(monkeypatch: pytest.MonkeyPatch) -> None:
    network: nn.Module = build("unrolled", {"steps": 1, "channels": [8, 8, 8], "start_steps": 2})
    monkeypatch.setattr(predicted, "load_network", lambda card: network.eval().requires_grad_(False))


def _config(task: str) -> TrainingConfig:
    architecture: dict[str, Any] = {"channels": [8, 8, 8]} | ({} if task == "r2prime" else {"steps": 2})
    architecture |= {"start_steps": 2} if task == "inversion" else {}
    return TrainingConfig(
        task=task,
        kind=KINDS[task],
        architecture=architecture,
        simulator=SimulatorConfig(sizes=(16,), thick_slices=0.0, any_orientation=0.5, axial=0.3),
        steps=3,
        batch=2,
        pool=2,
        validate_every=3,
        validation_regions=1,
        mixed_precision=False,
    )


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.usefixtures("tiny_qsm")
def test_a_training_runs_and_scores_what_it_started_from(task: str, tmp_path: Path, ball_anatomy: Anatomy) -> None:
    checkpoint = train(_config(task), tmp_path, anatomy=ball_anatomy)
    last = torch.load(checkpoint, weights_only=True)["history"][-1]
    before = {"separation": ["nrmse_para_start", "nrmse_dia_start"], "r2prime": ["nrmse_guess"], "inversion": []}[task]
    assert all(0 < last[name] < 500 for name in ("nrmse", *before))
    assert 0 < last["loss"] < 100


@pytest.mark.parametrize("task", KINDS)
@pytest.mark.usefixtures("tiny_qsm")
def test_an_example_is_the_same_each_time_and_its_views_are_as_good(task: str, ball_anatomy: Anatomy) -> None:
    trainer = Trainer(_config(task), torch.device("cpu"), ball_anatomy)
    example, again = (trainer._example(trainer.source, trainer.source.samples(4, 2), 4) for _ in range(2))
    for name, volume in example.inputs.items():
        assert not isinstance(volume, torch.Tensor) or torch.equal(volume, again.inputs[name])
    with torch.no_grad():
        loss = float(trainer.task.loss(trainer.network(**example.inputs), example))
        for step in range(8):
            view = trainer.task.varied(example, step)
            # An untrained network's convolutions change nothing, so only the physics could tell a view from another.
            assert float(trainer.task.loss(trainer.network(**view.inputs), view)) == pytest.approx(loss, rel=2e-3)


@pytest.mark.usefixtures("tiny_qsm")
def test_a_mirrored_head_has_the_mirrored_field(ball_anatomy: Anatomy) -> None:
    trainer = Trainer(_config("separation"), torch.device("cpu"), ball_anatomy)
    task, simulator = trainer.task, trainer.source
    example = task.example(simulator.samples(1, 1), Dice(1))

    def field(one: Example) -> torch.Tensor:
        given, maps = one.inputs, one.truth["maps"]
        return given["spectrum"].from_k(given["kernel"] * given["spectrum"].to_k(maps[:, :1] - maps[:, 1:]))

    seen = set()
    for step in range(40):
        axes = mirrored_axes(step)
        seen.add(tuple(axes))
        expected = field(example).flip([axis - 3 for axis in axes])
        assert torch.allclose(field(task.varied(example, step)), expected, atol=1e-6)
    assert len(seen) == 8


def test_the_relative_loss_counts_each_map_against_its_own_start() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(2, 2, 8, 8, 8, generator=generator) * torch.tensor([1.0, 0.1])[None, :, None, None, None]
    error = torch.randn(truth.shape, generator=generator) * torch.tensor([0.3, 0.03])[None, :, None, None, None]
    mask = torch.ones(2, 1, 8, 8, 8)
    mask[..., :2] = 0
    start = truth + error
    assert torch.allclose(relative_loss(start, truth, start, mask, 0.5), torch.full((2, 2), 2.5), atol=1e-4)
    half = relative_loss(truth + error / 2, truth, start, mask, 0.5)
    assert torch.allclose(half, torch.full((2, 2), 1.25), atol=1e-4)
    spoiled = start.clone()
    spoiled[..., :2] += 100
    assert torch.allclose(relative_loss(spoiled, truth, start, mask, 0.5), torch.full((2, 2), 2.5), atol=1e-4)


def test_what_is_left_of_the_background_is_learned_from_whole_heads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ball_anatomy: Anatomy
) -> None:
    class Heads:
        """Heads whose background left is a part of what is seen."""

        def __init__(self, seed: int) -> None:
            self.seed = seed

        def samples(self, number: int, size: int) -> list[HeadSample]:
            generator = torch.Generator().manual_seed(self.seed + number)
            share = torch.zeros(1, 16, 16, 16)
            share[:, 2:-2, 2:-2, 2:-2] = 1.0
            volumes = [torch.randn(6, 16, 16, 16, generator=generator) * share for _ in range(size)]
            return [HeadSample(seen, 0.5 * seen[:1], share) for seen in volumes]

    monkeypatch.setattr("QSMReconLib.training.tasks.background.WholeHeads", Heads)
    config = replace(
        TrainingConfig.load(CONFIGS / "tfinet.json"),
        architecture={"channels": [8, 8, 8]}, steps=40, pool=4, warm_up=2, ema=0.9, validate_every=40,
        validation_regions=2,
    )  # fmt: skip
    checkpoint = train(config, tmp_path, anatomy=ball_anatomy)
    history = torch.load(checkpoint, weights_only=True)["history"]
    assert 0 < history[-1]["nrmse"] < 80
    task = task_of(config, build(config.kind, config.architecture))
    example = task.example(Heads(0).samples(0, 2), Dice(0))
    views = [task.varied(example, step) for step in range(8)]
    assert len({float((view.inputs["seen"][0, 0] * torch.arange(16)).sum()) for view in views}) > 4
    for view in views:
        assert torch.equal(view.truth["left"], 0.5 * view.inputs["seen"][:, :1])
        assert float(task.loss(0.5 * view.truth["left"], view)) == pytest.approx(0.5, rel=1e-3)
        assert float(task.loss(view.truth["left"] + 0.3, view)) < 1e-4

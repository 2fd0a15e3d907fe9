import functools
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from QSMReconLib.errors import InputError
from QSMReconLib.training.anatomy import Anatomy
from QSMReconLib.training.config import TrainingConfig
from QSMReconLib.training.loop import Trainer, train
from QSMReconLib.training.simulatorconfig import SimulatorConfig

TINY = TrainingConfig(
    architecture={"steps": 2, "channels": [8, 8, 8], "start_steps": 1},
    simulator=SimulatorConfig(sizes=(16,), thick_slices=0.0),
    steps=6,
    warm_up=2,
    validate_every=3,
    validation_regions=1,
    checkpoint_every=3,
    mixed_precision=False,
)


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["network"]


def test_a_configuration_survives_json_and_refuses_typos(tmp_path: Path) -> None:
    file = tmp_path / "training.json"
    file.write_text(json.dumps(TINY.to_json()))
    assert TrainingConfig.load(file).to_json() == TrainingConfig.from_json(TINY.to_json()).to_json()
    assert TrainingConfig.load(file).simulator.sizes == (16,)
    with pytest.raises(InputError, match="stepz"):
        TrainingConfig.from_json({"stepz": 3})
    with pytest.raises(InputError, match="simulator configuration has no noisy"):
        TrainingConfig.from_json({"simulator": {"noisy": 1}})
    file.write_text("{")
    with pytest.raises(InputError, match="not a training configuration"):
        TrainingConfig.load(file)


def test_the_rate_warms_up_and_falls_to_its_share(ball_anatomy: Anatomy) -> None:
    trainer = Trainer(TINY, torch.device("cpu"), ball_anatomy)
    rates = []
    for step in (0, 1, 3, 6):
        trainer.step, trainer.done = step, step / TINY.steps
        rates.append(trainer.rate() / TINY.learning_rate)
    assert rates[0] == pytest.approx(0.5)
    assert rates[1] > rates[2] > rates[3]
    assert rates[3] == pytest.approx(TINY.final_rate)


def test_a_resumed_training_is_the_uninterrupted_one_to_the_bit(tmp_path: Path, ball_anatomy: Anatomy) -> None:
    through = train(TINY, tmp_path / "through", anatomy=ball_anatomy)
    stop_at_three = _StopAfter(3)
    train(TINY, tmp_path / "twice", report=stop_at_three, anatomy=ball_anatomy)
    assert torch.load(tmp_path / "twice" / "checkpoint.pt", weights_only=True)["step"] == 3
    resumed = train(TINY, tmp_path / "twice", resume=True, anatomy=ball_anatomy)
    one, two = _weights(through), _weights(resumed)
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name in ("config.json", "curves.png", "best.pt"):
        assert (tmp_path / "twice" / name).stat().st_size > 0


class _StopAfter:
    """Sends the process SIGINT when a step is reported, as Ctrl-C would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def __call__(self, step: int, steps: int, text: str) -> None:
        assert threading.current_thread() is threading.main_thread()
        assert "loss" in text
        if step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_pool_of_regions_is_gone_through_again_and_again(ball_anatomy: Anatomy) -> None:
    described = TINY.to_json() | {"pool": 2, "repeats": 3, "architecture": {"steps": 1, "channels": [8, 8, 8]}}
    trainer = Trainer(TrainingConfig.from_json(described), torch.device("cpu"), ball_anatomy)
    seen = []
    for trainer.step in range(12):
        example = trainer._next_example()
        assert torch.isfinite(example.inputs["start"]).all()
        seen.append(float(example.truth["chi"].square().sum()))
    assert seen[:6] == seen[:2] * 3
    assert seen[6:] == seen[6:8] * 3
    assert len(set(seen)) == 4


def test_regions_drawn_by_workers_train_the_same_network(tmp_path: Path, ball_anatomy: Anatomy) -> None:
    config = replace(TINY, pool=2, repeats=2)
    alone, helped = (train(config, tmp_path / str(n), anatomy=ball_anatomy, workers=n) for n in (0, 2))
    one, two = _weights(alone), _weights(helped)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not multiprocessing.active_children()


def test_a_training_resumed_within_a_pool_sees_what_is_left_of_it(ball_anatomy: Anatomy) -> None:
    config = replace(TINY, pool=3, repeats=2)
    through, resumed = (Trainer(config, torch.device("cpu"), ball_anatomy) for _ in range(2))
    seen: list[list[float]] = []
    for trainer, first in ((through, 0), (resumed, 2)):
        seen.append([])
        for trainer.step in range(first, 12):
            seen[-1].append(float(trainer._next_example().truth["chi"].square().sum()))
    assert seen[1] == seen[0][2:]


def test_a_training_ends_by_the_clock_with_its_rate_fallen(
    tmp_path: Path, ball_anatomy: Anatomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0.0, 20.0)
    monkeypatch.setattr("QSMReconLib.training.loop.time.monotonic", lambda: next(ticks))
    checkpoint = train(replace(TINY, steps=1000, checkpoint_every=1), tmp_path, anatomy=ball_anatomy, minutes=1)
    history = torch.load(checkpoint, weights_only=True)["history"]
    assert [entry["step"] for entry in history] == [1, 2, 3]
    assert "nrmse" in history[-1]
    assert history[-1]["rate"] == pytest.approx(TINY.final_rate * TINY.learning_rate)


def test_an_unknown_task_is_refused(ball_anatomy: Anatomy) -> None:
    with pytest.raises(InputError, match="no training task 'lunch'; there are inversion"):
        Trainer(TrainingConfig.from_json(TINY.to_json() | {"task": "lunch"}), torch.device("cpu"), ball_anatomy)


def test_signals_mean_again_what_they_meant_before(tmp_path: Path, ball_anatomy: Anatomy) -> None:
    before = signal.getsignal(signal.SIGTERM)
    train(TINY, tmp_path, anatomy=ball_anatomy)
    assert signal.getsignal(signal.SIGTERM) is before


def test_half_precision_trains_as_single_does(ball_anatomy: Anatomy) -> None:
    losses = []
    for half in (False, True):
        trainer = Trainer(replace(TINY, mixed_precision=half), torch.device("cpu"), ball_anatomy)
        losses.append([trainer.train_step() for _ in range(3)])
        assert all(p.dtype == torch.float32 for p in trainer.network.parameters())
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # PyTorch's own, while it captures.
def test_a_compiled_network_trains_as_it_does_uncompiled(
    ball_anatomy: Anatomy, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Captured and run by the same kernels: a compiler for this processor is not everywhere, the capture is.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    losses = []
    for compiled in (False, True):
        trainer = Trainer(replace(TINY, compile=compiled), torch.device("cpu"), ball_anatomy)
        assert (trainer._forward is trainer.network) != compiled
        losses.append([trainer.train_step() for _ in range(2)])
    torch._dynamo.reset()
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_folder_in_use_and_an_empty_one_are_told_apart(tmp_path: Path, ball_anatomy: Anatomy) -> None:
    with pytest.raises(InputError, match="no training to resume"):
        train(TINY, tmp_path, resume=True, anatomy=ball_anatomy)
    train(TINY, tmp_path, anatomy=ball_anatomy)
    with pytest.raises(InputError, match="holds a training already"):
        train(TINY, tmp_path, anatomy=ball_anatomy)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path, ball_anatomy: Anatomy) -> None:
    train(TINY, tmp_path, anatomy=ball_anatomy)
    other = TrainingConfig.from_json(TINY.to_json() | {"architecture": {"steps": 3, "channels": (8, 8, 8)}})
    with pytest.raises(InputError, match="another network"):
        train(other, tmp_path, resume=True, anatomy=ball_anatomy)


def test_processes_train_one_network_together(tmp_path: Path) -> None:
    """Two processes under torchrun: different regions, the same weights, one checkpoint."""
    script = tmp_path / "together.py"
    script.write_text(
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from QSMReconLib.training.anatomy import TISSUES, Anatomy\n"
        "from QSMReconLib.training.config import TrainingConfig\n"
        "from QSMReconLib.training.loop import train\n"
        "torch.set_num_threads(1)\n"
        "channels = torch.zeros(4 + sum(bool(t.ellipsoids) for t in TISSUES), 40, 40, 40)\n"
        "channels[:2] = 1.0\n"
        "train(TrainingConfig.load(Path(sys.argv[1])), Path(sys.argv[2]), anatomy=Anatomy(channels, (0.0, 0.0, 0.0)))\n"
    )
    config = TrainingConfig.from_json(
        TINY.to_json() | {"steps": 2, "simulator": {"sizes": [16], "thick_slices": 0.0, "geometric": 1.0}}
    )
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config.to_json()))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", str(script)]
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [*command, str(file), str(tmp_path / "out")], env=environment, capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert torch.load(tmp_path / "out" / "checkpoint.pt", weights_only=True)["step"] == 2


@pytest.mark.slow
def test_a_minute_of_training_reduces_the_loss(tmp_path: Path, ball_anatomy: Anatomy) -> None:
    config = TrainingConfig(
        architecture={"steps": 2, "channels": (16, 16, 16), "start_steps": 1},
        simulator=SimulatorConfig(sizes=(32,), thick_slices=0.0),
        steps=150,
        warm_up=20,
        checkpoint_every=50,
        validate_every=50,
        validation_regions=6,
        mixed_precision=False,
        ema=0.9,
    )
    train(config, tmp_path, anatomy=ball_anatomy)
    history = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["history"]
    untrained = Trainer(config, torch.device("cpu"), ball_anatomy).validate()
    assert history[-1]["nrmse"] < 0.93 * untrained["nrmse"]
    assert history[-1]["xsim"] > untrained["xsim"] + 0.03

from dataclasses import replace

import pytest
import torch

from QSMReconLib.errors import InputError
from QSMReconLib.networks.registry import build
from QSMReconLib.training.config import TrainingConfig
from QSMReconLib.training.descent import optimizer_of, prediction_penalty, rate_at

INNER = {"network": "folded", "architecture": {"channels": (8, 8, 8)}}


def test_the_rate_warms_up_and_falls_as_the_schedule_says() -> None:
    config = TrainingConfig(learning_rate=1e-3, final_rate=0.1, warm_up=10, steps=100)
    assert rate_at(config, 0, 0.0) == pytest.approx(1e-4)
    assert rate_at(config, 50, 0.5) == pytest.approx(1e-3 * (0.1 + 0.9 / 2))
    assert rate_at(config, 100, 1.0) == pytest.approx(1e-4)
    steps = replace(config, schedule="exponential", decay=0.9, decay_steps=20, warm_up=0)
    assert [rate_at(steps, n, n / 100) for n in (0, 19, 20, 45)] == pytest.approx([1e-3, 1e-3, 9e-4, 8.1e-4])
    with pytest.raises(InputError, match="no schedule 'slide'; there are cosine, exponential"):
        rate_at(replace(config, schedule="slide"), 0, 0.0)


def test_optimizers_by_name() -> None:
    network = torch.nn.Linear(1, 1)
    assert isinstance(optimizer_of(TrainingConfig(), network), torch.optim.AdamW)
    assert isinstance(optimizer_of(TrainingConfig(optimizer="rmsprop"), network), torch.optim.RMSprop)
    with pytest.raises(InputError, match="no optimizer 'hope'; there are adamw, rmsprop"):
        optimizer_of(TrainingConfig(optimizer="hope"), network)


@pytest.mark.parametrize("basis", [0, 4])
def test_the_penalty_is_on_the_weights_of_all_predicting_layers_and_on_nothing_else(basis: int) -> None:
    network = build("weight-predicted", INNER | {"basis": basis})
    expected = sum(
        float(p.detach().square().sum())
        for name, p in network.named_parameters()
        if name.endswith("weight") and any(part in name for part in ("code", "coefficients", "kernel_of", "bias_of"))
    )
    penalty = prediction_penalty(network)
    assert float(penalty.detach()) == pytest.approx(expected)
    penalty.backward()
    touched = {name for name, p in network.named_parameters() if p.grad is not None}
    assert "inner.denoiser.condition.0.weight" not in touched
    assert not any(name.endswith("bias") for name in touched)
    assert float(prediction_penalty(build("folded", INNER["architecture"]))) == 0.0

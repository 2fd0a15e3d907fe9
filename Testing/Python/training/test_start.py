from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from QSMReconLib.cli.main import main
from QSMReconLib.errors import InputError
from QSMReconLib.networks.card import load_card, load_network
from QSMReconLib.training.anatomy import Anatomy
from QSMReconLib.training.config import TrainingConfig
from QSMReconLib.training.loop import Trainer, train
from QSMReconLib.training.simulatorconfig import SimulatorConfig
from QSMReconLib.training.start import weights_of

TINY = TrainingConfig(
    architecture={"steps": 1, "channels": [8, 8, 8], "start_steps": 1},
    simulator=SimulatorConfig(sizes=(16,), thick_slices=0.0),
    steps=2,
    warm_up=1,
    validate_every=2,
    validation_regions=1,
    checkpoint_every=2,
    mixed_precision=False,
)


def test_the_weights_of_a_network_that_ships_are_those_it_runs_with() -> None:
    found = weights_of("qsmnet-phys")
    shipped = load_network(load_card("qsmnet-phys")).state_dict()
    assert found.keys() == shipped.keys()
    assert all(torch.equal(found[name], shipped[name]) for name in found)


def test_of_a_checkpoint_the_averaged_weights_are_taken_whatever_the_file(
    tmp_path: Path, ball_anatomy: Anatomy
) -> None:
    trainer = Trainer(TINY, torch.device("cpu"), ball_anatomy)
    trainer.train_step()
    average = trainer.average.state_dict()
    torch.save(trainer.state(), tmp_path / "checkpoint.pt")
    torch.save(average, tmp_path / "best.pt")
    save_file({name: t.half().contiguous() for name, t in average.items()}, tmp_path / "weights.safetensors")
    for file, tolerance in (("checkpoint.pt", 0.0), ("best.pt", 0.0), ("weights.safetensors", 1e-3)):
        found = weights_of(str(tmp_path / file))
        assert found.keys() == average.keys()
        assert all(torch.allclose(found[name], average[name], rtol=0, atol=tolerance) for name in average)
        assert all(t.dtype == torch.float32 for t in found.values())


def test_a_new_training_begins_where_the_other_ended(tmp_path: Path, ball_anatomy: Anatomy) -> None:
    checkpoint = train(TINY, tmp_path / "first", anatomy=ball_anatomy)
    still = replace(TINY, start_from=str(checkpoint), learning_rate=0.0, weight_decay=0.0, seed=5)
    second = torch.load(train(still, tmp_path / "second", anatomy=ball_anatomy), weights_only=True)
    began = weights_of(str(checkpoint))
    assert second["step"] == 2
    for which in ("network", "average"):
        assert all(torch.allclose(second[which][name], began[name], atol=1e-6) for name in began)
    # What it began from is part of what decides the result, and goes into the card with the configuration.
    assert TrainingConfig.from_json(second["config"]).start_from == str(checkpoint)
    resumed = train(replace(still, steps=3), tmp_path / "second", resume=True, anatomy=ball_anatomy)
    assert torch.load(resumed, weights_only=True)["step"] == 3


def test_what_is_no_weights_or_of_another_network_is_refused_in_a_sentence(
    tmp_path: Path, ball_anatomy: Anatomy
) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    (tmp_path / "a.pt").write_bytes(b"nothing")
    torch.save({"step": 3}, tmp_path / "b.pt")
    for file in ("a.safetensors", "a.pt", "b.pt"):
        with pytest.raises(InputError, match="does not hold the weights"):
            weights_of(str(tmp_path / file))
    with pytest.raises(InputError, match=r"no network or file 'qsmnot' to start from; there are .*, qsmnet, "):
        weights_of("qsmnot")
    other = replace(TINY, start_from="qsmnet-phys")
    with pytest.raises(InputError, match="another network"):
        train(other, tmp_path / "out", anatomy=ball_anatomy)


def test_the_command_takes_one_of_resume_and_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["train", "qsmnet", "-o", str(tmp_path), "--resume", "--from", "qsmnet"])
    assert code == 2
    assert "give one of them" in capsys.readouterr().err

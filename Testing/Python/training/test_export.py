from pathlib import Path

import pytest
import torch

from QSMReconLib.errors import InputError
from QSMReconLib.networks.card import load_card, load_network
from QSMReconLib.training.anatomy import Anatomy
from QSMReconLib.training.config import TrainingConfig
from QSMReconLib.training.export import CONFIGS, card_of, export, named_config
from QSMReconLib.training.loop import Trainer
from QSMReconLib.training.simulatorconfig import SimulatorConfig

CONFIG = TrainingConfig(
    name="tried",
    architecture={"steps": 1, "channels": [8, 8, 8], "start_steps": 2},
    simulator=SimulatorConfig(sizes=(16,)),
    mixed_precision=False,
)


def test_a_checkpoint_becomes_a_network_with_a_card(tmp_path: Path, ball_anatomy: Anatomy) -> None:
    trainer = Trainer(CONFIG, torch.device("cpu"), ball_anatomy)
    trainer.train_step()
    torch.save(trainer.state(), tmp_path / "checkpoint.pt")
    export(tmp_path / "checkpoint.pt", {"head": {"nrmse": 12.0}}, tmp_path, {"constant": 2.5}, {"start_steps": 5})
    card = load_card("tried", tmp_path)
    assert card.accuracy == {"head": {"nrmse": 12.0}}
    assert card.uncertainty == {"constant": 2.5}
    assert card.training["steps"] == 1
    assert card.training["configuration"]["architecture"]["start_steps"] == 2
    assert card.architecture["start_steps"] == 5
    shipped = load_network(card, folder=tmp_path).state_dict()
    kept = trainer.average.state_dict()
    assert all(torch.allclose(shipped[name], kept[name], atol=1e-3) for name in kept)
    begun = {name: tensor + 1 for name, tensor in kept.items()}
    torch.save(begun, tmp_path / "begun.pt")
    mixed = export(tmp_path / "checkpoint.pt", {}, tmp_path, mean_with=str(tmp_path / "begun.pt"))
    shipped = load_network(mixed, folder=tmp_path).state_dict()
    assert all(torch.allclose(shipped[name], kept[name] + 0.5, atol=2e-3) for name in kept)
    assert mixed.training["mean_with"].endswith("begun.pt")
    with pytest.raises(InputError, match="no checkpoint"):
        export(tmp_path / "nothing.pt", {}, tmp_path)


def test_cards_say_what_the_simulator_drew() -> None:
    assert card_of(CONFIG, 0, {}).voxel_mm[2] == (0.6, 3.5)
    field_only = named_config("qsmnet")
    card = card_of(field_only, 0, {})
    assert card.grid_mm == ((1.0, 1.0),) * 3
    assert card.voxel_mm == ((1.0, 1.0),) * 3
    assert card.max_tilt_deg == 0.0
    assert card.data_consistency == "noise"
    assert card.tile == 64
    assert card_of(CONFIG, 0, {}).tile == 0


def test_cards_say_what_a_network_is_for_and_on_which_relaxivity() -> None:
    assert card_of(named_config("qsmnet-phys"), 0, {}).dr_hz_per_ppm is None
    for name, task in (("chisepnet", "separation"), ("r2star-to-r2prime", "r2prime")):
        card = card_of(named_config(name), 0, {})
        assert (card.task, card.dr_hz_per_ppm) == (task, 137.0)
        assert "R2" in card.inputs


def test_cards_of_meta_and_mesa_say_which_voxels_they_take_and_which_stage_offers_them() -> None:
    meta, mesa = card_of(named_config("metaqsm"), 0, {}), card_of(named_config("mesaqsm-0.76x0.76x3"), 0, {})
    assert meta.grid_mm == meta.voxel_mm == ((0.5, 1.0), (0.5, 1.0), (2.0, 4.0))
    assert mesa.grid_mm == ((0.7639, 0.7639), (0.7639, 0.7639), (3.0, 3.0))
    assert (meta.stage, mesa.stage, card_of(named_config("qsmnet"), 0, {}).stage) == ("metaqsm", "mesaqsm", "")
    paper = named_config("metaqsm-paper")
    assert card_of(paper, 0, {}).grid_mm == meta.grid_mm
    assert (paper.optimizer, paper.schedule, paper.learning_rate, paper.batch) == ("rmsprop", "exponential", 1e-4, 4)
    assert (paper.loss, paper.prediction_l2, paper.decay_steps) == ("l1", 0.01, 200)


def test_trainings_go_by_name_or_file() -> None:
    assert {path.stem for path in CONFIGS.glob("*.json")} >= {"qsmnet", "qsmnet-phys", "chisepnet", "r2star-to-r2prime"}
    assert named_config("qsmnet-phys").kind == "unrolled"
    assert named_config(str(CONFIGS / "qsmnet.json")).kind == "unet"
    with pytest.raises(InputError, match="qsmnet-phys"):
        named_config("qsmnot")

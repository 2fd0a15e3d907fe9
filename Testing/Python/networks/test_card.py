import json
from pathlib import Path

import pytest
import torch

from QSMReconLib.errors import InputError
from QSMReconLib.networks.card import FOLDER, Card, load_card, load_network, networks
from QSMReconLib.networks.unrolled import Unrolled


def test_weights_come_back_as_they_were_saved(tiny: tuple[Unrolled, Card, Path]) -> None:
    network, card, folder = tiny
    loaded = load_network(load_card("tiny", folder), folder=folder)
    assert isinstance(loaded, Unrolled)
    saved = network.state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in loaded.state_dict().items())
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert load_card("tiny", folder).voxel_mm == card.voxel_mm


def test_weights_that_are_not_the_cards_are_refused(tiny: tuple[Unrolled, Card, Path]) -> None:
    _, card, folder = tiny
    file = folder / "tiny" / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        load_network(card, folder=folder)
    file.unlink()
    with pytest.raises(InputError, match="SHA-256"):
        load_network(card, folder=folder)


def test_an_unknown_network_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"; there are .*qsmnet-phys"):
        load_card("qsmnot")


@pytest.mark.parametrize("name", networks())
def test_what_ships_is_whole_small_and_described(name: str) -> None:
    card = load_card(name)
    load_network(card)
    described = json.loads((FOLDER / name / "card.json").read_text("utf-8"))
    assert described["accuracy"]
    assert described["training"]
    assert card.licence == "MIT"
    assert "Research use only" in card.use
    assert (FOLDER / name / "weights.safetensors").stat().st_size <= 15e6


def test_networks_are_listed_by_what_they_are_for() -> None:
    assert set(networks("inversion")) <= set(networks())
    assert "qsmnet-phys" in networks("inversion")
    assert networks("cooking") == ()

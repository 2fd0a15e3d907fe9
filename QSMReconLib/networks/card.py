"""Model cards and weights: a folder of weights/ describes one trained network, and nothing is ever unpickled.

`card.json` says what the network eats, on what it was trained, how well it does and what its weights' SHA-256 is;
`weights.safetensors` holds them in half precision.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    import torch
    from torch import nn

FOLDER = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Card:
    """What a person and the runner must know of a trained network."""

    name: str
    title: str
    kind: str
    architecture: Mapping[str, Any]
    sha256: str
    source: str
    inputs: str
    output: str
    normalisation: str
    voxel_mm: tuple[tuple[float, float], ...]
    """Range of the finest, the middle and the largest edge of a voxel it was trained on."""
    max_tilt_deg: float
    max_noise_ppb: float
    max_chi_ppm: float
    task: str = "inversion"
    """What it is for, as QSMReconLib.training.tasks names it."""
    dr_hz_per_ppm: float | None = None
    """R2′ per ppm at 3 T of the heads it was trained on, where R2′ is among what it eats or makes."""
    field_strength_t: tuple[float, float] | None = None
    """Range of B0; None where it does not matter, as to a network that goes from ppm to ppm."""
    refuses: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Beyond which range the network must not be used at all, by the names of `inversion.qsmnet.measured`."""
    stage: str = ""
    """The stage that offers it, where its task has several: "metaqsm", "mesaqsm"; "" is the task's usual one."""
    grid_mm: tuple[tuple[float, float], ...] | None = None
    """Range of the edges of a voxel, the third one along B0, into which the input is resampled; None: takes any."""
    tile: int = 0
    """Edge, in voxels, of the tiles that the convolutions see: without physics inside, a network of small regions has
    not learned what a whole head looks like. 0: they see the whole volume."""
    data_consistency: str = "off"
    """What the stage does after the network unless it is told: "off", or "noise" for steps towards the field."""
    uncertainty: Mapping[str, float] = field(default_factory=dict)
    """Coefficients of `uncertainty.standard_error`; empty where they were not measured."""
    training: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "MIT"
    use: str = "Research use only. A network is not the consensus default for QSM (doi:10.1002/mrm.30006)."


def networks(task: str | None = None, stage: str = "") -> tuple[str, ...]:
    """The names of the networks that are shipped, or of those for one task that a stage of it offers."""
    cards = sorted(FOLDER.glob("*/card.json"))
    if task is not None:
        described = {card: json.loads(card.read_text("utf-8")) for card in cards}
        cards = [c for c, d in described.items() if (d.get("task", "inversion"), d.get("stage", "")) == (task, stage)]
    return tuple(card.parent.name for card in cards)


def load_card(name: str, folder: Path = FOLDER) -> Card:
    """The card of a network. Raises InputError, naming those there are."""
    path = folder / name / "card.json"
    if not path.is_file():
        raise InputError(f"There is no network {name!r}; there are {', '.join(networks()) or 'none'}.")
    described = json.loads(path.read_text("utf-8"))
    described["voxel_mm"] = tuple((float(low), float(high)) for low, high in described["voxel_mm"])
    grid = described.get("grid_mm")
    if grid is not None:
        # One number, as older cards have it, is an isotropic voxel.
        spans = ((grid, grid),) * 3 if isinstance(grid, int | float) else grid
        described["grid_mm"] = tuple((float(low), float(high)) for low, high in spans)
    described["refuses"] = {name: (low, high) for name, (low, high) in described.get("refuses", {}).items()}
    if described.get("field_strength_t") is not None:
        described["field_strength_t"] = tuple(described["field_strength_t"])
    return Card(**described)


def load_network(card: Card, device: torch.device | str = "cpu", folder: Path = FOLDER) -> nn.Module:
    """The network of a card, ready to be applied. Raises InputError where the weights are not those of the card."""
    import torch
    from safetensors.torch import load

    from .registry import build

    path = folder / card.name / "weights.safetensors"
    content = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(content).hexdigest() != card.sha256:
        raise InputError(f"{path} is not the file its card describes (SHA-256 differs): install QSMRecon again.")
    network = build(card.kind, card.architecture)
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in load(content).items()})
    network = network.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def save_network(network: nn.Module, card: Card, folder: Path = FOLDER) -> Card:
    """Write weights and card under `folder`/<name>; returns the card with the hash of the weights."""
    from safetensors.torch import save

    tensors = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    content = save({name: t.cpu().contiguous() for name, t in tensors.items()})
    card = replace(card, sha256=hashlib.sha256(content).hexdigest())
    (folder / card.name).mkdir(parents=True, exist_ok=True)
    (folder / card.name / "weights.safetensors").write_bytes(content)
    write_card(card, folder)
    return card


def write_card(card: Card, folder: Path = FOLDER) -> None:
    """Write the card of a network whose weights are there."""
    described = json.dumps(asdict(card), indent=1, ensure_ascii=False)
    (folder / card.name / "card.json").write_text(described + "\n", "utf-8")

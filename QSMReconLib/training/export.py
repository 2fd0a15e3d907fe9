"""From a training's checkpoint to a network that ships: half-precision weights and a card that says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError
from ..networks.card import FOLDER, Card, save_network
from ..networks.registry import build
from .config import TrainingConfig
from .simulatorconfig import SimulatorConfig
from .start import weights_of
from .wholeheads import MAX_TILT_DEG, NOISE_PPB, VOXEL_MM

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class Described:
    """What the cards of one kind of network say of it."""

    title: str
    source: str
    normalisation: str
    inputs: str = "local field in ppm, its mask, its noise where known; voxel size and B0 direction"
    output: str = "χ in ppm, inside the mask"


KINDS = {
    "unrolled": Described(
        "Unrolled reconstruction with data consistency inside",
        "QSMRecon; after LP-CNN (arXiv:2008.05024), MoDL (doi:10.1109/TMI.2018.2865356) and total variation "
        "(doi:10.1002/mrm.25029)",
        "each field by its own robust size (1.48·MAD inside the mask), undone in the map; noise is measured",
    ),
    "unet": Described(
        "QSMnet's U-Net, from the local field alone",
        "QSMnet (Yoon et al. 2018, doi:10.1016/j.neuroimage.2018.06.030); weights of QSMRecon's own training",
        "field and χ by constants of the card's architecture",
    ),
    "folded": Described(
        "Mesa-QSM's U-Net for one voxel size, from the local field alone",
        "Mesa-QSM (arXiv:1908.00206), on folded neighbourhoods; weights of QSMRecon's own training",
        "each field by its own robust size (1.48·MAD inside the mask), undone in the map; noise is measured",
    ),
    "weight-predicted": Described(
        "Meta-QSM: convolutions whose kernels are predicted from the voxel size",
        "Meta-QSM (arXiv:1908.00206), kernels as a basis; weights of QSMRecon's own training",
        "each field by its own robust size (1.48·MAD inside the mask), undone in the map; noise is measured",
    ),
    "separator": Described(
        "Unrolled separation of both sources, from the joint optimisation on",
        "QSMRecon; after χ-sepnet (Kim et al. 2025, doi:10.1002/hbm.70136) and χ-separation (Shin et al. 2021, "
        "doi:10.1016/j.neuroimage.2021.118371)",
        "all volumes by the mean of R2′/Dr inside the mask, undone in the maps; both noises are measured",
        "local field, χ and R2′/Dr, all in ppm, the mask, the field's noise where known; voxel size and B0 direction",
        "χ_para and χ_dia in ppm, both positive, inside the mask",
    ),
    "ratesplitter": Described(
        "R2′ from R2* and χ",
        "QSMRecon; after χ-sepnet-R2* (Kim et al. 2025, doi:10.1002/hbm.70136)",
        "rates by 20 Hz, χ by 0.05 ppm; the noise of R2* is measured",
        "R2* at 3 T in Hz, χ in ppm and the mask",
        "R2′ in Hz, inside the mask",
    ),
    "background": Described(
        "What total-field inversion has left of the background, on the whole head's coarse voxels",
        "QSMRecon",
        "all fields by the rms of the local field inside the mask, undone in the result",
        "local field, χ and background, in ppm, of a total-field inversion, and its mask; where the voxels and B0 lie",
        "what of the local field is background, in ppm; only what sources outside can make of it is taken",
    ),
}
FIELD_ONLY = "local field in ppm, its mask and its voxel size; B0 along the third axis"
STAGES = {"folded": "mesaqsm", "weight-predicted": "metaqsm"}
"""Which stage offers networks of a kind, where it is not their task's usual one."""

HEADS = "Simulated whole heads (QSMReconLib.training.wholeheads): every one another. No measured scan."
DATA = (
    "Simulated head regions: tissue maps of MNI152 (ICBM 2009a nonlinear symmetric, (C) 1993-2009 Louis Collins, "
    "McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University), bent, with nuclei, vessels, "
    "lesions, bleeds and calcifications; random geometry. No measured scan."
)


def named_config(name: str) -> TrainingConfig:
    """The training behind a network that ships, or any by a JSON file. Raises InputError, naming those there are."""
    known = {path.stem: path for path in sorted(CONFIGS.glob("*.json"))}
    path = known.get(name, Path(name))
    if not path.is_file():
        raise InputError(f"There is no training {name!r}; there are {', '.join(known)}, or give a JSON file.")
    return TrainingConfig.load(path)


def export(
    checkpoint: Path,
    accuracy: Mapping[str, Any],
    folder: Path = FOLDER,
    uncertainty: Mapping[str, float] | None = None,
    architecture: Mapping[str, Any] | None = None,
    mean_with: str = "",
) -> Card:
    """Write the averaged weights of `checkpoint` and their card, with the measured `accuracy`, under `folder`.

    `uncertainty` holds the coefficients of its standard error; `architecture` overrides options that need no
    other weights, such as more iterations of the start. `mean_with` is a network or file whose weights the training
    began with: what ships is the mean of both, often better than either (Wortsman et al. 2022, arXiv:2203.05482).
    Raises InputError where there is no checkpoint.
    """
    if not checkpoint.is_file():
        raise InputError(f"There is no checkpoint {checkpoint}.")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = TrainingConfig.from_json(state["config"])
    card = card_of(config, state["step"], accuracy, uncertainty)
    card = replace(card, architecture={**card.architecture, **(architecture or {})})
    network = build(card.kind, card.architecture)
    network.load_state_dict(state["average"])
    if mean_with:
        before = weights_of(mean_with)
        network.load_state_dict({n: torch.lerp(before[n], t, 0.5) for n, t in network.state_dict().items()})
        card = replace(card, training={**card.training, "mean_with": mean_with})
    return save_network(network, card, folder)


def card_of(
    config: TrainingConfig, step: int, accuracy: Mapping[str, Any], uncertainty: Mapping[str, float] | None = None
) -> Card:
    """The card of a training after `step` steps, without the hash of its weights."""
    simulator = config.simulator
    # Without a dipole inside, a network knows only the voxels, and the B0, of its training.
    inner = config.architecture if config.kind != "weight-predicted" else config.architecture.get("architecture", {})
    kind = config.architecture.get("network", "folded") if config.kind == "weight-predicted" else config.kind
    fixed = kind == "folded" or (kind == "unet" and not inner.get("closed_form", False))
    seen, configuration = _seen(config), config.to_json()
    if config.task == "background":
        del configuration["simulator"]
    described = KINDS[config.kind]
    return Card(
        name=config.name,
        title=described.title,
        kind=config.kind,
        architecture=dict(config.architecture),
        sha256="",
        source=described.source,
        inputs=FIELD_ONLY if fixed else described.inputs,
        output=described.output,
        normalisation=described.normalisation,
        voxel_mm=seen.voxel_mm,
        max_tilt_deg=seen.max_tilt_deg,
        max_noise_ppb=seen.max_noise_ppb,
        max_chi_ppm=2.0,
        task=config.task,
        dr_hz_per_ppm=simulator.dr_hz_per_ppm if config.task in ("separation", "r2prime") else None,
        stage=STAGES.get(config.kind, ""),
        grid_mm=_grid(simulator) if fixed else None,
        tile=max(simulator.sizes) if fixed else 0,
        data_consistency="noise" if fixed else "off",
        uncertainty=dict(uncertainty or {}),
        training={"steps": step, "data": seen.data, "configuration": configuration},
        accuracy=dict(accuracy),
    )


@dataclass(frozen=True)
class Seen:
    """What a training drew: in words, and over which ranges, as cards have them."""

    data: str
    voxel_mm: tuple[tuple[float, float], ...]
    max_tilt_deg: float
    max_noise_ppb: float


def _seen(config: TrainingConfig) -> Seen:
    if config.task == "background":
        return Seen(HEADS, VOXEL_MM, MAX_TILT_DEG, NOISE_PPB[1])
    simulator = config.simulator
    return Seen(DATA, _voxels(simulator), 0.0 if simulator.axial >= 1 else 45.0, simulator.noise_ppb[1])


def _voxels(simulator: SimulatorConfig) -> tuple[tuple[float, float], ...]:
    """The range of the finest, the middle and the largest edge that the simulator draws."""
    if simulator.low_mm:
        low, high = sorted(simulator.low_mm), sorted(simulator.high_mm)
        return tuple(zip(low, high, strict=True))
    if simulator.thick_slices > 0:
        return ((0.5, 1.2), (0.5, 1.2), (0.6, 3.5))
    edge = (1.0, 1.0) if simulator.one_mm >= 1 else (0.6, 1.2)
    return (edge, edge, edge)


def _grid(simulator: SimulatorConfig) -> tuple[tuple[float, float], ...]:
    """The range of each edge, in the order of the axes, that the simulator draws."""
    return tuple(zip(simulator.low_mm, simulator.high_mm, strict=True)) if simulator.low_mm else _voxels(simulator)

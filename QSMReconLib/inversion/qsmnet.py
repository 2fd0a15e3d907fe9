"""χ by a trained network: QSMnet's U-Net, or a reconstruction unrolled around the physics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._lazy import torch
from ..data import ChiMap, FieldNoise, Grid, LocalField
from ..networks.card import Card, load_card, load_network, networks
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..stage import Stage, option

if TYPE_CHECKING:
    from torch import nn

FLIPS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
"""Axes to be mirrored: eight views of one head, of which a network's answers should agree."""


def flipped_views(
    network: nn.Module,
    card: Card,
    field_ppm: torch.Tensor,
    mask: torch.Tensor,
    grid: Grid,
    noise_ppm: torch.Tensor | None = None,
    count: int = 8,
    progress: Callable[[float], None] | None = None,
    distrust: float = 3.0,
) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    """Mean and standard deviation (ppm, times the card's factor) of χ over `count` mirrored views, and the notes."""
    from ..networks.runner import reconstruct

    total = torch.zeros_like(field_ppm)
    square = torch.zeros_like(field_ppm)
    notes: tuple[str, ...] = ()
    for index, axes in enumerate(FLIPS[:count]):
        inner = None if progress is None else _part(progress, index, count)
        made = reconstruct(network, card, field_ppm, mask, grid, noise_ppm, inner, mirrored=axes, distrust=distrust)
        chi = made.chi_ppm
        total, square, notes = total + chi, square + chi * chi, made.notes
    mean = total / count
    variance = (square / count - mean * mean).clamp(min=0) * (count / (count - 1))
    return mean, variance.sqrt() * card.uncertainty_factor, notes


def outside_training(card: Card, local: LocalField) -> list[str]:
    """What of a scan the network has never seen, as sentences."""
    found = []
    edges = sorted(local.grid.voxel_size_mm)
    for edge, (low, high), what in zip(edges, card.voxel_mm, ("finest", "middle", "largest"), strict=True):
        if not low * 0.98 <= edge <= high * 1.02:
            found.append(
                f"{card.name} knows voxels whose {what} edge is {low:g} to {high:g} mm; it is {edge:.2f} mm here."
            )
    tilt = math.degrees(math.acos(min(1.0, max(abs(c) for c in local.grid.b0_direction))))
    if tilt > card.max_tilt_deg + 1:
        found.append(
            f"{card.name} knows B0 up to {card.max_tilt_deg:g}° off an axis of the volume; it is {tilt:.0f}° here."
        )
    return found


class QsmNet(Stage):
    """A trained network, by default `qsmnet-phys`: steps towards the measured field with a small network between them.

    `qsmnet` is the U-Net of Yoon et al. 2018 (doi:10.1016/j.neuroimage.2018.06.030), trained by us on simulated heads.
    Research use only: a network is not the consensus default for QSM (doi:10.1002/mrm.30006).
    """

    network: str = option("qsmnet-phys", "Which trained network", choices=networks("inversion"))
    distrust: float = option(
        3.0,
        "Voxels whose field no map explains, beyond this many σ, count less (0: all count the same)",
        unit="σ",
        ge=0.0,
        le=20.0,
    )
    data_consistency: str = option(
        "off", "A last step towards the measured field, as strong as its noise allows", choices=("off", "noise")
    )
    uncertainty: str = option(
        "off", "Mean and spread over eight mirrored views: eight times the time", choices=("off", "flips")
    )

    def apply(self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None) -> ChiMap:
        from ..networks.runner import data_step, noise_weight, reconstruct, relative_residual
        from ..networks.unrolled import field_scale, noise_level

        card = load_card(self.network)
        for sentence in outside_training(card, local):
            runtime.note(sentence)
        network = load_network(card, runtime.device)
        runtime.progress(0.02)
        sigma = None if noise is None else noise.noise_ppm
        std = None
        field, mask = local.field_ppm, local.mask

        def progress(fraction: float) -> None:
            runtime.progress(0.02 + 0.9 * fraction)

        if self.uncertainty == "flips":
            chi, std, notes = flipped_views(
                network, card, field, mask, local.grid, sigma, progress=progress, distrust=self.distrust
            )
        else:
            made = reconstruct(network, card, field, mask, local.grid, sigma, progress, distrust=self.distrust)
            chi, notes = made.chi_ppm, made.notes
        for sentence in notes:
            runtime.note(sentence)
        dipole = Dipole.of(local.grid, runtime.device)
        if self.data_consistency == "noise":
            weight = noise_weight(mask, sigma)
            volumes = field[None, None].float(), weight[None, None]
            relative = float(noise_level(*volumes) / field_scale(volumes[0], volumes[1]))
            chi = data_step(chi, field, weight, dipole, 0.01 + relative**2)
        largest = float(chi.abs().max())
        if largest > card.max_chi_ppm:
            runtime.note(
                f"χ reaches {largest:.2g} ppm; {card.name} knows up to {card.max_chi_ppm:g} ppm: check these voxels."
            )
        residual = relative_residual(chi, field, mask, dipole)
        runtime.note(f"The map of {card.name} leaves {100 * residual:.1f} % of the local field unexplained.")
        return ChiMap(local.grid, chi * (mask > 0), mask, reference="none: as the network was trained", std_ppm=std)


def _part(progress: Callable[[float], None], index: int, count: int) -> Callable[[float], None]:
    return lambda fraction: progress((index + fraction) / count)

"""χ by a trained network: QSMnet's U-Net, or a reconstruction unrolled around the physics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from .._lazy import torch
from ..data import ChiMap, FieldNoise, GreData, LocalField
from ..errors import InputError
from ..networks.card import Card, load_card, load_network, networks
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..stage import Stage, option
from .leftover import without_outside

DATA_STEPS = 6
"""Steps towards the field after the network; on heads with known χ more change little."""

WHAT = {
    "finest_mm": "voxels whose finest edge is {} mm",
    "middle_mm": "voxels whose middle edge is {} mm",
    "largest_mm": "voxels whose largest edge is {} mm",
    "tilt_deg": "B0 {}° off an axis of the volume",
    "noise_ppb": "field noise of {} ppb",
    "field_strength_t": "B0 of {} T",
}
"""What of a scan is compared with what a network knows, in words."""


def measured(
    local: LocalField, weight: torch.Tensor | None = None, field_strength_t: float | None = None
) -> dict[str, float]:
    """What of a scan decides whether a network knows it, by the names of WHAT; what cannot be told is left out.

    The noise is that of the voxels of `weight` 1 (0..1, 0 outside the mask; None: as the mask), measured in the field.
    """
    from ..networks.unrolled import noise_level

    weight = (local.mask > 0).float() if weight is None else weight
    found = dict(zip(("finest_mm", "middle_mm", "largest_mm"), sorted(local.grid.voxel_size_mm), strict=True))
    found["tilt_deg"] = math.degrees(math.acos(min(1.0, max(abs(c) for c in local.grid.b0_direction))))
    found["noise_ppb"] = 1e3 * float(noise_level(local.field_ppm[None, None].float(), weight[None, None]))
    if field_strength_t is not None:
        found["field_strength_t"] = field_strength_t
    return found


def known(card: Card) -> dict[str, tuple[float, float]]:
    """The range of what a network was trained on, by the names of WHAT; what does not matter to it is left out."""
    found = dict(zip(("finest_mm", "middle_mm", "largest_mm"), card.voxel_mm, strict=True))
    found |= {"tilt_deg": (0.0, card.max_tilt_deg), "noise_ppb": (0.0, card.max_noise_ppb)}
    if card.field_strength_t is not None:
        found["field_strength_t"] = card.field_strength_t
    return found


def outside_training(card: Card, scan: Mapping[str, float]) -> list[str]:
    """What of a scan (see `measured`) the network has never seen, as sentences.

    Raises InputError where it is beyond what the card allows.
    """
    for name, span in card.refuses.items():
        if name in scan and _outside(name, scan[name], span):
            raise InputError(
                f"{card.name} must not be used for {WHAT[name].format(_number(scan[name]))}, only for "
                f"{span[0]:g} to {span[1]:g}: choose another network or method."
            )
    return [
        f"{card.name} knows {WHAT[name].format(_range(span))}; here it is {_number(scan[name])}."
        for name, span in known(card).items()
        if name in scan and _outside(name, scan[name], span)
    ]


class QsmNet(Stage):
    """A trained network, by default `qsmnet-phys`: steps towards the measured field with a small network between them.

    `qsmnet` is the U-Net of Yoon et al. 2018 (doi:10.1016/j.neuroimage.2018.06.030), trained by us on simulated heads.
    Research use only: a network is not the consensus default for QSM (doi:10.1002/mrm.30006).
    """

    network: str = option("qsmnet-phys", "Which trained network", choices=networks("inversion"))
    leftover: str = option(
        "auto",
        "Take off first what sources outside the brain still make in the local field (auto: where the field says how "
        "much of the background it may hold, as after background removal)",
        choices=("auto", "on", "off"),
    )
    distrust: float = option(
        3.0,
        "Voxels whose field no map explains, beyond this many σ, count less (0: all count the same)",
        unit="σ",
        ge=0.0,
        le=20.0,
    )
    data_consistency: str = option(
        "card",
        "Last steps towards the measured field, as strong as its noise allows (card: as the network's card says)",
        choices=("card", "off", "noise"),
    )
    uncertainty: str = option(
        "off", "A map of the standard error of χ, estimated from map and field", choices=("off", "estimated")
    )

    def apply(
        self, local: LocalField, runtime: Runtime, noise: FieldNoise | None = None, gre: GreData | None = None
    ) -> ChiMap:
        from ..networks.runner import data_step, noise_weight, reconstruct, relative_residual
        from ..networks.uncertainty import standard_error
        from ..networks.unrolled import field_scale

        card = load_card(self.network)
        if self.leftover == "on" or (self.leftover == "auto" and local.harmonic_ppm is not None):
            local = self._without_leftover(local, noise, runtime)
        sigma = None if noise is None else noise.noise_ppm
        field, mask = local.field_ppm, local.mask
        weight = noise_weight(mask, sigma)
        scan = measured(local, weight, None if gre is None else gre.field_strength_t)
        for sentence in outside_training(card, scan):
            runtime.note(sentence)
        if self.uncertainty != "off" and not card.uncertainty:
            runtime.note(f"The errors of {card.name} were not measured: there is no map of its uncertainty.")
        network = load_network(card, runtime.device)
        runtime.progress(0.1)

        def progress(fraction: float) -> None:
            runtime.progress(0.1 + 0.82 * fraction)

        made = reconstruct(network, card, field, mask, local.grid, sigma, progress, distrust=self.distrust)
        chi = made.chi_ppm
        for sentence in made.notes:
            runtime.note(sentence)
        dipole = Dipole.of(local.grid, runtime.device)
        wanted = card.data_consistency if self.data_consistency == "card" else self.data_consistency
        if wanted == "noise":
            scale = float(field_scale(field[None, None].float(), weight[None, None]))
            relative = 1e-3 * scan["noise_ppb"] / scale
            chi = data_step(chi, field, weight, dipole, 0.01 + 6 * relative**2, DATA_STEPS)
        largest = float(chi.abs().max())
        if largest > card.max_chi_ppm:
            runtime.note(
                f"χ reaches {largest:.2g} ppm; {card.name} knows up to {card.max_chi_ppm:g} ppm: check these voxels."
            )
        residual = relative_residual(chi, field, mask, dipole)
        runtime.note(f"The map of {card.name} leaves {100 * residual:.1f} % of the local field unexplained.")
        std = None
        if self.uncertainty != "off" and card.uncertainty:
            std = standard_error(chi, field, weight, dipole, card.uncertainty)
        return ChiMap(local.grid, chi * (mask > 0), mask, reference="none: as the network was trained", std_ppm=std)

    @staticmethod
    def _without_leftover(local: LocalField, noise: FieldNoise | None, runtime: Runtime) -> LocalField:
        """The local field without what total variation gives to sources outside; says how much that was."""
        field = without_outside(local, noise, lambda fraction: runtime.progress(0.1 * fraction))
        taken = float((local.field_ppm * (local.mask > 0) - field).norm() / field.norm().clamp(min=1e-12))
        runtime.note(f"Sources outside the brain explain {100 * taken:.1f} % of the local field, which was taken off.")
        return replace(local, field_ppm=field)


def _outside(name: str, value: float, span: tuple[float, float]) -> bool:
    """Beyond a range, but for what rounding or the patient's breathing may do: 2 %, or a degree."""
    slack = 1.0 if name == "tilt_deg" else 0.02 * value
    return not span[0] - slack <= value <= span[1] + slack


def _number(value: float) -> str:
    return f"{value:.3g}"


def _range(span: tuple[float, float]) -> str:
    return f"{span[0]:g} to {span[1]:g}"

"""An endless source of simulated head regions: a field with everything that spoils it, and the χ behind it.

The local field of a region is D∗(χ·mask), exactly, for any mask: so every randomly cut piece of a warped brain is a
complete problem, with its own edge, and a network that looks at small pieces learns the physics of whole heads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

from ..physics.dipole import dipole_kernel
from ..physics.fourier import Spectrum
from .anatomy import Anatomy
from .head import draw_head
from .shapes import Dice, Size, coordinates, smooth_noise
from .simulatorconfig import SimulatorConfig

SPREAD = (0.8191725, 0.6710436, 0.5497005)
"""Steps of a sequence that fills a cube evenly, each point far from the last (Roberts 2018, powers of 1/1.2207)."""


@dataclass(frozen=True)
class Sample:
    """One region; volumes (X, Y, Z), χ and field in ppm, χ_para and χ_dia both positive.

    `weight` is 0..1, σ_best/σ of the field, as far as the reconstruction is told; `noise_ppm` the true σ at weight 1.
    """

    field_ppm: torch.Tensor
    chi_ppm: torch.Tensor
    chi_para_ppm: torch.Tensor
    chi_dia_ppm: torch.Tensor
    r2prime_hz: torch.Tensor
    r2_hz: torch.Tensor
    measured_r2prime_hz: torch.Tensor
    measured_r2star_hz: torch.Tensor
    mask: torch.Tensor
    weight: torch.Tensor
    noise_ppm: float
    spectrum: Spectrum
    kernel: torch.Tensor
    b0_direction: Size

    def to(self, device: torch.device) -> Sample:
        """The same on a device."""
        moved: dict[str, Any] = {n: v.to(device) for n, v in vars(self).items() if isinstance(v, torch.Tensor)}
        return replace(self, **moved)


class Simulator:
    """Samples by number: the same seed and number give the same sample, on every run."""

    def __init__(self, anatomy: Anatomy, config: SimulatorConfig | None = None, seed: int = 0) -> None:
        self.anatomy = anatomy
        self.config = config or SimulatorConfig()
        self.seed = seed

    def samples(self, number: int, size: int) -> list[Sample]:
        """`size` samples on one grid, from `number` on."""
        return [self.sample(number + index, grid_of=number) for index in range(size)]

    def sample(self, number: int, grid_of: int | None = None) -> Sample:
        """Sample `number`, on the grid that sample `grid_of` has; regions with too little brain are drawn again."""
        device = self.anatomy.channels.device
        base = self.seed * 1_000_003
        first = number if grid_of is None else grid_of
        shape, voxel, split = self._grid(Dice((base + first) * 64 + 63, device), first)
        fine = _split(shape, voxel, split)
        for attempt in range(20):
            dice = Dice((base + number) * 64 + attempt, device)
            head = draw_head(dice, self.anatomy, self.config, *fine)
            if float(head["mask"].mean()) > 0.12:
                break
        return self._measure(dice, head, shape, voxel, split)

    def _grid(self, dice: Dice, number: int) -> tuple[tuple[int, int, int], Size, int]:
        """Shape, voxel size, and into how many the third axis is split while the head is drawn."""
        config = self.config
        n = dice.host.choice(config.sizes)
        kind = dice.uniform(0, 1)
        if config.low_mm or kind < config.thick_slices:
            voxel = (dice.uniform(0.5, 1.0), dice.uniform(0.5, 1.0), dice.uniform(1.6, 3.5))
            if config.low_mm:
                shares = (math.modf((number + 1 + self.seed) * step)[0] for step in SPREAD)
                x, y, z = (a + s * (b - a) for a, b, s in zip(config.low_mm, config.high_mm, shares, strict=True))
                voxel = (x, y, z)
            split = max(1, round(voxel[2] / 1.1))
            depth = config.slices or 8 * max(2, round(n / split / 8 * 1.15))
            return (n, n, depth), voxel, split
        edge = 1.0 if kind < config.thick_slices + config.one_mm else dice.uniform(0.6, 1.2)
        return (n, n, n), (edge, edge, edge), 1

    def _measure(
        self, dice: Dice, head: dict[str, torch.Tensor], shape: tuple[int, int, int], voxel: Size, split: int
    ) -> Sample:
        """The field of the head on the scan's own voxels, with what a real one suffers from."""
        config = self.config
        axial = dice.chance(config.axial)
        b0 = (0.0, 0.0, 1.0) if axial else self._tilted(dice)
        fine = Spectrum.of(*_split(shape, voxel, split), config.padding_mm)
        chi = head["para"] - head["dia"]
        true_field = fine.from_k(dipole_kernel(fine, b0, chi.device) * fine.to_k(chi))
        mask = _thicker(head["mask"], split)
        inside = (mask > 0.5).float()
        # A voxel at the rim holds the mean of the tissue that is in it, and only that is seen.
        chi, para, dia, r2prime, r2 = (
            _thicker(v, split) * inside for v in (chi, head["para"], head["dia"], head["r2prime"], head["r2"])
        )
        true_field = _thicker(true_field * head["mask"], split) / mask.clamp(min=0.5)
        mask = inside
        vessel = _thicker(head["vessel"], split)
        spectrum = Spectrum.of(shape, voxel, config.padding_mm) if split > 1 else fine
        if dice.chance(config.eroded):
            width = 2 * dice.host.randint(1, 2) + 1
            core = (functional.avg_pool3d(mask[None, None], width, 1, width // 2)[0, 0] > 0.999).float()
            mask = core if float(core.mean()) > 0.06 else mask
        field = true_field
        if dice.chance(config.harmonic):
            field = field + config.harmonic_ppb * 1e-3 * dice.host.gauss(0, 1) * _harmonic(dice, shape, voxel)
        if config.residue and dice.chance(config.residue):
            outside = fine.from_k(dipole_kernel(fine, b0, chi.device) * fine.to_k(_sources_outside(dice, head["mask"])))
            outside = _thicker(outside * head["mask"], split)
            size = (outside * mask).square().sum() / mask.sum().clamp(min=1)
            field = field + outside * (config.residue_ppb * 1e-3 * dice.spread(0.2, 1.5) / (size.sqrt() + 1e-12))
        relative = self._relative_noise(dice, shape, voxel, vessel)
        noise = 0.0 if dice.chance(config.noise_free) else 1e-3 * dice.spread(*config.noise_ppb)
        field = field + noise * relative * dice.normal(*shape)
        wrong = torch.zeros_like(field, dtype=torch.bool)
        if dice.chance(config.wrapped):
            wrong = (vessel > 0.3) & (dice.normal(*shape) > dice.uniform(0.5, 2))
            field = field + wrong * dice.host.choice((-1, 1)) * dice.uniform(0.05, 0.3)
        weight = mask.clone()
        if dice.chance(config.known_noise):
            weight = weight / relative.clamp(min=1) * torch.where(wrong, 0.05, 1.0)
        measured_r2prime, measured_r2star = self._decays(dice, r2prime, r2, vessel)
        return Sample(
            field * mask,
            chi * mask,
            para * mask,
            dia * mask,
            r2prime * mask,
            r2 * mask,
            measured_r2prime * mask,
            measured_r2star * mask,
            mask,
            weight,
            noise,
            spectrum,
            dipole_kernel(spectrum, b0, field.device),
            b0,
        )

    def _decays(
        self, dice: Dice, r2prime: torch.Tensor, r2: torch.Tensor, vessel: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """R2′ and R2* as fits find them: noisy, wrong in some heads' veins; half of all R2′ are cut at zero."""
        config = self.config
        noise = 0.0 if dice.chance(config.decay_noise_free) else dice.spread(*config.decay_noise_hz)
        if dice.chance(0.3):
            r2prime = r2prime * (1 + dice.uniform(-0.4, 0.6) * vessel)
        one, two = dice.normal(2, *r2.shape) * noise
        found = r2prime + one
        return found.clamp(min=0) if dice.chance(0.5) else found, (r2 + r2prime + two).clamp(min=0)

    def _tilted(self, dice: Dice) -> Size:
        if dice.chance(self.config.any_orientation):
            return dice.direction()
        tilt, around = math.radians(dice.uniform(0, 45)), dice.uniform(0, 2 * math.pi)
        return (math.sin(tilt) * math.cos(around), math.sin(tilt) * math.sin(around), math.cos(tilt))

    def _relative_noise(
        self, dice: Dice, shape: tuple[int, int, int], voxel: Size, vessel: torch.Tensor
    ) -> torch.Tensor:
        """σ against the best voxels': white, or with coil shading and dark vessels."""
        if dice.chance(0.5):
            return torch.ones(shape, device=dice.device)
        shading = smooth_noise(dice, shape, voxel, 60.0)[0] * dice.uniform(0, 0.4)
        return torch.exp(shading.abs()) * (1 + dice.uniform(0, 3) * vessel)


def stacked(samples: Sequence[Sample], name: str) -> torch.Tensor:
    """One volume of every sample, (B, 1, X, Y, Z)."""
    return torch.stack([getattr(sample, name)[None] for sample in samples])


def _sources_outside(dice: Dice, mask: torch.Tensor) -> torch.Tensor:
    """χ of no particular size around the mask and in the voxels at its rim: what a background fit gets wrong."""
    shape = (int(mask.shape[0]), int(mask.shape[1]), int(mask.shape[2]))
    around = 1 - functional.avg_pool3d(mask[None, None], 3, 1, 1)[0, 0]
    return smooth_noise(dice, shape, (1.0, 1.0, 1.0), dice.spread(2.0, 8.0))[0] * around


def _split(shape: tuple[int, int, int], voxel: Size, split: int) -> tuple[tuple[int, int, int], Size]:
    """The grid on which each voxel's third axis is split in so many."""
    return (shape[0], shape[1], shape[2] * split), (voxel[0], voxel[1], voxel[2] / split)


def _thicker(volume: torch.Tensor, split: int) -> torch.Tensor:
    """Means over `split` voxels of the third axis."""
    x, y, z = volume.shape
    return volume if split == 1 else volume.reshape(x, y, z // split, split).mean(-1)


def _harmonic(dice: Dice, shape: tuple[int, int, int], voxel: Size) -> torch.Tensor:
    """A field without sources inside, of about unit size: solid harmonics up to the third order."""
    x, y, z = coordinates(shape, voxel, dice.device)
    size = max(n * v for n, v in zip(shape, voxel, strict=True)) / 2
    x, y, z = x / size, y / size, z / size
    terms = (
        x, y, z, x * y, x * z, y * z, x * x - y * y, 2 * z * z - x * x - y * y,
        x * y * z, z * (x * x - y * y), x * (x * x - 3 * y * y), y * (3 * x * x - y * y),
        z * (2 * z * z - 3 * x * x - 3 * y * y),
    )  # fmt: skip
    total = torch.zeros(shape, device=dice.device)
    for term in terms:
        total = total + dice.host.gauss(0, 1) * term
    return total / total.std().clamp(min=1e-6)

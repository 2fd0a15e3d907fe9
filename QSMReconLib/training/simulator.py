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
from ..separation.relaxivity import DR_HZ_PER_PPM
from .anatomy import TISSUES, Anatomy
from .contrast import change_contrast, draw_solids
from .shapes import Dice, Size, coordinates, draw_blob, draw_vessels, rotation, smooth_noise

SPREAD = (0.8191725, 0.6710436, 0.5497005)
"""Steps of a sequence that fills a cube evenly, each point far from the last (Roberts 2018, powers of 1/1.2207)."""


@dataclass(frozen=True)
class SimulatorConfig:
    """How varied the samples are. Probabilities from 0 to 1, lengths in mm, fields in ppb."""

    sizes: tuple[int, ...] = (64, 64, 64, 80, 96)
    """Edge of the region in voxels, where voxels are isotropic: one of these."""
    one_mm: float = 0.5
    thick_slices: float = 0.3
    low_mm: tuple[float, ...] = ()
    high_mm: tuple[float, ...] = ()
    """Where given, all voxels have edges between these, drawn so that the next batch's are far from the last one's."""
    slices: int = 0
    """Of such a region; 0: as many as make it, at the usual thickness, about a cube."""
    axial: float = 0.6
    any_orientation: float = 0.1
    geometric: float = 0.15
    solids: float = 0.0
    """Heads with spheres, ellipsoids, cuboids and cylinders of random χ in them, up to `solids_ppm`."""
    solids_ppm: float = 2.0
    contrast: float = 0.0
    """Heads whose χ_para and χ_dia have their contrast changed: linear, gamma, log or sigmoid."""
    noise_free: float = 0.3
    noise_ppb: tuple[float, float] = (0.3, 4.0)
    known_noise: float = 0.5
    harmonic: float = 0.3
    harmonic_ppb: float = 1.5
    residue: float = 0.0
    """Fields with what background removal left near the edge of the mask, of about `residue_ppb` over it."""
    residue_ppb: float = 3.0
    wrapped: float = 0.05
    eroded: float = 0.2
    scaled: float = 0.25
    flipped: float = 0.15
    padding_mm: float = 20.0
    dr_hz_per_ppm: float = DR_HZ_PER_PPM
    dr_varies: float = 0.08
    """Of R2′ per ppm, of either source, over 25 mm; by half of that also from head to head."""
    decay_noise_hz: tuple[float, float] = (0.3, 3.0)
    decay_noise_free: float = 0.1


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
        for attempt in range(20):
            dice = Dice((base + number) * 64 + attempt, device)
            head = self._head(dice, (shape[0], shape[1], shape[2] * split), (voxel[0], voxel[1], voxel[2] / split))
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

    def _head(self, dice: Dice, shape: tuple[int, int, int], voxel: Size) -> dict[str, torch.Tensor]:
        """χ_para and χ_dia in ppm, R2′ and R2 in Hz, and the mask, on the fine grid."""
        if dice.chance(self.config.geometric):
            para, dia, r2, mask = self._pattern(dice, shape, voxel)
        else:
            para, dia, r2, mask = self._brain(dice, shape, voxel)
        # What is never drawn takes nothing from the dice: samples stay what they were.
        if self.config.contrast and dice.chance(self.config.contrast):
            para, dia = change_contrast(dice, para), change_contrast(dice, dia)
        vessel_cover, owner = draw_vessels(dice, shape, voxel, self._vessels(dice, shape, voxel), (0.4, 1.7))
        count = int(owner.max()) + 1
        values = torch.tensor([0.0] + [dice.spread(0.1, 0.4) for _ in range(count)], device=mask.device)
        para = torch.lerp(para, values[owner.long()], vessel_cover)
        dia = dia * (1 - vessel_cover)
        r2 = torch.lerp(r2, torch.full_like(r2, dice.uniform(18, 32)), vessel_cover)
        self._lesions(dice, para, dia, r2, shape, voxel)
        if self.config.solids and dice.chance(self.config.solids):
            draw_solids(dice, para, dia, shape, voxel, self.config.solids_ppm)
        if dice.chance(self.config.scaled):
            scale = dice.spread(1, 4)
            para, dia = para * scale, dia * scale
        if dice.chance(self.config.flipped):
            para, dia = dia, para
        mask = self._cut(dice, mask, shape, voxel)
        vary = self.config.dr_varies
        relaxivity = (1 + vary * smooth_noise(dice, shape, voxel, 25.0, 2)).clamp(min=0.3)
        dr = [self.config.dr_hz_per_ppm * dice.around(1.0, vary / 2) for _ in range(2)]
        r2prime = dr[0] * relaxivity[0] * para + dr[1] * relaxivity[1] * dia
        maps = {"para": para, "dia": dia, "r2prime": r2prime, "r2": r2}
        return {name: volume * mask for name, volume in maps.items()} | {"mask": mask, "vessel": vessel_cover}

    def _vessels(self, dice: Dice, shape: tuple[int, int, int], voxel: Size) -> int:
        """As many as 15 to 40 to a brain of 1.4 litres would give here, doubled and more: small regions need some."""
        volume = math.prod(n * v for n, v in zip(shape, voxel, strict=True)) / 1.4e6
        return round(dice.spread(15, 120) * volume + dice.uniform(0, 2.5))

    def _brain(self, dice: Dice, shape: tuple[int, int, int], voxel: Size) -> tuple[torch.Tensor, ...]:
        channels = self._warped(dice, shape, voxel)
        brain, grey, white, t1 = channels[:4]
        mask = (brain > 0.5).float()
        # The template is a mean of 152 heads: sharper tissue borders, by a random amount, make it one head.
        sharp = dice.uniform(2, 14)
        csf = (1.0 + dice.uniform(-0.2, 0.1) - grey - white).clamp(min=0)
        share = torch.softmax(sharp * torch.stack([white, grey, csf]), 0)
        nuclei = channels[4:]
        rest = (1 - nuclei.sum(0)).clamp(0, 1)
        share = torch.cat([share * rest, nuclei])
        share = share / share.sum(0).clamp(min=1e-3)
        para = [dice.around(t.para_ppb, 0.3) * 1e-3 for t in TISSUES]
        dia = [dice.around(t.dia_ppb, 0.25) * 1e-3 for t in TISSUES]
        r2 = [dice.around(t.r2_hz, 0.12) for t in TISSUES]
        maps = [torch.einsum("c,cxyz->xyz", torch.tensor(v, device=share.device), share) for v in (para, dia, r2)]
        detail = (t1 - 0.7) * dice.uniform(-0.02, 0.02)
        for index, texture in enumerate(self._texture(dice, shape, voxel)):
            maps[index] = (maps[index] * (1 + texture[0]) + texture[1] + (detail if index else 0)).clamp(min=0)
        maps[2] *= (1 + dice.uniform(0, 0.06) * smooth_noise(dice, shape, voxel, dice.spread(3, 20))[0]).clamp(min=0)
        return *maps, mask

    def _texture(self, dice: Dice, shape: tuple[int, int, int], voxel: Size) -> list[torch.Tensor]:
        """For χ_para and χ_dia: a relative and an absolute (ppm) texture of several scales, (2, X, Y, Z) each."""
        made = []
        strength = dice.spread(0.3, 2.0)
        for _ in range(2):
            total = torch.zeros(2, *shape, device=dice.device)
            for scale in (dice.spread(1.5, 3.0), dice.spread(3.0, 8.0), dice.spread(8.0, 25.0)):
                noise = smooth_noise(dice, shape, voxel, scale, 2)
                total[0] += noise[0] * (strength * dice.uniform(0.0, 0.15))
                total[1] += noise[1] * (strength * dice.uniform(0.0, 3e-3))
            made.append(total)
        return made

    def _warped(self, dice: Dice, shape: tuple[int, int, int], voxel: Size) -> torch.Tensor:
        """The anatomy around a random point of the brain, turned, stretched and bent."""
        channels = self.anatomy.channels
        device = channels.device
        if dice.chance(0.4):  # The deep nuclei are where the answers are looked for.
            middle = [dice.uniform(-25, 25), dice.uniform(-35, 25), dice.uniform(-20, 20)]
        else:
            middle = [dice.uniform(-60, 60), dice.uniform(-90, 60), dice.uniform(-50, 65)]
        axes = list(range(3)) if dice.chance(0.85) else dice.host.sample(range(3), 3)
        signs = [dice.host.choice((-1, 1)), 1, 1]
        stretch = [dice.uniform(0.85, 1.2) * s for s in signs]
        turn = rotation(dice, 25)
        position = coordinates(shape, voxel, device)
        bend = smooth_noise(dice, shape, voxel, 40.0, 3) * dice.uniform(1, 3.5)
        bend += smooth_noise(dice, shape, voxel, 14.0, 3) * dice.uniform(0, 1.2)
        at = []
        for axis in range(3):
            row = turn[axis]
            mm = sum((row[j] * stretch[j]) * position[axes[j]] for j in range(3))
            offset = middle[axis] - self.anatomy.centre_mm[axis]
            at.append((mm + bend[axis] + offset) * (2 / (channels.shape[axis + 1] - 1)))
        grid = torch.stack([at[2], at[1], at[0]], -1)[None]
        return functional.grid_sample(channels[None], grid, align_corners=True)[0]

    def _pattern(self, dice: Dice, shape: tuple[int, int, int], voxel: Size) -> tuple[torch.Tensor, ...]:
        """No anatomy: levels of smooth noise as regions, with blobs of every kind, sharp or smooth."""
        noise = smooth_noise(dice, shape, voxel, dice.spread(6, 40))[0]
        levels = dice.host.randint(2, 6)
        region = (noise * dice.uniform(1, 3) + levels / 2).clamp(0, levels - 1)
        if dice.chance(0.6):
            region = region.round()
        low = region.floor().long().clamp(max=levels - 2)
        value = torch.tensor([dice.host.gauss(0, 0.03) for _ in range(levels)], device=dice.device)
        chi = torch.lerp(value[low], value[low + 1], region - low)
        for _ in range(dice.host.randint(0, 25)):
            edge = 0.5 * voxel[0] if dice.chance(0.6) else dice.spread(1, 6)
            solid = dice.host.choice(("ellipsoid", "cuboid", "cylinder", "shell"))
            blob = draw_blob(dice, shape, voxel, dice.spread(1.5, 14), edge, solid)
            chi[blob.box] = torch.lerp(
                chi[blob.box], chi[blob.box] * 0 + dice.host.choice((-1, 1)) * dice.spread(0.01, 0.2), blob.cover
            )
        if dice.chance(0.7):
            chi = chi + smooth_noise(dice, shape, voxel, dice.spread(1.5, 6))[0] * dice.uniform(0, 6e-3)
        common = 0.03 * torch.rand(1, generator=dice.generator, device=dice.device)
        r2 = (13 + 2 * smooth_noise(dice, shape, voxel, dice.spread(6, 40))[0] + 60 * chi.abs()).clamp(min=0.5)
        return chi.clamp(min=0) + common, (-chi).clamp(min=0) + common, r2, torch.ones(shape, device=dice.device)

    def _lesions(
        self,
        dice: Dice,
        para: torch.Tensor,
        dia: torch.Tensor,
        r2: torch.Tensor,
        shape: tuple[int, int, int],
        voxel: Size,
    ) -> None:
        """Multiple sclerosis, bleeds and calcifications, drawn into the maps; most regions have none of a kind."""
        for _ in range(dice.host.randint(1, 5) if dice.chance(0.35) else 0):
            rim = dice.chance(0.25)
            blob = draw_blob(
                dice, shape, voxel, dice.spread(1.5, 7), dice.spread(0.6, 3), "shell" if rim else "ellipsoid", 0.2
            )
            para[blob.box] += blob.cover * dice.uniform(0.0, 0.06)
            dia[blob.box] = dia[blob.box] * (1 - blob.cover * (0.0 if rim else dice.uniform(0.2, 0.7)))
            r2[blob.box] *= 1 - blob.cover * dice.uniform(-0.1, 0.4)
        for target, other, low, high, probability in ((para, dia, 0.2, 2.0, 0.18), (dia, para, 0.2, 2.0, 0.12)):
            for _ in range(dice.host.randint(1, 3) if dice.chance(probability) else 0):
                edge = min(voxel) * dice.spread(0.5, 3)
                solid = "ellipsoid" if dice.chance(0.8) else "shell"
                blob = draw_blob(dice, shape, voxel, dice.spread(0.8, 6), edge, solid, dice.uniform(0, 0.25))
                value = dice.spread(low, high)
                target[blob.box] = torch.lerp(target[blob.box], target[blob.box] * 0 + value, blob.cover)
                other[blob.box] *= 1 - blob.cover
                r2[blob.box] = torch.lerp(r2[blob.box], r2[blob.box] * 0 + dice.spread(12, 50), blob.cover)

    def _cut(self, dice: Dice, mask: torch.Tensor, shape: tuple[int, int, int], voxel: Size) -> torch.Tensor:
        """The mask, in a third of the regions with a smooth random part of it gone."""
        if dice.chance(0.35):
            noise = smooth_noise(dice, shape, voxel, dice.spread(25, 60))[0]
            mask = mask * (noise > dice.uniform(-1.2, 0.2))
        return mask

    def _measure(
        self, dice: Dice, head: dict[str, torch.Tensor], shape: tuple[int, int, int], voxel: Size, split: int
    ) -> Sample:
        """The field of the head on the scan's own voxels, with what a real one suffers from."""
        config = self.config
        axial = dice.chance(config.axial)
        b0 = (0.0, 0.0, 1.0) if axial else self._tilted(dice)
        fine_voxel = (voxel[0], voxel[1], voxel[2] / split)
        fine = Spectrum.of((shape[0], shape[1], shape[2] * split), fine_voxel, config.padding_mm)
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

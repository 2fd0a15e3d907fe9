"""The heads of the simulator: brains, patterns, veins and lesions as maps of χ_para, χ_dia, R2′ and R2."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from .anatomy import TISSUES, Anatomy
from .contrast import change_contrast, draw_solids
from .cortex import fold
from .shapes import Dice, Size, coordinates, draw_blob, draw_vessels, rotation, smooth_noise
from .simulatorconfig import SimulatorConfig


def draw_head(
    dice: Dice, anatomy: Anatomy, config: SimulatorConfig, shape: tuple[int, int, int], voxel: Size
) -> dict[str, torch.Tensor]:
    """χ_para and χ_dia in ppm, R2′ and R2 in Hz, and the mask, on the fine grid."""
    if dice.chance(config.geometric):
        para, dia, r2, mask = _pattern(dice, shape, voxel)
    else:
        para, dia, r2, mask = _brain(dice, anatomy, config, shape, voxel)
    # What is never drawn takes nothing from the dice: samples stay what they were.
    if config.contrast and dice.chance(config.contrast):
        para, dia = change_contrast(dice, para), change_contrast(dice, dia)
    vessel_cover, owner = draw_vessels(dice, shape, voxel, _vessels(dice, shape, voxel), (0.4, 1.7))
    count = int(owner.max()) + 1
    values = torch.tensor([0.0] + [dice.spread(0.1, 0.4) for _ in range(count)], device=mask.device)
    para = torch.lerp(para, values[owner.long()], vessel_cover)
    dia = dia * (1 - vessel_cover)
    r2 = torch.lerp(r2, torch.full_like(r2, dice.uniform(18, 32)), vessel_cover)
    _lesions(dice, para, dia, r2, shape, voxel)
    if config.solids and dice.chance(config.solids):
        draw_solids(dice, para, dia, shape, voxel, config.solids_ppm)
    if dice.chance(config.scaled):
        scale = dice.spread(1, 4)
        para, dia = para * scale, dia * scale
    if dice.chance(config.flipped):
        para, dia = dia, para
    mask = _cut(dice, mask, shape, voxel)
    vary = config.dr_varies
    relaxivity = (1 + vary * smooth_noise(dice, shape, voxel, 25.0, 2)).clamp(min=0.3)
    dr = [config.dr_hz_per_ppm * dice.around(1.0, vary / 2) for _ in range(2)]
    r2prime = dr[0] * relaxivity[0] * para + dr[1] * relaxivity[1] * dia
    maps = {"para": para, "dia": dia, "r2prime": r2prime, "r2": r2}
    return {name: volume * mask for name, volume in maps.items()} | {"mask": mask, "vessel": vessel_cover}


def _vessels(dice: Dice, shape: tuple[int, int, int], voxel: Size) -> int:
    """As many as 15 to 40 to a brain of 1.4 litres would give here, doubled and more: small regions need some."""
    volume = math.prod(n * v for n, v in zip(shape, voxel, strict=True)) / 1.4e6
    return round(dice.spread(15, 120) * volume + dice.uniform(0, 2.5))


def _brain(
    dice: Dice, anatomy: Anatomy, config: SimulatorConfig, shape: tuple[int, int, int], voxel: Size
) -> tuple[torch.Tensor, ...]:
    """χ_para and χ_dia in ppm, R2 in Hz, and the mask: the warped template as one head might have it."""
    channels = _warped(dice, anatomy, shape, voxel)
    brain, grey, white, t1 = channels[:4]
    mask = (brain > 0.5).float()
    # The template is a mean of 152 heads: sharper tissue borders, by a random amount, make it one head.
    sharp = dice.spread(2, 30)
    csf = (1.0 + dice.uniform(-0.2, 0.1) - grey - white).clamp(min=0)
    share = torch.softmax(sharp * torch.stack([white, grey, csf]), 0)
    if config.folded and dice.chance(config.folded):
        share = fold(dice, share, voxel)
    nuclei = channels[4:]
    rest = (1 - nuclei.sum(0)).clamp(0, 1)
    share = torch.cat([share * rest, nuclei])
    share = share / share.sum(0).clamp(min=1e-3)
    para = [dice.around(t.para_ppb, 0.3) * 1e-3 for t in TISSUES]
    dia = [dice.around(t.dia_ppb, 0.25) * 1e-3 for t in TISSUES]
    r2 = [dice.around(t.r2_hz, 0.12) for t in TISSUES]
    maps = [torch.einsum("c,cxyz->xyz", torch.tensor(v, device=share.device), share) for v in (para, dia, r2)]
    detail = (t1 - 0.7) * dice.uniform(-0.02, 0.02)
    for index, texture in enumerate(_texture(dice, shape, voxel)):
        maps[index] = (maps[index] * (1 + texture[0]) + texture[1] + (detail if index else 0)).clamp(min=0)
    maps[2] *= (1 + dice.uniform(0, 0.06) * smooth_noise(dice, shape, voxel, dice.spread(3, 20))[0]).clamp(min=0)
    return *maps, mask


def _texture(dice: Dice, shape: tuple[int, int, int], voxel: Size) -> list[torch.Tensor]:
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


def _warped(dice: Dice, anatomy: Anatomy, shape: tuple[int, int, int], voxel: Size) -> torch.Tensor:
    """The anatomy around a random point of the brain, turned, stretched and bent."""
    channels = anatomy.channels
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
        offset = middle[axis] - anatomy.centre_mm[axis]
        at.append((mm + bend[axis] + offset) * (2 / (channels.shape[axis + 1] - 1)))
    grid = torch.stack([at[2], at[1], at[0]], -1)[None]
    return functional.grid_sample(channels[None], grid, align_corners=True)[0]


def _pattern(dice: Dice, shape: tuple[int, int, int], voxel: Size) -> tuple[torch.Tensor, ...]:
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


def _cut(dice: Dice, mask: torch.Tensor, shape: tuple[int, int, int], voxel: Size) -> torch.Tensor:
    """The mask, in a third of the regions with a smooth random part of it gone."""
    if dice.chance(0.35):
        noise = smooth_noise(dice, shape, voxel, dice.spread(25, 60))[0]
        mask = mask * (noise > dice.uniform(-1.2, 0.2))
    return mask

"""What heads are drawn with: smooth noise, regions, blobs and curved tubes, as tensors on any device."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional


@dataclass
class Dice:
    """Everything random of one sample: numbers are drawn on the host, volumes on `device`, all from one seed."""

    seed: int
    device: torch.device | str = "cpu"
    host: random.Random = field(init=False)
    generator: torch.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.host = random.Random(self.seed)
        self.generator = torch.Generator(self.device).manual_seed(self.seed)

    def uniform(self, low: float, high: float) -> float:
        """A number between `low` and `high`."""
        return self.host.uniform(low, high)

    def spread(self, low: float, high: float) -> float:
        """A number between two positive ones, its logarithm uniform."""
        return math.exp(self.host.uniform(math.log(low), math.log(high)))

    def chance(self, probability: float) -> bool:
        """True with a probability."""
        return self.host.random() < probability

    def around(self, mean: float, relative: float) -> float:
        """A number of the sign of `mean`, log-normal with a relative spread."""
        return mean * math.exp(self.host.gauss(0.0, relative))

    def normal(self, *shape: int) -> torch.Tensor:
        """White noise of unit variance."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def direction(self) -> tuple[float, float, float]:
        """A unit vector, uniform on the sphere."""
        v = [self.host.gauss(0.0, 1.0) for _ in range(3)]
        length = math.sqrt(sum(c * c for c in v)) or 1.0
        return (v[0] / length, v[1] / length, v[2] / length)


Size = tuple[float, float, float]


def smooth_noise(dice: Dice, shape: Sequence[int], voxel_mm: Size, scale_mm: float, channels: int = 1) -> torch.Tensor:
    """Noise (channels, X, Y, Z) of about unit variance that varies over `scale_mm`."""
    coarse = [max(2, math.ceil(n * v / scale_mm) + 1) for n, v in zip(shape, voxel_mm, strict=True)]
    noise = dice.normal(1, channels, *coarse)
    # Interpolation between independent nodes leaves (2/3)³ of the variance.
    fine = functional.interpolate(noise, size=tuple(shape), mode="trilinear", align_corners=True)
    return fine[0] * 1.84


def coordinates(shape: Sequence[int], voxel_mm: Size, device: torch.device | str) -> list[torch.Tensor]:
    """Positions in mm from the middle, one tensor an axis, shaped to broadcast."""
    axes = []
    for axis, (n, v) in enumerate(zip(shape, voxel_mm, strict=True)):
        line = (torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2) * v
        axes.append(line.reshape([-1 if i == axis else 1 for i in range(3)]))
    return axes


def rotation(dice: Dice, degrees: float) -> list[list[float]]:
    """A rotation about a random axis by at most `degrees`."""
    (x, y, z), angle = dice.direction(), math.radians(dice.uniform(-degrees, degrees))
    c, s = math.cos(angle), math.sin(angle)
    t = 1 - c
    return [
        [t * x * x + c, t * x * y - s * z, t * x * z + s * y],
        [t * x * y + s * z, t * y * y + c, t * y * z - s * x],
        [t * x * z - s * y, t * y * z + s * x, t * z * z + c],
    ]


@dataclass(frozen=True)
class Blob:
    """A drawn shape: where in the volume, and how much of each voxel there it covers (0..1)."""

    box: tuple[slice, slice, slice]
    cover: torch.Tensor


def draw_blob(
    dice: Dice, shape: Sequence[int], voxel_mm: Size, radius_mm: float, edge_mm: float, solid: str, rough: float = 0.0
) -> Blob:
    """A sphere, ellipsoid, cuboid, cylinder or shell of about `radius_mm`, anywhere in the volume, turned at random.

    `rough` wrinkles its surface; `edge_mm` is the width over which the cover falls from 1 to 0.
    """
    centre = [dice.uniform(0, n - 1) for n in shape]
    half = [radius_mm * dice.spread(0.5, 1.6) for _ in range(3)] if solid != "sphere" else [radius_mm] * 3
    reach = 1.8 * max(half) + edge_mm
    box, axes = [], []
    for axis, (n, v, c) in enumerate(zip(shape, voxel_mm, centre, strict=True)):
        low, high = max(0, math.floor(c - reach / v)), min(n, math.ceil(c + reach / v) + 1)
        box.append(slice(low, high))
        line = (torch.arange(low, high, device=dice.device, dtype=torch.float32) - c) * v
        axes.append(line.reshape([-1 if i == axis else 1 for i in range(3)]))
    turn = rotation(dice, 180)
    u = [(row[0] * axes[0] + row[1] * axes[1] + row[2] * axes[2]) / h for row, h in zip(turn, half, strict=True)]
    if solid == "cuboid":
        outside = torch.maximum(torch.maximum(u[0].abs(), u[1].abs()), u[2].abs()) - 1
    elif solid == "cylinder":
        outside = torch.maximum((u[0] ** 2 + u[1] ** 2).sqrt(), u[2].abs()) - 1
    else:
        outside = (u[0] ** 2 + u[1] ** 2 + u[2] ** 2).sqrt() - 1
    if rough > 0:
        size = outside.shape
        outside = outside + rough * smooth_noise(dice, size, voxel_mm, max(0.7 * radius_mm, 1.5))[0]
    if solid == "shell":
        outside = outside.abs() - 0.3
    cover = (0.5 - outside * min(half) / max(edge_mm, 1e-3)).clamp(0, 1)
    return Blob((box[0], box[1], box[2]), cover)


def draw_vessels(
    dice: Dice, shape: Sequence[int], voxel_mm: Size, count: int, radius_mm: tuple[float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Curved tubes (X, Y, Z): how much of a voxel they cover, and the number (1..count) of the vessel there."""
    cover = torch.zeros(tuple(shape), device=dice.device)
    owner = torch.zeros(tuple(shape), device=dice.device)
    finest = min(voxel_mm)
    extent = [n * v for n, v in zip(shape, voxel_mm, strict=True)]
    for number in range(1, count + 1):
        radius = dice.spread(*radius_mm)
        path = _walk(dice, extent, 0.5 * finest + 0.3 * radius)
        _tube(cover, owner, path, radius, voxel_mm, number)
    return cover, owner


def _walk(dice: Dice, extent_mm: Sequence[float], step_mm: float) -> list[list[float]]:
    """Points along a curve that turns at random, in mm from the corner."""
    point, heading = [dice.uniform(0, e) for e in extent_mm], list(dice.direction())
    length, restless = dice.spread(8, 90), dice.uniform(0.03, 0.35)
    path = []
    for _ in range(min(int(length / step_mm), 400)):
        path.append(list(point))
        point = [p + step_mm * h for p, h in zip(point, heading, strict=True)]
        turn = dice.direction()
        heading = [h + restless * math.sqrt(step_mm) * t for h, t in zip(heading, turn, strict=True)]
        size = math.sqrt(sum(h * h for h in heading))
        heading = [h / size for h in heading]
        if any(p < -2 or p > e + 2 for p, e in zip(point, extent_mm, strict=True)):
            break
    return path


def _tube(
    cover: torch.Tensor, owner: torch.Tensor, path: list[list[float]], radius_mm: float, voxel_mm: Size, number: int
) -> None:
    """Add a tube around `path` to `cover` and `owner`."""
    if not path:
        return
    device = cover.device
    size = torch.tensor(voxel_mm, device=device)
    points = torch.tensor(path, device=device)
    reach = [math.ceil((radius_mm + v) / v) for v in voxel_mm]
    around = torch.cartesian_prod(*(torch.arange(-r, r + 1, device=device) for r in reach))
    voxels = torch.round(points / size).long()[:, None] + around
    distance = ((voxels * size - points[:, None]) ** 2).sum(-1).sqrt()
    blur = 0.5 * float(sum(voxel_mm)) / 3
    share = (0.5 + (radius_mm - distance) / (2 * blur)).clamp(0, 1)
    limits = torch.tensor(cover.shape, device=device)
    keep = (share > 0) & ((voxels >= 0) & (voxels < limits)).all(-1)
    voxels, share = voxels[keep], share[keep]
    flat = (voxels[:, 0] * limits[1] + voxels[:, 1]) * limits[2] + voxels[:, 2]
    before = cover.reshape(-1)[flat]
    cover.reshape(-1).scatter_reduce_(0, flat, share, "amax")
    owner.reshape(-1)[flat[share > before]] = float(number)

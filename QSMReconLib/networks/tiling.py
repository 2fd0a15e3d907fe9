"""Running a convolutional part over a volume in overlapping tiles, blended so that no seam is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch


def tile_starts(size: int, tile: int, overlap: int) -> list[int]:
    """Where tiles that cover `size` start, the last one ending with it; multiples of 8 if all the lengths are."""
    if tile >= size:
        return [0]
    starts = list(range(0, size - tile, tile - overlap))
    return [*starts, size - tile]


def in_tiles(
    part: Callable[[torch.Tensor], torch.Tensor], volume: torch.Tensor, tile: int = 128, overlap: int = 64
) -> torch.Tensor:
    """`part` applied to (B, C, X, Y, Z) in tiles.

    The outer quarter of an overlap, which sees the edge of its tile, is thrown away; over the rest, tiles fade into
    each other. Sizes, `tile` and `overlap` must be multiples of the network's.
    """
    result: torch.Tensor | None = None
    shares: torch.Tensor | None = None
    for box, share in _tiles(volume.shape[-3:], tile, overlap, volume.device):
        made = part(volume[..., box[0], box[1], box[2]]).float()
        if result is None or shares is None:
            result = made.new_zeros((*made.shape[:2], *volume.shape[-3:]))
            shares = made.new_zeros(volume.shape[-3:])
        result[..., box[0], box[1], box[2]] += made * share
        shares[box] += share
    if result is None or shares is None:
        raise ValueError("A volume without voxels cannot be tiled.")
    return result / shares


def _tiles(
    shape: Sequence[int], tile: int, overlap: int, device: torch.device
) -> Iterator[tuple[tuple[slice, ...], torch.Tensor]]:
    """Every tile: its box, and the share its voxels have in the result."""
    starts = [tile_starts(n, tile, overlap) for n in shape]
    for x in starts[0]:
        for y in starts[1]:
            for z in starts[2]:
                box, share = [], torch.ones((), device=device)
                for axis, (start, n) in enumerate(zip((x, y, z), shape, strict=True)):
                    length = min(tile, n)
                    ramp = torch.ones(length, device=device)
                    if start > 0:
                        ramp = torch.minimum(ramp, _rise(length, overlap, device))
                    if start + length < n:
                        ramp = torch.minimum(ramp, _rise(length, overlap, device).flip(0))
                    share = share * ramp.reshape([-1 if i == axis else 1 for i in range(3)])
                    box.append(slice(start, start + length))
                yield tuple(box), share


def _rise(length: int, overlap: int, device: torch.device) -> torch.Tensor:
    """0 over a quarter of the overlap, up to 1 over half of it."""
    place = torch.arange(length, device=device, dtype=torch.float32) + 0.5
    return ((place - overlap / 4) / (overlap / 2)).clamp(0, 1)

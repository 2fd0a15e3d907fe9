"""The U-Net of QSMnet, its size and inputs as parameters.

Yoon et al. 2018, doi:10.1016/j.neuroimage.2018.06.030: field in, χ out, both scaled by constants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..physics.fourier import Spectrum
from .unrolled import Apply, silent, whole


@dataclass(frozen=True)
class UNetConfig:
    """Architecture. The literal QSMnet is base 32, depth 4, kernel 5, norm batch: 99.4 million parameters.

    `closed_form` adds a second input, the field divided by the dipole in closed form, and learns what it lacks.
    """

    base: int = 16
    depth: int = 4
    kernel: int = 3
    norm: str = "batch"
    closed_form: bool = False
    mu: float = 0.03
    field_std_ppm: float = 0.010
    chi_std_ppm: float = 0.032


LITERAL_QSMNET = UNetConfig(base=32, depth=4, kernel=5)


def _level(inputs: int, outputs: int, config: UNetConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(nn.Conv3d(channels, outputs, config.kernel, padding=config.kernel // 2))
        layers.append(nn.BatchNorm3d(outputs) if config.norm == "batch" else nn.InstanceNorm3d(outputs, affine=True))
        layers.append(nn.LeakyReLU(0.1))
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """From field to χ at the resolution of its training; sizes must be multiples of `multiple`, 2^depth."""

    def __init__(self, config: UNetConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or UNetConfig()
        self.multiple = 2**config.depth
        widths = [config.base * 2**level for level in range(config.depth + 1)]
        first = 2 if config.closed_form else 1
        self.down = nn.ModuleList(_level(i, o, config) for i, o in zip([first, *widths], widths, strict=False))
        self.rise = nn.ModuleList(
            nn.ConvTranspose3d(wide, narrow, 2, 2) for wide, narrow in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.up = nn.ModuleList(_level(2 * width, width, config) for width in widths[-2::-1])
        self.pool = nn.MaxPool3d(2)
        self.leave = nn.Conv3d(config.base, 1, 1)

    def forward(
        self,
        field: torch.Tensor,
        weight: torch.Tensor,
        kernel: torch.Tensor,
        spectrum: Spectrum,
        apply: Apply = whole,
        start: torch.Tensor | None = None,
        tick: Callable[[], None] = silent,
    ) -> list[torch.Tensor]:
        """χ in ppm, one map (B, 1, X, Y, Z), from the field in ppm; called as `Unrolled` is; `start` is unused."""
        config = self.config
        mask = (weight > 0).to(field.dtype)
        x = field / config.field_std_ppm
        closed = torch.zeros_like(x)
        if config.closed_form:
            closed = mask * spectrum.from_k(kernel / (kernel * kernel + config.mu) * spectrum.to_k(field))
            closed = closed / config.chi_std_ppm
            x = torch.cat([x, closed], 1)
        tick()
        chi = (closed + apply(self._convolved, x).float()) * config.chi_std_ppm * mask
        return [chi]

    def _convolved(self, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous(memory_format=torch.channels_last_3d)
        kept = []
        for index, level in enumerate(self.down):
            x = level(x if index == 0 else self.pool(x))
            kept.append(x)
        for rise, level, skip in zip(self.rise, self.up, kept[-2::-1], strict=True):
            x = level(torch.cat([skip, rise(x)], 1))
        return self.leave(x)

"""Convolutions whose kernels and biases are predicted from the voxel size (Meta-QSM, arXiv:1908.00206).

The literal form: fully connected layers from the voxel size to every number of the kernel. The basis: the same layers
give only K coefficients a(r), and the kernel is W(r) = B₀ + Σₖ aₖ(r)·Bₖ; with as many kernels as the literal form has
hidden features it is the literal form (after hypernetworks, arXiv:1609.09106, and CondConv, arXiv:1904.04971).

Any network becomes one of predicted weights: its convolutions are exchanged, all else stays. And for a given voxel size
it becomes a plain network again: kernels are predicted once, and what runs has no trace of the prediction.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..physics.fourier import Spectrum
from .unrolled import Apply, silent, whole

ANCHORS = ((-2 / 3, -2 / 3, 4 / 3), (2 / 3, 2 / 3, -4 / 3), (1.0, -1.0, 0.0), (-1.0, 1.0, 0.0))
"""Places in the range of voxel sizes: the thickest and the thinnest slices, and the voxels longest along either axis.

Between them the dipole differs most: it follows from the ratios of the edges, not from the size of the whole.
"""


@dataclass(frozen=True)
class PredictionConfig:
    """A network of kind `network` with its `architecture`, all of whose convolutions follow from the voxel size.

    `basis` is K; 0 is the literal form. `low_mm` and `high_mm` are the range of voxel edges in training. Without
    `varies` the kernels are those of the middle of the range, whatever the scan's: an ablation. Convolutions of more
    than `most` numbers keep one kernel (0: none does).
    """

    network: str = "folded"
    architecture: Mapping[str, Any] = field(default_factory=dict)
    basis: int = 4
    hidden: int = 32
    low_mm: tuple[float, float, float] = (0.5, 0.5, 2.0)
    high_mm: tuple[float, float, float] = (1.0, 1.0, 4.0)
    varies: bool = True
    most: int = 0

    def code(self, voxel_size_mm: Sequence[float]) -> list[float]:
        """The logarithms of the edges, from -1 to 1 over the range; 0 for an edge that does not vary."""
        found = []
        for v, low, high in zip(voxel_size_mm, self.low_mm, self.high_mm, strict=True):
            span = math.log(high / low)
            found.append(2 * math.log(v / low) / span - 1 if self.varies and span > 0 else 0.0)
        return found


def _plain(config: PredictionConfig) -> nn.Module:
    from .registry import build  # Which knows the networks of this file, too.

    return build(config.network, config.architecture)


class WeightPredictedConv3d(nn.Module):
    """A convolution, transposed or not, with the shape of `conv`, whose kernel and bias follow from a code (3,).

    It begins as `conv` for every code, with kernels Bₖ of a tenth of its size between which the coefficients choose:
    aₖ sets out from a smooth share that anchor k of the range has in a voxel size, less 1/K, so that from the first
    step each Bₖ learns from its own part of the range, and B₀ from all. More kernels than anchors have no such start.
    """

    def __init__(self, conv: nn.Conv3d | nn.ConvTranspose3d, basis: int, hidden: int) -> None:
        super().__init__()
        self.transposed = isinstance(conv, nn.ConvTranspose3d)
        self.stride, self.padding = conv.stride, tuple(int(n) for n in conv.padding)
        self.shape = conv.weight.shape
        outputs = conv.out_channels
        self.code = nn.Sequential(nn.Linear(3, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.coefficients = nn.Linear(hidden, basis) if basis else None
        anchors = torch.tensor(ANCHORS[:basis] if basis <= len(ANCHORS) else (), dtype=torch.float32).reshape(-1, 3)
        self.register_buffer("anchors", anchors, persistent=False)
        self.kernel_of = nn.Linear(basis or hidden, conv.weight.numel())
        self.bias_of = nn.Linear(basis or hidden, outputs)
        self.kernel: torch.Tensor | None = None
        self.bias: torch.Tensor | None = None
        with torch.no_grad():
            if self.coefficients is not None:
                self.coefficients.weight.mul_(0.3)
                self.coefficients.bias.zero_()
            bias = torch.zeros(outputs) if conv.bias is None else conv.bias
            for layer, plain in ((self.kernel_of, conv.weight), (self.bias_of, bias)):
                layer.weight.normal_().mul_(0.1 * plain.std(correction=0))
                layer.bias.copy_(plain.flatten())

    def features(self, code: torch.Tensor) -> torch.Tensor:
        """What kernel and bias are linear in: K coefficients, or all that is hidden in the literal form."""
        hidden = self.code(code)
        if self.coefficients is None:
            return hidden
        found = self.coefficients(hidden)
        known = self.get_buffer("anchors")
        shares = torch.softmax(-(code - known).square().sum(-1) / 2, 0) - 1 / max(len(known), 1)
        return found + functional.pad(shares, (0, found.numel() - shares.numel()))

    def predict(self, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Kernel, of the shape of the plain one, and bias, in single precision, for a code (3,)."""
        with torch.autocast(code.device.type, enabled=False):
            features = self.features(code)
            return self.kernel_of(features).reshape(self.shape), self.bias_of(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kernel is None or self.bias is None:
            raise RuntimeError("The kernel of a weight-predicting convolution must be predicted before it is applied.")
        if self.transposed:
            return functional.conv_transpose3d(x, self.kernel, self.bias, self.stride, self.padding)
        return functional.conv3d(x, self.kernel, self.bias, self.stride, self.padding)


class WeightPredicted(nn.Module):
    """A network for every voxel size of a range; called as the plain one is, which `at` gives for one size."""

    def __init__(self, config: PredictionConfig | None = None) -> None:
        super().__init__()
        self.config = config or PredictionConfig()
        self.inner = _plain(self.config)
        self.multiple = int(getattr(self.inner, "multiple", 1))
        for owner, name, conv in _convolutions(self.inner, (nn.Conv3d, nn.ConvTranspose3d)):
            if not 0 < self.config.most < conv.weight.numel():
                setattr(owner, name, WeightPredictedConv3d(conv, self.config.basis, self.config.hidden))
        # Only of a network that starts from something: trainer and runner look for it.
        if hasattr(self.inner, "start"):
            self.start = self.inner.start

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
        """χ as of the plain network; all cases of a batch have the voxel size of `spectrum`."""
        code = self._code(spectrum.voxel_size_mm)
        predicting = [conv for _, _, conv in _convolutions(self.inner, (WeightPredictedConv3d,))]
        try:
            for conv in predicting:
                conv.kernel, conv.bias = conv.predict(code)
            return self.inner(field, weight, kernel, spectrum, apply, start, tick)
        finally:
            for conv in predicting:
                conv.kernel = conv.bias = None

    @torch.no_grad()
    def at(self, voxel_size_mm: Sequence[float]) -> nn.Module:
        """The plain network for one voxel size, ready to be applied."""
        code = self._code(voxel_size_mm)
        plain = copy.deepcopy(self.inner)
        for owner, name, conv in _convolutions(plain, (WeightPredictedConv3d,)):
            kernel, bias = conv.predict(code)
            inputs, outputs = (0, 1) if conv.transposed else (1, 0)
            kind = nn.ConvTranspose3d if conv.transposed else nn.Conv3d
            made = kind(conv.shape[inputs], conv.shape[outputs], tuple(conv.shape[2:]), conv.stride, conv.padding).to(
                kernel.device
            )
            made.weight.copy_(kernel)
            made.bias.copy_(bias)  # type: ignore[union-attr]
            setattr(owner, name, made)
        return plain.to(memory_format=torch.channels_last_3d).eval().requires_grad_(False)  # type: ignore[call-overload]

    @torch.no_grad()
    def begin_with(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Take over weights: those of such a network, or of the plain one, whose kernels B₀ becomes, the others zero.

        Raises RuntimeError, as load_state_dict does, where they are of another network.
        """
        if weights.keys() == self.state_dict().keys():
            self.load_state_dict(weights)
            return
        plain = _plain(self.config)
        plain.load_state_dict(weights)
        old = dict(plain.named_modules())
        for name, module in self.inner.named_modules():
            if isinstance(module, WeightPredictedConv3d):
                conv = old[name]
                for layer, taken in ((module.kernel_of, conv.weight), (module.bias_of, conv.bias)):
                    layer.weight.zero_()
                    layer.bias.copy_(taken.flatten())
        self.inner.load_state_dict(weights, strict=False)

    def _code(self, voxel_size_mm: Sequence[float]) -> torch.Tensor:
        device = next(self.inner.parameters()).device
        return torch.tensor(self.config.code(voxel_size_mm), device=device)


def _convolutions(network: nn.Module, kinds: tuple[type, ...]) -> list[tuple[nn.Module, str, Any]]:
    """Every module of `kinds`: the one it belongs to, its name there, and itself."""
    owners = network.modules()
    held = itertools.chain.from_iterable(((o, n, m) for n, m in o.named_children()) for o in owners)
    return [(owner, name, module) for owner, name, module in list(held) if isinstance(module, kinds)]

"""Seconds, memory and share of the machine's peak of a network on a whole head.

    python benchmarks/inference.py [--network NAME ...] [--shape X Y Z] [--fill F] [--threads N] [--device cpu|cuda]

The brain is an ellipsoid whose axes are the share `--fill` of the volume's edges (0.75: 192 × 192 × 96 of the default
256 × 256 × 128). The peak is the fastest of what is measured in the same run: multiplications of matrices in bfloat16
(where the processor has it) and single precision, and a convolution of the network's own kind. A multiplication with
its addition counts as two operations, a transform of N real values as 2.5·N·log₂N.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from networks import memory_mb
from torch import nn

from QSMReconLib.data import Grid, LocalField
from QSMReconLib.inversion.qsmnet import QsmNet
from QSMReconLib.networks.runner import has_fast_half
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime


@dataclass
class Spent:
    """Seconds inside, and operations counted."""

    seconds: float = 0.0
    operations: float = 0.0
    calls: int = 0
    started: list[float] = field(default_factory=list)


def seconds_of(work: Callable[[], Any], device: str, repeats: int = 5) -> float:
    """The best of the repeats, after one to warm up."""
    best = math.inf
    for index in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        if index:
            best = min(best, time.perf_counter() - start)
    return best


def peaks(device: str) -> dict[str, float]:
    """Operations a second of what a network could be made of."""
    kinds = [torch.float32] + ([torch.bfloat16] if has_fast_half(torch.device(device)) else [])
    found = {}
    n, channels, edge = 2048, 64, 48
    for kind in kinds:
        name = str(kind).removeprefix("torch.")
        a, b = (torch.randn(n, n, device=device).to(kind) for _ in range(2))
        found[f"matrices, {name}"] = 2 * n**3 / seconds_of(lambda a=a, b=b: a @ b, device)
        layer = nn.Conv3d(channels, channels, 3, padding=1).to(device, kind, memory_format=torch.channels_last_3d)
        volume = torch.randn(1, channels, edge, edge, edge, device=device).to(kind)
        volume = volume.contiguous(memory_format=torch.channels_last_3d)
        operations = 2 * 27 * channels**2 * edge**3
        found[f"convolution, {name}"] = operations / seconds_of(lambda m=layer, v=volume: m(v), device)
    return found


@contextmanager
def convolutions_timed() -> Iterator[Spent]:
    """What the forward passes of all convolutions take, for every module that is called inside."""
    spent = Spent()
    kinds = (nn.Conv3d, nn.ConvTranspose3d)

    def before(module: nn.Module, _: Any) -> None:
        if isinstance(module, kinds):
            spent.started.append(time.perf_counter())

    def after(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if isinstance(module, kinds):
            places = output.numel() if isinstance(module, nn.Conv3d) else inputs[0].numel()
            spent.operations += 2 * places * module.weight[0].numel()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            spent.seconds += time.perf_counter() - spent.started.pop()
            spent.calls += 1

    hooks = [
        nn.modules.module.register_module_forward_pre_hook(before),
        nn.modules.module.register_module_forward_hook(after),
    ]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def transforms_timed() -> Iterator[Spent]:
    """What transforms to k and back take."""
    spent = Spent()
    kept = {name: getattr(torch.fft, name) for name in ("rfftn", "irfftn")}

    def timed(name: str) -> Callable[..., torch.Tensor]:
        def call(volume: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            start = time.perf_counter()
            made = kept[name](volume, *args, **kwargs)
            if made.is_cuda:
                torch.cuda.synchronize()
            spent.seconds += time.perf_counter() - start
            size = max(math.prod(kwargs.get("s") or volume.shape[-3:]), 2)
            spent.operations += 2.5 * size * math.log2(size)
            spent.calls += 1
            return made

        return call

    for name in kept:
        setattr(torch.fft, name, timed(name))
    try:
        yield spent
    finally:
        for name, own in kept.items():
            setattr(torch.fft, name, own)


def make_field(shape: tuple[int, int, int], fill: float, device: str) -> LocalField:
    """A field of blobs in an ellipsoid of a brain, with 1 ppb of noise."""
    grid = Grid.centred(shape)
    axes = [(torch.arange(n) - (n - 1) / 2) / (fill * n / 2) for n in shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    mask = (x * x + y * y + z * z < 1).float()
    chi = 0.05 * torch.sin(20 * x) * torch.cos(17 * y) * torch.sin(11 * z) * mask
    noise = 1e-3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = (Dipole.of(grid).field(chi) + noise) * mask
    return LocalField(grid, made.to(device), mask.to(device))


def main() -> None:
    """Print what each network takes, and of what."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", default=["qsmnet-phys"])
    parser.add_argument("--shape", nargs=3, type=int, default=(256, 256, 128))
    parser.add_argument("--fill", type=float, default=0.75)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        measured = peaks(args.device)
        for name, rate in measured.items():
            print(f"{name:24s}{rate / 1e9:10.1f} GFLOP/s")
        peak = max(measured.values())
        local = make_field(tuple(args.shape), args.fill, args.device)
        for name in args.network:
            stage = QsmNet(network=name)
            before = memory_mb(reset=True)
            start, processor = time.perf_counter(), time.process_time()
            with convolutions_timed() as convolutions, transforms_timed() as transforms:
                stage.apply(local, Runtime(args.device))
            seconds, processor = time.perf_counter() - start, time.process_time() - processor
            megabytes = memory_mb() - before
            total = convolutions.operations + transforms.operations
            print(f"{name}: {seconds:.1f} s ({processor:.1f} s of processor time), {megabytes:.0f} MB beyond the field")
            for what, spent in (("convolutions", convolutions), ("transforms", transforms)):
                rate = spent.operations / spent.seconds
                print(
                    f"  {what:14s}{spent.seconds:7.1f} s{spent.operations / 1e9:10.0f} GFLOP"
                    f"{rate / 1e9:10.1f} GFLOP/s, {100 * rate / peak:.0f} % of the peak"
                )
            print(f"  the whole     {seconds:7.1f} s{total / 1e9:10.0f} GFLOP, {100 * total / seconds / peak:.0f} %")


if __name__ == "__main__":
    main()

"""The simulator beside published numbers, its speed beside a training step, and pictures of what it draws.

    python benchmarks/simulator.py [--samples N] [--picture FILE.png]

Published: mean/standard deviation over the brains of a training set for χ-separation (Kim et al. 2025,
Human Brain Mapping 46(2):e70136), field and χ in ppm, R2′ as ppm at 114 Hz/ppm.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from QSMReconLib.networks.runner import has_fast_half
from QSMReconLib.networks.unrolled import Unrolled
from QSMReconLib.training.anatomy import Anatomy
from QSMReconLib.training.config import TrainingConfig
from QSMReconLib.training.shapes import Dice
from QSMReconLib.training.simulator import Sample, Simulator
from QSMReconLib.training.simulatorconfig import SimulatorConfig
from QSMReconLib.training.tasks import Inversion

PUBLISHED = {
    "field_ppm": (-0.0026, 0.0108),
    "chi_ppm": (-0.0013, 0.0315),
    "chi_para_ppm": (0.0259, 0.0353),
    "chi_dia_ppm": (0.0267, 0.0279),
    "r2prime_hz": (0.0514 * 114, 0.0698 * 114),
}


def statistics(samples: list[Sample]) -> None:
    """Print mean and standard deviation over all voxels inside the masks."""
    print(f"{'':14s}{'ours mean':>11s}{'std':>9s}{'published':>12s}{'std':>9s}")
    for name, (mean, std) in PUBLISHED.items():
        values = torch.cat([getattr(sample, name)[sample.mask > 0] for sample in samples])
        print(f"{name:14s}{float(values.mean()):11.4f}{float(values.std()):9.4f}{mean:12.4f}{std:9.4f}")


def speed(simulator: Simulator) -> None:
    """Print seconds of processor time for a region of 64³ and for a training step on it."""
    network = Unrolled()
    task = Inversion(TrainingConfig(), network)
    made, trained = [], []
    for number in range(6):
        start = time.process_time()
        samples = simulator.samples(number, 1)
        made.append(time.process_time() - start)
        example = task.example(samples, Dice(number))
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=has_fast_half(torch.device("cpu"))):
            maps = network(**example.inputs)
        task.loss(maps, example).backward()
        trained.append(time.process_time() - start)
    share = np.median(made) / (np.median(made) + np.median(trained))
    print(f"a region {np.median(made):.2f} s, a step on it {np.median(trained):.2f} s: {100 * share:.0f} % of both")


def picture(samples: list[Sample], file: Path) -> None:
    """The middle slices of fields and χ maps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2 * len(samples), 4))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(samples))
    for column, sample in enumerate(samples):
        middle = sample.mask.shape[2] // 2
        for row, (volume, window) in enumerate(((sample.chi_ppm, (-0.1, 0.15)), (sample.field_ppm, (-0.04, 0.04)))):
            axes[row, column].imshow(
                volume[:, :, middle].T, cmap="gray", vmin=window[0], vmax=window[1], origin="lower"
            )
            axes[row, column].axis("off")
    figure.tight_layout(pad=0.3)
    figure.savefig(file, dpi=70)


def main() -> None:
    """Print the tables and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    anatomy = Anatomy.load()
    brains = SimulatorConfig(sizes=(64,), geometric=0.0, scaled=0.0, flipped=0.0, thick_slices=0.0, eroded=0.0)
    simulator = Simulator(anatomy, brains, seed=1)
    statistics([simulator.sample(number) for number in range(args.samples)])
    speed(Simulator(anatomy, SimulatorConfig(sizes=(64,), thick_slices=0.0), seed=2))
    if args.picture:
        everything = Simulator(anatomy, SimulatorConfig(sizes=(64,)), seed=3)
        picture([everything.sample(number) for number in range(10)], args.picture)


if __name__ == "__main__":
    main()

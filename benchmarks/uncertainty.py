"""How well a network's uncertainty is calibrated: by what its spread over mirrored views must be multiplied, and what
share of the errors then lies inside one standard deviation (68 % if it were normal).

    python benchmarks/uncertainty.py [--network NAME] [--regions N] [--data DATA]

The factor is measured on simulated regions that training never sees; DATA (see networks.py) adds the development heads,
with the factor of the card.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from networks import load_case

from QSMReconLib.data import Grid
from QSMReconLib.inversion.qsmnet import flipped_views
from QSMReconLib.networks.card import load_card, load_network
from QSMReconLib.training.anatomy import Anatomy
from QSMReconLib.training.simulator import Simulator, SimulatorConfig

SEED = 800_001


def main() -> None:
    """Print the factor, and the coverage of each development head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="qsmnet-phys")
    parser.add_argument("--regions", type=int, default=8)
    parser.add_argument("--data", type=Path)
    args = parser.parse_args()
    card = load_card(args.network)
    network = load_network(card)
    config = SimulatorConfig(sizes=(80,), thick_slices=0.0, one_mm=1.0, geometric=0.0, eroded=0.0, harmonic=0.0)
    simulator = Simulator(Anatomy.load(), config, SEED)
    ratios = []
    for number in range(args.regions):
        sample = simulator.sample(number)
        grid = Grid.centred(sample.spectrum.shape, sample.spectrum.voxel_size_mm, sample.b0_direction)
        with torch.inference_mode():
            mean, std, _ = flipped_views(network, card, sample.field_ppm, sample.mask, grid)
        inside = sample.mask > 0
        spread = (std / card.uncertainty_factor)[inside].clamp(min=1e-7)
        ratios.append((mean - sample.chi_ppm)[inside].abs() / spread)
        print(f"region {number}: factor {float(ratios[-1].quantile(0.68)):.2f}", flush=True)
    factors = torch.tensor([float(ratio.quantile(0.68)) for ratio in ratios])
    factor = float(factors.log().mean().exp())
    shares = [float((ratio < factor).float().mean()) for ratio in ratios]
    print(f"factor {factor:.2f}; with it {min(shares):.2f} to {max(shares):.2f} of a region's errors inside one σ")
    for described in ("siemens1mm", "siemens1mm+2ppb") if args.data else ():
        case = load_case(args.data, described)
        with torch.inference_mode():
            mean, std, _ = flipped_views(network, card, case.field_ppm, case.mask, case.grid)
        inside = case.mask > 0
        share = ((mean - case.chi_ppm).abs() < std)[inside].float().mean()
        print(f"{described}: {float(share):.2f} of the errors inside one σ of the card", flush=True)


if __name__ == "__main__":
    main()

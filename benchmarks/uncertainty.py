"""How well a network's uncertainty is calibrated, and what makes it so.

    python benchmarks/uncertainty.py [DATA] [--network NAME] [--regions N] [--fit] [--write] [--cases CASE ...]
                                     [--crop-mm N]

Prints what share of the errors lies inside one standard error (68 % if all is well) in simulated regions that neither
training nor fit have seen, and, tissue by tissue, in the cases (words of cases.py). `--fit` first fits the coefficients
on `--regions` regions; `--write` puts them into the card. Errors are those of χ against its mean over the mask.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from cases import load_case

from QSMReconLib.data import FieldNoise, Grid, LocalField
from QSMReconLib.inversion.qsmnet import QsmNet
from QSMReconLib.labels import DEEP_NUCLEI, Label
from QSMReconLib.networks.card import Card, load_card, write_card
from QSMReconLib.networks.runner import noise_weight
from QSMReconLib.networks.uncertainty import FEATURES, evidence, standard_error
from QSMReconLib.physics.dipole import Dipole
from QSMReconLib.runtime import Runtime
from QSMReconLib.training.anatomy import Anatomy
from QSMReconLib.training.simulator import Simulator
from QSMReconLib.training.simulatorconfig import SimulatorConfig

SEED = 800_001
FIT, TEST = 0, 100_000
"""Numbers of the first regions to fit on and to test on."""
SHARE = 0.68
VOXELS = 6000
"""Of a region that take part in the fit."""
CASES = ("siemens1mm", "siemens1mm+1ppb", "siemens1mm+2ppb", "siemens1mm@30", "geswi", "head1", "head2+1ppb")
TISSUES = {
    "white matter": (Label.WHITE_MATTER,),
    "grey matter": (Label.GREY_MATTER,),
    "CSF": (Label.CSF,),
    "thalamus": (Label.THALAMUS,),
    "deep nuclei": DEEP_NUCLEI,
    "veins": (Label.VEIN,),
    "lesions": (Label.CALCIFICATION, Label.BLEED),
}

Region = tuple[torch.Tensor, torch.Tensor]
"""Features (N, 10) of voxels, and their errors relative to the size of the field (N)."""


def regions(card: Card, first: int, count: int) -> Iterator[Region]:
    """What a network makes of simulated regions within its range."""
    fixed = card.grid_mm is not None
    config = SimulatorConfig(sizes=(48, 64, 80, 96), geometric=0.0, eroded=0.1, harmonic=0.15)
    if fixed:
        config = replace(config, thick_slices=0.0, one_mm=1.0, axial=1.0, scaled=0.0, flipped=0.0, noise_ppb=(0.3, 2.0))
    simulator = Simulator(Anatomy.load(), config, SEED)
    for number in range(first, first + count):
        sample = simulator.sample(number)
        grid = Grid.centred(sample.spectrum.shape, sample.spectrum.voxel_size_mm, sample.b0_direction)
        local = LocalField(grid, sample.field_ppm, sample.mask)
        noise = FieldNoise(grid, torch.where(sample.weight > 0, 1e-3 / sample.weight.clamp(min=1e-3), 0.0))
        chi = QsmNet(network=card.name).apply(local, Runtime(), noise).chi_ppm
        features, scale = evidence(chi, sample.field_ppm, noise_weight(sample.mask, noise.noise_ppm), Dipole.of(grid))
        error = (chi - sample.chi_ppm)[sample.mask > 0]
        yield features, (error - error.mean()).abs() / scale


def fit(found: list[Region]) -> dict[str, float]:
    """Coefficients by which SHARE of the errors lie below exp(features·coefficients): every region counts the same."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randint(len(errors), (VOXELS,), generator=generator) for _, errors in found]
    x = torch.cat([features[at] for (features, _), at in zip(found, drawn, strict=True)]).double()
    y = torch.cat([errors[at] for (_, errors), at in zip(found, drawn, strict=True)]).double().clamp(min=1e-5).log()
    centre, spread = x.mean(0), x.std(0).clamp(min=1e-3)
    z = torch.cat([(x - centre) / spread, torch.ones(len(x), 1)], 1)
    b = torch.zeros(z.shape[1], dtype=torch.float64)
    b[-1] = y.quantile(SHARE)
    b.requires_grad_(True)
    smooth = 0.1
    optimizer = torch.optim.LBFGS([b], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        left = y - z @ b
        # The check function of quantile regression, its corner rounded, and a little ridge.
        cost = (SHARE * left + smooth * torch.nn.functional.softplus(-left / smooth)).mean()
        cost = cost + 1e-3 * b[:-1].square().sum()
        cost.backward()
        return cost

    optimizer.step(loss)
    factors = b.detach()[:-1] / spread
    coefficients = dict(zip(FEATURES, factors.tolist(), strict=True))
    coefficients["constant"] = 0.0
    # The rounded corner moves the share a little: the constant is what makes it exact.
    coefficients["constant"] = float((y - x @ factors).quantile(SHARE))
    return {name: round(value, 4) for name, value in coefficients.items()}


def covered(region: Region, coefficients: Mapping[str, float]) -> float:
    """The share of a region's errors inside one standard error."""
    features, errors = region
    factors = features.new_tensor([coefficients[name] for name in FEATURES])
    return float((errors < torch.exp(features @ factors + coefficients["constant"])).float().mean())


def by_tissue(card: Card, data: Path | None, described: str, crop_mm: float | None) -> None:
    """Print the share in a case, all and by tissue."""
    case = load_case(data, described, crop_mm)
    chi = QsmNet(network=card.name).apply(LocalField(case.grid, case.field_ppm, case.mask), Runtime()).chi_ppm
    std = standard_error(chi, case.field_ppm, noise_weight(case.mask, None), Dipole.of(case.grid), card.uncertainty)
    inside = case.mask > 0
    error = chi - case.chi_ppm
    within = (error - error[inside].mean()).abs() < std
    parts = [f"{described:18s} all {float(within[inside].float().mean()):.2f}"]
    for name, labels in TISSUES.items():
        where = inside & torch.isin(case.labels, torch.tensor(labels, dtype=case.labels.dtype))
        if int(where.sum()) > 50:
            parts.append(f"{name} {float(within[where].float().mean()):.2f}")
    print(", ".join(parts), flush=True)


def main() -> None:
    """Fit where asked, and print the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--network", default="qsmnet-phys")
    parser.add_argument("--regions", type=int, default=80)
    parser.add_argument("--test-regions", type=int, default=30)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--cases", nargs="*", default=list(CASES))
    parser.add_argument("--crop-mm", type=float)
    args = parser.parse_args()
    card = load_card(args.network)
    with torch.inference_mode():
        found = list(regions(card, FIT, args.regions)) if args.fit else []
    if args.fit:
        card = replace(card, uncertainty=fit(found))
        print(card.uncertainty, flush=True)
        if args.write:
            write_card(card)
    with torch.inference_mode():
        tested = list(regions(card, TEST, args.test_regions))
        shares = sorted(covered(region, card.uncertainty) for region in tested)
        pooled = sum(shares) / max(len(shares), 1)
        near = sum(abs(share - SHARE) <= 0.1 for share in shares) / max(len(shares), 1)
        print(f"{len(shares)} unseen regions: {pooled:.2f} of the errors inside one σ; in {near:.2f} of the regions")
        print(
            f"within 10 points of {SHARE}; from {shares[0]:.2f} over {shares[len(shares) // 2]:.2f} to {shares[-1]:.2f}"
        )
        for described in args.cases:
            if args.data is not None or described.startswith("head"):
                by_tissue(card, args.data, described, args.crop_mm)


if __name__ == "__main__":
    main()

"""A stand-in for R2′ where no spin echoes were measured."""

from __future__ import annotations

from collections.abc import Mapping

from .._lazy import torch
from ..data import Artifact, ChiMap, GreData, R2PrimeMap, R2StarMap
from ..errors import InputError
from ..networks.card import load_card, load_network, networks
from ..runtime import Runtime
from ..stage import Stage, option
from .relaxivity import check_finite, check_places

METHODS = ("network", "two-slopes", "pseudo-r2", "scaling")
KNOWN_T = (2.7, 3.3)
"""The field strengths at which the network and the rules hold."""


def two_slopes(r2star_hz: torch.Tensor, low: float = 0.28, knee_hz: float = 16.0, high: float = 0.575) -> torch.Tensor:
    """R2′ in Hz that rises by `low` per Hz of R2* up to `knee_hz`, and by `high` from there on."""
    return low * r2star_hz.clamp(min=0, max=knee_hz) + high * (r2star_hz - knee_hz).clamp(min=0)


class R2PrimeFromR2Star(Stage):
    """R2′ guessed from R2*, an approximation for scans without spin echoes.

    two-slopes: tissue with little iron keeps a fixed share of R2*, and what iron adds beyond that splits otherwise; a
    rule of ours from typical rates at 3 T. network: corrects that rule by what R2* and χ look like around each voxel
    (after χ-sepnet-R2*, Kim et al. 2025, doi:10.1002/hbm.70136). pseudo-r2: R2* minus one R2 for all tissue. scaling:
    one share of R2*. Both of these are the alternatives that they compare a network with.
    """

    method: str = option("two-slopes", "How R2′ follows from R2*", choices=METHODS)
    network: str = option("r2star-to-r2prime", "network: which trained one", choices=networks("r2prime"))
    r2_hz: float = option(13.0, "pseudo-r2: R2 of all tissue", unit="Hz", ge=0, le=100)
    share: float = option(0.32, "scaling: R2′ over R2*", ge=0.01, le=1)
    any_field_strength: bool = option(False, "network: also where B0 is not 3 T, which it does not know")

    def check(self, given: Mapping[type[Artifact], Artifact]) -> None:
        if self.method != "network" or self.any_field_strength:
            return
        for scan in (given.get(GreData), given.get(R2StarMap)):
            if isinstance(scan, GreData | R2StarMap) and not KNOWN_T[0] <= scan.field_strength_t <= KNOWN_T[1]:
                raise InputError(
                    f"{self.network} knows R2* at 3 T only, and this scan is of {scan.field_strength_t:g} T: measure "
                    "spin echoes, choose another method, or set any_field_strength if you know better."
                )

    def apply(self, r2star: R2StarMap, runtime: Runtime, chi: ChiMap | None = None) -> R2PrimeMap:
        rate = r2star.r2star_hz
        if self.method == "network":
            guess, how = self._by_network(r2star, runtime, chi), f"by the network {self.network}"
        elif self.method == "two-slopes":
            guess, how = two_slopes(rate), "by two slopes"
        elif self.method == "pseudo-r2":
            guess, how = (rate - self.r2_hz).clamp(min=0), f"as R2* - {self.r2_hz:g} Hz"
        else:
            guess, how = (self.share * rate).clamp(min=0), f"as {self.share:g}·R2*"
        runtime.note(f"R2′ was guessed from R2* {how}, for want of spin echoes: χ_para and χ_dia are approximate.")
        if not KNOWN_T[0] <= r2star.field_strength_t <= KNOWN_T[1]:
            runtime.note(f"What is known of R2′ holds for 3 T; this scan is of {r2star.field_strength_t:g} T.")
        return R2PrimeMap(r2star.grid, guess, r2star.field_strength_t, guessed=True)

    def _by_network(self, r2star: R2StarMap, runtime: Runtime, chi: ChiMap | None) -> torch.Tensor:
        from ..networks.volumes import apply_network

        self.check({R2StarMap: r2star})
        if chi is None:
            raise InputError(f"{self.network} needs a χ map beside R2*: put an inversion before it, or give --chi.")
        check_places(r2star.grid, chi)
        mask = chi.mask > 0
        check_finite(r2star.kind, r2star.r2star_hz, mask)
        rate = r2star.r2star_hz.clamp(min=0) * mask
        found, notes = apply_network(
            load_network(load_card(self.network), rate.device),
            {"r2star": rate, "guess": two_slopes(rate), "chi": chi.chi_ppm * mask, "weight": mask.float()},
            mask,
            r2star.grid,
            physics=False,
            progress=runtime.progress,
        )
        for sentence in notes:
            runtime.note(sentence)
        return found[0].clamp(min=0)

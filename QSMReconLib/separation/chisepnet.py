"""χ-separation by a trained network."""

from __future__ import annotations

from .._lazy import torch
from ..data import ChiMap, FieldNoise, LocalField, R2PrimeMap, R2StarMap, SeparatedChi
from ..errors import InputError
from ..networks.card import load_card, load_network, networks
from ..physics.box import Box
from ..physics.dipole import Dipole
from ..runtime import Runtime
from ..stage import Stage, option
from .r2primefromr2star import METHODS, R2PrimeFromR2Star
from .relaxivity import DR_HZ_PER_PPM, at_field_strength, check_finite, check_places, said

MUCH_PPM = 0.005
"""A note is due where the χ map's zero is further than this from that of the separation."""


class ChiSepNet(Stage):
    """χ_para and χ_dia from the field, χ and R2′ by a trained network (χ-sepnet; Kim et al. 2025,
    doi:10.1002/hbm.70136), unrolled and begun from the joint optimisation; weights of QSMRecon's own training.

    Without spin echoes R2′ is guessed from R2*, by another network where nothing else is asked for. Trained on
    simulated heads; research use only.
    """

    network: str = option("chisepnet", "Which trained network", choices=networks("separation"))
    source: str = option(
        "auto",
        "r2prime: the R2′ map; r2star: a guess from R2*, even where there is R2′; auto: R2′ where there is any",
        choices=("auto", "r2prime", "r2star"),
    )
    guess: str = option("network", "How R2′ is guessed from R2*", choices=METHODS)
    dr_hz_per_ppm: float = option(
        DR_HZ_PER_PPM, "R2′ per ppm at 3 T; it is scaled with B0", unit="Hz/ppm", ge=10, le=1000
    )
    any_field_strength: bool = option(
        False, "Guess R2′ from R2* also where B0 is not 3 T, which the networks do not know"
    )

    def apply(
        self,
        local: LocalField,
        chi: ChiMap,
        runtime: Runtime,
        r2prime: R2PrimeMap | None = None,
        r2star: R2StarMap | None = None,
        noise: FieldNoise | None = None,
    ) -> SeparatedChi:
        from ..inversion.qsmnet import measured, outside_training
        from ..networks.runner import noise_weight, relative_residual
        from ..networks.volumes import apply_network
        from .start import first_separation

        decay = self._decay(chi, runtime, r2prime, r2star)
        check_places(local.grid, chi, decay, noise)
        check_finite(decay.kind, decay.r2prime_hz, local.mask)
        card = load_card(self.network)
        for sentence in outside_training(card, measured(local)):
            runtime.note(sentence)
        runtime.note(said("Dr", self.dr_hz_per_ppm, decay.field_strength_t))
        if card.dr_hz_per_ppm != self.dr_hz_per_ppm:
            runtime.note(
                f"{card.name} was trained on {card.dr_hz_per_ppm:g} Hz/ppm at 3 T; it is given R2′ over "
                f"{self.dr_hz_per_ppm:g}, and its maps are on that scale."
            )
        box = Box.around(local.mask)
        mask, grid = box.cut(local.mask) > 0, box.grid(local.grid)
        relaxivity = at_field_strength(self.dr_hz_per_ppm, decay.field_strength_t)
        field, total = box.cut(local.field_ppm) * mask, box.cut(decay.r2prime_hz).clamp(min=0) * mask / relaxivity
        weight = noise_weight(mask, None if noise is None else box.cut(noise.noise_ppm))
        given = box.cut(chi.chi_ppm) * (box.cut(chi.mask) > 0) * mask
        dipole = Dipole.of(grid, field.device)
        start = first_separation(
            field, total, given, weight, dipole, progress=lambda done: runtime.progress(0.5 * done)
        )
        # Where the zero of a χ map lies is its method's choice; that of the sources is not.
        shift = float((given - start[0] + start[1])[mask].median())
        if abs(shift) > MUCH_PPM:
            runtime.note(f"The zero of the χ map is {1000 * shift:.0f} ppb off that of the sources; it was moved.")
        found, notes = apply_network(
            load_network(card, field.device),
            {"field": field, "total": total, "chi": (given - shift) * mask, "start": start, "weight": weight},
            mask,
            grid,
            physics=True,
            settings={"guessed": torch.full((1,), float(decay.guessed))},
            progress=lambda done: runtime.progress(0.5 + 0.5 * done),
        )
        for sentence in notes:
            runtime.note(sentence)
        para, dia = found.clamp(min=0)
        residual = relative_residual(para - dia, field, mask, dipole)
        runtime.note(f"The maps of {card.name} leave {100 * residual:.1f} % of the local field unexplained.")
        return SeparatedChi(local.grid, box.paste(para), box.paste(dia))

    def _decay(self, chi: ChiMap, runtime: Runtime, r2prime: R2PrimeMap | None, r2star: R2StarMap | None) -> R2PrimeMap:
        """R2′, measured or guessed. Raises InputError where there is nothing to take it from."""
        if self.source != "r2star" and r2prime is not None:
            if not r2prime.guessed:
                runtime.note("R2′ is measured, from spin echoes.")
            return r2prime
        if self.source == "r2prime":
            raise InputError("chisepnet was told to use R2′, and there is none: give --r2prime, or spin echoes.")
        if r2star is None:
            raise InputError("chisepnet needs R2′ or R2*: give --r2prime or --r2star, or put r2starfit before it.")
        options = {"method": self.guess, "any_field_strength": self.any_field_strength}
        return R2PrimeFromR2Star.with_options(options).apply(r2star, runtime, chi)

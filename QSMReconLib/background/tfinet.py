"""The local field by total-field inversion and a network."""

from __future__ import annotations

from ..data import FieldNoise, LocalField, Mask, TotalField
from ..inversion.qsmnet import measured, outside_training
from ..networks.card import load_card, load_network, networks
from ..runtime import Runtime
from ..stage import Stage, option
from .jointfit import TotalFieldInversion


class TfiNet(TotalFieldInversion, Stage):
    """As `tfifield`, and then what a network that has seen many heads takes for background that was left.

    The network sees the whole head on voxels of 4 mm. Of what it says only what sources outside can make is taken off,
    so that it can neither make nor hide a source inside the brain. Research use only.
    """

    network: str = option("tfinet", "Which trained network", choices=networks("background"))

    def apply(self, total: TotalField, mask: Mask, runtime: Runtime, noise: FieldNoise | None = None) -> LocalField:
        from ..networks.background import CoarseHead, left_of_background

        field, fit = self.fit(total, mask, noise, runtime)
        kept = field.known.mask
        local = (field.field_ppm - fit.background_ppm) * kept
        weight = field.known.weight
        head = CoarseHead.of(local, fit.chi_ppm, fit.background_ppm, kept, field.grid, weight)
        card = load_card(self.network)
        for sentence in outside_training(card, measured(LocalField(field.grid, local, kept), weight)):
            runtime.note(sentence)
        network = load_network(card, runtime.device)
        left = left_of_background(network, head, kept, field.grid, weight)
        share = float(left.norm() / local.norm().clamp(min=1e-12))
        runtime.note(f"{self.network} took {100 * share:.1f} % of the local field for background that was left.")
        return field.local_field(local - left, kept, runtime)

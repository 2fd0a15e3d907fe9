from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from QSMReconLib.networks.registry import build
from QSMReconLib.networks.weightpredicted import ANCHORS, PredictionConfig, WeightPredicted, WeightPredictedConv3d
from QSMReconLib.physics.dipole import dipole_kernel
from QSMReconLib.physics.fourier import Spectrum

INNER: dict[str, dict[str, Any]] = {
    "folded": {"channels": (8, 8, 8)},
    "unet": {"base": 4, "depth": 2},
    "unrolled": {"channels": (8, 8, 8), "steps": 2, "start_steps": 2},
}
SIZE = (0.6, 0.9, 2.5)
OTHER = (1.0, 0.5, 4.0)


def _network(kind: str = "folded", **options: Any) -> WeightPredicted:
    torch.manual_seed(0)
    network = WeightPredicted(PredictionConfig(kind, INNER[kind], **options)).eval()
    with torch.no_grad():  # Layers that begin as zero would hide all the others.
        for name, parameter in network.named_parameters():
            if "leave" in name:
                parameter.normal_(0, 0.05)
    return network


def _case(voxel: tuple[float, float, float] = SIZE) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Spectrum]:
    spectrum = Spectrum.of((16, 24, 8), voxel, 6.0)
    mask = torch.zeros(2, 1, 16, 24, 8)
    mask[..., 1:15, 2:22, 1:7] = 1
    field = 0.01 * torch.randn(mask.shape, generator=torch.Generator().manual_seed(1)) * mask
    return field, mask, dipole_kernel(spectrum, (0.0, 0.0, 1.0)), spectrum


def _conv(basis: int, hidden: int, conv: nn.Conv3d | nn.ConvTranspose3d | None = None) -> WeightPredictedConv3d:
    return WeightPredictedConv3d(conv or nn.Conv3d(2, 3, 3, padding=1), basis, hidden)


@pytest.mark.parametrize("basis", [0, 4])
@pytest.mark.parametrize("kind", INNER)
def test_for_one_voxel_size_it_is_a_plain_network(kind: str, basis: int) -> None:
    network = _network(kind, basis=basis)
    plain = network.at(SIZE)
    assert type(plain) is type(build(kind, INNER[kind]))
    assert not any(isinstance(module, WeightPredictedConv3d) for module in plain.modules())
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in build(kind, INNER[kind]).parameters())
    case = _case()
    with torch.no_grad():
        (*_, both), (*_, alone) = network(*case), plain(*case)
        (*_, elsewhere) = network.at(OTHER)(*case)
    assert torch.allclose(both, alone, atol=1e-6 * float(alone.abs().max()))
    assert float((elsewhere - alone).norm() / alone.norm()) > 1e-3


def test_kernels_are_predicted_once_a_size_and_never_while_the_plain_network_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = _network()
    count = sum(isinstance(module, WeightPredictedConv3d) for module in network.modules())
    seen: list[torch.Tensor] = []
    predict = WeightPredictedConv3d.predict

    def counted(self: WeightPredictedConv3d, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(code)
        return predict(self, code)

    monkeypatch.setattr(WeightPredictedConv3d, "predict", counted)
    plain = network.at(SIZE)
    for _ in range(3):
        plain(*_case())
    assert len(seen) == count


@pytest.mark.parametrize("transposed", [False, True])
def test_a_basis_with_enough_kernels_is_the_literal_form(transposed: bool) -> None:
    """Its coefficients being the hidden features of the literal form."""
    torch.manual_seed(2)
    conv = nn.ConvTranspose3d(4, 3, 2, 2) if transposed else nn.Conv3d(4, 3, 3, padding=1)
    literal, basis = _conv(0, 12, conv), _conv(12, 12, conv)
    basis.code.load_state_dict(literal.code.state_dict())
    basis.kernel_of.load_state_dict(literal.kernel_of.state_dict())
    basis.bias_of.load_state_dict(literal.bias_of.state_dict())
    assert basis.coefficients is not None
    with torch.no_grad():
        basis.coefficients.weight.copy_(torch.eye(12))
        x = torch.randn(2, 4, 6, 4, 8)
        for code in torch.randn(4, 3):
            made = []
            for form in (literal, basis):
                form.kernel, form.bias = form.predict(code)
                made.append(form(x))
            assert torch.allclose(made[0], made[1], atol=1e-6)


@pytest.mark.parametrize("basis", [0, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_of_kernel_bias_and_all_that_predicts_them_are_right(basis: int, transposed: bool) -> None:
    torch.manual_seed(3)
    plain = nn.ConvTranspose3d(2, 2, 2, 2) if transposed else nn.Conv3d(2, 2, 3, padding=1)
    conv = _conv(basis, 5, plain).double()
    names, values = zip(*conv.named_parameters(), strict=True)

    def apply(x: torch.Tensor, code: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        def run(predicted: WeightPredictedConv3d) -> torch.Tensor:
            predicted.kernel, predicted.bias = predicted.predict(code)
            return predicted(x)

        class Whole(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv = conv

            def forward(self) -> torch.Tensor:
                return run(self.conv)

        given = {f"conv.{name}": value for name, value in zip(names, parameters, strict=True)}
        made = torch.func.functional_call(Whole(), given)
        assert isinstance(made, torch.Tensor)
        return made

    x = torch.randn(1, 2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    code = torch.tensor([0.3, -0.6, 0.8], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(apply, (x, code, *values))


def test_the_literal_form_of_the_published_network_and_its_basis_have_these_many_parameters() -> None:
    with torch.device("meta"):
        plain = build("unet", {"base": 16, "depth": 4})
        literal = WeightPredicted(PredictionConfig("unet", {"base": 16, "depth": 4}, basis=0, hidden=32))
        basis = WeightPredicted(PredictionConfig("unet", {"base": 16, "depth": 4}, basis=4, hidden=32))
    conv = sum(
        m.weight.numel() + m.bias.numel() for m in plain.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)
    )
    layers = sum(isinstance(m, nn.Conv3d | nn.ConvTranspose3d) for m in plain.modules())
    rest = sum(p.numel() for p in plain.parameters()) - conv
    mlp = 3 * 32 + 32 + 32 * 32 + 32

    def count(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    assert count(literal) == 33 * conv + layers * mlp + rest
    assert count(basis) == 5 * conv + layers * (mlp + 4 * 33) + rest
    assert 170e6 < count(literal) < 190e6


def test_the_code_is_the_place_in_the_range_and_an_ablation_never_leaves_its_middle() -> None:
    config = PredictionConfig()
    assert config.code((0.5, 1.0, 8**0.5)) == pytest.approx([-1.0, 1.0, 0.0])
    assert PredictionConfig(low_mm=(1.0, 0.5, 2.0), high_mm=(1.0, 1.0, 4.0)).code((1.0, 0.5, 4.0)) == [0.0, -1.0, 1.0]
    network = _network(varies=False)
    case = _case()
    with torch.no_grad():
        assert torch.equal(network.at(SIZE)(*case)[-1], network.at(OTHER)(*case)[-1])


def test_from_the_first_step_each_kernel_learns_from_its_own_part_of_the_range() -> None:
    conv = _conv(4, 16)
    one, other = torch.tensor(ANCHORS[0]), torch.tensor(ANCHORS[1])
    gradients = []
    for code in (one, other):
        conv.zero_grad()
        conv.predict(code)[0].sum().backward()
        gradient = conv.kernel_of.weight.grad
        assert gradient is not None
        gradients.append(gradient.abs().mean(0))
        assert all(p.grad is not None for p in conv.code.parameters())
        assert float(sum(p.grad.abs().sum() for p in conv.code.parameters())) > 0  # type: ignore[union-attr]
    assert int(gradients[0].argmax()) == 0
    assert int(gradients[1].argmax()) == 1
    assert all(float(g.max()) > 2 * float(g.min()) for g in gradients)


@pytest.mark.parametrize("kind", INNER)
def test_it_may_begin_with_the_weights_of_the_plain_network(kind: str) -> None:
    torch.manual_seed(4)
    plain = build(kind, INNER[kind]).eval()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    network = _network(kind)
    network.begin_with(plain.state_dict())
    case = _case()
    with torch.no_grad():
        assert torch.allclose(network(*case)[-1], plain(*case)[-1], atol=1e-6)
    again = _network(kind)
    again.begin_with(network.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    with pytest.raises(RuntimeError, match=r"enter|down"):
        _network("unet" if kind == "folded" else "folded").begin_with(plain.state_dict())


def test_large_convolutions_may_keep_one_kernel() -> None:
    network = _network("unet", most=500)
    assert any(isinstance(m, WeightPredictedConv3d) for m in network.modules())
    assert all(m.weight.numel() > 500 for m in network.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d))
    assert all(m.shape.numel() <= 500 for m in network.modules() if isinstance(m, WeightPredictedConv3d))
    case = _case()
    with torch.no_grad():
        assert torch.allclose(network(*case)[-1], network.at(SIZE)(*case)[-1], atol=1e-6)


def test_only_a_network_that_starts_from_something_has_a_start() -> None:
    assert hasattr(_network("unrolled"), "start")
    assert not hasattr(_network("folded"), "start")


def test_a_kernel_must_be_predicted_before_it_is_applied() -> None:
    with pytest.raises(RuntimeError, match="must be predicted"):
        _conv(4, 8)(torch.zeros(1, 2, 4, 4, 4))

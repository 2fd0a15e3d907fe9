"""The set-up: what is missing is named, and pip is never free to replace what Slicer is built against."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from QSMReconLib.errors import InputError
from QSMReconUI.setup import SLICERS_OWN, UNKNOWN, Package, SlicerInstaller, constraints, install, needed
from QSMReconUI.setup_panel import describe
from standins.application import pump

REQUIREMENTS = Path(__file__).parents[2] / "QSMRecon" / "Resources" / "requirements.txt"


class FakeInstaller:
    """Notes what it was asked for."""

    def __init__(self, fails: bool = False) -> None:
        self.calls: list[Any] = []
        self.constraints = ""
        self._fails = fails

    def torch(self) -> None:
        self.calls.append("torch")

    def packages(self, arguments: Sequence[str], constraints_file: Path) -> None:
        self.calls.append(list(arguments))
        self.constraints = constraints_file.read_text("utf-8")
        if self._fails:
            raise OSError("no route to host")


def test_everything_the_requirements_name_is_looked_for() -> None:
    names = [package.name for package in needed(REQUIREMENTS)]
    assert names[0] == "torch"
    assert {"nibabel", "safetensors", "rich"} <= set(names)
    assert not {"numpy", "scipy", "SimpleITK", "vtk"} & set(names)


@pytest.mark.parametrize(
    ("installed", "fits"),
    [
        ("2.2", True),
        ("2.2.0+cu121", True),
        ("2.13.1", True),
        ("2.1.9", False),
        (None, False),
        (UNKNOWN, True),
        ("10", True),
    ],
)
def test_versions_are_compared_as_numbers(installed: str | None, fits: bool) -> None:
    assert Package("torch", "2.2", installed).fits is fits


def test_constraints_hold_all_that_is_installed() -> None:
    held = dict(line.split("==") for line in constraints(["jinja2"]).splitlines())
    for name in ("numpy", "scipy", "SimpleITK"):
        assert next(
            version for key, version in held.items() if key.lower() == name.lower()
        ) == importlib.metadata.version(name)
    assert not any(name.lower() == "jinja2" for name in held)


def test_vtk_is_held_even_where_it_has_no_metadata() -> None:
    text = constraints(version=lambda name: UNKNOWN if name == "vtk" else importlib.metadata.version(name))
    assert f"vtk=={sys.modules['vtk'].__version__}" in text.splitlines()


def test_what_is_missing_is_installed_under_constraints() -> None:
    installer = FakeInstaller()
    install(
        [Package("torch", "2.2", None), Package("nibabel", "5.2", "5.3"), Package("rich", "13.7", "12.0")], installer
    )
    assert installer.calls == ["torch", ["rich>=13.7"]]
    held = [line.split("==")[0].lower() for line in installer.constraints.splitlines()]
    assert set(map(str.lower, SLICERS_OWN)) <= set(held)
    assert "rich" not in held


def test_a_folder_of_wheels_needs_no_network() -> None:
    installer = FakeInstaller()
    install([Package("torch", "2.2", None)], installer, Path("/wheels ü"))
    assert installer.calls == [["--no-index", "--find-links", "/wheels ü", "torch>=2.2"]]


def test_nothing_missing_installs_nothing() -> None:
    installer = FakeInstaller()
    install([Package("torch", "2.2", "2.5")], installer)
    assert installer.calls == []


def test_a_failure_is_a_sentence_with_a_remedy() -> None:
    with pytest.raises(InputError, match=r"pip could not install rich>=13.7 \(no route to host\).*HTTPS_PROXY"):
        install([Package("rich", "13.7", None)], FakeInstaller(fails=True))


def test_without_the_pytorch_extension_the_sentence_says_so() -> None:
    with pytest.raises(InputError, match="PyTorch extension, which is not installed"):
        SlicerInstaller().torch()


def test_torch_comes_through_the_extension(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class PyTorchUtilsLogic:
        def installTorch(self, **how: Any) -> Any:  # noqa: N802
            asked.append(how)
            return "torch"

    module = ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    SlicerInstaller().torch()
    assert asked == [{"askConfirmation": True, "torchVersionRequirement": ">=2.2"}]


@pytest.mark.parametrize("has_packaging", [True, False])
def test_pip_is_slicers(monkeypatch: pytest.MonkeyPatch, has_packaging: bool, tmp_path: Path) -> None:
    import slicer

    from QSMReconUI import setup

    asked: list[Any] = []
    if has_packaging:
        module = ModuleType("slicer.packaging")
        module.pip_install = lambda requirements, **how: asked.append((requirements, how))
        monkeypatch.setitem(sys.modules, "slicer.packaging", module)
    monkeypatch.setattr(slicer.util, "pip_install", lambda requirements: asked.append(requirements))
    monkeypatch.setattr(setup.importlib.util, "find_spec", lambda name: object() if has_packaging else None)
    SlicerInstaller().packages(["rich>=13.7"], tmp_path / "c.txt")
    file = str(tmp_path / "c.txt")
    expected = (["rich>=13.7"], {"constraints": file, "requester": "QSMRecon"})
    assert asked == [expected if has_packaging else ["--constraint", file, "rich>=13.7"]]


def test_the_panel_stops_the_run_until_all_is_there(ready: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from QSMReconUI import setup_panel

    ready.logic.installer = installer = FakeInstaller()
    packages = [Package("torch", "2.2", None), Package("rich", "13.7", "13.8")]
    monkeypatch.setattr(setup_panel, "needed", lambda requirements: list(packages))
    ready.window.setup.look()
    ready.window.refresh()
    assert "PyTorch must be installed" in ready.ui.runButton.toolTip
    assert ready.ui.setupCollapsible.property("text") == "Set-up: something is missing"
    assert "✖ PyTorch is not installed; 2.2 is needed" in ready.ui.packagesLabel.text
    packages[0] = Package("torch", "2.2", "2.6")
    ready.ui.installButton.click()
    pump(0.05)
    assert installer.calls == ["torch"]
    assert ready.ui.runButton.enabled
    assert ready.ui.setupCollapsible.property("text") == "Set-up: ready"


def test_the_device_is_asked_in_a_child(ready: Any, children: list[Any]) -> None:
    ready.ui.deviceButton.click()
    assert "import torch" in children[-1].command[-1]
    children[-1].say(event="machine", torch="2.6", device="cuda:0", name="RTX", free=6 * 2**30, total=8 * 2**30)
    children[-1].end(0)
    assert pump(2, until=lambda: "RTX" in ready.ui.deviceLabel.text)
    assert ready.ui.deviceLabel.text.startswith("Runs on RTX, 6.0 of 8.0 GB free. PyTorch 2.6.")
    assert not children[-1].folder.exists()


def test_a_torch_that_does_not_start_is_a_sentence(ready: Any, children: list[Any]) -> None:
    ready.ui.deviceButton.click()
    children[-1].grumble("ImportError: libcudart")
    children[-1].end(1)
    assert pump(2, until=lambda: "could not be started" in ready.ui.deviceLabel.text)
    assert "libcudart" in ready.ui.logText.toPlainText()


def test_a_computer_without_a_gpu_says_what_that_means() -> None:
    found = {"torch": "2.6", "device": "cpu", "name": "CPU", "cores": 8, "free": 4 * 2**30, "total": 16 * 2**30}
    assert (
        describe(found) == "No GPU was found: everything runs on the CPU (8 cores), 4.0 of 16.0 GB free. PyTorch 2.6."
    )


def test_the_need_of_a_scan_is_predicted(ready: Any, children: list[Any]) -> None:
    from QSMReconLib.memory import BYTES_PER_VOXEL, START_BYTES
    from QSMReconUI.memory import need_bytes

    rows = ready.window.input.rows()
    voxels = 17 * 31 * 29
    assert need_bytes(rows) == START_BYTES + voxels * (4 * 2 * 6 + BYTES_PER_VOXEL)
    assert need_bytes([]) is None
    assert "This scan will take up to 0.6 GB of memory." in ready.ui.deviceLabel.text
    ready.ui.deviceButton.click()
    child = children[-1]
    child.say(event="machine", torch="2.9", device="cpu", name="CPU", cores=2, free=10_000_000, total=20_000_000)
    child.end(0)
    assert pump(2, until=lambda: "more than the 0.0 GB that are free" in ready.ui.deviceLabel.text), (
        ready.ui.deviceLabel.text
    )

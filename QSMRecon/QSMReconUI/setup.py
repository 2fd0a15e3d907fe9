"""What must be installed, what is, and how the rest comes in without harm to Slicer's own packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from QSMReconLib.errors import InputError

TORCH = "torch>=2.2"

SLICERS_OWN = ("numpy", "scipy", "SimpleITK", "vtk")
"""Slicer is built against these; pip must never replace them, not even where a package asks for newer ones."""

UNKNOWN = "0"
"""The version of a package that is there but does not say which one it is."""

Version = Callable[[str], "str | None"]


@dataclass(frozen=True)
class Package:
    """A package that is needed, from a version on, and the version that is there, if any."""

    name: str
    wanted: str
    installed: str | None

    @cached_property
    def fits(self) -> bool:
        """Whether it is there and new enough."""
        if self.installed in (None, UNKNOWN):
            return self.installed == UNKNOWN
        return _numbers(str(self.installed)) >= _numbers(self.wanted)

    def __str__(self) -> str:
        return f"{self.name}>={self.wanted}"


def installed_version(name: str) -> str | None:
    """The version of an installed package, without importing it; None if it is not there."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        # Some of Slicer's own packages come without metadata.
        return UNKNOWN if importlib.util.find_spec(name) is not None else None


def needed(requirements: Path, version: Version = installed_version) -> list[Package]:
    """PyTorch and what a requirements.txt names, each with what is there."""
    lines = (line.split("#")[0].strip() for line in requirements.read_text("utf-8").splitlines())
    parts = [line.partition(">=") for line in (TORCH, *filter(None, lines))]
    return [Package(name.strip(), wanted.strip(), version(name.strip())) for name, _, wanted in parts]


def constraints(changing: Iterable[str] = (), version: Version = installed_version) -> str:
    """A pip constraints file that holds every installed package at its version, but for those that must change."""
    changing = {_canonical(name) for name in changing}
    held: dict[str, str] = {}
    for found in importlib.metadata.distributions():
        name = found.metadata["Name"]
        if name and found.version and _canonical(name) not in changing:
            held[_canonical(name)] = f"{name}=={found.version}"
    for name in SLICERS_OWN:
        known = version(name)
        if known == UNKNOWN:
            known = str(getattr(importlib.import_module(name), "__version__", UNKNOWN))
        if known not in (None, UNKNOWN):
            held[_canonical(name)] = f"{name}=={known}"
    return "\n".join(sorted(held.values())) + "\n"


class Installer(Protocol):
    """What brings packages in."""

    def torch(self) -> None:
        """Install PyTorch in the build that fits this computer."""

    def packages(self, arguments: Sequence[str], constraints_file: Path) -> None:
        """Run pip install with these arguments, under these constraints."""


class SlicerInstaller:
    """Through Slicer: PyTorch by its extension, the rest by `slicer.packaging`, before 5.12 by `slicer.util`."""

    def torch(self) -> None:
        """Install PyTorch. Raises InputError if the extension is missing or the person declines."""
        try:
            import PyTorchUtils
        except ImportError as error:
            raise InputError(
                "PyTorch comes with Slicer's PyTorch extension, which is not installed: install it from the Extensions "
                "Manager, restart Slicer, and press the button again."
            ) from error
        specifier = TORCH.removeprefix("torch")
        if (
            PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True, torchVersionRequirement=specifier)
            is None
        ):
            raise InputError("PyTorch was not installed.")

    def packages(self, arguments: Sequence[str], constraints_file: Path) -> None:
        """Run pip install."""
        import slicer

        if importlib.util.find_spec("slicer.packaging") is not None:
            packaging = importlib.import_module("slicer.packaging")
            packaging.pip_install(list(arguments), constraints=str(constraints_file), requester="QSMRecon")
        else:
            slicer.util.pip_install(["--constraint", str(constraints_file), *arguments])


def install(packages: Sequence[Package], installer: Installer, wheels: Path | None = None) -> None:
    """Install those of `packages` that do not fit, from a folder of wheels if one is given (without any network).

    Raises InputError with what to do if something could not be installed.
    """
    missing = [package for package in packages if not package.fits]
    if not missing:
        return
    if wheels is None and any(package.name == "torch" for package in missing):
        installer.torch()
    # PyTorch of a folder of wheels is the person's choice of build; otherwise only its extension knows the right one.
    by_pip = [package for package in missing if wheels is not None or package.name != "torch"]
    arguments = [str(package) for package in by_pip]
    if wheels is not None:
        arguments = ["--no-index", "--find-links", str(wheels), *arguments]
    if by_pip:
        with tempfile.TemporaryDirectory(prefix="QSMRecon-") as folder:
            file = Path(folder) / "constraints.txt"
            changing = [package.name for package in by_pip if package.name not in SLICERS_OWN]
            file.write_text(constraints(changing), encoding="utf-8")
            try:
                installer.packages(arguments, file)
            except Exception as error:
                raise InputError(
                    f"pip could not install {', '.join(map(str, by_pip))} ({error}). Slicer's own packages were left "
                    "as they are. Behind a proxy set HTTPS_PROXY; without a network use a folder of wheels."
                ) from error
    importlib.invalidate_caches()


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: a lower bound needs no more."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[^\d.]", version)[0]))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

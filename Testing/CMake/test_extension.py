"""The extension configures, builds and installs, and what is installed can be imported where Slicer would find it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).parent / "SlicerStandIn"
MODULES = Path("lib/Slicer-5.12/qt-scripted-modules")


def cmake(*arguments: str | Path) -> None:
    done = subprocess.run(["cmake", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The build and the install tree."""
    if shutil.which("cmake") is None:
        pytest.skip("CMake is not installed")
    build = tmp_path_factory.mktemp("build with spaces and ü")
    cmake("-S", ROOT, "-B", build, f"-DSlicer_DIR={STAND_IN}", "-DBUILD_TESTING=ON")
    cmake("--build", build)
    install = build / "installed"
    cmake("--install", build, "--prefix", install)
    return build, install


def sources(folder: str) -> set[str]:
    return {name for name in files(ROOT / folder, below=ROOT) if not name.endswith("CMakeLists.txt")}


def files(tree: Path, below: Path | None = None) -> set[str]:
    found = [path for path in tree.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {str(path.relative_to(below or tree)) for path in found}


def test_both_trees_hold_the_module_and_the_whole_library(trees: tuple[Path, Path]) -> None:
    expected = sources("QSMReconLib") | {name.removeprefix("QSMRecon/") for name in sources("QSMRecon")}
    for tree in trees:
        assert files(tree / MODULES) == expected


def test_nothing_but_the_module_could_be_taken_for_one(trees: tuple[Path, Path]) -> None:
    assert [path.name for path in (trees[1] / MODULES).glob("*.py")] == ["QSMRecon.py"]
    assert [path.name for path in (ROOT / "QSMRecon").glob("*.py")] == ["QSMRecon.py"]


def test_the_installed_library_is_found_and_lists_its_stages_without_torch(
    trees: tuple[Path, Path], tmp_path: Path
) -> None:
    code = "import sys, QSMReconLib.stage as s; assert s.stages(); print(s.__file__); assert 'torch' not in sys.modules"
    modules = trees[1] / MODULES
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(modules)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(modules / "QSMReconLib" / "stage.py")


def test_a_new_method_is_one_new_file(trees: tuple[Path, Path]) -> None:
    for folder in ("QSMRecon", "QSMReconLib"):
        text = (ROOT / folder / "CMakeLists.txt").read_text("utf-8")
        assert "GLOB_RECURSE" in text
        assert "CONFIGURE_DEPENDS" in text


def test_the_index_entry_agrees_with_the_extension() -> None:
    entry = json.loads((ROOT / "QSMRecon.json").read_text("utf-8"))
    text = (ROOT / "CMakeLists.txt").read_text("utf-8")
    values = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', text))
    assert re.search(r"project\((\w+)\)", text)[1] == "QSMRecon"
    assert values["DEPENDS"].split() == entry["build_dependencies"] == ["PyTorch"]
    assert values["CATEGORY"] == entry["category"]
    assert entry["scm_url"].removesuffix(".git") == values["HOMEPAGE"]
    assert values["HOMEPAGE"].rsplit("/", 1)[1] == "SlicerQSMRecon"
    assert set(entry) <= {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_dependencies"} | {
        "build_subdirectory", "dicom_support_rule", "enabled", "tier",
    }  # fmt: skip


def test_the_pictures_that_the_index_shows_are_in_the_repository() -> None:
    text = (ROOT / "CMakeLists.txt").read_text("utf-8")
    for path in re.findall(r"SlicerQSMRecon/main/(\S+?\.png)", text):
        assert (ROOT / path).is_file(), path


def test_requirements_are_the_librarys_but_for_torch_and_what_slicer_brings() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)[1]
    wanted = {
        name for name in re.findall(r'"([^"]+)"', block) if not re.match(r"(torch|numpy|scipy|SimpleITK)\b", name)
    }
    lines = (ROOT / "QSMRecon/Resources/requirements.txt").read_text("utf-8").splitlines()
    assert {line for line in lines if line and not line.startswith("#")} == wanted

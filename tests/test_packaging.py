"""What is packed, with which versions it works, and the commands that look after style."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from places import ROOT

import numbert

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]


def files_of_the_models():
    return [path for path in (ROOT / "weights").rglob("*") if path.is_file()]


def packed_files():
    """What an installed numbert is, as path in the wheel: its modules, its marker of types, and its models."""
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "numbert").rglob("*.py")}
    weights = {f"numbert/{path.relative_to(ROOT).as_posix()}" for path in files_of_the_models()}
    return modules | weights | {"numbert/py.typed"}


# --- packages ----------------------------------------------------------------------------------------------------


def test_the_list_of_packages_is_what_lies_in_the_folders():
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "numbert").rglob("*.py")}
    assert {".".join(folder.parts) for folder in folders} | {"numbert.weights"} == set(SETUPTOOLS["packages"])
    assert SETUPTOOLS["packages"] == sorted(SETUPTOOLS["packages"])
    for folder in folders:
        assert (ROOT / folder / "__init__.py").exists(), f"{folder} has no __init__.py"


def test_each_file_of_the_models_is_among_the_package_data():
    patterns = SETUPTOOLS["package-data"]["numbert.weights"]
    packed = {path for pattern in patterns for path in (ROOT / "weights").glob(pattern)}
    assert packed == set(files_of_the_models())
    assert SETUPTOOLS["package-dir"]["numbert.weights"] == "weights"


# --- versions ----------------------------------------------------------------------------------------------------


def test_the_version_is_the_same_everywhere():
    assert numbert.__version__ == PROJECT["version"]
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{PROJECT['version']}]" in changes


def test_the_lowest_versions_that_are_tested_are_the_lowest_that_are_allowed():
    requirements = map(Requirement, PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"])
    allowed = {}
    for requirement in requirements:
        (bound,) = requirement.specifier
        assert bound.operator == ">=", requirement
        allowed[requirement.name] = Version(bound.version)
    lines = (ROOT / "tests" / "lowest.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    assert {name: Version(version) for name, version in pins} == allowed
    assert PROJECT["requires-python"] == ">=3.11"  # as lowest.txt says


# --- style -------------------------------------------------------------------------------------------------------


def test_pre_commit_runs_the_linters_that_ci_runs():
    config = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    hooks = re.findall(r"^ +entry: (.+)$", config, re.MULTILINE)
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    in_ci = re.findall(r'^"\$envs/dev/bin/(mypy|ruff)"(.*)$', ci, re.MULTILINE)
    assert hooks == [tool + options for tool, options in in_ci]
    # The environment's own tools: no second list of versions.
    assert config.count("language: system") == config.count("pass_filenames: false") == len(hooks) >= 3


def test_contributing_names_each_kind_of_test_and_each_extra_as_it_is():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    markers = {marker.partition(":")[0] for marker in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    assert set(re.findall(r"pytest -m (\w+)", page)) == markers
    assert set(re.findall(r'"\.\[(\w+)\]"', page)) <= set(PROJECT["optional-dependencies"])


# --- the archives ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """(the source archive, the wheel that was built from it, the wheel that was built from the checkout)."""
    pytest.importorskip("twine", reason="needs the `dev` extra")
    folder = tmp_path_factory.mktemp("archives")
    # A copy, since setuptools would put what an earlier build left in build/ into the wheel.
    checkout = folder / "checkout"
    for part in ("numbert", "weights"):
        shutil.copytree(ROOT / part, checkout / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, checkout)
    for options in (["--outdir", folder / "both"], ["--wheel", "--outdir", folder / "direct"]):
        subprocess.run([sys.executable, "-m", "build", *options, checkout], check=True, cwd=folder)
    (source,) = (folder / "both").glob("*.tar.gz")
    (wheel,) = (folder / "both").glob("*.whl")
    (direct,) = (folder / "direct").glob("*.whl")
    return source, wheel, direct


def contents(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.build
def test_the_wheel_holds_numbert_its_models_and_nothing_else(archives):
    info = f"numbert-{PROJECT['version']}.dist-info"
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
    assert set(contents(archives[1])) == packed_files() | {f"{info}/{name}" for name in about}


@pytest.mark.build
def test_a_wheel_is_small_and_its_models_are_found_where_it_is_installed(archives, tmp_path):
    wheel = archives[1]
    assert wheel.stat().st_size < 45e6
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    script = """
import numbert
from numbert.files.shipped import shipped_models
for name in shipped_models():
    folder = numbert.shipped_model(name)
    numbert.load_tokenizer(folder)
    print(name, numbert.BertForPreTraining.from_pretrained(folder).num_parameters())
"""
    found = subprocess.run(
        [sys.executable, "-P", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )
    names = sorted(path.parent.name for path in ROOT.glob("weights/*/model.safetensors"))
    assert [line.split()[0] for line in found.stdout.splitlines()] == names


@pytest.mark.build
def test_the_source_archive_holds_what_the_same_wheel_is_built_from(archives):
    source, wheel, direct = archives
    assert contents(wheel) == contents(direct)
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name.partition("/")[0] for name in names} - {""} == {
        "LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "numbert", "numbert.egg-info", "pyproject.toml",
        "setup.cfg", "weights",
    }  # fmt: skip


@pytest.mark.build
def test_an_index_would_take_the_archives_and_show_the_readme(archives):
    subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *archives[:2]], check=True)


@pytest.mark.build
def test_type_checkers_know_each_public_class(tmp_path):
    pytest.importorskip("mypy", reason="needs the `dev` extra")
    classes = [name for name in numbert.__all__ if isinstance(getattr(numbert, name), type)]
    lines = [f"def take_{name}(x: numbert.{name}) -> None: ..." for name in classes]
    (tmp_path / "use.py").write_text("\n".join(["import numbert", *lines, ""]))
    subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", tmp_path / "use.py"],
        check=True,
        env={**os.environ, "MYPYPATH": str(ROOT), "MYPY_CACHE_DIR": str(tmp_path)},
    )

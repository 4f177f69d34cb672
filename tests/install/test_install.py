"""The pack goes into a ComfyUI without harming it: nothing is downgraded, nothing heavy is loaded at start."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

PACK = Path(__file__).resolve().parents[2]
HOST_TESTS = PACK / "tests" / "host"
sys.path.insert(0, str(HOST_TESTS))

from comfy_python import HostError, find_comfyui, host_environment, host_python  # noqa: E402

GUARDED = ("torch", "numpy", "transformers")
PROJECT = tomllib.loads((PACK / "pyproject.toml").read_text(encoding="utf-8"))
OURS = [Requirement(line) for line in PROJECT["project"]["dependencies"]]


@pytest.fixture(scope="module")
def root():
    try:
        found = find_comfyui()
        if found is not None:
            host_python(found)
            return found
    except HostError as error:
        pytest.skip(str(error))
    pytest.skip("no ComfyUI found: set COMFYUI_PATH")


def host_requirements(root: Path) -> dict[str, SpecifierSet]:
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in map(str.strip, lines) if line and not line.startswith("#")]
    return {canonicalize_name(r.name): r.specifier for r in wanted}


def caps(requirement: Requirement) -> list[str]:
    """The parts of a requirement that could pull a newer version down."""
    return [str(part) for part in requirement.specifier if part.operator in ("<", "<=", "==", "===", "~=")]


def required_by_ours() -> Iterator[tuple[str, Requirement]]:
    """(who, what) of everything that installing the pack asks for, through all levels, as installed here."""
    todo, seen = [("ltx2-studio", r) for r in OURS], set()
    while todo:
        who, wanted = todo.pop()
        yield who, wanted
        name = canonicalize_name(wanted.name)
        if name in seen:
            continue
        seen.add(name)
        try:
            deeper = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        active = (Requirement(line) for line in deeper)
        todo += [(name, r) for r in active if r.marker is None or r.marker.evaluate({"extra": ""})]


def test_our_own_requirements_have_no_upper_bounds():
    assert not {r.name: caps(r) for r in OURS if caps(r)}
    assert str(next(r for r in OURS if r.name == "Pillow").specifier) == ">=10.1"


def test_no_requirement_below_ours_caps_what_the_host_brought():
    """torch, numpy and transformers as installed, and as far as any dependency of ours limits them."""
    installed = {name: Version(importlib.metadata.version(name)) for name in GUARDED}
    limits = [(who, r) for who, r in required_by_ours() if canonicalize_name(r.name) in GUARDED]
    assert {canonicalize_name(r.name) for _, r in limits} == set(GUARDED)
    broken = [f"{who} wants {r}" for who, r in limits if not r.specifier.contains(installed[canonicalize_name(r.name)].base_version)]
    assert not broken
    # A cap that today's version meets would still pull tomorrow's down.
    assert not [f"{who} wants {r}" for who, r in limits if caps(r)]


def test_a_cap_is_seen():
    assert caps(Requirement("torch<2.9")) == ["<2.9"] and caps(Requirement("numpy==1.26.4")) and not caps(Requirement("numpy>=1.25,!=2.0.0"))


def report(arguments: list[str], path: Path) -> dict[str, str]:
    """Name -> version of what pip would install; nothing is installed. Skips when no package index answers."""
    command = [*arguments, "--dry-run", "--quiet", "--disable-pip-version-check", "--report", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=590)
    if done.returncode != 0:
        if re.search(r"No matching distribution|Could not find a version|Connection|Temporary failure|Max retries", done.stderr):
            pytest.skip(f"no package index answers: {done.stderr.strip().splitlines()[-1]}")
        pytest.fail(done.stderr[-2000:])
    wanted = json.loads(path.read_text(encoding="utf-8"))["install"]
    return {canonicalize_name(item["metadata"]["name"]): item["metadata"]["version"] for item in wanted}


@pytest.mark.host
def test_installing_into_the_host_changes_none_of_its_libraries(root, tmp_path):
    pip = [host_python(root), "-m", "pip", "install", "-r", str(PACK / "requirements.txt")]
    assert not report(pip, tmp_path / "report.json").keys() & set(GUARDED)


@pytest.mark.host
def test_a_fresh_host_gets_the_same_versions_with_and_without_us(root, tmp_path, request):
    """Both lists resolved from nothing. Two minutes of an index, so only in the long form."""
    if not request.config.getoption("--full"):
        pytest.skip("two resolutions of a minute each: run with --full")
    pip = [sys.executable, "-m", "pip", "install", "--ignore-installed", "-r", str(root / "requirements.txt")]
    alone = report(pip, tmp_path / "alone.json")
    both = report([*pip, "-r", str(PACK / "requirements.txt")], tmp_path / "both.json")
    assert {name: both[name] for name in alone} == alone
    assert set(GUARDED) <= alone.keys()


def test_our_lower_bounds_meet_the_host_s(root):
    host = host_requirements(root)
    for ours in OURS:
        theirs = host.get(canonicalize_name(ours.name))
        newest = "9999"
        assert theirs is None or (theirs & ours.specifier).contains(newest) or not theirs.contains(newest), f"{ours} and the host's {theirs}"


def test_registry_metadata():
    project, comfy = PROJECT["project"], PROJECT["tool"]["comfy"]
    assert re.fullmatch(r"[a-z][a-z0-9-]{1,99}", project["name"]) and re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert re.fullmatch(r"[a-z0-9-]+", comfy["PublisherId"]) and comfy["DisplayName"]
    assert (PACK / project["license-files"][0]).is_file() and (PACK / project["readme"]).is_file()
    assert Version(re.sub(r"[^\d.]", "", project["requires-python"])) <= Version("3.12")
    ignored = (PACK / ".comfyignore").read_text(encoding="utf-8").splitlines()
    assert not {"js/", "nodes/", "ltx2core/", "locales/", "workflows/"} & set(ignored)


@pytest.mark.host
def test_the_host_is_of_a_version_that_the_metadata_allows(root):
    version = re.search(r'__version__ = "([\d.]+)"', (root / "comfyui_version.py").read_text(encoding="utf-8")).group(1)
    assert SpecifierSet(PROJECT["tool"]["comfy"]["requires-comfyui"]).contains(version)


def test_comfy_cli_accepts_the_metadata(tmp_path):
    program = os.environ.get("COMFY_CLI") or shutil.which("comfy")
    if program is None:
        pytest.skip("comfy-cli is not installed: pip install comfy-cli, or set COMFY_CLI to its comfy program")
    for name in ("pyproject.toml", "LICENSE", "README.md", "__init__.py"):
        shutil.copy(PACK / name, tmp_path)
    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    done = subprocess.run([program, "--skip-prompt", "node", "validate"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "warning" not in done.stdout.lower(), done.stdout + done.stderr


def _loaded(root: Path, pack: Path) -> dict:
    """What loading the pack in ``pack`` brings into the host's Python."""
    command = [host_python(root), str(HOST_TESTS / "import_pack.py"), str(root), str(pack)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=host_environment(), timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.host
def test_loading_the_pack_brings_in_neither_diffusers_nor_transformers(root):
    """The host itself loads transformers; what counts is what the pack adds."""
    seen = _loaded(root, PACK)
    print(f"\nimport and listing of {len(seen['nodes'])} nodes: {seen['seconds']:.2f} s")
    assert seen["by_import"] == ["the_pack"]
    assert not {"diffusers", "transformers", "peft", "torchao", "lycoris", "av"} & set(seen["by_listing"])


@pytest.mark.host
def test_a_clone_is_whole(root, tmp_path):
    """What git keeps is all that the host needs, whatever its folder is called."""
    git = shutil.which("git")
    if git is None or not (PACK / ".git").exists():
        pytest.skip("this folder is no git clone")
    clone = tmp_path / "a folder of another name"
    subprocess.run([git, "clone", "--quiet", "--depth", "1", PACK.as_uri(), str(clone)], check=True, capture_output=True)
    frozen = {path.stem for path in (clone / "tests" / "host" / "schemas").glob("*.json")}
    assert frozen <= set(_loaded(root, clone)["nodes"])

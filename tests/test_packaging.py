"""What an installer and the manager read."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_requirements_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [line.strip() for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if line and not line.startswith("#")] == project["project"]["dependencies"]
    assert project["project"]["name"] == "ltx2-studio" and project["tool"]["comfy"]["DisplayName"] == "LTX-2 Studio"


def test_the_core_never_imports_the_host():
    forbidden = re.compile(r"^\s*(?:from|import)\s+(comfy\w*|folder_paths|server|nodes|execution)\b", re.MULTILINE)
    assert not [str(p) for p in (ROOT / "ltx2core").rglob("*.py") if forbidden.search(p.read_text(encoding="utf-8"))]


def test_the_host_is_imported_in_one_folder():
    forbidden = re.compile(r"^\s*(?:from|import)\s+(comfy(?!_api)\w*|folder_paths|server)\b", re.MULTILINE)
    found = [p for p in (ROOT / "nodes").glob("*.py") if forbidden.search(p.read_text(encoding="utf-8"))]
    assert not found


def test_importing_the_pack_loads_no_heavy_library():
    code = (
        "import importlib.util, sys; "
        f"spec = importlib.util.spec_from_file_location('pack', {str(ROOT / '__init__.py')!r}); "
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); "
        "print([m for m in ('torch', 'diffusers', 'transformers', 'peft', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

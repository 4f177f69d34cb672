"""Names and tooltips of the nodes in the form that the host reads: ``locales/<language>/nodeDefs.json``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

# Which English each translation was made from: a hash a text, renewed by make.py --translated.
SEEN = Path(__file__).resolve().parent / "translated.json"


def english(schemas: list[dict]) -> dict:
    """What the nodes declare; every other language has the same keys."""
    result = {}
    for schema in schemas:
        entry = {"display_name": schema["display_name"], "description": schema["description"]}
        entry["inputs"] = {i["name"].replace(".", "_"): {"name": i["name"], "tooltip": i["tooltip"]} for i in schema["inputs"]}
        entry["outputs"] = {str(n): {"name": o["name"], "tooltip": o["tooltip"]} for n, o in enumerate(schema["outputs"])}
        result[schema["node_id"]] = entry
    return result


def flat(tree: dict, path: str = "") -> dict[str, str]:
    """Every text of a tree under its dotted path."""
    result = {}
    for key, value in tree.items():
        result |= flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return result


def in_order_of(pattern: dict, tree: dict) -> dict:
    """The entries of ``tree`` in the order of ``pattern``, those that it lacks left out."""
    return {k: in_order_of(v, tree[k]) if isinstance(v, dict) else tree[k] for k, v in pattern.items() if k in tree}


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def text(tree: dict) -> str:
    return json.dumps(tree, ensure_ascii=False, indent=1) + "\n"


def marks(tree: dict) -> dict[str, str]:
    """A short hash of every English text, by which a text that was changed after its translation is found."""
    return {key: hashlib.sha256(said.encode()).hexdigest()[:8] for key, said in flat(tree).items()}


def changed_since(tree: dict, seen: dict[str, str]) -> list[str]:
    """Keys whose English is not the one that the translators saw."""
    return sorted(key for key, mark in marks(tree).items() if seen.get(key) != mark)

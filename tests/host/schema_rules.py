"""Which changes of a node leave saved graphs good: widgets are stored by position, wires by name, nodes by id."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from comfy_python import PACK, HostError, host_environment, host_python

FROZEN = Path(__file__).resolve().parent / "schemas"
MOST_VISIBLE = 10


def live_schemas(root: Path) -> list[dict]:
    """What the nodes in this folder declare to the ComfyUI at ``root``, in the order of the menu."""
    with tempfile.TemporaryDirectory() as empty:
        (Path(empty) / "custom_nodes").mkdir()
        command = [host_python(root), str(PACK / "tests" / "host" / "print_schemas.py"), str(root), str(PACK), empty]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=host_environment(), timeout=300)
    if done.returncode != 0:
        raise HostError(f"The nodes could not be listed: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def frozen_schemas() -> dict[str, dict]:
    """The released form of every node, by id."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FROZEN.glob("*.json"))}


def widgets(schema: dict) -> list[dict]:
    """Inputs whose values a saved graph keeps in a row, in that row's order: the host gives optional ones behind the others."""
    return sorted((i for i in schema["inputs"] if i["widget"]), key=lambda i: i["optional"])


def visible(schema: dict) -> list[str]:
    """Names of the widgets that show without opening the advanced ones."""
    return [w["name"] for w in widgets(schema) if not w["advanced"]]


def _moved(old: dict, new: dict) -> list[str]:
    problems = []
    was, now = widgets(old), widgets(new)
    for place, widget in enumerate(was):
        found = now[place]["name"] if place < len(now) else None
        if found != widget["name"]:
            problems.append(f"widget {place + 1} was {widget['name']} and is {found}")
            continue
        if now[place]["type"] != widget["type"]:
            problems.append(f"{widget['name']} was {widget['type']} and is {now[place]['type']}")
        if bool(now[place].get("control_after_generate")) != bool(widget.get("control_after_generate")):
            problems.append(f"{widget['name']} gained or lost its control after generate, which moves all widgets behind it")
        if gone := [o for o in widget.get("options", []) if o not in now[place].get("options", [])]:
            problems.append(f"{widget['name']} lost the choices {gone}")
    return problems


def breaks(old: dict, new: dict) -> list[str]:
    """Why graphs saved with ``old`` would not open or not mean the same with ``new``; empty when they do."""
    problems = _moved(old, new)
    known = {i["name"]: i for i in new["inputs"]}
    for wire in (i for i in old["inputs"] if not i["widget"]):
        now = known.get(wire["name"])
        if now is None or now["type"] != wire["type"]:
            problems.append(f"the input {wire['name']} of type {wire['type']} is gone")
        elif wire["optional"] and not now["optional"]:
            problems.append(f"the input {wire['name']} was optional and is required")
    before = {i["name"] for i in old["inputs"]}
    for added in (i for i in new["inputs"] if i["name"] not in before):
        if not added["optional"] and not (added["widget"] and "default" in added):
            problems.append(f"the new input {added['name']} is required, which old graphs do not give")
    outputs = [(o["name"], o["type"]) for o in new["outputs"]]
    if outputs[: len(old["outputs"])] != [(o["name"], o["type"]) for o in old["outputs"]]:
        problems.append("an output was renamed, moved or removed")
    if old["output_node"] and not new["output_node"]:
        problems.append("it was an output node, which runs by itself, and is none")
    return [f"{old['node_id']}: {problem}" for problem in problems]


def replacements() -> dict[str, dict]:
    """What hosts are told of renamed nodes, by their old id."""
    entries = json.loads((PACK / "nodes" / "replacements.json").read_text(encoding="utf-8"))
    return {entry["old_node_id"]: entry for entry in entries}


def _gone(old: dict, entry: dict | None, now: dict[str, dict]) -> list[str]:
    """Why graphs with the removed node ``old`` would not open although ``entry`` replaces it."""
    name = old["node_id"]
    if entry is None:
        return [f"{name}: the node is gone or renamed"]
    new = now.get(entry["new_node_id"])
    if new is None:
        return [f"{name}: its replacement {entry['new_node_id']} is no node"]
    problems = []
    if entry.get("old_widget_ids", []) != [w["name"] for w in widgets(old)]:
        problems.append(f"{name}: old_widget_ids are not its widgets in their order")
    known, before = {i["name"] for i in new["inputs"]}, {i["name"] for i in old["inputs"]}
    for pair in entry.get("input_mapping", []):
        if pair["new_id"] not in known or pair.get("old_id", next(iter(before), None)) not in before:
            problems.append(f"{name}: {pair} names an input that is none")
    for pair in entry.get("output_mapping", []):
        if pair["new_idx"] >= len(new["outputs"]) or pair["old_idx"] >= len(old["outputs"]):
            problems.append(f"{name}: {pair} names an output that is none")
    return problems


def all_breaks(frozen: dict[str, dict], live: list[dict], replaced: dict[str, dict] | None = None) -> list[str]:
    """``breaks`` of every released node, and the nodes that are gone without a replacement; ``replaced`` as of ``replacements``."""
    now = {schema["node_id"]: schema for schema in live}
    entries = replacements() if replaced is None else replaced
    problems = [p for name, old in frozen.items() if name not in now for p in _gone(old, entries.get(name), now)]
    return problems + [p for name, old in frozen.items() if name in now for p in breaks(old, now[name])]

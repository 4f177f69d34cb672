"""A graph written once, turned into the two forms that ComfyUI reads: the canvas file and the API prompt."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

# Rough sizes of what the canvas draws, so that nodes do not overlap.
_COLUMN, _ROW, _TITLE, _GAP = 420, 26, 60, 60
# The canvas gives whole numbers of these names a second widget, unless the node says otherwise.
_SEEDS = ("seed", "noise_seed")
# What js/ draws inside a node, and what the page itself shows in some of its own.
_DRAWN = {
    "LTX2TrainLoRA": 290, "LTX2TrainSegment": 290, "LTX2VideoDataset": 215, "LTX2MemorySettings": 150, "LTX2Preflight": 160, "LTX2Validate": 250,
    "SaveImage": 220, "SaveVideo": 240, "SaveAudio": 60, "LoadImage": 280, "LoadVideo": 240, "LoadAudio": 60, "PreviewAny": 160,
}  # fmt: skip
_TALL_WIDGETS = {"STRING": 90}


@dataclass(frozen=True)
class Out:
    """One output of a node, to be given as another node's input."""

    node: int
    slot: int


@dataclass
class Node:
    id: int
    kind: str
    inputs: dict
    title: str | None = None
    models: tuple[dict, ...] = ()

    def out(self, slot: int = 0) -> Out:
        return Out(self.id, slot)


@dataclass
class Graph:
    """Nodes in the order in which they were added; ``note`` is shown on the canvas."""

    name: str
    note: str = ""
    nodes: list[Node] = field(default_factory=list)

    def add(self, kind: str, /, *, title: str | None = None, models: tuple[dict, ...] = (), **inputs) -> Node:
        node = Node(len(self.nodes) + 1, kind, inputs, title, models)
        self.nodes.append(node)
        return node

    def api(self, object_info: dict) -> dict:
        """The prompt that POST /prompt takes, with every widget's value as the canvas would send it."""

        def value(v):
            return [str(v.node), v.slot] if isinstance(v, Out) else v

        prompt = {}
        for node in self.nodes:
            widgets = {name: _default(kind, options) for name, kind, options in _declared(object_info[node.kind]) if _is_widget(kind, options)}
            inputs = {k: value(v) for k, v in {**widgets, **node.inputs}.items()}
            prompt[str(node.id)] = {"class_type": node.kind, "inputs": inputs, "_meta": {"title": node.title or node.kind}}
        return prompt

    def canvas(self, object_info: dict) -> dict:
        """The file that the canvas opens (litegraph 0.4); ``object_info`` is the host's answer to /object_info."""
        shown, links = inner(self, object_info)
        if self.note:
            shown.append(_note(len(shown) + 1, self.note, len(self.nodes)))
        for link in links:
            link[5] = shown[link[1] - 1]["outputs"][link[2]]["type"]
        return {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"ltx2-studio/{self.name}")),
            "revision": 0,
            "last_node_id": len(shown),
            "last_link_id": len(links),
            "nodes": shown,
            "links": links,
            "groups": [],
            "config": {},
            "extra": {},
            "version": 0.4,
        }


def inner(graph: Graph, object_info: dict) -> tuple[list[dict], list[list]]:
    """The nodes as the canvas keeps them, placed, and their wires; sources below 0 are the edge of a subgraph."""
    links: list[list] = []
    shown = [_canvas_node(n, object_info[n.kind], links, order) for order, n in enumerate(graph.nodes)]
    for number, source, slot, *_ in links:
        if source > 0:
            shown[source - 1]["outputs"][slot]["links"].append(number)
    _place(graph.nodes, shown)
    return shown, links


def _declared(info: dict) -> list[tuple[str, object, dict]]:
    """(name, type, options) of every input, in the order in which the canvas stores widgets."""
    rows = []
    for part in ("required", "optional"):
        for name in info.get("input_order", {}).get(part, []):
            declaration = info["input"][part][name]
            rows.append((name, declaration[0], declaration[1] if len(declaration) > 1 else {}))
    return rows


def _is_widget(kind: object, options: dict) -> bool:
    return not options.get("forceInput") and (isinstance(kind, list) or kind in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"))


def _default(kind: object, options: dict) -> object:
    """What the canvas shows before a person changes it: the declared default, or the first choice of a list."""
    if "default" in options:
        return options["default"]
    choices = kind if isinstance(kind, list) else options.get("options")
    return choices[0] if choices else ""


def _canvas_node(node: Node, info: dict, links: list[list], order: int) -> dict:
    inputs, values, rows = [], [], _declared(info)
    unknown = node.inputs.keys() - {name for name, _, _ in rows}
    if unknown:
        raise ValueError(f"{node.kind} has no input {sorted(unknown)}")
    for name, kind, options in rows:
        widget = _is_widget(kind, options)
        given = node.inputs.get(name, _default(kind, options) if _is_widget(kind, options) else None)
        wire = isinstance(given, Out)
        entry = {"name": name, "type": "COMBO" if isinstance(kind, list) else kind, "link": None}
        if widget:
            entry["widget"] = {"name": name}
            values.append(_default(kind, options) if wire else given)
            if options.get("control_after_generate", kind == "INT" and name in _SEEDS):
                values.append("fixed")
            if options.get("image_upload") or options.get("audio_upload") or options.get("video_upload"):
                values.append("image" if options.get("image_upload") else None)
        if wire:
            links.append([len(links) + 1, given.node, given.slot, node.id, len(inputs), None])
            entry["link"] = len(links)
        inputs.append(entry)
    outputs = [{"name": n, "type": t, "links": []} for n, t in zip(info["output_name"], info["output"], strict=True)]
    height = _TITLE + _ROW * max(_shown(rows), len(outputs)) + sum(_TALL_WIDGETS["STRING"] for _, k, o in rows if k == "STRING" and o.get("multiline"))
    height += _DRAWN.get(node.kind, 0)
    properties: dict = {"Node name for S&R": node.kind}
    if node.models:
        properties["models"] = list(node.models)
    shown = {
        "id": node.id, "type": node.kind, "pos": [0, 0], "size": [340, height], "flags": {}, "order": order, "mode": 0,
        "inputs": inputs, "outputs": outputs, "properties": properties, "widgets_values": values,
    }  # fmt: skip
    if node.title:
        shown["title"] = node.title
    return shown


def _shown(rows: list[tuple[str, object, dict]]) -> int:
    """How many inputs show before a person asks for the advanced ones, which wait behind a button."""
    plain = sum(not options.get("advanced") for _, _, options in rows)
    return plain + (plain < len(rows))


def _columns(nodes: list[Node]) -> dict[int, int]:
    """By distance from the loaders, so that wires run from left to right; settings stand just before what they are for."""
    sources = {node.id: [v.node for v in node.inputs.values() if isinstance(v, Out) and v.node > 0] for node in nodes}
    columns: dict[int, int] = {}
    for node in nodes:
        columns[node.id] = 1 + max((columns[s] for s in sources[node.id]), default=-1)
    for node in reversed(nodes):
        readers = [columns[reader] for reader, read in sources.items() if node.id in read]
        if readers and not sources[node.id]:
            columns[node.id] = min(readers) - 1
    return columns


def _place(nodes: list[Node], shown: list[dict]) -> None:
    columns = _columns(nodes)
    heights: dict[int, int] = {}
    for node, box in zip(nodes, shown, strict=True):
        column = columns[node.id]
        box["pos"] = [column * _COLUMN, heights.get(column, 0)]
        heights[column] = heights.get(column, 0) + box["size"][1] + _GAP


def _note(number: int, text: str, order: int) -> dict:
    height = 90 + 24 * sum(1 + len(line) // 110 for line in text.split("\n"))
    return {
        "id": number, "type": "MarkdownNote", "pos": [0, -height - 60], "size": [760, height], "flags": {}, "order": order, "mode": 0,
        "inputs": [], "outputs": [], "properties": {}, "widgets_values": [text],
    }  # fmt: skip

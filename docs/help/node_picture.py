"""A node as it looks on the canvas, drawn from what it declares, as SVG: readable on light and dark pages."""

from __future__ import annotations

from html import escape

_ROW, _WIDTH, _HEAD, _PAD = 22, 330, 30, 10
_FONT = 'font-family="sans-serif" font-size="12"'
_MOST_ROWS = 12
# The front-end's own colours of types that it knows; ours by the part of the pack that makes them.
_COLOURS = {
    "IMAGE": "#64b5f6", "LATENT": "#ff9cf9", "CONDITIONING": "#ffa931", "AUDIO": "#70c1b3", "VIDEO": "#9bc53d", "STRING": "#9aa5b1",
    "LTX2_CHECKPOINT": "#b39ddb", "LTX2_TEXT_ENCODER": "#ffd500", "LTX2_CONDITIONING": "#ffa931", "LTX2_LATENTS": "#ff9cf9",
    "LTX2_ADAPTER": "#81c784", "LTX2_CACHE": "#4dd0e1", "LTX2_DATASET": "#4fc3f7",
}  # fmt: skip


def _text(x: float, y: float, text: str, colour: str = "#dddddd", anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}" {_FONT}>{escape(text)}</text>'


def _dot(x: float, y: float, kind: str) -> str:
    return f'<circle cx="{x}" cy="{y - 4}" r="4.5" fill="{_COLOURS.get(kind, "#a0a0a0")}"/>'


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 20 else text[:19] + "…"


def _slots(schema: dict) -> tuple[list[str], int]:
    wires = [i for i in schema["inputs"] if not i["widget"]]
    parts = []
    for row, wire in enumerate(wires):
        y = _HEAD + _ROW * (row + 1) - 4
        parts += [_dot(0, y, wire["type"]), _text(_PAD, y, wire["name"], "#8f979f" if wire["optional"] else "#dddddd")]
    for row, output in enumerate(schema["outputs"]):
        y = _HEAD + _ROW * (row + 1) - 4
        parts += [_dot(_WIDTH, y, output["type"]), _text(_WIDTH - _PAD, y, output["name"], anchor="end")]
    return parts, max(len(wires), len(schema["outputs"]))


def _widgets(schema: dict, first: int) -> tuple[list[str], int]:
    shown = [i for i in schema["inputs"] if i["widget"] and not i["advanced"]][:_MOST_ROWS]
    parts = []
    for row, widget in enumerate(shown, first):
        top = _HEAD + _ROW * row + 3
        parts.append(f'<rect x="{_PAD}" y="{top}" width="{_WIDTH - 2 * _PAD}" height="{_ROW - 4}" rx="8" fill="#222222" stroke="#555555"/>')
        parts.append(_text(_PAD + 10, top + 13, widget["name"], "#b0b0b0"))
        parts.append(_text(_WIDTH - _PAD - 10, top + 13, _shown(widget.get("default")), anchor="end"))
    return parts, first + len(shown)


def draw(schema: dict) -> str:
    """The node with its wires and the widgets that show at first, at their defaults."""
    slots, rows = _slots(schema)
    widgets, rows = _widgets(schema, rows)
    height = _HEAD + _ROW * max(rows, 1) + _PAD
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -2 {_WIDTH + 16} {height + 4}" width="{_WIDTH + 16}" height="{height + 4}" role="img">',
        f"<title>{escape(schema['display_name'])}</title>",
        f'<rect width="{_WIDTH}" height="{height}" rx="8" fill="#353535" stroke="#1a1a1a"/>',
        f'<path d="M0 {_HEAD} V8 a8 8 0 0 1 8 -8 H{_WIDTH - 8} a8 8 0 0 1 8 8 V{_HEAD} z" fill="#2a2a2a"/>',
        _text(_PAD, 20, schema["display_name"], "#ffffff"), *slots, *widgets, "</svg>",
    ]  # fmt: skip
    return "\n".join(body) + "\n"

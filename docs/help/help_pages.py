"""The help page of a node: words by hand, tables of inputs and outputs from what the node declares."""

from __future__ import annotations

import re

BEGIN, END = "<!-- made by docs/help/make.py from the node; edit its tooltips instead -->", "<!-- end -->"
_MADE = re.compile(re.escape(BEGIN) + r".*?" + re.escape(END), re.DOTALL)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _default(given: dict) -> str:
    if not given["widget"]:
        return "a wire, optional" if given["optional"] else "a wire"
    value = given.get("default")
    if value is None or value == "":
        return "empty" if given["type"] == "STRING" else "chosen by you"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value}`"


def _allowed(given: dict) -> str:
    if options := given.get("options"):
        return " One of " + ", ".join(f"`{o}`" for o in options) + "."
    if "min" in given and "max" in given:
        return f" From {given['min']:g} to {given['max']:g}."
    return ""


def _row(given: dict) -> str:
    name = f"`{given['name']}`" + (" (advanced)" if given["advanced"] else "")
    return f"| {name} | {given['type']} | {_default(given)} | {_cell(given['tooltip'] + _allowed(given))} |"


def tables(schema: dict) -> str:
    """Inputs in the order of the node, wires first, and outputs."""
    ordered = sorted(schema["inputs"], key=lambda i: (i["widget"], i["advanced"]))
    lines = ["## Inputs", "| input | type | default | what it does |", "|---|---|---|---|", *map(_row, ordered)]
    if schema["outputs"]:
        lines += ["", "## Outputs", "| output | type | what it is |", "|---|---|---|"]
        lines += [f"| `{o['name']}` | {o['type']} | {_cell(o['tooltip'])} |" for o in schema["outputs"]]
    return "\n".join([BEGIN, *lines, END])


def with_tables(page: str, schema: dict) -> str:
    """``page`` with its tables made anew; the words around them stay.

    Raises:
        ValueError: the page has no place for the tables.
    """
    if len(_MADE.findall(page)) != 1:
        raise ValueError(f"The help page of {schema['node_id']} needs one place for its tables: {BEGIN} and {END}.")
    return _MADE.sub(lambda _: tables(schema), page)


def new_page(schema: dict) -> str:
    """A page to be written: its example is missing, which the tests say."""
    return "\n\n".join([
        f"# {schema['display_name']}", f"![{schema['display_name']}]({schema['node_id']}.svg)", schema["description"], f"{BEGIN}\n{END}", "## Example", "",
    ])  # fmt: skip

"""The help page of a node: words by hand, tables of inputs and outputs from what the node declares."""

from __future__ import annotations

import re

BEGIN, END = "<!-- made by docs/help/make.py from the node; edit its tooltips instead -->", "<!-- end -->"
_EXAMPLE = re.compile(r"```json\n.*?\n```", re.DOTALL)
# Headings of the pages in other languages, whose sentences are the translated tooltips.
WORDS = {
    "ja": {"inputs": "入力", "outputs": "出力", "input": "入力", "output": "出力", "type": "型", "default": "既定値", "does": "説明", "example": "例",
           "wire": "配線", "optional": "配線(任意)", "on": "オン", "off": "オフ", "empty": "空", "yours": "自分で選ぶ", "advanced": "詳細設定"},
    "zh": {"inputs": "输入", "outputs": "输出", "input": "输入", "output": "输出", "type": "类型", "default": "默认值", "does": "说明", "example": "示例",
           "wire": "连线", "optional": "连线（可选）", "on": "开", "off": "关", "empty": "空", "yours": "由你选择", "advanced": "高级"},
}  # fmt: skip
_ENGLISH = {"wire": "a wire", "optional": "a wire, optional", "on": "on", "off": "off", "empty": "empty", "yours": "chosen by you"}
_MADE = re.compile(re.escape(BEGIN) + r".*?" + re.escape(END), re.DOTALL)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _default(given: dict, words: dict[str, str] = _ENGLISH) -> str:
    if not given["widget"]:
        return words["optional"] if given["optional"] else words["wire"]
    value = given.get("default")
    if value is None or value == "":
        return words["empty"] if given["type"] == "STRING" else words["yours"]
    if isinstance(value, bool):
        return words["on"] if value else words["off"]
    return "`" + str(value).replace("\n", " ") + "`"


def _allowed(given: dict) -> str:
    if options := given.get("options"):
        return " One of " + ", ".join(f"`{o}`" for o in options) + "."
    if "min" in given and "max" in given:
        return f" From {given['min']:g} to {given['max']:g}."
    return ""


def _row(given: dict) -> str:
    name = f"`{given['name']}`" + (" (advanced)" if given["advanced"] else "")
    return f"| {name} | {given['type']} | {_default(given)} | {_cell(given['tooltip'] + _allowed(given))} |"


def _ordered(schema: dict) -> list[dict]:
    return sorted(schema["inputs"], key=lambda i: (i["widget"], i["advanced"]))


def tables(schema: dict) -> str:
    """Inputs in the order of the node, wires first, and outputs."""
    lines = ["## Inputs", "| input | type | default | what it does |", "|---|---|---|---|", *map(_row, _ordered(schema))]
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


def _translated_row(given: dict, said: dict, words: dict[str, str]) -> str:
    shown = f"{said['name']} `{given['name']}`" + (f" ({words['advanced']})" if given["advanced"] else "")
    options = " " + " · ".join(f"`{o}`" for o in given["options"]) if given.get("options") else ""
    return f"| {shown} | {given['type']} | {_default(given, words)} | {_cell(said['tooltip'] + options)} |"


def translated(schema: dict, names: dict, language: str, english_page: str) -> str:
    """The page in ``language``: its names and tooltips in the place of the words by hand, and the example's values."""
    words = WORDS[language]
    lines = [f"# {names['display_name']}", "", f"![{names['display_name']}]({schema['node_id']}.svg)", "", names["description"], ""]
    lines += [f"## {words['inputs']}", f"| {words['input']} | {words['type']} | {words['default']} | {words['does']} |", "|---|---|---|---|"]
    lines += [_translated_row(i, names["inputs"][i["name"]], words) for i in _ordered(schema)]
    if schema["outputs"]:
        lines += ["", f"## {words['outputs']}", f"| {words['output']} | {words['type']} | {words['does']} |", "|---|---|---|"]
        lines += [f"| {names['outputs'][str(n)]['name']} `{o['name']}` | {o['type']} | {_cell(names['outputs'][str(n)]['tooltip'])} |" for n, o in enumerate(schema["outputs"])]
    return "\n".join([*lines, "", f"## {words['example']}", "", *_EXAMPLE.findall(english_page), ""])

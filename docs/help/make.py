"""Makes everything that follows from the nodes' declarations: python docs/help/make.py

Frozen schemas, tables and pictures of the help pages, and the English names and tooltips. Needs a ComfyUI (not started).
It refuses to freeze a change that breaks saved graphs; what still has to be written by hand is printed. With --translated it
also notes that all translations say what the English says now.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

PACK = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).resolve().parent), str(PACK / "tests" / "host")]

from comfy_python import find_comfyui  # noqa: E402
from help_pages import new_page, translated, with_tables  # noqa: E402
from node_names import SEEN, changed_since, english, flat, in_order_of, marks, read, text  # noqa: E402
from node_picture import draw  # noqa: E402
from schema_rules import FROZEN, all_breaks, frozen_schemas, live_schemas  # noqa: E402

LANGUAGES = ("ja", "zh")
PAGES, LOCALES = PACK / "js" / "docs", PACK / "locales"


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8", newline="\n")
        print(f"wrote {path.relative_to(PACK).as_posix()}")


def write_pages(schemas: list[dict]) -> None:
    for schema in schemas:
        page = PAGES / f"{schema['node_id']}.md"
        words = page.read_text(encoding="utf-8") if page.is_file() else new_page(schema)
        _write(page, with_tables(words, schema))
        _write(page.with_suffix(".svg"), draw(schema))
        if not words.partition("## Example")[2].strip():
            print(f"to write: the example in {page.relative_to(PACK).as_posix()}")


def write_translated_pages(schemas: list[dict]) -> None:
    """After the locales; nodes that are not wholly translated wait."""
    complete = english(schemas)
    for language in LANGUAGES:
        names = read(LOCALES / language / "nodeDefs.json")
        for schema in schemas:
            node = schema["node_id"]
            if flat(complete[node]).keys() == flat(names.get(node, {})).keys():
                page = (PAGES / f"{node}.md").read_text(encoding="utf-8")
                _write(PAGES / node / f"{language}.md", translated(schema, names[node], language, page))


def write_locales(schemas: list[dict], all_translated: bool) -> None:
    names = english(schemas)
    if all_translated:
        have = [flat(read(LOCALES / language / "nodeDefs.json")) for language in LANGUAGES]
        _write(SEEN, text({key: mark for key, mark in marks(names).items() if all(key in tree for tree in have)}))
    seen = read(SEEN)
    for key in changed_since({node: names[node] for node in names if f"{node}.description" in seen}, seen):
        print(f"to look at in every language, then run with --translated: {key}")
    _write(LOCALES / "en" / "nodeDefs.json", text(names))
    for language in LANGUAGES:
        path = LOCALES / language / "nodeDefs.json"
        have = read(path)
        _write(path, text(in_order_of(names, have)))
        missing = Counter(key.split(".")[0] for key in flat(names).keys() - flat(have).keys())
        for node, count in sorted(missing.items()):
            print(f"to translate: {count} texts of {node} in {path.relative_to(PACK).as_posix()}")


def main() -> int:
    root = find_comfyui()
    if root is None:
        print("No ComfyUI was found; set COMFYUI_PATH.")
        return 1
    schemas = live_schemas(root)
    if problems := all_breaks(frozen_schemas(), schemas):
        print("Saved graphs would break; append widgets instead (or delete the frozen file of a node that nobody has yet):", *problems, sep="\n  ")
        return 1
    for schema in schemas:
        _write(FROZEN / f"{schema['node_id']}.json", text(schema))
    write_pages(schemas)
    write_locales(schemas, all_translated="--translated" in sys.argv[1:])
    write_translated_pages(schemas)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

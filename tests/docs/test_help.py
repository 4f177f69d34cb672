"""Every node has a help page that names all its inputs, and whose example would be accepted."""

import copy
import json
import re
import xml.etree.ElementTree as ET

import pytest
from help_pages import BEGIN, END, WORDS, translated, with_tables
from node_picture import draw

ROW = re.compile(r"^\| `([^`]+)`", re.MULTILINE)
EXAMPLE = re.compile(r"```json\n(.*?)\n```", re.DOTALL)
KINDS = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool, "COMBO": str}


@pytest.fixture(scope="session")
def pages(pack):
    return {path.stem: path.read_text(encoding="utf-8") for path in (pack / "js" / "docs").glob("*.md")}


def undocumented(page, schema):
    """Names of inputs and outputs that have no row of their own in the page."""
    rows = ROW.findall(page)
    return [part["name"] for part in [*schema["inputs"], *schema["outputs"]] if part["name"] not in rows]


def wrong_values(example, schema):
    """What the host would refuse in an example's inputs."""
    known = {i["name"]: i for i in schema["inputs"]}
    problems = []
    for name, value in example["inputs"].items():
        given = known.get(name)
        if given is None:
            problems.append(f"{name} is no input")
        elif isinstance(value, list) or not given["widget"]:
            if not (isinstance(value, list) and [type(part) for part in value] == [str, int]):
                problems.append(f"{name} is {value!r}, no wire such as [\"4\", 0]")
        elif not isinstance(value, KINDS[given["type"]]) or (isinstance(value, bool) and given["type"] != "BOOLEAN"):
            problems.append(f"{name} is {value!r}, not {given['type']}")
        elif given.get("options") and value not in given["options"]:
            problems.append(f"{name} has no choice {value!r}")
        elif "min" in given and not given["min"] <= value <= given["max"]:
            problems.append(f"{name} is {value}, outside {given['min']} to {given['max']}")
    return problems


def test_a_page_for_each_node_and_none_besides(pages, schemas):
    assert schemas and pages.keys() == schemas.keys(), "run: python docs/help/make.py"


def test_every_input_and_output_is_documented(pages, schemas):
    missing = {name: lacking for name, schema in schemas.items() if (lacking := undocumented(pages[name], schema))}
    assert not missing


def test_tables_say_what_the_nodes_say(pages, schemas):
    stale = [name for name, schema in schemas.items() if with_tables(pages[name], schema) != pages[name]]
    assert not stale, f"run: python docs/help/make.py ({', '.join(stale)})"


def test_a_new_input_makes_the_page_stale(pages, schemas):
    changed = copy.deepcopy(schemas["LTX2Decode"])
    changed["inputs"].append({"name": "crop", "type": "INT", "widget": True, "optional": True, "advanced": False, "default": 1, "tooltip": "Cut."})
    assert undocumented(pages["LTX2Decode"], changed) == ["crop"]
    assert with_tables(pages["LTX2Decode"], changed) != pages["LTX2Decode"]
    assert undocumented(with_tables(pages["LTX2Decode"], changed), changed) == []


def test_words_by_hand_and_one_worked_example(pages, schemas):
    problems = []
    for name, schema in schemas.items():
        title, _, rest = pages[name].partition("\n")
        intro, _, behind = rest.partition(BEGIN)
        example = behind.partition(END)[2]
        intro = re.sub(r"!\[.*?\]\(.*?\)", "", intro).strip()
        if title != f"# {schema['display_name']}":
            problems.append(f"{name}: the title is not the node's name")
        if intro == schema["description"] or len(intro.split()) < 20:
            problems.append(f"{name}: nothing is said beyond the description")
        if example.count("## Example") != 1 or len(EXAMPLE.sub("", example).split()) < 15:
            problems.append(f"{name}: no worked example")
    assert not problems, "\n".join(problems)


def test_examples_would_be_accepted(pages, schemas):
    problems = []
    for name, schema in schemas.items():
        found = EXAMPLE.findall(pages[name])
        if len(found) != 1 or json.loads(found[0])["class_type"] != name:
            problems.append(f"{name}: one JSON example of this node is needed")
            continue
        problems += [f"{name}: {p}" for p in wrong_values(json.loads(found[0]), schema)]
    assert not problems, "\n".join(problems)


def test_bad_examples_are_found(schemas):
    inputs = {"rank": 0, "alpha": "32", "kind": "lorra", "size": 3, "rslora": 1, "targets": [4, 0]}
    assert len(wrong_values({"inputs": inputs}, schemas["LTX2LoRASettings"])) == 6
    assert wrong_values({"inputs": {"latents": "4"}}, schemas["LTX2Decode"]) and not wrong_values({"inputs": {"latents": ["4", 0]}}, schemas["LTX2Decode"])


def test_pictures_are_there_and_show_the_node(pages, schemas, pack):
    for name, page in pages.items():
        shown = re.findall(r"!\[.*?\]\((.*?)\)", page)
        assert shown, name
        for picture in shown:
            assert (pack / "js" / "docs" / picture).is_file(), picture
    for name, schema in schemas.items():
        drawn = (pack / "js" / "docs" / f"{name}.svg").read_text(encoding="utf-8")
        assert drawn == draw(schema), f"run: python docs/help/make.py ({name})"
        texts = {node.text for node in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")}
        visible = [i["name"] for i in schema["inputs"] if not i["advanced"]]
        assert {schema["display_name"], *visible, *(o["name"] for o in schema["outputs"])} <= texts, name


@pytest.mark.parametrize("language", sorted(WORDS))
def test_pages_in_other_languages_are_made_of_the_translations(pages, schemas, pack, language):
    names = json.loads((pack / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    for name, schema in schemas.items():
        page = (pack / "js" / "docs" / name / f"{language}.md").read_text(encoding="utf-8")
        assert page == translated(schema, names[name], language, pages[name]), f"run: python docs/help/make.py ({name})"
        assert all(f"`{part['name']}`" in page for part in [*schema["inputs"], *schema["outputs"]])
        assert EXAMPLE.findall(page) == EXAMPLE.findall(pages[name])

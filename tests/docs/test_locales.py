"""Names and tooltips in every language: complete, of the nodes as they are, and saying the same numbers."""

import json
import re

import pytest
from node_names import SEEN, changed_since, english, flat, marks, read

LANGUAGES = ("en", "ja", "zh")
SCRIPT = {"ja": re.compile(r"[\u3040-\u30ff]"), "zh": re.compile(r"[\u4e00-\u9fff]")}
KANA = SCRIPT["ja"]
# Numbers, file endings and folder names mean the same in every language.
EXACT = re.compile(r"\d+(?:\.\d+)?(?:e-\d+)?|[\w/]+\.(?:txt|mp4|safetensors|json)|models/\w+|repo_id:file")


@pytest.fixture(scope="session")
def nodes(pack):
    return {lang: flat(json.loads((pack / "locales" / lang / "nodeDefs.json").read_text(encoding="utf-8"))) for lang in LANGUAGES}


@pytest.fixture(scope="session")
def main_files(pack):
    return {lang: flat(json.loads((pack / "locales" / lang / "main.json").read_text(encoding="utf-8"))) for lang in LANGUAGES}


def test_english_is_what_the_nodes_declare(nodes, schemas):
    assert nodes["en"] == flat(english(list(schemas.values()))), "run: python docs/help/make.py"


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_nothing_is_missing_or_left_over(nodes, main_files, language):
    for have in (nodes, main_files):
        assert sorted(have["en"].keys() - have[language].keys()) == [], "to be translated"
        assert sorted(have[language].keys() - have["en"].keys()) == [], "no longer declared"
        assert not [key for key, text in have[language].items() if not text.strip() and have["en"][key].strip()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_read_as_a_command(nodes, main_files, language):
    """The front-end's translator takes these signs for places to fill in, and shows an error instead of the sentence."""
    for have in (nodes, main_files):
        assert not {key: text for key, text in have[language].items() if re.search(r"[{}@|]", text)}


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_sentences_are_translated(nodes, language):
    sentences = {k: v for k, v in nodes[language].items() if k.endswith(("tooltip", "description")) and len(nodes["en"][k].split()) > 2}
    assert not [k for k, v in sentences.items() if v == nodes["en"][k] or not SCRIPT[language].search(v)]
    if language == "zh":
        assert not [k for k, v in nodes["zh"].items() if KANA.search(v)]


def test_no_english_was_changed_after_its_translation(schemas):
    stale = changed_since(english(list(schemas.values())), read(SEEN))
    assert not stale, "correct the translations, then run: python docs/help/make.py --translated"


def test_a_changed_sentence_is_found():
    tree = {"LTX2X": {"description": "Opens a file.", "inputs": {"name": {"tooltip": "Its name."}}}}
    changed = {"LTX2X": {**tree["LTX2X"], "description": "Opens a folder."}}
    assert changed_since(tree, marks(tree)) == [] and changed_since(changed, marks(tree)) == ["LTX2X.description"]


def lost(original, translated):
    """Numbers and file names of ``original`` that the translation does not say."""
    return [exact for exact in EXACT.findall(original) if exact not in translated]


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_numbers_and_files_are_kept(nodes, language):
    wrong = {k: gone for k, v in nodes["en"].items() if k in nodes[language] and (gone := lost(v, nodes[language][k]))}
    assert not wrong


def test_a_changed_number_is_found():
    assert lost("About 15 MiB in models/loras at 1e-4, or 0.5.", "models/loras に約 15 MiB、1e-4 または 0.3") == ["0.5"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_labels_of_a_node_differ(pack, language):
    tree = json.loads((pack / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    shown = [node["display_name"] for node in tree.values()]
    assert len(set(shown)) == len(shown)
    for name, node in tree.items():
        labels = [i["name"] for i in node["inputs"].values()]
        assert len(set(labels)) == len(labels), f"{name}: {labels}"


def test_every_wire_and_menu_has_a_name(main_files, schemas):
    kinds = {part["type"] for s in schemas.values() for part in [*s["inputs"], *s["outputs"]] if part["type"].startswith("LTX2_")}
    menus = {part for s in schemas.values() for part in s["category"].split("/")}
    for language in LANGUAGES:
        assert {f"dataTypes.{k}" for k in kinds} | {f"nodeCategories.{m}" for m in menus} <= main_files[language].keys()

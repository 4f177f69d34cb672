"""A node's help page and its translated names, as the real front-end shows them."""

import json

import pytest
from comfy_host import PACK

pytestmark = pytest.mark.host


def names(language, node):
    return json.loads((PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))[node]


@pytest.fixture(scope="module")
def opened(comfy, visit):
    """What the page shows of Train Settings and its help, in Japanese."""
    return visit("help.mjs", url=comfy.url, type="LTX2TrainSettings", locale="ja")


def test_the_help_panel_shows_the_page_with_its_picture(opened):
    shown, wanted = opened["help"], names("ja", "LTX2TrainSettings")
    assert shown["heading"] == wanted["display_name"] and shown["pictures"] and min(shown["pictures"]) > 100
    assert {f"{wanted['inputs'][name]['name']} {name}" for name in ("steps", "learning_rate")} <= set(shown["rows"])
    assert json.loads(shown["code"])["class_type"] == "LTX2TrainSettings"
    assert "made by docs/help" not in shown["text"] and opened["complaints"] == []


def test_names_are_shown_in_the_language_of_the_page(opened):
    wanted, shown = names("ja", "LTX2TrainSettings"), opened["shown"]
    assert shown["title"] == wanted["display_name"]
    assert shown["outputs"] == [wanted["outputs"]["0"]["name"]]
    assert {w["name"]: w["label"] for w in shown["widgets"]} == {k: v["name"] for k, v in wanted["inputs"].items()}


def test_advanced_widgets_are_known_to_the_page(opened):
    visible = [w["name"] for w in opened["shown"]["widgets"] if not w["advanced"]]
    assert len(visible) == 10 and "weight_decay" not in visible

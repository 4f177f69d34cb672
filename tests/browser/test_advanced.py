"""At most ten widgets show on a node in both renderers, and nothing is lost behind the button."""

import json

import pytest
from comfy_host import PACK

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def visited(comfy, visit, each_renderer):
    return visit("advanced.mjs", url=comfy.url, vue=each_renderer == "html", type="LTX2TrainSettings", advanced="keep_checkpoints")


def schema():
    return json.loads((PACK / "tests" / "host" / "schemas" / "LTX2TrainSettings.json").read_text(encoding="utf-8"))


def test_only_the_first_ten_show_until_asked_for(visited):
    plain = [i["name"] for i in schema()["inputs"] if i["widget"] and not i["advanced"]]
    every = [i["name"] for i in schema()["inputs"] if i["widget"]]
    assert visited["first"]["seen"] == plain and len(plain) <= 10
    assert visited["opened"]["seen"] == every
    assert visited["complaints"] == []


def test_hidden_widgets_are_saved_and_sent_all_the_same(visited):
    first, opened = visited["first"], visited["opened"]
    every = [i for i in schema()["inputs"] if i["widget"]]
    assert first["names"] == [i["name"] for i in every]
    assert first["values"] == opened["values"] == [i["default"] for i in every]
    assert first["sent"] == opened["sent"] == first["names"]


def test_the_button_says_what_it_does(visited):
    labels = [visited["first"]["button"], visited["opened"]["button"]]
    # Newer front-ends have a button of their own in one renderer.
    assert labels == [None, None] if visited["pressed"] else labels == ["Show advanced inputs", "Hide advanced inputs"]


def test_a_wired_advanced_widget_shows_after_loading(visited):
    wired = visited["wired"]
    assert wired["link"] is not None and wired["hiddenWhenSaved"] and wired["shown"]

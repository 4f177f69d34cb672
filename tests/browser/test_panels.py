"""The panels by themselves: what they draw of a plan and of findings, whether it can be read, and in which languages."""

import dataclasses
import re

import pytest
from comfy_host import PACK

from ltx2core.memory.engine import MemorySettings
from ltx2core.memory.plan import GIB, BaseSize, Load, predict
from ltx2core.preflight.finding import ERROR, INFO, WARNING, Finding

pytestmark = pytest.mark.host
PALETTES = ["dark", "light", "solarized", "arc", "nord", "github"]


@pytest.fixture(scope="module")
def plan():
    size, load = BaseSize(48, 400_000_000, 380_000_000, 2_000_000_000), Load(6000, 1, 200_000_000)
    return predict(size, load, MemorySettings("int8")).told(24 * GIB)


@pytest.fixture(scope="module")
def seen(comfy, visit, plan, each_renderer):
    findings = [Finding(INFO, "clips", "Eight clips."), Finding(ERROR, "memory", "Too little.", "Lower the width."), Finding(WARNING, "captions", "One is short.")]
    return visit("panels.mjs", url=comfy.url, plan=dataclasses.asdict(plan), findings=[f.to_dict() for f in findings], vue=each_renderer == "html", palettes=PALETTES)


def test_the_bar_shows_the_plan(seen, plan):
    assert not seen["complaints"] and seen["plan"] == "The plan as it is said."
    told = dict(re.findall(r"(\w+) ([\d.]+) GiB", seen["bar"]))
    used = plan.weights + plan.adapter + plan.optimizer + plan.activations
    expected = {"weights": plan.weights, "adapter": plan.adapter, "optimizer": plan.optimizer, "activations": plan.activations, "free": plan.device - used}
    assert told == {name: f"{size / GIB:.1f}" for name, size in expected.items()}
    whole = sum(seen["widths"].values())
    for name, size in expected.items():
        assert seen["widths"][name] / whole == pytest.approx(size / plan.device, abs=0.01), name


def test_findings_stand_in_the_order_of_their_weight(seen):
    assert [(kind, text) for kind, text in seen["findings"]] == [
        ("ltx2-error", "error Too little. Lower the width."), ("ltx2-warning", "warning One is short."), ("ltx2-info", "note Eight clips."),
    ]  # fmt: skip


@pytest.mark.parametrize("palette", PALETTES)
def test_everything_can_be_read_in_the_hosts_palettes(seen, palette):
    """At least the contrasts that WCAG 2 asks for: 4.5 for text, 3 for lines."""
    found = seen["palettes"][palette]
    assert len(found["text"]) > 14 and len(found["lines"]) >= 5
    assert {"ltx2-strip", "ltx2-grid", "ltx2-findings", "ltx2-train", "ltx2-memory"} <= set(" ".join(found["text"]).split())
    assert {k: v for k, v in found["text"].items() if v < 4.5} == {}
    assert {k: v for k, v in found["lines"].items() if v < 3} == {}


def test_strings_are_whole_in_every_language():
    source = (PACK / "js" / "strings.js").read_text(encoding="utf-8")
    tables = dict(re.findall(r"^  (en|ja|zh): \{(.*?)^  \},", source, re.M | re.S))
    parsed = {lang: dict(re.findall(r'(\w+): "([^"]*)"', body)) for lang, body in tables.items()}
    used = set(re.findall(r'\bt\("(\w+)"', "".join(p.read_text(encoding="utf-8") for p in (PACK / "js").glob("*.js"))))
    assert set(parsed) == {"en", "ja", "zh"} and used <= set(parsed["en"])
    for lang, strings in parsed.items():
        assert set(strings) == set(parsed["en"]), lang
        for key, text in strings.items():
            assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", parsed["en"][key])), f"{lang}: {key}"


def test_every_stage_of_the_core_has_a_name():
    said = re.findall(r'Progress\("(\w+)"', "".join(p.read_text(encoding="utf-8") for p in (PACK / "ltx2core").rglob("*.py")))
    source = (PACK / "js" / "strings.js").read_text(encoding="utf-8")
    # The cache is verified by the command line alone; steps of training have a line of their own.
    assert {s for s in said if f"stage_{s}:" not in source} == {"train", "verify"}

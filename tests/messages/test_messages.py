"""What the core says has a translation, whole and with the same values, and is found again with anything in its values."""

import importlib.util
import json
import random
import re
import sys
from pathlib import Path

import pytest

from ltx2core.presets import NAMES, preset

HERE = Path(__file__).resolve().parent
PACK = HERE.parents[1]


def _loaded(name, path):
    """From its file: ``nodes`` and ``tests`` are names that other programs have too."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


messages = _loaded("ltx2_messages", PACK / "nodes" / "messages.py")
gather = _loaded("ltx2_gather", HERE / "gather.py")
LANGUAGES = messages.LANGUAGES
JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
CHINESE = re.compile("[\u4e00-\u9fff]")
ODD = ["", "my clip.mp4", "{0} {x} }{", "'quoted' \"twice\"", "a\tb", r"C:\d+(.*)[a-z]$^|?", "名前 の ファイル", "%s %(x)d", "x" * 300]


@pytest.fixture(scope="module")
def said():
    return gather.Pack().templates()


def holes(text):
    return sorted(m[1] for m in messages._HOLE.finditer(text) if m[1] is not None)


def test_sentences_of_every_kind_are_gathered(said):
    """One each: a finding, its advice, a message, a reason, an error in a helper, a choice of words, a text built before, a plan."""
    expected = {
        "Train more steps.", "{0} of {1} share a caption with another: {2}; what differs between them cannot be asked for later.", "{0:d} clips", "1 clip",
        "Saved at step {0}: {1}.", "has no sound", "describe the clip there", "No file at {0}; check the path, or put the file there.",
        "No clip of this dataset has a picture; choose another dataset or another mode.", "did you mean {0}?", "{0} blocks kept",
        "dataset {0}, not applicable:", "{0:d} error", "{0} for the video VAE", "this method is not in the pack", "its clips are held out",
        "Training is paused at step {0}; its state is saved.", "cannot be read ({0})",
    }  # fmt: skip
    assert expected <= said.keys()
    assert not any("Pixels, cut down" in text for text in said), "tooltips are the node definitions'"


def test_constants_of_a_file_are_part_of_its_sentences(tmp_path):
    """A word, and a choice of several; a longer text is a piece of its own, a parameter of the same name is a value."""
    (tmp_path / "ltx2core").mkdir()
    (tmp_path / "ltx2core" / "made.py").write_text(
        'SOUND, MASK = "sound", "a mask"\nKINDS = (SOUND, MASK)\nHELP: str = "put one there"\nCALLED: dict[str, str] = {SOUND: "sounds", MASK: "masks"}\n'
        'def told(reporter, n):\n    for kind in KINDS:\n        reporter.message(f"Clip {n} lacks {kind}; {HELP}.")\n        reporter.message(f"Clip {n} has {CALLED[kind]}.")\n'
        'def given(reporter, SOUND):\n    reporter.message(f"No {SOUND} is read.")\nraise LTX2Error(f"No {SOUND} is there.")\n',
        encoding="utf-8",
    )
    assert set(gather.Pack(tmp_path).templates()) == {
        "Clip {0} lacks sound; {1}.", "Clip {0} lacks a mask; {1}.", "put one there", "Clip {0} has sounds.", "Clip {0} has masks.", "No {0} is read.", "No sound is there.",
    }  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_has_a_translation(said, language):
    have = gather.catalogue(language)
    assert [t for t in said if t not in have] == [], "write them into locales/<language>/messages.json"
    assert [t for t in have if t not in said and t not in messages.JOINTS] == [], "nothing says these any more"
    assert set(messages.JOINTS) <= have.keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_have_the_values_of_their_sentence_and_are_in_the_language(language):
    letters = JAPANESE if language == "ja" else CHINESE
    for text, translation in gather.catalogue(language).items():
        assert holes(translation) == holes(text), f"{language}: {text}"
        plain = messages._HOLE.sub("", text)
        assert letters.search(translation) or len(re.findall(r"[a-z]{3,}", plain)) == 0, f"{language}: {text}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_sentence_is_found_with_anything_in_its_values(said, language):
    """Whatever the values hold, they come out as they went in, and no English of the sentence is left."""
    draw, catalogue, translations = random.Random(7), messages.catalogue(language), gather.catalogue(language)
    for text in said:
        number = {m[1] for m in messages._HOLE.finditer(text) if m[2]}
        for value in draw.sample(ODD, 2):
            # Without spaces a value can't be taken for words of a sentence.
            values = {h: "12" if h in number else value.replace(" ", "_") for h in holes(text)}
            fill = lambda form: messages.filled(form, [values[h] for h in sorted(values, key=int)])  # noqa: B023, E731
            assert catalogue.say(fill(text)) == fill(translations[text]), (text, value)


def test_sentences_inside_of_sentences_and_side_by_side():
    ja = messages.catalogue("ja")
    lacks = "a.mp4 is left out: it has an empty caption file a.txt; describe the clip there."
    assert ja.say(lacks) == "a.mp4 は除外されます: キャプションファイル a.txt が空です。そこにクリップの説明を書いてください。"
    assert ja.say("Train more steps. Correct its path.") == "ステップ数を増やしてください。パスを直してください。"
    assert ja.say("Describe the clip there.") == "そこにクリップの説明を書いてください。"
    assert ja.say("error: Train more steps.\n\nnothing known here.") == "エラー: ステップ数を増やしてください。\n\nnothing known here."
    assert ja.say("Something else. Train more steps.") == "Something else. ステップ数を増やしてください。"


@pytest.mark.parametrize(
    "name", [r"D:\My video files", "/data/my sound files", "/data/cats, dogs and birds", r"C:\Users\Ann Lee\clips (old)", "/films/Vol. 2/x.mp4", "clip 1 (2), cut. 3.mp4"]
)
def test_names_are_no_sentences(name):
    ja = messages.catalogue("ja")
    assert ja.say(f"There is no folder {name}; give the folder that holds the clips.") == f"フォルダー {name} がありません。クリップのあるフォルダーを指定してください。"
    assert ja.say(f"{name} is left out: it has no sound.") == f"{name} は除外されます: 音声がありません。"
    assert ja.say(f"has an empty caption file {name}") == f"キャプションファイル {name} が空です"
    assert ja.say(f"warning: 2 clips of {name} share a caption with another: a.mp4; what differs between them cannot be asked for later.").startswith("警告: " + name)


@pytest.mark.parametrize("text", ["", " ", "\n", "{", "}{0}", "no such sentence at all", *ODD, "a (b; c: d, " * 2000, "Train more steps. " * 300, ". " * 1500])
def test_what_is_not_known_stays_and_nothing_is_raised(text):
    for language in (*LANGUAGES, "de", "", "zh-TW", "ja; rm"):
        found = messages.catalogue(language).say(text)
        assert found == text or "Train more steps" in text


def test_a_line_of_hundreds_of_names_is_one_list():
    names = [f"my clip {i}.mp4" for i in range(300)]
    assert messages.catalogue("ja").say(", ".join(names)) == ", ".join(names)


def test_an_event_brings_its_languages():
    event = messages.in_languages({"text": "Train more steps.", "advice": "", "files": ("a",), "level": "info"}, "text", "advice")
    assert event["text"] == "Train more steps." and event["level"] == "info"
    assert event["said"] == {"ja": {"text": "ステップ数を増やしてください。"}, "zh": {"text": "请增加步数。"}}
    assert "said" not in messages.in_languages({"text": "unheard of"}, "text")


def test_a_catalogue_that_cannot_be_read_leaves_english(tmp_path, monkeypatch):
    monkeypatch.setattr(messages, "FOLDER", tmp_path)
    monkeypatch.setattr(messages, "catalogue", messages.catalogue.__wrapped__)
    assert messages.catalogue("ja").say("Train more steps.") == "Train more steps."
    (tmp_path / "ja").mkdir()
    (tmp_path / "ja" / "messages.json").write_text("{", encoding="utf-8")
    assert messages.catalogue("ja").say("Train more steps.") == "Train more steps."


def test_nothing_is_read_when_the_module_is():
    fresh = _loaded("ltx2_messages_fresh", PACK / "nodes" / "messages.py")
    assert fresh.catalogue.cache_info().currsize == 0
    assert json.dumps(fresh.in_languages({"a": 1}, "a")) == '{"a": 1}'


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_preset_s_report_is_told_but_for_its_values_and_sources(language):
    for name in NAMES:
        lines = [line.split("   (")[0] for line in preset(name).report(messages.catalogue(language).say).splitlines()]
        told = [line.removeprefix(f"{name}: ") for line in lines if " = " not in line]
        assert len(told) >= 4 and not [line for line in told if re.search("[A-Za-z]{3,}", line)]

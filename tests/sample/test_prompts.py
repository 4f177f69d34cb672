"""Prompt libraries read, refused with a sentence, and encoded once."""

import json

import pytest
import torch

from ltx2core.cache.store import Store
from ltx2core.errors import LTX2Error
from ltx2core.sample.prompts import PromptLibrary, built_in, encode_library, from_features, parse_library, read_library
from ltx2core.text.source import open_text_encoder
from ltx2core.tiny_gemma import write_tiny_gemma


def test_built_in_set_is_short_and_covers_its_subjects():
    library = built_in()
    names = {name for name, _ in library.prompts}
    assert {"motion", "face", "speech", "music"} <= names and any(n.startswith("camera") for n in names)
    assert 5 <= len(names) <= 15 and all(len(text) > 40 for _, text in library.prompts)


def test_library_from_a_file_keeps_its_order(tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"zebra": "A zebra.", "äpfel": "Äpfel fallen."}, ensure_ascii=False), encoding="utf-8")
    library = read_library(path)
    assert library.prompts == (("zebra", "A zebra."), ("äpfel", "Äpfel fallen."))
    assert library.only(["äpfel"]).prompts == (("äpfel", "Äpfel fallen."),) and library.only([]) is library
    with pytest.raises(LTX2Error, match="no prompt called 'zebr'.*'zebra'"):
        library.only(["zebr"])


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "no JSON"), ("[]", "no prompts"), ("{}", "no prompts"), ('{"a": 1}', "'a' is not a name with a text"), ('{"a": "x", "a": "y"}', "'a' is there twice"), ('{" ": "x"}', "not a name")],
)
def test_bad_libraries(text, said):
    with pytest.raises(LTX2Error, match=said):
        parse_library(text)


def test_missing_file(tmp_path):
    with pytest.raises(LTX2Error, match="nowhere.json cannot be read"):
        read_library(tmp_path / "nowhere.json")


def test_library_is_encoded_once(tiny_models, services, tmp_path):
    source = open_text_encoder(write_tiny_gemma(tmp_path / "gemma.safetensors"))
    store, library = Store(tmp_path / "cache"), PromptLibrary((("a", "A cat."), ("b", "A dog."), ("again", "A cat.")))
    encoded = encode_library(library, "", tiny_models.checkpoint, source, store, **services)
    assert [p.name for p in encoded.prompts] == ["a", "b", "again"] and len(services["reporter"].events) == 3
    a, b, again = (p.features() for p in encoded.prompts)
    assert torch.equal(a.video, again.video) and not torch.equal(a.video, b.video) and encoded.negative.features().audio.shape == a.audio.shape
    encode_library(library, "", tiny_models.checkpoint, source, store, **services)
    assert len(services["reporter"].events) == 3


def test_features_from_elsewhere_have_keys_of_their_numbers(features):
    assert from_features("x", features(1)).key == from_features("y", features(1)).key != from_features("x", features(2)).key

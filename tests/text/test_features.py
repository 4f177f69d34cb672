"""From prompts to features: the normalisation of 49 states written out, padding, and what a cache may rely on."""

import pytest
import torch

from benchmarks.compare import relative_error
from ltx2core.checkpoint.combined import open_checkpoint
from ltx2core.models.build import hidden_states_needed, load_connectors
from ltx2core.text.encoder import load_text_encoder
from ltx2core.text.features import after_connectors, encode_prompts
from ltx2core.text.source import check_matches, open_text_encoder
from ltx2core.tiny import write_tiny_checkpoint
from ltx2core.tiny_gemma import write_tiny_gemma

PROMPTS = ["A red circle moves right.", "A green square moves left over a dark background, with a middle tone."]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("features")
    checkpoint = open_checkpoint(write_tiny_checkpoint(root / "tiny.safetensors"))
    source = open_text_encoder(write_tiny_gemma(root / "gemma.safetensors"))
    check_matches(source, *hidden_states_needed(checkpoint))
    return load_text_encoder(source, dtype=torch.float32), load_connectors(checkpoint, dtype=torch.float32)


@pytest.fixture(scope="module")
def seen(parts):
    """What the first linear of the connectors was given for each prompt, and the features."""
    encoder, connectors = parts
    inputs = []
    hook = connectors.text_proj_in.register_forward_hook(lambda module, args, output: inputs.append(args[0]))
    features = encode_prompts(encoder, connectors, PROMPTS)
    hook.remove()
    return inputs, features


def test_each_layer_is_normalised_over_its_valid_tokens(parts, seen):
    """8 · (x - mean) / (max - min + 1e-6) a prompt and layer over tokens and width, padding 0, the layer index fastest."""
    encoder, _ = parts
    for prompt, given in zip(PROMPTS, seen[0], strict=True):
        states, mask = encoder.hidden_states([prompt])
        valid = mask[0].bool()
        expected = torch.zeros_like(states[0])
        for layer in range(states.shape[-1]):
            x = states[0, valid, :, layer]
            expected[valid, :, layer] = 8 * (x - x.mean()) / (x.max() - x.min() + 1e-6)
        assert given.shape[1] == 1024 and not given[0, : -len(expected)].any()
        torch.testing.assert_close(given[0, -len(expected) :], expected.flatten(1), atol=1e-5, rtol=1e-4)


def test_padding_that_is_not_computed_changes_nothing(parts, seen):
    """Features of states that transformers' model makes of all 1024 places."""
    encoder, connectors = parts
    for prompt, features in zip(PROMPTS, seen[1], strict=True):
        ids, mask = encoder.tokenizer([prompt], 1024)
        with torch.no_grad():
            states = torch.stack(encoder.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states, dim=-1)
            whole = after_connectors(connectors, states, mask, torch.float32)
            ours = encode_prompts(encoder, connectors, [prompt], torch.float32)[0]
        assert relative_error(ours.video, whole.video) <= 1e-4 and relative_error(ours.audio, whole.audio) <= 1e-4


def test_features_are_whole_and_finite(seen):
    for features in seen[1]:
        for tensor in (features.video, features.audio):
            assert tensor.shape == (1, 1024, 64) and tensor.dtype == torch.bfloat16 and tensor.isfinite().all()
        assert not torch.equal(features.video, features.audio)
    assert (seen[1][0].video - seen[1][1].video).abs().max() > 0.1


def test_spaces_around_a_prompt_do_not_count_and_neighbours_neither(parts, seen):
    encoder, connectors = parts
    alone = encode_prompts(encoder, connectors, [f" \n{PROMPTS[1]}\t "])[0]
    assert torch.equal(alone.video, seen[1][1].video) and torch.equal(alone.audio, seen[1][1].audio)


def test_an_empty_prompt_has_features(parts):
    features = encode_prompts(*parts, [""])[0]
    assert features.video.isfinite().all() and features.audio.isfinite().all()


def test_no_graph_is_kept(parts, seen):
    assert not any(t.requires_grad for f in seen[1] for t in (f.video, f.audio))

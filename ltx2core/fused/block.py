"""A whole block of the audio-video transformer, forward and backward, on two lanes.

The same function as diffusers' ``LTX2VideoTransformerBlock`` in training (no text masks, split rotation, no gates on heads);
what is kept for backward is listed, and nothing else lives from forward to backward.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from . import cross
from .cross import Modulations
from .lanes import Lanes
from .modulation import Shared
from .side import FeedForward, Own, SideSpec, Stored, feed_forward, feed_forward_again, feed_forward_backward, feed_forward_end, own_backward, own_forward
from .weights import BlockWeights


@dataclass
class Kept:
    """Of one block, for its backward."""

    video: Own
    audio: Own
    video_mods: Modulations
    audio_mods: Modulations
    video_between: Tensor
    audio_between: Tensor
    to_video: cross.Attention
    to_audio: cross.Attention
    video_ff: FeedForward
    audio_ff: FeedForward


def supported(block: nn.Module) -> bool:
    """Whether this file computes what ``block`` computes."""
    from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformerBlock

    if not isinstance(block, LTX2VideoTransformerBlock):
        return False
    plain = block.attn1.rope_type == "split" and block.attn1.to_gate_logits is None and not (block.cross_attn_adaln or block.perturbed_attn)
    return plain and block.norm1.weight is None


class FusedBlock:
    """Runs any block of a model on given weights."""

    def __init__(self, block: nn.Module, lanes: Lanes):
        eps = block.norm1.eps
        self._lanes = lanes
        self._video = SideSpec("", block.attn1.heads, eps)
        self._audio = SideSpec("audio_", block.audio_attn1.heads, eps)
        self._to_video, self._to_audio = cross.directions(block.audio_to_video_attn.heads, eps)

    def _until_meeting(self, w: BlockWeights, m: Shared, h: Tensor, a: Tensor, keep: bool, beside: BlockWeights | None, stored: Stored | None):
        """Both sides' own attentions, and all that the attentions between them read."""
        self._lanes.fork()
        with self._lanes.side():
            if beside is not None:
                beside.refresh()
            a, audio = own_forward(self._audio, w, m.audio, m.batch, a, keep)
            mods_a = Modulations.of(w, "audio_", m.audio)
            audio_kv = cross.key_value_of(self._to_video, w, m.audio, mods_a, a)
            audio_query = cross.query_of(self._to_audio, w, m.audio, mods_a, a)
        h, video = own_forward(self._video, w, m.video, m.batch, h, keep, stored)
        mods_v = Modulations.of(w, "video_", m.video)
        video_kv = cross.key_value_of(self._to_audio, w, m.video, mods_v, h)
        video_query = cross.query_of(self._to_video, w, m.video, mods_v, h)
        self._lanes.meet()
        return (h, video, mods_v, video_query, video_kv), (a, audio, mods_a, audio_query, audio_kv)

    def forward(self, w: BlockWeights, m: Shared, h: Tensor, a: Tensor, beside: BlockWeights | None = None, stored: Stored | None = None) -> tuple[Tensor, Tensor]:
        """States [B*N, D] of picture and sound after the block.

        Args:
            beside: weights to refresh meanwhile.
            stored: filled in with results of the picture's side that backward may use.
        """
        (h, video, mods_v, video_query, video_kv), (a, audio, mods_a, audio_query, audio_kv) = self._until_meeting(w, m, h, a, False, beside, stored)
        with self._lanes.side():
            a, _ = cross.cross_forward(self._to_audio, w, m.audio, mods_a, m.batch, a, audio_query, video_kv, False)
            a = feed_forward(self._audio, w, m.audio, a, audio.rows)
        h, _ = cross.cross_forward(self._to_video, w, m.video, mods_v, m.batch, h, video_query, audio_kv, False)
        h = feed_forward(self._video, w, m.video, h, video.rows, stored)
        self._lanes.join()
        return h, a

    def again(self, w: BlockWeights, m: Shared, h: Tensor, a: Tensor, beside: BlockWeights | None = None, stored: Stored | None = None) -> Kept:
        """What backward needs, made anew from the block's inputs."""
        (h, video, mods_v, video_query, video_kv), (a, audio, mods_a, audio_query, audio_kv) = self._until_meeting(w, m, h, a, True, beside, stored)
        with self._lanes.side():
            a_after, to_audio = cross.cross_forward(self._to_audio, w, m.audio, mods_a, m.batch, a, audio_query, video_kv, True)
            audio_ff = feed_forward_again(self._audio, w, m.audio, a_after, audio.rows)
        h_after, to_video = cross.cross_forward(self._to_video, w, m.video, mods_v, m.batch, h, video_query, audio_kv, True)
        video_ff = feed_forward_again(self._video, w, m.video, h_after, video.rows, stored)
        self._lanes.join()
        return Kept(video, audio, mods_v, mods_a, h, a, to_video, to_audio, video_ff, audio_ff)

    def end(self, w: BlockWeights, m: Shared, kept: Kept) -> tuple[Tensor, Tensor]:
        """The states after the block, from what was kept."""
        self._lanes.fork()
        with self._lanes.side():
            a = feed_forward_end(self._audio, w, m.audio, kept.audio_ff)
        h = feed_forward_end(self._video, w, m.video, kept.video_ff)
        self._lanes.join()
        return h, a

    def backward(self, w: BlockWeights, m: Shared, kept: Kept, g: Tensor, ga: Tensor, wanted: bool = True) -> tuple[Tensor, Tensor]:
        """Gradients towards the block's inputs, of no use where not ``wanted``; the adapters' are added to their own. ``kept`` is used up."""
        mods_v, mods_a = kept.video_mods, kept.audio_mods
        self._lanes.fork()
        with self._lanes.side():
            ga_in = ga
            ga = feed_forward_backward(self._audio, w, m.audio, kept.audio_ff, ga_in)
            dx, video_dk, video_dv = cross.cross_backward(self._to_audio, w, m.audio, mods_a, kept.to_audio, ga)
            cross.through_norm(self._to_audio, m.audio, mods_a, kept.audio_between, dx, ga)
        g = feed_forward_backward(self._video, w, m.video, kept.video_ff, g)
        dx, audio_dk, audio_dv = cross.cross_backward(self._to_video, w, m.video, mods_v, kept.to_video, g)
        cross.through_norm(self._to_video, m.video, mods_v, kept.video_between, dx, g)
        self._lanes.meet()
        with self._lanes.side():
            cross.key_value_backward(self._to_video, w, m.audio, mods_a, kept.to_video, kept.audio_between, audio_dk, audio_dv, ga)
            own_backward(self._audio, w, m.audio, kept.audio, ga, wanted)
        cross.key_value_backward(self._to_audio, w, m.video, mods_v, kept.to_audio, kept.video_between, video_dk, video_dv, g)
        own_backward(self._video, w, m.video, kept.video, g, wanted)
        self._lanes.join()
        return g, ga

"""What a step of training costs on several cards: FLOPs, bytes over each link, seconds. Pure functions; docs/scaling.md explains them.

A LoRA's base is frozen, so backward computes the gradients of activations alone; the adapter's own products are left out
(rank 32 beside 4096: 1 percent).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Widths:
    """Of the transformer: ``video`` and ``audio`` streams, ``cross`` of the attention between them, feed-forward's factor."""

    video: int = 4096
    audio: int = 2048
    cross: int = 2048
    expansion: int = 4
    blocks: int = 48


@dataclass(frozen=True)
class Link:
    """bandwidth: bytes a second that one card sends while it receives as many, as NCCL's bus bandwidth counts them. latency: seconds a hop."""

    bandwidth: float
    latency: float = 10e-6


# What sums of hundreds of MB reach, not what the data sheet says. NVLink 4: sums of 1 GiB reach 329, 355 and 361 GB/s on hosts of
# 2, 4 and 8 H100 without the switch's own adding.
NVLINK4 = Link(330e9)
PCIE5 = Link(45e9)
PCIE4 = Link(20e9)
INFINIBAND_400 = Link(45e9, 15e-6)  # one adapter a card
ETHERNET_100 = Link(11e9 / 8, 30e-6)  # one a machine of eight cards
HOST_HOP = 40e-6  # seconds of a small message between two processes over the host's network


@dataclass(frozen=True)
class Products:
    """FLOPs of the matrix products of one forward pass; a product [n, a] x [a, b] counts 2nab.

    attention: both products of every attention. text: keys and values of the text. down: last products of the feed-forward
    nets. linear: all other weights.
    """

    attention: float
    text: float
    down: float
    linear: float

    @staticmethod
    def of(video_tokens: int, audio_tokens: int, text_tokens: int = 1024, samples: int = 1, widths: Widths = Widths()) -> Products:
        """Tokens are those of one sample. Per block and stream of width d: self-attention (4 d^2 a token), text attention (2 d^2
        a token, 2 d^2 a text token), feed-forward (2e d^2), and two attentions between the streams of inner width ``cross``.
        """
        w, v, a, t = widths, video_tokens, audio_tokens, text_tokens
        streams, times = ((v, w.video), (a, w.audio)), 2.0 * samples * w.blocks
        linear = sum(n * (6 + w.expansion) * d * d for n, d in streams) + 2 * (2 * v * w.video + 2 * a * w.audio) * w.cross
        attention = sum(n * (n + t) * d for n, d in streams) + 2 * v * a * w.cross
        return Products(times * 2 * attention, times * sum(2 * t * d * d for _, d in streams), times * sum(n * w.expansion * d * d for n, d in streams), times * linear)

    @property
    def forward(self) -> float:
        return self.attention + self.text + self.down + self.linear


def step_flops(products: Products, recomputed: float = 1.0) -> float:
    """Of one training step: forward + backward + ``recomputed`` x (forward - down).

    Backward has one product for every product with a weight, none towards the text, and five for an attention's two: q k^T
    once more, and the gradients of v, of the weights, of q and of k. A recomputed block stops before the last product of its
    feed-forward nets, on whose result no gradient depends.

    Args:
        recomputed: part of the blocks whose activations are not kept, 0 to 1.
    """
    p = products
    return p.forward + (2.5 * p.attention + p.down + p.linear) + recomputed * (p.forward - p.down)


def all_reduce_bytes(size: int, processes: int) -> float:
    """That each card of a ring sends, and receives, to sum ``size`` bytes: 2 (n-1)/n of them."""
    return 2 * (processes - 1) / processes * size


def all_gather_bytes(size: int, processes: int) -> float:
    """The same to bring ``size`` bytes together on every card: (n-1)/n of them."""
    return (processes - 1) / processes * size


def all_reduce_seconds(size: int, processes: int, link: Link) -> float:
    """In 2 (n-1) hops."""
    return all_reduce_bytes(size, processes) / link.bandwidth + 2 * (processes - 1) * link.latency


def all_gather_seconds(size: int, processes: int, link: Link) -> float:
    """In n-1 hops."""
    return all_gather_bytes(size, processes) / link.bandwidth + (processes - 1) * link.latency


def agreement_seconds(processes: int, hop: float = HOST_HOP) -> float:
    """Of a step, on stops and counts: a gather of sizes, one of values and a sum, rings of gloo with 4 (n-1) hops together."""
    return 4 * (processes - 1) * hop


@dataclass(frozen=True)
class Cluster:
    """``machines`` with ``cards`` each; ``inside`` joins the cards of one, ``between`` is what each card has to other machines."""

    machines: int
    cards: int
    inside: Link
    between: Link = INFINIBAND_400

    @property
    def size(self) -> int:
        return self.machines * self.cards


def reduce_seconds(size: int, cluster: Cluster) -> float:
    """Gradients of ``size`` bytes summed inside each machine, between the machines in parts, and handed out again."""
    inside = all_reduce_seconds(size, cluster.cards, cluster.inside)
    return inside + all_reduce_seconds(size // cluster.cards, cluster.machines, cluster.between)


def ddp_seconds(compute: float, gradient_bytes: int, cluster: Cluster) -> float:
    """A step: nothing of the sum or the agreements is hidden behind ``compute`` seconds."""
    return compute + reduce_seconds(gradient_bytes, cluster) + agreement_seconds(cluster.size)


def fsdp_seconds(compute: float, blocks_bytes: int, gradient_bytes: int, cluster: Cluster) -> float:
    """A step with the blocks sharded inside each machine: gathered for forward and once more for recomputing and backward.

    The next block is gathered while one is computed, so the longer of the two counts.
    """
    gathered = 2 * all_gather_seconds(blocks_bytes, cluster.cards, cluster.inside)
    return max(compute, gathered) + ddp_seconds(0.0, gradient_bytes, cluster)


def efficiency(alone: float, together: float) -> float:
    """Of linear scaling, every card having as much to do as one alone."""
    return alone / together


def busy(clips: int, processes: int) -> float:
    """Part of the processes' passes, one clip each, that have a clip, in a step of ``clips`` of one bucket."""
    return clips / (processes * math.ceil(clips / processes))

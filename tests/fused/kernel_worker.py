"""Runs each kernel and its plain form on the same random numbers; a line for each, an assertion where they differ."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch  # noqa: E402

from ltx2core.fused import dropped, kernels, ops  # noqa: E402
from ltx2core.fused.groups import Factors, GroupLayout  # noqa: E402
from ltx2core.train.adamw_kernel import adamw  # noqa: E402
from ltx2core.train.dropout import KeyedDropout  # noqa: E402

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
HALF = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
ops.fast = lambda tensor: False  # the plain forms, also on a card
ROWS, SAMPLES, TOKENS = 10, 2, 5


def make(*shape):
    return torch.randn(*shape, device=DEVICE)


def same(name, found, expected, most=1e-5):
    error = ((found - expected).norm() / expected.norm()).item()
    print(name, error)
    assert error <= most, name


def steps_between_products(columns, heads):
    h, mod, index = make(ROWS, columns), make(4, 6, columns), torch.randint(0, 4, (ROWS,), dtype=torch.int32, device=DEVICE)
    ours, plain = (torch.zeros(ROWS, columns + 8, device=DEVICE)[:, :columns] for _ in range(2))
    g, x, weight = make(ROWS, columns + 8)[:, :columns], make(ROWS, 3 * columns)[:, columns : 2 * columns], make(columns)
    angle = make(SAMPLES, heads, TOKENS, columns // heads // 2)
    rope = (angle.cos(), angle.sin())
    errors = {}
    for scale, shift in ((mod[:, 1], mod[:, 0]), (None, None)):
        kernels.norm_modulate(h, scale, shift, index, 1e-6, ours)
        ops.norm_modulate(h, scale, shift, index, 1e-6, plain)
        errors.setdefault("norm_modulate", []).append((ours.clone(), plain.clone()))
        into = make(ROWS, columns)
        also = into.clone()
        kernels.norm_modulate_backward(h, scale, index, 1e-6, g, into, into)
        ops.norm_modulate_backward(h, scale, index, 1e-6, g, also)
        errors.setdefault("norm_modulate_backward", []).append((into, also))
        kernels.norm_modulate_backward(h, scale, index, 1e-6, g, into, ours)
        ops.norm_modulate_backward(h, scale, index, 1e-6, g, also, plain)
        errors["norm_modulate_backward"] += [(ours.clone(), plain.clone()), (into.clone(), also.clone())]
    for turned in (rope, None):
        errors.setdefault("norm_rope", []).append((kernels.norm_rope(x, weight, turned, 1e-6), ops.norm_rope(x, weight, turned, 1e-6)))
        kernels.norm_rope_backward(x, weight, turned, 1e-6, g, ours)
        ops.norm_rope_backward(x, weight, turned, 1e-6, g, plain)
        errors.setdefault("norm_rope_backward", []).append((ours.clone(), plain.clone()))
    y = make(ROWS, columns)
    errors["gated_add"] = [(kernels.gated_add(h, y.clone(), mod[:, 2], index), ops.gated_add(h, y.clone(), mod[:, 2], index))]
    kernels.gated(g, mod[:, 2], index, ours)
    ops.gated(g, mod[:, 2], index, plain)
    errors["gated"] = [(ours.clone(), plain.clone())]
    kernels.copy(x, ours)
    errors["copy"] = [(ours.clone(), x)]
    return errors


def between_products():
    cases = [steps_between_products(columns, heads) for columns, heads in ((96, 3), (128, 4), (2048, 32))]
    for name in cases[0]:
        pairs = [pair for case in cases for pair in case[name]]
        same(name, torch.cat([a.flatten() for a, _ in pairs]), torch.cat([b.flatten() for _, b in pairs]))


def fill(outs, ranks, inner):
    layout = GroupLayout(tuple("abc"[: len(outs)]), outs, inner, ranks)
    adapters = {
        m: Factors(torch.nn.Parameter(make(r, inner)), torch.nn.Parameter(make(o, r)), 0.5 + i)
        for i, (m, o, r) in enumerate(zip(layout.members, outs, ranks, strict=True)) if r
    }  # fmt: skip
    results = []
    for values in (None, torch.randint(-100, 100, (layout.rows, inner), dtype=torch.int8, device=DEVICE)):
        scale, ours = torch.rand(layout.rows, 1, device=DEVICE), make(layout.rows + layout.width, inner + layout.width)
        plain = ours.clone()
        kernels.fill(ours, layout, [adapters.get(m) for m in layout.members], values, scale)
        ops.fill(plain, layout, adapters, values, scale)
        for matrix in (ours, plain):  # the corner is never read
            matrix[layout.rows :, inner:] = 0
        results.append((ours, plain))
    return results


def fills():
    for outs, ranks, inner in (((48, 48, 32), (4, 4, 4), 40), ((48, 32), (3, 5), 64), ((64,), (4,), 48)):
        pairs = fill(outs, ranks, inner)
        same(f"fill {ranks}", torch.cat([a.flatten() for a, _ in pairs]), torch.cat([b.flatten() for _, b in pairs]))


def both(product, ours, plain):
    """``product`` into ``ours`` by the kernels, into ``plain`` without them."""
    choose = dropped._fast
    for fast, target in ((True, ours), (False, plain)):
        dropped._fast = lambda *_, fast=fast: fast
        product(target)
    dropped._fast = choose


def holes(rows, inner, ranks, p):
    """Products of an input with holes; on parts of wider matrices, as they lie in a packed one. On a card in bf16, as they run there."""
    ext, towards, matrix = (make(*shape).to(HALF) for shape in ((rows, inner + 16), (rows, sum(ranks)), (sum(ranks), inner + 16)))
    x, found = ext[:, :inner], []
    drops = [KeyedDropout(p, DEVICE) for _ in ranks]
    for drop in drops:
        drop.key.copy_(torch.randint(-(2**31), 2**31, (4,)))
    starts = [sum(ranks[:i]) for i in range(len(ranks))]
    vs = [towards[:, i : i + r] for i, r in zip(starts, ranks, strict=True)]
    downs = [matrix[i : i + r, :inner] for i, r in zip(starts, ranks, strict=True)]
    for v, down, drop in zip(vs, downs, drops, strict=True):
        ours, plain = (make(rows, down.shape[0] + 8).to(HALF) for _ in range(2))
        both(lambda out, x=x, down=down, drop=drop: dropped.times_down(x, down, drop, out), ours[:, : down.shape[0]], plain[:, : down.shape[0]])
        found.append(("times_down", ours[:, : down.shape[0]], plain[:, : down.shape[0]]))
        ours, plain = (torch.nn.Parameter(torch.empty_like(down)) for _ in range(2))
        ours.grad = make(*down.shape).to(HALF)
        plain.grad = ours.grad.clone()
        both(lambda parameter, v=v, x=x, drop=drop: dropped.add_down_gradient(parameter, v, x, drop), ours, plain)
        found.append(("add_down_gradient", ours.grad, plain.grad))
    plain = make(rows, inner).to(HALF)
    ours = plain.clone()
    both(lambda dx: dropped.add_back(dx, vs, downs, drops), ours, plain)
    return [*found, ("add_back", ours, plain)]


def all_holes():
    cases = [pair for case in ((70, 200, (4, 5, 4), 0.1), (600, 48, (3, 3), 0.5), (10, 136, (40,), 0.99), (40, 136, (128, 200, 3), 0.3)) for pair in holes(*case)]
    for name in dict.fromkeys(n for n, _, _ in cases):
        pairs = [(a, b) for n, a, b in cases if n == name]
        same(f"dropped {name}", torch.cat([a.flatten() for a, _ in pairs]), torch.cat([b.flatten() for _, b in pairs]), 1e-5 if HALF == torch.float32 else 1e-2)


def optimizer():
    """The mean over many draws of the rounding is AdamW's exact update (Loshchilov and Hutter 2019); a draw is one of both neighbours."""
    count, draws, rate = 3000, 100, 1e-2
    value, gradient, mean, square = make(count).bfloat16(), make(count).bfloat16(), (0.1 * make(count)).bfloat16(), (0.1 * make(count).abs()).bfloat16()
    number = lambda x: torch.tensor(x, device=DEVICE)  # noqa: E731
    g = gradient.float() * 0.7
    m, v = mean.float() * 0.9 + g * 0.1, square.float() * 0.999 + g**2 * 0.001
    exact = value.float() * (1 - rate * 0.01) - rate * (m / 0.3) / ((v / 0.02).sqrt() + 1e-8)
    total, worst = torch.zeros(count, device=DEVICE), 0.0
    for _ in range(draws):
        p, z, a, b = value.clone(), gradient.clone(), mean.clone(), square.clone()
        adamw(p, z, a, b, number(0.7), number(rate), (number(0.3), number(0.02)), (0.9, 0.999), 1e-8, 0.01)
        assert not z.any()
        total += p.float()
        worst = max(worst, ((p.float() - exact).abs() / (exact.abs() * 2**-7 + 1e-30)).max().item())
    assert worst <= 1.001, worst
    same("adamw", total / draws, exact, 1e-3)
    before = ((value.float() - exact).norm() / exact.norm()).item()
    print("adamw moved", before)
    assert before > 3e-3  # else the line above would prove nothing


torch.manual_seed(0)
between_products()
fills()
all_holes()
optimizer()

"""docs/scaling.md says what the cost model, the plan and the measured files say."""

import re

from benchmarks import scaling_tables as tables


def test_the_tables_are_those_of_the_code():
    text = tables.DOCUMENT.read_text(encoding="utf-8")
    assert tables.document(text) == text, "run python benchmarks/scaling_tables.py"
    assert sorted(re.findall(r"<!-- table: (\w+) -->", text)) == sorted(tables.TABLES)


def test_a_table_that_is_wrong_is_made_anew():
    found = tables.document("a\n<!-- table: use -->\n| old |\n<!-- end -->\nb")
    assert found == f"a\n<!-- table: use -->\n{tables.use()}\n<!-- end -->\nb"
    assert "| 30 | 0.94 |" in found  # 30 clips on 8 cards: 4 passes each, 32 places


def test_what_the_text_says_in_numbers():
    """Sentences beside the tables, from the same functions."""
    text = " ".join(tables.DOCUMENT.read_text(encoding="utf-8").split())
    assert f"starts from the {tables.measured('bf16_hosted', tables.LONG):.3f} s measured" in text
    assert f"`fsdp2` from the {tables.measured_on_cards('fsdp2', 2):.3f} s measured" in text
    alone, shared = tables.measured_on_cards("ddp", 1), tables.measured_on_cards("fsdp2", 2)
    assert f"For `fsdp2` it is {shared - tables.cost.fsdp_seconds(alone, 37_063_163_904, tables.GRADIENT, tables.cost.Cluster(1, 2, tables.cost.Link(303e9))):.2f} s too low" in text
    assert f"A clip of this shape is {tables.clip_bytes() / 1e6:.0f} MB" in text
    assert f"{tables.GRADIENT / 1e6:.0f} MB of gradients" in text
    blocks, pcie = 37_063_163_904, [2 * tables.cost.all_gather_seconds(37_063_163_904, n, tables.cost.PCIE5) for n in (2, 8)]
    assert blocks == 48 * tables.base_size().block and f"over PCIe 5 in {pcie[0]:.1f} s on two cards and {pcie[1]:.1f} s on eight" in text
    assert f"A state is {6 * tables.TRAINED / 1e9:.1f} GB" in text

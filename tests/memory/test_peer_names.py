"""Other trainers' memory options give the settings that do what they promise."""

import pytest

from ltx2core.errors import LTX2Error
from ltx2core.memory.engine import MemorySettings
from ltx2core.memory.names import BLOCKS, read_memory, streams_text_encoder
from ltx2core.memory.plan import BaseSize, Load, predict

SIZE, LOAD = BaseSize(BLOCKS, 780 * 2**20, 770 * 2**20, 2 * 2**30), Load(2400, 2, 10**8)


def peak(raw):
    return predict(SIZE, LOAD, read_memory(raw)).total


def test_every_way_of_offloading_lowers_the_predicted_peak_in_its_order():
    none, some, most = (peak({"musubi_blocks_to_swap": n}) for n in (0, 8, 45))
    assert none > some > most
    block, leaf = (peak({"enable_group_offload": True, "group_offload_type": t, "group_offload_blocks_per_group": 2}) for t in ("block_level", "leaf_level"))
    assert most > leaf and block > leaf == peak({"ramtorch": True})
    assert peak({"ramtorch": True, "ramtorch_transformer_percent": 50.0}) > peak({"ramtorch": True})
    assert peak({"musubi_blocks_to_swap": 45, "base_model_precision": "int8-torchao"}) < most


def test_streamed_settings_say_where_blocks_lie():
    assert read_memory({"musubi_blocks_to_swap": 45}).streamed == 45
    assert read_memory({"enable_group_offload": True}).streamed == BLOCKS == read_memory({"ramtorch": True}).streamed
    assert read_memory({"base_model_precision": "fp8-torchao"}) == MemorySettings("fp8-torchao")
    assert read_memory({"precision": "int8", "streamed": 3}) == MemorySettings("int8", 3)
    assert read_memory({}) == MemorySettings() == read_memory({"ramtorch_text_encoder": True})
    assert (streams_text_encoder({"ramtorch_text_encoder": True}), streams_text_encoder({})) == (True, None)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"musubi_blocks_to_swap": 60}, "from 0 to 48"), ({"musubi_blocks_to_swap": 3, "musubi_block_swap_device": "disk"}, "set it to cpu"),
        ({"ramtorch": True, "enable_group_offload": True}, "keep one"), ({"ramtorch": True, "slots": 3}, "keep one kind"),
        ({"enable_group_offload": True, "group_offload_type": "tensor"}, "block_level, leaf_level"), ({"ramtorch_text_encoder": "yes"}, "true or false"),
        ({"base_model_precision": "nf4-bnb"}, "int8-torchao"), ({"ramtorh": True}, "streamed"), ({"ramtorch": 1.5}, "ramtorch"),
    ],
)  # fmt: skip
def test_a_bad_option_is_named(raw, words):
    with pytest.raises(LTX2Error, match=words):
        read_memory(raw)

"""How the captions of a dataset are found."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import LTX2Error
from .defaults import Defaults
from .options import Options, as_data, unknown

_SEPARATORS = {"comma": ",", "space": " ", "period": "."}
_SHUFFLE = {"count": "count", "split_on": "split_on", "position_start": "keep_first", "include_original": "include_original"}


def read_captions(options: Options, defaults: Defaults, spec: dict) -> None:
    strategy = options.text("caption_strategy", defaults.caption_strategy)
    prompt = options.text("instance_prompt", defaults.instance_prompt)
    if options.flag("only_instance_prompt", defaults.only_prompt):
        strategy = "instanceprompt"
    elif options.flag("prepend_instance_prompt", defaults.prepend):
        spec["trigger"] = prompt
    if strategy == "instanceprompt":
        spec["instance_prompt"] = prompt
    table = options.read("parquet", as_data) or {}
    spec["caption_strategy"] = "jsonl" if strategy == "parquet" and str(table.get("path", "")).endswith((".jsonl", ".json")) else strategy
    if strategy not in ("textfile", "filename", "instanceprompt", "parquet", "csv"):
        raise LTX2Error(f"{options.source}: caption_strategy is {strategy!r}; this pack reads textfile, filename, instanceprompt, parquet and csv.")
    options.honoured("caption_strategy", "dataset.caption_strategy")
    for key, where in (("instance_prompt", "trigger" if "trigger" in spec else "instance_prompt"), ("prepend_instance_prompt", "trigger"), ("only_instance_prompt", "caption_strategy")):
        options.mapped(key, f"dataset.{where}", "the trigger stands in front of every caption" if where == "trigger" else "one caption for all clips")
    if strategy == "textfile":
        spec["caption_lines"] = "whole" if options.flag("disable_multiline_split", not defaults.multiline) else "each"
    options.mapped("disable_multiline_split", "dataset.caption_lines", "whole files, or a sample of each line")
    options.honoured("csv_caption_column", "dataset.table_caption_column")
    options.honoured("csv_file", "dataset.caption_table")
    for key, name in (("csv_caption_column", "table_caption_column"), ("csv_file", "caption_table")):
        if options.text(key):
            spec[name] = options.text(key)
    _shuffle(options, spec)


def _shuffle(options: Options, spec: dict) -> None:
    raw = options.read("caption_shuffle", as_data)
    known = ("enable", "seed", *_SHUFFLE)
    for key in raw if isinstance(raw, Mapping) else ():
        if key not in known:
            raise unknown(f"{options.source}.caption_shuffle", key, known)
    if isinstance(raw, Mapping) and raw.get("enable"):
        shuffle = {ours: raw[theirs] for theirs, ours in _SHUFFLE.items() if theirs in raw}
        if "split_on" in shuffle:
            shuffle["split_on"] = _SEPARATORS.get(shuffle["split_on"], shuffle["split_on"])
        spec["caption_shuffle"] = shuffle
        if raw.get("seed") is not None:
            spec["seed"] = int(raw["seed"])
        options.honoured("caption_shuffle", "dataset.caption_shuffle")
    options.idle("caption_shuffle", "it is off")

"""The tables of figures in docs/datasets.md, from the measurements: python benchmarks/dataset_tables.py"""

from __future__ import annotations

import json
from pathlib import Path

HERE = Path(__file__).resolve().parent
GUIDE = HERE.parent / "docs" / "datasets.md"
BEGIN, END = "<!-- {0}: made by benchmarks/dataset_tables.py -->", "<!-- end of {0} -->"


def _seconds(found: dict[str, float]) -> str:
    return f"{found['seconds']:.2f} s ({found['processor']:.2f} s)"


def figures() -> list[str]:
    found = json.loads((HERE / "results" / "dataset_cpu.json").read_text(encoding="utf-8"))
    scan, opening = found["scan"], found["open"]
    lines = [
        f"Measured on {found['machine']} (benchmarks/dataset.py; load average {found['load_before'][0]:g} before, {found['load_after'][0]:g} after):", "",
        "| what | on the clock (of the processor) | goal |", "|---|---|---|",
        f"| first scan of {scan['clips']:,} clips | {_seconds(scan['first'])} | 60 s |", f"| second scan | {_seconds(scan['again'])} | 3 s |",
        f"| a scanned clip in memory, its caption of {scan['caption_letters']} letters included | {scan['bytes_a_clip']} bytes | 1 KiB |",
        f"| opening a cache of {opening['clips']:,} clips for training | {_seconds(opening['opened'])} | 1 s |", f"| a cached clip in memory | {opening['bytes_a_clip']} bytes | 1 KiB |",
    ]  # fmt: skip
    for load in found["load"]:
        where = "from the disk each time" if load["cold"] else "as the system keeps it"
        lines.append(f"| share of a step of {load['step_seconds']:g} s ({load['shape']}) that waits for data, read {where} | {load['data_wait']:.2%} | 2 % |")
    return lines


def vae() -> list[str]:
    found = json.loads((HERE / "vae_memory.json").read_text(encoding="utf-8"))
    lines = ["| clips x frames, size | setting | encode, GiB at most | largest deviation |", "|---|---|---|---|"]
    for row in found["rows"]:
        if row["what"] == "encode" and row["dtype"] == "bfloat16":
            lines.append(f"| {row['clips']} x {row['frames']}, {row['size']} | {row['setting']} | {row['peak_gib']:.2f} | {row['largest']:.3f} |")
    return lines


TABLES = {"figures": figures, "vae": vae}


def with_tables(text: str) -> str:
    for name, make in TABLES.items():
        begin, end = BEGIN.format(name), END.format(name)
        head, rest = text.split(begin)
        text = "\n".join([head + begin, *make(), end]) + rest.split(end)[1]
    return text


if __name__ == "__main__":
    GUIDE.write_text(with_tables(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")

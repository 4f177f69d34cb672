"""The README's hardware table, from benchmarks/results/*.json: python benchmarks/table.py"""

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def rows() -> list[str]:
    lines = ["| card | profile | batch x frames x height x width | seconds a step | times faster than diffusers + peft | peak GiB reserved (allocated) |", "|---|---|---|---|---|---|"]
    for path in sorted(RESULTS.glob("train_step*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        for r in record["rows"]:
            profile = r["profile"] if r.get("case", "whole") in ("whole", "sound") else f"{r['profile']}, {r['case']}"
            lines.append(
                f"| {record['machine']} | {profile} | {r['shape']} | {r['seconds']:.3f} | {r.get('ratio_to_plain', '')} "
                f"| {r['peak_reserved_gib']:.1f} ({r['peak_allocated_gib']:.1f}) |"
            )
    return lines


if __name__ == "__main__":
    print("\n".join(rows()))

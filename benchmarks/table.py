"""The README's hardware table, from benchmarks/results/*.json: python benchmarks/table.py"""

import json
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def _told(row: dict | None) -> tuple[str, str]:
    """(seconds and how many times faster than diffusers with peft, GiB)."""
    if row is None:
        return "", ""
    faster = f" ({row['ratio_to_plain']:.1f}x)" if row.get("ratio_to_plain", 1.0) != 1.0 else ""
    return f"{row['seconds']:.3f} s{faster}", f"{row['peak_reserved_gib']:.1f} ({row['peak_allocated_gib']:.1f})"


def rows() -> list[str]:
    """A line for each profile; the last column is of the shapes in their order."""
    lines = []
    for path in sorted(RESULTS.glob("train_step*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        shapes = list(dict.fromkeys(r["shape"] for r in record["rows"]))
        found: dict[str, dict[str, dict]] = {}
        for r in record["rows"]:
            profile = r["profile"] if r.get("case", "whole") in ("whole", "sound") else f"{r['profile']}, {r['case']}"
            found.setdefault(profile, {})[r["shape"]] = r
        lines += [f"| {record['machine']} | {' | '.join(shapes)} | GiB reserved (allocated) |", "|---" * (len(shapes) + 2) + "|"]
        for profile, of in found.items():
            told = [_told(of.get(shape)) for shape in shapes]
            lines.append(f"| {profile} | {' | '.join(seconds for seconds, _ in told)} | {' / '.join(gib for _, gib in told if gib)} |")
    return lines


if __name__ == "__main__":
    print("\n".join(rows()))

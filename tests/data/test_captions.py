"""Where captions come from, and what is said when they do not."""

import csv
import json

import pytest
from PIL import Image

from ltx2core.data.captions import shuffled, write_textfile
from ltx2core.data.scan import scan
from ltx2core.data.spec import CaptionShuffle, DatasetSpec
from ltx2core.errors import LTX2Error


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "in/c"):
        Image.new("RGB", (96, 64)).save(tmp_path / f"{name}.png")
    return tmp_path


def captions(folder, **values):
    index = scan(DatasetSpec.from_dict({"folder": str(folder), "width": 96, "height": 64, "recursive": True, **values}))
    return [c.caption for c in index.clips], " ".join(index.messages)


def test_lines_are_one_caption_or_one_each(folder):
    (folder / "a.txt").write_text("A dog runs.\r\n\r\n  The camera   pans.\n", encoding="utf-8")
    (folder / "b.txt").write_bytes("Ein Hund läuft.".encode("utf-16"))
    (folder / "in" / "c.txt").write_text("\ufeffनमस्ते 👨‍👩‍👧 \x00 می‌خواهم", encoding="utf-8")
    assert captions(folder)[0] == ["A dog runs. The camera pans.", "Ein Hund läuft.", "नमस्ते 👨‍👩‍👧 می‌خواهم"]
    assert captions(folder, caption_lines="each", trigger="sks")[0][:3] == ["sks A dog runs.", "sks The camera pans.", "sks Ein Hund läuft."]


def test_unusable_caption_files_are_named(folder):
    (folder / "a.txt").write_bytes(b"\xff\xff\x00 latin \xe9")
    (folder / "b.txt").write_text("x" * 2_000_000, encoding="utf-8")
    (folder / "in" / "c.txt").write_text("Good.", encoding="utf-8")
    found, said = captions(folder)
    assert found == ["Good."] and "a.txt that is not UTF-8" in said and "b.txt of more than a megabyte" in said


def test_written_captions_are_read(folder):
    write_textfile(folder, "a.png", " Ein Hund\nläuft. ")
    assert captions(folder)[0] == ["Ein Hund läuft."] and [p.name for p in folder.glob("*.txt")] == ["a.txt"]
    with pytest.raises(LTX2Error, match="The caption for a.png is empty"):
        write_textfile(folder, "a.png", " \n")
    write_textfile(folder, "a.png", "Another.")
    assert captions(folder)[0] == ["Ein Hund läuft."], "it may have been corrected by hand"
    write_textfile(folder, "a.png", "Another.", overwrite=True)
    assert captions(folder)[0] == ["Another."]


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "in/../../out.png", "", " ", "x" * 300 + ".png", "a\0.png"])
def test_captions_are_written_nowhere_else(tmp_path, name):
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(LTX2Error):
        write_textfile(target, name, "x")
    assert not list(tmp_path.rglob("*.txt"))


def test_captions_of_another_folder(folder, tmp_path):
    """Beside the clips lie none; the tree of the other folder is the clips' own."""
    target = tmp_path / "captions"
    target.mkdir()
    for name, text in (("b.png", "Two dogs."), ("in/c.png", "Three dogs.")):
        write_textfile(target, name, text)
    found, said = captions(folder, caption_folder=str(target))
    assert found == ["Two dogs.", "Three dogs."] and f"write one into a.txt in {target}" in said


ROWS = [{"file_name": "a.png", "text": "first"}, {"file_name": "b", "text": "second; with more"}, {"file_name": "in/c.png", "text": "third"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv(folder, delimiter):
    with (folder / "metadata.csv").open("w", encoding="utf-8-sig", newline="") as file:
        table = csv.DictWriter(file, ["file_name", "text"], delimiter=delimiter)
        table.writeheader()
        table.writerows(ROWS)
    assert captions(folder, caption_strategy="csv")[0] == ["first", "second; with more", "third"]


def test_jsonl_with_lists_fallbacks_and_missing_rows(folder):
    rows = [{"path": "./a.png", "mine": ["one", "two", ""], "other": "x"}, {"path": "in\\c.png", "mine": None, "other": "spare"}]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    common = {"caption_strategy": "jsonl", "table_caption_column": "mine"}
    found, said = captions(folder, **common, table_fallback_column="other")
    assert found == ["one", "two", "spare"] and "b.png is left out: it has no row in the caption table rows.jsonl" in said
    assert "c.png is left out: it has an empty caption in rows.jsonl" in captions(folder, **common)[1]
    with pytest.raises(LTX2Error, match="no column 'mime' .table_caption_column.; did you mean 'mine'"):
        captions(folder, caption_strategy="jsonl", table_caption_column="mime")
    with pytest.raises(LTX2Error, match="none of the columns caption, text"):
        captions(folder, caption_strategy="jsonl")
    (folder / "rows.jsonl").write_text('{"path": "a.png", "caption": "x"}\n{broken', encoding="utf-8")
    with pytest.raises(LTX2Error, match="Line 2 of rows.jsonl is no JSON"):
        captions(folder, caption_strategy="jsonl")


def test_tables_that_are_not_there(folder):
    with pytest.raises(LTX2Error, match="holds no .csv file; name the caption table"):
        captions(folder, caption_strategy="csv")
    for name in ("one.csv", "two.csv"):
        (folder / name).write_text("file,caption\na,first\n", encoding="utf-8")
    with pytest.raises(LTX2Error, match="holds 2 .csv files"):
        captions(folder, caption_strategy="csv")
    assert captions(folder, caption_strategy="csv", caption_table="two.csv")[0] == ["first"]
    (folder / "two.csv").write_text("file,caption\n", encoding="utf-8")
    with pytest.raises(LTX2Error, match="has no rows"):
        captions(folder, caption_strategy="csv", caption_table="two.csv")


def test_parquet(folder):
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        (folder / "rows.parquet").write_bytes(b"")
        with pytest.raises(LTX2Error, match="pip install pyarrow"):
            captions(folder, caption_strategy="parquet")
        return
    parquet.write_table(pyarrow.Table.from_pylist([{"filename": "a.png", "caption": ["one", "two"]}, {"filename": "b.png", "caption": ["three"]}]), folder / "rows.parquet")
    assert captions(folder, caption_strategy="parquet")[0] == ["one", "two", "three"]
    (folder / "rows.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(LTX2Error, match="cannot be read as parquet"):
        captions(folder, caption_strategy="parquet")


def test_shuffles_keep_the_front_and_every_part():
    caption, settings = "sks, red, round, fast, loud", CaptionShuffle(count=5, keep_first=2)
    orders = shuffled(caption, settings, 3, "a.png")
    assert orders[0] == caption and len(orders) == len(set(orders)) and 2 <= len(orders) <= 6
    assert all(sorted(o.split(", ")) == sorted(caption.split(", ")) and o.startswith("sks, red, ") for o in orders)
    assert orders == shuffled(caption, settings, 3, "a.png") != shuffled(caption, settings, 4, "a.png")
    assert shuffled("alone", settings, 0, "") == ("alone",)
    assert len(shuffled(caption, CaptionShuffle(include_original=False), 0, "x")) == 1


def test_shuffled_samples_share_their_clip(folder):
    for name in ("a", "b", "in/c"):
        (folder / f"{name}.txt").write_text("red, green, blue, black", encoding="utf-8")
    found, _ = captions(folder, caption_shuffle={"count": 2, "split_on": ","})
    assert len(found) > 3 and {tuple(sorted(c.split(", "))) for c in found} == {("black", "blue", "green", "red")}

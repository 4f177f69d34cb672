"""Cells, their recipes, resuming, and the grid, read back from the written files."""

import csv
import json
import os
import shutil
import struct
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from ltx2core.errors import LTX2Error
from ltx2core.media.audio import decode_audio
from ltx2core.media.probe import probe
from ltx2core.media.video import decode_video
from ltx2core.protocols import Interrupted
from ltx2core.sample.decode import decode
from ltx2core.sample.grid import GridRow, background, plan_layout, write_grids
from ltx2core.sample.modes import text_to_video
from ltx2core.sample.plan import BASE, Column, Plan, columns_of, library_rows, slug
from ltx2core.sample.prompts import EncodedPrompts, from_features
from ltx2core.sample.recipe import read_recipe, read_tags
from ltx2core.sample.reference import CachedReference, Reference
from ltx2core.sample.scores import load_picture_model
from ltx2core.sample.settings import SampleSettings
from ltx2core.sample.validate import validate

GRAPH = {"prompt": json.dumps({"1": {"class_type": "LTX2Validate", "inputs": {"name": "Grüße"}}}), "workflow": json.dumps({"nodes": [], "version": 0.4})}


@pytest.fixture(scope="module")
def plan(features, make_adapter, settings):
    prompts = EncodedPrompts(tuple(from_features(n, features(i), f"text of {n}") for i, n in enumerate(("sea", "face/old"))), from_features("negative", features(9)))
    return Plan(library_rows(prompts, settings), (Column("mine", ((make_adapter(), 1.0),)),), (3, 5), prompts.negative)


@pytest.fixture(scope="module")
def made(plan, tiny_models, new_services, tmp_path_factory):
    """(result, events): the whole plan made once, with scores and a graph; only to be looked at."""
    services = new_services()
    result = validate(tiny_models, plan, tmp_path_factory.mktemp("made"), tags=GRAPH, scores=True, **services)
    return result, services["reporter"].events


@pytest.fixture
def copied(made, tmp_path):
    """The same files, in a folder of the test's own."""
    return shutil.copytree(made[0].folder, tmp_path / "copied")


def host_reader(path):
    """prompt and workflow as the host's page reads them from a dropped mp4: the first 2 MiB, moov/udta/meta, keys, ilst/data."""
    data = path.read_bytes()[: 2 * 1024 * 1024]

    def boxes(start, end):
        while start + 8 <= end:
            size, kind = struct.unpack(">I4s", data[start : start + 8])
            if size < 8 or start + size > end:
                return
            yield kind, start + 8, start + size
            start += size

    def box(kind, start, end):
        return next((s, e) for k, s, e in boxes(start, end) if k == kind)

    start, end = box(b"meta", *box(b"udta", *box(b"moov", 0, len(data))))
    keys_start, keys_end = box(b"keys", start + 4, end)
    names = [data[s:e].decode() for _, s, e in boxes(keys_start + 8, keys_end)]
    found = {}
    for index, s, e in boxes(*box(b"ilst", start + 4, end)):
        value, value_end = box(b"data", s, e)
        found[names[int.from_bytes(index, "big") - 1]] = data[value + 8 : value_end].decode()
    return {k: json.loads(found[k]) for k in ("prompt", "workflow")}


def test_every_cell_is_a_file_with_its_recipe_and_graph(made):
    result = made[0]
    assert len(result.files) == result.made == 2 * 2 * 2 and len(set(result.files)) == 8
    for cell, path in zip(result.cells, result.files, strict=True):
        recipe = read_recipe(path)
        assert recipe["key"] == cell.recipe.key and recipe["settings"]["seed"] == cell.seed and recipe["prompt"].startswith("text of")
        assert [a["name"] for a in recipe["adapters"]] == ([] if cell.column == BASE else ["a"])
        assert host_reader(path) == {k: json.loads(v) for k, v in GRAPH.items()}
        assert probe(path).has_audio and (probe(path).width, probe(path).frames) == (96, 9)
    assert host_reader(result.grids[0])["prompt"]["1"]["class_type"] == "LTX2Validate"
    assert json.loads(read_tags(result.grids[0])["ltx2_recipes"]) == {path.name: read_recipe(path) for path in result.files}


def test_a_cell_is_what_sampling_alone_gives(plan, tiny_models, services, made, settings):
    result = made[0]
    position = next(i for i, c in enumerate(result.cells) if (c.row, c.column, c.seed) == (1, "mine", 5))
    models = tiny_models.with_adapters(*plan.columns[0].adapters)
    latents = text_to_video(models, replace(settings, seed=5), plan.rows[1].prompt.features(), plan.negative.features(), **services)
    clip = decode(latents, tiny_models, residency=services["residency"])[0]
    # The tiny decoder shows coloured noise, of which H.264 keeps the brightness.
    brightness = lambda frames: frames.float() @ torch.tensor([0.2126, 0.7152, 0.0722])  # noqa: E731
    shown, base = (brightness(decode_video(result.files[i], frame_rate=25, num_frames=9)) for i in (position, position - 1))
    distance = [torch.nn.functional.mse_loss(brightness(clip.frames), other).item() ** 0.5 for other in (shown, base)]
    assert distance[0] < 10 and distance[1] > 1.5 * distance[0], distance


class DiesAfter:
    """A residency that fails when the transformer is asked for the ``count`` + 1st time, as a machine that goes down."""

    def __init__(self, inner, models, count):
        self.device, self._inner, self._transformer, self._left = inner.device, inner, models.component("transformer"), count

    def use(self, module, working_bytes=0):
        if module is self._transformer:
            if self._left == 0:
                raise ConnectionAbortedError("the machine went down")
            self._left -= 1
        return self._inner.use(module, working_bytes)

    def release(self, module):
        self._inner.release(module)

    def room(self):
        return self._inner.room()


def test_a_run_that_dies_goes_on_at_the_missing_cell(plan, tiny_models, services, tmp_path):
    plan, dying = replace(plan, rows=plan.rows[:1]), {**services, "residency": DiesAfter(services["residency"], tiny_models, 3)}
    with pytest.raises(ConnectionAbortedError):
        validate(tiny_models, plan, tmp_path, **dying)
    first = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.mp4")}
    assert len(first) == 3 and not list(tmp_path.glob(".*"))
    # What a process that is killed leaves; another one may still write the younger.
    for name, age in ((".old.mp4.1234.tmp", 48), (".new.mp4.1234.tmp", 1)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age * 3600,) * 2)
    result = validate(tiny_models, plan, tmp_path, **services)
    assert result.made == 1 and set(first) <= set(result.files) and [p.name for p in tmp_path.glob(".*")] == [".new.mp4.1234.tmp"]
    assert all(p.stat().st_mtime_ns == t for p, t in first.items())
    assert any("3 of 4 cells are there from before" in s for s in services["reporter"].said)
    grid = result.grids[0].stat().st_mtime_ns
    again = validate(tiny_models, plan, tmp_path, **services)
    assert again.made == 0 and again.grids == result.grids and grid == result.grids[0].stat().st_mtime_ns


def test_damaged_and_changed_cells_are_made_again(plan, tiny_models, services, made, copied, make_adapter):
    """A cell that was cut within its pictures still has its header and tags."""
    for file, share in zip(made[0].files[2:4], (0.1, 0.9), strict=True):
        content = file.read_bytes()
        (copied / file.name).write_bytes(content[: round(share * len(content))])
    assert validate(tiny_models, plan, copied, **services).made == 2
    # The same name with other numbers is another adapter; the base beside it stays.
    small = replace(plan, rows=plan.rows[:1], seeds=(3,))
    other = replace(small, columns=(Column("mine", ((make_adapter(seed=1), 1.0),)),))
    assert validate(tiny_models, other, copied, **services).made == 1
    stronger = replace(small, columns=(Column("mine", ((make_adapter(), 0.5),)),))
    assert validate(tiny_models, stronger, copied, **services).made == 1


def test_stop_says_how_far_it_came(plan, tiny_models, services, tmp_path):
    services["stop"].stopped = True
    with pytest.raises(Interrupted, match="0 of 8 cells"):
        validate(tiny_models, plan, tmp_path, **services)


def test_recipes_leave_room_for_the_graph(plan, tiny_models, services, copied, monkeypatch):
    """The host's page looks for the graph in the first 2 MiB."""
    import ltx2core.sample.grid as grid

    monkeypatch.setattr(grid, "_MOST_RECIPES", 3000)
    (copied / "grid.mp4").unlink()
    result = validate(tiny_models, plan, copied, tags=GRAPH, **services)
    assert "ltx2_recipes" not in read_tags(result.grids[0]) and host_reader(result.grids[0]) == {k: json.loads(v) for k, v in GRAPH.items()}


def test_table_and_scores(made):
    result = made[0]
    rows = list(csv.DictReader(result.table.open(encoding="utf-8", newline="")))
    assert [r["column"] for r in rows[:2]] == ["base", "mine"] and rows[1]["adapters"] == "a x1" and len(rows) == 8
    for row in rows:
        frames = decode_video(result.folder / row["file"], frame_rate=25, num_frames=9).double() @ torch.tensor([0.2126, 0.7152, 0.0722]).double()
        assert float(row["motion"]) == pytest.approx(np.abs(np.diff(frames.numpy(), axis=0)).mean() / 255, abs=2e-4)


@pytest.mark.parametrize("content", ["{broken", "[1]", '{"a": 1}'])
def test_damaged_scores_are_measured_again(plan, tiny_models, services, copied, content):
    before = (copied / "cells.csv").read_text(encoding="utf-8")
    (copied / "scores.json").write_text(content, encoding="utf-8")
    assert validate(tiny_models, plan, copied, scores=True, **services).made == 0
    assert (copied / "cells.csv").read_text(encoding="utf-8") == before


def likeness(result):
    return {r["file"].split("__")[1]: r["similarity"] for r in csv.DictReader(result.table.open(encoding="utf-8", newline=""))}


def test_likeness_to_the_reference_follows_model_and_reference(plan, tiny_models, services, tmp_path, picture_models):
    """In the table and the grid; another model or reference is measured anew, though the cells are the same files."""
    draw = torch.Generator().manual_seed(1)
    films = [torch.randint(0, 255, (20, 64, 96, 3), dtype=torch.uint8, generator=draw) for _ in range(2)]
    films[1][:] = films[1][:1, :, :, :1]  # another look
    models = {name: load_picture_model(picture_models / name) for name in ("clip", "dino")}
    one = replace(plan, seeds=(1,), rows=plan.rows[:1])

    def run(film, name):
        rows = tuple(replace(r, reference=Reference(films[film])) for r in one.rows)
        return validate(tiny_models, replace(one, rows=rows), tmp_path, scores=True, picture_model=models[name], **services)

    results = [(likeness(run(film, name)), film, name) for film, name in ((0, "clip"), (1, "clip"), (1, "dino"), (0, "clip"))]
    assert results[0][0] == results[3][0] and len({tuple(sorted(found.items())) for found, *_ in results}) == 3
    for found, film, name in results:
        for column, value in found.items():
            (path,) = tmp_path.glob(f"*__{column}__*.mp4")
            frames = decode_video(path, frame_rate=25, num_frames=9)
            assert float(value) == pytest.approx(models[name].similarity(frames, films[film][:9]), abs=2e-4)


def test_without_scores_nothing_is_measured(plan, tiny_models, services, copied):
    (copied / "scores.json").unlink()
    result = validate(tiny_models, plan, copied, **services)
    assert result.made == 0 and not (copied / "scores.json").exists() and result.table.read_text(encoding="utf-8").splitlines()[0].endswith("file")


def test_notes_stand_under_their_tiles(tmp_path):
    layout, _ = plan_layout((96, 64), 2, 2, notes=True)
    narrow, wide = (plan_layout((1280, 704), n, 2, notes=True)[0] for n in (20, 2))
    assert narrow.note == 2 * wide.note > 0 and plan_layout((96, 64), 2, 2)[0].note == 0
    empty, noted = (np.asarray(background(layout, ["", ""], ["", ""], notes)).astype(int) for notes in ((), (("", ""), ("-23.0 LUFS, motion 0.034, likeness 0.91", ""))))
    inked = np.abs(noted - empty).sum(-1) > 0
    left, top = layout.place(0, 1)
    below = slice(top + layout.tile[1], top + layout.tile[1] + layout.note)
    assert inked[below, left : left + layout.tile[0]].any()
    inked[below, left : left + layout.tile[0]] = False
    assert not inked.any() and layout.height >= layout.place(0, 1)[1] + layout.tile[1] + layout.note


def test_progress_counts_all_cells_and_shows_them(made):
    events = made[1]
    assert {e.stage for e in events} == {"validate"}
    shares = [e.done / e.total for e in events]
    assert shares == sorted(shares) and shares[-1] == 1
    assert sum(e.preview is not None for e in events) == 8 and events[-1].text == "face/old / mine / 5"


def test_grid_shows_each_clip_in_its_place(tmp_path):
    from ltx2core.media.write import write_video

    colours = {(r, c): (60 + 120 * r, 40 + 80 * c, 90) for r in range(2) for c in range(3)}
    files = {}
    for (r, c), colour in colours.items():
        count = 5 if c == 2 else 9
        pictures = torch.tensor(colour, dtype=torch.uint8).expand(count, 64, 96, 3).contiguous()
        files[r, c] = write_video(tmp_path / f"{r}{c}.mp4", pictures, 24.0)
    rows = [GridRow(f"row {r}", tuple(files[r, c] for c in range(3))) for r in range(2)]
    (grid,) = write_grids(tmp_path, ["base", "a", "b"], rows)
    layout, page = plan_layout((96, 64), 3, 2)
    info = probe(grid)
    assert page == 2 and (info.width, info.height, info.frames) == (layout.width, layout.height, 9) and info.frame_rate == 24
    last = decode_video(grid, frame_rate=24, num_frames=9)[-1]
    for (r, c), colour in colours.items():
        x, y = layout.place(c, r)
        middle = last[y + layout.tile[1] // 2, x + layout.tile[0] // 2].tolist()
        assert middle == pytest.approx(colour, abs=8), (r, c)
    empty = np.asarray(background(layout, ["", "", ""], ["", ""])).astype(int)
    labelled = np.asarray(background(layout, ["base", "a", "b"], ["row 0", "row 1"])).astype(int)
    changed = np.abs(labelled - empty).sum(-1) > 0
    for c in range(3):
        x = layout.place(c, 0)[0]
        assert changed[: layout.top, x : x + layout.tile[0]].any()
    assert changed[layout.top :, : layout.left].any() and not changed[layout.top :, layout.left :].any()


def test_clips_of_other_rates_keep_their_speed(tmp_path):
    """Each turns white after half a second; in the grid they do so together, at the first clip's rate."""
    from ltx2core.media.write import write_video

    files = []
    for rate in (24.0, 12.0, 50.0):
        pictures = torch.zeros(round(rate), 64, 96, 3, dtype=torch.uint8)
        pictures[round(rate / 2) :] = 255
        files.append(write_video(tmp_path / f"{rate:g}.mp4", pictures, rate))
    (grid,) = write_grids(tmp_path, ["24", "12", "50"], [GridRow("", tuple(files))])
    info, (layout, _) = probe(grid), plan_layout((96, 64), 3, 1)
    assert (info.frame_rate, info.frames) == (24, 24)
    shown = decode_video(grid, frame_rate=24, num_frames=24)
    for c in range(3):
        x, y = layout.place(c, 0)
        light = shown[:, y + layout.tile[1] // 2, x + layout.tile[0] // 2].float().mean(-1)
        assert (light[:12] < 60).all() and (light[12:] > 190).all(), c


def test_many_columns_and_rows_stay_small_enough_for_players():
    layout, page = plan_layout((1280, 704), 12, 40)
    assert layout.width <= 3842 and layout.height <= 2162 and page < 40 and layout.tile[0] * 704 == pytest.approx(layout.tile[1] * 1280, rel=0.02)


def test_grid_pages_hold_all_rows(tmp_path):
    from ltx2core.media.write import write_video

    file = write_video(tmp_path / "a.mp4", torch.zeros(3, 512, 96, 3, dtype=torch.uint8), 25.0)
    grids = write_grids(tmp_path, ["base"], [GridRow(str(i), (file,)) for i in range(9)])
    pages = [probe(g).height for g in grids]
    assert len(grids) > 1 and [g.name for g in grids][:2] == ["grid.mp4", "grid_2.mp4"] and max(pages) <= 2162


def test_sound_of_the_grid_is_the_first_adapters(made):
    result = made[0]
    heard, wanted = (decode_audio(p, rate=24000).samples[:, 2000:8000] for p in (result.grids[0], result.files[1]))
    assert (heard * wanted).sum() / (heard.norm() * wanted.norm()) > 0.9


def test_columns_of_adapters_and_strengths(make_adapter):
    pairs = [(make_adapter("a"), 1.0), (make_adapter("b"), 0.5), (make_adapter("a", 1), 1.0)]
    assert [c.label for c in columns_of(pairs)] == ["a", "b x0.5", "a (2)"]
    assert [(c.label, c.adapters[0][1]) for c in columns_of(pairs[:1], (0.5, 1.0))] == [("a x0.5", 0.5), ("a x1", 1.0)]


def test_plans_that_cannot_be_made(plan, tiny_models, services, tmp_path, make_adapter):
    with pytest.raises(LTX2Error, match="Two columns are called 'mine'"):
        replace(plan, columns=plan.columns * 2)
    with pytest.raises(LTX2Error, match="nothing to validate"):
        replace(plan, seeds=())
    with pytest.raises(LTX2Error, match="'vp9' is not known"):
        replace(plan, codec="vp9")
    with pytest.raises(LTX2Error, match="strength of the adapter a is nan"):
        replace(plan, columns=columns_of([(make_adapter("a"), 1.0)], (0.5, float("nan"))))
    foreign = replace(make_adapter("new"), family="2.3")
    with pytest.raises(LTX2Error, match="trained for 2.3"):
        validate(tiny_models, replace(plan, columns=(Column("new", ((foreign, 1.0),)),)), tmp_path, **services)
    assert not list(tmp_path.iterdir())


def test_prores_cells(plan, tiny_models, services, tmp_path):
    result = validate(tiny_models, replace(plan, codec="prores", seeds=(1,), rows=plan.rows[:1]), tmp_path, tags=GRAPH, **services)
    assert all(p.suffix == ".mov" and "prompt" in read_tags(p) for p in result.files) and host_reader(result.files[0])


def test_names_of_files_suit_every_system():
    assert slug('a/b\\c:d*?"<>|e ') == "a-b-c-d-e" and slug("...") == "x" and len(slug("w" * 99)) == 40


def test_recipes_do_not_depend_on_names(plan, tiny_models):
    keys = [c.recipe.key for c in plan.cells(tiny_models)]
    renamed = replace(plan, rows=tuple(replace(r, name=f"new {r.name}") for r in plan.rows))
    assert [c.recipe.key for c in renamed.cells(tiny_models)] == keys and len(set(keys)) == 8
    other = replace(plan, rows=tuple(replace(r, settings=SampleSettings(96, 64, 9, 25.0, steps=3)) for r in plan.rows))
    assert not set(keys) & {c.recipe.key for c in other.cells(tiny_models)}


def test_reference_is_shown_to_ic_adapters_only(plan, tiny_models, services, tmp_path, make_adapter):
    ic = replace(make_adapter("edges", 2), metadata={"reference_downscale_factor": "2"})
    frames = torch.randint(0, 255, (9, 64, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    rows = tuple(replace(r, reference=Reference(frames)) for r in plan.rows[:1])
    wide = tuple(replace(r, settings=replace(r.settings, width=128)) for r in rows)
    shown = replace(plan, rows=wide, seeds=(1,), columns=(*plan.columns, Column("edges", ((ic, 1.0),))))
    result = validate(tiny_models, shown, tmp_path, **services)
    given = {c.column: c.recipe.given for c in result.cells}
    assert {k for k, v in given.items() if "reference" in v} == {"edges"}
    assert not any("shown to none" in s for s in services["reporter"].said)
    validate(tiny_models, replace(shown, columns=plan.columns), tmp_path, **services)
    assert sum("no adapter is an IC-LoRA, so they are shown to none" in s for s in services["reporter"].said) == 1
    hidden = replace(shown, rows=tuple(replace(r, reference=None) for r in wide))
    assert not any("edges is an IC-LoRA" in s for s in services["reporter"].said)
    assert validate(tiny_models, hidden, tmp_path, **services).made == 1  # only the IC-LoRA's cell is another one
    assert sum("edges is an IC-LoRA and no reference video is given" in s for s in services["reporter"].said) == 1


def test_references_that_do_not_suit_are_refused_before_anything_is_made(plan, tiny_models, services, tmp_path, make_adapter):
    ic = [replace(make_adapter(f"ic{factor}", 2), metadata={"reference_downscale_factor": factor}) for factor in "12"]
    row = replace(plan.rows[0], settings=replace(plan.rows[0].settings, width=128))
    cases = (
        (Reference(torch.zeros(5, 64, 128, 3, dtype=torch.uint8)), [(ic[1], 1.0)], "5 frames and the clip needs 9"),
        (CachedReference("k", (2, 2, 4), lambda: torch.zeros(128, 2, 2, 4)), [(ic[1], 1.0)], "9 frames of 128x64 and the adapter wants 9 frames of 64x32"),
        (CachedReference("k", (1, 1, 2), lambda: torch.zeros(128, 1, 1, 2)), [(ic[1], 1.0)], "1 frames of 64x32 and the adapter wants 9"),
        (Reference(torch.zeros(9, 64, 128, 3, dtype=torch.uint8)), [(ic[0], 1.0), (ic[1], 1.0)], "of different scales"),
    )
    for reference, adapters, said in cases:
        with pytest.raises(LTX2Error, match=said):
            validate(tiny_models, replace(plan, rows=(replace(row, reference=reference),), columns=(Column("edges", tuple(adapters)),)), tmp_path, **services)
    assert not list(tmp_path.iterdir())

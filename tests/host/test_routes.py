"""A run's losses, previews and buttons over HTTP, and nothing else."""

import http.client
import json
import os
import urllib.parse

import pytest

pytestmark = pytest.mark.host

LEAVING = ["..%2F..%2Fsecret", "charted%2F..%2F..%2F..%2Fsecret", "%2Fetc", "charted%00", "C%3A%5Csecret", "charted%2Fdeep%2F..%5C..%5C..%5Csecret", "."]


@pytest.fixture
def runs(comfy):
    folder = comfy.base / "output" / "ltx2_runs" / "charted" / "deep"
    (folder / "previews").mkdir(parents=True, exist_ok=True)
    rows = [{"event": "step", "step": i, "video": 1.0 / i, "audio": None} for i in range(1, 5001)]
    rows.insert(2500, {"event": "validation", "step": 2500, "video": 0.5, "audio": None})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows) + '{"event": "st', encoding="utf-8")
    for name in ("step-000250-hat.mp4", "step-000500-hat.mp4", "grid.png"):
        (folder / "previews" / name).write_bytes(b"a preview")
    (folder / "previews" / "notes.txt").write_bytes(b"private")
    (folder / "state-00000500.safetensors").write_bytes(b"private")
    secret = comfy.base / "secret"
    (secret / "previews").mkdir(parents=True, exist_ok=True)
    (secret / "metrics.jsonl").write_text('{"event": "step", "step": 1, "video": 1}\n', encoding="utf-8")
    (secret / "previews" / "step-000001-a.mp4").write_bytes(b"private")
    return folder.parent.parent


def ask(comfy, method, path, **headers):
    """(status, headers, body); the path goes out as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", comfy.port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, dict(answer.getheaders()), body


def metrics(comfy, name):
    """What can be told of a run; a name that the server itself turns away tells nothing either."""
    status, _, body = ask(comfy, "GET", f"/ltx2/runs/{name}/metrics")
    return json.loads(body) if status == 200 else EMPTY


EMPTY = {"steps": [], "validation": [], "previews": [], "live": None}


def test_steps_are_thinned_and_validations_kept(comfy, runs):
    found = comfy.get("/ltx2/runs/charted/deep/metrics")
    assert 1000 < len(found["steps"]) <= 2000 and found["steps"][0]["step"] == 1 and len(found["validation"]) == 1


def test_previews_are_listed_in_the_order_of_their_steps(comfy, runs):
    found = comfy.get("/ltx2/runs/charted/deep/metrics")["previews"]
    assert [(p["file"], p["step"], p["name"]) for p in found] == [
        ("grid.png", None, "grid"), ("step-000250-hat.mp4", 250, "hat"), ("step-000500-hat.mp4", 500, "hat"),
    ]  # fmt: skip


def test_unknown_runs_are_empty(comfy, runs):
    assert comfy.get("/ltx2/runs/absent/metrics") == EMPTY


@pytest.mark.parametrize("name", LEAVING)
def test_names_cannot_leave_the_folder(comfy, runs, name):
    assert metrics(comfy, name) == EMPTY
    assert ask(comfy, "GET", f"/ltx2/runs/{name}/previews/step-000001-a.mp4")[0] in (400, 404)


@pytest.mark.skipif(os.name == "nt", reason="links need a right on Windows")
def test_links_are_not_followed_out(comfy, runs):
    for link, target in [
        (runs / "linked", comfy.base / "secret"),
        (runs / "charted" / "deep" / "previews" / "step-000900-out.mp4", comfy.base / "secret" / "previews" / "step-000001-a.mp4"),
        (runs / "charted" / "deep" / "previews" / "step-000901-state.mp4", runs / "charted" / "deep" / "loop"),
    ]:
        if not link.is_symlink():
            link.symlink_to(target, target_is_directory=target.is_dir())
    assert metrics(comfy, "linked") == EMPTY
    assert ask(comfy, "GET", "/ltx2/runs/linked/previews/step-000001-a.mp4")[0] == 404
    assert ask(comfy, "GET", "/ltx2/runs/charted/deep/previews/step-000900-out.mp4")[0] == 404
    assert all("out" not in p["file"] and "state" not in p["file"] for p in metrics(comfy, "charted/deep")["previews"])


def test_a_preview_is_served_with_its_type(comfy, runs):
    status, headers, body = ask(comfy, "GET", "/ltx2/runs/charted/deep/previews/step-000500-hat.mp4")
    assert (status, headers["Content-Type"], headers["X-Content-Type-Options"], body) == (200, "video/mp4", "nosniff", b"a preview")
    status, _, body = ask(comfy, "GET", "/ltx2/runs/charted/deep/previews/step-000500-hat.mp4", Range="bytes=2-8")
    assert (status, body) == (206, b"preview")


@pytest.mark.parametrize("file", ["notes.txt", "..%2Fstate-00000500.safetensors", "..%2Fmetrics.jsonl", "..", "absent.mp4", "..%2F..%2F..%2F..%2Fsecret%2Fpreviews%2Fstep-000001-a.mp4"])
def test_nothing_but_previews_is_served(comfy, runs, file):
    status, _, body = ask(comfy, "GET", f"/ltx2/runs/charted/deep/previews/{file}")
    assert status == 404 or b"private" not in body and b"step" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["metrics", "previews/step-000500-hat.mp4"])
def test_reading_routes_only_read(comfy, runs, method, path):
    assert ask(comfy, method, f"/ltx2/runs/charted/deep/{path}")[0] in (404, 405)
    assert (runs / "charted" / "deep" / "previews" / "step-000500-hat.mp4").read_bytes() == b"a preview"


@pytest.mark.parametrize("action", ["pause", "resume", "save", "stop"])
def test_buttons_act_on_runs_in_training_alone(comfy, runs, action):
    assert ask(comfy, "POST", f"/ltx2/runs/charted/deep/{action}")[0] == 404
    assert ask(comfy, "GET", f"/ltx2/runs/charted/deep/{action}")[0] in (404, 405)


def test_there_are_no_other_buttons(comfy, runs):
    assert ask(comfy, "POST", "/ltx2/runs/charted/deep/delete")[0] in (404, 405)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://example.com"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "none"}],
    ids=lambda h: urllib.parse.quote(next(iter(h.values())), safe=""),
)
def test_other_pages_cannot_press_buttons(comfy, runs, headers):
    assert ask(comfy, "POST", "/ltx2/runs/charted/deep/pause", **headers)[0] == 403

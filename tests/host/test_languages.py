"""What the core says arrives in the language of the host's settings: errors, reports on wires; pages are given every language."""

import json

import pytest
from comfy_host import HostError

pytestmark = pytest.mark.host
SIZE = {"width": 96, "height": 64, "frames": 9, "frame_rate": 25.0, "instance_prompt": "", "trigger": "", "repeats": 0, "audio": True, "bucket_strategy": "aspect_ratio",
        "min_frames": 9, "recursive": False}  # fmt: skip


@pytest.fixture(params=["ja", "zh"])
def language(request, comfy):
    comfy.post("/settings/Comfy.Locale", request.param)
    yield request.param
    comfy.post("/settings/Comfy.Locale", "en")


@pytest.fixture(scope="module")
def one_empty(comfy):
    """A folder with a usable clip and one whose caption is empty."""
    folder = comfy.base / "input" / "one_empty"
    folder.mkdir()
    for i, caption in enumerate(["A red circle moves right, with a low tone.", ""]):
        (folder / f"{i}.mp4").write_bytes((comfy.base / "input" / "ltx2_clips" / "clip_000.mp4").read_bytes())
        (folder / f"{i}.txt").write_text(caption, encoding="utf-8")
    return folder.name


def graph(folder, strategy="textfile"):
    return {
        "data": {"class_type": "LTX2VideoDataset", "inputs": {"folder": folder, "caption_strategy": strategy, **SIZE}},
        "check": {"class_type": "LTX2Preflight", "inputs": {"dataset": ["data", 0], "on_error": "go on"}},
        "report": {"class_type": "PreviewAny", "inputs": {"source": ["data", 1]}},
    }


def test_an_error_is_said_in_the_hosts_language(comfy, language):
    expected = {"ja": "フォルダー {0} がありません。クリップのあるフォルダーを指定してください。", "zh": "没有文件夹 {0}；请给出存放片段的文件夹。"}
    nowhere = str(comfy.base / "input" / "nowhere {0} 12")
    with pytest.raises(HostError) as found:
        comfy.run(graph(nowhere))
    assert str(found.value).endswith("LTX2VideoDataset: " + expected[language].replace("{0}", nowhere, 1))


def test_an_error_of_a_node_without_services_too(comfy, language):
    expected = {"ja": "dropout を 0 にするか", "zh": "请把 dropout 设为 0"}
    prompt = {"settings": {"class_type": "LTX2LoRASettings", "inputs": {"rank": 2, "alpha": 2.0, "dropout": 0.5, "targets": "auto", "patterns": "", "kind": "lokr"}}}
    prompt["check"] = {"class_type": "PreviewAny", "inputs": {"source": ["settings", 0]}}
    with pytest.raises(HostError) as found:
        comfy.run(prompt)
    assert expected[language] in str(found.value)


def test_reports_and_findings(comfy, language, one_empty):
    prompt = graph(one_empty)
    prompt["data"]["inputs"]["trigger"] = language  # the host keeps what a node has said before
    outputs = comfy.run(prompt)
    report = {"ja": "1.mp4 は除外されます: キャプションファイル 1.txt が空です。そこにクリップの説明を書いてください。", "zh": "1.mp4 被排除：字幕文件 1.txt 是空的；请在其中描述片段。"}
    assert report[language] in outputs["report"]["text"][0].splitlines()
    findings = outputs["check"]["findings"]
    (lost,) = [f for f in findings if "left out" in f["text"]]
    assert lost["advice"] == "Describe the clip there." and lost["text"].startswith("1 file of one_empty is left out")
    # Pages choose for themselves, so both are there whatever the setting is.
    assert lost["said"]["ja"]["advice"] == "そこにクリップの説明を書いてください。" and lost["said"]["zh"]["advice"] == "请在其中描述片段。"
    assert lost["said"][language]["text"] in outputs["check"]["text"][0]
    (dropped,) = outputs["data"]["ltx2_dataset"][0]["dropped"]
    assert dropped["reason"].startswith("has an empty caption file") and dropped["said"]["zh"]["reason"] == "字幕文件 1.txt 是空的；请在其中描述片段"
    assert all(f["said"].keys() == {"ja", "zh"} for f in findings)


def test_the_report_of_an_import(comfy, language):
    """Names and values stay; what is said of them is told, the same on the wire and on the canvas."""
    folder = comfy.base / "input" / f"imported_{language}"
    (folder / "clips").mkdir(parents=True)
    (folder / "clips" / "a red circle.mp4").write_bytes((comfy.base / "input" / "ltx2_clips" / "clip_000.mp4").read_bytes())
    config = {"max_train_steps": 5, "twinflow_enabled": True, "use_ema": False, "validation_prompt": "Train more steps.", "data_backend_config": "data.json"}
    data = [{"id": "cats and dogs", "type": "local", "dataset_type": "video", "instance_data_dir": "clips", "caption_strategy": "filename", "resolution": 96, "video": {"num_frames": 9}}]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    outputs = comfy.run({
        "import": {"class_type": "LTX2ImportSimpleTuner", "inputs": {"config": f"{folder.name}/config.json", "datasets": "", "which": 1, "root": ""}},
        "report": {"class_type": "PreviewAny", "inputs": {"source": ["import", 1]}},
    })  # fmt: skip
    (shown,) = outputs["import"]["text"]
    assert outputs["report"]["text"] == [shown]
    lines = shown.splitlines()
    expected = {
        "ja": ["  twinflow_enabled = True (失われます): この手法はこのパックにありません", "データセット cats and dogs、そのまま守るもの:", "  1 cats and dogs: このクリップで学習します"],
        "zh": ["  twinflow_enabled = True （会丢失）: 本包没有此方法", "数据集 cats and dogs，照做的：", "  1 cats and dogs: 其片段用于训练"],
    }
    assert set(expected[language]) <= set(lines) and "  validation_prompt = 'Train more steps.' -> samples.prompt" in lines


def test_english_stays_where_it_is_chosen_and_where_nothing_is_known(comfy):
    comfy.post("/settings/Comfy.Locale", "fr")
    with pytest.raises(HostError, match="There is no folder .*; give the folder that holds the clips."):
        comfy.run(graph("nowhere at all"))
    comfy.post("/settings/Comfy.Locale", "en")
    with pytest.raises(HostError, match="There is no folder .*; give the folder that holds the clips."):
        comfy.run(graph("nowhere again"))


def test_messages_come_in_every_language(comfy, one_empty):
    prompt = graph(one_empty)
    prompt["data"]["inputs"]["trigger"] = "anew"  # not what is cached from before
    with comfy.events() as events:
        sent = list(events.until_end(comfy.submit(prompt)))
    assert any(data["said"]["ja"]["text"].startswith("1.mp4 は除外されます") for event, data in sent if event == "ltx2.message")

"""Pages in different languages show what the core says, each in its own, where the host has none chosen."""

import pytest

pytestmark = pytest.mark.host
SIZE = {"width": 96, "height": 64, "frames": 9, "frame_rate": 25.0}
PROMPT = {
    "1": {"class_type": "LTX2VideoDataset", "inputs": {"folder": "ltx2_clips", "caption_strategy": "textfile", **SIZE}},
    "2": {"class_type": "LTX2Preflight", "inputs": {"dataset": ["1", 0], "on_error": "go on"}},
}


@pytest.fixture(scope="module")
def seen(comfy, visit):
    return visit("languages.mjs", url=comfy.url, prompt=PROMPT, broken={"folder": "nowhere"}, locales=["ja-JP", "zh-CN", "en-US"])


@pytest.mark.parametrize(
    "locale, lost, advice, error",
    [
        ("ja-JP", "unreadable.mp4 (読めません", "エンコードし直すか、フォルダーから除いてください。", "クリップのあるフォルダーを指定してください。"),
        ("zh-CN", "unreadable.mp4（无法读取", "请重新编码，或把它移出文件夹。", "请给出存放片段的文件夹。"),
        ("en-US", "unreadable.mp4 (cannot be read", "Re-encode it, or take it out of the folder.", "give the folder that holds the clips."),
    ],
)
def test_each_page_reads_its_own_language(seen, locale, lost, advice, error):
    page = seen[locale]
    assert not page["complaints"]
    assert any(lost in text and advice in text for text in page["findings"]), page["findings"]
    assert "unreadable.mp4" in page["dropped"] and advice.lower() in page["dropped"].lower()
    assert error in page["error"]

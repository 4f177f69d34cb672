"""Ten thousand clips: how long a scan and the opening of a cache take, and what memory holds of each clip. benchmarks/dataset.py measures the same."""

from benchmarks.dataset import measure_open, measure_scan

CLIP = 1024  # bytes that memory may hold of one


def seconds(measured):
    """Of the processor, where other programs do not count; two cores may share it."""
    return min(measured["seconds"], measured["processor"])


def test_a_cache_of_ten_thousand_clips_is_opened_in_a_second(tmp_path):
    found = measure_open(tmp_path, 10_000)
    assert seconds(found["opened"]) <= 1 and found["bytes_a_clip"] <= CLIP


def test_ten_thousand_clips_are_scanned_in_a_minute_and_again_in_three_seconds(tmp_path, request):
    """As a part of ten thousand; whole with --full."""
    count = 10_000 if request.config.getoption("--full") else 250
    found = measure_scan(tmp_path, count)
    assert found["clips"] == count and found["bytes_a_clip"] <= CLIP
    # With a little for what does not grow with the clips.
    assert seconds(found["first"]) <= 60 * count / 10_000 + 0.5 and seconds(found["again"]) <= 3 * count / 10_000 + 0.1

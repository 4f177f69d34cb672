"""Ten thousand clips: what memory holds of each, when they are scanned and when a cache is opened. benchmarks/dataset.py measures the time too."""

from benchmarks.dataset import measure_open, measure_scan

CLIP = 1024  # bytes that memory may hold of one


def test_an_opened_cache_holds_an_index_alone(tmp_path):
    assert measure_open(tmp_path, 10_000)["bytes_a_clip"] <= CLIP


def test_a_scan_holds_little_of_each_clip(tmp_path, request):
    """Of a part of ten thousand; of all with --full."""
    count = 10_000 if request.config.getoption("--full") else 250
    found = measure_scan(tmp_path, count)
    assert found["clips"] == count and found["bytes_a_clip"] <= CLIP

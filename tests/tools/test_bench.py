# SPDX-License-Identifier: Apache-2.0
"""The benchmarks still run: the cheapest of them, shortened. What they measure is judged on a quiet machine only."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType

import pytest
from support.reports import read

from tools.bench import (
    accuracy,
    freshness,
    harness,
    int8,
    kills,
    many_sources,
    masks,
    memory,
    monitor_cost,
    overload,
    plain_script,
    scaling,
    scraping,
    start,
    storm,
    swap,
    throughput,
    undisturbed,
)
from tools.bench.report import Report, Spread


def test_undisturbed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "figures.json"
    assert undisturbed.main(["--seconds", "0.4", "--output", str(output)]) == 0
    figures = read(output).figures
    assert figures["with: rate"] > 0
    assert figures["with: age p99"] >= figures["with: age p50"] > 0
    assert 10 < figures["with: memory of publish"] < 500
    assert "with: rate" in capsys.readouterr().out


def test_throughput_against_the_bare_loop(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    arguments = ["--model", "demo", "--part", "frames", "--rounds", "1", "--seconds", "0.5", "--output", str(output)]
    assert throughput.main(arguments) == 0
    figures = read(output).figures
    assert figures["daemon"] > 1
    assert figures["bare loop"] > 1
    assert figures["daemon, all processes: CPU"] > 0
    assert figures["infer: wall"] > figures["submit: wall"] > 0


def test_start(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    assert start.main(["--model", "demo", "--runs", "1", "--output", str(output)]) == 0
    figures = read(output).figures
    assert figures["demo, cold cache"] > 0.1
    assert figures["demo, warm cache"] > 0.1


def test_scraping(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    assert scraping.main(["--rounds", "1", "--seconds", "0.4", "--output", str(output)]) == 0
    figures = read(output).figures
    assert figures["age p99 with"] > 0
    assert figures["answers"] >= 1
    assert 1 < figures["size of an answer"] < 100


SHOWN = [accuracy, freshness, int8, kills, many_sources, masks, memory, monitor_cost, overload]
SHOWN += [plain_script, scaling, scraping, start, storm, throughput, undisturbed]


@pytest.mark.parametrize("module", SHOWN)
def test_each_says_how_it_is_used(module: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_sets_of_boxes_are_held_against_labels_in_coco_s_form(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    box = {"image_id": 1, "category_id": 7, "bbox": [10.0, 10.0, 60.0, 60.0]}
    labels = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}],
        "categories": [{"id": 7, "name": "thing"}],
        "annotations": [{"id": 1, **box, "area": 3600.0, "iscrowd": 0}],
    }
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(labels))
    assert accuracy.evaluate(file, [{**box, "score": 0.9}]) == pytest.approx((100.0, 100.0))
    # Three quarters of the area in common: a hit at six of the ten thresholds (0.50 to 0.75).
    assert accuracy.evaluate(file, [{**box, "bbox": [10.0, 10.0, 45.0, 60.0], "score": 0.9}]) == pytest.approx(
        (60, 100)
    )


def test_memory_of_this_process_is_taken_apart() -> None:
    import mmap
    import os

    chunk = b"x" * 1_000_000
    with open(os.memfd_create("edged-test"), "r+b") as file:
        file.truncate(64_000_000)
        before = harness.memory_of(os.getpid())
        with mmap.mmap(file.fileno(), 64_000_000) as ring:
            for _ in range(64):
                ring.write(chunk)
            after = harness.memory_of(os.getpid())
    assert after.rings - before.rings == pytest.approx(64.0, rel=0.01)
    assert abs(after.own - before.own) < 32.0  # the test run itself breathes
    assert after.resident >= after.own


def test_cpu_time_of_another_process() -> None:
    import os
    import time

    assert harness.cpu_s(os.getpid()) == pytest.approx(time.process_time(), abs=0.05)


def test_a_missed_target_is_told_and_ends_with_1_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for check, code in ((False, 0), (True, 1)):
        report = Report("example", argparse.Namespace(output=None, check=check))
        report.add("ratio", Spread.of([0.8, 0.9, 2.0]), at_least=0.93)
        report.add("seconds", 1.0, "s", at_most=2.5)
        report.add("anything", 1e6)
        assert report.finish() == code
    lines = capsys.readouterr().out.splitlines()
    assert [("MISSED" in line, "≥ 0.93" in line) for line in lines if "ratio" in line] == [(True, True)] * 2
    assert all("ok" in line for line in lines if "seconds" in line)


def test_swap(tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    assert swap.main(["--model", "demo", "--swaps", "1", "--fps", "50", "--output", str(output)]) == 0
    figures = read(output).figures
    assert figures["messages lost on the way here"] == figures["sequence numbers missing or twice"] == 0
    assert figures["pause at the hand-over"] > 0

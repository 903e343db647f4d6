"""`hvc sim study` from file to tables and pictures, and the processes that share the work."""

from __future__ import annotations

import importlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hvcluster.sim import study_cli
from hvcluster.sim.study import REPLICATIONS, run
from hvcluster.sim.study_pool import MAX_DEATHS, WorkersLost, spread
from hvcluster.sim.study_text import BEGIN, END, into
from tests.sim.study_bench import rate, study, topology

FILE = """\
why = "Is one host enough?"
years = 40
boot_s = 1
[rates]
host = { mttf_h = 300, mttr_h = 4 }
array = { mttf_h = 3000, mttr_h = 6 }
path = { mttf_h = inf, mttr_h = 4 }
bus = { mttf_h = inf, mttr_h = 4 }
guest_os = { mttf_h = 500, mttr_min = 2 }
application = { mttf_h = 400, mttr_s = 30 }
[[topology]]
name = "one"
hosts = 1
witness = false
[[topology]]
name = "two"
hosts = 2
witness = true
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A small study."""
    path = tmp_path / "small.toml"
    path.write_text(FILE, encoding="utf-8")
    return str(path)


def test_an_answer_does_not_depend_on_the_number_of_workers() -> None:
    """Deterministic for a seed and independent of the number of workers."""
    pair = topology(2, witness=True)
    asked = replace(study(40, host=rate(300, 4), guest_os=rate(500, 1)), topologies=(topology(1), pair))
    heard: list[tuple[str, int, int]] = []
    alone = run(asked, 1, 1, lambda *said: heard.append(said), lambda parts: pytest.fail(f"lost {parts}"))
    many = run(asked, 1, 3, lambda *said: None, lambda parts: pytest.fail(f"lost {parts}"))
    assert alone == many
    assert heard[-1] == ("replications run", 2 * REPLICATIONS, 2 * REPLICATIONS)
    other = run(replace(asked, seed=2), 1, 1, lambda *said: None, lambda parts: None)
    assert other != alone


def dies_once(part: tuple[Path, int]) -> int:
    """Work that ends its process the first time it is asked for number 3."""
    folder, number = part
    if number == 3 and not (folder / "died").exists():
        (folder / "died").touch()
        os._exit(1)
    return number * number


def always_dies(part: int) -> int:
    """Work that nobody survives."""
    os._exit(1)


def test_a_worker_that_dies_is_reported_and_its_part_is_run_again(tmp_path: Path) -> None:
    """A worker that dies is reported, with what it had not finished, and that is run again."""
    lost: list[list[tuple[Path, int]]] = []
    results = spread(dies_once, [(tmp_path, number) for number in range(6)], 2, lambda done: None, lost.append)
    assert results == [number * number for number in range(6)]
    assert len(lost) == 1
    assert (tmp_path, 3) in lost[0]


def test_workers_that_die_again_and_again_are_given_up() -> None:
    """Limits: a part that kills every worker ends the study with an error, not with an endless loop."""
    lost: list[list[int]] = []
    with pytest.raises(WorkersLost, match="4 parts left"):
        spread(always_dies, [1, 2, 3, 4], 2, lambda done: None, lost.append)
    assert len(lost) == MAX_DEATHS - 1


def test_an_error_in_the_work_is_the_callers() -> None:
    """What a part raises is not taken for a death."""
    with pytest.raises(ZeroDivisionError):
        spread(lambda part: 1 // part, [1, 0], 1, lambda done: None, lambda parts: None)


def test_tables_json_and_pictures(file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Output: a table for each question, one JSON document, pictures as SVG and PNG, a document brought up to date."""
    document = tmp_path / "page.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    pictures = [tmp_path / "out.svg", tmp_path / "out.png"]
    plots = [word for picture in pictures for word in ("--plot", str(picture))]
    assert study_cli.main([file, "--samples", "1", "--workers", "1", *plots, "--into", str(document)]) == 0
    printed = capsys.readouterr().out
    for part in ("availability", "nines (95 %)", "by cause", "by duration", "Measured with the real cores", "Student"):
        assert part in printed
    assert pictures[0].read_text(encoding="utf-8").startswith("<?xml")
    assert "guest os" in pictures[0].read_text(encoding="utf-8")
    assert pictures[1].read_bytes().startswith(b"\x89PNG")
    page = document.read_text(encoding="utf-8")
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    assert "| two | " in page
    first = pictures[0].read_bytes()
    assert study_cli.main([file, "--samples", "1", "--workers", "2", "--json", "--plot", str(pictures[0])]) == 0
    assert pictures[0].read_bytes() == first, "one answer, one picture"
    answer = json.loads(capsys.readouterr().out)
    one, two = answer["topologies"]
    assert one["availability_95"][0] <= one["availability"] <= one["availability_95"][1]
    assert two["availability"] > one["availability"]
    assert sum(two["downtime_min_a_year_by_cause"].values()) == pytest.approx(two["downtime_min_a_year"])
    bins = sum(map(sum, two["incidents_a_year_by_cause_and_bin"].values()))
    assert bins == pytest.approx(two["incidents_a_year"])


def test_a_bad_file_and_bad_usage_run_nothing(
    file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 2 with every problem and its remedy, before any time is spent."""
    bad = tmp_path / "bad.toml"
    bad.write_text(FILE.replace("array =", "tape ="), encoding="utf-8")
    assert study_cli.main([str(bad)]) == 2
    said = capsys.readouterr().err
    assert "has 2 problems; nothing was run" in said
    assert "the rates of `array` are missing" in said
    assert study_cli.main([str(tmp_path / "none.toml")]) == 2
    assert "none.toml" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        study_cli.main([file, "--plot", "out.pdf", "--workers", "0", "--years", "0"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert all(part in said for part in ("out.pdf", "--workers", "--years"))
    plain = tmp_path / "plain.md"
    plain.write_text("no marks\n", encoding="utf-8")
    assert study_cli.main([file, "--into", str(plain)]) == 2
    assert BEGIN in capsys.readouterr().err
    real = importlib.import_module

    def without(name: str, package: str | None = None) -> object:
        if name.startswith("matplotlib"):
            raise ImportError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", without)
    assert study_cli.main([file, "--plot", str(tmp_path / "out.svg")]) == 2
    assert "hvcluster[study]" in capsys.readouterr().err
    assert not (tmp_path / "out.svg").exists()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` shows a whole file and the commands one begins with."""
    with pytest.raises(SystemExit) as ended:
        study_cli.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "[[topology]]" in said
    assert "--plot out.svg" in said


def test_a_document_without_both_marks_is_left_alone() -> None:
    """Nothing is written where nobody asked for it."""
    for text in ("", BEGIN, f"{END}{BEGIN}"):
        with pytest.raises(ValueError, match="not both"):
            into(text, "table")

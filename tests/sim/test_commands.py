"""The commands of `hvc sim` and what a person may do wrong with them: said with a remedy, never a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hvcluster.sim import cli

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"


def status_of(*arguments: str) -> object:
    """The exit status of a command, whichever way it ends."""
    try:
        return cli.main(list(arguments))
    except SystemExit as ended:
        return ended.code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("explor",), "did you mean 'explore'?"),
        (("zzz",), "one of run, replay, explore, exhaust, study"),
        (("exhaust", "nodes-los"), "did you mean 'nodes-loss'"),
        (("exhaust", "zzz"), "--list shows them all"),
        (
            ("run", "--seeds", "0", "--seed", "-1", "x.toml"),
            "--seed is -1; from 0 to 9223372036854775807; --seeds is 0",
        ),
        (("study", "none.toml"), "there is no file none.toml"),
        (("study", "."), "this is a directory: ."),
    ],
)
def test_a_mistake_is_told_with_what_would_be_right(
    arguments: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Bad input: status 2, the near name or the limits, and nothing is run."""
    monkeypatch.chdir(tmp_path)
    assert status_of(*arguments) == 2
    assert words in capsys.readouterr().err


def test_a_study_that_is_no_toml_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input: the line of the mistake; the mark that Windows editors put first is none."""
    file = tmp_path / "x.toml"
    for content, words in (
        (b"why = 'x'\nyears\n", "x.toml:2: not TOML"),
        (b"\nyears = " + b"9" * 5000, "x.toml:2: a number has thousands of digits"),
        (b"\xef\xbb\xbfwhy = 'x'\n", "`years` is missing"),
    ):
        file.write_bytes(content)
        assert cli.main(["study", str(file)]) == 2
        assert words in capsys.readouterr().err


def test_a_trace_that_is_none_is_told_from_a_history_that_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input: no trace, noise, a directory; then one line that differs."""
    file = tmp_path / "x.toml"
    shutil.copy(SCENARIOS / "planned-move.toml", file)
    beside = tmp_path / "x.toml.trace"

    def replayed() -> str:
        assert cli.main(["replay", str(file)]) == 1
        return capsys.readouterr().err

    assert "write it with `hvc sim replay --write" in replayed()
    beside.write_bytes(b"\xfe\xff\x00 noise")
    assert "is no trace" in replayed()
    beside.unlink()
    beside.mkdir()
    assert "is a directory and no trace" in replayed()
    beside.rmdir()
    assert cli.main(["replay", "--write", str(file)]) == 0
    assert cli.main(["replay", str(file)]) == 0
    beside.write_text(beside.read_text().replace("node 1", "node 9", 1))
    assert "and is" in replayed()

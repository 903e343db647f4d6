"""The array's files: the journal's torn end, its rotation, and blocks without a unit."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvcluster.model.scsi import Nexus, ReservationType, Status
from hvcluster.model.vocabulary import Instant, LunId, PathName
from hvcluster.san import journal as journal_module
from hvcluster.san.core.effects import JournalEntry, LunImage
from hvcluster.san.journal import Journal
from hvcluster.san.media import Media, MediaError

LUN = LunId(2)
A = Nexus("a", PathName("A"))


def entry(lba: int) -> JournalEntry:
    return JournalEntry(Instant(1), A, LUN, "WRITE", Status.GOOD, None, 0xA, lba, 1)


def written(directory: Path, *lbas: int) -> None:
    journal = Journal(directory)
    for lba in lbas:
        journal.add(entry(lba))
    journal.close()


def lbas(journal: Journal, sequence: int = 1, limit: int = 10_000) -> list[int]:
    return [row.lba for row in journal.read(sequence, limit)]


class TestTheJournal:
    """The array's command journal on disk."""

    def test_numbers_go_on_after_a_restart(self, tmp_path: Path) -> None:
        """One sequence for the life of the array."""
        written(tmp_path, 5, 6)
        written(tmp_path, 7)
        journal = Journal(tmp_path)
        assert [(row.sequence, row.lba) for row in journal.read(2, 10)] == [(2, 6), (3, 7)]
        assert journal.next_sequence == 4

    @pytest.mark.parametrize("cut", [1, 8, 11])
    def test_a_record_cut_short_by_a_kill_is_dropped(self, tmp_path: Path, cut: int) -> None:
        """It described an answer that never left."""
        written(tmp_path, 5, 6)
        file = tmp_path / "journal.0"
        file.write_bytes(file.read_bytes()[:-cut])
        written(tmp_path, 7)
        assert lbas(Journal(tmp_path)) == [5, 7]

    def test_damage_anywhere_else_is_refused_by_name(self, tmp_path: Path) -> None:
        """Evidence that was tampered with is none."""
        written(tmp_path, 5, 6)
        file = tmp_path / "journal.0"
        data = bytearray(file.read_bytes())
        data[12] ^= 0xFF
        file.write_bytes(data)
        with pytest.raises(MediaError, match=r"journal\.0"):
            Journal(tmp_path)

    def test_the_oldest_file_goes_when_the_newest_is_full(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """House style: a limit on everything; numbers stay right across files and restarts."""
        monkeypatch.setattr(journal_module, "MAX_FILE_BYTES", 2_000)
        journal = Journal(tmp_path)
        for lba in range(1, 201):
            journal.add(entry(lba))
            journal.flush()
        kept = lbas(journal)
        assert kept == list(range(kept[0], 201))
        assert 1 < kept[0] < 190
        journal.close()
        again = Journal(tmp_path)
        assert lbas(again) == kept
        assert lbas(again, 198, 2) == [198, 199]

    def test_any_part_of_a_long_file_can_be_read(self, tmp_path: Path) -> None:
        """Across the remembered offsets."""
        journal = Journal(tmp_path)
        for lba in range(1, 5_001):
            journal.add(entry(lba))
        journal.flush()
        for first in (1, 1_023, 1_024, 1_025, 2_048, 4_990, 5_000):
            for limit in (1, 5, 2_000):
                assert lbas(journal, first, limit) == list(range(first, min(first + limit, 5_001)))
        assert lbas(journal, 5_001) == []


class TestTheMedia:
    """Blocks and images."""

    def test_blocks_without_a_saved_unit_are_removed_at_start(self, tmp_path: Path) -> None:
        """A kill between making the blocks and saving the unit."""
        media = Media(tmp_path)
        media.allocate(LUN, 8, True)
        media.close()
        Media(tmp_path).close()
        assert not list(tmp_path.glob("lun-*"))

    def test_what_was_committed_is_there_whole_after_a_restart(self, tmp_path: Path) -> None:
        """Names, keys, holder and type."""
        media = Media(tmp_path)
        media.allocate(LUN, 8, True)
        media.save(LUN, LunImage(LUN, 8))
        media.commit()
        saved = LunImage(LUN, 8, ("a",), 3, ((A, 0xA),), A, ReservationType.WRITE_EXCLUSIVE)
        media.save(LUN, saved)
        media.commit()
        media.close()
        media = Media(tmp_path)
        assert media.images == {LUN: saved}
        media.close()

    def test_a_write_never_overtakes_the_reservation_it_was_accepted_under(self, tmp_path: Path) -> None:
        """Saved state goes to the device before later blocks go to the file."""
        media = Media(tmp_path)
        media.allocate(LUN, 8, True)
        media.save(LUN, LunImage(LUN, 8))
        commits = media.commits
        media.write(LUN, 0, bytes(512), fua=True)
        assert media.commits == commits + 1
        media.close()

"""A sample of the bench of mutants: the judge must see each of these deliberate faults within a few seeds.

Without this, a campaign in which nothing breaks would prove nothing. `make mutants` hunts all of them.
"""

from __future__ import annotations

from typing import Final

import pytest

from tests.mutants.catalogue import MUTANTS, named
from tests.mutants.hunt import hunted
from tests.mutants.patching import Patch, put_on

SEEDS: Final = 150
SAMPLE: Final = (
    "votes_are_not_saved",
    "saved_after_it_is_said",
    "a_vote_can_be_given_twice",
    "any_log_may_lead",
    "half_is_a_quorum",
    "one_copy_is_enough",
    "applied_before_it_is_committed",
    "followers_commit_what_they_have",
    "the_lease_is_longer_than_the_election",
    "one_voter_goes_and_another_comes",
    "two_challengers_on_one_side",
    "the_witness_votes_without_the_log_check",
    "the_witness_copy_counts_before_it_is_written",
    "the_header_is_written_before_the_image",
    "committed_without_raising_the_tag",
    "the_file_votes_again",
    "nobody_is_preempted",
    "an_offline_disk_is_released",
    "registered_before_the_old_vm_is_off",
    "an_unknown_write_is_acknowledged",
    "the_array_lets_everybody_write",
    "nobody_is_preempted_on_a_volume",
    "a_new_key_before_the_old_vm_is_off",
    "an_assignment_leaves_the_key_as_it_is",
    "an_extent_is_not_claimed",
    "the_epoch_is_not_saved",
    "generations_do_not_jump",
)


@pytest.mark.parametrize("name", SAMPLE)
def test_the_judge_sees_a_deliberate_fault(name: str) -> None:
    """Invariants: an implementation that breaks one is found out."""
    mutant = named(name)
    seen = next((what for seed in range(SEEDS) if (what := hunted(mutant, seed))), None)
    assert seen is not None, f"{SEEDS} seeds, and nobody noticed"


def test_the_same_hunt_finds_nothing_in_the_code_as_it_is() -> None:
    """Invariants: what is found is the mutant, and not the hunt."""
    found = [what for seed in range(SEEDS // 2) if (what := hunted(None, seed))]
    assert not found


def test_every_mutant_can_be_put_on_and_leaves_nothing_behind() -> None:
    """A mutant of something that was renamed would be found nowhere, or everywhere."""
    for mutant in MUTANTS:
        patch = Patch()
        mutant.apply(patch)
        touched = patch.touched()
        patch.undo()
        before = [vars(owner)[name] for owner, name in touched]
        with put_on(mutant):
            assert [vars(owner)[name] for owner, name in touched] != before, mutant.name
        assert [vars(owner)[name] for owner, name in touched] == before, mutant.name


def test_mutants_have_names_of_their_own() -> None:
    """The bench speaks of a mutant by its name."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)

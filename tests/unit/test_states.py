"""The vocabulary of states."""

import pytest

from models.states import FINAL_STATES, JobState, Stage


@pytest.mark.parametrize("state", FINAL_STATES)
def test_nothing_leaves_a_final_state(state: JobState) -> None:
    assert not state.next_states


def test_every_state_but_queued_is_moved_by_one_stage_or_final() -> None:
    for state in JobState:
        assert state is JobState.QUEUED or (state.stage is None) is state.is_final


def test_every_stage_of_jobs_has_one_state() -> None:
    stages = [state.stage for state in JobState if state.stage]
    assert sorted(stages) == sorted({Stage.SUBMIT, Stage.POLL, Stage.STORE})


def test_every_state_can_be_reached_from_queued() -> None:
    reached, todo = {JobState.QUEUED}, [JobState.QUEUED]
    while todo:
        new = todo.pop().next_states - reached
        reached |= new
        todo += new
    assert reached == set(JobState)


def test_what_is_paid_for_is_never_cancelled() -> None:
    assert JobState.CANCELLED not in JobState.RUNNING.next_states | JobState.STORING.next_states

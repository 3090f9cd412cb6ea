"""What one statement writes: a job at most once; and that it is written in the end."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import OperationalError

from models.claims import Move
from models.states import JobState
from worker.recorder import Recorder


class Table:
    """Takes what the version fits of, and is slow enough for others to gather meanwhile."""

    def __init__(self, version: int, *, is_away: bool = False) -> None:
        self.version = version
        self.is_away = is_away  # for one statement
        self.written: list[list[int]] = []

    def begin(self) -> "Table":
        return self

    async def __aenter__(self) -> "Table":
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.sleep(0)

    async def record(self, _connection: Any, moves: Sequence[Move]) -> set[uuid.UUID]:
        if self.is_away:
            self.is_away = False
            raise OperationalError("", {}, Exception("the database system is shutting down"))
        self.written.append([move.version for move in moves])
        return {move.id for move in moves if move.version == self.version}


def recorder_of(table: Table) -> Recorder[Move]:
    engine: Any = table
    return Recorder(engine, table.record)


def move(version: int) -> Move:
    return Move(uuid.UUID(int=1), version, JobState.RUNNING, 1.0)


def test_two_claims_of_one_job_are_written_one_after_the_other() -> None:
    async def go() -> list[bool]:
        recorder = recorder_of(table)
        return list(await asyncio.gather(recorder.write(move(1)), recorder.write(move(2))))

    table = Table(version=2)
    assert asyncio.run(go()) == [False, True]
    assert table.written == [[1], [2]]


def test_a_write_waits_for_the_database() -> None:
    async def go() -> bool:
        return await recorder_of(table).write(move(1))

    table = Table(version=1, is_away=True)
    assert asyncio.run(go())
    assert table.written == [[1]]

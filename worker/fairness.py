"""Who goes next among those that wait: a pure function, and what it remembers of each."""

import heapq
import time
import uuid
from collections.abc import Callable, Iterable, Sequence

from models.lanes import Lane

FIRST = 16  # jobs for each unit of weight that a lane is given before all that was given more lately
HALF_LIFE_S = 60.0  # in which what a lane was given is half forgotten
_MANY = 1_000  # lanes remembered before those that are as good as forgotten are dropped


class Given:
    """How many jobs of each lane were admitted lately. In memory: a new leader begins with none."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lanes: dict[uuid.UUID, tuple[float, float]] = {}  # how many, as of when

    def lately(self, lane_id: uuid.UUID) -> float:
        count, at = self._lanes.get(lane_id, (0.0, 0.0))
        return float(count * 0.5 ** ((self._clock() - at) / HALF_LIFE_S)) if count else 0.0

    def note(self, lane_ids: Iterable[uuid.UUID]) -> None:
        for lane_id in lane_ids:
            self._lanes[lane_id] = (self.lately(lane_id) + 1, self._clock())
        if len(self._lanes) > _MANY:
            self._lanes = {lane_id: self._lanes[lane_id] for lane_id in self._lanes if self.lately(lane_id) >= 0.5}


def share(lanes: Sequence[Lane], slots: int) -> list[tuple[Lane, int]]:
    """Deal `slots` out to lanes of one band: each to the lane with the least in flight for its weight.

    So ten photos never wait behind a million. Where there are more lanes than slots that alone would let the newest
    wait for all others: a lane that was given little lately goes first, `FIRST` jobs long, and among equals the one
    that was given less. A lane may be dealt more than it has jobs for, but not than its `most`.
    """
    dealt = [0] * len(lanes)
    heap = [(*_turn(lane, 0), index) for index, lane in enumerate(lanes) if lane.most != 0]
    heapq.heapify(heap)
    for _ in range(slots):
        if not heap:
            break
        index = heap[0][-1]
        dealt[index] += 1
        if dealt[index] == lanes[index].most:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (*_turn(lanes[index], dealt[index]), index))
    return [(lane, count) for lane, count in zip(lanes, dealt, strict=True) if count]


def _turn(lane: Lane, dealt: int) -> tuple[float, float]:
    """The least goes first."""
    given = (lane.given + dealt) / lane.weight
    return (0.0 if given < FIRST else (lane.in_flight + dealt) / lane.weight), given

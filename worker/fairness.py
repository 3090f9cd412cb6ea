"""Who goes next among those that wait: a pure function, and what it remembers of each."""

import heapq
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from models.lanes import Lane

FIRST = 16  # jobs for each unit of weight that a lane is given before all that was given more lately
HALF_LIFE_S = 60.0  # in which what a lane was given is half forgotten
_Turn = TypeVar("_Turn", bound=tuple[object, ...])
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
    whose account was given less, then the one that was given less itself. A lane may be dealt more than it has jobs
    for, but not than its `most`.
    """
    dealt = Counter(islice(_turns(lanes), slots))
    return [(lane, dealt[index]) for index, lane in enumerate(lanes) if dealt[index]]


def _turns(lanes: Sequence[Lane]) -> Iterator[int]:
    """Whose turn it is, each time; until nobody may be dealt more."""
    dealt = [0] * len(lanes)
    for index in _first_turns(lanes, dealt):
        dealt[index] += 1
        yield index
    heap = [
        (*_load(lane, n), index) for index, (lane, n) in enumerate(zip(lanes, dealt, strict=True)) if n != lane.most
    ]
    heapq.heapify(heap)
    while heap:
        index = heap[0][-1]
        dealt[index] += 1
        yield index
        _replace(heap, None if dealt[index] == lanes[index].most else (*_load(lanes[index], dealt[index]), index))


def _first_turns(lanes: Sequence[Lane], dealt: Sequence[int]) -> Iterator[int]:
    """Of those that were given little: account by account, and within one lane by lane."""
    accounts: dict[uuid.UUID, list[tuple[float, int]]] = defaultdict(list)
    given: dict[uuid.UUID, float] = defaultdict(float)
    for index, lane in enumerate(lanes):
        given[_account(lane)] += lane.given / lane.weight
        if lane.given / lane.weight < FIRST and lane.most != 0:
            heapq.heappush(accounts[_account(lane)], (lane.given / lane.weight, index))
    heap = [(given[account], account) for account in accounts]
    heapq.heapify(heap)
    while heap:
        turns, account = heap[0]
        _, index = accounts[account][0]
        yield index
        lane, now = lanes[index], (lanes[index].given + dealt[index]) / lanes[index].weight
        is_first = now < FIRST and dealt[index] != lane.most
        _replace(accounts[account], (now, index) if is_first else None)
        _replace(heap, (turns + 1 / lane.weight, account) if accounts[account] else None)


def _replace(heap: list[_Turn], turn: _Turn | None) -> None:
    """The one whose turn it was waits for the next; None: there is none."""
    if turn is None:
        heapq.heappop(heap)
    else:
        heapq.heapreplace(heap, turn)


def _load(lane: Lane, dealt: int) -> tuple[float, float]:
    """The least goes first."""
    return (lane.in_flight + dealt) / lane.weight, (lane.given + dealt) / lane.weight


def _account(lane: Lane) -> uuid.UUID:
    return lane.account_id or lane.lane_id

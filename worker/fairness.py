"""Who goes next among those that wait: a pure function."""

import heapq
from collections.abc import Sequence

from models.lanes import Lane


def share(lanes: Sequence[Lane], slots: int) -> list[tuple[Lane, int]]:
    """Deal `slots` out to lanes of one band: each to the lane with the least in flight for its weight.

    So ten photos never wait behind a million. A lane may be dealt more than it has jobs for, but not than its `most`.
    """
    dealt = [0] * len(lanes)
    heap = [(lane.in_flight / lane.weight, index) for index, lane in enumerate(lanes) if lane.most != 0]
    heapq.heapify(heap)
    for _ in range(slots):
        if not heap:
            break
        index = heap[0][1]
        dealt[index] += 1
        if dealt[index] == lanes[index].most:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, ((lanes[index].in_flight + dealt[index]) / lanes[index].weight, index))
    return [(lane, count) for lane, count in zip(lanes, dealt, strict=True) if count]

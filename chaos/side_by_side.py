"""Rows in several worlds at once, each in a process of its own: most rows wait a lot."""

import itertools
import multiprocessing
import queue
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from pathlib import Path

from chaos.campaign import ROWS, Result, Row, judge_again, run_row
from chaos.rows import load_rows
from chaos.world import World


def run_rows(rows: Sequence[Row], *, at_once: int, size: str, seed: int, folder: Path) -> Iterator[Result]:
    """The most work first, so that none is left with it at the end. Rows of a world that died are missing."""
    new = multiprocessing.get_context("spawn")  # a world makes its process a producer: one each
    keys: Queue[str] = new.Queue()
    results: Queue[Result] = new.Queue()
    for one in sorted(rows, key=lambda one: one.sizes[size].jobs, reverse=at_once > 1):
        keys.put(one.key)
    workers = [
        new.Process(target=_work, args=(keys, results, folder / str(number), size, seed)) for number in range(at_once)
    ]
    for worker in workers:
        worker.start()
    yield from _ended(results, workers)


def _ended(results: "Queue[Result]", workers: Sequence[BaseProcess]) -> Iterator[Result]:
    while True:
        is_over = not any(worker.is_alive() for worker in workers)
        try:
            yield results.get(timeout=0.5)
        except queue.Empty:
            if is_over:
                return


def _work(keys: "Queue[str]", results: "Queue[Result]", folder: Path, size: str, seed: int) -> None:
    """Rows that ask for no world of their own share one, until a row leaves it in disorder."""

    def tell(result: Result) -> None:
        print(result, flush=True)
        results.put(result)

    load_rows()
    with ExitStack() as exits:
        common: World | None = None
        numbers = itertools.count(1)
        while (key := _next(keys)) is not None:
            one = ROWS[key]
            if one.world:
                own = folder / f"row{key}"
                with World(own, seed=seed, **one.world(own)) as world:
                    result = run_row(one, world, size=size, seed=seed)
            else:
                common = common or exits.enter_context(World(folder / f"common{next(numbers)}", seed=seed))
                result = run_row(one, common, size=size, seed=seed)
                if result.error:
                    exits.close()
                    common = None
            tell(result)
        if common is not None:
            tell(judge_again(common, size=size, seed=seed))


def _next(keys: "Queue[str]") -> str | None:
    try:
        return keys.get(timeout=1)
    except queue.Empty:
        return None

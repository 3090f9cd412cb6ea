"""Producers killed between two effects: messages, HTTP, runs of photos, schedules, uploads. Each job is there, once."""

from collections.abc import Callable
from pathlib import Path

from celery import Celery

from chaos.campaign import Run, row
from chaos.doom import die, doomed_api, hasten
from chaos.rows.points import end_all
from chaos.rows.uploads import ENHANCE, OWNER, by_folder, by_queue, by_upload, put_objects, write_photos
from chaos.steps import Steps, watched
from chaos.world import BUCKET, wait_for
from producer.batches import close_batch, join_batch
from producer.ownership import OPERATOR
from producer.schedules.definitions import NewSchedule, add_schedule, run_now
from worker.app import VISIBILITY_S

_GROUP = 32  # photos of a run that are queued together


@row("2c", "killed at each fail point of the ways in", short=(24, 2), long=(600, 30))
def at_producer_points(run: Run) -> None:
    """Two of seven ways, by the seed, or each of them several times."""
    jobs = run.size.jobs // run.size.rounds
    ways = run.chance.sample(list(_WAYS), len(_WAYS))
    with watched(run) as steps:
        for number in range(run.size.rounds):
            way = ways[number % len(ways)]
            _WAYS[way](run, steps, f"{run.load.prefix}{number}-{way}", jobs)
            run.world.keep_up()
            run.recover()


def _by_message(run: Run, _steps: Steps, name: str, jobs: int) -> None:
    """The message of a killed worker is delivered again once its visibility timeout is over; here as if it were."""
    world = run.world
    end_all(run, "worker")
    with Celery("producer", broker=world.services["PHOTABATCH_BROKER_URL"]).connection_for_write() as broker:
        app = Celery("producer", broker=world.services["PHOTABATCH_BROKER_URL"])
        for number in range(jobs):
            fields = {"prompt": f"boat {number}", "custom_id": str(number), "batch": name}
            app.send_task("photabatch.generate", kwargs=fields, queue="intake", connection=broker)
    run.load.accepted += jobs
    die(run, "worker", "after_intake", passage=jobs // 2)
    world.keep_up()

    def is_taken() -> bool:
        for tag, _ in world.redis.zscan_iter("unacked_index"):
            world.redis.zincrby("unacked_index", -VISIBILITY_S, tag)
        return not world.redis.llen("intake") and not world.redis.hlen("unacked")

    wait_for(is_taken, every_s=1.0, at_most_s=120)
    with world.engine.begin() as connection:
        close_batch(connection, join_batch(connection, name))


def _over_http(run: Run, _steps: Steps, name: str, jobs: int) -> None:
    """The second request of each life is cut; whoever sent it sends it again, with its key."""
    for point in ("in_once", "before_answer"):
        with doomed_api(run, point) as is_hurt:
            before = run.world.api_url
            run.world.api_url = is_hurt.url
            try:
                for number in range(2):
                    run.load.add_over_http(jobs // 4 + 1, key=f"{name}-{point}-{number}")
            finally:
                run.world.api_url = before
            is_hurt.check()


def _by_run(run: Run, _steps: Steps, name: str, jobs: int) -> None:
    """Interrupted twice, then gone on with by the same command."""
    folder = Path(str(run.world.stack.home), name)
    photos = jobs + _GROUP
    write_photos(folder, name, range(photos))
    words = (str(folder), "--op", "enhance", "--name", name, "--yes", "--detach")
    for point, passage in (("after_photo_put", 5), ("after_group", 1)):
        die(run, "run", point, *words, passage=passage)
    good = run.world.start("run", *words)
    wait_for(lambda: not run.world.child(good).is_alive, at_most_s=120)
    if run.world.child(good).returncode:
        raise AssertionError(f"the run did not go on: {run.world.child(good).log_tail()}")
    run.world.forget(good)
    run.load.accepted += photos


def _by_schedule(run: Run, steps: Steps, name: str, jobs: int) -> None:
    """One listing that the dispatcher dies of, and then three workers."""
    world = run.world
    put_objects(run, name, jobs)
    wanted = NewSchedule(name, "0 0 1 1 *", "UTC", f"s3://{BUCKET}/{name}/", ENHANCE)
    end_all(run, "dispatcher")
    end_all(run, "worker")
    with world.engine.begin() as connection:
        add_schedule(connection, OWNER, wanted)
        run_now(connection, OPERATOR.id, name)
    die(run, "dispatcher", "after_listings_due")
    for _ in range(2):
        world.start("dispatcher")
    for point in ("in_mark", "after_listed_group", "before_listing_end"):
        hasten(run, steps)
        die(run, "worker", point)
    hasten(run, steps)
    world.keep_up()
    run.load.accepted += jobs
    wait_for(lambda: world.ask("SELECT NOT EXISTS (SELECT FROM schedule_runs WHERE state = 'listing')"), at_most_s=60)


_WAYS: dict[str, Callable[[Run, Steps, str, int], None]] = {
    "message": _by_message,
    "http": _over_http,
    "run": _by_run,
    "schedule": _by_schedule,
    "upload": by_upload,
    "queue": by_queue,
    "folder": by_folder,
}

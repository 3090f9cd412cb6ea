"""A network that swallows packets: others go on meanwhile, and who was cut off works again once it is back."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, make_url

from chaos.proxy import Loop, Mode, Proxy
from tests.acceptance.conftest import Fleet, eventually
from tests.acceptance.test_faults import add_jobs, all_succeed


@pytest.fixture
def link(idle_fleet: Fleet) -> Iterator[Proxy]:
    """To Postgres, for whom `through` lets pass there."""
    with Loop() as loop:
        proxy = Proxy(loop, make_url(idle_fleet.environment["PHOTABATCH_DATABASE_URL"]).port or 0)
        yield proxy
        proxy.close()


def through(fleet: Fleet, link: Proxy) -> dict[str, str]:
    url = make_url(fleet.environment["PHOTABATCH_DATABASE_URL"]).set(port=link.port)
    return {"PHOTABATCH_DATABASE_URL": url.render_as_string(hide_password=False)}


@pytest.mark.campaign
def test_another_dispatcher_leads_while_the_first_is_cut_off_and_it_takes_over_again(
    idle_fleet: Fleet, engine: Engine, link: Proxy
) -> None:
    idle_fleet.start(workers=1, dispatchers=0)
    idle_fleet.start(workers=0, **through(idle_fleet, link))
    cut_off = idle_fleet.child("dispatcher")
    assert eventually(lambda: '"leading"' in cut_off.log_tail(100))
    link.set(Mode.BLACK_HOLE)
    idle_fleet.start(workers=0)
    add_jobs(engine, 20)
    all_succeed(idle_fleet, engine, 20, within_s=90)
    idle_fleet.child("dispatcher", 1).ask_to_stop()
    link.set(Mode.PASS)
    add_jobs(engine, 20, operation="generate", params={"prompt": "a bridge"})
    all_succeed(idle_fleet, engine, 40, within_s=90)
    assert cut_off.is_alive


@pytest.mark.campaign
def test_a_worker_works_again_after_its_connections_went_dead(idle_fleet: Fleet, engine: Engine, link: Proxy) -> None:
    idle_fleet.start(workers=0)
    idle_fleet.start_worker(**through(idle_fleet, link))
    add_jobs(engine, 10)
    all_succeed(idle_fleet, engine, 10)
    link.half_open()
    add_jobs(engine, 10, operation="generate", params={"prompt": "a bridge"})
    all_succeed(idle_fleet, engine, 20, within_s=120)

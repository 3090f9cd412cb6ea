"""Workers die, freeze and come back."""

from chaos.campaign import Run, row


@row("1", "workers killed at random", smoke=(150, 3), short=(400, 12), long=(2000, 200))
def killed(run: Run) -> None:
    world = run.world
    per_round = max(1, run.size.jobs // run.size.rounds)
    for _ in range(run.size.rounds):
        run.load.add(per_round)
        run.pause(0.3, 1.5)
        world.kill(run.chance.choice(world.alive("worker")))
        run.inject("worker killed")
        world.keep_up()
        run.recover()

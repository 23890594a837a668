"""Who is measured by whom is asked for, and with how many threads each of them is at its best."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tests.bench import throughput
from tests.bench.ceiling import Ceiling
from tests.bench.contestants import Contestant, Ours, Rival
from tests.bench.figures import Figures
from tests.bench.ground import Ground, Setting
from tests.bench.throughput import Load

#: Threads, and as many connections. On loopback no number is better than eight beyond the noise, for none of them, by
#: `--tune`, whose outcome belongs here; far from the servers those who wait most gain from more.
THREADS: Mapping[str, Mapping[Setting, int]] = {
    "ours": {Setting.BARE: 8, Setting.DEPLOYED: 32},
    "loop": {Setting.BARE: 8, Setting.DEPLOYED: 32},
    "dramatiq_sqs": {Setting.BARE: 8, Setting.DEPLOYED: 16},
    "celery_sqs": {Setting.BARE: 8, Setting.DEPLOYED: 16},
}
#: What a worker of ours has unless it is told otherwise: latency and memory are measured with it.
USUAL_THREADS = 8


class Entrant(Protocol):
    """One row of the results."""

    @property
    def name(self) -> str:
        """What it is called in the results."""

    @property
    def title(self) -> str:
        """What people call it."""

    def measure(self, ground: Ground, setting: Setting, load: Load, threads: int | None = None) -> Figures:
        """Measure it once, with as many threads as are best for it, or with so many."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """An entrant that takes messages from a queue."""

    contestant: Contestant

    @property
    def name(self) -> str:
        """That of the contestant."""
        return self.contestant.name

    @property
    def title(self) -> str:
        """That of the contestant."""
        return self.contestant.title

    def measure(self, ground: Ground, setting: Setting, load: Load, threads: int | None = None) -> Figures:
        """Measure it once."""
        return throughput.measure(ground, self.contestant, setting, threads or self.contestant.threads[setting], load)


OURS = Fleet(Ours(THREADS["ours"]))
RIVALS = (
    Fleet(Rival("dramatiq_sqs", "dramatiq + dramatiq-sqs", THREADS["dramatiq_sqs"])),
    Fleet(Rival("celery_sqs", "Celery on SQS", THREADS["celery_sqs"])),
    Fleet(Rival("loop", "hand-written loop on boto3", THREADS["loop"])),
)
ALL: tuple[Entrant, ...] = (OURS, *RIVALS, Ceiling())

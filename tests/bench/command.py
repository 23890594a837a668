"""What every benchmark is asked, and what it answers; how that is written down."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.ground import Setting
from tests.bench.picture import Picture
from tests.bench.targets import Verdict
from tests.bench.throughput import Load
from workers.local.aws import PROJECT_ROOT

Say = Callable[[str], None]
#: Where the results are kept that the README shows.
RESULTS = Path(__file__).with_name("results")
#: Where servers and logs of a run are; what was there is removed by the next one.
HOME = PROJECT_ROOT / ".local" / "bench"


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of a benchmark.

    Attributes:
        rounds: how often everything is measured.
        load: how much is asked of each contestant in a run.
        settings: how far away the servers are.
        only: the names of those who take part; all of them where it is empty.
        short: whether only is to be shown that everything runs, and what can be counted.
        sizes: how many payments the tables hold before a run of `scale`.
        requests: how many reads of each kind `scale` makes.
        say: is told what goes on.
    """

    rounds: int
    load: Load
    settings: Sequence[Setting]
    only: Sequence[str]
    short: bool
    sizes: Sequence[int]
    requests: int
    say: Say

    def chosen(self, name: str) -> bool:
        """Return whether somebody of that name takes part."""
        return not self.only or name in self.only


@dataclass(frozen=True, slots=True)
class Answer:
    """What a benchmark has found.

    Attributes:
        text: for people.
        data: everything, for programs.
        verdicts: what became of the targets.
        picture: for the README, where there is one.
    """

    text: str
    data: Mapping[str, Any]
    verdicts: Sequence[Verdict] = ()
    picture: Picture | None = None


def written(answer: Answer, path: Path) -> None:
    """Write an answer down, with the machine that it was found on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    verdicts = [one.as_json() for one in answer.verdicts]
    whole = {"machine": machine.described(), **answer.data, "targets": verdicts}
    path.write_text(f"{json.dumps(whole, indent=1)}\n")

"""A real Prometheus for the local fleet, with the configuration, the rules and the console of the repository."""

import json
import os
import re
import shutil
import urllib.request
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from workers.local.processes import LOOPBACK, Child, LocalStackError, Program, answers, free_port, start

#: Where configuration, rules and console lie in the checkout.
OBSERVABILITY = Path(__file__).resolve().parents[2] / "deploy" / "observability"
#: The page of the queues, as Prometheus calls it.
CONSOLE = "consoles/queues.html"
#: Prometheus's own ports begin here.
PORT = 9_090
#: How long it may take to start and to stop, in seconds.
READY_S = 30.0
STOP_S = 15.0
#: The intervals of the configuration that a machine with a person before it makes shorter.
_INTERVALS = re.compile(r"^(  (?:scrape_interval|scrape_timeout|evaluation_interval): ).*$", re.MULTILINE)
_MISSING = (
    "There is no `{name}` here. Install it (Debian and Ubuntu: apt-get install --no-install-recommends prometheus), or "
    "put it on the PATH."
)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus.

    Attributes:
        child: its process.
        url: where it answers.
        home: its folder: configuration, targets, rules and data.
    """

    child: Child
    url: str
    home: Path

    @property
    def console(self) -> str:
        """Where the console of the queues is."""
        return f"{self.url}/{CONSOLE}"

    def page(self, name: str) -> str:
        """Return where one of Prometheus's own pages is: Debian's package has the classic ones alone."""
        classic = f"/classic/{name}"
        return f"{self.url}{classic if answers(self.child, urlsplit(self.url).port or 0, classic) else f'/{name}'}"

    def watch(self, targets: Iterable[tuple[str, str]]) -> None:
        """Scrape these processes from now on, each a role and a URL."""
        write_targets(self.home, targets)

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """Return what an instant query finds, each series by its labels with its value now.

        Raises:
            LocalStackError: Prometheus does not answer, or does not understand the query.
        """
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?{urlencode({'query': query})}", timeout=10) as answer:  # noqa: S310 - our own loopback URL
                found = json.load(answer)["data"]
        except (OSError, ValueError, KeyError) as error:
            raise LocalStackError(f"Prometheus did not answer {query!r}: {error}") from error
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(series["metric"], float(series["value"][1])) for series in found["result"]]

    def sees(self, count: int) -> bool:
        """Whether so many processes are scraped, and all of them answer."""
        up = self.ask('up{job=~"payments-.*"}')
        return len(up) == count and all(value == 1 for _, value in up)


def program(name: str = "prometheus") -> str:
    """Return the absolute path of a program of Prometheus's.

    Raises:
        LocalStackError: it is not installed; the text says how to get it.
    """
    found = shutil.which(name)
    if found is None:
        raise LocalStackError(_MISSING.format(name=name))
    return found


def serve(
    stack: ExitStack,
    home: Path,
    log_path: Path,
    *,
    targets: Iterable[tuple[str, str]],
    port: int | None = None,
    every_s: int = 1,
    source: Path = OBSERVABILITY,
) -> Prometheus:
    """Start Prometheus, to be stopped by `stack`, and return it once it answers.

    Args:
        stack: stops it.
        home: a folder of ours for its configuration and data; made if it is missing.
        log_path: where its output goes.
        targets: the processes to scrape, each a role and a URL.
        port: the port, if it is free; another one otherwise.
        every_s: how often it scrapes and evaluates its rules, in whole seconds.
        source: the folder of configuration, rules and console.

    Raises:
        LocalStackError: it is not installed, or did not start.
    """
    binary = program()
    shutil.rmtree(home / "tsdb", ignore_errors=True)  # a former fleet's series would count for five minutes more
    configure(home, every_s, source)
    write_targets(home, targets)
    taken = free_port(port)
    child = start(stack, _program(binary, home, log_path, taken), stop_seconds=STOP_S)
    child.wait_until(partial(answers, child, taken, "/-/ready"), READY_S)
    return Prometheus(child, f"http://{LOOPBACK}:{taken}", home)


def configure(home: Path, every_s: int, source: Path = OBSERVABILITY) -> None:
    """Put the repository's configuration into a folder, with shorter intervals."""
    (home / "targets").mkdir(parents=True, exist_ok=True)
    text = (source / "prometheus.yml").read_text()
    (home / "prometheus.yml").write_text(_INTERVALS.sub(rf"\g<1>{every_s}s", text))
    for folder in ("rules", "consoles"):
        shutil.copytree(source / folder, home / folder, dirs_exist_ok=True)


def write_targets(home: Path, targets: Iterable[tuple[str, str]]) -> None:
    """Name the processes to scrape; Prometheus notices by itself."""
    jobs: dict[str, list[str]] = {role: [] for role in ("worker", "relay", "monitor", "status")}
    for role, url in targets:
        jobs[role].append(urlsplit(url).netloc)
    for role, addresses in jobs.items():
        path = home / "targets" / f"payments-{role}.json"
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps([{"targets": addresses}]))
        fresh.replace(path)  # half of a file would be no configuration at all


def _program(binary: str, home: Path, log_path: Path, port: int) -> Program:
    return Program(
        argv=(
            binary,
            f"--config.file={home / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'tsdb'}",
            "--storage.tsdb.retention.time=1d",
            f"--web.listen-address={LOOPBACK}:{port}",
            f"--web.console.templates={home / 'consoles'}",
            f"--web.console.libraries={home / 'consoles'}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ),
        env={"PATH": os.environ.get("PATH", os.defpath)},
        log_path=log_path,
        name="Prometheus",
        cwd=home,
    )

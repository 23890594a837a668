"""The command line: `payments ROLE` runs one role, `payments local` and `payments demo` run everything here.

Standard output carries data, standard error talk. Exit codes: 0 done, 1 failed or refused, 2 wrong usage or settings,
4 denied, 5 sent and not known yet what becomes of it.
"""

import shlex
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.table import Table

from store.db import StoreFault, Transient, TransientReason
from workers import sending, settings
from workers.accounts_cli import accounts_app
from workers.acting import ActingError
from workers.audit_cli import audit_app
from workers.connections import events_client
from workers.contracts_cli import contracts_app
from workers.delivery import MissingRedrivePolicyError
from workers.failures_cli import failures_app
from workers.health import NotReadyError
from workers.local import demo as demonstration
from workers.local.fleet import Fleet, FleetOptions, environment, fleet, with_status
from workers.local.logins import with_logins
from workers.local.observing import observed
from workers.local.processes import LocalStackError, keep
from workers.local.stack import Running, StackOptions, infrastructure
from workers.logs import quiet_driver
from workers.people_cli import people_app
from workers.reconcile_cli import reconcile_app
from workers.rights_cli import members_app, policy_app
from workers.roles.migrate import run_migrate
from workers.roles.monitor import run_monitor
from workers.roles.relay import run_relay
from workers.roles.status import run_status
from workers.roles.worker import run_worker
from workers.sandbox.command import provider
from workers.sending import NotTakenError
from workers.settings import FAST_PROFILE, SettingsError
from workers.show_cli import show_app

PROJECT = Path(__file__).parents[1]
DATA_DIR = PROJECT / ".local" / "data"

app = typer.Typer(
    help="Roadcall Payments: pays roadside vendors once, with approval and a full audit.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a rich traceback shows local variables: message bodies among them
)
send_app = typer.Typer(help="Post one message and print its id.", no_args_is_help=True)
app.add_typer(send_app, name="send")
app.add_typer(accounts_app, name="accounts")
app.add_typer(audit_app, name="audit")
app.command("provider")(provider)
app.add_typer(contracts_app)
app.add_typer(failures_app)
app.add_typer(people_app)
app.add_typer(reconcile_app)
app.add_typer(show_app)
app.add_typer(members_app, name="members")
app.add_typer(policy_app, name="policy")
_talk = Console(stderr=True, highlight=False)
_out = Console(highlight=False)


class Stopped(BaseException):
    """A signal asks the process to stop; not an Exception, so that nothing takes it for a failure."""


# -- one role


@app.command()
def worker() -> None:
    """Run a worker: receive, process, settle. Settings come from the environment."""
    raise typer.Exit(run_worker(settings.load()))


@app.command()
def relay() -> None:
    """Run a relay: send what the outbox holds, and prune what need not be kept."""
    raise typer.Exit(run_relay(settings.load()))


@app.command()
def monitor() -> None:
    """Run the monitor: watch queues and tables, check invariants and audit chains. One is enough."""
    raise typer.Exit(run_monitor(settings.load()))


@app.command("status")
def status_role() -> None:
    """Run the read-only HTTP endpoint."""
    raise typer.Exit(run_status(settings.load()))


@app.command()
def migrate() -> None:
    """Bring the database to this release's schema."""
    before, after = run_migrate(settings.load())
    _talk.print(f"schema: {before or 'empty'} -> {after}")


@app.command("settings")
def show_settings() -> None:
    """Print every setting with its default."""
    for name, default in settings.reference():
        _out.print(f"{name}={default}", soft_wrap=True)


# -- everything on this machine

DataDir = Annotated[Path, typer.Option(help="Folder for data, state and logs.")]
Workers = Annotated[int, typer.Option(min=1, max=16, help="Worker processes.")]
Threads = Annotated[int, typer.Option(min=1, max=64, help="Threads per worker.")]
Port = Annotated[int, typer.Option(min=1, max=65_535, help="Port of the status endpoint; another if it is taken.")]
Fsync = Annotated[bool, typer.Option(help="Whether a commit waits for the disk.")]
AwsEndpoint = Annotated[str | None, typer.Option(help="Use this running LocalStack or the like.")]


@app.command()
def local(
    *,
    data_dir: DataDir = DATA_DIR,
    workers: Workers = 1,
    threads: Threads = 8,
    port: Port = 8080,
    json: Annotated[bool, typer.Option("--json", help="Print one line of JSON first.")] = False,
    infra_only: Annotated[bool, typer.Option("--infra-only", help="No fleet; print its environment.")] = False,
    aws_endpoint_url: AwsEndpoint = None,
    fsync: Fsync = True,
) -> None:
    """Run Postgres, a local AWS and the fleet until Ctrl-C."""
    with _stoppable(), _stack(data_dir, aws_endpoint_url, fsync=fsync) as running:
        if infra_only:
            _announce(running, json=json, exports=True)
            _keep_running(running.check)
        with fleet(running, _fleet_options(data_dir, workers, threads, port)) as members:
            _announce(with_status(running, members), json=json, exports=False)
            _keep_running(lambda: _check(running, members))


@app.command()
def demo(
    *,
    incidents: Annotated[int, typer.Option(min=1, max=100_000, help="How many jobs are finished.")] = 25,
    serve: Annotated[bool, typer.Option("--serve", help="Keep running after the summary, until Ctrl-C.")] = False,
    data_dir: DataDir = DATA_DIR,
    workers: Workers = 1,
    threads: Threads = 8,
    port: Port = 8080,
    aws_endpoint_url: AwsEndpoint = None,
    fsync: Fsync = True,
) -> None:
    """Start everything, finish some jobs, approve their payments, and show what became of them."""
    done = False
    with (
        _stoppable(),
        _stack(data_dir, aws_endpoint_url, fsync=fsync) as running,
        fleet(running, _fleet_options(data_dir, workers, threads, port)) as members,
    ):
        done = demonstration.run(running, incidents, _out)
        if serve:
            _announce(with_status(running, members), json=False, exports=False)
            _keep_running(lambda: _check(running, members))
    if not done:
        _talk.print(f"Not every payment was completed; the logs are in {data_dir / 'logs'}.")
        raise typer.Exit(1)


@app.command()
def observe(
    *,
    incidents: Annotated[int, typer.Option(min=1, max=100_000, help="How many jobs are finished.")] = 25,
    once: Annotated[bool, typer.Option("--once", help="End after the summary.")] = False,
    prometheus_port: Annotated[int, typer.Option(min=1, max=65_535, help="Prometheus's; another if taken.")] = 9_090,
    data_dir: DataDir = DATA_DIR,
    workers: Workers = 1,
    threads: Threads = 8,
    port: Port = 8080,
    fsync: Fsync = True,
) -> None:
    """Run everything with a real Prometheus beside it, finish some jobs, and show where to look.

    Prometheus itself must be installed (Debian's package `prometheus`). Exit codes: 0 all was seen, 1 it was not.
    """
    with (
        _stoppable(),
        _stack(data_dir, None, fsync=fsync) as running,
        fleet(running, _fleet_options(data_dir, workers, threads, port)) as members,
        observed(members, data_dir, prometheus_port, _say) as watcher,
    ):
        seen = watcher.ready()
        done = demonstration.run(running, incidents, _out)
        seen = watcher.seen(incidents) and seen
        _out.print(watcher.summary())
        if once:
            raise typer.Exit(0 if done and seen else 1)
        for name, address in watcher.addresses():
            _out.print(f"{name}: {address}", soft_wrap=True)
        _announce(with_status(running, members), json=False, exports=False)
        _keep_running(lambda: _check(running, members))


@contextmanager
def _stack(data_dir: Path, aws_endpoint_url: str | None, *, fsync: bool) -> Generator[Running]:
    postgres_bin = settings.load().postgres_bin
    options = StackOptions(
        data_dir=data_dir,
        fsync=fsync,
        aws_endpoint_url=aws_endpoint_url,
        postgres_bin=Path(postgres_bin) if postgres_bin else None,
        say=_say,
    )
    with infrastructure(options) as running:
        before, after = run_migrate(settings.load(running.environment()))
        _say(f"Schema {after}." if before == after else f"Schema {before or 'empty'} -> {after}.")
        ready = with_logins(running, data_dir)
        keep(data_dir / "environment", _exports(ready).rstrip("\n"), 0o600)  # it holds the database's password
        yield ready


def _fleet_options(data_dir: Path, workers: int, threads: int, port: int) -> FleetOptions:
    _say(f"Fast profile: {', '.join(f'{name}={value}' for name, value in FAST_PROFILE.items())}")
    return FleetOptions(logs=data_dir / "logs", say=_say, workers=workers, threads=threads, port=port)


def _announce(running: Running, *, json: bool, exports: bool) -> None:
    if json:
        sys.stdout.write(f"{running.as_json()}\n")
        sys.stdout.flush()
    elif exports:
        sys.stdout.write(_exports(running))
        sys.stdout.flush()
    else:
        _out.print(_where(running))
    _say("Running. Ctrl-C stops everything.")


def _where(running: Running) -> Table:
    table = Table(title="What runs where", show_header=False, title_justify="left")
    table.add_row("status", running.status_url)
    table.add_row("database", running.database_url.partition("@")[2])
    table.add_row("AWS endpoint", running.aws_endpoint_url)
    table.add_row("event bus", running.event_bus)
    for name, url in running.queues.items():
        table.add_row(f"queue {name}", url)
    return table


def _exports(running: Running) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment(running).items())


def _check(running: Running, members: Fleet) -> None:
    running.check()
    members.check()


def _keep_running(check: Callable[[], None]) -> None:
    try:
        while True:
            check()
            time.sleep(0.5)
    except Stopped:
        _say("Stopping.")
        raise typer.Exit(0) from None


@contextmanager
def _stoppable() -> Generator[None]:
    """Turn SIGINT and SIGTERM into Stopped, so that everything that was started is stopped on the way out."""

    def stop(_number: int, _frame: Any) -> None:
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except Stopped:
        _say("Stopped before it was done.")
        raise typer.Exit(130) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    _talk.print(line, soft_wrap=True, markup=False)


# -- one message


@send_app.command("work-completed")
def send_work_completed(
    *,
    incident: Annotated[UUID | None, typer.Option(help="The incident; a fresh id if absent.")] = None,
    vendor: Annotated[UUID | None, typer.Option(help="The vendor; a fresh id if absent.")] = None,
    company: Annotated[UUID | None, typer.Option(help="The company whose dispatchers may decide.")] = None,
    amount_cents: Annotated[int, typer.Option(help="The price, in minor units.")] = 15_000,
    currency: Annotated[str, typer.Option(help="ISO 4217.")] = "USD",
    description: Annotated[str, typer.Option(help="The line item's text.")] = "Tire Replacement - Base Service",
) -> None:
    """Announce a finished job on the bus."""
    found = settings.load()
    found.require("event_bus_name")
    line = {"description": description, "quantity": 1, "unitPriceCents": amount_cents}
    detail = sending.work_completed(
        incident_id=incident or uuid4(),
        vendor_id=vendor or uuid4(),
        priced={"lineItems": [line], "currency": currency},
        more={"companyId": str(company)} if company else None,
    )
    sending.put_work(events_client(), found.event_bus_name or "", [detail])
    _say(f"incident {detail['incidentId']}, vendor {detail['vendorId']}")
    _out.print(detail["eventId"])


def main() -> None:
    """Run the command line and turn expected trouble into one clear line and an exit code."""
    quiet_driver()
    try:
        app()
    except SettingsError as error:
        _fail(f"Settings: {error}", 2)
    except (ActingError, LocalStackError, MissingRedrivePolicyError, NotReadyError, NotTakenError) as error:
        _fail(str(error), 1)
    except Transient as error:
        _fail(_away(error), 1)
    except StoreFault as error:
        _fail(f"The database did not answer as it should: {error}", 1)
    except (BotoCoreError, ClientError) as error:
        _fail(f"AWS did not answer as it should: {error}", 1)


def _away(error: Transient) -> str:
    if error.reason is not TransientReason.CONNECTION:
        return f"The database did not answer as it should: {error}"
    return (
        f"The database cannot be reached ({error}). Does it run (on this machine: make run), and is it the one that "
        "PAYMENTS_DATABASE_URL or AURORA_ENDPOINT names?"
    )


def _fail(text: str, code: int) -> None:
    _talk.print(text, style="red", markup=False, soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()

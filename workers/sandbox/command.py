"""`payments provider`: runs the payment provider of our own until it is told to stop."""

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from workers.sandbox.books import Books
from workers.sandbox.events import SOURCE_DEFAULT, BusPublisher, Delivery, Disorder
from workers.sandbox.journal import JournalError
from workers.sandbox.plan import Fault, Plan
from workers.sandbox.server import LOOPBACK, Sandbox

PORT_DEFAULT = 12_111
_talk = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class ProviderOptions:
    """How to run the provider.

    Attributes:
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        journal: the file that the books survive in.
        event_bus: the EventBridge bus that events go to; the client finds region and credentials by itself.
        event_source: what the events' source is called there.
        disorder: how the delivery of events departs from once and in order.
        seed: what the plan of faults comes from.
        rates: the share of requests that each fault strikes.
        timeout_s: after how long an answer comes that nobody waits for any more.
        api_key: the only key that is accepted.
    """

    host: str = LOOPBACK
    port: int = PORT_DEFAULT
    journal: Path | None = None
    event_bus: str | None = None
    event_source: str = SOURCE_DEFAULT
    disorder: Disorder = field(default_factory=Disorder)
    seed: int = 0
    rates: Mapping[Fault, float] = field(default_factory=dict)
    timeout_s: float = 30.0
    api_key: str | None = None


def run(options: ProviderOptions) -> int:
    """Run the provider until SIGTERM or SIGINT; return the exit code. For the main thread of a process."""
    with ExitStack() as stack:
        stopped = stack.enter_context(_told_to_stop())
        try:
            print(_started(stack, options), flush=True)  # noqa: T201 - the one line of data
        except (ValueError, JournalError) as error:
            _talk.print(f"error: {error}", soft_wrap=True, markup=False)
            return 1
        except OSError as error:
            text = f"error: cannot listen on {options.host}:{options.port}: {error.strerror}"
            _talk.print(text, soft_wrap=True, markup=False)
            return 1
        stopped.wait()
    return 0


def _started(stack: ExitStack, options: ProviderOptions) -> str:
    """Start everything, to be stopped by the stack, and return the URL."""
    plan = Plan(options.seed, options.rates, timeout_s=options.timeout_s)
    books = Books(options.journal)
    stack.callback(books.close)
    delivery = _delivery(books, options, options.event_bus) if options.event_bus else None
    sandbox = Sandbox(books, plan, host=options.host, port=options.port, api_key=options.api_key)
    url = sandbox.start()
    stack.callback(sandbox.stop)
    if delivery:
        delivery.start()
        stack.callback(delivery.stop)
    return url


def provider(  # noqa: PLR0913 - a command line's options
    *,
    host: Annotated[
        str | None,
        typer.Option(help=f"Address to listen on; {LOOPBACK} unless given. Who reaches it can do everything with it."),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = PORT_DEFAULT,
    journal: Annotated[
        Path | None, typer.Option(help="File in which the books survive; without it they end with the process.")
    ] = None,
    event_bus: Annotated[
        str | None, typer.Option(metavar="NAME", help="EventBridge bus to put events on; AWS settings as usual.")
    ] = None,
    event_source: Annotated[str, typer.Option(metavar="NAME", help="Source of those events.")] = SOURCE_DEFAULT,
    event_repeat: Annotated[float, typer.Option(min=0, max=1, help="Share of events that are sent twice.")] = 0.0,
    event_hold: Annotated[float, typer.Option(min=0, max=1, help="Share of events that later ones overtake.")] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed and requests give the same faults.")] = 0,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=RATE", help=f"Share of requests that go wrong so; repeatable: {', '.join(Fault)}."),
    ] = None,
    timeout_s: Annotated[float, typer.Option(min=0, help="After how long `timeout` and `late` answer.")] = 30.0,
    api_key: Annotated[
        str | None, typer.Option(help="The only key to accept; without it, any that begins with sk_test_.")
    ] = None,
) -> None:
    """Run a payment provider that behaves like Stripe: keys, refusals, events, and faults on demand. No money moves.

    It prints its URL once it listens, answers GET /health, and ends well on SIGTERM or Ctrl-C.

    Below /_control/ it is arranged in JSON, and no fault strikes there:

    - GET state

    - PUT plan {seed, rates, slow_s, timeout_s, next}, outage {mode: off|reset|503}, unauthorized {on}

    - PUT balance {usd: n|null}, accounts/ID {state: ok|closed|no_capability|disabled|missing}

    - POST clock {advance_s}, prune, payouts {account}, payouts/ID {status: paid|failed|canceled, failure_code}
    """
    try:
        rates = parse_rates(fault or ())
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--fault") from None
    options = ProviderOptions(
        host=host or LOOPBACK,
        port=port,
        journal=journal,
        event_bus=event_bus,
        event_source=event_source,
        disorder=Disorder(seed, event_repeat, event_hold, 5 if event_hold else 1),
        seed=seed,
        rates=rates,
        timeout_s=timeout_s,
        api_key=api_key,
    )
    raise typer.Exit(run(options))


def parse_rates(texts: Sequence[str]) -> dict[Fault, float]:
    """Return the rates that are written as `NAME=RATE`.

    Raises:
        ValueError: one is not, or they are no shares.
    """
    rates: dict[Fault, float] = {}
    for text in texts:
        name, _, rate = text.partition("=")
        if name not in set(Fault):
            raise ValueError(f"'{name}' is no fault: {', '.join(Fault)}")
        try:
            rates[Fault(name)] = float(rate)
        except ValueError:
            raise ValueError(f"'{text}' is not NAME=RATE, such as lost_after=0.05") from None
    Plan(rates=rates)  # refuses what is no share
    return rates


def _delivery(books: Books, options: ProviderOptions, bus: str) -> Delivery:
    """Return the delivery of events to a bus.

    Raises:
        ValueError: the AWS client lacks a setting.
    """
    import boto3  # noqa: PLC0415 - the provider alone needs no AWS
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - the same

    try:
        client = boto3.client("events")
    except BotoCoreError as error:
        raise ValueError(f"no client for the event bus: {error}") from error
    return Delivery(books, BusPublisher(client, bus), source=options.event_source, disorder=options.disorder)


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set, and put their handlers back afterwards."""
    stopped = threading.Event()

    def stop(_number: int, _frame: Any) -> None:
        stopped.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""`payments failures` and `payments replay`: what could not be processed and why, and how one goes back to its queue.

Neither ever prints a body: the database has none, and what the dead-letter queue holds may be about people.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from threading import Event
from typing import Annotated, Any, NoReturn
from uuid import UUID, uuid4

import typer
from rich.console import Console

from contracts.envelope import Flaw, Queue
from contracts.ids import as_uuid
from contracts.outcome import Outcome
from store import failures
from store.db import Pool
from store.failures import REPLAY_REASON_CHARS_MAX, FailureView
from workers import settings
from workers.connections import opened_pool, sqs_client
from workers.delivery import MissingRedrivePolicyError, inbound_queue
from workers.replay import Order, Replayed, Replayer, ReplayError, StoppedError, replay_told, replayed, told
from workers.roles.process import stop_signal
from workers.settings import Settings

LIMIT_MAX = 1_000
STOPPED = 130

#: Which setting names the queue.
_QUEUE_SETTINGS: Mapping[Queue, str] = {
    Queue.EVENTS: "event_queue_url",
    Queue.COMMANDS: "command_queue_url",
    Queue.PAYOUTS: "payout_queue_url",
}
#: What a reason asks for, where more can be said of it than of its outcome.
_NEXT_BY_REASON: Mapping[str, str] = {
    Flaw.UNKNOWN_SOURCE: (
        "If this producer is ours, add its source to PAYMENTS_WORK_SOURCES, restart the workers, and replay it."
    ),
    Flaw.UNKNOWN_KIND: "Replay it once a release runs that knows this kind; before that it would fail again.",
    Flaw.UNKNOWN_VERSION: "Replay it once a release runs that knows this version; before that it would fail again.",
    Flaw.WRONG_QUEUE: "Its sender has to post it to the queue of its kind; replayed, it would fail again.",
}
_NEXT: Mapping[Outcome, str] = {
    Outcome.INVALID: "Its sender has to correct it and send it again; replayed to this release, it would fail again.",
    Outcome.FAULT: "A bug, or a broken promise of ours. Mend it; if its queue has given it up by then, replay it.",
    Outcome.RETRY: "Its queue gives it up about now. Once the cause is over, replay it.",
}

failures_app = typer.Typer()
_talk = Console(stderr=True, highlight=False)
_out = Console(highlight=False)


class Failed(StrEnum):
    """The outcomes that leave a failure."""

    INVALID = "invalid"
    FAULT = "fault"
    RETRY = "retry"


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@failures_app.command("failures")
def list_failures(
    *,
    limit: Annotated[int, typer.Option(min=1, max=LIMIT_MAX, help="At most so many, the newest first.")] = 20,
    queue: Annotated[Queue | None, typer.Option(help="Only those of this queue.")] = None,
    outcome: Annotated[
        Failed | None,
        typer.Option(help="Only those that ended so: never readable, a bug, or still failing on the last receives."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Only those with exactly this reason, such as `schema`.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that were replayed or handled and have not failed again.")
    ] = False,
    json: Json = False,
) -> None:
    """List messages that could not be processed, and why; never their bodies."""
    with opened_pool(settings.load(), "failures", size_max=1) as pool:
        found = failures.recent(
            pool,
            limit=limit + 1,
            queue=queue,
            outcome=Outcome(outcome) if outcome else None,
            reason=reason,
            settled=everything,
        )
    shown, more = found[:limit], len(found) > limit
    if json:
        _out.print_json(data={"failures": [_wire(failure) for failure in shown], "more": more}, ensure_ascii=True)
        return
    for failure in shown:
        _print(_told(failure))
    _say(_summary(len(shown), more=more, everything=everything))


@failures_app.command()
def replay(
    failure_id: Annotated[
        str, typer.Argument(metavar="FAILURE_ID", help="The failure, as `payments failures` lists it.")
    ],
    *,
    actor: Annotated[UUID, typer.Option(help="Who you are: the id that the record will name.")],
    reason: Annotated[str, typer.Option(help="Why, for people; up to 500 characters.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Find and check the message; change nothing.")] = False,
    json: Json = False,
) -> None:
    """Put one failed message back into its queue, from its dead-letter queue; who and why is on record before."""
    wanted = _failure_id(failure_id)
    order = Order(uuid4(), actor, _reason(reason))
    found = settings.load()
    try:
        with opened_pool(found, "replay", size_max=1) as pool, stop_signal() as stop:
            failure = _known(pool, wanted)
            replayer = _replayer(found, failure, stop)
            if dry_run:
                with replayer.found(failure):
                    done = None
            else:
                done = replayer.replay(pool, failure, order)
    except StoppedError as stopped:
        _fail(str(stopped), STOPPED)
    except (ReplayError, MissingRedrivePolicyError) as trouble:
        _fail(str(trouble), 1)
    if json:
        _out.print_json(data=_replayed_wire(failure, order, done))
    else:
        _print(_replayed(failure, done))


def _failure_id(text: str) -> UUID:
    wanted = as_uuid(text)
    if wanted is None:
        raise typer.BadParameter("not a UUID; `payments failures` lists the ids", param_hint="FAILURE_ID")
    return wanted


def _reason(text: str) -> str:
    reason = text.strip()
    if not 0 < len(reason) <= REPLAY_REASON_CHARS_MAX or not reason.isprintable():
        raise typer.BadParameter(
            f"needs 1 to {REPLAY_REASON_CHARS_MAX} printable characters on one line", param_hint="--reason"
        )
    return reason


def _known(pool: Pool, failure_id: UUID) -> FailureView:
    failure = failures.find(pool, failure_id)
    if failure is None:
        raise ReplayError(f"There is no failure {failure_id}. `payments failures --all` lists what there is.")
    if failure.sender is None and failure.queue != Queue.EVENTS:
        raise ReplayError("It is not known who had sent it, so no worker would take it: let its sender send it again.")
    return failure


def _replayer(found: Settings, failure: FailureView, stop: Event) -> Replayer:
    queue = Queue(failure.queue)
    name = _QUEUE_SETTINGS[queue]
    found.require(name)
    client = sqs_client(found, connections=1)
    return Replayer(client, inbound_queue(client, queue, getattr(found, name)), say=_say, stop=stop)


def _told(failure: FailureView) -> str:
    """Return a failure in a few lines for people."""
    tries = "once" if failure.attempts == 1 else f"{failure.attempts} times"
    lines = [
        f"{failure.failure_id}  {failure.queue}  {failure.kind or 'kind unknown'}",
        f"  {failure.outcome}: {failure.reason}{f' ({failure.detail})' if failure.detail else ''}",
        f"  tried {tries}; first sent {told(failure.first_sent_at)}, last failed {told(failure.last_failed_at)}",
        f"  sent by {failure.sender or 'nobody that is known'}",
        f"  {replay_told(failure)}" if failure.replayed_at else "  not replayed",
        f"  {_next(failure)}",
    ]
    return "\n".join(lines)


def _next(failure: FailureView) -> str:
    """Say what to do about a failure."""
    if failure.handled_at:
        return f"Nothing to do: it was handled at {told(failure.handled_at)}: {failure.handled_as}."
    if replayed(failure):
        return "Nothing to do here: if it has failed again, it is listed under an id of its own."
    return _NEXT_BY_REASON.get(failure.reason, _NEXT[failure.outcome])


def _summary(count: int, *, more: bool, everything: bool) -> str:
    hidden = "" if everything else " Those that were replayed or handled since are left out: --all shows them."
    if not count:
        return f"No failures.{hidden}"
    counted = f"{count} failure{'s' if count > 1 else ''}{', and there are more: --limit' if more else ''}."
    return f"{counted}{hidden}\nPut one back: payments replay ID --actor YOUR_UUID --reason TEXT"


def _replayed(failure: FailureView, done: Replayed | None) -> str:
    message = f"{failure.kind or 'message'} {failure.sqs_message_id} ({failure.body_bytes} bytes)"
    if done is None:
        return (
            f"Would put {message} back into {failure.queue}: it is a dead letter, and its body is the one that failed."
        )
    return f"Put {message} back into {failure.queue}, as {done.sqs_message_id}. If it fails again, it is a new failure."


def _replayed_wire(failure: FailureView, order: Order, done: Replayed | None) -> dict[str, Any]:
    return {
        "failureId": str(failure.failure_id),
        "queue": failure.queue,
        "dryRun": done is None,
        "replayId": str(order.replay_id) if done else None,
        "sqsMessageId": done.sqs_message_id if done else None,
        "deadLetterDeleted": not done.left_over if done else False,
    }


def _wire(failure: FailureView) -> dict[str, Any]:
    """Return a failure as JSON; times are RFC 3339 in UTC."""
    replay = None
    if failure.replayed_at:
        replay = {
            "at": _time(failure.replayed_at),
            "actorId": str(failure.replayed_by),
            "reason": failure.replay_reason,
            "sentAt": _time(failure.replay_sent_at),
        }
    return {
        "failureId": str(failure.failure_id),
        "queue": failure.queue,
        "sqsMessageId": failure.sqs_message_id,
        "kind": failure.kind,
        "messageKey": failure.message_key,
        "outcome": failure.outcome,
        "reason": failure.reason,
        "detail": failure.detail,
        "bodyBytes": failure.body_bytes,
        "sender": failure.sender,
        "attempts": failure.attempts,
        "firstSentAt": _time(failure.first_sent_at),
        "firstFailedAt": _time(failure.first_failed_at),
        "lastFailedAt": _time(failure.last_failed_at),
        "replay": replay,
        "handledAs": failure.handled_as,
        "handledAt": _time(failure.handled_at),
    }


def _time(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at else None


def _print(text: str) -> None:
    _out.print(text, soft_wrap=True, markup=False)


def _say(line: str) -> None:
    _talk.print(line, soft_wrap=True, markup=False)


def _fail(text: str, code: int) -> NoReturn:
    _talk.print(text, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)

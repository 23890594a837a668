"""A person at the command line: whose token it is, what they send, and what becomes of it."""

import base64
import json
from typing import Any, NoReturn
from uuid import UUID

import typer
from rich.console import Console

from contracts import ids
from contracts.ids import as_uuid
from contracts.refusals import DENIALS, MESSAGES, Refusal
from store import desk
from store.db import Pool
from store.desk import Ended
from workers import clock, sending
from workers.connections import sqs_client
from workers.sending import Sender
from workers.settings import Settings

#: How often the database is asked what became of a command, in seconds.
LOOK_EVERY_S = 0.2
#: Exit codes: refused for what the payment is, refused for who sent it, and not known yet.
REFUSED, DENIED, UNKNOWN = 1, 4, 5
_talk = Console(stderr=True, highlight=False)
_out = Console(highlight=False)


class ActingError(Exception):
    """Nothing was sent; the text says why and what to do."""


def person(settings: Settings) -> Sender:
    """Return the person whose token the environment or a file holds.

    The token is only read here, not judged: the service does that.

    Raises:
        ActingError: there is no token, or it is none.
    """
    if settings.actor_token is not None:
        token = settings.actor_token.get_secret_value().strip()
    elif settings.actor_token_file is not None:
        try:
            token = settings.actor_token_file.read_text().strip()
        except OSError as error:
            raise ActingError(f"{settings.actor_token_file} cannot be read: {error.strerror}.") from None
        except UnicodeDecodeError:
            raise ActingError(f"{settings.actor_token_file} holds no access token: it is no text.") from None
    else:
        raise ActingError(
            "No access token: put one into PAYMENTS_ACTOR_TOKEN, or name its file in PAYMENTS_ACTOR_TOKEN_FILE."
            " On the local stack: export PAYMENTS_ACTOR_TOKEN=$(payments token dispatcher)"
        )
    return Sender(_subject(token), token)


def _subject(token: str) -> UUID:
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        subject = as_uuid(claims["sub"])
    except (ValueError, LookupError, TypeError):
        subject = None
    if subject is None:
        raise ActingError("What is given as an access token is none: it names no `sub`.")
    return subject


def send(settings: Settings, message: dict[str, Any]) -> None:
    """Post a command to the command queue.

    Raises:
        SettingsError: the queue is not named.
    """
    settings.require("command_queue_url")
    sending.post(sqs_client(settings, connections=1), settings.command_queue_url or "", message)


def wait(pool: Pool, message: dict[str, Any], *, within_s: float) -> Ended | None:
    """Wait for what becomes of a command; None when its time is over."""
    command_id = UUID(message["commandId"])
    named = as_uuid(message.get("paymentId"))
    about = [ids.derive("command", str(command_id)), *([named] if named else [])]
    deadline = clock.monotonic() + within_s
    while (found := desk.ended(pool, message["type"], str(command_id), about)) is None:
        if clock.monotonic() > deadline:
            return None
        clock.sleep(LOOK_EVERY_S)
    return found


def tell(message: dict[str, Any], found: Ended | None, *, within_s: float) -> None:
    """Print what became of a command; end with the exit code that says why where it had no effect."""
    if found is None:
        sent = f"Command {message['commandId']} was sent"
        _fail(f"{sent}, and nothing has come of it within {within_s:.0f} s: it may yet. Are workers running?", UNKNOWN)
    if found.outcome == "refused":
        _fail(_refused(found), DENIED if found.code in DENIALS else REFUSED)
    told = found.detail
    if "status" in told:
        _out.print(f"{found.event}: {told['status']}, version {told['paymentVersion']}", soft_wrap=True)
        if told.get("separateReleaser"):
            release = f"payments process {told['paymentId']}"
            _talk.print(f"Now somebody who has not approved it releases it: {release}", soft_wrap=True)
    else:
        _out.print("nothing to change: it is so already" if found.outcome == "ignored" else found.outcome)


def _refused(found: Ended) -> str:
    text = found.detail.get("message") or MESSAGES.get(Refusal(found.code), "") if found.code else ""
    field = f" (field {found.detail['field']})" if found.detail.get("field") else ""
    status, version = found.detail.get("currentStatus"), found.detail.get("currentVersion")
    stands = f" The payment is {status}, version {version}." if status else ""
    return f"Refused, {found.code}{field}: {text}{stands}"


def _fail(text: str, code: int) -> NoReturn:
    _talk.print(text, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)

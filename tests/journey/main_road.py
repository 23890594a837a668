"""The journey of one payment, seen from outside: boto3, SQL, HTTP and a token, nothing of the service is imported.

Against a running stack: `payments local --json | python tests/journey/main_road.py` reads the line of JSON and
travels. It sends the same WorkCompleted 20 times, then the approval three times, and checks what came of it.
"""

import json
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import psycopg
from joserfc import jwt
from joserfc.jwk import RSAKey
from psycopg.rows import dict_row

PATIENCE_S = 60.0
#: The local stack's user pool, and whom it knows the platform's directory as.
ISSUER, CLIENT_ID = "https://cognito-idp.local.invalid/local_pool", "payments-local"
DIRECTORY = "00000000-0000-4000-8000-00000000a003"
#: What the sandbox provider takes as a key.
PROVIDER_KEY = "sk_test_sandbox"
REPEATS = 20
#: What the provider has told of a payment, by way of the bus: that it has moved the money.
OF_PROVIDER = "SELECT outcome FROM message_inbox WHERE consumer = 'ProviderEvent' AND payment_id = %s"
ROAD = ["PaymentCreated", "PaymentApproved", "PaymentProcessing", "PaymentCompleted"]


class Journey:
    """A traveller's view of a stack: its queues, its bus, its database."""

    def __init__(self, stack: dict[str, Any]) -> None:
        session = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=stack["region"])
        self.sqs = session.client("sqs", endpoint_url=stack["aws_endpoint_url"])
        self.bus = session.client("events", endpoint_url=stack["aws_endpoint_url"])
        self.stack = stack
        self.incident, self.vendor, self.company = str(uuid4()), str(uuid4()), str(uuid4())
        self.dispatcher = str(uuid4())
        self.admin: str | None = None
        self.events: dict[str, set[str]] = defaultdict(set)

    def query(self, text: str, *values: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.stack["database_url"], row_factory=dict_row) as connection:
            return connection.execute(text, values).fetchall()

    def finish_job(self) -> None:
        """Put the very same event on the bus, again and again."""
        detail = {
            "eventId": str(uuid4()),
            "timestamp": datetime.now(UTC).isoformat(),
            "version": "1.0",
            "incidentId": self.incident,
            "vendorId": self.vendor,
            "companyId": self.company,
            "completedAt": datetime.now(UTC).isoformat(),
            "workDetails": {"serviceType": "tire_replacement", "duration": 45, "photos": ["a", "b"]},
            "pricing": {
                "basePrice": 12000,
                "mileageCharge": 3000.0,
                "additionalCharges": [{"description": "Night surcharge", "amount": 2500}],
            },
        }
        entry = {
            "EventBusName": self.stack["event_bus"],
            "Source": "roadcall.incident",
            "DetailType": "WorkCompleted",
            "Detail": json.dumps(detail),
        }
        for _ in range(REPEATS // 10):
            answer = self.bus.put_events(Entries=[entry] * 10)  # type: ignore[list-item]
            assert answer["FailedEntryCount"] == 0

    def token(self, subject: str, *groups: str) -> str:
        """An access token of the stack's own user pool."""
        at = int(time.time())
        claims = {
            "sub": subject,
            "cognito:groups": list(groups),
            "iss": ISSUER,
            "client_id": CLIENT_ID,
            "token_use": "access",
            "iat": at,
            "exp": at + 900,
            "jti": str(uuid4()),
        }
        key = RSAKey.import_key(json.loads((Path(self.stack["token_keys_file"]).parent / "key.json").read_text()))
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)

    def enrol(self, subject: str, role: str, **more: str) -> None:
        """Tell the service of a member, as the platform's directory would, and wait until it knows."""
        command = {
            "type": "MembershipChanged",
            "commandId": str(uuid4()),
            "actor": {"id": DIRECTORY, "type": "system"},
            "sub": subject,
            "role": role,
            "enabled": True,
            **more,
        }
        self.sqs.send_message(QueueUrl=self.stack["queues"]["commands"], MessageBody=json.dumps(command))
        until("the membership", lambda: bool(self.query("SELECT 1 FROM memberships WHERE sub = %s", subject)))

    def signed_in(self) -> str:
        """A token of an admin, who may read everything."""
        if self.admin is None:
            self.admin = str(uuid4())
            self.enrol(self.admin, "admin")
        return self.token(self.admin, "admin")

    def approve(self, payment_id: str) -> None:
        """Post the same approval twice, and once more under another id, as a second click would."""
        command = {
            "type": "ApprovePayment",
            "commandId": str(uuid4()),
            "actor": {"id": self.dispatcher, "type": "user", "role": "dispatcher", "companyId": self.company},
            "actorToken": self.token(self.dispatcher, "dispatcher"),
            "paymentId": payment_id,
            "approvedBy": self.dispatcher,
            "amountCents": 17500,
            "currency": "USD",
            "notes": "looks right",
        }
        for message in (command, command, {**command, "commandId": str(uuid4())}):
            self.sqs.send_message(QueueUrl=self.stack["queues"]["commands"], MessageBody=json.dumps(message))

    @contextmanager
    def watching(self) -> Iterator[str]:
        """Subscribe a queue of our own to what the service announces; yield its URL."""
        name, bus = f"journey-{uuid4().hex[:12]}", self.stack["event_bus"]
        url = self.sqs.create_queue(QueueName=name)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        self.bus.put_rule(Name=name, EventBusName=bus, EventPattern='{"source": ["roadcall.payment"]}')
        self.bus.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "journey", "Arn": arn}])
        try:
            yield url
        finally:
            self.bus.remove_targets(Rule=name, EventBusName=bus, Ids=["journey"])
            self.bus.delete_rule(Name=name, EventBusName=bus)
            self.sqs.delete_queue(QueueUrl=url)

    def listen(self, url: str) -> set[str]:
        """Take in what has been announced of our incident since the last look; return all that has been, so far."""
        for message in self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            event = json.loads(message["Body"])
            if event["detail"].get("incidentId") == self.incident:
                self.events[event["detail-type"]].add(event["detail"]["eventId"])
            self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return set(self.events)

    def transfers(self, payment_id: str) -> list[dict[str, Any]]:
        """What the provider has moved for a payment, by the provider's own books."""
        asked = urllib.request.Request(  # noqa: S310 - a loopback URL of the stack's own
            f"{self.stack['provider_url']}/v1/transfers?transfer_group={payment_id}",
            headers={"Authorization": f"Bearer {PROVIDER_KEY}"},
        )
        with urllib.request.urlopen(asked, timeout=5) as answer:  # noqa: S310 - the same
            found: list[dict[str, Any]] = json.load(answer)["data"]
            return found

    def left_in(self, queue: str) -> int:
        """How many messages a queue holds: visible, in flight and delayed."""
        url = self.stack["queues"][queue]
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        found: Any = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]  # type: ignore[arg-type]
        return sum(int(found[name]) for name in names)


def until(what: str, found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not found():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.1)


def travel(stack: dict[str, Any]) -> None:
    """Travel the main road and check every promise on the way.

    Raises:
        AssertionError: a promise is broken.
    """
    journey = Journey(stack)
    with journey.watching() as watcher:
        journey.finish_job()
        of_incident = "SELECT payment_id::text AS id FROM payments WHERE incident_id = %s"
        until("the payment", lambda: bool(journey.query(of_incident, journey.incident)))
        payment_id = journey.query(of_incident, journey.incident)[0]["id"]
        journey.enrol(journey.dispatcher, "dispatcher", companyId=journey.company)
        journey.approve(payment_id)
        until("every event", lambda: set(ROAD) <= journey.listen(watcher))
        until("the provider's own word", lambda: bool(journey.query(OF_PROVIDER, payment_id)))
        inbound = ("events", "commands", "payouts", "events_dlq", "commands_dlq", "payouts_dlq")
        until("empty queues", lambda: all(journey.left_in(queue) == 0 for queue in inbound))
        journey.listen(watcher)
    check_payment(journey, payment_id)
    check_history(journey, payment_id)
    check_payout(journey, payment_id)
    assert dict(journey.events) == {step: journey.events[step] for step in ROAD}, journey.events
    assert all(len(ids) == 1 for ids in journey.events.values()), journey.events


def check_payment(journey: Journey, payment_id: str) -> None:
    payments = journey.query("SELECT * FROM payments WHERE incident_id = %s", journey.incident)
    assert len(payments) == 1
    assert payments[0]["status"] == "completed"
    assert (payments[0]["amount_cents"], payments[0]["currency"]) == (17500, "USD")
    assert str(payments[0]["approved_by"]) == journey.dispatcher
    lines = journey.query(
        "SELECT description, quantity, total_cents FROM payment_line_items WHERE payment_id = %s ORDER BY line_no",
        payment_id,
    )
    assert [tuple(line.values()) for line in lines] == [
        ("tire_replacement - Base Service", 1, 12000),
        ("Mileage Charge", 1, 3000),
        ("Night surcharge", 1, 2500),
    ]


def check_history(journey: Journey, payment_id: str) -> None:
    history = journey.query(
        "SELECT seq, new_status, prev_hash, entry_hash FROM payment_audit_log WHERE payment_id = %s ORDER BY seq",
        payment_id,
    )
    assert [(row["seq"], row["new_status"]) for row in history] == [
        (1, "pending_approval"),
        (2, "approved"),
        (3, "processing"),
        (4, "completed"),
    ]
    assert [row["prev_hash"] for row in history] == [None, *(row["entry_hash"] for row in history[:-1])]
    inbox = journey.query(
        "SELECT consumer, outcome FROM message_inbox WHERE payment_id = %s ORDER BY consumer, outcome", payment_id
    )
    answered = [tuple(row.values()) for row in inbox if row["consumer"] in {"ExecutePayout", "ProviderEvent"}]
    assert [tuple(row.values()) for row in inbox if tuple(row.values()) not in answered] == [
        ("ApprovePayment", "applied"),
        ("ApprovePayment", "ignored"),
        ("ProcessPayment", "applied"),
        ("WorkCompleted", "applied"),
    ]
    assert answered in (  # the answer and the event tell the same, and whichever is first has the effect
        [("ExecutePayout", "applied"), ("ProviderEvent", "ignored")],
        [("ExecutePayout", "ignored"), ("ProviderEvent", "applied")],
    )
    asked = journey.query(
        "SELECT published_at FROM outbox WHERE aggregate_id = %s AND destination = 'approvals'", payment_id
    )
    assert len(asked) == 1
    assert asked[0]["published_at"] is not None


def check_payout(journey: Journey, payment_id: str) -> None:
    attempts = journey.query("SELECT * FROM payout_attempts WHERE payment_id = %s", payment_id)
    assert [(row["attempt_no"], row["state"], row["amount_cents"]) for row in attempts] == [(1, "succeeded", 17500)]
    transfers = journey.transfers(payment_id)
    assert [(made["amount"], made["currency"], made["destination"]) for made in transfers] == [
        (17500, "usd", f"acct_{journey.vendor.replace('-', '')}")
    ]
    assert transfers[0]["id"] == attempts[0]["provider_object_id"]
    assert transfers[0]["metadata"]["idempotencyKey"] == attempts[0]["idempotency_key"]


if __name__ == "__main__":
    travel(json.loads(sys.stdin.readline()))
    sys.stdout.write("one payment, paid once, every step audited and announced\n")

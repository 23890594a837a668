"""What the goldens hold: the inbound samples as they are read, and what is written from the models.

`test_samples.py` and `test_published.py` compare; `python -m tests.contracts.regenerate` writes what is generated.
The inbound samples are written by hand: they are what producers send, never what we would like them to send.
"""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from contracts import ids
from contracts.envelope import Arrival, Queue
from contracts.inbound import KINDS, Cause, Parsed
from contracts.lifecycle import Status
from contracts.outbound import (
    Approval,
    ApprovalRequest,
    ExecutePayoutOrder,
    OutboundMessage,
    PaymentApprovalRecorded,
    PaymentApproved,
    PaymentAttemptFailed,
    PaymentCancelled,
    PaymentCompleted,
    PaymentCreated,
    PaymentEvent,
    PaymentFailed,
    PaymentHeld,
    PaymentProcessing,
    PaymentReleased,
    PaymentReversed,
    ProcessPaymentOrder,
    ReconcileAttemptOrder,
    VendorPayoutFailed,
    VendorPayoutInTransit,
    VendorPayoutPaid,
    command_rejected,
    conflict,
    work_rejected,
)
from contracts.payment import PayerType, Payment, Source
from contracts.refusals import Refusal
from contracts.traces import TraceContext
from tests.kit import messages as m

HERE = Path(__file__).parent
SCHEMAS = HERE.parents[1] / "contracts" / "schemas"
#: The baseline that `python -m tests.contracts.release_baseline` writes, and nothing else.
RELEASED = SCHEMAS / "released.json"
INBOUND = HERE / "samples" / "inbound"
OUTBOUND = HERE / "samples" / "outbound"
GOLDEN = HERE / "samples" / "golden.json"
LIFECYCLE = HERE / "lifecycle.golden.txt"

DISPATCHER = UUID("c2d3e4f5-0617-4829-8a3b-4c5d6e7f0005")
CREATED_AT = datetime(2026, 3, 1, 12, 0, 4, 123456, tzinfo=UTC)
NOW = datetime(2026, 3, 1, 12, 5, 1, 500000, tzinfo=UTC)
SOURCE_KEY = "work:0a6f7a52-9a55-4b0a-8f36-6d2f4a1c0001:5b1e2f63-1c1f-4a77-9d55-7e3a5b2d0002:b1c2d3e4"
CAUSE = Cause(
    kind="ApprovePayment",
    message_key="e1e2e3e4-0000-4000-8000-000000000002",
    fingerprint=bytes(range(32)),
    correlation_id="incident-4711",
    queue=Queue.COMMANDS,
    sent_at=NOW,
)
#: The trace that every outbound sample is sent in: the example of the recommendation.
TRACE = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")


def snake(kind: str) -> str:
    """The name of a kind as its sample's file name begins."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()


def inbound_samples() -> dict[str, str]:
    """Every raw inbound body by its file name."""
    return {path.name: path.read_text() for path in sorted(INBOUND.glob("*.json"))}


def expected_kind(name: str) -> str:
    """The kind that an inbound sample's file name begins with."""
    [kind] = [kind for kind in KINDS if Path(name).stem.startswith(snake(kind))]
    return kind


def home(name: str) -> Queue:
    """The queue that an inbound sample arrives on."""
    kind = expected_kind(name)
    if kind in {"WorkCompleted", "ProviderEvent"}:
        return Queue.EVENTS
    own = kind in {"ExecutePayout", "ReconcileAttempt"} or name.endswith("_by_the_service.json")
    return Queue.PAYOUTS if own else Queue.COMMANDS


def read(name: str, body: str) -> Parsed:
    """An inbound sample as the service reads it."""
    return m.read(body, Arrival(home(name), "sqs-1", NOW))


def inbound_goldens() -> dict[str, dict[str, str]]:
    """Kind, key and fingerprint of every inbound sample as they are read today."""
    return {name: summary(read(name, body)) for name, body in inbound_samples().items()}


def summary(parsed: Parsed) -> dict[str, str]:
    """The identity of a message."""
    cause = parsed.cause
    return {"kind": cause.kind, "messageKey": cause.message_key, "fingerprint": cause.fingerprint.hex()}


def published() -> dict[str, str]:
    """Every published file that is there, by its path below `contracts/schemas/`."""
    files = (path for path in sorted(SCHEMAS.rglob("*")) if path.is_file() and path != RELEASED)
    return {path.relative_to(SCHEMAS).as_posix(): path.read_text(encoding="utf-8") for path in files}


def payment(status: Status, version: int) -> Payment:
    """The payment that the outbound samples are about."""
    return Payment(
        payment_id=ids.payment_id(SOURCE_KEY),
        incident_id=UUID("0a6f7a52-9a55-4b0a-8f36-6d2f4a1c0001"),
        vendor_id=UUID("5b1e2f63-1c1f-4a77-9d55-7e3a5b2d0002"),
        company_id=UUID("9c8b7a69-5847-4362-9a1b-0c2d3e4f0004"),
        driver_id=UUID("3d4c5b6a-7f8e-4d9c-8b7a-695847360003"),
        payer_type=PayerType.BACK_OFFICE,
        payer_id=None,
        amount_cents=20000,
        currency="USD",
        status=status,
        source=Source.WORK_COMPLETED,
        source_key=SOURCE_KEY,
        request_fingerprint=bytes(32),
        created_by=ids.SYSTEM_INTAKE,
        created_at=CREATED_AT,
        updated_at=CREATED_AT,
        version=version,
    )


def outbound_samples() -> dict[str, OutboundMessage]:
    """Every outbound message by its sample's file name, from fixed inputs."""
    messages = [*_changes(), *_stays(), *_payouts(), *_notices(), *_orders()]
    return {
        f"{snake(type(message).__name__)}.json": message.model_copy(update={"traceparent": TRACE.traceparent})
        for message in messages
    }


def _changes() -> list[OutboundMessage]:
    created = payment(Status.PENDING_APPROVAL, 1)
    approved = payment(Status.APPROVED, 2)
    processing = payment(Status.PROCESSING, 3)
    completed = payment(Status.COMPLETED, 4)
    failed = payment(Status.FAILED, 4)
    cancelled = payment(Status.CANCELLED, 2)
    return [
        PaymentCreated(
            **PaymentCreated.about(created, CAUSE, CREATED_AT),
            created_at=CREATED_AT,
            fraud_status=created.fraud_status,
            line_item_count=2,
        ),
        PaymentApproved(
            **PaymentApproved.about(approved, CAUSE, NOW),
            approved_by=DISPATCHER,
            approved_at=NOW,
            approvals=(Approval(approver_id=DISPATCHER, level=1, at=NOW),),
        ),
        PaymentProcessing(
            **PaymentProcessing.about(processing, CAUSE, NOW),
            processed_at=NOW,
            attempt_no=1,
            provider="stripe",
            payout_state="ready",
        ),
        PaymentCompleted(
            **PaymentCompleted.about(completed, CAUSE, NOW),
            completed_at=NOW,
            stripe_transfer_id="tr_1",
            provider="stripe",
            provider_object_id="tr_1",
            attempt_no=1,
        ),
        PaymentFailed(
            **PaymentFailed.about(failed, CAUSE, NOW),
            reason="The account is closed.",
            failed_at=NOW,
            failed_reason="The account is closed.",
            failure_code="account_closed",
            retryable=False,
            retry_attempts=0,
            attempt_no=1,
        ),
        PaymentCancelled(
            **PaymentCancelled.about(cancelled, CAUSE, NOW),
            cancelled_by=DISPATCHER,
            cancelled_at=NOW,
            cancel_kind="rejected",
            reason_code="wrong_price",
            reason="The mileage is not what was agreed.",
        ),
    ]


def _stays() -> list[OutboundMessage]:
    return [
        PaymentApprovalRecorded(
            **PaymentApprovalRecorded.about(payment(Status.PENDING_APPROVAL, 2), CAUSE, NOW),
            approved_by=DISPATCHER,
            approved_at=NOW,
            approvals=(Approval(approver_id=DISPATCHER, level=1, at=NOW),),
            required_approvals=2,
            policy_version=3,
        ),
        PaymentHeld(
            **PaymentHeld.about(payment(Status.APPROVED, 3), CAUSE, NOW),
            held_by=DISPATCHER,
            held_at=NOW,
            hold_until=NOW + timedelta(days=7),
            reason_code="awaiting_invoice",
        ),
        PaymentReleased(
            **PaymentReleased.about(payment(Status.APPROVED, 4), CAUSE, NOW),
            released_by=DISPATCHER,
            released_at=NOW,
            reason_code="invoice_arrived",
        ),
    ]


def _payouts() -> list[OutboundMessage]:
    failed, completed = payment(Status.PROCESSING, 4), payment(Status.COMPLETED, 5)
    return [
        PaymentAttemptFailed(
            **PaymentAttemptFailed.about(failed, CAUSE, NOW),
            attempt_no=1,
            provider="stripe",
            failure_code="balance_insufficient",
            failed_at=NOW,
        ),
        PaymentReversed(
            **PaymentReversed.about(completed, CAUSE, NOW),
            amount_reversed_cents=5000,
            fully_reversed=False,
            reversed_at=NOW,
            provider_object_id="tr_1",
        ),
        VendorPayoutInTransit(**_about_settlement(VendorPayoutInTransit)),
        VendorPayoutPaid(**_about_settlement(VendorPayoutPaid)),
        VendorPayoutFailed(**_about_settlement(VendorPayoutFailed), failure_code="account_closed"),
    ]


def _about_settlement(kind: type[PaymentEvent]) -> dict[str, Any]:
    about = kind.about(payment(Status.COMPLETED, 5), CAUSE, NOW)
    return {**about, "provider_payout_id": "po_1", "settled_at": NOW}


def _notices() -> list[OutboundMessage]:
    known = payment(Status.APPROVED, 2)
    return [
        work_rejected(
            CAUSE,
            NOW,
            incident_id="test-incident-001",
            vendor_id=str(known.vendor_id),
            code=Refusal.NON_UUID_ID,
            field="incidentId",
        ),
        conflict(CAUSE, NOW, known.payment_id),
        command_rejected(
            CAUSE, NOW, payment_id=known.payment_id, payment=known, code=Refusal.ALREADY_DECIDED, field=None
        ),
    ]


def _orders() -> list[OutboundMessage]:
    about = payment(Status.APPROVED, 2)
    attempt_id = ids.attempt_id(about.payment_id, 1)
    return [
        ApprovalRequest(
            payment_id=about.payment_id,
            incident_id=about.incident_id,
            vendor_id=about.vendor_id,
            amount_cents=about.amount_cents,
            currency=about.currency,
            created_at=CREATED_AT,
        ),
        ProcessPaymentOrder(
            command_id=ids.process_payment_key(about.payment_id, about.version, refusals=0),
            correlation_id="incident-4711",
            payment_id=about.payment_id,
        ),
        ExecutePayoutOrder(
            command_id=ids.execute_payout_key(attempt_id, 0),
            correlation_id="incident-4711",
            attempt_id=attempt_id,
            check=0,
        ),
        ReconcileAttemptOrder(
            command_id=ids.reconcile_attempt_key(attempt_id, 1),
            correlation_id="incident-4711",
            attempt_id=attempt_id,
            check=1,
        ),
    ]


def as_file(document: Any) -> str:
    """A JSON document as the sample files are written."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

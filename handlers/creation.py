"""How a payment comes into being, whichever message asks for it."""

from datetime import datetime

from contracts import ids
from contracts.inbound import Cause
from contracts.lifecycle import INITIAL, Event
from contracts.outbound import ApprovalRequest, PaymentCreated
from contracts.payment import Actor, Payment, PaymentRequest, Source
from handlers.decision import Move, Post


def created(
    request: PaymentRequest, cause: Cause, now: datetime, *, source: Source, source_key: str, actor: Actor
) -> Move:
    """Return the creation of a payment: its row and lines, its announcement, and the request for approval."""
    payment = Payment(
        payment_id=ids.payment_id(source_key),
        incident_id=request.incident_id,
        vendor_id=request.vendor_id,
        company_id=request.company_id,
        driver_id=request.driver_id,
        payer_type=request.payer_type,
        payer_id=request.payer_id,
        amount_cents=request.money.amount_cents,
        currency=request.money.currency,
        status=INITIAL,
        source=source,
        source_key=source_key,
        request_fingerprint=cause.fingerprint,
        created_by=actor.id,
        created_at=now,
        updated_at=now,
        metadata=request.metadata,
    )
    announcement = PaymentCreated(
        **PaymentCreated.about(payment, cause, now),
        created_at=now,
        fraud_status=payment.fraud_status,
        line_item_count=len(request.lines),
    )
    return Move(
        before=None,
        after=payment,
        event=Event.CREATED,
        actor=actor,
        posts=(Post(announcement), Post(_approval_request(payment))),
        lines=request.lines,
        data={"source": source, "lineItemCount": len(request.lines)},
        note=request.note,
    )


def _approval_request(payment: Payment) -> ApprovalRequest:
    return ApprovalRequest(
        payment_id=payment.payment_id,
        incident_id=payment.incident_id,
        vendor_id=payment.vendor_id,
        amount_cents=payment.amount_cents,
        currency=payment.currency,
        created_at=payment.created_at,
    )

"""From a producer's shape to one payment request: ids, currency, lines and sum, or the reason why not."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from contracts.canonical import DIGITS_MAX, canonical_json, integral, utc_microseconds
from contracts.ids import as_uuid, legacy_uuid
from contracts.inbound import CreatePayment, WireAmount, WorkCompleted, WorkPricing
from contracts.money import Money, currency_code, minor_units
from contracts.payment import LineItem, PayerType, PaymentRequest
from contracts.refusals import Refusal
from contracts.values import dataclass

DESCRIPTION_CHARS_MAX = 255
QUANTITY_MAX = 1_000_000
LINES_MAX = 100
METADATA_BYTES_MAX = 4_096
#: A note beyond this is cut: it must not decide whether somebody is paid.
NOTE_CHARS_MAX = 10_000
#: The longest id of a producer that is no UUID.
LEGACY_ID_CHARS_MAX = 200
#: What the specified POST body may say about the circumstances; anything else might be personal data.
METADATA_KEYS = frozenset({"serviceType", "duration", "workCompletedAt", "photoCount", "reference"})


@dataclass(frozen=True, slots=True)
class Rejected:
    """Why a request cannot become a payment; `field` is a wire name, never a value."""

    code: Refusal
    field: str


class _Rejection(Exception):
    """Carries a Rejected out of nested checks; never leaves this module."""

    def __init__(self, code: Refusal, field: str) -> None:
        super().__init__(code, field)
        self.rejected = Rejected(code, field)


class _Charge(NamedTuple):
    """A line before its checks, with the wire field it came from."""

    field: str
    description: str
    quantity: WireAmount
    unit_price: WireAmount


def from_work(message: WorkCompleted, *, allow_legacy_ids: bool) -> PaymentRequest | Rejected:
    """Return the payment that finished work asks for.

    Args:
        message: the event, in any of its producers' shapes.
        allow_legacy_ids: map an id that is no UUID (`test-incident-001`) by UUIDv5 instead of refusing it.
    """
    try:
        return _from_work(message, allow_legacy_ids=allow_legacy_ids)
    except _Rejection as rejection:
        return rejection.rejected


def from_command(message: CreatePayment) -> PaymentRequest | Rejected:
    """Return the payment that a CreatePayment command asks for."""
    try:
        return _from_command(message)
    except _Rejection as rejection:
        return rejection.rejected


def _from_work(message: WorkCompleted, *, allow_legacy_ids: bool) -> PaymentRequest:
    payer_type = _payer_type(message.payer_type or PayerType.BACK_OFFICE)
    incident_id = _required_id(message.incident_id, "incidentId", legacy=allow_legacy_ids)
    vendor_id = _required_id(message.vendor_id, "vendorId", legacy=allow_legacy_ids)
    company_id = _id(message.company_id, "companyId", legacy=allow_legacy_ids)
    driver_id = _id(message.driver_id, "driverId", legacy=allow_legacy_ids)
    payer_id = _id(message.payer_id, "payerId", legacy=allow_legacy_ids)
    lines = _lines(_work_charges(message))
    money = _money(
        lines,
        message.currency,
        totals={"totalCents": message.total_cents, "amountCents": message.amount_cents},
    )
    details = message.work_details
    return PaymentRequest(
        incident_id=incident_id,
        vendor_id=vendor_id,
        company_id=company_id,
        driver_id=driver_id,
        payer_type=payer_type,
        payer_id=payer_id or (driver_id if payer_type is PayerType.DRIVER_IC else None),
        money=money,
        lines=lines,
        metadata=_work_metadata(message),
        note=cut_note(details.notes if details else None, message.notes),
    )


def _from_command(message: CreatePayment) -> PaymentRequest:
    payer_type = _payer_type(message.payer_type)
    metadata = _command_metadata(message.metadata or {})
    incident_id = _required_id(message.incident_id, "incidentId")
    vendor_id = _required_id(message.vendor_id, "vendorId")
    company_id = _id(message.company_id, "companyId")
    driver_id = _id(message.driver_id, "driverId")
    payer_id = _id(message.payer_id, "payerId")
    charges = [
        _Charge(f"lineItems.{index}", line.description, line.quantity, line.unit_price_cents)
        for index, line in enumerate(message.line_items)
    ]
    if not charges:
        raise _Rejection(Refusal.MISSING_PRICING, "lineItems")
    lines = _lines(charges)
    return PaymentRequest(
        incident_id=incident_id,
        vendor_id=vendor_id,
        company_id=company_id,
        driver_id=driver_id,
        payer_type=payer_type,
        payer_id=payer_id,
        money=_money(lines, message.currency, totals={"amountCents": message.amount_cents}),
        lines=lines,
        metadata=metadata,
    )


def cut_note(*texts: str | None) -> str | None:
    """Return the first texts there are as one note, no longer than one may be; None where there is none."""
    return "\n".join(text for text in texts if text)[:NOTE_CHARS_MAX] or None


def _required_id(text: str, field: str, *, legacy: bool = False) -> UUID:
    found = as_uuid(text)
    if found is not None:
        return found
    if legacy and 0 < len(text) <= LEGACY_ID_CHARS_MAX:
        return legacy_uuid(text)
    raise _Rejection(Refusal.NON_UUID_ID, field)


def _id(text: str | None, field: str, *, legacy: bool = False) -> UUID | None:
    return None if text is None else _required_id(text, field, legacy=legacy)


def _payer_type(text: str) -> PayerType:
    try:
        return PayerType(text)
    except ValueError:
        raise _Rejection(Refusal.INVALID_FIELD, "payerType") from None


def _work_charges(message: WorkCompleted) -> list[_Charge]:
    """Return the charges of whichever price shape there is; both must agree where both are there."""
    itemised = [
        _Charge(
            f"lineItems.{index}",
            line.description,
            line.quantity,
            _unit_price(index, line.unit_price_cents, line.unit_price),
        )
        for index, line in enumerate(message.line_items or ())
    ]
    priced = _pricing_charges(message.pricing, _service_type(message))
    if itemised and priced and _sum(_lines(itemised)) != _sum(_lines(priced)):
        raise _Rejection(Refusal.SUM_MISMATCH, "pricing")
    if not itemised and not priced:
        raise _Rejection(Refusal.MISSING_PRICING, "pricing")
    return itemised or priced


def _unit_price(index: int, in_cents: WireAmount | None, plain: WireAmount | None) -> WireAmount:
    """Return the unit price under either of its names; both are minor units."""
    if in_cents is not None and plain is not None and in_cents != plain:
        raise _Rejection(Refusal.SUM_MISMATCH, f"lineItems.{index}.unitPrice")
    price = plain if in_cents is None else in_cents
    if price is None:
        raise _Rejection(Refusal.MISSING_PRICING, f"lineItems.{index}.unitPriceCents")
    return price


def _pricing_charges(pricing: WorkPricing | None, service_type: str | None) -> list[_Charge]:
    if pricing is None or pricing.base_price is None:
        return []
    charges = [
        _Charge("pricing.basePrice", f"{service_type or 'Roadside Service'} - Base Service", 1, pricing.base_price)
    ]
    if pricing.mileage_charge is not None:
        charges.append(_Charge("pricing.mileageCharge", "Mileage Charge", 1, pricing.mileage_charge))
    charges += [
        _Charge(f"pricing.additionalCharges.{index}", extra.description, 1, extra.amount)
        for index, extra in enumerate(pricing.additional_charges)
    ]
    return charges


def _lines(charges: Iterable[_Charge]) -> tuple[LineItem, ...]:
    lines = tuple(_line(line_no, charge) for line_no, charge in enumerate(charges, start=1))
    if len(lines) > LINES_MAX:
        raise _Rejection(Refusal.INVALID_FIELD, "lineItems")
    return lines


def _line(line_no: int, charge: _Charge) -> LineItem:
    description = charge.description.strip()
    if not 0 < len(description) <= DESCRIPTION_CHARS_MAX:
        raise _Rejection(Refusal.INVALID_FIELD, f"{charge.field}.description")
    quantity = _quantity(charge)
    unit_price = minor_units(charge.unit_price)
    if isinstance(unit_price, Refusal):
        raise _Rejection(unit_price, charge.field)
    return LineItem(line_no, description, quantity, unit_price)


def _quantity(charge: _Charge) -> int:
    quantity = minor_units(charge.quantity)
    if isinstance(quantity, Refusal) or not 0 < quantity <= QUANTITY_MAX:
        raise _Rejection(Refusal.INVALID_FIELD, f"{charge.field}.quantity")
    return quantity


def _sum(lines: Iterable[LineItem]) -> int:
    return sum(line.total_cents for line in lines)


def _money(lines: Iterable[LineItem], currency: str | None, *, totals: Mapping[str, WireAmount | None]) -> Money:
    amount = _sum(lines)
    if isinstance(minor_units(amount), Refusal) or amount == 0:
        raise _Rejection(Refusal.AMOUNT_OUT_OF_RANGE, "lineItems")
    for field, total in totals.items():
        if total is not None:
            _check_total(field, total, amount)
    code = currency_code(currency)
    if isinstance(code, Refusal):
        raise _Rejection(code, "currency")
    return Money(amount, code)


def _check_total(field: str, total: WireAmount, amount: int) -> None:
    stated = minor_units(total)
    if isinstance(stated, Refusal):
        raise _Rejection(stated, field)
    if stated != amount:
        raise _Rejection(Refusal.SUM_MISMATCH, field)


def _service_type(message: WorkCompleted) -> str | None:
    return (message.work_details.service_type if message.work_details else None) or message.service_type


def _work_metadata(message: WorkCompleted) -> dict[str, Any]:
    details = message.work_details
    duration = details.duration if details and details.duration is not None else message.duration
    photos = details.photos if details and details.photos is not None else message.media_urls
    found = {
        "serviceType": _service_type(message),
        "duration": _json_number(duration),
        "workCompletedAt": utc_microseconds(message.completed_at),
        "photoCount": None if photos is None else len(photos),
    }
    return _bounded({key: value for key, value in found.items() if value is not None})


def _command_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(metadata) - METADATA_KEYS)
    if unknown or not all(isinstance(value, str | int | Decimal) for value in metadata.values()):
        raise _Rejection(Refusal.INVALID_FIELD, "metadata")
    return _bounded({key: _json_number(value) for key, value in metadata.items()})


def _json_number(value: Any) -> Any:
    """Return a decimal as what JSON can hold exactly: an integer where it is one, else its digits as text."""
    if isinstance(value, Decimal):
        whole = integral(value)
        return str(value) if whole is None else whole
    return value


def _bounded(metadata: dict[str, Any]) -> dict[str, Any]:
    # Ten bytes are the most that a character can become; nearly always that much is allowed already.
    rough = sum(10 * len(value) if isinstance(value, str) else 2 * DIGITS_MAX for value in metadata.values())
    if rough > METADATA_BYTES_MAX // 2 and len(canonical_json(metadata)) > METADATA_BYTES_MAX:
        raise _Rejection(Refusal.INVALID_FIELD, "metadata")
    return metadata

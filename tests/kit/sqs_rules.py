"""What AWS documents about requests to SQS and the answers: limits, allowed characters, digests, errors.

The arguments themselves are checked by botocore against its own description of the service, as a real client does.
"""

import hashlib
import json
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.exceptions import ClientError, ParamValidationError
from botocore.validate import ParamValidator

if TYPE_CHECKING:
    from botocore.model import ServiceModel

URL = "http://queues/000000000000/"
ARN = "arn:aws:sqs:us-east-1:000000000000:"
#: "Amazon SQS message quotas", "Quotas related to queues".
BATCH_MAX, BODY_BYTES_MAX, ATTRIBUTES_MAX, IN_FLIGHT_MAX = 10, 1_048_576, 10, 120_000
WAIT_MAX_S, DELAY_MAX_S, VISIBILITY_MAX_S = 20, 900, 43_200
#: CreateQueue: the attributes that are numbers, with their defaults and bounds.
NUMBERS: Mapping[str, tuple[int, int, int]] = {
    "VisibilityTimeout": (30, 0, VISIBILITY_MAX_S),
    "DelaySeconds": (0, 0, DELAY_MAX_S),
    "MessageRetentionPeriod": (345_600, 60, 1_209_600),
    "ReceiveMessageWaitTimeSeconds": (0, 0, WAIT_MAX_S),
    "MaximumMessageSize": (BODY_BYTES_MAX, 1_024, BODY_BYTES_MAX),
}
_COUNTED = {"QueueArn", "CreatedTimestamp", "LastModifiedTimestamp"}
_NAMESPACE = "AWS.SimpleQueueService."
_ALLOWED = re.compile(r"[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]+")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_ATTRIBUTE_NAME = re.compile(r"(?!(?i:aws|amazon)\.)[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_ATTRIBUTE_TYPE = re.compile(r"(String|Number|Binary)(\..+)?")


def error(code: str, operation: str = "Any", status: int = 400, message: str = "") -> ClientError:
    """Return an error as botocore raises it."""
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)


@cache
def service() -> "ServiceModel":
    """botocore's own description of SQS."""
    return botocore.session.get_session().get_service_model("sqs")


def action(operation: str) -> str:
    """Return AWS's name of what a boto3 method does."""
    return "".join(part.title() for part in operation.split("_"))


def check_arguments(operation: str, arguments: Mapping[str, Any]) -> None:
    """Check the arguments of a boto3 method.

    Raises:
        ParamValidationError: what a real client raises for one that is missing, unknown or of another type.
    """
    shape: Any = service().operation_model(action(operation)).input_shape
    report = ParamValidator().validate(arguments, shape)
    if report.has_errors():
        raise ParamValidationError(report=report.generate_report())


def check_queue(name: str, attributes: Mapping[str, str], arns: Collection[str]) -> None:
    """Check what a queue is to be made of, `arns` being the queues that are there (CreateQueue)."""
    if not _NAME.fullmatch(name):
        raise error("InvalidParameterValue", message="Can only include alphanumeric characters, hyphens, underscores")
    known = {name for name in _attribute_names() if not name.startswith("Approximate")} - _COUNTED - {"All"}
    if set(attributes) - known:
        raise error("InvalidAttributeName")
    for key in set(attributes) & set(NUMBERS):
        _, low, high = NUMBERS[key]
        if not attributes[key].isdecimal() or not low <= int(attributes[key]) <= high:
            raise error("InvalidAttributeValue", message=f"Invalid value for the parameter {key}.")
    if policy := json.loads(attributes.get("RedrivePolicy") or "null"):
        there = policy.get("deadLetterTargetArn") in arns
        if not there or not 1 <= int(policy.get("maxReceiveCount", 0)) <= 1_000:
            raise error("InvalidParameterValue", message="RedrivePolicy is invalid")


def check_names(names: Collection[str]) -> None:
    """Check which attributes of a queue are asked for (GetQueueAttributes)."""
    if set(names) - _attribute_names():
        raise error("InvalidAttributeName")


def _attribute_names() -> set[str]:
    shape: Any = service().shape_for("QueueAttributeName")
    return set(shape.enum)


def check_message(sent: Mapping[str, Any], bytes_max: int) -> None:
    """Check a message, or an entry of a batch (SendMessage; "Amazon SQS message metadata")."""
    body, attributes = sent["MessageBody"], sent.get("MessageAttributes") or {}
    if not body:
        raise error("MissingParameter")
    if not _ALLOWED.fullmatch(body):
        raise error("InvalidMessageContents")
    if size(sent) > bytes_max:
        raise error("InvalidParameterValue", message=f"Message must be shorter than {bytes_max} bytes.")
    if len(attributes) > ATTRIBUTES_MAX:
        raise error("InvalidParameterValue", message="Number of message attributes exceeds the allowed maximum [10].")
    for name, value in attributes.items():
        content = value.get("StringValue") or value.get("BinaryValue")
        named = _ATTRIBUTE_NAME.fullmatch(name) and len(name) <= 256
        if not named or not _ATTRIBUTE_TYPE.fullmatch(value["DataType"]) or not content:
            raise error("InvalidParameterValue", message=f"The message attribute {name} is invalid.")
        if isinstance(content, str) and not _ALLOWED.fullmatch(content):
            raise error("InvalidMessageContents")


def check_ids(ids: list[str]) -> None:
    """Check the ids of a batch's entries."""
    if not ids:
        raise error(f"{_NAMESPACE}EmptyBatchRequest")
    if len(ids) > BATCH_MAX:
        raise error(f"{_NAMESPACE}TooManyEntriesInBatchRequest")
    if len(set(ids)) < len(ids):
        raise error(f"{_NAMESPACE}BatchEntryIdsNotDistinct")
    if not all(_NAME.fullmatch(name) for name in ids):
        raise error(f"{_NAMESPACE}InvalidBatchEntryId")


def within(name: str, value: int, low: int, high: int) -> int:
    """Return a value that lies within bounds."""
    if not low <= value <= high:
        raise error("InvalidParameterValue", message=f"{name} must be between {low} and {high}.")
    return value


def size(sent: Mapping[str, Any]) -> int:
    """Return how many bytes a message counts: its body, and names, types and values of its attributes."""
    attributes = sent.get("MessageAttributes") or {}
    parts = [part for name, value in attributes.items() for part in (name.encode(), *_parts(value))]
    return len(sent["MessageBody"].encode()) + sum(map(len, parts))


def wanted(attributes: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """Return those attributes of a message that are asked for: by name, by prefix as `prefix.*`, or All."""
    if {"All", ".*"} & set(names):
        return dict(attributes)
    prefixes = tuple(name.removesuffix("*") for name in names if name.endswith(".*"))
    return {name: value for name, value in attributes.items() if name in names or name.startswith(prefixes)}


def md5(text: str) -> str:
    """Return the digest of a body."""
    return _digest(text.encode())


def attributes_md5(attributes: Mapping[str, Any]) -> str:
    """Return the digest of attributes ("Calculating the MD5 message digest for message attributes")."""
    return _digest(b"".join(_digested(attributes)))


def _digested(attributes: Mapping[str, Any]) -> Iterator[bytes]:
    for name in sorted(attributes):
        kind, content = _parts(attributes[name])
        for part in (name.encode(), kind):
            yield struct.pack(">I", len(part)) + part
        yield b"\x02" if kind.startswith(b"Binary") else b"\x01"
        yield struct.pack(">I", len(content)) + content


def _parts(value: Mapping[str, Any]) -> tuple[bytes, bytes]:
    content = value.get("BinaryValue") or value.get("StringValue") or ""
    return value["DataType"].encode(), content.encode() if isinstance(content, str) else bytes(content)


def _digest(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()

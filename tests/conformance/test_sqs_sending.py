"""What AWS documents about making a standard queue and sending to it, put to the model and to the local servers alike.

Each test names the page of the Amazon SQS API reference or developer guide that it holds to. Where a server differs,
`differences.py` says how, and AWS's documentation decides.
"""

import hashlib
import json

import pytest

from tests.conformance.conftest import TEXT, Backend, codes, refused
from tests.kit.sqs_rules import BODY_BYTES_MAX, NUMBERS

pytestmark = pytest.mark.long

#: AWS names these errors in the text of its pages alone.
WRONG_VALUES = {"InvalidParameterValue", "MissingParameter", "InvalidAttributeValue"}

# -- CreateQueue, GetQueueAttributes, GetQueueUrl


def test_a_queue_is_made_once_and_found_again_by_the_same_attributes(backend: Backend):
    """CreateQueue: the same attributes return the same URL, others are QueueNameExists (QueueAlreadyExists)."""
    name, create = backend.name(), backend.client.create_queue
    url = create(QueueName=name, Attributes={"VisibilityTimeout": "7"})["QueueUrl"]
    backend.send(url, "x")
    assert create(QueueName=name, Attributes={"VisibilityTimeout": "7"})["QueueUrl"] == url
    other = refused(create, QueueName=name, Attributes={"VisibilityTimeout": "8"})
    assert other in {"QueueAlreadyExists", "QueueNameExists"}
    assert len(backend.receive(url)) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VisibilityTimeout", "43201"),
        ("DelaySeconds", "901"),
        ("MessageRetentionPeriod", "59"),
        ("ReceiveMessageWaitTimeSeconds", "21"),
        ("MaximumMessageSize", "1023"),
    ],
)
def test_the_attributes_of_a_queue_have_bounds(backend: Backend, name, value):
    """CreateQueue, SetQueueAttributes: InvalidAttributeValue."""
    arguments = {"QueueName": backend.name(), "Attributes": {name: value}}
    assert refused(backend.client.create_queue, **arguments) == "InvalidAttributeValue"


def test_an_attribute_that_is_none_is_refused(backend: Backend):
    """GetQueueAttributes: InvalidAttributeName."""
    arguments = {"QueueUrl": backend.queue(), "AttributeNames": ["VisibilityTimeouts"]}
    assert refused(backend.client.get_queue_attributes, **arguments) == "InvalidAttributeName"


def test_a_queue_has_the_documented_defaults(backend: Backend):
    """CreateQueue: 30 s visibility, no delay, 4 days, short polls, 1 MiB."""
    url = backend.queue()
    told = {name: backend.attribute(url, name) for name in NUMBERS}
    assert told == {name: str(default) for name, (default, _, _) in NUMBERS.items()}


def test_dead_letters_need_a_queue_that_is_there(backend: Backend):
    """SetQueueAttributes, RedrivePolicy: deadLetterTargetArn is the ARN of a queue."""
    arn = backend.arn(backend.queue()) + "-nowhere"
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})
    arguments = {"QueueName": backend.name(), "Attributes": {"RedrivePolicy": policy}}
    assert refused(backend.client.create_queue, **arguments) != "nothing"


def test_a_queue_that_is_not_there_is_told(backend: Backend):
    """GetQueueUrl: QueueDoesNotExist, in the query protocol NonExistentQueue."""
    assert refused(backend.client.get_queue_url, QueueName="nowhere") in {"NonExistentQueue", "QueueDoesNotExist"}


# -- SendMessage, SendMessageBatch


@pytest.mark.parametrize(
    ("attributes", "digested"),
    [
        (
            {"b": TEXT, "a": {"DataType": "Number", "StringValue": "12"}},
            b"\0\0\0\1a\0\0\0\6Number\1\0\0\0\00212" + b"\0\0\0\1b\0\0\0\6String\1\0\0\0\4text",
        ),
        (
            {"raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}},
            b"\0\0\0\3raw\0\0\0\6Binary\2\0\0\0\2\x00\xff",
        ),
    ],
    ids=["texts", "binary"],
)
def test_attributes_come_with_their_digest(backend: Backend, attributes, digested):
    """Message metadata: "Calculating the MD5 message digest for message attributes"."""
    url, digest = backend.queue(), hashlib.md5(digested, usedforsecurity=False).hexdigest()
    answer = backend.client.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)
    [found] = backend.receive(url)
    assert found["MessageAttributes"] == attributes
    assert answer.get("MD5OfMessageAttributes") == found.get("MD5OfMessageAttributes") == digest


@pytest.mark.parametrize(
    "attributes",
    [
        {"a": {"DataType": "String", "StringValue": ""}},
        {"a": {"DataType": "Text", "StringValue": "x"}},
        {"AWS.a": TEXT},
        {"a b": TEXT},
        {f"a{number}": TEXT for number in range(11)},
    ],
    ids=["empty", "type", "reserved name", "name", "eleven"],
)
def test_attributes_that_are_not_allowed_are_refused(backend: Backend, attributes):
    """Amazon SQS message metadata: names, types, values; ten at most."""
    url = backend.queue()
    assert (
        refused(backend.client.send_message, QueueUrl=url, MessageBody="x", MessageAttributes=attributes) != "nothing"
    )
    assert backend.receive(url) == []


def test_attributes_count_as_part_of_the_message(backend: Backend):
    """Amazon SQS message quotas: "name, type, value and the message body are part of the message size"."""
    url, arguments = backend.queue(), {"MessageAttributes": {"a": TEXT}}
    body = "x" * (BODY_BYTES_MAX - 10)
    assert refused(backend.client.send_message, QueueUrl=url, MessageBody=body, **arguments) in WRONG_VALUES


def test_a_message_without_a_body_is_refused(backend: Backend):
    """SendMessage, MessageBody: "The minimum size is one character"."""
    assert refused(backend.client.send_message, QueueUrl=backend.queue(), MessageBody="") in WRONG_VALUES


def test_the_trace_of_a_request_travels_with_its_message(backend: Backend):
    """SendMessage, MessageSystemAttributes: AWSTraceHeader."""
    url, trace = backend.queue(), "Root=1-5759e988-bd862e3fe1be46a994272793"
    system = {"AWSTraceHeader": {"DataType": "String", "StringValue": trace}}
    backend.send(url, "x", MessageSystemAttributes=system)
    [message] = backend.receive(url)
    assert message["Attributes"].get("AWSTraceHeader") == trace


def test_a_message_s_own_delay_goes_before_that_of_its_queue(backend: Backend):
    """SendMessage, DelaySeconds: "the default value for the queue applies" where none is given."""
    url = backend.queue(DelaySeconds=60)
    backend.send(url, "late")
    backend.send(url, "now", DelaySeconds=0)
    assert [message["Body"] for message in backend.receive(url, MaxNumberOfMessages=10)] == ["now"]
    assert backend.attribute(url, "ApproximateNumberOfMessagesDelayed") == "1"


def test_a_message_comes_as_it_was_sent(backend: Backend):
    """SendMessage, ReceiveMessage: body, MD5, attributes, system attributes."""
    url = backend.queue()
    attributes = {"Reason": {"DataType": "String", "StringValue": "ünïcode"}}
    [sent] = backend.send(url, '{"a": "ü✓"}\n', MessageAttributes=attributes)
    [message] = backend.receive(url)
    assert (message["MessageId"], message["Body"]) == (sent, '{"a": "ü✓"}\n')
    assert message["MD5OfBody"] == hashlib.md5(message["Body"].encode(), usedforsecurity=False).hexdigest()
    assert message["MessageAttributes"]["Reason"]["StringValue"] == "ünïcode"
    assert message["Attributes"]["ApproximateReceiveCount"] == "1"
    assert int(message["Attributes"]["SentTimestamp"]) <= int(message["Attributes"]["ApproximateFirstReceiveTimestamp"])


def test_characters_outside_the_allowed_set_are_refused(backend: Backend):
    """SendMessage: InvalidMessageContents."""
    url = backend.queue()
    assert refused(backend.client.send_message, QueueUrl=url, MessageBody="a\x01b") == "InvalidMessageContents"
    assert backend.receive(url) == []


def test_a_message_over_one_mebibyte_is_refused(backend: Backend):
    """Amazon SQS message quotas: 1 MiB."""
    url = backend.queue()
    backend.send(url, "x" * BODY_BYTES_MAX)
    assert refused(backend.client.send_message, QueueUrl=url, MessageBody="x" * (BODY_BYTES_MAX + 1)) != "nothing"


def test_no_message_is_delayed_beyond_900_seconds(backend: Backend):
    """SendMessage, DelaySeconds: 0 to 900."""
    url = backend.queue()
    arguments = {"QueueUrl": url, "MessageBody": "x", "DelaySeconds": 901}
    assert refused(backend.client.send_message, **arguments) == "InvalidParameterValue"


def test_a_delayed_message_is_hidden_until_its_time(backend: Backend):
    """Delay queues; GetQueueAttributes: ApproximateNumberOfMessagesDelayed."""
    url = backend.queue()
    backend.send(url, "x", DelaySeconds=1)
    assert backend.receive(url) == []
    assert backend.attribute(url, "ApproximateNumberOfMessagesDelayed") == "1"
    backend.wait(1.2)
    assert len(backend.receive(url)) == 1


def test_a_batch_needs_entries_with_ids_of_their_own_and_ten_at_most(backend: Backend):
    """SendMessageBatch: EmptyBatchRequest, BatchEntryIdsNotDistinct, TooManyEntriesInBatchRequest."""
    url, send = backend.queue(), backend.client.send_message_batch
    one = {"Id": "1", "MessageBody": "x"}
    eleven = [{"Id": str(number), "MessageBody": "x"} for number in range(11)]
    assert refused(send, QueueUrl=url, Entries=[]) == "EmptyBatchRequest"
    assert refused(send, QueueUrl=url, Entries=[one, one]) == "BatchEntryIdsNotDistinct"
    assert refused(send, QueueUrl=url, Entries=eleven) == "TooManyEntriesInBatchRequest"
    assert backend.receive(url) == []


def test_the_name_of_an_entry_is_of_few_characters(backend: Backend):
    """SendMessageBatch: InvalidBatchEntryId."""
    url, send = backend.queue(), backend.client.send_message_batch
    assert refused(send, QueueUrl=url, Entries=[{"Id": "a b", "MessageBody": "x"}]) == "InvalidBatchEntryId"


def test_a_batch_over_one_mebibyte_is_refused_as_a_whole(backend: Backend):
    """SendMessageBatch: BatchRequestTooLong."""
    url, half = backend.queue(), "x" * (BODY_BYTES_MAX // 2 + 1)
    entries = [{"Id": str(number), "MessageBody": half} for number in range(2)]
    assert refused(backend.client.send_message_batch, QueueUrl=url, Entries=entries) == "BatchRequestTooLong"
    assert backend.receive(url) == []


def test_in_a_batch_one_entry_may_fail_while_others_are_done(backend: Backend):
    """SendMessageBatch: "Because the batch request can result in a combination of successful and unsuccessful"."""
    url = backend.queue()
    entries = [{"Id": "good", "MessageBody": "x"}, {"Id": "bad", "MessageBody": "\x01"}]
    answer = backend.client.send_message_batch(QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["good"]
    assert codes(answer) == {"bad": "InvalidMessageContents"}

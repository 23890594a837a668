"""What AWS documents about standard queues, put to the model and to the local servers alike.

Each test names the page of the Amazon SQS API reference or developer guide that it holds to. Where a server differs,
`differences.py` says how, and AWS's documentation decides.
"""

import hashlib
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.conformance.conftest import Backend
from tests.kit.sqs_rules import BODY_BYTES_MAX, NUMBERS

TEXT = {"DataType": "String", "StringValue": "text"}
#: AWS names these errors in the text of its pages alone.
WRONG_VALUES = {"InvalidParameterValue", "MissingParameter", "InvalidAttributeValue"}


def refused(call: Any, **arguments: Any) -> str:
    """The code of the error that a call raises, without its namespace."""
    try:
        call(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"]).rsplit(".", 1)[-1]
    return "nothing"


def codes(answer: dict[str, Any]) -> dict[str, str]:
    """What failed in a batch."""
    return {entry["Id"]: entry["Code"].rsplit(".", 1)[-1] for entry in answer.get("Failed", [])}


# -- CreateQueue, GetQueueAttributes


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


def test_a_queue_that_is_not_there_is_told(backend: Backend):
    """GetQueueUrl: QueueDoesNotExist, in the query protocol NonExistentQueue."""
    assert refused(backend.client.get_queue_url, QueueName="nowhere") in {"NonExistentQueue", "QueueDoesNotExist"}


# -- ReceiveMessage


@pytest.mark.parametrize(
    "wrong",
    [{"MaxNumberOfMessages": 0}, {"MaxNumberOfMessages": 11}, {"WaitTimeSeconds": 21}, {"VisibilityTimeout": 43_201}],
    ids=["none", "eleven", "wait", "visibility"],
)
def test_what_can_be_asked_for_has_bounds(backend: Backend, wrong):
    """ReceiveMessage: 1 to 10 messages, 0 to 20 seconds; visibility 0 to 43,200 seconds."""
    url = backend.queue()
    backend.send(url, "x")  # so that a server that takes a wait of 21 s does not wait
    assert refused(backend.client.receive_message, QueueUrl=url, **wrong) == "InvalidParameterValue"


def test_what_is_not_asked_for_is_not_told(backend: Backend):
    """ReceiveMessage: MessageSystemAttributeNames, MessageAttributeNames; by name, by prefix, or none."""
    url = backend.queue()
    backend.send(url, "x", MessageAttributes={"a.one": TEXT, "a.two": TEXT, "b": TEXT})
    names = "MessageAttributeNames"
    none: dict[str, list[str]] = {"MessageSystemAttributeNames": [], names: []}
    [bare] = backend.receive(url, VisibilityTimeout=0, **none)
    assert not {"Attributes", "MessageAttributes"} & set(bare)
    for asked, told in (["b"], {"b"}), (["a.*"], {"a.one", "a.two"}), (["c"], set()):
        [message] = backend.receive(url, VisibilityTimeout=0, **{names: asked})
        assert set(message.get("MessageAttributes", {})) == told
    [one] = backend.receive(url, **{**none, "MessageSystemAttributeNames": ["SentTimestamp"]})
    assert set(one["Attributes"]) == {"SentTimestamp"}


def test_a_received_message_is_hidden_for_its_lease_and_then_comes_again(backend: Backend):
    """Visibility timeout; ReceiveMessage: ApproximateReceiveCount."""
    url = backend.queue()
    [sent] = backend.send(url, "x")
    [first] = backend.receive(url, VisibilityTimeout=1)
    assert backend.receive(url) == []
    assert backend.attribute(url, "ApproximateNumberOfMessagesNotVisible") == "1"
    backend.wait(1.2)
    [second] = backend.receive(url)
    assert first["MessageId"] == second["MessageId"] == sent
    assert second["Attributes"]["ApproximateReceiveCount"] == "2"
    assert first["ReceiptHandle"] != second["ReceiptHandle"]
    same = ("SentTimestamp", "ApproximateFirstReceiveTimestamp")
    assert [first["Attributes"][name] for name in same] == [second["Attributes"][name] for name in same]


def test_the_lease_of_the_queue_holds_where_none_is_asked_for(backend: Backend):
    """SetQueueAttributes: VisibilityTimeout."""
    url = backend.queue(VisibilityTimeout=1)
    backend.send(url, "x")
    assert len(backend.receive(url)) == 1
    assert backend.receive(url) == []
    backend.wait(1.2)
    assert len(backend.receive(url)) == 1


def test_a_long_poll_ends_with_the_first_message(backend: Backend):
    """Short and long polling: a message that becomes visible ends the wait."""
    url = backend.queue()
    backend.send(url, "x", DelaySeconds=1)
    assert len(backend.receive(url, WaitTimeSeconds=5)) == 1


def test_no_more_than_asked_for_are_received_and_none_twice(backend: Backend):
    """ReceiveMessage: MaxNumberOfMessages."""
    url = backend.queue()
    sent = backend.send(url, *map(str, range(15)))
    found = [message["MessageId"] for _ in range(3) for message in backend.receive(url, MaxNumberOfMessages=10)]
    assert sorted(found) == sorted(sent)


def test_after_its_last_receive_a_message_is_a_dead_letter(backend: Backend):
    """Dead-letter queues: moved when received more often than maxReceiveCount; id, body, attributes and age stay."""
    dead = backend.queue()
    policy = json.dumps({"deadLetterTargetArn": backend.arn(dead), "maxReceiveCount": "2"})
    url = backend.queue(RedrivePolicy=policy)
    attributes = {"Reason": {"DataType": "String", "StringValue": "x"}}
    [sent] = backend.send(url, "body", MessageAttributes=attributes)
    [first] = backend.receive(url, VisibilityTimeout=0)
    assert len(backend.receive(url, VisibilityTimeout=0)) == 1
    assert backend.receive(url, VisibilityTimeout=0) == []
    [letter] = backend.receive(dead)
    assert (letter["MessageId"], letter["Body"]) == (sent, "body")
    assert letter["MessageAttributes"] == first["MessageAttributes"]
    assert letter["Attributes"]["SentTimestamp"] == first["Attributes"]["SentTimestamp"]


def test_a_dead_letter_says_where_it_comes_from(backend: Backend):
    """ReceiveMessage: DeadLetterQueueSourceArn; how the service's own replay knows its queue."""
    dead = backend.queue()
    policy = json.dumps({"deadLetterTargetArn": backend.arn(dead), "maxReceiveCount": "1"})
    url = backend.queue(RedrivePolicy=policy)
    backend.send(url, "body")
    assert len(backend.receive(url, VisibilityTimeout=0)) == 1
    assert backend.receive(url) == []
    [letter] = backend.receive(dead)
    assert letter["Attributes"].get("DeadLetterQueueSourceArn") == backend.arn(url)


# -- DeleteMessage, DeleteMessageBatch


def test_a_deleted_message_never_comes_again_and_deleting_it_again_is_no_error(backend: Backend):
    """DeleteMessage."""
    url = backend.queue()
    backend.send(url, "x")
    [message] = backend.receive(url, VisibilityTimeout=1)
    for _ in range(2):
        backend.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    backend.wait(1.2)
    assert backend.receive(url) == []


def test_an_older_receipt_deletes_nothing_and_says_that_it_did(backend: Backend):
    """DeleteMessage: "you must use the receipt handle from the most recent time"; else "might not be deleted"."""
    url = backend.queue()
    backend.send(url, "x")
    [old] = backend.receive(url, VisibilityTimeout=0)
    [new] = backend.receive(url, VisibilityTimeout=1)
    entries = [{"Id": "old", "ReceiptHandle": old["ReceiptHandle"]}]
    answer = backend.client.delete_message_batch(QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["old"]
    backend.wait(1.2)
    assert [message["MessageId"] for message in backend.receive(url)] == [new["MessageId"]]


def test_a_receipt_that_is_none_is_refused(backend: Backend):
    """DeleteMessage, ChangeMessageVisibility: ReceiptHandleIsInvalid."""
    url = backend.queue()
    assert refused(backend.client.delete_message, QueueUrl=url, ReceiptHandle="none") == "ReceiptHandleIsInvalid"
    arguments = {"QueueUrl": url, "ReceiptHandle": "none", "VisibilityTimeout": 0}
    assert refused(backend.client.change_message_visibility, **arguments) == "ReceiptHandleIsInvalid"


def test_a_receipt_is_one_of_its_queue(backend: Backend):
    """DeleteMessage: the receipt handle is of a message of the queue; it deletes nothing elsewhere."""
    url, other = backend.queue(), backend.queue()
    backend.send(url, "x")
    [message] = backend.receive(url)
    assert refused(backend.client.delete_message, QueueUrl=other, ReceiptHandle=message["ReceiptHandle"]) != "nothing"
    assert backend.attribute(url, "ApproximateNumberOfMessagesNotVisible") == "1"


@pytest.mark.parametrize("operation", ["delete_message_batch", "change_message_visibility_batch"])
def test_a_batch_of_receipts_needs_entries_with_ids_of_their_own_and_ten_at_most(backend: Backend, operation):
    """DeleteMessageBatch, ChangeMessageVisibilityBatch: the same errors as SendMessageBatch."""
    url, call = backend.queue(), getattr(backend.client, operation)
    more = {} if operation == "delete_message_batch" else {"VisibilityTimeout": 0}
    entries = [{"Id": str(number), "ReceiptHandle": f"none-{number}", **more} for number in range(11)]
    assert refused(call, QueueUrl=url, Entries=[]) == "EmptyBatchRequest"
    assert refused(call, QueueUrl=url, Entries=entries[:1] * 2) == "BatchEntryIdsNotDistinct"
    assert refused(call, QueueUrl=url, Entries=entries) == "TooManyEntriesInBatchRequest"


def test_in_a_batch_of_deletes_one_entry_may_fail_while_others_are_done(backend: Backend):
    """DeleteMessageBatch: "The result of the action on each message is reported individually"."""
    url = backend.queue()
    backend.send(url, "x")
    [message] = backend.receive(url)
    entries = [{"Id": "good", "ReceiptHandle": message["ReceiptHandle"]}, {"Id": "bad", "ReceiptHandle": "none"}]
    answer = backend.client.delete_message_batch(QueueUrl=url, Entries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["good"]
    assert codes(answer) == {"bad": "ReceiptHandleIsInvalid"}
    assert backend.attribute(url, "ApproximateNumberOfMessagesNotVisible") == "0"


def test_the_newest_receipt_deletes_even_after_its_lease(backend: Backend):
    """DeleteMessage: a message whose lease has ended and that nobody else has received."""
    url = backend.queue()
    backend.send(url, "x")
    [message] = backend.receive(url, VisibilityTimeout=0)
    backend.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert backend.receive(url) == []


# -- ChangeMessageVisibility, ChangeMessageVisibilityBatch


def test_a_lease_is_renewed_from_now_on(backend: Backend):
    """ChangeMessageVisibility: "The visibility timeout ... starts when you call"."""
    url = backend.queue()
    backend.send(url, "x")
    [message] = backend.receive(url, VisibilityTimeout=2)
    backend.wait(1.0)
    change = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 2}
    backend.client.change_message_visibility(**change)
    backend.wait(1.2)
    assert backend.receive(url) == []
    backend.wait(1.0)
    assert len(backend.receive(url)) == 1


def test_a_lease_of_nothing_hands_a_message_back_at_once(backend: Backend):
    """ChangeMessageVisibility: 0 makes it visible."""
    url = backend.queue()
    backend.send(url, "x", "y")
    taken = backend.receive(url, MaxNumberOfMessages=10)
    entries = [
        {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 0}
        for number, message in enumerate(taken)
    ]
    answer = backend.client.change_message_visibility_batch(QueueUrl=url, Entries=entries)
    assert len(answer["Successful"]) == len(taken)
    assert len(backend.receive(url, MaxNumberOfMessages=10)) == len(taken)


def test_no_lease_is_longer_than_twelve_hours(backend: Backend):
    """ChangeMessageVisibility: 0 to 43,200 seconds."""
    url = backend.queue()
    backend.send(url, "x")
    [message] = backend.receive(url)
    change = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 43_201}
    assert refused(backend.client.change_message_visibility, **change) == "InvalidParameterValue"


def test_all_leases_of_a_receive_together_are_not_longer_than_twelve_hours(backend: Backend):
    """Visibility timeout: 12 hours from when the message is received; extending does not reset it."""
    url = backend.queue()
    backend.send(url, "x")
    [message] = backend.receive(url)
    backend.wait(1.1)
    change = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 43_200}
    assert refused(backend.client.change_message_visibility, **change) == "InvalidParameterValue"


def test_what_is_not_in_flight_has_no_lease_to_renew(backend: Backend):
    """ChangeMessageVisibility: MessageNotInflight."""
    url = backend.queue()
    backend.send(url, "x")
    [message] = backend.receive(url, VisibilityTimeout=0)
    change = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 10}
    assert refused(backend.client.change_message_visibility, **change) == "MessageNotInflight"


def test_what_is_deleted_has_no_lease_to_renew(backend: Backend):
    """ChangeMessageVisibility: an error, and in a batch a failed entry, so that a keeper of leases notices."""
    url = backend.queue()
    backend.send(url, "x")
    [message] = backend.receive(url)
    backend.client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    entries = [{"Id": "gone", "ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": 10}]
    answer = backend.client.change_message_visibility_batch(QueueUrl=url, Entries=entries)
    assert list(codes(answer)) == ["gone"]


# -- GetQueueAttributes


def test_the_three_counts_add_up(backend: Backend):
    """GetQueueAttributes: visible, not visible, delayed."""
    url = backend.queue()
    backend.send(url, "a", "b")
    backend.send(url, "c", DelaySeconds=60)
    assert len(backend.receive(url)) == 1
    counts = [backend.attribute(url, f"ApproximateNumberOfMessages{kind}") for kind in ("", "NotVisible", "Delayed")]
    assert counts == ["1", "1", "1"]

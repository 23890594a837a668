"""What AWS documents about receiving, keeping and deleting messages of a standard queue, put to all backends alike.

Each test names the page of the Amazon SQS API reference or developer guide that it holds to. Where a server differs,
`differences.py` says how, and AWS's documentation decides.
"""

import json

import pytest

from tests.conformance.conftest import TEXT, Backend, codes, refused

pytestmark = pytest.mark.long

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

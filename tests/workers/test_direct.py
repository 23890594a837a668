"""Direct calls to AWS: the same request, answer and errors as boto3's, and its signature to the byte."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from botocore import exceptions as errors
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from tests.kit import fauxqs
from workers import clock
from workers.direct import DirectClient, How, Service, Signer, direct
from workers.local import aws
from workers.metrics import Metrics

NOON = datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)
DELETE = {"QueueUrl": "q", "Entries": [{"Id": "0", "ReceiptHandle": "r"}]}


@dataclass
class Told:
    """A server that says what it is told to say, in order, and keeps what it was asked."""

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    hold: threading.Event = field(default_factory=threading.Event)

    def say(self, status: int, body: Any, **headers: str) -> None:
        self.answers.append((status, headers, json.dumps(body).encode()))


@pytest.fixture
def server() -> Iterator[Told]:
    told = Told()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.asked.append((dict(self.headers.items()), body))
            if not told.answers:
                told.hold.wait(10)
                return
            status, headers, text = told.answers.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    yield told
    told.hold.set()
    http.shutdown()
    thread.join()
    http.server_close()


def boto(service: Any, url: str) -> Any:
    keys = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret"}
    return boto3.client(service, endpoint_url=url, region_name="eu-west-1", config=Config(), **keys)  # type: ignore[call-overload]


def client(url: str, service: str = "sqs", *, attempts: int = 3, read_s: float = 5.0) -> DirectClient:
    how = How(connections=2, connect_s=1.0, read_s=read_s, attempts=attempts, user_agent="tests")
    return DirectClient(boto(service, url), Credentials("AKID", "secret"), how)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let no repetition wait; return how long each would have."""
    pauses: list[float] = []
    monkeypatch.setattr(clock, "sleep", pauses.append)
    return pauses


# -- what is sent


@pytest.mark.parametrize("service", ["sqs", "events"])
@given(body=st.binary(max_size=200), token=st.none() | st.text("abcXYZ/+=0", min_size=1))
def test_the_signature_is_that_of_botocore(service: str, body: bytes, token: str | None):
    spoken = Service.of(boto(service, "https://somewhere.example:8443"))
    credentials = Credentials("AKID", "secret", token)
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": "Any.Operation"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: NOON)
        patch.setattr("botocore.auth.get_current_datetime", lambda: NOON)
        ours = Signer(spoken, credentials).signed(headers, body)
        theirs = AWSRequest("POST", "https://somewhere.example:8443/", headers=dict(headers), data=body)
        SigV4Auth(credentials, spoken.signing_name, "eu-west-1").add_auth(theirs)
    assert ours == {name: theirs.headers[name] for name in ours}
    assert set(ours) == {"X-Amz-Date", "Authorization"} | ({"X-Amz-Security-Token"} if token else set())


def test_credentials_that_were_renewed_sign_from_then_on():
    credentials = Credentials("AKID", "secret")
    signer = Signer(Service.of(boto("sqs", "http://127.0.0.1:1")), credentials)
    headers = {"Content-Type": "a", "X-Amz-Target": "b"}
    before = signer.signed(headers, b"")["Authorization"]
    credentials.access_key, credentials.secret_key = "AKIE", "another"
    after = signer.signed(headers, b"")["Authorization"]
    assert ("Credential=AKID/" in before, "Credential=AKIE/" in after) == (True, True)
    assert before.rpartition("=")[2] != after.rpartition("=")[2]


def test_a_request_says_what_is_asked_and_by_whom(server: Told):
    server.say(200, {"FailedEntryCount": 0, "Entries": [{"EventId": "e"}]})
    entries = [{"Source": "a", "DetailType": "b", "Detail": '{"\N{SNOWMAN}": 1}'}]
    assert client(server.url, "events").put_events(Entries=entries)["Entries"] == [{"EventId": "e"}]
    ((headers, body),) = server.asked
    assert json.loads(body) == {"Entries": entries}
    named = {name: headers[name] for name in ("X-Amz-Target", "Content-Type", "User-Agent")}
    assert named == {
        "X-Amz-Target": "AWSEvents.PutEvents",
        "Content-Type": "application/x-amz-json-1.1",
        "User-Agent": "tests",
    }


def test_attributes_of_bytes_are_bytes(server: Told):
    attributes = {"b": {"DataType": "Binary", "BinaryValue": "AAE="}, "s": {"DataType": "String", "StringValue": "x"}}
    server.say(200, {"Messages": [{"MessageId": "1", "MessageAttributes": attributes}, {"MessageId": "2"}]})
    first, second = client(server.url).receive_message(QueueUrl="q")["Messages"]
    assert first["MessageAttributes"]["b"]["BinaryValue"] == b"\x00\x01"
    assert first["MessageAttributes"]["s"]["StringValue"] == "x"
    assert second == {"MessageId": "2"}


def test_an_answer_without_a_body_says_nothing(server: Told):
    server.answers.append((200, {}, b""))
    assert client(server.url).receive_message(QueueUrl="q") == {}


# -- what can go wrong


def refused(server: Told, *, attempts: int = 3) -> errors.ClientError:
    with pytest.raises(errors.ClientError) as caught:
        client(server.url, attempts=attempts).delete_message_batch(**DELETE)
    return caught.value


def test_a_refusal_has_the_code_that_boto3_shows(server: Told):
    told = {"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no such queue"}
    former = {"x_amzn_query_error": "AWS.SimpleQueueService.NonExistentQueue;Sender"}
    server.say(400, told, **former)
    ours = refused(server)
    server.say(400, told, **former)
    with pytest.raises(errors.ClientError) as caught:
        boto("sqs", server.url).delete_message_batch(**DELETE)
    for found in (ours, caught.value):
        assert found.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
        assert found.response["Error"]["Message"] == "no such queue"
        assert (found.operation_name, found.response["ResponseMetadata"]["HTTPStatusCode"]) == (
            "DeleteMessageBatch",
            400,
        )


def test_a_refusal_without_that_header_has_the_code_of_its_type(server: Told):
    server.say(400, {"__type": "com.amazon#AccessDeniedException", "Message": "no"})
    assert refused(server).response["Error"]["Code"] == "AccessDeniedException"
    assert len(server.asked) == 1, "no repetition cures it"


def test_an_answer_that_is_no_json_is_told_by_its_status(server: Told, at_once: list[float]):
    server.answers += [(503, {}, b"<html>busy</html>")] * 3
    assert refused(server).response["Error"]["Code"] == "503"
    assert len(server.asked) == 3
    assert [0 <= pause <= most for pause, most in zip(at_once, (1, 2), strict=True)] == [True, True]


@pytest.mark.parametrize("body", [b'{"Failed": [{"Id": "1", "Code', b"<html>welcome</html>", b"[]", b"null"])
def test_a_success_that_says_nothing_readable_is_none(server: Told, at_once: list[float], body: bytes):
    server.answers += [(200, {}, body), (200, {}, b'{"Successful": [{"Id": "1"}]}')]
    assert client(server.url).delete_message_batch(**DELETE) == {"Successful": [{"Id": "1"}]}
    assert len(at_once) == 1


@pytest.mark.parametrize(
    ("status", "code"), [(500, "InternalFailure"), (400, "ThrottlingException"), (400, "RequestTimeout")]
)
def test_what_may_do_better_is_sent_again(server: Told, at_once: list[float], status: int, code: str):
    server.say(status, {"__type": code})
    server.say(200, {"Successful": [{"Id": "0"}]})
    assert client(server.url).delete_message_batch(**DELETE) == {"Successful": [{"Id": "0"}]}
    assert (len(server.asked), len(at_once)) == (2, 1)


def test_who_wants_one_attempt_makes_one(server: Told):
    server.say(500, {})
    refused(server, attempts=1)
    assert len(server.asked) == 1


def test_nobody_there_is_an_endpoint_that_cannot_be_reached_and_each_attempt_is_counted(at_once: list[float]):
    asking, metrics = client("http://127.0.0.1:1", attempts=2), Metrics()
    metrics.count_requests(asking)
    with pytest.raises(errors.EndpointConnectionError):
        asking.receive_message(QueueUrl="q")
    assert metrics.registry.get_sample_value("payments_aws_requests_total", {"operation": "ReceiveMessage"}) == 2
    assert len(at_once) == 1


def test_who_does_not_answer_in_time_is_not_waited_for(server: Told):
    with pytest.raises(errors.ReadTimeoutError):
        client(server.url, attempts=1, read_s=0.1).receive_message(QueueUrl="q")


def test_a_connection_that_was_closed_meanwhile_is_made_anew(server: Told):
    server.say(200, {}, Connection="close")
    server.say(200, {"Messages": []})
    asking = client(server.url, attempts=1)
    assert asking.receive_message(QueueUrl="q") == {}
    assert asking.receive_message(QueueUrl="q") == {"Messages": []}


def test_what_cannot_be_sent_as_json_is_an_error_of_ours():
    with pytest.raises(TypeError):
        client("http://127.0.0.1:1").put_events(Entries=[{"Time": NOON}])


# -- when the way is open


def test_what_is_seldom_called_is_boto3s():
    asking = client("http://127.0.0.1:1")
    assert asking.meta.service_model.service_name == "sqs"
    assert asking.get_queue_url.__self__ is not asking


def test_a_proxy_a_path_and_missing_credentials_leave_all_to_boto3(monkeypatch: pytest.MonkeyPatch):
    plain, how = boto("sqs", "https://sqs.example"), How(1, 1, 1, 1, "tests")
    below = boto("sqs", "https://aws.example/sqs")
    assert direct(below, Credentials("a", "b"), how) is below
    assert direct(plain, None, how) is plain
    assert isinstance(direct(plain, Credentials("a", "b"), how), DirectClient)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert direct(plain, Credentials("a", "b"), how) is plain


@pytest.mark.long
@pytest.mark.stack
def test_a_queue_cannot_tell_them_apart(tmp_path: Any):
    with fauxqs.serving(tmp_path / "fauxqs.log") as url:
        theirs: Any = aws.session(url).client("sqs")
        ours = DirectClient(theirs, Credentials("a", "b"), How(2, 1, 5, 1, "tests"))
        answers = [conversation(theirs, asking, f"q{number}") for number, asking in enumerate((theirs, ours))]
    assert answers[0] == answers[1]
    assert [len(answer) for answer in answers[1]] == [2, 3, 1, 2], "sent, received, hidden, deleted"


def conversation(setup: Any, asking: Any, name: str) -> list[Any]:
    """Send, receive, hide and delete; return what is the same whoever asks."""
    url = setup.create_queue(QueueName=name)["QueueUrl"]
    attributes = {"b": {"DataType": "Binary", "BinaryValue": b"\x00\x01"}}
    setup.send_message(QueueUrl=url, MessageBody="with bytes", MessageAttributes=attributes)
    entry = {
        "Id": "1",
        "MessageBody": "\N{SNOWMAN}",
        "MessageAttributes": {"s": {"DataType": "String", "StringValue": "x"}},
    }
    sent = asking.send_message_batch(QueueUrl=url, Entries=[entry, {"Id": "2", "MessageBody": ""}])
    got = asking.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])["Messages"]
    handles = [{"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]} for number, message in enumerate(got)]
    hidden = asking.change_message_visibility_batch(
        QueueUrl=url, Entries=[{**handle, "VisibilityTimeout": 5} for handle in handles[:1]]
    )
    deleted = asking.delete_message_batch(QueueUrl=url, Entries=handles[1:])
    return [
        [entry["Id"] for entry in sent["Successful"]] + [entry["Code"] for entry in sent.get("Failed", [])],
        [(message["Body"], message.get("MessageAttributes")) for message in got],
        hidden["Successful"],
        deleted["Successful"],
    ]

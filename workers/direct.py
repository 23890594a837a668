"""The calls that every message shares, spoken to AWS directly: SigV4 and the AWS JSON protocol.

boto3 takes 1.3 to 2.2 ms of CPU for a call of ten messages, this 0.2: the same request and the same answer, without
endpoint rules, shapes and hooks being gone through anew. Whatever is called less often than once per ten messages is
boto3's, and so is everything where a proxy stands between us and AWS, or the endpoint has a path. Errors are botocore's
own classes.

Sources: "Signature Version 4 signing process" (AWS General Reference); "AWS JSON 1.0/1.1 protocol" (Smithy);
retries as botocore's mode `standard` ("Retries", Boto3 Developer Guide), but for its quota.
"""

import hmac
import json
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as errors
from botocore.credentials import Credentials
from botocore.httpsession import get_cert_path
from botocore.utils import get_environ_proxies

from workers import clock
from workers.exchange import Answer, Exchange

#: Answers that the next attempt may not get (botocore, retry mode `standard`).
TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})
THROTTLING = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
TRANSIENT_CODES = frozenset({"RequestTimeout", "RequestTimeoutException", "InternalError", "ServiceUnavailable"})
#: The longest pause before an attempt, in seconds; the first is a random part of one second, and it doubles.
PAUSE_MAX_S = 20.0
_OK = 200
_NETWORK = (
    errors.EndpointConnectionError,
    errors.ConnectTimeoutError,
    errors.ReadTimeoutError,
    errors.ConnectionClosedError,
)


@dataclass(frozen=True, slots=True)
class Service:
    """How a service is spoken to; all of it from botocore's own model of it."""

    endpoint_url: str
    region: str
    signing_name: str
    target_prefix: str
    json_version: str
    hook: str

    @classmethod
    def of(cls, client: Any) -> "Service":
        """Return that of a client of boto3's."""
        model = client.meta.service_model
        return cls(
            endpoint_url=client.meta.endpoint_url,
            region=client.meta.region_name,
            signing_name=model.signing_name,
            target_prefix=model.metadata["targetPrefix"],
            json_version=model.metadata["jsonVersion"],
            hook=f"before-send.{model.service_id.hyphenize()}",
        )


@dataclass(frozen=True, slots=True)
class How:
    """How requests are sent.

    Attributes:
        connections: how many may be under way at once.
        connect_s: how long a connection may take, in seconds.
        read_s: how long an answer may take, in seconds.
        attempts: how often a request is sent at most.
        user_agent: what AWS is told of who calls.
        ca_bundle: a file of certificate authorities instead of botocore's own (AWS_CA_BUNDLE).
    """

    connections: int
    connect_s: float
    read_s: float
    attempts: int
    user_agent: str
    ca_bundle: str | None = None


class DirectClient:
    """A client of boto3's, of which the calls that every message shares go the direct way; safe to share."""

    def __init__(self, client: Any, credentials: Credentials, how: How) -> None:
        """Keep the client, and connections of our own beside its.

        Args:
            client: boto3's client of SQS or EventBridge.
            credentials: botocore's, which renew themselves.
            how: how requests are sent.
        """
        self._client = client
        self._service = Service.of(client)
        self._signer = Signer(self._service, credentials)
        self._attempts = how.attempts
        self._exchange = Exchange(
            self._service.endpoint_url,
            kept=how.connections,
            connect_s=how.connect_s,
            read_s=how.read_s,
            ca_file=how.ca_bundle or get_cert_path(verify=True),
        )
        self._headers = {
            "Content-Type": f"application/x-amz-json-{self._service.json_version}",
            "User-Agent": how.user_agent,
        }

    def __getattr__(self, name: str) -> Any:
        """Return whatever is not called for every message: boto3's own."""
        return getattr(self._client, name)

    def receive_message(self, **request: Any) -> Any:
        """Receive up to ten messages, as boto3's method of this name does; so do those that follow."""
        answer = self._call("ReceiveMessage", request)
        for message in answer.get("Messages", ()):
            for attribute in message.get("MessageAttributes", {}).values():
                if "BinaryValue" in attribute:
                    attribute["BinaryValue"] = b64decode(attribute["BinaryValue"])
        return answer

    def delete_message_batch(self, **request: Any) -> Any:
        """Delete up to ten messages."""
        return self._call("DeleteMessageBatch", request)

    def change_message_visibility_batch(self, **request: Any) -> Any:
        """Change the visibility timeout of up to ten messages."""
        return self._call("ChangeMessageVisibilityBatch", request)

    def send_message_batch(self, **request: Any) -> Any:
        """Send up to ten messages, whose attributes are texts."""
        return self._call("SendMessageBatch", request)

    def put_events(self, **request: Any) -> Any:
        """Put up to ten events on a bus."""
        return self._call("PutEvents", request)

    def _call(self, operation: str, request: Mapping[str, Any]) -> Any:
        """Call an operation, again where the next attempt may do better.

        Raises:
            ClientError: AWS refused it.
            BotoCoreError: AWS could not be reached, or did not answer in time.
        """
        body = json.dumps(request, separators=(",", ":")).encode()
        for attempt in range(1, self._attempts + 1):
            try:
                return self._attempt(operation, body)
            except (*_NETWORK, errors.ClientError) as error:
                if attempt == self._attempts or not _is_transient(error):
                    raise
            clock.sleep(min(PAUSE_MAX_S, clock.between(0.0, 1.0) * 2.0 ** (attempt - 1)))
        raise AssertionError("at least one attempt is made")

    def _attempt(self, operation: str, body: bytes) -> Any:
        self._client.meta.events.emit(f"{self._service.hook}.{operation}")
        headers = {**self._headers, "X-Amz-Target": f"{self._service.target_prefix}.{operation}"}
        headers |= self._signer.signed(headers, body)
        answer = self._exchange.post(headers, body)
        try:
            found = json.loads(answer.data or b"{}")
        except ValueError as error:
            found = error
        if answer.status != _OK:
            raise _refusal(operation, answer, found)
        if not isinstance(found, dict):  # cut off, or not AWS's: nobody has said what was done
            raise errors.ConnectionClosedError(endpoint_url=self._service.endpoint_url, request=None, error=found)
        return found


class Signer:
    """Signs requests to one service by Signature Version 4; the day's key is derived once."""

    def __init__(self, service: Service, credentials: Credentials) -> None:
        """Keep whose requests they are."""
        self._service = service
        self._credentials = credentials
        self._host = urlsplit(service.endpoint_url).netloc
        self._key: tuple[tuple[str, str], bytes] = (("", ""), b"")

    def signed(self, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the headers that make a POST of this body to `/` one of ours.

        Args:
            headers: hold `Content-Type` and `X-Amz-Target`, which are signed as well.
            body: the body.
        """
        frozen = self._credentials.get_frozen_credentials()
        moment = f"{clock.now():%Y%m%dT%H%M%SZ}"
        token = {"X-Amz-Security-Token": frozen.token} if frozen.token else {}
        signed = {
            "content-type": headers["Content-Type"],
            "host": self._host,
            "x-amz-date": moment,
            **({"x-amz-security-token": frozen.token} if frozen.token else {}),
            "x-amz-target": headers["X-Amz-Target"],
        }
        names = ";".join(signed)
        lines = "\n".join(f"{name}:{value}" for name, value in signed.items())
        canonical = f"POST\n/\n\n{lines}\n\n{names}\n{sha256(body).hexdigest()}"
        scope = f"{moment[:8]}/{self._service.region}/{self._service.signing_name}/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._day_key(moment[:8], frozen.secret_key or ""), to_sign.encode(), sha256).hex()
        credential = f"{frozen.access_key}/{scope}"
        authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        return {"X-Amz-Date": moment, **token, "Authorization": authorization}

    def _day_key(self, day: str, secret: str) -> bytes:
        wanted = (day, secret)
        known, key = self._key
        if known != wanted:
            key = f"AWS4{secret}".encode()
            for part in (day, self._service.region, self._service.signing_name, "aws4_request"):
                key = hmac.digest(key, part.encode(), sha256)
            self._key = wanted, key
        return key


def direct(client: Any, credentials: Credentials | None, how: How) -> Any:
    """Return a client whose frequent calls go the direct way, or the client itself where that way is not open.

    Args:
        client: boto3's.
        credentials: botocore's, or None where there are none: boto3 then says so at the first call.
        how: how requests are sent.
    """
    url = client.meta.endpoint_url
    if credentials is None or get_environ_proxies(url) or urlsplit(url).path.strip("/"):
        return client
    return DirectClient(client, credentials, how)


def _refusal(operation: str, answer: Answer, found: Any) -> errors.ClientError:
    """Return what AWS refused, by the code that boto3 would show."""
    told: Mapping[str, Any] = found if isinstance(found, dict) else {}
    # SQS keeps the codes of its former protocol in a header of their own, and so does botocore.
    code = answer.headers.get("x-amzn-query-error", "").partition(";")[0]
    code = code or str(told.get("__type", "")).rpartition("#")[2] or str(answer.status)
    message = str(told.get("message") or told.get("Message") or "")
    about: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": answer.status}}
    return errors.ClientError(about, operation)


def _is_transient(error: Exception) -> bool:
    if not isinstance(error, errors.ClientError):
        return True
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status in TRANSIENT_STATUSES or code in THROTTLING or code in TRANSIENT_CODES

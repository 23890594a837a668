"""Signing keys: fetched once for all threads, kept while nothing better can be had, and never a wrong one."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, OctKey, RSAKey

from contracts.proof import KeysAwayError
from workers import clock, jwks
from workers.jwks import CHUNK_BYTES, DOCUMENT_BYTES_MAX, KEYS_MAX, FetchError, KeySet, from_file, from_url

RSA = {kid: RSAKey.generate_key(2048) for kid in ("old", "new")}
THREADS = 16
HOUR_S, DAY_S = 3_600, 86_400


def entry(kid: str, key: Any = None, **others: Any) -> dict[str, Any]:
    return {**(key or RSA[kid]).as_dict(private=False), "kid": kid, "use": "sig", "alg": "RS256", **others}


def document(*entries: Any) -> bytes:
    return json.dumps({"keys": entries}).encode()


def unsigned(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()


OLD, NEW = document(entry("old")), document(entry("new"))
BOTH = document(entry("old"), entry("new"))


@dataclass
class Issuer:
    """An issuer whose document can be exchanged, taken away and held back, with a clock beside it."""

    document: bytes = OLD
    is_away: bool = False
    fetches: int = 0
    seconds: float = 1_000.0
    asked: threading.Event = field(default_factory=threading.Event)
    answers: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.answers.set()

    def __call__(self) -> bytes:
        self.fetches += 1
        self.asked.set()
        assert self.answers.wait(20)
        if self.is_away:
            raise FetchError("away")
        return self.document

    def hold_back(self) -> None:
        self.asked.clear()
        self.answers.clear()


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def keys(issuer: Issuer) -> KeySet:
    return KeySet(issuer, now=lambda: issuer.seconds)


@pytest.fixture
def warm(issuer: Issuer, keys: KeySet) -> KeySet:
    """A key set that has fetched once."""
    assert keys.key("old") is not None
    return keys


@contextmanager
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as opened:
        yield opened


def public(key: RSAKey | None) -> tuple[Any, Any]:
    assert key is not None
    return key["n"], key["e"]


def until_waiting(keys: KeySet, number: int) -> None:
    """Wait until so many threads wait for another's refresh."""
    pause = threading.Event()
    for _ in range(2_000):
        with keys._changed:
            if len(keys._changed._waiters) >= number:  # type: ignore[attr-defined]
                return
        pause.wait(0.005)
    raise AssertionError("nobody waits")


# What a key is


def test_a_key_is_found_by_its_kid(issuer, keys):
    issuer.document = BOTH
    assert public(keys.key("old")) == public(RSA["old"])
    assert public(keys.key("new")) == public(RSA["new"])
    assert issuer.fetches == 1


def test_a_found_key_verifies_what_its_private_half_signed(keys):
    found = keys.key("old")
    assert found is not None
    assert not found.is_private
    signed = jws.serialize_compact({"alg": "RS256"}, b"word", RSA["old"])
    assert jws.deserialize_compact(signed, found, algorithms=["RS256"]).payload == b"word"


@pytest.mark.parametrize("absent", ["use", "alg"])
def test_a_key_need_not_say_what_it_is_for(issuer, keys, absent):
    bare = entry("old")
    del bare[absent]
    issuer.document = document(bare)
    assert public(keys.key("old")) == public(RSA["old"])


def weak() -> dict[str, Any]:
    with pytest.warns(SecurityWarning):
        return entry("other", RSAKey.generate_key(1024))


UNUSABLE: dict[str, Callable[[], Any]] = {
    "for encryption": lambda: entry("other", RSA["new"], use="enc"),
    "for nothing": lambda: entry("other", RSA["new"], use=None),
    "of another algorithm": lambda: entry("other", RSA["new"], alg="RS512"),
    "of another padding": lambda: entry("other", RSA["new"], alg="PS256"),
    "an elliptic curve": lambda: entry("other", ECKey.generate_key("P-256")),
    "a shared secret": lambda: {"kty": "oct", "k": "c2VjcmV0", "kid": "other"},
    "a shared secret as RSA": lambda: {
        **OctKey.import_key("s" * 32).as_dict(private=True),
        "kty": "RSA",
        "kid": "other",
    },
    "weak": weak,
    "just too weak": lambda: entry("other", RSA["new"], n=unsigned(2**2047 - 1)),
    "monstrous": lambda: entry("other", RSA["new"], n=unsigned(2**16_384 - 1)),
    "private": lambda: {**RSA["new"].as_dict(private=True), "kid": "other"},
    "without a modulus": lambda: {key: value for key, value in entry("other", RSA["new"]).items() if key != "n"},
    "without an exponent": lambda: {key: value for key, value in entry("other", RSA["new"]).items() if key != "e"},
    "with an empty modulus": lambda: entry("other", RSA["new"], n=""),
    "with a number as modulus": lambda: entry("other", RSA["new"], n=5),
    "with a list as exponent": lambda: entry("other", RSA["new"], e=["AQAB"]),
    "with a modulus that is no base64url": lambda: entry("other", RSA["new"], n="+" * 400),
    "with a modulus beyond ASCII": lambda: entry("other", RSA["new"], n="é" * 400),
    "with an exponent of one": lambda: entry("other", RSA["new"], e="AQ"),
    "with an even exponent": lambda: entry("other", RSA["new"], e="Ag"),
    "without a type": lambda: {key: value for key, value in entry("other", RSA["new"]).items() if key != "kty"},
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_key_that_is_no_signing_key_is_skipped(issuer, keys, kind):
    issuer.document = document(UNUSABLE[kind](), entry("old"))
    assert keys.key("other") is None
    assert keys.key("old") is not None, "the others count"


@pytest.mark.parametrize("kid", [None, "", 7, ["other"], {"a": 1}, "x" * 256])
def test_a_kid_that_is_none_is_skipped(issuer, keys, kid):
    issuer.document = document(entry("other", RSA["new"]) | {"kid": kid}, entry("old"))
    assert public(keys.key("old")) == public(RSA["old"])
    assert list(keys._keys) == ["old"]


@pytest.mark.parametrize(
    "second",
    [
        entry("twice", RSA["new"]),
        entry("twice", RSA["old"]),
        entry("twice", RSA["new"], use="enc"),
        {"kid": "twice", "kty": "EC"},
    ],
    ids=["another", "the same", "for encryption", "of another kind"],
)
def test_two_keys_of_one_kid_make_it_unusable(issuer, keys, second):
    issuer.document = document(entry("twice", RSA["old"]), entry("old"), second)
    assert keys.key("twice") is None
    assert keys.key("old") is not None


# What a document is


WRONG_DOCUMENTS = {
    "empty": b"",
    "no JSON": b"<html>secret</html>",
    "not UTF-8": b'{"keys": ["\xff"]}',
    "UTF-16": OLD.decode().encode("utf-16"),
    "a list": b"[]",
    "a key alone": json.dumps(entry("old")).encode(),
    "without keys": b"{}",
    "keys that are no list": b'{"keys": {}}',
    "keys of text": b'{"keys": ["secret"]}',
    "two lists of keys": OLD[:-1] + b', "keys": []}',
    "too deep": b"[" * 60_000,
    "too deep inside": b'{"keys": [' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"]}",
    "no keys": b'{"keys": []}',
    "no usable keys": document(entry("old", use="enc")),
    "too many keys": document(*(entry(str(number), RSA["old"], n="AQAB") for number in range(KEYS_MAX)), entry("old")),
    "too large": OLD + b" " * (DOCUMENT_BYTES_MAX + 1 - len(OLD)),
}


@pytest.mark.parametrize("kind", WRONG_DOCUMENTS)
def test_a_document_that_is_none_is_a_failed_fetch(issuer, keys, kind):
    issuer.document = WRONG_DOCUMENTS[kind]
    with pytest.raises(KeysAwayError):
        keys.key("old")


@pytest.mark.parametrize("kind", WRONG_DOCUMENTS)
def test_a_document_that_is_none_takes_no_keys_away(issuer, warm, kind):
    issuer.document = WRONG_DOCUMENTS[kind]
    issuer.seconds += HOUR_S
    assert warm.key("old") is not None
    assert issuer.fetches == 2


@pytest.mark.parametrize("kind", WRONG_DOCUMENTS)
def test_the_reason_of_a_failed_fetch_repeats_nothing_of_the_document(kind):
    with pytest.raises(FetchError) as failed:
        jwks._signing_keys(WRONG_DOCUMENTS[kind])
    assert "secret" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_document_may_be_as_large_and_as_long_as_the_limits(issuer, keys):
    many = (entry(f"k{number}", RSA["old"]) for number in range(KEYS_MAX - 1))
    full = document(entry("old"), *many)
    issuer.document = full + b" " * (DOCUMENT_BYTES_MAX - len(full))
    assert keys.key("old") is not None
    assert keys.key(f"k{KEYS_MAX - 2}") is not None


# When keys are fetched


def test_nothing_is_fetched_before_a_key_is_wanted(issuer, keys):
    assert issuer.fetches == 0


def test_keys_are_kept_for_their_time_and_fetched_anew_after_it(issuer, warm):
    issuer.seconds += HOUR_S - 1
    warm.key("old")
    assert issuer.fetches == 1
    issuer.seconds += 1
    warm.key("old")
    assert issuer.fetches == 2


def test_a_key_that_was_withdrawn_is_gone_after_an_hour(issuer, warm):
    issuer.document = NEW
    issuer.seconds += HOUR_S
    assert warm.key("old") is None
    assert warm.key("new") is not None


def test_a_rotation_is_noticed_at_once(issuer, warm):
    issuer.document = BOTH
    issuer.seconds += 1
    assert public(warm.key("new")) == public(RSA["new"])
    assert issuer.fetches == 2


def test_a_kid_that_the_first_fetch_did_not_find_causes_no_second_one(issuer, keys):
    assert keys.key("nobody") is None
    assert keys.key("nobody") is None
    assert issuer.fetches == 1


def test_unknown_kids_cause_at_most_one_fetch_in_thirty_seconds(issuer, warm):
    for second in range(30):
        for number in range(20):
            assert warm.key(f"unknown-{second}-{number}") is None
        issuer.seconds += 1
    assert issuer.fetches == 2
    assert warm.key("unknown-30-0") is None
    assert issuer.fetches == 3


def test_unknown_kids_in_many_threads_cause_one_fetch(issuer, warm):
    with pool() as threads:
        found = list(threads.map(warm.key, (f"unknown-{number}" for number in range(200))))
    assert found == [None] * 200
    assert issuer.fetches == 2


def test_a_kid_that_was_looked_for_in_vain_is_looked_for_ever_less_often(issuer, warm):
    fetched_at = []
    for second in range(0, 240, 10):
        before = issuer.fetches
        assert warm.key("nobody") is None
        fetched_at += [second] * (issuer.fetches - before)
        issuer.seconds += 10
    assert fetched_at == [0, 30, 90, 210]


def test_a_kid_that_was_looked_for_in_vain_is_found_once_it_is_there(issuer, warm):
    assert warm.key("new") is None
    issuer.document = BOTH
    issuer.seconds += 29
    assert warm.key("new") is None
    issuer.seconds += 1
    assert public(warm.key("new")) == public(RSA["new"])
    assert not warm._missing, "it is no longer missing"


def test_a_kid_that_was_looked_for_in_vain_does_not_hold_up_another(issuer, warm):
    warm.key("nobody")
    issuer.seconds += 30
    warm.key("nobody")
    issuer.seconds += 30
    assert warm.key("nobody") is None, "it waits for 60 seconds now"
    issuer.document = BOTH
    assert warm.key("new") is not None


def test_missing_kids_are_remembered_up_to_a_number(issuer, keys):
    brief = KeySet(issuer, cooldown_s=1, now=lambda: issuer.seconds)
    for number in range(jwks.MISSING_KIDS_MAX + 10):
        brief.key(f"unknown-{number}")
        issuer.seconds += 1
    assert len(brief._missing) == jwks.MISSING_KIDS_MAX
    assert "unknown-9" not in brief._missing
    assert "unknown-10" in brief._missing


# When they cannot be fetched


def test_without_any_keys_nobody_can_say(issuer, keys):
    issuer.is_away = True
    with pytest.raises(KeysAwayError):
        keys.key("old")


def test_after_a_failed_fetch_there_is_a_pause(issuer, keys):
    issuer.is_away = True
    for _ in range(30):
        with pytest.raises(KeysAwayError):
            keys.key("old")
        issuer.seconds += 1
    assert issuer.fetches == 1
    issuer.is_away = False
    assert keys.key("old") is not None
    assert issuer.fetches == 2


def test_stale_keys_serve_for_a_day_and_no_longer(issuer, warm):
    issuer.is_away = True
    issuer.seconds += DAY_S
    assert warm.key("old") is not None
    assert issuer.fetches == 2
    issuer.seconds += 1
    with pytest.raises(KeysAwayError):
        warm.key("old")


def test_stale_keys_are_fetched_anew_every_thirty_seconds_until_it_works(issuer, warm):
    issuer.is_away = True
    issuer.seconds += HOUR_S
    for _ in range(60):
        assert warm.key("old") is not None
        issuer.seconds += 1
    assert issuer.fetches == 3
    issuer.is_away = False
    warm.key("old")
    warm.key("old")
    assert issuer.fetches == 4


def test_keys_that_were_too_old_serve_again_once_they_are_fetched(issuer, warm):
    issuer.is_away = True
    issuer.seconds += DAY_S + 1
    with pytest.raises(KeysAwayError):
        warm.key("old")
    issuer.is_away = False
    issuer.seconds += 30
    assert warm.key("old") is not None


def test_an_unknown_kid_while_the_issuer_is_away_is_looked_for_once_per_pause(issuer, warm):
    issuer.is_away = True
    for _ in range(30):
        with pytest.raises(KeysAwayError):  # nobody can say whether it is the issuer's
            warm.key("new")
        issuer.seconds += 1
    assert issuer.fetches == 2
    issuer.is_away, issuer.document = False, BOTH
    assert warm.key("new") is not None


def test_a_failed_fetch_is_logged_without_the_document(issuer, keys, capfd, caplog):
    issuer.document = b"<html>secret</html>"
    with pytest.raises(KeysAwayError):
        keys.key("old")
    captured = capfd.readouterr()
    assert "secret" not in captured.out + captured.err + caplog.text


def test_a_source_that_breaks_is_not_asked_again_at_once(issuer):
    def broken() -> bytes:
        issuer.fetches += 1
        raise ZeroDivisionError

    keys = KeySet(broken, now=lambda: issuer.seconds)
    with pytest.raises(ZeroDivisionError):
        keys.key("old")
    with pytest.raises(KeysAwayError):
        keys.key("old")
    assert issuer.fetches == 1


# Many threads


def test_many_threads_without_keys_cause_one_fetch_and_all_wait_for_it(issuer, keys):
    issuer.hold_back()
    with pool() as threads:
        asked = [threads.submit(keys.key, "old") for _ in range(THREADS)]
        until_waiting(keys, THREADS - 1)
        issuer.answers.set()
        assert {public(found.result(20)) for found in asked} == {public(RSA["old"])}
    assert issuer.fetches == 1


def test_many_threads_without_keys_learn_together_that_there_are_none(issuer, keys):
    issuer.is_away = True
    issuer.hold_back()
    with pool() as threads:
        asked = [threads.submit(keys.key, "old") for _ in range(THREADS)]
        until_waiting(keys, THREADS - 1)
        issuer.answers.set()
        assert all(isinstance(found.exception(20), KeysAwayError) for found in asked)
    assert issuer.fetches == 1


def test_while_one_thread_refreshes_the_others_use_the_keys_that_are_there(issuer, warm):
    issuer.seconds += HOUR_S
    with refreshing(issuer, warm) as refresh, pool() as threads:
        found = list(threads.map(warm.key, ["old"] * 200, timeout=20))
        assert not refresh.done(), "nobody waited for it"
    assert all(found)
    assert issuer.fetches == 2


def test_who_asks_for_a_new_key_waits_for_the_refresh_that_may_bring_it(issuer, warm):
    issuer.seconds += HOUR_S
    issuer.document = BOTH
    with pool() as threads, refreshing(issuer, warm):
        asked = threads.submit(warm.key, "new")
        until_waiting(warm, 1)
        issuer.answers.set()
        assert public(asked.result(20)) == public(RSA["new"])
    assert issuer.fetches == 2


def test_a_kid_that_is_known_to_be_missing_makes_nobody_wait(issuer):
    brief = KeySet(issuer, ttl_s=20, cooldown_s=30, now=lambda: issuer.seconds)
    assert brief.key("nobody") is None
    issuer.seconds += 20
    with refreshing(issuer, brief) as refresh, pool() as threads:
        assert threads.submit(brief.key, "nobody").result(5) is None
        assert not refresh.done()


def test_nobody_waits_for_ever(issuer, keys, monkeypatch):
    monkeypatch.setattr(jwks, "WAIT_S", 0.05)
    with refreshing(issuer, keys), pytest.raises(KeysAwayError):
        keys.key("old")


@contextmanager
def refreshing(issuer: Issuer, keys: KeySet) -> Iterator[Future]:
    """A refresh by another thread that gets no answer before the block ends."""
    issuer.hold_back()
    with ThreadPoolExecutor(1) as thread:
        try:
            refresh = thread.submit(keys.key, "old")
            assert issuer.asked.wait(20)
            yield refresh
        finally:
            issuer.answers.set()
        refresh.result(20)


# The sources


def test_a_file_is_read_anew_each_time(tmp_path):
    path = tmp_path / "jwks.json"
    fetch = from_file(path)
    for written in (OLD, NEW):
        path.write_bytes(written)
        assert fetch() == written


def test_a_file_serves_as_a_source(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_bytes(OLD)
    assert KeySet(from_file(path)).key("old") is not None


@pytest.mark.parametrize("name", ["missing", ".", "nul\0name"])
def test_a_file_that_cannot_be_read_is_a_failed_fetch(tmp_path, name):
    with pytest.raises(FetchError, match="cannot be read"):
        from_file(tmp_path / name)()


def test_a_file_that_is_too_large_is_a_failed_fetch(tmp_path):
    path = tmp_path / "jwks.json"
    path.write_bytes(b" " * DOCUMENT_BYTES_MAX)
    assert len(from_file(path)()) == DOCUMENT_BYTES_MAX
    path.write_bytes(b" " * (DOCUMENT_BYTES_MAX + 1))
    with pytest.raises(FetchError, match="over 65536 bytes"):
        from_file(path)()


class Server(ThreadingHTTPServer):
    """An HTTP server whose every path answers in its own way; it notes what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[str] = []
        self.is_over = threading.Event()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is what many of these tests are about."""


class Answers(BaseHTTPRequestHandler):
    """One answer per path."""

    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        getattr(self, f"answer_{self.path.strip('/')}")()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        """Write nothing to standard error."""

    def head(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, body: bytes) -> None:
        self.wfile.write(body)

    def answer_keys(self) -> None:
        self.head(Content_Length=str(len(OLD)))
        self.send(OLD)

    def answer_chunked(self) -> None:
        self.head(Transfer_Encoding="chunked")
        for piece in (OLD[:100], OLD[100:]):
            self.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.send(b"0\r\n\r\n")

    def answer_unlabelled(self) -> None:
        self.head(Connection="close")
        self.send(OLD)

    def answer_limit(self) -> None:
        self.head(Content_Length=str(DOCUMENT_BYTES_MAX))
        self.send(b" " * DOCUMENT_BYTES_MAX)

    def answer_large(self) -> None:
        self.head(Content_Length=str(DOCUMENT_BYTES_MAX + 1))
        self.send(b" " * (DOCUMENT_BYTES_MAX + 1))

    def answer_endless(self) -> None:
        self.head(Connection="close")
        while not self.server.is_over.is_set():
            self.send(b" " * CHUNK_BYTES)

    def answer_redirect(self) -> None:
        self.head(302, Location=self.server.url("keys"), Content_Length="0")

    def answer_permanent(self) -> None:
        self.head(308, Location=self.server.url("keys"), Content_Length="0")

    def answer_broken(self) -> None:
        self.head(500, Content_Length=str(len(OLD)))
        self.send(OLD)

    def answer_unavailable(self) -> None:
        self.head(503, Retry_After="0", Content_Length="0")

    def answer_empty(self) -> None:
        self.head(204)

    def answer_partial(self) -> None:
        self.head(206, Content_Length=str(len(OLD)))
        self.send(OLD)

    def answer_cut(self) -> None:
        self.head(Content_Length=str(len(OLD)), Connection="close")
        self.send(OLD[:100])
        self.close_connection = True

    def answer_misframed(self) -> None:
        self.head(Transfer_Encoding="chunked", Connection="close")
        self.send(b"zz\r\n" + OLD)
        self.close_connection = True

    def answer_nonsense(self) -> None:
        self.send(b"secret\r\n\r\n")
        self.close_connection = True

    def answer_silent(self) -> None:
        self.server.is_over.wait(20)

    def answer_slow(self) -> None:
        self.head(Content_Length=str(len(OLD)))
        self.server.is_over.wait(20)

    def answer_dripping(self) -> None:
        self.head(Content_Length=str(len(OLD)))
        for byte in OLD:
            self.send(bytes([byte]))
            self.wfile.flush()
            if self.server.is_over.wait(0.02):
                break


@pytest.fixture
def http() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.is_over.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["keys", "chunked", "unlabelled"])
def test_a_server_is_asked_for_the_document(http, path):
    assert from_url(http.url(path))() == OLD
    assert http.asked == [f"/{path}"]


def test_a_server_serves_as_a_source(http):
    keys = KeySet(from_url(http.url("keys")))
    assert public(keys.key("old")) == public(RSA["old"])
    assert keys.key("old") is not None
    assert http.asked == ["/keys"]


def test_an_answer_may_be_as_large_as_the_limit(http):
    assert len(from_url(http.url("limit"))()) == DOCUMENT_BYTES_MAX


FAILURES = {
    "redirect": "answers 302",
    "permanent": "answers 308",
    "broken": "answers 500",
    "unavailable": "answers 503",
    "empty": "answers 204",
    "partial": "answers 206",
    "missing": "cannot be asked",
    "large": "over 65536 bytes",
    "endless": "over 65536 bytes",
    "cut": "cannot be asked: ProtocolError",
    "misframed": "cannot be asked",
    "nonsense": "cannot be asked: ProtocolError",
    "silent": "cannot be asked: ReadTimeoutError",
    "slow": "cannot be asked: ReadTimeoutError",
    "dripping": "too slow",
}


@pytest.mark.parametrize("path", FAILURES)
def test_an_answer_that_is_none_is_a_failed_fetch_and_is_not_asked_for_again(http, path):
    began_at = clock.monotonic()
    with pytest.raises(FetchError, match=FAILURES[path]) as failed:
        from_url(http.url(path), timeout_s=0.3)()
    assert clock.monotonic() - began_at < 5, "its timeouts hold, however it is slow"
    assert http.asked == [f"/{path}"], "no redirect is followed, nothing is tried twice"
    assert "secret" not in str(failed.value)


def test_no_more_is_read_than_shows_that_it_is_too_large(http, monkeypatch):
    read = []
    bounded = jwks._bounded

    def noted(body: bytes) -> bytes:
        read.append(len(body))
        return bounded(body)

    monkeypatch.setattr(jwks, "_bounded", noted)
    with pytest.raises(FetchError):
        from_url(http.url("endless"))()
    assert read == [DOCUMENT_BYTES_MAX + 1]


def test_a_server_that_is_away_is_a_failed_fetch():
    with Server() as closed:
        url = closed.url("keys")
    with pytest.raises(FetchError, match="cannot be asked: NewConnectionError"):
        from_url(url, timeout_s=1)()


def test_a_server_without_a_certificate_is_a_failed_fetch(http):
    with pytest.raises(FetchError, match="cannot be asked: SSLError"):
        from_url(http.url("keys").replace("http:", "https:"), timeout_s=1)()
    assert http.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys",
        "//127.0.0.1/keys",
        "file:///etc/hosts",
        "ftp://127.0.0.1/keys",
        "http://example.com/keys",
        "http://localhost/keys",
        "http://[::1]/keys",
        "http://127.0.0.2/keys",
        "http://127.0.0.1.example.com/keys",
        "http://127.0.0.1@example.com/keys",
        "http://example.com#@127.0.0.1/keys",
        "http://example.com\\@127.0.0.1/keys",
        "https://",
        "https:///keys",
        "https://[secret",
    ],
)
def test_a_url_whose_answer_could_be_anybodys_is_refused(url):
    with pytest.raises(ValueError, match="from an https:// URL only"):
        from_url(url)


@pytest.mark.parametrize("url", ["https://example.com/keys", "HTTPS://example.com:8443/keys", "http://127.0.0.1/keys"])
def test_a_url_that_can_be_trusted_is_taken(url):
    assert callable(from_url(url))

"""The keys that tokens are signed with: fetched as a JWKS document (RFC 7517), kept, and found by their `kid`.

A fetch costs time and may fail; messages go on meanwhile. So one thread at a time fetches while the others use the
keys that are there, and keys that could not be fetched anew serve on for a day. Whoever sends tokens chooses the kid
in them, so an unknown kid may cause a fetch only now and then.
"""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from joserfc.util import base64_to_int
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Timeout, parse_url

from contracts.envelope import Malformed, parse_object
from contracts.proof import KeysAwayError
from workers import clock
from workers.logs import logger

#: The largest document that is read, in bytes; a user pool's has about 1,000.
DOCUMENT_BYTES_MAX = 65_536
#: The most keys that a document may hold; a user pool's has two.
KEYS_MAX = 64
#: The longest `kid`, in characters.
KID_CHARS_MAX = 255
#: The sizes of an RSA modulus that are taken: below they are weak (NIST SP 800-131A), above they only cost time.
MODULUS_BITS_MIN, MODULUS_BITS_MAX = 2_048, 8_192
#: The one algorithm whose keys are taken.
ALGORITHM = "RS256"
#: How many kids that are in no document are remembered; at most one comes to be known per cooldown.
MISSING_KIDS_MAX = 128
#: How long a thread waits for another's fetch, in seconds: longer than a fetch by `from_url` takes.
WAIT_S = 10.0
#: How much of an answer is read at once, in bytes.
CHUNK_BYTES = 8_192
_HTTP_OK = 200
_LOOPBACK = "127.0.0.1"
_log = logger(__name__)


class FetchError(Exception):
    """The document cannot be had, or is no JWKS; the text says why and repeats nothing of the document."""


@dataclass(frozen=True, slots=True)
class _Missing:
    """A kid that a fetch did not find: until when it causes no other, and how long that is."""

    until: float
    wait_s: float


class KeySet:
    """The keys of one issuer by `kid`; safe to share between threads.

    One thread at a time refreshes. The others go on with the keys that are there; they wait only if those cannot serve
    them: there are none, or the kid may be among those that are being fetched.
    """

    def __init__(
        self,
        source: Callable[[], bytes],
        *,
        ttl_s: float = 3_600,
        cooldown_s: float = 30,
        stale_max_s: float = 86_400,
        now: Callable[[], float] = clock.monotonic,
        fetched: Callable[[bool], None] = lambda _ok: None,
    ) -> None:
        """Keep where the keys come from; nothing is fetched before the first key is wanted.

        Args:
            source: returns the document, or raises FetchError; it must have a timeout.
            ttl_s: after how long the keys are fetched anew.
            cooldown_s: the pause after a failed fetch, and between two fetches for unknown kids.
            stale_max_s: how old keys may become when no fetch succeeds.
            now: the seconds of a clock that never goes back.
            fetched: called after each fetch with its success.
        """
        self._fetched = fetched
        self._source = source
        self._ttl_s = ttl_s
        self._cooldown_s = cooldown_s
        self._stale_max_s = stale_max_s
        self._now = now
        self._changed = threading.Condition()
        self._keys: Mapping[str, RSAKey] = {}
        self._fetched_at = float("-inf")
        self._is_refreshing = False
        #: No fetch before this, since the last one failed.
        self._retry_at = float("-inf")
        #: No fetch for an unknown kid before this.
        self._search_at = float("-inf")
        self._missing: dict[str, _Missing] = {}

    def key(self, kid: str) -> RSAKey | None:
        """Return the key of this `kid`; None when the issuer has no such key, or more than one.

        Raises:
            KeysAwayError: there are no keys, or they are too old, and no others can be had now.
        """
        if self._takes_turn(kid):
            self._refresh(kid)
        with self._changed:
            # After a failed fetch nobody can say of a kid that was never looked for whether it is the issuer's.
            if not self._is_usable() or (self._now() < self._retry_at and self._is_sought(kid)):
                raise KeysAwayError("the signing keys cannot be had now")
            return self._keys.get(kid)

    def _takes_turn(self, kid: str) -> bool:
        """Return whether this thread is the one to refresh, having waited for another's refresh where it must."""
        with self._changed:
            if self._is_refreshing:
                if not self._is_usable() or self._is_sought(kid):
                    self._changed.wait_for(lambda: not self._is_refreshing, WAIT_S)
                return False
            self._is_refreshing = self._is_due(kid)
            return self._is_refreshing

    def _is_usable(self) -> bool:
        return self._now() - self._fetched_at <= self._stale_max_s

    def _is_sought(self, kid: str) -> bool:
        """Whether the key is unknown and nothing says yet that it will stay so."""
        known_missing = self._missing.get(kid)
        return kid not in self._keys and (known_missing is None or self._now() >= known_missing.until)

    def _is_due(self, kid: str) -> bool:
        """Whether to fetch now; an unknown kid for which that is so uses up the turn of all unknown kids."""
        at = self._now()
        if at < self._retry_at:
            return False
        if at - self._fetched_at >= self._ttl_s:
            return True
        if at < self._search_at or not self._is_sought(kid):
            return False
        self._search_at = at + self._cooldown_s
        return True

    def _refresh(self, kid: str) -> None:
        """Fetch the keys; where that fails, whatever the reason, those that are there serve on."""
        started_at, keys = self._now(), None
        try:
            keys = _signing_keys(self._source())
        except FetchError as error:
            _log.warning("signing keys not refreshed", reason=str(error))
        finally:
            with self._changed:
                if keys is None:
                    self._retry_at = self._now() + self._cooldown_s
                else:
                    self._keys, self._fetched_at = keys, started_at
                    self._remember(kid)
                self._is_refreshing = False
                self._changed.notify_all()
            self._fetched(keys is not None)

    def _remember(self, kid: str) -> None:
        """Remember whether the kid was looked for in vain, and for twice as long each time that it was."""
        before = self._missing.pop(kid, None)
        if kid in self._keys:
            return
        wait_s = self._cooldown_s if before is None else min(2 * before.wait_s, max(self._ttl_s, self._cooldown_s))
        self._missing[kid] = _Missing(self._now() + wait_s, wait_s)
        if len(self._missing) > MISSING_KIDS_MAX:
            del self._missing[next(iter(self._missing))]  # the one that was looked for least recently


def from_file(path: Path) -> Callable[[], bytes]:
    """Return a source that reads the document from a file, anew each time."""

    def fetch() -> bytes:
        try:
            with path.open("rb") as file:
                return _bounded(file.read(DOCUMENT_BYTES_MAX + 1))
        except (OSError, ValueError) as error:  # a ValueError: no path at all
            raise FetchError(f"the file cannot be read: {type(error).__name__}") from None

    return fetch


def from_url(url: str, timeout_s: float = 3) -> Callable[[], bytes]:
    """Return a source that asks an HTTPS server; it follows no redirect and asks once.

    Args:
        url: where the document is; plain HTTP is taken for 127.0.0.1 only.
        timeout_s: the longest wait for a connection, for the head of the answer, and for its whole body.

    Raises:
        ValueError: the URL is none, or its answers could be anybody's.
    """
    if not _is_trustworthy(url):
        raise ValueError("signing keys are fetched from an https:// URL only")

    def fetch() -> bytes:
        try:
            with urllib3.PoolManager(num_pools=1) as pool:
                return _bounded(_answer(pool, url, timeout_s))
        except (HTTPError, OSError) as error:
            raise FetchError(f"the server cannot be asked: {type(error).__name__}") from None

    return fetch


def _is_trustworthy(url: str) -> bool:
    """Whether nobody on the way can give the answer."""
    try:
        parts = parse_url(url)  # the parser that the request uses: two could differ on where a host begins
    except LocationParseError:
        return False
    return bool(parts.host) and (parts.scheme == "https" or (parts.scheme, parts.host) == ("http", _LOOPBACK))


def _answer(pool: urllib3.PoolManager, url: str, timeout_s: float) -> bytes:
    """Return the body of the answer, or as much of it as shows that it is too large."""
    response = pool.request(
        "GET",
        url,
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        timeout=Timeout(connect=timeout_s, read=timeout_s),
        redirect=False,
        retries=False,
        preload_content=False,
    )
    try:
        if response.status != _HTTP_OK:
            raise FetchError(f"the server answers {response.status}")
        return _body(response, clock.monotonic() + timeout_s)
    finally:
        response.close()


def _body(response: urllib3.BaseHTTPResponse, ends_at: float) -> bytes:
    """Read piece by piece: a socket's timeout begins anew with every byte, so a slow server could take for ever."""
    body = b""
    while len(body) <= DOCUMENT_BYTES_MAX:
        # Never decoded: what is unpacked could be of any size.
        piece = response.read1(min(CHUNK_BYTES, DOCUMENT_BYTES_MAX + 1 - len(body)), decode_content=False)
        if not piece:
            break
        if clock.monotonic() > ends_at:
            raise FetchError("the server is too slow")
        body += piece
    return body


def _bounded(document: bytes) -> bytes:
    if len(document) > DOCUMENT_BYTES_MAX:
        raise FetchError(f"the document has over {DOCUMENT_BYTES_MAX} bytes")
    return document


def _signing_keys(document: bytes) -> dict[str, RSAKey]:
    """Return the keys of a document that can be used, by `kid`.

    Raises:
        FetchError: it is no JWKS, or has no key that can be used: more likely a wrong document than an issuer that has
            given up all its keys at once, and refusals are final.
    """
    try:
        entries = parse_object(_bounded(document).decode()).get("keys")
    except (UnicodeDecodeError, Malformed):
        raise FetchError("the document is not a JSON object") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise FetchError("the document is not a JWKS")
    if len(entries) > KEYS_MAX:
        raise FetchError(f"the document has over {KEYS_MAX} keys")
    keys = _by_kid(entries)
    if not keys:
        raise FetchError("the document has no key that can be used")
    return keys


def _by_kid(entries: list[dict[str, Any]]) -> dict[str, RSAKey]:
    """Return the usable keys; a kid that occurs twice, be it with a key of another kind, names none."""
    kids = [(entry["kid"], entry) for entry in entries if _is_kid(entry.get("kid"))]
    times = Counter(kid for kid, _ in kids)
    found = {kid: _signing_key(entry) for kid, entry in kids if times[kid] == 1}
    return {kid: key for kid, key in found.items() if key is not None}


def _is_kid(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= KID_CHARS_MAX


def _signing_key(entry: Mapping[str, Any]) -> RSAKey | None:
    """Return the public RSA key for RS256 that an entry is; None when it is something else.

    An entry with a private part is skipped: a key that everybody can sign with proves nothing.
    """
    is_meant = entry.get("use", "sig") == "sig" and entry.get("alg", ALGORITHM) == ALGORITHM
    modulus, exponent = entry.get("n"), entry.get("e")
    if entry.get("kty") != RSAKey.key_type or not is_meant or "d" in entry:
        return None
    if not isinstance(modulus, str) or not isinstance(exponent, str):
        return None
    try:
        if not MODULUS_BITS_MIN <= base64_to_int(modulus).bit_length() <= MODULUS_BITS_MAX:
            return None
        return RSAKey.import_key({"kty": RSAKey.key_type, "n": modulus, "e": exponent})
    except (JoseError, ValueError):  # not base64url, or not the numbers of a key
        return None

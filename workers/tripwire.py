"""The redaction tripwire: takes out of a text what looks like personal data or a secret, and says what it was.

Nothing of the kind is ever logged on purpose. Whatever the tripwire finds is a bug, of ours or of a library's, which it
makes harmless and countable. It rather misses an odd spelling than to garble ids: UUIDs, trace ids and digests pass.
"""

import re
from collections.abc import Callable
from hashlib import sha256

#: Below this length no text holds anything that is looked for.
CHARS_MIN = 6
#: A longer text is cut before it is looked at: a log line has no use for it.
CHARS_MAX = 8_192
#: What a text has to contain before it is worth to look closer: the detectors' own beginnings, cheap to search for.
_SUSPECT = re.compile(
    r"@|eyJ|://|\+[1-9]|[rsp]k_|whsec|A[KS]IA|\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d[ -]?\d"
    r"|(?i:bearer|passw|pwd|secret|token|api_?-?key)"
)

_UUID = r"(?<![0-9a-fA-F])[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}(?![0-9a-fA-F])"
_TRACEPARENT = r"(?<![0-9a-f])[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(?![0-9a-f])"
_XRAY_ROOT = r"(?<![0-9a-f])1-[0-9a-f]{8}-[0-9a-f]{24}(?![0-9a-f])"
#: What may be all digits and is none of what is looked for; the digits after it are looked at by themselves.
_IDS = f"{_UUID}|{_TRACEPARENT}|{_XRAY_ROOT}|sha256:[0-9a-f]{{16}}"

# The order matters: a password in a URL looks like a part of an e-mail address, and so on.
_DETECTORS = {
    "key": (
        r"(?<=://)[^\s/?#:]*:[^\s/?#]+(?=@)"
        r"|\b[rsp]k_(?:live|test)_\w{8,}|\bwhsec_\w{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
        r"""|(?i:\b\w{0,40}(?:password|passwd|pwd|secret|token|api_?-?key)\w{0,40}["']?\s?(?:=|["']\s?:|:(?=["']))\s?["']?[^\s"'&;,]+)"""
        r"|(?i:\b\w{0,40}(?:password|passwd|pwd|secret_access_key|api_?-?key):\s?[^\s&;,]+)"
    ),
    "token": r"eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*|(?i:\bbearer\s+[\w.~+/-]{12,}=*)",
    "email": r"""[^\s@<>"'(),:;=\[\]{}/]{1,64}@[^\s@<>"'(),:;=\[\]{}/]{1,190}\.[^\W\d_]{2,}""",
    "phone": rf"(?P<id>{_IDS})|(?<![\w+])\+[1-9](?:[ ().-]{{0,2}}\d){{6,14}}(?!\d)",
    "card_number": rf"(?P<id>{_IDS})|(?<![\w.])(?!1\d{{12}}(?!\d))\d(?:[ -]?\d){{12,18}}(?![ -]?\d|\w)",
}
_FOUND = {name: re.compile(pattern) for name, pattern in _DETECTORS.items()}
#: What it looks for.
DETECTORS = frozenset(_FOUND)
#: Ids that can be nobody's name: UUIDs, also as an envelope's id, and Stripe's event ids.
_KNOWN_ID = re.compile(rf"(?:eb:)?{_UUID}|evt_1[0-9A-Za-z]{{14,62}}")


class Tripwire:
    """Cleans texts and tells of each find; safe to share between threads."""

    def __init__(self, found: Callable[[str], None]) -> None:
        """Keep whom to tell.

        Args:
            found: is called with the detector's name for each text that was taken out; must not log.
        """
        self._found = found

    def clean(self, text: str) -> str:
        """Return a text with `[redacted:detector]` in place of whatever looks like what must not be there."""
        if len(text) < CHARS_MIN or (len(text) <= CHARS_MAX and not _SUSPECT.search(text)):
            return text
        for name, pattern in _FOUND.items():
            text = pattern.sub(self._replacing(name), text[:CHARS_MAX])
        return text

    def _replacing(self, name: str) -> Callable[[re.Match[str]], str]:
        def replaced(match: re.Match[str]) -> str:
            digits = name == "card_number"
            if match.groupdict().get("id") or (digits and not luhn_valid(match[0])):
                return match[0]
            self._found(name)
            return f"[redacted:{name}]"

        return replaced


def luhn_valid(text: str) -> bool:
    """Whether the digits of a text end in the check digit that they should (ISO/IEC 7812-1, annex B)."""
    digits = [int(character) for character in reversed(text) if character.isdecimal()]
    doubled = (digit * 2 - 9 * (digit > 4) for digit in digits[1::2])  # noqa: PLR2004 - two digits are added up
    return any(digits) and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def as_id(text: str) -> str:
    """Return somebody else's id as it may be written down: a UUID or a provider's event id as it is, else a digest.

    What a producer gives as an id may be anything, a person's address too. `sha256:` and the first 16 hexadecimal
    digits are enough to find a message by an id that is known.
    """
    return (
        text if _KNOWN_ID.fullmatch(text) else f"sha256:{sha256(text.encode(errors='surrogatepass')).hexdigest()[:16]}"
    )

"""The one page that a storm leaves: what struck, what was sent, what came of it, and what is wrong."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from textwrap import wrap

from tests.storm.fleet import PROFILE
from workers.settings import FAST_PROFILE, reference

FINDINGS_MAX = 50
_WIDTH = 116


@dataclass(slots=True)
class Report:
    """Everything that is told; counts by name.

    Attributes:
        seed: of the schedule, the faults and the traffic.
        fleet: how many processes of each role.
        seconds: how long each part took: storm, calm, audit.
        sent: messages of the traffic by sort.
        own: messages that the fleet posted to itself.
        deliveries: how often SQS delivered one, duplicates included.
        faults: by kind.
        effects: what the auditor counted.
        dead_letters: by reason.
        findings: rule, subject, text.
    """

    seed: int
    fleet: Mapping[str, int]
    seconds: dict[str, float] = field(default_factory=dict)
    sent: Mapping[str, int] = field(default_factory=dict)
    own: int = 0
    deliveries: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    failed_starts: int = 0
    effects: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    findings: Sequence[tuple[str, str, str]] = ()

    @property
    def messages(self) -> int:
        """Distinct messages: what the traffic sent and what the fleet posted to itself; duplicates do not count."""
        return sum(self.sent.values()) + self.own

    def text(self) -> str:
        """Return it as one page."""
        blow_s = self.seconds.get("storm", 0.0)
        rate = f"{self.messages / blow_s:,.0f} a second" if blow_s else "no time"
        fleet = ", ".join(f"{count} {role}s" for role, count in self.fleet.items())
        took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        lines = [
            f"STORM  seed {self.seed}",
            "",
            *_paragraph("fleet", [f"{fleet}, Postgres behind a proxy, SQS and the bus behind another"]),
            *_paragraph("profile", [f"{name}={value}" for name, value in profile().items()]),
            *_paragraph("took", [took]),
            *_paragraph(
                "messages",
                [
                    f"{self.messages:,} ({rate}): {sum(self.sent.values()):,} sent, {self.own:,} of the fleet's own;",
                    f"{self.deliveries:,} deliveries",
                ],
            ),
            *_paragraph("sent", _counted(self.sent)),
            *_paragraph(
                "faults", [f"{sum(self.faults.values()):,} of {len(self.faults)} kinds:", *_counted(self.faults)]
            ),
            *_paragraph("starts", [f"{self.failed_starts} failed in the weather and were repeated"]),
            *_paragraph("effects", _counted(self.effects)),
            *_paragraph("dead letters", _counted(self.dead_letters) or ["none"]),
            "",
            *self._found(),
            "",
            f"verdict: {'VIOLATED' if self.findings else 'sound'}, {len(self.findings)} findings (seed {self.seed})",
        ]
        return "\n".join(lines)

    def keep(self, home: Path) -> None:
        """Write it down beside the logs, as text and as JSON."""
        (home / "report.txt").write_text(f"{self.text()}\n")
        known = {each.name: getattr(self, each.name) for each in fields(self)}
        whole = {**known, "messages": self.messages, "profile": profile()}
        (home / "report.json").write_text(f"{json.dumps(whole, indent=1)}\n")

    def _found(self) -> list[str]:
        lines = [f"{rule}: {subject}: {text}" for rule, subject, text in self.findings[:FINDINGS_MAX]]
        more = len(self.findings) - len(lines)
        return ["findings", *(f"  {line}" for line in lines or ["none"]), *([f"  and {more} more"] if more > 0 else [])]


def profile() -> dict[str, str]:
    """Return every interval and limit that differs from its default; ports are none."""
    defaults = dict(reference())
    chosen = {**FAST_PROFILE, **PROFILE}
    return {
        name.removeprefix("PAYMENTS_"): value
        for name, value in chosen.items()
        if defaults[name] != value and not name.endswith("_PORT")
    }


def _counted(counts: Mapping[str, int]) -> list[str]:
    return [f"{name} {count:,}," for name, count in sorted(counts.items(), key=lambda pair: -pair[1])]


def _paragraph(title: str, words: Sequence[str]) -> list[str]:
    """Return words under a title, wrapped."""
    text = " ".join(words).rstrip(",")
    return wrap(text, _WIDTH, initial_indent=f"{title:<13}", subsequent_indent=" " * 13, break_on_hyphens=False)

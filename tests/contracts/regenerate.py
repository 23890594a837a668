"""Write the generated goldens anew: `python -m tests.contracts.regenerate`, then read the diff.

A diff of a golden is a change of what we promised on the wire, or of an identity: every old message would act
a second time. Nothing calls this but a person who means it.
"""

from contracts import lifecycle
from tests.contracts import golden


def main() -> None:
    """Write outbound samples, inbound goldens and the lifecycle grid; drop samples of messages that are gone."""
    written = golden.outbound_samples()
    for name, message in written.items():
        (golden.OUTBOUND / name).write_text(golden.as_file(message.wire()))
    for path in golden.OUTBOUND.glob("*.json"):
        if path.name not in written:
            path.unlink()
    golden.GOLDEN.write_text(golden.as_file(golden.inbound_goldens()))
    golden.LIFECYCLE.write_text(lifecycle.grid())


if __name__ == "__main__":
    main()

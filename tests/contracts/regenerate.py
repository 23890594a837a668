"""Write the generated goldens anew: `python -m tests.contracts.regenerate`, then read the diff.

A diff of a golden is a change of what we promised on the wire, or of an identity: every old message would act
a second time. Nothing calls this but a person who means it.
"""

from contracts import lifecycle
from contracts.published import files
from tests.contracts import golden


def main() -> None:
    """Write outbound samples, inbound goldens, the lifecycle grid and what is published; drop what is gone."""
    written = golden.outbound_samples()
    for name, message in written.items():
        (golden.OUTBOUND / name).write_text(golden.as_file(message.wire()))
    for path in golden.OUTBOUND.glob("*.json"):
        if path.name not in written:
            path.unlink()
    golden.GOLDEN.write_text(golden.as_file(golden.inbound_goldens()))
    golden.LIFECYCLE.write_text(lifecycle.grid())
    write_schemas()


def write_schemas() -> None:
    """Write the schemas and the AsyncAPI document, and drop those of messages that are gone; the baseline stays."""
    texts = files.texts()
    for name, text in texts.items():
        (golden.SCHEMAS / name).parent.mkdir(parents=True, exist_ok=True)
        (golden.SCHEMAS / name).write_text(text, encoding="utf-8")
    for name in golden.published().keys() - texts.keys():
        (golden.SCHEMAS / name).unlink()


if __name__ == "__main__":
    main()

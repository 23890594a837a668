"""Applies the CloudFormation template of the queues and the bus, the very one that production uses."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from workers.local.processes import LocalStackError

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef

#: The name of the stack on the local server.
STACK_NAME = "roadcall-payments-messaging"
#: Where the template lies in the checkout.
TEMPLATE_PATH = Path(__file__).resolve().parents[2] / "deploy" / "messaging.yaml"

#: The one text by which CloudFormation says that there was nothing to do; it has no error code of its own.
_UNCHANGED = "No updates are to be performed."
_SETTLED = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE"})
#: A change that failed was undone: what was there before is in force, and another change may be tried.
_CHANGEABLE = _SETTLED | {"UPDATE_ROLLBACK_COMPLETE"}
_TIMEOUT_SECONDS = 120.0
_LOOK_EVERY_SECONDS = 0.1


def apply(
    cloudformation: "CloudFormationClient",
    template_path: Path = TEMPLATE_PATH,
    parameters: Mapping[str, str] = MappingProxyType({}),
) -> Mapping[str, str]:
    """Create the stack, or bring the existing one up to date, and return its outputs.

    Messages in the queues stay where they are. What `parameters` does not name keeps its default.

    Raises:
        LocalStackError: the server does not answer, or refuses the template.
    """
    try:
        body = template_path.read_text()
        if _create_or_update(cloudformation, body, parameters):
            return _outputs(_settled(cloudformation, _SETTLED))
        return _outputs(_settled(cloudformation, _CHANGEABLE))
    except FileNotFoundError as error:
        raise LocalStackError(f"{template_path} is missing: run this from a checkout of the project.") from error
    except BotoCoreError as error:
        raise LocalStackError(f"The AWS server does not answer: {error}. Does it run, and is that its URL?") from error
    except ClientError as error:
        raise LocalStackError(f"The AWS server refused {template_path.name}: {error}") from error


def _create_or_update(cloudformation: "CloudFormationClient", body: str, parameters: Mapping[str, str]) -> bool:
    """Return whether there was anything to do."""
    given: Any = [{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()]
    found = _describe(cloudformation)
    if found is None:
        cloudformation.create_stack(StackName=STACK_NAME, TemplateBody=body, Parameters=given)
        return True
    _settled(cloudformation, _CHANGEABLE)  # somebody else may apply it right now
    try:
        cloudformation.update_stack(StackName=STACK_NAME, TemplateBody=body, Parameters=given)
    except ClientError as error:
        if _UNCHANGED not in str(error):
            raise
        return False
    return True


def _describe(cloudformation: "CloudFormationClient") -> "StackTypeDef | None":
    try:
        return cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise


def _settled(cloudformation: "CloudFormationClient", good: frozenset[str]) -> "StackTypeDef":
    """Wait until nothing changes any more. The library's waiter looks once a second or less, and hides the reason."""
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while True:
        found = _describe(cloudformation)
        if found is None:
            raise LocalStackError(f"The stack {STACK_NAME} disappeared from the AWS server: start again.")
        if not found["StackStatus"].endswith("_IN_PROGRESS"):
            if found["StackStatus"] not in good:
                raise LocalStackError(_what_failed(cloudformation, found))
            return found
        if time.monotonic() > deadline:
            raise LocalStackError(
                f"The stack {STACK_NAME} is still {found['StackStatus']} after {_TIMEOUT_SECONDS:.0f} s."
            )
        time.sleep(_LOOK_EVERY_SECONDS)


def _what_failed(cloudformation: "CloudFormationClient", found: "StackTypeDef") -> str:
    reasons = _reasons(cloudformation) or [found.get("StackStatusReason", "the server gave no reason")]
    return (
        f"The stack {STACK_NAME} is {found['StackStatus']}:\n"
        + "\n".join(f"  {reason}" for reason in reasons)
        + f"\nCorrect the template, delete the stack ({STACK_NAME}) or the local data directory, and start again."
    )


def _reasons(cloudformation: "CloudFormationClient") -> list[str]:
    """Return what failed, the first cause first (the server lists the newest event first)."""
    events = cloudformation.describe_stack_events(StackName=STACK_NAME)["StackEvents"]
    return [
        f"{event.get('LogicalResourceId', '?')}: {event['ResourceStatusReason']}"
        for event in reversed(events)
        if "FAILED" in event.get("ResourceStatus", "") and event.get("ResourceStatusReason")
    ]


def _outputs(found: "StackTypeDef") -> Mapping[str, str]:
    return {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}

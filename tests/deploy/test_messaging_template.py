"""The template of the queues and the bus: its numbers, and who may send what where, judged as AWS would."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cfnlint.decode import decode  # type: ignore[import-untyped]

from workers.local import aws
from workers.local.template import TEMPLATE_PATH

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_sqs import SQSClient

ACCOUNT = "000000000000"
RULE = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/roadcall-events/payments-work-completed"
OTHER_RULE = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/roadcall-events/another"
PROVIDER_RULE = f"arn:aws:events:us-east-1:{ACCOUNT}:rule/roadcall-events/payments-provider-events"
BACK_OFFICE = f"arn:aws:iam::{ACCOUNT}:role/back-office"
PARTNER = "arn:aws:iam::999999999999:role/partner"
SERVICE = f"arn:aws:iam::{ACCOUNT}:role/payments-relay"
OPERATOR = f"arn:aws:iam::{ACCOUNT}:role/payments-operator"
STRANGER = f"arn:aws:iam::{ACCOUNT}:role/stranger"

INBOUND = ("Events", "Commands", "Payouts")
QUEUES = (*INBOUND, "Approvals", *(f"{name}DeadLetter" for name in INBOUND))


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    document, problems = decode(str(TEMPLATE_PATH))
    assert not problems
    return json.loads(json.dumps(document))


@pytest.fixture(scope="module")
def resources(template: dict[str, Any]) -> dict[str, Any]:
    return template["Resources"]


def statements(resources: Mapping[str, Any], queue: str) -> list[dict[str, Any]]:
    policy = resources[f"{queue}QueuePolicy"]["Properties"]
    assert policy["Queues"] == [{"Ref": f"{queue}Queue"}]
    return [statement for statement in policy["PolicyDocument"]["Statement"] if "Sid" in statement]


def test_the_linter_finds_nothing():
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--include-checks", "I", "--", str(TEMPLATE_PATH)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_every_parameter_has_a_default(template):
    assert all("Default" in parameter for parameter in template["Parameters"].values())


def test_these_are_the_queues(resources):
    queues = [resource for resource in resources.values() if resource["Type"] == "AWS::SQS::Queue"]
    assert {queue["Properties"]["QueueName"] for queue in queues} == {
        "payments-events",
        "payments-events-dlq",
        "payments-commands",
        "payments-commands-dlq",
        "payments-payouts",
        "payments-payouts-dlq",
        "payment-approvals",
    }
    assert all(queue["Properties"]["SqsManagedSseEnabled"] is True for queue in queues)
    assert all(queue["DeletionPolicy"] == "RetainExceptOnCreate" for queue in queues)


@pytest.mark.parametrize("name", INBOUND)
def test_an_inbound_queue_and_its_dead_letter_queue_belong_together(resources, name):
    queue = resources[f"{name}Queue"]["Properties"]
    dead = resources[f"{name}DeadLetterQueue"]["Properties"]
    assert queue["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": [f"{name}DeadLetterQueue", "Arn"]},
        "maxReceiveCount": 10,
    }
    assert queue["VisibilityTimeout"] == 60
    assert queue["ReceiveMessageWaitTimeSeconds"] == 20
    assert queue["MessageRetentionPeriod"] == 4 * 24 * 3600
    assert dead["MessageRetentionPeriod"] == 14 * 24 * 3600
    assert dead["QueueName"] == f"{queue['QueueName']}-dlq"
    allowed = dead["RedriveAllowPolicy"]
    assert allowed["redrivePermission"] == "byQueue"
    assert [arn["Fn::Sub"].rpartition(":")[2] for arn in allowed["sourceQueueArns"]] == [queue["QueueName"]]


@pytest.mark.parametrize("queue", QUEUES)
def test_every_queue_denies_everybody_without_tls(resources, queue):
    assert {
        "Sid": "DenyWithoutTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": {"Fn::GetAtt": [f"{queue}Queue", "Arn"]},
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    } in statements(resources, queue)


@pytest.mark.parametrize("queue", ["Events", "EventsDeadLetter"])
def test_event_bridge_may_write_for_our_two_rules_only(resources, queue):
    allowed = [statement for statement in statements(resources, queue) if statement["Effect"] == "Allow"]
    assert len(allowed) == 1
    assert allowed[0]["Principal"] == {"Service": "events.amazonaws.com"}
    assert allowed[0]["Action"] == "sqs:SendMessage"
    provider = {"Fn::GetAtt": ["ProviderEventsRule", "Arn"]}
    rules = [
        {"Fn::GetAtt": ["WorkCompletedRule", "Arn"]},
        {"Fn::If": ["TakesProviderEvents", provider, {"Ref": "AWS::NoValue"}]},
    ]
    assert allowed[0]["Condition"] == {"ArnEquals": {"aws:SourceArn": rules}}


def test_the_rule_takes_finished_work_of_known_producers_and_loses_none(resources):
    rule = resources["WorkCompletedRule"]["Properties"]
    assert rule["EventPattern"] == {
        "source": ["roadcall.incident", "roadcall.incident-service", "incident-svc"],
        "detail-type": ["WorkCompleted"],
    }
    assert rule["Targets"] == [
        {
            "Id": "payments-events",
            "Arn": {"Fn::GetAtt": ["EventsQueue", "Arn"]},
            "DeadLetterConfig": {"Arn": {"Fn::GetAtt": ["EventsDeadLetterQueue", "Arn"]}},
            "RetryPolicy": {"MaximumEventAgeInSeconds": 86_400, "MaximumRetryAttempts": 185},
        }
    ]


def test_the_providers_rule_is_there_only_when_its_source_is_named_and_takes_what_we_read(resources):
    assert resources["ProviderEventsRule"]["Condition"] == "TakesProviderEvents"
    rule = resources["ProviderEventsRule"]["Properties"]
    source = {"Ref": "ProviderEventSource"}
    assert rule["EventBusName"] == {"Fn::If": ["NamesProviderBus", {"Ref": "ProviderEventBusName"}, source]}
    assert rule["EventPattern"] == {"source": [source], "detail-type": [{"prefix": "transfer."}, {"prefix": "payout."}]}
    assert rule["Targets"] == resources["WorkCompletedRule"]["Properties"]["Targets"], "and loses none either"


def test_every_queue_and_the_bus_is_told(template):
    outputs = set(template["Outputs"])
    assert {f"{queue}Queue{what}" for queue in QUEUES for what in ("Url", "Arn")} <= outputs
    assert {"EventBusName", "EventBusArn"} <= outputs


# ---- who may send, by the policies as a server resolved them ---------------------------------------------------------

NAMED = {"CommandSenderArns": f"{BACK_OFFICE},{PARTNER}", "ServiceRoleArns": SERVICE, "OperatorRoleArns": OPERATOR}
PROVIDER = {"ProviderEventSource": "roadcall.sandbox-provider", "ProviderEventBusName": "roadcall-events"}


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        _child, url = aws.serve(stack, tmp_path / "aws", tmp_path / "log", aws.prepare(lambda _: None), lambda _: None)
        yield url


def create(cloudformation: "CloudFormationClient", parameters: Mapping[str, str]) -> dict[str, str]:
    """Apply the template with parameters, as production does, and return the outputs."""
    cloudformation.create_stack(
        StackName="under-test",
        TemplateBody=TEMPLATE_PATH.read_text(),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
    )
    waiter = cloudformation.get_waiter("stack_create_complete")
    waiter.wait(StackName="under-test", WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    outputs = cloudformation.describe_stacks(StackName="under-test")["Stacks"][0]["Outputs"]
    return {output["OutputKey"]: output["OutputValue"] for output in outputs}


def policies(url: str, parameters: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The policy that each queue really got."""
    outputs = create(aws.session(url).client("cloudformation"), parameters)
    sqs: SQSClient = aws.session(url).client("sqs")
    return {
        queue: json.loads(
            sqs.get_queue_attributes(QueueUrl=outputs[f"{queue}QueueUrl"], AttributeNames=["Policy"])["Attributes"][
                "Policy"
            ]
        )
        for queue in QUEUES
    }


def verdict(policy: Mapping[str, Any], sender: str, action: str = "sqs:SendMessage") -> str:
    """What AWS makes of an action over TLS: `denied`, `allowed` by the queue, or `silent`.

    Silent means that a principal of the same account may do it if its own policy says so, and no other may.
    """
    by_rule = ":rule/" in sender
    key, principal = ("aws:SourceArn", "events.amazonaws.com") if by_rule else ("aws:PrincipalArn", sender)
    matching = [one for one in policy["Statement"] if _speaks_of(one, principal) and _holds(one, key, sender)]
    effects = {one["Effect"] for one in matching if {action, "sqs:*"} & set(_list(one["Action"]))}
    return "denied" if "Deny" in effects else "allowed" if "Allow" in effects else "silent"


def _speaks_of(statement: Mapping[str, Any], principal: str) -> bool:
    who = statement["Principal"]
    named = [who] if isinstance(who, str) else [name for names in who.values() for name in _list(names)]
    return "*" in named or principal in named


def _holds(statement: Mapping[str, Any], key: str, value: str) -> bool:
    """Every operator and every key must hold; a negated one holds too when the request lacks the key."""
    present = {key: value, "aws:SecureTransport": "true"}
    return all(
        (present.get(name) in _list(wanted)) is (operator in {"ArnEquals", "Bool"})
        for operator, block in statement.get("Condition", {}).items()
        for name, wanted in block.items()
    )


def _list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


SENDERS = (RULE, OTHER_RULE, BACK_OFFICE, PARTNER, SERVICE, OPERATOR, STRANGER, PROVIDER_RULE)
#                      our rule   other rule back office partner    service    operator   stranger  provider's rule
WHEN_NAMED = {
    "Events":            ("allowed", "denied", "denied", "denied", "denied", "allowed", "denied", "denied"),
    "Commands":          ("denied", "denied", "allowed", "allowed", "denied", "allowed", "denied", "denied"),
    "Payouts":           ("denied", "denied", "denied", "denied", "allowed", "allowed", "denied", "denied"),
    "EventsDeadLetter":  ("allowed", "silent", "silent", "silent", "silent", "silent", "silent", "silent"),
}  # fmt: skip
WHEN_NOBODY_IS_NAMED = {
    "Events": ("allowed", *["denied"] * 7),
    "Commands": ("denied",) * 8,
    "Payouts": ("denied",) * 8,
    "EventsDeadLetter": ("allowed", *["silent"] * 7),
}
WHEN_THE_PROVIDER_IS_NAMED = {
    "Events": ("allowed", *["denied"] * 6, "allowed"),
    "Commands": ("denied",) * 8,
    "Payouts": ("denied",) * 8,
    "EventsDeadLetter": ("allowed", *["silent"] * 6, "allowed"),
}


@pytest.mark.stack
@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, WHEN_NOBODY_IS_NAMED),
        (NAMED, WHEN_NAMED),
        (
            {"ServiceRoleArns": SERVICE},
            {"Commands": ("denied",) * 8, "Payouts": (*["denied"] * 4, "allowed", *["denied"] * 3)},
        ),
        (
            {"OperatorRoleArns": OPERATOR},
            {
                "Commands": (*["denied"] * 5, "allowed", *["denied"] * 2),
                "Payouts": (*["denied"] * 5, "allowed", *["denied"] * 2),
            },
        ),
        (PROVIDER, WHEN_THE_PROVIDER_IS_NAMED),
    ],
    ids=["nobody named", "all named", "service named", "operator named", "provider named"],
)
def test_who_may_send_what_where(url, parameters, expected):
    found = policies(url, parameters)
    assert {queue: tuple(verdict(found[queue], sender) for sender in SENDERS) for queue in expected} == expected


#: What `payments replay` asks of the two queues, and what it has no business with.
REPLAY_ASKS_THE_QUEUE = {"SendMessage", "GetQueueAttributes"}
REPLAY_ASKS_THE_DEAD_LETTERS = {
    "ReceiveMessage",
    "ChangeMessageVisibility",
    "DeleteMessage",
    "GetQueueAttributes",
    "GetQueueUrl",
}
ACTIONS = REPLAY_ASKS_THE_QUEUE | REPLAY_ASKS_THE_DEAD_LETTERS | {"PurgeQueue", "SetQueueAttributes", "DeleteQueue"}


def allowed(policy: Mapping[str, Any], who: str) -> set[str]:
    """What a queue's policy allows somebody to do."""
    return {action for action in ACTIONS if verdict(policy, who, f"sqs:{action}") == "allowed"}


@pytest.mark.stack
def test_named_operators_may_do_what_a_replay_needs_and_no_more(url):
    found = policies(url, NAMED)
    for queue in INBOUND:
        assert allowed(found[queue], OPERATOR) == REPLAY_ASKS_THE_QUEUE
        assert allowed(found[f"{queue}DeadLetter"], OPERATOR) == REPLAY_ASKS_THE_DEAD_LETTERS
        for other in (BACK_OFFICE, PARTNER, SERVICE, STRANGER):
            assert allowed(found[f"{queue}DeadLetter"], other) == set()
    assert allowed(found["Approvals"], OPERATOR) == set()


@pytest.mark.stack
def test_without_named_operators_the_policies_allow_nobody_a_replay(url):
    found = policies(url, {})
    for queue in QUEUES:
        assert allowed(found[queue], OPERATOR) == set()


@pytest.mark.stack
def test_a_bus_that_the_platform_has_is_used_and_not_made(url):
    aws.session(url).client("events").create_event_bus(Name="platform-bus")
    outputs = create(
        aws.session(url).client("cloudformation"), {"EventBusName": "platform-bus", "CreateEventBus": "false"}
    )
    assert outputs["EventBusName"] == "platform-bus"
    assert outputs["EventBusArn"].endswith(":event-bus/platform-bus")
    rules = aws.session(url).client("events").list_rules(EventBusName="platform-bus")["Rules"]
    assert [rule["Name"] for rule in rules] == ["payments-work-completed"]


@pytest.mark.stack
def test_the_providers_events_arrive_by_the_bus_that_is_named_and_others_of_its_source_do_not(url):
    outputs = create(aws.session(url).client("cloudformation"), PROVIDER)
    events, sqs = aws.session(url).client("events"), aws.session(url).client("sqs")
    kinds = ("balance.available", "transfer.reversed", "payout.paid")
    entries: Any = [
        {
            "Source": PROVIDER["ProviderEventSource"],
            "DetailType": kind,
            "Detail": "{}",
            "EventBusName": PROVIDER["ProviderEventBusName"],
        }
        for kind in kinds
    ]
    assert events.put_events(Entries=entries)["FailedEntryCount"] == 0
    arrived: set[str] = set()
    for _ in range(5):
        answer = sqs.receive_message(QueueUrl=outputs["EventsQueueUrl"], WaitTimeSeconds=1, MaxNumberOfMessages=10)
        arrived |= {json.loads(message["Body"])["detail-type"] for message in answer.get("Messages", [])}
        if len(arrived) > 1:
            break
    assert arrived == {"transfer.reversed", "payout.paid"}

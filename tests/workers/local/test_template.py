"""The template is created, updated in place, and its failures are told."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from workers.local import aws, template
from workers.local.processes import LocalStackError, free_port

pytestmark = pytest.mark.stack


def silent(_line: str) -> None:
    pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        _child, url = aws.serve(stack, tmp_path / "aws", tmp_path / "log", aws.prepare(silent), silent)
        yield url


PARAMETRIC = """
Parameters:
  Seconds: {Type: String, Default: "30"}
Resources:
  Q:
    Type: AWS::SQS::Queue
    Properties: {QueueName: q, VisibilityTimeout: !Ref Seconds}
Outputs:
  Url: {Value: !Ref Q}
"""


def test_a_parameter_that_is_named_is_used_and_one_that_is_not_keeps_its_default(url, tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text(PARAMETRIC)
    cloudformation, sqs = aws.session(url).client("cloudformation"), aws.session(url).client("sqs")
    for parameters, seconds in (({"Seconds": "45"}, "45"), ({"Seconds": "50"}, "50"), ({}, "30")):
        made = template.apply(cloudformation, path, parameters)
        wanted = sqs.get_queue_attributes(QueueUrl=made["Url"], AttributeNames=["VisibilityTimeout"])
        assert wanted["Attributes"] == {"VisibilityTimeout": seconds}


def queue_template(path: Path, visibility_seconds: int, extra: str = "") -> Path:
    path.write_text(
        f"Resources:\n  Q:\n    Type: AWS::SQS::Queue\n    Properties:\n      QueueName: q\n"
        f"      VisibilityTimeout: {visibility_seconds}\n{extra}Outputs:\n  Url:\n    Value: !Ref Q\n"
    )
    return path


def test_applying_again_changes_nothing_and_a_change_keeps_the_messages(url, tmp_path):
    cloudformation, sqs = aws.session(url).client("cloudformation"), aws.session(url).client("sqs")
    first = template.apply(cloudformation, queue_template(tmp_path / "t.yaml", 30))
    sqs.send_message(QueueUrl=first["Url"], MessageBody="kept")
    assert template.apply(cloudformation, tmp_path / "t.yaml") == first
    assert template.apply(cloudformation, queue_template(tmp_path / "t.yaml", 45)) == first
    attributes = sqs.get_queue_attributes(
        QueueUrl=first["Url"], AttributeNames=["VisibilityTimeout", "ApproximateNumberOfMessages"]
    )["Attributes"]
    assert attributes == {"VisibilityTimeout": "45", "ApproximateNumberOfMessages": "1"}


def test_a_stack_that_failed_is_told_with_the_reason(url, tmp_path):
    path = queue_template(tmp_path / "t.yaml", 99_999)
    cloudformation = aws.session(url).client("cloudformation")
    for _ in range(2):  # the second time it finds the rolled-back stack
        with pytest.raises(LocalStackError, match=r"(?s)ROLLBACK_COMPLETE.*Q: .*VisibilityTimeout"):
            template.apply(cloudformation, path)


def test_a_failed_change_is_told_and_the_next_one_can_be_made(url, tmp_path):
    cloudformation = aws.session(url).client("cloudformation")
    first = template.apply(cloudformation, queue_template(tmp_path / "t.yaml", 30))
    with pytest.raises(LocalStackError, match=r"(?s)UPDATE_ROLLBACK_COMPLETE.*VisibilityTimeout"):
        template.apply(cloudformation, queue_template(tmp_path / "t.yaml", 99_999))
    assert template.apply(cloudformation, queue_template(tmp_path / "t.yaml", 30)) == first
    assert template.apply(cloudformation, queue_template(tmp_path / "t.yaml", 31)) == first


def test_a_template_that_is_refused_at_once_is_told(url, tmp_path):
    path = queue_template(tmp_path / "t.yaml", 30, extra="  X:\n    Type: AWS::Nothing::AtAll\n")
    with pytest.raises(LocalStackError, match=r"AWS::Nothing::AtAll"):
        template.apply(aws.session(url).client("cloudformation"), path)


def test_a_missing_template_is_told(url, tmp_path):
    with pytest.raises(LocalStackError, match="checkout"):
        template.apply(aws.session(url).client("cloudformation"), tmp_path / "missing.yaml")


def test_a_server_that_is_not_there_is_told():
    cloudformation = aws.session(f"http://127.0.0.1:{free_port()}").client("cloudformation")
    with pytest.raises(LocalStackError, match="Does it run"):
        template.apply(cloudformation)

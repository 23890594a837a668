"""The local AWS: installed once, listening on loopback only, keeping its queues, dying loudly."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from workers.local import aws
from workers.local.processes import Child, LocalStackError

pytestmark = pytest.mark.stack

ANY_ADDRESS = {"00000000", "0" * 32}


def silent(_line: str) -> None:
    pass


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "aws"


@pytest.fixture(scope="session")
def interpreter() -> Path:
    return aws.prepare(silent)


@contextmanager
def running(home: Path, python: Path) -> Iterator[tuple[Child, str]]:
    with ExitStack() as stack:
        yield aws.serve(stack, home, home.parent / "ministack.log", python, silent)


def listening_addresses(pid: int) -> set[str]:
    """The addresses, in hex, that a process listens on: its sockets, looked up in the kernel's tables."""
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # a connection that was closed meanwhile
            links.append(str(link.readlink()))
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        if Path(f"/proc/net/{table}").exists()
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links}


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's tables")
def test_it_listens_on_loopback_only(home, interpreter):
    with running(home, interpreter) as (child, _url):
        addresses = listening_addresses(child.pid)
        assert addresses
        assert not addresses & ANY_ADDRESS


def test_queues_messages_and_the_port_survive_a_restart(home, interpreter):
    with running(home, interpreter) as (_child, url):
        sqs = aws.session(url).client("sqs")
        queue_url = sqs.create_queue(QueueName="kept")["QueueUrl"]
        sqs.send_message(QueueUrl=queue_url, MessageBody="still here")
    with running(home, interpreter) as (_child, url_again):
        assert url_again == url
        sqs = aws.session(url_again).client("sqs")
        found = sqs.receive_message(QueueUrl=queue_url)["Messages"]
        assert [message["Body"] for message in found] == ["still here"]


def test_nothing_is_left_after_the_stop_but_the_state_which_is_private(home, interpreter):
    with running(home, interpreter) as (child, _url):
        pass
    assert child.process.returncode == 0
    assert not (home / "server.pid").exists()
    assert home.stat().st_mode & 0o077 == 0


def test_a_server_that_dies_is_told_with_its_log(home):
    with (
        pytest.raises(LocalStackError, match="No module named ministack") as failed,
        running(home, Path(sys.executable)),
    ):
        pass
    assert str(home.parent / "ministack.log") in str(failed.value)


def test_a_session_speaks_to_the_server_that_was_named_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    client = aws.session("http://127.0.0.1:2").client("sqs")
    assert client.meta.endpoint_url == "http://127.0.0.1:2"
    assert client.meta.region_name == aws.REGION
    assert os.environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"


def test_the_server_is_installed_once_and_anew_when_it_was_cut_off(tmp_path, monkeypatch):
    lock_path = tmp_path / "any.lock"
    lock_path.write_text("# what is installed does not matter here\n")
    said: list[str] = []

    def make_slowly(argv: tuple[str, ...], _advice: str) -> None:
        if argv[1:3] == ("-m", "venv"):
            time.sleep(0.3)
            (Path(argv[3]) / "bin").mkdir(parents=True)
            (Path(argv[3]) / "bin" / "python").touch()

    monkeypatch.setattr(aws, "_run", make_slowly)
    threads = [threading.Thread(target=aws.prepare, args=(said.append, tmp_path, lock_path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("Installing" in line for line in said) == 1
    assert sum("waiting" in line for line in said) == 1

    python = aws.prepare(said.append, tmp_path, lock_path)
    assert python.is_relative_to(tmp_path / ".local")
    assert len(said) == 3

    (python.parents[1] / "complete").unlink()
    aws.prepare(said.append, tmp_path, lock_path)
    assert sum("Installing" in line for line in said) == 2


def test_a_failed_installation_is_told_and_not_taken_for_a_good_one(tmp_path):
    lock_path = tmp_path / "unhashed.lock"
    lock_path.write_text("ministack==1.5.33\n")
    with pytest.raises(LocalStackError, match="hashes") as failed:
        aws.prepare(silent, tmp_path, lock_path)
    assert "pip could not install" in str(failed.value)
    (place,) = (tmp_path / ".local").glob("ministack-*[!k]")
    assert aws._python(place).exists()
    assert not aws._complete(place)


def test_a_missing_lock_file_is_told(tmp_path):
    with pytest.raises(LocalStackError, match="checkout"):
        aws.prepare(silent, tmp_path, tmp_path / "missing.lock")

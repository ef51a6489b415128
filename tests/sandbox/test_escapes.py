"""Attempts to get out of the sandbox, each by a program that would succeed, or do harm, in a plain process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tutelage.errors import SandboxError, SettingsError
from tutelage.sandbox import Job, Limits, Weak, Worker, execute_all, open_sandbox, unavailable

SECRET = "the-cat-is-called-Mittens"
needs_walls = pytest.mark.skipif(unavailable() is not None, reason=f"bubblewrap: {unavailable()}")
LIMITS = Limits(wall_s=5, cpu_s=3, memory_mb=200, output_bytes=20_000, file_mb=4, processes=8)

# Name: program, and the states it may end in. Every program prints "ESCAPED" where it reached what it should not.
ATTEMPTS = {
    "read a file of the user": ("print('ESCAPED', open('{secret}').read())", {"error"}),
    "read the password file": ("print('ESCAPED', open('/etc/shadow').read())", {"error"}),
    "list the home folder": (
        "import os\nfor p in ('/home', '{home}', '{folder}'):\n"
        "  if os.path.isdir(p) and 'secret.txt' in os.listdir(p): print('ESCAPED')\n"
        "print(os.path.exists('/etc/passwd') and 'ESCAPED')",
        {"ok", "error"},
    ),
    "write beside the secret": ("open('{folder}/written.txt', 'w').write('x'); print('ESCAPED')", {"error"}),
    "write into the libraries": ("import sys\nopen(sys.base_prefix + '/lib/planted.py', 'w').write('x'); print('ESCAPED')", {"error"}),
    "write into the root": ("open('/planted', 'w').write('x'); print('ESCAPED')", {"error"}),
    "write into /dev": ("open('/dev/planted', 'w').write('x'); print('ESCAPED')", {"error"}),
    "change its own program": ("open('/box/main.py', 'a').write('x'); print('ESCAPED')", {"error"}),
    "delete outside": ("import os\nos.remove('{secret}'); print('ESCAPED')", {"error"}),
    "follow a symlink out": ("import os\nos.symlink('{secret}', '/box/link')\nprint('ESCAPED', open('/box/link').read())", {"error"}),
    "hard-link out": ("import os\nos.link('{secret}', '/box/link'); print('ESCAPED')", {"error"}),
    "climb with dots": ("print('ESCAPED', open('../../../..{secret}').read())", {"error"}),
    "climb out of /proc": ("import os\nprint('ESCAPED', open('/proc/1/root{secret}').read())", {"error"}),
    "read the launcher's environment": (
        "import os\nfor p in os.listdir('/proc'):\n  if p.isdigit():\n"
        "    if b'TOKEN' in open(f'/proc/{{p}}/environ', 'rb').read(): print('ESCAPED')",
        {"ok", "error"},
    ),
    "read its environment": ("import os\nprint('ESCAPED' if 'SECRET_TOKEN' in os.environ else 'clean')", {"ok"}),
    "see processes outside": (
        "import os\nseen = [p for p in os.listdir('/proc') if p.isdigit()]\n"
        "print('ESCAPED' if len(seen) > 3 or '{parent}' in seen else 'clean')",
        {"ok"},
    ),
    "kill the parent": ("import os\nos.kill({parent}, 9); print('ESCAPED')", {"error"}),
    "kill everybody": ("import os\nos.kill(-1, 9)", {"ok", "error"}),
    "stop the launcher": ("import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\nprint('stopped')", {"ok", "error", "time"}),
    "connect to this machine": ("import socket\nsocket.create_connection(('127.0.0.1', {port}), 2); print('ESCAPED')", {"error"}),
    "connect to the world": ("import socket\nsocket.create_connection(('1.1.1.1', 53), 2); print('ESCAPED')", {"error"}),
    "look up a name": ("import socket\nprint('ESCAPED', socket.gethostbyname('localhost.localdomain.example'))", {"error"}),
    "fork bomb": ("import os\nwhile True: os.fork()", {"processes", "memory", "error"}),
    "spawn sleepers": (
        "import subprocess\nfor _ in range(100): subprocess.Popen(['/usr/bin/sleep', '60'], start_new_session=True)\n"
        "import time; time.sleep(60)",
        {"processes", "error"},
    ),
    "one large block": ("x = bytearray(400 * 2**20); print('ESCAPED')", {"error"}),
    "memory bit by bit": ("x = []\nwhile True: x.append(bytearray(2**20))", {"error", "memory"}),
    "memory in a family": (
        "import os, time\nfor _ in range(4):\n  if os.fork() == 0:\n    x = os.urandom(120 * 2**20); time.sleep(60)\ntime.sleep(60)",
        {"memory", "time"},
    ),
    "fill the scratch folder": (
        "i = 0\nwhile True:\n  open(f'/box/{{i}}', 'wb').write(bytes(2**20)); i += 1",
        {"error"},
    ),
    "fill shared memory": ("i = 0\nwhile True:\n  open(f'/dev/shm/{{i}}', 'wb').write(bytes(2**20)); i += 1", {"error"}),
    "one large file": ("f = open('/tmp/large', 'wb')\nfor _ in range(100): f.write(bytes(2**20)); f.flush()\nprint('ESCAPED')", {"error"}),
    "endless loop": ("while True: pass", {"time", "error"}),
    "long sleep": ("import time\ntime.sleep(1000)", {"time"}),
    "sleep detached": (
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(1000)\nprint('left')",
        {"ok", "time"},
    ),
    "flood stdout": ("while True: print('x' * 10000)", {"output"}),
    "flood stderr": ("import sys\nwhile True: sys.stderr.write('x' * 10000)", {"output"}),
    "raise its limits": (
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (2**40, 2**40)); print('ESCAPED')",
        {"error"},
    ),
    "mount something": (
        "import ctypes\nr = ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None); print('ESCAPED' if r == 0 else 'refused')",
        {"ok", "error"},
    ),
    "make a namespace": (
        "import ctypes\nr = ctypes.CDLL(None).unshare(0x10000000); print('ESCAPED' if r == 0 else 'refused')",
        {"ok", "error"},
    ),
    "become root": ("import os\nos.setuid(0); print('ESCAPED')", {"error"}),
    "find open descriptors": (
        "import os\nfor n in os.listdir('/proc/self/fd'):\n  t = os.readlink(f'/proc/self/fd/{{n}}')\n"
        "  if not t.startswith(('pipe:', '/dev/null', '/proc', '/box')): print('ESCAPED', t)",
        {"ok", "error"},
    ),
    "type into the terminal": (
        "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSTI, b'x'); print('ESCAPED')",
        {"error"},
    ),
    "load the kernel log": ("print('ESCAPED', open('/dev/kmsg').read(10))", {"error"}),
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    (folder / "secret.txt").write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield {
            "secret": str(folder / "secret.txt"), "folder": str(folder), "home": str(Path.home()), "parent": str(os.getpid()),
            "port": str(listener.getsockname()[1]),
        }  # fmt: skip


@needs_walls
def test_every_attempt_is_contained_and_nothing_is_left(outside, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", SECRET)
    assert len(ATTEMPTS) >= 40
    jobs = [Job(source=source.format(**outside)) for source, _ in ATTEMPTS.values()]
    results = execute_all(open_sandbox(), jobs, LIMITS)
    for (name, (_, states)), result in zip(ATTEMPTS.items(), results, strict=True):
        assert result.status in states, (name, result)
        assert "ESCAPED" not in result.stdout, (name, result.stdout)
        assert SECRET not in result.stdout + result.stderr, name
        assert len(result.stdout) <= LIMITS.output_bytes
    assert Path(outside["secret"]).read_text() == SECRET
    assert [p.name for p in Path(outside["folder"]).iterdir()] == ["secret.txt"]
    assert set(children_of(os.getpid())) <= BEFORE
    assert open_sandbox().execute(Job(source="print(6 * 7)"), LIMITS).stdout == "42\n"


@needs_walls
def test_the_attempts_would_succeed_without_walls(outside):
    """The programs are real: what the walls refuse, the weak fallback lets through (that is why it must be asked for)."""
    through = {}
    for name in ("read a file of the user", "connect to this machine", "follow a symlink out", "write beside the secret"):
        source = ATTEMPTS[name][0].format(**outside).replace("/box/link", f"{outside['folder']}/link")
        through[name] = Weak().execute(Job(source=source), LIMITS)
    (Path(outside["folder"]) / "link").unlink()
    (Path(outside["folder"]) / "written.txt").unlink()
    assert all(result.ok and "ESCAPED" in result.stdout for result in through.values()), through


BEFORE: set[str] = set()


@pytest.fixture(autouse=True)
def before():
    """What other tests of this process left running (a maths worker) is none of the sandbox's."""
    BEFORE.clear()
    BEFORE.update(children_of(os.getpid()))


def children_of(pid):
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += (thread / "children").read_text().split()
    return found


@pytest.mark.parametrize("kind", [pytest.param("walls", marks=needs_walls), "weak"])
def test_results_of_ordinary_programs(kind):
    sandbox = open_sandbox() if kind == "walls" else Weak()
    good = sandbox.execute(Job(source="import sys\nprint(sys.stdin.read()[::-1])", stdin="häé"), LIMITS)
    assert (good.status, good.stdout, good.exit_code) == ("ok", "éäh\n", 0)
    bad = sandbox.execute(Job(source="raise ValueError('so')"), LIMITS)
    assert bad.status == "error"
    assert "ValueError: so" in bad.stderr
    left = sandbox.execute(Job(source="import sys\nsys.exit(3)"), LIMITS)
    assert (left.status, left.exit_code) == ("error", 3)
    given = sandbox.execute(Job(source="print(open('data.txt').read(), end='')", files={"data.txt": b"given"}), LIMITS)
    assert given.stdout == "given"
    large = sandbox.execute(Job(source="import sys\nprint(len(sys.stdin.read()))", stdin="x" * 500_000), LIMITS)
    assert large.stdout == "500000\n"
    unread = sandbox.execute(Job(source="print('done')", stdin="x" * 500_000), LIMITS)
    assert unread.stdout == "done\n"
    with pytest.raises(SettingsError, match="plain name"):
        sandbox.execute(Job(source="", files={"../up": b""}), LIMITS)


@pytest.mark.parametrize("kind", [pytest.param("walls", marks=needs_walls), "weak"])
def test_limits_end_a_program(kind):
    sandbox = open_sandbox() if kind == "walls" else Weak()
    limits = Limits(wall_s=1, memory_mb=200, output_bytes=1000)
    assert sandbox.execute(Job(source="import time\ntime.sleep(100)"), limits).status == "time"
    assert sandbox.execute(Job(source="while True: print('x')"), limits).status == "output"
    assert "MemoryError" in sandbox.execute(Job(source="bytearray(2**30)"), limits).stderr
    assert set(children_of(os.getpid())) <= BEFORE


@pytest.mark.parametrize("kind", [pytest.param("walls", marks=needs_walls), "weak"])
def test_a_session_remembers_and_survives(kind):
    sandbox = open_sandbox() if kind == "walls" else Weak()
    with Worker(sandbox, Limits(wall_s=2, memory_mb=200, output_bytes=2000)) as worker:
        assert worker.call("def f(x):\n    return x + 1\ny = 4").stdout == ""
        assert worker.call("f(y)").stdout == "5\n"
        failed = worker.call("1 / 0")
        assert failed.status == "error"
        assert "ZeroDivisionError" in failed.stderr
        assert worker.call("y").stdout == "4\n"
        assert worker.call("print('a' * 5000)").status == "output"
        assert worker.call("import os; os.write(1, b'noise'); y").stdout == "4\n"
        assert worker.sessions == 1
        assert worker.call("while True: pass").status == "time"
        assert worker.call("y").status == "error"
        assert worker.sessions == 2
        assert worker.call("import os; os._exit(0)").status == "error"
        assert worker.call("2 ** 10").stdout == "1024\n"
        family = worker.family()
        assert family
    assert not worker.alive
    assert not [pid for pid in family if Path(f"/proc/{pid}").exists()]


def test_a_session_that_forges_replies_is_ended():
    forge = "import os, json\nfor fd in range(3, 20):\n  try: os.write(fd, b'{\"call\": 99}\\n')\n  except OSError: pass"
    with Worker(Weak(), Limits(wall_s=2)) as worker:
        assert worker.call(forge).status == "error"
        assert worker.call("1 + 1").stdout == "2\n"
        assert worker.sessions == 2


def test_without_bubblewrap_the_weak_fallback_must_be_asked_for(tmp_path):
    program = (
        "from tutelage.sandbox import open_sandbox\n"
        "from tutelage.errors import SandboxError\n"
        "try:\n    open_sandbox()\nexcept SandboxError as refused:\n    print(refused)\n"
        "print(open_sandbox(allow_weak=True).name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert "not installed" in done.stdout
    assert "--allow-weak-sandbox" in done.stdout
    assert done.stdout.endswith("weak\n")


@needs_walls
def test_a_killed_owner_takes_its_sandbox_along(tmp_path):
    """SIGKILL of the process that owns a session leaves nothing running."""
    program = (
        "import time\nfrom tutelage.sandbox import *\n"
        "w = Worker(open_sandbox(), Limits(wall_s=60))\nw.call('1')\nprint(*w.family(), flush=True)\ntime.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    family = owner.stdout.readline().split()
    assert len(family) >= 2
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    for _ in range(500):
        if not any(alive(pid) for pid in family):
            break
        os.sched_yield()
        subprocess.run(["/bin/sleep", "0.01"], check=True)
    assert not any(alive(pid) for pid in family)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_limits_must_be_positive():
    with pytest.raises(SettingsError, match="wall_s"):
        Limits(wall_s=0)


def test_the_fallback_says_what_it_leaves_open():
    import tutelage.sandbox.weak as weak

    assert SandboxError.exit_code == 1
    for word in ("reading", "writing", "network", "signals", "escape", "memory"):
        assert f"- {word}" in weak.__doc__

"What Windows or a Mac has not got is not used, or asked for first: read in the code, as there is no such machine here"
import ast
import re
import socket
from pathlib import Path

import pytest

from birdclf.folder import folder_name
from birdclf.web import Visit

PACKAGE = Path(__file__).resolve().parents[1]/'birdclf'
UNIX_MODULES = {'fcntl', 'resource', 'pwd', 'grp', 'termios', 'tty', 'pty', 'syslog', 'posix'}
UNIX_ALONE = {f'os.{name}' for name in ('fork', 'forkpty', 'getuid', 'geteuid', 'getgid', 'getpgid', 'setpgid', 'killpg', 'setsid', 'mkfifo', 'mknod', 'chown', 'chroot', 'statvfs', 'nice',
    'uname', 'getloadavg', 'sysconf', 'sched_getaffinity', 'sched_setaffinity', 'wait', 'wait3', 'pathconf', 'getpriority', 'posix_fadvise', 'O_DIRECTORY', 'O_NOFOLLOW', 'O_CLOEXEC')
    } | {f'signal.{name}' for name in ('SIGKILL', 'SIGHUP', 'SIGALRM', 'SIGUSR1', 'SIGUSR2', 'SIGSTOP', 'SIGCHLD', 'SIGPIPE', 'alarm', 'setitimer', 'pause', 'sigwait')} | {'socket.AF_UNIX', 'socket.SO_REUSEADDR', 'time.tzset'}
TEXT = 'open', 'os.fdopen', 'io.open', 'NamedTemporaryFile', 'TemporaryFile', 'read_text', 'write_text'


def mode_of(call, place):
    given = [word.value for word in call.keywords if word.arg == 'mode'] + call.args[place:place+1]
    return given[0].value if given and isinstance(given[0], ast.Constant) else None if given else 'r'


def wrong(call):
    "What is wrong with a call, if anything"
    name = ast.unparse(call.func)
    last = name.rpartition('.')[2]
    if name == 'os.dup' and call.args and ast.unparse(call.args[0]).endswith('.fileno()'): return 'os.dup of what may be a socket, which is no file on Windows: socket.fromfd'
    if name in TEXT or last in TEXT[-2:]:
        binary = last not in TEXT[-2:] and 'b' in (mode_of(call, 0 if 'Temporary' in last else 1) or '')
        if 'Temporary' in last and not call.args and not any(word.arg == 'mode' for word in call.keywords): binary = True
        if not binary and not any(word.arg in ('encoding', None) for word in call.keywords): return 'text without an encoding, which Windows chooses by country'
    return None


def faults(tree, guarded=False):
    "Each line that one system alone understands, unless somebody expects an `ImportError`, or asks before"
    for node in ast.iter_child_nodes(tree):
        expected = isinstance(tree, ast.Try) and node in tree.body and any('ImportError' in ast.unparse(handler.type or tree) for handler in tree.handlers)
        asked = isinstance(node, (ast.IfExp, ast.If)) and re.search(r'\bhasattr\(|os\.name', ast.unparse(node.test))
        careful = guarded or expected or asked
        if not careful:
            if isinstance(node, ast.Import): yield from (f'{node.lineno}: import {alias.name}' for alias in node.names if alias.name in UNIX_MODULES)
            if isinstance(node, ast.ImportFrom) and node.module in UNIX_MODULES: yield f'{node.lineno}: from {node.module}'
            if isinstance(node, ast.Attribute) and ast.unparse(node) in UNIX_ALONE: yield f'{node.lineno}: {ast.unparse(node)}'
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(('/dev/', '/proc/', '/sys/', '/tmp/', '/etc/')): yield f'{node.lineno}: {node.value!r}'
        if isinstance(node, ast.Call) and (why := wrong(node)): yield f'{node.lineno}: {why}'
        yield from faults(node, careful)


@pytest.mark.parametrize('path', sorted(PACKAGE.glob('*.py')), ids=lambda path: path.stem)
def test_every_system_understands_it(path): assert list(faults(ast.parse(path.read_text(encoding='utf-8')))) == []


@pytest.mark.parametrize('code', ['import fcntl', 'from resource import getrusage', 'os.fork()', 'try: door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\nexcept OSError: pass', 'n = len(os.sched_getaffinity(0))', 'x.send_signal(signal.SIGKILL)', 'door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)', "open('/dev/null', 'wb')",
    'open(path)', "open(path, 'w')", 'path.read_text()', "path.write_text('x')", "NamedTemporaryFile('w')", 'socket.socket(fileno=os.dup(sock.fileno()))'])
def test_a_line_for_one_system_would_be_noticed(code): assert len(list(faults(ast.parse(code)))) == 1


@pytest.mark.parametrize('code', ["if os.name != 'nt': door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)", 'try: import fcntl\nexcept ImportError: pass', "n = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1", "open(path, 'rb')", "open(path, encoding='utf-8')",
    "path.read_text(encoding='utf-8')", 'NamedTemporaryFile(delete=False)', 'open(os.devnull, "wb")', 'image.open(path)', 'os.dup2(os.open(os.devnull, os.O_WRONLY), 2)'])
def test_careful_lines_pass(code): assert list(faults(ast.parse(code))) == []


def test_a_wire_of_ones_own_outlives_the_connection():
    ours, theirs = socket.socketpair()
    visit = Visit(10)
    visit.take(ours)
    ours.close()
    assert visit.wire.send(b'still here') and theirs.recv(20) == b'still here'
    visit.cut()
    assert theirs.recv(20) == b''
    visit.let_go(), theirs.close()


@pytest.mark.parametrize('name', ['con', 'CON', 'Prn.jpg', 'aux', 'nul.tar.gz', 'COM1', 'lpt9.x', 'com¹', 'aux .x'])
def test_no_bird_is_a_device(name): assert folder_name(name) == f'_{name}'

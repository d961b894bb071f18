"The tests themselves: none holds a stop-watch, all hear Ctrl-C however they were started, and the slow ones have a name"
import ast
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pace
import pytest
from slow import SLOW, why_slow

from birdclf.testing import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
DEAF = ('import os, signal, sys\nfor number in (signal.SIGINT, signal.SIGTERM): {}\n'
        'os.execv(sys.executable, [sys.executable, *sys.argv[1:]])')
HEARS = ('import signal\nprint([signal.getsignal(number) != signal.SIG_IGN for number in (signal.SIGINT, signal.SIGTERM)], '
         'signal.pthread_sigmask(signal.SIG_BLOCK, []))')


def test_a_child_hears_ctrl_c():
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert subprocess.run([sys.executable, '-c', HEARS], capture_output=True, text=True).stdout == '[True, True] set()\n'


@pytest.mark.skipif(not hasattr(signal, 'pthread_sigmask'), reason='needs signals that can be blocked')
@pytest.mark.parametrize('deafness', ['signal.signal(number, signal.SIG_IGN)', 'signal.pthread_sigmask(signal.SIG_BLOCK, {number})'])
def test_a_run_in_the_background_hears_ctrl_c(deafness):
    "Started by somebody who ignores Ctrl-C, as `nohup make test &` is, a run takes the same tests"
    one = f'{Path(__file__).name}::test_a_child_hears_ctrl_c'
    done = subprocess.run([sys.executable, '-c', DEAF.format(deafness), '-m', 'pytest', '-p', 'no:cacheprovider', one], cwd=ROOT/'tests',
                          capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and '1 passed' in done.stdout, done.stdout+done.stderr


# What is left out

@pytest.mark.parametrize('file, pattern', [(file, pattern) for file, left in SLOW.items() for pattern in left])
def test_what_is_left_out_is_there(file, pattern):
    "A name that nobody bears any more would leave out nothing"
    names = {node.name for node in ast.walk(ast.parse((ROOT/'tests'/file).read_text(encoding='utf-8'))) if isinstance(node, ast.FunctionDef)}
    bare = pattern.split('\\[')[0].removesuffix('(')
    assert any(re.fullmatch(bare, name) for name in names if name.startswith('test_'))


def test_nothing_is_left_out_unless_asked_for(pytestconfig):
    "`make test` asks for it; whoever runs everything has few repetitions of nothing"
    assert pace.few(1, 2) == (1 if pytestconfig.option.quick else 2) and why_slow('test_cluster.py', 'test_x') and not why_slow('test_fresh.py', 'test_x')


def test_what_shares_a_server_stays_in_one_process(tmp_path):
    pytest.importorskip('xdist')
    for name in ('conftest.py', 'pace.py', 'slow.py'): shutil.copy(ROOT/'tests'/name, tmp_path)
    told = "import os, pytest\n@pytest.mark.parametrize('n', range(8))\ndef test(n): open(f'{}-{{n}}', 'w').write(os.environ['PYTEST_XDIST_WORKER'])\n"
    for name in ('page', 'fresh'): (tmp_path/f'test_{name}.py').write_text(told.format(name), encoding='utf-8')
    done = subprocess.run([sys.executable, '-m', 'pytest', '-n', '2', '-p', 'no:cacheprovider'], cwd=tmp_path, capture_output=True, text=True)
    assert '16 passed' in done.stdout, done.stdout+done.stderr
    workers = {name: {(tmp_path/f'{name}-{n}').read_text() for n in range(8)} for name in ('page', 'fresh')}
    assert len(workers['page']) == 1 and len(workers['page'] | workers['fresh']) == 2


# No stop-watches

CLOCKS = {'monotonic', 'perf_counter', 'time', 'now'}  # They go on while somebody else has the processor
ALLOWED = {'load', 'PATIENCE', 'until'}                # A share of the machine's pace; more than anybody waits; the end of a wait


def called(node):
    "The name of what is called, if it is a call"
    return getattr(node.func, 'attr', getattr(node.func, 'id', '')) if isinstance(node, ast.Call) else ''


def words(node):
    "All names in a piece of code"
    return {getattr(part, 'attr', getattr(part, 'id', None)) for part in ast.walk(node) if isinstance(part, (ast.Name, ast.Attribute))}


def looks_at_clock(node):
    return any(called(part) in CLOCKS and not part.args for part in ast.walk(node))


def durations(tree):
    "The names that stand for times, because of what they are made of"
    made = [(node.name, node) for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and any(isinstance(part, ast.Return) for part in ast.walk(node))]
    made += [(name, node.value) for node in ast.walk(tree)
             if isinstance(node, ast.Assign) for target in node.targets for name in words(target)]
    found, more = set(), {name for name, node in made if looks_at_clock(node)}
    while more-found:
        found |= more
        more = {name for name, node in made if words(node) & found}
    return found


def stop_watches(code):
    "The lines of `code` on which a test depends on how fast the machine is just now"
    tree = ast.parse(code)
    scopes = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith('test_')] or [tree]
    for scope in scopes:
        found = durations(scope)
        for node in ast.walk(scope):
            if not isinstance(node, ast.Assert) and not called(node).startswith('test'): continue
            for part in ast.walk(node):
                if isinstance(part, ast.Compare) and isinstance(part.ops[-1], (ast.Lt, ast.LtE)):
                    if (looks_at_clock(part) or words(part) & found) and not words(part) & ALLOWED: yield node.lineno
    for node in ast.walk(tree):
        for word in node.keywords if isinstance(node, ast.Call) else ():
            least = 60_000 if called(node).startswith('wait_for') else 60
            if word.arg == 'timeout' and (getattr(word.value, 'value', None) or least) < least: yield node.lineno


def cells_of(notebook):
    "The cells of a notebook that are tests: what is neither exported nor slow"
    cells = json.loads(notebook.read_text(encoding='utf-8'))['cells']
    code = [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'code']
    left_out = '#| export', '#| slow', '#| net', '%', '!'
    return '\n'.join(source for source in code if not any(line.startswith(left_out) for line in source.splitlines()))


PLACES = [*sorted((ROOT/'tests').glob('test_*.py')), *sorted((ROOT/'nbs').glob('*.ipynb'))]


@pytest.mark.parametrize('place', PLACES, ids=lambda place: place.stem)
def test_nobody_holds_a_stop_watch(place):
    "Ask what came first, use `time.process_time`, or multiply by `birdclf.testing.load()`; and wait for `PATIENCE`"
    code = place.read_text(encoding='utf-8') if place.suffix == '.py' else cells_of(place)
    lines = code.splitlines()
    assert [lines[number-1].strip() for number in stop_watches(code) if '# on purpose' not in lines[number-1]] == []


@pytest.mark.parametrize('code, found', [
    ('start = time.monotonic()\nwork()\nassert time.monotonic()-start < 3', [3]),
    ('start = perf_counter()\nwork()\ntook = perf_counter()-start\nassert done and took <= 4.5', [4]),
    ('def took(deed):\n    start = monotonic()\n    return monotonic()-start\ntimes = [took(print)]\nassert median(times) < .1', [5]),
    ('start = monotonic()\nouts[0] = monotonic()-start\ntest_eq(max(outs.values())<3, True)', [3]),
    ("process.communicate(timeout=30)\npage.wait_for_selector('a', timeout=15_000)", [1, 2]),
    ('start = process_time()\nassert process_time()-start < 3', []),
    ('start = monotonic()\nassert monotonic()-start < 3*load()\nprocess.communicate(timeout=PATIENCE)', [])])
def test_a_stop_watch_is_seen(code, found):
    assert list(stop_watches(code)) == found

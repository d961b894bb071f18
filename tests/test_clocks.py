"The tests themselves: none holds a stop-watch, and all hear Ctrl-C however they were started"
import ast
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from birdclf.testing import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
DEAF = 'import os, signal, sys\nfor number in (signal.SIGINT, signal.SIGTERM): {}\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])'
HEARS = 'import signal\nprint([signal.getsignal(number) != signal.SIG_IGN for number in (signal.SIGINT, signal.SIGTERM)], signal.pthread_sigmask(signal.SIG_BLOCK, []))'


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

"What the tests share: the project's folder, the photographs beside it where there are any, and how much is tested"
import signal
from pathlib import Path

import pace
import pytest
from slow import together, why_slow

from birdclf.testing import PATIENCE

ROOT = Path(__file__).resolve().parents[1]

# Who is started in the background (`nohup make test &`, many job runners) may have been told to ignore Ctrl-C, and so would all its
# children be. The chapters and the programs that the tests start are to hear it.
for number, ordinary in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN: signal.signal(number, ordinary)
    if hasattr(signal, 'pthread_sigmask'): signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})

# Playwright waits for a function by evaluating its text in the page, which the policy of our pages forbids. Asked from outside it may.
try: from playwright.sync_api import Page
except ImportError: pass
else:
    def wait_for_function(page, expression, *, arg=None):
        for _ in range(20*PATIENCE):
            if page.evaluate(expression, arg): return
            page.wait_for_timeout(50)
        pytest.fail(f'after {PATIENCE} s: not {expression}')
    Page.wait_for_function = wait_for_function


def pytest_addoption(parser):
    parser.addoption('--quick', action='store_true', help='what a person waits for: no slow tests, few repetitions, '
                     'no chapter of which nothing has changed since it passed')


def pytest_configure(config):
    pace.QUICK = config.option.quick


@pytest.hookimpl(optionalhook=True) # Without pytest-xdist everything is together
def pytest_xdist_make_scheduler(config, log):
    "What shares a server stays in one process; everything else goes where there is room (`--dist loadgroup` does nothing with pytest 9.2)"
    from xdist.scheduler import LoadScopeScheduling
    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid): return together(nodeid)
    return Together(config, log)


def pytest_collection_modifyitems(config, items):
    "Slow tests come first, so that no processor waits for the last one, or not at all"
    for item in items:
        if why_slow(item.path.name, item.name): item.add_marker(pytest.mark.slow)
    slow = [item for item in items if item.get_closest_marker('slow')]
    quick = [item for item in items if not item.get_closest_marker('slow')]
    if config.option.quick: config.hook.pytest_deselected(items=slow)
    items[:] = quick if config.option.quick else slow+quick


def pytest_terminal_summary(terminalreporter):
    left = len(terminalreporter.stats.get('deselected', ()))
    if terminalreporter.config.option.quick and not hasattr(terminalreporter.config, 'workerinput'):
        terminalreporter.write_line(f'These were the tests that a person waits for{f", {left} were left out" if left else ""}; `make test-all` runs them all.')


@pytest.fixture(scope='session')
def root():
    "The project's folder"
    return ROOT


@pytest.fixture(scope='session')
def shared():
    "The folder of test data beside the project; tests that need it are skipped where it is missing"
    folder = ROOT.parent/'shared'
    if not (folder/'birds').is_dir():
        pytest.skip('needs the photographs and test files in ../shared, which are not part of the project')
    return folder

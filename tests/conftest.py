"What the tests share: the project's folder, and the photographs beside it where there are any"
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Who is started in the background (`nohup make test &`, many job runners) may have been told to ignore Ctrl-C, and so would all its
# children be. The chapters and the programs that the tests start are to hear it.
for number, ordinary in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
    if signal.getsignal(number) == signal.SIG_IGN: signal.signal(number, ordinary)
    if hasattr(signal, 'pthread_sigmask'): signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})


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

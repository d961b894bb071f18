"What the tests share: the project's folder, and the photographs beside it where there are any"
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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

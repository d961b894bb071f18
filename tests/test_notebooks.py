"Every notebook runs from top to bottom, one visible test each"
from pathlib import Path

import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import test_nb as run_notebook

CONFIG = get_config()
NOTEBOOKS = sorted(Path(path) for path in nbglob(CONFIG.nbs_path, as_path=True))


def test_there_are_notebooks():
    assert {'index', '00_species', '91_book'} <= {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path):
    passed, seconds = run_notebook(path, skip_flags=CONFIG.tst_flags.split(), basepath=CONFIG.config_path)
    assert passed, f'{path.name} failed after {seconds:.0f} s; the traceback is above'

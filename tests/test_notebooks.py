"Every notebook runs from top to bottom, one visible test each; `make test` passes over those of which nothing has changed since"
import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pace
import pytest
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import test_nb as run_notebook
from unchanged import Chapters, needed, said

CONFIG = get_config()
NOTEBOOKS = sorted(Path(path) for path in nbglob(CONFIG.nbs_path, as_path=True))
ROOT = Path(__file__).resolve().parents[1]


def test_there_are_notebooks():
    assert {'index', '00_species', '91_book'} <= {path.stem for path in NOTEBOOKS}


@pytest.fixture(scope='session')
def chapters(): return Chapters(ROOT)


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(monkeypatch, path, chapters):
    if pace.QUICK and chapters.passed(path): pytest.skip('nothing has changed since it passed')
    key = chapters.key(path)
    chapters.forget(path)
    monkeypatch.setenv('IN_TEST', '1') # nbdev sets it and leaves it, and then nothing is exported any more
    passed, seconds = run_notebook(path, skip_flags=CONFIG.tst_flags.split(), basepath=CONFIG.config_path)
    assert passed, f'{path.name} failed after {seconds:.0f} s; the traceback is above'
    chapters.remember(path, key)


def test_the_chapter_on_the_book_runs_in_the_copy_that_a_book_is_made_of(monkeypatch):
    "As `make book EXECUTE=1` runs it: the project is around the copy, but not beside its chapters"
    monkeypatch.setenv('IN_TEST', '1')
    (ROOT/'_build').mkdir(exist_ok=True)
    with TemporaryDirectory(dir=ROOT/'_build') as copy:
        for name in ('_config.yml', '_toc.yml'): shutil.copy(ROOT/name, copy)
        shutil.copytree(ROOT/'nbs', Path(copy)/'nbs', ignore=shutil.ignore_patterns('.ipynb_checkpoints'))
        chapter = Path(copy)/'nbs'/'91_book.ipynb'
        assert run_notebook(chapter, skip_flags=CONFIG.tst_flags.split(), basepath=chapter.parent)[0]


def test_a_solution_is_run(tmp_path):
    "As any cell of a chapter: one that fails, fails its chapter"
    for code, right in (('1/1', True), ('1/0', False)):
        cell = dict(cell_type='code', id='5011', metadata={}, execution_count=None, outputs=[], source=f'#| solution: 1\n{code}')
        path = tmp_path/'wren.ipynb'
        path.write_text(json.dumps(dict(cells=[cell], metadata={}, nbformat=4, nbformat_minor=5)), encoding='utf-8')
        assert run_notebook(path, skip_flags=CONFIG.tst_flags.split(), basepath=CONFIG.config_path)[0] is right


# Which chapters have changed

NOTEBOOK = '{{"cells": [{{"cell_type": "code", "source": ["{}"]}}]}}'


@pytest.fixture
def project(tmp_path):
    "Two chapters, a few modules, data beside them, and a function that says which chapters need not run again"
    files = {'project/nbs/wren.ipynb': NOTEBOOK.format('from birdclf.nest import build'), 'project/nbs/owl.ipynb': NOTEBOOK.format("run(['birdclf', 'app'])"),
             'project/birdclf/__init__.py': '', 'project/birdclf/nest.py': 'def build():\n    from birdclf import twig', 'project/birdclf/twig.py': 'from .leaf import green',
             'project/birdclf/leaf.py': '',
             'project/birdclf/egg.py': '', 'project/birdclf/front/app.js': '', 'project/birdclf/bundle/model.onnx': '', 'project/requirements.lock': '',
             'shared/birds/1.jpg': ''}
    for name, text in files.items():
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_text(text, encoding='utf-8')
    return tmp_path


def unchanged(project, **environment):
    chapters = Chapters(project/'project', environment=environment)
    return [path.stem for path in sorted((project/'project'/'nbs').glob('*')) if chapters.passed(path)]


def pass_all(project, **environment):
    chapters = Chapters(project/'project', environment=environment)
    for path in (project/'project'/'nbs').glob('*'): chapters.remember(path, chapters.key(path))


def test_a_chapter_that_never_passed_runs(project):
    assert unchanged(project) == []
    pass_all(project)
    assert unchanged(project) == ['owl', 'wren']
    Chapters(project/'project').forget(project/'project'/'nbs'/'owl.ipynb')
    assert unchanged(project) == ['wren']


@pytest.mark.parametrize('changed, left', [
    ('project/nbs/wren.ipynb', ['owl']), ('project/birdclf/nest.py', []), ('project/birdclf/twig.py', []), ('project/birdclf/leaf.py', []), ('project/birdclf/egg.py', ['wren']),
    ('project/birdclf/__init__.py', []), ('project/birdclf/front/app.js', []), ('project/birdclf/bundle/model.onnx', []), ('project/requirements.lock', []),
    ('shared/birds/1.jpg', []), ('shared/birds/2.jpg', []), ('project/birdclf/front/new.css', []), ('project/README.md', ['owl', 'wren'])])
def test_what_a_chapter_depends_on(project, changed, left):
    "Its text, the modules that it names, those that they name, and whatever is no module; who runs the command depends on all"
    pass_all(project)
    with open(project/changed, 'a', encoding='utf-8') as file: file.write('\n')
    assert unchanged(project) == left


def test_what_a_chapter_is_told(project):
    "Another folder of photographs is another run, and so is another file in it"
    photos = project/'photos'
    photos.mkdir()
    pass_all(project, BIRDCLF_PHOTOS=str(photos), OTHER='1')
    assert unchanged(project, BIRDCLF_PHOTOS=str(photos), OTHER='2') == ['owl', 'wren'] and unchanged(project) == []
    (photos/'1.jpg').touch()
    assert unchanged(project, BIRDCLF_PHOTOS=str(photos)) == []


def test_real_chapters_know_their_modules():
    modules = Chapters(ROOT).modules()
    by_stem = {path.stem: needed(said(path.read_text(encoding='utf-8')), modules) for path in NOTEBOOKS}
    assert {'manifest', 'species', 'license', 'web', 'files', 'errors'} <= by_stem['10_search'] and 'train' not in by_stem['10_search']
    assert by_stem['60_cli'] == set(modules) and 'search' not in by_stem['50_bundle']

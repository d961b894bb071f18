"The direction of the arrows: what names a bird loads nothing that trains or gathers"
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT/'birdclf'
HEAVY = {'torch', 'torchvision', 'fastai', 'requests', 'sklearn', 'matplotlib', 'pandas', 'timm'}
OFF_THE_PATH = HEAVY | {f'birdclf.{name}' for name in ('manifest', 'web', 'search', 'sources', 'download', 'replay', 'verify', 'suspect', 'review', 'clean', 'split', 'train', 'compare', 'backbone', 'export', 'evaluate', 'report')}
# What the modules that name a bird may import of ours
ARROWS = {'species': {'errors', 'files'}, 'photo': {'errors'}, 'bundle': {'species'}, 'classify': {'bundle', 'photo', 'species'},
          'app': {'classify', 'bundle', 'photo', 'species'}, 'serve': set(), 'folder': {'errors', 'files', 'photo', 'species'}}

# The same for those that gather, which load nothing that trains
GATHERING = {'manifest': {'errors', 'files', 'database', 'license', 'species'}, 'license': set(), 'web': {'errors'},
             'handover': {'errors', 'files', 'folder', 'license', 'manifest', 'species'},
             'search': {'errors', 'species', 'manifest', 'license', 'web'},
             'sources': {'search', 'species', 'folder', 'manifest', 'license', 'photo', 'web'},
             'download': {'errors', 'files', 'manifest', 'photo', 'web'},
             'catalogue': {'species', 'testing'}, 'desks': {'catalogue', 'species'},
             'replay': {'catalogue', 'desks', 'errors', 'species'}}

# And for those that clean, which know no network but the one that names birds, and ask the web for nothing
CLEANING = {'thumbnails': {'manifest', 'files'}, 'verify': {'files', 'manifest', 'photo', 'classify', 'bundle', 'thumbnails'},
            'suspect': {'manifest', 'verify', 'classify', 'bundle', 'species'}, 'review': {'errors', 'manifest', 'species'},
            'clean': {'files', 'license', 'manifest', 'photo', 'review', 'species', 'thumbnails'}, 'split': {'manifest'}}

# Judging knows no network but the one that names birds; comparing trains, and knows no manifest
JUDGING = {'compare': {'backbone', 'folder', 'species', 'train'}, 'evaluate': {'bundle'}, 'report': {'bundle', 'classify', 'evaluate', 'folder', 'photo', 'species'}}


def loaded_by(code):
    "The modules in a fresh interpreter after running `code`"
    done = subprocess.run([sys.executable, '-c', f'{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))'],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def imports_of(tree):
    "The names of all modules that are imported anywhere in `tree`"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == 'birdclf': yield from (f'birdclf.{alias.name}' for alias in node.names)


@pytest.mark.parametrize('code', ['import birdclf.species', 'import birdclf.photo', 'import birdclf.bundle',
                                  'import birdclf.classify', 'from birdclf.app import page', 'import birdclf.cli'])
def test_light_modules_load_nothing_heavy(code):
    assert loaded_by(code) & OFF_THE_PATH == set()


def test_a_heavy_import_would_be_noticed():
    assert loaded_by('import birdclf.classify, requests') & OFF_THE_PATH == {'requests'}


def modules():
    return {path.stem: ast.parse(path.read_text(encoding='utf-8')) for path in PACKAGE.glob('*.py')}


@pytest.mark.parametrize('name', ARROWS)
def test_light_modules_name_nothing_heavy(name):
    "Not even inside a function, where a fresh interpreter would not see it"
    named = set(imports_of(modules()[name]))
    assert {module for module in named if module.split('.')[0] in HEAVY or module in OFF_THE_PATH} == set()


@pytest.mark.parametrize('name', ARROWS)
def test_light_modules_import_only_what_the_map_allows(name):
    ours = {module.split('.')[1] for module in imports_of(modules()[name]) if module.startswith('birdclf.')}
    assert ours-{'errors', 'files', 'database'} <= ARROWS[name]


@pytest.mark.parametrize('name, allowed', (GATHERING | CLEANING | JUDGING).items())
def test_modules_that_gather_and_clean_import_only_what_the_map_allows(name, allowed):
    ours = {module.split('.')[1] for module in imports_of(modules()[name]) if module.startswith('birdclf.')}
    assert ours-{'errors', 'files', 'database'} <= allowed


def test_gathering_loads_nothing_that_trains():
    loaded = loaded_by(f"import {', '.join(f'birdclf.{name}' for name in GATHERING)}")
    assert loaded & {'torch', 'torchvision', 'fastai', 'sklearn', 'matplotlib', 'pandas', 'timm', 'birdclf.classify', 'birdclf.train'} == set()


def test_cleaning_loads_nothing_that_trains_or_asks_the_web():
    loaded = loaded_by(f"import {', '.join(f'birdclf.{name}' for name in CLEANING)}")
    assert loaded & {'torch', 'torchvision', 'fastai', 'requests', 'matplotlib', 'pandas', 'timm', 'birdclf.web', 'birdclf.train'} == set()


def opens_pictures(tree):
    "Does the code call `Image.open`, under whatever name it imported `Image`?"
    names = {alias.asname or alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == 'PIL'
             for alias in node.names if alias.name == 'Image'}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == 'open':
            if isinstance(node.value, ast.Name) and node.value.id in names: return True
            if re.search(r'\bPIL(\.\w+)*\.Image$', ast.unparse(node.value)): return True
        if isinstance(node, ast.ImportFrom) and node.module == 'PIL.Image' and any(a.name == 'open' for a in node.names): return True
    return False


def test_only_photo_opens_pictures():
    assert [name for name, tree in modules().items() if opens_pictures(tree)] == ['photo']


@pytest.mark.parametrize('code', ['from PIL import Image\nImage.open("x")', 'from PIL import Image as I\nI.open("x")',
                                  'import PIL.Image\nPIL.Image.open("x")', 'from PIL.Image import open'])
def test_an_open_picture_would_be_noticed(code):
    assert opens_pictures(ast.parse(code))

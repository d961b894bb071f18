"The direction of the arrows: one table says who imports whom, and what names a bird loads nothing that trains or gathers"
import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from birdclf.book import RoomMap, arrows_of, faults_in_rooms, module_sources, read_rooms

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT/'birdclf'
FLOORS = read_rooms(ROOT/'nbs'/'rooms.yml')
TRAINING = {'torch', 'torchvision', 'fastai', 'sklearn', 'matplotlib', 'pandas', 'timm'}
HEAVY = TRAINING | {'requests'}
# What names a bird, and what that stands on
LIGHT = ['species', 'photo', 'license', 'credits', 'errors', 'files', 'folder', 'words', *FLOORS['Naming']]
OFF_THE_PATH = HEAVY | {f'birdclf.{room}' for floor, rooms in FLOORS.items() for room in rooms if room not in LIGHT
                        and floor not in ('The command line', 'Tools')} - {'birdclf.database'} | {'birdclf.replay'}
GATHERING = ['manifest', 'license', 'web', *FLOORS['Gathering'], 'replay']
CLEANING = [*FLOORS['Cleaning'], 'split']


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
        elif isinstance(node, ast.ImportFrom) and node.module: yield node.module


@pytest.fixture(scope='module')
def sources(): return module_sources()


def test_the_table_and_the_modules_agree(sources):
    assert sorted(faults_in_rooms(FLOORS, sources)) == [], 'mend the module, or nbs/rooms.yml'


def test_the_package_itself_imports_none_of_its_rooms():
    assert arrows_of((PACKAGE/'__init__.py').read_text(encoding='utf-8')) == set()


CHANGES = {'a module that is not in the table': dict(balcony='import os'), 'another direction': dict(species='from .classify import names'),
           'an import in a function': dict(photo='def look():\n    from birdclf.manifest import Manifest'), 'a room as a name': dict(bundle='from . import web'),
           'a name that is passed on': dict(classify="import_module('birdclf.download')"), 'a name from parts': dict(license="import_module(f'birdclf.{name}')"),
           'an arrow that nobody uses': dict(suspect=''), 'a room that is gone': dict(split=None)}


@pytest.mark.parametrize('change', CHANGES)
def test_a_change_would_be_noticed(sources, change):
    changed = {name: source for name, source in (sources | CHANGES[change]).items() if source is not None}
    assert any(fault.startswith(tuple(CHANGES[change])) for fault in faults_in_rooms(FLOORS, changed))


def test_the_printed_map_is_that_of_today(sources):
    notebook = json.loads((ROOT/'nbs'/'91_book.ipynb').read_text(encoding='utf-8'))
    printed = [''.join(output['data']['text/html']) for cell in notebook['cells'] if ''.join(cell['source']).endswith('RoomMap(floors, module_sources())')
               for output in cell['outputs']]
    assert printed == [RoomMap(FLOORS, sources)._repr_html_()], 'run nbs/91_book.ipynb once more'


@pytest.mark.parametrize('code', ['import birdclf.species', 'import birdclf.photo', 'import birdclf.bundle',
                                  'import birdclf.classify', 'from birdclf.app import page', 'import birdclf.serve', 'import birdclf.cli'])
def test_light_modules_load_nothing_heavy(code):
    allowed = {'requests'} if 'serve' in code else set() # Voila loads it
    assert loaded_by(code) & OFF_THE_PATH <= allowed


def test_a_heavy_import_would_be_noticed():
    assert loaded_by('import birdclf.classify, requests') & OFF_THE_PATH == {'requests'}


@pytest.mark.parametrize('name', LIGHT)
def test_light_modules_name_nothing_heavy(sources, name):
    "Not even inside a function, where a fresh interpreter would not see it"
    named = set(imports_of(ast.parse(sources[name]))) | {f'birdclf.{room}' for room in arrows_of(sources[name])}
    assert {module for module in named if module.split('.')[0] in HEAVY | {'fastcore'} or module in OFF_THE_PATH} == set()


def test_gathering_loads_nothing_that_trains():
    loaded = loaded_by(f"import {', '.join(f'birdclf.{name}' for name in GATHERING)}")
    assert loaded & (TRAINING | {'birdclf.classify', 'birdclf.train'}) == set()


def test_cleaning_loads_nothing_that_trains_or_asks_the_web():
    loaded = loaded_by(f"import {', '.join(f'birdclf.{name}' for name in CLEANING)}")
    assert loaded & (HEAVY-{'sklearn'} | {'birdclf.web', 'birdclf.train'}) == set()


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
    assert [name for name, source in module_sources().items() if opens_pictures(ast.parse(source))] == ['photo']


@pytest.mark.parametrize('code', ['from PIL import Image\nImage.open("x")', 'from PIL import Image as I\nI.open("x")',
                                  'import PIL.Image\nPIL.Image.open("x")', 'from PIL.Image import open'])
def test_an_open_picture_would_be_noticed(code):
    assert opens_pictures(ast.parse(code))

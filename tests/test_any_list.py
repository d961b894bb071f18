"The book runs with a list of somebody's own: its chapters take the birds of the folder, or say that they keep to the 74"
import ast
import json
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from birdclf.testing import KEEPS, PATIENCE, paint_bird

ROOT = Path(__file__).resolve().parents[1]
SAYS = 'keeps to the 74'
PASSED = 'Passed over: this keeps to the 74, and these photographs are of another list, of 4 birds.'
LIST = 'scientific,fi,english\nPica pica,harakka,Eurasian Magpie\nGrus grus,kurki,Common Crane\nCorvus corax,korppi,Common Raven\nLarus canus,kalalokki,Common Gull\n'
LOOKS_LIKE = {'Pica pica': 'Blaumeise', 'Grus grus': 'Weißstorch', 'Corvus corax': 'Amsel', 'Larus canus': 'Rotkehlchen'}


def chapters():
    "The cells of each chapter: id, kind and text"
    for path in sorted((ROOT/'nbs').glob('*.ipynb')):
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        yield path.stem, [(cell['id'], cell['cell_type'], ''.join(cell['source'])) for cell in cells]


BOOK = dict(chapters())


def is_kept(text):
    "Whether a cell begins with the remark, below its options"
    return next((line for line in text.splitlines() if line.strip() and not line.startswith('#|')), '').startswith(KEEPS)


def kept(cells): return [(id, text) for id, kind, text in cells if kind == 'code' and is_kept(text)]


def calls(tree, name):
    return any(isinstance(node, ast.Call) and getattr(node.func, 'id', '') == name for node in ast.walk(tree))


def names(tree, context):
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def takes_the_74(cells):
    "Cells in which photographs that may be anybody's meet the book's own list, and that do not say so"
    places, lists = set(), set()
    for id, kind, text in cells:
        if kind != 'code' or '#| export' in text or '#| hide' in text: continue
        try: tree = ast.parse(text)
        except SyntaxError: continue # A magic, or a cell of JavaScript
        here = names(tree, ast.Load)
        place = calls(tree, 'photographs') or here & places
        birds = calls(tree, 'load_species') or here & lists
        if place and birds and not is_kept(text) and not calls(tree, 'birds_of'): yield id
        for node in tree.body: # What a function calls its own is forgotten with it
            if not isinstance(node, ast.Assign): continue
            new = set().union(*(names(target, ast.Store) for target in node.targets))
            for found, name in ((places, 'photographs'), (lists, 'load_species')):
                found.difference_update(new)
                if calls(node.value, name) and not calls(node.value, 'birds_of'): found.update(new)



@pytest.mark.parametrize('chapter', BOOK)
def test_photographs_are_of_the_birds_of_their_folder(chapter):
    assert list(takes_the_74(BOOK[chapter])) == [], \
        f'take birds_of(photographs()), or begin with {KEEPS!r} and say in the prose that this part {SAYS}'


@pytest.mark.parametrize('cells, found', [
    (['records = read_folder(photographs(), load_species())'], [0]),
    (['birds = load_species()', 'read_folder(photographs(), birds)'], [1]),
    (['here = photographs()', 'make_model(here, place, species=load_species())'], [1]),
    (['birds = load_species()', 'birds = birds_of(photographs())', 'read_folder(photographs(), birds)'], []),
    (['birds = load_species()', 'paint_folder(folder, [bird.german for bird in birds])', 'len(photographs())'], []),
    ([f'{KEEPS}\nread_folder(photographs(), load_species())', f'#| slow\n{KEEPS}\nread_folder(photographs(), load_species())'], [])])
def test_a_chapter_that_took_the_74_would_be_found(cells, found):
    assert list(takes_the_74((i, 'code', text) for i, text in enumerate(cells))) == found


@pytest.mark.parametrize('chapter', [name for name, cells in BOOK.items() if kept(cells) and name != '90_testing'])
def test_what_keeps_to_the_74_says_so(chapter):
    "In its section, before the cell; and the chapter on paintings names the chapter"
    prose, told = '', False
    for id, kind, text in BOOK[chapter]:
        if kind == 'markdown': prose = text if re.search(r'(?m)^## ', text) else prose+text
        elif is_kept(text): assert SAYS in prose and told, id
        else: told = told or 'keep_to_the_74(' in text
    listed = next(text for _, kind, text in BOOK['90_testing'] if kind == 'markdown' and 'With birds of your own' in text)
    assert f'({chapter}.ipynb)' in listed


# --- With another list

@pytest.fixture(scope='module')
def mine(tmp_path_factory):
    "Four birds that are none of the 74, and nothing beside them"
    folder = tmp_path_factory.mktemp('mine')
    (folder/'species.csv').write_text(LIST, encoding='utf-8')
    for bird, model in LOOKS_LIKE.items():
        (folder/bird).mkdir()
        for n in range(7): paint_bird(model, n).save(folder/bird/f'{n}.jpg')
    return folder


def run(monkeypatch, photographs, place, cells):
    "What these cells print, one after the other in a fresh kernel"
    (place/'nbs').mkdir(exist_ok=True)
    monkeypatch.setenv('BIRDCLF_PHOTOS', str(photographs))
    monkeypatch.setenv('PYTHONPATH', str(ROOT), prepend=os.pathsep)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    NotebookClient(notebook, timeout=4*PATIENCE, resources=dict(metadata=dict(path=str(place/'nbs')))).execute()
    def text(output): return output.get('text') or output.get('data', {}).get('text/markdown', '')
    return [''.join(map(text, cell.outputs)) for cell in notebook.cells]


def test_what_keeps_to_the_74_is_passed_over(monkeypatch, tmp_path, mine):
    "With one sentence, in every chapter"
    telling = ['from birdclf.testing import keep_to_the_74\nkeep_to_the_74()']
    cells = [text for name, cells in BOOK.items() if name != '90_testing' for _, text in kept(cells)]
    assert len(cells) > 40
    assert {said.strip() for said in run(monkeypatch, mine, tmp_path, telling+cells)[1:]} == {PASSED}


def slow(chapter, until=None):
    "What runs before the slow cells of a chapter, and those that do not keep to the 74, up to one of them"
    for id, kind, text in BOOK[chapter]:
        if kind == 'code' and '#| slow' in text and not is_kept(text): yield text
        if id == until: return


def module(name): return f'import birdclf.{name}\nglobals().update(vars(birdclf.{name}))\n'


def test_a_model_is_made_judged_and_its_birds_mixed_up(monkeypatch, tmp_path, mine):
    "Exporting, judging and tips, one after the other; nothing of it goes where the model lies that ships"
    pytest.importorskip('timm')
    from birdclf.backbone import weights_folder
    if not (weights_folder()/'inat_bird_labels.txt').exists(): pytest.skip('the weights of the default backbone are not here')
    setting = 'from dataclasses import replace\nimport numpy as np\nfrom IPython.display import Markdown\nfrom birdclf.frontend import Thing\n'
    parts = [[module('export'), *slow('43_export')], [module('evaluate')+setting, *slow('44_evaluate', until='5d0e0502')],
             [module('tips')+setting, *slow('55_tips')]]
    made, judged, tips = (run(monkeypatch, mine, tmp_path, cells) for cells in parts)
    assert 'photographs of 4 of 4 species' in made[1] and (tmp_path/'runs'/'bundle'/'bundle.json').exists()
    said = ' '.join(judged)
    assert '28 sources' in said and 'Named right' in said and 'Traceback' not in said and 'nan' not in said
    assert 'of 84 answers about 28 photographs were wrong' in tips[-1]

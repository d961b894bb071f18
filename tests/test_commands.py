"Every command that the book shows: run in an empty folder, with an internet that stays on this machine, or tried by another test"
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_page import served

import birdclf.cli # noqa: F401 (which registers the verbs)
from birdclf.catalogue import catalogue
from birdclf.command import make_parser
from birdclf.replay import Replay
from birdclf.species import SpeciesList, load_species
from birdclf.testing import PATIENCE, paint_bird, paint_scene

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sys.executable).parent
CHAPTERS = sorted((ROOT/'nbs').glob('*.ipynb'))
LANGUAGES = '', 'bash', 'console', 'sh', 'shell' # Of a fenced block that shows commands; '' is one that does not say

# By the beginning of a block: who tries it, or why nobody does
ELSEWHERE = {
    'index: make app # ': 'test_book.py asks make for each; this whole run is `make test-all`, and CI makes the book',
    'index_de: make app # ': 'the same two, in German',
    'index: py -m venv': 'test_pythons.py installs with these lines',
    '59_counter: curl': 'the chapter sends the same request itself, as does test_counter.py',
    '69_own_birds: python3 -m venv': 'these tests run in what these lines install',
    '69_own_birds: birdclf species': 'test_own_birds.py types all of them',
    '70_deploy: docker build': 'test_deploy.py makes what the container is made of; Docker itself is not here',
    '70_deploy: az group': 'test_deploy.py reads the template; Azure is not here',
    '70_deploy: apt-get install': 'test_deploy.py and test_proxies.py start what these lines install; no test is root on a machine of its own',
    '71_openapi: curl': 'the chapter runs all of its examples',
}


def prose(chapter): return [''.join(cell['source']) for cell in json.loads(chapter.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == 'markdown']


def blocks(text):
    "The blocks of commands in Markdown: indented by four blanks after an empty line, or fenced"
    for language, body in re.findall(r'^```(\w*)\n(.*?)^```', text, re.M | re.S):
        if language in LANGUAGES: yield body.strip('\n').splitlines()
    text = re.sub(r'^(```|:::).*?^\1', '', text, flags=re.M | re.S)
    for block in re.findall(r'(?:\A|\n\n)((?:    \S.*(?:\n|\Z))+)', text): yield [line[4:] for line in block.splitlines()]


def shown():
    "Every block of the book, by its chapter and its first line"
    return {f'{chapter.stem}: {" ".join(block[0].removeprefix("$ ").split())}': block for chapter in CHAPTERS for text in prose(chapter) for block in blocks(text)}


def here():
    "The blocks that are nobody else's, and so are run here"
    return {name: [line.removeprefix('$ ').removeprefix('.venv-app/bin/') for line in block] for name, block in shown().items() if not name.startswith(tuple(ELSEWHERE))}


@pytest.fixture
def folder(tmp_path):
    "With three birds to gather and two pictures to name"
    (tmp_path/'three.csv').write_text('scientific,english,german\nTurdus merula,Eurasian Blackbird,Amsel\nErithacus rubecula,European Robin,Rotkehlchen\n'
                                      'Parus major,Great Tit,Kohlmeise\n', encoding='utf-8')
    paint_bird('Amsel', 1, size=(640, 480)).save(tmp_path/'blackbird.jpg', quality=92)
    paint_scene('cat', 0, size=(640, 480)).save(tmp_path/'cat.jpg', quality=92)
    return tmp_path


def typed(folder, command, **environment):
    "What a command says that ends well; a page is opened and left again"
    environment = {**os.environ, 'PATH': f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}", 'OMP_NUM_THREADS': '1', **environment}
    if re.fullmatch(r'birdclf (app|clean)\b.*', command):
        with served(folder/'page.txt', SCRIPTS/'birdclf', *shlex.split(command)[1:], '--port', cwd=folder, env=environment) as (address, _): return address
    done = subprocess.run(shlex.split(command), cwd=folder, capture_output=True, text=True, encoding='utf-8', env=environment, timeout=10*PATIENCE)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert 'Traceback' not in done.stderr, (command, done.stderr)
    return done.stdout


def test_no_block_is_forgotten():
    "A new one is run here, or somebody says who tries it; and who is said to do so still has something to try"
    names = shown()
    assert [name for name in ELSEWHERE if not any(found.startswith(name) for found in names)] == []
    programs = {line.split()[0] for block in here().values() for line in block}
    assert programs <= {'birdclf', 'make'}, programs
    assert [name for name, block in here().items() if 'make' in {line.split()[0] for line in block} and block[0] != 'make app'] == []


@pytest.mark.parametrize('name', here())
def test_a_block_does_what_it_says(name, folder):
    birds = load_species()
    three = SpeciesList(birds.find(bird) for bird in ('Amsel', 'Rotkehlchen', 'Kohlmeise'))
    typed(folder, 'birdclf species three.csv --use')
    with Replay(catalogue(three, 4)) as world:
        said = {line: typed(folder, line, BIRDCLF_REPLAY=world.base, BIRDCLF_CONTACT='ida@example.org') for line in here()[name] if line != 'make app'}
    for line, words in said.items(): # What the front page prints below its first command is what that says today
        outputs = [''.join(output.get('text', '')) for cell in json.loads((ROOT/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells'] for output in cell.get('outputs', [])]
        for output in outputs:
            if output.startswith(f'$ {line}\n'): assert output.split('\n', 1)[1].strip() == words.strip()


VERBS = next(action.choices for action in make_parser()._actions if action.choices) # Each with a parser of its own
EXERCISES = {'best', 'sort', 'thanks'} # Verbs that an exercise asks you to write
SPANS = sorted({(chapter.stem, span) for chapter in CHAPTERS for text in prose(chapter) for span in re.findall(r'`(birdclf [a-z][^`]*)`', text)})


@pytest.mark.parametrize('chapter, span', SPANS, ids=lambda value: value)
def test_a_command_in_a_sentence_exists(chapter, span):
    "Its verb and its options; what stands for the reader's own is not looked at"
    verb, *words = span.removeprefix('birdclf ').split()
    assert (verb in VERBS) != (verb in EXERCISES)
    if verb in EXERCISES: return
    help = VERBS[verb].format_help()
    assert [word for word in words if word.startswith('--') and not re.search(rf'{re.escape(word.partition("=")[0])}\b', help)] == []

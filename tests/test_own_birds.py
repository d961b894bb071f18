"From an empty folder to a page in a browser, by the commands of the chapter on your own birds, which are read from it"
import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_clean_page import Cleaner
from test_page import Visitor, browser, file_of, served  # noqa: F401 (a fixture)

from birdclf.backbone import weights_folder
from birdclf.catalogue import catalogue
from birdclf.manifest import Manifest
from birdclf.photo import open_photo
from birdclf.replay import Replay
from birdclf.species import load_species
from birdclf.testing import NORTHERN, PATIENCE, paint_bird, paint_folder, paint_scene

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = json.loads((ROOT/'nbs'/'69_own_birds.ipynb').read_text(encoding='utf-8'))['cells']
CELLS = [''.join(cell['source']) for cell in CHAPTER]
[LIST] = [cell.split("'''")[1] for cell in CELLS if cell.startswith("LIST = '''")]
[SIDE_ROADS] = [cell for cell in CELLS if '## Side roads' in cell]
COMMANDS = re.findall('(?m)^    (birdclf .*)', next(cell for cell in CELLS if '## Ten commands' in cell))
SCRIPTS = Path(sys.executable).parent
ENGLISH = {'Fieldfare': 'Turdus pilaris', 'Black Grouse': 'Lyrurus tetrix', 'Brown Creeper': 'Certhia americana', 'Lesser Whitethroat': 'Curruca curruca',
           'Meadow Pipit': 'Anthus pratensis', 'Red-breasted Merganser': 'Mergus serrator', 'Reed Warbler': 'Acrocephalus scirpaceus',
           'Whitethroat': 'Curruca communis', 'Willow Tit': 'Poecile montanus'}


@pytest.fixture
def home(tmp_path):
    "An empty folder, on a machine that has the pretrained network"
    pytest.importorskip('torch')
    if not (weights_folder()/'inat_bird_labels.txt').exists(): pytest.skip('the weights of the default backbone are not here')
    return tmp_path


def typed(home, command, **environment):
    "What a command says that ends well"
    environment = {**os.environ, 'PATH': f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}", 'OMP_NUM_THREADS': '1', **environment} # Others are at work
    done = subprocess.run(shlex.split(command), cwd=home, capture_output=True, text=True, encoding='utf-8', env=environment, timeout=10*PATIENCE)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert 'Traceback' not in done.stderr, done.stderr
    return done.stdout


def row_of(home, path):
    with Manifest(home/'data') as manifest: return next(row.id for row in manifest.rows() if row.path.endswith(path))


def clean(home, browser, command, wrong):
    "An evening in short: what is `wrong` is dropped, by a path and the key that says why; the rest is kept"
    with served(home/'clean.txt', SCRIPTS/'birdclf', *shlex.split(command)[1:], '--port', cwd=home) as (address, _):
        cleaner = Cleaner(browser, address)
        cleaner.show(state='all')
        for path, key in wrong.items():
            photo = row_of(home, path)
            while not cleaner.page.query_selector(f'.cl-tile[data-id="{photo}"]'):
                cleaner.press('n')
                cleaner.turned(cleaner.number()+1)
            cleaner.page.click(f'.cl-tile[data-id="{photo}"]')
            cleaner.press(key)
            cleaner.settled()
        cleaner.leave()


def ask(home, browser, command, photos, **options):
    "What the page says to each of some photographs: headline and sentence, and its title"
    with served(home/'page.txt', SCRIPTS/'birdclf', *shlex.split(command)[1:], '--port', cwd=home) as (address, _):
        visitor, said = Visitor(browser, address, **options), []
        for photo in photos:
            visitor.choose(photo if isinstance(photo, tuple) else ('new.jpg', photo))
            said.append(visitor.page.inner_text('.bc-page').replace('\xa0', ' '))
        title = visitor.page.title()
        visitor.leave()
    return title, said


def listed(home, lines): (home/'finnish.csv').write_text(lines, encoding='utf-8')


def twelve(home):
    "Painted ones, in folders that a Finn has named, with a robin among the fieldfares and a cat among the cranes; what is wrong, and a new photograph"
    listed(home, LIST)
    names = {english: finnish for _,finnish,english in (line.split(',') for line in LIST.splitlines()[1:])}
    for english, finnish in names.items():
        for seed in range(8):
            path = home/'photos'/finnish/f'IMG_{seed:04}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            paint_bird(english, seed, size=(320, 240)).rotate(3*seed-12).crop((30+seed, 25, 270+seed, 205)).save(path, quality=92)
    paint_bird('Rotkehlchen', 8).save(home/'photos'/'räkättirastas'/'IMG_0008.jpg')
    paint_scene('cat', 8).save(home/'photos'/'kurki'/'IMG_0008.jpg')
    return {'räkättirastas/IMG_0008.jpg': '5', 'kurki/IMG_0008.jpg': '4'}, file_of(paint_bird('Siberian Jay', 99, size=(640, 480))), ('kuukkeli', 'Perisoreus infaustus')


def real(home, birds):
    "Real ones, of every other bird that there are seven photographs of; one is left out, to be asked about"
    listed(home, 'scientific,fi,english\n'+''.join(f"{scientific},{'kenttälintu' if english == 'Fieldfare' else ''},{english}\n" for english, scientific in ENGLISH.items()))
    for folder in (folder for folder in birds.iterdir() if len(list(folder.glob('*'))) >= 7):
        (home/'photos'/folder.name).mkdir(parents=True)
        for path in folder.glob('*'): (home/'photos'/folder.name/path.name).write_bytes(path.read_bytes())
    assert len(list((home/'photos').iterdir())) == len(ENGLISH)
    left = sorted((home/'photos'/'Fieldfare').glob('*'))[-1]
    new = left.read_bytes()
    left.unlink()
    return {}, new, ('kenttälintu', 'Turdus pilaris')


def test_there_are_ten_commands():
    assert [shlex.split(command)[1] for command in COMMANDS] == ['species', 'import', 'verify', 'suspect', 'clean', 'split', 'export', 'train', 'evaluate', 'app']


def test_each_is_shown_with_what_it_says_and_columns_are_tables():
    outputs = [output for cell in CHAPTER for output in cell.get('outputs', ())]
    said = '\n'.join(''.join(output.get('text', '')) + ''.join(output.get('data', {}).get('text/markdown', '')) for output in outputs)
    assert [command for command in COMMANDS if not re.search(rf'(?m)^\$ {re.escape(command)}', said)] == []
    assert re.search(r'(?m)^\| Named right \|', said) and re.search(r'(?m)^\| 74 × 100 = 7,400 \|', said)
    assert not re.search(r'(?m)^ *Named right {2,}', said) # It would not fit a telephone
    assert sum(any(kind.startswith('image/') for kind in output.get('data', ())) for output in outputs) >= 5


@pytest.mark.parametrize('kind', ['painted', 'real'])
def test_from_an_empty_folder_to_a_page(home, browser, request, kind):
    wrong, new, (name, scientific) = twelve(home) if kind == 'painted' else real(home, request.getfixturevalue('shared')/'birds'/'other_birds')
    cat, robin = file_of(paint_scene('cat', 99, size=(640, 480))), file_of(paint_bird('Rotkehlchen', 99, size=(640, 480)))
    said, typed_next = {}, None
    for command in COMMANDS:
        verb = shlex.split(command)[1]
        if typed_next: assert shlex.split(typed_next)[1] == verb, (typed_next, command) # Each says what comes next
        if verb == 'clean': clean(home, browser, command, wrong)
        elif verb == 'app': title, pages = ask(home, browser, command, [new, cat, robin], locale='fi-FI')
        else: said[verb] = typed(home, command)
        typed_next = next(iter(re.findall('(?m)^Next: (birdclf .*)$', said.get(verb, ''))), None)
    assert name in pages[0] and scientific in pages[0], pages[0] # In the visitor's language, which is neither English nor German
    assert 'Not a bird' in pages[1] and name not in pages[2].split('\n')[0], pages[1:]
    n = {side: int(count) for side, count in zip(('train', 'test'), re.search(r': (\d+) to train, (\d+) to test', said['split']).groups())}
    assert f"{n['test']} photographs ({n['test']} of its birds)" in said['evaluate'] and 'WARNING' not in said['evaluate']
    assert float(re.search(r'Named right +([\d.]+) %', said['evaluate']).group(1)) >= 70, said['evaluate']
    if wrong: assert {'other_birds', 'not_bird'} <= {path.name for path in (home/'mine').iterdir()}
    if kind == 'painted': afterwards(home, said, name)


def afterwards(home, said, name):
    "What else one may type: the next step of each, word for word; and status, bundle, classify"
    assert typed(home, re.search('(?m)^Next, to learn from both sides: (.*)$', said['evaluate']).group(1)).splitlines()[-1] == 'Next: birdclf app --bundle runs/bundle'
    assert 'WARNING: this model has learned from' in typed(home, 'birdclf evaluate mine --on test --bundle runs/bundle')
    assert name in typed(home, 'birdclf status') and 'is whole' in typed(home, 'birdclf bundle runs/bundle')
    photo = next((home/'photos').rglob('*.jpg'))
    answer = json.loads(typed(home, f'birdclf classify --json --language fi --bundle runs/bundle {shlex.quote(str(photo))}'))
    birds = {row['scientific'] for row in csv.DictReader((home/'finnish.csv').open(encoding='utf-8'))}
    assert {one['scientific'] for one in answer['candidates']} <= birds
    assert '0 are new' in (again := typed(home, 'birdclf import photos')) or 'in the manifest now; ' in again


def test_the_side_roads(tmp_path):
    "Names in a language of one's own, and no photographs: as the chapter says it, with an internet that stays on this machine"
    commands = re.findall('`(birdclf (?:species|search|download|status).*?)`', SIDE_ROADS)
    assert [shlex.split(command)[1] for command in commands] == ['species', 'search', 'download', 'search', 'status']
    (tmp_path/'names.txt').write_text('talitiainen\nharakka\nkurki\n', encoding='utf-8')
    birds = load_species()
    with Replay(catalogue(birds, 2)) as world:
        there = dict(BIRDCLF_REPLAY=world.base, BIRDCLF_CONTACT='ida@example.org')
        assert 'talitiainen' in typed(tmp_path, commands[0], **there) and (tmp_path/'mine.csv').exists()
        assert 'Finland' in typed(tmp_path, f'{commands[3]} --place Finland --bird Amsel', **there)
        assert 'Next: birdclf download' in typed(tmp_path, f'{commands[1]} --want 2 --bird Amsel', **there)
        assert 'Next: birdclf verify' in typed(tmp_path, commands[2], **there)
        assert 'Amsel' in typed(tmp_path, commands[4], **there)


def road(home, name, more=''):
    "The middle of the road, without the cleaning: from photographs to a model"
    for command in (f'birdclf species {name} --use', 'birdclf import photos --license mine', 'birdclf verify', 'birdclf split', 'birdclf export mine'): typed(home, command)
    return typed(home, f'birdclf train --photos mine --on both --bundle own {more}')


def test_a_portuguese_list_without_german_names(home, browser):
    birds = {'Fieldfare': ('Turdus pilaris', 'Tordo-zornal'), 'Pine Grosbeak': ('Pinicola enucleator', 'Pintarroxo-de-bico-grosso'),
             'Western Yellow Wagtail': ('Motacilla flava', 'Alvéola-amarela'), 'Whooper Swan': ('Cygnus cygnus', 'Cisne-bravo')}
    (home/'aves.csv').write_text('scientific;pt\n'+''.join(f'{scientific};{name}\n' for scientific, name in birds.values()), encoding='utf-8')
    for english, (_, name) in birds.items():
        (home/'photos'/name).mkdir(parents=True)
        for seed in range(8): paint_bird(english, seed).rotate(4*seed-12).crop((30+seed, 25, 270+seed, 205)).save(home/'photos'/name/f'{seed}.jpg', quality=92)
    road(home, 'aves.csv')
    photo = file_of(paint_bird('Pine Grosbeak', 99, size=(640, 480)))
    for locale, language in (('pt-BR', 'pt'), ('de-AT', None)):
        _, [said] = ask(home, browser, 'birdclf app --bundle own', [photo], locale=locale)
        assert 'Pintarroxo-de-bico-grosso' in said or language is None, said
        assert 'Pinicola enucleator' in said and 'Turdus pilaris' in said # All of its birds stand at the end
    (home/'new.jpg').write_bytes(photo)
    assert 'Pintarroxo-de-bico-grosso (Pinicola enucleator)' in typed(home, 'birdclf classify new.jpg --bundle own --language pt')


def test_two_kinds_of_dogs(home, browser, shared):
    "Real ones, from those that are no birds; asked about a third of each kind that it has not seen, and about a bird"
    lines = [row for row in csv.DictReader((shared/'birds'/'metadata.csv').open(encoding='utf-8')) if row['path'].startswith('not_bird/dog/')]
    kinds = {kind: [row['path'] for row in lines if kind in row['source_path'].lower()] for kind in ('dalmatian', 'terrier')}
    assert all(len(paths) >= 9 for paths in kinds.values())
    (home/'dogs.csv').write_text('scientific,english\nCanis dalmatian,Dalmatian\nCanis terrier,Terrier\n', encoding='utf-8')
    asked = []
    for kind, paths in kinds.items():
        (home/'photos'/kind).mkdir(parents=True)
        for path in paths[3:]: (home/'photos'/kind/Path(path).name).write_bytes((shared/'birds'/path).read_bytes())
        asked += [(f'{kind}.jpg', (shared/'birds'/path).read_bytes()) for path in paths[:3]]
    birds_said = subprocess.run([SCRIPTS/'birdclf', 'train', '--photos', 'photos', '--species', 'dogs.csv', '--bundle', 'own'], cwd=home, capture_output=True, text=True, timeout=10*PATIENCE)
    assert birds_said.returncode == 2 and '--kind dogs' in birds_said.stderr and not (home/'own').exists()
    road(home, 'dogs.csv', '--kind dogs')
    bird = file_of(open_photo(next((shared/'birds'/'species'/'Kiebitz').iterdir())).image)
    title, said = ask(home, browser, 'birdclf app --bundle own', [*asked, ('bird.jpg', bird)])
    assert 'bird' not in title.lower().replace('birdclf', '')
    assert not any('bird' in page.lower().replace('birdclf', '') for page in said), said
    named = [name.removesuffix('.jpg').capitalize() in page.split('Cannot')[0] for (name, _), page in zip(asked, said)]
    assert sum(named) >= 4 and 'None of these' in said[-1], said

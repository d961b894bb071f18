"Strangers that are lent, sides of what was split, photographs that a model knows again, and a bar in a file"
import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from birdclf import command
from birdclf.cli import main
from birdclf.command import progress
from birdclf.folder import NOT_BIRD, OTHER_BIRD, PhotosError, Record, on_side, read_folder
from birdclf.species import Species, SpeciesList, load_species
from birdclf.testing import PATIENCE, paint_folder

PACKAGE = Path(command.__file__).parent
NAMES = 'Amsel', 'Pirol', 'Stockente', 'Blaumeise'


def birds(*names): return SpeciesList(load_species().find(name) for name in names)


def photographs(folder, split=True, n=6):
    "Painted birds, half of each on either side, and noise of sixteen kinds"
    paint_folder(folder/'species', NAMES, n=n, size=(120, 90))
    rng = np.random.default_rng(0)
    for kind in (folder/part/f'kind {k}' for part in ('other_birds', 'not_bird') for k in range(8)):
        kind.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(kind/'1.jpg')
    with open(folder/'metadata.csv', 'w', encoding='utf-8', newline='') as file:
        csv.writer(file).writerows([('path', 'split'), *((f'species/{name}/{k}.jpg', ('train', 'test')[k % 2] if split else '') for name in NAMES for k in range(n))])
    return folder


# --- lent ones

def test_what_ships_is_numbers_and_small():
    path = PACKAGE/'data'/'strangers.npz'
    with np.load(path, allow_pickle=False) as found: vectors, groups = found['vectors'], found['groups'].tolist()
    assert path.stat().st_size < 500_000 and vectors.dtype == np.uint8 and vectors.shape == (len(groups), 1280)
    names = [group.removeprefix('other_birds/') for group in groups if group.startswith('other_birds/')]
    assert len(names) == len(set(names)) > 140 and all(len(name.split()) >= 2 for name in names)
    assert len(groups)-len(names) == 300 and len({group for group in groups if group.startswith('not_bird/')}) == 8


def test_a_bird_on_the_list_is_never_lent_as_a_stranger():
    pytest.importorskip('torch')
    from birdclf.strangers import strangers_for
    from birdclf.train import Recipe
    anybody = SpeciesList([Species('x', 'x', 'Nova avis')])
    everybody = [r.group.partition('/')[2] for r in strangers_for(anybody, Recipe()).records if r.species == OTHER_BIRD]
    for n, name in enumerate(everybody[::5]):
        mine = (Species('x', 'x', f'Novogenus {name.split()[1]}'), Species('x', 'x', 'Nova avis', (name,)), Species('x', 'x', name))[n % 3]
        assert name not in {r.group.partition('/')[2] for r in strangers_for(SpeciesList([mine]), Recipe()).records}, mine
    assert not {bird.scientific for bird in load_species()} & {r.group.partition('/')[2] for r in strangers_for(load_species(), Recipe()).records}


def test_lent_strangers_are_known_as_strangers():
    "By numbers alone: three groups of made-up birds, far from everything; the lent things stay apart from them"
    pytest.importorskip('torch')
    from birdclf.backbone import BACKBONES, weights_folder
    from birdclf.strangers import strangers_for
    from birdclf.train import Embedded, Recipe, answers_of, ready
    if not (weights_folder()/'inat_bird_labels.txt').exists(): pytest.skip('the weights of the default backbone are not here')
    assert 'mobilenetv2-inat' in BACKBONES
    mine, rng = birds(*NAMES[:3]), np.random.default_rng(0)
    lent = strangers_for(mine, Recipe())
    known, asked = lent[np.arange(len(lent.records)) % 5 > 0], lent[np.arange(len(lent.records)) % 5 == 0]
    centres = rng.gamma(.4, .5, (3, 1, 1280)).clip(max=6)
    looks = (centres+rng.gamma(.4, .1, (3, 12, 1280))).astype(np.float32).reshape(36, 1, 1280).repeat(6, 1)
    own = Embedded([Record(Path(f'{n}.jpg'), NAMES[n//12], str(n)) for n in range(36)], looks, [])
    head = ready(own+known, mine, Recipe()).get_classifier()
    said = answers_of(head, asked.embeddings, Recipe()).argmax(1)
    truth = np.array([3 if r.species == OTHER_BIRD else 4 for r in asked.records])
    assert (said >= 3).all() and (said == truth).mean() > .9 and (answers_of(head, looks, Recipe()).argmax(1) == np.repeat(range(3), 12)).all()


def test_nothing_is_lent_to_other_networks_and_that_is_said_loudly(tmp_path):
    pytest.importorskip('torch')
    from birdclf.strangers import lend
    from birdclf.train import Recipe
    paint_folder(tmp_path/'species', NAMES[:2], n=1)
    records = read_folder(tmp_path, birds(*NAMES))
    for recipe in (Recipe('efficientnet-lite0'), Recipe(epochs=2)):
        lent, sentence = lend(records, birds(*NAMES), recipe)
        assert lent is None and sentence.startswith('WARNING: there is no other_birds/') and 'no not_bird/' in sentence
    lent, sentence = lend(records, birds(*NAMES), Recipe())
    assert {r.species for r in lent.records} == {OTHER_BIRD, NOT_BIRD} and 'are lent to this training' in sentence
    assert lend([*records, *(Record(Path(f'{n}'), (OTHER_BIRD, NOT_BIRD)[n % 2], f'{n}') for n in range(200))], birds(*NAMES), Recipe()) == (None, '')


# --- sides

def test_every_photograph_is_on_one_side_and_no_kind_of_stranger_on_both(tmp_path):
    records = read_folder(photographs(tmp_path), birds(*NAMES))
    training, test = on_side(records, 'training'), on_side(records, 'test')
    assert on_side(records, 'both') == records and sorted(map(str, (r.path for r in training+test))) == sorted(map(str, (r.path for r in records)))
    assert not {r.group for r in training} & {r.group for r in test}
    assert {r.split for r in training if r.species in NAMES} == {'train'} and {r.split for r in test if r.species in NAMES} == {'test'}
    again = on_side(read_folder(tmp_path, birds(*NAMES)), 'test')
    assert again == test


@pytest.mark.parametrize('command', [['evaluate', 'photos', '--on', 'test'], ['train', '--photos', 'photos', '--on', 'training']])
def test_sides_that_nobody_has_said_are_refused_at_once(tmp_path, monkeypatch, capsys, command):
    if command[0] == 'train': pytest.importorskip('torch')
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path/'photos', split=False)
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert 'birdclf split' in err and err.count('\n') == 1 and out == '' and not (tmp_path/'report.html').exists()
    with pytest.raises(PhotosError): on_side(read_folder('photos', birds(*NAMES)), 'test')


def test_a_model_is_judged_by_what_it_has_not_seen_and_says_so(tmp_path, monkeypatch, capsys):
    "Learned from one side, asked about the other, then about both: the command and the page warn, and the card counts"
    pytest.importorskip('torch')
    from birdclf.bundle import has_seen, load_bundle
    from birdclf.export import make_model
    from birdclf.train import Recipe
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path/'photos')
    tiny = Recipe(backbone='efficientnet-lite0', size=64, views=(1.125,), asked=1)
    make_model(Path('photos'), Path('bundle'), species=birds(*NAMES), recipe=tiny, runs=Path('runs'), seeds=(0,), side='training')
    bundle, sides = load_bundle('bundle'), {side: on_side(read_folder('photos', birds(*NAMES)), side) for side in ('training', 'test')}
    assert has_seen(bundle, [r.path for r in sides['training']]) == [True]*len(sides['training']) and bundle.training['side'] == 'training'
    assert has_seen(bundle, [r.path for r in sides['test']]) == [False]*len(sides['test'])
    capsys.readouterr()
    for side, seen in (('test', 0), ('training', len(sides['training'])), ('both', len(sides['training']))):
        assert main(['evaluate', 'photos', '--bundle', 'bundle', '--on', side]) == 0
        out, page = capsys.readouterr().out, Path('report.html').read_text(encoding='utf-8')
        assert out.startswith('WARNING: this model has learned from') == bool(seen)
        assert (f'learned from {seen} of these' in out and f'learned from {seen} of these' in page) if seen else 'None of these files is one' in page
        assert ('birdclf train --photos photos --on both --bundle bundle --backbone efficientnet-lite0' in out) == (side == 'test')


def test_whoever_does_not_know_says_so(tmp_path, monkeypatch, capsys):
    "A bundle from before, and one that is out of order"
    from dataclasses import replace

    from birdclf.bundle import has_seen, load_bundle
    bundle = load_bundle()
    for training in ({}, dict(learned=None), dict(learned='not base64!')): assert has_seen(replace(bundle, training=training), [tmp_path/'x']) is None


@pytest.mark.parametrize('typed, said, following', [
    ([], 'Both sides of what was split are learned from', "Next: birdclf app --bundle 'my model'"),
    (['--on', 'both'], '', "Next: birdclf app --bundle 'my model'"),
    (['--on', 'training'], '', "Next: birdclf evaluate 'my photos' --on test --bundle 'my model'")])
def test_the_next_step_is_one_that_can_be_copied(tmp_path, monkeypatch, capsys, typed, said, following):
    "And whoever learns from both sides has said so, or is told"
    pytest.importorskip('torch')
    from birdclf import export
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path/'my photos', n=4)
    monkeypatch.setattr(export, 'rank_distrib', lambda: 1)
    for name in ('look_at', 'cross_validate', 'judge', 'train', 'show_figures', 'licenses_of'): monkeypatch.setattr(export, name, lambda *given, **more: Nothing())
    assert main(['train', '--photos', 'my photos', '--bundle', 'my model', '--backbone', 'efficientnet-lite0', *typed]) == 0
    out = capsys.readouterr().out
    assert (out.startswith(said) if said else 'Both sides' not in out) and out.splitlines()[-1] == following


class Nothing:
    "What a step gives that was not taken"
    records, problems, figures = [Record(Path('1.jpg'), 'Amsel', '1')], [], []
    def __getitem__(self, rows): return self


# --- a bar in a file

def test_a_file_gets_lines_and_a_quick_step_none(monkeypatch, capsys):
    pytest.importorskip('tqdm')
    for _ in progress(range(5), desc='quickly'): pass
    assert capsys.readouterr().err == ''
    monkeypatch.setattr(command, '_WAIT', 0)
    with progress(total=3, desc='slowly', unit=' photos') as left:
        for _ in range(3): left.update()
    lines = capsys.readouterr().err.split('\n')
    assert any(line.startswith('slowly') and '3/3' in line for line in lines) and not any('\r' in line or '\x1b' in line for line in lines)


def test_nothing_of_training_is_loaded_to_evaluate():
    code = "import sys; from birdclf.command import main; import birdclf.cli\ntry: main(['evaluate', '--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules and 'birdclf.strangers' not in sys.modules"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, timeout=PATIENCE).returncode == 0


# --- not birds

def of_dogs(**changes):
    from dataclasses import replace

    from birdclf.bundle import load_bundle
    bundle = load_bundle()
    return replace(bundle, training=bundle.training | dict(kind='dogs'), **changes)


def test_what_is_no_bird_is_not_called_one():
    "Where a model for birds says that it is another bird, or none, one for dogs says that it is none of these, in both languages"
    from birdclf.bundle import load_bundle
    from birdclf.classify import decide
    bundle, logits = load_bundle(), np.linspace(9, 0, 74)
    for scores, usual in (((-9., 9.), 'not_bird'), ((9., -9.), 'other_bird'), ((9., 9.), None)):
        answer, said = decide(of_dogs(), logits, np.array(scores)), decide(bundle, logits, np.array(scores))
        if usual is None: assert answer == said
        else: assert (said.verdict, answer.verdict, answer.species) == (usual, 'none_of_these', None)
    answer = decide(of_dogs(), logits, np.array((-9., 9.)))
    for language, words in (('en', 'None of these'), ('de', 'Nichts davon')): assert answer.sentence(language).startswith(words)
    assert answer.to_dict()['verdict'] == 'none_of_these'


@pytest.mark.parametrize('odd', ['', 'x'*41, 'a\nb', 7, None])
def test_a_kind_that_is_no_word_is_birds(odd):
    from dataclasses import replace

    from birdclf.bundle import load_bundle
    bundle = load_bundle()
    assert bundle.kind == 'birds' and of_dogs().kind == 'dogs' and replace(bundle, training=dict(kind=odd)).kind == 'birds'


def test_the_page_says_what_it_knows():
    pytest.importorskip('anywidget')
    from birdclf.app import BirdPage
    from birdclf.classify import Classifier
    from birdclf.session import Session
    page = BirdPage(Session(Classifier(of_dogs())))
    words = page.words
    assert 'dogs' in words['lead']['en'] and 'dogs' in words['lead']['de'] and 'dogs' in words['known']['en'] and page.samples == []
    shown = [text for key in ('title', 'lead', 'touch', 'known', 'none_of_these') for text in words[key].values()]
    assert not [text for text in shown if 'bird' in text.lower() or 'vogel' in text.lower() or 'vögel' in text.lower()]
    assert not BirdPage(Session(Classifier(of_dogs(finding=None)))).explains and BirdPage(Session(Classifier.load())).explains # Nobody is offered a reason that there is not


def test_programs_are_told_what_is_named():
    pytest.importorskip('tornado')
    from birdclf.openapi import document
    said = document('/', ('en',), 'dogs')
    shown = [said['info']['description'], *(what['summary'] for path in said['paths'].values() for what in path.values())]
    assert shown[:2] == ['Names the dogs in a photograph.', 'Name the dogs in photographs'] and not [text for text in shown if 'bird' in text]


def test_what_shows_no_birds_is_refused_with_a_hint_before_the_work(tmp_path, monkeypatch, capsys):
    "Houses and cats under the names of two birds; birds under the same names are let through, and so is whoever says what it is"
    pytest.importorskip('torch')
    from birdclf import export
    from birdclf.export import check_birds
    monkeypatch.chdir(tmp_path)
    for folder, names in (('scenes', ('house', 'cat')), ('painted', NAMES[:2])): paint_folder(tmp_path/folder, names, n=6)
    for name, new in (('house', 'Amsel'), ('cat', 'Pirol')): (tmp_path/'scenes'/name).rename(tmp_path/'scenes'/new)
    assert main(['train', '--photos', 'scenes', '--bundle', 'bundle']) == 2
    out, err = capsys.readouterr()
    assert 'photographs that were looked at show no bird' in err and '--kind dogs' in err and err.count('\n') == 1 and not (tmp_path/'bundle').exists()
    check_birds(read_folder('painted', birds(*NAMES)))
    asked = []
    monkeypatch.setattr(export, 'look_at', lambda *given: asked.append(given) or sys.exit(7))
    for kind in ('dogs', 'birds'):
        with pytest.raises(SystemExit): main(['train', '--photos', 'scenes', '--bundle', 'bundle', '--kind', kind, '--backbone', 'efficientnet-lite0'])
    assert len(asked) == 2


@pytest.mark.parametrize('word', ['', 'dogs!', 'a'*41, '<b>', 'x\ty;'])
def test_a_kind_is_a_word(word, capsys):
    with pytest.raises(SystemExit): main(['train', '--photos', '.', '--kind', word])
    assert 'is no word for what is in photographs' in capsys.readouterr().err


def test_to_whoever_means_no_birds_every_bird_is_a_stranger_and_no_animal_is_lent():
    pytest.importorskip('torch')
    from birdclf.strangers import strangers_for
    from birdclf.train import Recipe
    lent = strangers_for(SpeciesList([Species('x', 'x', 'Canis lupus')]), Recipe(), 'dogs')
    assert {r.species for r in lent.records} == {NOT_BIRD} and len(lent.records) > 250
    assert not {r.group for r in lent.records} & {f'not_bird/{kind}' for kind in ('dog', 'animal', 'scene', 'drawing_plants_fish')}


def test_a_card_says_what_it_is_about():
    pytest.importorskip('torch')
    from birdclf.export import model_card
    from birdclf.train import Recipe
    dogs = SpeciesList([Species('Pudel', 'Poodle', 'Canis poodle'), Species('Dackel', 'Dachshund', 'Canis dachshund')])
    card = model_card(dogs, Recipe(), [Record(Path('1.jpg'), 'Pudel', '1'), Record(Path('2.jpg'), 'Dackel', '2')], [], '', 'dogs')
    assert card.startswith('# A network that names 2 dogs') and 'no birds' not in card and 'another bird' not in card and 'other dogs' in card


def test_a_card_counts_the_papers_of_what_was_learned_from(tmp_path):
    "In folders of their own too, as a spreadsheet on Windows wrote them, and not those of strangers or of photographs that are not there"
    pytest.importorskip('torch')
    from birdclf.export import licenses_of
    for top in ('', 'species/'):
        folder = tmp_path/f'as {top}'.strip('/ ')
        paint_folder(folder/top, NAMES[:2], n=2)
        records = read_folder(folder, birds(*NAMES))
        paths = [record.path.relative_to(folder) for record in records]
        lines = ['path,licence', f'{paths[0]},cc-by-nc-sa', f'{paths[1]},cc-by-nd'.replace('/', '\\'), f'{paths[2]},cc-by', 'not_bird/cat/1.jpg,cc-by-nd', f'{paths[0]}.jpg,cc-by-nd']
        (folder/'metadata.csv').write_text('\n'.join(lines), encoding='utf-8')
        assert licenses_of(folder, records) == ('Of the 4 photographs of the species, 1 has no known licence, 1 is ND (no changes), 1 is NC-SA (not commercial, share alike), '
                                                'and 1 has other terms.')


def test_a_card_of_ones_own_photographs_asks_for_no_proof(tmp_path):
    pytest.importorskip('torch')
    from birdclf.export import licenses_of, model_card
    from birdclf.train import Recipe
    paint_folder(tmp_path, NAMES[:2], n=2)
    records = read_folder(tmp_path, birds(*NAMES))
    paths = [record.path.relative_to(tmp_path) for record in records]
    for license, about, proof in (('own', "All photographs of the species are the photographer's own.", False),
                                  ('cc-by', "Of the 4 photographs of the species, 3 are the photographer's own, and 1 has other terms.", True)):
        (tmp_path/'metadata.csv').write_text('\n'.join(['path,license', *(f'{path},own' for path in paths[:-1]), f'{paths[-1]},{license}']), encoding='utf-8')
        assert licenses_of(tmp_path, records) == about
        card = model_card(birds(*NAMES), Recipe(), records, [], about)
        assert about in card and ('can prove' in card) == ('demonstration' in card) == proof
    assert licenses_of(tmp_path, records[-1:]) == 'Of the 1 photograph of the species, 1 has other terms.'


def test_a_report_on_dogs_speaks_of_dogs(tmp_path, monkeypatch):
    "On the console and on the page: nothing is said of birds but the names of the painted"
    from birdclf.classify import Classifier
    from birdclf.report import evaluate_folder, html_page, show_report
    monkeypatch.chdir(tmp_path)
    paint_folder(tmp_path/'photos', ('Amsel', 'Pirol'), n=2)
    for part, name in (('other_birds', 'Flamingo'), ('not_bird', 'cat')): paint_folder(tmp_path/'photos'/part, (name,), n=2)
    bundle = of_dogs(finding=None, name='74 dogs')
    report = evaluate_folder(Classifier(bundle), 'photos')
    for said in (show_report(report), re.sub(r'<style>.*?</style>|<[^>]*>|data:\S*', ' ', html_page(report), flags=re.DOTALL)):
        rest = re.sub(r'\b(other_birds|not_bird|birdclf)\b|Blackbird', '', said)
        assert not re.findall(r'.{0,40}[bB]ird.{0,20}', rest) and 'dogs' in rest and 'none of these' in rest

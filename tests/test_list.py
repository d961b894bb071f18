"The list of birds is said once: the manifest, the exported folder and the bundle know it, and every verb uses it"
import json
import os
import shutil
import tempfile
from argparse import ArgumentTypeError, Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from birdclf.bundle import load_bundle, make_bundle
from birdclf.cli import main
from birdclf.command import share
from birdclf.folder import birds_of, list_in
from birdclf.manifest import Manifest, ManifestError, Row
from birdclf.naming_verbs import _check_language
from birdclf.species import Species, SpeciesList, load_species, save_species
from birdclf.testing import paint_bird
from birdclf.training_verbs import _kind

FINNISH = 'scientific,fi,english\nParus major,talitiainen,Great Tit\nPica pica,harakka,Eurasian Magpie\nGrus grus,kurki,Common Crane\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    "An empty folder to work in, with a list of three birds and a photograph of each"
    monkeypatch.chdir(tmp_path)
    Path('linnut.csv').write_text(FINNISH, encoding='utf-8')
    for i, name in enumerate(('talitiainen', 'Harakka', 'Grus grus')):
        Path('mine', name).mkdir(parents=True)
        paint_bird('Amsel', i).save(Path('mine', name, f'{i}.jpg'))
    return tmp_path


def say(*words): return main(list(words))


def test_the_manifest_remembers_it(place, capsys):
    assert say('import', 'mine', '--species', 'linnut.csv') == 0
    assert say('status') == 0
    said = capsys.readouterr().out
    assert 'talitiainen' in said and '3 in all' in said and 'Amsel' not in said
    with Manifest('data') as manifest: assert manifest.birds() == load_species('linnut.csv')


def test_a_bird_that_is_called_as_before_is_told_by_its_scientific_name(place, capsys):
    say('import', 'mine', '--species', 'linnut.csv')
    Path('other.csv').write_text(FINNISH.replace('Parus major', 'Parus maior'), encoding='utf-8')
    capsys.readouterr()
    assert say('status', '--species', 'other.csv') == 2
    assert 'only there: Great Tit (Parus major); only here: Great Tit (Parus maior))' in capsys.readouterr().err
    Path('one.csv').write_text('scientific\nTurdus merula\n', encoding='utf-8')
    assert say('status', '--species', 'one.csv') == 2
    assert 'about 3 birds, and this is another one (only there: ' in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.access not in os.supports_effective_ids, reason='needs rights to be without')
@pytest.mark.parametrize('lent', ['folder', 'file'])
def test_a_folder_that_may_only_be_read_is_read(place, capsys, lent):
    "Somebody else's, or on a medium that takes nothing more"
    say('import', 'mine', '--species', 'linnut.csv')
    reading = ['status'], ['species'], ['search', '--plan', '--source', 'inat'], ['export', 'out']
    for words in reading: assert say(*words) == 0 # What they import is then there: perhaps nobody else may read Python either
    shutil.rmtree('out')
    everybody = [parent for parent in place.parents if parent.is_relative_to(tempfile.gettempdir()) and parent != Path(tempfile.gettempdir())]
    modes = {path: path.stat().st_mode for path in (*everybody, place, place/'data', place/'data'/'manifest.sqlite')}
    before = (place/'data'/'manifest.sqlite').read_bytes()
    try:
        for path in modes: path.chmod(0o755)
        (place/'free').mkdir(mode=0o777)
        (place/'free').chmod(0o777)
        (place/'data').chmod(0o555 if lent == 'folder' else 0o777)
        (place/'data'/'manifest.sqlite').chmod(0o444)
        if os.geteuid() == 0: os.seteuid(65534)
        capsys.readouterr()
        for words in reading[:3]: assert say(*words) == 0 and ('talitiainen' in (out := capsys.readouterr().out) or '3 birds' in out)
        assert say('export', f'{place}/free/out') == 0
        with pytest.raises(ManifestError, match='can be read here, but not written to'), Manifest('data', decide=True) as manifest: manifest.note('x', 'y')
        assert say('import', 'mine') == 2
        said = capsys.readouterr().err
        assert 'written to' in said and 'backup' not in said
    finally:
        if os.getuid() == 0: os.seteuid(0)
        for path, mode in modes.items(): path.chmod(mode)
    assert (place/'data'/'manifest.sqlite').read_bytes() == before


@pytest.mark.parametrize('verb', ['status', 'split', 'export out', 'search --plan', 'import mine', 'clean', 'download --contact ida@example.org'])
def test_another_list_is_refused_with_the_way_to_change_it(place, capsys, verb):
    say('import', 'mine', '--species', 'linnut.csv')
    Path('other.csv').write_text('scientific\nTurdus merula\nPica pica\n', encoding='utf-8')
    capsys.readouterr()
    assert say(*verb.split(), '--species', 'other.csv') == 2
    said = capsys.readouterr().err
    assert 'about 3 birds, and these 2 are others' in said and 'Turdus merula' in said and '--use --data data' in said
    with Manifest('data') as manifest: assert len(manifest.birds()) == 3


def test_the_same_birds_with_better_names_are_no_other_list(place):
    say('import', 'mine', '--species', 'linnut.csv')
    Path('better.csv').write_text(FINNISH.replace('english', 'english,sv').replace('Great Tit', 'Great Tit,talgoxe'), encoding='utf-8')
    assert say('import', 'mine', '--species', 'better.csv') == 0
    with Manifest('data') as manifest: assert manifest.birds()[0].name('sv') == 'talgoxe'


def test_no_list_is_that_of_the_book_and_is_not_copied(place):
    Path('book', 'Amsel').mkdir(parents=True)
    paint_bird('Amsel').save(Path('book', 'Amsel', '1.jpg'))
    assert say('import', 'book') == 0
    with Manifest('data') as manifest: assert manifest.birds() == load_species() and len(manifest.note('species')) < 20
    assert say('status', '--species', 'linnut.csv') == 2


def test_a_manifest_from_before(place):
    "It remembers nothing: a list that knows all its birds is believed, any other is not"
    with Manifest('data', write=True) as manifest: manifest.add([Row('Pica pica', 'folder', '1')])
    with Manifest('data', write=True) as manifest:
        with pytest.raises(ManifestError, match='another one'): manifest.birds(SpeciesList([Species('Amsel', 'Blackbird', 'Turdus merula')]))
        assert manifest.note('species') == '' and len(manifest.birds(load_species('linnut.csv'))) == 3
    with Manifest('data') as manifest: assert len(manifest.birds()) == 3


def test_one_bird_of_a_list_is_no_list(place):
    say('import', 'mine', '--species', 'linnut.csv')
    assert say('search', '--plan', '--bird', 'harakka') == 0
    with Manifest('data') as manifest: assert len(manifest.birds()) == 3


def test_an_exported_folder_says_which_birds_it_is_about(place):
    say('import', 'mine', '--species', 'linnut.csv')
    with Manifest('data', write=True) as manifest:
        for row in manifest.rows(): manifest.decide(row.id, 'keep', 'Ida')
    say('export', '--for-training', 'out')
    assert list_in('out') and birds_of('out') == load_species('linnut.csv')
    assert birds_of('mine') == load_species() and birds_of('out', 'linnut.csv') == birds_of('out')
    assert say('import', 'out', '--data', 'second') == 0
    with Manifest('second') as manifest: assert manifest.birds() == load_species('linnut.csv')


def test_a_bundle_has_all_names(bundle_parts):
    description, model, card = bundle_parts
    birds = [dict(bird, names=dict(fi=f'lintu {i}')) for i, bird in enumerate(json.loads(json.dumps(description['species'])))]
    found = make_bundle(description | dict(species=birds), model, card).species
    assert found[1].name('fi') == 'lintu 1' and found.languages[-1] == 'fi' and found[0].to_dict()['names'] == dict(fi='lintu 0')
    for wrong in (['fi'], dict(fi=7), dict(fi='')):
        with pytest.raises(ValueError): make_bundle(description | dict(species=[dict(bird, names=wrong) for bird in birds]), model, card)


@pytest.fixture
def bundle_parts():
    from birdclf.bundle import load_bundle
    folder = Path(load_bundle.__code__.co_filename).with_name('bundle')
    description = json.loads((folder/'bundle.json').read_text(encoding='utf-8'))
    return {key: value for key, value in description.items() if key not in ('format', 'model')}, (folder/'model.onnx').read_bytes(), 'a card'


def test_what_is_written_is_read_again(tmp_path):
    odd = SpeciesList([Species('Star; der', 'A, "quoted" one', 'Sturnus vulgaris', aliases=('one', 'two'), elsewhere=(('fi', 'Sturnus vulgaris'), ('pt-br', 'estorninho'))),
                       Species('Parus major', 'Parus major', 'Parus major', elsewhere=(('fi', 'talitiainen'), ('pt-br', 'Parus major')))])
    for birds in (odd, load_species()):
        save_species(birds, tmp_path/'list.csv')
        assert load_species(tmp_path/'list.csv') == birds


# --- birdclf species

@pytest.fixture
def inat(monkeypatch):
    from birdclf import taxonomy
    from birdclf.catalogue import catalogue
    from birdclf.replay import Replay
    monkeypatch.setattr(taxonomy, 'PAUSE', 0)
    with Replay(catalogue(load_species(), 1)) as world:
        for name, value in dict(BIRDCLF_REPLAY=world.base, BIRDCLF_CONTACT='ida@example.org').items(): monkeypatch.setenv(name, value)
        yield world


def test_a_list_of_names_in_finnish(place, inat, capsys):
    Path('nimet.txt').write_text('1. talitiainen\n2. Harakka\n\n# the large one\nkurki\n', encoding='utf-8')
    assert say('species', 'nimet.txt', '--into', 'made.csv') == 0
    said = capsys.readouterr().out
    assert 'languages with names: de, en, fi' in said and 'Next: birdclf species made.csv --use' in said
    assert [bird.name('fi') for bird in load_species('made.csv')] == ['talitiainen', 'harakka', 'kurki']
    assert say('species', 'nimet.txt', '--into', 'made.csv') == 2 and 'is there already' in capsys.readouterr().err
    assert say('species', 'made.csv', '--use') == 0
    capsys.readouterr()
    assert say('species') == 0 and 'kurki' in capsys.readouterr().out


def test_all_that_is_wrong_is_said_at_once(place, inat, capsys):
    Path('nimet.txt').write_text('talitiainen\nrobin\nDrachenvogel\nAmssel\n', encoding='utf-8')
    assert say('species', 'nimet.txt', '--into', 'made.csv') == 2
    said = capsys.readouterr().err
    assert '3 of 4 names' in said and 'American Robin (Turdus migratorius)' in said and 'did you mean Eurasian Blackbird' in said
    assert not Path('made.csv').exists()


def test_without_the_internet(place, monkeypatch, capsys):
    monkeypatch.setenv('BIRDCLF_CONTACT', 'ida@example.org')
    Path('names.txt').write_text('Amsel\nGreat Tit\nrobin\n', encoding='utf-8')
    assert say('species', 'names.txt', '--into', 'made.csv', '--offline') == 0
    assert [bird.german for bird in load_species('made.csv')] == ['Amsel', 'Kohlmeise', 'Rotkehlchen']
    assert load_species('made.csv')[0] == load_species().find('Amsel'), 'with all that the book knows of it'
    Path('names.txt').write_text('talitiainen\n', encoding='utf-8')
    capsys.readouterr()
    assert say('species', 'names.txt', '--into', 'other.csv', '--offline') == 2
    assert "'talitiainen' is not known without the internet" in capsys.readouterr().err
    monkeypatch.setenv('BIRDCLF_REPLAY', 'http://127.0.0.1:9') # Nobody there
    assert say('species', 'names.txt', '--into', 'other.csv') == 2
    assert 'iNaturalist cannot be asked' in capsys.readouterr().err


@pytest.mark.parametrize('body, status', [(b'', 200), (b'[]', 200), (b'{"results": 7}', 200), (b'{"results": [7, null, {"name": 3}]}', 200), (b'{', 200), (b'no', 500), (b'wait', 429)])
def test_whatever_inaturalist_says(place, monkeypatch, capsys, body, status):
    from birdclf import taxonomy
    monkeypatch.setattr(taxonomy, 'read', lambda web, url: (status, {}, body))
    with pytest.raises(taxonomy.TaxonomyError): taxonomy.make_list(['talitiainen'], object(), sleep=lambda seconds: None)


def test_a_list_is_checked(place, capsys):
    Path('linnut.csv').write_text(FINNISH.replace('english', 'english,portuguese,id'), encoding='utf-8')
    assert say('species', 'linnut.csv') == 0
    said = capsys.readouterr().out
    assert "Nothing reads the column 'portuguese'" in said and 'by its code' in said and "'id'" not in said
    Path('linnut.csv').write_text('scientific,fi\nParus major,tintti\nPica pica,tintti\n', encoding='utf-8')
    assert say('species', 'linnut.csv') == 2 and 'would find two birds' in capsys.readouterr().err


@pytest.mark.parametrize('wrong', ['--into a.csv', '--use', 'nowhere.csv', 'nowhere.txt --into a.csv --offline', 'binary --into a.csv --offline', 'empty --into a.csv --offline'])
def test_what_cannot_be_a_list(place, capsys, wrong):
    Path('binary').write_bytes(b'\xff\xfe\x00')
    Path('empty').write_bytes(b'\n# nothing\n')
    assert say('species', *wrong.split()) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1 and not Path('data').exists() and not Path('a.csv').exists()


# --- what an outside user typed

def test_status_before_there_is_a_photograph(place, capsys):
    assert say('species', 'linnut.csv', '--use') == 0
    assert '\nNext: birdclf import FOLDER' in capsys.readouterr().out
    assert say('status') == 0 and 'nothing yet for 3 birds' in capsys.readouterr().out


@pytest.mark.parametrize('into', ['nowhere/x.csv', 'linnut.csv/x.csv'])
def test_a_list_that_cannot_be_written_is_said_before_anybody_is_asked(place, capsys, into):
    Path('names.txt').write_text('Amsel\n', encoding='utf-8')
    assert say('species', 'names.txt', '--into', into, '--contact', 'ida@example.org') == 1
    assert 'cannot be written' in capsys.readouterr().err


def test_a_list_is_no_file_of_names(place, capsys):
    assert say('species', 'linnut.csv', '--into', 'new.csv', '--offline') == 2
    assert 'is a list of birds already' in capsys.readouterr().err


def test_each_wrong_name_has_a_line(place, capsys):
    Path('names.txt').write_text('Amssel\ntalitiainen\n', encoding='utf-8')
    assert say('species', 'names.txt', '--into', 'new.csv', '--offline') == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and 'Eurasian Blackbird' in lines[1] and lines[2].startswith("  'talitiainen'") and 'a CSV with the column scientific' in lines[3]


def test_what_comes_next_is_what_was_meant(place, capsys):
    Path('names.txt').write_text('Amsel\n', encoding='utf-8')
    say('species', 'names.txt', '--into', 'new.csv', '--offline', '--data', 'd7')
    assert capsys.readouterr().out.splitlines()[-1] == 'Next: birdclf species new.csv --use --data d7'


@pytest.mark.parametrize('verb', ['verify', 'suspect', 'clean'])
def test_without_photographs_nothing_leads_in_a_circle(place, capsys, verb):
    say('species', 'linnut.csv', '--use')
    capsys.readouterr()
    say(verb)
    said = capsys.readouterr()
    assert 'Next: birdclf import FOLDER' in said.out+said.err


def test_what_came_after_the_split_is_on_neither_side_and_that_is_said(place, capsys):
    for name in ('talitiainen', 'Harakka', 'Grus grus'):
        for seed in range(10, 16): paint_bird('Pirol', seed+len(name)).rotate(5*seed).save(Path('mine', name, f'{seed}.jpg'))
    for words in (('import', 'mine', '--species', 'linnut.csv', '--license', 'mine'), ('verify',), ('split',), ('export', 'out')): assert say(*words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == 'Next: birdclf train --photos out --on training'
    paint_bird('Stockente', 7).save(Path('mine', 'Harakka', 'new.jpg'))
    for words in (('import', 'mine', '--license', 'mine'), ('split',)): assert say(*words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == 'Next: birdclf verify' # It has not been looked at
    paint_bird('Stockente', 8).rotate(20).save(Path('mine', 'Harakka', 'newer.jpg'))
    for words in (('import', 'mine', '--license', 'mine'), ('verify',), ('export', 'out')): assert say(*words) == 0
    assert '1 of them came after `birdclf split`, and are on neither side. Next: birdclf split' in capsys.readouterr().out


def test_a_bird_that_is_asked_for_twice_is_one(place, capsys):
    say('species', 'linnut.csv', '--use')
    assert say('search', '--plan', '--bird', 'harakka', '--bird', 'Pica pica') == 0
    assert 'each of 1 birds' in capsys.readouterr().out


def test_no_source_is_refused(place, capsys):
    assert say('search', '--plan', '--source', '') == 2 and '--source names none' in capsys.readouterr().err


@pytest.mark.parametrize('text, value', [('.3', .3), ('30%', .3), ('0,3', .3), ('30 %', .3)])
def test_a_share_as_people_write_it(text, value): assert share(text) == pytest.approx(value)


@pytest.mark.parametrize('text', ['', '%', 'half', '0', '1', '120%', '-.2', 'nan'])
def test_no_share(text):
    with pytest.raises(ArgumentTypeError, match='is no share'): share(text)


@pytest.mark.parametrize('wish, language', [('pt-BR', 'pt-br'), ('pt', 'pt-br'), ('PT_br', 'pt-br'), ('fi', 'fi'), ('FI', 'fi'), ('fi-FI', 'fi'), ('de-AT', 'de'), ('', 'en')])
def test_a_language_as_people_write_it(tmp_path, capsys, wish, language):
    birds = SpeciesList([Species('Elster', 'Magpie', 'Pica pica', elsewhere=(('pt-br', 'pega'), ('fi', 'harakka')))])
    args = Namespace(bundle=tmp_path, language=wish or 'en', file=[])
    monkeypatched = replace(load_bundle(), species=birds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('birdclf.bundle.load_bundle', lambda folder: monkeypatched)
        _check_language(args)
    assert args.language == language


@pytest.mark.parametrize('word', ['bird', 'Birds', 'BIRDS', ' birds '])
def test_birds_are_birds(word):
    assert _kind(word) == 'birds'

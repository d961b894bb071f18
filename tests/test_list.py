"The list of birds is said once: the manifest, the exported folder and the bundle know it, and every verb uses it"
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from birdclf.bundle import make_bundle
from birdclf.cli import main
from birdclf.folder import birds_of, list_in
from birdclf.manifest import Manifest, ManifestError, Row
from birdclf.species import Species, SpeciesList, load_species, save_species
from birdclf.testing import paint_bird

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
        with pytest.raises(ManifestError, match='others'): manifest.birds(SpeciesList([Species('Amsel', 'Blackbird', 'Turdus merula')]))
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
    assert 'languages with names: de, en, fi' in said and 'Next: birdclf search --species made.csv' in said
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

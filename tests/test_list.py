"The list of birds is said once: the manifest, the exported folder and the bundle know it, and every verb uses it"
import json
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
    assert 'Parus major' in said and '3 in all' in said and 'Amsel' not in said
    with Manifest('data') as manifest: assert manifest.birds() == load_species('linnut.csv')


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

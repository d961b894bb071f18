"Training in every layer: what is killed goes on with the same result, and two processes train like one"
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from birdclf.folder import read_folder
from birdclf.species import SpeciesList, load_species
from birdclf.testing import PATIENCE, paint_folder

pytest.importorskip('torch')
NAMES = 'Rotkehlchen', 'Blaumeise', 'Amsel', 'Stockente'
PROGRAM = '''
import os, sys
from pathlib import Path
import numpy as np
from birdclf.backbone import get_backbone
from birdclf.folder import labels_of, read_folder
from birdclf.species import SpeciesList, load_species
from birdclf.train import Recipe, look_at, predict, train
root, runs, out = map(Path, sys.argv[1:])
birds = SpeciesList(load_species().find(name) for name in {names!r})
recipe = Recipe(backbone='efficientnet-lite0', size=64, train_size=64, views=(1.125, 0), epochs=6, looks=12, batch_size=8, learning_rate=1e-4)
seen = look_at(read_folder(root/'known', birds), recipe, get_backbone(recipe.backbone).load(), runs)
model = train(seen, birds, recipe, runs=runs, quiet=True)
weights = np.concatenate([p.detach().numpy().ravel() for p in model.state_dict().values()])
np.savez(out.with_name(out.name+os.environ.get('RANK', '')+'.npz'), weights=weights, said=predict(model, read_folder(root/'new', birds), recipe))
'''.format(names=NAMES)


@pytest.fixture(scope='module')
def painted(tmp_path_factory):
    "Painted birds to learn from, and others to be asked about"
    place = tmp_path_factory.mktemp('training')
    paint_folder(place/'known'/'species', NAMES, n=8)
    paint_folder(place/'known'/'not_bird', ('cat', 'house'), n=3)
    paint_folder(place/'new', NAMES, n=10, seed=1)
    return place


@pytest.fixture(scope='module')
def place(painted):
    "The program beside them, and what it does when nobody disturbs it"
    (painted/'program.py').write_text(PROGRAM, encoding='utf-8')
    subprocess.run(program(painted, 'whole'), check=True, timeout=PATIENCE)
    return painted


def program(place, runs): return [sys.executable, place/'program.py', place, place/runs, place/f'{runs}-out']


def history(place, runs):
    for table in (place/runs).glob('training-*.csv'):
        with open(table, encoding='utf-8', newline='') as file: return list(csv.DictReader(file))
    return []


@pytest.mark.slow
def test_what_is_killed_goes_on_with_the_same_result(place):
    process = subprocess.Popen(program(place, 'killed'))
    try:
        until = time.monotonic()+PATIENCE
        while len(history(place, 'killed')) < 2:
            assert process.poll() is None and time.monotonic() < until, 'it ended before it could be killed'
            time.sleep(.01)
    finally: process.send_signal(signal.SIGKILL); process.wait()
    before = history(place, 'killed')
    assert 2 <= len(before) < 6 and list((place/'killed').glob('training-*.pt'))
    subprocess.run(program(place, 'killed'), check=True, timeout=PATIENCE)
    after = history(place, 'killed')
    assert after[:len(before)] == before and [row['epoch'] for row in after] == list('012345')
    assert not list((place/'killed').glob('training-*.pt'))
    one, other = (np.load(place/f'{runs}-out.npz') for runs in ('whole', 'killed'))
    assert (one['weights'] == other['weights']).all() and (one['said'] == other['said']).all()
    assert [row['loss'] for row in after] == [row['loss'] for row in history(place, 'whole')]


def test_what_is_interrupted_goes_on_with_the_same_result(painted, tmp_path, monkeypatch):
    "The same in a few seconds: two small epochs of every layer, and a Ctrl-C before the second one"
    from birdclf import train as module
    from birdclf.backbone import get_backbone
    birds = SpeciesList(load_species().find(name) for name in NAMES)
    recipe = module.Recipe(backbone='efficientnet-lite0', size=64, train_size=64, views=(1.125,), epochs=2, looks=4, batch_size=8)
    seen = module.look_at(read_folder(painted/'known', birds), recipe, get_backbone(recipe.backbone).load())
    def trained(runs):
        model = module.train(seen, birds, recipe, runs=tmp_path/runs, quiet=True)
        return np.concatenate([p.detach().numpy().ravel() for p in model.state_dict().values()])
    def interrupt(self):
        if self.epoch == 1: raise KeyboardInterrupt
        return before_epoch(self)
    before_epoch = module.Checkpoint.before_epoch
    with monkeypatch.context() as patch:
        patch.setattr(module.Checkpoint, 'before_epoch', interrupt)
        with pytest.raises(KeyboardInterrupt): trained('stopped')
    assert [row['epoch'] for row in history(tmp_path, 'stopped')] == ['0'] and list((tmp_path/'stopped').glob('training-*.pt'))
    assert (trained('stopped') == trained('whole')).all()
    assert [row['loss'] for row in history(tmp_path, 'stopped')] == [row['loss'] for row in history(tmp_path, 'whole')]
    assert not [path for path in (tmp_path/'stopped').rglob('*') if path.suffix in ('.pt', '.part')]


@pytest.mark.slow
def test_two_processes_train_like_one(place):
    started = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2', *program(place, 'two')[1:]]
    subprocess.run(started, check=True, timeout=PATIENCE, env=os.environ | {'OMP_NUM_THREADS': '1'})
    first, second, alone = (np.load(place/name) for name in ('two-out0.npz', 'two-out1.npz', 'whole-out.npz'))
    assert np.allclose(first['weights'], second['weights'], atol=1e-6) # They agree on every step
    assert not np.allclose(first['weights'], alone['weights'], atol=1e-6) # and take others than one alone
    birds = SpeciesList(load_species().find(name) for name in NAMES)
    names = [bird.german for bird in birds]
    truth = np.array([names.index(record.species) for record in read_folder(place/'new', birds)])
    right, right_alone = ((found['said'][:, :4].argmax(1) == truth).mean() for found in (first, alone))
    assert right_alone > .9 and abs(right-right_alone) <= .1
    assert [row['epoch'] for row in history(place, 'two')] == list('012345')


@pytest.mark.slow
def test_what_ships_has_learned_from_both_sides(painted, tmp_path):
    import torch

    from birdclf.backbone import get_backbone
    from birdclf.classify import Classifier
    from birdclf.export import Shipped, make_model
    from birdclf.train import Recipe, look_at, train, views
    birds, recipe = SpeciesList(load_species().find(name) for name in NAMES), Recipe(backbone='efficientnet-lite0', size=64, views=(1.125, 0))
    photos = shutil.copytree(painted/'known', tmp_path/'known')
    with open(photos/'metadata.csv', 'w', encoding='utf-8', newline='') as file:
        csv.writer(file).writerows([('path', 'split'), *((f'species/{name}/{n}.jpg', 'test' if n % 2 else 'train') for name in NAMES for n in range(8))])
    records = read_folder(photos, birds)
    assert [sum(record.split == side for record in records) for side in ('train', 'test', '')] == [16, 16, 6]
    bundle = make_model(photos, tmp_path/'bundle', species=birds, recipe=recipe, runs=tmp_path/'runs', seeds=(0,))
    assert bundle.training['photographs'] == len(records)
    assert 'was then trained on all photographs' in (tmp_path/'bundle'/'MODEL_CARD.md').read_text(encoding='utf-8')
    seen = look_at(records, recipe, get_backbone(recipe.backbone).load())
    batch = views([record.path for record in read_folder(painted/'new', birds)[::5]], recipe.preprocessing()).flatten(0, 1)
    said = Classifier.load(tmp_path/'bundle').network.run(batch.numpy())[0]
    with torch.no_grad():
        both, one = (Shipped(train(seen[np.array(rows)], birds, recipe, quiet=True))(batch)[0].numpy()
                     for rows in ([True]*len(records), [record.split != 'test' for record in records]))
    assert abs(said-both).max() < 1e-3*abs(both).max() < abs(said-one).max()


def test_two_photographs_with_one_name_and_one_size_have_two_small_copies(tmp_path):
    "Two folders of one bird, one source, uncompressed: nothing but the path tells them apart"
    from PIL import Image

    from birdclf.train import small_copies
    for name, colour in (('Amsel', 'red'), ('Turdus merula', 'blue')):
        (tmp_path/'photos'/name).mkdir(parents=True)
        Image.new('RGB', (40, 40), colour).save(tmp_path/'photos'/name/'1.bmp')
    (tmp_path/'photos'/'metadata.csv').write_text('path,source\nAmsel/1.bmp,Ida\nTurdus merula/1.bmp,Ida\n', encoding='utf-8')
    small = small_copies(read_folder(tmp_path/'photos', load_species()), tmp_path/'small')
    red, blue = (Image.open(record.path).getpixel((5, 5)) for record in small)
    assert red[0] > 200 > red[2] and blue[2] > 200 > blue[0]


def test_a_name_that_is_no_text_has_a_fingerprint_too(tmp_path):
    from birdclf.train import Recipe, fingerprint
    (tmp_path/'photos'/'Amsel').mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(tmp_path)+b'/photos/Amsel/gr\xfcn.jpg')).write_bytes(b'x')
    assert len(fingerprint(read_folder(tmp_path/'photos', load_species()), load_species(), Recipe())) == 12


def test_a_training_of_every_layer_says_how_far_it_is(painted, tmp_path):
    from birdclf.backbone import get_backbone
    from birdclf.train import Recipe, look_at, train
    birds = SpeciesList(load_species().find(name) for name in NAMES)
    recipe = Recipe(backbone='efficientnet-lite0', size=64, train_size=64, views=(1.125, 0), epochs=2, looks=4, batch_size=8)
    seen, told = look_at(read_folder(painted/'known', birds), recipe, get_backbone(recipe.backbone).load()), []

    class Bar:
        def __init__(self, total, **_): self.total, self.done = total, 0
        def update(self): self.done += 1
        def close(self): told.append((self.done, self.total))

    train(seen, birds, recipe, runs=tmp_path/'runs', quiet=True, ticks=Bar)
    assert len(told) == 1 and told[0][0] == told[0][1] > 2

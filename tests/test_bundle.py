"A bundle is written whole, read with suspicion, and hurts nobody"
import json
import os
import pickle
import pickletools
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from hashlib import sha256
from pathlib import Path

import pytest

from birdclf import bundle as module
from birdclf.bundle import Bundle, BundleError, load_bundle, save_bundle
from birdclf.species import load_species

MODEL = bytes(range(256))*40
FIELDS = dict(name='three birds', created='2026-01-01', species=load_species()[:3],
              preprocessing=dict(size=224, views=[1.125, 0], mean=[.5, .5, .5], std=[.5, .5, .5], interpolation='bilinear', flip=True),
              temperature=1.5, thresholds=dict(bird=.5, known=.4, coverage=.95),
              training=dict(photographs=3), scores=dict(top1=dict(value=.9, low=.8, high=.95)), versions=dict(birdclf='0.1.0'))


def save(folder, **changes):
    return save_bundle(folder, **(dict(FIELDS, model=MODEL, card='# Three birds 🐦\n') | changes))


def edit(folder, **changes):
    "Change fields of bundle.json; those that are None go"
    path = folder/'bundle.json'
    found = json.loads(path.read_text(encoding='utf-8')) | changes
    path.write_text(json.dumps({k: v for k, v in found.items() if v is not None}), encoding='utf-8')


def refused(folder, *words):
    with pytest.raises(BundleError) as caught: load_bundle(folder)
    for word in words: assert word in str(caught.value)
    assert len(str(caught.value)) < 700
    return str(caught.value)


def test_round_trip(tmp_path):
    saved = save(tmp_path/'b')
    found = load_bundle(tmp_path/'b')
    assert isinstance(saved, Bundle) and module.describe(found) == module.describe(saved)
    assert found.model == MODEL and found.card == '# Three birds 🐦\n'
    assert [s.to_dict() for s in found.species] == [s.to_dict() for s in FIELDS['species']]
    assert found.species.find('blackbird').german == 'Amsel'
    assert (found.preprocessing.flip, found.preprocessing.mean, found.thresholds.known, found.temperature) == (True, (.5, .5, .5), .4, 1.5)
    assert found.scores == FIELDS['scores'] and found.training == FIELDS['training']
    assert sorted(p.name for p in tmp_path.iterdir()) == ['b'] and sorted(p.name for p in (tmp_path/'b').iterdir()) == sorted(module.FILES)


def test_format(tmp_path):
    save(tmp_path/'b')
    raw = (tmp_path/'b'/'bundle.json').read_bytes()
    found = json.loads(raw)
    assert found['format'] == module.FORMAT and list(found)[-1] == 'model'
    assert found['model'] == dict(file='model.onnx', bytes=len(MODEL), sha256=sha256(MODEL).hexdigest())
    assert found['species'][0]['german'] == 'Amsel' and found['thresholds'] == FIELDS['thresholds']
    assert 'Auerhuhn'.encode() in raw and raw.endswith(b'}\n')


def test_the_packaged_bundle_is_sound():
    found = load_bundle()
    assert len(found.species) == len(load_species()) and found.card.startswith('#')
    assert len(found.model) <= 16*2**20
    assert {s.scientific for s in found.species} == {s.scientific for s in load_species()}


def test_the_packaged_card_is_what_is_made_of_its_bundle():
    "Its figures are those of bundle.json, its sentences those of today; only what was counted while it was trained is taken from itself"
    pytest.importorskip('torch')
    from birdclf.evaluate import Figure
    from birdclf.export import model_card
    from birdclf.folder import NOT_BIRD, OTHER_BIRD, Record
    from birdclf.train import Recipe
    found = load_bundle()
    ours, others, nothing, groups = (int(count.replace(',', '')) for count in re.search(
        r'([\d,]+) photographs of \d+ species, ([\d,]+) of other birds and ([\d,]+) of things.*same source, of which there are ([\d,]+)\.', found.card, re.S).groups())
    assert ours+others+nothing == found.training['photographs']
    records = [Record(Path('1.jpg'), found.species[0].german, str(n % groups)) for n in range(ours)]
    records += [Record(Path('1.jpg'), kind, kind) for kind, count in ((OTHER_BIRD, others), (NOT_BIRD, nothing)) for _ in range(count)]
    figures = [Figure(name, **score, meaning='') for name, score in found.scores.items()]
    recipe = Recipe(**{key: tuple(value) if isinstance(value, list) else value for key, value in found.training['recipe'].items()})
    about = re.search(r'^Of the .* photographs of the species, .*$', found.card, re.M)[0]
    assert model_card(load_species(), recipe, records, figures, about) == found.card
    figures[0] = Figure('top1', .5, .4, .6, '')
    assert model_card(load_species(), recipe, records, figures, about) != found.card


def test_no_pickle_in_the_package():
    "No file of the packaged bundle can be unpickled, nor does the reader know how"
    for path in Path(module.__file__).with_name('bundle').iterdir():
        with pytest.raises(Exception): list(pickletools.genops(path.read_bytes()))
    assert not any(hasattr(module, name) for name in ('pickle', 'torch', 'joblib'))


@pytest.mark.parametrize('name', module.FILES)
def test_missing_file(tmp_path, name):
    save(tmp_path/'b')
    (tmp_path/'b'/name).unlink()
    refused(tmp_path/'b', name, 'no file')


def test_missing_folder(tmp_path):
    refused(tmp_path/'nothing', 'no folder', 'birdclf train')
    (tmp_path/'file').write_text('x', encoding='utf-8')
    refused(tmp_path/'file', 'no folder')


@pytest.mark.parametrize('change', ['one bit', 'cut', 'longer', 'other file'])
def test_changed_model(tmp_path, change):
    save(tmp_path/'b')
    new = {'one bit': MODEL[:99]+bytes([MODEL[99] ^ 1])+MODEL[100:], 'cut': MODEL[:-1], 'longer': MODEL+b'x', 'other file': b'x'}[change]
    (tmp_path/'b'/'model.onnx').write_bytes(new)
    refused(tmp_path/'b', 'model.onnx', 'opy the bundle again')


@pytest.mark.parametrize('file', ['../model.onnx', '/etc/hostname', 'model.onnx/../../secret', 'MODEL.ONNX', 'model.pkl', '', None, 3, ['model.onnx']])
def test_model_is_only_ever_the_file_beside(tmp_path, file):
    save(tmp_path/'b')
    (tmp_path/'model.onnx').write_bytes(MODEL)
    edit(tmp_path/'b', model=dict(file=file, bytes=len(MODEL), sha256=sha256(MODEL).hexdigest()))
    refused(tmp_path/'b', "must be the file 'model.onnx'")


@pytest.mark.parametrize('text', ['', '{', '[]', '"format 1"', 'null', '{"format": 1, "temperature": NaN}', '{"a": Infinity}', '['*200_000, '{"a":'*200_000, '9'*5000])
def test_bad_json(tmp_path, text):
    save(tmp_path/'b')
    (tmp_path/'b'/'bundle.json').write_text(text, encoding='utf-8')
    refused(tmp_path/'b', 'bundle.json')


def test_json_that_is_not_utf8(tmp_path):
    save(tmp_path/'b')
    (tmp_path/'b'/'bundle.json').write_bytes('{"name": "Türkentaube"}'.encode('latin-1'))
    refused(tmp_path/'b', 'UTF-8')


@pytest.mark.parametrize('version, word', [(module.FORMAT+1, 'newer'), (99.5, 'newer'), (1, 'Export'), (-1, 'Export'), ('2', 'Export'), (True, 'Export'), (None, 'Export'), ([1], 'Export')])
def test_format_number(tmp_path, version, word):
    save(tmp_path/'b')
    edit(tmp_path/'b', format=version)
    refused(tmp_path/'b', 'format', word)


def test_what_was_made_before_birds_could_be_found_is_still_read(tmp_path):
    save(tmp_path/'b')
    edit(tmp_path/'b', format=2, finding=None) # Which takes the field away
    assert 'finding' not in json.loads((tmp_path/'b'/'bundle.json').read_text(encoding='utf-8'))
    assert load_bundle(tmp_path/'b').finding is None


RECIPE, LIMITS = FIELDS['preprocessing'], FIELDS['thresholds']
@pytest.mark.parametrize('field, value', [
    ('temperature', 0), ('temperature', -1), ('temperature', 1e9), ('temperature', '1'), ('temperature', True), ('temperature', [1]),
    ('thresholds', LIMITS | dict(bird=1.01)), ('thresholds', LIMITS | dict(known=-.1)), ('thresholds', LIMITS | dict(coverage='95 %')),
    ('thresholds', dict(bird=.5)), ('thresholds', LIMITS | dict(extra=1)), ('thresholds', [.5, .5, .95]), ('thresholds', 7),
    ('preprocessing', RECIPE | dict(size=1025)), ('preprocessing', RECIPE | dict(size=0)), ('preprocessing', RECIPE | dict(size=224.5)),
    ('preprocessing', RECIPE | dict(views=[])), ('preprocessing', RECIPE | dict(views=[1]*9)), ('preprocessing', RECIPE | dict(views=[.5])), ('preprocessing', RECIPE | dict(views=[10**9])),
    ('preprocessing', RECIPE | dict(views=1)), ('preprocessing', RECIPE | dict(views=['1'])), ('preprocessing', RECIPE | dict(views=[False])), ('preprocessing', RECIPE | dict(std=[0, 1, 1])),
    ('preprocessing', RECIPE | dict(mean=[.5, .5])), ('preprocessing', RECIPE | dict(mean='abc')), ('preprocessing', RECIPE | dict(flip='yes')),
    ('preprocessing', RECIPE | dict(interpolation='lanczos')), ('preprocessing', {}), ('preprocessing', RECIPE | {'crop': 1}), ('preprocessing', None),
    ('species', []), ('species', 'Amsel'), ('species', 74), ('species', [None]), ('species', [{}]), ('species', [dict(german='A', english='B')]),
    ('species', [dict(german='A', english='B', scientific='C', script='x')]), ('species', [dict(german='A\n', english='B', scientific='C')]),
    ('species', [dict(german='A'*300, english='B', scientific='C')]), ('species', [dict(german='A', english='B', scientific='C', aliases='ab')]),
    ('species', [dict(german='A', english='B', scientific='C')]*2), ('species', dict(german='A', english='B', scientific='C')),
    ('name', ''), ('name', 3), ('name', '\x1b[31m'), ('created', None), ('scores', []), ('scores', dict(top1='good')), ('training', 'much'), ('versions', None), ('price', 5)])
def test_absurd_values(tmp_path, field, value):
    save(tmp_path/'b')
    edit(tmp_path/'b', **{field: value})
    said = refused(tmp_path/'b')
    with pytest.raises(BundleError): save(tmp_path/'new', **{field: value})
    assert not (tmp_path/'new').exists()
    assert '\x1b' not in said and '\n' not in said


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_nan_is_never_written(tmp_path, value):
    for changes in (dict(temperature=value), dict(scores=dict(top1=dict(value=value))), dict(training=dict(loss=value)), dict(thresholds=LIMITS | dict(bird=value))):
        with pytest.raises(BundleError): save(tmp_path/'b', **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_number_too_large_for_a_float(tmp_path):
    save(tmp_path/'b')
    path = tmp_path/'b'/'bundle.json'
    path.write_text(path.read_text(encoding='utf-8').replace('"temperature": 1.5', '"temperature": 1e999'), encoding='utf-8')
    refused(tmp_path/'b', 'temperature')


def test_huge_files(tmp_path):
    save(tmp_path/'b')
    for name, limit in (('model.onnx', module.MAX_MODEL), ('bundle.json', module.MAX_TEXT)):
        before = (tmp_path/'b'/name).read_bytes()
        with open(tmp_path/'b'/name, 'r+b') as file: file.truncate(4*limit)
        tracemalloc.start()
        refused(tmp_path/'b', 'more than')
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit+2**20, 'more of it was read'
        (tmp_path/'b'/name).write_bytes(before)
    load_bundle(tmp_path/'b')


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs a named pipe')
def test_a_pipe_is_not_waited_for(tmp_path):
    save(tmp_path/'b')
    for name in module.FILES:
        before = (tmp_path/'b'/name).read_bytes()
        (tmp_path/'b'/name).unlink()
        os.mkfifo(tmp_path/'b'/name)
        refused(tmp_path/'b', name)
        (tmp_path/'b'/name).unlink()
        (tmp_path/'b'/name).write_bytes(before)


def test_a_pickle_is_not_opened(tmp_path):
    class Payload:
        def __reduce__(self): return Path.touch, (tmp_path/'opened',)
    save(tmp_path/'b')
    for name in module.FILES: (tmp_path/'b'/name).write_bytes(pickle.dumps(Payload()))
    refused(tmp_path/'b')
    assert not (tmp_path/'opened').exists()


def test_replacing(tmp_path):
    save(tmp_path/'b')
    save(tmp_path/'b', name='another', model=b'another model')
    assert (load_bundle(tmp_path/'b').name, load_bundle(tmp_path/'b').model) == ('another', b'another model')
    assert [p.name for p in tmp_path.iterdir()] == ['b']


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path/'pictures').mkdir()
    (tmp_path/'pictures'/'amsel.jpg').write_bytes(b'dear')
    with pytest.raises(BundleError, match='amsel.jpg'): save(tmp_path/'pictures')
    assert (tmp_path/'pictures'/'amsel.jpg').read_bytes() == b'dear'
    (tmp_path/'file').write_bytes(b'dear')
    with pytest.raises(BundleError, match='is a file'): save(tmp_path/'file')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'pictures']


def test_a_failed_save_changes_nothing(tmp_path):
    save(tmp_path/'b')
    with pytest.raises(BundleError): save(tmp_path/'b', temperature=-1)
    with pytest.raises(BundleError): save(tmp_path/'b', colour='red')
    assert load_bundle(tmp_path/'b').name == 'three birds' and [p.name for p in tmp_path.iterdir()] == ['b']


@pytest.mark.parametrize('step', range(6))
def test_killed_between_any_two_steps(tmp_path, step, monkeypatch):
    "However far a save came, there is a whole bundle, and the next save succeeds and leaves nothing behind"
    class Killed(BaseException): "As sudden as a signal"
    save(tmp_path/'b', name='old')
    left = [step]
    def count(function):
        def counted(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0: raise Killed
            return function(*args, **kwargs)
        return counted
    with monkeypatch.context() as m:
        m.setattr(module.os, 'rename', count(os.rename))
        m.setattr(module.shutil, 'rmtree', count(module.shutil.rmtree))
        m.setattr(module, '_write', count(module._write))
        with pytest.raises(Killed): save(tmp_path/'b', name='new', model=b'new')
    found = load_bundle(tmp_path/'b')
    assert (found.name, found.model) in (('old', MODEL), ('new', b'new'))
    save(tmp_path/'b', name='third')
    assert load_bundle(tmp_path/'b').name == 'third'
    assert not (tmp_path/'.b.old').exists()


def test_killed_for_real(tmp_path):
    "A process that saves one bundle after another dies by SIGKILL at any moment; what it leaves can be loaded"
    code = """
import sys
from birdclf.bundle import load_bundle, save_bundle
from dataclasses import fields
old = load_bundle(sys.argv[1])
known = {f.name: getattr(old, f.name) for f in fields(old)}
print('ready', flush=True)
for i in range(10**6):
    save_bundle(sys.argv[1], **known | dict(name=f'number {i}', model=bytes([i%256])*200_000))
    print(i, flush=True)
"""
    save(tmp_path/'b')
    names = set()
    for wait in (.0, .013, .03, .05, .08, .1):
        child = subprocess.Popen([sys.executable, '-c', code, tmp_path/'b'], stdout=subprocess.PIPE)
        assert child.stdout.readline() == b'ready\n'
        if wait: child.stdout.readline() # One is saved, and the next one begun
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        names.add(load_bundle(tmp_path/'b').name)
    assert any(name.startswith('number') for name in names)
    save(tmp_path/'b', name='afterwards')
    assert load_bundle(tmp_path/'b').name == 'afterwards'


def test_permissions_are_those_of_any_folder(tmp_path):
    (tmp_path/'other').mkdir()
    save(tmp_path/'b')
    assert (tmp_path/'b').stat().st_mode == (tmp_path/'other').stat().st_mode


def test_odd_folder_names(tmp_path):
    for name in ('Vögel 🐦', 'a.b', '.hidden', "it's"):
        save(tmp_path/name/'deep')
        assert load_bundle(str(tmp_path/name/'deep')).name == 'three birds'

"Verifying, from outside: bad files, limits, dead processes, kills, and copies; everything is made up here, but for two collections in ../shared"
import csv
import multiprocessing
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

pytest.importorskip('filelock', reason='needs birdclf[clean]')
imagehash = pytest.importorskip('imagehash', reason='needs birdclf[clean]')

import birdclf.verify as verifying
from birdclf.bundle import Finding
from birdclf.classify import Classifier
from birdclf.copies import ALIKE, Gallery
from birdclf.errors import Refusal
from birdclf.looks import LOOKS, TRAITS, Looks, box_in, first_look, sketch_of, traits
from birdclf.manifest import CHANGED, MISSING, NO_MEMORY, Manifest, Row, kept, reason_of
from birdclf.photo import PhotoError, one_sentence, open_photo
from birdclf.species import load_species
from birdclf.suspect import suspect
from birdclf.testing import PATIENCE, paint_bird
from birdclf.thumbnails import thumbnail_of
from birdclf.verify import Verifier, verify

RUN = '''
import sys
from birdclf.classify import Classifier
from birdclf.manifest import Manifest
from birdclf.verify import verify
class Quiet:
    def __init__(self, **options): pass
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def update(self, n): print(n, flush=True)
with Manifest(sys.argv[1], write=True) as manifest:
    report = verify(manifest, Classifier.load(), bar=Quiet)
    print(report)
    raise SystemExit(130 if report.stopped else 0)
'''


class Quiet:
    "A progress bar that shows nothing, and does something else at every step"
    def __init__(self, meanwhile=lambda: None): self.meanwhile, self.shown = meanwhile, 0
    def __call__(self, **options): return self
    def __enter__(self): return self
    def __exit__(self, *error): pass

    def update(self, n):
        self.shown += n
        self.meanwhile()


@pytest.fixture(scope='module')
def classifier(): return Classifier.load()


def made_up(seed, size=(320, 240)):
    "A picture as no other: clouds of colour, and some grain"
    rng = np.random.default_rng(seed)
    clouds = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return Image.fromarray((np.asarray(clouds)+rng.normal(0, 8, (size[1], size[0], 1))).clip(0, 255).astype(np.uint8))


def saved(image, format='JPEG', **options):
    with BytesIO() as file:
        image.save(file, format, **options)
        return file.getvalue()


def gathered(folder, files, species='Turdus merula'):
    "A manifest whose rows are 'downloaded'; `files` are their bytes, None for a file that is not there"
    with Manifest(folder, write=True) as manifest:
        (folder/'photos').mkdir(exist_ok=True)
        for name, data in files.items():
            if data is not None: (folder/'photos'/name).write_bytes(data)
            manifest.add([Row(species, 'inat', name, path=f'photos/{name}', status='downloaded', license='by', sha256=sha256(data or b'').hexdigest())])
    return folder


def rows_of(folder):
    with Manifest(folder) as manifest: return {row.source_id: row for row in manifest.rows()}


def run(folder, classifier, bar=None, **options):
    with Manifest(folder, write=True) as manifest: return verify(manifest, classifier, bar=bar or Quiet(), **options)


def groups(folder):
    "Which photographs are in one group, and the best of each"
    found = defaultdict(set)
    for name, row in rows_of(folder).items():
        if row.duplicate_group: found[row.duplicate_group].add(name)
    best = {row.id: name for name, row in rows_of(folder).items()}
    return {best[group]: members for group, members in found.items()}


JPEG = saved(made_up(0), quality=90)
NASTY = {'empty.jpg': (b'', 'not a photograph: empty'), 'page.jpg': (b'<!DOCTYPE html><p>not found', 'not a photograph: format'),
         'half.jpg': (JPEG[:len(JPEG)//2], 'not a photograph: damaged'), 'noise.png': (b'\x89PNG\r\n\x1a\n'+JPEG, 'not a photograph: damaged'),
         'text.gif': (b'a bird in the hand', 'not a photograph: not a picture'), 'dot.png': (saved(Image.new('RGB', (31, 400)), 'PNG'), 'not a photograph: too small'),
         'bomb.png': (saved(Image.new('1', (10_000, 10_000)), 'PNG'), 'not a photograph: too many pixels'), 'gone.jpg': (None, MISSING)}


def test_every_bad_file_is_rejected_with_its_reason_and_the_others_go_on(tmp_path, classifier):
    good = {f'{n}.jpg': saved(made_up(n)) for n in range(1, 4)}
    report = run(gathered(tmp_path, {name: data for name, (data, _) in NASTY.items()} | good | {'other.jpg': JPEG}), classifier)
    rows = rows_of(tmp_path)
    assert {name: rows[name].reason for name in NASTY} == {name: reason for name, (_, reason) in NASTY.items()}
    assert all(rows[name].status == 'rejected' for name in NASTY)
    assert {rows[name].status for name in [*good, 'other.jpg']} == {'verified'}
    assert (report.photographs, report.rejections.total(), report.left) == (4, len(NASTY), 0)
    assert dict(report.rejections) == {'not a photograph': 7, MISSING: 1}
    assert '4 photographs verified' in str(report) and '8 rejected (not a photograph ×7' in str(report)
    assert all((tmp_path/'photos'/name).read_bytes() == data for name, (data, _) in NASTY.items() if data is not None), 'a file was touched'


def test_what_is_kept_of_a_sound_photograph(tmp_path, classifier):
    data = saved(paint_bird('Blaumeise', size=(480, 360)), 'PNG')
    run(gathered(tmp_path, {'tit.png': data}), classifier)
    row = rows_of(tmp_path)['tit.png']
    assert (row.status, row.width, row.height, row.format, row.bytes, row.sha256) == ('verified', 480, 360, 'PNG', len(data), sha256(data).hexdigest())
    assert len(row.phash) == 16 and row.duplicate_group == ''
    thumbnail = open_photo(thumbnail_of(tmp_path, row))
    assert (thumbnail.format, thumbnail.width, thumbnail.height) == ('JPEG', 320, 240)
    with Looks(tmp_path, sha256(classifier.bundle.model).hexdigest()) as looks: seen = looks.get([row.sha256, 'never seen', row.sha256])
    classifier = Classifier(replace(classifier.bundle, preprocessing=first_look(classifier.bundle.preprocessing))) # The first look is enough here
    species, open_set, embedding = classifier.network(classifier.open(data).image)
    assert np.abs(seen.species[0]-species).max() < 1e-3 and np.abs(seen.open_set[0]-open_set).max() < 1e-3
    assert np.abs(seen.embedding[2]-embedding).max() < 1e-2 and np.isnan(seen.embedding[1]).all()
    assert seen.traits.shape == (3, len(TRAITS)) and np.allclose(seen.traits[0], traits(classifier.open(data).image))
    assert {values.dtype for values in seen} == {np.dtype(np.float32)}


def test_a_small_photograph_is_verified_and_counted(tmp_path, classifier):
    report = run(gathered(tmp_path, {'small.jpg': saved(made_up(1, (96, 72))), 'smallest.jpg': saved(made_up(2, (32, 32)))}), classifier)
    assert (report.photographs, report.small) == (2, 2) and '2 of them small' in str(report)
    assert {row.status for row in rows_of(tmp_path).values()} == {'verified'}


def test_a_file_that_has_changed_or_is_missing_is_rejected_until_it_is_back(tmp_path, classifier):
    files = {f'{n}.jpg': saved(made_up(n)) for n in range(3)}
    gathered(tmp_path, files)
    (tmp_path/'photos/0.jpg').write_bytes(files['1.jpg'])
    (tmp_path/'photos/2.jpg').unlink()
    run(tmp_path, classifier)
    assert [row.reason for row in rows_of(tmp_path).values()] == [CHANGED, '', MISSING]
    (tmp_path/'photos/2.jpg').write_bytes(files['2.jpg'])
    (tmp_path/'photos/1.jpg').unlink() # Verified before
    report = run(tmp_path, classifier)
    assert [row.reason for row in rows_of(tmp_path).values()] == [CHANGED, MISSING, '']
    assert (report.photographs, report.rejections) == (1, Counter({MISSING: 1}))
    (tmp_path/'photos/0.jpg').write_bytes(files['0.jpg'])
    (tmp_path/'photos/1.jpg').write_bytes(files['1.jpg'])
    report = run(tmp_path, classifier)
    assert (report.photographs, report.rejections.total(), report.left) == (2, 0, 0)
    assert [(row.status, row.reason) for row in rows_of(tmp_path).values()] == [('verified', '')]*3


def test_a_file_that_stays_changed_is_not_looked_at_again(tmp_path, classifier, monkeypatch):
    "Neither one of another size nor one of the same size, whose fingerprint has to be taken to know"
    gathered(tmp_path, {'0.jpg': JPEG, '1.jpg': saved(made_up(1))})
    (tmp_path/'photos/0.jpg').write_bytes(JPEG[:-2]+b'xx'), (tmp_path/'photos/1.jpg').write_bytes(JPEG)
    with Manifest(tmp_path, write=True) as manifest: manifest.update([replace(row, bytes=len(JPEG)) for row in manifest.rows()])
    assert run(tmp_path, classifier).rejections == Counter({CHANGED: 2})
    monkeypatch.setattr(verifying, 'Reader', None)
    report = run(tmp_path, classifier)
    assert (report.photographs, report.rejections.total(), report.left) == (0, 0, 0)
    assert {row.reason for row in rows_of(tmp_path).values()} == {CHANGED}


BAD_DAY = """
import imagehash, os, sys, time
whole, bad = imagehash.phash, os.environ.get('BAD_DAY', '')
def phash(image, *more):
    if image.size == (160, 120) and os.path.exists(bad):
        if os.path.getsize(bad): os.unlink(bad) # It lasts for one look
        {deed}
    return whole(image, *more)
imagehash.phash = phash
"""
DEEDS = {'unexpected: KeyError': "raise KeyError('a library on a bad day')", NO_MEMORY: 'raise MemoryError', 'too slow: it takes more than 8 s': 'time.sleep(100)',
         verifying.DIED: 'os._exit(7)'}


@pytest.mark.parametrize('reason', DEEDS)
def test_what_is_not_the_photographs_fault_gets_a_second_try_and_is_then_set_aside(tmp_path, classifier, monkeypatch, reason):
    "A library has a bad day, in the processes that look; first for one look, then until it is over"
    (tmp_path/'bad').mkdir(), (tmp_path/'bad'/'sitecustomize.py').write_text(BAD_DAY.replace('{deed}', DEEDS[reason]))
    monkeypatch.setenv('PYTHONPATH', str(tmp_path/'bad')), monkeypatch.setenv('BAD_DAY', str(tmp_path/'bad'/'day'))
    files = {'odd.jpg': saved(made_up(0, (160, 120))), '1.jpg': saved(made_up(1)), 'half.jpg': NASTY['half.jpg'][0]}
    (tmp_path/'bad'/'day').write_text('once')
    report = run(gathered(tmp_path/'once', files), classifier, seconds=8 if 'slow' in reason else 60)
    assert not (tmp_path/'bad'/'day').exists() and (report.photographs, report.aside) == (2, 0) and not (tmp_path/'once'/'errors.log').exists()
    (tmp_path/'bad'/'day').touch()
    report = run(gathered(tmp_path/'data', files), classifier, seconds=8 if 'slow' in reason else 60)
    assert (report.photographs, report.rejections.total(), report.aside) == (1, 2, 1)
    assert '2 rejected' in str(report) and '1 of them perhaps through no fault of their own: `birdclf verify --retry` looks again, and errors.log' in str(report)
    rows, story = rows_of(tmp_path/'data'), (tmp_path/'data'/'errors.log').read_text(encoding='utf-8')
    assert (rows['odd.jpg'].status, rows['odd.jpg'].reason) == ('rejected', reason)
    assert story.count(reason) == 1 and rows['odd.jpg'].id in story and 'half.jpg' not in story
    assert ('a library on a bad day' if 'KeyError' in reason else 'Traceback' if reason == NO_MEMORY else 'status 7' if reason == verifying.DIED else 'status -9') in story
    (tmp_path/'bad'/'day').unlink()
    assert run(tmp_path/'data', classifier).photographs == 0 and rows_of(tmp_path/'data') == rows, 'the second run of a finished step did work'
    with Manifest(tmp_path/'data', write=True) as manifest: assert (manifest.reopen('rejected'), manifest.reopen('rejected')) == (1, 0)
    assert run(tmp_path/'data', classifier).photographs == 1
    assert {name: row.reason for name, row in rows_of(tmp_path/'data').items()} == {'odd.jpg': '', '1.jpg': '', 'half.jpg': 'not a photograph: damaged'}


def test_verify_retry_also_for_manifests_of_older_versions(tmp_path):
    "The reasons as they were written until now; what status and verify say to a person"
    reasons = {'0.jpg': 'too slow: it takes more than 30 s', '1.jpg': NO_MEMORY, '2.jpg': 'unexpected: RuntimeError', '3.jpg': verifying.DIED, '4.jpg': CHANGED,
               '5.jpg': 'not a photograph: too slow', '6.jpg': 'not a photograph: unreadable', '7.jpg': 'not a photograph: damaged'}
    gathered(tmp_path, {name: saved(made_up(n)) for n, name in enumerate(reasons)})
    (tmp_path/'photos/4.jpg').write_bytes(b'in the middle of being copied')
    with Manifest(tmp_path, write=True) as manifest:
        manifest.update([replace(row, status='rejected', reason=reasons[row.source_id]) for row in manifest.rows()])
        manifest.decide([row.id for row in manifest.rows(source_id='0.jpg')], 'drop', 'Ida')

    def say(*words):
        done = subprocess.run([os.path.join(os.path.dirname(sys.executable), 'birdclf'), *words, '--data', str(tmp_path)], capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout
    assert '7 of those rejected perhaps through no fault of their own: `birdclf verify --retry` tries them again' in say('status')
    assert say('verify').startswith('0 photographs verified')
    (tmp_path/'photos/4.jpg').write_bytes(saved(made_up(4)))
    out = say('verify', '--retry')
    assert out.startswith('7 photographs are looked at again.\n7 photographs verified')
    rows = rows_of(tmp_path)
    assert Counter(row.status for row in rows.values()) == dict(verified=7, rejected=1) and rows['7.jpg'].reason == 'not a photograph: damaged'
    assert rows['0.jpg'].decision == 'drop' and 'perhaps through no fault' not in say('status')
    assert say('verify', '--retry').startswith('0 photographs are looked at again.\n0 photographs verified')


@pytest.mark.parametrize('error, reason', [(MemoryError(), NO_MEMORY), (OSError('out of memory error when reading image file'), NO_MEMORY),
                                           (TimeoutError('not read within 2 s'), 'too slow: not read within 2 s'), (OSError('image file is truncated'), 'not a photograph: damaged')])
def test_why_a_picture_was_not_read(error, reason):
    with pytest.raises(PhotoError) as caught, one_sentence('JPEG'): raise error
    assert reason_of(caught.value) == reason


def test_a_file_that_takes_too_long_is_rejected_and_the_others_go_on(tmp_path, classifier):
    grain = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)
    slow = saved(Image.fromarray(np.tile(grain, (4, 4, 1))), progressive=True, quality=95)
    gathered(tmp_path, {'slow.jpg': slow} | {f'{n}.jpg': saved(made_up(n)) for n in range(12)})
    started = time.monotonic()
    open_photo(slow, max_side=64)
    limit = round((time.monotonic()-started)/3, 3)  # Far too little for this one here and now, and far more than the others need
    report = run(tmp_path, classifier, workers=2, seconds=limit)
    rows = rows_of(tmp_path)
    assert rows['slow.jpg'].reason == f'too slow: it takes more than {limit} s'
    assert report.photographs == 12 and report.aside == 1
    assert multiprocessing.active_children() == []


def test_a_file_that_takes_too_much_memory_is_rejected_and_the_others_go_on(tmp_path, classifier):
    gathered(tmp_path, {'large.png': saved(Image.new('RGB', (7000, 7000)), 'PNG')} | {f'{n}.jpg': saved(made_up(n)) for n in range(4)})
    report = run(tmp_path, classifier, memory=2**26)
    assert rows_of(tmp_path)['large.png'].reason == NO_MEMORY and report.photographs == 4 and 'MemoryError' in (tmp_path/'errors.log').read_text(encoding='utf-8')
    with Manifest(tmp_path, write=True) as manifest: manifest.reopen('rejected')
    assert run(tmp_path, classifier).photographs == 1


def test_photographs_survive_processes_that_are_shot(tmp_path, classifier):
    gathered(tmp_path, {f'{n}.jpg': saved(made_up(n)) for n in range(120)})
    rng, shot = Random(3), []

    def shoot():
        alive = multiprocessing.active_children()
        if alive and len(shot) < 4:
            shot.append(rng.choice(alive).pid)
            os.kill(shot[-1], signal.SIGKILL)
    report = run(tmp_path, classifier, Quiet(shoot), workers=2)
    assert len(shot) == 4 and report.photographs+report.rejections.total() == 120
    assert report.rejections.total() == 0, 'one was shot twice over the same photograph, or a photograph was blamed'


def test_a_photograph_that_kills_its_reader_twice_is_rejected(tmp_path, classifier, monkeypatch):
    "As one that a decoder cannot stand: its reader dies as soon as it has the file"
    gathered(tmp_path, {f'{n}.jpg': saved(made_up(n)) for n in range(4)})
    give = verifying.Reader.give

    def deadly(self, job, file, digest, seconds):
        if file.name == '2.jpg': self.process.kill(), self.process.join()
        give(self, job, file, digest, seconds)
    monkeypatch.setattr(verifying.Reader, 'give', deadly)
    report = run(tmp_path, classifier)
    assert rows_of(tmp_path)['2.jpg'].reason == verifying.DIED and report.photographs == 3


def test_processes_that_do_not_start_are_one_sentence(tmp_path):
    gathered(tmp_path/'home', {'0.jpg': JPEG})
    script = tmp_path/'unguarded.py'
    script.write_text(RUN)
    done = subprocess.run([sys.executable, script, tmp_path/'home'], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and "needs `if __name__=='__main__':`" in done.stderr.splitlines()[-1]
    assert rows_of(tmp_path/'home')['0.jpg'].status == 'downloaded'


def test_a_disk_that_cannot_be_written_to_is_no_photographs_fault(tmp_path, classifier):
    gathered(tmp_path, {f'{n}.jpg': saved(made_up(n)) for n in range(3)})
    (tmp_path/'thumbnails').write_text('in the way')
    with pytest.raises(Refusal, match='cannot be written to'): run(tmp_path, classifier)
    assert {row.status for row in rows_of(tmp_path).values()} == {'downloaded'}
    (tmp_path/'thumbnails').unlink()
    assert run(tmp_path, classifier).photographs == 3


def snapshot(folder):
    "All that verifying has left behind"
    with sqlite3.connect(f'file:{folder}/manifest.sqlite?mode=ro', uri=True) as db:
        names = 'id, status, reason, bytes, sha256, width, height, format, phash, duplicate_group'
        photos = db.execute(f'SELECT {names} FROM photos ORDER BY seq').fetchall()
        events = sorted(db.execute("SELECT photo, event, detail FROM history"))
        assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
    db.close()
    with sqlite3.connect(f'file:{folder}/looks.sqlite?mode=ro', uri=True) as db:
        seen = {digest: np.frombuffer(embedding, np.float16).astype(np.float32) for digest, embedding in db.execute('SELECT sha256, embedding FROM looks')}
    db.close()
    files = {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
             for path in folder.rglob('*') if path.is_file() and path.suffix == '.jpg'}
    return photos, events, seen, files


def start(folder): return subprocess.Popen([sys.executable, '-c', RUN, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def many(folder):
    files = {f'{n}.jpg': saved(made_up(n % 70), quality=80+n//70) for n in range(90)} | {name: data for name, (data, _) in NASTY.items()}
    return gathered(folder, files)


def test_shot_at_any_moment_it_goes_on_and_ends_as_if_nothing_had_happened(tmp_path):
    psutil, rng, seen = pytest.importorskip('psutil'), Random(5), set()
    calm, shot = many(tmp_path/'calm'), many(tmp_path/'shot')
    assert start(calm).communicate(timeout=PATIENCE)[1] == ''
    for _ in range(4):
        process = start(shot)
        try:
            for _ in range(rng.randrange(1, 4)):
                if not process.stdout.readline(): break
            time.sleep(rng.uniform(0, .15))
            children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        finally: process.kill()
        process.communicate(timeout=PATIENCE)
        psutil.wait_procs(children, timeout=PATIENCE)
        assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE], 'an orphan goes on'
        done = {name for name, row in rows_of(shot).items() if row.status != 'downloaded'}
        assert seen <= done
        seen = done
    process = start(shot)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, '')
    for mine, theirs in zip(snapshot(calm)[:2], snapshot(shot)[:2]): assert mine == theirs
    one, other = snapshot(calm), snapshot(shot)
    assert one[3] == other[3] and one[2].keys() == other[2].keys()
    assert max(np.abs(one[2][key]-other[2][key]).max() for key in one[2]) < .01
    assert {path.suffix for path in (shot/'thumbnails').rglob('*') if path.is_file()} == {'.jpg'}, 'half a thumbnail was left'


def test_ctrl_c_stops_it_and_the_next_run_goes_on(tmp_path):
    process = start(many(tmp_path))
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, '') and 'left' in out
    process = start(tmp_path)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and 'left' not in out
    assert {row.status for row in rows_of(tmp_path).values()} == {'verified', 'rejected'}


@pytest.mark.parametrize('seen', [0, 1, 2])
def test_somebody_who_presses_ctrl_c_again_and_again(tmp_path, seen):
    "It ends once, with one sentence, whatever it is at: clearing up, saying so, or leaving Python"
    many(tmp_path)
    process = subprocess.Popen([sys.executable, '-c', 'import sys; from birdclf.cli import main; sys.exit(main())', 'verify', '--data', tmp_path],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    thumbnails = tmp_path/'thumbnails'
    while process.poll() is None and sum(path.is_file() for path in thumbnails.rglob('*')) < 1+8*seen: time.sleep(.01)
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(.05)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and err.endswith('birdclf: Stopped. Nothing is lost; the same command goes on from here.\n')
    assert not re.search('Traceback|Exception|terminate', err)


def test_one_is_no_plural():
    from birdclf.verify import Verified
    assert '1 photograph verified' in str(Verified(photographs=1, copies=1, groups=1)) and str(Verified(copies=1, groups=1)).endswith('; 1 copy of 1 photograph')
    assert str(Verified(copies=2, groups=1)).endswith('; 2 copies of 1 photograph')


def test_the_second_run_does_no_work_and_a_persons_word_stands(tmp_path, classifier, monkeypatch):
    gathered(tmp_path, {'0.jpg': JPEG, '1.jpg': JPEG, '2.jpg': saved(made_up(2)), 'empty.jpg': b''})
    with Manifest(tmp_path, decide=True) as people:
        ids = [row.id for row in people.rows()]
        people.decide(ids[1:], 'drop', 'Ida')
        people.decide(ids[0], 'relabel', 'Ben', 'Pica pica')
    first = run(tmp_path, classifier)
    before = snapshot(tmp_path)[:2]
    monkeypatch.setattr(verifying, 'Reader', None)
    monkeypatch.setattr(Gallery, 'best_copies', None)
    monkeypatch.setattr(Manifest, 'update', None)
    second = run(tmp_path, classifier)
    assert (second.photographs, second.rejections.total(), second.left) == (0, 0, 0)
    assert (second.groups, second.copies) == (first.groups, first.copies) == (1, 1)
    assert snapshot(tmp_path)[:2] == before
    said = [(row.decision, row.label, row.decided_by) for row in rows_of(tmp_path).values()]
    assert said == [('relabel', 'Pica pica', 'Ben'), *[('drop', '', 'Ida')]*3]


@pytest.mark.parametrize('harm', ['deleted', 'empty', 'torn', 'cut short', 'without thumbnails'])
def test_what_was_seen_is_seen_again(tmp_path, classifier, harm):
    gathered(tmp_path, {f'{n}.jpg': saved(made_up(n)) for n in range(3)})
    run(tmp_path, classifier)
    before, path = rows_of(tmp_path), tmp_path/'looks.sqlite'
    if harm == 'deleted': path.unlink()
    elif harm == 'empty': path.write_bytes(b'')
    elif harm == 'torn':
        with open(path, 'r+b') as file: file.seek(4096), file.write(os.urandom(8192))
    elif harm == 'cut short': os.truncate(path, 6000)
    else: thumbnail_of(tmp_path, before['1.jpg']).unlink()
    report = run(tmp_path, classifier)
    assert report.photographs == (1 if harm == 'without thumbnails' else 3)
    assert ('looks.sqlite was damaged, and all has been looked at again' in str(report)) == (harm in ('torn', 'cut short'))
    assert rows_of(tmp_path) == before and all(thumbnail_of(tmp_path, row).is_file() for row in before.values())
    with Looks(tmp_path, sha256(classifier.bundle.model).hexdigest()) as looks: assert looks.known() == {row.sha256 for row in before.values()}


def database(path, *statements):
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as db:
        for statement in statements: db.execute(statement)
    db.close()


@pytest.mark.parametrize('whose, words', [
    (lambda path: path.write_text('a shopping list'), 'cannot be used (file is not a database). Move it elsewhere'),
    (lambda path: database(path, 'CREATE TABLE mice(name)', "INSERT INTO mice VALUES ('Ida')"), 'is the database of another program. Move it elsewhere'),
    (lambda path: database(path, 'PRAGMA application_id=7', 'PRAGMA user_version=1'), 'is the database of another program'),
    (lambda path: database(path, f'PRAGMA application_id={LOOKS.id}', 'PRAGMA user_version=2', 'CREATE TABLE looks(model)'), 'by a newer birdclf (version 2 of the file; this one knows 1). Update'),
    (lambda path: (database(path, 'PRAGMA application_id=7', 'CREATE TABLE mice(name)'), os.truncate(path, 6000)), 'Move it elsewhere'),
    (lambda path: (path.unlink(), path.mkdir()), 'cannot be used (unable to open database file). Move it elsewhere')],
    ids=['text', 'foreign', 'foreign and empty', 'newer', 'foreign and damaged', 'a folder'])
@pytest.mark.parametrize('step', [verify, suspect], ids=['verify', 'suspect'])
def test_a_store_that_is_not_ours_or_newer_is_refused_and_left_alone(tmp_path, classifier, whose, words, step):
    gathered(tmp_path, {'0.jpg': JPEG})
    run(tmp_path, classifier)
    rows, path = rows_of(tmp_path), tmp_path/'looks.sqlite'
    whose(path)
    before = path.read_bytes() if path.is_file() else sorted(path.iterdir())
    with Manifest(tmp_path, write=True) as manifest, pytest.raises(Refusal, match=re.escape(words)): step(manifest, classifier)
    assert (path.read_bytes() if path.is_file() else sorted(path.iterdir())) == before and rows_of(tmp_path) == rows
    path.rename(tmp_path/'elsewhere')
    assert run(tmp_path, classifier).photographs == 1 and rows_of(tmp_path) == rows


@pytest.mark.parametrize('step', [verify, suspect], ids=['verify', 'suspect'])
def test_a_store_with_other_columns_is_a_sentence(tmp_path, classifier, step):
    gathered(tmp_path, {'0.jpg': JPEG})
    run(tmp_path, classifier)
    database(tmp_path/'looks.sqlite', f'PRAGMA application_id={LOOKS.id}', 'PRAGMA user_version=1', 'CREATE TABLE looks(mice)')
    with Manifest(tmp_path, write=True) as manifest, pytest.raises(Refusal, match='Move it elsewhere'): step(manifest, classifier)


def test_another_model_looks_again(tmp_path):
    with Looks(tmp_path, 'one') as looks: looks.put('a', [1], [2, 3], [4], [5], [6])
    with Looks(tmp_path, 'other') as looks: assert looks.known() == set()
    with Looks(tmp_path, 'one') as looks: assert looks.get(['a']).open_set.tolist() == [[2, 3]]


SMALL = Finding(side=768, place=.9, share=.5, margins=(.15, .5), overlap=.4, most=6)


class Seeing:
    "A network that sees one bird in the square right below the middle of each look: an oriole from near by, and no bird of ours otherwise"
    def __init__(self, bundle): self.recipe, self.names, self.closer = bundle.preprocessing, [bird.scientific for bird in bundle.species], 0
    def mirrored(self, looks): return np.concatenate([looks, looks[..., ::-1]])

    def maps(self, batch):
        n = len(batch)
        near = n == 2 and not np.array_equal(batch[0], batch[1][..., ::-1]) # Two margins; a first look comes with its mirror image
        self.closer += near
        species, places = np.zeros((n, len(self.names)), np.float32), np.full((n, 5, 8, 8), .5, np.float32)
        species[:, self.names.index('Oriolus oriolus')] = 9
        places[:, 0] = -9
        places[:, 0, 4, 4] = 9
        return species, np.tile(np.float32([8, 6 if near else -6]), (n, 1)), np.ones((n, 8), np.float32), places, None


@pytest.fixture
def finder(classifier):
    bundle = replace(classifier.bundle, finding=SMALL)
    return SimpleNamespace(bundle=bundle, species=bundle.species, network=Seeing(bundle))


def test_a_small_bird_is_looked_at_from_near_by_once(tmp_path, finder):
    gathered(tmp_path, {f'{n}.jpg': saved(made_up(n)) for n in range(3)}, 'Oriolus oriolus')
    report = run(tmp_path, finder)
    assert (report.photographs, report.near, finder.network.closer) == (3, 3, 3) and '3 with a small bird, looked at from near by' in str(report)
    again = run(tmp_path, finder)
    assert (again.photographs, again.near, finder.network.closer) == (0, 0, 3) and 'small bird' not in str(again)
    with Manifest(tmp_path, write=True) as manifest: suspect(manifest, finder)
    for row in rows_of(tmp_path).values():
        left, top, right, bottom = box_in(tmp_path, row.sha256)
        assert .4 < left < right < .7 and .4 < top < bottom < .7 and (right-left)*(bottom-top) < .02
        assert 'the bird is very small: it covers < 1 % of the picture' in row.suspicions and 'a crop of it would be better' in row.suspicions


def test_small_birds_wait_for_the_next_run(tmp_path, finder):
    "Ctrl-C while they are looked at: what was seen is kept, and the next run does the rest"
    gathered(tmp_path, {f'{n}.jpg': saved(made_up(n)) for n in range(4)}, 'Oriolus oriolus')
    bar = Quiet(lambda: signal.raise_signal(signal.SIGINT) if bar.shown == 4+2 else None)
    assert run(tmp_path, finder, bar).stopped
    with Looks(tmp_path, sha256(finder.bundle.model).hexdigest()) as looks: assert len(looks.known('closer')) == 2
    report = run(tmp_path, finder)
    assert (report.photographs, report.near) == (0, 2)


def test_a_small_bird_that_cannot_be_opened_again_is_no_failure(tmp_path, finder, monkeypatch):
    def gone(*_, **__): raise PhotoError('missing')
    gathered(tmp_path, {'0.jpg': saved(made_up(0))}, 'Oriolus oriolus')
    with monkeypatch.context() as patch:
        patch.setattr(verifying, 'open_parts', gone)
        assert run(tmp_path, finder).near == 1
    row = rows_of(tmp_path)['0.jpg']
    assert (row.status, box_in(tmp_path, row.sha256)) == ('verified', None)
    with Manifest(tmp_path, write=True) as manifest: suspect(manifest, finder)
    assert 'small' not in rows_of(tmp_path)['0.jpg'].suspicions and run(tmp_path, finder).near == 0


def test_a_store_from_before_there_were_boxes(tmp_path, finder):
    "It goes on: nothing is looked at again, and no box is known"
    gathered(tmp_path, {'0.jpg': saved(made_up(0))}, 'Oriolus oriolus')
    run(tmp_path, finder)
    with sqlite3.connect(tmp_path/'looks.sqlite') as db:
        for table in ('boxes', 'closer'): db.execute(f'DROP TABLE {table}')
    db.close()
    assert box_in(tmp_path, rows_of(tmp_path)['0.jpg'].sha256) is None
    report = run(tmp_path, finder)
    assert (report.photographs, report.near) == (0, 0)
    with Manifest(tmp_path, write=True) as manifest: suspect(manifest, finder)
    assert 'the bird is' not in rows_of(tmp_path)['0.jpg'].suspicions


def test_a_bundle_that_finds_nothing_keeps_no_boxes(tmp_path, classifier):
    bundle = replace(classifier.bundle, finding=None)
    blind = SimpleNamespace(bundle=bundle, species=bundle.species, network=classifier.network)
    gathered(tmp_path, {'0.jpg': JPEG})
    assert run(tmp_path, blind).near == 0 and box_in(tmp_path, rows_of(tmp_path)['0.jpg'].sha256) is None


def signed(image):
    image = image.copy()
    ImageDraw.Draw(image).text((image.width//20, image.height*17//20), '© birds.example', 'white', font_size=image.height//12)
    return image


COPIES = {'the same': lambda image: image, 'smaller': lambda image: image.resize((280, 210)), 'squeezed': lambda image: image.resize((500, 500)),
          'mirrored': ImageOps.mirror, 'cropped': lambda image: image.crop((0, 30, 560, 480)), 'cropped and mirrored': lambda image: ImageOps.mirror(image.crop((60, 0, 640, 440))),
          'brighter': lambda image: ImageEnhance.Brightness(image).enhance(1.3), 'grey': lambda image: ImageOps.grayscale(image).convert('RGB'),
          'framed': lambda image: ImageOps.expand(image, 24, 'white'), 'signed': signed}


def test_copies_are_found_across_species_and_sources_and_distinct_ones_stay_apart(tmp_path, classifier):
    originals = {'robin': paint_bird('Rotkehlchen', 1, size=(640, 480)), 'mallard': paint_bird('Stockente', 1, size=(640, 480)),
                 'tit': paint_bird('Blaumeise', 1, size=(640, 480)), **{f'clouds {n}': made_up(n, (640, 480)) for n in range(6)}}
    birds = [bird.scientific for bird in load_species()]
    with Manifest(tmp_path, write=True) as manifest:
        for name, image in originals.items():
            for place, (how, change) in enumerate({'original': lambda image: image, **COPIES}.items()):
                if how != 'original' and name.startswith('clouds') and name != 'clouds 0': continue
                path = tmp_path/f'{name}, {how}.jpg'
                change(image).save(path, quality=95 if how == 'original' else 75)
                manifest.add([Row(birds[place], f'source {place}', path.stem, path=path.name, status='downloaded')])
    report = run(tmp_path, classifier)
    found = groups(tmp_path)
    for name in ('robin', 'mallard', 'tit', 'clouds 0'):
        mine = [members for members in found.values() if f'{name}, original' in members]
        assert len(mine) == 1 and mine[0] == {f'{name}, {how}' for how in ('original', *COPIES)}, name
    assert len(found) == 4 and report.groups == 4 and report.copies == 4*len(COPIES)
    sizes = {name: row.width*row.height for name, row in rows_of(tmp_path).items()}
    assert all(sizes[best] == max(sizes[name] for name in members) for best, members in found.items())


def test_the_best_copy_is_the_largest_then_the_one_with_more_bytes_then_the_first(tmp_path, classifier):
    image = made_up(1)
    files = {'poor.jpg': saved(image, quality=60), 'rich.jpg': saved(image, quality=95), 'rich again.jpg': saved(image, quality=95), 'little.jpg': saved(image.resize((200, 150)), quality=100)}
    run(gathered(tmp_path, files), classifier)
    assert groups(tmp_path) == {'rich.jpg': set(files)}
    with Manifest(tmp_path, write=True) as manifest: manifest.add([Row('Turdus merula', 'inat', 'large', path='photos/large.png', status='downloaded', license='by')])
    image.resize((640, 480), Image.Resampling.BICUBIC).save(tmp_path/'photos/large.png')
    run(tmp_path, classifier)
    assert groups(tmp_path) == {'large': {*files, 'large'}}
    (tmp_path/'photos/large.png').unlink()
    run(tmp_path, classifier)
    assert groups(tmp_path) == {'rich.jpg': set(files)} and rows_of(tmp_path)['large'].duplicate_group == ''


def test_a_copy_that_may_be_passed_on_is_better_than_a_larger_one_that_may_not(tmp_path, classifier):
    image = made_up(1)
    run(gathered(tmp_path, {'little.jpg': saved(image.resize((200, 150)), quality=95), 'large.jpg': saved(image, quality=95)}), classifier)
    assert groups(tmp_path) == {'large.jpg': {'little.jpg', 'large.jpg'}}
    with Manifest(tmp_path, write=True) as manifest: manifest.update([replace(next(manifest.rows(source_id='large.jpg')), license='')])
    run(tmp_path, classifier)
    assert groups(tmp_path) == {'little.jpg': {'little.jpg', 'large.jpg'}}
    with Manifest(tmp_path) as manifest: assert [row.source_id for row in kept(manifest)] == ['little.jpg']


def test_a_long_series_is_not_one_photograph():
    "Each frame of a slow pan looks like its neighbours, and the first not like the last"
    wide = np.asarray(made_up(5, (2000, 240)))
    frames = [Image.fromarray(wide[:,left:left+320]) for left in range(0, 1600, 40)]
    hashes = np.array([int(str(imagehash.phash(frame)), 16) for frame in frames], np.uint64)
    series = Gallery(np.arange(len(frames)).astype(str), hashes, np.ones((len(frames), 1), np.float16), np.stack([sketch_of(frame) for frame in frames]))
    best = series.best_copies()
    assert 1 < len(set(best)) < len(frames)
    assert max(abs(place-leader) for place, leader in enumerate(best)) <= 8


@pytest.mark.parametrize('offsets, best', [([0, 70, 140, 210], [0, 0, 0, 3]), ([0, 70, -70, 140, -140, 210], [0, 0, 0, 0, 0, 5]), ([0, 5, 10, 15, 70, 140], [0]*6)])
def test_a_group_is_who_looks_like_the_best_copy_or_like_somebody_who_does(offsets, best):
    "And nobody further away: 70 pixels of a pan apart two frames look alike, 125 apart they do not"
    wide = np.asarray(made_up(5, (2000, 240)))
    frames = [Image.fromarray(wide[:,400+left:720+left]) for left in offsets]
    hashes = np.array([int(str(imagehash.phash(frame)), 16) for frame in frames], np.uint64)
    series = Gallery(np.arange(len(frames)).astype(str), hashes, np.ones((len(frames), 1), np.float16), np.stack([sketch_of(frame) for frame in frames]))
    pairs = np.array([(i, j) for i in range(len(offsets)) for j in range(i)])
    apart = [abs(offsets[i]-offsets[j]) for i, j in pairs]
    assert (series.likeness(pairs) >= ALIKE).tolist() == [distance <= 70 for distance in apart]
    assert series.best_copies().tolist() == best


def test_thirty_copies_are_one_group():
    image = made_up(99, (400, 300))
    frames = [made_up(n) for n in range(20)]+[image.resize((200+10*n, 150+7*n)) for n in range(30)]
    hashes = np.array([int(str(imagehash.phash(frame)), 16) for frame in frames], np.uint64)
    crowd = Gallery(np.arange(len(frames)).astype(str), hashes, np.ones((len(frames), 1), np.float16), np.stack([sketch_of(frame) for frame in frames]))
    assert crowd.best_copies().tolist() == [*range(20), *[20]*30]


def test_what_a_search_engine_returns(shared, tmp_path, classifier):
    with open(shared/'birds/raw_dirty/truth.csv', encoding='utf-8', newline='') as file: truth = {line['path']: line for line in csv.DictReader(file)}
    with Manifest(tmp_path, write=True) as manifest:
        manifest.add(Row(path.split('/')[0], 'web', path, path=str(shared/'birds/raw_dirty'/path), status='downloaded') for path in truth)
    report = run(tmp_path, classifier)
    rows = rows_of(tmp_path)
    assert {path for path, row in rows.items() if row.status == 'rejected'} == {path for path, line in truth.items() if line['label'] == 'not_image'}
    assert all(row.reason.startswith('not a photograph: ') for row in rows.values() if row.status == 'rejected')
    group = {path: row.duplicate_group or row.id for path, row in rows.items()}
    copies = [path for path, line in truth.items() if line['label'] == 'duplicate_of']
    assert sum(group[path] == group[truth[path]['duplicate_of']] for path in copies) >= .95*len(copies)
    originals = defaultdict(set)
    for path, line in truth.items(): originals[group[path]].add(line['duplicate_of'] or path)
    wrong = sum(len(members) for members in originals.values() if len(members) > 1)
    assert wrong <= .01*sum(line['label'] in ('ok', 'wrong') for line in truth.values())
    assert report.photographs+report.rejections.total() == len(truth) == 458


def test_nasty_files_do_no_harm(shared, tmp_path, classifier):
    with Manifest(tmp_path, write=True) as manifest:
        manifest.add(Row('Turdus merula', 'web', path.name, path=str(path), status='downloaded') for path in sorted((shared/'bad_images').iterdir()))
    report = run(tmp_path, classifier)
    rows = rows_of(tmp_path)
    assert Counter(row.status for row in rows.values()).total() == report.photographs+report.rejections.total() == len(rows)
    assert not [row.reason for row in rows.values() if row.reason.startswith('unexpected')]
    assert report.photographs > 70 and report.rejections.total() > 60

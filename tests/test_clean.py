"What the kernel says to the page for cleaning, without a page: messages, failures, pictures, and twenty thousand of them"
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from statistics import median

import psutil
import pytest
from flocks import BIRDS, NAMES, flock, rows_of, words  # noqa: F401 (a fixture)

from birdclf.clean import CleaningDesk, CleaningPage, page, small_picture
from birdclf.looks import Looks
from birdclf.manifest import Manifest, ManifestError
from birdclf.photo import open_photo
from birdclf.species import load_species
from birdclf.testing import PATIENCE, paint_bird
from birdclf.thumbnails import thumbnail_of


# --- two people

def test_nobody_sees_the_others_before_judging(flock):
    anna, photo = flock(), rows_of(100)[0].id
    ben = flock.look('Ben')
    ben.decide(photo, 'relabel', 'Star')
    anna.reload()
    desk = CleaningDesk(anna)
    assert anna.others(photo) == [] and 'Ben' not in json.dumps(desk.hear(dict(kind='open'))[0])
    mark, = desk.hear(dict(kind='decide', photos=[photo], decision='drop'))[0]['changed']
    assert mark['others'] == [dict(by='Ben', decision='relabel', label=BIRDS.find('Star').english)]
    assert anna.agreement() == {'Ben': (0, 1)}


# --- the search

@pytest.mark.parametrize('typed', ['Rotkelchen', 'Archaeopteryx', 'meise', 'great tits', 'kohl'])
def test_an_unknown_bird_is_not_certain(flock, typed):
    "Enter takes a whole name, and never the nearest spelling"
    assert not CleaningDesk(flock(1)).hear(dict(kind='search', text=typed))[0]['certain']


@pytest.mark.parametrize('typed', ['great tit', 'KOHLMEISE', 'Parus major'])
def test_a_whole_name_is_certain(flock, typed):
    reply, _ = CleaningDesk(flock(1)).hear(dict(kind='search', text=typed))
    assert reply['certain'] and reply['birds'][0]['english'] == 'Great Tit'


# --- when it cannot be written

def failing(desk, message):
    heard = []
    class Deaf(CleaningPage):
        def send(self, reply, buffers=None): heard.append(reply)
    widget = Deaf(desk)
    widget.log.disabled = True
    try: widget.hear(None, message, [])
    finally: widget.log.disabled = False
    return heard[0]


def test_a_full_disk(flock, tmp_path):
    review = flock()
    review.decide(review.ids[:5], 'keep')
    review.manifest.db.execute(f"PRAGMA max_page_count={review.manifest.db.execute('PRAGMA page_count').fetchone()[0]}")
    before = words(review), review.progress()
    reply = failing(CleaningDesk(review), dict(kind='decide', photos=review.ids, decision='drop', seq=1))
    assert reply['kind'] == 'failed' and 'The disk is full' in reply['sentence'] and str(tmp_path) not in json.dumps(reply)
    assert (words(review), review.progress()) == before
    assert [mark['decision'] for mark in reply['changed']] == ['keep']*5+['']*95
    review.reload()
    assert (words(review), review.progress()) == before


@pytest.mark.parametrize('loss', ['deleted', 'replaced', 'folder'])
def test_a_manifest_that_is_gone(flock, tmp_path, loss):
    review = flock()
    path = review.manifest.path
    if loss == 'folder':
        tmp_path.rename(away := tmp_path.with_name('away'))
    else:
        path.rename(away := tmp_path/'away.sqlite')
        if loss == 'replaced': shutil.copy(away, path)
    for message in (dict(kind='decide', photos=review.ids[:2], decision='drop', seq=1), dict(kind='undo', seq=2), dict(kind='redo', seq=2)):
        reply = failing(CleaningDesk(review), message)
        assert reply['kind'] == 'failed' and 'nothing was changed' in reply['sentence'] and str(tmp_path) not in json.dumps(reply)
    assert not words(review)
    away.rename(tmp_path if loss == 'folder' else path)


@pytest.mark.parametrize('message', [
    'hello', None, {}, dict(kind='__init__'), dict(kind='page', number='x'), dict(kind='zoom', photo='nobody'), dict(kind='person', name=','),
    dict(kind='view', filters=dict(state='good')), dict(kind='decide', photos=[['x']], decision='keep')])
def test_strange_messages_get_a_sentence(flock, tmp_path, message):
    reply = failing(CleaningDesk(flock(10)), message)
    assert reply['kind'] == 'failed' and reply['sentence'].endswith('.') and str(tmp_path) not in json.dumps(reply)
    assert reply['sentence'].count('\n') == 0


def test_another_thread(flock):
    "JupyterLab runs cells in one thread and answers widgets in others"
    review = flock()
    desk, ids = CleaningDesk(review), list(review.ids)
    def work(place): return desk.hear(dict(kind='decide', photos=[ids[place]], decision='drop'))[0]['kind']
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as two:
        assert [pool.submit(work, place).result() for place,pool in enumerate((one, two, one))] == ['decide']*3
        assert one.submit(review.undo).result() == [ids[2]]
    assert review.undo() == [ids[1]] and review.progress().dropped == 1


# --- pictures

def paint(folder, name='bird.jpg', size=(800, 600)):
    file = BytesIO()
    paint_bird('Rotkehlchen').resize(size).save(file, 'JPEG')
    (folder/name).write_bytes(file.getvalue())
    return sha256(file.getvalue()).hexdigest()


def test_thumbnails_are_read_or_made(flock, tmp_path):
    row = replace(rows_of(1)[0], sha256=paint(tmp_path))
    review = flock(rows=[row])
    place = thumbnail_of(tmp_path, row)
    first = small_picture(review.manifest, row)
    assert open_photo(first).image.size == (320, 240) and place.read_bytes() == first
    place.write_bytes(b'as it lies there')
    assert small_picture(review.manifest, row) == b'as it lies there'
    shutil.rmtree(tmp_path/'thumbnails')
    (tmp_path/'thumbnails').write_text('no folder')
    assert open_photo(small_picture(review.manifest, row)).image.size == (320, 240)


@pytest.mark.parametrize('spoil,why', [(lambda file: file.unlink(), 'no such file'), (lambda file: file.write_bytes(b'no'), 'not a picture'),
                                       (lambda file: file.write_bytes(file.read_bytes()[:4000]), 'damaged')])
def test_a_picture_that_cannot_be_shown_has_a_reason(flock, tmp_path, spoil, why):
    row = replace(rows_of(1)[0], sha256=paint(tmp_path))
    review = flock(rows=[row])
    spoil(tmp_path/'bird.jpg')
    for kind,name in (('open', 'photos'), ('zoom', 'photo')):
        reply, pictures = CleaningDesk(review).hear(dict(kind=kind, photo=row.id))
        shown = reply[name][0] if name == 'photos' else reply[name]
        assert shown['picture'] is None and why in shown['fault'] and pictures == [] and str(tmp_path) not in json.dumps(reply)


def test_a_large_picture_with_its_papers(flock, tmp_path):
    row = replace(rows_of(1)[0], sha256=paint(tmp_path, size=(2400, 1200)), width=2400, height=1200, title='<b>Robin</b>', creator='',
                  license='by-sa', license_version='4.0', page_url='javascript:alert(1)', license_url='https://creativecommons.org/licenses/by-sa/4.0/')
    reply, (picture,) = CleaningDesk(flock(rows=[row])).hear(dict(kind='zoom', photo=row.id))
    photo = reply['photo']
    assert open_photo(picture, max_side=9999).image.size == (1600, 800)
    assert (photo['papers']['Title'], photo['papers']['Author'], photo['papers']['Licence']) == ('<b>Robin</b>', 'not named', 'CC BY-SA 4.0')
    assert (photo['link'], photo['terms']) == ('', row.license_url)


def test_the_bird_alone_has_all_pixels_of_the_file(flock, tmp_path):
    "From the corner of a large photograph; without a box, or asked for the whole, it is the whole"
    row = replace(rows_of(1)[0], sha256=paint(tmp_path, size=(4800, 3600)))
    desk = CleaningDesk(flock(rows=[row]))
    with Looks(tmp_path, 'a model') as looks: looks.put_box('0'*64, (.1, .1, .2, .2))
    def zoomed(**more):
        reply, (picture,) = desk.hear(dict(kind='zoom', photo=row.id, **more))
        json.dumps(reply)
        return reply['photo']['box'], reply['photo']['alone'], open_photo(picture, max_side=9999).image.size
    assert zoomed(alone=True) == (None, False, (1600, 1200))
    with Looks(tmp_path, 'a model') as looks: looks.put_box(row.sha256, (0, .9, .05, 1))
    box, alone, size = zoomed(alone=True)
    assert box == pytest.approx((0, .9, .05, 1)) and alone and size == pytest.approx((4800*.075, 3600*.15), abs=2)
    assert zoomed()[1:] == (False, (1600, 1200))
    (tmp_path/'bird.jpg').unlink()
    reply, pictures = desk.hear(dict(kind='zoom', photo=row.id, alone=True))
    assert reply['photo']['picture'] is None and 'no such file' in reply['photo']['fault'] and pictures == []


def test_the_page_needs_no_network():
    "Where birds are is read from what verifying has kept"
    found = subprocess.run([sys.executable, '-c', 'import sys, birdclf.clean; print({"onnxruntime", "torch"} & set(sys.modules))'], capture_output=True, text=True, timeout=PATIENCE)
    assert (found.stdout, found.stderr) == ('set()\n', '')


# --- the page's object

def test_the_page_finds_its_folder_in_the_environment(flock, tmp_path, monkeypatch):
    flock(3).manifest.close()
    for name,value in dict(BIRDCLF_DATA=str(tmp_path), BIRDCLF_PERSON='Ida', BIRDCLF_SPECIES='').items(): monkeypatch.setenv(name, value)
    review = page().desk.review
    assert (review.by, len(review.ids), len(review.birds)) == ('Ida', 3, 74)
    review.manifest.close()
    with pytest.raises(ManifestError, match='no manifest'): page(tmp_path/'nowhere')


def test_another_list_of_birds(flock, tmp_path):
    (tmp_path/'finnish.csv').write_text('scientific,english\nCygnus cygnus,Whooper Swan\n', encoding='utf-8')
    flock(3).manifest.close()
    with Manifest(tmp_path, write=True) as manifest: manifest.change_birds(load_species(tmp_path/'finnish.csv'))
    desk = page(tmp_path, 'Aino').desk
    shown = desk.hear(dict(kind='open'))[0]['photos'][0]
    assert shown['names']['english'] == NAMES[0]
    assert desk.hear(dict(kind='decide', photos=[shown['id']], decision='relabel', label='whooper swan'))[0]['changed'][0]['label'] == 'Whooper Swan'
    desk.review.manifest.close()


# --- twenty thousand photographs

def test_twenty_thousand(flock, tmp_path):
    "The same as a hundred, as far as a person can tell; and the two hundredth page takes no more memory than the first"
    flock(rows=rows_of(20_000))
    place = thumbnail_of(tmp_path, rows_of(1)[0])
    place.parent.mkdir(parents=True)
    paint(tmp_path)
    place.write_bytes((tmp_path/'bird.jpg').read_bytes()[:15_000])
    def took(deed, *given):
        start = time.process_time()
        deed(*given)
        return time.process_time()-start
    start = time.process_time()
    review = flock.look()
    opened = time.process_time()-start
    desk = CleaningDesk(review)
    pages = [took(desk.hear, dict(kind='page', number=number)) for number in range(100, 160)]
    decisions = [took(desk.hear, dict(kind='decide', photos=[photo], decision='drop')) for photo in review.ids[:200]]
    turns = [took(desk.hear, dict(kind='undo', list=review.version)) for _ in range(20)]
    process, memory = psutil.Process(), []
    for number in range(300):
        desk.hear(dict(kind='page', number=number))
        if number in (99, 299): memory.append(process.memory_info().rss)
    print(f'of processor time: open {opened:.2f} s, page {median(pages)*1e3:.1f} ms, decision {median(decisions)*1e3:.1f} ms, undo {median(turns)*1e3:.1f} ms, '
          f'200 pages {(memory[1]-memory[0])/2**20:.1f} MB')
    assert opened < 3 and median(pages) < .05 and median(decisions) < .02 and median(turns) < .1
    assert memory[1]-memory[0] < 4*2**20
    assert Counter(review.mine(photo).decision for photo in review.ids)['drop'] == 180


def test_it_loads_no_scipy():
    "Neither the review nor its page needs what looks for copies"
    code = "import sys, birdclf.clean, birdclf.review; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.split()
    assert 'birdclf.thumbnails' in loaded and not {'scipy', 'imagehash', 'birdclf.verify'} & set(loaded)

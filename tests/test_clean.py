"A person's decisions without a page: whatever is done, in whatever order, and wherever it is cut off"
import json
import os
import shutil
import signal
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
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from birdclf.clean import COFFEE, ORDERS, PAGE, STATES, CleaningError, CleaningPage, Desk, Review, pace, page, person, thumbnail, whoever
from birdclf.manifest import Manifest, ManifestError, Row
from birdclf.photo import open_photo
from birdclf.species import SpeciesError, load_species
from birdclf.testing import PATIENCE, paint_bird
from birdclf.verify import thumbnail_of

BIRDS = load_species()
NAMES = [bird.scientific for bird in BIRDS]
PEOPLE = 'Anna', 'Ben'


def rows_of(n, copies=()):
    "Verified rows of a few birds; `copies` are pairs of a best copy and another, as places"
    rows = [Row(NAMES[i % 5], ('inat', 'commons')[i % 2], str(i), license='by', status='verified', score=round(1-i/n, 6), path='bird.jpg', sha256='ab'*32,
                suspicions='far from the others' if i % 3 == 0 else '') for i in range(n)]
    for best,other in copies: rows[best], rows[other] = (replace(rows[place], duplicate_group=rows[best].id) for place in (best, other))
    return rows


@pytest.fixture
def flock(tmp_path):
    "Fills a manifest in the test's folder, and opens it for somebody"
    opened = []
    def fill(n=100, copies=(), by='Anna', rows=None):
        with Manifest(tmp_path, write=True) as manifest: manifest.add(rows_of(n, copies) if rows is None else rows)
        return look(by)
    def look(by='Anna'):
        opened.append(Manifest(tmp_path, decide=True))
        return Review(opened[-1], by, BIRDS)
    fill.look = look
    yield fill
    for manifest in opened: manifest.close()


def words(review): return {photo: {by: said[:2] for by,said in told.items()} for photo,told in review.said.items() if told}


# --- any actions, any crash

class Model:
    "What should be: everybody's words, and stacks of what each has done and undone"
    def __init__(self): self.words, self.done, self.undone = {}, {by: [] for by in PEOPLE}, {by: [] for by in PEOPLE}

    def say(self, by, photo, word):
        told = self.words.setdefault(photo, {})
        if word[0]: told[by] = word
        else: told.pop(by, None)
        if not told: del self.words[photo]

    def decide(self, by, photos, word):
        changes = [(photo, self.words.get(photo, {}).get(by, ('', '')), word) for photo in dict.fromkeys(photos)]
        changes = [change for change in changes if change[1] != change[2]]
        if not changes: return
        self.done[by].append(changes)
        self.undone[by].clear()
        for photo,_,after in changes: self.say(by, photo, after)

    def turn(self, by, back):
        stack, other = (self.done, self.undone) if back else (self.undone, self.done)
        if not stack[by]: return []
        changes = stack[by].pop()
        other[by].append(changes)
        for photo,before,after in changes: self.say(by, photo, before if back else after)
        return [photo for photo,*_ in changes]

    def agreement(self, by):
        other, = set(PEOPLE)-{by}
        both = [told for told in self.words.values() if len(told) == 2]
        return {other: (sum(told[by] == told[other] for told in both), len(both))} if both else {}


who = st.sampled_from(PEOPLE)
photos = st.lists(st.integers(0, 11), min_size=1, max_size=6)
ACTIONS = st.one_of(
    st.tuples(st.just('decide'), who, photos, st.sampled_from(('keep', 'drop', ''))),
    st.tuples(st.just('relabel'), who, photos, st.sampled_from(NAMES[:6])),
    st.tuples(st.just('range'), who, st.integers(0, 8), st.integers(0, 8)),
    st.tuples(st.just('group'), who, st.integers(0, 11), st.sampled_from(('keep', 'drop'))),
    st.tuples(st.just('undo'), who), st.tuples(st.just('undo'), who), st.tuples(st.just('redo'), who), st.tuples(st.just('redo'), who),
    st.tuples(st.just('view'), who, st.sampled_from([*STATES]), st.sampled_from([*ORDERS])),
    st.tuples(st.just('crash')))


class Desks:
    "Anna and Ben at one manifest, and what should come of it"
    def __init__(self, folder):
        self.folder, self.number, self.rows, self.model = folder, 0, rows_of(12, [(0, 3), (0, 4), (7, 9)]), Model()
        with Manifest(folder/'0', write=True) as manifest: manifest.add(self.rows)
        self.sit()

    def sit(self): self.reviews = {by: Review(Manifest(self.folder/str(self.number), decide=True), by, BIRDS) for by in PEOPLE}

    def leave(self):
        for review in self.reviews.values(): review.manifest.close()

    def crash(self):
        "Go on with what the disk held while everything was open"
        self.number += 1
        there = self.folder/str(self.number)
        there.mkdir()
        for file in ('manifest.sqlite', 'manifest.sqlite-wal'): shutil.copy(self.folder/str(self.number-1)/file, there)
        self.leave()
        self.sit()

    def do(self, kind, by=None, *what):
        review, ids = self.reviews.get(by), [row.id for row in self.rows]
        if kind == 'crash': self.crash()
        elif kind in ('undo', 'redo'): assert set(getattr(review, kind)()) == set(self.model.turn(by, kind == 'undo'))
        elif kind == 'view': review.view(state=what[0], order=what[1])
        else:
            if kind == 'range': chosen, word = review.between(*(review.ids[place % len(review.ids)] for place in what)) if review.ids else [], ('drop', '')
            elif kind == 'group': chosen, word = review.group(ids[what[0]]), (what[1], '')
            else: chosen, word = [ids[place] for place in what[0]], (what[1], '') if kind == 'decide' else ('relabel', what[1])
            if not chosen: return
            review.decide(chosen, *word)
            alone = word[0] == 'relabel' and {review.items[photo].species for photo in chosen} == {word[1]}
            self.model.decide(by, chosen, ('keep', '') if alone else word)

    def check(self):
        for by,review in self.reviews.items():
            mine = {photo: told[by] for photo,told in self.model.words.items() if by in told}
            for _ in range(2): # As it has been kept up to date, and as it is read anew
                assert {photo: told[by] for photo,told in words(review).items() if by in told} == mine
                assert [n for _,n in review.actions] == [len(changes) for changes in self.model.done[by]]
                tops = [item for item in review.items.values() if review.on_top(item.id)]
                for species in {item.species for item in tops}:
                    these = [mine.get(item.id, ('', ''))[0] for item in tops if item.species == species]
                    assert review.progress(species) == (len(these), sum(map(bool, these)), these.count('drop'))
                assert review.progress() == (9, sum(item.id in mine for item in tops), sum(mine.get(item.id, ('', ''))[0] == 'drop' for item in tops))
                review.reload()
            assert words(review) == self.model.words and review.agreement() == self.model.agreement(by)
            shown = {item.id for item in tops} | set(mine)
            review.view(state='disputed')
            assert set(review.ids) == {photo for photo,told in self.model.words.items() if len(set(told.values())) > 1} & shown
            review.view(state='undecided')
            assert set(review.ids) == {item.id for item in tops}-set(mine)
        for row in self.reviews['Anna'].manifest.rows():
            told = set(self.model.words.get(row.id, {}).values())
            assert (row.decision, row.label) == ((*told,)[0] if len(told) == 1 else ('disputed', '') if told else ('', ''))


@settings(max_examples=120, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(actions=st.lists(ACTIONS, max_size=20))
def test_any_actions_and_any_crash(tmp_path_factory, actions):
    folder = tmp_path_factory.mktemp('desks')
    desks = Desks(folder)
    try:
        for action in actions: desks.do(*action)
        desks.check()
        desks.crash()
        desks.check()
        for by,review in desks.reviews.items():
            while review.undo(): desks.model.turn(by, True)
        desks.check()
        assert desks.model.words == {} and not any(words(review) for review in desks.reviews.values())
        for by,review in desks.reviews.items():
            while review.redo(): desks.model.turn(by, False)
        desks.check()
    finally:
        desks.leave()
        shutil.rmtree(folder)


CLEANER = '''
import sys
from birdclf.clean import Review
from birdclf.manifest import Manifest
from birdclf.species import load_species
review = Review(Manifest(sys.argv[1], decide=True), sys.argv[2], load_species())
for number,photo in enumerate(review.ids):
    if number % 7 == 6: review.undo()
    else: review.decide(photo, ('drop', 'keep')[number % 2])
    print(number, flush=True)
'''

def cleaner(folder, by, **options):
    return subprocess.Popen([sys.executable, '-c', CLEANER, str(folder), by], stdout=subprocess.PIPE, text=True, **options)


def test_killed_in_the_middle(flock, tmp_path):
    "Every decision that was said to be kept is kept, and at most one more"
    review = flock(600)
    ids = list(review.ids)
    for delay in (.05, .15, .3):
        with cleaner(tmp_path, f'Anna {delay}') as process:
            process.stdout.readline()
            time.sleep(delay)
            os.kill(process.pid, signal.SIGKILL)
            told = [int(line) for line in process.stdout.read().splitlines() if line]
        last, after = (told or [0])[-1], flock.look(f'Anna {delay}')
        expected = [{photo: ('drop', 'keep')[number % 2] for number,photo in enumerate(ids[:n+1]) if number % 7 != 6 and not (number % 7 == 5 and number+1 <= n)}
                    for n in (last, last+1)]
        assert {photo: after.mine(photo).decision for photo in ids if after.mine(photo).decision} in expected


def test_two_people_at_once(flock, tmp_path):
    flock(120)
    processes = [cleaner(tmp_path, by) for by in PEOPLE]
    for process in processes:
        assert process.communicate(timeout=PATIENCE)[0].count('\n') == 120 and process.returncode == 0
    review = flock.look('Anna')
    mine = sum(bool(review.mine(photo).decision) for photo in review.items)
    assert review.agreement() == {'Ben': (mine, mine)} and mine == 120 - 2*(120//7)


# --- the list

def test_every_photograph_is_on_exactly_one_page(flock):
    review = flock(205, copies=[(0, 50), (0, 51)])
    for order in ORDERS:
        review.view(order=order, state='all')
        pages = [review.page(number) for number in range(review.pages)]
        assert [len(ids) for ids in pages[:-1]] == [PAGE]*(len(pages)-1) and 0 < len(pages[-1]) <= PAGE
        assert sorted(photo for ids in pages for photo in ids) == sorted(set(review.items)-{row.id for row in rows_of(205)[50:52]})


def test_orders(flock):
    review = flock(60)
    item = review.items.__getitem__
    scores = lambda ids: [-item(photo).score for photo in ids]
    assert scores(review.ids) == sorted(scores(review.ids))
    review.view(order='species')
    assert [item(photo).species for photo in review.ids] == sorted((item(photo).species for photo in review.ids), key=NAMES.index)
    review.view(order='source')
    assert [item(photo).source for photo in review.ids] == ['commons']*30+['inat']*30
    last = review.ids[7]
    review.said[last]['Anna'] = review.mine(last)._replace(decision='drop', at='2999-01-01T00:00:00Z')
    review.view(order='newest', state='all')
    assert review.ids[0] == last


def test_filters(flock):
    review = flock(60)
    review.view(species=NAMES[2], source='inat', suspicious=True)
    assert review.ids and all((item := review.items[photo]).species == NAMES[2] and item.source == 'inat' and item.suspicious for photo in review.ids)
    one, two, three, *_ = review.ids+[photo for photo in review.items if photo not in review.ids]
    review.decide(one, 'drop'), review.decide(two, 'keep'), review.decide(three, 'relabel', 'Star')
    review.view(species='', source='', suspicious=False)
    assert len(review.ids) == 57
    for state,photo in (('drop', one), ('keep', two), ('relabel', three)):
        review.view(state=state)
        assert review.ids == [photo]
    other = flock.look('Ben')
    other.decide([one, two], 'drop')
    review.reload()
    for state,ids in (('disputed', {two}), ('nobody', set(review.items)-{one, two, three}), ('all', set(review.items))):
        review.view(state=state)
        assert set(review.ids) == ids
    for filters in (dict(state='good'), dict(order='beauty'), dict(colour='red')):
        with pytest.raises(CleaningError, match='There is no'): review.view(**filters)


def test_a_decision_moves_nothing(flock):
    review = flock()
    before = list(review.ids)
    review.decide(review.page(1), 'keep')
    assert review.ids == before and review.start() == 0
    review.decide(review.page(0), 'keep')
    assert review.ids == before and review.start() == 2
    assert flock.look().ids == before[2*PAGE:]


def test_new_rows_wait_until_they_are_asked_for(flock, tmp_path):
    review = flock(50)
    before = list(review.ids)
    with Manifest(tmp_path, write=True) as manifest:
        manifest.add([Row(NAMES[0], 'inat', 'new', status='verified', score=2.)])
        manifest.update([replace(row, score=1.5) for row in manifest.rows(id=before[-1])])
        review.decide(before[0], 'drop')
        assert review.ids == before
    review.reload()
    assert len(review.ids) == 50 and [review.items[photo].score for photo in review.ids[:2]] == [2, 1.5]


def test_what_is_undone_is_found(flock):
    review = flock()
    photo = review.ids[95]
    assert review.find(photo) == 2
    review.decide(photo, 'drop')
    review.view(species=NAMES[1], state='keep')
    assert review.find(photo) == 2 and review.filters['species'] == '' and review.filters['state'] == 'all'


def test_only_verified_photographs(flock):
    rows = rows_of(4)
    review = flock(rows=[replace(rows[0], status='rejected', reason='small'), replace(rows[1], status='downloaded'), *rows[2:]])
    assert set(review.items) == {row.id for row in rows[2:]}


# --- copies

def test_copies_hide_behind_the_best(flock):
    review, ids = flock(20, copies=[(5, 6), (5, 11)]), [row.id for row in rows_of(20)]
    assert len(review.ids) == 18 and review.progress().total == 18
    assert review.group(ids[11]) == [ids[5], ids[6], ids[11]] and review.group(ids[0]) == [ids[0]]
    review.decide(review.group(ids[6]), 'drop')
    assert review.progress() == (18, 1, 1) and len(review.actions) == 1
    review.view(state='drop')
    assert set(review.ids) == {ids[5], ids[6], ids[11]}
    review.undo()
    assert not words(review)


def test_a_copy_whose_best_is_gone_is_shown(flock):
    rows = rows_of(6, copies=[(1, 2)])
    review = flock(rows=[row if place != 1 else replace(row, status='rejected') for place,row in enumerate(rows)])
    assert rows[2].id in review.ids and review.on_top(rows[2].id) and review.group(rows[2].id) == [rows[2].id]


# --- words

def test_a_relabelled_robin_that_is_a_robin_is_kept(flock):
    review = flock()
    robin = next(photo for photo in review.ids if review.items[photo].species == NAMES[0])
    review.decide(robin, 'relabel', BIRDS[0].german)
    assert review.mine(robin)[:2] == ('keep', '')
    review.decide(review.ids[:3], 'relabel', BIRDS[0].german)
    assert {review.mine(photo)[:2] for photo in review.ids[:3]} == {('relabel', NAMES[0])}


@pytest.mark.parametrize('photos,decision,label,error', [
    (['nobody'], 'drop', '', ManifestError), (None, 'burn', '', ManifestError), (None, 'relabel', '', SpeciesError), (None, 'relabel', 'penguin', SpeciesError)])
def test_refusals_change_nothing(flock, photos, decision, label, error):
    review = flock(10)
    review.decide(review.ids[0], 'keep')
    before = words(review), review.progress()
    with pytest.raises(error): review.decide(photos or review.ids[:2], decision, label)
    assert (words(review), review.progress()) == before
    review.reload()
    assert (words(review), review.progress()) == before


def test_nobody_sees_the_others_before_judging(flock):
    anna, photo = flock(), rows_of(100)[0].id
    ben = flock.look('Ben')
    ben.decide(photo, 'relabel', 'Star')
    anna.reload()
    desk = Desk(anna)
    assert anna.others(photo) == [] and 'Ben' not in json.dumps(desk.hear(dict(kind='open'))[0])
    mark, = desk.hear(dict(kind='decide', photos=[photo], decision='drop'))[0]['changed']
    assert mark['others'] == [dict(by='Ben', decision='relabel', label=BIRDS.find('Star').english)]
    assert anna.agreement() == {'Ben': (0, 1)}


@pytest.mark.parametrize('name', ['', '  ', 'a, b', 'x'*41, 'Anna\nBen\x00', '\u202eneB'])
def test_names_that_cannot_sign(name):
    with pytest.raises(CleaningError, match='cannot sign a decision'): person(name)


def test_who_is_it(monkeypatch):
    monkeypatch.setenv('BIRDCLF_PERSON', 'Zoë')
    assert whoever() == 'Zoë'
    monkeypatch.delenv('BIRDCLF_PERSON')
    monkeypatch.setattr('birdclf.clean.getuser', lambda: (_ for _ in ()).throw(KeyError('uid not found')))
    assert person(whoever()) == 'somebody'


# --- pace

def times(*gaps, start=1_800_000_000):
    now, actions = start, []
    for gap in gaps:
        now += gap
        actions.append((time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(now)), 2))
    return actions


def test_pace():
    assert pace([]) is None and pace(times(0)) is None and pace(times(0, 5)) is None
    assert pace(times(0, 10, 10, 10)) == pytest.approx(12)
    assert pace(times(0, 10, COFFEE+1, 10, 40_000, 10)) == pytest.approx(12)
    assert pace(times(*[1000]*500)) is None


def test_pace_and_position_after_a_restart(flock, monkeypatch):
    review, clock = flock(), iter(times(*[6]*10))
    monkeypatch.setattr('birdclf.manifest.now', lambda: next(clock)[0] if sys._getframe(1).f_code.co_name == 'decide' else '2027-01-01T00:00:00Z')
    for photo in review.ids[:10]: review.decide(photo, 'keep')
    monkeypatch.undo()
    review = flock.look()
    assert pace(review.actions) == pytest.approx(10)
    assert review.minutes_left() == pytest.approx(9)
    assert review.page(review.start())[0] == rows_of(100)[10].id


# --- the search

def test_every_name_finds_its_bird(flock):
    review = flock(1)
    for bird in BIRDS:
        for name in (bird.german, bird.english, bird.scientific, *bird.aliases): assert review.search(name)[0] == bird, name
        assert bird in review.search(bird.german[:4])


def test_the_search_offers_what_is_suspected_and_what_was_said_last(flock):
    review = flock(9)
    review.decide(review.ids[0], 'relabel', 'Star')
    assert [bird.german for bird in review.search('', 'probably another bird: Great Tit')] == ['Kohlmeise', 'Star']
    assert review.search('zzzz') == []


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
    reply = failing(Desk(review), dict(kind='decide', photos=review.ids, decision='drop', seq=1))
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
        reply = failing(Desk(review), message)
        assert reply['kind'] == 'failed' and 'nothing was changed' in reply['sentence'] and str(tmp_path) not in json.dumps(reply)
    assert not words(review)
    away.rename(tmp_path if loss == 'folder' else path)


@pytest.mark.parametrize('message', [
    'hello', None, {}, dict(kind='__init__'), dict(kind='page', number='x'), dict(kind='zoom', photo='nobody'), dict(kind='person', name=','),
    dict(kind='view', filters=dict(state='good')), dict(kind='decide', photos=[['x']], decision='keep')])
def test_strange_messages_get_a_sentence(flock, tmp_path, message):
    reply = failing(Desk(flock(10)), message)
    assert reply['kind'] == 'failed' and reply['sentence'].endswith('.') and str(tmp_path) not in json.dumps(reply)
    assert reply['sentence'].count('\n') == 0


def test_another_thread(flock):
    "JupyterLab runs cells in one thread and answers widgets in others"
    review = flock()
    desk, ids = Desk(review), list(review.ids)
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
    first = thumbnail(review.manifest, row)
    assert open_photo(first).image.size == (320, 240) and place.read_bytes() == first
    place.write_bytes(b'as it lies there')
    assert thumbnail(review.manifest, row) == b'as it lies there'
    shutil.rmtree(tmp_path/'thumbnails')
    (tmp_path/'thumbnails').write_text('no folder')
    assert open_photo(thumbnail(review.manifest, row)).image.size == (320, 240)


@pytest.mark.parametrize('spoil,why', [(lambda file: file.unlink(), 'no such file'), (lambda file: file.write_bytes(b'no'), 'not a picture'),
                                       (lambda file: file.write_bytes(file.read_bytes()[:4000]), 'damaged')])
def test_a_picture_that_cannot_be_shown_has_a_reason(flock, tmp_path, spoil, why):
    row = replace(rows_of(1)[0], sha256=paint(tmp_path))
    review = flock(rows=[row])
    spoil(tmp_path/'bird.jpg')
    for kind,name in (('open', 'photos'), ('zoom', 'photo')):
        reply, pictures = Desk(review).hear(dict(kind=kind, photo=row.id))
        shown = reply[name][0] if name == 'photos' else reply[name]
        assert shown['picture'] is None and why in shown['fault'] and pictures == [] and str(tmp_path) not in json.dumps(reply)


def test_a_large_picture_with_its_papers(flock, tmp_path):
    row = replace(rows_of(1)[0], sha256=paint(tmp_path, size=(2400, 1200)), width=2400, height=1200, title='<b>Robin</b>', creator='',
                  license='by-sa', license_version='4.0', page_url='javascript:alert(1)', license_url='https://creativecommons.org/licenses/by-sa/4.0/')
    reply, (picture,) = Desk(flock(rows=[row])).hear(dict(kind='zoom', photo=row.id))
    photo = reply['photo']
    assert open_photo(picture, max_side=9999).image.size == (1600, 800)
    assert (photo['papers']['Title'], photo['papers']['Author'], photo['papers']['Licence']) == ('<b>Robin</b>', 'not named', 'CC BY-SA 4.0')
    assert (photo['link'], photo['terms']) == ('', row.license_url)


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
    desk = page(tmp_path, 'Aino', species=tmp_path/'finnish.csv').desk
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
    desk = Desk(review)
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

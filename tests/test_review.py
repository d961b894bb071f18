"A person's decisions without a page: whatever is done, in whatever order, and wherever it is cut off"
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from flocks import BIRDS, NAMES, flock, rows_of, words  # noqa: F401 (a fixture)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pace import few

from birdclf.manifest import STRANGERS, Manifest, ManifestError, Row
from birdclf.review import COFFEE, ORDERS, PAGE, STATES, CleaningError, Review, pace, person, whoever
from birdclf.species import SpeciesError
from birdclf.testing import PATIENCE

PEOPLE = 'Anna', 'Ben'


# --- any actions, any crash

def core(word): return 'drop' if word[0] == 'drop' else word # Why something is dropped need not be agreed on


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
        return {other: (sum(core(told[by]) == core(told[other]) for told in both), len(both))} if both else {}


who = st.sampled_from(PEOPLE)
photos = st.lists(st.integers(0, 11), min_size=1, max_size=6)
ACTIONS = st.one_of(
    st.tuples(st.just('stranger'), who, photos, st.sampled_from(tuple(STRANGERS))),
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
            elif kind == 'stranger': chosen, word = [ids[place] for place in what[0]], ('drop', what[1])
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
            assert set(review.ids) == {photo for photo,told in self.model.words.items() if len(set(map(core, told.values()))) > 1} & shown
            review.view(state='undecided')
            assert set(review.ids) == {item.id for item in tops}-set(mine)
        for row in self.reviews['Anna'].manifest.rows():
            told = set(self.model.words.get(row.id, {}).values())
            agreed = ('drop', '') if {core(word) for word in told} == {'drop'} else ('disputed', '') if told else ('', '')
            assert (row.decision, row.label) == ((*told,)[0] if len(told) == 1 else agreed)


@settings(max_examples=few(25, 120), derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
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
from birdclf.review import Review
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
    (['nobody'], 'drop', '', ManifestError), (None, 'burn', '', ManifestError), (None, 'relabel', '', SpeciesError), (None, 'relabel', 'penguin', SpeciesError),
    (None, 'drop', 'a cloud', ManifestError), (None, 'keep', 'no bird', ManifestError), (None, '', 'no bird', ManifestError)])
def test_refusals_change_nothing(flock, photos, decision, label, error):
    review = flock(10)
    review.decide(review.ids[0], 'keep')
    before = words(review), review.progress()
    with pytest.raises(error): review.decide(photos or review.ids[:2], decision, label)
    assert (words(review), review.progress()) == before
    review.reload()
    assert (words(review), review.progress()) == before


@pytest.mark.parametrize('name', ['', '  ', 'a, b', 'x'*41, 'Anna\nBen\x00', '\u202eneB'])
def test_names_that_cannot_sign(name):
    with pytest.raises(CleaningError, match='cannot sign a decision'): person(name)


def test_who_is_it(monkeypatch):
    monkeypatch.setenv('BIRDCLF_PERSON', 'Zoë')
    assert whoever() == 'Zoë'
    monkeypatch.delenv('BIRDCLF_PERSON')
    monkeypatch.setattr('birdclf.review.getuser', lambda: (_ for _ in ()).throw(KeyError('uid not found')))
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

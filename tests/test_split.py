"Splitting, from outside: nothing is parted, nothing moves, and it can be shot; all rows are made up"
import subprocess
import sys
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from tempfile import TemporaryDirectory

import pytest

pytest.importorskip('filelock', reason='needs birdclf[clean]')
pytest.importorskip('scipy', reason='needs birdclf[clean]')
pytest.importorskip('hypothesis', reason='needs birdclf[dev]')

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from birdclf.manifest import Manifest, ManifestError, Row, kept
from birdclf.species import load_species
from birdclf.split import check_kept, leaks, split

SLOWLY = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
BIRDS = [f'Avis {letter}' for letter in 'abcdef']

RUN = '''
import sys
from birdclf.manifest import Manifest
from birdclf.split import split
with Manifest(sys.argv[1], write=True) as manifest:
    print('ready', flush=True)
    split(manifest)
    print('done', flush=True)
'''


def choice(random, values, empty=.3): return '' if random.random()<empty else random.choice(values)


def tangled(random, size, first=0):
    "Rows with much in common: few observers, creators, observations, files and birds"
    people, seen = [f'inat:{n}' for n in range(random.randint(1, 12))], [f'inat:{n}' for n in range(random.randint(1, 30))]
    return [Row(random.choice(BIRDS), random.choice(['inat', 'flickr']), str(first+n), license='by', status='verified',
                observer_id=choice(random, people, .5), creator=choice(random, ['Ida', 'Ben', 'Cleo', 'Dan'], .8),
                observation_id=choice(random, seen, .8), sha256=choice(random, [f'{k:064x}' for k in range(50)], .8)) for n in range(size)]


def with_copies(random, rows):
    "The same, with copies among them as `verify` marks them"
    rows = list(rows)
    for _ in range(len(rows)//8):
        several = random.sample(range(len(rows)), min(len(rows), random.randint(2, 3)))
        for place in several: rows[place] = replace(rows[place], duplicate_group=rows[several[0]].id)
    return rows


def in_common(row):
    "What must not be on both sides, in this test's own words"
    if row.observation_id: yield 'seen', row.observation_id
    if row.observer_id: yield 'by', row.observer_id
    elif row.creator: yield 'by', row.source, row.creator
    if row.duplicate_group: yield 'like', row.duplicate_group
    if row.sha256: yield 'file', row.sha256


def parted(rows):
    sides = defaultdict(set)
    for row in rows:
        if row.split:
            for key in in_common(row): sides[key].add(row.split)
    return [key for key, both in sides.items() if len(both)>1]


def reached(row, rows):
    "All that have something in common with `row`, directly or by way of others"
    keys, found = set(in_common(row)), []
    while more := [other for other in rows if other not in found and keys & set(in_common(other))]:
        found += more
        keys |= {key for other in more for key in in_common(other)}
    return found


@contextmanager
def holding(rows):
    "A manifest with these rows in it"
    with TemporaryDirectory() as folder, Manifest(folder, write=True) as manifest:
        manifest.add(rows)
        yield manifest


def sides_of(rows): return {row.id: row.split for row in rows if row.split}
randoms = st.integers(0, 10**9).map(Random)


@SLOWLY
@given(randoms, st.integers(1, 80))
def test_nothing_is_parted_and_everything_has_a_side(random, size):
    with holding(with_copies(random, tangled(random, size))) as manifest:
        report = split(manifest)
        rows = list(kept(manifest))
        assert report.leaks == [] and not report.left_out
        assert parted([replace(row, observer_id='', creator='') if report.parted else row for row in rows]) == []
        assert all(row.split in ('train', 'test') for row in rows)
        assert report.photographs == Counter(row.split for row in rows)
        assert set(report.one_sided) == {bird for bird in {row.bird for row in rows} if len({row.split for row in rows if row.bird==bird})==1}
        assert not any(row.split for row in manifest.rows() if row.id not in {row.id for row in rows})


@SLOWLY
@given(randoms, st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=1, max_size=6), st.sampled_from([.1, .2, .4]))
def test_every_bird_is_on_both_sides_and_its_share_is_right_to_within_a_group(random, birds, share):
    "`birds`: how many photographs each of their photographers has"
    rows = [Row(BIRDS[b], 'inat', f'{b}/{p}/{n}', license='by', status='verified', observer_id=f'inat:{b}/{p}') for b, people in enumerate(birds)
            for p, photos in enumerate(people) for n in range(photos)]
    random.shuffle(rows)
    with holding(rows) as manifest:
        split(manifest, test=share)
        found = Counter((row.bird, row.split) for row in manifest.rows())
    for bird, people in zip(BIRDS, birds):
        test = found[bird, 'test']
        assert abs(test-share*sum(people)) <= max(people)
        assert len(people)==1 or found[bird, 'train'] and test


def test_a_second_look_changes_nothing_beside_a_copy_that_is_not_kept():
    "`between` has a copy in train, and another with more that lies in the test; that copy is not kept, and so has no side to keep either"
    def photo(name, **ties): return Row('Erithacus rubecula', 'inat', name, license='by', status='verified', **ties)
    trained, between = photo('1', duplicate_group='a'*16, split='train'), photo('2', duplicate_group='a'*16, sha256='7'*64)
    worse, better = photo('3', duplicate_group='b'*16, sha256='7'*64), photo('4', duplicate_group='b'*16, observer_id='inat:ida')
    with holding([trained, between, worse, better, photo('5', split='test', observer_id='inat:ida'), photo('6', observer_id='inat:ida')]) as manifest:
        for row in (trained, between, better): manifest.decide(row.id, 'keep', 'Ida')
        split(manifest)
        before = list(manifest.rows())
        assert split(manifest).changed == 0 and list(manifest.rows()) == before and parted(before) == []


@SLOWLY
@given(randoms, st.integers(1, 60))
def test_sides_stay_whoever_comes_and_goes(random, size):
    rows = with_copies(random, tangled(random, size))
    with holding(rows) as manifest:
        if split(manifest).parted: return # Which is noted in a manifest, and each wave has a new one
        rows = list(manifest.rows())
    for wave in range(1, 4): # Some rows are gone for good, others come, and what is a copy of what is found out anew for the new ones
        rows = [row for row in rows if random.random()<.8]
        before, new = sides_of(rows), tangled(random, random.randint(1, 25), 1000*wave)
        for place in range(len(new)):
            like = random.choice(rows) if rows and random.random()<.3 else None
            if like: new[place] = replace(new[place], duplicate_group=like.duplicate_group or like.id)
        with holding(random.sample(rows+new, len(rows+new))) as manifest:
            for row in random.sample(rows+new, len(rows+new)//5): manifest.decide(row.id, random.choice(['drop', 'keep']), 'Ida')
            for row in random.sample(rows+new, len(rows+new)//9): manifest.decide(row.id, 'relabel', 'Ida', random.choice(BIRDS))
            if not any(kept(manifest)): return
            report = split(manifest)
            after = list(manifest.rows())
            assert before.items() <= sides_of(after).items()
            assert parted(after) == []
            mine = list(kept(manifest))
            assert report.left_out.total() == sum(not row.split for row in mine)
            for row in mine: # Whoever was left out had reason to be
                assert row.split or {other.split for other in reached(row, after)} >= {'train', 'test'}
            assert {row.mini or row.split for row in mine} == {row.split for row in mine}
            changes = manifest.db.connection.total_changes
            assert split(manifest).changed == 0 and manifest.db.connection.total_changes == changes
        rows = after


@SLOWLY
@given(randoms, st.integers(1, 60))
def test_the_order_of_the_rows_does_not_matter(random, size):
    rows, found = with_copies(random, tangled(random, size)), []
    for _ in range(2):
        with holding(rows) as manifest:
            split(manifest, batch_size=4)
            found.append({(row.id, row.split, row.mini) for row in manifest.rows()})
        rows = random.sample(rows, len(rows))
    assert found[0] == found[1]


def test_someone_tied_to_both_sides_is_left_out_and_moves_nobody():
    rows = [Row('Avis a', 'inat', f'{who}{n}', license='by', status='verified', observer_id=f'inat:{who}', observation_id=f'inat:{who}{n}') for who in ('ida', 'ben') for n in range(3)]
    with holding(rows) as manifest:
        split(manifest)
        before = sides_of(manifest.rows())
        assert set(before.values()) == {'train', 'test'}
        manifest.add([replace(rows[0], source_id='both', observation_id=rows[3].observation_id)])
        report = split(manifest)
        assert sides_of(manifest.rows()) == before
        assert report.left_out == {'would join train and test': 1} and 'left out: 1 that would join train and test' in str(report)


def test_a_photograph_that_comes_back_finds_its_photographer_where_it_was():
    "Dropped, its side is remembered; else a new one by the same hand might go elsewhere, and then it comes back"
    for seed in range(8):
        rows = [Row('Avis a', 'inat', f'{seed} {n}', license='by', status='verified', observer_id=f'inat:{seed}/{n}') for n in range(6)]
        with holding(rows) as manifest:
            split(manifest)
            held = next(row for row in manifest.rows() if row.split=='test')
            manifest.decide(held.id, 'drop', 'Ida')
            manifest.add([replace(held, source_id='new', split='')])
            split(manifest)
            manifest.undo('Ida')
            assert split(manifest).leaks == []
            assert {row.split for row in manifest.rows(observer_id=held.observer_id)} == {'test'}


def test_what_is_found_out_later_is_reported_and_moves_nothing():
    rows = [Row('Avis a', 'inat', str(n), license='by', status='verified', observer_id=f'inat:{n}') for n in range(6)]
    with holding(rows) as manifest:
        split(manifest)
        ends = [next(row for row in manifest.rows() if row.split==side) for side in ('train', 'test')]
        manifest.update([replace(row, observer_id='inat:the same') for row in ends])
        before, report = sides_of(manifest.rows()), split(manifest)
        assert report.leaks == leaks(kept(manifest)) == [('photographer', 'inat:the same')] and 'LEAK: photographer inat:the same is on both sides\n' in str(report) and 'To split anew, take up the photographs in another folder with --data' in str(report)
        assert sides_of(manifest.rows()) == before
        manifest.decide(ends[1].id, 'drop', 'Ida') # What the report advises
        assert split(manifest).leaks == []


def by_many(size, seed=0):
    "`size` photographs of the book's birds, by people of very different industry"
    random, birds = Random(seed), [bird.scientific for bird in load_species()]
    popular, industry = [random.paretovariate(1) for _ in birds], [random.paretovariate(1.2) for _ in range(3000)]
    who, what = random.choices(range(3000), industry, k=size), random.choices(birds, popular, k=size)
    return [Row(bird, 'inat', str(n), license='by', status='verified', observer_id=f'inat:{person}', observation_id=f'inat:{person}/{n//3}')
            for n, (person, bird) in enumerate(zip(who, what))]


def test_twenty_thousand_in_seconds_and_the_small_sets_of_the_original():
    rare = [Row(f'Avis rara {b}', 'inat', f'rare {b}/{n}', license='by', status='verified', observer_id=f'inat:rare {b}/{n}') for b in range(3) for n in range(3)]
    with holding(by_many(20_000)+rare) as manifest:
        start = time.process_time()
        report = split(manifest, batch_size=256)
        first = time.process_time()-start
        assert report.mini == {'train': 1024, 'test': 512} == manifest.count('mini', mini=('train', 'test'))
        total, sides, mini = manifest.count('species'), manifest.count('species', 'split'), manifest.count('species', 'mini')
        for bird, n in total.items():
            assert abs(report.shares[bird]*n-.2*n) <= 1.5
            for side, size in (('train', 1024), ('test', 512)): # A fair sample: right to one photograph, or two where rare birds have taken a place
                assert abs(mini[bird, side]-size*sides[bird, side]/report.photographs[side]) <= 2
                assert mini[bird, side] >= 1
        assert manifest.db.execute("SELECT count(*) FROM photos WHERE mini<>'' AND mini<>split").fetchone()[0] == 0
        start = time.process_time()
        assert split(manifest, batch_size=256).changed == 0
        again = time.process_time()-start
    assert first < 15 and again < 8, f'{first:.1f} s of processor time, then {again:.1f} s'


def test_a_smaller_batch_is_a_smaller_set_and_moves_no_side():
    with holding(by_many(4000)) as manifest:
        split(manifest, batch_size=64)
        before, small = sides_of(manifest.rows()), {row.id for row in manifest.rows(mini=('train', 'test'))}
        assert len(small) == 256+128
        split(manifest, batch_size=32)
        assert sides_of(manifest.rows()) == before
        assert len(small & {row.id for row in manifest.rows(mini=('train', 'test'))}) > 150 # Of 192: the same ones come first


def test_shot_at_any_moment(tmp_path):
    rows = by_many(6000)
    with Manifest(tmp_path/'whole', write=True) as manifest:
        manifest.add(rows)
        split(manifest)
        whole = {(row.id, row.split, row.mini) for row in manifest.rows()}
    with Manifest(tmp_path/'shot', write=True) as manifest: manifest.add(rows)
    found = set()
    for wait in (.0, .1, .2, .3, .4, .5, .6, .8, 1.1):
        victim = subprocess.Popen([sys.executable, '-c', RUN, str(tmp_path/'shot')], stdout=subprocess.PIPE, text=True)
        assert victim.stdout.readline() == 'ready\n'
        time.sleep(wait)
        victim.kill()
        done = 'done' in victim.communicate()[0]
        with Manifest(tmp_path/'shot') as manifest: sided = len(sides_of(manifest.rows()))
        assert sided in (0, 6000) and (not done or sided), 'half a split'
        found.add(sided)
        if sided: break
    assert 0 in found, 'it was never shot in time'
    with Manifest(tmp_path/'shot', write=True) as manifest:
        split(manifest)
        assert {(row.id, row.split, row.mini) for row in manifest.rows()} == whole


def test_what_people_said_stays():
    with holding(by_many(50)) as manifest:
        ids = [row.id for row in manifest.rows()]
        manifest.decide(ids[:5], 'drop', 'Ida'), manifest.decide(ids[5:9], 'keep', 'Ben'), manifest.decide(ids[9], 'relabel', 'Ben', 'Pica pica')
        before = list(manifest.decisions())
        split(manifest)
        assert list(manifest.decisions()) == before
        assert not any(row.split or row.mini for row in manifest.rows(decision='drop'))
        assert {row.bird for row in manifest.rows(id=ids[9])} == {'Pica pica'}


@pytest.mark.parametrize('options, says', [(dict(test=0), 'share between 0 and 1'), (dict(test=1), 'share between 0 and 1'), (dict(test=float('nan')), 'share between 0 and 1'),
                                           (dict(batch_size=0), 'whole number from 1')])
def test_nonsense_is_refused(options, says):
    with holding(by_many(20)) as manifest:
        with pytest.raises(ManifestError, match=says): split(manifest, **options)
        assert not sides_of(manifest.rows())


def test_one_hand_is_parted_and_its_copies_are_not():
    "Own photographs: one observer, three of one moment, two copies; all without a licence"
    rows = [Row(BIRDS[n%3], 'folder', str(n), status='verified', observer_id='Ida', observation_id='moment' if n<3 else '') for n in range(30)]
    rows[10:12] = [replace(row, duplicate_group=rows[10].id) for row in rows[10:12]]
    with holding(rows) as manifest:
        manifest.decide(rows[11].id, 'keep', 'Ida')
        report = split(manifest)
        sides = {row.source_id: row.split for row in manifest.rows()}
        assert (report.photographs, report.parted, report.leaks, report.one_sided) == ({'train': 24, 'test': 6}, 30, [], {}) and 'by one hand' in str(report)
        assert len({sides[str(n)] for n in range(3)}) == 1 and sides['10'] == sides['11']
        manifest.add([Row(BIRDS[n%3], 'folder', f'ben {n}', status='verified', observer_id='Ben') for n in range(60)])
        report = split(manifest) # Ida is still the one who was parted, and Ben is one group
        assert sides.items() <= {row.source_id: row.split for row in manifest.rows()}.items() and len(manifest.count('split', observer_id='Ben')) == 1
        assert (report.leaks, report.left_out.total(), report.parted) == ([], 0, 30)


def test_two_hands_are_never_parted():
    rows = [Row(BIRDS[n%3], 'folder', str(n), status='verified', observer_id='Ida' if n<24 else 'Ben') for n in range(30)]
    with holding(rows) as manifest:
        assert (split(manifest).parted, parted(list(manifest.rows()))) == (0, [])


def test_one_photograph_of_each_bird_is_told_as_that():
    "There are no others that could be copies, and no table that anything could be taken out of"
    with holding([Row(bird, 'folder', bird, license='by', status='verified') for bird in BIRDS]) as manifest:
        with pytest.raises(ManifestError, match='Of 6 birds none has a second photograph') as error: check_kept(manifest)
        assert 'metadata.csv' not in str(error.value)


def test_nothing_kept_is_refused():
    with holding([replace(row, status='found') for row in by_many(5)]) as manifest:
        with pytest.raises(ManifestError, match='No photograph in .* is kept'): split(manifest)

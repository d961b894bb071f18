"Gathering, from outside: kills, full disks, bad manners, old manifests, politeness and memory, against servers on 127.0.0.0/8"
import csv
import os
import re
import shlex
import shutil
import signal
import socket
import sqlite3
import ssl
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter, defaultdict
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from random import Random
from unicodedata import normalize
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip('requests', reason="needs birdclf[gather]")
pytest.importorskip('filelock', reason="needs birdclf[gather]")

import requests
from pace import few
from tqdm import tqdm

import birdclf.download as downloading
from birdclf import intake, sources
from birdclf.catalogue import catalogue
from birdclf.cli import main
from birdclf.desks import as_text
from birdclf.download import Downloader, HostLimits, careful_web, download
from birdclf.folder import PhotosError, on_side, one_by_one, read_folder
from birdclf.handover import export_folder
from birdclf.manifest import COLUMNS, DECISION, INSERT, SCHEMA, STATUSES, Manifest, ManifestError, Row
from birdclf.photo import PhotoError, open_photo
from birdclf.replay import MANNERS, Replay
from birdclf.search import Asker, Limits, gather
from birdclf.species import SpeciesList, load_species
from birdclf.testing import PATIENCE, load, paint_folder
from birdclf.web import Web, WebError, read

COMMAND = [str(Path(sys.executable).with_name('birdclf'))]
IMPATIENT = [sys.executable, '-c', "import sys, birdclf.sources as s\nfrom birdclf.search import Limits\nfrom birdclf.cli import main\n"
             "for source in s.SOURCES.values(): source.limits = Limits(.01)\nraise SystemExit(main(sys.argv[1:]))"]
MEASURED = [sys.executable, '-c', "import sys\nfrom birdclf.cli import main\nstatus = main(sys.argv[1:])\n"
            "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\nraise SystemExit(status)"]
BIRDS = list(load_species())[:8]
SOURCES = 'inat', 'gbif', 'commons', 'openverse', 'flickr', 'bing', 'brave'
SEARCH = ['search', '--want', '500', '--source', ','.join(SOURCES), *(word for bird in BIRDS for word in ('--bird', bird.german))]
CONTACT = 'tests@example.org'
TRUSTED = dict(trusted=('127.0.0.0/8',))
TIMES = 'retrieved_at', 'fetched_at', 'decided_at'


def quiet(iterable=(), **options):
    "A progress bar that shows nothing"
    return QuietBar()


class QuietBar:
    def __enter__(self): return self
    def __exit__(self, *error): pass
    def update(self, n): pass


def surroundings(world=None, **more):
    clean = {name: value for name, value in os.environ.items() if not name.startswith('BIRDCLF_')}
    keys = {f'BIRDCLF_{name}_KEY': 'key' for name in ('FLICKR', 'BING', 'BRAVE')}
    return clean | (dict(BIRDCLF_REPLAY=world.base, BIRDCLF_CONTACT=CONTACT) | keys if world else {}) | more


def process(*arguments, world=None, command=COMMAND, env=None, cwd=None):
    "Exit status, stdout and stderr of a whole process"
    done = subprocess.run([*command, *map(str, arguments)], capture_output=True, cwd=cwd, env=surroundings(world, **(env or {})), timeout=PATIENCE)
    return done.returncode, done.stdout.decode('utf-8'), done.stderr.decode('utf-8')


def birdclf(*arguments, world=None, command=COMMAND, env=None, cwd=None):
    "The same, within this process"
    out, err = (TextIOWrapper(BytesIO(), encoding='utf-8', newline='') for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name in list(os.environ): patch.delenv(name)
        for name, value in surroundings(world, **(env or {})).items(): patch.setenv(name, value)
        if cwd: patch.chdir(cwd)
        if command is IMPATIENT:
            for source in sources.SOURCES.values(): patch.setattr(source, 'limits', Limits(.01))
        try: status = main([str(argument) for argument in arguments])
        except SystemExit as e: status = e.code or 0
        out.flush(), err.flush()
    return status, out.buffer.getvalue().decode('utf-8'), err.buffer.getvalue().decode('utf-8')


@contextmanager
def started(*arguments, world, command=COMMAND):
    "A process that does not outlive the block"
    process = subprocess.Popen([*command, *map(str, arguments)], env=surroundings(world), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try: yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def wait_for(happens, seconds=PATIENCE, step=.002):
    until = time.monotonic()+seconds
    while not happens():
        assert time.monotonic() < until, 'waited in vain'
        time.sleep(step)


def calm(world):
    "Wait until nobody is connected to any of the addresses"
    wait_for(lambda: not any(world.lines.open.values()))


def visited(world, start=0): return [visit.path for visit in world.log[start:]]


FAR = re.compile(r'(.*: )?[ \d]+% \d+/\d+ \[.*\]') # How far it is, every ten seconds


def one_sentence(err):
    err = ''.join(line for line in err.splitlines(True) if not FAR.match(line))
    assert err.count('\n') == 1 and err.startswith('birdclf: ') and err.endswith('.\n') and 'Traceback' not in err
    return err


def snapshot(folder):
    "All that a manifest says and all files beside it, but for the times"
    with sqlite3.connect(f'file:{folder}/manifest.sqlite?mode=ro', uri=True) as db:
        names = ', '.join(name for name in ('id', 'host', *COLUMNS) if name not in TIMES)
        photos = db.execute(f'SELECT {names} FROM photos ORDER BY seq').fetchall()
        history = defaultdict(list)
        for photo, event, detail in db.execute('SELECT photo, event, detail FROM history ORDER BY seq'): history[photo].append((event, detail))
        pages = db.execute('SELECT source, species, scope, number, after, found, new, note FROM pages ORDER BY 1, 2, 3, 4').fetchall()
        assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
    db.close()
    files = {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in (folder/'photos').rglob('*') if path.is_file()}
    return photos, dict(history), pages, files


def same(one, other):
    "Like ==, with a short answer to where they differ"
    for mine, theirs in zip(one, other, strict=True):
        if mine != theirs: pytest.fail(f'{len(mine)} and {len(theirs)}: {[pair for pair in zip(mine, theirs) if pair[0] != pair[1]][:1]}')


def photo_row(url, n=0, species='Turdus merula', **more):
    return Row(species, 'inat', str(n), file_url=url, license='by', license_version='4.0', **more)


def manifest_of(folder, urls):
    "Make a manifest with a row for each of `urls`"
    with Manifest(folder, write=True) as manifest: manifest.add(photo_row(url, n) for n, url in enumerate(urls))
    return folder


def rows_of(folder, **equals):
    with Manifest(folder) as manifest: return list(manifest.rows(**equals))


def clean_url(world, n, address='127.0.0.1', size='small'):
    "Where a sound picture is, at as many addresses as we like"
    return f'http://{address}:{world.shelf.port}/photos/inat/0/{size}.jpg?{n}'


def fetched(folder, **options):
    "What a download in this process makes of a manifest: its report, and the rows"
    web = {name: options.pop(name) for name in list(options) if name in ('seconds', 'silence', 'connect', 'trusted')}
    with Manifest(folder, write=True) as manifest:
        report = download(manifest, careful_web(CONTACT, **{**TRUSTED, **web}), bar=quiet, **options)
        return report, list(manifest.rows())


@pytest.fixture(scope='module')
def world():
    with Replay(catalogue(SpeciesList(BIRDS), 18), addresses=('127.0.0.1', '127.0.0.2', '127.0.0.3'), latency=.005) as replay: yield replay


@pytest.fixture(scope='module')
def gathered(world, tmp_path_factory):
    "An undisturbed search: its folder, and the requests it took"
    folder, start = tmp_path_factory.mktemp('gathered'), len(world.log)
    assert birdclf(*SEARCH, '--data', folder, world=world, command=IMPATIENT)[0] == 0
    paths = visited(world, start)
    assert len(set(paths)) == len(paths) > 100
    return folder, paths


@pytest.fixture
def plain_world():
    with Replay([], addresses=('127.0.0.1', '127.0.0.2')) as replay: yield replay


def work_found(folder, tmp_path):
    "A copy of a manifest in which everything is still to be fetched"
    shutil.copytree(folder, tmp_path)
    return tmp_path


# kill -9

def kill_often(arguments, world, command, seed, longest, look):
    "Kill a command many times; `look` gives the paths that must not be asked for again. How many kills were inside the work, and in how many the log grew"
    rng, inside, forbidden, kills = Random(seed), 0, set(), few(5, 25)
    for n in range(kills):
        before = len(world.log)
        with started(*arguments, world=world, command=command) as process:
            if n%5: wait_for(lambda: len(world.lines.visits) > before or process.poll() is not None)
            time.sleep(rng.uniform(0, longest if n%5 else .5))
            inside += process.poll() is None and len(world.lines.visits) > before
        calm(world)
        again = forbidden & set(visited(world, before))
        assert not again, f'asked for again after kill {n}: {sorted(again)[:3]}'
        forbidden = look(before)
    before = len(world.log)
    status, out, err = birdclf(*arguments, world=world, command=command)
    assert (status, err) == (0, '') and not forbidden & set(visited(world, before))
    assert inside >= .6*kills, f'only {inside} of {kills} kills came during the work'


def page_keys(folder):
    if not (folder/'manifest.sqlite').is_file(): return []
    with sqlite3.connect(folder/'manifest.sqlite') as db:
        made = db.execute("SELECT count(*) FROM sqlite_master WHERE name='pages'").fetchone()[0]
        found = db.execute('SELECT source, species, number FROM pages').fetchall() if made else []
    db.close()
    order = [bird.scientific for bird in BIRDS]
    return sorted(found, key=lambda key: (SOURCES.index(key[0]), order.index(key[1]), key[2]))


def test_a_search_that_is_killed(world, gathered, tmp_path):
    reference, paths = gathered
    path_of = dict(zip(page_keys(reference), paths, strict=True))
    assert len(path_of) == len(paths)
    start = len(world.log)
    kill_often([*SEARCH, '--data', tmp_path], world, IMPATIENT, 'search', .06, lambda before: {path_of[key] for key in page_keys(tmp_path)})
    same(snapshot(tmp_path), snapshot(reference))
    requests = visited(world, start)
    assert set(requests) == set(paths) and len(requests) <= len(paths)+few(5, 25)
    start = len(world.log)
    assert birdclf(*SEARCH, '--data', tmp_path, world=world, command=IMPATIENT)[0] == 0 and not visited(world, start)


def test_a_download_that_is_killed(world, gathered, tmp_path):
    calm_one, killed = (work_found(gathered[0], tmp_path/name) for name in ('calm', 'killed'))
    assert birdclf('download', '--data', calm_one, world=world)[0] == 0
    path_of = {row.id: urlsplit(row.file_url).path for row in rows_of(killed, status='found')}
    assert len(set(path_of.values())) == len(path_of) > 200
    slow = {urlsplit(row.file_url).path for row in rows_of(calm_one, status='failed') if row.reason.startswith('HTTP 5')}

    def look(before):
        ended = {row.id for row in rows_of(killed) if row.status != 'found'} & path_of.keys()
        on_disk = {path.stem.rpartition('-')[2] for path in (killed/'photos').glob('[!.]*/*')}
        for path in (killed/'photos').glob('[!.]*/*'): open_photo(path, max_side=64)
        done = {path_of[name] for name in ended | on_disk}
        in_flight = {path.partition('?')[0] for path in visited(world, before)}-done-slow
        assert len(in_flight) <= 3*4
        return done | {f'{path}?hop=1' for path in done}

    kill_often(['download', '--data', killed], world, COMMAND, 'download', .15, look)
    same(snapshot(killed), snapshot(calm_one))
    states = Counter(row.status for row in rows_of(killed))
    assert states['downloaded'] > 150 and states['failed'] > 5 and not states['found']
    assert not list((killed/'photos'/'.part').glob('*'))
    start = len(world.log)
    assert birdclf('download', '--data', killed, world=world)[0] == 0 and not visited(world, start)


def test_what_others_left_in_the_folder_stays(tmp_path, plain_world):
    manifest_of(tmp_path, [clean_url(plain_world, 0)])
    strange = [tmp_path/'photos'/'Thumbs.db', tmp_path/'photos'/'mine'/'holiday.jpg', tmp_path/'photos'/'turdus-merula'/'notes-of-mine']
    for path in strange: path.parent.mkdir(parents=True, exist_ok=True), path.write_text('mine', encoding='utf-8')
    status, out, err = birdclf('download', '--data', tmp_path, world=plain_world)
    assert (status, err) == (0, '') and '1 photographs' in out and all(path.read_text(encoding='utf-8') == 'mine' for path in strange)


# Ctrl-C

@pytest.mark.parametrize('seed', range(few(1, 3)))
def test_ctrl_c_while_searching(world, gathered, tmp_path, seed):
    before = len(world.log)
    with started(*SEARCH, '--data', tmp_path, world=world, command=IMPATIENT) as process:
        wait_for(lambda: len(world.lines.visits) > before+5)
        time.sleep(Random(seed).uniform(0, .1))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 130 and 'Nothing is lost' in one_sentence(err.decode())
    assert len(page_keys(tmp_path)) >= len(visited(world, before))-1
    assert birdclf(*SEARCH, '--data', tmp_path, world=world, command=IMPATIENT)[0] == 0
    same(snapshot(tmp_path), snapshot(gathered[0]))


def test_ctrl_c_while_downloading(tmp_path):
    "What is under way arrives and is kept; the second run fetches the rest, and nothing else"
    with Replay([], latency=.05) as world:
        manifest_of(tmp_path, [clean_url(world, n) for n in range(200)])
        with started('download', '--data', tmp_path, world=world) as process:
            wait_for(lambda: len(world.lines.visits) > 10)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 130 and 'Nothing is lost' in one_sentence(err.decode()) and 'left' in out.decode()
        here = {row.file_url for row in rows_of(tmp_path, status='downloaded')}
        assert 10 < len(here) < 200 and {f'http://127.0.0.1:{world.shelf.port}{path}' for path in visited(world)} == here
        assert birdclf('download', '--data', tmp_path, world=world)[0] == 0
        assert Counter(visited(world)) == Counter(urlsplit(row.file_url).path+'?'+urlsplit(row.file_url).query for row in rows_of(tmp_path))
        assert {row.status for row in rows_of(tmp_path)} == {'downloaded'}


def test_ctrl_c_does_not_wait_for_a_server_that_trickles(tmp_path, plain_world):
    manifest_of(tmp_path, [plain_world.manner_url('trickle')])
    with started('download', '--data', tmp_path, world=plain_world) as process:
        wait_for(lambda: visited(plain_world))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=45)  # on purpose: the visit is cut after 10 s; without Ctrl-C, after 60
        assert process.returncode == 130 and 'Nothing is lost' in one_sentence(err.decode())
    assert [row.status for row in rows_of(tmp_path)] == ['found']


# A full disk

@pytest.fixture
def disk(tmp_path):
    "A disk of a size: a function that mounts it, and called again makes it larger"
    folder, mounted = tmp_path/'disk', []
    if not hasattr(os, 'geteuid') or os.geteuid() or not shutil.which('mount'): pytest.skip('needs root, to mount a small disk')
    folder.mkdir()

    def sized(size):
        how = f'remount,size={size}' if mounted else f'size={size}'
        done = subprocess.run(['mount', '-t', 'tmpfs', '-o', how, 'tmpfs', folder], capture_output=True, timeout=PATIENCE)
        if done.returncode: pytest.skip(f'no small disk can be mounted here: {done.stderr.decode().strip()}')
        mounted.append(size)
        return folder

    yield sized
    if mounted: subprocess.run(['umount', '-l', folder], check=True, timeout=PATIENCE)


def sound(folder):
    with sqlite3.connect(folder/'manifest.sqlite') as db: assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]
    db.close()


@pytest.mark.parametrize('everything', [True, False])
def test_a_download_onto_a_disk_that_fills_up(disk, tmp_path, everything):
    "The disk with everything, or one with the photographs alone"
    with Replay([]) as world:
        folder = manifest_of(disk('2m') if everything else tmp_path/'data', [clean_url(world, n, size='original') for n in range(150)])
        if not everything: (folder/'photos').symlink_to(disk('1m'))
        status, out, err = birdclf('download', '--data', folder, world=world)
        assert status == 1 and 'is full' in one_sentence(err)
        assert not list((folder/'photos'/'.part').glob('*'))
        files = list((folder/'photos').glob('[!.]*/*'))
        for path in files: open_photo(path, max_side=64)
        ids = {path.stem.rpartition('-')[2] for path in files}
        disk('64m')
        sound(folder)
        rows = rows_of(folder)
        here = [row for row in rows if row.status == 'downloaded']
        assert len(rows) == 150 and {row.status for row in rows} <= {'found', 'downloaded'} and len(here) > 10 and {row.id for row in here} <= ids
        assert all(sha256((folder/row.path).read_bytes()).hexdigest() == row.sha256 for row in here)
        start = len(world.log)
        assert birdclf('download', '--data', folder, world=world)[0] == 0
        assert len(visited(world, start)) == 150-len(ids) and {row.status for row in rows_of(folder)} == {'downloaded'}
        sound(folder)


def test_a_manifest_on_a_disk_that_fills_up(world, gathered, disk):
    folder, start = disk('900k'), len(world.log)
    status, out, err = birdclf(*SEARCH, '--data', folder, world=world, command=IMPATIENT)
    assert status == 1 and 'is full' in one_sentence(err)
    pages = len(visited(world, start))
    assert 5 < pages < len(gathered[1])
    disk('64m')
    sound(folder)
    assert len(page_keys(folder)) >= pages-1
    assert birdclf(*SEARCH, '--data', folder, world=world, command=IMPATIENT)[0] == 0
    same(snapshot(folder), snapshot(gathered[0]))


@pytest.mark.parametrize('size', ['16k', '64k'])
def test_no_room_even_to_begin(world, disk, size):
    folder = disk(size)
    status, out, err = birdclf(*SEARCH, '--data', folder, world=world, command=IMPATIENT)
    assert status == 1 and 'is full' in one_sentence(err)


def test_an_export_onto_a_disk_that_fills_up(disk, tmp_path):
    paint_folder(tmp_path/'painted', n=6, size=(240, 180))
    papers(tmp_path/'painted')
    assert birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[0] == 0
    folder = disk('40k')/'exported'
    status, out, err = birdclf('export', folder, '--data', tmp_path/'data')
    assert status == 1 and 'is full' in one_sentence(err)
    for path in folder.rglob('*.jpg'): open_photo(path, max_side=64)
    disk('64m')
    assert birdclf('export', folder, '--data', tmp_path/'data')[0] == 0 and not list(folder.rglob('*.part')) and len(list(folder.rglob('*.jpg'))) == 18


# Bad manners

EXPECTED = {  # Manner: status, reason, and how often it is asked when two tries are allowed
    'missing': ('failed', 'HTTP 404', 1), 'gone': ('failed', 'HTTP 410', 1), 'forbidden': ('failed', 'HTTP 403', 1), 'broken': ('failed', 'HTTP 500', 2),
    'busy-seconds': ('downloaded', '', 2), 'busy-date': ('downloaded', '', 2), 'broken-once': ('downloaded', '', 2), 'overloaded-once': ('downloaded', '', 2),
    'slow-loris': ('failed', 'too slow: not complete', 2), 'trickle': ('failed', 'too slow: not complete', 2),
    'endless': ('failed', 'too large: more than 25 MB', 1), 'huge': ('failed', 'too large: more than 25 MB', 1),
    'wrong-length-long': ('failed', 'cut short', 2), 'wrong-length-short': ('failed', 'not a photograph', 1), 'half': ('failed', 'not a photograph', 1),
    'html': ('failed', 'not a photograph', 1), 'text': ('failed', 'not a photograph', 1), 'empty': ('failed', 'not a photograph: empty', 1),
    'closes': ('failed', 'cut short', 2), 'bad-status': ('failed', 'cut short', 2),
    'gzip-bomb': ('failed', 'not a photograph', 1),
    'png-as-jpeg': ('downloaded', '', 1), 'gif': ('downloaded', '', 1), 'webp': ('downloaded', '', 1), 'dotdot': ('downloaded', '', 1),
    'near': ('downloaded', '', 2), 'far': ('failed', 'too many redirects', 6), 'loop': ('failed', 'too many redirects', 6),
    'to-file': ('failed', 'not a web address: file:', 1), 'to-metadata': ('failed', 'not a public address: 169.254.169.254', 1),
    'to-nowhere': ('failed', 'host not found', 1), 'to-loopback': ('downloaded', '', 1)}


@pytest.fixture(scope='module')
def met(tmp_path_factory):
    "All manners at once, each at an address of its own: the rows, the visits, the folder"
    folder = tmp_path_factory.mktemp('met')/'inner'
    addresses = {name: f'127.0.0.{n+2}' for n, name in enumerate(EXPECTED)}
    with Replay([], addresses=('127.0.0.1', *addresses.values())) as replay:
        manifest_of(folder, [replay.manner_url(name, address) for name, address in addresses.items()])
        report, rows = fetched(folder, seconds=min(60, 4*load()), tries=2)
        visits = {name: [visit for visit in replay.log if visit.address == address] for name, address in addresses.items()}
    return dict(zip(EXPECTED, rows, strict=True)), visits, folder, report


@pytest.mark.parametrize('manner', EXPECTED)
def test_bad_manners(met, manner):
    rows, visits, folder, _ = met
    row, (status, reason, times) = rows[manner], EXPECTED[manner]
    assert (row.status, row.reason[:len(reason)], len(visits[manner])) == (status, reason, times)
    assert bool(row.reason) == (status == 'failed') and len(row.reason) < 80
    assert list(folder.rglob(f'*{row.id}*')) == ([folder/row.path] if status == 'downloaded' else [])
    if status == 'downloaded':
        data = (folder/row.path).read_bytes()
        assert (len(data), sha256(data).hexdigest()) == (row.bytes, row.sha256) and open_photo(folder/row.path).format == row.format


def test_every_manner_is_tested_here(met):
    assert MANNERS.keys()-EXPECTED.keys() == {'gzip'} and met[3].left == 0 and not met[3].parked
    assert met[3].photographs+met[3].failures.total() == len(EXPECTED)


@pytest.mark.parametrize('manner, least', [('busy-seconds', 1), ('busy-date', .9), ('overloaded-once', 1), ('broken-once', .4)])
def test_a_server_is_left_alone_as_long_as_it_asked(met, manner, least):
    first, second = met[1][manner]
    assert (first.status, second.status) == (dict(overloaded=503, broken=500).get(manner.split('-')[0], 429), 200) and least <= second.time-first.time < PATIENCE


def test_too_much_is_not_read(met):
    "Of 200 MB, and of what has no end, nothing like all is taken"
    assert not any(visit.finished for name in ('huge', 'endless', 'trickle', 'slow-loris') for visit in met[1][name])


def test_no_name_leads_out_of_the_folder(met):
    assert not [path for path in met[2].parent.rglob('*') if 'escape' in path.name] and {path.name for path in met[2].parent.iterdir()} == {'inner'}


def test_the_file_names_tell_what_is_inside(met):
    assert {name: Path(met[0][name].path).suffix for name in ('png-as-jpeg', 'gif', 'webp', 'near')} == {'png-as-jpeg': '.png', 'gif': '.gif', 'webp': '.webp', 'near': '.jpg'}


def test_a_compressed_photograph_that_nobody_asked_for(tmp_path, plain_world):
    "The answer to 'identity' was gzip all the same: kept unpacked, or refused, but nothing in between"
    manifest_of(tmp_path, [plain_world.manner_url('gzip')])
    report, (row,) = fetched(tmp_path)
    assert row.status == 'failed' and row.reason.startswith('not a photograph') or open_photo(tmp_path/row.path).format == 'JPEG'


def test_only_what_is_public_is_visited(tmp_path):
    "Redirects and rows that lead to this machine or to a cloud's secrets end before a connection is made"
    with Replay([], addresses=('127.0.0.1', '127.0.0.3')) as world:
        names = ['to-loopback', 'to-metadata', 'to-file', 'near']
        manifest_of(tmp_path, [*(world.manner_url(name, '127.0.0.3') for name in names), clean_url(world, 0), f'http://localhost:{world.shelf.port}/x.jpg',
                               f'http://[::ffff:127.0.0.1]:{world.shelf.port}/x.jpg', f'http://2130706433:{world.shelf.port}/x.jpg', 'file:///etc/hostname'])
        report, rows = fetched(tmp_path, trusted=('127.0.0.3/32',))
        reasons = [row.reason.partition(': ')[0] for row in rows]
        assert reasons[:3] == ['not a public address', 'not a public address', 'not a web address'] and rows[3].status == 'downloaded'
        assert reasons[4:8] == ['not a public address']*4
        assert {visit.address for visit in world.log} == {'127.0.0.3'} and report.photographs == 1


@pytest.mark.parametrize('url', ['', 'file:///etc/hostname', 'http:///x.jpg', 'http://[bad/x.jpg', 'nonsense', 'http://127.0.0.1:99999/x.jpg', 'http://a b/x.jpg', f"http://{'a'*300}.org/x.jpg"])
def test_an_address_that_is_none_fails_with_a_reason(tmp_path, url):
    "No row stays 'found' for ever"
    report, (row,) = fetched(manifest_of(tmp_path, [url]))
    assert row.status == 'failed' and row.reason and 'unexpected' not in row.reason and report.left == 0


def test_an_hour_is_too_long(tmp_path, monkeypatch, plain_world):
    "The host is parked, its rows stay, the next run remembers without a request; other hosts go on"
    monkeypatch.setitem(MANNERS, 'busy-hour', lambda wish: as_text('Not now.', 429, **{'Retry-After': '3600'}))
    urls = [f"{plain_world.manner_url('busy-hour', '127.0.0.2')}?{n}" for n in range(40)]
    manifest_of(tmp_path, [*urls, clean_url(plain_world, 0)])
    before = time.time()
    status, out, err = birdclf('download', '--data', tmp_path, world=plain_world)
    after = time.time()
    assert (status, err) == (1, '') and '127.0.0.2 is left alone for now (HTTP 429). Again after' in out and '40 left' in out
    rows = rows_of(tmp_path)
    assert Counter(row.status for row in rows) == dict(found=40, downloaded=1) and not any(row.reason for row in rows)
    assert len([visit for visit in plain_world.log if visit.address == '127.0.0.2']) <= 4
    start = len(plain_world.log)
    status, out, err = birdclf('download', '--data', tmp_path, world=plain_world)
    assert (status, visited(plain_world, start)) == (1, []) and 'is left alone for now' in out
    with Manifest(tmp_path, write=True) as manifest:
        assert before-1 <= manifest.paused('host 127.0.0.2')[0]-3600 <= after+1  # on purpose: however long that took
        manifest.pause('host 127.0.0.2', time.time()-1, 'HTTP 429')
    monkeypatch.setitem(MANNERS, 'busy-hour', lambda wish: wish.picture())
    assert birdclf('download', '--data', tmp_path, world=plain_world)[0] == 0 and {row.status for row in rows_of(tmp_path)} == {'downloaded'}


def test_a_server_that_says_nothing(tmp_path):
    with socket.create_server(('127.0.0.9', 0)) as silent:
        manifest_of(tmp_path, [f'http://127.0.0.9:{silent.getsockname()[1]}/x.jpg'])
        report, (row,) = fetched(tmp_path, silence=.3, tries=2)
    assert (row.status, row.reason) == ('failed', 'too slow: silence')


JPEG_HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n'


@pytest.mark.parametrize('start', [b'HTTP/1.1 200 O', JPEG_HEAD+b'X-Patience: ', JPEG_HEAD+b'\r\n', JPEG_HEAD+b'Content-Length: 100000\r\n\r\n',
                                   JPEG_HEAD+b'Connection: close\r\nContent-Length: 100000\r\n\r\n'])
def test_what_lasts_too_long_is_too_slow_wherever_it_is_cut(tmp_path, start):
    "In the first line, in a header, in a body without a length: half an answer is never taken for a whole one, and is worth another try"
    with socket.create_server(('127.0.0.9', 0)) as server:
        def trickle():
            line, _ = server.accept()
            with line:
                try:
                    line.recv(10_000), line.sendall(start)
                    for _ in range(20*PATIENCE): line.sendall(b'z'), time.sleep(.05)
                except OSError as e: hung_up.append(e)

        hung_up, thread = [], threading.Thread(target=trickle, daemon=True)
        thread.start()
        report, (row,) = fetched(manifest_of(tmp_path, [f'http://127.0.0.9:{server.getsockname()[1]}/x.jpg']), seconds=.7, tries=1)
        thread.join(PATIENCE)
    assert (row.status, row.reason.partition(' within')[0]) == ('failed', 'too slow: not complete') and hung_up


def closed_port(address):
    with socket.create_server((address, 0)) as server: return server.getsockname()[1]


def tomorrow(folder, host):
    "Forget until when `host` wanted to be left alone, but not why"
    with Manifest(folder, write=True) as manifest: manifest.pause(f'host {host}', time.time()-1, manifest.paused(f'host {host}')[1])


def test_nobody_there(tmp_path):
    "200 rows of a host that does not answer are given up quickly: until another day, and if nobody answers then, for good; --retry asks for them again"
    port = closed_port('127.0.0.8')
    manifest_of(tmp_path, [f'http://127.0.0.8:{port}/photos/inat/0/small.jpg?{n}' for n in range(200)])
    with Replay([]) as world:
        status, out, err = birdclf('download', '--data', tmp_path, world=world)
        assert (status, err) == (1, '') and '127.0.0.8' in out and 'host does not answer' in out
        left = len(rows_of(tmp_path, status='found'))
        assert left > 180 and f'{left} left' in out
        assert birdclf('download', '--data', tmp_path, world=world)[0] == 1 and len(rows_of(tmp_path, status='found')) == left
        tomorrow(tmp_path, '127.0.0.8')
        status, out, err = birdclf('download', '--data', tmp_path, world=world)
        assert (status, err) == (0, '')
        reasons = Counter(row.reason for row in rows_of(tmp_path, status='failed'))
        assert reasons['host does not answer'] > 150 and set(reasons) <= {'host does not answer', 'no connection'} and reasons.total() == 200
        assert '0 photographs, 0.0 MB' in birdclf('download', '--data', tmp_path, world=world)[1] and len(rows_of(tmp_path, status='failed')) == 200
        with Replay([], addresses=('127.0.0.8',), port=port) as late:
            status, out, err = birdclf('download', '--retry', '--data', tmp_path, world=world)
            assert (status, err) == (0, '') and '200 photographs are tried again' in out and len(set(visited(late))) == 200 == len(visited(late))
    assert {row.status for row in rows_of(tmp_path)} == {'downloaded'}


def test_a_host_without_a_number(tmp_path):
    manifest_of(tmp_path, [f'http://no-such-host.invalid/{n}.jpg' for n in range(40)])
    report, rows = fetched(tmp_path)
    assert report.left > 20 and 'no-such-host.invalid' in report.parked
    tomorrow(tmp_path, 'no-such-host.invalid')
    report, rows = fetched(tmp_path)
    assert {row.status for row in rows} == {'failed'} and Counter(row.reason.partition(':')[0] for row in rows)['host not found'] >= 4
    with Manifest(tmp_path, write=True) as manifest: assert manifest.reopen('failed') == 40


def test_what_cannot_get_better_is_not_reopened(tmp_path, plain_world):
    names = ['missing', 'gone', 'html', 'loop', 'to-file', 'broken']
    report, rows = fetched(manifest_of(tmp_path, [plain_world.manner_url(name) for name in names]), tries=1)
    with Manifest(tmp_path, write=True) as manifest: assert manifest.reopen('failed') == 1 and [row.file_url for row in manifest.rows(status='found')] == [plain_world.manner_url('broken')]


@pytest.mark.parametrize('error, reason', [(KeyError('a library on a bad day'), 'unexpected: KeyError'), (PhotoError('too_slow', 'JPEG'), 'too large: it takes too much memory')])
def test_what_is_no_photographs_fault_is_tried_again_and_told(tmp_path, plain_world, monkeypatch, error, reason):
    "A decoder has a bad day: for one look, then until it is over"
    if isinstance(error, PhotoError): error.__cause__ = MemoryError()
    days, look = [], downloading.open_photo

    def bad(*args, **options):
        if days: raise days.pop()
        return look(*args, **options)
    monkeypatch.setattr(downloading, 'open_photo', bad)
    days[:] = [error]
    report, (row,) = fetched(manifest_of(tmp_path/'once', [clean_url(plain_world, 0)]))
    assert (row.status, report.photographs, report.told) == ('downloaded', 1, 0) and not (tmp_path/'once'/'errors.log').exists()
    days[:] = [error]*3
    report, (row,) = fetched(manifest_of(tmp_path/'data', [clean_url(plain_world, 0)]))
    assert (row.status, row.reason, days) == ('failed', reason, []) and str(report).endswith('; the story of 1 of them is in errors.log, beside the manifest')
    story = (tmp_path/'data'/'errors.log').read_text(encoding='utf-8')
    assert story.count(reason) == 1 and row.id in story and 'Traceback' in story and type(error).__name__ in story
    assert '1 of those failed perhaps through no fault of their own: `birdclf download --retry`' in birdclf('status', '--data', tmp_path/'data')[1]
    with Manifest(tmp_path/'data', write=True) as manifest: assert manifest.reopen('failed') == 1
    assert fetched(tmp_path/'data')[1][0].status == 'downloaded'


def test_a_whole_file_is_not_thrown_away_for_want_of_memory(tmp_path, plain_world, monkeypatch):
    "Shot after a file got its name; the next run has no memory to look at it, and nobody is at the other end any more"
    folder = manifest_of(tmp_path, [clean_url(plain_world, 0)])
    report, (row,) = fetched(folder)
    with Manifest(folder, write=True) as manifest: manifest.update([photo_row('http://127.0.0.11:9/gone.jpg', 0)])
    look = downloading.open_photo

    def bad(*args, **options):
        error = PhotoError('too_slow', 'JPEG')
        error.__cause__ = MemoryError()
        raise error
    monkeypatch.setattr(downloading, 'open_photo', bad)
    assert fetched(folder, tries=1)[1][0].status == 'failed' and (folder/row.path).is_file()
    monkeypatch.setattr(downloading, 'open_photo', look)
    with Manifest(folder, write=True) as manifest: assert manifest.reopen('failed') == 1
    assert fetched(folder)[1][0].status == 'downloaded'


def test_a_certificate_that_nobody_vouches_for(tmp_path):
    if not shutil.which('openssl'): pytest.skip('needs openssl, to make a certificate')
    made = subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', tmp_path/'key', '-out', tmp_path/'cert', '-days', '2', '-subj', '/CN=127.0.0.7',
                           '-addext', 'subjectAltName=IP:127.0.0.7'], capture_output=True, timeout=PATIENCE)
    assert made.returncode == 0, made.stderr.decode()
    asked = []

    class Desk(BaseHTTPRequestHandler):
        def do_GET(self): asked.append(self.path), self.send_error(404)

    server = HTTPServer(('127.0.0.7', 0), Desk)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path/'cert', tmp_path/'key')
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=True)
    server.handle_error = lambda *_: None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try: report, (row,) = fetched(manifest_of(tmp_path/'data', [f'https://127.0.0.7:{server.server_port}/x.jpg']))
    finally: server.shutdown(), server.server_close(), thread.join(PATIENCE)
    assert (row.status, row.reason.partition(':')[0], asked) == ('failed', 'no secure connection', [])


@contextmanager
def signpost(location, address='127.0.0.9'):
    "A server that sends everybody who asks for / to `location`, bytes that go out as they are, and notes what it is asked for"
    asked = []

    class Desk(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.wfile.write(b'HTTP/1.1 302 Found\r\nConnection: close\r\nContent-Length: 0\r\nLocation: '+location+b'\r\n\r\n' if self.path == '/' else b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok')
        def log_message(self, *_): pass

    server = HTTPServer((address, 0), Desk)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try: yield f'http://{address}:{server.server_port}/', asked
    finally: server.shutdown(), server.server_close(), thread.join(10)


TARGETS = {'raw UTF-8': ('/Grünspecht.jpg'.encode(), '/Gr%C3%BCnspecht.jpg'), 'a byte that is a line break to some': ('/Åland…/ą.jpg'.encode(), '/%C3%85land%E2%80%A6/%C4%85.jpg'),
           'spaces': ('/a bird/of prey.jpg'.encode(), '/a%20bird/of%20prey.jpg'), 'already quoted': (b'/Gr%C3%BCnspecht%20.jpg', '/Gr%C3%BCnspecht%20.jpg'),
           'a bit of each': ('/ü%C3%BC ü.jpg?q=ö&r=%20#ä'.encode(), '/%C3%BC%C3%BC%20%C3%BC.jpg?q=%C3%B6&r=%20'), 'Chinese': ('/鸟.jpg'.encode(), '/%E9%B8%9F.jpg'),
           'Latin-1': ('/Grünspecht.jpg'.encode('latin-1'), '/Gr%FCnspecht.jpg'), 'relative': ('ü/../ö.jpg'.encode(), '/%C3%B6.jpg')}


@pytest.mark.parametrize('kind', TARGETS)
def test_a_redirect_is_followed_as_it_is_written(kind):
    location, path = TARGETS[kind]
    with signpost(location) as (url, asked): assert read(Web(CONTACT, **TRUSTED), url)[::2] == (200, b'ok') and asked == ['/', path]
    if kind == 'Latin-1': return # There `requests` gives up
    with signpost(location) as (url, asked): assert requests.get(url, timeout=PATIENCE).status_code == 200 and asked == ['/', path]


@pytest.mark.parametrize('location, why', [('http://127.0.0.1:{port}/ü.jpg', 'not a public address: 127.0.0.1'), ('//127.0.0.1:{port}/ü', 'not a public address: 127.0.0.1'),
                                           ('http://[::ffff:127.0.0.1]:{port}/ü', 'not a public address: ::ffff:127.0.0.1'), ('http://１２７.0.0.1:{port}/', 'host not found'),
                                           ('file:///etc/pässwd', 'not a web address: file:'), ('http://[ü/', 'not a web address: brackets'), ('http://[/', 'not a web address: brackets')])
def test_a_redirect_in_raw_bytes_is_checked_like_any_other(location, why):
    with signpost(b'/secret', '127.0.0.1') as (home, secrets), signpost(location.format(port=urlsplit(home).port).encode()) as (url, asked):
        with pytest.raises(WebError) as refused: read(Web(CONTACT, trusted=('127.0.0.9/32',)), url)
        assert str(refused.value).startswith(why) and (asked, secrets) == (['/'], [])


def png_bomb(side=60_000):
    "A PNG that claims to be, and is, a huge black square"
    def chunk(kind, data): return struct.pack('>I', len(data))+kind+data+struct.pack('>I', zlib.crc32(kind+data))
    packer = zlib.compressobj(9)
    line = bytes(1+side//8)
    data = b''.join(packer.compress(line*100) for _ in range(side//100))+packer.flush()
    return b'\x89PNG\r\n\x1a\n'+chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 1, 0, 0, 0, 0))+chunk(b'IDAT', data)+chunk(b'IEND', b'')


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='needs /proc')
def test_bombs_do_not_go_off(tmp_path):
    "3.6 gigapixels in a small file, and 100 MB in 100 KB: refused, in little memory"
    (tmp_path/'bombs').mkdir(), (tmp_path/'bombs'/'bomb.png').write_bytes(png_bomb())
    with Replay([], photos=tmp_path/'bombs') as bombs:
        manifest_of(tmp_path/'data', [clean_url(bombs, 0), bombs.manner_url('gzip-bomb')])
        status, out, err = process('download', '--data', tmp_path/'data', world=bombs, command=MEASURED)
    assert (status, err) == (0, '') and int(out.split()[-1])/1024 < 150
    first, second = rows_of(tmp_path/'data')
    assert (first.status, first.reason) == ('failed', 'not a photograph: too many pixels') and second.status == 'failed'
    assert not [path for path in (tmp_path/'data'/'photos').rglob('*') if path.is_file()]


@pytest.mark.parametrize('status, headers, words', [(429, {'Retry-After': '7200'}, 'HTTP 429'), (403, {}, 'HTTP 403'), (503, {'Retry-After': '7200'}, 'HTTP 503')])
def test_a_source_that_turns_us_away(tmp_path, status, headers, words):
    "Said in a sentence; if it asked for time, the next run leaves it alone; other sources go on"
    with Replay(catalogue(SpeciesList(BIRDS[:1]), 6)) as world:
        world.fail_next('inat', status, headers=headers)
        arguments = ['search', '--bird', BIRDS[0].german, '--source', 'inat,gbif', '--data', tmp_path]
        ended, out, err = birdclf(*arguments, world=world, command=IMPATIENT)
        assert ended == 1 and f'inat stopped: ' in out and words in out and 'Traceback' not in err
        assert any('/gbif/' in path for path in visited(world)) and len([path for path in visited(world) if '/inat/' in path]) == 1
        if not headers: return
        start = len(world.log)
        assert birdclf(*arguments, world=world, command=IMPATIENT)[0] == 1 and not visited(world, start)


# The manifest

def test_a_manifest_that_an_older_version_made(tmp_path):
    "Brought up to date by whoever opens it first; nothing in it changes"
    rows = [photo_row(f'http://127.0.0.1/{n}.jpg', n, identity=f'inat:{n}', retrieved_at='2026-01-01T00:00:00Z', decision='keep' if n==1 else '') for n in range(3)]
    for write in (True, False):
        folder = tmp_path/str(write)
        folder.mkdir()
        db = sqlite3.connect(folder/'manifest.sqlite')
        for statement in SCHEMA[0]: db.execute(statement)
        for row in rows: db.execute(INSERT, [row.id, '127.0.0.1', *(getattr(row, name) for name in COLUMNS)])
        db.execute("INSERT INTO history(photo, at, event) VALUES (?, '2026-01-01T00:00:00Z', 'found')", (rows[0].id,))
        db.execute(f'PRAGMA application_id={BIRD}'), db.execute('PRAGMA user_version=1')
        db.commit(), db.close()
        with Manifest(folder, write=write) as manifest:
            assert list(manifest.rows()) == rows and manifest.history(rows[0].id) == [('2026-01-01T00:00:00Z', 'found', '')]
            assert (manifest.note('want'), manifest.paused('inat'), manifest.last_page('inat', 'Turdus merula', '')) == ('', (0, ''), None)
            if not write: pytest.raises(ManifestError, manifest.note, 'want', '5')
        db = sqlite3.connect(folder/'manifest.sqlite')
        assert db.execute('PRAGMA user_version').fetchone()[0] == len(SCHEMA) > 1
        db.close()
        with Manifest(folder, write=True) as manifest: assert manifest.note('want', '5') == '5' and list(manifest.rows()) == rows


BIRD = int.from_bytes(b'bird', 'big') # What the head of a manifest says


def newer(path):
    db = sqlite3.connect(path)
    db.execute('CREATE TABLE photos(x)'), db.execute(f'PRAGMA application_id={BIRD}'), db.execute(f'PRAGMA user_version={len(SCHEMA)+1}')
    db.commit(), db.close()


def another(path):
    db = sqlite3.connect(path)
    db.execute('CREATE TABLE bookmarks(x)')
    db.commit(), db.close()


@pytest.mark.parametrize('make, words', [(newer, 'newer birdclf'), (another, 'another program'), (lambda path: path.write_text('a diary, and no database at all\n'*50), 'is not a manifest'),
                                         (lambda path: path.write_bytes(b'SQLite format 3\0'+b'\xff'*5000), 'manifest.sqlite')])
def test_what_is_no_manifest_of_ours_is_refused_and_left_alone(tmp_path, make, words):
    make(tmp_path/'manifest.sqlite')
    before = (tmp_path/'manifest.sqlite').read_bytes()
    with Replay([]) as world:
        for arguments in (['status'], ['download'], ['search', '--bird', 'Amsel'], ['search', '--plan'], ['export', tmp_path/'out']):
            status, out, err = birdclf(*arguments, '--data', tmp_path, world=world)
            assert status == 2 and words in one_sentence(err)
        assert not world.log and (tmp_path/'manifest.sqlite').read_bytes() == before


def test_a_manifest_that_is_damaged_behind_its_head_is_a_sentence(tmp_path):
    "So that it opens, and is of no use"
    paint_folder(tmp_path/'mine', n=2, size=(80, 64))
    assert birdclf('import', tmp_path/'mine', '--data', tmp_path/'data')[0] == 0
    with sqlite3.connect(tmp_path/'data'/'manifest.sqlite') as db: db.execute('DROP TABLE photos')
    db.close()
    for arguments in (['status'], ['split'], ['export', tmp_path/'out'], ['import', tmp_path/'mine']):
        status, out, err = birdclf(*arguments, '--data', tmp_path/'data')
        assert status == 2 and 'Copy it from a backup' in one_sentence(err)


def test_one_writes_and_others_read(tmp_path, plain_world):
    manifest_of(tmp_path, [clean_url(plain_world, n) for n in range(3)])
    with Manifest(tmp_path, write=True) as manifest:
        status, out, err = birdclf('download', '--data', tmp_path, world=plain_world)
        assert (status, out) == (2, '') and 'Another birdclf is writing' in one_sentence(err) and not plain_world.log
        with pytest.raises(ManifestError, match='Another birdclf'): Manifest(tmp_path, write=True)
        status, out, err = birdclf('status', '--data', tmp_path)
        assert (status, err) == (0, '') and '3 found' in ' '.join(out.split())
        with Manifest(tmp_path) as reader:
            manifest.add([photo_row('http://127.0.0.1/x.jpg', 99)])
            assert reader.count() == {'': 4}
    assert birdclf('download', '--data', tmp_path, world=plain_world)[0] in (0, 1) and len(visited(plain_world)) >= 3


def test_a_reader_sees_the_last_complete_state(tmp_path):
    "Also while rows are being added; and if adding them ends in an error, they were never there"
    seen = []

    def coming(end=False):
        for n in range(5):
            yield photo_row('http://127.0.0.1/x.jpg', 10*len(seen)+n)
            with Manifest(tmp_path) as reader: seen.append(reader.count().get('', 0))
        if end: raise RuntimeError('the source broke')

    with Manifest(tmp_path, write=True) as manifest:
        assert manifest.add(coming()).new == 5 and seen == [0]*5
        with pytest.raises(RuntimeError): manifest.add(coming(end=True))
        assert seen == [0]*5+[5]*5 and manifest.count() == {'': 5}
        with pytest.raises(ManifestError): manifest.update([replace(next(manifest.rows()), status='failed', reason='x'), photo_row('http://127.0.0.1/x.jpg', 12345)])
        assert manifest.count('status') == {'found': 5}


def random_row(rng):
    source, number = rng.choice(['inat', 'gbif', 'commons']), str(rng.randrange(12))
    known_elsewhere = rng.choice(['', '', f'inat:{rng.randrange(12)}']) if source != 'inat' else ''
    return Row(rng.choice(['Turdus merula', 'Pica pica']), source, number, known_elsewhere, file_url=f'http://127.0.0.1/{source}/{number}.jpg', retrieved_at='2026-01-01T00:00:00Z',
               title=rng.choice(['', "O'Reilly", 'Ж\n\x01"', 'a'*500]))


@pytest.mark.parametrize('seed', range(4))
def test_any_sequence_of_changes(tmp_path, seed):
    "Against a list of rows in plain Python"
    rng, model, events, said = Random(seed), [], Counter(), {}
    manifest = Manifest(tmp_path, write=True)
    for step in range(120):
        deed = rng.choice(['add', 'add', 'update', 'update', 'decide', 'decide', 'reopen', 'break'])
        some = rng.sample(model, min(len(model), rng.randint(0, 4)))
        if deed == 'add':
            rows, expected = [random_row(rng) for _ in range(rng.randrange(5))], Counter()
            for row in rows:
                full = replace(row, identity=row.identity or f'{row.source}:{row.source_id}')
                known = sorted((old for old in model if old.id == full.id or old.identity == full.identity), key=lambda old: old.id != full.id)
                twin = next((old for old in known if old.status != 'refused'), None)
                sources = [twin.source] if twin else [old.source for old in known]
                kind = 'new' if not known else 'again' if row.source in sources else 'elsewhere'
                expected[kind] += 1
                if twin: events[twin.id] += kind == 'elsewhere' or twin.species != row.species
                else: # It takes the place of those that were refused, and their history
                    for old in known: model.remove(old)
                    events[full.id] += 1+sum(events.pop(old.id) for old in known if old.id != full.id)
                    model.append(full)
            assert manifest.add(rows)._asdict() == {kind: expected[kind] for kind in ('new', 'again', 'elsewhere')}
        elif deed == 'update':
            changed = [replace(row, status=rng.choice([status for status in STATUSES if status != 'refused' or not row.decided_by]), reason=rng.choice(['', 'HTTP 404']), score=rng.choice([None, .25]), bytes=rng.choice([None, 2**40]),
                               decision='drop', label='Pica pica', decided_by='a program', decided_at='never') for row in some]
            manifest.update(changed)
            for before, after in zip(some, changed):
                model[model.index(before)] = replace(after, **{name: getattr(before, name) for name in DECISION})
                events[after.id] += (before.status, before.reason) != (after.status, after.reason)
        elif deed == 'decide' and some and some[0].status != 'refused':
            decision, by, mine = rng.choice(['keep', 'drop', 'relabel', '']), rng.choice(['Anna', 'Ben']), said.setdefault(some[0].id, {})
            new = (decision, 'Pica pica' if decision == 'relabel' else '')
            events[some[0].id] += new != mine.get(by, ('', ''))
            assert (manifest.decide(some[0].id, decision, by, new[1]) > 0) == (new != mine.get(by, ('', '')))
            mine[by] = new
            words = {by: word for by, word in sorted(mine.items()) if word[0]}
            at = next(manifest.rows(id=some[0].id)).decided_at
            assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ' if words else '', at)
            agreed = ('', '') if not words else next(iter(words.values())) if len(set(words.values())) == 1 else ('disputed', '')
            model[model.index(some[0])] = replace(some[0], decision=agreed[0], label=agreed[1], decided_by=', '.join(words), decided_at=at)
        elif deed == 'reopen':
            manifest.close()
            manifest = Manifest(tmp_path, write=True)
        elif deed == 'break':
            with pytest.raises(ManifestError): manifest.update([*(replace(row, status='rejected', reason='no') for row in some), photo_row('', 999)])
        assert list(manifest.rows()) == model
        chosen = rng.choice(list(STATUSES))
        assert list(manifest.rows(status=chosen, species='Pica pica')) == [row for row in model if (row.status, row.species) == (chosen, 'Pica pica')]
    assert {row.id: len(manifest.history(row.id)) for row in model} == {row.id: events[row.id] for row in model}
    assert manifest.count('status', 'source') == Counter((row.status, row.source) for row in model) and len(model) > 12
    manifest.close()


def test_a_decision_about_a_refused_photograph_stays_when_it_is_found_again(tmp_path):
    "Under a better licence, or by another source"
    with Manifest(tmp_path, write=True) as manifest:
        refused = [photo_row('http://127.0.0.1/x.jpg', n, status='refused', reason='licence unknown') for n in range(2)]
        manifest.add(refused)
        for row in refused: manifest.decide(row.id, 'drop', 'Anna')
        manifest.add([photo_row('http://127.0.0.1/x.jpg', 0), replace(photo_row('http://127.0.0.1/y.jpg', 7), source='gbif', identity='inat:1')])
        assert [(row.decision, row.decided_by) for row in manifest.rows()] == [('drop', 'Anna')]*2
        assert [(photo, by) for photo, by, *_ in manifest.decisions()] == sorted((row.id, 'Anna') for row in manifest.rows())
        while manifest.undo('Anna'): pass
        assert [(row.decision, row.decided_by) for row in manifest.rows()] == [('', '')]*2


def test_a_decision_stays(world, gathered, tmp_path):
    "Through a download, a second search, and programs that think otherwise"
    folder = work_found(gathered[0], tmp_path/'data')
    with Manifest(folder, write=True) as manifest:
        keep, drop, relabel = list(manifest.rows(status='found'))[:3]
        manifest.decide(keep.id, 'keep', 'Anna'), manifest.decide(drop.id, 'drop', 'Anna'), manifest.decide(relabel.id, 'relabel', 'Anna', 'Pica pica')
        manifest.update([replace(row, decision='', label='', decided_by='', decided_at='', score=1.) for row in (keep, drop, relabel)])
        for row in manifest.rows(): manifest.update([replace(row, status='refused', reason='to keep the test short')]) if row.id not in (keep.id, drop.id, relabel.id) else None
        decided = [tuple(getattr(row, name) for name in DECISION) for row in manifest.rows(id=(keep.id, drop.id, relabel.id))]
        assert [(row[0], row[1], row[2]) for row in decided] == [('keep', '', 'Anna'), ('drop', '', 'Anna'), ('relabel', 'Pica pica', 'Anna')]
    assert birdclf('download', '--data', folder, world=world)[0] == 0
    assert birdclf(*SEARCH, '--allow-nc', '--data', folder, world=world, command=IMPATIENT)[0] == 0
    rows = rows_of(folder, id=(keep.id, drop.id, relabel.id))
    assert [tuple(getattr(row, name) for name in DECISION) for row in rows] == decided and {row.status for row in rows} <= {'downloaded', 'failed'} and {row.score for row in rows} == {1.}
    assert rows[2].bird == 'Pica pica'


# Folders

def papers(folder):
    "Give the photographs in `folder` their papers"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.jpg'))
    with open(folder/'metadata.csv', 'w', encoding='utf-8', newline='') as file:
        table = csv.writer(file)
        table.writerow(['path', 'license', 'license_version', 'creator', 'page_url', 'title', 'source'])
        for n, path in enumerate(files):
            table.writerow([path, ('by', 'by-sa', 'cc0')[n%3], ('4.0', '2.0', '1.0')[n%3], f'Željko "{n}", O\'Reilly', f'https://example.org/{n}', f'Bird, no. {n}', f'person {n}'])
    return files


PAPERS = 'license', 'license_version', 'license_url', 'creator', 'page_url', 'title'


def test_a_folder_goes_out_and_comes_back_with_its_papers(tmp_path):
    painted = tmp_path/'painted'
    paint_folder(painted, n=4, size=(80, 64))
    papers(painted)
    status, out, err = birdclf('import', painted, '--data', tmp_path/'a')
    assert (status, err) == (0, '') and '12 photographs' in out
    assert '0 photographs' in birdclf('import', painted, '--data', tmp_path/'a')[1]
    with Manifest(tmp_path/'a', write=True) as manifest: manifest.decide(next(manifest.rows()).id, 'drop', 'Anna')
    status, out, err = birdclf('export', tmp_path/'exported', '--data', tmp_path/'a')
    assert (status, err) == (0, '') and '11 photographs' in out and '1 is left out' in out
    assert {path.name for path in (tmp_path/'exported').iterdir()} == {'Amsel', 'Blaumeise', 'Rotkehlchen', 'metadata.csv', 'species.csv', 'ATTRIBUTION.md'}
    credits = (tmp_path/'exported'/'ATTRIBUTION.md').read_text(encoding='utf-8')
    assert credits.count('https://example.org/') == 11 == credits.count('by Željko') and '<https://creativecommons.org/licenses/by-sa/2.0/>' in credits
    assert birdclf('import', tmp_path/'exported', '--data', tmp_path/'b')[0] == 0
    mine, theirs = ({row.sha256: (row.species, *(getattr(row, name) for name in PAPERS)) for row in rows_of(tmp_path/name, status='downloaded')} for name in 'ab')
    assert len(mine) == 12 and len(theirs) == 11 and theirs.items() <= mine.items() and all(all(row) for row in theirs.values())
    before = {path: path.read_bytes() for path in (tmp_path/'exported').rglob('*') if path.is_file()}
    assert birdclf('export', tmp_path/'exported', '--data', tmp_path/'a')[0] == 0
    assert {path: path.read_bytes() for path in (tmp_path/'exported').rglob('*') if path.is_file()} == before
    with Manifest(tmp_path/'a', write=True) as manifest: manifest.decide(list(manifest.rows())[1].id, 'drop', 'Anna')
    assert birdclf('export', tmp_path/'exported', '--data', tmp_path/'a')[0] == 0 and len(list((tmp_path/'exported').rglob('*.jpg'))) == 10


def test_a_folder_without_papers_is_taken_up_and_not_passed_on(tmp_path):
    paint_folder(tmp_path/'painted', n=3, size=(80, 64))
    status, out, err = birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')
    assert (status, err) == (0, '') and '9 photographs' in out and Counter(row.status for row in rows_of(tmp_path/'data')) == dict(downloaded=9)
    status, out, err = birdclf('export', tmp_path/'out', '--data', tmp_path/'data')
    assert (status, err) == (0, '') and '0 photographs' in out and '9 are left out' in out and not list((tmp_path/'out').rglob('*.jpg'))


def test_own_photographs_are_cleaned_split_and_trained_on_and_not_passed_on(tmp_path):
    "No licence, and one hand: the road from import to what `train` reads, with what people decided"
    mine = tmp_path/'mine'
    paint_folder(mine, n=10, size=(80, 64))
    files = sorted(path.relative_to(mine).as_posix() for path in mine.rglob('*.jpg'))
    (mine/'metadata.csv').write_text('path,source\n'+''.join(f'{path},Ida\n' for path in files), encoding='utf-8')
    status, out, err = birdclf('import', mine, '--data', tmp_path/'data')
    assert (status, err) == (0, '') and 'Nothing says that 30 of them may be passed on' in out and 'licence' in out
    with Manifest(tmp_path/'data', write=True) as manifest:
        first, second, third, *_ = manifest.rows(species='Turdus merula')
        manifest.decide(first.id, 'drop', 'Ida'), manifest.decide(second.id, 'relabel', 'Ida', 'Oriolus oriolus'), manifest.decide(third.id, 'keep', 'Ida')
    status, out, err = birdclf('split', '--data', tmp_path/'data')
    assert (status, err) == (0, '') and '29 of these photographs are by one hand' in out and 'Next: birdclf verify' in out
    status, out, err = birdclf('export', tmp_path/'out', '--data', tmp_path/'data')
    assert status == 0 and '0 photographs' in out and '29 are left out because of their licence' in out and '--for-training' in out and not list((tmp_path/'out').rglob('*.jpg'))
    status, out, err = birdclf('export', '--for-training', tmp_path/'own', '--data', tmp_path/'data')
    assert (status, err) == (0, '') and '29 photographs' in out and 'do not pass it on' in out
    papers = (tmp_path/'own'/'ATTRIBUTION.md').read_text(encoding='utf-8')
    assert papers.startswith('# Not for passing on') and papers.count('no licence known; not to be passed on') == 29
    records, warning = one_by_one(read_folder(tmp_path/'own', load_species()))
    assert Counter(r.species for r in records) == {'Amsel': 8, 'Blaumeise': 10, 'Pirol': 1, 'Rotkehlchen': 10} and 'by one hand' in warning
    assert Counter(r.split for r in records) == {'train': 23, 'test': 6} and len({r.group for r in records}) == 29
    one = next((tmp_path/'own').rglob('*.jpg'))
    shutil.copyfile(one, f'{one}.part') # As an export leaves it that was shot in the middle of a file
    with Manifest(tmp_path/'data', write=True) as manifest: manifest.decide(one.stem, 'drop', 'Ida')
    assert birdclf('export', '--for-training', tmp_path/'own', '--data', tmp_path/'data')[0] == 0 and len(list((tmp_path/'own').rglob('*.jpg*'))) == 28
    status, out, err = birdclf('export', tmp_path/'own', '--data', tmp_path/'data') # Exported for everybody, they would all go
    assert (status, out) == (2, '') and err.count('\n') == 1 and '28 photographs would have to be taken out of it' in err and len(list((tmp_path/'own').rglob('*.jpg'))) == 28


def test_several_folders_of_one_bird_are_one(tmp_path):
    for seed, name in enumerate(('amsel', 'Turdus merula', 'Amsel')):
        paint_folder(tmp_path/'mine', ['Amsel'], n=2, size=(80, 64), seed=seed)
        (tmp_path/'mine'/'Amsel').rename(tmp_path/'mine'/'x'), (tmp_path/'mine'/'x').rename(tmp_path/'mine'/name)
    paint_folder(tmp_path/'mine', ['Pirol'], n=2, size=(80, 64))
    status, out, err = birdclf('import', tmp_path/'mine', '--data', tmp_path/'data')
    assert (status, err) == (0, '') and '8 photographs are in the manifest now' in out and out.startswith('Amsel/, Turdus merula/ and amsel/ are the same bird (Amsel)')
    assert Counter(row.species for row in rows_of(tmp_path/'data')) == {'Turdus merula': 6, 'Oriolus oriolus': 2}
    assert len({row.path for row in rows_of(tmp_path/'data')}) == 8 and '0 photographs' in birdclf('import', tmp_path/'mine', '--data', tmp_path/'data')[1]


def test_a_folder_by_one_photographer_is_taken_up_whole(tmp_path):
    paint_folder(tmp_path/'painted', ['Amsel'], n=25, size=(80, 64))
    lines = ''.join(f'Amsel/{n}.jpg,by,4.0,Anna,Anna\n' for n in range(25))
    (tmp_path/'painted'/'metadata.csv').write_text('path,license,license_version,creator,source\n'+lines, encoding='utf-8')
    assert birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[0] == 0
    assert Counter(row.status for row in rows_of(tmp_path/'data')) == dict(downloaded=25)


@pytest.mark.parametrize('make, words', [(lambda folder: None, 'is not a folder'), (lambda folder: folder.mkdir(), 'holds no folders'), (lambda folder: (folder/'Dodo').mkdir(parents=True), 'Dodo')])
def test_a_folder_that_cannot_be_imported(tmp_path, make, words):
    make(tmp_path/'folder')
    status, out, err = birdclf('import', tmp_path/'folder', '--data', tmp_path/'data')
    assert (status, out) == (2, '') and words in one_sentence(err) and not (tmp_path/'data').exists()


TABLE = 'path,creator,license,source\n{},Jürgen Amsler,CC BY 4.0,Jürgen\n'
TABLES = {'no encoding': (lambda text: text.encode('latin-1').replace(b'Am', b'\x81m'), "is not in UTF-8 (see line 2). Save it as 'CSV UTF-8'."),
          'utf-16 that is cut short': (lambda text: text.encode('utf-16')[:-1], "is not in UTF-8 (see line 3). Save it as 'CSV UTF-8'."),
          'utf-16 without its mark': (lambda text: text.encode('ascii', 'replace').decode().encode('utf-16-le'), 'first line is full of zero bytes'),
          'no path': (lambda text: text.replace('path', 'file').encode(), "has no column 'path'; its first line is 'file,creator,license,source'."),
          'empty': (lambda text: b'', "has no column 'path'; its first line is ''."),
          'huge field': (lambda text: (text+f'other.jpg,{"x"*200_000},,\n').encode(), 'is not a CSV: field larger than field limit'),
          'too many values': (lambda text: (text+'other.jpg,Ida,and Ben,,,and so on\n').encode(), 'Line 3 of metadata.csv has more values than the 4 columns.'),
          'a quotation mark that is not closed': (lambda text: text.replace('Jürgen A', '"Jürgen A').encode(), 'is not a CSV: unexpected end of data'),
          'a folder': (None, 'cannot be read: Is a directory'), 'unreadable': (None, 'cannot be read: Input/output error')}


@pytest.mark.parametrize('kind', TABLES)
def test_a_metadata_csv_that_cannot_be_read_is_one_sentence_and_nothing_is_lost(tmp_path, kind):
    "By every door: import, train, evaluate and compare; the photographs are taken up once it is mended"
    make, words = TABLES[kind]
    paint_folder(tmp_path/'painted', ['Amsel'], n=2)
    table, name = tmp_path/'painted'/'metadata.csv', sorted((tmp_path/'painted').rglob('*.jpg'))[0].relative_to(tmp_path/'painted').as_posix()
    if make: table.write_bytes(make(TABLE.format(name)))
    elif kind == 'a folder': table.mkdir()
    else: table.symlink_to('/proc/self/mem') # Which not even root may read from its beginning
    status, out, err = birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')
    assert (status, out) == (2, '') and err.count('\n') == 1 and words in err and f'Or take {table} away' in err
    with pytest.raises(PhotosError, match=re.escape(words)): read_folder(tmp_path/'painted', load_species())
    status, out, err = birdclf('evaluate', tmp_path/'painted', '--report', tmp_path/'report.html')
    assert (status, out) == (2, '') and err.count('\n') == 1 and words in err
    table.rmdir() if kind == 'a folder' else table.unlink()
    table.write_text(TABLE.format(name), encoding='utf-8')
    assert birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[0] == 0
    assert sorted(row.creator for row in rows_of(tmp_path/'data')) == ['', 'Jürgen Amsler']


@pytest.mark.parametrize('code, named', [('latin-1', 'Windows-1252'), ('cp1252', 'Windows-1252'), ('utf-16', 'UTF-16')])
def test_a_metadata_csv_of_another_encoding_is_read_and_somebody_is_told(tmp_path, code, named):
    "By import, and by whoever trains or judges"
    paint_folder(tmp_path/'painted', ['Amsel'], n=2)
    name = sorted((tmp_path/'painted').rglob('*.jpg'))[0].relative_to(tmp_path/'painted').as_posix()
    (tmp_path/'painted'/'metadata.csv').write_bytes(TABLE.format(name).replace(',', '\t' if code == 'utf-16' else ';').encode(code))
    said = f'metadata.csv is not in UTF-8. It was read as {named}: look whether the names in it are right'
    status, out, err = birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')
    assert (status, err) == (0, '') and out.count(said) == 1
    assert sorted(row.creator for row in rows_of(tmp_path/'data')) == ['', 'Jürgen Amsler']
    status, out, err = birdclf('evaluate', tmp_path/'painted', '--report', tmp_path/'report.html')
    assert (status, err) == (0, '') and out.count(said) == 1
    (tmp_path/'painted'/'metadata.csv').write_text(TABLE.format(name), encoding='utf-8-sig')
    assert 'UTF-8' not in birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[1]


@pytest.mark.parametrize('text', [TABLE.replace(',', ';'), TABLE.replace(',', '\t'), '\ufeff'+TABLE, TABLE.replace('path', 'Path'), TABLE.replace('Amsler', '\0 Amsler'), TABLE.replace('\n', '\r\n')],
                         ids=['semicolons', 'tabs', 'byte order mark', 'capital letter', 'zero byte in a name', 'Windows'])
def test_a_metadata_csv_as_spreadsheets_and_cameras_write_it_is_read(tmp_path, text):
    paint_folder(tmp_path/'painted', ['Amsel'], n=2)
    name = sorted((tmp_path/'painted').rglob('*.jpg'))[0].relative_to(tmp_path/'painted').as_posix()
    (tmp_path/'painted'/'metadata.csv').write_bytes(text.format(name).encode())
    assert birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[0] == 0
    assert sorted((' '.join(row.creator.split()), row.license) for row in rows_of(tmp_path/'data')) == [('', ''), ('Jürgen Amsler', 'by')]
    assert [record.group for record in read_folder(tmp_path/'painted', load_species())] == ['Jürgen', 'Amsel/1.jpg']


@pytest.mark.parametrize('written', [lambda path: f'./{path}', lambda path: path.replace('/', '\\'), lambda path: f'{path} ', lambda path: normalize('NFD', path)],
                         ids=['dot', 'Windows', 'blank', 'letters taken apart'])
@pytest.mark.parametrize('there', ['NFC', 'NFD'])
def test_a_path_in_metadata_csv_is_found_however_it_is_spelt(tmp_path, written, there):
    paint_folder(tmp_path/'painted', ['Amsel'], n=1)
    (tmp_path/'painted'/'Amsel').rename(tmp_path/'painted'/normalize(there, 'Grünfink'))
    (tmp_path/'painted'/'metadata.csv').write_text(TABLE.format(written('Grünfink/0.jpg')), encoding='utf-8')
    assert birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[0] == 0
    assert [row.creator for row in rows_of(tmp_path/'data')] == ['Jürgen Amsler']
    assert [record.group for record in read_folder(tmp_path/'painted', load_species())] == ['Jürgen']


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='there are no named pipes here')
def test_what_never_ends_is_not_read(tmp_path):
    "A named pipe where a photograph should be is no photograph, and one instead of metadata.csv is refused"
    paint_folder(tmp_path/'painted', ['Amsel'], n=2, size=(80, 64))
    os.mkfifo(tmp_path/'painted'/'Amsel'/'pipe.jpg')
    assert len(read_folder(tmp_path/'painted', load_species())) == 2
    os.mkfifo(tmp_path/'painted'/'metadata.csv')
    status, out, err = birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')
    assert (status, out) == (2, '') and 'a pipe' in one_sentence(err)


def test_what_systems_leave_in_folders_is_no_photograph_and_no_bird(tmp_path):
    "Thumbnails would be copies of photographs on the other side of the split"
    mine = tmp_path/'mine'
    paint_folder(mine, ['Amsel', 'Pirol'], n=2, size=(80, 64))
    paint_folder(tmp_path, ['Blaumeise'], n=1, size=(80, 64))
    for place in ('__MACOSX/Amsel/0.jpg', '@eaDir/Amsel/0.jpg', '#recycle/old.jpg', 'Amsel/@eaDir/0.jpg/SYNOPHOTO_THUMB_M.jpg', 'Amsel/.thumbnails/0.jpg', 'Amsel/Thumbs.db', 'Pirol/desktop.ini'):
        (mine/place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tmp_path/'Blaumeise'/'0.jpg', mine/place)
    photographs = ['Amsel/0.jpg', 'Amsel/1.jpg', 'Pirol/0.jpg', 'Pirol/1.jpg']
    status, out, err = birdclf('import', mine, '--data', tmp_path/'data')
    assert (status, err) == (0, '') and sorted(row.path for row in rows_of(tmp_path/'data')) == [str(mine/path) for path in photographs]
    assert [record.path for record in read_folder(mine, load_species())] == [mine/path for path in photographs]


@pytest.mark.skipif(not Path('/proc/self/mem').exists(), reason='there is no file here that even root may not read')
def test_a_photograph_that_cannot_be_read_is_taken_up_when_it_can(tmp_path):
    paint_folder(tmp_path/'mine', ['Amsel'], n=2, size=(80, 64))
    (tmp_path/'mine'/'Amsel'/'bad.jpg').symlink_to('/proc/self/mem')
    assert birdclf('import', tmp_path/'mine', '--data', tmp_path/'data')[0] == 0
    assert Counter((row.status, row.reason) for row in rows_of(tmp_path/'data')) == {('downloaded', ''): 2, ('rejected', 'not a photograph: unreadable'): 1}
    assert '1 of those rejected perhaps through no fault of their own' in birdclf('status', '--data', tmp_path/'data')[1]
    (tmp_path/'mine'/'Amsel'/'bad.jpg').unlink()
    paint_folder(tmp_path, ['Amsel'], n=1, seed=7, size=(80, 64))[0].rename(tmp_path/'mine'/'Amsel'/'bad.jpg')
    status, out, err = birdclf('verify', '--retry', '--data', tmp_path/'data')
    assert (status, err) == (0, '') and Counter(row.status for row in rows_of(tmp_path/'data')) == {'verified': 3}
    assert birdclf('import', tmp_path/'mine', '--data', tmp_path/'data')[1].startswith('0 photographs are in the manifest now')


@pytest.mark.skipif(sys.platform != 'linux', reason='names of files are text here')
def test_a_name_that_is_no_text_is_told(tmp_path):
    "As a disk from the last century has it; `import` says so, and takes the photograph up once it has another name"
    odd = os.fsencode(paint_folder(tmp_path/'mine', ['Amsel'], n=2, size=(80, 64))[0].parent)+b'/gr\xfcn.jpg'
    os.rename(tmp_path/'mine'/'Amsel'/'0.jpg', odd)
    assert birdclf('import', tmp_path/'mine', '--data', tmp_path/'data')[0] == 0
    assert Counter(row.reason.partition(':')[0] for row in rows_of(tmp_path/'data')) == {'': 1, 'its name is not in UTF-8': 1}
    os.rename(odd, tmp_path/'mine'/'Amsel'/'0.jpg')
    assert birdclf('import', tmp_path/'mine', '--data', tmp_path/'data')[1].startswith('1 photograph is in the manifest now')


def lines_of(folder, *columns, table='metadata.csv', **texts):
    "A table with a line for each photograph"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*.jpg'))
    (folder/table).write_text('\n'.join([','.join(['path', *columns]), *(','.join([file, *texts.values()]) for file in files)])+'\n', encoding='utf-8')


def test_a_second_import_takes_up_papers_that_came_later(tmp_path):
    mine, data = tmp_path/'mine', tmp_path/'data'
    paint_folder(mine, ['Amsel', 'Pirol'], n=3, size=(80, 64))
    assert birdclf('import', mine, '--data', data)[0] == 0
    with Manifest(data, write=True) as manifest: manifest.decide(next(manifest.rows()).id, 'keep', 'Ida')
    lines_of(mine, 'creator', 'license', 'source', creator='Ida', license='CC BY 4.0', source='Ida')
    status, out, err = birdclf('import', mine, '--data', data)
    assert (status, err) == (0, '') and out.startswith('0 photographs are in the manifest now; 6 were there already') and 'With papers that they did not have before: 6.' in out
    assert 'Nothing says' not in out and f'Next: birdclf verify --data {data}\n' in out
    assert {(row.creator, row.license, row.license_version, row.observer_id) for row in rows_of(data)} == {('Ida', 'by', '4.0', 'Ida')} and len(rows_of(data, decision='keep')) == 1
    status, out, err = birdclf('import', mine, '--data', data)
    assert 'papers' not in out and '6 were there already' in out
    assert '6 photographs' in birdclf('export', tmp_path/'out', '--data', data)[1]


def test_a_second_import_follows_what_has_moved(tmp_path):
    "Within the folder, with the folder, to another bird, and past each other; people's decisions go along"
    mine, data = tmp_path/'mine', tmp_path/'data'
    paint_folder(mine, ['Amsel', 'Pirol'], n=3, size=(80, 64))
    assert birdclf('import', mine, '--data', data)[0] == 0
    with Manifest(data, write=True) as manifest:
        first = next(manifest.rows(path=str(mine/'Amsel'/'0.jpg')))
        manifest.decide(first.id, 'keep', 'Ida')
    (mine/'Amsel'/'0.jpg').rename(mine/'Amsel'/'x.jpg'), (mine/'Amsel'/'1.jpg').rename(mine/'Amsel'/'0.jpg'), (mine/'Amsel'/'x.jpg').rename(mine/'Amsel'/'1.jpg')
    (mine/'Amsel'/'2.jpg').rename(mine/'Pirol'/'was-amsel.jpg'), (mine/'Pirol').rename(mine/'Oriolus oriolus')
    status, out, err = birdclf('import', mine, '--data', data)
    assert (status, err) == (0, '') and out.startswith('0 photographs are in the manifest now; 6 were there already')
    assert 'Moved: 6;' in out and 'In the folder of another bird, and counted as that one: 1.' in out and 'Gone' not in out
    rows = {row.id: row for row in rows_of(data)}
    assert len(rows) == 6 and all(Path(row.path).is_file() and sha256(Path(row.path).read_bytes()).hexdigest() == row.sha256 for row in rows.values())
    assert rows[first.id].path == str(mine/'Amsel'/'1.jpg') and rows[first.id].decision == 'keep' and Counter(row.species for row in rows.values()) == {'Turdus merula': 2, 'Oriolus oriolus': 4}
    mine.rename(tmp_path/'elsewhere')
    assert 'Moved: 6;' in birdclf('import', tmp_path/'elsewhere', '--data', data)[1] and len(rows_of(data)) == 6
    assert {Path(row.path).parents[1].name for row in rows_of(data)} == {'elsewhere'}


def test_a_second_import_knows_what_is_gone_and_what_is_back(tmp_path):
    "A photograph of the same name is another photograph, and a second folder says nothing about the first"
    mine, data = tmp_path/'mine', tmp_path/'data'
    paint_folder(mine, ['Amsel'], n=3, size=(80, 64))
    paint_folder(tmp_path/'other', ['Pirol'], n=2, size=(80, 64))
    assert birdclf('import', mine, '--data', data)[0] == 0
    (mine/'Amsel'/'0.jpg').rename(tmp_path/'aside.jpg')
    shutil.copyfile(tmp_path/'other'/'Pirol'/'0.jpg', mine/'Amsel'/'0.jpg')
    status, out, err = birdclf('import', mine, '--data', data)
    assert (status, err) == (0, '') and out.startswith('1 photograph is in the manifest now; 2 were there already') and 'what it was before is put aside: Amsel/0.jpg.' in out
    assert Counter((row.status, row.reason) for row in rows_of(data)) == {('downloaded', ''): 3, ('rejected', 'the file has changed since it was fetched'): 1}
    assert 'Gone' not in birdclf('import', tmp_path/'other', '--data', data)[1]
    (tmp_path/'aside.jpg').rename(mine/'Amsel'/'back.jpg')
    out = birdclf('import', mine, '--data', data)[1]
    assert 'Gone' not in out and Counter(row.status for row in rows_of(data)) == {'downloaded': 5}
    assert 'Moved: 1;' in out and str(mine/'Amsel'/'back.jpg') in {row.path for row in rows_of(data)}


def test_a_second_import_reads_no_file_again(tmp_path, monkeypatch):
    "If it has not been touched since; one with the same size that was is read"
    mine, data = tmp_path/'mine', tmp_path/'data'
    paint_folder(mine, ['Amsel'], n=3, size=(80, 64))
    assert birdclf('import', mine, '--data', data)[0] == 0
    with Manifest(data, write=True) as manifest: manifest.update([replace(row, fetched_at='2100-01-01T00:00:00Z') for row in list(manifest.rows())])
    read = []
    monkeypatch.setattr(intake, '_read', lambda path: read.append(path.name) or (b'', 'not a photograph: format'))
    assert '3 were there already' in birdclf('import', mine, '--data', data)[1] and read == []
    os.utime(mine/'Amsel'/'1.jpg', (5e9, 5e9))
    assert birdclf('import', mine, '--data', data)[0] == 0 and read == ['1.jpg']


@pytest.mark.skipif(not Path('/proc/self/mem').exists(), reason='there is no file here that even root may not read')
def test_what_was_not_readable_and_is_no_photograph_is_not_counted(tmp_path):
    mine, data = tmp_path/'mine', tmp_path/'data'
    paint_folder(mine, ['Amsel'], n=1, size=(80, 64))
    (mine/'Amsel'/'bad.jpg').symlink_to('/proc/self/mem')
    assert birdclf('import', mine, '--data', data)[1].startswith('1 photograph')
    (mine/'Amsel'/'bad.jpg').unlink(), (mine/'Amsel'/'bad.jpg').write_text('a blackbird')
    out = birdclf('import', mine, '--data', data)[1]
    assert out.startswith('0 photographs are in the manifest now; 1 was') and 'no photographs: Amsel/bad.jpg' in out and len(rows_of(data)) == 2
    (mine/'Amsel'/'bad.jpg').unlink(), paint_folder(tmp_path/'more', ['Amsel'], n=1, seed=4, size=(80, 64))[0].rename(mine/'Amsel'/'bad.jpg')
    assert birdclf('import', mine, '--data', data)[1].startswith('1 photograph is in the manifest now; 1 was')


@pytest.mark.parametrize('said, code, out_of', [('mine', 'own', 4), ('Mine ', 'own', 4), ('unknown', '', 0), ('CC BY-SA 4.0', 'by-sa', 4), ('cc0', 'cc0', 4), ('own', 'own', 4), ('All rights reserved', 'arr', 0), ('CC BY-ND 4.0', 'by-nd', 0)])
@pytest.mark.parametrize('later', [False, True])
def test_whose_they_are_is_said_once_for_all(tmp_path, said, code, out_of, later):
    "At the first import or at a second; what the table says comes before it"
    mine, data = tmp_path/'mine', tmp_path/'data'
    paint_folder(mine, ['Amsel', 'Pirol'], n=2, size=(80, 64))
    if later: assert birdclf('import', mine, '--data', data)[0] == 0
    status, out, err = birdclf('import', mine, '--license', said, '--data', data)
    assert (status, err) == (0, '') and {row.license for row in rows_of(data)} == {code} and ('Nothing says that 4' in out) == (not out_of)
    paint_folder(mine, ['Stockente'], n=1, size=(80, 64)) # What was said holds for what comes later
    assert birdclf('import', mine, '--data', data)[0] == 0 and len(rows_of(data)) == 5 and {row.license for row in rows_of(data)} == {code}
    assert birdclf('export', tmp_path/'out', '--data', data)[1].startswith(f'{out_of and 5} photographs')
    lines_of(mine, 'license', license='CC BY 4.0')
    assert birdclf('import', mine, '--licence', said, '--data', data)[0] == 0 and {(row.license, row.license_version) for row in rows_of(data)} == {('by', '4.0')}


def test_what_is_mine_is_not_the_next_ones(tmp_path):
    "A folder that was exported carries the owner's word as it is: all rights reserved, until whoever has it says that it is theirs"
    paint_folder(tmp_path/'mine', ['Amsel', 'Pirol'], n=2, size=(80, 64))
    assert birdclf('import', tmp_path/'mine', '--license', 'mine', '--data', tmp_path/'a')[0] == 0
    assert birdclf('export', tmp_path/'out', '--data', tmp_path/'a')[1].startswith('4 photographs')
    credits = (tmp_path/'out'/'ATTRIBUTION.md').read_text(encoding='utf-8')
    assert credits.count("by whoever made this folder, the photographer's own\n") == 4
    status, out, err = birdclf('import', tmp_path/'out', '--data', tmp_path/'b')
    assert (status, err) == (0, '') and 'Nothing says that 4 of them may be passed on' in out and {row.license for row in rows_of(tmp_path/'b')} == {'arr'}
    assert birdclf('import', tmp_path/'out', '--license', 'mine', '--data', tmp_path/'b')[0] == 0 and {row.license for row in rows_of(tmp_path/'b')} == {'own'}


def test_what_is_mine_stays_mine_when_it_comes_home(tmp_path):
    "One's own export, imported into the data that it came from, changes no papers"
    paint_folder(tmp_path/'mine', ['Amsel', 'Pirol'], n=2, size=(80, 64))
    lines_of(tmp_path/'mine', 'source', source='Ida')
    assert birdclf('import', tmp_path/'mine', '--license', 'mine', '--data', tmp_path/'a')[0] == 0
    before = rows_of(tmp_path/'a')
    assert birdclf('export', tmp_path/'out', '--data', tmp_path/'a')[1].startswith('4 photographs')
    status, out, err = birdclf('import', tmp_path/'out', '--data', tmp_path/'a')
    assert (status, err) == (0, '') and 'With papers' not in out and rows_of(tmp_path/'a') == before
    assert birdclf('export', tmp_path/'out', '--data', tmp_path/'a')[1].startswith('4 photographs')


@pytest.mark.parametrize('said', ['mein', 'CC BY 5.0', 'ask Ida'])
def test_a_licence_that_is_none_replaces_no_good_one(tmp_path, said):
    mine, data = tmp_path/'mine', tmp_path/'data'
    paint_folder(mine, ['Amsel', 'Pirol'], n=2, size=(80, 64))
    assert birdclf('import', mine, '--license', 'CC BY 4.0', '--data', data)[0] == 0
    status, out, err = birdclf('import', mine, '--license', said, '--data', data)
    assert (status, out) == (2, '') and err.count('\n') == 1 and 'Say mine, unknown, or a licence such as CC BY 4.0' in err and {row.license for row in rows_of(data)} == {'by'}


def test_what_was_said_of_one_folder_is_not_said_of_the_next(tmp_path):
    for name, seed in (('mine', 1), ('theirs', 2)): paint_folder(tmp_path/name, ['Amsel', 'Pirol'], n=2, size=(80, 64), seed=seed)
    assert birdclf('import', tmp_path/'mine', '--license', 'mine', '--data', tmp_path/'data')[0] == 0
    assert birdclf('import', tmp_path/'theirs', '--data', tmp_path/'data')[0] == 0
    assert {(Path(row.path).parent.parent.name, row.license) for row in rows_of(tmp_path/'data')} == {('mine', 'own'), ('theirs', '')}


def test_a_photograph_that_was_replaced_in_place_is_told_and_taken_up(tmp_path):
    mine, data = tmp_path/'mine', tmp_path/'data'
    paint_folder(mine, ['Amsel', 'Pirol'], n=2, size=(80, 64))
    assert birdclf('import', mine, '--data', data)[0] == 0
    paint_folder(tmp_path/'more', ['Amsel'], n=1, seed=9, size=(90, 64))[0].replace(mine/'Amsel'/'0.jpg')
    status, out, err = birdclf('import', mine, '--data', data)
    assert (status, err) == (0, '') and out.startswith('1 photograph') and 'there is something else now; what it was before is put aside: Amsel/0.jpg.' in out and 'Gone' not in out
    assert Counter((row.status, row.reason) for row in rows_of(data)) == {('downloaded', ''): 4, ('rejected', 'the file has changed since it was fetched'): 1}
    assert 'something else' not in birdclf('import', mine, '--data', data)[1]


def test_a_photograph_that_nobody_may_read_is_told_and_is_not_gone(tmp_path, monkeypatch):
    mine, data, read = tmp_path/'mine', tmp_path/'data', intake._read
    paint_folder(mine, ['Amsel', 'Pirol'], n=2, size=(80, 64))
    assert birdclf('import', mine, '--data', data)[0] == 0
    before = rows_of(data)
    os.utime(mine/'Amsel'/'0.jpg') # Somebody has touched it
    (mine/'Amsel'/'new.jpg').write_bytes(b'x')
    monkeypatch.setattr(intake, '_read', lambda path: (None, 'not a photograph: unreadable') if path.name in ('0.jpg', 'new.jpg') else read(path))
    status, out, err = birdclf('import', mine, '--data', data)
    assert (status, err) == (0, '') and 'cannot be read; change their rights, and import again: Amsel/0.jpg, Amsel/new.jpg' in out and 'no photographs' not in out and 'Gone' not in out
    assert [row for row in rows_of(data) if row.sha256] == before


def test_a_list_that_has_become_shorter_leaves_the_others_out(tmp_path):
    "The folder that leaves is about the birds of its list, and of no others"
    data = tmp_path/'data'
    paint_folder(tmp_path/'mine', ['Amsel', 'Pirol', 'Stockente'], n=5, size=(80, 64))
    assert birdclf('import', tmp_path/'mine', '--license', 'mine', '--data', data)[0] == 0
    (tmp_path/'two.csv').write_text('scientific,german,english\nTurdus merula,Amsel,Blackbird\nOriolus oriolus,Pirol,Oriole\n', encoding='utf-8')
    assert birdclf('species', tmp_path/'two.csv', '--use', '--data', data)[0] == 0
    status, out, err = birdclf('split', '--data', data)
    assert (status, err) == (0, '') and out.startswith('10 photographs of 2 birds') and 'left out: 5 that would be of no bird on the list' in out
    status, out, err = birdclf('export', tmp_path/'out', '--data', data)
    assert (status, err) == (0, '') and out.startswith('10 photographs')
    assert Counter(r.species for r in read_folder(tmp_path/'out', load_species(tmp_path/'out'/'species.csv'))) == {'Amsel': 5, 'Pirol': 5}


def test_a_list_and_how_it_is_changed_are_named_where_a_folder_is_no_species(tmp_path):
    mine, data = tmp_path/'mine', tmp_path/'data'
    paint_folder(mine, ['Amsel', 'Pirol'], n=1, size=(80, 64))
    (mine/'Amsel').rename(mine/'Sinirinta')
    status, out, err = birdclf('import', mine, '--data', data)
    assert (status, out) == (2, '') and err.count('\n') == 1 and 'This is the list of the book.' in err and 'give it with --species LIST' in err
    (tmp_path/'one.csv').write_text('scientific,english\nOriolus oriolus,Oriole\n', encoding='utf-8')
    (mine/'Pirol').rename(mine/'Oriole'), (mine/'Sinirinta').rename(tmp_path/'Sinirinta')
    assert birdclf('import', mine, '--species', tmp_path/'one.csv', '--data', data)[0] == 0
    (tmp_path/'one.csv').write_text('scientific,english\nOriolus oriolus,Oriole\nTarsiger cyanurus,Sinirinta\n', encoding='utf-8')
    (tmp_path/'Sinirinta').rename(mine/'Sinirinta')
    status, out, err = birdclf('import', mine, '--data', data)
    assert (status, out) == (2, '') and err.count('\n') == 1 and 'the book' not in err and err.rstrip().endswith('birdclf species LIST --use')
    assert birdclf('species', tmp_path/'one.csv', '--use', '--data', data)[0] == 0 and birdclf('import', mine, '--data', data)[0] == 0


def test_the_folder_above_and_the_one_below_are_told_from_the_right_one(tmp_path):
    paint_folder(tmp_path/'all'/'mine', ['Amsel', 'Pirol'], n=1, size=(80, 64))
    for wrong, words in ((tmp_path/'all', f"The birds are in {tmp_path/'all'/'mine'}"), (tmp_path/'all'/'mine'/'Amsel', f"Give the one that it lies in: {tmp_path/'all'/'mine'}")):
        status, out, err = birdclf('import', wrong, '--data', tmp_path/'data')
        assert (status, out) == (2, '') and err.count('\n') == 1 and words in err and 'other_birds' not in err


def test_links_are_followed_and_do_not_lead_in_circles(tmp_path):
    "A folder of a bird may lie on another disk, or a part of it; a link back up is no photographs of that bird"
    mine, disk = tmp_path/'mine', tmp_path/'disk'
    paint_folder(mine, ['Amsel', 'Pirol'], n=1, size=(80, 64))
    paint_folder(disk, ['Amsel'], n=3, seed=4, size=(80, 64))
    (mine/'Amsel'/'2023').symlink_to(disk/'Amsel')
    (mine/'Amsel'/'up').symlink_to(mine), (mine/'Amsel'/'here').symlink_to(mine/'Amsel'), (mine/'Amsel'/'again').symlink_to(disk/'Amsel')
    assert Counter(r.species for r in read_folder(mine, load_species())) == {'Amsel': 4, 'Pirol': 1}
    assert birdclf('import', mine, '--data', tmp_path/'data')[1].startswith('5 photographs')


def test_a_folder_that_nobody_may_look_into_is_one_sentence(tmp_path, monkeypatch):
    mine, scan = tmp_path/'mine', os.scandir
    paint_folder(mine, ['Amsel', 'Pirol'], n=1, size=(80, 64))
    def locked(path):
        if Path(path).name == 'Pirol': raise PermissionError(13, 'Permission denied', str(path))
        return scan(path)
    monkeypatch.setattr(os, 'scandir', locked)
    status, out, err = birdclf('import', mine, '--data', tmp_path/'data')
    assert (status, out) == (2, '') and err.count('\n') == 1 and f"{mine/'Pirol'} cannot be read: Permission denied. Change its rights" in err


def test_what_hides_behind_a_folder_called_species_is_told(tmp_path):
    paint_folder(tmp_path/'mine', ['Amsel', 'Pirol'], n=1, size=(80, 64)), paint_folder(tmp_path/'mine'/'species', ['Stockente'], n=1, size=(80, 64))
    status, out, err = birdclf('import', tmp_path/'mine', '--data', tmp_path/'data')
    assert (status, err) == (0, '') and f"Only what lies in {tmp_path/'mine'/'species'} is read. Passed over: Amsel, Pirol." in out and '1 photograph is' in out


@pytest.mark.parametrize('table, words', [
    ('path,author\nAmsel/0.jpg,Ida\n', 'Nothing reads these columns of metadata.csv: author. Who took a photograph stands in creator'),
    ('path,source\n{mine}/Amsel/0.jpg,Ida\n', '1 line of 1 in metadata.csv is about no file here: {mine}/Amsel/0.jpg'),
    ('path,source\nAmsel,Ida\n', '1 line of 1 in metadata.csv is about no file here: Amsel. A path begins at mine'),
    ('path,source\nAmsel/0.jpg,Ida\n./Amsel/0.jpg,Ben\n', 'more than once, and the last line counts: Amsel/0.jpg.'),
    ('path,license\nAmsel/0.jpg,blah\n', 'no licence that we know: blah.')])
def test_a_line_of_metadata_csv_that_does_nothing_is_told(tmp_path, table, words):
    mine = tmp_path/'mine'
    paint_folder(mine, ['Amsel', 'Pirol'], n=1, size=(80, 64))
    (mine/'metadata.csv').write_text(table.format(mine=mine), encoding='utf-8')
    status, out, err = birdclf('import', mine, '--data', tmp_path/'data')
    assert (status, err) == (0, '') and words.format(mine=mine) in out


@pytest.mark.parametrize('name', ['metadata.xlsx', 'Metadata.csv'])
def test_a_table_that_is_called_something_else_is_told(tmp_path, name):
    paint_folder(tmp_path/'mine', ['Amsel', 'Pirol'], n=1, size=(80, 64))
    (tmp_path/'mine'/name).write_text('path,license\n')
    assert f'If {name} says who took them: it is read when it is CSV, and called metadata.csv.' in birdclf('import', tmp_path/'mine', '--data', tmp_path/'data')[1]


def test_strangers_that_nobody_has_sorted_are_one_kind(tmp_path):
    mine = tmp_path/'mine'
    paint_folder(mine, ['Amsel', 'Pirol'], n=1, size=(80, 64)), paint_folder(mine/'other_birds', ['Stockente'], n=2, size=(80, 64))
    for n in (0, 1): (mine/'other_birds'/'Stockente'/f'{n}.jpg').rename(mine/'other_birds'/f'{n}.jpg')
    (mine/'not_bird').mkdir()
    assert [(r.species, r.group) for r in read_folder(mine, load_species()) if 'other' in r.group] == [('other bird', 'other_birds/unsorted')]*2
    out = birdclf('import', mine, '--data', tmp_path/'data')[1]
    assert 'Not taken up: other_birds. ' in out and 'nothing in them' not in out and 'not_bird' not in out


def test_sides_are_read_in_any_letter_case_and_an_empty_one_is_told(tmp_path):
    mine = tmp_path/'mine'
    paint_folder(mine, ['Amsel', 'Pirol'], n=2, size=(80, 64))
    def write(*sides): (mine/'metadata.csv').write_text('path,split\n'+''.join(f'{bird}/{n}.jpg,{side}\n' for bird in ('Amsel', 'Pirol') for n, side in enumerate(sides)), encoding='utf-8')
    write('Test', 'TRAIN ')
    records = read_folder(mine, load_species())
    assert [r.path.name for side in ('test', 'training') for r in on_side(records, side)] == ['0.jpg', '0.jpg', '1.jpg', '1.jpg']
    write('train', 'Training')
    with pytest.raises(PhotosError, match='to be used for test: the column split of metadata.csv has no test in it, only train. Write train or test there'): on_side(read_folder(mine, load_species()), 'test')


def test_all_names_that_nobody_knows_are_told_at_once(tmp_path):
    "With what is near; and nothing is written"
    mine = tmp_path/'mine'
    paint_folder(mine, ['Amsel', 'Blaumeise', 'Pirol', 'Flamingo'], n=1, size=(80, 64))
    for name, slip in (('Amsel', 'Amesl'), ('Blaumeise', 'Blaumeize'), ('Pirol', 'Holiday')): (mine/name).rename(mine/slip)
    for command in (['import', mine, '--data', tmp_path/'data'], ['evaluate', mine, '--report', tmp_path/'report.html']):
        status, out, err = birdclf(*command)
        assert (status, out) == (2, '') and err.count('\n') == 1 and 'Traceback' not in err and not (tmp_path/'data').exists()
        assert all(words in err for words in ("'Amesl'", "'Blaumeize'", "'Flamingo'", "'Holiday'", 'Eurasian Blackbird (Amsel', 'Eurasian Blue Tit (Blaumeise', 'other_birds')) and err.count('Check the spelling') == 1


@pytest.mark.parametrize('name', ['New folder', 'Neuer Ordner', '__MACOSX', '@eaDir', '#recycle', '$RECYCLE.BIN', '.Trashes', 'System Volume Information', '@SynoResource', '__pycache__', 'lost+found', 'Flamingo'])
@pytest.mark.parametrize('inside', [(), ('Thumbs.db', '.DS_Store', 'deeper/desktop.ini')])
def test_empty_folders_and_those_of_systems_are_passed_over(tmp_path, name, inside):
    mine = tmp_path/'mine'
    paint_folder(mine, ['Amsel'], n=2, size=(80, 64))
    (mine/name).mkdir()
    for file in inside: (mine/name/file).parent.mkdir(exist_ok=True), (mine/name/file).write_bytes(b'x')
    status, out, err = birdclf('import', mine, '--data', tmp_path/'data')
    assert (status, err) == (0, '') and out.startswith('2 photographs are') and len(rows_of(tmp_path/'data')) == 2 == len(read_folder(mine, load_species()))
    assert ('nothing in them: '+name in out) == (name in ('New folder', 'Neuer Ordner', 'Flamingo'))


def test_papers_follow_a_photograph_that_has_moved_in_an_exported_folder(tmp_path):
    "By what is in it"
    mine, out = tmp_path/'mine', tmp_path/'out'
    paint_folder(mine, ['Amsel', 'Pirol'], n=3, size=(80, 64))
    lines_of(mine, 'creator', 'license', 'source', creator='Ida', license='CC BY 4.0', source='Ida')
    assert birdclf('import', mine, '--data', tmp_path/'a')[0] == 0 and birdclf('export', out, '--data', tmp_path/'a')[0] == 0
    for n, file in enumerate(sorted(out.rglob('*.jpg'))): file.rename(file.parent/f'{n}.jpg')
    (out/'Pirol'/'5.jpg').unlink()
    status, text, err = birdclf('import', out, '--data', tmp_path/'b')
    assert (status, err) == (0, '') and text.startswith('5 photographs') and {(row.creator, row.license) for row in rows_of(tmp_path/'b')} == {('Ida', 'by')}
    assert '1 line of 6 in metadata.csv is about no file here' in text


def test_who_works_among_the_photographs_may_import_them_again(tmp_path):
    "The manifest lies in the same folder then, and is no bird"
    paint_folder(tmp_path, ['Amsel', 'Pirol'], n=2, size=(80, 64))
    for was in (0, 4): assert f'; {was} were there already' in birdclf('import', '.', cwd=tmp_path)[1]
    assert (tmp_path/'data'/'manifest.sqlite').exists() and len(read_folder(tmp_path, load_species())) == 4 == len(rows_of(tmp_path/'data'))


def test_what_is_not_taken_up_is_told(tmp_path):
    mine, data = tmp_path/'mine', tmp_path/'data'
    paint_folder(mine, ['Amsel', 'Pirol'], n=2, size=(80, 64))
    paint_folder(mine/'other_birds', ['Flamingo'], n=1, size=(80, 64))
    shutil.copyfile(mine/'Amsel'/'0.jpg', mine/'Pirol'/'9.jpg'), shutil.copyfile(mine/'Amsel'/'0.jpg', mine/'loose.jpg')
    (mine/'Amsel'/'notes.txt').write_text('a blackbird')
    (mine/'metadata.csv').write_text('path;source\nC:\\Photos\\Amsel\\0.jpg;Ida\nAmsel\\1.jpg;Ida\n')
    status, out, err = birdclf('import', mine, '--data', data)
    assert (status, err) == (0, '') and out.startswith('4 photographs are in the manifest now')
    for words in ('These are no photographs: Amsel/notes.txt.', 'byte for byte, and counted once: Pirol/9.jpg.', 'Amsel/0.jpg and Pirol/9.jpg are the same photograph under two birds', 'passed over: loose.jpg.',
                  'Not taken up: other_birds. When you have exported, copy it into the folder that you exported to', '1 line of 2 in metadata.csv is about no file here: C:/Photos/Amsel/0.jpg.'): assert words in out, words
    assert Counter(row.observer_id for row in rows_of(data, status='downloaded')) == {'': 3, 'Ida': 1}


@pytest.mark.skipif(sys.platform != 'linux', reason='names of files are text here')
def test_a_folder_whose_name_is_no_text_is_known_and_its_photographs_are_told(tmp_path):
    "As a disk from the last century has it"
    mine = tmp_path/'mine'
    paint_folder(mine, ['Amsel'], n=2, size=(80, 64))
    odd = os.fsencode(mine)+b'/Gr\xfcnfink'
    os.mkdir(odd), os.rename(mine/'Amsel'/'0.jpg', odd+b'/0.jpg'), os.rename(mine/'Amsel'/'1.jpg', os.fsencode(mine)+b'/Amsel/\xe9.jpg')
    paint_folder(mine, ['Amsel'], n=1, seed=3, size=(80, 64))
    status, out, err = birdclf('import', mine, '--data', tmp_path/'data')
    assert (status, err) == (0, '') and out.startswith('1 photograph is') and 'not in UTF-8: Amsel/\\udce9.jpg, Gr\\udcfcnfink/0.jpg.' in out and 'Rename them' in out
    assert Counter(record.species for record in read_folder(mine, load_species())) == {'Amsel': 2, 'Grünfink': 1}
    os.rename(odd, mine/'Grünfink')
    assert birdclf('import', mine, '--data', tmp_path/'data')[1].startswith('1 photograph is')


@pytest.mark.parametrize('text', ['sep=;\npath;creator;license\n{};Ida;CC BY 4.0\n', 'sep=\t\r\npath\tcreator\tlicense\r\n{}\tIda\tCC BY 4.0\r\n', '"path";"creator";"license";"seen, or heard"\n"{}";"Ida";"CC BY 4.0";"a, b, c"\n',
                                  'path,creator,license\r{},Ida,CC BY 4.0\r', 'path;creator;license;;;\n{};Ida;CC BY 4.0;;;\n', '\ufeffpath ; Creator;LICENCE\n{};Ida;CC BY 4.0\n'],
                         ids=['Excel says what', 'and with tabs', 'a comma in a name', 'an old Mac', 'empty columns', 'blanks and capitals'])
def test_more_that_spreadsheets_write(tmp_path, text):
    paint_folder(tmp_path/'painted', ['Amsel'], n=1, size=(80, 64))
    (tmp_path/'painted'/'metadata.csv').write_bytes(text.format('Amsel\\0.jpg').encode())
    status, out, err = birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')
    assert (status, err) == (0, ''), err
    assert [(row.creator, row.license, row.license_version) for row in rows_of(tmp_path/'data')] == [('Ida', 'by', '4.0')]


def test_an_export_does_not_write_among_other_things(tmp_path):
    manifest_of(tmp_path/'data', [])
    (tmp_path/'mine').mkdir(), (tmp_path/'mine'/'diary.txt').touch()
    status, out, err = birdclf('export', tmp_path/'mine', '--data', tmp_path/'data')
    assert (status, out) == (2, '') and 'was not exported from here' in one_sentence(err)


class Deciding(SpeciesList):
    "Birds that are asked for their names while an export is written; at the third, somebody decides something, from another connection"
    def then(self, folder, *decisions): self.folder, self.decisions, self.asked = folder, decisions, 0; return self

    def find(self, name):
        self.asked += 1
        if self.asked == 3:
            with Manifest(self.folder, decide=True) as other:
                for photo, *what in self.decisions: other.decide(photo, what[0], 'Ida', *what[1:])
        return super().find(name)


def exported(folder):
    "The photographs in a folder, and those that its two lists name"
    with open(folder/'metadata.csv', encoding='utf-8', newline='') as file: table = {line['path'] for line in csv.DictReader(file)}
    text = set(re.findall(r'^- `([^`]+)`', (folder/'ATTRIBUTION.md').read_text(encoding='utf-8'), re.M))
    return {path.relative_to(folder).as_posix() for path in folder.rglob('*.jpg')}, table, text


@pytest.mark.parametrize('when', ['the first time', 'the second time'])
def test_what_is_decided_during_an_export_makes_no_photograph_without_its_papers(tmp_path, when):
    "One is dropped, one is taken back in, one is relabelled, while the lists are written; all of it counts the next time"
    paint_folder(tmp_path/'painted', n=4, size=(80, 64))
    papers(tmp_path/'painted')
    assert birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[0] == 0
    rows, birds, out = rows_of(tmp_path/'data'), load_species(), tmp_path/'out'
    with Manifest(tmp_path/'data', decide=True) as people: people.decide(rows[1].id, 'drop', 'Ida')
    with Manifest(tmp_path/'data') as manifest:
        if when == 'the second time': assert export_folder(manifest, out, birds) == 11
        deciding = Deciding(birds).then(tmp_path/'data', (rows[0].id, 'drop'), (rows[1].id, 'keep'), (rows[11].id, 'relabel', 'Turdus merula'), (rows[10].id, 'drop'))
        assert export_folder(manifest, out, deciding) == 11 and deciding.asked > 3
        files, table, text = exported(out)
        assert files == table == text and len(files) == 11 and {Path(path).stem for path in files} == {row.id for row in rows}-{rows[1].id}
        assert export_folder(manifest, out, birds) == 10
        files, table, text = exported(out)
        assert files == table == text and {Path(path).stem for path in files} == {row.id for row in rows}-{rows[0].id, rows[10].id} and f'Amsel/{rows[11].id}.jpg' in files


def test_what_is_decided_during_an_export_is_counted_the_next_time(tmp_path):
    "The sentence at the end adds up, too: photographs that are out, and those that are left out, are of one moment"
    paint_folder(tmp_path/'painted', n=4, size=(80, 64))
    papers(tmp_path/'painted')
    assert birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[0] == 0
    with Manifest(tmp_path/'data') as reader, reader.snapshot():
        before = list(reader.rows())
        with Manifest(tmp_path/'data', write=True) as writer: writer.update([replace(row, status='rejected', reason='x') for row in before])
        assert list(reader.rows()) == before and reader.count('status') == {'downloaded': 12}
        with reader.snapshot(): assert reader.count('status') == {'downloaded': 12}
        assert reader.count('status') == {'downloaded': 12}
    assert Counter(row.status for row in rows_of(tmp_path/'data')) == dict(rejected=12)


@pytest.mark.parametrize('table, words', [(b'path,found_by\nAmsel/J\x81rgen.jpg,inat\n', 'metadata.csv is not in UTF-8 (see line 2)'),
                                          (b'path;german\nAmsel/1.jpg;Amsel\n', "has no column 'found_by'"), (b'', "has no column 'found_by'"),
                                          (b'path,found_by\n'+b'x'*200_000+b',inat\n', 'field larger than field limit'), (None, 'Is a directory')])
def test_an_export_over_a_table_that_it_cannot_read_is_one_sentence(tmp_path, table, words):
    manifest_of(tmp_path/'data', [])
    (tmp_path/'out').mkdir()
    (tmp_path/'out'/'metadata.csv').mkdir() if table is None else (tmp_path/'out'/'metadata.csv').write_bytes(table)
    status, out, err = birdclf('export', tmp_path/'out', '--data', tmp_path/'data')
    assert (status, out) == (2, '') and 'was not exported from here' in one_sentence(err) and words in err


def test_an_export_shows_how_far_it_is(tmp_path, monkeypatch):
    "In a file as in a terminal: so many of so many photographs"
    paint_folder(tmp_path/'painted', n=2, size=(80, 64))
    papers(tmp_path/'painted')
    assert birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[0] == 0
    monkeypatch.setattr('birdclf.command._WAIT', 0)
    status, out, err = birdclf('export', tmp_path/'out', '--data', tmp_path/'data')
    n = len(list((tmp_path/'out').rglob('*.jpg')))
    assert status == 0 and out.startswith(f'{n} photographs are in the folder') and f'{n}/{n}' in err and '\r' not in err and n > 3


def test_an_export_goes_on_where_a_spreadsheet_has_saved_the_table(tmp_path):
    "With a byte order mark, and with semicolons: what is dropped goes away, as from a table that nobody has touched"
    paint_folder(tmp_path/'painted', n=2, size=(80, 64))
    papers(tmp_path/'painted')
    assert birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[0] == 0
    for n, row in enumerate(rows_of(tmp_path/'data')[:2]):
        assert birdclf('export', tmp_path/'out', '--data', tmp_path/'data')[0] == 0
        table = tmp_path/'out'/'metadata.csv'
        with open(table, encoding='utf-8', newline='') as file: lines = list(csv.reader(file))
        with open(table, 'w', encoding='utf-8-sig', newline='') as file: csv.writer(file, delimiter=',;'[n]).writerows(lines)
        with Manifest(tmp_path/'data', decide=True) as people: people.decide(row.id, 'drop', 'Ida')
        assert birdclf('export', tmp_path/'out', '--data', tmp_path/'data')[0] == 0
        files, table, text = exported(tmp_path/'out')
        assert files == table == text and len(files) == 5-n


# A search for nothing

def test_an_import_is_no_search_however_it_ends(tmp_path):
    "It remembers no goal: not while it runs, nor after Ctrl-C, nor after kill -9; that of a search before it stays"
    paint_folder(tmp_path/'painted', ['Rotkehlchen', 'Blaumeise', 'Amsel', 'Pirol', 'Eisvogel', 'Stockente'], n=50, size=(40, 40))
    for deed, signals in (('calm', None), ('stopped', signal.SIGINT), ('shot', signal.SIGKILL)):
        folder = tmp_path/deed
        with Manifest(folder, write=True) as manifest: manifest.add([]), deed == 'calm' or manifest.note('want', '37')
        with started('import', tmp_path/'painted', '--data', folder, world=None) as process:
            if signals:
                with Manifest(folder) as manifest: wait_for(lambda: sum(manifest.count().values()) or process.poll() is not None)
                process.send_signal(signals)
            process.wait(60)
        with Manifest(folder) as manifest: assert manifest.note('want') == ('' if deed == 'calm' else '37'), deed
        out = birdclf('status', '--data', folder)[1]
        assert ('/37' in out) == (deed != 'calm') and '9223372036854775807' not in out


def test_the_goal_that_an_import_once_left_behind_is_not_shown(tmp_path):
    paint_folder(tmp_path/'painted', ['Amsel'], n=2, size=(40, 40))
    assert birdclf('import', tmp_path/'painted', '--data', tmp_path/'data')[0] == 0
    with Manifest(tmp_path/'data', write=True) as manifest: manifest.note('want', '9223372036854775807')
    status, out, err = birdclf('status', '--data', tmp_path/'data')
    assert (status, err) == (0, '') and '9223372036854775807' not in out and re.search(r'^Amsel +2$', out, re.M)
    assert re.search(r'^Amsel .* 2/8$', birdclf('status', '--want', '8', '--data', tmp_path/'data')[1], re.M)


# Politeness

def test_connections_to_one_host(tmp_path, monkeypatch):
    addresses = [f'127.0.0.{n}' for n in range(2, 18)]
    monkeypatch.setattr(downloading, 'HOSTS', {'127.0.0.2': HostLimits(1), '127.0.0.3': HostLimits(2)})
    with Replay([], addresses=tuple(addresses), latency=.03) as world:
        manifest_of(tmp_path, [clean_url(world, n, address) for n in range(16) for address in addresses])
        report, rows = fetched(tmp_path, silence=PATIENCE, seconds=PATIENCE)
        most = {address: world.connections(address) for address in addresses}
    assert report.photographs == 256 and (most['127.0.0.2'], most['127.0.0.3']) == (1, 2)
    assert max(most.values()) == 4 and len(set(visited(world))) == 16 and len(world.log) == 256


def test_bytes_in_an_hour(tmp_path, monkeypatch):
    "No more than the window, and what was under way when it was full; also after a restart; and an hour later it goes on"
    with Replay([], latency=.02) as world:
        manifest_of(tmp_path, [clean_url(world, n, size='original') for n in range(60)])
        report, rows = fetched(manifest_of(tmp_path/'one', [clean_url(world, 'one', size='original')]))
        size, start = rows[0].bytes, len(world.log)
        monkeypatch.setattr(downloading, 'HOSTS', {'127.0.0.1': HostLimits(3, ((10*size, 3600.),))})

        def for_a_while(seconds, **options):
            with Manifest(tmp_path, write=True) as manifest:
                one = Downloader(manifest, careful_web(CONTACT, **TRUSTED), **options)
                timer = threading.Timer(seconds, one.stop.hear)
                timer.start()
                try: return one.run(bar=quiet)
                finally: timer.cancel()

        report = for_a_while(PATIENCE)
        assert 10 <= report.photographs <= 12 and report.left == 60-report.photographs and report.stopped | bool(report.parked)
        assert len(visited(world, start)) == report.photographs
        assert for_a_while(PATIENCE).photographs == 0 and len(visited(world, start)) == report.photographs
        later_on = for_a_while(PATIENCE, clock=lambda: time.time()+3700)
        assert 10 <= later_on.photographs <= 12  # on purpose: a number of photographs


def test_the_sources_are_asked_one_after_the_other_with_pauses(tmp_path):
    "With the real limits: more than a second between two requests to one source, also across a restart; each is noted before it is sent"
    with Replay(catalogue(SpeciesList(BIRDS[:1]), 6)) as world:
        for want in ('1', '3'): assert birdclf('search', '--bird', BIRDS[0].german, '--source', 'inat', '--place', 'Austria', '--want', want, '--data', tmp_path, world=world)[0] == 0
        times = [visit.time for visit in world.log if '/inat/' in visit.path]
        with Manifest(tmp_path) as manifest: noted = manifest.requests_since('inat', 0)
        assert len(times) >= 2 and all(sent <= came for sent, came in zip(noted, times, strict=True)) and world.connections('127.0.0.1') == 1
        assert all(after-before > 1 for before, after in zip(noted, noted[1:]))


# Memory

@pytest.fixture(scope='module')
def crowds(tmp_path_factory):
    "Manifests with 1,000 and with 100,000 rows that are all to be fetched, on 40 hosts with one port"
    port, made = closed_port('127.0.0.1'), {}
    for n in (1_000, 100_000):
        made[n] = tmp_path_factory.mktemp(f'crowd{n}')
        manifest_of(made[n], (f'http://127.0.0.{2+i%40}:{port}/photos/inat/0/small.jpg?{i}' for i in range(n)))
    return port, made


def crowd_world(port, **options): return Replay([], addresses=tuple(f'127.0.0.{n}' for n in range(2, 42)), port=port, **options)


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='needs /proc')
def test_memory_of_a_download_that_is_stopped(crowds, tmp_path):
    port, folders = crowds
    peaks = {}
    for n, folder in folders.items():
        with crowd_world(port, latency=3.5) as world, started('download', '--data', work_found(folder, tmp_path/str(n)), world=world, command=MEASURED) as process:
            wait_for(lambda: len(world.lines.visits) >= 64)
            time.sleep(3)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
            assert process.returncode == 130 and 'Nothing is lost' in one_sentence(err.decode())
            peaks[n] = int(out.split()[-1])/1024
    assert peaks[100_000]-peaks[1_000] < 15 and peaks[100_000] < 200, peaks


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='needs /proc')
def test_memory_of_a_download_with_a_past(crowds, tmp_path):
    port, folders = crowds
    peaks = {}
    for n, folder in folders.items():
        here = work_found(folder, tmp_path/str(n))
        with sqlite3.connect(here/'manifest.sqlite') as db: db.execute("UPDATE photos SET status='failed', reason='HTTP 404' WHERE seq>300")
        db.close()
        with crowd_world(port) as world:
            status, out, err = process('download', '--data', here, world=world, command=MEASURED)
            assert (status, err, len(world.log)) == (0, '', 300) and '300 photographs' in out
            peaks[n] = int(out.split()[-1])/1024
    assert peaks[100_000]-peaks[1_000] < 15 and peaks[100_000] < 200, peaks


# From the shell

def test_a_plan_sends_nothing(tmp_path):
    with Replay(catalogue(SpeciesList(BIRDS[:2]), 6)) as world:
        status, out, err = birdclf('search', '--plan', '--want', '50', '--data', tmp_path/'data', world=world, env=dict(BIRDCLF_CONTACT=''))
        assert (status, err) == (0, '') and all(name in out for name in ('iNaturalist', 'GBIF', 'Wikimedia Commons', 'Nothing has been sent', 'requests', '50 photographs of each of 74'))
        assert 'no training for commercial purposes' in out
        status, out, err = birdclf('search', '--plan', '--bird', 'Amsel', '--source', 'flickr,inat', '--data', tmp_path/'data', world=world, env=dict(BIRDCLF_FLICKR_KEY=''))
        assert (status, err) == (0, '') and out.index('Flickr') < out.index('iNaturalist') and 'GBIF' not in out and 'each of 1 bird' in out
        assert world.log == [] and not (tmp_path/'data').exists()


def asked_of(world, path): return [parse_qs(urlsplit(visit.path).query) for visit in world.log if urlsplit(visit.path).path == path]


@pytest.mark.parametrize('arguments, words, inat, gbif', [
    ([], 'in the whole world', [None], [{}]),
    (['--place', 'Finland'], 'in Finland, then in Europe, then in the whole world', ['7020', '97391', None], [dict(country='FI'), dict(continent='EUROPE'), {}]),
    (['--place', 'suomi'], 'in Finland, then in Europe', ['7020', '97391', None], [dict(country='FI'), dict(continent='EUROPE'), {}]),
    (['--place', 'AT'], 'in Austria, then in Europe', ['8057', '97391', None], [dict(country='AT'), dict(continent='EUROPE'), {}]),
    (['--place', 'USA'], 'in the United States, then in North America', ['1', '97394', None], [dict(country='US'), dict(continent='NORTH_AMERICA'), {}]),
    (['--place', 'europa'], 'in Europe, then in the whole world', ['97391', None], [dict(continent='EUROPE'), {}]),
    (['--place', 'Georgia'], 'in Georgia, then in Asia', ['900001', '97395', None], [dict(country='GE'), dict(continent='ASIA'), {}]),
    (['--place', 'Lake Neusiedl'], 'in Lake Neusiedl, AT, then in Austria, then in Europe', ['900006', '8057', '97391', None], [dict(country='AT'), dict(continent='EUROPE'), {}]),
    (['--place', '8057'], 'in Austria, then in Europe', ['8057', '97391', None], [dict(country='AT'), dict(continent='EUROPE'), {}]),
    (['--place', 'world'], 'in the whole world', [None], [{}])])
def test_a_place_reaches_every_source_and_is_told_in_words(tmp_path, arguments, words, inat, gbif):
    "Nobody's home is guessed; the number is looked up once, and the second search sends nothing"
    with Replay(catalogue(SpeciesList(BIRDS[:1]), 6)) as world:
        search = 'search', '--bird', BIRDS[0].german, '--source', 'inat,gbif,commons,brave', '--want', '500', '--data', tmp_path/'data', '--allow-unknown-licence', *arguments
        status, out, err = birdclf(*search, '--plan', world=world)
        assert (status, err, world.log) == (0, '', []) and f'Birds are looked for {words if arguments[1:] != ["Lake Neusiedl"] and arguments[1:] != ["8057"] else "in"}' in out
        assert ('iNaturalist is asked for' in out) == (len(inat) > 1)
        status, out, err = birdclf(*search, world=world, command=IMPATIENT)
        assert (status, err) == (0, '') and f'Birds are looked for {words}' in out
        assert list(dict.fromkeys(question.get('place_id', [None])[0] for question in asked_of(world, '/inat/v1/observations'))) == inat
        places = [{key: question[key][0] for key in ('country', 'continent') if key in question} for question in asked_of(world, '/gbif/v1/occurrence/search')]
        assert [place for n, place in enumerate(places) if place not in places[:n]] == gbif
        assert {question['country'][0] for question in asked_of(world, '/brave/res/v1/images/search')} == {gbif[0].get('country', 'ALL')}
        at_home = [question['gcmtitle'][0] for question in asked_of(world, '/commons/w/api.php') if ' in ' in question.get('gcmtitle', [''])[0]]
        assert bool(at_home) == ('country' in gbif[0]) or 'in Austria' in at_home[0]
        sent = len(world.log)
        assert birdclf(*search, world=world, command=IMPATIENT)[0] == 0 and len(world.log) == sent
        out = birdclf(*search, '--plan', world=world)[1]
        assert f'Birds are looked for {words}' in out and ('To iNaturalist, ' in out) == (len(inat) > 1) and 'is asked for' not in out


@pytest.mark.parametrize('place, words', [('Springfield', "is several places to iNaturalist: Springfield, US (900004), Springfield, US (900005)"), ('Middle-earth', 'knows no place called'), ('900099', 'knows no place called'),
                                          ('Iceland', 'knows no place called'), ('Finlnd', 'Did you mean Finland?'), ('Norht America', 'Did you mean North America?'), ('!!', 'no country')])
def test_a_place_that_is_not_known_is_one_sentence(tmp_path, place, words):
    "And no bird is asked for"
    with Replay(catalogue(SpeciesList(BIRDS[:1]), 6)) as world:
        status, out, err = birdclf('search', '--bird', BIRDS[0].german, '--place', place, '--data', tmp_path/'data', world=world, command=IMPATIENT)
        assert (status, out) == (2, '') and words in one_sentence(err) and ('--place' in err) and not asked_of(world, '/inat/v1/observations')


def test_a_place_when_inaturalist_does_not_answer(tmp_path):
    "One sentence that says what can be done; a country needs it for iNaturalist alone"
    with Replay(catalogue(SpeciesList(BIRDS[:1]), 6)) as world:
        search = 'search', '--bird', BIRDS[0].german, '--want', '3', '--data', tmp_path/'data', '--place', 'Finland'
        world.fail_next('inat', 404)
        status, out, err = birdclf(*search, world=world, command=IMPATIENT)
        assert (status, out) == (2, '') and "iNaturalist could not be asked where 'Finland' is (there is nothing at" in one_sentence(err) and 'https://www.inaturalist.org/places' in err
        world.fail_next('inat', 200, body=b'{"results": [{"id": null}, 7, {"name": {}}]}')
        assert 'knows no place' in birdclf(*search, world=world, command=IMPATIENT)[2]
        before = len(world.log)
        assert birdclf(*search, '--source', 'gbif', world=world, command=IMPATIENT)[0] == 0 and not any('/inat/' in visit.path for visit in world.log[before:])
        world.fail_next('inat', 200, body=b'{"results": [{"id": 123, "name": "Finland", "display_name": "Finland", "admin_level": 0}]}')
        status, out, err = birdclf(*search, '--want', '500', world=world, command=IMPATIENT)
        assert (status, err) == (0, '') and asked_of(world, '/inat/v1/observations')[0]['place_id'] == ['123']


@pytest.mark.parametrize('option, value, now', [('--country', 'FI', 'Finland'), ('--country', '', 'world'), ('--continent', 'north_america', "'North America'"), ('--inat-place', '7020', '7020'), ('--inat-place', 'Finland', 'Finland')])
@pytest.mark.parametrize('plan', [[], ['--plan']])
def test_who_still_types_the_old_options_is_told_the_new_one(tmp_path, plain_world, option, value, now, plan):
    status, out, err = birdclf('search', *plan, option, value, '--data', 'data', world=plain_world, cwd=tmp_path)
    assert (status, out) == (2, '') and err.endswith(f'--place {now}\n') and err.startswith(f'birdclf: {option} is --place now') and err.count('\n') == 1
    assert not plain_world.log and not list(tmp_path.iterdir()) and option not in birdclf('search', '--help')[1]


def test_birds_that_look_different_elsewhere_are_told(tmp_path, plain_world):
    out = birdclf('search', '--plan', '--data', 'data', world=plain_world, cwd=tmp_path)[1]
    assert 'Better with --place, since elsewhere they look different: Bachstelze, Rauchschwalbe.' in out
    out = birdclf('search', '--plan', '--place', 'Austria', '--source', 'inat,flickr,openverse', '--data', 'data', world=plain_world, cwd=tmp_path)[1]
    assert 'Better with' not in out and 'No places are known to Flickr and Openverse' in out


def without_internet(patch):
    "No name is found, as on a train"
    def nothing(*_, **__): raise socket.gaierror(-2, 'Name or service not known')
    patch.setattr(socket, 'getaddrinfo', nothing)


def test_without_internet_it_is_one_sentence_before_anything_is_done(tmp_path, monkeypatch):
    "No folder, no row that has failed; and a plan needs none"
    without_internet(monkeypatch)
    contact = '--contact', CONTACT, '--data', tmp_path/'data'
    for more in ([], ['--place', 'Finland'], ['--place', 'Lake Neusiedl'], ['--source', 'gbif']):
        status, out, err = birdclf('search', '--bird', 'Amsel', *more, *contact)
        assert (status, out) == (2, '') and 'There is no internet here: api.' in one_sentence(err) and not (tmp_path/'data').exists()
        assert birdclf('search', '--plan', '--bird', 'Amsel', *more, '--data', tmp_path/'data')[0] == 0
    manifest_of(tmp_path/'data', ['https://upload.wikimedia.org/1.jpg', 'https://inaturalist-open-data.s3.amazonaws.com/2.jpg'])
    status, out, err = birdclf('download', *contact)
    assert (status, out) == (2, '') and 'There is no internet here: ' in one_sentence(err) and len(rows_of(tmp_path/'data', status='found')) == 2


def test_every_step_says_the_next_one_as_it_has_to_be_typed(tmp_path):
    "With the folder, the list and the network that were chosen; a blank in a name is quoted, and each line does what it says"
    data, mine, birds = tmp_path/'my data', tmp_path/'mine', tmp_path/'my birds.csv'
    birds.write_text('scientific,german\nTurdus merula,Amsel\nErithacus rubecula,Rotkehlchen\nCyanistes caeruleus,Blaumeise\nAnas platyrhynchos,Stockente\n', encoding='utf-8')
    paint_folder(mine, ['Amsel', 'Rotkehlchen', 'Blaumeise', 'Stockente'], n=3, size=(240, 200))
    given = '--data', str(data), '--species', str(birds)
    line, said = ['import', str(mine), '--license', 'mine', *given], []
    while line[0] in ('import', 'verify', 'suspect', 'split', 'export'):
        status, out, err = birdclf(*line)
        assert status == 0, err
        last, = re.findall(r'^Next: birdclf (.*)$', out, re.M)
        said.append(line := shlex.split(last.replace(' exported', f" {shlex.quote(str(tmp_path/'my photographs'))}")))
        if line[0] == 'clean': line = ['split', *line[1:]]
    assert [words[0] for words in said] == ['verify', 'suspect', 'clean', 'export', 'train']
    assert all(words[-2:] == ['--data', str(data)] and '--species' not in words for words in said[:-1]) and said[-1][1:3] == ['--photos', str(tmp_path/'my photographs')] and '--for-training' not in said[-2]
    assert len(list((tmp_path/'my photographs').rglob('*.jpg'))) > 4
    assert '--bundle' in birdclf('verify', '--bundle', Path(sources.__file__).parent/'bundle', *given)[1]
    status, out, err = birdclf('clean', '--data', tmp_path/'second', '--by', 'Ida')
    birdclf('import', mine, '--data', tmp_path/'second')
    status, out, err = birdclf('clean', '--data', tmp_path/'second', '--by', 'Ida')
    assert status == 2 and f'Next: birdclf verify --data {tmp_path/"second"}' in err


def test_a_search_tells_its_bar_of_every_page(world, tmp_path):
    "So that a line can come every ten seconds, also where a bird takes minutes; birds are counted once all the same"
    lines = StringIO()
    with pytest.MonkeyPatch.context() as patch, Manifest(tmp_path, write=True) as manifest:
        patch.setenv('BIRDCLF_REPLAY', world.base)
        for source in sources.SOURCES.values(): patch.setattr(source, 'limits', Limits(0.))
        ask = Asker(manifest, Web(CONTACT, **TRUSTED))
        report = gather(manifest, BIRDS[:3], [sources.Commons(ask)], 500, bar=partial(tqdm, file=lines, mininterval=0, miniters=1))
    told = re.findall(r'(\d)/3 .*?pages=(\d+)', lines.getvalue())
    assert report.pages > 8 and {int(pages) for _, pages in told} == set(range(1, report.pages+1))
    assert [int(birds) for birds, _ in told] == sorted(int(birds) for birds, _ in told) and {birds for birds, _ in told} <= set('0123')
    rare = StringIO()
    with Manifest(tmp_path/'rare', write=True) as manifest: gather(manifest, BIRDS[:1], [Told()], 500, bar=partial(tqdm, file=rare, delay=1000, mininterval=1000))
    assert rare.getvalue() == ''


class Told(sources.Commons):
    "Has one page, with nothing on it"
    def search(self, *_): return [], None


def test_a_plan_counts_what_is_there(gathered, world):
    def photographs(out): return int(re.search(r'iNaturalist +[\d,]+ .*? ([\d,]+) +[\d.]+\n', out)[1].replace(',', ''))
    empty, known = (photographs(birdclf(*SEARCH, '--plan', '--data', folder, world=world)[1]) for folder in (gathered[0]/'none', gathered[0]))
    assert empty == 500*len(BIRDS) and known == empty-len(rows_of(gathered[0], status='found')) and not (gathered[0]/'none').exists()


@pytest.mark.parametrize('arguments, env, words', [
    (['search', '--bird', 'Amsel'], dict(BIRDCLF_CONTACT=''), '--contact'), (['download'], dict(BIRDCLF_CONTACT=''), '--contact'),
    (['search', '--contact', 'nobody'], {}, 'nobody'), (['search', '--contact', 'a@b\r\nCookie: c'], {}, '--contact'),
    (['search', '--source', 'google'], {}, 'google'), (['search', '--plan', '--source', 'inat,google'], {}, 'google'),
    (['search', '--source', 'flickr'], dict(BIRDCLF_FLICKR_KEY=''), 'BIRDCLF_FLICKR_KEY'), (['search', '--bird', 'Dodo'], {}, 'Dodo'), (['search', '--species', 'nowhere.csv'], {}, 'nowhere.csv'),
    (['search', '--place', 'Finlnd'], {}, 'Did you mean Finland?'), (['search', '--plan', '--place', 'Finlnd'], {}, 'Did you mean Finland?'),
    (['status'], {}, 'There is no manifest'), (['export', 'out'], {}, 'There is no manifest'), (['import', 'nowhere'], {}, 'nowhere')])
def test_wrong_use_in_one_sentence(tmp_path, plain_world, arguments, env, words):
    "and without a trace: no request, no folder"
    status, out, err = birdclf(*arguments, '--data', 'data', world=plain_world, env=env, cwd=tmp_path)
    assert (status, out) == (2, '') and words in one_sentence(err)
    assert not plain_world.log and not list(tmp_path.iterdir())


@pytest.mark.parametrize('arguments', [['search', '--want', '0'], ['search', '--want', 'many'], ['search', '--wan', '5'], ['import'], ['export'], ['status', '--want', '-1'], ['download', '--contcat', 'x']])
def test_wrong_arguments(tmp_path, arguments):
    status, out, err = birdclf(*arguments, cwd=tmp_path)
    assert (status, out) == (2, '') and 'usage: birdclf' in err and 'Traceback' not in err and not list(tmp_path.iterdir())


def test_downloading_before_searching(tmp_path, plain_world):
    status, out, err = birdclf('download', '--data', tmp_path/'data', world=plain_world)
    assert 'Traceback' not in err and status in (0, 2) and not plain_world.log


def test_status(tmp_path):
    rows = [photo_row(f'http://127.0.0.1/{n}.jpg', n, status=status, reason=reason) for n, (status, reason) in enumerate(
        [('found', '')]*5+[('downloaded', '')]*3+[('failed', 'HTTP 404')]*2+[('failed', 'too slow: silence\x1b[31m')]+[('refused', 'licence unknown')]*4)]
    with Manifest(tmp_path, write=True) as manifest:
        manifest.add([*rows, photo_row('http://127.0.0.1/x.jpg', 99, 'Raphus cucullatus')])
        manifest.note('want', '10'), manifest.decide(rows[5].id, 'drop', 'Anna')
    status, out, err = birdclf('status', '--data', tmp_path)
    assert (status, err) == (0, '') and 'Amsel' in out and ' 2/10  (5 found, 4 refused, 3 failed)' in out and 'HTTP 404 ×2' in out
    assert '16 in all' in out and 'nothing yet for 73 birds' in out and 'Raphus cucullatus' in out and '\x1b' not in out
    assert ' 2/4 ' in birdclf('status', '--want', '4', '--data', tmp_path)[1]


def test_help():
    for verb in ('search', 'download', 'status', 'import', 'export'):
        status, out, err = birdclf(verb, '--help')
        assert (status, err) == (0, '') and f'\n  birdclf {verb}' in out.partition('examples:')[2]


def test_who_is_asking(tmp_path):
    "Every request names the program and the person, and carries no cookie, no referrer and no password from elsewhere"
    seen = []

    class Desk(BaseHTTPRequestHandler):
        def do_GET(self): seen.append(dict(self.headers.items())), self.send_error(404)
        def log_message(self, *_): pass

    server = HTTPServer(('127.0.0.1', 0), Desk)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        manifest_of(tmp_path, [f'http://127.0.0.1:{server.server_port}/x.jpg'])
        env = dict(BIRDCLF_REPLAY=f'http://127.0.0.1:{server.server_port}', http_proxy='http://127.0.0.1:1', HTTP_PROXY='http://127.0.0.1:1', ALL_PROXY='http://127.0.0.1:1')
        assert birdclf('download', '--contact', CONTACT, '--data', tmp_path, env=env)[0] == 0
    finally: server.shutdown(), server.server_close(), thread.join(PATIENCE)
    headers, = seen
    assert re.fullmatch(rf'birdclf/[\d.]+ \({re.escape(CONTACT)}\) python-requests/[\d.]+', headers['User-Agent']) and headers['Accept-Encoding'] == 'identity'
    assert not {name.lower() for name in headers} & {'cookie', 'referer', 'authorization'}

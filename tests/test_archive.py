"An archive: `birdclf classify` over folders, shared out to processes, stopped at any moment, and never twice the same photograph"
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from birdclf.archive import ENDINGS, photographs
from birdclf.classify import Classifier
from birdclf.cli import main
from birdclf.photo import open_photo
from birdclf.testing import PATIENCE, paint_bird

BIRDCLF = Path(sys.executable).with_name('birdclf')


@pytest.fixture(scope='module')
def shelf(tmp_path_factory):
    "A hundred photographs in ten folders, one of which is a letter"
    folder = tmp_path_factory.mktemp('archive')/'shelf'
    for n in range(4): paint_bird(('Amsel', 'Pirol', 'Eisvogel', 'Rotkehlchen')[n], size=(640, 480)).save(folder.parent/f'{n}.jpg')
    for n in range(100):
        (folder/f'{n//10}').mkdir(parents=True, exist_ok=True)
        shutil.copy(folder.parent/f'{n%4}.jpg', folder/f'{n//10}'/f'Grünspecht {n}.jpg')
    (folder/'9'/'Grünspecht 99.jpg').write_text('Dear bird,', encoding='utf-8')
    (folder/'9'/'notes.txt').write_text('not asked', encoding='utf-8')
    return folder


def answer(shelf, into, *more, **options):
    "The command's status and what it prints"
    done = subprocess.run([BIRDCLF, 'classify', shelf.name, '--into', into, *more], cwd=shelf.parent, capture_output=True, text=True, timeout=PATIENCE, **options)
    far = re.compile(r'[ \d]+% \d+/\d+ \[.*\]') # How far it is, every ten seconds
    return done.returncode, done.stdout, ''.join(line for line in done.stderr.splitlines(True) if not far.match(line))


def lines(into): return [json.loads(line) for line in into.read_text(encoding='utf-8').splitlines()]


@pytest.fixture(scope='module')
def alone(shelf):
    "The answers of one process"
    into = shelf.parent/'alone.jsonl'
    status, out, err = answer(shelf, into)
    assert (status, err) == (1, '') and out.startswith('100 answered, ') and '1 unreadable; 0 were there already' in out
    return into


def test_a_hundred_in_two_processes_are_answered_like_in_one(shelf, alone, tmp_path):
    status, out, err = answer(shelf, tmp_path/'two.jsonl', '--workers', '2')
    assert (status, err) == (1, '') and out.startswith('100 answered, ') and 'a second in each process' in out
    by_file = lambda found: sorted(found, key=lambda one: one['file'])
    assert by_file(lines(tmp_path/'two.jsonl')) == by_file(lines(alone))
    assert Counter(one['verdict'] == 'unreadable' for one in lines(alone)) == {False: 99, True: 1}
    assert [one['file'] for one in lines(alone)] == [str(path.relative_to(shelf.parent)) for path in sorted(shelf.rglob('*.jpg'))]


def test_the_lines_are_those_of_the_command(shelf, alone, capsys, monkeypatch):
    monkeypatch.chdir(shelf.parent)
    assert main(['classify', '--json', 'shelf/0']) == 0
    kept = [one for one in lines(alone) if one['file'].startswith('shelf/0/')]
    assert {one.pop('model') for one in kept} == {Classifier.load().bundle.fingerprint}
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == kept


def test_a_finished_run_does_no_work(shelf, alone):
    before = alone.read_bytes()
    code = f"import sys, birdclf.archive as archive\narchive.look_at = None\nfrom birdclf.cli import main\nsys.exit(main(['classify', 'shelf', '--into', {str(alone)!r}, '--workers', '2']))"
    done = subprocess.run([sys.executable, '-c', code], cwd=shelf.parent, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, '0 answered; 0 unreadable; 100 were there already.\n', '')
    assert alone.read_bytes() == before


STUMBLING = """
import multiprocessing
import distributed.nanny
from birdclf.archive import share_out

closing, stumbled = distributed.nanny.WorkerProcess.kill, []

async def stumble(self, *args, **kwargs):
    if not stumbled:
        stumbled.append(self.process.pid)
        raise AssertionError('can only join a started process')
    return await closing(self, *args, **kwargs)

distributed.nanny.WorkerProcess.kill = stumble
if __name__=='__main__':
    print(sorted(share_out('abc', 2, str.upper)))
    print(bool(stumbled), len(multiprocessing.active_children()))
"""


def test_what_stumbles_while_it_closes_is_closed_all_the_same(tmp_path):
    "As happens where a process dies in the moment in which it reports for work: every answer is there, nothing is left, nothing is raised"
    (tmp_path/'stumbling.py').write_text(STUMBLING, encoding='utf-8')
    done = subprocess.run([sys.executable, 'stumbling.py'], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and 'Traceback' not in done.stderr, done.stderr
    assert done.stdout.splitlines() == ["[('a', 'A'), ('b', 'B'), ('c', 'C')]", 'True 0']


@pytest.mark.parametrize('ending', ['SIGKILL', 'SIGINT', 'SIGTERM'])
@pytest.mark.parametrize('workers', ['1', '2'])
def test_stopped_in_the_middle_it_goes_on(shelf, alone, tmp_path, ending, workers):
    "However it ends, nothing is lost, nothing is there twice, and no process is left"
    psutil = pytest.importorskip('psutil')
    into = tmp_path/'answers.jsonl'
    with subprocess.Popen([BIRDCLF, 'classify', 'shelf', '--into', into, '--workers', workers], cwd=shelf.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        while not into.exists() or into.read_bytes().count(b'\n') < 5: assert process.poll() is None
        family = psutil.Process(process.pid).children(recursive=True)
        if ending == 'SIGINT': os.killpg(process.pid, signal.SIGINT) # As a terminal does
        else: process.send_signal(getattr(signal, ending))
        err = process.communicate(timeout=PATIENCE)[1].decode()
    assert not psutil.wait_procs(family, timeout=PATIENCE)[1]
    if ending == 'SIGINT': assert process.returncode == 130 and 'the same command goes on from here' in err and 'Traceback' not in err
    n = into.read_bytes().count(b'\n')
    assert 5 <= n < 100
    with open(into, 'ab') as file: file.write(b'{"file": "shelf/0/Gr') # A plug that was pulled
    status, out, _ = answer(shelf, into, '--workers', workers)
    assert f'{100-n} answered' in out and f'{n} were there already' in out
    assert sorted(into.read_text(encoding='utf-8').splitlines()) == sorted(alone.read_text(encoding='utf-8').splitlines())


def test_what_is_refused(shelf, tmp_path, capsys):
    (tmp_path/'letter.txt').write_text('Dear bird,\n', encoding='utf-8')
    (tmp_path/'other.jsonl').write_text('{"file": "a.jpg", "model": "1f"}\n', encoding='utf-8')
    (tmp_path/'empty').mkdir()
    for arguments, words in ((['--into', tmp_path/'letter.txt'], 'holds no answers: see line 1'), (['--into', tmp_path/'other.jsonl'], 'answers of another model: see line 1'), (['--workers', '2'], 'goes with --into'), (['--into', tmp_path/'no'/'where'], 'cannot be written to'),
                             (['--into', tmp_path/'a.jsonl', '--bundle', tmp_path/'none'], 'There is no folder'), (['--into', tmp_path/'a.jsonl', '--workers', '0'], 'whole number'), ([tmp_path/'empty'], 'no photograph in')):
        try: status = main(['classify', str(shelf), *map(str, arguments)])
        except SystemExit as e: status = e.code
        out, err = capsys.readouterr()
        assert (status, out) == (2, '') and words in err and 'Traceback' not in err
    assert (tmp_path/'letter.txt').read_text(encoding='utf-8') == 'Dear bird,\n' and not (tmp_path/'a.jsonl').exists()


def test_more_than_one_process_needs_its_library(shelf, tmp_path):
    code = ("import sys\nfrom importlib.machinery import PathFinder\nfind = PathFinder.find_spec\n"
            "PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name == 'distributed' else find(name, *rest))\n"
            "from birdclf.cli import main\nraise SystemExit(main(['classify', 'shelf', '--into', sys.argv[1], *sys.argv[2:]]))")
    done = subprocess.run([sys.executable, '-c', code, tmp_path/'a.jsonl', '--workers', '2'], cwd=shelf.parent, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1 and 'birdclf[cluster]' in done.stderr and done.stderr.count('\n') == 1 and not (tmp_path/'a.jsonl').exists()


def test_every_kind_that_is_looked_for_is_one_that_can_be_opened(tmp_path):
    from PIL import Image
    import pillow_heif
    pillow_heif.register_heif_opener()
    for ending in ENDINGS:
        path = tmp_path/f'a{ending.upper()}'
        paint_bird('Amsel', size=(160, 120)).save(path, format=Image.registered_extensions()[ending])
        assert photographs([str(tmp_path)]) == [str(path)] and open_photo(path).image.size
        path.unlink()

"""What serves, with each Python from 3.11 to 3.13 that this machine really has, installed with README's lines for those without make.

The first time pip fetches what is not in its cache and writes 420 MB for each Python, which takes half a minute of two
processors that have nothing else to do; afterwards the environments lie in `_build/pythons`, as long as the files that
they are made of stay the same.
"""
import hashlib
import io
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from birdclf.testing import paint_bird
from test_page import Visitor, browser, served

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = '3.11', '3.12', '3.13'
MADE_OF = 'settings.ini', 'setup.py', 'pyproject.toml', 'requirements.lock'


def runs(program, version):
    "Is this more than an empty promise, and able to make an environment?"
    if not program.is_file(): return False
    done = subprocess.run([program, '-c', 'import sys, venv, ensurepip; print(*sys.version_info[:2], sep=".")'], capture_output=True, text=True)
    return done.returncode == 0 and done.stdout.strip() == version


def pythons():
    "The first program of each version, on the PATH or among those that pyenv keeps"
    places = [*map(Path, os.get_exec_path()), *sorted(Path.home().glob('.pyenv/versions/*/bin'))]
    found = {version: next((place/f'python{version}' for place in places if runs(place/f'python{version}', version)), None) for version in VERSIONS}
    return {version: program for version, program in found.items() if program}


def three_lines():
    "README's lines for those without make, in words"
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    lines = re.search(r'^    py -m venv .*\n(?:    .*\n)+', text, re.M)[0]
    return [shlex.split(line.replace('\\', '/')) for line in lines.splitlines()]


@pytest.fixture(scope='module', params=(FOUND := pythons()).items(), ids=lambda item: item[0])
def birdclf(request):
    "The command that README's lines have made with one Python"
    version, program = request.param
    digest = hashlib.sha256(b'\0'.join([*((ROOT/name).read_bytes() for name in MADE_OF), repr(three_lines()).encode('utf-8')])).hexdigest()[:12]
    folder = ROOT/'_build'/'pythons'/f'{version}-{digest}'
    def here(word): return str(program) if word == 'py' else word.replace('.venv-app', str(folder)).replace('Scripts', 'Scripts' if os.name == 'nt' else 'bin')
    *making, (command, *_) = ([here(word) for word in line] for line in three_lines())
    if not (folder/'ready').exists():
        for old in folder.parent.glob(f'{version}-*'): shutil.rmtree(old)
        for line in making:
            done = subprocess.run(line, cwd=ROOT, env=os.environ | dict(PIP_NO_COMPILE='1'), capture_output=True, text=True) # Half the time
            assert done.returncode == 0, done.stderr
        (folder/'ready').touch()
    return command


def test_the_versions_are_those_that_are_promised():
    low, high = re.fullmatch(r'>=3\.(\d+),<3\.(\d+)', tomllib.loads((ROOT/'pyproject.toml').read_text(encoding='utf-8'))['project']['requires-python']).groups()
    assert VERSIONS == tuple(f'3.{n}' for n in range(int(low), int(high)))
    assert f'Python {", ".join(VERSIONS[:-1])} or {VERSIONS[-1]}' in (ROOT/'README.md').read_text(encoding='utf-8')
    assert len(three_lines()) == 3 and '.'.join(map(str, sys.version_info[:2])) in VERSIONS and FOUND


def test_it_is_that_python_and_all_is_there(birdclf, request):
    python, version = Path(birdclf).with_name('python'), request.node.callspec.id
    done = subprocess.run([python, '-m', 'pip', 'check'], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert subprocess.run([python, '--version'], capture_output=True, text=True).stdout.startswith(f'Python {version}.')


@pytest.mark.parametrize('format', ['JPEG', 'PNG', 'WebP', 'AVIF', 'HEIF', 'TIFF', 'GIF'])
def test_it_names_a_bird(birdclf, tmp_path, format):
    import pillow_heif
    pillow_heif.register_heif_opener()
    paint_bird('Amsel', 0, size=(640, 480)).save(tmp_path/'Amsel.photo', format)
    done = subprocess.run([birdclf, 'classify', '--json', 'Amsel.photo'], cwd=tmp_path, capture_output=True, text=True, encoding='utf-8')
    assert (done.returncode, done.stderr) == (0, '')
    assert json.loads(done.stdout)['candidates'][0]['german'] == 'Amsel'


def test_it_plans_a_search(birdclf, tmp_path):
    done = subprocess.run([birdclf, 'search', '--plan'], cwd=tmp_path, capture_output=True, text=True, encoding='utf-8')
    assert (done.returncode, done.stderr) == (0, '') and 'Nothing has been sent' in done.stdout


def test_it_opens_the_page(birdclf, browser, tmp_path):
    paint_bird('Amsel', 0, size=(640, 480)).save(tmp_path/'Amsel.jpg')
    with served(tmp_path/'log.txt', birdclf, 'app', '--port') as (address, _):
        visitor = Visitor(browser, address)
        visitor.choose(tmp_path/'Amsel.jpg')
        assert visitor.phase() == 'answered' and 'Amsel' in visitor.read('answer')
        visitor.leave()


@pytest.mark.skipif(not shutil.which('make'), reason='needs make')
def test_make_passes_over_empty_promises(tmp_path):
    "A name on the PATH that only says it is Python, also where one that runs stands behind it, in a folder with a space"
    def chosen(*places):
        (tmp_path/'more.mk').write_text('show: ; @echo "[$(PYTHON)]"\n', encoding='utf-8')
        done = subprocess.run([shutil.which('make'), '-s', '-f', 'Makefile', '-f', str(tmp_path/'more.mk'), 'show'], cwd=ROOT, capture_output=True, text=True,
                              env={key: value for key, value in os.environ.items() if key != 'PYTHON'} | dict(PATH=os.pathsep.join(map(str, places))))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()[1:-1]
    empty, real, tools = tmp_path/'empty', tmp_path/'real one', tmp_path/'tools'
    for place in (empty, real, tools): place.mkdir()
    for tool in ('bash', 'sh', 'realpath'): (tools/tool).symlink_to(shutil.which(tool))
    for name in ('python3.11', 'python3.12', 'python3.13', 'python3'):
        (empty/name).write_text('#!/bin/sh\necho "there is no such version" >&2\nexit 127\n', encoding='utf-8')
        (empty/name).chmod(0o755)
    assert chosen(empty, tools) == ''
    behind = {version: subprocess.run([program, '-c', 'import sys; print(sys.executable)'], capture_output=True, text=True).stdout.strip() for version, program in FOUND.items()}
    for version in sorted(FOUND, reverse=True):
        (real/f'python{version}').symlink_to(behind[version])
        assert chosen(empty, real, tools) == str(real/f'python{version}') # The oldest is taken, and the one that runs


PIP = """Obtaining file:///birds
  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (902.4 MB)
  Using cached pillow-13.0.0-cp311-cp311-manylinux_2_28_x86_64.whl (7.1 MB)
  Downloading tqdm-4.67.1-py3-none-any.whl (78 kB)
Requirement already satisfied: numpy in somewhere (1.9 MB)
Installing collected packages: pytest, no-such-package, birdclf
"""


def test_installing_says_what_it_fetches():
    "In a log a line for what is large and for the beginning of the end, not a thousand"
    told, log = runpy.run_path(str(ROOT/'.ci'/'install.py')), io.StringIO()
    log.isatty = lambda: False
    assert [round(found[1], 3) for line in PIP.splitlines() if (found := told['megabytes'](line))] == [902.4, 7.1, .078]
    teller = told['Teller'](log)
    teller.last = time.monotonic()
    told['tell'](PIP.splitlines(keepends=True), teller)
    assert log.getvalue().splitlines() == [
        'Fetching torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (902 MB); 1 files and 0.9 GB with it', 'Unpacking 3 packages']
    assert told['unpacked'](['pytest', 'no-such-package']) == 1

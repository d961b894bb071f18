"What is installed without the project around it is complete: a wheel, and one by way of a source archive"
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from birdclf.testing import paint_bird
from test_fresh import files_of_project

ROOT = Path(__file__).resolve().parents[1]
MADE = "import sys, setuptools.build_meta as builder; print(getattr(builder, f'build_{sys.argv[1]}')(sys.argv[2]))"


def build(kind, source, folder):
    "The wheel or the source archive ('sdist') of the project in `source`"
    done = subprocess.run([sys.executable, '-c', MADE, kind, str(folder)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder/done.stdout.splitlines()[-1]


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    "What is in the project, and nothing that was built before"
    folder = tmp_path_factory.mktemp('source')
    for path in files_of_project():
        target = folder/path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (folder/'birdclf'/'__pycache__').mkdir()
    (folder/'birdclf'/'__pycache__'/'species.cpython-311.pyc').write_bytes(b'left by somebody')
    return folder


@pytest.fixture(scope='module')
def wheels(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheels')
    direct, archive = build('wheel', source, folder), build('sdist', source, folder)
    with tarfile.open(archive) as tar: tar.extractall(folder/'unpacked', filter='data')
    (folder/'again').mkdir()
    return dict(direct=direct, archive=build('wheel', next((folder/'unpacked').iterdir()), folder/'again'))


@pytest.mark.parametrize('way', ['direct', 'archive'])
def test_a_wheel_has_all_of_the_package_and_nothing_else(source, wheels, way):
    with zipfile.ZipFile(wheels[way]) as wheel: there = {name for name in wheel.namelist() if '.dist-info/' not in name}
    assert there == {path.relative_to(source).as_posix() for path in (source/'birdclf').rglob('*') if path.is_file() and path.parent.name != '__pycache__'}


def test_extras_and_bounds_come_along(wheels):
    metadata = []
    for path in wheels.values():
        with zipfile.ZipFile(path) as wheel: metadata.append(wheel.read(next(name for name in wheel.namelist() if name.endswith('.dist-info/METADATA'))).decode('utf-8'))
    assert metadata[0] == metadata[1] and 'Requires-Python: <3.14,>=3.11' in metadata[0]
    assert all(f'Provides-Extra: {extra}\n' in metadata[0] for extra in ('serve', 'gather', 'clean', 'train', 'dev'))


@pytest.fixture(scope='module')
def installed(wheels, tmp_path_factory):
    "A folder with the wheel in it, to be put before everything else"
    folder = tmp_path_factory.mktemp('installed')
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--no-index', '--target', str(folder), str(wheels['archive'])], check=True)
    return folder


def elsewhere(installed, folder, *words):
    "What the installed command says, run in a folder far from the project"
    return subprocess.run([sys.executable, installed/'bin'/'birdclf', *words], cwd=folder, env=os.environ | dict(PYTHONPATH=str(installed)), capture_output=True, text=True, encoding='utf-8')


def test_it_names_birds_without_the_project(installed, tmp_path):
    paint_bird('Amsel', 0, size=(640, 480)).save(tmp_path/'Amsel.jpg')
    where = subprocess.run([sys.executable, '-c', 'import birdclf; print(birdclf.__file__)'], cwd=tmp_path, env=os.environ | dict(PYTHONPATH=str(installed)), capture_output=True, text=True)
    assert Path(where.stdout.strip()) == installed/'birdclf'/'__init__.py'
    done = elsewhere(installed, tmp_path, 'classify', '--json', 'Amsel.jpg')
    assert (done.returncode, done.stderr) == (0, '') and json.loads(done.stdout)['candidates'][0]['german'] == 'Amsel'
    assert elsewhere(installed, tmp_path, 'bundle').returncode == 0
    assert 'Nothing has been sent' in elsewhere(installed, tmp_path, 'search', '--plan').stdout

"What is made from the notebooks is up to date, and what is in the project is fit to be published"
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from birdclf import __version__ as version

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT/'nbs').glob('*.ipynb'))
SCRIPTS = Path(sys.executable).parent


def files_of_project():
    "Every file that belongs to the project, also those not committed yet"
    listed = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], cwd=ROOT,
                            capture_output=True)
    if listed.returncode == 0: paths = [ROOT/name for name in listed.stdout.decode('utf-8').split('\0') if name]
    else: # A copy without its history
        made = re.compile(r'/(?:\.venv[^/]*|\.git|_build|_proc|runs|build|[^/]*\.egg-info|__pycache__|\.[a-z_]+(?:_cache|_checkpoints))/')
        paths = [path for path in ROOT.rglob('*') if not made.search(f'/{path.relative_to(ROOT).as_posix()}')]
    return [path for path in paths if path.is_file()]


def fingerprints(root):
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in ('birdclf', 'nbs') for path in sorted((root/folder).rglob('*'))
            if path.is_file() and (path.suffix in ('.py', '.ipynb') or path.parent.name == 'front') and '.ipynb_checkpoints' not in path.parts}


@pytest.fixture
def copied(tmp_path):
    "A copy of the project in which a command may change files"
    for name in ('birdclf', 'nbs'):
        shutil.copytree(ROOT/name, tmp_path/name, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints', 'model.onnx'))
    for name in ('settings.ini', 'setup.py', 'pyproject.toml', 'README.md', 'CITATION.cff'): shutil.copy(ROOT/name, tmp_path)
    return tmp_path


def changes(root, *command):
    "The files that `command` changes, adds or removes"
    before = fingerprints(root)
    asked = {name: value for name, value in os.environ.items() if name != 'IN_TEST'} # With it, nbdev exports nothing
    done = subprocess.run([str(SCRIPTS/command[0]), *command[1:]], cwd=root, env=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    after = fingerprints(root)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


EXPORT = 'python', '-m', 'birdclf.frontend', 'export'


def test_modules_and_scripts_are_what_the_notebooks_export(copied):
    assert changes(copied, *EXPORT) == []


def test_an_edited_module_is_noticed(copied):
    with open(copied/'birdclf'/'testing.py', 'a', encoding='utf-8') as file: file.write('\nedited = True\n')
    (copied/'birdclf'/'species.py').unlink()
    assert changes(copied, *EXPORT) == ['birdclf/species.py', 'birdclf/testing.py']


def test_a_script_that_is_edited_missing_or_left_over_is_noticed(copied):
    front = copied/'birdclf'/'front'
    with open(front/'app.js', 'a', encoding='utf-8') as file: file.write('edited\n')
    (front/'kit.css').unlink()
    (front/'old.js').write_text('left over', encoding='utf-8')
    assert changes(copied, *EXPORT) == ['birdclf/front/app.js', 'birdclf/front/kit.css', 'birdclf/front/old.js']


def test_a_script_is_stale_when_the_kit_has_changed(copied):
    kit = copied/'nbs'/'08_kit.ipynb'
    kit.write_text(kit.read_text(encoding='utf-8').replace('--paper: #fbfaf6', '--paper: #fbfaf7'), encoding='utf-8')
    assert {'birdclf/front/app.css', 'birdclf/front/kit.css'} <= set(changes(copied, *EXPORT))


def test_notebooks_are_clean(copied):
    assert changes(copied, 'nbdev_clean') == []


def test_an_unclean_notebook_is_noticed(copied):
    changes(copied, 'nbdev_clean')
    path = copied/'nbs'/'90_testing.ipynb'
    notebook = json.loads(path.read_text(encoding='utf-8'))
    notebook['cells'][3]['metadata']['somebody'] = 'was here'
    path.write_text(json.dumps(notebook), encoding='utf-8')
    assert changes(copied, 'nbdev_clean') == ['nbs/90_testing.ipynb']


def readme(root):
    return subprocess.run([sys.executable, '-m', 'birdclf.book', 'readme', '--check'], cwd=root, capture_output=True,
                          text=True, env={**os.environ, 'PYTHONPATH': str(ROOT)})


def test_readme_is_what_the_front_page_makes():
    done = readme(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_edited_readme_is_noticed(copied):
    with open(copied/'README.md', 'a', encoding='utf-8') as file: file.write('\nOne more thing.\n')
    done = readme(copied)
    assert done.returncode == 1 and 'README.md is not what nbs/index.ipynb makes of it' in done.stdout


def test_citation_is_valid_and_says_what_the_bundle_says():
    "Format 1.2.0: these fields must be there, no others may, and none is empty"
    import yaml
    found = yaml.safe_load((ROOT/'CITATION.cff').read_text(encoding='utf-8'))
    assert {'cff-version', 'message', 'title', 'authors'} <= set(found) <= {'cff-version', 'message', 'title', 'authors', 'abstract', 'type', 'version', 'license',
                                                                            'keywords', 'repository-code'}
    assert found['cff-version'] == '1.2.0' and found['type'] == 'software' and found['version'] == version and isinstance(found['version'], str)
    assert found['authors'] == [{'name': 'the birdclf contributors'}] and len(set(found['keywords'])) == len(found['keywords']) > 0
    right = json.loads((ROOT/'birdclf'/'bundle'/'bundle.json').read_text(encoding='utf-8'))['scores']['top1']['value']
    assert f'named {right:.1%} of them right' in ' '.join(found['abstract'].split())
    assert 'repository-code' not in found or 'example.org' not in found['repository-code']


@pytest.mark.parametrize('before, after', [('version = ', 'version = 9'), ('author = the', 'author = all the'), ('git_url = ', 'git_url = https://github.com/birds/birds\nold_url = ')])
def test_a_citation_that_is_old_is_noticed(copied, before, after):
    settings = (copied/'settings.ini').read_text(encoding='utf-8')
    assert settings.count('\n'+before) == 1
    (copied/'settings.ini').write_text(settings.replace('\n'+before, '\n'+after), encoding='utf-8')
    done = readme(copied)
    assert done.returncode == 1 and done.stdout.startswith('CITATION.cff is not what settings.ini makes of it')


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_fit_to_publish(path):
    notebook = json.loads(path.read_text(encoding='utf-8'))
    outputs = [output for cell in notebook['cells'] for output in cell.get('outputs', [])]
    assert [output['evalue'] for output in outputs if output['output_type'] == 'error'] == []
    assert len(json.dumps(outputs)) <= 200_000, 'more than 200 KB of outputs: show less, or smaller'
    assert set(notebook['metadata']) == {'kernelspec'}, 'the state of a widget, or what an editor noted, is not the book\'s'


def test_no_machine_is_named():
    "No file says on which machine, in which folder or from which package index it was made"
    private = re.compile(rb'(?<![\w.])/(?:root|work|home/\w+|Users/\w+|opt/pypi\w*|tmp/\w+)/|--(?:extra-)?index-url|--find-links')
    found = []
    for path in files_of_project():
        data = path.read_bytes()
        if path == Path(__file__) or b'\0' in data[:8000]: continue
        found += [f'{path.relative_to(ROOT)}: {match[0].decode()}' for match in private.finditer(data)]
    assert found == []


def test_no_photograph_is_in_the_project(shared):
    "None of the photographs, which belong to their photographers, was copied into the project"
    def digest(path): return hashlib.sha256(path.read_bytes()).hexdigest()
    sizes = {}
    for path in (shared/'birds').rglob('*.jpg'): sizes.setdefault(path.stat().st_size, []).append(path)
    copies = [str(path.relative_to(ROOT)) for path in files_of_project()
              if any(digest(path) == digest(photo) for photo in sizes.get(path.stat().st_size, ()))]
    assert copies == []

"Nothing leaves the machine: all that names birds, on a network that ends here"
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIRDCLF = str(Path(sys.executable).with_name('birdclf'))
SHUT = ['unshare', *([] if hasattr(os, 'geteuid') and os.geteuid() == 0 else ['--map-root-user']), '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc']

LIBRARY = '''
import time
from birdclf.classify import Classifier
from birdclf.testing import paint_bird
print(Classifier.load().classify(paint_bird('Amsel')).verdict, flush=True)
time.sleep(1000)
'''

# A workshop of one's own birds, and in the end its page
WORKSHOP = f'''
import os, subprocess
from pathlib import Path
from birdclf.testing import paint_bird
for bird in ('Amsel', 'Pirol'):
    Path('photos', bird).mkdir(parents=True)
    for n in range(3): paint_bird(bird, n, size=(400, 300)).save(f'photos/{{bird}}/{{n}}.jpg')
for verb in (['classify', 'photos/Amsel/0.jpg'], ['import', 'photos'], ['verify'], ['suspect']): subprocess.run([{BIRDCLF!r}, *verb], check=True)
os.execv({BIRDCLF!r}, ['birdclf', 'clean', '--by', 'Ida', '--port', '8867'])
'''

# A robot that reads both pages, and then somebody with a browser, where there is one
VISITOR = '''
import shutil, sys, time
from http.client import HTTPConnection
from birdclf.testing import paint_bird

def read(port):
    for _ in range(1200):
        try:
            visitor = HTTPConnection('localhost', port, timeout=120)
            visitor.request('GET', '/')
            answer = visitor.getresponse()
            return print(port, answer.status, b'voila' in answer.read().lower(), flush=True)
        except OSError: time.sleep(.2)

read(8866), read(8867)
chromium = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
if not chromium: sys.exit()
from playwright.sync_api import sync_playwright
paint_bird('Amsel', size=(800, 600)).save('amsel.jpg')
with sync_playwright() as p:
    flags = '--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()
    # What Chromium would ask by itself is its own affair; what the page asks is listed below
    browser = p.chromium.launch(executable_path=chromium, args=[*flags, '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost'])
    page, asked = browser.new_page(), set()
    page.on('request', lambda request: asked.add(request.url.split('/')[2]) if request.url.startswith('http') else None)
    page.on('websocket', lambda socket: asked.add(socket.url.split('/')[2]))
    page.goto('http://localhost:8866')
    page.set_input_files('input:not([capture])', 'amsel.jpg', timeout=120_000)
    page.wait_for_selector('[data-phase=answered]', timeout=120_000)
    page.goto('http://localhost:8867')
    page.wait_for_selector('img', timeout=120_000)
    print('the pages asked', sorted(asked), flush=True)
'''

# That the name server and the ear on the wire would notice
TALKER = '''
import socket
from pathlib import Path
(Path.home()/'.note').write_text('was here')
for host in ('somebody.example', '10.1.2.3'):
    try: socket.create_connection((host, 443), 5)
    except OSError as error: print(error)
'''


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    "What all of it asks, and leaves, within a minute after the last visit"
    try: subprocess.run([*SHUT, 'ip', 'link', 'set', 'lo', 'up'], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as e: pytest.skip(f'needs a network of its own, as root or where anybody may have one: {e}')
    def python(code): return [sys.executable, '-c', code]
    told = dict(lasting=dict(library=python(LIBRARY), app=[BIRDCLF, 'app', '--port', '8866'], workshop=python(WORKSHOP)),
                brief=dict(visitor=python(VISITOR), talker=python(TALKER)))
    done = subprocess.run([*SHUT, sys.executable, str(Path(__file__).with_name('alone.py')), str(tmp_path_factory.mktemp('alone')), '60'],
                          input=json.dumps(told), capture_output=True, text=True, encoding='utf-8', timeout=1200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_of_it_ran(found):
    assert found['said']['library'].split()[-1] in ('sure', 'one_of', 'other_bird'), found['said']
    assert {name: status for name, status in found['status'].items() if status} == {}, found['said']
    assert '8866 200 True' in found['said']['visitor'] and '8867 200 True' in found['said']['visitor'], found['said']


def test_nobody_is_asked_for(found):
    "But by the one who should be noticed"
    assert (found['asked'], found['called']) == (['somebody.example'], ['10.1.2.3'])


def test_nothing_is_left_in_a_fresh_home(found):
    assert found['left']['talker'] == ['.note']
    assert {name: found['left'][name] for name in ('library', 'app', 'workshop')} == dict(library=[], app=[], workshop=[])


def after(code, **said):
    "What is printed after `code`, with the environment variable as somebody has left it"
    kept = {key: value for key, value in os.environ.items() if key != 'ORT_DISABLE_TELEMETRY'}
    return subprocess.run([sys.executable, '-c', code], env=kept | said, capture_output=True, text=True)


@pytest.mark.parametrize('said', [{}, *({'ORT_DISABLE_TELEMETRY': value} for value in ('', '0', 'false', '1'))])
@pytest.mark.parametrize('first', ['birdclf', 'birdclf.species', 'birdclf.cli', 'birdclf.classify'])
def test_it_is_switched_off_first(first, said):
    "Here and in every process that is started from here, and before anything is imported that could ask"
    code = f'import sys, {first}, os, subprocess\nassert "onnxruntime" not in sys.modules\nsubprocess.run([sys.executable, "-c", "import os; print(os.environ[\'ORT_DISABLE_TELEMETRY\'])"])'
    done = after(code, **said)
    assert (done.stdout, done.stderr) == ('1\n', '')


def test_who_was_faster_is_told():
    code = 'import os, onnxruntime\nos.environ.pop("ORT_DISABLE_TELEMETRY")\nimport birdclf'
    assert 'Import birdclf first' in after(code, ORT_DISABLE_TELEMETRY='1').stderr # Quiet until here, for the test's sake
    assert after('import os, onnxruntime, birdclf', ORT_DISABLE_TELEMETRY='1').stderr == ''


def test_no_chapter_and_no_test_is_faster():
    "Whoever imports onnxruntime has imported something of ours before"
    found = {path: path.read_text(encoding='utf-8') for folder in ('nbs', 'tests') for path in (ROOT/folder).glob('*.*') if path.suffix in ('.ipynb', '.py')}
    lines = {path.name: re.findall(r'^\W*((?:import|from) [\w., ]*(?:birdclf|onnxruntime)\b)', text, re.M) for path, text in found.items() if path != Path(__file__)}
    users = {name: said for name, said in lines.items() if any('onnxruntime' in line for line in said)}
    assert '57_network.ipynb' in users and [name for name, said in users.items() if 'birdclf' not in said[0]] == []

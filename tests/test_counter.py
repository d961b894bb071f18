"The counter of a real server: photographs over HTTP, and what is said to those who bring something else"
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import psutil
import pytest
from pace import few
from soak import soak
from test_page import pythons, served
from test_serving import until

from birdclf.classify import Classifier
from birdclf.photo import MAX_BYTES
from birdclf.testing import PATIENCE, paint_bird

BIRDCLF = Path(sys.executable).with_name('birdclf')


def jpeg(image, **options):
    image.save(file := BytesIO(), 'JPEG', **dict(quality=95) | options)
    return file.getvalue()


@pytest.fixture(scope='module')
def blackbird(): return jpeg(paint_bird('Amsel', 1))


@pytest.fixture(scope='module')
def log(tmp_path_factory): return tmp_path_factory.mktemp('counter')/'log.txt'


@pytest.fixture(scope='module')
def server(log):
    with served(log, BIRDCLF, 'app', '--port') as page: yield page


class Asked:
    "An answer of the server"
    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()

    @property
    def said(self): return json.loads(self.body)


def ask(address, method, path, body=None, **headers):
    connection = HTTPConnection(re.match(r'http://([\w:]+)', address)[1], timeout=PATIENCE)
    try:
        connection.request(method, path, body, headers, encode_chunked='Transfer-Encoding' in headers)
        return Asked(connection.getresponse())
    finally: connection.close()


@pytest.fixture
def post(server): return lambda photo, query='', **headers: ask(server[0], 'POST', f'/api/classify{query}', photo, **headers)


def workers(process):
    "The processes that look at photographs"
    return [child for child in process.children() if 'birdclf.worker' in ' '.join(child.cmdline())]


def form(*photos, **fields):
    parts = [(f'name="photo"; filename="{i}.jpg"', photo) for i,photo in enumerate(photos)]
    parts += [(f'name="{name}"', value.encode()) for name,value in fields.items()]
    body = b''.join(b'--cut\r\nContent-Disposition: form-data; '+what.encode()+b'\r\n\r\n'+value+b'\r\n' for what,value in parts)
    return body+b'--cut--\r\n', {'Content-Type': 'multipart/form-data; boundary=cut'}


# --- what it answers

@pytest.mark.parametrize('language', ['en', 'de'])
def test_it_says_what_the_command_line_says(post, blackbird, language):
    said = Classifier.load().classify(blackbird).to_dict(language)
    assert post(blackbird, f'?language={language}').said == said
    body, kind = form(blackbird, blackbird, language=language)
    assert post(body, **kind).said == [said, said]


def test_frames_and_turns(post, blackbird):
    "In the address or in the form"
    classifier = Classifier.load()
    said = classifier.classify(blackbird, box=(0, 0, .5, 1), turn=1).to_dict()
    assert post(blackbird, '?box=0,0,.5,1&turn=1').said == said
    body, kind = form(blackbird, box='0,0,.5,1', turn='1')
    assert post(body, **kind).said == [said]


@pytest.mark.parametrize('query, photo, status, code', [
    ('', b'', 400, 'empty'), ('', b'Turdus merula', 415, 'not_a_picture'), ('', b'%PDF-1.7 ...', 415, 'format'),
    ('?language=fr', None, 400, 'language'), ('?box=1', None, 400, 'no_frame'), ('?box=0,0,2,1', None, 400, 'outside'),
    ('?box=0,0,0,0', None, 400, 'no_size'), ('?box=nan,0,1,1', None, 400, 'no_frame'), ('?turn=4', None, 400, 'turn'), ('?turn=left', None, 400, 'turn'),
    ('', lambda photo: photo[:len(photo)//2], 422, 'damaged'), ('', lambda photo: jpeg(paint_bird('Amsel').resize((12, 12))), 422, 'too_small')])
def test_what_is_wrong_is_a_number_and_two_sentences(post, blackbird, query, photo, status, code):
    found = post(photo(blackbird) if callable(photo) else blackbird if photo is None else photo, query)
    assert (found.status, found.said['code']) == (status, code)
    assert found.said['error'] != found.said['fehler'] and 'Traceback' not in found.body.decode()
    assert found.headers['Content-Type'].startswith('application/json') and found.headers['Cache-Control'] == 'no-store'


def test_what_is_too_large_is_refused_at_the_end_and_kept_nowhere(server):
    "The sentence arrives, although somebody was still sending"
    before = workers(server[1])[0].memory_info().rss + server[1].memory_info().rss
    found = ask(server[0], 'POST', '/api/classify', bytes(MAX_BYTES+2**17))
    assert (found.status, found.said['code']) == (413, 'too_large') and '100' in found.said['error']
    assert server[1].memory_info().rss + workers(server[1])[0].memory_info().rss < before + 50*2**20


def test_without_a_length(server, blackbird):
    found = ask(server[0], 'POST', '/api/classify', iter([blackbird]), **{'Transfer-Encoding': 'chunked'})
    assert (found.status, found.said['code']) == (411, 'length')


def test_health_and_species(server):
    found, known = ask(server[0], 'GET', '/api/health'), Classifier.load()
    assert found.status == 200 and found.said['ready'] and found.said['queue']['waiting'] == 0
    assert 50 < found.said['megabytes'] < 1000 and found.said['visitors'] == 0 # One waits for a visitor, and is none
    species = ask(server[0], 'GET', '/api/species').said
    assert species['model'] == found.said['model'] and species['species'] == [bird.to_dict() for bird in known.species]


# --- who looks at it

def test_one_that_is_killed_costs_one_answer(server, blackbird, log):
    "The visitor reads a sentence, the next one an answer, and everything that can be asked meanwhile is answered"
    address, process = server
    def send(photo): return ask(address, 'POST', '/api/classify', photo)
    for _ in range(3):
        worker, = workers(process)
        worker.suspend() # Or it might be done before anybody could shoot
        with ThreadPoolExecutor() as pool:
            waiting = [pool.submit(send, blackbird) for _ in range(2)]
            until(lambda: ask(address, 'GET', '/api/health').said['queue']['waiting'] == 2, 'arrived')
            worker.kill()
            statuses = [answer.result().status for answer in waiting]
        assert sorted(statuses) == [200, 500]
        assert send(blackbird).said['species']['german'] == 'Amsel'
        assert [other.pid for other in workers(process)] != [worker.pid]
    until(lambda: 'ended over a photograph' in log.read_text(encoding='utf-8'), 'noted')


def test_one_that_is_killed_between_two_photographs_costs_nothing(server, blackbird):
    worker, = workers(server[1])
    worker.kill()
    def ended():
        try: return worker.status() == psutil.STATUS_ZOMBIE and worker.num_threads() < 2
        except psutil.NoSuchProcess: return True
    until(ended, 'ended')
    assert ask(server[0], 'POST', '/api/classify', blackbird).status == 200


def test_all_at_once(server, blackbird):
    "As many as the queue has places: everybody gets an answer, in whichever order"
    with ThreadPoolExecutor(30) as pool:
        said = list(pool.map(lambda _: ask(server[0], 'POST', '/api/classify', blackbird), range(30)))
    assert {answer.status for answer in said} == {200} and len({answer.body for answer in said}) == 1
    assert len(workers(server[1])) == 1


def test_one_too_many(server, blackbird):
    "While the worker is held, the queue fills; whoever comes then is told when to come back"
    worker, = workers(server[1])
    worker.suspend()
    try:
        with ThreadPoolExecutor(40) as pool:
            waiting = [pool.submit(ask, server[0], 'POST', '/api/classify', blackbird) for _ in range(40)]
            until(lambda: sum(answer.done() for answer in waiting) == 8, 'refused')
            refused = [answer.result() for answer in waiting if answer.done()]
            worker.resume()
            assert sorted(answer.result().status for answer in waiting) == [200]*32+[503]*8
    finally: worker.resume()
    for answer in refused:
        assert answer.said['code'] == 'busy' and answer.headers['Retry-After'] in answer.said['error'] and int(answer.headers['Retry-After']) >= 1


def test_who_has_hung_up_is_not_looked_at(server, blackbird):
    worker, = workers(server[1])
    def health(): return ask(server[0], 'GET', '/api/health').said
    before = health()['answered']
    worker.suspend()
    try:
        lines = [HTTPConnection(re.match(r'http://([\w:]+)', server[0])[1], timeout=PATIENCE) for _ in range(20)]
        for line in lines: line.request('POST', '/api/classify', blackbird)
        until(lambda: health()['queue']['waiting'] == 20, 'arrived')
        for line in lines: line.close()
        health() # By now the server has heard that they are gone
    finally: worker.resume()
    until(lambda: not health()['queue']['waiting'], 'answered')
    assert health()['answered'] == before+1


def test_a_fence_around_the_worker(server):
    "Whatever a decoder thinks it needs"
    worker, = workers(server[1])
    limits = Path(f'/proc/{worker.pid}/limits')
    if not limits.exists(): pytest.skip('needs /proc')
    assert re.search(r'Max data size +1610612736 ', limits.read_text())


def test_a_worker_goes_with_its_server(tmp_path):
    "Also if nobody could tell it"
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--port') as (address, process):
        worker, = workers(process)
        process.kill()
        worker.wait(PATIENCE)


def test_so_many_a_minute(tmp_path):
    "From each address; what a visitor writes into X-Forwarded-For is believed only where there is a proxy"
    text = b'Turdus merula'
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--rate', '3', '--port') as (address, _):
        found = [ask(address, 'POST', '/api/classify', text, **{'X-Forwarded-For': f'198.51.100.{i}'}) for i in range(4)]
        assert [answer.status for answer in found] == [415]*3+[429] and 1 <= int(found[-1].headers['Retry-After']) <= 20
        assert ask(address, 'GET', '/api/health').status == 200
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--rate', '3', '--behind-proxy', '--port') as (address, _):
        found = [ask(address, 'POST', '/api/classify', text, **{'X-Forwarded-For': f'198.51.100.{i}, 203.0.113.{i%2}'}) for i in range(8)]
        assert [answer.status for answer in found] == [415]*6+[429]*2


# --- what programs are told

@pytest.fixture(scope='module')
def examples(root):
    "The programs of the chapter, by language"
    cells = json.loads((root/'nbs'/'71_openapi.ipynb').read_text(encoding='utf-8'))['cells']
    return dict(re.findall(r'```(bash|python|javascript)\n(.*?)```', '\n'.join(''.join(cell['source']) for cell in cells), re.S))


@pytest.mark.parametrize('language', ['bash', 'python', 'javascript'])
def test_the_programs_of_the_chapter(server, blackbird, examples, tmp_path, language):
    (tmp_path/'garden.jpg').write_bytes(blackbird)
    code = examples[language].replace('http://localhost:8866/', server[0])
    playwright = pytest.importorskip('playwright', reason='needs playwright, which brings Node')
    if language == 'bash' and not shutil.which('curl'): pytest.skip('needs curl')
    program = {'bash': ['bash', '-c'], 'python': [sys.executable, '-c'], 'javascript': [Path(playwright.__file__).parent/'driver'/'node', '--input-type=module', '-e']}
    done = subprocess.run([*program[language], code], cwd=tmp_path, capture_output=True, text=True, encoding='utf-8', timeout=PATIENCE)
    answer = Classifier.load().classify(blackbird)
    if language != 'bash': assert done.stdout.strip() == answer.reason, done.stderr
    else:
        one, two, wrong = (json.loads(line) for line in done.stdout.splitlines())
        assert (one, two, wrong['code'], done.returncode) == (answer.to_dict('de'), [answer.to_dict()]*2, 'not_a_picture', 22)


def test_whatever_a_program_may_think_of(server, blackbird, tmp_path):
    "What the document says is held against what is answered, by a tool that makes up questions"
    schemathesis = Path(sys.executable).with_name('schemathesis')
    if not schemathesis.exists(): pytest.skip('needs schemathesis')
    checks = 'not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,unsupported_method'
    asked = [schemathesis, 'run', f'{server[0]}api/openapi.json', '--checks', checks, '--phases', 'coverage,fuzzing', '--max-examples', str(few(10, 100)),
             '--generation-deterministic', '--continue-on-failure', '--request-timeout', str(PATIENCE), '--warnings', 'off', '--no-color']
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, encoding='utf-8', timeout=2*PATIENCE)
    assert done.returncode == 0 and 'Tested: 4\n' in done.stdout, done.stdout+done.stderr
    assert ask(server[0], 'POST', '/api/classify', blackbird).status == 200


def test_two_minutes_of_everything(tmp_path):
    "Good, bad, huge, slow and aborted uploads at once: no answer that is not stated, nothing left behind, and the memory is what it was"
    log = tmp_path/'log.txt'
    with served(log, BIRDCLF, 'app', '--port') as (address, process):
        said, early, late = soak(address, process, few(10, 120))
        until(lambda: len(pythons(process)) <= 1, 'gone')
        health = ask(address, 'GET', '/api/health').said
    print(f'{sum(said.values())} requests, {early:.0f} MB early, {late:.0f} MB in the end')
    assert {status for _,status in said} <= {200, 400, 413, 415, 422, 503, 'hung up'} and said['good', 200] > 5
    assert late < early*1.25+30 and health['queue']['waiting'] == 0 and 'trouble' not in log.read_text(encoding='utf-8')

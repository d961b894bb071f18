"The door of both pages: who may ask, who has gone, and where the page opens; `birdclf app` and `birdclf clean`, really started"
import asyncio
import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from test_clean_page import Cleaner, command, fill
from test_page import Visitor, browser, pythons, robin, served  # noqa: F401 (fixtures)

from birdclf.app import WORDS
from birdclf.manifest import Manifest
from birdclf.testing import PATIENCE
from pictures import file_of, noisy

BIRDCLF = Path(sys.executable).with_name('birdclf')
KINDS = 'app', 'clean'


def impatient(**seconds):
    "The command, with other waits: what it waits for is the same"
    changes = '; '.join(f'birdclf.serve.{name} = {value}' for name,value in seconds.items())
    return [sys.executable, '-c', f'import sys, birdclf.serve; {changes}\nfrom birdclf.cli import main\nsys.exit(main())']


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    fill(folder, 12)
    return folder


@pytest.fixture(scope='module', params=KINDS)
def door(request, data, tmp_path_factory):
    "Either page: its kind, address and process"
    start = (*impatient(SPARE=0), 'app', '--port') if request.param == 'app' else command(data) # None that waits, so that those who came can be counted
    with served(tmp_path_factory.mktemp('door')/'log.txt', *start) as (address, process): yield request.param, address, process


@pytest.fixture
def quiet(door):
    "Those of the test before have gone"
    until(lambda: not pythons(door[2]), 'ended')


def come(browser, kind, address): return (Visitor if kind == 'app' else Cleaner)(browser, address)


def until(true, what, limit=PATIENCE):
    "Wait until something holds; the limit is for a machine with much else to do"
    for _ in range(limit*5):
        if true(): return
        time.sleep(.2)
    pytest.fail(f'after {limit} s: not {what}')


# --- who may ask

def send(address, *lines, method='GET', path='/'):
    "A request with exactly these header lines: its status, and what comes with it"
    host, port = re.match(r'http://(\w+):(\d+)', address).groups()
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as s:
        s.sendall('\r\n'.join([f'{method} {path} HTTP/1.1', *lines, 'Connection: close', 'Content-Length: 0', '', '']).encode())
        said = b''
        while b'\r\n\r\n' not in said and (more := s.recv(65536)): said += more
        if b' 101 ' not in said[:20]:
            while more := s.recv(65536): said += more
    return int(said.split(None, 2)[1]), said.decode('utf-8', 'replace')


def knock(address, path, *lines):
    "The start of a websocket: its status"
    key = base64.b64encode(os.urandom(16)).decode()
    host, port = re.match(r'http://(\w+):(\d+)', address).groups()
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as s:
        s.sendall('\r\n'.join([f'GET {path} HTTP/1.1', *lines, 'Connection: Upgrade', 'Upgrade: websocket', f'Sec-WebSocket-Key: {key}',
                               'Sec-WebSocket-Version: 13', '', '']).encode())
        return int(s.recv(65536).split(None, 2)[1])


ROUTES = ['/', '/voila/static/voila.js', '/voila/static/', '/voila/files/app.ipynb', '/voila/templates/base/static/voila.js', '/voila/labextensions/x',
          '/voila/api/themes/x', '/voila/api/shutdown/x', '/voila/line/x', '/api/classify', '/api/health', '/api/kernels/x', '/api/kernels/x/channels', '/login', '/nowhere', '//evil.example/']

@pytest.mark.parametrize('path', ROUTES)
def test_no_address_answers_to_a_forged_name(quiet, door, path):
    _, address, process = door
    for method in ('GET', 'POST', 'HEAD', 'DELETE', 'OPTIONS'):
        status, said = send(address, 'Host: evil.example', method=method, path=path)
        assert status == 403 and 'Traceback' not in said
        if method != 'HEAD': assert '--allow-host' in said
    assert not pythons(process)


@pytest.mark.parametrize('host', ['evil.example', 'localhost.evil.example', 'evil.example.', 'EVIL.EXAMPLE', '127.0.0.2', '0.0.0.0', '127.1', '2130706433',
                                  '[::]', 'localhost@evil.example', 'ida@localhost', 'localhost:http', 'localhost:1:2', 'localhost, evil.example', '', ' '])
def test_forged_names(quiet, door, host):
    _, address, process = door
    status, _ = send(address, f'Host: {host}')
    assert status in (400, 403) and not pythons(process)


@pytest.mark.parametrize('lines', [[], ['Host: localhost', 'Host: evil.example'], ['Host: evil.example', 'Host: localhost'], ['Host: localhost', 'Host: localhost']],
                         ids=['none', 'good, bad', 'bad, good', 'good, good'])
def test_one_name_and_no_more(quiet, door, lines):
    _, address, process = door
    assert send(address, *lines)[0] in (400, 403) and not pythons(process)


@pytest.mark.parametrize('host', ['localhost', 'LocalHost', 'localhost.', 'localhost:1', '127.0.0.1', '127.0.0.1:8866', '[::1]', '[::1]:8866'])
def test_names_of_this_machine(door, host):
    assert send(door[1], f'Host: {host}', path='/voila/static/voila.js')[0] == 200


@pytest.mark.parametrize('origin', ['http://evil.example', 'null', 'http://localhost.evil.example', 'http://localhost:1', 'file://', 'evil', ''])
def test_forged_origins(door, origin):
    _, address, _ = door
    host = address[7:-1]
    assert send(address, f'Host: {host}', f'Origin: {origin}', path='/voila/static/voila.js')[0] == 403


def test_a_page_from_outside_starts_no_python(browser, quiet, door):
    "As pictures, frames and questions without an answer; a link is a visit like any other"
    kind, address, process = door
    outside = ThreadingHTTPServer(('127.0.0.1', 0), Outside)
    threading.Thread(target=outside.serve_forever, daemon=True).start()
    page = browser.new_context().new_page()
    answers = [] # Its headers keep the browser from showing what it was told
    page.on('response', lambda answer: answers.append(answer.status) if answer.url.startswith(address) else None)
    page.on('requestfailed', lambda question: answers.append(question.failure) if question.url.startswith(address) else None)
    page.goto(f'http://127.0.0.1:{outside.server_port}/')
    page.evaluate("""async address => {
        for (const kind of ['img', 'iframe', 'script']) document.body.append(Object.assign(document.createElement(kind), {src: address + '?' + kind}))
        await fetch(address, {mode: 'no-cors'}).catch(() => null)
        document.body.append(Object.assign(document.createElement('a'), {href: address, textContent: 'birds'}))
    }""", address)
    until(lambda: page.evaluate('1') and len(answers) >= 4, 'answered')
    assert not {200, 302} & {*answers} and not pythons(process)
    page.click('a')
    page.wait_for_selector('.bc-page' if kind == 'app' else '.cl-tile', timeout=1000*PATIENCE)
    page.context.close()
    outside.shutdown()
    outside.server_close()


class Outside(BaseHTTPRequestHandler):
    "A page of somebody else"
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Type', 'text/html')
        self.end_headers()
        self.wfile.write(b'<body>')


def test_websockets(quiet, door):
    "A real visit, and others who would like to listen in"
    _, address, process = door
    host = address[7:-1]
    _, page = send(address, f'Host: {host}')
    kernel = re.search(r'"kernelId": *"([^"]+)"', page)[1]
    for path in (f'/api/kernels/{kernel}/channels', f'/voila/line/{kernel}'):
        assert knock(address, path, 'Host: evil.example', 'Origin: http://evil.example') == 403
        for origin in ('http://evil.example', 'null', 'http://localhost:1'): assert knock(address, path, f'Host: {host}', f'Origin: {origin}') == 403
        assert knock(address, path, f'Host: {host}', f'Origin: http://{host}') == 101
    assert send(address, f'Host: {host}', 'Origin: http://evil.example', method='POST', path=f'/voila/api/shutdown/{kernel}')[0] == 403
    assert send(address, f'Host: {host}', f'Origin: http://{host}', method='POST', path=f'/voila/api/shutdown/{kernel}')[0] == 204
    until(lambda: not pythons(process), 'ended')


def test_names_that_are_allowed(tmp_path):
    "Behind a proxy on this machine, whether or not it passes the name on"
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--allow-host', 'birds.example.org', '--allow-host', 'Vögel.example', '--port') as (address, _):
        host, path = address[7:-1], '/voila/static/voila.js'
        for name in ('birds.example.org', 'BIRDS.example.org:443', 'xn--vgel-5qa.example', 'localhost'): assert send(address, f'Host: {name}', path=path)[0] == 200
        assert send(address, 'Host: evil.example', path=path)[0] == send(address, 'Host: more.birds.example.org', path=path)[0] == 403
        kernel = re.search(r'"kernelId": *"([^"]+)"', send(address, f'Host: {host}')[1])[1]
        for place in (f'/voila/line/{kernel}', f'/api/kernels/{kernel}/channels'):
            for name in ('birds.example.org', host): assert knock(address, place, f'Host: {name}', 'Origin: https://birds.example.org') == 101
            assert knock(address, place, 'Host: birds.example.org', 'Origin: https://evil.example') == 403


@pytest.mark.parametrize('name', ['https://birds.example.org', 'birds.example.org:443', 'birds/example', '*', '', 'a b', '.'])
def test_what_is_no_name(name):
    done = subprocess.run([BIRDCLF, 'app', '--allow-host', name], capture_output=True, text=True)
    assert done.returncode == 2 and 'Try birds.example.org' in done.stderr


# --- what may be asked

NOWHERE = {'api/contents', 'api/contents/app.ipynb', 'api/terminals', 'api/sessions', 'api/kernels', 'api/kernelspecs', 'api/config/notebook', 'api/status', 'api/me',
           'api/spec.yaml', 'api/nbconvert', 'api/shutdown', 'files/app.ipynb', 'app.ipynb', 'tree', 'lab', 'view/app.ipynb', 'login', 'logout', 'static/x.js', 'custom/custom.css',
           'terminals/1', 'terminals/websocket/1', 'metrics', 'voila/files/app.ipynb', 'voila/files/../app.ipynb', 'voila/tree', 'voila/render/app.ipynb', 'voila/api/contents/',
           'voila/api/themes/x', 'voila/templates/base/static/voila.js', 'voila/execution/x', 'voila/query/x', 'nowhere', '%00', '..%2f..%2fetc/passwd', 'kernelspecs/python3/logo-64x64.png'}
METHODS = 'GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'HEAD'

def said_to(address, path, method): return send(address, f'Host: {address[7:-1]}', method=method, path='/'+path)

@pytest.mark.parametrize('path', sorted(NOWHERE))
def test_what_jupyter_could_do_is_nowhere(quiet, door, path):
    _, address, process = door
    for method in METHODS:
        status, said = said_to(address, path, method)
        assert status == 404 and 'Traceback' not in said and not re.search(r'/(tmp|usr|home|root)/', said), method
    assert not pythons(process)


# What there is, and which methods it answers; everything else is refused
THERE = {'': {'GET': 200}, 'voila/static/voila.js': {'GET': 200, 'HEAD': 200}, 'voila/static/': {'GET': 404, 'HEAD': 404},
         'voila/labextensions/anywidget/package.json': {'GET': 200, 'HEAD': 200}, 'voila/line/x': {'GET': 400}, 'voila/api/shutdown/x': {'POST': 204},
         f'api/kernels/{"-".join("abcde")}': {'GET': 404}, f'api/kernels/{"-".join("abcde")}/channels': {'GET': 404},
         'api/health': {'GET': 200}, 'api/species': {'GET': 200}, 'api/openapi.json': {'GET': 200}, 'api/classify': {'POST': 400}, 'api/why': {'POST': 400}}

@pytest.mark.parametrize('door', ['app'], indirect=True)
def test_every_route_says_what_it_answers(door, root):
    "The server's own table: there is no route that is not above, and none that does more"
    _, address, process = door
    for path,known in THERE.items():
        for method in METHODS:
            status, _ = said_to(address, path, method)
            assert status == known.get(method, status) and (method in known or status in (403, 405)), (path, method, status)
    routes = subprocess.run([sys.executable, '-c', LISTED], capture_output=True, text=True, check=True).stdout.split()
    for route in routes: assert any(re.fullmatch(route, '/'+path) for path in THERE) or route.startswith('/api('), route
    for path in THERE: assert any(re.fullmatch(route, '/'+path) for route in routes), path

LISTED = """
from birdclf.serve import Server, photographs, settings, workplace, write_page
with workplace() as (folder, sockets), photographs(folder, None) as queue:
    server = Server(config=settings(folder, sockets), queue=queue, notebook_path=str(write_page(folder, 'birdclf.app')), root_dir=str(folder))
    server.initialize([])
    import birdclf.serve
    birdclf.serve.SPARE = 0
    server.init_settings()
    for rule in server.init_handlers()[1:]: print(rule[0])
"""


@pytest.mark.parametrize('door', ['app'], indirect=True)
def test_nobody_executes_anything(quiet, door, tmp_path):
    "Over the websocket of his own visit either"
    from tornado.websocket import websocket_connect
    _, address, process = door
    kernel = re.search(r'"kernelId": *"([^"]+)"', said_to(address, '', 'GET')[1])[1]
    header = dict(msg_id='1', session='s', username='', version='5.3', date='2026-11-29T12:00:00Z')
    def message(kind, **content): return json.dumps(dict(header=header | dict(msg_type=kind), parent_header={}, metadata={}, content=content, channel='shell', buffers=[]))
    async def ask():
        line = await websocket_connect(f'{address.replace("http", "ws")}api/kernels/{kernel}/channels')
        await line.write_message(message('execute_request', code=f'open({str(tmp_path/"x")!r}, "w")', silent=False, store_history=False, user_expressions={}, allow_stdin=False))
        await line.write_message(message('kernel_info_request'))
        kinds = []
        while 'kernel_info_reply' not in kinds: kinds.append(json.loads(await line.read_message())['msg_type'])
        line.close()
        return kinds
    with ThreadPoolExecutor(1) as thread: kinds = thread.submit(asyncio.run, asyncio.wait_for(ask(), PATIENCE)).result() # A browser may have a loop here
    assert not {'execute_reply', 'execute_result', 'error'} & set(kinds) and not (tmp_path/'x').exists()


# --- what a browser is told

def headers_of(address, path, method='GET', **more):
    connection = HTTPConnection(address[7:-1], timeout=PATIENCE)
    connection.request(method, path, headers=more)
    answer = connection.getresponse()
    return answer, answer.read()

@pytest.mark.parametrize('door', ['app'], indirect=True)
@pytest.mark.parametrize('path', ['/', '/voila/static/voila.js', '/api/health', '/api/classify', '/nowhere', '/voila/line/x'])
def test_every_answer_is_careful(door, path):
    answer, _ = headers_of(door[1], path)
    for name,value in {'X-Content-Type-Options': 'nosniff', 'X-Frame-Options': 'DENY', 'Referrer-Policy': 'same-origin', 'Cross-Origin-Opener-Policy': 'same-origin'}.items():
        assert answer.headers[name] == value
    policy = dict(rule.split(' ', 1) for rule in answer.headers['Content-Security-Policy'].split('; '))
    assert policy['default-src'] == policy['frame-ancestors'] == "'none'" and 'unsafe-eval' not in str(policy)
    assert 'unsafe' not in policy.get('script-src', '') and '*' not in str(policy) and 'Server' not in answer.headers
    assert answer.headers.get_all('Content-Security-Policy') == [answer.headers['Content-Security-Policy']]


@pytest.mark.parametrize('door', ['app'], indirect=True)
def test_a_page_has_a_word_of_its_own(door):
    "Which its scripts say, and nobody can know beforehand"
    words = set()
    for _ in range(2):
        answer, page = headers_of(door[1], '/')
        word = re.search(r"'nonce-([\w-]{20,})'", answer.headers['Content-Security-Policy'])[1]
        scripts = re.findall(rb'<script[^>]*>', page)
        assert len(scripts) > 4 and all(f'nonce="{word}"'.encode() in script for script in scripts)
        words.add(word)
    assert len(words) == 2


@pytest.mark.parametrize('door', ['app'], indirect=True)
def test_a_script_that_is_not_ours_does_not_run(browser, door):
    visitor = come(browser, 'app', door[1])
    visitor.page.evaluate("""() => {
        const script = document.createElement('script')
        script.textContent = 'window.harmed = true'
        document.body.append(script)
        document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.harmed = true">')
    }""")
    visitor.page.wait_for_timeout(500)
    assert not visitor.page.evaluate('window.harmed') and any('Content Security Policy' in problem for problem in visitor.problems)
    visitor.context.close()


# --- one that waits for the next visitor

def test_one_waits_for_the_next_visitor(browser, tmp_path, robin):
    "It is not counted, is handed out once, goes with its visitor, and another one waits then"
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--max-visitors', '1', '--port') as (address, process):
        def health(): return json.loads(headers_of(address, '/api/health')[1])['visitors']
        until(lambda: len(pythons(process)) == 1, 'waiting')
        waiting, = pythons(process)
        visitor = come(browser, 'app', address)
        assert health() == 1 and waiting.is_running()
        status, said = send(address, f'Host: {address[7:-1]}')
        assert status == 503 and 'All places are taken' in said
        visitor.choose(('robin.jpg', robin))
        assert visitor.phase() == 'answered'
        until(lambda: len(pythons(process)) == 2, 'waiting again')
        visitor.leave()
        until(lambda: not waiting.is_running() and health() == 0, 'gone')
        assert len(pythons(process)) == 1
        come(browser, 'app', address).context.close()


def test_those_who_come_at_once(tmp_path):
    "Each gets a Python of its own, whichever way; and when they have gone, one waits and no more"
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--port') as (address, process), ThreadPoolExecutor(4) as crowd:
        until(lambda: len(pythons(process)) == 1, 'waiting')
        given = set()
        for _ in range(3):
            pages = [crowd.submit(send, address, f'Host: {address[7:-1]}') for _ in range(4)]
            kernels = {re.search(r'"kernelId": *"([^"]+)"', page.result()[1])[1] for page in pages}
            assert len(kernels) == 4 and not kernels & given
            given |= kernels
            for kernel in kernels: assert send(address, f'Host: {address[7:-1]}', 'Content-Length: 0', method='POST', path=f'/voila/api/shutdown/{kernel}')[0] == 204
        until(lambda: len(pythons(process)) == 1 and json.loads(headers_of(address, '/api/health')[1])['visitors'] == 0, 'gone')


# --- who has gone

def test_reloaded_five_times_and_closed(browser, quiet, door):
    kind, address, process = door
    visitor = come(browser, kind, address)
    for _ in range(5):
        visitor.page.reload()
        visitor.page.wait_for_selector('.bc-page' if kind == 'app' else '.cl-tile', timeout=1000*PATIENCE)
    until(lambda: len(pythons(process)) == 1, 'one left')
    started = time.monotonic()
    visitor.page.close()
    until(lambda: not pythons(process), 'ended')
    print(f'{kind}: {time.monotonic()-started:.1f} s after the page was closed')
    assert not visitor.problems


def test_left_and_come_back(browser, quiet, door):
    kind, address, process = door
    visitor = come(browser, kind, address)
    first, = pythons(process)
    visitor.page.goto('about:blank')
    until(lambda: not first.is_running(), 'ended')
    visitor.page.go_back()
    visitor.page.wait_for_selector('.bc-page' if kind == 'app' else '.cl-tile', timeout=1000*PATIENCE)
    if kind == 'app':
        visitor.choose(('text.jpg', b'Turdus merula'))
        assert visitor.phase() == 'refused'
    visitor.leave() if kind == 'app' else visitor.context.close()
    until(lambda: not pythons(process), 'ended')


def test_tabs_are_visits_of_their_own(browser, quiet, door, robin):
    kind, address, process = door
    one = come(browser, kind, address)
    other = one.context.new_page()
    other.goto(address)
    other.wait_for_selector('.bc-page' if kind == 'app' else '.cl-tile', timeout=1000*PATIENCE)
    assert len(pythons(process)) == 2
    other.close()
    until(lambda: len(pythons(process)) == 1, 'one left')
    if kind == 'app': one.choose(('robin.jpg', robin))
    one.context.close()


@pytest.mark.parametrize('door', ['app'], indirect=True)
def test_who_only_considers_leaving_stays(browser, quiet, door, robin):
    "A link to a file, or a question whether one really wants to go"
    kind, address, process = door
    visitor = come(browser, kind, address)
    visitor.page.evaluate("window.dispatchEvent(new Event('beforeunload', {cancelable: true}))")
    visitor.choose(('robin.jpg', robin))
    assert visitor.phase() == 'answered' and len(pythons(process)) == 1
    visitor.leave()


@pytest.mark.parametrize('door', ['clean'], indirect=True)
def test_the_last_click_is_kept(browser, data, door):
    "It was made a moment before the page was closed"
    kind, address, process = door
    cleaner = come(browser, kind, address)
    cleaner.press('d')
    cleaner.page.close()
    until(lambda: not pythons(process), 'ended')
    with Manifest(data) as manifest: assert [row.decision for row in manifest.rows(status='verified')].count('drop') == 1
    cleaner.context.close()


@pytest.mark.parametrize('kind', KINDS)
def test_robots_and_crashes(browser, data, tmp_path, kind):
    "Nobody says goodbye, or nobody was there"
    arguments = ['app'] if kind == 'app' else [str(word) for word in command(data)[1:-1]]
    with served(tmp_path/'log.txt', *impatient(UNCLAIMED=5, GRACE=5, SPARE=0), *arguments, '--port') as (address, process):
        host = address[7:-1]
        assert send(address, f'Host: {host}')[0] == 200 and len(pythons(process)) == 1
        send(address, f'Host: {host}', method='HEAD')
        until(lambda: not pythons(process), 'ended')
        with Cable(address) as cable:
            visitor = come(browser, kind, cable.address)
            assert len(pythons(process)) == 1
            cable.cut()
            until(lambda: not pythons(process), 'ended')
            visitor.context.close()


def again(visitor, photo):
    "Choose it until there is an answer: the first time may be before the connection is back"
    for _ in range(6):
        visitor.choose(('robin.jpg', photo), wait=False)
        for _ in range(100):
            if visitor.phase() == 'answered': return
            visitor.page.wait_for_timeout(200)
    pytest.fail('no answer')


class Cable:
    "A line to a server that somebody can cut, without a word to either side, and mend"
    def __init__(self, address, pause=0):
        self.pause = pause # Seconds for every 16 kB that a visitor sends
        self.target = ('127.0.0.1', int(re.search(r':(\d+)', address)[1]))
        self.entry = socket.create_server(('127.0.0.1', 0))
        self.address, self.whole, self.ends = f'http://localhost:{self.entry.getsockname()[1]}/', True, []
        threading.Thread(target=self.lay, daemon=True).start()

    def lay(self):
        while True:
            try: here, _ = self.entry.accept()
            except OSError: return # It has been closed
            if not self.whole:
                here.close()
                continue
            try: there = socket.create_connection(self.target)
            except OSError: there = socket.create_connection(('::1', self.target[1]))
            self.ends += [here, there]
            for one,other,up in ((here, there, True), (there, here, False)): threading.Thread(target=self.carry, args=(one, other, up), daemon=True).start()

    def carry(self, one, other, up):
        try:
            while data := one.recv(16384):
                if up: time.sleep(self.pause*len(data)/16384)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError: pass # Cut

    def cut(self):
        self.whole = False
        for end in self.ends:
            try: end.shutdown(socket.SHUT_RDWR)
            except OSError: pass # Cut already
        self.ends = []

    def mend(self): self.whole = True
    def __enter__(self): return self
    def __exit__(self, *_):
        self.cut()
        self.entry.close()


def test_a_line_that_breaks_and_comes_back(browser, tmp_path, robin):
    with served(tmp_path/'log.txt', *impatient(SPARE=0), 'app', '--port') as (address, process), Cable(address) as cable:
        visitor = come(browser, 'app', cable.address)
        before = [python.pid for python in pythons(process)]
        cable.cut()
        visitor.page.wait_for_selector('#line[data-said=lost]', state='visible', timeout=1000*PATIENCE)
        cable.mend()
        visitor.page.wait_for_selector('#line', state='hidden', timeout=1000*PATIENCE)
        assert [python.pid for python in pythons(process)] == before
        again(visitor, robin)
        visitor.context.close()


def test_a_line_that_was_gone_for_too_long(browser, tmp_path, robin):
    with served(tmp_path/'log.txt', *impatient(GRACE=1, SPARE=0), 'app', '--port') as (address, process), Cable(address) as cable:
        visitor = come(browser, 'app', cable.address)
        cable.cut()
        until(lambda: not pythons(process), 'ended')
        cable.mend()
        visitor.page.wait_for_selector('#line[data-said=gone]', state='visible', timeout=1000*PATIENCE)
        said = visitor.page.inner_text('#line')
        assert 'Bitte lade sie neu' in said and 'Please reload' in said
        with visitor.page.expect_navigation(): visitor.page.click('#line button')
        visitor.page.wait_for_selector('.bc-page', timeout=1000*PATIENCE)
        visitor.choose(('robin.jpg', robin))
        assert visitor.phase() == 'answered' and not visitor.page.is_visible('#line')
        visitor.context.close()


def test_a_photo_that_is_cut(browser, tmp_path, robin):
    "On a slow line: the sentence is about the line, and the page goes on"
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--port') as (address, _), Cable(address, pause=.2) as cable:
        visitor = come(browser, 'app', cable.address)
        visitor.choose(('large.jpg', os.urandom(8*2**20)), wait=False)
        visitor.page.wait_for_timeout(2000)
        assert visitor.phase() == 'looking'
        cable.cut()
        visitor.page.wait_for_selector('[data-phase=refused]', timeout=1000*PATIENCE)
        assert visitor.read('sentence') == WORDS['cut'][0]
        cable.mend()
        cable.pause = 0
        again(visitor, robin)
        visitor.context.close()


def test_a_line_as_slow_as_in_a_valley(browser, tmp_path):
    "25 kB a second, for more than a minute and a half, after which a websocket would be given up: the answer comes"
    photo = file_of(noisy(1720, 1500), quality=96) # Not small enough to be sent at once, and not large enough to be made smaller
    assert 2.3e6 < len(photo) < 3.5e6
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--port') as (address, _), Cable(address) as cable:
        visitor = come(browser, 'app', cable.address)
        cable.pause, began = 16384/25e3, time.monotonic()
        visitor.choose(('garden.jpg', photo), wait=False)
        visitor.wait()
        print(f'{len(photo)/1e6:.1f} MB in {time.monotonic()-began:.0f} s')
        assert visitor.phase() == 'answered' and time.monotonic()-began > 91 and not visitor.page.is_visible('.bc-alarm')
        visitor.leave()


def test_a_photo_that_is_stopped(browser, tmp_path, robin):
    "The page says how much has been sent; what was there before the photo is there again, and the next one has its answer"
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--port') as (address, _):
        visitor = come(browser, 'app', address)
        line = visitor.context.new_cdp_session(visitor.page)
        def slow(rate): line.send('Network.emulateNetworkConditions', dict(offline=False, latency=0, downloadThroughput=-1, uploadThroughput=rate))
        line.send('Network.enable')
        slow(3e5) # In the browser: beyond it, a buffer of the system's would take all of it at once
        visitor.choose(('large.jpg', os.urandom(8*2**20)), wait=False)
        sentence = WORDS['sending'][0].format(share=20)
        visitor.page.wait_for_function('text => document.querySelector(".bc-sentence").textContent.replaceAll("\\u00a0", " ") === text', arg=sentence)
        visitor.page.click('.bc-tool:text-is("Stop")')
        visitor.page.wait_for_selector('[data-phase=empty]')
        assert not visitor.page.is_visible('.bc-tool') and visitor.read('sentence') == ''
        slow(-1)
        visitor.choose(('robin.jpg', robin))
        assert visitor.phase() == 'answered'
        visitor.leave()


# --- what lies between

@contextmanager
def plain_proxy(address):
    "A proxy that knows nothing of websockets"
    target = re.match(r'http://([\w:]+)', address)[1]
    class Passing(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'
        def pass_on(self):
            there = HTTPConnection(target, timeout=PATIENCE)
            body = self.rfile.read(int(self.headers.get('content-length') or 0))
            there.request(self.command, self.path, body, {k: v for k,v in self.headers.items() if k.lower() not in ('connection', 'upgrade', 'host', 'origin')})
            answer = there.getresponse()
            data = answer.read()
            self.send_response(answer.status)
            for name,value in answer.getheaders():
                if name.lower() not in ('transfer-encoding', 'content-length', 'connection'): self.send_header(name, value)
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        do_GET = do_POST = do_HEAD = pass_on
        def log_message(self, *_): pass
    proxy = ThreadingHTTPServer(('127.0.0.1', 0), Passing)
    proxy.daemon_threads = True
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    yield f'http://localhost:{proxy.server_address[1]}/'
    proxy.shutdown()
    proxy.server_close()


def test_without_websockets(browser, door):
    "A sentence in both languages, instead of 'Loading widget...'"
    _, address, _ = door
    with plain_proxy(address) as proxy:
        page = browser.new_page()
        started = time.monotonic()
        page.goto(proxy)
        page.wait_for_selector('#line[data-said=blocked]', state='visible', timeout=1000*PATIENCE)
        print(f'{time.monotonic()-started:.1f} s until the sentence')
        said = page.inner_text('#line')
        assert 'WebSocket' in said and 'Bitte versuche es' in said and 'Please try' in said
        page.close()


def test_the_page_is_compressed(browser, door):
    kind, address, _ = door
    context = browser.new_context()
    page, sizes = context.new_page(), []
    session = context.new_cdp_session(page)
    session.send('Network.enable')
    session.on('Network.loadingFinished', lambda event: sizes.append(event['encodedDataLength']))
    page.goto(address)
    page.wait_for_selector('.bc-page' if kind == 'app' else '.cl-tile', timeout=1000*PATIENCE)
    print(f'{kind}: {sum(sizes)/2**20:.2f} MB in {len(sizes)} answers')
    assert sum(sizes) < 2*2**20
    context.close()


# --- where the page opens

def named(browser, log, robin, *start, **options):
    "The page names a painted bird"
    with served(log, *start, **options) as (address, _):
        visitor = Visitor(browser, address)
        visitor.choose(('robin.jpg', robin))
        assert visitor.phase() == 'answered'
        visitor.leave()


@pytest.mark.parametrize('length', [48, 104, 200])
def test_a_long_folder_for_temporary_files(browser, tmp_path, robin, length):
    folder = tmp_path/'T'
    folder = folder.with_name('T'*(length-len(str(tmp_path))-1)) if length-len(str(tmp_path)) < 250 and length > len(str(tmp_path))+1 else folder
    folder.mkdir(parents=True)
    named(browser, tmp_path/'log.txt', robin, BIRDCLF, 'app', '--port', env=os.environ | dict(TMPDIR=str(folder)))
    assert list(folder.iterdir()) == []


def test_without_sockets(browser, tmp_path, robin):
    "Where no path is short enough, or there are no such files, it is ports, encrypted"
    folder = tmp_path/'work'
    folder.mkdir()
    start = [sys.executable, '-c', f'import sys, tempfile, birdclf.serve; birdclf.serve.short_folder = lambda: None; tempfile.tempdir = {str(folder)!r}\nfrom birdclf.cli import main\nsys.exit(main())']
    with served(tmp_path/'log.txt', *start, 'app', '--port') as (address, _):
        visitor = Visitor(browser, address)
        visitor.choose(('robin.jpg', robin))
        assert visitor.phase() == 'answered'
        facts = [json.loads(path.read_text()) for path in folder.rglob('kernel-*.json')]
        assert facts and all(fact['transport'] == 'tcp' and fact['ip'] == '127.0.0.1' and any('curve' in name for name in fact) for fact in facts)
        visitor.leave()


@pytest.mark.parametrize('home', ['/proc/no/home', None], ids=['cannot be written', 'none'])
def test_without_a_home(browser, tmp_path, robin, home):
    kept = {name: value for name,value in os.environ.items() if name not in ('HOME', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME', 'TMPDIR')}
    named(browser, tmp_path/'log.txt', robin, BIRDCLF, 'app', '--port', env=kept | (dict(HOME=home) if home else {}))


def test_somebody_whom_the_machine_does_not_know(browser, tmp_path, robin):
    "As in many containers: a number without a name, and without a home"
    kept = {name: value for name,value in os.environ.items() if name not in ('HOME', 'USER', 'LOGNAME', 'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME')}
    start = [sys.executable, '-c', 'import pwd, sys\ndef unknown(number): raise KeyError(number)\npwd.getpwuid = unknown\nfrom birdclf.cli import main\nsys.exit(main())']
    named(browser, tmp_path/'log.txt', robin, *start, 'app', '--port', env=kept)


def test_a_start_up_script_for_those_who_type(browser, tmp_path, robin):
    (tmp_path/'first.py').write_text('raise SystemExit')
    named(browser, tmp_path/'log.txt', robin, BIRDCLF, 'app', '--port', env=os.environ | dict(PYTHONSTARTUP=str(tmp_path/'first.py')))


def test_nothing_is_written_into_a_home(browser, tmp_path, robin):
    "And nothing is taken from there: neither a start-up script nor another Python of the same name"
    home = tmp_path/'home'
    for name,text in (('.ipython/profile_default/startup/first.py', 'raise SystemExit'), ('.jupyter/voila.json', '{"Voila": {"port": 1}}'),
                      ('.local/share/jupyter/kernels/python3/kernel.json', json.dumps(dict(argv=['/bin/false', '{connection_file}'], language='python', display_name='x')))):
        (home/name).parent.mkdir(parents=True)
        (home/name).write_text(text)
    before = sorted(home.rglob('*'))
    named(browser, tmp_path/'log.txt', robin, BIRDCLF, 'app', '--port', env=os.environ | dict(HOME=str(home)))
    assert [path for path in home.rglob('*') if path not in before and '.cache' not in path.parts] == []


@pytest.fixture(scope='module')
def installed(root, tmp_path_factory):
    "The package without the project around it, in a folder with a name"
    project, place = tmp_path_factory.mktemp('project'), tmp_path_factory.mktemp('installed')/'Vögel am See'
    for name in ('birdclf', 'setup.py', 'settings.ini', 'pyproject.toml', 'README.md', 'LICENSE'):
        if (root/name).is_dir(): shutil.copytree(root/name, project/name, ignore=shutil.ignore_patterns('__pycache__'))
        elif (root/name).exists(): shutil.copy(root/name, project)
    subprocess.run([sys.executable, '-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', '--no-build-isolation', '--no-index',
                    '--target', place, project], check=True)
    shutil.rmtree(project)
    return place


@pytest.mark.parametrize('kind', KINDS)
def test_installed_without_the_project(browser, installed, data, tmp_path, robin, kind):
    start = [sys.executable, '-c', 'import sys; from birdclf.cli import main; sys.exit(main())']
    arguments = ['app'] if kind == 'app' else [str(word) for word in command(data)[1:-1]]
    options = dict(env=os.environ | dict(PYTHONPATH=str(installed)), cwd=tmp_path)
    shown = subprocess.run([sys.executable, '-c', 'import birdclf; print(birdclf.__file__)'], capture_output=True, text=True, encoding='utf-8', **options).stdout
    assert str(installed) in shown
    if kind == 'app': return named(browser, tmp_path/'log.txt', robin, *start, *arguments, '--port', **options)
    with served(tmp_path/'log.txt', *start, *arguments, '--port', **options) as (address, _): Cleaner(browser, address).context.close()


# --- what cannot work

def refused(*command, **options):
    "What is said before the first visitor comes"
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, encoding='utf-8', timeout=PATIENCE, **options)
    assert done.returncode and done.stdout == '' and done.stderr.count('\n') == 1 and 'Traceback' not in done.stderr, done.stderr
    return done.stderr


def broken(change): return [sys.executable, '-c', f'import sys\n{change}\nfrom birdclf.cli import main\nsys.exit(main())', 'app']


def test_nowhere_to_write():
    said = refused(*broken("import tempfile\ntempfile._candidate_tempdir_list = lambda: ['/proc/nowhere']"))
    assert 'TMPDIR' in said


def test_a_machine_that_does_not_know_itself():
    "As with an empty /etc/hosts"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    said = refused(*broken("import socket\nknown = socket.getaddrinfo\ndef asked(host, *more, **named):\n"
                           "    if host == 'localhost': raise socket.gaierror(-2, 'Name or service not known')\n"
                           "    return known(host, *more, **named)\nsocket.getaddrinfo = asked"), '--port', port)
    assert 'Name or service not known' in said and 'localhost' in said


def test_a_python_that_cannot_run():
    assert 'does not start' in refused(*broken("sys.executable = '/bin/false'"))


@pytest.mark.skipif(os.name == 'nt', reason='there, nobody can remove a folder that is in use')
@pytest.mark.parametrize('verb', [['app'], ['import', 'photographs']], ids=lambda verb: verb[0])
def test_a_folder_that_is_gone(tmp_path, verb):
    (tmp_path/'gone').mkdir()
    start = 'import os, sys; os.rmdir("../gone"); os.execv(sys.argv[1], sys.argv[1:])'
    assert 'The folder in which this was started is gone' in refused(sys.executable, '-c', start, BIRDCLF, *verb, cwd=tmp_path/'gone')


def test_a_library_that_is_broken(tmp_path):
    "As after half an update: what the page needs is there, and cannot be imported"
    (tmp_path/'onnxruntime.py').write_text('raise ImportError("libstdc++ is too old")')
    said = refused(BIRDCLF, 'app', env=os.environ | dict(PYTHONPATH=str(tmp_path)))
    assert 'libstdc++ is too old' in said


# --- how it ends

@pytest.mark.skipif(os.name == 'nt', reason='needs signals')
@pytest.mark.parametrize('when', ['tried out', 'served'])
@pytest.mark.parametrize('ending', ['SIGTERM', 'SIGHUP', 'SIGINT'])
def test_it_leaves_nothing(tmp_path, when, ending):
    "Asked to end, or the terminal is closed, also before there is a page"
    log = tmp_path/'log.txt'
    start = 'import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])'
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    with open(log, 'wb') as output:
        process = psutil.Popen([sys.executable, '-c', start, BIRDCLF, 'app', '--port', str(port)], stdout=output, stderr=output)
    try:
        until(lambda: pythons(process) if when == 'tried out' else b'http://' in log.read_bytes(), 'begun')
        if when == 'served': send(f'http://localhost:{port}/', f'Host: localhost:{port}')
        family = pythons(process)
        told = Path(next(word for word in family[0].cmdline() if 'birdclf-' in word)) # The file that tells a visitor's Python its sockets
        assert told.exists()
        process.send_signal(getattr(signal, ending))
        assert process.wait(PATIENCE) == (130 if (when, ending) == ('tried out', 'SIGINT') else 0)
        assert not psutil.wait_procs(family, timeout=PATIENCE)[1] and not told.parent.exists() and 'Traceback' not in log.read_text(encoding='utf-8')
    finally:
        for p in [*process.children(recursive=True), process] if process.is_running() else []: p.kill()


@pytest.mark.skipif(os.name == 'nt', reason='needs signals')
def test_it_ends_while_a_python_is_starting(tmp_path):
    "One that takes longer to start than the server takes to end: no traceback, and nothing stays"
    slow = """import asyncio, sys
from jupyter_client.manager import AsyncKernelManager
begin = AsyncKernelManager._async_start_kernel
async def slowly(self, **more):
    await asyncio.sleep(30)
    return await begin(self, **more)
AsyncKernelManager.start_kernel = slowly
from birdclf.cli import main
sys.exit(main())"""
    log = tmp_path/'log.txt'
    with served(log, sys.executable, '-c', slow, 'app', '--port') as (address, process):
        send(address, f'Host: {address[7:-1]}', path='/nowhere')
        family = process.children(recursive=True)
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert not psutil.wait_procs(family, timeout=PATIENCE)[1]
    assert [line for line in log.read_text(encoding='utf-8').splitlines() if 'The page is at' not in line] == []


@pytest.mark.skipif(os.name == 'nt', reason='needs signals')
def test_what_is_under_way_is_finished(tmp_path, robin):
    "Everybody whose photograph has arrived gets an answer, and then it ends, within ten seconds"
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--port') as (address, process):
        photo = file_of(noisy(2000, 1500))
        with ThreadPoolExecutor(8) as pool:
            worker, = [child for child in psutil.Process(process.pid).children(recursive=True) if 'birdclf.worker' in ' '.join(child.cmdline())]
            worker.suspend() # Or a fast one is done before the last has arrived
            answers = [pool.submit(headers_and_body, address, photo) for _ in range(8)]
            until(lambda: json.loads(headers_of(address, '/api/health')[1])['queue']['waiting'] == 8, 'arrived')
            process.terminate()
            began = time.monotonic()
            worker.resume()
            assert [answer.result().status for answer in answers] == [200]*8
            assert process.wait(PATIENCE) == 0
            print(f'{time.monotonic()-began:.1f} s from the signal to the end')
        with pytest.raises(OSError): headers_of(address, '/api/health')


def headers_and_body(address, photo):
    connection = HTTPConnection(address[7:-1], timeout=PATIENCE)
    connection.request('POST', '/api/classify', photo)
    answer = connection.getresponse()
    answer.read()
    return answer


# --- what is written down

@pytest.mark.parametrize('kind', ['text', 'json'])
def test_a_line_for_each_photograph(tmp_path, robin, kind):
    "When, what, how long; not who, not what it was called, and nothing of what was in it"
    log = tmp_path/'log.txt'
    with served(log, BIRDCLF, 'app', '--log-format', kind, '--port') as (address, _):
        assert headers_and_body(address, robin).status == 200
        headers_of(address, '/secret-garden?name=secret')
        send(address, 'Host: secret.example')
        until(lambda: 'refused' in log.read_text(encoding='utf-8'), 'noted') # Which comes after the answer
        lines = [line for line in log.read_text(encoding='utf-8').splitlines() if 'The page is at' not in line]
    assert 'secret' not in ' '.join(lines) and '127.0.0.1' not in ' '.join(lines)
    if kind == 'text': assert any(re.fullmatch(rf'[-\d]+ [:\d]+  classify  status 200  seconds [.\d]+  bytes {len(robin)}', line) for line in lines)
    else:
        said = [json.loads(line) for line in lines]
        assert [(line['what'], line['status']) for line in said] == [('classify', 200), ('refused', 403)]


# --- another model

@pytest.fixture
def bundle(root, tmp_path):
    shutil.copytree(root/'birdclf'/'bundle', tmp_path/'bundle')
    return tmp_path/'bundle'


def renamed(bundle, name):
    "The same model, which has another name for its first bird"
    path = bundle/'bundle.json'
    made = json.loads(path.read_text(encoding='utf-8'))
    old = made['species'][0]['german']
    path.write_text(path.read_text(encoding='utf-8').replace(json.dumps(old, ensure_ascii=False), json.dumps(name)), encoding='utf-8')
    return bundle


@pytest.mark.parametrize('way', ['option', 'variable', 'both'])
def test_another_model(browser, bundle, tmp_path, way):
    renamed(bundle, 'Wolpertinger')
    options = ['--bundle', bundle.name] if way != 'variable' else []
    env = os.environ | {'option': {}, 'variable': dict(BIRDCLF_BUNDLE=str(bundle)), 'both': dict(BIRDCLF_BUNDLE='/nowhere')}[way]
    with served(tmp_path/'log.txt', BIRDCLF, 'app', *options, '--port', env=env, cwd=tmp_path) as (address, _):
        visitor = Visitor(browser, address, locale='de-AT')
        visitor.page.click('.bc-known summary')
        assert 'Wolpertinger' in visitor.page.locator('.bc-birds li').all_inner_texts()
        visitor.leave()


@pytest.mark.parametrize('way', ['option', 'variable'])
def test_a_broken_model_is_refused(bundle, way):
    with open(bundle/'model.onnx', 'ab') as file: file.write(b'!')
    options, more = (['--bundle', bundle], {}) if way == 'option' else ([], dict(BIRDCLF_BUNDLE=str(bundle)))
    assert 'model.onnx' in refused(BIRDCLF, 'app', *options, env=os.environ | more)
    assert 'nowhere' in refused(BIRDCLF, 'app', '--bundle', 'nowhere')

"The page behind real proxies, as `deploy/` sets them up: below a path, with and without WebSockets, compressed, with their limits, and in two processes"
import gzip
import json
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from proxies import DEPLOY, NAME, caddy, free_port, mapped, nginx, site, tool
from test_page import Visitor, browser, robin, served  # noqa: F401 (fixtures)
from test_serving import until

from birdclf.photo import MAX_BYTES
from birdclf.testing import PATIENCE

BIRDCLF = Path(sys.executable).with_name('birdclf')
START = BIRDCLF, 'app', '--allow-host', NAME, '--behind-proxy'


class Guest(Visitor):
    "Somebody who comes by the name of the proxy"
    def strange(self, url):
        if not re.match(rf'(https?|wss?)://{NAME}:|data:|blob:', url): self.problems.append(url)


def port_of(address): return urlsplit(address).port


def ask(address, path='/', method='GET', body=None, **headers):
    "A request to a proxy by its name: status, headers and body"
    there = HTTPConnection('127.0.0.1', port_of(address), timeout=PATIENCE)
    there.request(method, path, body, {'Host': urlsplit(address).netloc} | {name.replace('_', '-'): value for name, value in headers.items()})
    answer = there.getresponse()
    said = answer.status, answer.headers, answer.read()
    there.close()
    return said


@pytest.fixture(scope='module')
def page(tmp_path_factory):
    "A page at the root of its proxy: its port and process"
    with served(tmp_path_factory.mktemp('page')/'log.txt', *START, '--port') as (address, process): yield port_of(address), process


@pytest.fixture(scope='module')
def front(page, tmp_path_factory):
    with nginx(tmp_path_factory.mktemp('nginx'), site(page[0])) as (address, _): yield address


def health(port, base=''): return json.loads(ask(f'http://localhost:{port}/', f'{base}/api/health')[2])


def visitors(port): return health(port)['visitors']


def named(visitor, robin):
    visitor.choose(('robin.jpg', robin))
    assert visitor.phase() == 'answered'


# --- a visit

def test_behind_nginx(browser, front, page, robin):
    before = visitors(page[0])
    visitor = Guest(browser, front)
    assert visitors(page[0]) == before+1
    named(visitor, robin)
    visitor.leave()


def test_below_a_path_and_in_another_language(browser, tmp_path, robin):
    with served(tmp_path/'log.txt', *START, '--base-url', 'birds', '--language', 'de', '--port') as (inside, _):
        with nginx(tmp_path/'nginx', site(port_of(inside), base='/birds/')) as (address, _):
            visitor = Guest(browser, f'{address}birds') # As somebody types it
            assert visitor.page.url == f'{address}birds/' and visitor.page.inner_text('h1') == 'Welcher Vogel ist das?'
            named(visitor, robin)
            assert health(port_of(inside), '/birds')['visitors'] == 1
            visitor.leave()
            assert ask(address, '/voila/static/voila.js')[0] == 404 and ask(address, '/birds/voila/static/voila.js')[0] == 200
        assert ask(inside, '/birds', Host='localhost')[0] == 302 and ask(inside, '/', Host='localhost')[0] == 404


def test_without_websockets(browser, page, tmp_path):
    "A proxy that nobody told of them: the page says so"
    plain = re.sub(r'\n.*(proxy_http_version|Upgrade|birdclf_connection;).*', '', site(page[0]))
    with nginx(tmp_path/'nginx', plain) as (address, _):
        guest = browser.new_page()
        guest.goto(address)
        guest.wait_for_selector('#line[data-said=blocked]', state='visible', timeout=1000*PATIENCE)
        assert 'WebSocket' in guest.inner_text('#line')
        guest.close()


def test_a_visitor_who_only_looks_for_longer_than_a_proxy_waits(browser, front, page, robin):
    "nginx hangs up when nothing has come for 60 seconds; something does"
    waits = [int(n) for n in re.findall(r'(?:proxy_read|proxy_send|client_body|send)_timeout\s+(\d+)', site(1))]
    assert not waits, 'the limits are those that nginx has'
    visitor = Guest(browser, front)
    before = visitors(page[0])
    visitor.page.wait_for_timeout(70_000)
    assert visitors(page[0]) == before and not visitor.page.is_visible('#line')
    named(visitor, robin)
    visitor.leave()


def test_behind_caddy(browser, page, tmp_path, robin):
    with caddy(tmp_path/'caddy', page[0]) as (address, _):
        visitor = Guest(browser, address)
        named(visitor, robin)
        visitor.leave()


# --- what passes

def test_it_is_compressed_once(front, page):
    "Debian's nginx would compress as well"
    path = '/voila/static/voila.js'
    status, headers, packed = ask(front, path, Accept_Encoding='gzip')
    assert status == 200 and headers.get_all('Content-Encoding') == ['gzip']
    plain = ask(front, path, Accept_Encoding='identity')[2]
    assert gzip.decompress(packed) == plain and len(packed) < len(plain)/2


def test_forged_names_are_refused_behind_a_proxy_too(front):
    assert ask(front, '/voila/static/voila.js')[0] == 200
    assert ask(front, '/voila/static/voila.js', Host='evil.example')[0] == 403
    assert ask(front, '/voila/static/voila.js', Origin='https://evil.example')[0] == 403


class Echo(BaseHTTPRequestHandler):
    "Says what arrives"
    protocol_version = 'HTTP/1.1'
    def log_message(self, *_): pass
    def do_POST(self):
        size = int(self.headers.get('Content-Length', 0))
        while size: size -= len(self.rfile.read(min(size, 2**16)))
        self.do_GET()
    def do_GET(self):
        said = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(said)))
        self.end_headers()
        self.wfile.write(said)


@pytest.fixture(scope='module')
def echo():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def proxies(echo, folder):
    "Either proxy in front of a server that says what arrives"
    return {'nginx': lambda: nginx(folder/'nginx', site(echo)), 'caddy': lambda: caddy(folder/'caddy', echo)}


FORGED = dict(X_Real_IP='203.0.113.7', X_Forwarded_For='203.0.113.7', X_Forwarded_Proto='https', X_Scheme='https')


@pytest.mark.parametrize('proxy', ['nginx', 'caddy'])
@pytest.mark.parametrize('path', ['/', '/api/classify'])
def test_what_a_visitor_claims_goes_no_further(echo, tmp_path, proxy, path):
    "Who is asking is said by the proxy alone, in every spelling that a server may believe"
    with proxies(echo, tmp_path)[proxy]() as (address, _):
        arrived = json.loads(ask(address, path, **FORGED)[2])
    told = {name: [value for other, value in arrived if other == name] for name, _ in arrived}
    assert told['x-real-ip'] == told['x-forwarded-for'] == ['127.0.0.1'] and told['x-scheme'] == told['x-forwarded-proto'] == ['http']
    assert told['host'] == [urlsplit(address).netloc]


@pytest.mark.parametrize('proxy', ['nginx', 'caddy'])
def test_the_largest_photograph_passes_and_a_larger_one_does_not(echo, tmp_path, proxy):
    with proxies(echo, tmp_path)[proxy]() as (address, _):
        assert ask(address, '/api/classify', 'POST', bytes(MAX_BYTES))[0] == 200
        assert told_of(address, MAX_BYTES+2**20+1, proxy) in {'nginx': (413,), 'caddy': (413, 502)}[proxy] # Caddy 2.6 notices on the way


def told_of(address, size, proxy):
    "The status for a body of so many bytes, of which nginx need not see one"
    with socket.create_connection(('127.0.0.1', port_of(address)), timeout=PATIENCE) as s:
        s.sendall(f'POST /api/classify HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n'.encode())
        try:
            if proxy == 'caddy': s.sendall(bytes(size))
            return int(s.recv(65536).split()[1])
        except ConnectionError: return 413 # It has hung up on the rest


def test_the_limit_is_that_of_the_program():
    "The largest photograph and a megabyte, as its own server allows"
    for path, pattern in (('nginx/birdclf.conf', r'client_max_body_size (\d+)m;'), ('caddy/Caddyfile', r'max_size (\d+)MiB')):
        assert [int(n)*2**20 for n in re.findall(pattern, (DEPLOY/path).read_text(encoding='utf-8'))] == [MAX_BYTES+2**20]


def spooled(echo, folder, changes):
    "How many files nginx has open in `folder`, when half of a photograph has arrived"
    with nginx(folder, mapped(site(echo), changes)) as (address, process), socket.create_connection(('127.0.0.1', port_of(address)), timeout=PATIENCE) as s:
        s.sendall(f'POST /api/classify HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\nContent-Length: {2**21}\r\nConnection: close\r\n\r\n'.encode())
        s.sendall(bytes(2**20))
        until(process.children, 'nginx has its worker')
        worker, = process.children()
        end = time.monotonic()+(PATIENCE if changes else 2)
        while not (found := [one for one in Path(f'/proc/{worker.pid}/fd').iterdir() if str(folder/'client_body') in str(one.readlink())]) and time.monotonic() < end: time.sleep(.05)
        s.sendall(bytes(2**20))
        assert s.recv(65536).startswith(b'HTTP/1.1 200')
    return len(found)


def test_no_photograph_is_written_to_the_proxys_disk(echo, tmp_path):
    tool('nginx')
    assert spooled(echo, tmp_path/'a', {}) == 0
    assert spooled(echo, tmp_path/'b', {'proxy_request_buffering off;': ''}) == 1, 'then the test could not fail'


def test_both_files_are_sound(tmp_path):
    "As their own programs judge them, with the names and ports that they have"
    text = (DEPLOY/'caddy'/'Caddyfile').read_text(encoding='utf-8')
    for command in (['validate', '--config', str(DEPLOY/'caddy'/'Caddyfile'), '--adapter', 'caddyfile'], ['fmt', str(DEPLOY/'caddy'/'Caddyfile')]):
        done = subprocess.run([tool('caddy'), *command], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert done.stdout == text
    with nginx(tmp_path/'nginx', site(free_port(), free_port())): pass


# --- photographs

def photo_of(robin): return dict(path='/api/classify?box=0.1,0.1,0.9,0.9', method='POST', body=robin)


def test_a_photograph_passes_and_so_does_what_is_said_of_it(front, page, robin):
    "More than the megabyte that nginx lets in by itself"
    large = robin+bytes(2**21) # Behind its end a JPEG may have anything
    status, _, said = ask(front, '/api/classify', 'POST', large, Origin=front[:-1])
    assert status == 200 and json.loads(said)['verdict'] == json.loads(ask(f'http://localhost:{page[0]}/', '/api/classify', 'POST', robin)[2])['verdict']
    assert ask(front, '/api/classify', 'POST', robin, Origin='https://evil.example')[0] == 403
    status, _, said = ask(front, '/api/classify', 'POST', b'Dear bird,')
    assert status == 415 and {'error', 'fehler'} & set(json.loads(said)) or json.loads(said)['verdict'] == 'unreadable'


def test_a_photograph_that_takes_longer_than_a_proxy_waits(front, robin):
    "On a line on which half a megabyte takes 66 seconds"
    body = robin+bytes(2**19-len(robin))
    with socket.create_connection(('127.0.0.1', port_of(front)), timeout=PATIENCE) as s:
        s.sendall(f'POST /api/classify HTTP/1.1\r\nHost: {urlsplit(front).netloc}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n'.encode())
        for at in range(0, len(body), 8000):
            s.sendall(body[at:at+8000])
            time.sleep(1)
        said = b''
        while more := s.recv(65536): said += more
    assert said.startswith(b'HTTP/1.1 200 ') and b'"verdict"' in said


def test_whoever_asks_too_often_is_told_so_whatever_he_claims(tmp_path, robin):
    "The proxy's word counts; and without --behind-proxy nobody's"
    with served(tmp_path/'log.txt', *START, '--rate', '3', '--port') as (inside, _), nginx(tmp_path/'nginx', site(port_of(inside))) as (address, _):
        said = [ask(address, '/api/classify', 'POST', robin, X_Forwarded_For=f'203.0.113.{n}', X_Real_IP=f'203.0.113.{n}') for n in range(6)]
        assert [status for status, _, _ in said].count(429) >= 2 and said[0][0] == 200
        assert int(next(headers['Retry-After'] for status, headers, _ in said if status == 429)) > 0


def test_the_one_too_many_is_told_to_come_again(tmp_path):
    "Five at once, where there is room for two; and again when one has left"
    with served(tmp_path/'log.txt', *START, '--max-visitors', '2', '--port') as (inside, _), nginx(tmp_path/'nginx', site(port_of(inside))) as (address, _):
        with ThreadPoolExecutor(5) as pool: said = list(pool.map(lambda _: ask(address), range(5)))
        assert sorted(status for status, _, _ in said) == [200, 200, 503, 503, 503] and visitors(port_of(inside)) == 2
        _, headers, text = next(one for one in said if one[0] == 503)
        assert int(headers['Retry-After']) > 0 and 'alle Plätze besetzt' in text.decode() and 'All places are taken' in text.decode() and 'Traceback' not in text.decode()
        assert ask(address, '/api/health')[0] == ask(address, '/voila/static/voila.js')[0] == 200
        kernel = re.search(r'"kernelId": *"([^"]+)"', next(text for status, _, text in said if status == 200).decode())[1]
        assert ask(address, f'/voila/api/shutdown/{kernel}', 'POST')[0] == 204
        until(lambda: ask(address)[0] == 200, 'room again')


# --- two processes that share nothing

@pytest.fixture(scope='module')
def pair(page, tmp_path_factory):
    "Two processes behind one nginx: its address and their ports"
    folder = tmp_path_factory.mktemp('pair')
    with served(folder/'log.txt', *START, '--port') as (other, _), nginx(folder/'nginx', site(page[0], port_of(other))) as (address, _):
        yield address, (page[0], port_of(other))


def test_any_of_them_answers_a_frame(pair, robin):
    "All that it takes comes along: both say the same"
    address, ports = pair
    before = [health(port)['answered'] for port in ports]
    said = {ask(address, **photo_of(robin))[2] for _ in range(6)}
    assert len(said) == 1 and json.loads(said.pop())['box'] == [.1, .1, .9, .9]
    assert sorted(health(port)['answered']-n for port, n in zip(ports, before)) == [3, 3]


def test_a_page_of_one_asks_whichever_has_time(browser, pair, robin):
    address, ports = pair
    until(lambda: not any(map(visitors, ports)), 'gone')
    before, visitor = [health(port)['answered'] for port in ports], Guest(browser, address)
    assert sorted(map(visitors, ports)) == [0, 1]
    home = [visitors(port) for port in ports].index(1)
    visitor.page.reload()
    visitor.page.wait_for_selector('.bc-page', timeout=1000*PATIENCE)
    for _ in range(4): named(visitor, robin)
    assert visitors(ports[1-home]) == 0 and all(health(port)['answered'] > n for port, n in zip(ports, before))
    visitor.leave()


def test_one_that_ends_costs_nobody_else_a_visit(browser, page, tmp_path, robin):
    "Whoever was there reloads, and is in the other one"
    with served(tmp_path/'log.txt', *START, '--port') as (other, _):
        gone = free_port() # Nobody is there any more
        for ports in ((gone, port_of(other)), (port_of(other), gone)):
            with nginx(tmp_path/f'nginx{ports[0]}', site(*ports)) as (address, _):
                visitor = Guest(browser, address)
                named(visitor, robin)
                visitor.context.close()
                assert [ask(address, **photo_of(robin))[0] for _ in range(4)] == [200]*4

"Real proxies in front of a page, with the files of `deploy/`; only ports, paths and the name of the page are others"
import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from birdclf.testing import PATIENCE

DEPLOY = Path(__file__).resolve().parents[1]/'deploy'
NAME = 'birds.localhost' # Whatever ends so is this machine, for Chromium as well


def mapped(text, changes):
    "`text` with other words; each of those that are changed must be in it"
    for old, new in changes.items():
        assert old in text, f'{old!r} is not in it any more'
        text = text.replace(old, new)
    return text


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def tool(name):
    "A program that Debian has; tests that need it are skipped where it is missing"
    found = shutil.which(name) or shutil.which(name, path='/usr/sbin:/sbin')
    if not found: pytest.skip(f'needs {name}, and there is none on this machine (apt install {name})')
    return found


@contextmanager
def running(log, port, *command, **options):
    "A proxy, from when it listens until this ends"
    with open(log, 'ab') as output: process = psutil.Popen(command, stdout=output, stderr=output, **options)
    try:
        until = time.monotonic()+PATIENCE
        while True:
            if process.poll() is not None or time.monotonic() > until: pytest.fail(log.read_text(encoding='utf-8', errors='replace'))
            try: socket.create_connection(('127.0.0.1', port), timeout=PATIENCE).close()
            except OSError: time.sleep(.05)
            else: break
        yield process
    finally:
        family = [process, *process.children(recursive=True)] if process.is_running() else []
        if family: process.terminate()
        for p in psutil.wait_procs(family, timeout=PATIENCE)[1]: p.kill()


@contextmanager
def nginx(folder, site, name=NAME):
    "Debian's nginx with its own nginx.conf and this site, `LISTEN` in which is a port; its address and process"
    program, port = tool('nginx'), free_port()
    folder.mkdir(exist_ok=True)
    (folder/'site.conf').write_text(site.replace('LISTEN', f'127.0.0.1:{port}'), encoding='utf-8')
    spools = ''.join(f'{kind}_temp_path {folder}/{kind};\n' for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
    main = mapped(Path('/etc/nginx/nginx.conf').read_text(encoding='utf-8'), {
        'user www-data;': 'user root;' if os.getuid() == 0 else '', # Others may not enter a folder of the tests
        'worker_processes auto;': 'worker_processes 1;', 'pid /run/nginx.pid;': f'pid {folder}/pid;\ndaemon off;',
        '/etc/nginx/sites-enabled/*;': f'{folder}/site.conf;\n{spools}', '/etc/nginx/conf.d/*.conf': f'{folder}/*.none'})
    main = re.sub(r'/var/log/nginx/(\w+)\.log', rf'{folder}/\1.log', main)
    (folder/'nginx.conf').write_text(main, encoding='utf-8')
    command = [program, '-c', str(folder/'nginx.conf'), '-e', str(folder/'error.log')]
    checked = subprocess.run([*command, '-t'], capture_output=True, text=True)
    assert checked.returncode == 0 and '[warn]' not in checked.stderr.replace('the "user" directive makes sense', ''), checked.stderr
    with running(folder/'log.txt', port, *command) as process: yield f'http://{name}:{port}/', process


def site(*ports, base='/', name=NAME):
    "deploy/nginx/birdclf.conf in front of the processes on `ports`"
    changes = {'birds.example.org': name, 'listen 80;': 'listen LISTEN;', 'listen [::]:80;': ''}
    if len(ports) > 1: changes |= {'# server 127.0.0.1:8867;': f'server 127.0.0.1:{ports[1]};'}
    if base != '/': changes |= {'location / {': f'location {base} {{', 'location = /api/': f'location = {base}api/'}
    return mapped((DEPLOY/'nginx'/'birdclf.conf').read_text(encoding='utf-8'), changes | {'server 127.0.0.1:8866;': f'server 127.0.0.1:{ports[0]};'})


@contextmanager
def caddy(folder, port):
    "Caddy with deploy/caddy/Caddyfile, without certificates; its address and process"
    program, own = tool('caddy'), free_port()
    folder.mkdir(exist_ok=True)
    text = mapped((DEPLOY/'caddy'/'Caddyfile').read_text(encoding='utf-8'),
                  {'birds.example.org {': f'http://{NAME}:{own} {{', '127.0.0.1:8866 {': f'127.0.0.1:{port} {{'})
    (folder/'Caddyfile').write_text('{\n\tadmin off\n\tauto_https off\n}\n'+text, encoding='utf-8')
    with running(folder/'log.txt', own, program, 'run', '--config', str(folder/'Caddyfile'), '--adapter', 'caddyfile',
                 env=os.environ | dict(HOME=str(folder), XDG_DATA_HOME=str(folder), XDG_CONFIG_HOME=str(folder))) as process:
        yield f'http://{NAME}:{own}/', process

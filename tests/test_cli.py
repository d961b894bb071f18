"The `birdclf` command: `command` is a process, as a shell meets it; `birdclf` is the same function, called in this one"
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import pytest

from birdclf import __file__ as package, __version__
from birdclf.cli import main
from birdclf.command import bar, real_name, visible
from birdclf.manifest import Manifest, Row
from birdclf.testing import PATIENCE, paint_bird, paint_folder

COMMAND = Path(sys.executable).with_name('birdclf')
KEYS = ['file', 'verdict', 'species', 'probability', 'candidates', 'scores', 'box', 'reason', 'tips', 'birds']


def command(*arguments, cwd=None, env=None, **options):
    "Exit status, stdout and stderr of a whole process"
    done = subprocess.run([COMMAND, *arguments], capture_output=True, cwd=cwd, env=os.environ | (env or {}), timeout=PATIENCE, **options)
    return done.returncode, done.stdout.decode('utf-8'), done.stderr.decode('utf-8')


@pytest.fixture
def birdclf(capsys, monkeypatch):
    "Exit status, stdout and stderr of a call in this process"
    def call(*arguments, cwd=None):
        capsys.readouterr()
        with monkeypatch.context() as here:
            if cwd: here.chdir(cwd)
            try: status = main([str(argument) for argument in arguments])
            except SystemExit as e: status = e.code
        return status, *capsys.readouterr()
    return call


def lines(text): return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for name in ('Amsel', 'Pirol'): paint_bird(name).save(folder/f'{name}.jpg')
    (folder/'notes.jpg').write_text('not a photo', encoding='utf-8')
    return folder


# JSON

def test_json(photos):
    status, out, err = command('classify', '--json', 'Amsel.jpg', 'notes.jpg', './Pirol.jpg', 'none.jpg', cwd=photos)
    found = lines(out)
    assert (status, err) == (1, '')
    assert [list(answer) for answer in found] == [KEYS]*4
    assert [answer['file'] for answer in found] == ['Amsel.jpg', 'notes.jpg', './Pirol.jpg', 'none.jpg']
    for answer in (found[1], found[3]):
        assert answer['verdict'] == 'unreadable' and answer['reason']
        assert (answer['species'], answer['probability'], answer['candidates'], answer['scores']) == (None, None, [], None)
    for answer in (found[0], found[2]):
        assert list(answer['scores']) == ['bird', 'known'] and answer['candidates']
        assert all(list(c) == ['german', 'english', 'scientific', 'probability'] for c in answer['candidates'])


def test_exit_status_0_when_all_could_be_read(birdclf, photos):
    assert birdclf('classify', '--json', 'Amsel.jpg', cwd=photos)[0] == 0
    assert birdclf('classify', 'Amsel.jpg', cwd=photos)[0] == 0


@pytest.mark.parametrize('top', [1, 5, 74, 100000])
def test_top(birdclf, photos, top):
    status, out, _ = birdclf('classify', '--json', '--top', str(top), 'Amsel.jpg', cwd=photos)
    candidates = lines(out)[0]['candidates']
    assert status == 0 and len(candidates) >= min(top, 74)
    assert [c['probability'] for c in candidates] == sorted((c['probability'] for c in candidates), reverse=True)


def test_german(birdclf, photos):
    english, german = (lines(birdclf('classify', '--json', '--language', language, 'Amsel.jpg', 'none.jpg', cwd=photos)[1]) for language in ('en', 'de'))
    assert 'Diese Datei gibt es nicht' in german[1]['reason'] and 'no such file' in english[1]['reason']
    words = {'reason', 'tips'}
    assert {k: v for k, v in english[0].items() if k not in words} == {k: v for k, v in german[0].items() if k not in words}


NAMES = [b'Gr\xc3\xbcnspecht \xe2\x99\x82 \xf0\x9f\x90\xa6.jpg', b'-x.jpg', b'--json', b'broken \xff\xfe.jpg', b'two\nlines.jpg', b'\x1b[31mred\x1b[0m.jpg',
         '\u2028 \x85 \u202e.jpg'.encode(), b'"quoted\\".jpg', b' .jpg', b'%s{0}<b>.jpg']


@pytest.mark.parametrize('env', [{}, dict(LC_ALL='C'), dict(LC_ALL='POSIX', LANG=''), dict(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0'), dict(PYTHONIOENCODING='latin-1')])
def test_strange_names(photos, tmp_path, env):
    try:
        for name in NAMES: shutil.copy(photos/'Amsel.jpg', os.path.join(os.fsencode(tmp_path), name))
    except OSError as e: pytest.skip(f'this file system refuses some names: {e}')
    status, out, err = command('classify', '--json', '--', *NAMES, cwd=tmp_path, env=env)
    assert (status, err) == (0, '') and [os.fsencode(answer['file']) for answer in lines(out)] == NAMES
    status, out, err = command('classify', '--', *NAMES, cwd=tmp_path, env=env)
    assert (status, err) == (0, '') and not set(out) & set('\x1b\x85\u2028\u202e\r\x9b')
    assert 'two\nlines' not in out and 'two\\nlines' in out


def test_umlauts_are_written_as_they_are(photos, tmp_path):
    shutil.copy(photos/'Amsel.jpg', tmp_path/'Grünspecht.jpg')
    for env in ({}, dict(LC_ALL='C'), dict(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')):
        for options in ([], ['--json']): assert 'Grünspecht.jpg' in command('classify', *options, 'Grünspecht.jpg', cwd=tmp_path, env=env)[1]


def test_names_in_this_process():
    assert real_name('Amsel.jpg') == 'Amsel.jpg' and visible('a\tb\x00\U000e0001') == r'a\tb\u0000\udb40\udc01'
    assert json.loads(f'"{visible(chr(0xe0001))}"') == chr(0xe0001)


# For people

def test_human_output(birdclf, photos):
    status, out, err = birdclf('classify', 'Amsel.jpg', 'none.jpg', '--top', '3', cwd=photos)
    first, second = out.split('none.jpg')
    assert (status, err) == (1, '') and first.startswith('Amsel.jpg\n')
    assert first.count('█')+first.count('·')+sum(map(first.count, '▏▎▍▌▋▊▉')) == 60 and first.count(' %') >= 3
    assert 'no such file' in second and '█' not in second


def test_bars():
    assert [len(bar(p)) for p in (0, .001, .5, .999, 1)] == [20]*5
    assert (bar(0, 4), bar(1, 4), bar(.5, 4), bar(.375, 4)) == ('····', '████', '██··', '█▌··')


# Wrong use

@pytest.mark.parametrize('arguments, words', [
    (['classify'], 'FILE'), (['classify', '--json'], 'FILE'), (['classify', '--top', '0', 'x'], 'whole number from 1'), (['classify', '--top', '-3', 'x'], 'whole number'),
    (['classify', '--top', 'many', 'x'], 'whole number'), (['classify', '--top', '1.5', 'x'], 'whole number'), (['classify', '--top', '²', 'x'], 'whole number'),
    (['classify', '--language', 'fr', 'x'], 'language'), (['classify', '--js', 'x'], '--js'), (['classify', '--colour', 'x'], '--colour'),
    (['sing'], 'sing'), (['--sing'], '--sing'), (['classify', '--bundle', 'nowhere', 'x'], 'nowhere'), (['classify', '--bundle'], '--bundle'),
    (['app', '--host', 'birds.example.org'], 'not an address'), (['app', '--base-url', 'https://example.org/'], '/birds/'), (['app', '--max-visitors', '0'], 'whole number'),
    (['app', '--language', 'fr'], 'language'), (['app', '--log-format', 'xml'], 'json'), (['app', '--rate', 'fast'], 'whole number'), (['clean', '--host', '0.0.0.0'], '--host'),
    (['app', '--port', '0'], '65535'), (['app', '--port', '65536'], '65535'), (['app', '--port', 'http'], '65535'), (['train'], '--photos'), (['train', '--photos', '.', '--epochs', '-1'], 'whole number'),
    (['compare'], '--photos'), (['compare', '--photos', '.', '--backbones'], '--backbones')])
def test_wrong_use(birdclf, arguments, words, tmp_path):
    status, out, err = birdclf(*arguments, cwd=tmp_path)
    assert (status, out) == (2, '') and words in err and 'Traceback' not in err


def test_a_changed_bundle_is_wrong_use(birdclf, tmp_path, photos):
    shutil.copytree(Path(package).with_name('bundle'), tmp_path/'b')
    with open(tmp_path/'b'/'model.onnx', 'r+b') as file: file.seek(1000), file.write(b'!!!')
    status, out, err = birdclf('classify', '--json', '--bundle', tmp_path/'b', photos/'Amsel.jpg')
    assert (status, out) == (2, '') and 'copy the bundle again' in err and err.count('\n') == 1


def test_bundle_shows_the_card(birdclf, tmp_path):
    status, out, err = birdclf('bundle')
    assert (status, err) == (0, '') and out.startswith('The model that comes with birdclf is whole: 74 birds') and '\n## What it cannot do\n' in out
    shutil.copytree(Path(package).with_name('bundle'), tmp_path/'b')
    with open(tmp_path/'b'/'model.onnx', 'ab') as file: file.write(b'!')
    status, out, err = birdclf('bundle', tmp_path/'b')
    assert (status, out) == (2, '') and err.count('\n') == 1


# Options of a server, typed or in the environment

SERVER = dict(host='localhost', port=8866, allow_host=[], base_url='/', max_visitors=None, language=None, bundle=None, behind_proxy=False, rate=None, log_format='text')


@pytest.fixture
def asked(birdclf, monkeypatch):
    "What `birdclf app` understands, of what is typed and what is in the environment"
    def understand(*arguments, **variables):
        from birdclf.command import VERBS
        heard = {}
        with monkeypatch.context() as here:
            for name, value in variables.items(): here.setenv(f'BIRDCLF_{name}', value)
            here.setitem(VERBS, 'app', replace(VERBS['app'], run=lambda args: heard.update(vars(args)) or 0))
            status, _, err = birdclf('app', *arguments)
        return {name: heard[name] for name in SERVER} if status == 0 else err
    return understand


GIVEN = dict(host='0.0.0.0', port='80', allow_host='birds.example.org,Vögel.example', base_url='birds', max_visitors='5', language='de', bundle='runs/b', behind_proxy='yes', rate='9', log_format='json')
READ = SERVER | dict(host='0.0.0.0', port=80, allow_host=['birds.example.org', 'xn--vgel-5qa.example'], base_url='/birds/', max_visitors=5, language='de', bundle='runs/b', behind_proxy=True, rate=9, log_format='json')


def test_nothing_said_of_a_server(asked): assert asked() == asked(**{name.upper(): '' for name in SERVER}) == SERVER


def test_what_the_environment_says_is_read_as_if_it_were_typed(asked):
    typed = [word for name, value in GIVEN.items() for one in value.split(',') for word in ([f'--{name}'.replace('_', '-')] if one == 'yes' else [f'--{name}'.replace('_', '-'), one])]
    assert asked(*typed) == asked(**{name.upper(): value for name, value in GIVEN.items()}) == READ


def test_what_is_typed_counts_more(asked):
    assert asked('--port', '81', '--allow-host', 'a.example', PORT='80', ALLOW_HOST='b.example', HOST='::') == SERVER | dict(port=81, allow_host=['a.example'], host='::')


@pytest.mark.parametrize('name, value', [('PORT', '0'), ('PORT', '$PORT'), ('HOST', 'localhost:80'), ('BASE_URL', '/../'), ('BEHIND_PROXY', 'perhaps'), ('ALLOW_HOST', 'https://a.example'), ('LOG_FORMAT', '--json')])
def test_what_is_wrong_with_a_variable_is_said_of_the_variable(asked, birdclf, name, value):
    err = asked(**{name: value})
    assert err.startswith(f'birdclf: BIRDCLF_{name}') and repr(value.strip()) in err and err.count('\n') == 1 and '--host' not in err


def test_a_language_that_the_birds_do_not_have_is_said_of_who_named_it(birdclf, monkeypatch, tmp_path):
    "Before the page is served: of the option, or of the variable"
    for verb in (['app'], ['classify', 'x.jpg']):
        status, out, err = birdclf(*verb, '--language', 'fr', cwd=tmp_path)
        assert (status, out) == (2, '') and err.startswith("birdclf: --language: 'fr' is not a language of these birds. There are ") and err.count('\n') == 1
    monkeypatch.setenv('BIRDCLF_LANGUAGE', 'fr')
    status, out, err = birdclf('app', cwd=tmp_path)
    assert (status, out) == (2, '') and err.startswith("birdclf: BIRDCLF_LANGUAGE: 'fr' is not a language of these birds. There are ") and err.count('\n') == 1
    assert birdclf('app', '--language', 'sv', cwd=tmp_path)[2].startswith("birdclf: --language: 'sv'")


def test_a_variable_is_a_matter_of_its_verb_alone(birdclf, monkeypatch):
    monkeypatch.setenv('BIRDCLF_PORT', 'none')
    assert birdclf('bundle')[0] == 0 and birdclf('app', '--help')[0] == 0 and '[BIRDCLF_PORT]' in birdclf('app', '--help')[1]


# Help

def test_help(birdclf):
    for arguments in ([], ['--help']):
        status, out, err = birdclf(*arguments)
        assert (status, err) == (0, '') and all(verb in out for verb in ('classify', 'app', 'train', 'compare', 'bundle'))
    for verb in ('classify', 'app', 'train', 'compare', 'bundle'):
        status, out, err = birdclf(verb, '--help')
        assert (status, err) == (0, '') and f'\n  birdclf {verb}' in out.partition('examples:')[2]
    assert birdclf('--version') == (0, f'birdclf {__version__}\n', '')


def test_help_loads_nothing():
    code = "import sys\nfrom birdclf.cli import main\ntry: main(['classify', '--help'])\nexcept SystemExit: pass\nassert not {'numpy', 'PIL', 'onnxruntime', 'torch', 'birdclf.classify'} & set(sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True).returncode == 0


# Pipes, signals, and many files

def test_each_line_at_once(photos):
    "The first answer is there before the second photograph exists"
    with subprocess.Popen([COMMAND, 'classify', '--json', *['Amsel.jpg']*200], cwd=photos, stdout=subprocess.PIPE) as process:
        assert json.loads(process.stdout.readline())['file'] == 'Amsel.jpg'
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize('arguments', [['classify', '--json', *['Amsel.jpg']*200], ['classify', *['Amsel.jpg']*200], ['--help']])
def test_a_reader_that_leaves(photos, arguments):
    with subprocess.Popen([COMMAND, *arguments], cwd=photos, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline() if arguments[0] == 'classify' else None
        process.stdout.close()
        assert process.stderr.read() == b'' and process.wait(PATIENCE) in ((1,) if arguments[0] == 'classify' else (0, 1))


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_a_full_disk(photos):
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([COMMAND, 'classify', 'Amsel.jpg'], cwd=photos, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and done.stderr.decode().count('\n') == 1 and 'cannot be written' in done.stderr.decode()


def test_ctrl_c(photos):
    with subprocess.Popen([COMMAND, 'classify', '--json', *['Amsel.jpg']*2000], cwd=photos, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (130, b'')
        lines(out.decode())


def test_three_hundred_files(birdclf, photos):
    status, out, err = birdclf('classify', '--json', *['Amsel.jpg', 'notes.jpg', 'Pirol.jpg']*100, cwd=photos)
    assert (status, err, len(lines(out))) == (1, '', 300)


def test_in_this_process(photos, capsys, monkeypatch):
    monkeypatch.chdir(photos)
    assert main(['classify', '--json', 'Amsel.jpg']) == 0
    assert lines(capsys.readouterr().out)[0]['file'] == 'Amsel.jpg'


# The page

@pytest.fixture
def port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


@pytest.mark.parametrize('address', ['127.0.0.1', '::1'])
def test_a_port_that_is_taken(birdclf, address):
    with socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET) as s:
        try: s.bind((address, 0))
        except OSError as e: pytest.skip(f'no {address} here: {e}')
        s.listen()
        taken = s.getsockname()[1]
        status, out, err = birdclf('app', '--port', str(taken))
    assert (status, out) == (1, '') and f'Port {taken}' in err and f'--port {taken+1}' in err and err.count('\n') == 1


@pytest.mark.parametrize('ending', [signal.SIGTERM, signal.SIGINT])
def test_the_page_starts_answers_and_ends(root, port, ending):
    psutil = pytest.importorskip('psutil')
    pytest.importorskip('voila')
    with subprocess.Popen([COMMAND, 'app', '--port', str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            said = process.stdout.readline().decode('utf-8')
            assert f'http://localhost:{port}' in said
            def get(path):
                visitor = HTTPConnection('localhost', port, timeout=PATIENCE)
                visitor.request('GET', path)
                return visitor.getresponse()
            for path in ('/voila/files/app.ipynb', '/voila/files/01_photo.ipynb', '/voila/files/../pyproject.toml'): assert get(path).status in (403, 404)
            page = get('/')
            assert page.status == 200 and b'voila' in page.read().lower()
            family = psutil.Process(process.pid).children(recursive=True)
            assert family
            process.send_signal(ending)
            err = process.communicate(timeout=PATIENCE)[1].decode('utf-8')
            assert process.returncode == 0 and 'Traceback' not in err
            assert psutil.wait_procs(family, timeout=PATIENCE)[1] == []
        finally:
            if process.poll() is None: process.kill()
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(('127.0.0.1', port))


@pytest.mark.parametrize('way', ['closed before it begins', 'left by its reader'])
def test_a_page_without_anybody_to_read_its_address(port, way):
    "It is served all the same"
    pytest.importorskip('voila')
    closed = dict(preexec_fn=lambda: os.close(1)) if way.startswith('closed') else dict(stdout=subprocess.PIPE)
    with subprocess.Popen([COMMAND, 'app', '--port', str(port)], stderr=subprocess.PIPE, **closed) as process:
        try:
            if process.stdout: process.stdout.close()
            assert answers(port, process) in (403, 404)
            process.send_signal(signal.SIGTERM)
            err = process.communicate(timeout=PATIENCE)[1]
            assert (process.returncode, err) == (0, b'')
        finally:
            if process.poll() is None: process.kill()


def answers(port, process):
    "The status of a path with no page behind it, as soon as somebody answers"
    while process.poll() is None:
        visitor = HTTPConnection('localhost', port, timeout=PATIENCE)
        try:
            visitor.request('GET', '/voila/files/app.ipynb')
            return visitor.getresponse().status
        except OSError: time.sleep(.1)
        finally: visitor.close()
    raise AssertionError(process.stderr.read().decode('utf-8'))


@pytest.mark.parametrize('verb', ['app', 'clean'])
def test_a_python_without_docstrings_serves_no_page(tmp_path, verb):
    pytest.importorskip('voila')
    status, out, err = command(verb, cwd=tmp_path, env=dict(PYTHONOPTIMIZE='2'))
    assert (status, out) == (2, '') and 'docstrings' in err and err.count('\n') == 1
    assert command('classify', 'none.jpg', cwd=tmp_path, env=dict(PYTHONOPTIMIZE='2'))[0] == 1


def test_training_without_torch(tmp_path):
    code = ("import sys\nfrom importlib.machinery import PathFinder\nfind = PathFinder.find_spec\n"
            "PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name == 'torch' else find(name, *rest))\n"
            "from birdclf.cli import main\nraise SystemExit(main([sys.argv[1], '--photos', '.']))")
    for verb in ('train', 'compare'):
        done = subprocess.run([sys.executable, '-c', code, verb], cwd=tmp_path, capture_output=True)
        assert done.returncode == 1 and b'birdclf[train]' in done.stderr and done.stderr.count(b'\n') == 1


def test_training_refuses_before_it_begins(birdclf, tmp_path):
    (tmp_path/'kept').mkdir(), (tmp_path/'kept'/'diary.txt').touch(), (tmp_path/'photos').mkdir()
    for arguments, words in ((['nowhere'], 'is not a folder'), (['photos', '--bundle', 'kept'], 'diary.txt')):
        status, out, err = birdclf('train', '--photos', *arguments, cwd=tmp_path)
        assert (status, out) == (2, '') and words in err and err.count('\n') == 1


TROUBLE = {'one species': (dict(Amsel='a b c'), 'of one, Amsel'), 'one source each': (dict(Amsel='a a', Pirol='b b'), 'none has photographs from two sources'),
           'one photograph each': (dict(Amsel='a', Pirol='b', Star='c'), 'none has photographs from two sources'), 'one with two': (dict(Amsel='a b', Pirol='c c'), '1 has photographs from two sources')}


@pytest.mark.parametrize('case', TROUBLE)
def test_what_cannot_be_trained_is_refused_before_the_work(tmp_path, monkeypatch, capsys, case):
    "`birds`: the sources of each one's photographs; none of the files is ever opened"
    pytest.importorskip('torch')
    monkeypatch.chdir(tmp_path)
    birds, words = TROUBLE[case]
    for bird, sources in birds.items():
        (tmp_path/'photos'/bird).mkdir(parents=True)
        for n in range(len(sources.split())): (tmp_path/'photos'/bird/f'{n}.jpg').touch()
    Path('photos/metadata.csv').write_text('path,source\n'+''.join(f'{bird}/{n}.jpg,{source}\n' for bird, sources in birds.items() for n, source in enumerate(sources.split())), encoding='utf-8')
    for verb in ('train', 'compare'):
        assert main([verb, '--photos', 'photos']) == 2
        out, err = capsys.readouterr()
        assert words in err and err.count('\n') == 1 and 'np.' not in err and out == ''
    assert not list(tmp_path.rglob('*.npy')) and not list(tmp_path.rglob('small-*'))


def test_places_that_cannot_be_written_are_refused_before_the_work(tmp_path, monkeypatch, capsys):
    pytest.importorskip('torch')
    monkeypatch.chdir(tmp_path)
    for bird in ('Amsel', 'Pirol'):
        (tmp_path/'photos'/bird).mkdir(parents=True)
        for n in range(4): (tmp_path/'photos'/bird/f'{n}.jpg').touch()
    Path('file').touch(), Path('loop').symlink_to('loop')
    for arguments in (['train', '--bundle', 'file/bundle'], ['train', '--bundle', 'loop'], ['train', '--bundle', 'x'*300], ['train', '--bundle', '/proc/bundle'], ['train', '--runs', 'file/runs'], ['train', '--runs', 'file'],
                      ['compare', '--runs', 'file/runs']):
        assert main([*arguments, '--photos', 'photos']) == 2, arguments
        out, err = capsys.readouterr()
        assert ('No bundle can be saved in' in err or 'Nothing can be written into' in err) and err.count('\n') == 1 and out == '', arguments
    for report in ('file/report.html', 'x'*300, '/proc/report.html'):
        assert main(['evaluate', 'photos', '--report', report]) == 2, report
        out, err = capsys.readouterr()
        assert ('cannot be written' in err or 'no folder' in err) and err.count('\n') == 1 and out == '', report


def test_one_hand_is_told_and_trained_on(tmp_path, monkeypatch, capsys):
    "By the numbers that a bundle would have; the photographs are looked at by the smallest network there is"
    pytest.importorskip('torch')
    from birdclf.export import make_model
    from birdclf.species import SpeciesList, load_species
    from birdclf.train import Recipe
    monkeypatch.chdir(tmp_path)
    paint_folder(tmp_path/'photos', ['Amsel', 'Pirol'], n=6)
    (tmp_path/'photos'/'Amsel').rename(tmp_path/'photos'/'Turdus merula')
    paint_folder(tmp_path/'photos', ['Amsel'], n=6, seed=1)
    Path('photos/metadata.csv').write_text('path,source\n'+''.join(f'{path.relative_to(tmp_path/"photos").as_posix()},Ida\n' for path in (tmp_path/'photos').rglob('*.jpg')), encoding='utf-8')
    birds = SpeciesList(load_species().find(name) for name in ('Amsel', 'Pirol'))
    bundle = make_model(tmp_path/'photos', tmp_path/'bundle', species=birds, recipe=Recipe(backbone='efficientnet-lite0', size=64, views=(1.125,), asked=1), runs=tmp_path/'runs', seeds=(0,))
    said = capsys.readouterr().out
    assert 'Amsel/ and Turdus merula/ are the same bird' in said and '18 of the 18 photographs of the species are by one hand' in said and 'WARNING: there is no other_birds/' in said
    assert bundle.temperature > .2 and bundle.thresholds.coverage == .99 # Eighteen photographs promise nothing
    assert bundle.training['photographs'] == 18 and set(bundle.scores) == {'top1', 'recall', 'top5', 'calibration_error', 'list_coverage', 'list_length'}
    assert all(score['low'] < 1 for name, score in bundle.scores.items() if name in ('top1', 'recall', 'top5', 'list_coverage'))
    assert bundle.card.count('| - | - |') == 2 and '100.0 % to 100.0 %' not in bundle.card


def test_comparing(birdclf, tmp_path):
    "Every problem is named before the first training; then a table, and the second time nothing is trained"
    paint_folder(tmp_path/'photos', ['Amsel', 'Pirol'], n=10)
    for arguments, code, words in ((['--photos', 'nowhere'], 2, 'is not a folder'), (['--photos', 'photos', '--backbones', 'resnet5000'], 1, 'resnet5000')):
        status, out, err = birdclf('compare', *arguments, cwd=tmp_path)
        assert status == code and words in err and err.count('\n') == 1
    status, out, err = birdclf('compare', '--photos', 'photos', '--backbones', 'resnet10t.untrained', cwd=tmp_path)
    assert status == 0 and out.splitlines()[-2].startswith('resnet10t.untrained') and out.splitlines()[-1] == 'Next: birdclf train --photos photos --backbone resnet10t.untrained' and len(list((tmp_path/'runs').glob('trial-*.json'))) == 6+3
    assert birdclf('compare', '--photos', 'photos', '--backbones', 'resnet10t.untrained', cwd=tmp_path)[1].splitlines()[-2].split()[:-2] == out.splitlines()[-2].split()[:-2]


# Splitting and judging

def test_evaluate(birdclf, tmp_path):
    paint_folder(tmp_path/'photos', ['Amsel', 'Pirol'], n=1)
    (tmp_path/'photos'/'Amsel'/'letter.jpg').write_text('Dear bird')
    status, out, err = birdclf('evaluate', 'photos', cwd=tmp_path)
    assert (status, err) == (1, '') and '2 photographs (2 of its birds)' in out and 'Amsel/letter.jpg: This file is not a picture' in out
    assert (tmp_path/'report.html').read_text(encoding='utf-8').startswith('<!doctype html>')
    (tmp_path/'photos'/'Pirol').rename(tmp_path/'photos'/'Pirrol')
    before = (tmp_path/'report.html').read_bytes()
    status, out, err = birdclf('evaluate', 'photos', cwd=tmp_path)
    assert status == 2 and 'Did you mean Eurasian Golden Oriole' in err and err.count('\n') == 1
    status, out, err = birdclf('evaluate', 'photos', '--report', 'photos/Amsel/0.jpg', cwd=tmp_path)
    assert status == 2 and 'would be lost' in err and (tmp_path/'report.html').read_bytes() == before


def test_split(birdclf, tmp_path):
    with Manifest(tmp_path/'data', write=True) as manifest:
        manifest.add(Row(('Turdus merula', 'Parus major')[n%2], 'inat', str(n), observer_id=str(n//2), license='by', license_version='4.0', status='verified',
                         path=f'photos/{n}.jpg', sha256=f'{n:064x}', width=400, height=300) for n in range(60))
    status, out, err = birdclf('split', cwd=tmp_path)
    assert (status, err) == (0, '') and 'Next: birdclf export' in out
    with Manifest(tmp_path/'data') as manifest: sides = {row.source_id: row.split for row in manifest.rows()}
    assert set(sides.values()) == {'train', 'test'} and all(sides[str(n)] == sides[str(n+1)] for n in range(0, 60, 2))
    assert birdclf('split', cwd=tmp_path)[0] == 0
    with Manifest(tmp_path/'data') as manifest: assert {row.source_id: row.split for row in manifest.rows()} == sides
    with Manifest(tmp_path/'one', write=True) as manifest:
        manifest.add(Row('Turdus merula', 'folder', str(n), status='verified') for n in range(9))
    status, out, err = birdclf('split', '--data', 'one', cwd=tmp_path)
    assert (status, out) == (2, '') and 'of one bird, Turdus merula' in err and err.count('\n') == 1
    with Manifest(tmp_path/'two', write=True) as manifest:
        manifest.add(Row(('Turdus merula', 'Parus major')[n%2], 'folder', str(n), status='verified', observation_id='one') for n in range(9))
    status, out, err = birdclf('split', '--data', 'two', cwd=tmp_path)
    assert (status, out) == (2, '') and 'none has two photographs that may be parted' in err and err.count('\n') == 1
    status, out, err = birdclf('split', '--test', '2', cwd=tmp_path)
    assert status == 2 and "'2' is no share. Try 0.2, or 20%." in err and 'Traceback' not in err

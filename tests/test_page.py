"The page in a real browser, started as a visitor's host would start it: `birdclf app`"
import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from birdclf.app import AS_IS, SAMPLES, WORDS, BirdPage, save_template
from birdclf.classify import Classifier, percent
from birdclf.photo import MAX_BYTES, PIXELS, PhotoError, open_photo
from birdclf.session import Session, read_more
from birdclf.species import load_species
from birdclf.testing import PATIENCE, paint_bird, paint_scene
from finder import BLACKBIRD, ROBIN, Finder, garden, talking
from pictures import DELICATE, PLAIN, SIDEWAYS, file_of, noisy, see_through

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = ('--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
         '--disable-component-update --disable-sync').split()
POSTING = """(() => {
    const {send} = XMLHttpRequest.prototype
    XMLHttpRequest.prototype.send = function(body) { console.debug(`posted ${body?.byteLength ?? 0}`); return send.call(this, body) }
})()""" # What the page sends, told to the test
DONE = '[data-phase=answered], [data-phase=refused]'


# --- the server, the browser, a visitor

@contextmanager
def served(log, *command, **options):
    "A server on a free port, which is the last part of its command: its address and its process"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    with open(log, 'wb') as output: process = psutil.Popen([*command, str(port)], stdout=output, stderr=output, **options)
    until = time.monotonic()+PATIENCE
    while f'http://localhost:{port}' not in log.read_text(encoding='utf-8'):
        if process.poll() is not None or time.monotonic() > until: pytest.fail('no server: ' + log.read_text(encoding='utf-8'))
        time.sleep(.1)
    alive = []
    try: yield f'http://localhost:{port}/', process
    finally:
        if process.poll() is None: # Otherwise the test itself has ended it
            family = [process, *process.children(recursive=True)]
            process.terminate()
            _, alive = psutil.wait_procs(family, timeout=PATIENCE)
            for p in alive: p.kill()
    assert not alive, 'the server left processes behind'


@pytest.fixture(scope='module')
def log(tmp_path_factory): return tmp_path_factory.mktemp('server')/'log.txt'


@pytest.fixture(scope='module')
def server(log):
    "The page as everybody starts it"
    with served(log, Path(sys.executable).with_name('birdclf'), 'app', '--port') as page: yield page


@pytest.fixture(scope='module')
def browser():
    "A real Chromium without a window"
    if not CHROMIUM: pytest.skip('needs Chromium, and there is none on this machine (apt install chromium)')
    playwright = pytest.importorskip('playwright.sync_api', reason='needs playwright')
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class Visitor:
    "Somebody in front of the page"
    def __init__(self, browser, address, script=None, **options):
        self.context = browser.new_context(**dict(dict(locale='en-GB', viewport=dict(width=1200, height=850)), **options))
        self.context.set_default_timeout(1000*PATIENCE)
        self.page, self.problems, self.sent = self.context.new_page(), [], []
        self.page.on('console', self.note)
        self.page.on('pageerror', lambda e: self.problems.append(str(e)))
        self.page.on('dialog', lambda d: self.problems.append(f'dialog {d.message}') or d.dismiss())
        self.page.on('request', lambda r: self.strange(r.url))
        self.page.add_init_script(POSTING)
        if script: self.page.add_init_script(script)
        self.page.goto(address)
        self.page.wait_for_selector('.bc-page')

    def note(self, message):
        if message.type == 'error': self.problems.append(message.text)
        if message.text.startswith('posted '): self.sent.append(int(message.text.split()[1]))

    def strange(self, url):
        if not re.match(r'(https?|wss?)://(localhost|127\.0\.0\.1)[:/]|data:|blob:', url): self.problems.append(url)

    def choose(self, photo, wait=True):
        "Choose a file, (name, bytes) or a path, and wait for the answer"
        if isinstance(photo, tuple): photo = dict(name=photo[0], mimeType='', buffer=photo[1])
        self.page.evaluate("document.querySelector('.bc-page').dataset.phase = 'before'")
        self.page.set_input_files('input:not([capture])', photo)
        if wait: self.wait()

    def bring(self, event, files=(), text=None):
        "Drop or paste `files`, (name, bytes), or a `text`"
        given = [[name, type, list(data)] for name,type,data in files]
        self.page.evaluate('''([event, files, text]) => {
            const data = new DataTransfer()
            for (const [name, type, bytes] of files) data.items.add(new File([new Uint8Array(bytes)], name, {type}))
            if (text) data.setData('text/plain', text)
            const options = {bubbles: true, cancelable: true}
            document.body.dispatchEvent(event === 'paste' ? new ClipboardEvent('paste', {...options, clipboardData: data})
                                                          : new DragEvent(event, {...options, dataTransfer: data}))
        }''', [event, given, text])

    def wait(self): self.page.wait_for_selector(DONE)

    def phase(self): return self.page.get_attribute('.bc-page', 'data-phase')

    def read(self, name): return self.page.inner_text('.bc-'+name).replace('\xa0', ' ')

    def verdict(self): return {said[0]: key for key,said in WORDS.items()}[self.page.inner_text('.bc-heading :is(.bc-headline, .bc-eyebrow)')]

    def birds(self):
        "The names at the bars"
        return self.page.locator('.bc-bars .bc-bird').all_inner_texts()

    def drag(self, path, x=600, y=300):
        "Drag a file or a folder here, from outside of the browser"
        session = self.context.new_cdp_session(self.page)
        data = dict(items=[], files=[str(path)], dragOperationsMask=1)
        for kind in ('dragEnter', 'dragOver', 'drop'): session.send('Input.dispatchDragEvent', dict(type=kind, x=x, y=y, data=data))

    def refused(self):
        "The sentence, once there is a refusal, and nothing else is shown"
        self.page.wait_for_selector('[data-phase=refused]')
        assert self.picture() is None and not self.page.is_visible('.bc-bars')
        return self.read('sentence')

    def picture(self):
        "Width and height of the picture that is shown, or None"
        return self.page.evaluate("(() => { const c = document.querySelector('.bc-photo'); return c.offsetParent && [c.width, c.height] })()")

    def fits(self): return self.page.evaluate('document.documentElement.scrollWidth <= innerWidth')

    def leave(self):
        self.context.close()
        self.content()

    def content(self): assert not self.problems, self.problems


@pytest.fixture
def visit(browser, server):
    "Brings visitors to the page, and looks after them whether the browser complained or asked a stranger for something"
    visitors = []
    def come(**options):
        visitors.append(Visitor(browser, server[0], **options))
        return visitors[-1]
    yield come
    for visitor in visitors: visitor.leave()


@pytest.fixture(scope='module')
def regular(browser, server):
    visitor = Visitor(browser, server[0])
    yield visitor
    visitor.leave()


@pytest.fixture
def guest(regular):
    "A visitor who was here before: quicker than a new one, where it does not matter"
    regular.page.click('text=English')
    yield regular
    regular.content()


@pytest.fixture(scope='module')
def classifier(): return Classifier.load()


def pythons(process):
    "The visitors' kernels; those that are just ending are not counted"
    found = []
    for child in process.children(recursive=True):
        try: found += [child] if 'ipykernel_launcher' in ' '.join(child.cmdline()) else []
        except psutil.Error: pass # It has ended
    return found


@contextmanager
def asleep(process):
    "A server and all that belongs to it, held still"
    family = [process, *process.children(recursive=True)]
    def each(deed):
        for member in family:
            try: deed(member)
            except psutil.NoSuchProcess: pass # One that ended with the visit before
    each(psutil.Process.suspend)
    try: yield
    finally: each(psutil.Process.resume)


@pytest.fixture(scope='module')
def robin(): return file_of(paint_bird('Rotkehlchen', size=(800, 600)))


@pytest.fixture(scope='module')
def thirty(tmp_path_factory):
    "A photograph of about 30 MB"
    path = tmp_path_factory.mktemp('photos')/'thirty.jpg'
    noisy(6400, 4800).save(path, quality=97)
    assert 25*2**20 < path.stat().st_size < MAX_BYTES
    return path


# --- the pages of the server

def test_a_first_visit(visit, robin, classifier):
    "From a desk in Austria, in two languages"
    visitor, answer = visit(locale='de-AT'), classifier.classify(robin)
    assert visitor.page.title().lower() == 'birdclf: welcher vogel ist das?'
    assert visitor.read('title') == 'Welcher Vogel ist das?' and visitor.picture() is None
    visitor.choose(('robin.jpg', robin))
    assert visitor.picture() == [800, 600]
    for number,language in ((0, 'en'), (1, 'de'), (0, 'en')):
        visitor.page.click('text=English' if language == 'en' else 'text=Deutsch')
        button = f'.bc-language[lang={language}]'
        assert visitor.page.get_attribute('html', 'lang') == language
        assert visitor.read('title') == WORDS['title'][number]
        assert visitor.read('sentence') == answer.sentence(language)
        assert visitor.page.inner_text(button) and visitor.page.get_attribute(button, 'aria-pressed') == 'true'
    assert visitor.page.title().lower() == 'birdclf: which bird is this?'
    assert visitor.verdict() == answer.verdict and visitor.read('sentence') == answer.reason
    limits = {kind: most//10**6 for kind,most in PIXELS.items()}
    assert visitor.read('formats') == WORDS['formats'][0].format(mb=MAX_BYTES//2**20, **limits)
    assert visitor.page.locator('.bc-birds li').count() == len(classifier.species)


def test_ways_in(guest, tmp_path, robin):
    "Dropped anywhere, pasted, chosen with the keyboard, or by a click on the box; and a file from outside does not replace the page"
    def arrived():
        guest.wait()
        assert guest.phase() == 'answered' and guest.picture() == [800, 600]
        guest.page.evaluate("document.querySelector('.bc-page').dataset.phase = 'before'")
    guest.bring('drop', [('robin.jpg', 'image/jpeg', robin)])
    arrived()
    guest.bring('paste', [('image.png', 'image/png', file_of(Image.open(io.BytesIO(robin)), 'PNG'))])
    arrived()
    (tmp_path/'robin.jpg').write_bytes(robin)
    guest.drag(tmp_path/'robin.jpg', 5, 5)
    arrived()
    with guest.page.expect_file_chooser() as chooser: # From the start: the browser is told to report choosers, and that takes a moment
        for _ in range(10):
            guest.page.keyboard.press('Tab')
            if guest.page.evaluate("document.activeElement.className === 'bc-choose'"): break
        assert guest.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == 'solid'
        guest.page.keyboard.press('Enter')
    chooser.value.set_files([dict(name='robin.jpg', mimeType='image/jpeg', buffer=robin)])
    arrived()
    with guest.page.expect_file_chooser() as chooser: guest.page.click('.bc-box', position=dict(x=20, y=20))
    assert not chooser.value.is_multiple()


def test_no_photo_or_more_than_one(visit, tmp_path, robin):
    "A word about it, and what was there before stays"
    visitor, other = visit(), file_of(paint_scene('cat', size=(300, 300)))
    visitor.drag(tmp_path)
    visitor.page.wait_for_selector('.bc-notice')
    assert visitor.read('notice') == WORDS['folder'][0] and visitor.phase() == 'empty'
    visitor.bring('drop', [('a.jpg', 'image/jpeg', robin), ('b.jpg', 'image/jpeg', other), ('c.jpg', 'image/jpeg', other)])
    visitor.wait()
    assert visitor.picture() == [800, 600]
    assert visitor.read('notice') == WORDS['several'][0].format(n=3)
    before = visitor.read('sentence')
    for event,text,key in (('drop', 'https://example.org/robin.jpg', 'link'), ('paste', 'Turdus merula', 'link'), ('paste', None, 'nothing')):
        visitor.bring(event, text=text)
        assert visitor.read('notice') == WORDS[key][0]
        assert visitor.read('sentence') == before and visitor.picture() == [800, 600]
    visitor.choose(('b.jpg', other))
    assert visitor.picture() == [300, 300] and not visitor.page.is_visible('.bc-notice')


@pytest.mark.parametrize('language', ['de-DE', 'en-GB'])
def test_a_telephone(visit, robin, language):
    "It offers its camera, everything fits, and what a finger is to meet is 44 pixels high"
    visitor = visit(locale=language, viewport=dict(width=390, height=844), has_touch=True, is_mobile=True)
    assert visitor.page.get_attribute('input[capture]', 'capture') == 'environment'
    assert [visitor.read(key) for key in ('camera', 'choose')] == [WORDS[key][language == 'de-DE'] for key in ('camera', 'choose')]
    for button in ('.bc-camera', '.bc-choose'):
        with visitor.page.expect_file_chooser() as chooser: visitor.page.tap(button)
        assert chooser.value.element.get_attribute('capture') == ('environment' if button == '.bc-camera' else None)
    assert visitor.fits()
    visitor.page.set_input_files('input[capture]', [dict(name='image.jpg', mimeType='image/jpeg', buffer=robin)])
    visitor.wait()
    assert visitor.phase() == 'answered' and visitor.fits()
    for name,data in (('tall.jpg', file_of(paint_bird('Weißstorch', size=(400, 1600)))), ('text.jpg', b'no')):
        visitor.choose((name, data))
        assert visitor.fits()
    visitor.page.click('.bc-known summary')
    assert visitor.fits()
    shown = "[...document.querySelectorAll('.bc-page button, .bc-page summary')].filter(b => b.checkVisibility())"
    heights = f'{shown}.map(b => b.getBoundingClientRect().height)'
    assert min(visitor.page.evaluate(heights)) >= 44


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="200" height="200"><script>alert(1)</script><rect width="200" height="200"/></svg>'

def white(width, height): return file_of(Image.new('1', (width, height), 1), 'PNG')

BAD = [
    ('text.jpg', lambda robin: b'Erithacus rubecula', 'not_a_picture'),
    ('nothing.jpg', lambda robin: b'', 'empty'),
    ('half.jpg', lambda robin: robin[:len(robin)//2], 'damaged'),
    ('page.svg', lambda robin: SVG, 'format'),
    ('page.jpg', lambda robin: SVG, 'format'),
    ('90-megapixels.png', lambda robin: white(10_000, 9_000), 'too_many_pixels'),
    ('101-megabytes.jpg', lambda robin: robin.ljust(101*2**20, b'\0'), 'too_large_bytes'),
    ('tiny.png', lambda robin: white(16, 16), 'too_small'),
    ('<img src=x onerror=alert(1)>.jpg', lambda robin: b'<img src=x onerror=alert(1)>', 'not_a_picture'),
]


def test_bad_files(guest, robin, tmp_path):
    "The same sentence as everywhere, in both languages, and nothing of the file or of us"
    for name,make,code in BAD:
        data = make(robin)
        (tmp_path/name).write_bytes(data)
        guest.choose(('robin.jpg', robin))
        guest.choose(tmp_path/name, wait=False)
        with pytest.raises(PhotoError) as error: open_photo(data)
        assert error.value.code == code, name
        assert guest.refused() == error.value.sentence('en'), name
        guest.page.click('text=Deutsch')
        assert guest.read('sentence') == error.value.sentence('de'), name
        guest.page.click('text=English')
        page = guest.page.content()
        assert 'onerror' not in page and 'Traceback' not in page and str(tmp_path) not in page, name


def test_large_files_that_are_refused(guest, thirty, tmp_path):
    "Half of a large one, and a poster with too many pixels, most of which stays at home"
    (tmp_path/'half.jpg').write_bytes(thirty.read_bytes()[:15*2**20])
    guest.choose(tmp_path/'half.jpg')
    assert guest.refused() == PhotoError('damaged', 'JPEG').sentence('en')
    photo = file_of(Image.new('L', (16_000, 16_000)))
    assert len(photo) > 100_000
    guest.sent.clear()
    guest.choose(('poster.jpg', photo))
    assert guest.refused() == PhotoError('too_many_pixels', 256.0, 250, 'JPEG').sentence('en')
    assert max(guest.sent) < 10_000


def test_pictures_of_every_kind(guest, classifier):
    "Shown upright, also where the browser cannot show it; a narrow one; and one that is also a script"
    kingfisher = paint_bird('Eisvogel', size=(640, 480))
    files = {f'bird.{format.lower()}': (file_of(kingfisher, format), [640, 480]) for format in ('PNG', 'WEBP', 'AVIF', 'TIFF', 'GIF', 'BMP')}
    files |= {'phone.jpg': (file_of(kingfisher, exif=SIDEWAYS), [480, 640]), 'IMG_0001.HEIC': (file_of(kingfisher, 'HEIF', exif=SIDEWAYS), [480, 640])}
    files |= {'panorama.jpg': (file_of(noisy(24_000, 96), quality=100), [1280, 5])}
    assert len(files['panorama.jpg'][0]) > AS_IS
    for name,(photo,size) in files.items():
        guest.choose((name, photo))
        assert guest.read('sentence') == classifier.classify(photo).reason, name
        if name != 'panorama.jpg': assert (guest.phase(), guest.picture()) == ('answered', size), name
    gif = file_of(paint_bird('Amsel', size=(200, 150)), 'GIF')
    guest.choose(('robin.gif', gif + b'/*' + b'*/=1;alert(document.domain)//'))
    assert guest.phase() == 'answered' and guest.picture() == [200, 150]


@pytest.fixture(scope='module')
def large():
    "A picture that is large in every format"
    return noisy(2400, 2100, noise=40)


def close_call(answer, classifier):
    "Whether a little less sharpness may turn the verdict"
    limits = classifier.bundle.thresholds
    return min(abs(answer.scores.known-limits.known), abs(answer.scores.bird-limits.bird)) < .1


def test_a_large_picture_is_made_smaller(guest, classifier, large, thirty):
    "And gets the same answer, unless it is a close call; the bird that it resembles most is the same in any case"
    for kind,data in ((kind, make(large)) for kind,make in PLAIN.items()):
        assert len(data) > AS_IS
        guest.sent.clear()
        guest.choose(('large', data))
        answer, shown = classifier.classify(data), guest.birds()
        assert max(guest.sent) < 2**20, kind
        assert shown[:1] == [answer.ranking[0].species.english][:len(shown)], kind
        assert guest.verdict() == answer.verdict or close_call(answer, classifier), kind
    guest.sent.clear()
    guest.choose(thirty)
    assert max(guest.sent) < 3*2**20
    answer = classifier.classify(thirty.read_bytes())
    assert guest.verdict() == answer.verdict or close_call(answer, classifier)


def test_what_the_browser_would_show_otherwise_is_sent_as_it_is(guest, classifier, large, tmp_path):
    "Those that have to be decoded to know it; the others are told apart in test_front. And fifty megabytes of one"
    for kind,data in ((kind, make(large)) for kind,make in DELICATE.items() if re.search('hole|side|damaged|half|most', kind)):
        assert len(data) > AS_IS
        guest.sent.clear()
        guest.choose(('large', data))
        answer = classifier.classify(data)
        assert max(guest.sent) >= len(data), kind
        assert guest.read('sentence') == answer.reason, kind
        if re.search('damaged|half|most', kind): assert answer.error.code == 'damaged' and guest.picture() is None, kind
    photo = tmp_path/'large.png'
    see_through(noisy(4200, 3400)).save(photo, compress_level=1)
    assert 40*2**20 < photo.stat().st_size <= MAX_BYTES
    guest.choose(photo)
    assert guest.phase() == 'answered'


def test_a_server_that_takes_its_time(visit, server, robin, classifier):
    "The picture is there before the answer, and a second photo replaces the first; where nobody answers, a sentence, until somebody does"
    visitor, cat = visit(), file_of(paint_scene('cat', size=(500, 500)))
    with asleep(server[1]):
        visitor.choose(('robin.jpg', robin), wait=False)
        visitor.page.wait_for_selector('.bc-photo', state='visible')
        assert visitor.phase() == 'looking' and visitor.read('sentence') == WORDS['looking'][0]
        visitor.page.wait_for_selector('.bc-alarm', state='visible')
        assert visitor.read('alarm').startswith(WORDS['silent'][0])
    visitor.wait()
    assert visitor.phase() == 'answered' and not visitor.page.is_visible('.bc-alarm')
    with asleep(server[1]):
        visitor.choose(('cat.jpg', cat), wait=False)
        visitor.page.wait_for_function("document.querySelector('.bc-photo').width === 500")
        assert visitor.phase() == 'looking' and not visitor.page.is_visible('.bc-heading')
        visitor.choose(('text.jpg', b'no'), wait=False)
        visitor.choose(('robin.jpg', robin), wait=False)
        visitor.choose(('cat.jpg', cat), wait=False)
    visitor.wait()
    visitor.page.wait_for_timeout(500)
    assert visitor.picture() == [500, 500] and visitor.read('sentence') == classifier.classify(cat).reason


def test_kernels_that_died(visit, server, robin):
    "They only showed the page, and have; one that waited for a visitor is not handed out"
    visitor = visit()
    visitor.choose(('robin.jpg', robin))
    visitor.page.wait_for_timeout(3000)
    for kernel in pythons(server[1]): kernel.kill()
    visitor.choose(('robin.jpg', robin))
    assert visitor.phase() == 'answered'
    visitor.page.wait_for_timeout(5000) # Jupyter starts them again, without the page
    other = visit()
    other.choose(('robin.jpg', robin))
    assert other.phase() == 'answered'
    visitor.problems.clear()


def test_a_kernel_only_shows_the_page(visit, server):
    "Nothing that names birds or opens photographs is in a visitor's Python, and none of its libraries"
    visit()
    for kernel in pythons(server[1]):
        maps = Path(f'/proc/{kernel.pid}/maps')
        if not maps.exists(): pytest.skip('needs /proc')
        assert not re.search('onnxruntime|numpy|_imaging|heif', maps.read_text())


def test_two_visitors(visit, robin, classifier):
    one, two, cat = visit(), visit(locale='de-AT'), file_of(paint_scene('cat', size=(500, 500)))
    one.choose(('robin.jpg', robin), wait=False)
    two.choose(('cat.jpg', cat), wait=False)
    for visitor in (one, two): visitor.wait()
    assert one.read('sentence') == classifier.classify(robin).sentence('en') and one.picture() == [800, 600]
    assert two.read('sentence') == classifier.classify(cat).sentence('de') and two.picture() == [500, 500]


def test_an_error_of_ours_is_said_and_noted(visit, server, robin, log):
    "The one who looks at photographs is shot while it does"
    visitor = visit()
    worker, = [child for child in server[1].children() if 'birdclf.worker' in ' '.join(child.cmdline())]
    worker.suspend()
    visitor.choose(('secret-garden.jpg', robin), wait=False)
    visitor.page.wait_for_selector('.bc-photo', state='visible')
    visitor.page.wait_for_timeout(500)
    worker.kill()
    assert visitor.refused() == WORDS['trouble'][0]
    noted = log.read_text(encoding='utf-8')
    assert 'ended over a photograph' in noted and 'secret' not in noted
    visitor.choose(('robin.jpg', robin))
    assert visitor.phase() == 'answered'
    visitor.problems.clear() # A browser calls the number of an error one


def test_by_night(visit):
    day, night = (visit(color_scheme=scheme) for scheme in ('light', 'dark'))
    colours = [v.page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector('.bc-page')).color]") for v in (day, night)]
    light, dark = ([sum(map(int, re.findall(r'\d+', c)[:3])) for c in pair] for pair in colours)
    assert light[0] > light[1] and dark[0] < dark[1]


def test_a_page_that_does_not_wake_up(browser, tmp_path):
    "The server's own frame says so, and shows nothing of what went wrong"
    broken = tmp_path/'broken.ipynb'
    cell = dict(cell_type='code', id='a', metadata={}, execution_count=None, outputs=[], source="print('secret'); open('/no/such/model')")
    broken.write_text(json.dumps(dict(cells=[cell], nbformat=4, nbformat_minor=5, metadata=dict(kernelspec=dict(display_name='python3', language='python', name='python3')))), encoding='utf-8')
    template = save_template(tmp_path/'jupyter')
    command = [sys.executable, '-m', 'voila', str(broken), '--no-browser', '--Voila.ip=localhost', f'--template={template}', '--Voila.log_level=INFO', '--port']
    with served(tmp_path/'log.txt', *command, env=os.environ | dict(JUPYTER_PATH=str(tmp_path/'jupyter'))) as (address, _):
        page = browser.new_page()
        page.set_default_timeout(1000*PATIENCE)
        page.goto(address)
        page.wait_for_selector('text=The page did not wake up')
        said = page.inner_text('body')
        assert said.count('\n') <= 2 and not re.search('waking|secret|such|Error|Traceback', said)
        page.close()


# --- the script by itself: what the network cannot be made to do on demand

@contextmanager
def by_itself(browser, classifier, body, **options):
    "The page's script in a `body` of ours, with a model that only listens"
    page = browser.new_page(locale='en-GB', **options)
    page.set_default_timeout(1000*PATIENCE)
    widget = BirdPage(Session(classifier))
    state = {name: getattr(widget, name) for name in BirdPage.__base__.class_own_traits(sync=True)}
    page.set_content(f'<html lang="fr"><title>Mes oiseaux</title><meta name="viewport" content="width=device-width"><style>{widget._css}</style>{body}</html>')
    page.evaluate('''async ([script, state]) => {
        const {default: {render}} = await import(URL.createObjectURL(new Blob([script], {type: 'text/javascript'})))
        const heard = new Set()
        const model = {get: name => state[name], on: (_, act) => heard.add(act), off: (_, act) => heard.delete(act),
                       send: (message, _, buffers) => { window.sent.push(message); for (const {byteLength} of buffers) window.weights.push(byteLength) }}
        Object.assign(window, {sent: [], weights: [], limits: state.limits})
        window.say = (...given) => { for (const act of [...heard]) act(...given) }
        window.leave = render({model, el: document.querySelector('#cell') || document.body})
    }''', [widget._esm, state])
    try: yield page
    finally: page.close()


@pytest.fixture
def alone(browser, classifier):
    "The page's script as Voila shows it"
    with by_itself(browser, classifier, '<body data-voila="voila"></body>') as page: yield page


@pytest.fixture
def notebook(browser, classifier):
    "The page's script as one cell of somebody's notebook"
    with by_itself(browser, classifier, '<body><p>Un merle.</p><div id="cell"></div></body>') as page: yield page


def photo(page, name, data):
    page.set_input_files('input[type=file]', [dict(name=name, mimeType='', buffer=data)])


def reply(seq, sentence):
    return dict(kind='answer', seq=seq, verdict='not_bird', species=None, candidates=[], sentences=dict(en=sentence, de=sentence))


def test_in_a_notebook_the_rest_of_the_page_is_not_ours(notebook, robin):
    "Neither its title nor its language; and the alarm's button reloads the widget alone"
    assert (notebook.title(), notebook.get_attribute('html', 'lang')) == ('Mes oiseaux', 'fr')
    notebook.click('text=Deutsch')
    assert (notebook.title(), notebook.get_attribute('html', 'lang')) == ('Mes oiseaux', 'fr')
    assert notebook.get_attribute('.bc-page', 'lang') == 'de'
    notebook.evaluate("() => { window.stayed = true; window.sent.push = () => { throw new Error('no comm') } }")
    photo(notebook, 'robin.jpg', robin)
    notebook.wait_for_selector('.bc-reload')
    assert notebook.inner_text('.bc-alarm').startswith(WORDS['asleep'][1])
    notebook.evaluate('delete window.sent.push')
    notebook.click('.bc-reload')
    assert notebook.evaluate('stayed') and notebook.inner_text('p >> nth=0') == 'Un merle.'
    assert notebook.locator('.bc-page').count() == 1 and notebook.get_attribute('.bc-page', 'data-phase') == 'empty'
    assert notebook.inner_text('h1') == WORDS['title'][1] and not notebook.is_visible('.bc-alarm')
    photo(notebook, 'robin.jpg', robin)
    notebook.wait_for_function("sent.some(m => m.kind === 'photo' && m.seq === 1)")
    notebook.evaluate('m => say(m, [])', reply(1, 'here again'))
    assert notebook.inner_text('.bc-sentence') == 'here again'


def sure(seq):
    "The model's answer: a robin, or at least more a robin than a blackcap"
    robin = dict(german='Rotkehlchen', english='European Robin', scientific='Erithacus rubecula', probability=.5, percent='50 %')
    blackcap = dict(german='Mönchsgrasmücke', english='Eurasian Blackcap', scientific='Sylvia atricapilla', probability=.3, percent='30 %')
    said = 'It is a European Robin (Rotkehlchen, Erithacus rubecula): 50 %. It is small.'
    return dict(kind='answer', seq=seq, verdict='sure', species=robin, candidates=[robin, blackcap], sentences=dict(en=said, de=said),
                hints=dict(en='It is small.', de='Es ist klein.'))


def test_what_is_seen_of_an_answer(alone, robin):
    "Words are text, one name once, the lines for screen readers there before they speak, and nothing after leaving"
    def spoken():
        "What a screen reader listens to, by role"
        nodes = alone.context.new_cdp_session(alone).send('Accessibility.getFullAXTree')['nodes']
        return sorted(n['role']['value'] for n in nodes if not n['ignored'] and n['role']['value'] in ('status', 'alert'))
    def answered(seq, message):
        photo(alone, '<b>robin</b>.jpg', robin)
        alone.wait_for_function(f"sent.some(m => m.kind === 'photo' && m.seq === {seq})")
        alone.evaluate('m => say(m, [])', message)
        return alone.evaluate("[...document.querySelectorAll('.bc-answer > :not(.bc-aside)')].map(e => e.innerText).join(' ')")
    assert spoken() == ['alert', 'status', 'status']
    assert [alone.inner_text(f'.bc-{name}') for name in ('notice', 'alarm', 'sentence')] == ['', '', '']
    shown = answered(1, sure(1))
    assert spoken() == ['alert', 'status', 'status']
    assert [shown.count(name) for name in ('European Robin', 'Rotkehlchen', 'Erithacus rubecula')] == [2, 1, 1]
    assert [shown.count(name) for name in ('Eurasian Blackcap', 'Mönchsgrasmücke', 'Sylvia atricapilla')] == [1, 1, 1]
    assert shown.count('It is small.') == 1 and alone.inner_text('.bc-sentence').replace('\xa0', ' ') == sure(1)['sentences']['en']
    shown = answered(2, sure(2) | dict(verdict='one_of'))
    assert [shown.count(name) for name in ('European Robin', 'Rotkehlchen', 'Erithacus rubecula', 'Sylvia atricapilla')] == [1, 1, 1, 1]
    answered(3, reply(3, '<img src=x onerror=alert(1)>'))
    assert alone.inner_text('.bc-sentence') == '<img src=x onerror=alert(1)>'
    assert not alone.query_selector('.bc-sentence img')
    answered(4, dict(kind='answer', verdict='trouble', seq=4))
    assert alone.inner_text('.bc-sentence') == WORDS['trouble'][0]
    alone.click('text=Deutsch')
    assert alone.inner_text('.bc-sentence') == WORDS['trouble'][1]
    assert all(set(m) <= {'kind', 'seq', 'preview', 'bytes'} for m in alone.evaluate('sent'))
    alone.evaluate('leave()')
    alone.evaluate("document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: new DataTransfer()}))")
    assert not alone.is_visible('.bc-notice')


BREAKS = '''() => {                    // words that stand on two lines, or leave the window
    const broken = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange()
    for (let node; node = walk.nextNode();) {
        if (!node.parentElement.checkVisibility() || node.parentElement.closest('style, script, .bc-aside')) continue
        for (const {0: word, index} of node.data.matchAll(/[^\\s\\u00a0-]+-?/g)) {
            range.setStart(node, index); range.setEnd(node, index + word.length)
            const boxes = [...range.getClientRects()].filter(box => box.width > 1)
            if (new Set(boxes.map(box => Math.round(box.top))).size > 1 || boxes.some(box => box.right > innerWidth + 1 || box.left < -1)) broken.push(word)
        }
    }
    if (document.documentElement.scrollWidth > innerWidth) broken.push('<->')
    return broken
}'''


BREAK_NAMES = '''async ([breaks, birds]) => {
    const find = eval(breaks), broken = new Set(), drop = () => {
        const data = new DataTransfer()
        data.items.add(new File(['no'], 'photo.jpg'))
        document.body.dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: data}))
    }
    window.asked ??= 0
    for (const button of document.querySelectorAll('.bc-language')) {
        button.click()
        for (const word of find()) broken.add(word)
        for (const [n, species] of birds.entries()) {
            drop()
            const candidates = [0, 1, 2].map(k => ({...birds[(n + k) % birds.length], probability: .5, percent: '> 99 %'}))
            say({kind: 'answer', seq: ++asked, verdict: n % 2 ? 'sure' : 'one_of', species, candidates, sentences: {de: '-', en: '-'}}, [])
            for (const word of find()) broken.add(word)
        }
    }
    return [...broken]
}'''


def test_no_word_is_broken(alone, classifier):
    "Every bird's name in both languages, as a headline and beside a bar; 200 % is what a browser can do to all text"
    alone.click('.bc-known summary')
    for width,size in product((320, 390, 768, 1200), (100, 200)):
        alone.set_viewport_size(dict(width=width, height=900))
        alone.evaluate("size => { document.documentElement.style.fontSize = size + '%' }", size)
        assert not alone.evaluate(BREAK_NAMES, [BREAKS, [bird.to_dict() for bird in classifier.species]]), (width, size)


def test_no_word_of_ours_is_broken(browser, classifier, robin):
    "The verdicts' headlines, the alarm, the notices, on a telephone's two buttons too"
    for width,size in product((320, 390, 1200), (100, 200)):
        screen = dict(viewport=dict(width=width, height=900), has_touch=width < 768, is_mobile=width < 768)
        with by_itself(browser, classifier, '<body data-voila="voila"></body>', **screen) as page:
            look_for_broken_words(page, robin, size)


def look_for_broken_words(alone, robin, size):
    alone.evaluate("size => { document.documentElement.style.fontSize = size + '%' }", size)
    seq = 0
    for language in ('Deutsch', 'English'):
        alone.click(f'text={language}')
        for verdict in ('other_bird', 'not_bird', 'unreadable'):
            photo(alone, 'robin.jpg', robin)
            seq += 1
            words = WORDS[verdict]
            alone.evaluate('m => say(m, [])', sure(seq) | dict(verdict=verdict, sentences=dict(en=words[0], de=words[1])))
            assert not alone.evaluate(BREAKS), (language, verdict)
    alone.evaluate("() => { window.sent.push = () => { throw new Error('nobody') } }")
    photo(alone, 'robin.jpg', robin)
    alone.wait_for_selector('.bc-alarm button')
    assert not alone.evaluate(BREAKS)
    alone.evaluate("document.body.dispatchEvent(new ClipboardEvent('paste', {bubbles: true, clipboardData: new DataTransfer()}))")
    assert alone.inner_text('.bc-notice') == WORDS['nothing'][0] and not alone.evaluate(BREAKS)


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_bars_are_seen_without_colours(alone, robin, scheme):
    "Windows' high contrast takes the colours away; the bar of a bird at 50 % must still end in the middle"
    alone.emulate_media(forced_colors='active', color_scheme=scheme)
    photo(alone, 'robin.jpg', robin)
    alone.wait_for_function("sent.some(m => m.kind === 'photo')") # Afterwards nothing is drawn anew
    alone.evaluate('m => say(m, [])', sure(1))
    bar = Image.open(io.BytesIO(alone.locator('.bc-track').first.screenshot(animations='disabled'))).convert('L')
    full, empty, edge = (bar.getpixel((round(at*bar.width), bar.height//2)) for at in (.25, .75, .998))
    assert abs(full-empty) > 60 and abs(edge-empty) > 60
    chosen, other = (Image.open(io.BytesIO(alone.locator(f'.bc-language[lang={language}]').screenshot())).convert('L').getpixel((8, 22))
                     for language in ('en', 'de'))
    assert abs(chosen-other) > 60


# --- the frame

@pytest.fixture
def finder(classifier): return Finder(classifier)


def shown(page, photo, name='garden.jpg'):
    page.set_input_files('input:not([capture])', [dict(name=name, mimeType='', buffer=photo)])
    return done(page)


def done(page):
    page.wait_for_selector('[data-phase=answered]')
    page.requests.clear()
    return frames(page)


FRAMES = '''() => {
    const photo = document.querySelector('.bc-photo').getBoundingClientRect()
    return [...document.querySelectorAll('.bc-frame')].map(frame => {
        const {left, top, width, height} = frame.getBoundingClientRect(), seen = getComputedStyle(frame, '::before')
        const x = (left + width / 2 - photo.left) / photo.width, y = (top + height / 2 - photo.top) / photo.height
        const half = [parseFloat(seen.width) / photo.width / 2, parseFloat(seen.height) / photo.height / 2]
        return [x - half[0], y - half[1], x + half[0], y + half[1]]
    })
}'''


def frames(page):
    "Where the frames are on the photo"
    return Places(page.evaluate(FRAMES))


class Places(list):
    "Frames, which are the same where nobody would see a difference"
    def __eq__(self, other):
        return len(self) == len(other) and all(abs(x-y) < .006 for one,two in zip(self, other) for x,y in zip(one, two))


def heading(page): return page.inner_text('.bc-heading')


def spot(page, x, y):
    "A place on the photo, in pixels of the window"
    photo = page.evaluate("(() => { const {left, top, width, height} = document.querySelector('.bc-photo').getBoundingClientRect(); return [left, top, width, height] })()")
    return photo[0]+x*photo[2], photo[1]+y*photo[3]


def around(box, size):
    "What a frame is sent with: a square of twice its longer side, as far as the picture goes, in pixels"
    side = max((box[2]-box[0])*size[0], (box[3]-box[1])*size[1])
    middles = [(box[i]+box[i+2])/2*size[i] for i in (0, 1)]
    return [max(0, middle-side) for middle in middles] + [min(length, middle+side) for middle,length in zip(middles, size)]


def test_a_frame_and_a_mouse_and_a_keyboard(browser, finder):
    "Moved, sized, looked at, turned and undone; what is sent is the part around it, in full resolution"
    with talking(browser, finder) as page:
        assert shown(page, garden()) == [ROBIN, BLACKBIRD]
        assert page.is_disabled('.bc-look') and page.is_disabled('.bc-undo')
        page.mouse.move(*spot(page, .3, .5))
        page.mouse.down()
        page.mouse.move(*spot(page, .4, .6), steps=3)
        page.mouse.up()
        page.mouse.move(*spot(page, ROBIN[2]+.1, .6))
        page.mouse.down()
        page.mouse.move(*spot(page, ROBIN[2]+.2, .6), steps=3)
        page.mouse.up()
        moved = [ROBIN[0]+.1, ROBIN[1]+.1, ROBIN[2]+.2, ROBIN[3]+.1]
        assert frames(page) == [moved, BLACKBIRD] and len(finder.asked) == 1
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == 'Bird 1 of 2: European Robin'
        for key in ('ArrowRight', 'ArrowUp', 'Shift+ArrowDown', 'Shift+ArrowLeft', '+', '-'): page.keyboard.press(key)
        moved = [moved[0]+.01, moved[1]-.01, moved[2], moved[3]]
        assert frames(page) == [moved, BLACKBIRD]
        page.keyboard.press('Enter')
        assert done(page) == [moved, BLACKBIRD] and 'Common Chaffinch' in heading(page)
        part, box, turn = finder.asked[-1]
        left, top, right, bottom = around(moved, (1600, 1200))
        width, height = Image.open(io.BytesIO(part)).size
        assert abs(width-(right-left)) < 12 and abs(height-(bottom-top)) < 12 and turn == 0
        assert Places([box]) == [[(1600*moved[0]-left)/width, (1200*moved[1]-top)/height, (1600*moved[2]-left)/width, (1200*moved[3]-top)/height]]
        page.keyboard.press('Escape')
        assert frames(page) == [ROBIN, BLACKBIRD] and 'European Robin' in heading(page) and page.is_disabled('.bc-undo')
        page.click('.bc-turn')
        done(page)
        assert finder.asked[-1][1:] == (None, 1) and page.evaluate("(() => { const {width, height} = document.querySelector('.bc-photo'); return width < height })()")
        page.focus('.bc-frame >> nth=0')
        page.keyboard.press('ArrowDown')
        page.click('.bc-look')
        done(page)
        part, _, turn = finder.asked[-1]
        assert turn == 0 and page.asked[-1]['kind'] == 'part' # The browser has turned it
        upright = Image.open(io.BytesIO(garden())).transpose(Image.Transpose.ROTATE_270)
        box = ROBIN[0], ROBIN[1]+.01, ROBIN[2], ROBIN[3]+.01
        expected = upright.crop([round(at) for at in around(box, upright.size)])
        seen = Image.open(io.BytesIO(part)).convert('RGB').resize(expected.size)
        assert np.abs(np.asarray(seen, dtype=float)-np.asarray(expected)).mean() < 6
        page.click('.bc-undo')
        assert frames(page) == [ROBIN, BLACKBIRD] and not page.evaluate("(() => { const {width, height} = document.querySelector('.bc-photo'); return width < height })()")


def touch(page, *moves):
    "Fingers, as the screen reports them: for each moment, where each of them is"
    session = page.context.new_cdp_session(page)
    for i,points in enumerate(moves):
        given = [dict(x=x, y=y, id=n) for n,(x, y) in enumerate(points)]
        kind = 'touchEnd' if not points else 'touchMove' if i and len(points) == len(moves[i-1]) else 'touchStart'
        session.send('Input.dispatchTouchEvent', dict(type=kind, touchPoints=given))
    session.send('Input.dispatchTouchEvent', dict(type='touchEnd', touchPoints=[]))
    session.detach()


def test_a_frame_and_fingers(browser, finder):
    "On a telephone: one moves it, two size it, and the page neither scrolls nor zooms; beside it, the page scrolls"
    telephone = dict(viewport=dict(width=390, height=600), has_touch=True, is_mobile=True)
    still = '[scrollY, visualViewport.scale, document.documentElement.scrollWidth]'
    with talking(browser, finder, **telephone) as page:
        assert shown(page, garden()) == [ROBIN, BLACKBIRD]
        before = page.evaluate(still)
        at = lambda *points: [spot(page, *point) for point in points]
        touch(page, *[at((.3, .5+.02*i)) for i in range(6)])
        moved = [ROBIN[0], ROBIN[1]+.1, ROBIN[2], ROBIN[3]+.1]
        assert frames(page) == [moved, BLACKBIRD] and page.evaluate(still) == before
        apart = [at((.31-d, .64), (.31+d, .64)) for d in (.1, .12, .16, .2)]
        touch(page, at((.21, .64)), *apart)
        wider = [moved[0]-.125, moved[1]-.125, moved[2]+.125, moved[3]+.125]
        assert frames(page) == [wider, BLACKBIRD] and page.evaluate(still) == before
        grown = [.4375, .025, 1, .575] # In the middle of the bird, as far as the picture goes
        page.tap('.bc-look')
        assert done(page) == [wider, BLACKBIRD] and 'Common Chaffinch' in heading(page)
        page.touchscreen.tap(*spot(page, .78, .3))
        assert 'One of these' in heading(page) and frames(page) == [wider, BLACKBIRD]
        touch(page, *[at((.78-d, .1), (.78+d, .1)) for d in (.06, .08, .1, .14, .18)]) # Above the small bird
        assert frames(page) == [wider, grown] and page.evaluate(still) == before
        page.tap('.bc-undo')
        assert frames(page) == [ROBIN, BLACKBIRD] and 'One of these' in heading(page)
        heights = "[...document.querySelectorAll('.bc-page :is(button, summary, .bc-link)')].filter(b => b.offsetParent).map(b => b.getBoundingClientRect().height)"
        assert min(page.evaluate(heights)) >= 44 and page.evaluate(still) == before
        touch(page, *[at((.05, .9-.1*i)) for i in range(6)])
        page.wait_for_function('scrollY > 20')


def test_a_frame_on_what_the_browser_cannot_cut(browser, finder):
    "HEIC and a GIF go once more, with the frame and the turn; a photo in which there is no bird gets a frame by a button"
    finder.birds = []
    for name,format,options in (('IMG_0001.HEIC', 'HEIF', dict(quality=60)), ('garden.gif', 'GIF', {})):
        with talking(browser, finder) as page:
            photo = garden(format, **options)
            assert shown(page, photo, name) == []
            page.click('.bc-turn')
            done(page)
            assert finder.asked[-1] == (photo, None, 1)
            page.click('.bc-aim')
            page.keyboard.press('ArrowRight')
            assert page.get_attribute('.bc-frame', 'aria-label') == WORDS['yours'][0]
            page.keyboard.press('Enter')
            done(page)
            data, box, turn = finder.asked[-1]
            assert (data, turn) == (photo, 1) and box == [pytest.approx(at) for at in (.26, .25, .76, .75)]
            assert page.get_attribute('.bc-frame', 'aria-label') == 'Bird 1 of 1: Common Chaffinch'


def test_a_second_look_by_the_server(guest, classifier):
    "A part of the photo on its way through Voila, and the evidence on its way back"
    paintings = (file_of(paint_bird('Amsel', seed, size=(800, 600))) for seed in range(30))
    guest.choose(('blackbird.jpg', next(photo for photo in paintings if classifier.classify(photo).verdict != 'not_bird')))
    if guest.page.query_selector('.bc-aim'): guest.page.click('.bc-aim')
    before, _ = guest.page.get_attribute('.bc-frame', 'aria-label'), guest.sent.clear()
    guest.page.focus('.bc-frame')
    for key in ('+', 'ArrowUp', 'Enter'): guest.page.keyboard.press(key)
    guest.wait()
    assert guest.picture() == [800, 600] and guest.read('notice') == '' and 0 < max(guest.sent)
    label = guest.page.get_attribute('.bc-frame', 'aria-label')
    assert label != WORDS['yours'][0] and guest.read('heading').split('\n')[0] in [WORDS[key][0] for key in ('sure', 'one_of', 'other_bird', 'not_bird')]
    guest.page.keyboard.press('Escape')
    if guest.page.query_selector('.bc-aim') is None: assert guest.page.get_attribute('.bc-frame', 'aria-label') == before
    guest.page.click('.bc-why')
    guest.page.wait_for_selector('.bc-light:not([hidden]), .bc-notice:not(:empty)', state='attached')
    assert guest.read('notice') in ('', WORDS['unexplained'][0])


def test_two_birds_why_and_where_to_read_more(browser, finder):
    "Each has its answer; the evidence lies over the right one; and nobody is asked before a link is touched"
    with talking(browser, finder) as page:
        shown(page, garden())
        labels = [frame.get_attribute('aria-label') for frame in page.query_selector_all('.bc-frame')]
        assert labels == ['Bird 1 of 2: European Robin', 'Bird 2 of 2: Eurasian Blackbird / European Starling']
        pressed = "[...document.querySelectorAll('.bc-frame')].map(frame => frame.getAttribute('aria-pressed'))"
        page.focus('.bc-frame >> nth=1')
        page.keyboard.press('Enter')
        assert page.evaluate(pressed) == ['false', 'true'] and heading(page) == WORDS['one_of'][0]
        assert page.locator('.bc-bars > li').first.locator('.bc-bird').inner_text() == 'Eurasian Blackbird'
        tips = finder.birds[1].tips
        assert tips and page.locator('.bc-tip').all_inner_texts() == [tip.text('en') for tip in tips]
        page.click('.bc-why')
        page.wait_for_selector('.bc-light', state='visible')
        assert page.inner_text('.bc-because') == WORDS['because'][0].format(name='Eurasian Blackbird', where='in the top left')
        light, photo = (page.evaluate(f"(() => {{ const {{left, top, right, bottom}} = document.querySelector('{what}').getBoundingClientRect(); return [left, top, right, bottom] }})()")
                        for what in ('.bc-light canvas', '.bc-photo'))
        width, height = photo[2]-photo[0], photo[3]-photo[1]
        assert [(light[0]-photo[0])/width, (light[1]-photo[1])/height, (light[2]-photo[0])/width, (light[3]-photo[1])/height] == pytest.approx(BLACKBIRD, abs=.003)
        page.click('text=Deutsch')
        assert page.inner_text('.bc-because') == WORDS['because'][1].format(name='Amsel', where='oben links')
        page.click('.bc-why')
        assert not page.is_visible('.bc-light') and page.inner_text('.bc-because') == ''
        page.click('.bc-frame >> nth=0')
        assert not page.is_visible('.bc-tip')
        links = [(link.inner_text(), link.get_attribute('href'), link.get_attribute('target'), link.get_attribute('rel')) for link in page.query_selector_all('.bc-link')]
        robin = next(bird for bird in load_species() if bird.german == 'Rotkehlchen')
        assert links == [(whose, pages['de'], '_blank', 'noopener noreferrer') for whose,pages in read_more(robin).items()]
        assert all(number in href for number,(_, href, *_) in zip((robin.inat_taxon_id, robin.ebird_code, 'dewiki/'+robin.wikidata_qid), links))
        page.click('text=English')
        assert 'enwiki' in page.get_attribute('.bc-link >> nth=2', 'href')
        assert [url for url in page.requests if not url.startswith(('blob:', 'data:'))] == []
        page.focus('.bc-frame >> nth=0')
        for _ in range(40): page.keyboard.press('-')
        button = page.locator('.bc-frame').first.bounding_box()
        (left, top, right, bottom), _ = frames(page)
        assert right-left < .05 and bottom-top < .05 and min(button['width'], button['height']) >= 44


# --- real birds

@pytest.mark.parametrize('folder,verdict', [('species/Rotkehlchen', 'sure'), ('not_bird/dog', 'not_bird'), ('other_birds', 'other_bird')])
def test_real_photographs(visit, shared, classifier, folder, verdict):
    "One that the model is right about: here it is the page that is judged"
    photos = (p for p in sorted((shared/'birds'/folder).rglob('*.jpg')) if 'eron' in str(p) or folder != 'other_birds')
    photo, answer = next((p, a) for p in photos if (a := classifier.classify(p)).verdict == verdict)
    visitor = visit(locale='de-DE')
    visitor.choose(photo)
    assert visitor.read('sentence') == answer.sentence('de')
    assert visitor.page.inner_text('.bc-heading').split('\n')[0] == WORDS[verdict][1]
    if verdict == 'sure':
        assert visitor.read('name') == 'Rotkehlchen'
        assert visitor.page.inner_text('.bc-heading .bc-others') == 'European Robin · Erithacus rubecula'
    shown = visitor.page.locator('.bc-bars .bc-percent').all_inner_texts()
    assert shown == ([] if verdict == 'not_bird' else [percent(c['probability']) for c in answer.to_dict(top=3)['candidates']][:8])


def test_large_photographs_get_the_same_answer(guest, shared, classifier):
    "The picture that the browser makes smaller says the same as the whole one"
    photos = sorted((shared/'birds'/'species').rglob('*.jpg'))[::160]
    for path in photos:
        image = Image.open(path).convert('RGB')
        scale = 2400/min(image.size)
        large = file_of(image.resize((round(image.width*scale), round(image.height*scale)), Image.Resampling.BICUBIC), quality=97, subsampling=0)
        if len(large) <= AS_IS: large = large[:-2] + b'\xff\xfe\x00\x02'*((AS_IS-len(large))//4+2) + b'\xff\xd9'
        guest.sent.clear()
        guest.choose((path.name, large))
        assert max(guest.sent) < len(large)
        answer = classifier.classify(large)
        shown = guest.birds()
        assert (guest.verdict(), shown[:1]) == (answer.verdict, [answer.ranking[0].species.english][:len(shown)])


def test_nasty_files(guest, shared, classifier):
    "Every one of them ends as a picture or as a sentence, and the page and the command line agree"
    for path in sorted(p for p in (shared/'bad_images').iterdir() if p.is_file() and p.name != 'MANIFEST.csv'):
        answer = classifier.classify(path)
        guest.choose(path)
        assert guest.read('sentence') == answer.reason, path.name
        assert guest.phase() == ('refused' if answer.verdict == 'unreadable' else 'answered'), path.name
        assert (guest.picture() is None) == (answer.verdict == 'unreadable'), path.name


def test_the_list_is_the_bars(classifier, shared):
    "Three bars for a comparison; where the answer is a list, the list"
    session, verdicts = Session(classifier), set()
    for path in sorted((shared/'birds'/'species').rglob('*.jpg'))[::31]:
        answer = classifier.classify(path)
        reply, _ = session.hear(dict(kind='photo', seq=1, preview=False), path.read_bytes())
        assert len(reply['candidates']) == len(answer.candidates) or answer.verdict != 'one_of'
        verdicts.add(answer.verdict)
    assert 'one_of' in verdicts


def test_what_the_sentence_adds_is_seen(guest, classifier):
    photo = file_of(paint_bird('Rotkehlchen', size=(90, 90)), 'PNG')
    answer = classifier.classify(photo)
    guest.choose(('small.png', photo))
    assert answer.small and answer.verdict in ('sure', 'one_of', 'other_bird')
    assert guest.read('hint') == 'The photo is small, so do not rely on it.' and guest.read('sentence') == answer.reason
    guest.page.click('text=Deutsch')
    assert guest.read('hint') == 'Das Foto ist klein, also verlass dich nicht darauf.'


# --- for those without a bird at hand

@pytest.mark.parametrize('name', SAMPLES)
def test_samples_are_answered_like_any_photo(visit, name):
    visitor = visit()
    visitor.page.get_by_role('button', name=SAMPLES[name][0]).click()
    visitor.wait()
    sample = Path(__file__).resolve().parents[1]/'birdclf'/'data'/'samples'/name
    assert visitor.read('sentence') == Classifier.load().classify(sample).reason
    assert not visitor.page.is_visible('.bc-samples')

"Cleaning in a real browser, started as everybody starts it: `birdclf clean`"
import re
import sys
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from itertools import count
from pathlib import Path
from statistics import median

import pytest
from PIL import Image
from test_page import BREAKS, asleep, browser, pythons, served  # noqa: F401 (a fixture)

import birdclf
from birdclf.looks import Looks
from birdclf.review import PAGE
from birdclf.manifest import Manifest, Row
from birdclf.species import load_species
from birdclf.testing import PATIENCE, load, paint_bird, paint_scene
from birdclf.thumbnails import thumbnail_of

BIRDS = load_species()
FRONT = [(Path(birdclf.__file__).with_name('front')/name).read_text(encoding='utf-8') for name in ('clean.js', 'clean.css')]
PAINTED = [BIRDS.find(name) for name in ('Rotkehlchen', 'Amsel', 'Blaumeise', 'Stockente')]
N = 3*PAGE+10
IMPATIENT = 'const later = setTimeout; window.setTimeout = (deed, time, ...given) => later(deed, time === 8000 && window.impatient ? 0 : time, ...given)'
PHONE = dict(viewport=dict(width=390, height=844), has_touch=True, is_mobile=True)
HTML = '<img src=x onerror=alert(1)>'


def files_of(folder, n):
    "Paths and hashes of `n` different pictures with their thumbnails, from a few paintings"
    paintings = [paint_bird(bird.german) for bird in PAINTED]+[paint_scene('cat')]
    for number in range(n):
        file = BytesIO()
        paintings[4 if number % 10 == 1 else number % 4].crop((number % 40, 0, 280+number % 40, 210+number//40 % 30)).save(file, 'JPEG', quality=80+number // 1200)
        name, digest = f'photos/{number}.jpg', sha256(file.getvalue()).hexdigest()
        thumb = thumbnail_of(folder, Row('', '', '', sha256=digest))
        for path in (folder/name, thumb):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.getvalue())
        yield dict(path=name, sha256=digest)


def fill(folder, n=N):
    "A manifest with `n` photographs and three copies of the fifth"
    reasons = {1: f'probably not a bird; {HTML}', 2: 'probably another bird: Great Tit'}
    rows = [Row(PAINTED[number % 4].scientific, ('inat', 'commons')[number % 2], str(number), license='by-sa', license_version='4.0',
                license_url='https://creativecommons.org/licenses/by-sa/4.0/', creator=HTML, title=f'{HTML} no. {number}',
                page_url=f'https://example.org/{number}', status='verified', width=280, height=210, format='JPEG',
                score=1-number/n, suspicions=reasons.get(number % 10, ''), **file) for number,file in enumerate(files_of(folder, n))]
    rows += [replace(rows[5], source='gbif', source_id=f'copy {number}') for number in (1, 2)]
    for place in (5, -2, -1): rows[place] = replace(rows[place], duplicate_group=rows[5].id)
    with Manifest(folder, write=True) as manifest: manifest.add(rows)
    return rows


@pytest.fixture(scope='module')
def data(tmp_path_factory): return tmp_path_factory.mktemp('data')


@pytest.fixture(scope='module')
def rows(data): return fill(data)


def command(folder): return Path(sys.executable).with_name('birdclf'), 'clean', '--data', str(folder), '--by', 'Ida', '--port'


@pytest.fixture(scope='module')
def server(rows, data, tmp_path_factory):
    with served(tmp_path_factory.mktemp('log')/'log.txt', *command(data)) as page: yield page


class Cleaner:
    "Somebody who cleans"
    names = count(1)

    def __init__(self, browser, address, script=None, **options):
        self.context = browser.new_context(**dict(dict(locale='en-GB', viewport=dict(width=1280, height=850)), **options))
        self.context.set_default_timeout(1000*PATIENCE)
        self.page, self.problems = self.context.new_page(), []
        self.page.on('console', lambda m: self.problems.append(m.text) if m.type == 'error' else None)
        self.page.on('pageerror', lambda e: self.problems.append(str(e)))
        self.page.on('dialog', lambda d: self.problems.append(f'dialog {d.message}') or d.dismiss())
        self.page.on('request', lambda r: self.strange(r.url))
        if script: self.page.add_init_script(script)
        self.page.goto(address)
        self.opened()

    def strange(self, url):
        if not re.match(r'(https?|wss?)://(localhost|127\.0\.0\.1)[:/]|data:|blob:', url): self.problems.append(url)

    def opened(self):
        self.page.wait_for_selector('.cl-tile')
        self.settled()

    def press(self, *keys):
        for key in keys: self.page.keyboard.press(key)

    def settled(self):
        "Wait until everything is on disk"
        self.page.wait_for_function("!document.querySelector('.cl-saving')")
        return self

    def become(self, name=None):
        "Somebody who has not decided anything yet"
        self.name = name or f'Guest {next(self.names)}'
        self.page.click('.cl-me')
        self.page.fill('.cl-search', self.name)
        self.press('Enter')
        self.page.wait_for_function('''name => !document.querySelector('.cl-panel') && document.querySelector('.cl-focus')
            && document.querySelector('.cl-me').textContent === name''', arg=self.name)
        return self

    def reload(self):
        "A new kernel"
        self.content()
        self.page.reload()
        return self.reopened()

    def reopened(self):
        self.opened()
        return self

    def show(self, **filters):
        for name,value in filters.items():
            before = self.page.get_attribute('.cl-grid', 'data-page')
            if name == 'suspicious': self.page.set_checked('.cl-check input', value)
            else: self.page.locator('.cl-filters select').nth(('order', 'species', 'source', 'state').index(name)).select_option(value)
            self.page.wait_for_function("before => document.querySelector('.cl-grid').dataset.page !== before", arg=before)
        return self

    def tiles(self):
        "What each tile shows: bird and badge"
        return self.page.evaluate('''[...document.querySelectorAll('.cl-tile')].map(tile =>
            ['.cl-bird', '.cl-badge'].map(part => tile.querySelector(part).textContent))''')

    def marks(self): return self.page.evaluate("[...document.querySelectorAll('.cl-tile')].map(tile => tile.dataset.decision)")

    def focus(self): return self.page.evaluate("[...document.querySelectorAll('.cl-tile')].findIndex(tile => tile === document.activeElement)")

    def number(self): return int(self.read('where').split('/')[0])

    def turned(self, number): self.page.wait_for_function("n => document.querySelector('.cl-where').textContent.startsWith(n + ' /')", arg=str(number))

    def read(self, name): return self.page.inner_text(f'.cl-{name}')

    def wait(self, text): self.page.wait_for_selector(f'text={text}')

    def leave(self):
        self.context.close()
        self.content()

    def content(self): assert not self.problems, self.problems


@pytest.fixture(scope='module')
def regular(browser, server):
    cleaner = Cleaner(browser, server[0])
    yield cleaner
    cleaner.leave()


def forget(data):
    "Take back all that anybody has said"
    with Manifest(data, decide=True) as manifest:
        for by in {by for _,by,*_ in manifest.decisions()}:
            while manifest.undo(by): pass


@pytest.fixture
def anew(regular, data):
    "Somebody new, who has not seen what others did, at a page that is open already"
    def come():
        forget(data)
        regular.press('Escape', 'Escape')
        return regular.show(state='undecided', order='suspicion', species='', source='').become()
    yield come
    forget(data)
    regular.content()


@pytest.fixture
def visit(browser, server, data):
    "Opens new pages"
    cleaners = []
    def come(**options):
        cleaners.append(Cleaner(browser, server[0], **options))
        return cleaners[-1]
    yield come
    forget(data)
    for cleaner in cleaners: cleaner.leave()


@pytest.fixture
def kept(data):
    "What is on disk: what somebody has said about each photograph, in the order of suspicion"
    def ask(name, rows):
        with Manifest(data) as manifest: words = {photo: decision for photo,by,decision,*_ in manifest.decisions() if by == name}
        return [words.get(row.id, '') for row in rows]
    return ask


# --- deciding

def test_marks_are_on_disk_and_there_after_a_reload(visit, rows, kept):
    anna = visit().become('Anna')
    assert anna.page.title() == 'birdclf: cleaning' and anna.focus() == 0
    anna.press('k', 'd', '2', '1')
    anna.settled()
    assert anna.marks()[:5] == ['keep', 'drop', 'drop', 'keep', ''] and anna.focus() == 4
    assert kept('Anna', rows[:5]) == ['keep', 'drop', 'drop', 'keep', '']
    assert anna.read('tally').startswith(f'4 of {N} decided, 2 dropped')
    anna.press('ArrowLeft', '0')
    anna.settled()
    assert kept('Anna', rows[:5]) == ['keep', 'drop', 'drop', '', '']
    anna.reload().become('Anna').show(state='all')
    assert anna.marks()[:5] == ['keep', 'drop', 'drop', '', '']


def by_what_is_suspected_and_by_letters(guest, rows, data):
    "The first offer is what the machine suspects; otherwise a few letters of any name do, and an arrow"
    guest.press('ArrowRight', 'ArrowRight', 'r')
    guest.page.wait_for_selector('.cl-option')
    assert guest.page.inner_text('.cl-option[aria-selected=true] b') == 'Great Tit'
    guest.press('Enter')
    guest.settled()
    assert guest.tiles()[2] == ['Eurasian Blue Tit', 'is Great Tit'] and guest.focus() == 3
    guest.press('r')
    guest.page.keyboard.type('ringel')
    guest.page.wait_for_selector('text=Ringeltaube')
    guest.press('ArrowDown', 'Enter')
    guest.settled()
    assert guest.tiles()[3] == ['Mallard', f"is {BIRDS.find('Ringeltaube').english}"]
    guest.press('r')
    guest.page.keyboard.type('spatz')
    guest.page.wait_for_timeout(200)
    guest.press('Escape')
    assert guest.focus() == 4 and not guest.page.query_selector('.cl-panel')
    with Manifest(data) as manifest: labels = {photo: label for photo,by,decision,label,_ in manifest.decisions() if by == guest.name}
    assert labels == {rows[2].id: 'Parus major', rows[3].id: BIRDS.find('Ringeltaube').scientific}


def by_the_arrows(guest):
    guest.press('r')
    guest.page.keyboard.type('meise')
    guest.page.wait_for_function('''document.querySelectorAll('.cl-option').length > 2
        && [...document.querySelectorAll('.cl-option')].every(option => option.textContent.includes('meise'))''')
    names = guest.page.locator('.cl-option b').all_inner_texts()
    guest.press('ArrowDown', 'ArrowDown', 'ArrowDown', 'ArrowUp', 'Enter')
    guest.wait(f'is {names[1]}')
    guest.settled()
    guest.press('r')
    guest.page.keyboard.type('qqq')
    guest.wait('No bird in this list is called that')
    guest.press('Enter', 'Escape')
    assert guest.tiles()[1][1] == ''


def an_unknown_bird_is_no_bird(guest, typed):
    "Enter takes a whole name or what was walked to, and never the nearest spelling"
    guest.press('r')
    guest.page.keyboard.type(typed)
    guest.press('Enter')
    guest.wait(f'No bird in this list is called "{typed}".')
    assert guest.page.query_selector('.cl-relabel .cl-search') and not guest.page.query_selector('.cl-option[aria-selected=true]')
    guest.press('Escape')
    assert guest.marks()[:2] == ['', '']


def by_a_whole_name(guest):
    guest.press('r')
    guest.page.keyboard.type('great tit')
    guest.press('Enter')
    guest.wait('is Great Tit')
    guest.settled()
    assert guest.marks()[:2] == ['relabel', '']


def by_a_click(guest):
    guest.press('r')
    guest.page.keyboard.type('kohlm')
    guest.page.click('.cl-option:has-text("Kohlmeise")')
    guest.wait('is Great Tit')
    guest.settled()


def test_which_bird_it_is(anew, rows, data):
    "What is suspected is offered; letters, arrows, a whole name and a click do; what is no bird of ours is refused"
    by_what_is_suspected_and_by_letters(anew(), rows, data)
    for way in (by_the_arrows, by_a_whole_name, by_a_click): way(anew())
    guest = anew()
    for typed in ('Archaeopteryx', 'meise'): an_unknown_bird_is_no_bird(guest, typed)


def ranges(guest, rows, kept):
    guest.press('Shift+ArrowRight', 'Shift+ArrowRight', 'd')
    guest.settled()
    assert guest.marks()[:4] == ['drop']*3+['']
    tile = guest.page.locator('.cl-picture')
    tile.nth(6).click()
    tile.nth(9).click(modifiers=['Shift'])
    assert guest.read('chosen') == '4 selected'
    tile.nth(7).click(modifiers=['Control'])
    guest.press('k')
    guest.settled()
    assert kept(guest.name, rows[:10]) == ['drop']*3+['']*3+['keep', '', 'keep', 'keep']
    guest.press('Home', ' ', 'ArrowRight', 'Escape', 'End')
    guest.press('Control+a')
    assert guest.read('chosen') == f'{PAGE} selected'
    guest.press('d')
    guest.settled()
    assert guest.marks() == ['drop']*PAGE
    guest.press('u', 'u')
    guest.wait('Taken back')
    guest.page.wait_for_function("""['drop', 'keep'].map(word => document.querySelectorAll(`.cl-tile[data-decision=${word}]`).length).join() === '3,0'""")
    guest.settled()
    assert kept(guest.name, rows[:10]) == ['drop']*3+['']*7


def buttons_on_tiles(guest):
    guest.page.locator('.cl-deed.cl-drop').nth(3).click()
    guest.page.locator('.cl-deed.cl-keep').nth(5).click()
    guest.settled()
    assert guest.marks()[3:6] == ['drop', '', 'keep']
    guest.page.locator('.cl-deed.cl-relabel').nth(4).click()
    guest.page.keyboard.type('ringelt')
    guest.page.locator('.cl-option', has_text='Ringeltaube').click()
    guest.settled()
    assert guest.marks()[3:6] == ['drop', 'relabel', 'keep']


def keep_the_rest_and_take_it_back(guest, rows, kept):
    guest.press('d', 'd')
    guest.settled()
    assert guest.read('foot .cl-first') == f'Keep the rest ({PAGE-2})'
    guest.press('e')
    guest.turned(2)
    guest.settled()
    assert kept(guest.name, rows[:N]) == ['drop']*2+['keep']*(PAGE-2)+['']*(N-PAGE)
    guest.press('Control+z')
    guest.turned(1)
    guest.settled()
    assert guest.marks() == ['drop']*2+['']*(PAGE-2)
    guest.press('Control+Shift+z')
    guest.page.wait_for_function("document.querySelectorAll('.cl-tile[data-decision=keep]').length > 30")
    assert kept(guest.name, rows[:PAGE]) == ['drop']*2+['keep']*(PAGE-2)


def undo_without_limit(guest, rows, kept):
    guest.press(*'dk'*8)
    guest.settled()
    guest.press(*'u'*20)
    guest.wait('There is nothing to undo')
    assert kept(guest.name, rows) == ['']*len(rows) and set(guest.marks()) == {''}
    guest.press(*'y'*20)
    guest.wait('There is nothing to redo')
    assert kept(guest.name, rows[:16]) == ['drop', 'keep']*8


def copies(guest, rows, kept):
    assert guest.read('stack') == '3 copies' and guest.page.locator('.cl-tile').count() == PAGE
    guest.press(*['ArrowRight']*5, 'g')
    guest.wait('3 selected')
    assert guest.page.locator('.cl-tile').count() == PAGE+2 and guest.page.locator('.cl-copy').count() == 2
    guest.press('d')
    guest.settled()
    assert kept(guest.name, [rows[5], *rows[-2:]]) == ['drop']*3 and guest.read('tally').startswith(f'1 of {N}')
    guest.press('u')
    guest.wait('Taken back: 3 photographs')
    assert kept(guest.name, rows) == ['']*len(rows)


def test_choosing(anew, rows, kept):
    "Ranges, single buttons, the rest of a page, stacks of copies; and all of it can be taken back"
    buttons_on_tiles(anew())
    for way in (ranges, keep_the_rest_and_take_it_back, undo_without_limit, copies): way(anew(), rows, kept)


# --- looking closer

def one_large_picture(guest, rows, kept):
    guest.press('ArrowRight', 'z')
    panel = guest.page.locator('.cl-zoom[data-id]')
    panel.wait_for()
    assert guest.read('side h2') == 'Eurasian Blackbird' and 'Amsel' in guest.read('latin')
    assert guest.page.locator('.cl-why li').all_inner_texts() == ['probably not a bird', HTML]
    assert f'{HTML} no. 1' in guest.read('papers') and 'CC BY-SA 4.0' in guest.read('papers')
    link = guest.page.locator('.cl-papers a', has_text='commons')
    assert (link.get_attribute('href'), link.get_attribute('rel')) == ('https://example.org/1', 'noopener noreferrer')
    guest.press('d')
    guest.page.wait_for_selector(f'.cl-zoom[data-id="{rows[2].id}"]')
    assert kept(guest.name, rows[:3]) == ['', 'drop', '']
    guest.press('ArrowLeft')
    guest.page.wait_for_selector(f'.cl-zoom[data-id="{rows[1].id}"]')
    assert guest.read('said') == 'You: dropped'
    guest.press('u')
    guest.page.wait_for_function("document.querySelector('.cl-said')?.textContent === 'Undecided'")
    guest.press('r')
    guest.page.keyboard.type('kohlmeise')
    guest.page.wait_for_selector('text=Kohlmeise')
    guest.press('Enter')
    guest.page.wait_for_function("document.querySelector('.cl-said')?.textContent === 'You: is Great Tit'")
    guest.press('n', 'e', 'a', 'Escape')
    assert guest.focus() == 1 and guest.number() == 1 and guest.marks()[:3] == ['', 'relabel', '']


def walking_over_the_end_of_a_page(guest, rows):
    guest.press('End', 'Enter')
    guest.page.wait_for_selector(f'.cl-zoom[data-id="{rows[PAGE-1].id}"]')
    guest.press('ArrowRight')
    guest.page.wait_for_selector(f'.cl-zoom[data-id="{rows[PAGE].id}"]')
    guest.press('ArrowLeft')
    guest.page.wait_for_selector(f'.cl-zoom[data-id="{rows[PAGE-1].id}"]')
    guest.press('Escape')
    assert guest.number() == 1 and guest.focus() == PAGE-1


def double_click_and_help(guest, rows):
    guest.page.locator('.cl-picture').nth(4).dblclick()
    guest.page.wait_for_selector(f'.cl-zoom[data-id="{rows[4].id}"]')
    assert guest.page.evaluate("document.querySelector('.cl-large').naturalWidth") == 280
    guest.press('Escape', '?')
    assert 'keep everything else on this page' in guest.read('keys')
    assert guest.page.evaluate("[...document.querySelector('.cl-page').children].filter(n => n.inert).length") >= 3
    guest.press('Escape')
    assert guest.focus() == 4


BOX = (.25, .5, .5, .75) # Of a picture of 280 by 210 pixels, which is shown at most twice as large
FRAME = """() => {
    const image = document.querySelector('.cl-large'), outer = image.getBoundingClientRect(), {naturalWidth: w, naturalHeight: h} = image
    const scale = Math.min(outer.width/w, outer.height/h), left = outer.x+(outer.width-w*scale)/2, top = outer.y+(outer.height-h*scale)/2
    const frame = document.querySelector('.cl-spot').getBoundingClientRect()
    return [(frame.left-left)/w/scale, (frame.top-top)/h/scale, (frame.right-left)/w/scale, (frame.bottom-top)/h/scale]
}"""


def picture(guest, what):
    guest.page.wait_for_selector(f'.cl-figure[data-shown={what}]')
    return guest.page.evaluate("(({naturalWidth: w, naturalHeight: h}) => [w, h])(document.querySelector('.cl-large'))")


def the_bird_in_a_large_picture(guest, rows):
    "A frame around it in windows of any size; by key, click and button the bird alone and the whole again; and one in which nobody has found any"
    guest.press('ArrowRight', 'ArrowRight', 'z')
    for size in (dict(width=1280, height=850), dict(width=700, height=900), dict(width=1100, height=420)):
        guest.page.set_viewport_size(size)
        assert picture(guest, 'whole') == [280, 210]
        guest.page.wait_for_function(f'frame => {{ const found = ({FRAME})(); return found.every((edge, i) => Math.abs(edge-frame[i]) < .02) }}', arg=BOX)
    for way in (lambda: guest.press('b'), lambda: guest.page.click('.cl-figure'), lambda: guest.page.click('text="The bird"')):
        way()
        assert picture(guest, 'bird') == [140, 106] and guest.page.locator('.cl-spot').count() == 0 # The box and half as much on each side, in whole pixels
        way()
        assert picture(guest, 'whole') == [280, 210] and guest.page.locator('.cl-spot').count() == 1
    guest.press('b')
    picture(guest, 'bird')
    guest.press('ArrowRight')
    guest.page.wait_for_selector(f'.cl-zoom[data-id="{rows[3].id}"]')
    assert picture(guest, 'whole') == [280, 210] and guest.page.locator('.cl-spot').count() == guest.page.locator('text="The bird"').count() == 0
    guest.press('b')
    assert guest.read('note') == 'Nobody has found a bird in this one.'
    guest.page.click('.cl-figure')
    assert picture(guest, 'whole') == [280, 210]
    guest.press('Escape')


def test_the_bird_in_a_large_picture(anew, rows, data):
    with Looks(data, 'a model') as looks: looks.put_box(rows[2].sha256, BOX)
    the_bird_in_a_large_picture(anew(), rows)
    (data/'looks.sqlite').write_bytes(b'a shopping list') # Somebody else's: then nobody knows, and the page goes on
    guest = anew()
    guest.press('ArrowRight', 'ArrowRight', 'z')
    assert picture(guest, 'whole') == [280, 210] and guest.page.locator('.cl-spot').count() == 0
    (data/'looks.sqlite').unlink()


def test_looking_closer(anew, rows, kept):
    "With keys over the end of the page, or with two clicks"
    one_large_picture(anew(), rows, kept)
    for way in (walking_over_the_end_of_a_page, double_click_and_help): way(anew(), rows)


# --- filters and pages

def filters_lose_nothing(guest, rows, kept):
    guest.press('d', 'k')
    guest.settled()
    guest.show(state='drop')
    assert guest.marks() == ['drop']
    guest.show(state='undecided', species=PAINTED[3].scientific)
    assert {bird for bird,_ in guest.tiles()} == {'Mallard'}
    guest.show(source='inat')
    guest.wait('There is nothing here to look at')
    guest.show(source='', species='', order='species')
    assert [bird for bird,_ in guest.tiles()][0] == next(bird.english for bird in BIRDS if bird in PAINTED)
    guest.show(suspicious=True)
    assert all(guest.page.locator('.cl-reasons').all_text_contents())
    guest.show(suspicious=False)
    guest.show(state='all', order='suspicion')
    assert guest.marks()[:3] == ['drop', 'keep', ''] and kept(guest.name, rows[:2]) == ['drop', 'keep']


def what_another_program_writes_waits_for_a_reload(guest, rows, data):
    with Manifest(data, write=True) as manifest: manifest.update([replace(rows[20], score=2.)])
    guest.press('n', 'p')
    guest.turned(1)
    first = lambda: guest.page.get_attribute('.cl-tile', 'data-id')
    assert first() == rows[0].id
    guest.page.click('text=Reload')
    guest.page.wait_for_function("id => document.querySelector('.cl-tile')?.dataset.id === id", arg=rows[20].id)
    with Manifest(data, write=True) as manifest: manifest.update([rows[20]])
    guest.page.click('text=Reload')
    guest.page.wait_for_function("id => document.querySelector('.cl-tile')?.dataset.id === id", arg=rows[0].id)


def test_another_list(anew, rows, kept, data):
    "A changed filter loses nothing, and news are taken up when somebody asks for them"
    filters_lose_nothing(anew(), rows, kept)
    what_another_program_writes_waits_for_a_reload(anew(), rows, data)


def test_keyboard_only_from_start_to_end(visit, rows, kept):
    "The job of an evening without a mouse: wrong ones are dropped, the rest of each page is kept"
    anna = visit()
    for _ in range(12):
        anna.press('Shift+Tab')
        if anna.page.evaluate("document.activeElement.classList.contains('cl-me')"): break
    anna.press('Enter', *'Keys', 'Enter')
    anna.page.wait_for_function("document.querySelector('.cl-me').textContent === 'Keys' && document.activeElement.classList.contains('cl-tile')")
    for number in range(4):
        anna.turned(number+1)
        for place in range(anna.page.locator('.cl-tile').count()):
            if anna.page.evaluate("document.activeElement.querySelector('.cl-reasons').textContent.includes('not a bird')"): anna.press('d')
            else: anna.press('ArrowRight')
        anna.press('e')
        anna.settled()
    anna.page.wait_for_function(f"document.querySelector('.cl-tally').textContent.startsWith('{N} of {N} decided')")
    assert kept('Keys', rows[:N]) == ['drop' if number % 10 == 1 else 'keep' for number in range(N)]


# --- when something goes wrong

def kernels(server): return set(pythons(server[1]))


def test_a_kernel_that_is_killed(visit, server, rows, kept):
    before = kernels(server)
    anna = visit(script=IMPATIENT).become('Unlucky')
    kernel, = kernels(server)-before
    anna.press(*'ddkd')
    anna.settled()
    kernel.kill()
    anna.page.evaluate('window.impatient = true')
    anna.press('k')
    assert anna.tiles()[4][1] == 'saving: kept'
    anna.wait('There is no answer')
    anna.press('d')
    assert anna.tiles()[5][1] == ''
    with anna.page.expect_navigation(): anna.page.click('.cl-alarm button')
    anna.problems.clear()  # what the browser says of a dead kernel, at the latest as its page is left
    anna.reopened().become('Unlucky').show(state='all')
    assert anna.marks()[:6] == ['drop', 'drop', 'keep', 'drop', '', '']
    anna.press(*'uuu')
    anna.page.wait_for_function("document.querySelectorAll('.cl-tile[data-decision=drop]').length === 1")
    assert kept('Unlucky', rows[:5]) == ['drop', '', '', '', '']


def the_next_picture_waits_for_the_disk(guest, server, rows, kept):
    "As long as the kernel sleeps, the page does not turn"
    with asleep(server[1]):
        guest.press('d', 'n')
        guest.page.wait_for_timeout(300)
        assert guest.number() == 1 and guest.tiles()[0][1] == 'saving: dropped'
    guest.turned(2)
    assert kept(guest.name, rows[:1]) == ['drop']


def a_manifest_that_is_gone(guest, data, rows, kept):
    guest.press('d')
    guest.settled()
    (data/'manifest.sqlite').rename(data/'away.sqlite')
    try:
        guest.press('k')
        guest.wait('nothing was changed')
        guest.settled()
        assert guest.marks()[:3] == ['drop', '', ''] and str(data) not in guest.page.content()
    finally: (data/'away.sqlite').rename(data/'manifest.sqlite')
    guest.press('k')
    guest.settled()
    assert not guest.page.is_visible('.cl-alarm') and kept(guest.name, rows[:4]).count('keep') == 1


def test_nothing_is_said_to_be_kept_that_is_not(anew, server, data, rows, kept):
    "The page waits for the disk, and says so if there is none"
    the_next_picture_waits_for_the_disk(anew(), server, rows, kept)
    a_manifest_that_is_gone(anew(), data, rows, kept)


# --- two people

def test_two_people(visit, rows):
    ida, ben = visit().become('Ida A'), visit().become('Ben B')
    ida.press(*'ddkk')
    ida.settled()
    assert 'Ida' not in ben.page.inner_text('.cl-scroller') and ben.marks()[:4] == ['']*4
    before = ben.page.get_attribute('.cl-grid', 'data-page')
    ben.page.click('text=Reload')
    ben.page.wait_for_function("before => document.querySelector('.cl-grid').dataset.page !== before", arg=before)
    ben.press(*'dkk')
    ben.settled()
    assert ben.page.locator('.cl-others').all_inner_texts()[:4] == ['Ida A: dropped', 'Ida A: dropped', 'Ida A: kept', '']
    assert 'you and Ida A agree on 2 of 3' in ben.read('tally')
    ben.show(state='disputed')
    assert rows[1].id in ben.page.evaluate("[...document.querySelectorAll('.cl-tile')].map(tile => tile.dataset.id)")
    assert ida.marks()[:4] == ['drop', 'drop', 'keep', 'keep']


# --- looks

def test_a_phone(visit, rows, kept):
    anna = visit(**PHONE).become('Thumb')
    fits = lambda: anna.page.evaluate('''document.documentElement.scrollWidth <= innerWidth
        && [...document.querySelectorAll('.cl-foot button')].every(b => b.getBoundingClientRect().right <= innerWidth)''')
    assert fits() and anna.page.evaluate("getComputedStyle(document.querySelector('.cl-row')).gridTemplateColumns.split(' ').length") == 2
    low = "all => all.filter(b => b.checkVisibility() && b.getBoundingClientRect().height < 44).map(b => b.className)"
    assert anna.page.locator('.cl-page button, .cl-page select, .cl-page input').evaluate_all(low) == []
    anna.page.tap('.cl-deed.cl-drop >> nth=0')
    for place in (1, 2): anna.page.locator('.cl-picture').nth(place).tap()
    assert anna.read('chosen') == '2 selected'
    anna.page.tap('.cl-foot .cl-keep')
    anna.settled()
    assert kept('Thumb', rows[:4]) == ['drop', 'keep', 'keep', '']
    anna.page.tap('.cl-fold')
    assert anna.page.is_visible('.cl-filters') and fits()
    anna.page.tap('.cl-fold')
    anna.page.locator('.cl-picture').nth(3).dispatch_event('pointerdown', dict(pointerType='touch', bubbles=True))
    anna.page.wait_for_selector('.cl-zoom[data-id]')
    assert fits() and anna.page.evaluate("document.querySelector('.cl-side .cl-drop').getBoundingClientRect().bottom < innerHeight")
    anna.page.tap('.cl-side .cl-drop')
    anna.page.wait_for_selector(f'.cl-zoom[data-id="{rows[4].id}"]')
    anna.page.tap('text=Close')
    anna.page.tap('.cl-undo')
    anna.wait('Taken back: 1 photograph')
    anna.page.tap('.cl-foot .cl-first')
    anna.turned(2)
    assert kept('Thumb', rows[:PAGE]) == ['drop']+['keep']*(PAGE-1)


def lines_that_are_read_aloud_are_there_before_they_speak(guest):
    def spoken():
        nodes = guest.context.new_cdp_session(guest.page).send('Accessibility.getFullAXTree')['nodes']
        return sorted(n['role']['value'] for n in nodes if not n['ignored'] and n['role']['value'] in ('status', 'alert'))
    guest.page.wait_for_function("!document.querySelector('.cl-note').textContent")
    assert spoken() == ['alert', 'status'] and not guest.page.is_visible('.cl-note') and not guest.page.is_visible('.cl-alarm')


def without_colours(guest):
    "Windows' high contrast: how far we are, which photograph is in focus, and what was decided"
    guest.press('k')
    guest.settled()
    guest.page.emulate_media(forced_colors='active')
    try:
        guest.page.evaluate("document.querySelector('.cl-part').style.width = '50%'")
        guest.page.wait_for_timeout(400)
        bar = Image.open(BytesIO(guest.page.locator('.cl-track').screenshot())).convert('L')
        full, empty = (bar.getpixel((round(at*bar.width), bar.height//2)) for at in (.25, .75))
        assert abs(full-empty) > 60
        styles = guest.page.evaluate("""['.cl-focus', '.cl-tile:not(.cl-focus)', '.cl-tile .cl-keep', '.cl-tile:not([data-decision=keep]) .cl-keep']
            .map(name => getComputedStyle(document.querySelector(name))).map(style => [style.outlineStyle, style.backgroundColor])""")
        assert styles[0][0] == 'solid' and styles[1][0] == 'none' and styles[2][1] != styles[3][1]
    finally: guest.page.emulate_media(forced_colors='none')


def no_word_is_broken(guest, width, size):
    "In the grid, in one large picture, in the search"
    before = guest.page.viewport_size
    guest.page.set_viewport_size(dict(width=width, height=850))
    guest.page.evaluate("size => { document.documentElement.style.fontSize = size + '%' }", size)
    try:
        for keys in ('', 'r', '?', 'z'):
            if keys: guest.press(keys)
            guest.page.wait_for_timeout(300)
            assert not [word for word in guest.page.evaluate(BREAKS) if word not in HTML], keys
            if keys: guest.press('Escape')
    finally:
        guest.page.evaluate("document.documentElement.style.fontSize = ''")
        guest.page.set_viewport_size(before)


def by_night(guest):
    light = lambda name: sum(map(int, re.findall(r'\d+', guest.page.evaluate(f"getComputedStyle(document.querySelector('.cl-page')).{name}"))[:3]))
    assert light('backgroundColor') > light('color')
    guest.page.emulate_media(color_scheme='dark')
    assert light('backgroundColor') < light('color')
    guest.page.emulate_media(color_scheme='light')


def for_screen_readers(guest):
    guest.press('d')
    guest.settled()
    page = guest.page
    assert page.locator('[role=grid][aria-multiselectable=true] > [role=row] > [role=gridcell]').count() == PAGE
    assert page.locator('[role=gridcell]').first.get_attribute('aria-label') == 'European Robin, dropped'
    assert 'probably not a bird' in page.locator('[role=gridcell]').nth(1).get_attribute('aria-label')
    assert page.locator('[role=gridcell][tabindex="0"]').count() == 1
    nameless = 'all => all.filter(node => !(node.textContent.trim() || node.ariaLabel || node.labels?.length)).map(node => node.className)'
    assert page.locator('.cl-page button, .cl-page select, .cl-page input').evaluate_all(nameless) == []
    assert page.evaluate("getComputedStyle(document.querySelector('.cl-focus')).boxShadow") != 'none'


def test_for_all_eyes(anew):
    "By night, in large letters, in a narrow window, without colours, and for those who have it read to them"
    guest = anew()
    lines_that_are_read_aloud_are_there_before_they_speak(guest)
    by_night(guest)
    for width in (390, 1280):
        for size in (100, 200): no_word_is_broken(guest, width, size)
    for look in (without_colours, for_screen_readers): look(anew())


# --- pace

TURN = '''key => new Promise(done => {
    const old = document.querySelector('.cl-row'), root = document.querySelector('.cl-focus'), start = performance.now()
    const look = async () => {
        const images = [...document.querySelectorAll('.cl-row .cl-picture')]
        const there = document.querySelector('.cl-row') !== old && images.length === 40 && images.every(image => image.complete && image.naturalWidth)
        if (!there) return setTimeout(look, 2)
        await Promise.all(images.map(image => image.decode()))
        done(performance.now() - start)
    }
    root.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))
    look()
})'''
LIVE = '''
window.live = new Set()
const make = URL.createObjectURL, end = URL.revokeObjectURL
URL.createObjectURL = blob => { const url = make.call(URL, blob); live.add(url); return url }
URL.revokeObjectURL = url => { live.delete(url); end.call(URL, url) }
'''


def test_pace_and_memory_until_the_server_is_gone(browser, tmp_path):
    "From the key to forty decoded pictures; after a pause the next page is there before anybody asks for it; and what is left behind"
    fill(tmp_path, 8*PAGE)
    with served(tmp_path/'log.txt', *command(tmp_path)) as server:
        cleaner = Cleaner(browser, server[0], script=LIVE+IMPATIENT)
        kernel, = kernels(server)
        hurried = [cleaner.page.evaluate(TURN, 'n') for _ in range(7)]
        busy = load()
        cleaner.page.evaluate(TURN, 'p')
        cleaner.page.wait_for_function('n => live.size >= n', arg=3*PAGE)
        with asleep(server[1]): cleaner.page.evaluate(TURN, 'p')
        for _ in range(5): cleaner.page.evaluate(TURN, 'p')
        memory = []
        for number in range(80):
            cleaner.page.evaluate(TURN, 'n' if number//7 % 2 == 0 else 'p')
            if number in (19, 79): memory.append(kernel.memory_info().rss)
        print(f'median {median(hurried):.0f} ms, worst {max(hurried):.0f}, where work takes {busy} times as long as it could; '
              f'kernel {(memory[1]-memory[0])/2**20:+.1f} MB over 60 pages')
        assert median(hurried) <= 300*max(busy, load())
        assert memory[1]-memory[0] < 8*2**20
        assert cleaner.page.evaluate('live.size') <= 5*PAGE+1
        cleaner.content()
    cleaner.press('d')
    cleaner.wait('There is no answer')
    assert 'saved may be lost' in cleaner.read('alarm') and cleaner.page.locator('.cl-saving').count() == 1
    cleaner.context.close()


# --- the script by itself, as in a notebook

def shown(number):
    return dict(id=f'{number:016x}', names=dict(german='', english=f'Bird {number}', scientific=f'Avis {number}'), reasons=[], source='inat',
                copies=1, top=True, picture=None, fault='No picture.', decision='', label='', others=[])


@pytest.fixture
def notebook(browser):
    "Opens the widget in pages that are not its own, with a kernel that answers when it is told to"
    pages = []
    def show():
        pages.append(in_a_notebook(browser))
        return pages[-1]
    yield show
    for page in pages: page.close()


def in_a_notebook(browser):
    page = browser.new_page(viewport=dict(width=1000, height=900))
    page.set_default_timeout(1000*PATIENCE)
    status = dict(by='Ida', overall=[80, 0, 0], birds={}, pace=None, minutes=None, agreement={})
    now = dict(order='suspicion', species='', source='', state='undecided', suspicious=False)
    choices = dict(order=dict(suspicion='suspicious'), state=dict(undecided='undecided'), source=['inat'], species=[])
    reply = dict(kind='open', list=1, number=0, pages=2, count=80, status=status, filters=now, choices=choices, photos=[shown(n) for n in range(40)])
    page.set_content('<input id="cell"><div id="out"></div>')
    page.focus('#cell')
    page.evaluate('''async ([script, style, open, second]) => {
        const {default: {render}} = await import(URL.createObjectURL(new Blob([script], {type: 'text/javascript'})))
        document.head.append(Object.assign(document.createElement('style'), {textContent: style}))
        window.sent = []
        window.open_keys = 0
        document.addEventListener('keydown', () => { open_keys += 1 })
        const model = {get: () => null, on: (_, act) => { window.say = act }, off: () => {}, send: message => {
            sent.push(message)
            const {kind, number, seq, view} = message
            if (kind === 'open') setTimeout(() => say({...open, seq, view}, []))
            if (kind === 'page') setTimeout(() => say({kind, list: 1, number, photos: second, seq, view}, []))
        }}
        window.leave = render({model, el: document.querySelector('#out')})
    }''', [*FRONT, reply, [shown(n) for n in range(40, 80)]])
    page.wait_for_selector('.cl-tile')
    return page


def last(page): return page.evaluate('sent.at(-1)')


def answer(page, message, **more): page.evaluate('m => say(m, [])', dict(kind=message['kind'], seq=message['seq'], view=message['view'], **more))


def test_a_drop_may_say_that_it_shows_a_stranger(notebook):
    "One key more than a bad photograph; and a button where a bird was looked for in the list"
    alone = notebook()
    alone.locator('.cl-frame').nth(2).click()
    for number, (key, label) in enumerate((('d', ''), ('4', 'no bird'), ('5', 'another bird')), 1):
        alone.keyboard.press(key)
        alone.wait_for_function("n => sent.filter(message => message.kind === 'decide').length === n", arg=number)
        said = last(alone)
        assert (said['kind'], said['decision'], said.get('label', '')) == ('decide', 'drop', label)
        answer(alone, said, changed=[], status=dict(by='Ida', overall=[80, 1, 1], birds={}, pace=None, minutes=None, agreement={}))
    alone.keyboard.press('r')
    alone.get_by_role('button', name='A bird that is not in the list').click()
    alone.wait_for_function("() => sent.filter(message => message.kind === 'decide').length === 4")
    said = last(alone)
    assert (said['kind'], said['decision'], said['label']) == ('decide', 'drop', 'another bird') and alone.locator('.cl-panel').count() == 0


def test_it_takes_no_keys_that_are_not_meant_for_it(notebook):
    alone = notebook()
    assert alone.evaluate("document.activeElement.id") == 'cell'
    alone.keyboard.type('dd')
    assert alone.input_value('#cell') == 'dd' and all(message['kind'] != 'decide' for message in alone.evaluate('sent'))
    assert alone.locator('.cl-tile, .cl-page button, .cl-page select').evaluate_all("all => all.every(node => node.hasAttribute('data-lm-suppress-shortcuts'))")
    alone.locator('.cl-frame').nth(2).click()
    before = alone.evaluate('open_keys')
    alone.keyboard.press('d')
    assert last(alone)['photos'] == [f'{2:016x}'] and alone.evaluate('open_keys') == before
    for key in ('x', '?', 'Escape', 'ArrowRight', 'r', 'q', 'Escape', 'z', 'Escape', 'b', 'Tab', 'e', 'd'): alone.keyboard.press(key)
    assert alone.evaluate('open_keys') == before and alone.evaluate("document.querySelector('.cl-page').contains(document.activeElement)")
    alone.keyboard.press('Control+Alt+s')
    assert alone.evaluate('open_keys') > before


def a_refused_decision_shows_what_is_true(alone):
    alone.locator('.cl-frame').first.click()
    alone.keyboard.press('d')
    assert alone.inner_text('.cl-badge') == 'saving: dropped'
    answer(alone, last(alone) | dict(kind='failed'), sentence=f'The disk is full {HTML}.', changed=[dict(id=f'{0:016x}', decision='keep', label='', others=[])])
    alone.wait_for_function("document.querySelector('.cl-badge').textContent === 'kept'")
    assert alone.inner_text('.cl-alarm') == f'The disk is full {HTML}.' and not alone.query_selector('.cl-alarm img')


def one_decision_is_sent_after_the_other(alone):
    alone.locator('.cl-frame').first.click()
    for key in 'dkn': alone.keyboard.press(key)
    decisions = lambda: [message for message in alone.evaluate('sent') if message['kind'] == 'decide']
    for number in range(2):
        alone.wait_for_function('n => sent.filter(m => m.kind === "decide").length === n', arg=number+1)
        assert alone.inner_text('.cl-where') == '1 / 2'
        told = decisions()[number]
        answer(alone, told, changed=[dict(id=told['photos'][0], decision=told['decision'], label='', others=[])])
    alone.wait_for_function("document.querySelector('.cl-where').textContent === '2 / 2'")


def a_second_view_hears_the_news_and_not_the_answers(alone):
    alone.locator('.cl-frame').first.click()
    alone.keyboard.press('d')
    told = last(alone)
    answer(alone, told | dict(view='another'), changed=[dict(id=f'{3:016x}', decision='keep', label='', others=[])])
    assert alone.locator('.cl-badge').nth(3).inner_text() == 'kept'
    assert alone.inner_text('.cl-badge') == 'saving: dropped'


def nothing_is_heard_after_leaving(alone):
    alone.evaluate('leave()')
    alone.locator('.cl-frame').first.click()
    alone.keyboard.press('d')
    assert all(message['kind'] != 'decide' for message in alone.evaluate('sent'))


def test_talking_in_a_notebook(notebook):
    "Refusals, the order of what is sent, a second view of the same widget, and the end"
    for part in (a_refused_decision_shows_what_is_true, one_decision_is_sent_after_the_other,
                 a_second_view_hears_the_news_and_not_the_answers, nothing_is_heard_after_leaving): part(notebook())

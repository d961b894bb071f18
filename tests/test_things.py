"What a reader of the book can move, in a real browser: a page from the disk, no server, no network"
import json
import re
from base64 import b64decode, b64encode
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from PIL import Image

from birdclf.bundle import Thresholds, load_bundle
from birdclf.classify import Classifier
from birdclf.evaluate import open_set
from birdclf.frontend import Thing, thing_files
from birdclf.site import build_site, site_files
from birdclf.testing import PATIENCE
from pictures import file_of
from test_page import browser # noqa: F401
from test_site import host, runtime # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
PAGE = '''<!doctype html><html lang="en" data-theme="{theme}" data-content_root="{content}"><meta charset="utf-8"><title>A chapter</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,"><link rel="stylesheet" href="{static}{name}.css">
<body style="margin: 16px">{thing}<script defer src="{static}{name}.js"></script></body></html>'''
LIMITS = Thresholds(bird=.9, known=.7, coverage=.9)


def cell_of(chapter, id):
    "A cell's source without what is for the reader alone: its last line, which shows something"
    cells = json.loads((ROOT/'nbs'/f'{chapter}.ipynb').read_text(encoding='utf-8'))['cells']
    return next(cell for cell in cells if cell['id'] == id)


def invented(seed=0, species=5, n=900):
    "What a network may have said of so many photographs, and what was in them"
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, species+2, n)
    said = rng.normal(size=(n, species+2)).astype(np.float32)*2
    said[np.arange(n), truth] += 4
    return said, truth


@pytest.fixture(scope='module')
def counting():
    "The two functions of the cell that counts for the page"
    names = {'np': np, 'open_set': open_set}
    exec(''.join(cell_of('44_evaluate', '71a90103')['source']).rpartition('\nknows =')[0], names)
    return names


def chapter(thing, theme='light', content='./', static=''):
    return PAGE.format(theme=theme, content=content, static=static, name=thing.name, thing=thing._repr_html_())


class Reader:
    "Somebody in front of a page of the book"
    def __init__(self, browser, folder, thing, theme='light', **options): # noqa: F811
        for name, data in thing_files(ROOT/'birdclf'/'front').items(): (folder/name).write_bytes(data)
        (folder/'page.html').write_text(chapter(thing, theme), encoding='utf-8')
        self.context = browser.new_context(**dict(dict(viewport=dict(width=1200, height=850)), **options))
        self.context.set_default_timeout(1000*PATIENCE)
        self.page, self.problems, self.asked = self.context.new_page(), [], []
        self.page.on('console', lambda message: self.problems.append(message.text) if message.type in ('error', 'warning') else None)
        self.page.on('pageerror', lambda error: self.problems.append(str(error)))
        self.page.on('request', lambda request: self.asked.append(request.url))
        self.page.goto((folder/'page.html').as_uri())

    def numbers(self): return [int(text.replace(',', '')) for text in self.page.locator('.thing-count b').all_inner_texts()]


@pytest.fixture
def read(browser, tmp_path): # noqa: F811
    readers = []
    def open_it(*given, **options):
        readers.append(Reader(browser, tmp_path, *given, **options))
        return readers[-1]
    yield open_it
    for reader in readers:
        reader.context.close()
        assert reader.problems == []
        assert [url for url in reader.asked if not url.startswith((f'{tmp_path.as_uri()}/', 'data:'))] == []


def by_hand(said, truth, threshold, species=5):
    "Photographs of the species that keep their right name, and strangers with a name"
    bird, known = open_set(said.astype(float))
    named = (bird >= LIMITS.bird)&(known >= threshold)
    return [int((named&(said[:,:species].argmax(1) == truth)).sum()), int((named&(truth >= species)).sum())]


def test_the_counts_are_numpys_wherever_the_threshold_is(read, counting):
    said, truth = invented()
    knows = counting['to_move'](said, truth, 5, LIMITS)
    reader = read(Thing('threshold', knows, counting['as_table'](knows)))
    slider = reader.page.get_by_role('slider')
    assert reader.numbers() == by_hand(said, truth, LIMITS.known)
    seen = {tuple(reader.numbers())}
    for step in (0, 9, 22, 38):
        slider.fill(str(step))
        odds = np.log(LIMITS.known/(1-LIMITS.known))+.25*(step-14)
        assert reader.numbers() == by_hand(said, truth, 1/(1+np.exp(-odds)))
        shown = re.search(r'0\.(\d+)', slider.get_attribute('aria-valuetext'))
        assert len(shown[1])>=2 and abs(float(shown[0])-1/(1+np.exp(-odds)))<=.51*10**-len(shown[1])
        assert reader.page.locator('.thing-column[data-named]').count() == 39-step
        seen.add(tuple(reader.numbers()))
    assert len(seen) == 5


def test_the_keyboard_moves_it_and_a_button_moves_it_back(read, counting):
    said, truth = invented(1)
    knows = counting['to_move'](said, truth, 5, LIMITS)
    reader = read(Thing('threshold', knows, ''))
    back, slider, start = reader.page.get_by_role('button'), reader.page.get_by_role('slider'), reader.numbers()
    assert back.is_disabled() and 'as on the page' in slider.get_attribute('aria-valuetext')
    reader.page.keyboard.press('Tab')
    assert slider.evaluate('node => node === document.activeElement')
    for _ in range(3): reader.page.keyboard.press('ArrowRight')
    assert slider.input_value() == '17' and reader.numbers() == by_hand(said, truth, 1/(1+np.exp(-np.log(7/3)-.75)))
    reader.page.keyboard.press('Home')
    assert slider.input_value() == '0' and reader.numbers() > start
    assert reader.page.locator('output').get_attribute('aria-live') == 'polite'
    back.click()
    assert reader.numbers() == start and slider.input_value() == '14'


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_on_a_telephone_a_finger_moves_it(read, counting, theme):
    knows = counting['to_move'](*invented(2), 5, LIMITS)
    reader = read(Thing('threshold', knows, ''), theme, viewport=dict(width=390, height=844), has_touch=True, is_mobile=True, color_scheme=theme)
    start, slider = reader.numbers(), reader.page.get_by_role('slider')
    assert reader.page.evaluate('document.documentElement.scrollWidth') <= 390
    box = slider.bounding_box()
    assert box['height'] >= 44 and reader.page.get_by_role('button').bounding_box()['height'] >= 44
    slider.tap(position=dict(x=box['width']*.8, y=22))
    assert reader.numbers() < start and int(slider.input_value()) > 25
    line, thumb = reader.page.locator('.thing-line:not(.thing-page)').bounding_box(), (int(slider.input_value())+1)/40
    field = reader.page.locator('.thing-field').bounding_box()
    assert abs(line['x']+line['width']/2-field['x']-thumb*field['width']) < 2


def test_without_a_script_the_table_says_the_same(read, counting):
    said, truth = invented(3)
    knows = counting['to_move'](said, truth, 5, LIMITS)
    reader = read(Thing('threshold', knows, counting['as_table'](knows)), java_script_enabled=False)
    row = next(row for row in reader.page.locator('tr').all_inner_texts() if 'the page' in row)
    kept, strangers = by_hand(said, truth, LIMITS.known)
    assert row.split('\t')[1].startswith(f'{kept:,} of') and row.split('\t')[3].startswith(f'{strangers:,} of')


def shown(chapter, id):
    "The thing that a cell shows: what its script knows, and its HTML"
    outputs = cell_of(chapter, id)['outputs']
    html = next(''.join(output['data']['text/html']) for output in outputs if 'text/html' in output.get('data', {}))
    return json.loads(BeautifulSoup(html, 'html.parser').select_one('.thing')['data-knows']), html


@pytest.mark.parametrize('name, chapter, id', [('threshold', '44_evaluate', '71a90103'), ('garden', '54_find', '71a90306')])
def test_it_is_light(name, chapter, id):
    files = thing_files(ROOT/'birdclf'/'front')
    assert len(files[f'{name}.js'])+len(files[f'{name}.css'])+len(shown(chapter, id)[1]) < 100_000


def test_what_the_book_shows_is_what_the_chapter_says():
    "The page's threshold is the shipped one"
    knows, _ = shown('44_evaluate', '71a90103')
    shipped = json.loads((ROOT/'birdclf'/'bundle'/'bundle.json').read_text(encoding='utf-8'))['thresholds']['known']
    assert 1/(1+np.exp(-knows['first']-knows['width']*knows['shipped'])) == pytest.approx(shipped, abs=1e-4)
    assert len(knows['right']) == len(knows['wrong']) == len(knows['strangers']) == 40


# --- the garden with a frame

ASKED = dict(size=(400, 300), squares=[(x, y, 100, x//100+4*(y//100)) for y in (0, 100, 200) for x in (0, 100, 200, 300)],
             said=[f'It is bird number {i}.' for i in range(12)], start=(.25, .3333, .5, .6667))


@pytest.fixture(scope='module')
def meadow():
    picture = b64encode(file_of(Image.new('RGB', (400, 300), '#9bb56d'), 'PNG')).decode()
    return Thing('garden', ASKED, f'<img src="data:image/png;base64,{picture}" alt="A meadow"><p>It is bird number 5.</p>')


def said(reader): return reader.page.locator('output').inner_text()


def dragged(page, frame, across, down):
    box = frame.bounding_box()
    x, y = box['x']+box['width']/2, box['y']+box['height']/2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x+across, y+down, steps=5)
    page.mouse.up()


def test_a_frame_is_dragged_and_the_answer_changes(read, meadow):
    reader = read(meadow)
    frame, scene = reader.page.get_by_role('button', name='The frame'), reader.page.locator('.thing-scene').bounding_box()
    assert said(reader) == 'It is bird number 5.'
    dragged(reader.page, frame, scene['width']/4, scene['height']/3)
    assert said(reader) == 'It is bird number 10.'
    square, shown = reader.page.locator('.thing-square').bounding_box(), frame.bounding_box()
    assert abs(square['x']+square['width']/2-shown['x']-shown['width']/2) < 4
    assert reader.page.get_by_text('Ask the network').count() == 0 and 'of 12 is most like your frame' in reader.page.inner_text('.thing-from')


def test_keys_move_the_frame(read, meadow):
    reader = read(meadow)
    reader.page.keyboard.press('Tab')
    for _ in range(30): reader.page.keyboard.press('ArrowLeft')
    assert said(reader) == 'It is bird number 4.'
    for _ in range(30): reader.page.keyboard.press('ArrowDown')
    assert said(reader) == 'It is bird number 8.'


@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_a_finger_moves_the_frame_on_a_telephone(read, meadow, theme):
    reader = read(meadow, theme, viewport=dict(width=390, height=844), has_touch=True, is_mobile=True, color_scheme=theme)
    assert reader.page.evaluate('document.documentElement.scrollWidth') <= 390
    session = reader.context.new_cdp_session(reader.page)
    box = reader.page.get_by_role('button', name='The frame').bounding_box()
    x, y = box['x']+box['width']/2, box['y']+box['height']/2
    def touch(kind, *points): session.send('Input.dispatchTouchEvent', dict(type=kind, touchPoints=[dict(x=x, y=y) for x, y in points]))
    touch('touchStart', (x, y))
    for step in range(1, 6): touch('touchMove', (x, y-step*18))
    touch('touchEnd')
    assert said(reader) == 'It is bird number 1.'


def test_without_a_script_there_is_a_picture_and_an_answer(read, meadow):
    reader = read(meadow, java_script_enabled=False)
    assert reader.page.get_by_role('img', name='A meadow').is_visible() and reader.page.get_by_text('It is bird number 5.').is_visible()


def test_the_answers_in_the_book_are_those_of_the_program():
    knows, html = shown('54_find', '71a90306')
    data = b64decode(re.search(r'base64,([^"]+)', html)[1])
    classifier, (width, height) = Classifier(load_bundle()), knows['size']
    kinds = [next(square for square in knows['squares'] if word in knows['said'][square[3]]) for word in ('Blackbird (Amsel, Turdus merula): ', 'It is a European Robin', 'White Stork', 'Not a bird')]
    for x, y, side, which in kinds:
        assert classifier.classify(data, box=(x/width, y/height, (x+side)/width, (y+side)/height)).reason == knows['said'][which]


def test_beside_the_page_the_network_answers(browser, runtime, tmp_path): # noqa: F811
    "For the frame as it is, and as the program does; before that the table, and nothing is fetched that was not asked for"
    knows, html = shown('54_find', '71a90306')
    thing = Thing('garden', knows, re.search(r'<img[^>]*>', html)[0])
    book, page = tmp_path/'book', tmp_path/'book'/'nbs'/'54_find.html'
    (book/'_static').mkdir(parents=True)
    page.parent.mkdir()
    page.write_text(chapter(thing, content='../', static='../_static/'), encoding='utf-8')
    for name, data in thing_files(ROOT/'birdclf'/'front').items(): (book/'_static'/name).write_bytes(data)
    build_site(tmp_path/'site', site_files(load_bundle(), runtime, book=True), book)
    with host(tmp_path/'site') as server:
        context = browser.new_context(viewport=dict(width=900, height=900))
        context.set_default_timeout(1000*PATIENCE)
        window, problems, before = context.new_page(), [], None
        window.on('console', lambda message: problems.append(message.text) if message.type == 'error' else None)
        window.on('pageerror', lambda error: problems.append(str(error)))
        window.goto(f'{server.address}book/nbs/54_find.html')
        button = window.get_by_role('button', name='Ask the network itself')
        assert re.search(r'\d\.\d MB, once', button.inner_text())
        before = list(server.asked)
        button.click()
        window.get_by_text('just now, in your browser').wait_for()
        scene = window.locator('.thing-scene').bounding_box()
        for across, down in ((0, 0), (.03, -.02)):
            dragged(window, window.get_by_role('button', name='The frame'), across*scene['width'], down*scene['height'])
            window.get_by_text('just now, in your browser').wait_for()
            style = window.locator('.bc-frame').evaluate("node => ['left', 'top', 'width', 'height'].map(name => parseFloat(node.style.getPropertyValue('--' + name)) / 100)")
            left, top, width, height = style
            there = Classifier(load_bundle()).classify(b64decode(re.search(r'base64,([^"]+)', html)[1]), box=(left, top, left+width, top+height))
            assert window.locator('output').inner_text() == there.reason
        context.close()
    assert problems == [] and not [path for path in before if '/page/' in path]
    assert [path for path in server.asked if 'model-' in path]


def test_a_book_without_the_page_is_told_nothing(tmp_path):
    "And a site without what names birds offers nothing that it does not have"
    (tmp_path/'book'/'_static').mkdir(parents=True)
    (tmp_path/'book'/'_static'/'garden.js').write_text('const a = 1\n', encoding='utf-8')
    build_site(tmp_path/'site', site_files(load_bundle(), None, book=True), tmp_path/'book')
    assert (tmp_path/'site'/'book'/'_static'/'garden.js').read_text(encoding='utf-8') == 'const a = 1\n'

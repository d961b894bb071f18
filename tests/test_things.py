"What a reader of the book can move, in a real browser: a page from the disk, no server, no network"
import json
from pathlib import Path

import numpy as np
import pytest

from birdclf.bundle import Thresholds
from birdclf.evaluate import open_set
from birdclf.frontend import Thing, thing_files
from birdclf.testing import PATIENCE
from test_page import browser # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
PAGE = '''<!doctype html><html lang="en" data-theme="{theme}" data-content_root="./"><meta charset="utf-8"><title>A chapter</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="{name}.css">
<body style="margin: 16px">{thing}<script defer src="{name}.js"></script></body></html>'''
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


class Reader:
    def __init__(self, browser, folder, thing, theme='light', **options): # noqa: F811
        for name, data in thing_files(ROOT/'birdclf'/'front').items(): (folder/name).write_bytes(data)
        (folder/'page.html').write_text(PAGE.format(theme=theme, name=thing.name, thing=thing._repr_html_()), encoding='utf-8')
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
        assert [url for url in reader.asked if not url.startswith(f'{tmp_path.as_uri()}/')] == []


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
        assert f'{1/(1+np.exp(-odds)):.2f}' in slider.get_attribute('aria-valuetext')
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


def test_what_the_book_shows_is_what_the_chapter_says():
    "The page's threshold is the shipped one, and nothing that is shown is larger than it need be"
    data = cell_of('44_evaluate', '71a90103')['outputs'][0]['data']
    html = ''.join(data['text/html'])
    from bs4 import BeautifulSoup
    thing = BeautifulSoup(html, 'html.parser').select_one('[data-thing=threshold]')
    knows = json.loads(thing['data-knows'])
    shipped = json.loads((ROOT/'birdclf'/'bundle'/'bundle.json').read_text(encoding='utf-8'))['thresholds']['known']
    assert 1/(1+np.exp(-knows['first']-knows['width']*knows['shipped'])) == pytest.approx(shipped, abs=1e-4)
    assert len(knows['right']) == len(knows['wrong']) == len(knows['strangers']) == 40
    files = thing_files(ROOT/'birdclf'/'front')
    assert all(len(data)+len(html) < 100_000 for data in files.values())

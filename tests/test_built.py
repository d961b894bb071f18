"The whole book, as `make book` builds it, in a real browser: fit for a telephone, for the night, and for those with other eyes and hands"
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from test_page import browser # noqa: F401 (a fixture)
from test_site import axe # noqa: F401 (a fixture)

from birdclf.book import check_book

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT/'_build'/'html'
LOOKED_AT = ['nbs/index', 'nbs/story', 'nbs/69_own_birds', 'nbs/12_download', 'nbs/44_evaluate', 'nbs/51_classify', 'nbs/52_app', 'search', 'genindex']
SEVERE = '''axe.run(document, {resultTypes: ["violations"]}).then(({violations}) => violations
    .filter(({impact}) => ["serious", "critical"].includes(impact))
    .map(({id, nodes}) => `${id}: ${nodes.length} times, as in ${nodes[0].html.slice(0, 200)}`))'''


def made_of():
    "The files that the book is made of"
    parts = [ROOT/'_config.yml', ROOT/'_toc.yml', *(ROOT/'nbs').rglob('*'), *(ROOT/'birdclf').rglob('*')]
    return [path for path in parts if path.is_file() and path.suffix != '.pyc' and '.ipynb_checkpoints' not in path.parts]


@pytest.fixture(scope='module')
def pages(tmp_path_factory):
    "The book that `make book` has left; if that is older than what it is made of, it is built here"
    made = BUILT/'genindex.html'
    if made.is_file() and made.stat().st_mtime > max(path.stat().st_mtime for path in made_of()): return BUILT
    folder = tmp_path_factory.mktemp('book')
    for name in ('_config.yml', '_toc.yml'): shutil.copy(ROOT/name, folder)
    shutil.copytree(ROOT/'nbs', folder/'nbs')
    done = subprocess.run([Path(sys.executable).with_name('jupyter-book'), 'build', '.', '-W', '-n', '--keep-going', '-q'], cwd=folder,
                          capture_output=True, text=True, env={**os.environ, 'BIRDCLF_PHOTOS': ''})
    assert done.returncode == 0, done.stdout + done.stderr
    return folder/'_build'/'html'


def test_no_page_has_a_fault(pages):
    assert {name: found for name, found in check_book(pages).items() if found} == {}


@pytest.mark.parametrize('name, said', [('story', r'15 minutes'), ('story_de', r'\d+ Minuten'), ('12_download', r'Gathering photographs, chapter 3 of 4 · \d+ minutes · to run it: .+'),
                                        ('index', None), ('index_de', None)])
def test_a_chapter_says_how_long_it_takes_and_where_it_is(pages, name, said):
    line = BeautifulSoup((pages/'nbs'/f'{name}.html').read_text(encoding='utf-8'), 'html.parser').select_one('article div.whereabouts')
    assert line is None if said is None else re.fullmatch(said, ' '.join(line.get_text().split()))


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('name', LOOKED_AT)
def test_for_all_eyes_and_hands(pages, browser, axe, name, scheme): # noqa: F811
    page = browser.new_page(color_scheme=scheme, viewport=dict(width=390, height=844))
    page.goto(f'file://{pages}/{name}.html')
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    page.evaluate(axe)
    assert page.evaluate(SEVERE) == []
    page.close()


def test_a_severe_fault_is_noticed(browser, axe): # noqa: F811
    page = browser.new_page()
    page.set_content('<html lang="en"><title>Tits</title><main><h1 style="color: #ddd; background: #eee">Tits</h1><img src="tit.png"></main>')
    page.evaluate(axe)
    assert [found.partition(':')[0] for found in page.evaluate(SEVERE)] == ['color-contrast', 'image-alt']
    page.close()


def test_each_page_leads_to_the_one_before_and_the_next(pages):
    "At its foot, and by name"
    chapters = [f'{name}.html' for name in re.findall(r'nbs/(\w+)', (ROOT/'_toc.yml').read_text(encoding='utf-8'))]
    read = {name: BeautifulSoup((pages/'nbs'/name).read_text(encoding='utf-8'), 'html.parser') for name in chapters}
    titles = {name: page.select_one('h1').find_all(string=True, recursive=False)[-1].strip() for name, page in read.items()}
    for before, after in zip(chapters, chapters[1:]):
        for here, there, side in ((before, after, 'right-next'), (after, before, 'left-prev')):
            link, = read[here].select(f'a.{side}')
            assert link['href'] == there and titles[there] in link.select_one('.prev-next-title').get_text(), (here, side)


@pytest.mark.parametrize('words, chapter', [('selfie', '51_classify'), ('how accurate', '44_evaluate'), ('starling', '00_species')])
def test_a_search_finds_the_chapter(pages, browser, words, chapter): # noqa: F811
    "The first that it finds, for words that a reader has and we may not"
    page = browser.new_page()
    page.goto(f'file://{pages}/search.html?q={words.replace(" ", "+")}')
    page.wait_for_selector('#search-results li a')
    assert page.locator('#search-results li a').first.get_attribute('href').split('#')[0].split('?')[0].endswith(f'nbs/{chapter}.html')
    page.close()

"The book: built for real from a small notebook, looked through for faults, and true to its word"
import ast
import csv
import json
import re
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup
from PIL import Image
from pybtex import database as bibtex

from birdclf.book import check_book, kept_at, main, mark_cell, module_sources, show_real, split_remarks
from birdclf.credits import key_of
from birdclf.folding import MARK, Names
from birdclf.reading import reading_times
from birdclf.testing import paint_bird

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sys.executable).parent
ROBIN = '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AN//Z'


def markdown(text): return {'cell_type': 'markdown', 'metadata': {}, 'source': text}


def code(source, *outputs):
    return {'cell_type': 'code', 'metadata': {}, 'execution_count': None, 'source': source, 'outputs': list(outputs)}


def printed(text): return {'output_type': 'stream', 'name': 'stdout', 'text': text}


def shown(**data): return {'output_type': 'display_data', 'metadata': {}, 'data': {key.replace('_', '/'): value for key, value in data.items()}}


CELLS = [
    code('#| default_exp wren'),
    markdown('# The wren\n\n> Nine grams, and louder than you.\n\n' + 'A wren weighs as much as two sheets of paper. '*6
             + 'See {numref}`fig-wren` and $p=\\frac{1}{2}$.\n\n$$a^2$$\n\nIt can `sing`, again `sing`, `Wren.fly` and `open`.'),
    code('#| export\ndef sing(\n    times:int=3, # How often\n)->str:\n    "What it says, `times` times"\n    return "trill"*times\n\n'
         'class Wren:\n    "Nine *grams*"\n    def fly(self)->bool:\n        "Is it away?"'),
    code('#| hide\nhidden_guard = 1'),
    code('#| echo: false\nprint("only the " + "output")', printed('only the output\n')),
    code('#| slow\nprint("kept from " + "long ago")', printed('kept from long ago\n')),
    code('print("one cell", "runs")', printed('one cell runs\n')),
    code('#| label: fig-wren\n#| fig-cap: A wren, from very far away.\n#| fig-alt: One grey pixel.\n'
         f'from IPython.display import Image\nImage(data="{ROBIN}")', shown(image_jpeg=ROBIN)),
    code('#| slow\n#| label: fig-owl\n#| fig-cap: An owl, from further away.\n#| fig-alt: "Nothing" at all.\ndraw()',
         shown(text_html='<svg class="diagram" viewBox="0 0 288 72"></svg>')),
    code('#| slow\n#| output-fold: true\nprint("a long table")', printed('a long table\n')),
    markdown('| ' + ' | '.join(f'a column that is wide {i}' for i in range(9)) + ' |\n' + '| --- '*9 + '|\n' + '| `a_long_name_without_spaces` '*9 + '|'),
    code(f'"{"wren"*60}"', printed('wren'*200)),
    code('%%front app.js\nexport const sing = () => `${"trill"}`'),
    code('%%front app.css\n.wren { color: #5a3a22 }'),
    code('#| solution: 2\nprint("a solution " + "runs")', printed('a solution runs\n')),
    code('1', shown(text_markdown='---\n\nA rule where docutils wants none')),
    code('#| hide\nimport nbdev; nbdev.nbdev_export()'),
]


def build(folder, cells, execute='off', settings='', **told):
    "Build a book of one chapter with the project's own configuration"
    (folder/'nbs').mkdir(parents=True)
    metadata = {'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}}
    (folder/'nbs'/'index.ipynb').write_text(
        json.dumps({'cells': cells, 'metadata': metadata, 'nbformat': 4, 'nbformat_minor': 4}), encoding='utf-8')
    config = (ROOT/'_config.yml').read_text(encoding='utf-8').replace('execute_notebooks: "off"', f'execute_notebooks: "{execute}"')
    (folder/'_config.yml').write_text(config, encoding='utf-8')
    (folder/'_toc.yml').write_text('format: jb-book\nroot: nbs/index\n', encoding='utf-8')
    shutil.copy(ROOT/'nbs'/'references.bib', folder/'nbs')
    (folder/'settings.ini').write_text(f'[DEFAULT]\n{settings}\n', encoding='utf-8')
    done = subprocess.run([str(SCRIPTS/'jupyter-book'), 'build', '.', '-W', '-n', '--keep-going', '-q'], cwd=folder,
                          capture_output=True, text=True, env={'PATH': f'{SCRIPTS}:/usr/bin:/bin', 'HOME': str(folder), **told})
    return done, folder/'_build'/'html'


@pytest.fixture(scope='module')
def book(tmp_path_factory):
    done, pages = build(tmp_path_factory.mktemp('book'), CELLS)
    assert done.returncode == 0, done.stdout + done.stderr
    return pages


@pytest.fixture(scope='module')
def article(book):
    return BeautifulSoup((book/'nbs'/'index.html').read_text(encoding='utf-8'), 'html.parser').select_one('article')


def test_a_good_book_has_no_faults(book):
    assert set(map(tuple, check_book(book).values())) == {()}
    assert main(['check', str(book)]) == 0


def test_no_remark_is_visible(article):
    text = article.get_text()
    assert '#|' not in text and 'default_exp' not in text and 'nbdev' not in text and 'hidden_guard' not in text
    assert 'def sing' in text and 'only the output' in text and 'print("only the' not in text


def test_a_script_is_folded_and_has_its_own_colours(article):
    "Under the name of its file; what is JavaScript, what is CSS and what is Python was told by three lexers"
    assert '%%front' not in article.get_text()
    folded = {details.select_one('summary').get_text(' ', strip=True): details for details in article.select('details')}
    assert [name for name in folded if 'app.' in name] == ['Show sing in app.js Hide sing in app.js', 'Show this part of app.css Hide this part of app.css']
    script, sheet = (details for name, details in folded.items() if 'app.' in name)
    assert script.select_one('.highlight-javascript .kd').get_text().strip() == 'const' and not article.select('.highlight-javascript .err')
    assert sheet.select_one('.highlight-css .k').get_text() == 'color'


def test_a_solution_is_folded(article):
    "All of it, what it says too, under one line that names its exercise"
    solution, = article.select('.tag_solution')
    folded, = solution.select('details')
    assert folded.select_one('summary').get_text(' ', strip=True) == 'One solution to exercise 2 Fold the solution away' and not folded.has_attr('open')
    assert 'a solution runs' in folded.select_one('.cell_output').get_text() and solution.get_text(strip=True) == folded.get_text(strip=True)


def solutions():
    "Of each chapter with solutions: its cells, from `Try it` on"
    for path in sorted((ROOT/'nbs').glob('*.ipynb')):
        cells = json.loads(path.read_text(encoding='utf-8'))['cells']
        start = max((i for i, cell in enumerate(cells) if cell['cell_type'] == 'markdown' and re.search('^## Try it$', ''.join(cell['source']), re.M)), default=None)
        if any(''.join(cell['source']).startswith('#| solution') for cell in cells): yield path.stem, cells[start:]


def test_solutions_run_with_their_chapter_and_come_after_the_question():
    "Each belongs to an exercise, has said something, is folded in a notebook too; and what comes after it is hidden, if there is anything"
    found = dict(solutions())
    assert len(found) > 30
    for chapter, (exercises, *cells) in found.items():
        numbers = re.findall(r'^(\d)\. ', ''.join(exercises['source']).partition('## Try it')[2], re.M)
        code = [cell for cell in cells if cell['cell_type'] == 'code']
        if ''.join(code[-1]['source']).startswith('#| hide\n'): code.pop() # It exports, or clears up
        assert code, chapter
        for cell in code:
            (remark,), _ = split_remarks(''.join(cell['source'])) # No other remark: it is neither exported nor passed over
            assert remark.partition(': ')[0] == 'solution' and remark.partition(': ')[2] in numbers, (chapter, remark)
            assert cell['outputs'] and not any(said['output_type'] == 'error' for said in cell['outputs']), (chapter, remark)
            assert cell['metadata'] == {'jupyter': {'outputs_hidden': True, 'source_hidden': True}}, (chapter, remark)


def test_questions_have_answers():
    "As a notebook and as a page can fold them"
    asked = [(path.stem, text) for path in (ROOT/'nbs').glob('*.ipynb') if '<details class="answer">\n' in (text := prose(path))]
    assert len(asked) > 7
    for chapter, text in asked:
        folded = re.findall(r'<details class="answer">\n<summary>([^*`\n]+\?)</summary>\n\n(.{60,})\n\n</details>', text)
        assert 2 <= len(folded) <= 3 and len(folded) == text.count('<details class="answer">\n'), chapter


KEPT = 'https://github.com/someone/birdclf'


@pytest.fixture(scope='module')
def hosted(tmp_path_factory):
    done, pages = build(tmp_path_factory.mktemp('hosted'), CELLS, settings=f'git_url = {KEPT}\nbranch = trunk')
    assert done.returncode == 0, done.stdout + done.stderr
    return pages


def leads_out(pages):
    page = BeautifulSoup((pages/'nbs'/'index.html').read_text(encoding='utf-8'), 'html.parser')
    return page, {link['href'] for link in page.select('a[href^="http"]') if 'http' in link['href'] and not link.find_parent('footer')}


def test_buttons_lead_to_where_the_project_is_kept(hosted):
    "Edit, complain, run: each with the branch and the path of this very notebook; and still nothing is fetched from outside"
    page, out = leads_out(hosted)
    assert out == {KEPT, f'{KEPT}/edit/trunk/nbs/index.ipynb', f'{KEPT}/issues/new?title=Issue%20on%20page%20%2Fnbs/index.html&body=Your%20issue%20content%20here.',
                   'https://mybinder.org/v2/gh/someone/birdclf/trunk?urlpath=lab/tree/nbs/index.ipynb',
                   'https://colab.research.google.com/github/someone/birdclf/blob/trunk/nbs/index.ipynb'}
    said = page.select_one('article details.answer')
    assert not said.has_attr('open') and f'git clone --depth 1 {KEPT}\n' in said.get_text() and '%cd birdclf/nbs' in said.get_text()
    assert set(map(tuple, check_book(hosted).values())) == {()}


def test_no_buttons_where_it_is_kept_nowhere(book):
    page, out = leads_out(book)
    assert out == set() and not page.select('article details.answer') and 'colab' not in str(page).lower()


@pytest.mark.parametrize('url, kept', [
    (KEPT, KEPT), (f'{KEPT}.git', KEPT), (f'{KEPT}/', KEPT), ('https://gitlab.com/a/b', 'https://gitlab.com/a/b'), ('', None), ('https://example.org/birdclf', None),
    ('https://github.com', None), ('https://github.com/someone', None), ('https://github.com.example.org/a/b', None), ('https://localhost/a/b', None)])
def test_a_placeholder_is_no_host(tmp_path, url, kept):
    (tmp_path/'settings.ini').write_text(f'[DEFAULT]\ngit_url = {url}\n', encoding='utf-8')
    assert kept_at(tmp_path/'_build'/'book') == (kept and (kept, 'main'))


def test_what_binder_installs_is_in_the_lock():
    "It has the extras of the settings, and the versions that were tested together"
    lines = (ROOT/'.binder'/'requirements.txt').read_text(encoding='utf-8').splitlines()[1:]
    settings = (ROOT/'settings.ini').read_text(encoding='utf-8')
    lock = (ROOT/'requirements.lock').read_text(encoding='utf-8')
    constraints, (own,) = [line for line in lines if line.startswith('-c')], [line for line in lines if line.startswith('-e')]
    assert constraints == ['-c ../requirements.lock']
    assert all(f'\n{extra}_requirements = ' in settings for extra in re.search(r'\[(.+)\]', own)[1].split(','))
    assert all(f'\n{line}==' in lock for line in lines if not line.startswith('-'))


def test_nothing_is_loaded_or_said_in_vain(book, article):
    "No second set of icons, no wrapping around what has no colour; keys can scroll a table, and what is folded goes by its own words"
    text = (book/'nbs'/'index.html').read_text(encoding='utf-8')
    assert 'fontawesome' in text and 'all.min.js' not in text and 'fa-brands' not in text
    assert not article.select('.highlight :is(.n, .nx, .p, .w)') and article.select('.highlight .k')
    assert article.select('table[tabindex="0"]') and not article.select('summary[aria-label]') and article.select('summary')


def test_exported_code_is_folded_under_what_it_says(article):
    "Signature, sentence and parameters stand before it; an example stays open, and the code of a figure does not"
    lids = [summary.get_text(' ', strip=True) for summary in article.select('details > summary')]
    assert lids[0].startswith('Show the code of sing and Wren ') and any(lid.startswith('Show the code of this figure ') for lid in lids)
    entry = article.find(id='birdclf.wren.sing').parent
    assert 'sing(times=3) → str' in re.sub(r'\s+', ' ', entry.dt.get_text()) and 'What it says, times times' in entry.dd.get_text()
    assert [item.get_text() for item in entry.select('li')] == ['times int = 3: How often']
    assert 'Nine *grams*' in article.find(id='birdclf.wren.Wren').parent.get_text() and article.find(id='birdclf.wren.Wren.fly')
    example = next(block for block in article.select('div.cell_input') if 'one cell' in block.get_text())
    assert example.find_parent('details') is None and article.find(id='birdclf.wren.sing').find_parent('details') is None


def test_names_in_prose_lead_to_their_entries(article):
    "Once in a section, and only if it is clear what is meant"
    said = next(text for text in article.select('p') if text.get_text().startswith('It can'))
    assert [link['href'] for link in said.select('a')] == ['#birdclf.wren.sing', '#birdclf.wren.Wren.fly']


def test_a_front_page_does_not_say_how_long_it_takes(article):
    "Chapters do: tests/test_built.py looks at theirs"
    assert article.select_one('div.whereabouts') is None


@pytest.fixture(scope='module')
def chapters(): return {path.stem: json.loads(path.read_text(encoding='utf-8')) for path in (ROOT/'nbs').glob('*.ipynb')}


def test_the_index_has_everything_that_is_exported(chapters):
    "What a module offers has an entry, and nothing else has one; the page for it asks for it"
    names = Names()
    for page, notebook in chapters.items(): names.add(page, notebook)
    for module, source in module_sources().items():
        offered = next((ast.literal_eval(node.value) for node in ast.parse(source).body if isinstance(node, ast.Assign) and node.targets[0].id == '__all__'), [])
        assert {entry.name for entry in names.entries.get(f'birdclf.{module}', []) if '.' not in entry.name} == {name for name in offered if not name.startswith('_')}, module
    assert MARK in [''.join(cell['source']) for cell in chapters['97_everything']['cells']]
    assert {'birdclf.worker.Queue.ask', 'birdclf.counter.Counter.ask'} <= names.places # Those that are waited for
    assert '`Counter`' not in prose(ROOT/'nbs'/'09_region.ipynb') and names.find('Source.read', '10_search') == 'birdclf.search.Source.read'


def test_every_chapter_takes_its_time():
    times = reading_times(ROOT/'_toc.yml', ROOT)
    assert [*times] == ['', *(part['caption'] for part in CONTENTS[1:])]
    assert all(1 <= minutes <= 60 for pages in times.values() for minutes in pages.values())


def test_a_picture_is_a_figure(article):
    figure = article.select_one('figure')
    assert figure.select_one('img')['alt'] == 'One grey pixel.'
    assert 'Fig. 1' in figure.get_text() and 'A wren, from very far away.' in figure.get_text()
    assert article.select_one('a[href="#fig-wren"]').get_text() == 'Fig. 1'


def test_a_diagram_is_a_figure_within_the_page(article):
    drawing = article.select_one('figure svg.diagram')
    assert (drawing['role'], drawing['aria-label']) == ('img', '"Nothing" at all.')
    assert 'An owl, from further away.' in drawing.find_parent('figure').get_text()


def test_an_output_is_folded_away(article):
    folded = next(details for details in article.select('details') if 'a long table' in details.get_text())
    assert folded.select_one('summary').get_text(' ', strip=True) == 'Show the numbers Hide the numbers'
    assert 'print' not in folded.get_text()


def test_formulas_need_nobody(book, article):
    assert len(article.select('math')) == 2 and article.select('mfrac') and article.select('msup')
    page = BeautifulSoup((book/'nbs'/'index.html').read_text(encoding='utf-8'), 'html.parser')
    assert [script for script in page.select('script') if 'mathjax' in str(script).lower()] == []


CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
QUIET = ('--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking '
         '--disable-component-update --disable-sync').split()


@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium (Debian: apt-get install chromium)')
@pytest.mark.parametrize('width', [390, 1280])
def test_a_page_in_the_browser(book, width):
    "It fits the screen, also with a wide table and long lines, and asks nobody for anything"
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={'width': width, 'height': 844})
        asked, broken = [], []
        page.on('request', lambda request: asked.append(request.url))
        page.on('pageerror', lambda error: broken.append(str(error)))
        page.goto(f'file://{book}/nbs/index.html')
        wide = page.evaluate('document.documentElement.scrollWidth')
        pixels = page.evaluate('document.querySelector("figure img").naturalWidth')
        browser.close()
    assert wide <= width and pixels == 1 and broken == []
    assert [url for url in asked if not url.startswith(('file:', 'data:'))] == []


@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium (Debian: apt-get install chromium)')
def test_one_switch_shows_all_code(book):
    "By keyboard too; it is remembered, and is not on paper; a solution is left alone"
    from playwright.sync_api import sync_playwright
    count = '[...document.querySelectorAll("article details")].map(lid => [lid.open, !!lid.closest(".tag_solution")])'
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={'width': 390, 'height': 844})
        page.goto(f'file://{book}/nbs/index.html')
        first = page.evaluate(count)
        page.locator('.code-switch').press('Enter')
        label, opened = page.locator('.code-switch').inner_text(), page.evaluate(count)
        wide = page.evaluate('document.documentElement.scrollWidth')
        page.reload()
        page.locator('.code-switch').wait_for()
        kept = page.evaluate(count)
        page.emulate_media(media='print')
        printed = page.locator('.code-switch').is_visible()
        browser.close()
    assert len(first) >= 4 and not any(shown for shown, _ in first) and [solution for _, solution in first].count(True) == 1
    assert all(shown != solution for shown, solution in opened) and kept == opened
    assert label == 'Hide all code' and not printed and wide <= 390


def test_a_misspelt_remark_fails(tmp_path):
    done, _ = build(tmp_path, [*CELLS[:2], code('#| hid\n1')])
    assert done.returncode != 0 and "'hid' is not a remark that the book knows" in done.stdout + done.stderr


def test_a_broken_reference_fails(tmp_path):
    done, _ = build(tmp_path, [markdown('# Wren\n\n{numref}`fig-of-nothing`')])
    assert done.returncode != 0 and 'fig-of-nothing' in done.stdout + done.stderr


def test_executed_again(tmp_path):
    "Slow cells are not run and keep what they said; nothing is written to the notebook"
    cells = [cell if 'slow' in cell['source'] or cell['cell_type'] == 'markdown' else {**cell, 'outputs': []}
             for cell in [*CELLS[:7], CELLS[-1]]]
    cells[1] = markdown(CELLS[1]['source'].replace('{numref}`fig-wren`', 'this'))
    done, pages = build(tmp_path, cells, 'force')
    assert done.returncode == 0, done.stdout + done.stderr
    text = (pages/'nbs'/'index.html').read_text(encoding='utf-8')
    assert 'one cell runs' in text and 'kept from long ago' in text
    assert 'one cell runs' not in (tmp_path/'nbs'/'index.ipynb').read_text(encoding='utf-8')


def test_a_failing_chapter_fails(tmp_path):
    done, pages = build(tmp_path, [*CELLS[:1], markdown('# Wren\n\n' + 'A wren. '*60), code('1/0')], 'force')
    assert done.returncode != 0
    faults = check_book(pages)
    assert any('ZeroDivisionError' in fault for fault in faults['nbs/index.html'])
    assert faults['index.ipynb'] == ['failed when it was executed']


@pytest.mark.parametrize('before, after, fault', [
    ('def', '#<!-- -->| export\ndef', "shows the remark '#| export'"),
    ('Fig. 1', '<a href="nowhere.html">1</a>', "links to 'nowhere.html', which is not there"),
    ('href="#fig-wren"', 'href="#fig-dodo"', "links to '#fig-dodo', which has no such place"),
    ('alt="One grey pixel."', 'alt=""', 'without a text for those who cannot see it'),
    ('alt="One grey pixel."', 'alt="pixel.jpg"', "described by the name of a file: 'pixel.jpg'"),
    ('A wren, from very far away.', '', "a figure without a caption: 'fig-wren'"),
    ('<figure', '<p><img alt="A wren." src="data:,"></p><figure', 'no figure, and so has no caption'),
    ('</head>', f'<style>{" "*1_500_000}</style></head>', 'bytes, more than 1,500,000'),
    ('src="../_images/', 'src="../_pictures/', 'misses the file'),
    ('</head>', '<script src="https://cdn.example.org/x.js"></script></head>', "fetches 'https://cdn.example.org/x.js' from outside"),
    ('</head>', '<script>load("https://cdn.example.org/x.js")</script></head>', "fetches 'https://cdn.example.org/x.js' from outside"),
    ('only the output', 'Traceback (most recent call last)', 'shows an error'),
])
def test_a_fault_is_found(book, tmp_path, before, after, fault):
    shutil.copytree(book, tmp_path/'html')
    page = tmp_path/'html'/'nbs'/'index.html'
    text = page.read_text(encoding='utf-8')
    assert before in text
    page.write_text(text.replace(before, after), encoding='utf-8')
    assert [found for found in check_book(tmp_path/'html')['nbs/index.html'] if fault in found]
    assert main(['check', str(tmp_path/'html')]) == 1


def test_an_empty_page_is_found(book, tmp_path):
    shutil.copytree(book, tmp_path/'html')
    (tmp_path/'html'/'nbs'/'index.html').write_text('<article><h1>The wren</h1></article>', encoding='utf-8')
    assert any('is nearly empty' in fault for fault in check_book(tmp_path/'html')['nbs/index.html'])


def test_no_book_is_no_good_book(tmp_path, capsys):
    assert main(['check', str(tmp_path)]) == 1
    assert capsys.readouterr().out == '0 passed, 0 failed, 0 skipped\n'


# --- real birds

TABLE = '''file,german,english,author,licence,licence_url,page_url,changes
good.jpg,Star,Common Starling,Ida <b>Fink</b>,CC BY 4.0,https://creativecommons.org/licenses/by/4.0/,https://example.org/good,cropped
good.jpg,Star,Common Starling,Ida <b>Fink</b>,CC BY 4.0,https://creativecommons.org/licenses/by/4.0/,https://example.org/good,cropped
large.jpg,,Dodo,Otto,CC0,,https://example.org/large,
nobody.jpg,Star,Common Starling,,CC BY 4.0,,https://example.org/1,
nd.jpg,Star,Common Starling,Ida,CC BY-ND 4.0,,https://example.org/2,
../out.jpg,Star,Common Starling,Ida,CC BY 4.0,,https://example.org/3,
gone.jpg,Star,Common Starling,Ida,CC BY 4.0,,https://example.org/4,
text.jpg,Star,Common Starling,Ida,CC BY 4.0,,https://example.org/5,
twice.jpg,Star,Common Starling,Ida,CC BY 4.0,,https://example.org/6,
twice.jpg,Star,Common Starling,Otto,CC BY 4.0,,https://example.org/6,
'''
REFUSED = 'nobody.jpg', 'nd.jpg', '../out.jpg', 'gone.jpg', 'text.jpg', 'twice.jpg'
FIGURE = '#| real\n#| label: fig-real\n#| fig-cap: All.\n#| fig-alt: All of them.\nfrom birdclf.credits import *\nPlates(plate(one, "a bird") for one in showable())'
PAINTED = shown(text_html='<div class="plates">painted</div>')
ABSENT = '#| real\nfrom birdclf.credits import Absent\nAbsent("No mistake may be shown.")'
REAL = [markdown('# Real birds\n\n' + 'A photograph is shown with its credit. '*8), code(FIGURE, PAINTED), code(ABSENT, shown(text_html='<p>No mistake is in git.</p>')),
        code('1', shown(text_html='<p class="all-credits">Only paintings.</p>'))]


@pytest.fixture(scope='module')
def showable(tmp_path_factory):
    folder = tmp_path_factory.mktemp('beside')/'showable'
    folder.mkdir()
    for n, name in enumerate(('good', 'nobody', 'nd', '../out', 'twice', 'unlisted')): paint_bird('Amsel', n).save(folder/f'{name}.jpg')
    paint_bird('Flamingo', size=(1600, 1200)).save(folder/'large.jpg')
    (folder/'text.jpg').write_text('no picture', encoding='utf-8')
    (folder/'credits.csv').write_text(TABLE, encoding='utf-8')
    return folder


def test_what_may_be_shown_is_shown_with_its_credit(tmp_path, showable):
    "And nothing else; a name is text, and the list at the end has them all"
    done, pages = build(tmp_path, REAL, BIRDCLF_SHOWABLE=str(showable))
    assert done.returncode == 0, done.stdout+done.stderr
    assert [name for name in REFUSED if f"'{name}' of credits.csv is not shown" not in done.stderr] == [] and 'good.jpg' not in done.stderr
    assert '(unlisted.jpg)' in done.stderr
    page = BeautifulSoup((pages/'nbs'/'index.html').read_text(encoding='utf-8'), 'html.parser')
    credits = [' '.join(each.get_text().split()) for each in page.select('figure .plates .credit')]
    assert credits == ['Photograph: Ida <b>Fink</b>, CC BY 4.0, cropped', 'Photograph: Otto, CC0 1.0, made smaller']
    images = page.select('article img')
    assert [image['alt'] for image in images] == ['Common Starling (Star)', 'Dodo'] and all((pages/'nbs'/image['src']).is_file() for image in images)
    assert [link['href'] for link in page.select('.plates .credit a')] == ['https://example.org/good', 'https://creativecommons.org/licenses/by/4.0/', 'https://example.org/large', 'https://creativecommons.org/publicdomain/zero/1.0/']
    listed = [each.get_text() for each in page.select('ul.all-credits li')]
    assert len(listed) == 2 and 'Ida <b>Fink</b>' in listed[0] and listed[0].endswith('Shown in Real birds.') and 'Only paintings' not in page.get_text()
    assert 'No mistake may be shown.' in page.get_text() and check_book(pages)['nbs/index.html'] == []


def test_without_a_folder_none_is_shown(tmp_path):
    done, pages = build(tmp_path, REAL)
    assert done.returncode == 0, done.stdout+done.stderr
    page = BeautifulSoup((pages/'nbs'/'index.html').read_text(encoding='utf-8'), 'html.parser')
    assert page.select('article img, .credit') == [] and 'painted' in page.get_text() and 'Only paintings.' in page.get_text()


def test_an_executed_book_shows_its_real_figures_or_fails(tmp_path, showable):
    done, _ = build(tmp_path, REAL, 'force', BIRDCLF_SHOWABLE=str(showable))
    assert done.returncode != 0 and 'No mistake may be shown.' in done.stdout+done.stderr


def test_a_folder_without_credits_fails(tmp_path):
    done, _ = build(tmp_path, REAL, BIRDCLF_SHOWABLE=str(tmp_path))
    assert done.returncode != 0 and 'credits.csv cannot be read' in done.stdout+done.stderr


def pictures(html):
    "Each picture in a page's HTML: what it is, and whether a credit stands under it"
    for image in BeautifulSoup(html, 'html.parser').select('img'):
        yield image['src'], bool(image.parent.select('.credit a[href]'))


def outputs(cell): return [''.join(output['data'].get('text/html', '')) for output in cell['outputs'] if 'data' in output]


def test_no_photograph_is_in_git():
    for path in (ROOT/'nbs').glob('*.ipynb'):
        for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
            assert cell['cell_type'] != 'code' or not any(credited for html in outputs(cell) for _, credited in pictures(html)), (path.name, cell['id'])


def test_each_picture_of_the_book_is_painted_or_credited(shared, monkeypatch):
    "All others are in git: a book that is not executed has the pictures of its notebooks, and those of its cells about real birds"
    monkeypatch.setenv('BIRDCLF_SHOWABLE', str(shared/'showable'))
    credited = 0
    for path in sorted((ROOT/'nbs').glob('*.ipynb')):
        for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
            if cell['cell_type'] != 'code' or 'real' not in split_remarks(''.join(cell['source']))[0]: continue
            painted = {source for html in outputs(cell) for source, _ in pictures(html)}
            show_real(cell, executed=True)
            found = [pair for html in outputs(cell) for pair in pictures(html)]
            assert found and all(has_credit or source in painted for source, has_credit in found), (path.name, cell['id'])
            credited += sum(has_credit for _, has_credit in found)
    assert credited > 40


@pytest.fixture
def beside(tmp_path, monkeypatch):
    "Lays photographs into a folder that may be shown; gives what a cell about real birds makes of them"
    monkeypatch.setenv('BIRDCLF_SHOWABLE', str(tmp_path))

    def lay(chapter, id, photographs):
        for old in tmp_path.glob('*.jpg'): old.unlink()
        for n, (_, data) in enumerate(photographs): (tmp_path/f'{n}.jpg').write_bytes(data)
        rows = [f'{n}.jpg,{german},Ida,CC BY 4.0,https://example.org' for n, (german, _) in enumerate(photographs)]
        (tmp_path/'credits.csv').write_text('\n'.join(['file,german,author,licence,page_url', *rows]), encoding='utf-8')
        cells = json.loads((ROOT/'nbs'/f'{chapter}.ipynb').read_text(encoding='utf-8'))['cells']
        cell = next(cell for cell in cells if cell['id'] == id)
        show_real(cell, executed=True)
        return outputs(cell)[0]
    return lay


def painted(n):
    file = BytesIO()
    paint_bird('Amsel', n, size=(160, 120)).save(file, 'JPEG')
    return file.getvalue()


def test_a_network_that_may_have_learned_from_a_photograph_says_so(beside, shared):
    "The story's three birds; a photograph that was saved once more is none of those that a network was asked about before"
    names = 'Zaunkönig', 'Fitis', 'Feldlerche'
    assert beside('story', 'b1d50002', [(name, painted(n)) for n, name in enumerate(names)]).count('may have learned from the photograph') == 3
    with open(shared/'showable'/'credits.csv', encoding='utf-8') as file: of = {row['german']: row['file'] for row in csv.DictReader(file)}
    kept = beside('story', 'b1d50002', [(name, (shared/'showable'/of[name]).read_bytes()) for name in names])
    assert 'may have learned' not in kept and kept.count('class="credit"') == 3


@pytest.mark.parametrize('story, figure, bird', [('story', 'fig-story-said', 'Willow Warbler'), ('story_de', 'fig-geschichte-antworten', 'Fitis')])
def test_a_sentence_about_a_figure_is_true_of_paintings_too(story, figure, bird):
    "Nobody has painted a Willow Warbler"
    sentences = re.split(r'[.:] ', prose(ROOT/'nbs'/f'{story}.ipynb'))
    place, = [n for n, sentence in enumerate(sentences) if figure in sentence]
    assert bird not in sentences[place]+sentences[place-1]


def test_few_photographs_are_not_shown_twice_and_a_bird_that_is_not_ours_is_no_fault(beside):
    photographs = [('Mönchsgeier', painted(n)) for n in range(12)]
    few, enough = (beside('21_suspect', '0000003c', photographs[:n]) for n in (3, 12))
    assert few.count('class="credit"') == 0 and few.count('<img') == 12
    assert enough.count('class="credit"') == 12 and len({source for source, _ in pictures(enough)}) == 12


def test_answers_that_are_right_are_no_mistakes(beside, shared):
    "However its bird is written; and where there is no mistake, a sentence says so"
    with open(ROOT/'nbs'/'unseen.csv', encoding='utf-8') as file: said = {row['key']: row for row in csv.DictReader(file)}
    with open(shared/'showable'/'credits.csv', encoding='utf-8') as file:
        found = [(row, shared/'showable'/row['file']) for row in csv.DictReader(file)]
    answered = [(row['german'], said[key_of(path)]['taken_for'], path.read_bytes()) for row, path in found if key_of(path) in said and row['german']]
    right = [(german, data) for german, taken, data in answered if german == taken][:2]
    wrong = next((german, data) for german, taken, data in answered if german != taken)
    assert 'Of the 2 photographs here, none was taken for another bird.' in beside('44_evaluate', '5d0e0504', [(german.lower(), data) for german, data in right])
    assert beside('44_evaluate', '5d0e0504', [*right, wrong]).count('class="credit"') == 1


def test_remarks_stand_at_the_top():
    assert split_remarks('#| export\n# | hide\nx = 1\n#| export') == (['export', 'hide'], 'x = 1\n#| export')
    cell = {'source': ['x = 1\n', '#| hide']}
    mark_cell(cell)
    assert cell['metadata']['tags'] == [] and cell['source'] == 'x = 1\n#| hide'


def prose(path):
    return '\n\n'.join(''.join(cell['source']) for cell in json.loads(path.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == 'markdown')


def test_papers_are_cited_and_cited_papers_are_there():
    "Each with authors, a title, a year, and a number under which it is found; README.md has no bibliography"
    known = bibtex.parse_file(str(ROOT/'nbs'/'references.bib')).entries
    cited = [key for path in (ROOT/'nbs').glob('*.ipynb') if path.stem != 'references' for key in re.findall(r'\{cite:\w+\}`([^`]+)`', prose(path))]
    assert set(known) == set(cited) and len(known) > 25
    assert [key for key, entry in known.items() if not entry.persons.get('author') or not {'title', 'year'} <= set(entry.fields)] == []
    assert [key for key, entry in known.items() if not {'doi', 'eprint'} & set(entry.fields)] == ['zauner2010implementation'] # A thesis
    assert [key for key, entry in known.items() if not re.fullmatch(r'[a-z]+' + entry.fields['year'] + '[a-z0-9]+', key)] == []
    assert 'cite:' not in (ROOT/'README.md').read_text(encoding='utf-8')


def test_every_chapter_is_in_the_book():
    chapters = set(re.findall(r'nbs/(\w+)', (ROOT/'_toc.yml').read_text(encoding='utf-8')))
    assert chapters == {path.stem for path in (ROOT/'nbs').glob('*.ipynb')}


def test_each_chapter_leads_to_the_next():
    "Those that are read one after the other; what stands behind them, at the back, is looked up"
    toc = (ROOT/'_toc.yml').read_text(encoding='utf-8').partition('- caption: At the back')[0]
    chapters = re.findall(r'nbs/(\w+)', toc)[1:]
    for chapter, following in zip(chapters, chapters[1:]):
        cells = json.loads((ROOT/'nbs'/f'{chapter}.ipynb').read_text(encoding='utf-8'))['cells']
        text = '\n\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')
        assert re.findall(r'Next: .*?\]\((\w+)\.ipynb\)', text)[-1:] == [following], chapter


CONTENTS = yaml.safe_load((ROOT/'_toc.yml').read_text(encoding='utf-8'))['parts']


def head_of(chapter):
    "The title of a chapter, and the line under it"
    cells = json.loads((ROOT/'nbs'/f'{chapter}.ipynb').read_text(encoding='utf-8'))['cells']
    title, _, line, *_ = next(text for cell in cells if (text := ''.join(cell['source'])).startswith('# ') and cell['cell_type'] == 'markdown').split('\n')
    return title.removeprefix('# '), line.removeprefix('> ')


def test_the_first_page_leads_to_every_chapter():
    "In the order of the table of contents, part by part, in the words of the chapters; the two ways without machinery come before, and have no part"
    ways, *contents = CONTENTS
    assert ways == {'chapters': [{'file': 'nbs/story'}, {'file': 'nbs/69_own_birds'}]}
    cells = json.loads((ROOT/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']
    texts = [''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown']
    through = next(text for text in texts if '## Three ways through' in text)
    assert [re.search(rf'\]\({way}.ipynb\)', through) is not None for way in ('story', '69_own_birds', '00_species')] == [True]*3
    text = next(text for text in texts if '## The chapters' in text)
    found = re.split(r'^\*\*(.+)\*\*$', text.partition('## The chapters')[2].partition('\n## ')[0], flags=re.M)[1:]
    for part, (name, listed) in zip(contents, zip(found[::2], found[1::2]), strict=True):
        assert part['caption'] == name
        chapters = [chapter['file'].removeprefix('nbs/') for chapter in part['chapters']]
        assert listed.strip().split('\n') == ['- [{}]({}.ipynb): {}'.format(head_of(chapter)[0], chapter, head_of(chapter)[1]) for chapter in chapters]


def test_no_part_is_called_as_a_chapter():
    titles = [head_of(chapter['file'].removeprefix('nbs/'))[0] for part in CONTENTS for chapter in part['chapters']]
    captions = [part['caption'] for part in CONTENTS[1:]]
    assert len({*titles, *captions}) == len(titles)+len(captions)


def test_what_lies_below_is_known_before():
    "The story and the road come first; judging comes before exporting, naming before the bundle; foundations are behind the road"
    chapters = [chapter['file'].removeprefix('nbs/') for part in CONTENTS for chapter in part['chapters']]
    for first, second in [('44_evaluate', '43_export'), ('51_classify', '50_bundle'), ('23_clean', '27_cleaning_page'), ('70_deploy', '01_photo'),
                          ('70_deploy', '02_manifest'), ('70_deploy', '03_license'), ('70_deploy', '04_web')]:
        assert chapters.index(first) < chapters.index(second)


def test_the_ways_take_as_long_as_they_say():
    "A quarter of an hour; the road, from a list of birds to a page that is online; and what that stands on"
    cells = json.loads((ROOT/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']
    text = next(text for cell in cells if '## Three ways through' in (text := ''.join(cell['source'])))
    assert '15 minutes' in text and 'between eight and nine hours' in text and 'some three more' in text
    times = reading_times(ROOT/'_toc.yml', ROOT)
    hours = {part: sum(pages.values())/60 for part, pages in times.items()}
    parts = list(hours)
    last, end = parts.index('The page and its server'), parts.index('Building and testing')
    assert 14 <= times['']['nbs/story'] <= 16
    assert 8 <= sum(hours[part] for part in parts[1:last+1]) <= 9 and 2.7 <= sum(hours[part] for part in parts[last+1:end+1]) <= 3.4


def test_the_evening_is_an_evening():
    "What the page for cleaning is made of has a chapter of its own"
    sources = {chapter: [''.join(cell['source']) for cell in json.loads((ROOT/'nbs'/f'{chapter}.ipynb').read_text(encoding='utf-8'))['cells']]
               for chapter in ('23_clean', '27_cleaning_page')}
    made = {chapter: sum(text.startswith(('#| export', '%%front')) for text in texts) for chapter, texts in sources.items()}
    assert made['23_clean'] == 0 < made['27_cleaning_page']


def commands():
    "The commands that README.md shows"
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    return sorted(set(re.findall(r'^\s*(?:\$ )?(?:\S*/bin/)?((?:make|birdclf) [a-z-]*[a-z])\b', text, re.M)))


def run(command):
    program, word = command.split()
    args = ['make', '-n', word] if program == 'make' else [str(SCRIPTS/'birdclf'), word, '--help']
    return subprocess.run(args, cwd=ROOT, capture_output=True, text=True)


def test_readme_begins_with_what_it_is():
    "One sentence, a picture of the page with the answer in it, two commands and what the second says; all else comes after"
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    places = [text.index(part) for part in ('\n> ', '![The page ', '\n    make app\n', '\n    $ birdclf classify ', '\n- ')]
    assert places == sorted(places) and len(text[:places[2]].split()) < 250
    [(alt, name)] = re.findall(r'!\[(.+)\]\((.+)\)', text)
    assert (ROOT/name).stat().st_size < 120_000
    with Image.open(ROOT/name) as picture: assert picture.width >= 700 >= picture.height # Two columns, and the commands are not far below
    bird = re.search(r'the answer, ([\w ]+),', alt)[1]
    assert f'It is a {bird} (' in text[places[3]:] or f'It is an {bird} (' in text[places[3]:]


def test_readme_shows_the_commands():
    assert {'make app', 'make test', 'make test-all', 'make book', 'make train', 'birdclf classify'} <= set(commands())


@pytest.mark.parametrize('command', commands())
def test_readme_command_exists(command):
    done = run(command)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('command', ['make nonsense', 'birdclf nonsense'])
def test_a_missing_command_would_be_noticed(command):
    assert run(command).returncode != 0

"The book: built for real from a small notebook, looked through for faults, and true to its word"
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from birdclf.book import check_book, main, mark_cell, show_real, split_remarks
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
             + 'See {numref}`fig-wren` and $p=\\frac{1}{2}$.\n\n$$a^2$$'),
    code('#| export\ndef sing(): return "trill"'),
    code('#| hide\nhidden_guard = 1'),
    code('#| echo: false\nprint("only the " + "output")', printed('only the output\n')),
    code('#| slow\nprint("kept from " + "long ago")', printed('kept from long ago\n')),
    code('print("one cell", "runs")', printed('one cell runs\n')),
    code('#| label: fig-wren\n#| fig-cap: A wren, from very far away.\n#| fig-alt: One grey pixel.\n'
         f'from IPython.display import Image\nImage(data="{ROBIN}")', shown(image_jpeg=ROBIN)),
    markdown('| ' + ' | '.join(f'a column that is wide {i}' for i in range(9)) + ' |\n' + '| --- '*9 + '|\n' + '| `a_long_name_without_spaces` '*9 + '|'),
    code(f'"{"wren"*60}"', printed('wren'*200)),
    code('%%front app.js\nexport const sing = () => `${"trill"}`'),
    code('%%front app.css\n.wren { color: #5a3a22 }'),
    code('1', shown(text_markdown='---\n\nA rule where docutils wants none')),
    code('#| hide\nimport nbdev; nbdev.nbdev_export()'),
]


def build(folder, cells, execute='off', **told):
    "Build a book of one chapter with the project's own configuration"
    (folder/'nbs').mkdir(parents=True)
    metadata = {'kernelspec': {'name': 'python3', 'display_name': 'python3', 'language': 'python'}}
    (folder/'nbs'/'index.ipynb').write_text(
        json.dumps({'cells': cells, 'metadata': metadata, 'nbformat': 4, 'nbformat_minor': 4}), encoding='utf-8')
    config = (ROOT/'_config.yml').read_text(encoding='utf-8').replace('execute_notebooks: "off"', f'execute_notebooks: "{execute}"')
    (folder/'_config.yml').write_text(config, encoding='utf-8')
    (folder/'_toc.yml').write_text('format: jb-book\nroot: nbs/index\n', encoding='utf-8')
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
    assert [name for name in folded if 'app.' in name] == ['Show this part of app.js Hide this part of app.js', 'Show this part of app.css Hide this part of app.css']
    script, sheet = (details for name, details in folded.items() if 'app.' in name)
    assert script.select_one('.highlight-javascript .kd').get_text().strip() == 'const' and not article.select('.highlight-javascript .err')
    assert sheet.select_one('.highlight-css .k').get_text() == 'color'


def test_a_picture_is_a_figure(article):
    figure = article.select_one('figure')
    assert figure.select_one('img')['alt'] == 'One grey pixel.'
    assert 'Fig. 1' in figure.get_text() and 'A wren, from very far away.' in figure.get_text()
    assert article.select_one('a[href="#fig-wren"]').get_text() == 'Fig. 1'


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
    page = BeautifulSoup((pages/'nbs'/'index.html').read_text(encoding='utf-8'), 'html.parser')
    credits = [' '.join(each.get_text().split()) for each in page.select('figure .plates .credit')]
    assert credits == ['Photograph: Ida <b>Fink</b>, CC BY 4.0, cropped', 'Photograph: Otto, CC0 1.0, made smaller']
    images = page.select('article img')
    assert [image['alt'] for image in images] == ['Common Starling (Star)', 'Dodo'] and all(image['src'].startswith('data:image/jpeg;base64,') for image in images)
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


def test_remarks_stand_at_the_top():
    assert split_remarks('#| export\n# | hide\nx = 1\n#| export') == (['export', 'hide'], 'x = 1\n#| export')
    cell = {'source': ['x = 1\n', '#| hide']}
    mark_cell(cell)
    assert cell['metadata']['tags'] == [] and cell['source'] == 'x = 1\n#| hide'


def test_every_chapter_is_in_the_book():
    chapters = set(re.findall(r'nbs/(\w+)', (ROOT/'_toc.yml').read_text(encoding='utf-8')))
    assert chapters == {path.stem for path in (ROOT/'nbs').glob('*.ipynb')}


def test_each_chapter_leads_to_the_next():
    chapters = re.findall(r'nbs/(\w+)', (ROOT/'_toc.yml').read_text(encoding='utf-8'))[1:]
    for chapter, following in zip(chapters, chapters[1:]):
        cells = json.loads((ROOT/'nbs'/f'{chapter}.ipynb').read_text(encoding='utf-8'))['cells']
        text = '\n\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')
        assert re.findall(r'Next: .*?\]\((\w+)\.ipynb\)', text)[-1:] == [following], chapter


def test_the_first_page_leads_to_every_chapter():
    "In the order of the table of contents, part by part; before all of them, to the story, which has no part"
    story, *contents = yaml.safe_load((ROOT/'_toc.yml').read_text(encoding='utf-8'))['parts']
    assert story == {'chapters': [{'file': 'nbs/story'}]}
    cells = json.loads((ROOT/'nbs'/'index.ipynb').read_text(encoding='utf-8'))['cells']
    text = next(text for cell in cells if '## The chapters' in (text := ''.join(cell['source'])))
    assert '](story.ipynb)' in ''.join(cells[0]['source'])
    found = re.split(r'^\*\*(.+)\*\*$', text.partition('## The chapters')[2].partition('\n## ')[0], flags=re.M)[1:]
    for part, (name, links) in zip(contents, zip(found[::2], found[1::2]), strict=True):
        assert part['caption'] == name
        assert [chapter['file'].removeprefix('nbs/') for chapter in part['chapters']] == re.findall(r'\]\((\w+)\.ipynb\)', links), name


def commands():
    "The commands that README.md shows"
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    return sorted(set(re.findall(r'^\s*(?:\$ )?(?:\S*/bin/)?((?:make|birdclf) [a-z-]*[a-z])\b', text, re.M)))


def run(command):
    program, word = command.split()
    args = ['make', '-n', word] if program == 'make' else [str(SCRIPTS/'birdclf'), word, '--help']
    return subprocess.run(args, cwd=ROOT, capture_output=True, text=True)


def test_readme_shows_the_commands():
    assert {'make app', 'make test', 'make test-all', 'make book', 'make train', 'birdclf classify'} <= set(commands())


@pytest.mark.parametrize('command', commands())
def test_readme_command_exists(command):
    done = run(command)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('command', ['make nonsense', 'birdclf nonsense'])
def test_a_missing_command_would_be_noticed(command):
    assert run(command).returncode != 0

"The report, from outside: its numbers against those counted here, names that mean harm, folders that cannot be judged, and a phone"
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from birdclf.bundle import Finding, Thresholds, load_bundle
from birdclf.classify import Classifier
from birdclf.folder import NOT_BIRD, OTHER_BIRD, PhotosError, read_folder
from birdclf.report import BANDS, OUTCOMES, ReportError, evaluate_folder, html_page, possible, report_of, save_report, show_report
from birdclf.testing import PATIENCE, paint_bird, paint_folder, paint_scene

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
FLAGS = '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'.split()
NAMES = ['<script>alert(1)<b>.jpg', '"onerror=alert(1) x=".jpg', "Grünfink & 'Söhne'.jpg", 'two\nlines.jpg', '\u202egpj.exe.jpg']


@pytest.fixture(scope='module')
def classifier():
    "The bundle of the package, made bold: it names painted birds too, and is often wrong; and its own name means harm"
    return Classifier(replace(load_bundle(), name='<img src=x onerror="alert(1)">', thresholds=Thresholds(bird=.25, known=.15, coverage=.9)))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "Painted birds named in three languages, a stork filed as a blackbird under every bad name, and as many files that are no pictures"
    folder = tmp_path_factory.mktemp('painted')/'<i>mine & "yours"'
    for german, name in (('Amsel', 'Amsel'), ('Pirol', 'Eurasian Golden Oriole'), ('Eisvogel', 'Alcedo atthis'), ('Rotkehlchen', 'ROTKEHLCHEN')):
        (folder/'species'/name).mkdir(parents=True)
        for seed in range(3): paint_bird(german, seed).save(folder/'species'/name/f'{seed}.jpg')
    for seed in range(2):
        for part, kind, picture in (('other_birds', 'Flamingo', paint_bird('Flamingo', seed)), ('not_bird', 'house', paint_scene('house', seed))):
            (folder/part/kind).mkdir(parents=True, exist_ok=True)
            picture.save(folder/part/kind/f'{seed}.jpg')
    stork = paint_bird('Weißstorch', 1)
    for name in NAMES:
        stork.save(folder/'species'/'Amsel'/name, 'JPEG')
        (folder/'species'/'ROTKEHLCHEN'/name).write_bytes(b'no picture')
    return folder


@pytest.fixture(scope='module')
def report(classifier, folder): return evaluate_folder(classifier, folder)


class Page(HTMLParser):
    "The rows of all tables, the text, and every tag with its attributes"
    def __init__(self, html):
        super().__init__()
        self.rows, self.text, self.tags, self.cell = [], '', [], None
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == 'tr': self.rows.append([])
        if tag in ('td', 'th'): self.rows[-1].append('')
        if tag in ('small', 'br') and self.rows and self.cell: self.rows[-1][-1] += '|'
        if tag in ('td', 'th'): self.cell = True

    def handle_endtag(self, tag):
        if tag in ('td', 'th'): self.cell = None

    def handle_data(self, data):
        data = data.replace('\xa0', ' ')
        self.text += data
        if self.cell: self.rows[-1][-1] += data

    def row(self, head): return next(row for row in self.rows if row and row[0].split('|')[0] == head)


def wilson(right, n):
    from scipy.stats import binomtest
    return tuple(binomtest(right, n).proportion_ci(method='wilson'))


@pytest.fixture(scope='module')
def counted(classifier, folder):
    "What `classify` says to each photograph, file by file, with what it was filed as"
    found = []
    for path in sorted(folder.rglob('*.jpg')):
        answer = classifier.classify(path)
        part, kind = path.relative_to(folder).parts[:2]
        truth = {'other_birds': OTHER_BIRD, 'not_bird': NOT_BIRD}.get(part) or classifier.species.find(kind).german
        if answer.verdict != 'unreadable': found.append((truth, answer))
    return found


def test_the_page_says_what_was_counted_here(report, counted):
    shown = Page(html_page(report))
    ours = [(truth, [c.species.german for c in answer.ranking], answer) for truth, answer in counted if truth not in (OTHER_BIRD, NOT_BIRD)]
    right = [ranking[0] == truth for truth, ranking, _ in ours]
    species = sorted({truth for truth, *_ in ours})
    recall = np.mean([np.mean([r for r, (truth, *_) in zip(right, ours) if truth == s]) for s in species])
    top5 = np.mean([truth in ranking[:5] for truth, ranking, _ in ours])
    listed = np.mean([truth in [c.species.german for c in answer.candidates] for truth, _, answer in ours])
    length = np.mean([len(answer.candidates) for *_, answer in ours])
    assert 0 < sum(right) < len(ours) == 17 # Or this proves little
    said = {row[0]: row[1].split('|')[0] for row in shown.rows if len(row) == 3}
    assert said['Named right'] == f'{100*np.mean(right):.1f} %' and said['Named right, mean over the species'] == f'{100*recall:.1f} %'
    assert said['Right one among the first five'] == f'{100*top5:.1f} %'
    assert said['Right one in the list of candidates'] == f'{100*listed:.1f} %' and said['Length of that list'] == f'{length:.2f}'
    figure = next(f for f in report.figures if f.name == 'top1')
    low, high = wilson(sum(right), 17)
    assert figure.low <= low+1e-4 and figure.high >= high-1e-4
    for s in species:
        bird = report.asked.bundle.species.find(s)
        part = [r for r, (truth, *_) in zip(right, ours) if truth == s]
        low, high = wilson(sum(part), len(part))
        row = next(row for row in shown.rows if row[0].split('|')[0] == bird.english and ' of ' in row[1])
        assert row[1] == f'{sum(part)} of {len(part)}|{100*low:.0f} % to {100*high:.0f} %'


@pytest.mark.parametrize('score, label, meaning', [('bird', NOT_BIRD, 'Tells our birds from what is no bird (AUROC)'), ('known', OTHER_BIRD, 'Tells our birds from other birds (AUROC)')])
def test_strangers_are_told_apart_as_counted_here(report, counted, score, label, meaning):
    ours = [getattr(answer.scores, score) for truth, answer in counted if truth not in (OTHER_BIRD, NOT_BIRD)]
    theirs = [getattr(answer.scores, score) for truth, answer in counted if truth == label]
    area = np.mean([(a > b)+.5*(a == b) for a in ours for b in theirs])
    assert Page(html_page(report)).row(meaning)[1].split('|')[0] == f'{area:.3f}'


def test_the_verdicts_are_those_of_a_visitor(report, counted):
    shown, kinds = Page(html_page(report)), ('ours', OTHER_BIRD, NOT_BIRD)
    expected = {key: [0, 0, 0] for key in OUTCOMES}
    for truth, answer in counted:
        column = kinds.index(truth if truth in kinds else 'ours')
        names = [c.species.german for c in answer.candidates]
        key = {'sure': 'right' if truth in names else 'wrong', 'one_of': 'listed' if truth in names else 'not_listed'}.get(answer.verdict, answer.verdict)
        expected[key][column] += 1
    assert {key: [int(cell.split('|')[0]) for cell in shown.row(meaning)[1:]] for key, meaning in possible(report).items()} == {key: expected[key] for key in possible(report)}
    assert set(OUTCOMES)-set(possible(report)) == {'none_of_these'} and not any(expected['none_of_these'])
    assert expected['wrong'][0]+expected['not_listed'][0] >= len(NAMES) # The storks that are filed as blackbirds
    for line in show_report(report).splitlines():
        for key, meaning in OUTCOMES.items():
            if line.startswith(f'  {meaning} '): assert list(map(int, line.split()[-3:])) == expected[key]


def test_each_answer_is_the_one_that_a_visitor_gets(report, classifier):
    "Box, hints and all; and what is kept of a photograph are numbers, and no picture"
    for i in range(0, len(report.asked.records), 5):
        assert report.asked.answer(i) == replace(classifier.classify(report.asked.records[i].path), birds=())
    kept = [getattr(report.asked, name) for name in ('logits', 'scores', 'hints', 'boxes')]
    assert all(isinstance(part, np.ndarray) and len(part) == len(report.asked.records) for part in kept)


def test_a_grey_photograph_is_never_sure(tmp_path, classifier):
    (tmp_path/'Amsel').mkdir()
    paint_bird('Weißstorch', 1).convert('L').resize((90, 80)).save(tmp_path/'Amsel'/'grey.png')
    report = evaluate_folder(classifier, tmp_path)
    answer = report.asked.answer(0)
    assert answer.small and answer.colourless and answer == replace(classifier.classify(tmp_path/'Amsel'/'grey.png'), birds=())
    assert report.outcomes[0] not in ('right', 'wrong')


FRAMES = [(.4, .4, .5, .5), (.4, .4, .7, .5), (.3, .3, .6, .6), (.1, .1, .7, .6), (0, 0, 1, .5), (0, 0, 1, 1)] # 1, 3, 9, 30, 50 and 100 %


def test_small_birds_have_rows_of_their_own(report):
    "Counted here, for frames that are made up: the share of the picture, those named right, and those named at all"
    asked, ours = report.asked, [i for i, mine in enumerate(report.asked.ours) if mine]
    boxes = np.full((len(asked.records), 4), np.nan)
    for place, i in enumerate(ours[:12]): boxes[i] = FRAMES[place % 6]
    finds = replace(asked.bundle, finding=Finding(side=768, place=.9, share=.5, margins=(.15, .5), overlap=.4, most=6))
    sized = report_of(report.folder, replace(asked, bundle=finds, boxes=boxes))
    expected = {covers: [0, 0, 0] for covers in BANDS}
    for place, i in enumerate(ours):
        row = expected[list(BANDS)[(0, 1, 2, 3, 4, 4)[place % 6] if place < 12 else 5]]
        answer, truth = sized.asked.answer(i), asked.records[i].species
        row[0] += 1
        row[1] += answer.ranking[0].species.german == truth
        row[2] += answer.species is not None
    shown, lines = Page(html_page(sized)), show_report(sized).splitlines()
    for covers, (n, right, named) in expected.items():
        low, high = wilson(right, n)
        interval = f'{100*low:.0f} % to {100*high:.0f} %'
        assert shown.row(covers)[1:] == [str(n), f'{right}|{interval}', f'{named}|{100*named/n:.0f} %']
        line = next(line for line in lines if line.startswith(f'  {covers} '))
        assert line.split(covers)[1].split() == [str(n), str(right), *interval.split(), str(named)]
    assert sum(n for n, *_ in expected.values()) == len(ours) == 17 and 'Small birds' in shown.text


def test_a_bundle_that_finds_nothing_has_no_table_of_sizes(report):
    blind = report_of(report.folder, replace(report.asked, bundle=replace(report.asked.bundle, finding=None)))
    assert 'Small birds' not in html_page(blind) and 'The bird covers' not in show_report(blind) and blind.sizes == []


def test_a_name_cannot_do_anything(report, folder):
    html = html_page(report)
    shown = Page(html)
    tags = {tag for tag, _ in shown.tags}
    assert tags & {'script', 'link', 'iframe', 'object', 'i', 'base', 'form'} == set()
    assert not [attributes for _, attributes in shown.tags if any(name.startswith('on') for name in attributes)]
    images = [attributes for tag, attributes in shown.tags if tag == 'img']
    assert len(images) >= len(NAMES) and all(image['src'].startswith('data:image/jpeg;base64,') and image['alt'] for image in images)
    assert not re.search(r'(?:src|href)="(?!data:|#)', html) and 'url(http' not in html and '\u202e' not in html
    for name in NAMES[:3]: assert shown.text.count(name) == 2, name # Among the mistakes, and among the unreadable
    assert '\\u202egpj.exe.jpg' in shown.text and 'two\\nlines.jpg' in shown.text
    assert '<img src=x onerror="alert(1)">' in shown.text and folder.name in shown.text and str(folder.parent) not in html


def test_nothing_is_lost(report, folder):
    files = {path for path in folder.rglob('*') if path.is_file()}
    assert {r.path for r in report.asked.records} | {r.path for r, _ in report.asked.unread} == files
    assert len(report.asked.unread) == len(NAMES) == html_page(report).count('This file is not a picture.')
    assert f'{len(NAMES)} files could not be read' in show_report(report)


@pytest.mark.skipif(os.name != 'posix', reason='only where names are bytes')
def test_a_name_that_is_no_text(tmp_path, classifier):
    paint_folder(tmp_path, ['Amsel'], n=1)
    try: Path(os.fsdecode(os.fsencode(tmp_path)+b'/Amsel/\xff.jpg')).write_bytes(b'no picture')
    except OSError: pytest.skip('this file system takes no such names')
    save_report(tmp_path/'report.html', evaluate_folder(classifier, tmp_path))
    assert '\\udcff.jpg' in (tmp_path/'report.html').read_text(encoding='utf-8')


def test_names_in_any_language_give_the_same(tmp_path, classifier):
    found = []
    for name in ('Weißstorch', 'White Stork', 'Ciconia ciconia', 'WEISSSTORCH'):
        for seed in range(2):
            (tmp_path/name/name).mkdir(parents=True, exist_ok=True)
            paint_bird('Weißstorch', seed).save(tmp_path/name/name/f'{seed}.jpg')
        report = evaluate_folder(classifier, tmp_path/name)
        found.append((report.figures, report.outcomes))
    assert found == found[:1]*4
    top1 = next(figure for figure in found[0][0] if figure.name == 'top1')
    assert top1.value == 1 and (top1.low, top1.high) == pytest.approx(wilson(2, 2), abs=1e-4) # Two out of two prove little


def test_what_cannot_be_judged_is_a_sentence(tmp_path, classifier):
    def refused(*words):
        with pytest.raises(PhotosError) as error: evaluate_folder(classifier, tmp_path)
        assert all(word in str(error.value) for word in words) and '\n' not in str(error.value)
    refused('no photographs')
    (tmp_path/'Amsel').mkdir()
    refused('no photographs')
    (tmp_path/'Amsel'/'0.jpg').write_bytes(b'')
    refused('The only file is not a photograph')
    paint_folder(tmp_path, ['Blaumeise'], n=1)
    (tmp_path/'Blaumeise').rename(tmp_path/'Blaumaise')
    refused("'Blaumaise'", 'Did you mean Eurasian Blue Tit (Blaumeise', "'other_birds'")
    (tmp_path/'Blaumaise').rename(tmp_path/'Flamingo')
    refused("'Flamingo'", "put the folder into 'other_birds'")
    (tmp_path/'other_birds').mkdir()
    (tmp_path/'Flamingo').rename(tmp_path/'other_birds'/'Flamingo')
    report = evaluate_folder(classifier, tmp_path)
    assert [r.species for r in report.asked.records] == [OTHER_BIRD] and report.figures == [] and 'nothing to name right' in html_page(report)
    with pytest.raises(PhotosError, match='is not a folder'): evaluate_folder(classifier, tmp_path/'nowhere')


def test_a_side_on_which_there_is_nothing(classifier, tmp_path):
    (tmp_path/'Amsel').mkdir()
    paint_bird('Amsel').save(tmp_path/'Amsel'/'1.jpg')
    (tmp_path/'metadata.csv').write_text('path,split\nAmsel/1.jpg,train\n', encoding='utf-8')
    with pytest.raises(PhotosError, match='is to be used for test'): evaluate_folder(classifier, tmp_path, side='test')
    assert len(evaluate_folder(classifier, tmp_path, side='training').outcomes) == 1


def test_another_model_than_was_meant(classifier, tmp_path):
    "Folders of birds that it has never heard of: the first thing to ask is whether it is the right model"
    for name in ('pensaskerttu', 'sinirinta', 'not_bird/koira'):
        (tmp_path/name).mkdir(parents=True)
        paint_bird('Amsel').save(tmp_path/name/'1.jpg')
    with pytest.raises(PhotosError, match='No name of the 2 folders in .* is known to the model that was asked, .*name it with --bundle'): evaluate_folder(classifier, tmp_path)
    (tmp_path/'sinirinta').rename(tmp_path/'Amsel')
    with pytest.raises(PhotosError, match="'pensaskerttu' is no species"): evaluate_folder(classifier, tmp_path)


def test_sources_that_belong_together_make_less_sure(tmp_path, classifier):
    "Four good photographs by Ida and four bad ones by Max are two opinions, and not eight"
    paint_folder(tmp_path, ['Amsel'], n=4)
    for seed in range(4): paint_bird('Weißstorch', seed).save(tmp_path/'Amsel'/f'stork{seed}.jpg')
    alone = evaluate_folder(classifier, tmp_path).figures[0]
    rows = [f"Amsel/{path.name},{'Max' if 'stork' in path.name else 'Ida'}" for path in sorted((tmp_path/'Amsel').iterdir())]
    (tmp_path/'metadata.csv').write_text('\n'.join(['path,source', *rows]), encoding='utf-8')
    together = evaluate_folder(classifier, tmp_path).figures[0]
    assert alone.name == 'top1' and 0 < alone.value == together.value <= .5 # None of the storks, and of the blackbirds most
    assert together.high-together.low > alone.high-alone.low


def test_a_report_is_written_whole_or_not_at_all(tmp_path, report, monkeypatch):
    target = tmp_path/'report.html'
    save_report(target, report)
    before = target.read_bytes()
    def full(*_): raise OSError(28, 'No space left on device')
    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', full)
        with pytest.raises(ReportError, match='No space left'): save_report(target, replace(report, pairs=[]))
    assert target.read_bytes() == before and list(tmp_path.iterdir()) == [target]
    photograph = paint_folder(tmp_path, ['Amsel'], n=1)[0]
    kept = photograph.read_bytes()
    for path, word in ((photograph, 'would be lost'), (tmp_path, 'is a folder'), (tmp_path/'no'/'where.html', 'no folder')):
        with pytest.raises(ReportError, match=word): save_report(path, report)
    assert photograph.read_bytes() == kept


LIGHT = """
import sys
for name in ('torch', 'fastai', 'sklearn', 'scipy', 'pandas', 'requests', 'tqdm', 'fastcore', 'matplotlib'): sys.modules[name] = None
from birdclf.classify import Classifier
from birdclf.report import evaluate_folder, html_page
html = html_page(evaluate_folder(Classifier.load(), sys.argv[1]))
assert 'The diagrams need matplotlib' in html and 'Named right' in html and 'pip install' in html
"""


def test_numpy_and_onnxruntime_are_enough(tmp_path):
    paint_folder(tmp_path, ['Amsel'], n=2)
    done = subprocess.run([sys.executable, '-c', LIGHT, tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, '')


def test_diagrams_are_there_and_leave_matplotlib_as_it_was(report):
    matplotlib = pytest.importorskip('matplotlib', reason='needs matplotlib')
    before = dict(matplotlib.rcParams)
    shown = Page(html_page(report))
    assert dict(matplotlib.rcParams) == before
    diagrams = [attributes for tag, attributes in shown.tags if tag == 'svg' and attributes.get('role') == 'img']
    assert len(diagrams) == 2 and all(diagram['aria-label'] for diagram in diagrams)
    ids = [attributes['id'] for _, attributes in shown.tags if 'id' in attributes]
    assert len(ids) == len(set(ids)) > 4
    assert html_page(report) == html_page(report) # The same answers, the same page


@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium (Debian: apt-get install chromium)')
def test_on_a_phone_by_day_and_by_night(tmp_path, report):
    sync = pytest.importorskip('playwright.sync_api', reason='needs playwright')
    save_report(tmp_path/'report.html', report)
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        colours = []
        for scheme in ('light', 'dark'):
            visitor, asked, said = browser.new_page(viewport=dict(width=390, height=844), color_scheme=scheme), [], []
            visitor.on('request', lambda request: asked.append(request.url))
            visitor.on('console', lambda message: said.append(message.text))
            visitor.on('dialog', lambda dialog: (said.append('a dialog'), dialog.dismiss()))
            visitor.goto((tmp_path/'report.html').as_uri())
            assert [url for url in asked if not url.startswith('data:')] == [(tmp_path/'report.html').as_uri()] and said == []
            assert visitor.evaluate('document.documentElement.scrollWidth') <= 390
            colours.append(visitor.evaluate('[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.querySelector("svg text")).fill]'))
            visitor.close()
        browser.close()
    (day, ink), (night, chalk) = colours
    assert day != night and ink != chalk

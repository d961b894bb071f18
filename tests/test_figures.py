"Figures in prose are held to where they come from: a mark behind each names a cell that prints it, or its place in the bundle"
import json
import re
from functools import cache, reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT/'birdclf'/'bundle'/'bundle.json'
MARK = re.compile(r'<!--=(.*?)-->', re.S)
FIGURE = r'\d(?:[\d.]*\d)?%?'
BEFORE = re.compile(rf'{FIGURE}(?:(?:,? and|,| to| of| or) {FIGURE})*[*_)\]]*$') # What stands right before a mark
CELL = re.compile(r'(\w+) ([\w-]+)(?:: (.+))?')            # `chapter cell`, or `chapter cell: what it prints`
PLACE = re.compile(r'bundle ([\w.]+)(?: /(\d\w*))? (\S+)') # `bundle place format`, or `bundle place /divisor format`


def plain(text):
    "`text` with one kind of space, none before a per cent, and no commas within numbers"
    text = re.sub(r'[\s\u00a0\u2009\u202f]+', ' ', text)
    return re.sub(r'(?<=\d) %', '%', re.sub(r'(?<=\d),(?=\d{3}(?!\d))', '', text))


def printed(cell):
    "The text of a cell's outputs"
    outputs = cell.get('outputs', [])
    texts = [output.get('text', '') for output in outputs]+[output.get('data', {}).get(kind, '') for output in outputs for kind in ('text/plain', 'text/markdown')]
    return plain('\n'.join(''.join(text) for text in texts))


def says(text, figure): return re.search(rf'(?<![\d.]){re.escape(figure)}(?!\d|\.\d)', text)


@cache
def cells_of(chapter): return json.loads(chapter.read_text(encoding='utf-8'))['cells']


def in_english(text):
    "A German text with its figures written as in English"
    parts = re.split(r'(<!--=.*?-->)', text, flags=re.S)
    parts[::2] = [re.sub(r'(?<=\d),(?=\d)', '.', re.sub(r'(?<=\d)\.(?=\d{3}(?!\d))', '', part)) for part in parts[::2]]
    parts[::2] = [re.sub(r'(?<=[\d%]) (?:und|von|bis|oder) (?=\d)', ' and ', part) for part in parts[::2]]
    return ''.join(parts)


def prose(cells): return '\n\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')


def fault_of(mark, before, nbs, bundle):
    "What is wrong with a mark behind the text `before`, or nothing"
    mark, found = plain(mark).strip(), BEFORE.search(plain(before).rstrip(' '))
    figures = re.findall(FIGURE, found[0]) if found else []
    if place := PLACE.fullmatch(mark):
        path, divisor, form = place.groups()
        try: value = reduce(lambda part, name: part[name], path.split('.'), json.loads(bundle.read_text(encoding='utf-8')))
        except (KeyError, TypeError): return f'bundle.json has no {path}'
        value = plain(format(value/float(divisor) if divisor else value, form))
        return None if figures == [value] else f'{path} is {value}, and the text says {", ".join(figures) or "no figure"}'
    if not (where := CELL.fullmatch(mark)): return 'a mark names a chapter and a cell, or a place in the bundle and a format'
    chapter, id, text = where.groups()
    path = nbs/f'{chapter}.ipynb'
    cell = next((cell for cell in cells_of(path) if cell['id'] == id), None) if path.exists() else None
    if cell is None: return f'{chapter} has no cell {id}'
    if not text and not figures: return 'no figure before it, and nothing else to look for'
    if text and not says(printed(cell), text): return f'{chapter} {id} does not say {text!r}'
    return next((f'{text or f"{chapter} {id}"!r} does not say {figure}' for figure in figures if not says(text or printed(cell), figure)), None)


def faults(text, nbs=ROOT/'nbs', bundle=BUNDLE):
    "Each mark in `text` that does not hold, with what stands before it"
    for match in MARK.finditer(text):
        before = text[:match.start()].rpartition('-->')[2][-200:]
        if fault := fault_of(match[1], before, nbs, bundle): yield f'{before[-40:]!r}: {fault}'


def unmarked(text, allowed=()):
    "Figures that carry no mark, and are neither in the text's own tables nor allowed"
    tables = plain('\n'.join(line for line in text.splitlines() if line.startswith('|')))
    text = '\n'.join(line for line in text.splitlines() if not line.startswith('|'))
    text = plain(re.sub(r'(?<=\])\([^)\s]*\)|`[^`]*`', '', text)) # What a link leads to
    *marked, rest = MARK.split(text)
    left = ' '.join([BEFORE.sub('', part.rstrip(' ')) for part in marked[::2]]+[rest])
    return [figure for figure in re.findall(rf'[A-Za-z]*{FIGURE}', left) if figure not in allowed and not says(tables, figure)]


CHAPTERS = sorted((ROOT/'nbs').glob('*.ipynb'))


@pytest.mark.parametrize('chapter', CHAPTERS, ids=lambda path: path.stem)
def test_marks_hold(chapter):
    text = prose(cells_of(chapter))
    assert list(faults(in_english(text) if chapter.stem.endswith('_de') else text)) == []


# Of the story's own: what is neither measured nor the original's
PLAIN = {'2023': 'the year of the original', '2025': 'the year in which its search engine was closed'}


def test_every_figure_of_the_story_has_a_source():
    cells = cells_of(ROOT/'nbs'/'story.ipynb')
    captions = ' '.join(re.sub(r'#\| (?:fig-(?:cap|alt):|\.\.\.)', '', line) for cell in cells if cell['cell_type'] == 'code'
                        for line in ''.join(cell['source']).splitlines() if re.match(r'#\| (?:fig-|\.\.\.)', line))
    assert MARK.search(prose(cells))
    assert unmarked(f'{prose(cells)}\n\n{captions}', PLAIN) == []


def test_the_german_story_is_the_same_story():
    "As many sections, with the same figures, pictures and links, cell by cell"
    english, german = ({cell['id']: cell for cell in cells_of(ROOT/'nbs'/f'{name}.ipynb')} for name in ('story', 'story_de'))
    for id, cell in german.items():
        there, here = (''.join(other['source']) for other in (english[id], cell))
        if cell['cell_type'] == 'code':
            assert here.startswith(f'#| as: story {id}\n')
            continue
        assert set(MARK.findall(here)) >= set(MARK.findall(there)), id
        assert len(re.findall('^## ', here, re.M)) == len(re.findall('^## ', there, re.M)), id
        links = [[link for link in re.findall(r'\]\((.*?)\)', text) if link != 'story_de.ipynb'] for text in (there, here)]
        assert set(links[1]) <= set(links[0]) and len(set(links[0])-set(links[1])) <= 1, id
    shown = {id for id, cell in english.items() if cell['cell_type'] == 'code' and '#| label' in ''.join(cell['source'])}
    assert shown <= german.keys() and {id for id, cell in english.items() if cell['cell_type'] == 'markdown'} <= german.keys()
    text = in_english(prose(list(german.values())))
    captions = ' '.join(line for cell in german.values() if cell['cell_type'] == 'code' for line in ''.join(cell['source']).splitlines()[2:])
    assert unmarked(f'{text}\n\n{captions}', PLAIN) == []


# That this finds what it looks for

OUTPUT = {'output_type': 'stream', 'name': 'stdout', 'text': ['53 of 58 birds, 91.4 %\n', '1,475 photographs\n']}
TABLE = {'output_type': 'execute_result', 'data': {'text/markdown': '| right | 96.0 % | 94.9 % to 97.5 % |', 'image/png': '777'}}
GOOD = ['53 of 58<!--= wren a1-->', '91.4\u202f%<!--= wren a1-->', '**1475**<!--= wren a1-->', '1,475<!--= wren a1-->', '96.0 %<!--= wren b-2-->',
        'from 94.9 to 97.5 %<!--= wren b-2-->', 'nine of ten<!--= wren a1: 53 of 58-->', '53<!--= wren a1: 53 of 58-->',
        '14.8<!--= bundle model.bytes /1e6 .1f--> MB', '96.0 %<!--= bundle scores.top1.value .1%-->', '14,794,798<!--= bundle model.bytes ,-->']
BAD = ['52 of 58<!--= wren a1-->', '3<!--= wren a1-->', '91<!--= wren a1-->', '1.4<!--= wren a1-->', '475<!--= wren a1-->', '777<!--= wren b-2-->', '53<!--= wren b-2-->',
       '53<!--= wren c3-->', '53<!--= owl a1-->', '53<!--= a1-->', 'many<!--= wren a1-->', 'nine of ten<!--= wren a1: 54 of 58-->', '91.4 %<!--= wren a1: 53 of 58-->',
       'nine of ten<!--= wren a1: 3 of 5-->', '14.7<!--= bundle model.bytes /1e6 .1f--> MB', '14.8<!--= bundle model.size /1e6 .1f-->', 'much<!--= bundle model.bytes /1e6 .1f-->']


@pytest.fixture
def nest(tmp_path):
    "A chapter that prints a few figures, and a bundle"
    cells = [{'cell_type': 'code', 'id': id, 'source': '', 'outputs': [output]} for id, output in (('a1', OUTPUT), ('b-2', TABLE))]
    (tmp_path/'wren.ipynb').write_text(json.dumps({'cells': cells}), encoding='utf-8')
    (tmp_path/'bundle.json').write_text(json.dumps({'model': {'bytes': 14794798}, 'scores': {'top1': {'value': .9604}}}), encoding='utf-8')
    return tmp_path


def found(nest, text): return list(faults(text, nest, nest/'bundle.json'))


@pytest.mark.parametrize('text', GOOD)
def test_a_mark_that_holds(nest, text):
    assert found(nest, f'It is {text} here.') == [] == unmarked(f'It is {text} here.')


@pytest.mark.parametrize('text', BAD)
def test_a_mark_that_does_not_hold(nest, text):
    assert len(found(nest, f'It is {text} here.')) == 1


@pytest.mark.parametrize('file, before, after', [('wren.ipynb', '53 of 58', '54 of 58'), ('wren.ipynb', '96.0', '95.9'), ('bundle.json', '14794798', '9794798')])
def test_a_figure_that_changes_is_noticed(nest, file, before, after):
    text = ' '.join(GOOD)
    assert found(nest, text) == []
    (nest/file).write_text((nest/file).read_text(encoding='utf-8').replace(before, after), encoding='utf-8')
    cells_of.cache_clear()
    assert found(nest, text)


def test_a_figure_without_a_mark_is_noticed():
    table = 'It had 74 birds in 2023.\n\n| theirs | 74 |\n| --- | --- |\n\n'
    assert unmarked(table) == ['2023'] and unmarked(table, {'2023': 'a year'}) == []
    assert unmarked(table+'Ours has 3 of 7 birds, 8<!--= wren a1--> of [9](4.ipynb), 7.4 and ResNet50.', {'2023', '3'}) == ['7', '9', '7.4', 'ResNet50']

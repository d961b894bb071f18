"Diagrams in the chapters' outputs: as wide as a phone, in letters of 9 points, none upright, in the ink of the page and without a ground of their own"
import json
import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from birdclf.diagrams import STYLE, WIDTH

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = sorted((ROOT/'nbs').glob('*.ipynb'))
# Drawn from computations that take an hour together, before there was a style; draw them in a `diagram` when they run next
DRAWN = {('69_own_birds', '69000030')} # A picture of a window with folders, and no diagram


def outputs_of(cell):
    "The data of its outputs, as text"
    return [{kind: ''.join(data) for kind, data in output.get('data', {}).items()} for output in cell.get('outputs', [])]


def faults(svg):
    "What would disturb a reader on a phone, or at night"
    drawing = BeautifulSoup(svg, 'html.parser').svg
    if 'diagram' not in drawing.get('class', []): yield 'is not in the style of the book'
    if drawing['viewbox'].split()[2] != f'{72*WIDTH:g}': yield f'has another width: {drawing["viewbox"]}'
    for text in drawing.select('text, tspan'):
        size = re.search(r'([\d.]+)px', text.get('style', ''))
        if size and float(size[1]) < STYLE['font.size']: yield f'has small letters: {text.get_text()}'
        if 'fill: currentColor' not in text.get('style', ''): yield f'has ink of its own: {text.get_text()}'
        if re.search(r'rotate\(-?[1-9]', text.get('transform', '')): yield f'has upright letters: {text.get_text()}'
    if re.search(r'#fff\b|#ffffff|fill: white|#000\b|#000000', svg): yield 'is black or white somewhere'
    if drawing.select('style, script'): yield 'dresses the rest of the page'


@pytest.mark.parametrize('chapter', CHAPTERS, ids=lambda path: path.stem)
def test_diagrams_are_for_a_phone_and_for_the_night(chapter):
    for cell in json.loads(chapter.read_text(encoding='utf-8'))['cells']:
        if cell['cell_type'] != 'code': continue
        where, code, found = (chapter.stem, cell['id']), ''.join(cell['source']), outputs_of(cell)
        assert not any('<Figure size' in data.get('text/plain', '') for data in found) or where in DRAWN, f'{where}: draw it in a `diagram`'
        drawings = [data['text/html'] for data in found if data.get('text/html', '').startswith('<svg')]
        assert [*map(list, map(faults, drawings))] == [[]]*len(drawings), where
        if re.search(r'^(?!def).*\b(with diagram|dot_plot)\(', code, re.M) and '#| label: fig-' in code and where not in DRAWN: assert drawings, f'{where}: its diagram is not there'
        if re.search(r'\bplt\.subplots\(', code): assert where in DRAWN, f'{where}: draw it in a `diagram`'


GOOD = '<svg viewBox="0 0 288 72" class="diagram"><path style="fill: none; stroke: currentColor"/><text style="font-size: 9px; fill: currentColor">wren</text></svg>'


@pytest.mark.parametrize('old, new, fault', [
    ('class="diagram"', '', 'is not in the style'), ('288', '504', 'another width'), ('9px', '7px', 'small letters: wren'), ('fill: none', 'fill: #ffffff', 'black or white'),
    ('font-size: 9px; fill: currentColor', 'font-size: 9px; fill: #0c0d0e', 'ink of its own'), ('<text ', '<text transform="rotate(-90 1 2)" ', 'upright'), ('</svg>', '<style>p {}</style></svg>', 'dresses')])
def test_a_fault_is_found(old, new, fault):
    assert list(faults(GOOD)) == []
    assert [found for found in faults(GOOD.replace(old, new)) if fault in found]

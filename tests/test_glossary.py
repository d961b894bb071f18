"The glossary: each of its terms is met in a chapter, and linked from where it is met first"
import json
import re
from pathlib import Path

import pytest

from birdclf.book import explain, read_glossary

NBS = Path(__file__).resolve().parents[1]/'nbs'
CHAPTERS = sorted(path for path in NBS.glob('*.ipynb') if path.stem != 'glossary')
[TEXT] = [text for cell in json.loads((NBS/'glossary.ipynb').read_text(encoding='utf-8'))['cells'] if '{glossary}' in (text := ''.join(cell['source']))]
NAMES = read_glossary(TEXT)
HARD = 'AUROC', 'backbone', 'bootstrap', 'calibration error', 'conformal', 'embedding', 'epoch', 'learning rate', 'logit', 'probe', 'softmax', 'temperature', 'Wilson'


def prose(path):
    "What a chapter says, without its code, and without titles and links"
    notebook = json.loads(path.read_text(encoding='utf-8'))
    explain(notebook, path)
    text = '\n\n'.join(''.join(cell['source']) for cell in notebook['cells'] if cell['cell_type'] == 'markdown')
    apart = r'(?s)(\{term\}`[^`]*`)|```.*?```|<!--.*?-->|`[^`]*`|\[[^\]]*\]\([^)]*\)|(?m:^(?:[#>]|    )[^\n]*)'
    return re.sub(apart, lambda match: match[1] or '', text)


PROSE = {path.stem: prose(path) for path in CHAPTERS}
ROLE = re.compile(r'\{term\}`([^`<]+) <([^>]+)>`')


def test_it_is_in_order():
    entries = list(dict.fromkeys(first for first, _ in NAMES.values()))
    assert entries == sorted(entries, key=str.lower) and len(entries) >= 40
    assert {other for _, others in NAMES.values() for other in others} <= set(PROSE)


def test_each_says_what_it_is_and_where_it_is_used():
    for entry in re.split(r'\n\s*\n', TEXT.partition('\n')[2]):
        meaning = [line for line in entry.splitlines() if line.startswith('  ')]
        assert len(meaning) == 1 and len(meaning[0].split()) < 70 and re.search(r'\]\(\w+\.ipynb\)$', meaning[0]), entry


def test_each_is_met_in_a_chapter():
    met = {NAMES[name][0] for text in PROSE.values() for _, name in ROLE.findall(text)}
    assert met == {first for first, _ in NAMES.values()}


@pytest.mark.parametrize('chapter', PROSE)
def test_hard_words_are_explained_where_they_are_met_first(chapter):
    for name in HARD:
        first = re.search(rf'(?<![\w-]){name}(?:s|es)?(?![\w-])', PROSE[chapter], re.I if name.islower() else 0)
        if first: assert PROSE[chapter][:first.start()].endswith('{term}`'), PROSE[chapter][first.start()-60:first.end()+20]


@pytest.mark.parametrize('chapter', PROSE)
def test_none_is_linked_twice(chapter):
    entries = [NAMES[name][0] for _, name in ROLE.findall(PROSE[chapter])]
    assert len(entries) == len(set(entries))

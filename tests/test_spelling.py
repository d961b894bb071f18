"Birds are spelt in the book as in species.csv: a word that is nearly, but not quite, one of a bird's name is a fault"
import json
import re
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import pytest

from birdclf.species import load_species

ROOT = Path(__file__).resolve().parents[1]
WORD = r"[^\W\d_]+(?:['’][^\W\d_]+)?"
# No birds, and birds of others; and a few that are wrong on purpose
OTHERS = set("""blick colours europe garten march marine moore orion regen regenpfeifer regenpfeifern scaling sharing sterne wigeon
gruenspecht grunspecht rotkehlhcen fitisse""".split())


def parts(name): return {word.lower() for word in re.findall(WORD, name)}


KNOWN = {word for bird in load_species() for name in (bird.german, bird.english, bird.scientific, *bird.aliases) for word in parts(name)}
NAMES = sorted(word for word in KNOWN if len(word) > 4)


def plain(text):
    "`text` without code and addresses"
    return re.sub(r'^```.*?^```|`[^`]*`|\]\([^)]*\)|<!--.*?-->|^%%front .*|https?://\S+', ' ', text, flags=re.M | re.S)


def misspelt(text, others=OTHERS):
    "Capitalised words of `text` that are nearly a word in a bird's name, each with that"
    text = plain(text)
    for word in sorted(set(re.findall(rf"(?<![\w/.@-])[A-ZÄÖÜ][^\W\d_]{{4,}}", text))):
        small = word.lower()
        if small in others or any(form in KNOWN for form in (small, small.removesuffix('s'), small.removesuffix('es'), small.removesuffix('n'))): continue
        if near := get_close_matches(small, NAMES, 1, .8): yield f'{word} is nearly {near[0]}'


def read(chapter):
    "The prose of a chapter, and what its figures say of themselves"
    for cell in json.loads(chapter.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] == 'markdown': yield source
        else: yield ' '.join(re.findall(r'^#\| (?:fig-cap: |fig-alt: |\.\.\. )(.*)', source, re.M))


CHAPTERS = sorted((ROOT/'nbs').glob('*.ipynb'))


@cache
def ordinary():
    "Words that the book also writes without a capital: they only begin a sentence"
    return OTHERS | set(re.findall(r'(?<![\w-])[a-zäöüß]{5,}', plain('\n\n'.join(part for path in CHAPTERS for part in read(path)))))


@pytest.mark.parametrize('path', CHAPTERS, ids=lambda path: path.stem)
def test_birds_are_spelt_as_in_the_list(path):
    assert list(misspelt('\n\n'.join(read(path)), ordinary())) == []


@pytest.mark.parametrize('name', ['README.md', 'CHANGELOG.md', 'CITATION.cff', 'birdclf/bundle/MODEL_CARD.md'])
def test_birds_are_spelt_as_in_the_list_beside_the_book_too(name):
    assert list(misspelt((ROOT/name).read_text(encoding='utf-8'), ordinary())) == []


@pytest.mark.parametrize('text', ['A Rotkelchen sings.', 'Two Backbirds', 'the Eurasian Blackbrid', '**Buntspect**', 'a (Blaumiese)', 'The Nuthach climbs.', 'Kohlmeiße', 'the Rubecola'])
def test_a_misspelt_bird_is_noticed(text):
    assert len(list(misspelt(text, ordinary()))) == 1


def test_what_is_right_or_no_bird_is_left_alone():
    assert list(misspelt('A Blackbird, two Rotkehlchens and many Nuthatches, `Rotkelchen`, [a](Rotkelchen.ipynb), a backbird: While Europe sleeps, in March.', ordinary())) == []

"What tells look-alikes apart, from outside: the table, which tip goes with which answer, and that no pair is forgotten"
import csv
import json
import re
import subprocess
import sys
import unicodedata
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from birdclf.bundle import load_bundle
from birdclf.classify import Answer, decide
from birdclf.errors import Refusal
from birdclf.naming_verbs import _paragraph
from birdclf.species import Species, load_species
from birdclf.tips import UNCHECKED, Tip, load_tips, tips_for

ROOT = Path(__file__).resolve().parents[1]
BIRDS, TIPS = load_species(), load_tips()
OURS = {bird.scientific: bird for bird in BIRDS}
# Relatives that the list of this book does not have, and how the tips call them
RELATIVES = {'Anthus pratensis': ('Meadow Pipit', 'Wiesenpieper'), 'Corvus frugilegus': ('Rook', 'Saatkrähe'), 'Turdus pilaris': ('Fieldfare', 'Wacholderdrossel'),
             'Mergus serrator': ('Red-breasted Merganser', 'Mittelsäger'), 'Passer domesticus': ('House Sparrow', 'Haussperling'),
             'Motacilla flava': ('Yellow Wagtail', 'Schafstelze'), 'Charadrius hiaticula': ('Common Ringed Plover', 'Sandregenpfeifer'),
             'Regulus ignicapilla': ('Common Firecrest', 'Sommergoldhähnchen'), 'Poecile montanus': ('Willow Tit', 'Weidenmeise'),
             'Saxicola rubicola': ('European Stonechat', 'Schwarzkehlchen')}
each = pytest.mark.parametrize('tip', TIPS, ids=lambda tip: ', '.join(tip.species))


def find(*names): return [BIRDS.find(name) for name in names]


def told(*names): return [tip.species for tip in tips_for(find(*names))]


# The table

def test_there_are_tips_enough():
    assert len(TIPS) >= 25 and TIPS[0].species == ('Certhia familiaris', 'Certhia brachydactyla')


@each
def test_two_or_three_birds_that_are_known(tip):
    assert len(set(tip.species)) == len(tip.species) in (2, 3)
    assert set(tip.species) <= OURS.keys() | RELATIVES.keys()
    assert len(OURS.keys() & set(tip.species)) >= 2, 'a tip that no answer about our birds would ever show'


@each
def test_both_languages_name_all_birds_and_are_two_sentences_long(tip):
    for language, place in (('en', 0), ('de', 1)):
        text = tip.text(language)
        for name in tip.species:
            called = OURS[name].name(language) if name in OURS else RELATIVES[name][place]
            assert called in text or called.replace('European ', '') in text, called
        assert 100 <= len(text) <= 320 and text[0].isupper() and text[-1] == '.'
        assert text.isprintable() and text == unicodedata.normalize('NFC', text) == ' '.join(text.split())
    assert tip.en != tip.de


@each
def test_every_tip_says_what_was_read(tip):
    assert tip.source
    if tip.source == UNCHECKED: return
    for title, address in tip.sources:
        assert len(title) > 5 and re.fullmatch(r'https?://[^\s/]+\.[^\s/]+/\S+', address)
    assert '; '.join(f'{title}, {address}' for title, address in tip.sources) == tip.source


def test_a_tip_that_nobody_has_checked_has_no_sources():
    assert Tip(('Turdus merula', 'Sturnus vulgaris'), 'x', 'y', UNCHECKED).sources == ()


def test_no_two_tips_are_about_the_same_birds():
    assert len({frozenset(tip.species) for tip in TIPS}) == len(TIPS)


def test_the_table_is_what_a_spreadsheet_saves():
    data = (ROOT/'birdclf'/'data'/'tips.csv').read_bytes()
    assert not data.startswith(b'\xef\xbb\xbf') and b'\r' not in data and data.endswith(b'\n')
    rows = list(csv.reader(data.decode('utf-8').splitlines()))
    assert rows[0] == ['species', 'en', 'de', 'source'] and {len(row) for row in rows} == {4}


@pytest.mark.parametrize('language', ['fr', '', 'EN', 'source', None])
def test_another_language_is_refused(language):
    with pytest.raises(Refusal, match="Ask for 'en' or 'de'"): TIPS[0].text(language)


# Which tip goes with which answer

@each
def test_any_two_of_its_birds_bring_a_tip(tip):
    "In either order; it may be one that is about these two alone"
    for one, other in combinations([OURS[name] for name in tip.species if name in OURS], 2):
        for pair in ([one, other], [other, one]):
            found = tips_for(pair)
            assert len(found) == 1 and {one.scientific, other.scientific} <= set(found[0].species)
            assert len(found[0].species) <= len(tip.species)


def test_one_bird_or_none_needs_no_tip():
    assert tips_for([]) == tips_for(find('Fitis')) == tips_for(find('Zaunkönig', 'Fitis')) == ()
    assert tips_for(find('Fitis')*2) == ()


def test_the_likeliest_two_come_first():
    redstarts, leaf = ('Phoenicurus phoenicurus', 'Phoenicurus ochruros'), ('Phylloscopus collybita', 'Phylloscopus trochilus')
    assert told('Fitis', 'Zilpzalp', 'Hausrotschwanz', 'Gartenrotschwanz') == [leaf, redstarts]
    assert told('Hausrotschwanz', 'Gartenrotschwanz', 'Fitis', 'Zilpzalp') == [redstarts, leaf]
    assert told('Uhu', 'Hausrotschwanz', 'Zilpzalp', 'Gartenrotschwanz', 'Fitis') == [redstarts, leaf]


def test_what_is_told_apart_is_not_told_apart_again():
    assert told('Amsel', 'Singdrossel') == [('Turdus merula', 'Turdus philomelos')]
    pair, three = ('Sylvia borin', 'Acrocephalus palustris'), ('Muscicapa striata', 'Sylvia borin', 'Acrocephalus palustris')
    assert told('Gartengrasmücke', 'Sumpfrohrsänger') == [pair]
    assert told('Gartengrasmücke', 'Sumpfrohrsänger', 'Grauschnäpper') == [pair, three]


def test_two_are_enough():
    assert len(tips_for(BIRDS)) == 2 and len(tips_for(reversed(BIRDS))) == 2


def test_candidates_may_be_gone_through_once():
    assert tips_for(iter(find('Fitis', 'Zilpzalp'))) == tips_for(find('Fitis', 'Zilpzalp')) != ()


# Lists of one's own

OLD = {'Charadrius dubius': 'Thinornis dubius', 'Parus palustris': 'Poecile palustris', 'Parus ater': 'Periparus ater', 'Corvus monedula': 'Coloeus monedula',
       'Carduelis chloris': 'Chloris chloris', 'Larus ridibundus': 'Chroicocephalus ridibundus', 'Corvus corone cornix': 'Corvus cornix'}


@pytest.mark.parametrize('old', OLD)
def test_older_names_find_the_same_tips(old):
    "Whether the list has the older name alone, or the new one as another name of the same bird"
    for tip in TIPS:
        for other in set(tip.species)-{OLD[old]} if OLD[old] in tip.species else ():
            companion = Species('', '', other)
            expected = tips_for([Species('', '', OLD[old]), companion])
            assert expected == tips_for([Species('', '', old), companion]) == tips_for([Species('', '', 'Avis nova', aliases=(old,)), companion]) != ()


def test_a_relative_that_only_another_list_has_counts():
    finnish = Species('', 'Hömötiainen', 'Poecile montanus'), Species('', 'Viitatiainen', 'Poecile palustris')
    assert [tip.species for tip in tips_for(finnish)] == [('Poecile palustris', 'Periparus ater', 'Poecile montanus')]


@pytest.mark.parametrize('alias', ['robin', 'European Robin', 'Rotkehlchen', 'erithacus rubecula'])
def test_a_name_that_people_use_makes_no_bird_another(alias):
    stranger = Species('', 'American Robin', 'Turdus migratorius', aliases=(alias,))
    assert tips_for([stranger, BIRDS.find('Gartenrotschwanz')]) == ()


def test_two_birds_that_a_list_has_as_one_are_one():
    crow = Species('', 'Crow', 'Corvus corone', aliases=('Corvus cornix', 'Corvus corone cornix'))
    assert tips_for([crow, BIRDS.find('Amsel')]) == ()
    assert [tip.species[:2] for tip in tips_for([crow, BIRDS.find('Dohle')])] == [('Corvus corone', 'Coloeus monedula')]


# In an answer

@pytest.fixture(scope='module')
def bundle(): return load_bundle()


def undecided(bundle, *names, open_set=(9, 9)):
    "An answer that hesitates between `names`, the first a little likelier than the second, and so on"
    logits = np.zeros(len(bundle.species))
    for place, name in enumerate(names): logits[list(bundle.species).index(bundle.species.find(name))] = 30-place/10
    return decide(bundle, logits, np.array(open_set, float))


def test_an_answer_that_hesitates_says_what_to_look_at(bundle):
    answer = undecided(bundle, 'Waldbaumläufer', 'Gartenbaumläufer')
    assert answer.verdict == 'one_of' and answer.tips == TIPS[:1]
    for language in ('en', 'de'): assert answer.to_dict(language)['tips'] == [TIPS[0].text(language)]


def test_the_order_is_that_of_the_candidates(bundle):
    for names in (('Fitis', 'Zilpzalp', 'Waldlaubsänger'), ('Waldlaubsänger', 'Fitis', 'Zilpzalp')):
        answer = undecided(bundle, *names)
        assert [c.species.german for c in answer.candidates] == list(names) and [tip.species for tip in answer.tips] == told(*names)


@pytest.mark.parametrize('names, open_set', [(['Fitis'], (9, 9)), (['Fitis', 'Zilpzalp'], (9, -9)), (['Fitis', 'Zilpzalp'], (-9, 9))])
def test_every_other_answer_says_nothing_of_the_kind(bundle, names, open_set):
    answer = undecided(bundle, *names, open_set=open_set)
    assert answer.verdict != 'one_of' and answer.tips == () and answer.to_dict()['tips'] == []
    assert Answer('unreadable').tips == ()


def test_what_is_unlikely_is_not_told_apart(bundle):
    "The sixth candidate and the seventh are on no list that a person reads"
    first = ['Pirol', 'Weißstorch', 'Uhu', 'Eisvogel', 'Kohlmeise']
    assert undecided(bundle, *first, 'Fitis', 'Zilpzalp').tips == ()
    assert [tip.species for tip in undecided(bundle, *first[:3], 'Fitis', 'Zilpzalp', *first[3:]).tips] == [('Phylloscopus collybita', 'Phylloscopus trochilus')]


@pytest.mark.parametrize('language', ['en', 'de'])
def test_the_command_line_prints_it_below_the_sentence(bundle, language):
    answer = undecided(bundle, 'Waldlaubsänger', 'Fitis', 'Zilpzalp')
    lines = _paragraph('a.jpg', answer, language, None).splitlines()
    assert lines[1] == f'  {answer.sentence(language)}' and all(line.startswith('  ') and len(line) <= 100 for line in lines[2:-1])
    said = ' '.join(' '.join(lines[2:]).split())
    assert said.startswith(' '.join(tip.text(language) for tip in answer.tips)) and len(answer.tips) == 2
    assert sum('█' in line for line in lines) == 3


# No pair is forgotten

def counted():
    "What the chapter's cell said when it last ran: the code of the training, and how often which two birds were taken for each other"
    notebook = json.loads((ROOT/'nbs'/'55_tips.ipynb').read_text(encoding='utf-8'))
    text = ''.join(''.join(output.get('text', '')) for cell in notebook['cells'] for output in cell.get('outputs', ()) if 'taken for each other' in ''.join(output.get('text', '')))
    code, wrong, answers = re.match(r'([0-9a-f]{12}): (\d+) of ([\d,]+) answers about', text).groups()
    pairs = re.findall(r'^ *(\d+) +(\d+)  ([^,\n]+), ([^,\n]+)$', text, re.M)
    once = int(re.search(r'^(\d+) more pairs? ', text, re.M)[1])
    return code, int(wrong), [(int(times), int(photos), find(one, other)) for times, photos, one, other in pairs], once


def test_the_count_is_whole():
    "Every wrong answer is in the list, or one of those that came once"
    _, wrong, pairs, once = counted()
    assert len(pairs) >= 8 and sum(times for times, _, _ in pairs)+once == wrong
    assert all(times >= 2 and 1 <= photos <= times <= 3*photos for times, photos, _ in pairs)
    assert len({frozenset(bird.scientific for bird in pair) for _, _, pair in pairs}) == len(pairs)


def untold(pairs): return [' and '.join(bird.english for bird in pair) for _, _, pair in pairs if not tips_for(pair)]


def test_every_pair_that_was_mixed_up_twice_has_a_tip():
    assert untold(counted()[2]) == [], 'write a line for each into birdclf/data/tips.csv'


def test_a_forgotten_pair_would_be_noticed():
    assert untold([(2, 1, find('Zaunkönig', 'Schwarzstorch'))]) == ['Eurasian Wren and Black Stork']


# What it costs

def test_nothing_is_read_before_somebody_asks():
    code = 'import birdclf.tips as t, birdclf.species\nassert t.load_tips.cache_info().currsize == 0\nt.tips_for([])\nassert t.load_tips.cache_info().currsize == 1'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr

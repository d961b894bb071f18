"The page offers the languages in which its birds have names; a language of the page itself is a file"
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_counter import ask
from test_page import Visitor, browser, robin, served  # noqa: F401 (fixtures)
from test_serving import BIRDCLF

from birdclf.bundle import load_bundle
from birdclf.classify import Answer, Classifier
from birdclf.cli import main
from birdclf.photo import PhotoError
from birdclf.session import Session, languages_of
from birdclf.site import main as site
from birdclf.testing import PATIENCE, paint_bird

WORDS = dict(page=dict(sure='Se on', choose='Valitse kuva', language='Kieli'), answer=dict(sure='Se on {names}: {percent}.'), photo=dict(empty='Tiedosto on tyhjä.'))


@pytest.fixture(scope='module')
def finnish(tmp_path_factory):
    "Our model, whose birds have made-up Finnish names and no German ones"
    folder = tmp_path_factory.mktemp('finnish')/'bundle'
    shutil.copytree(Path(load_bundle.__code__.co_filename).with_name('bundle'), folder)
    told = json.loads((folder/'bundle.json').read_text(encoding='utf-8'))
    for bird in told['species']: bird |= dict(german=bird['scientific'], names=dict(fi='fi '+bird['german']))
    (folder/'bundle.json').write_text(json.dumps(told, ensure_ascii=False), encoding='utf-8')
    return folder


@pytest.fixture
def words(tmp_path):
    (tmp_path/'words').mkdir()
    (tmp_path/'words'/'fi.json').write_text(json.dumps(WORDS, ensure_ascii=False), encoding='utf-8')
    return tmp_path/'words'


@pytest.fixture(scope='module')
def jpeg(tmp_path_factory):
    path = tmp_path_factory.mktemp('jpeg')/'garden.jpg'
    paint_bird('Amsel', 1).save(path, quality=95)
    return path


def test_an_answer_in_finnish_names(finnish, jpeg):
    answer = Classifier.load(finnish).classify(jpeg)
    assert languages_of(load_bundle(finnish).species) == ('en', 'fi')
    assert answer.sentence('fi').startswith('It is a fi Amsel (') or answer.sentence('fi').startswith('It is an fi Amsel (')
    assert answer.to_dict()['species']['names'] == dict(fi='fi Amsel') and 'names' not in Classifier.load().classify(jpeg).to_dict()['species']
    with pytest.raises(ValueError, match="'sv' is not a language"): answer.sentence('sv')
    assert Answer('unreadable', error=PhotoError('empty')).sentence('fi') == PhotoError('empty').sentence('en')


def test_a_page_is_told_in_its_languages(finnish, jpeg):
    session = Session(Classifier.load(finnish))
    reply, _ = session.hear(dict(kind='photo', seq=1, preview=True), jpeg.read_bytes())
    assert set(reply['sentences']) == set(reply['tips']) == set(reply['hints']) == {'en', 'fi'}
    assert reply['candidates'][0]['pages']['Wikipedia']['fi'].startswith('https://') and list(session.known()['languages']) == ['en', 'fi']
    assert set(session.hear(dict(kind='photo', seq=1, preview=True), b'')[0]['sentences']) == {'en', 'fi'}


def test_the_command_line_knows_the_languages(finnish, jpeg, capsys):
    assert main(['classify', '--bundle', str(finnish), '--language', 'fi', str(jpeg)]) == 0
    assert 'fi Amsel' in capsys.readouterr().out
    for verb in (['classify', str(jpeg)], ['app']):
        assert main([*verb, '--bundle', str(finnish), '--language', 'sv']) == 2
        assert "'sv' is not a language of these birds. There are en, fi, de." in capsys.readouterr().err


def test_the_page_offers_them(browser, finnish, words, tmp_path, jpeg):
    env = os.environ | dict(BIRDCLF_WORDS=str(words))
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--bundle', finnish, '--port', env=env) as (address, _):
        visitor = Visitor(browser, address, locale='fi-FI')
        assert visitor.page.locator('.bc-languages button').all_inner_texts() == ['English', 'suomi']
        assert visitor.page.get_attribute('.bc-page', 'lang') == 'fi' and 'Valitse kuva' in visitor.read('box')
        visitor.choose(jpeg)
        assert visitor.read('name') == 'fi Amsel' and visitor.read('eyebrow') == 'Se on' and visitor.read('others').startswith('Eurasian Blackbird')
        assert visitor.read('sentence').startswith('Se on fi Amsel (')
        visitor.page.click('text=English')
        assert visitor.read('name') == 'Eurasian Blackbird' and visitor.read('sentence').startswith('It is a Eurasian Blackbird (Turdus merula)')
        visitor.choose(('empty.jpg', b''))
        visitor.page.click('text=suomi')
        assert visitor.read('sentence') == 'Tiedosto on tyhjä.'
        assert visitor.fits()
        visitor.leave()
        said = ask(address, 'POST', '/api/classify?language=fi', jpeg.read_bytes())
        assert said.status == 200 and said.said['reason'].startswith('Se on fi Amsel')
        assert ask(address, 'POST', '/api/classify?language=de', jpeg.read_bytes()).said['error'] == 'The language is one of these: en, fi.'
        document = ask(address, 'GET', '/api/openapi.json').said
        assert document['paths']['/api/classify']['post']['parameters'][0]['schema']['enum'] == ['en', 'fi']


def test_a_page_of_one_language_has_no_switch(browser, finnish, tmp_path):
    told = json.loads((finnish/'bundle.json').read_text(encoding='utf-8'))
    shutil.copytree(finnish, tmp_path/'bundle')
    for bird in told['species']: del bird['names']
    (tmp_path/'bundle'/'bundle.json').write_text(json.dumps(told), encoding='utf-8')
    with served(tmp_path/'log.txt', BIRDCLF, 'app', '--bundle', tmp_path/'bundle', '--port') as (address, _):
        visitor = Visitor(browser, address, locale='de-AT')
        assert not visitor.page.is_visible('.bc-languages') and visitor.page.get_attribute('.bc-page', 'lang') == 'en'
        visitor.leave()


def test_a_page_of_dogs_in_words_of_which_some_are_translated(finnish, tmp_path):
    "Each sentence falls back by itself; and a file for German falls back to our German"
    told = json.loads((finnish/'bundle.json').read_text(encoding='utf-8'))
    told['training']['kind'], told['finding'] = 'koirat', None
    shutil.copytree(finnish, tmp_path/'bundle')
    (tmp_path/'bundle'/'bundle.json').write_text(json.dumps(told), encoding='utf-8')
    (tmp_path/'words').mkdir()
    (tmp_path/'words'/'fi.json').write_text(json.dumps(dict(page=dict(title='Mikä lintu?', lead_kind='Kuva riittää: {n} {kind}.', known=''), answer=dict(none_of_these='Ei mikään näistä.'), browser=dict(unable_kind='Vanha ({kind}).'))), encoding='utf-8-sig')
    (tmp_path/'words'/'de.json').write_text(json.dumps(dict(page=dict(lead='Ein Foto, bitte.'))), encoding='utf-8')
    code = ('import sys\nfrom birdclf.app import WORDS, BirdPage, by_language\nfrom birdclf.classify import Answer, Classifier, decide\nfrom birdclf.engine import knowledge\nfrom birdclf.session import Session\nimport numpy as np\n'
            'classifier = Classifier.load(sys.argv[1])\nwords, bundle = BirdPage(Session(classifier)).words, classifier.bundle\n'
            'assert words["lead"]["fi"] == "Kuva riittää: {n} koirat." and words["title"]["fi"] == words["title"]["en"] == "Which of these koirat is it?"\n'
            'assert words["known"]["fi"] == "Which koirat does it know?" and not [key for key in words if key.endswith("_kind")]\n'
            'answer = decide(bundle, np.zeros(len(bundle.species)), np.array([-9, 9]), colourless=True)\n'
            'assert answer.sentence("fi") == "Ei mikään näistä. The photo has no colours, so do not rely on it."\n'
            'assert knowledge(bundle)["photo"]["sentences"]["fi"]["unable"] == "Vanha (koirat)." and knowledge(bundle)["said"]["fi"]["none_of_these"] == "Ei mikään näistä."\n'
            'german = by_language(WORDS, ("de",), "page")\nassert (german["lead"]["de"], german["title"]["de"]) == ("Ein Foto, bitte.", "Welcher Vogel ist das?")')
    subprocess.run([sys.executable, '-c', code, str(tmp_path/'bundle')], env=os.environ | dict(BIRDCLF_WORDS=str(tmp_path/'words')), check=True, timeout=PATIENCE)


def test_all_texts_in_a_file_and_back(words, tmp_path):
    "What is written to be translated can be used as it is, and says the same"
    assert site(['--words', str(words/'nl.json')]) == 0
    parts = json.loads((words/'nl.json').read_text(encoding='utf-8'))
    assert set(parts) == {'photo', 'answer', 'where', 'page', 'browser', 'site'} and sum(map(len, parts.values())) > 100
    of_a_kind = {part: {key for key in texts if key.endswith('_kind')} for part, texts in parts.items()}
    assert {'title_kind', 'lead_kind', 'known_kind', 'bird_kind'} <= of_a_kind['page'] and {'coming_kind', 'missing_kind'} <= of_a_kind['site'] and {'unfetched_kind', 'unable_kind'} <= of_a_kind['browser']
    assert 'colourless_kind' in of_a_kind['answer'] and 'none_of_these' in parts['answer'] and 'none_of_these' in parts['page']
    assert not [text for part, keys in of_a_kind.items() for key in keys if re.search('(?i)bird', text := parts[part][key])]
    code = ('from birdclf.app import WORDS, by_language\nfrom birdclf.classify import SAID\nfrom birdclf.photo import SENTENCES\nfrom birdclf.words import spoken\n'
            'assert SAID["nl"] == SAID["en"] and SENTENCES["nl"] == SENTENCES["en"] and spoken("nl-be") == "nl"\n'
            'assert all(said["nl"] == said["en"] for said in by_language(WORDS, ("en", "nl"), "page").values())\n'
            'assert SAID["fi"]["sure"] == "Se on {names}: {percent}." and SAID["fi"]["small"] == SAID["en"]["small"]')
    subprocess.run([sys.executable, '-c', code], env=os.environ | dict(BIRDCLF_WORDS=str(words)), check=True, timeout=PATIENCE)


def test_a_translation_is_not_overwritten(words, tmp_path, capsys):
    before = (words/'fi.json').read_bytes()
    for path, why in ((words/'fi.json', 'is there already'), (tmp_path/'nowhere'/'fi.json', 'There is no folder'), (words, 'is there already')):
        assert site(['--words', str(path)]) == 2
        assert why in (said := capsys.readouterr().err) and len(said.splitlines()) == 1
    assert (words/'fi.json').read_bytes() == before and not (tmp_path/'nowhere').exists()


@pytest.mark.parametrize('text', ['{', '[]', '{"answer": {"sure": "{who}"}}', '{"answer": {"nobody": "x"}}', '{"page": {"more": "{"}}', '{"pages": {"sure": "x"}}', '{"answer": {"sure": "{names!x}"}}', '{"answer": {"sure": "{percent:>99999999}"}}'])
def test_a_file_of_words_that_would_break_the_page(words, jpeg, text):
    (words/'fi.json').write_text(text, encoding='utf-8')
    done = subprocess.run([BIRDCLF, 'app'], env=os.environ | dict(BIRDCLF_WORDS=str(words)), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode in (1, 2) and 'fi.json' in done.stderr and 'Traceback' not in done.stderr and len(done.stderr.splitlines()) == 1
    assert re.search(r'[.]$', done.stderr.strip())
    done = subprocess.run([sys.executable, '-m', 'birdclf.site', words.parent/'site'], env=os.environ | dict(BIRDCLF_WORDS=str(words)), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode in (1, 2) and 'fi.json' in done.stderr and len(done.stderr.splitlines()) == 1 and not (words.parent/'site').exists()


def test_a_folder_of_words_that_is_not_there(tmp_path):
    for words in (tmp_path/'nowhere', Path(__file__)):
        done = subprocess.run([BIRDCLF, 'classify', 'x.jpg'], env=os.environ | dict(BIRDCLF_WORDS=str(words)), capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 2 and done.stderr.startswith(f'birdclf: There is no folder {words}, which BIRDCLF_WORDS names.') and len(done.stderr.splitlines()) == 1

"The sources, from outside: recorded answers where there are any, and a whole search against the invented internet"
import json
import re
import threading
import traceback
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import permutations
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest

from birdclf.catalogue import CROWS, catalogue
from birdclf.cli import main
from birdclf.desks import all_observations, dice
from birdclf.license import Policy, by_code, read_license
from birdclf.handover import export_folder
from birdclf.manifest import Manifest, Row
from birdclf.region import Region, countries, region_of
from birdclf.replay import Replay
from birdclf.search import Asker, Busy, Limits, Puzzling, Stopped, Trouble, Unanswerable, gather, judged, plan, readmit, word_queries
from birdclf.sources import SOURCES, Bing, Brave, Commons, Flickr, Gbif, INat, Openverse, identity, look_up, plain_text
from birdclf.species import Species, load_species
from birdclf.web import Web, user_agent

BIRDS = load_species()
AUSTRIA = Region('Austria', 'AT', 'EUROPE', ('8057',), 'Austria')
BLACKBIRD, STARLING, CARRION, HOODED, WREN = map(BIRDS.find, ('Amsel', 'Star', 'Rabenkrähe', 'Nebelkrähe', 'Zaunkönig'))
SHOWN = [BLACKBIRD, STARLING, CARRION, HOODED, WREN, *map(BIRDS.find, ('Fitis', 'Flussregenpfeifer'))]
OPEN = {'cc0', 'pdm', 'by', 'by-sa'}
ALL, WORDS = list(SOURCES.values()), (Openverse, Bing, Flickr, Brave)
KEYS = {'BIRDCLF_BING_KEY': 'b1ng-s3cret', 'BIRDCLF_FLICKR_KEY': 'fl1ckr-s3cret', 'BIRDCLF_BRAVE_KEY': 'br4ve-s3cret'}
CONTACT = 'tests@example.org'


class Clock:
    "A clock that only goes on when somebody sleeps"
    def __init__(self, at=1_790_000_000.): self.at, self.slept = at, []
    def __call__(self): return self.at

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.at += seconds


def quiet(steps, **_): return nullcontext(steps)


class Bench:
    "A manifest, a clock and somebody who asks"
    def __init__(self, folder, world=None):
        self.world, self.clock, self.since = world, Clock(), len(world.log) if world else 0
        self.manifest = Manifest(folder, write=True)
        self.renew()

    def renew(self, **options):
        web = Web(CONTACT, trusted=('127.0.0.0/8',))
        self.ask = Asker(self.manifest, web, clock=self.clock, sleep=self.clock.sleep, rng=Random(0), **options)

    def gather(self, birds, kinds, want, *policy, ask=None):
        return gather(self.manifest, birds, [kind(ask or self.ask, policy=Policy(*policy), region=AUSTRIA) for kind in kinds], want, bar=quiet)

    def asked(self):
        "What has been asked since the last time"
        paths, self.since = [visit.path for visit in self.world.log[self.since:]], len(self.world.log)
        return paths

    def usable(self, **equals): return list(self.manifest.rows(status='found', **equals))


@pytest.fixture(scope='module')
def world():
    with Replay(catalogue(SHOWN, 150)) as replay: yield replay


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name, key in KEYS.items(): monkeypatch.setenv(name, key)
    for name in ('BIRDCLF_REPLAY', 'BIRDCLF_BING_ENDPOINT', 'BIRDCLF_BING_HEADER'): monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bench(world, tmp_path, monkeypatch):
    monkeypatch.setenv('BIRDCLF_REPLAY', world.base)
    with (bench := Bench(tmp_path/'data', world)).manifest:
        yield bench
        for waiting in world.moods.ordered.values(): waiting.clear()


@pytest.fixture
def manifest(tmp_path):
    with Manifest(tmp_path/'rows', write=True) as manifest: yield manifest


@pytest.fixture
def sample(shared):
    def load(name):
        with open(shared/'api_samples'/f'{name}.json', encoding='utf-8') as file: return json.load(file)
    return load


@contextmanager
def server(*answers, address='127.0.0.1'):
    "A server that gives these answers, one after the other, and the last one for ever: status, body, headers"
    seen = []
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, body, headers = answers[min(len(seen), len(answers)-1)]
            seen.append((self.path, dict(self.headers)))
            self.send_response(status)
            for name, value in {'Content-Length': str(len(body)), **headers}.items(): self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *_): pass
    with ThreadingHTTPServer((address, 0), Handler) as http:
        threading.Thread(target=http.serve_forever, kwargs=dict(poll_interval=.01), daemon=True).start()
        try: yield f'http://{address}:{http.server_address[1]}', seen
        finally: http.shutdown()


def bird(scientific): return Species(scientific, scientific, scientific, inat_taxon_id='1')


def params(source, *question): return dict(source.question(*question).params)


# Licences: word for word

SPELLINGS = {
    'by': ['cc-by', 'CC BY 4.0', 'by 2.0', 'cc-by-3.0-de', 'http://creativecommons.org/licenses/by/4.0', 'https://creativecommons.org/licenses/by/4.0/legalcode',
           'http://creativecommons.org/licenses/by/4.0/', 'https://creativecommons.org/licenses/by/3.0/de/deed.en'],
    'by-sa': ['cc-by-sa', 'CC BY-SA 3.0 de', 'by-sa', 'https://creativecommons.org/licenses/by-sa/4.0'],
    'cc0': ['cc0', 'http://creativecommons.org/publicdomain/zero/1.0/legalcode', 'http://creativecommons.org/publicdomain/zero/1.0/deed.en'],
    'pdm': ['pd', 'pdm', 'https://creativecommons.org/publicdomain/mark/1.0/'],
    'by-nc': ['cc-by-nc', 'http://creativecommons.org/licenses/by-nc/4.0/legalcode'], 'by-nc-sa': ['cc-by-nc-sa', 'by-nc-sa 2.0'],
    'by-nd': ['cc-by-nd', 'cc-by-nd-2.0'], 'by-nc-nd': ['cc-by-nc-nd', 'https://creativecommons.org/licenses/by-nc-nd/4.0/'],
    'arr': ['arr', 'c', 'all rights reserved', '© all rights reserved', '© Museum, all rights reserved', '© Ida Muster, All Rights Reserved'],
    '': ['', None, 'free', 'none', 'gfdl', 'cc', 'ccby', 'cc-byx', 'xcc-by', 'cc-by-sa-4.0,3.0', 'cc-by 5.0', 'by/4.0', 'cc-by or ask me', 'not cc-by', 'cc00', 'cc0?', 'sampling+',
         'No known copyright restrictions', 'https://www.flickr.com/commons/usage/', 'https://creativecommons.org/licenses/by/4.0/?nd', 'https://creativecommons.org/licenses/',
         'https://creativecommons.org.example.org/licenses/by/4.0/', 'https://example.org/creativecommons.org/licenses/by/4.0/', 'public domain in the United States only']}


@pytest.mark.parametrize('code', SPELLINGS)
def test_licences_are_known_by_their_exact_text(code):
    assert {text: read_license(text).code for text in SPELLINGS[code]} == dict.fromkeys(SPELLINGS[code], code)


def test_no_near_miss_of_a_licence_is_an_open_one():
    "Every order of the four words, with versions, separators and addresses around them: NC and ND are never lost, and SA never appears"
    wrong = []
    for n in range(1, 5):
        for words in permutations(('by', 'sa', 'nc', 'nd'), n):
            for gap in '- _/.':
                whole = gap.join(words)
                tails = [f'4.0{gap}{gap.join(words[i:])}' for i in range(1, n)]
                texts = [whole, f'{whole} 4.0', f'4.0 {whole}', *(f'{gap.join(words[:i+1])}{gap}{tail}' for i, tail in enumerate(tails))]
                texts += [f'{start}{text}' for text in texts for start in ('cc-', 'CC ', 'cc_', 'creative commons ')]
                texts += [f'https://creativecommons.org/licenses/{text}' for text in (f'{whole}/4.0/', f'{words[0]}/4.0/{whole}', f'{words[0]}/4.0/{whole}/', f'{words[0]}/4.0/legalcode.{whole}')]
                for text in texts:
                    code, said = read_license(text).code, set(re.findall('[a-z]+', text.lower()))
                    if code in OPEN and (said & {'nc', 'nd'} or (code == 'by-sa') != ('sa' in said)): wrong.append((text, code))
    assert wrong == []


@pytest.mark.parametrize('policy, allowed', [((), OPEN), ((True,), OPEN | {'by-nc', 'by-nc-sa'}), ((False, True), OPEN | {''}), ((True, True), OPEN | {'by-nc', 'by-nc-sa', ''})])
def test_what_a_policy_lets_through(policy, allowed):
    codes = [*OPEN, 'by-nc', 'by-nc-sa', 'by-nd', 'by-nc-nd', 'arr', '']
    assert {code for code in codes if not Policy(*policy).refusal(by_code(code))} == allowed


# Names of people

@pytest.mark.parametrize('html, text', [
    ('<a href="//x.org/U" title="User:U">Ida</a>', 'Ida'), ('<div class="fn value">\nJörg Müller</div>', 'Jörg Müller'), ('Ida', 'Ida'), (None, ''), ({'value': 'x'}, ''),
    ('<a href="https://x.org">Jeff &amp; Brian</a> from Eastbourne', 'Jeff & Brian from Eastbourne'), ('<img src=x onerror=alert(1)>Ida<script>alert(1)</script><style>b{}</style>', 'Ida'),
    ('Ida\r\n\t\x00\u202eMax', 'Ida Max'), ('x'*1000, 'x'*300)])
def test_names_become_plain_text(html, text): assert plain_text(html) == text


def test_recorded_names_at_commons(sample):
    found = [plain_text(sample(f'commons/image_info_artist_{name}')['extmetadata']['Artist']['value']) for name in ('div', 'link', 'partial_link', 'string')]
    assert found == ['Jona Lendering', 'link text', 'Jeff & Brian from Eastbourne', 'Artist Name']


# iNaturalist

def test_no_photograph_of_a_reserved_observation(sample, manifest):
    rows, after = INat().read(sample('inaturalist/v2_get_observations_full'), bird('Gavia immer'), {}, None)
    assert len(rows) > 1 and after is None and {row.license for row in rows} == {'arr'} and {row.reason for row in rows} == {''}
    assert {(row.status, row.reason) for row in judged(manifest, rows, Policy(True, True))} == {('refused', 'licence all rights reserved: nothing allowed')}


def test_each_photograph_has_its_own_licence(sample):
    rows, _ = INat().read(sample('_constructed/inat_v1_observations_turdus_merula'), BLACKBIRD, {}, None)
    assert [(row.source_id, row.license) for row in rows] == [('800000201', 'by'), ('800000202', 'arr'), ('800000203', 'cc0')]
    assert [row.file_url.rpartition('/')[2] for row in rows] == ['medium.jpg', 'medium.jpg', 'medium.jpeg']
    assert [(row.observation_id, row.observer_id, row.creator) for row in rows[1:]] == [('inat:900000101', 'inat:1', 'Example User'), ('inat:900000102', 'inat:2', 'zweite_person')]
    assert rows[0].attribution == '(c) Example User, some rights reserved (CC BY)'
    silent = sample('_constructed/inat_v1_observations_turdus_merula')
    for seen in silent['results']:
        for photo in seen['photos']: del photo['license_code']
    assert {row.license for row in INat().read(silent, BLACKBIRD, {}, None)[0]} == {'arr'}


@pytest.mark.parametrize('name', ['v1_get_observations_page1', 'v1_get_observations_page2', 'v1_get_observation', 'v1_get_observations_by_id'])
def test_addresses_at_inaturalist(sample, name):
    answer = sample(f'inaturalist/{name}')
    for seen in answer['results']:
        rows, _ = INat().read(dict(results=[seen]), bird(seen['taxon']['name']), {}, None)
        assert [row.license for row in rows] == [read_license(photo['license_code'] or 'arr').code for photo in seen['photos']]
        assert all(re.fullmatch(r'https://[\w.-]+/photos/\d+/medium\.jpe?g', row.file_url) and row.identity == f'inat:{row.source_id}' for row in rows) and rows


def test_complaints_of_inaturalist(sample):
    complain = INat().complaint
    assert type(complain(403, {}, sample('_constructed/inat_error_403_result_window'))) is Unanswerable
    assert type(complain(401, {}, sample('inaturalist/error_access_token_401'))) is Stopped
    assert type(complain(403, {}, None)) is Stopped and type(complain(429, {}, None)) is Busy
    assert complain(200, {}, sample('inaturalist/v1_get_nonexistent_observation')) is None
    assert INat().read(sample('inaturalist/v1_get_nonexistent_observation'), BLACKBIRD, {}, None) == ([], None)


def inat_page(ids, name='Turdus merula', code='cc-by', size=50):
    return dict(per_page=size, results=[dict(id=i, taxon=dict(name=name), user=dict(id=i, name='Ida'), photos=[
        dict(id=i, license_code=code, url=f'https://static.inaturalist.org/photos/{i}/square.jpg?1')]) for i in ids])


@pytest.mark.parametrize('name, fine', [('Turdus merula', True), ('Turdus merula aterrimus', True), ('Turdus merulanus', False), ('Turdus merula × torquatus', False), ('Turdus philomelos', False)])
def test_what_the_observation_says_it_is(name, fine):
    page = inat_page([1])
    page['results'] += inat_page([2], name)['results']
    assert [not row.reason for row in INat().read(page, BLACKBIRD, {}, None)[0]] == [True, fine]


def test_a_number_that_stands_for_another_bird():
    with pytest.raises(Puzzling, match=r"12716 .*Turdus merula.*'Turdus philomelos'"): INat().read(inat_page([1, 2], 'Turdus philomelos'), BLACKBIRD, {}, None)


def test_ranges_of_ids_meet_and_do_not_overlap():
    "Every id below the newest page is in exactly one range: above its lower end and below its upper one, as the parameters say"
    for lowest in (*range(5, 60), 10**9):
        _, after = INat().read(inat_page(range(lowest, lowest+50)), BLACKBIRD, {}, None)
        edges = [edge for pair in after['ranges'] for edge in pair]
        for i in {i+d for i in edges for d in (-1, 0, 1)}:
            if 1 <= i < lowest: assert sum(low < i < high for low, high in after['ranges']) == 1, (lowest, i, after['ranges'])


@pytest.mark.parametrize('seed', range(3))
def test_ids_are_asked_for_once_and_that_ends(seed):
    "Against a list of ids: all come, none twice, in a bounded number of questions"
    there = sorted(Random(seed).sample(range(1, 4000), 900))
    position, found, questions, inat = None, [], 0, INat()
    while questions < 60:
        asked = params(inat, BLACKBIRD, {}, position, 100)
        ids = [i for i in there if asked.get('id_above', 0) < i < asked.get('id_below', 10**9)]
        page = (ids if asked['order'] == 'asc' else ids[::-1])[:asked['per_page']]
        questions, found = questions+1, found+page
        position = json.loads(json.dumps(INat().read(inat_page(page, size=asked['per_page']), BLACKBIRD, {}, position)[1]))
        if position is None: break
    assert position is None and len(found) == len(set(found))
    assert sorted(found) == there


def test_what_inaturalist_is_asked():
    asked = params(INat(policy=Policy(True, True)), CARRION, dict(place_id='8057'), None, 200)
    assert asked['photo_license'].split(',') == ['cc0', 'cc-by', 'cc-by-sa', 'cc-by-nc', 'cc-by-nc-sa']
    assert (asked['taxon_id'], asked['quality_grade'], asked['captive'], asked['place_id']) == (CARRION.inat_taxon_id, 'research', 'false', '8057')
    assert {'144757', '538199'} <= set(asked['without_taxon_id'].split(',')) and asked['per_page'] <= 200
    assert params(INat(), CARRION, {}, None, 200)['photo_license'] == 'cc0,cc-by,cc-by-sa'


@pytest.mark.parametrize('text, name, country, numbers', [('Springbok', 'Springbok, Northern Cape', '', ('93735',)), ('Springbok, Northern Cape', 'Springbok, Northern Cape', '', ('93735',)),
                                                          ('89191', 'Conservation Area Riversdale, CA, NZ', 'NZ', ('89191',)), ('Riversdale', 'Conservation Area Riversdale, CA, NZ', 'NZ', ('89191',))])
def test_a_place_as_inaturalist_has_told_of_it(sample, text, name, country, numbers):
    "Recorded answers; what the place lies in is asked for, and does without an answer"
    asked = []

    def ask(source, question):
        asked.append((question.url.rpartition('/v1/places/')[2], dict(question.params)))
        if len(asked) == 2: raise Stopped('not now')
        return sample(f"inaturalist/v1_get_places_{'autocomplete' if text[0] == 'S' else 'by_id'}")

    region = look_up(ask, region_of(text))
    assert (region.name, region.country, region.inat) == (name, country, numbers) and region.continent == ('OCEANIA' if country else '')
    assert asked[0] == (('89191', {}) if text.isdecimal() else ('autocomplete', dict(q=text.partition(',')[0])))


def test_every_country_has_a_place():
    "By its code and all of its names"
    for country in set(countries().values()):
        for name in (country.code, *country.names): assert (region_of(name).country, region_of(name).continent) == (country.code, country.continent), name
    assert not Region() and str(Region()) == 'in the whole world' and [kind().queries(BLACKBIRD) for kind in (INat, Commons)][0] == [{}]


# GBIF

def gbif(answer, scientific, place=0): return Gbif().read(answer, bird(scientific), scientific, dict(key=1, area=place, offset=0))


def test_media_of_a_publisher_that_says_little(sample):
    answer = sample('gbif/test_search_0')
    rows, after = gbif(answer, 'Amanita muscaria')
    assert len(rows) == sum(len(record['media']) for record in answer['results']) and after == dict(key=1, area=0, offset=300)
    assert {row.license for row in rows} == {'by'} and all(row.license_url == 'https://creativecommons.org/licenses/by/4.0/' for row in rows)
    assert all(re.match(r'https://www\.gbif\.org/occurrence/\d+$', row.page_url) and row.license_statement for row in rows)
    assert len({row.source_id for row in rows}) == len(rows)


@pytest.mark.parametrize('name, scientific', [('test_search_key1_0', 'Batrachoseps luciae'), ('test_search_key2_0', 'Cycas circinalis')])
def test_inaturalist_inside_gbif(sample, name, scientific):
    answer = sample(f'gbif/{name}')
    rows, _ = gbif(answer, scientific)
    media = [m for record in answer['results'] for m in record['media'] if m['type'] == 'StillImage']
    assert len(rows) == len(media) > 5
    for row, m in zip(rows, media):
        assert row.identity == f"inat:{m['references'].rpartition('/')[2]}" == identity(m['identifier'])
        assert row.file_url.rpartition('.')[2] == m['identifier'].rpartition('.')[2] and '/medium.' in row.file_url
        assert row.observation_id.startswith('inat:') and row.license == read_license(m['license']).code != ''


def test_the_licence_of_the_record_is_not_that_of_the_photograph(sample, manifest):
    answer = sample('gbif/test_search_key1_0')
    for record in answer['results']:
        record['license'] = 'http://creativecommons.org/publicdomain/zero/1.0/legalcode'
        for m in record['media']: del m['license']
    rows = judged(manifest, gbif(answer, 'Batrachoseps luciae')[0], Policy())
    assert rows and {(row.license, row.status) for row in rows} == {('', 'refused')}


def test_specimens_and_media_without_an_address(sample):
    rows, after = Gbif().read(sample('_constructed/gbif_occurrence_search_bird'), BLACKBIRD, 'Turdus merula', dict(key=1, area=0, offset=0))
    assert [(row.license, bool(row.reason)) for row in rows] == [('by', False), ('arr', True)] and after is None
    assert rows[0].identity == 'inat:800000201' and 'PRESERVED_SPECIMEN' in rows[1].reason


@pytest.mark.parametrize('change', [dict(matchType='HIGHERRANK'), dict(matchType='FUZZY'), dict(matchType='NONE'), dict(rank='GENUS'), dict(rank='SUBSPECIES'), dict(usageKey=None), {}])
def test_only_an_exact_name_has_a_key(sample, change):
    rows, after = Gbif().read(sample('gbif/species_match_v1') | change, bird('Helianthus annuus'), 'Helianthus annuus', None)
    assert rows == [] and (after == dict(key=9206251, area=0, offset=0)) == (not change)
    assert Gbif().read(dict(confidence=100, matchType='NONE', synonym=False), WREN, WREN.scientific, None) == ([], None)


def test_what_gbif_is_asked():
    near, far = (params(Gbif(region=AUSTRIA), CARRION, 'Corvus corone', dict(key=7, area=area, offset=0), 200) for area in (0, 2))
    assert near['country'] == 'AT' and not {'country', 'continent'} & set(far) and near['limit'] <= 300
    assert near['checklistKey'] == Gbif.BACKBONE and (near['mediaType'], near['basisOfRecord'], near['occurrenceStatus']) == ('StillImage', 'HUMAN_OBSERVATION', 'PRESENT')
    assert params(Gbif(), CARRION, 'Corvus corone', None, 200) == dict(name='Corvus corone', kingdom='Animalia')


@pytest.mark.parametrize('size', [50, 150, 300])
def test_gbif_is_never_asked_beyond_its_end(size):
    "offset and limit together stay within 100,000, whatever the size of a page"
    position, asked = dict(key=1, area=0, offset=99_990-3*size), 0
    while position and asked < 10:
        question = params(Gbif(), BLACKBIRD, 'Turdus merula', position, size//3)
        assert question['offset']+question['limit'] <= 100_000
        answer = dict(limit=question['limit'], endOfRecords=False, results=[dict(key=1, media=[])])
        position, asked = Gbif().read(answer, BLACKBIRD, 'Turdus merula', position)[1], asked+1
    assert position is None


@pytest.mark.parametrize('name, carrion, hooded', [
    ('Corvus corone', True, False), ('Corvus corone Linnaeus, 1758', True, False), ('Corvus corone subsp. corone', True, False), ('Corvus cornix Linnaeus, 1758', False, True),
    ('Corvus corone cornix Linnaeus, 1758', False, True), ('Corvus corone subsp. cornix', False, True), ('Corvus corone × cornix', False, False), ('Corvus cornix × corone', False, False),
    ('Corvus corone x cornix', False, False), ('Corvus cornix x corone', False, False), ('Corvus corone orientalis Eversmann, 1841', False, False)])
def test_which_crow_a_record_is(name, carrion, hooded):
    answer = dict(results=[dict(key=1, scientificName=name, species='Corvus corone', media=[dict(type='StillImage', identifier='https://a.org/1.jpg')])])
    assert [not Gbif().read(answer, crow, crow.scientific, dict(key=1, area=0, offset=0))[0][0].reason for crow in (CARRION, HOODED)] == [carrion, hooded]


# Commons

def commons(answer, position=None, kind='search'): return Commons().read(answer, BLACKBIRD, {kind: 'Turdus merula'}, position)


def test_pages_as_a_dictionary_and_as_a_list(sample):
    answer = sample('_constructed/commons_generator_search_page1')
    rows, after = commons(answer)
    pages = list(answer['query']['pages'].values())
    answer['query']['pages'] = pages
    assert commons(answer) == (rows, after)
    assert [row.source_id for row in rows] == [str(page['pageid']) for page in sorted(pages, key=lambda page: page['index']) if page.get('imageinfo')]
    assert after == {'continue': {'gsroffset': 50, 'continue': 'gsroffset||'}}
    asked = params(Commons(), BLACKBIRD, dict(search='x'), after, 50)
    assert (asked['gsroffset'], asked['continue'], asked['gsrsearch'], asked['maxlag']) == (50, 'gsroffset||', 'x', '5')


def test_the_last_page_of_commons(sample):
    rows, after = commons(sample('_constructed/commons_generator_search_last'))
    assert after is None and [(row.license, row.creator, row.identity) for row in rows] == [('cc0', 'A. Person', 'commons:Example_Turdus_merula_3.jpg')]
    assert (rows[0].size_variant, '/960px-' in rows[0].file_url) == ('960 px', True)
    assert commons(sample('_constructed/commons_empty')) == ([], None)


@pytest.mark.parametrize('name, place', [('wmc_pretty1', 'gucontinue'), ('wmc_pretty2', 'gucontinue'), ('wmc_pretty3', 'gaicontinue'), ('wmc_pretty4', 'gaicontinue'), ('response_large_0', 'gaicontinue'),
                                         ('response_small_with_continue', 'gaicontinue'), ('response_large_1', ''), ('wmc_raw', ''), ('wmc_pretty_nocontinue', '')])
@pytest.mark.parametrize('kind', ['search', 'category'])
def test_continue_goes_back_as_it_came(sample, name, place, kind):
    answer = sample(f'commons/{name}')
    rows, after = commons(answer, kind=kind)
    assert len(rows) == sum(bool(page.get('imageinfo')) for page in answer['query']['pages'].values())
    if not place: assert after is None
    else:
        asked = params(Commons(), BLACKBIRD, {kind: 'Turdus merula'}, json.loads(json.dumps(after)), 50)
        assert answer['continue'].items() <= asked.items() and place in asked


def test_recorded_licences_at_commons(sample):
    for name in ('wmc_pretty1', 'wmc_pretty4', 'wmc_raw'):
        answer = sample(f'commons/{name}')
        pages = {str(page['pageid']): page['imageinfo'][0]['extmetadata'] for page in answer['query']['pages'].values() if page.get('imageinfo')}
        rows, _ = commons(answer)
        for row in rows:
            said = pages[row.source_id].get('License', {}).get('value')
            assert row.license == ({'pd': 'pdm', 'cc0': 'cc0'}.get(said) or re.sub(r'^cc-|-\d.*$', '', said) if said else '')
            assert '<' not in row.creator and (row.license or 'flickr.com/commons/usage' in row.license_statement)
            if said and '3.0' in said: assert row.license_version == '3.0' and said in row.license_statement and '/by-sa/3.0/' in row.license_url


def test_facts_that_are_missing_at_commons(sample):
    page = dict(pageid=1, title='File:X.jpg', imageinfo=[sample('commons/image_info_missing_license_url')])
    rows, _ = commons(dict(query=dict(pages=[page])))
    assert [(row.license, row.license_version, row.license_url, row.creator) for row in rows] == [('by-sa', '4.0', 'https://creativecommons.org/licenses/by-sa/4.0/', 'PtrQs')]
    for name, count in (('minimal', 1), ('missing_image_url', 0), ('html_description', 0), ('example', 1)):
        rows, _ = commons(dict(query=dict(pages=[dict(pageid=1) | sample(f'commons/image_data_{name}')])))
        assert len(rows) == count and {row.license for row in rows} <= {'by-sa'}
    assert commons(dict(query=dict(pages=[dict(pageid=1, title='File:X.jpg'), dict(pageid=2, title='File:Y.jpg', imageinfo=[])]))) == ([], None)


def commons_file(mime='image/jpeg', info={}, **facts):
    facts = dict(License='cc-by-4.0', Artist='Ida') | facts
    return dict(query=dict(pages=[dict(pageid=5, title='File:X', imageinfo=[dict(url='https://upload.wikimedia.org/wikipedia/commons/a/ab/X.jpg', mime=mime, user='Uploader',
        descriptionurl='https://commons.wikimedia.org/wiki/File:X.jpg', extmetadata={name: dict(value=value) for name, value in facts.items()}) | info])]))


@pytest.mark.parametrize('facts, words', [
    (dict(Restrictions='personality'), 'personality'), (dict(mime='image/svg+xml'), 'image/svg+xml'), (dict(mime='application/pdf'), 'application/pdf'), (dict(mime='image/gif'), 'image/gif'),
    (dict(mime='video/webm'), 'video/webm'), (dict(License='cc-by-nd-2.0'), 'BY-ND'), (dict(License='gfdl'), 'unknown'), (dict(License='fal'), 'unknown'), (dict(License='cc-by-nc-4.0'), 'BY-NC'),
    (dict(License='cc-by-nd-2.0', LicenseUrl='https://creativecommons.org/licenses/by/2.0'), 'BY-ND'), ({}, ''), (dict(mime='image/png'), ''), (dict(mime='image/webp'), ''), (dict(License='pd'), ''),
    (dict(License='gfdl', LicenseUrl='https://creativecommons.org/licenses/by-sa/3.0/'), '')])
def test_files_that_are_refused_at_commons(manifest, facts, words):
    row, = judged(manifest, commons(commons_file(**facts))[0], Policy())
    assert (words in row.reason and row.status == 'refused') if words else (row.status, row.reason) == ('found', '')


def test_credit_goes_to_the_artist():
    row, = commons(commons_file(Artist='<a href="//x">Ida</a>'))[0]
    assert (row.creator, row.observer_id, row.page_url) == ('Ida', 'commons:Ida', 'https://commons.wikimedia.org/wiki/File:X.jpg')


def test_complaints_of_commons(sample):
    complain = Commons().complaint
    for code in ('maxlag', 'ratelimited'):
        trouble = complain(200, {}, sample(f'_constructed/commons_error_{code}'))
        assert type(trouble) is Busy and trouble.seconds is None and code in str(trouble)
        assert complain(200, {'Retry-After': '7'}, sample(f'_constructed/commons_error_{code}')).seconds == 7
        dated = {'Date': formatdate(1_000_000, usegmt=True), 'Retry-After': formatdate(1_000_090, usegmt=True)}
        assert complain(200, dated, sample(f'_constructed/commons_error_{code}')).seconds == 90
    assert type(complain(403, {}, None)) is Stopped and '--contact' in str(complain(403, {}, None))
    assert type(complain(200, {}, dict(error=dict(code='badvalue')))) is Unanswerable


def test_only_subcategories_that_may_hold_birds():
    names = ['Turdus merula (female)', 'Turdus merula (eggs)', 'Turdus merula in art', 'Turdus merula nests', 'Turdus merula on stamps', 'Museum specimens of Turdus merula', 'Turdus merula in Austria']
    pages = [dict(pageid=i, ns=14, title=f'Category:{name}') for i, name in enumerate(names)]
    _, after = commons(dict(query=dict(pages=pages)), kind='category')
    assert after['todo'] == ['Category:Turdus merula (female)', 'Category:Turdus merula in Austria']
    _, below = commons(dict(query=dict(pages=pages)), after, kind='category')
    assert below['todo'] == ['Category:Turdus merula in Austria']


# Openverse

def test_recorded_answer_of_openverse(sample):
    rows, after = Openverse().read(sample('openverse/images_search_200'), BLACKBIRD, 'x', None)
    assert after is None and [(row.license, row.creator, row.license_url) for row in rows] == [('cc0', 'Tim Sullivan', 'https://creativecommons.org/publicdomain/zero/1.0/')]
    assert rows[0].attribution.startswith('"Tree Bark Photo" by Tim Sullivan is marked with CC0')


def test_complaints_of_openverse(sample):
    complain = Openverse().complaint
    assert type(complain(400, {}, sample('openverse/images_search_400'))) is Unanswerable
    assert type(complain(404, {}, sample('openverse/images_detail_404'))) is Stopped
    assert type(complain(401, {}, sample('_constructed/openverse_401_page_size'))) is Unanswerable
    assert complain(429, {'Retry-After': '60'}, sample('_constructed/openverse_429')).seconds == 60
    assert type(complain(403, {}, None)) is Stopped


def openverse_page(n=20, **item):
    item = dict(license='by', license_version='2.0', license_url='https://creativecommons.org/licenses/by/2.0/', creator='Ida', foreign_landing_url='https://a.org/page') | item
    return dict(result_count=240, page_count=99, page_size=20, page=1, results=[item | dict(id=f'{i}', url=f'https://a.org/{i}.jpg') for i in range(n)])


def test_openverse_ends_after_240():
    position, pages = None, 0
    while pages < 30:
        asked = params(Openverse(policy=Policy(True, True)), BLACKBIRD, 'x', position, 10**6)
        assert asked['page_size'] == 20 and asked['page'] == pages+1 and asked['license'] == 'cc0,pdm,by,by-sa,by-nc,by-nc-sa'
        position, pages = Openverse().read(openverse_page(), BLACKBIRD, 'x', position)[1], pages+1
        if position is None: break
    assert pages == 12 and Openverse().read(openverse_page(0), BLACKBIRD, 'x', 3) == ([], None)


@pytest.mark.parametrize('item, code', [
    ({}, 'by'), (dict(license_url=None), 'by'), (dict(license_url=None, license_version=None), 'by'), (dict(license='by-nd'), ''), (dict(license=None), ''), (dict(license='sampling+', license_url=None), ''),
    (dict(license_url='https://creativecommons.org/licenses/by-nd/2.0/'), ''), (dict(license='pdm', license_version='1.0', license_url='https://creativecommons.org/publicdomain/mark/1.0/'), 'pdm')])
def test_two_statements_that_must_agree(item, code):
    assert Openverse().read(openverse_page(1, **item), BLACKBIRD, 'x', None)[0][0].license == code


# Bing

def test_recorded_answers_of_bing(sample, manifest):
    rows, after = Bing().read(sample('_constructed/bing_images_page_with_licence'), BLACKBIRD, 'x', None)
    assert (after, [(row.license, row.license_statement) for row in rows]) == (152, [('cc0', 'PublicNoRightsReserved')])
    for name, after, count in (('bing/docs_tropical_ocean', 47, 1), ('bing/spec_degas_excerpt', 43, 2), ('_constructed/bing_images_empty', None, 0)):
        rows, there = Bing().read(sample(name), BLACKBIRD, 'x', None)
        assert (len(rows), there) == (count, after)
        assert {row.status for row in judged(manifest, rows, Policy())} <= {'refused'} and {row.status for row in judged(manifest, rows, Policy(False, True))} <= {'found'}
    rows, _ = Bing().read(sample('bing/spec_degas_excerpt'), BLACKBIRD, 'x', None)
    assert rows[0].identity == 'commons:Edgar_Germain_Hilaire_Degas_021.jpg'


@pytest.mark.parametrize('position, after, there', [(None, 47, 47), (47, 94, 94), (47, 47, None), (47, 20, None), (47, 0, None), (47, None, None)])
def test_the_next_offset_must_grow(position, after, there):
    answer = dict(totalEstimatedMatches=10**6, nextOffset=after, value=[dict(contentUrl='https://a.org/1.jpg')])
    assert Bing().read(answer, BLACKBIRD, 'x', position)[1] == there
    if there: assert params(Bing(), BLACKBIRD, 'x', there, 1)['offset'] == there


def test_complaints_of_bing(sample):
    complain = Bing().complaint
    assert type(complain(400, {}, sample('bing/error_400_parameter_missing'))) is Unanswerable
    assert str(complain(401, {}, sample('bing/error_401_authorization_missing'))) == 'the key in BIRDCLF_BING_KEY is missing or wrong'
    assert complain(403, {}, sample('_constructed/bing_error_403_quota')).seconds == 86_400 and complain(403, {'Retry-After': '9'}, sample('_constructed/bing_error_403_quota')).seconds == 9
    assert type(complain(403, {}, dict(errors=[dict(code='InsufficientAuthorization')]))) is Stopped
    assert complain(429, {'Retry-After': '3'}, sample('_constructed/bing_error_429')).seconds == 3
    assert type(complain(410, {}, None)) is Stopped and type(complain(200, {}, None)) is Busy


@pytest.mark.parametrize('statement, code', [('Attribution', 'by'), ('AttributionShareAlike', 'by-sa'), ('AttributionNoDerivs', 'by-nd'), ('AttributionNonCommercial', 'by-nc'), ('AttributionNonCommercialShareAlike', 'by-nc-sa'),
    ('AttributionNonCommercialNoDerivs', 'by-nc-nd'), ('PublicNoRightsReserved', 'cc0'), ('attribution', ''), ('AttributionX', ''), (None, '')])
def test_what_bing_calls_licences(statement, code):
    row, = Bing().read(dict(value=[dict(contentUrl='https://a.org/1.jpg', creativeCommons=statement)]), BLACKBIRD, 'x', None)[0]
    assert row.license == code
    assert row.license not in ('by', 'by-sa') or not row.license_version


def test_what_bing_is_asked(monkeypatch):
    asked = params(Bing(), BLACKBIRD, 'x', None, 10)
    assert {'minWidth', 'minHeight'} <= set(asked) and not {'min_width', 'min_height'} & set(asked) and 0 < asked['count'] <= 150 and asked['license'] == 'ModifyCommercially'
    assert 'license' not in params(Bing(policy=Policy(True, True)), BLACKBIRD, 'x', None, 10)
    monkeypatch.setenv('BIRDCLF_BING_ENDPOINT', 'https://bing.example.org/v7/')
    monkeypatch.setenv('BIRDCLF_BING_HEADER', 'Authorization')
    question = Bing().question(BLACKBIRD, 'x', None, 10)
    assert (question.url, question.headers) == ('https://bing.example.org/v7', dict(Authorization=KEYS['BIRDCLF_BING_KEY']))


# Flickr

def test_recorded_answers_of_flickr(sample, manifest):
    answer = sample('flickr/flickr_example_pretty')
    rows, after = Flickr().read(answer, BLACKBIRD, 'x', None)
    assert (len(rows), after) == (30, None) and {(row.license, row.license_version) for row in rows} == {('by-nc-sa', '2.0')}
    assert all(re.fullmatch(r'https://www\.flickr\.com/photos/[^/]+/\d+', row.page_url) and row.identity == f'flickr:{row.source_id}' == identity(row.file_url) for row in rows)
    assert {row.status for row in judged(manifest, rows, Policy())} == {'refused'}
    kinds = [sample(f'flickr/image_data_{name}') for name in ('no_image_url', 'html_description', 'with_large_url_available', 'complete_example')]
    rows, _ = Flickr().read(dict(photos=dict(photo=kinds), stat='ok'), BLACKBIRD, 'x', None)
    assert [(row.source_id, row.license, row.size_variant, row.width) for row in rows] == [('456', 'by-nc-nd', '1024 px', 1024), ('49514824541', 'by-nc-sa', '1024 px', 1024)]


FLICKR_IDS = [('arr', ''), ('by-nc-sa', '2.0'), ('by-nc', '2.0'), ('by-nc-nd', '2.0'), ('by', '2.0'), ('by-sa', '2.0'), ('by-nd', '2.0'), ('', ''), ('', ''), ('cc0', '1.0'), ('pdm', ''),
              ('by', '4.0'), ('by-sa', '4.0'), ('by-nd', '4.0'), ('by-nc', '4.0'), ('by-nc-sa', '4.0'), ('by-nc-nd', '4.0'), ('', '')]


def test_numbers_of_licences_at_flickr():
    photos = [dict(id=str(i), owner='o', license=kind(i), url_m='https://live.staticflickr.com/1/1_a.jpg') for i in range(len(FLICKR_IDS)) for kind in (str, int)]
    rows, _ = Flickr().read(dict(photos=dict(photo=photos), stat='ok'), BLACKBIRD, 'x', None)
    assert [(row.license, row.license_version) for row in rows] == [code for code in FLICKR_IDS for _ in (str, int)]
    for policy in (Policy(), Policy(True), Policy(True, True)):
        asked = set(params(Flickr(policy=policy), BLACKBIRD, 'x', None, 1)['license'].split(','))
        assert asked == {str(i) for i, (code, _) in enumerate(FLICKR_IDS) if code and code in policy.codes}


def test_flickr_ends_after_four_thousand():
    position, pages = None, 0
    while pages < 100:
        asked = params(Flickr(), BLACKBIRD, 'x', position, [10**6, 10][pages % 2])
        assert asked['page'] == pages+1 and asked['per_page'] == 500 and asked['page']*asked['per_page'] <= 4000
        photo = dict(id='1', url_l='https://live.staticflickr.com/1/1_a.jpg')
        position, pages = Flickr().read(dict(photos=dict(page=asked['page'], pages=999, perpage=500, photo=[photo]), stat='ok'), BLACKBIRD, 'x', position)[1], pages+1
        if position is None: break
    assert pages == 8


def test_complaints_of_flickr(sample):
    complain = Flickr().complaint
    assert str(complain(200, {}, sample('_constructed/flickr_search_error_100'))) == 'the key in BIRDCLF_FLICKR_KEY is missing or wrong'
    assert type(complain(200, {}, dict(stat='fail', code=105))) is Busy and type(complain(200, {}, dict(stat='fail', code=3))) is Unanswerable
    assert complain(200, {}, dict(stat='ok', photos={})) is None


# Brave

def test_nothing_from_brave_unless_it_is_allowed(sample, manifest):
    rows, after = Brave().read(sample('brave/images'), BLACKBIRD, 'x', None)
    assert (len(rows), after) == (20, None) and all(row.page_url.startswith('http') and not row.file_url.startswith('https://imgs.search.brave.com') for row in rows)
    for policy in (Policy(), Policy(True)): assert {row.status for row in judged(manifest, rows, policy)} == {'refused'}
    assert {(row.status, row.license) for row in judged(manifest, rows, Policy(False, True))} == {('found', '')}
    assert params(Brave(), BLACKBIRD, 'x'*900, None, 1)['count'] <= 200 and len(params(Brave(), BLACKBIRD, 'x'*900, None, 1)['q']) == 400


# Words

def test_words_that_are_asked_for():
    assert word_queries(STARLING) == ['"Sturnus vulgaris"'] and word_queries(BIRDS.find('Fitis')) == []
    assert word_queries(BIRDS.find('Flussregenpfeifer'))[:2] == ['"Thinornis dubius"', '"Charadrius dubius"']
    assert word_queries(BLACKBIRD) == ['"Turdus merula"', '"Eurasian Blackbird" bird', '"Amsel" Vogel']
    assert all('haswbstatement' not in str(Commons().queries(BIRDS.find(name))) for name in ('Grünfink', 'Waldlaubsänger'))


def test_star_finds_no_stars(bench):
    bench.gather([STARLING], [Bing], 10**6, True, True)
    shown = {record.number: record.shows for record in bench.world.records}
    found = [shown[int(re.search(r'(\d+)/\w+\.jpg', row.file_url)[1])] for row in bench.manifest.rows()]
    assert len(found) > 20 and not {'star', 'film star'} & set(found) and found.count('') > .8*len(found)
    answer = bench.ask(source := Bing(policy=Policy(True, True)), source.question(STARLING, 'Star', None, 50))
    asked = [shown[int(re.search(r'(\d+)/\w+\.jpg', row.file_url)[1])] for row in source.read(answer, STARLING, 'Star', None)[0]]
    assert {'star', 'film star'} & set(asked)


def test_birds_that_words_cannot_tell_apart(bench):
    same = [bird for bird in BIRDS if 'no_words' in bird.search_rules]
    bench.gather(same, WORDS, 50, True, True)
    assert len(same) >= 6 and bench.asked() == [] and list(bench.manifest.rows()) == []


# Trouble

BODIES = {
    'HTML': (200, b'<!DOCTYPE html><title>Sorry</title>'), 'nothing': (200, b''), 'half': (200, b'{"results": [{"id": 1,'), 'no UTF-8': (200, b'{"a": "\xff\xfe"}'), 'a list': (200, b'[]'), 'a word': (200, b'"busy"'),
    'null': (200, b'null'), 'a tower': (200, b'['*200_000), '429': (429, b'Too Many Requests'), '500': (500, b'{}'), '502': (502, b'<html>'), '503': (503, b''), '504': (504, b'')}


@pytest.mark.parametrize('body', BODIES)
def test_waits_and_stops_and_remembers(bench, body):
    "Five tries with growing pauses; then a pause is saved, and the next run asks nothing before it is over"
    status, text = BODIES[body]
    bench.world.fail_next('inat', status, 20, text)
    report = bench.gather([WREN], [INat], 10)
    assert len(bench.asked()) == 5 and report.new == 0
    pauses = [seconds for seconds in bench.clock.slept if seconds >= 5]
    assert len(pauses) == 4 and all(5*2**n <= pause <= 7.5*2**n for n, pause in enumerate(pauses))
    why, until = report.stopped['inat']
    assert until >= bench.clock()+600 and bench.manifest.paused('inat')[0] == until and '5 times' in why
    bench.renew()
    assert 'inat' in bench.gather([WREN], [INat], 10).stopped and bench.asked() == []
    bench.world.moods.ordered['inat'].clear()
    bench.clock.at = until+1
    assert bench.gather([WREN], [INat], 10).new > 0


@pytest.mark.parametrize('kind, answer', [
    (Commons, dict(error=dict(code='maxlag', info='Waiting for a database'))), (Commons, dict(error=dict(code='ratelimited'))), (Flickr, dict(stat='fail', code=105, message='Service unavailable')),
    (INat, dict(error='Sorry, something went wrong', status=500)), (Gbif, dict(error='Sorry')), (Openverse, dict(detail='Sorry')), (Bing, dict(_type='ErrorResponse', errors=[dict(code='ServerError')])),
    (Brave, dict(type='ErrorResponse', error=dict(code='INTERNAL', detail='Sorry', status=500))), (Flickr, {}), (INat, {}), (Gbif, {}), (Openverse, {}), (Bing, {}), (Brave, {})])
def test_an_error_with_status_200_is_not_the_last_page(bench, kind, answer):
    "What has no results in it, not even none, is an error; taken for a last page it would end the search for this bird, for good"
    bench.world.fail_next(kind.name, 200, 20, json.dumps(answer).encode())
    bird = WREN if kind is not Gbif else BLACKBIRD
    report = bench.gather([bird], [kind], 10, True, True)
    assert kind.name in report.stopped and report.pages == 0 and bench.manifest.paused(kind.name)[0] > bench.clock()


@pytest.mark.parametrize('kind', ALL)
def test_goes_on_after_a_pause(bench, kind):
    "One bad answer costs one pause, and nothing is lost"
    bench.world.fail_next(kind.name, 503, 1, b'')
    report = bench.gather([WREN], [kind], 5, True, True)
    assert not report.stopped and len(bench.usable()) >= 5 and any(seconds >= 5 for seconds in bench.clock.slept)


@pytest.mark.parametrize('kind', ALL)
@pytest.mark.parametrize('dated', [False, True])
def test_retry_after_in_both_forms(bench, kind, dated):
    headers = {'Date': formatdate(1_000_000, usegmt=True), 'Retry-After': formatdate(1_000_042, usegmt=True)} if dated else {'Retry-After': '42'}
    bench.world.fail_next(kind.name, 429, 1, b'', headers)
    assert not bench.gather([WREN], [kind], 5, True, True).stopped
    assert [seconds for seconds in bench.clock.slept if seconds > 5] == [42]


def test_a_pause_that_is_too_long_is_saved(bench):
    bench.world.fail_next('openverse', 429, 1, b'', {'Retry-After': '5000'})
    report = bench.gather([WREN], [Openverse], 5)
    assert len(bench.asked()) == 1 and report.stopped['openverse'][1] == bench.clock()+5000 == bench.manifest.paused('openverse')[0]


@pytest.mark.parametrize('value', ['', '-1', 'soon', '1.5', '99999999999999999999', '٣', 'Wed, 99 Foo 2026 00:00:00 GMT'])
@pytest.mark.parametrize('kind, status, body', [(INat, 429, b''), (Commons, 200, b'{"error": {"code": "maxlag"}}'), (Bing, 403, b'{"errors": [{"code": "RateLimitExceeded"}]}')])
def test_odd_values_of_retry_after(kind, status, body, value):
    "Nothing breaks, and nobody is asked again at once"
    trouble = kind().complaint(status, {'Retry-After': value}, json.loads(body or b'null'))
    assert isinstance(trouble, Busy) and (trouble.seconds is None or isinstance(trouble.seconds, float) and trouble.seconds >= 0)


@pytest.mark.parametrize('kind', ALL)
@pytest.mark.parametrize('status', [400, 404, 410, 422, 403, 401])
def test_refusals_are_not_repeated(bench, kind, status):
    bench.world.fail_next(kind.name, status, 50, b'{}')
    report = bench.gather([WREN], [kind], 10, True, True)
    asked = bench.asked()
    assert 1 <= len(asked) == len(set(asked)) <= len(kind(region=AUSTRIA).queries(WREN)) and [seconds for seconds in bench.clock.slept if seconds >= 5] == []
    assert (kind.name in report.stopped) == (status in (401, 403, 404, 410) and (kind, status) != (Openverse, 401))


@pytest.mark.parametrize('kind', ALL)
def test_complaints_about_anything(kind):
    "Whatever the status and the body, there is a sentence, or nothing to complain about"
    bodies = [None, [], {}, 'x', 7, True, ['x'], dict(error='x'), dict(error=['x']), dict(error=None), dict(errors='x'), dict(errors=['x']), dict(errors=[None]), dict(errors=[]), dict(stat='fail', code=None)]
    for status in (200, 204, 206, 301, 400, 401, 403, 404, 418, 422, 429, 500, 503):
        for body in bodies:
            trouble = kind().complaint(status, {}, body)
            assert trouble is None and isinstance(body, dict) and status == 200 or isinstance(trouble, Trouble) and str(trouble), (status, body)


def test_result_window(bench):
    "A page too far ends the question, not the source"
    window = b'{"error":"Result window is too large, page x size must be less than or equal to [10000].","status":403}'
    bench.world.fail_next('inat', 403, 1, window)
    report = bench.gather([WREN], [INat], 10)
    assert not report.stopped and report.new > 0 and 'ten thousandth' in bench.manifest.db.execute('SELECT note FROM pages WHERE number=0').fetchone()[0]


def test_a_next_offset_that_stops_growing(bench):
    bench.gather([WREN], [Bing], 10**6, True, True)
    asked = [parse_qs(urlsplit(path).query) for path in bench.asked()]
    assert len(asked) < 12 and len({(q['q'][0], q['offset'][0]) for q in asked}) == len(asked)


def test_a_source_that_turns_in_circles(bench):
    "Always the same page, with a promise of more: it is read twice for each question, and that is that"
    page = dict(value=[dict(contentUrl=f'https://a.org/{i}.jpg') for i in range(9)])
    for i in range(40): bench.world.fail_next('bing', 200, 1, json.dumps(page | dict(nextOffset=10*(i+1))).encode())
    report = bench.gather([STARLING], [Bing], 10**6, True, True)
    assert (len(bench.asked()), report.new) == (2, 9)


def test_a_taxon_that_became_another_bird(bench):
    wrong = replace(BLACKBIRD, inat_taxon_id=WREN.inat_taxon_id)
    report = bench.gather([wrong], [INat], 10)
    (source, bird, why), = report.puzzles
    assert (source, bird) == ('inat', 'Amsel') and f'{WREN.inat_taxon_id} for Turdus merula' in why and WREN.scientific in why and bench.usable() == []


# Keys

def secrets_in(*texts): return [key for key in KEYS.values() for text in texts if key in text or key.encode() in text.encode()]


@pytest.mark.parametrize('kind', [Bing, Flickr, Brave])
def test_keys_stay_secret(bench, kind, capsys, monkeypatch):
    "Whatever goes wrong: the sentence names the variable, and the key is in no exception, in no file and on no screen"
    denial = b'{"stat":"fail","code":100,"message":"Invalid API Key %s"}' % KEYS[kind.key].encode() if kind is Flickr else b'{"message":"%s is wrong"}' % KEYS[kind.key].encode()
    told = []
    bench.renew(tell=told.append)
    bench.world.fail_next(kind.name, 200 if kind is Flickr else 401, 1, denial)
    report = bench.gather([WREN], [kind], 5, True, True)
    assert kind.key in report.stopped[kind.name][0]
    for status, body in ((500, denial), (200, b'garbled'), (403, denial), (400, denial)):
        bench.manifest.pause(kind.name, 0, '')
        bench.world.fail_next(kind.name, status, 5, body)
        source = kind(bench.ask, policy=Policy(True, True))
        with pytest.raises(Trouble) as caught: source.search(WREN, 5)
        told.append(''.join(traceback.format_exception(caught.value)))
        bench.world.moods.ordered[kind.name].clear()
    for home in ('http://127.0.0.1:9', 'http://no-such-host.invalid', 'http://169.254.169.254'):
        bench.manifest.pause(kind.name, 0, '')
        source.base = home
        with pytest.raises(Stopped) as caught: source.search(WREN, 5)
        told.append(''.join(traceback.format_exception(caught.value)))
    bench.manifest.pause(kind.name, 0, '')
    bench.gather([WREN], [kind], 5, True, True)
    bench.manifest.db.execute('PRAGMA wal_checkpoint')
    files = b''.join(path.read_bytes() for path in bench.manifest.folder.glob('manifest.sqlite*'))
    assert len(bench.usable()) >= 5 and b'Troglodytes' in files
    assert secrets_in(str(report), *told, *capsys.readouterr()) == [] and [key for key in KEYS.values() if key.encode() in files] == []


@pytest.mark.parametrize('key', ['s3cret\n', 's3cret\r\nX: y', 's3crét€'])
def test_a_key_that_cannot_be_sent(bench, key, monkeypatch):
    monkeypatch.setenv('BIRDCLF_BING_KEY', key)
    with pytest.raises(Trouble) as caught: Bing(bench.ask).search(WREN, 5)
    assert 's3cr' not in ''.join(traceback.format_exception(caught.value)) and bench.asked() == []


def test_keys_do_not_follow_a_redirect(bench, monkeypatch):
    with server((200, b'{"value": [], "results": []}', {}), address='127.0.0.2') as (there, visitors), server((302, b'', {'Location': f'{there}/x'})) as (here, asked):
        for kind in (Bing, Brave):
            source = kind(bench.ask)
            source.base = here
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(kind, 'complaint', lambda *_: None)
                source.search(WREN, 5)
    assert secrets_in(str(asked)) == [KEYS['BIRDCLF_BING_KEY'], KEYS['BIRDCLF_BRAVE_KEY']] and len(visitors) == 2 and secrets_in(str(visitors)) == []


def test_the_command_shows_no_key(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('BIRDCLF_REPLAY', world.base)
    for kind in (Bing, Flickr, Brave): monkeypatch.setattr(kind, 'limits', Limits(0.))
    world.fail_next('bing', 401, 1, b'{}')
    world.fail_next('flickr', 200, 1, b'{"stat":"fail","code":100}')
    status = main(['search', '--data', str(tmp_path), '--bird', 'Zaunkönig', '--source', 'bing,flickr,brave', '--want', '5', '--contact', CONTACT, '--allow-unknown-licence'])
    shown = capsys.readouterr()
    assert status == 1 and all(name in shown.out for name in ('BIRDCLF_BING_KEY', 'BIRDCLF_FLICKR_KEY')) and secrets_in(*shown) == []
    monkeypatch.delenv('BIRDCLF_BRAVE_KEY')
    before = len(world.log)
    assert main(['search', '--data', str(tmp_path), '--source', 'brave', '--contact', CONTACT]) == 2 and 'BIRDCLF_BRAVE_KEY' in capsys.readouterr().err and len(world.log) == before


# What is kept

def proof(row): return all((row.license, row.license_statement, row.license_url.startswith('https://creativecommons.org/'), row.page_url, row.retrieved_at, row.file_url))


@pytest.mark.parametrize('kind', ALL)
def test_every_photograph_can_prove_its_licence(bench, kind):
    bench.gather([WREN, BLACKBIRD, STARLING], [kind], 10**6)
    rows = bench.usable()
    assert (len(rows) > 20) == (kind is not Brave)
    assert {row.license for row in rows} <= OPEN and [row for row in rows if not proof(row)] == []
    assert [row for row in bench.manifest.rows() if '<' in row.creator+row.title+row.attribution or '\n' in row.creator] == []
    assert all(row.reason for row in bench.manifest.rows(status='refused'))


def test_what_a_source_does_not_say_is_not_made_up(bench):
    "Bing names no version, so the address is not that of one"
    bench.gather([WREN], [Bing], 10**6)
    assert {row.license_version for row in bench.usable(license=('by', 'by-sa'))} == {''}
    assert [row.license_url for row in bench.usable(license=('by', 'by-sa')) if re.search(r'\d\.\d', row.license_url)] == []


@pytest.mark.parametrize('policy, more', [((True,), {'by-nc', 'by-nc-sa'}), ((False, True), {''}), ((True, True), {'by-nc', 'by-nc-sa', ''})])
def test_what_an_option_adds(bench, policy, more):
    bench.gather([WREN], ALL, 10**6, *policy)
    assert set(bench.manifest.count('license', status='found')) == OPEN | more


def test_nc_comes_back_without_a_request(bench):
    bench.gather([WREN], [INat], 10**6)
    before = {row.id: row for row in bench.manifest.rows()}
    waiting = [row.id for row in before.values() if row.reason.startswith('licence CC BY-NC:') or row.reason.startswith('licence CC BY-NC-SA:')]
    assert waiting and bench.asked()
    bench.gather([WREN], [INat], 5, True)
    after = {row.id: row for row in bench.manifest.rows()}
    assert bench.asked() == [] and {row.license for row in after.values() if row.status == 'found'} == (OPEN-{'pdm'}) | {'by-nc', 'by-nc-sa'}
    assert {id for id in after if after[id] != before[id]} <= set(waiting) and len(after) == len(before)
    assert all(after[id].status == 'found' or after[id].reason.startswith('enough') for id in waiting)


def some(n, license='by', source='inat', start=0, **fields):
    return [Row('Turdus merula', source, str(start+i), file_url=f'https://a.org/{source}/{start+i}.jpg', license=license, license_url='https://a.org', **fields) for i in range(n)]


def test_caps(manifest):
    rows = judged(manifest, some(5, observation_id='inat:1') + some(30, start=10, observer_id='inat:7') + some(30, 'arr', start=50, observer_id='inat:8'), Policy())
    assert [row.status for row in rows[:5]] == ['found']*2+['refused']*3 and rows[2].reason == 'enough: 2 from one observation'
    assert [row.status for row in rows[5:35]] == ['found']*20+['refused']*10 and rows[-31].reason == 'enough: 20 from one observer'
    manifest.add(rows)
    later = judged(manifest, some(1, start=100, observation_id='inat:1') + some(1, start=101, observer_id='inat:7') + some(1, start=102, observer_id='inat:8'), Policy())
    assert [row.status for row in later] == ['refused', 'refused', 'found']


def test_caps_in_a_whole_search(bench):
    bench.gather([WREN, CARRION], [INat, Gbif, Commons], 10**6, True)
    for columns, most in ((('species', 'observation_id'), 2), (('species', 'observer_id'), 20)):
        counts = {key: n for key, n in bench.manifest.count(*columns, status='found').items() if key[1]}
        assert counts and max(counts.values()) == most
    assert bench.manifest.count(reason=('enough: 2 from one observation', 'enough: 20 from one observer')).get('', 0) > 5


def test_caps_count_what_is_known_once(manifest):
    "A page that shows known photographs again does not use up what is left"
    manifest.add(judged(manifest, some(1, observation_id='inat:1') + some(15, start=10, observer_id='inat:7'), Policy()))
    again = judged(manifest, some(2, observation_id='inat:1') + some(20, start=10, observer_id='inat:7'), Policy())
    assert {row.source_id: row.reason for row in again if row.status == 'refused'} == {}


def test_caps_hold_for_those_who_come_back(manifest):
    manifest.add(judged(manifest, some(5, 'by-nc', observation_id='inat:1') + some(25, 'by-nc', start=10, observer_id='inat:7'), Policy()))
    readmit(manifest, Policy(True))
    assert manifest.count('observation_id', status='found', observation_id='inat:1') == {'inat:1': 2}
    assert manifest.count('observer_id', status='found', observer_id='inat:7') == {'inat:7': 20}


def test_restrictions_hold_for_those_who_come_back(manifest):
    manifest.add(judged(manifest, some(1, '', source='commons', restrictions='personality'), Policy()))
    readmit(manifest, Policy(True, True))
    assert manifest.count('status') == {'refused': 1}


def test_only_licences_come_back(manifest):
    manifest.add(judged(manifest, some(3, observation_id='inat:1') + some(1, 'by-nc', start=5, reason='taxon: observed as Turdus torquatus') + some(1, 'by-nd', start=6), Policy()))
    assert readmit(manifest, Policy(True, True)) == 0


def test_one_photograph_is_one_row(bench):
    "Found at iNaturalist, then at GBIF and Openverse: one row, with the others in its history"
    report = bench.gather([WREN, BLACKBIRD], [INat, Gbif, Openverse, Commons, Flickr], 10**6, True, True)
    rows = list(bench.manifest.rows())
    assert len({row.identity for row in rows}) == len(rows) == report.new and report.known > 20
    stories = [(row, detail.split()[0], history[0][1]) for row in rows if (history := bench.manifest.history(row.id)) for _, event, detail in history if event == 'also found' and detail.endswith(row.species)]
    assert {('inat', 'gbif'), ('inat', 'openverse')} <= {(row.source, other) for row, other, _ in stories}
    assert all(row.source != other or begun == 'refused' for row, other, begun in stories), 'only a row that was refused may have been handed on'


def test_nothing_unknown_is_exported(bench, tmp_path):
    bench.gather([WREN], [Bing, Brave, INat], 10**6, True, True)
    for i, row in enumerate(rows := bench.usable()):
        (bench.manifest.folder/f'{i}.jpg').write_bytes(b'x')
        rows[i] = replace(row, status='downloaded', path=f'{i}.jpg')
    bench.manifest.update(rows)
    unknown = {row.id for row in rows if not row.license}
    assert len(unknown) > 20
    count = export_folder(bench.manifest, tmp_path/'out', BIRDS)
    out = {path.stem for path in (tmp_path/'out').rglob('*.jpg')}
    papers = (tmp_path/'out'/'metadata.csv').read_text(encoding='utf-8') + (tmp_path/'out'/'ATTRIBUTION.md').read_text(encoding='utf-8')
    assert out == {row.id for row in rows}-unknown and count == len(out) > 10 and not [id for id in unknown if id in papers]


# Crows

def crows(world, rows):
    "The names under which the observers have reported these"
    names = {record.number: record.taxon or record.scientific for record in world.records}
    return {names[int(row.source_id.partition('/')[0])] for row in rows}


@pytest.mark.parametrize('kind', [INat, Gbif])
@pytest.mark.parametrize('order', [(HOODED, CARRION), (CARRION, HOODED)])
def test_hooded_crows_are_no_carrion_crows(bench, kind, order):
    "Whichever is searched for first, what is not this crow stays there for the other one"
    bench.gather(order, [kind], 10**6, True, True)
    carrion, hooded = (bench.usable(species=crow.scientific) for crow in (CARRION, HOODED))
    assert len(carrion) > 10 and len(hooded) > 10
    assert crows(bench.world, carrion) <= {'Corvus corone', 'Corvus corone corone'}
    assert crows(bench.world, hooded) <= {'Corvus cornix', 'Corvus cornix cornix', 'Corvus corone cornix'}
    assert not [row for row in bench.usable() if '×' in row.title]


def test_hybrids_that_come_all_the_same(bench, monkeypatch):
    "Without the filter in the question, the answer is read with the same care"
    monkeypatch.setattr(INat, 'question', lambda self, *rest, ask=INat.question: (lambda q: replace(q, params=tuple(p for p in q.params if p[0] != 'without_taxon_id')))(ask(self, *rest)))
    bench.gather([CARRION], [INat], 10**6, True, True)
    odd = [row for row in bench.manifest.rows() if row.title.startswith(tuple(CROWS))]
    assert any('×' in row.title for row in odd) and any(row.title == 'Corvus cornix' for row in odd) and {row.status for row in odd} == {'refused'}


# Turning pages

def page_of(path):
    "A question without the size of its page"
    parts = urlsplit(path)
    return parts.path, tuple(sorted((name, *values) for name, values in parse_qs(parts.query, keep_blank_values=True).items() if name not in ('per_page', 'limit', 'count')))


@pytest.mark.parametrize('kind', ALL)
def test_no_page_is_asked_for_twice(bench, kind):
    asked = []
    for want in (5, 5, 30, 30, 10**6, 10**6):
        bench.renew()
        bench.gather([WREN, BLACKBIRD], [kind], want, True, True)
        asked.append(list(map(page_of, bench.asked())))
    pages = sum(asked, [])
    assert asked[0] and asked[1] == asked[3] == asked[5] == [] and len(pages) == len(set(pages))
    assert len(pages) > len(asked[0]) or kind is Brave


@pytest.mark.parametrize('kind', ALL)
def test_killed_between_two_pages(bench, tmp_path, kind):
    "Killed before every second question, and begun again: the same questions in the same order, and the same rows"
    bench.gather([WREN, STARLING], [kind], 10**6, True, True)
    whole, rows = bench.asked(), {row.id: row.status for row in bench.manifest.rows()}
    with Manifest(tmp_path/'again', write=True) as bench.manifest:
        for attempt in range(len(whole)+2):
            bench.renew()
            left = [1]
            def ask(source, question):
                if not left: raise KeyboardInterrupt
                left.pop()
                return bench.ask(source, question)
            try: bench.gather([WREN, STARLING], [kind], 10**6, True, True, ask=ask)
            except KeyboardInterrupt: continue
            break
        assert bench.asked() == whole and attempt == len(whole)-1 > 0
        assert {row.id: row.status for row in bench.manifest.rows()} == rows


def test_all_there_is_at_inaturalist(bench):
    "Every photograph of every observation that fits comes into the manifest, refused or not"
    bench.gather([WREN], [INat], 10**6)
    there = {str(photo['id']) for seen, ids, _ in all_observations(bench.world.shelf) if int(WREN.inat_taxon_id) in ids and seen['quality_grade'] == 'research' and not seen['captive']
             and {photo['license_code'] for photo in seen['photos']} & {'cc0', 'cc-by', 'cc-by-sa'} for photo in seen['photos']}
    assert {row.source_id for row in bench.manifest.rows()} == there and len(there) > 100


@pytest.mark.parametrize('austrian', [1, 30])
def test_all_there_is_at_gbif(tmp_path, monkeypatch, austrian):
    "Austria and Europe come first, and the rest of the world after them, also where Europe has nothing that Austria has not"
    records = [r for r in catalogue([WREN], 200) if r.source == 'gbif' and not r.twin and not r.shows and dice('absent', r.number) >= .02]
    here = [r for r in records if dice('country', r.number) < .5]
    records = here[:austrian] + [r for r in records if r not in here]
    with Replay(records) as world:
        monkeypatch.setenv('BIRDCLF_REPLAY', world.base)
        with (bench := Bench(tmp_path, world)).manifest:
            bench.gather([WREN], [Gbif], 10**6)
            found = {row.source_id for row in bench.manifest.rows()}
    assert len(records) > 30 and {f'{r.number}/0' for r in records}-found == set()


def test_both_halves_of_a_page_at_commons(bench):
    "Some pages come without their facts, and with an `iicontinue` to fetch them: all files come in the end"
    source, cursor, rows, steps = Commons(bench.ask, policy=Policy(True, True)), (0, None), [], 0
    while cursor and steps < 40:
        found, cursor = source.search(BLACKBIRD, 10**6, cursor)
        rows, steps = rows+found, steps+1
    asked = bench.asked()
    there = {str(r.number) for r in bench.world.records if (r.source, r.scientific) == ('commons', BLACKBIRD.scientific) and r.title.casefold().find('turdus merula') >= 0 and dice('silent', r.number) >= .02
             and dice('mime', r.number) >= .06}
    assert cursor is None and any('iicontinue' in path for path in asked) and there <= {row.source_id for row in rows} and len(there) > 100


def test_all_names_of_a_bird(bench):
    "GBIF and Commons know the Little Ringed Plover by its old name only"
    bench.gather([BIRDS.find('Flussregenpfeifer')], [Gbif, Commons], 10**6)
    assert min(bench.manifest.count('source', status='found').values()) > 10


# Manners

@pytest.mark.parametrize('kind', ALL)
def test_intervals(bench, kind):
    "Never two requests closer than the source wants, also when another process asks"
    for want in (20, 10**6):
        bench.renew()
        bench.gather([WREN, BLACKBIRD], [kind], want, True, True)
    times = bench.manifest.requests_since(kind.name, 0)
    assert len(times) == len(bench.asked()) > 2
    assert min(b-a for a, b in zip(times, times[1:])) >= kind.limits.interval-1e-6 > .3
    assert kind is not INat or kind.limits.interval >= 1.1


@pytest.mark.parametrize('patience', [120, 10**6])
def test_a_window_survives_the_program(bench, monkeypatch, patience):
    "Three requests a day: the fourth waits until tomorrow, whoever asks"
    monkeypatch.setattr(Openverse, 'limits', Limits(1., ((3, 86_400.),)))
    start, times = bench.clock(), []
    for _ in range(6):
        bench.renew(patience=patience)
        bench.clock.at += 100
        report = bench.gather([WREN, BLACKBIRD], [Openverse], 10**6)
    times = bench.manifest.requests_since('openverse', 0)
    if patience == 120: assert len(times) == len(bench.asked()) == 3 and report.stopped['openverse'][1] == times[0]+86_400 and '3 requests in a day' in report.stopped['openverse'][0]
    else: assert len(times) > 6 and all(later-first >= 86_400-1e-6 for first, later in zip(times, times[3:]))
    bench.clock.at = start+10*86_400*len(times)
    bench.renew()
    assert bench.gather([WREN, BLACKBIRD, STARLING], [Openverse], 10**6).pages > 0


def test_every_request_says_whom_to_write_to(tmp_path):
    "Also when it is sent again, and after a redirect"
    with server((503, b'', {}), (302, b'', {'Location': '/elsewhere'}), (200, b'{"results": [], "value": [], "photos": {}, "matchType": "NONE"}', {})) as (base, seen), pytest.MonkeyPatch.context() as patch:
        patch.setenv('BIRDCLF_REPLAY', base)
        with (bench := Bench(tmp_path)).manifest: bench.gather([BLACKBIRD], ALL, 10, True, True)
    assert {urlsplit(path).path.split('/')[1] for path, _ in seen} == {*SOURCES, 'elsewhere'}
    agents = {headers['User-Agent'] for _, headers in seen}
    assert agents == {user_agent(CONTACT)} and CONTACT in agents.pop()


# The plan

def test_a_plan_costs_nothing(bench):
    for kind in ALL: bench.gather([WREN], [kind], 5, True, True)
    bench.asked()
    requests = bench.manifest.db.execute('SELECT count(*) FROM requests').fetchone()[0]
    assert len(plan(bench.manifest, BIRDS, [kind() for kind in ALL], 200)) == len(ALL)
    assert bench.asked() == [] and bench.manifest.db.execute('SELECT count(*) FROM requests').fetchone()[0] == requests


def test_a_plan_counts_right(manifest, monkeypatch):
    monkeypatch.setattr(INat, 'expected', 60)
    monkeypatch.setattr(Bing, 'limits', Limits(.4, ((100, 86_400.),)))
    inat, bing = plan(None, BIRDS, [INat(), Bing()], 200)
    same = sum('no_words' in bird.search_rules for bird in BIRDS)
    assert (inat.requests, inat.photographs, inat.remark) == (4*74, 200*74, '') and inat.minutes == pytest.approx(4*74*1.1/60)
    assert (bing.requests, bing.photographs) == (2*(74-same), 200*(74-same)) and str(same) in bing.remark and bing.minutes == 1440
    manifest.add([*some(150), *some(30, 'arr', start=500, status='refused', reason='x')])
    less, = plan(manifest, [BLACKBIRD, WREN], [INat()], 200)
    assert (less.requests, less.photographs) == (1+4, 50+200)
    assert plan(manifest, [BLACKBIRD], [INat()], 150)[0].requests == 0
    assert plan(manifest, [WREN], [Bing()], 5000)[0].photographs == 1000


# Odd answers

def leaves(value, path=()):
    "The places in an answer where a value is"
    for key, inside in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from leaves(inside, (*path, key))


def short(value):
    "An answer with at most two of everything"
    if isinstance(value, list): return [short(inside) for inside in value[:2]]
    return {key: short(inside) for key, inside in value.items()} if isinstance(value, dict) else value


def changed(answer, path, new):
    answer = deepcopy(answer)
    inside = answer
    for key in path[:-1]: inside = inside[key]
    if new is leaves: del inside[path[-1]]
    else: inside[path[-1]] = new
    return answer


def crashes(bench, kind, news, patient):
    "What happens when one value of an answer is something else: the places, and the errors; `patient` ones may give up the page, in a sentence"
    found, cursor = {}, (int(kind is Commons), dict(key=2490719, area=0, offset=0) if kind is Gbif else None)
    real = kind(bench.ask, policy=Policy(True, True))
    answer = bench.ask(real, real.question(BLACKBIRD, real.queries(BLACKBIRD)[cursor[0]], cursor[1], 50))
    if kind is Commons: answer['query']['pages'] = [page for page in answer['query']['pages'] if page.get('imageinfo')]
    answer = short(answer)
    def ask(source, _):
        if trouble := source.complaint(200, {}, odd): raise trouble
        return odd
    source = kind(ask, policy=Policy(True, True))
    for path in leaves(answer):
        if not patient and type(path[-1]) is int: continue
        for new in news:
            odd = changed(answer, path, new)
            try:
                rows, after = source.search(BLACKBIRD, 50, cursor)
                json.dumps(after), source.question(BLACKBIRD, source.queries(BLACKBIRD)[after[0]], after[1], 50) if after is not None else None
                if any(type(value) not in (int, type(None)) and not str(value).isascii() for row in rows for value in vars(row).values()): bench.manifest.add(rows)
                if not patient and len(path) > 2: assert rows, 'the other photograph is lost too'
                if not patient: assert [value for row in rows for value in vars(row).values() if re.search(r'\bNone\b', str(value)) and value is not None] == []
            except Trouble as e:
                if not patient and len(path) > 2: found['.'.join(map(str, path)), ascii(new)] = f'{type(e).__name__}: {e}'
            except Exception as e: found['.'.join(map(str, path)), 'missing' if new is leaves else ascii(new)] = f'{type(e).__name__}: {e}'
    return found


@pytest.mark.parametrize('kind', ALL)
def test_any_field_may_be_null_or_missing(bench, kind):
    assert crashes(bench, kind, [None, leaves], patient=False) == {}


@pytest.mark.parametrize('kind', ALL)
def test_nonsense_ends_in_a_sentence(bench, kind):
    "A search goes on for days; one odd value must not end it in a traceback"
    assert crashes(bench, kind, [None, 7, 'x\ud800', [], {}], patient=True) == {}

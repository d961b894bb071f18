"The list of birds, from outside"
import unicodedata

import pytest

from birdclf.species import Species, SpeciesError, SpeciesList, columns_of, list_remarks, load_species

BIRDS = load_species()


def test_there_are_74_different_birds():
    assert len(BIRDS) == len({bird.scientific for bird in BIRDS}) == len({bird.german for bird in BIRDS}) == 74


def test_every_name_is_clean():
    for bird in BIRDS:
        assert not set(bird.aliases) & set(bird.mistaken_for)
        for name in (bird.german, bird.english, bird.scientific, *bird.aliases, *bird.mistaken_for):
            assert name == unicodedata.normalize('NFC', name) == ' '.join(name.split())
            assert all(c.isalpha() or c in " -'" for c in name), name
        assert len(bird.scientific.split()) == 2 and bird.scientific[0].isupper() and bird.scientific.split()[1].islower()
        assert bird.ebird_code and bird.inat_taxon_id.isdigit() and bird.wikidata_qid.startswith('Q')


def ways(name):
    "What a person may type who means `name`"
    umlauts = {'ä': 'ae', 'ö': 'oe', 'ü': 'ue', 'ß': 'ss', 'Ä': 'Ae', 'Ö': 'Oe', 'Ü': 'Ue'}
    yield from (name.upper(), name.lower(), name.replace('-', ' '), name.replace(' ', '-'), name.replace(' ', ''), f'  {name} ')
    yield unicodedata.normalize('NFD', name)
    yield ''.join(umlauts.get(c, c) for c in name)
    yield ''.join(c for c in unicodedata.normalize('NFD', name.replace('ß', 'ss')) if not unicodedata.combining(c))


@pytest.mark.parametrize('bird', BIRDS, ids=lambda bird: bird.german)
def test_any_name_in_any_spelling_finds_the_bird(bird):
    for name in (bird.german, bird.english, bird.scientific, *bird.aliases):
        for way in ways(name):
            assert BIRDS.find(way) is bird, way


@pytest.mark.parametrize('bird', BIRDS, ids=lambda bird: bird.german)
def test_a_name_of_another_bird_is_a_hint_and_finds_nothing(bird):
    for name in bird.mistaken_for:
        with pytest.raises(SpeciesError) as caught:
            BIRDS.find(name)
        assert name in str(caught.value) and bird.english in str(caught.value)


def test_what_others_call_them(shared):
    import csv
    with open(shared/'species.csv', encoding='utf-8') as file:
        for row in csv.DictReader(file):
            bird = BIRDS.find(row['german'])
            assert (bird.english, bird.scientific) == (row['english_ebird'], row['scientific'])
            names = [row['english_original'], row['english_avilist'], row['scientific_alt'], *row['english_uk'].split('/')]
            for name in names:
                if name and not name.startswith('(') and name != 'ringed plover':
                    assert BIRDS.find(name) is bird, name


def test_the_ringed_plover_is_another_bird():
    with pytest.raises(SpeciesError, match='is another bird.*Little Ringed Plover'):
        BIRDS.find('ringed plover')


def test_an_unknown_name_gets_suggestions():
    with pytest.raises(SpeciesError, match='Did you mean Eurasian Nuthatch'):
        BIRDS.find('Klaiber')
    with pytest.raises(SpeciesError, match='Check the spelling'):
        BIRDS.find('')


def write(tmp_path, data):
    path = tmp_path/'my_birds.csv'
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_a_list_of_your_own_needs_one_column(tmp_path):
    birds = load_species(write(tmp_path, 'scientific\r\nPica pica\r\nGrus grus\r\n'))
    assert [bird.to_dict() for bird in birds][0] == dict(german='Pica pica', english='Pica pica', scientific='Pica pica')
    assert birds[1].name('de') == birds[1].name('en') == 'Grus grus'


def test_semicolons_a_byte_order_mark_and_unknown_columns(tmp_path):
    birds = load_species(write(tmp_path, '\ufeffscientific;german;mood\nTurdus merula; Amsel ;cheerful\n;;\n'))
    assert birds[0] == Species('Amsel', 'Turdus merula', 'Turdus merula')


@pytest.mark.parametrize('data, message', [
    ('', "no column 'scientific'"),
    ('scientific\n', '0 birds'),
    ('german,english\nAmsel,Blackbird', "no column 'scientific'; its first line is 'german,english'"),
    ('scientific,german\nTurdus merula,Amsel\n,Star', "Line 3 of my_birds.csv has no scientific name, only 'Star'"),
    ('scientific,german\nTurdus merula,Amsel,und,noch,was', 'Line 2 of my_birds.csv has more values than the 2 columns'),
    ('scientific\nTurdus merula\nturdus  merula', 'would find two birds|in this list twice'),
    ('scientific,german\nTurdus merula,Amsel\nSturnus vulgaris,AMSEL', "'AMSEL' would find two birds"),
    ('scientific,aliases\nTurdus merula,x; Ringdrossel\nTurdus torquatus,Ring-Drossel', "'Ring-Drossel' would find two birds"),
    (b'scientific\nGr\x81nspecht', 'not in UTF-8 .see line 2'),
    ('scientific\nPicus viridis'.encode('utf-16')[:-1], 'not in UTF-8'),
    ('scientific\nPicus viridis'.encode('utf-16-le'), 'not in UTF-8'),
    ('latin;fi\nParus major;talitiainen', "in the column 'latin', call it 'scientific'"),
    ('Scientific name,en\nParus major,Great Tit', "in the column 'scientific name', call it 'scientific'"),
])
def test_what_is_refused(tmp_path, data, message):
    with pytest.raises(SpeciesError, match=message):
        load_species(write(tmp_path, data))


FIELDFARE = 'scientific,fi\nTurdus pilaris,räkättirastas\nPica pica,harakka\n'


@pytest.mark.parametrize('data, said', [
    (FIELDFARE.encode(), None), (('\ufeff'+FIELDFARE).encode(), None), (FIELDFARE.encode('cp1252'), 'Windows-1252'), (FIELDFARE.encode('utf-16'), 'UTF-16'),
    (FIELDFARE.replace('\n', '\r').encode(), None), (FIELDFARE.replace('\n', '\r\n').encode('cp1252'), 'Windows-1252'),
    (('sep=;\r\n'+FIELDFARE.replace(',', ';')).encode(), None), (FIELDFARE.replace('scientific,fi', '"scientific","fi"').encode(), None)])
def test_a_list_as_spreadsheets_save_it(tmp_path, data, said):
    "In any encoding and with any line ends that one chooses; a guess is told"
    path = write(tmp_path, data)
    assert load_species(path).find('räkättirastas').scientific == 'Turdus pilaris'
    assert columns_of(path) == ['scientific', 'fi']
    assert list_remarks(path) == ([] if said is None else [f"my_birds.csv is not in UTF-8. It was read as {said}: look whether the names in it are right. Save it as 'CSV UTF-8'."])


def test_columns_that_nothing_reads_are_told_once_and_with_the_code_that_was_meant(tmp_path):
    path = write(tmp_path, 'scientific;"finnish; ours";finnish;pt_BR;is_rare\nParus major;a;talitiainen;chapim-real;no\n')
    assert list_remarks(path) == ["Nothing reads the columns 'finnish; ours', 'finnish', 'pt_br', 'is_rare'. A column of names in a language is called by its code: fi and not finnish, pt-br and not pt_br."]
    assert list_remarks(write(tmp_path, 'scientific,mood\nParus major,cheerful\n')) == ["Nothing reads the column 'mood'. A column of names in a language is called by its code: fi, for example."]


def test_numbers_and_marks_are_no_names(tmp_path):
    "no is Norwegian, but 1a is no bird in it; and sex is no language"
    birds = load_species(write(tmp_path, 'scientific,no,sex,zh\nParus major,1a,f,鶴\nPica pica,2b,m,喜鹊\n'))
    assert birds.languages == ('zh',)


def test_a_suggestion_is_in_the_language_of_the_list(tmp_path):
    birds = load_species(write(tmp_path, 'scientific,fi,en\nTurdus pilaris,räkättirastas,Fieldfare\nPica pica,harakka,\n'))
    with pytest.raises(SpeciesError, match=r'Did you mean Fieldfare \(räkättirastas, Turdus pilaris\)\?'): birds.find('räkättirastas 2024')
    with pytest.raises(SpeciesError, match=r'Did you mean harakka \(Pica pica\)\?'): birds.find('harakkka')
    with pytest.raises(SpeciesError, match="'pica' is not the one bird in this list"): SpeciesList([birds[0]]).find('pica')
    assert repr(SpeciesList([birds[0]])) == '1 bird: räkättirastas'


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SpeciesError, match='cannot be read.*Give the path'):
        load_species(tmp_path/'nothing.csv')
    with pytest.raises(SpeciesError, match='cannot be read'):
        load_species(tmp_path)


def test_a_list_can_hold_the_bird_that_others_only_mix_up():
    plover = Species('Sandregenpfeifer', 'Common Ringed Plover', 'Charadrius hiaticula', aliases=('Ringed Plover',))
    assert SpeciesList([*BIRDS, plover]).find('ringed plover') is plover

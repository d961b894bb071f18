"What names birds without a server says what Python says: step by step in Node, photographs in a real browser"
import json
from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from birdclf.session import _told
from birdclf.bundle import load_bundle
from birdclf.classify import Classifier, _around, decide
from birdclf.engine import knowledge
from birdclf.find import Found, find, open_for
from birdclf.network import averaged, pixels
from birdclf.photo import PhotoError, colour, open_parts, recognise, too_large
from birdclf.testing import paint_bird
from pace import few
from pictures import file_of
from test_front import node # noqa: F401

FRONT = Path(__file__).resolve().parents[1]/'birdclf'/'front'
BUNDLE = load_bundle()
ABOUT = knowledge(BUNDLE)
IMAGE = '''const image = ({width, height, data}) => ({width, height, data: Uint8ClampedArray.from(Buffer.from(data, 'base64'))})
const source = given => { const {width, height, data} = image(given); return {width, height, read: (left, top, wide, tall) => {
    const part = new Uint8ClampedArray(4 * wide * tall)
    for (let y = 0; y < tall; y++) part.set(data.subarray(4 * ((top + y) * width + left), 4 * ((top + y) * width + left + wide)), 4 * y * wide)
    return {width: wide, height: tall, data: part}
}} }
'''


EACH = 'Promise.all(given.made.map(async ([whole, found, flags])'


def as_given(image):
    return dict(width=image.width, height=image.height, data=b64encode(image.convert('RGBA').tobytes()).decode())


@pytest.fixture
def js(node): # noqa: F811
    "What the page's own code makes of what it is given"
    def ask(file, names, code, **given):
        script = (f'import {{{names}}} from {json.dumps((FRONT/file).as_uri())}\n{IMAGE}const given = {json.dumps(given)}\n'
                  f'console.log(JSON.stringify({code}))')
        return json.loads(node('--input-type=module', '-', input=script))
    return ask


def noise(width, height, seed=0): return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_picture_is_made_smaller_as_pillow_does_to_the_last_bit(js):
    "Also larger, flat, of one pixel, and parts that begin between pixels"
    rng = np.random.default_rng(1)
    for _ in range(few(4, 12)):
        width, height, wide, tall = (int(side) for side in rng.integers(1, 300, 4))
        image = noise(width, height)
        part = np.sort(rng.uniform(0, 1, (2, 2)), 0).ravel()*(width, height)*2 if False else None
        x, y = np.sort(rng.uniform(0, width, 2)), np.sort(rng.uniform(0, height, 2))
        for box in (None, (float(x[0]), float(y[0]), float(x[1]), float(y[1]))):
            data = js('resize.js', 'resized', '[...resized(image(given.image), given.box, given.size).data]', image=as_given(image), box=box, size=(wide, tall))
            there = image.resize((wide, tall), Image.Resampling.BILINEAR, box=box).convert('RGBA').tobytes()
            assert bytes(data) == there, (width, height, wide, tall, box)


@pytest.mark.parametrize('size', [(400, 300), (700, 5000), (1100, 1650), (1650, 1100), (1152, 1153), (2304, 1729), (3000, 601), (40, 3000)], ids=lambda size: 'x'.join(map(str, size)))
def test_a_picture_is_opened_as_small_as_in_python_and_looks_the_same(js, size):
    image = noise(*size)
    there = open_for(BUNDLE, file_of(image, 'PNG', compress_level=0))
    width, height, data = js('opened.js', 'shrunk', "(({width, height, data}) => [width, height, Buffer.from(data.buffer).toString('base64')])"
                             "(shrunk(source(given.image), 'PNG', given.photo))", image=as_given(image), photo=ABOUT['photo'])
    assert (width, height) == there.image.size
    assert b64decode(data) == there.image.convert('RGBA').tobytes()


@pytest.mark.parametrize('turn', range(4))
def test_a_part_is_cut_as_in_python(js, turn):
    image, boxes, side = noise(1500, 1100), [(.1, .2, .6, .9), (.333, .111, .777, .555), (.98, .98, 1, 1)], 150
    parts = open_parts(file_of(image, 'PNG', compress_level=0), boxes, side=side, turn=turn)
    for box,part in zip(boxes, parts):
        where, width, height, data = js('opened.js', 'piece', '''(({image: {width, height, data}, box}) => [box, width, height, Buffer.from(data.buffer).toString('base64')])
            (piece(source(given.image), 'PNG', given.box, given.turn, 1, given.side))''', image=as_given(image), box=box, turn=turn, side=side)
        assert (width, height) == part.image.size and where == pytest.approx(part.box)
        assert b64decode(data) == part.image.convert('RGBA').tobytes()


def test_grey_is_grey(js):
    for image in (paint_bird('Amsel', size=(300, 200)), paint_bird('Pirol', size=(200, 300)), paint_bird('Pirol', size=(300, 200)).convert('L').convert('RGB')):
        assert js('opened.js', 'colour', 'colour(image(given.image))', image=as_given(image)) == pytest.approx(colour(image), rel=.05, abs=.5)


def answers(n):
    "Made-up answers of every kind: sure, close, far from sure, small, grey, several birds in one picture, none"
    rng = np.random.default_rng(3)
    for i in range(n):
        found = [dict(species=rng.normal(0, rng.uniform(.5, 6), len(BUNDLE.species)), open_set=rng.normal(3, 3, 2), box=tuple(np.sort(rng.uniform(0, 1, (2, 2)), 0).ravel().tolist()))
                 for _ in range(rng.integers(1, 4))]
        whole = dict(species=rng.normal(0, 3, len(BUNDLE.species)), open_set=rng.normal(3, 3, 2), box=None) if i % 2 else None
        if i % 5 == 0: found = [found[0] | dict(box=None)]
        yield whole, found, dict(small=bool(i % 7 == 0), colourless=bool(i % 3 == 0))


def made(one): return Found(one['box'], .9, one['species'], one['open_set'], np.zeros(1))


class Asked(Classifier):
    "Python's way from what was found to an answer, without a network"
    def __init__(self): self.bundle, self.species = BUNDLE, BUNDLE.species

    def answer(self, whole, found, flags):
        seen, everything = [made(one) for one in found], whole and made(whole)
        if everything and self.decide(everything).species and not any(self.decide(one).species for one in seen): seen = [replace(everything, box=_around(seen))]
        said = [answer for _,answer in self.ranked(SimpleNamespace(**flags), seen)]
        return replace(said[0], birds=tuple(answer for answer in said if answer.box))


@pytest.mark.parametrize('language', ['en', 'de'])
def test_every_answer_is_said_in_the_same_words(js, language):
    "Verdict, candidates, boxes, sentences and tips: the JSON of the command line"
    made_up = list(answers(few(60, 600)))
    there = [Asked().answer(*one).to_dict(language, top=2) for one in made_up]
    here = js('answer.js', 'answered, facts, seen', f'await {EACH} => facts(given.about, answered(given.about, flags, await seen(given.about, {{whole: whole && (() => whole), found}})), given.language, 2)))',
              made=[[whole and plain(whole), list(map(plain, found)), flags] for whole,found,flags in made_up], about=ABOUT, language=language)
    assert {answer['verdict'] for answer in there} == {'sure', 'one_of', 'other_bird', 'not_bird'} and any(answer['tips'] for answer in there)
    assert any(len(answer['birds']) > 1 for answer in there)
    for mine,theirs in zip(here, there): assert close(mine, theirs), (mine, theirs)


def plain(one): return {name: value.tolist() if isinstance(value, np.ndarray) else value for name,value in one.items()}


def close(one, other):
    "The same, up to the last of six digits"
    if isinstance(other, dict): return one.keys() == other.keys() and all(close(one[key], other[key]) for key in other)
    if isinstance(other, (list, tuple)): return len(one) == len(other) and all(map(close, one, other))
    return abs(one-other) <= 1.5e-4 if isinstance(other, float) else one == other


def test_the_page_is_told_what_a_kernel_would_tell_it(js):
    made_up = list(answers(few(30, 200)))
    there = [json.loads(json.dumps(_told(Asked().answer(*one)))) for one in made_up]
    here = js('answer.js', 'answered, seen, told', f'await {EACH} => told(given.about, answered(given.about, flags, await seen(given.about, {{whole: whole && (() => whole), found}})))))', made=[[whole and plain(whole), list(map(plain, found)), flags] for whole,found,flags in made_up], about=ABOUT)
    for mine,theirs in zip(here, there): assert close(mine, theirs), (mine, theirs)


FILES = {'nothing': b'', 'text': b'Erithacus rubecula', 'a PDF': b'%PDF-1.7', 'a page': b' <!doctype html>', 'a film': b'\0\0\0\x18ftypqt  ', 'another': b'\0\0\0\x18ftypisom',
         'a raw one': b'FUJIFILMCCD-RAW', 'a JPEG 2000': b'\0\0\0\x0cjP  '}


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('language', ['en', 'de'])
def test_what_is_no_photograph_gets_the_same_sentence(js, name, language):
    try: recognise(FILES[name])
    except PhotoError as error: there = error.sentence(language)
    here = js('opened.js', 'recognise', '(() => { try { return recognise(Uint8Array.from(given.data), given.photo) } catch ({code, values}) { return {code, values} } })()',
              data=list(FILES[name]), photo=ABOUT['photo'])
    assert js('answer.js', 'told', 'told(given.about, {error: given.error})', about=ABOUT, error=here)['sentences'][language] == there


def test_numbers_are_written_as_in_python(js):
    errors = [too_large(123_456_789), PhotoError('too_many_pixels', 1234.5, 50, 'PNG'), PhotoError('too_small', 31, 1200)]
    for error in errors:
        given = dict(code=error.code, values=error.values)
        assert js('answer.js', 'told', 'told(given.about, {error: given.error})', about=ABOUT, error=given)['sentences'] == {language: error.sentence(language) for language in ('en', 'de')}


def test_what_is_no_dog_is_none_of_these(js):
    "The same verdict and the same words as Python's, for a bundle of another kind, which finds nothing"
    dogs = replace(BUNDLE, finding=None, training=BUNDLE.training | dict(kind='dogs'))
    about, logits = knowledge(dogs), np.linspace(9, 0, len(BUNDLE.species))
    assert about['finding'] is None and not [text for text in about['photo']['sentences']['en'].values() if 'bird' in text]
    for scores in ((9., 9.), (-9., 9.), (9., -9.), (-9., -9.)):
        for flags in ({}, dict(small=True), dict(colourless=True)):
            answer = decide(dogs, logits, np.array(scores), **flags)
            seen = [dict(species=logits.tolist(), open_set=scores, box=None)]
            here = js('answer.js', 'answered, facts', "['en', 'de'].map(language => facts(given.about, answered(given.about, given.flags, given.seen), language))", about=about, seen=seen, flags=flags)
            assert [one['reason'] for one in here] == [answer.sentence('en'), answer.sentence('de')] and close(here[0], json.loads(json.dumps(answer.to_dict()))) and 'birds' not in here[0]['reason']
    assert here[0]['verdict'] == 'none_of_these'


def test_what_is_not_searched_is_looked_at_as_in_python(js):
    "All of a picture, or what is in a frame: the same looks at the same pixels, by a network that says how bright they are"
    recipe = BUNDLE.preprocessing
    class Brightness:
        def run(self, batch): return batch.mean((2, 3))[:,[0]*len(BUNDLE.species)], batch.mean((2, 3))[:,1:], batch[:,0,:2,0]
        def __call__(self, image): return averaged(*self.run(self.mirrored(pixels(image, recipe))))
        def mirrored(self, looks): return np.concatenate([looks, looks[...,::-1]]) if recipe.flip else looks
    network, image = Brightness(), noise(300, 211)
    network.recipe, plain_bundle = recipe, replace(BUNDLE, finding=None)
    for box in (None, (.1, .2, .7, .9), (.003, .4, .55, .61)):
        _, _, [there] = find(network, plain_bundle, image, box=box)
        code = """await (async () => {
            const photo = {image: image(given.image), cut: boxes => boxes.map(() => ({image: image(given.image), box: [0, 0, 1, 1]}))}
            const mean = (data, from, n) => data.slice(from, from + n).reduce((sum, x) => sum + x, 0) / n
            const network = (data, [looks, , tall, wide]) => Array.from({length: looks}, (_, i) => {
                const [red, green, blue] = [0, 1, 2].map(colour => mean(data, (3 * i + colour) * tall * wide, tall * wide))
                return {species: Array(given.n).fill(red), open_set: [green, blue]}
            })
            const {found: [one]} = await find(network, photo, given.about, given.box)
            return {species: one.species.slice(0, 1), open_set: one.open_set, box: one.box}
        })()"""
        here = js('finding.js', 'find', code, image=as_given(image), about=knowledge(plain_bundle), box=box, n=len(BUNDLE.species))
        assert here['box'] == (list(box) if box else None) and np.allclose([*here['species'], *here['open_set']], [there.species[0], *there.open_set], atol=1e-4)

"The pages' own code by itself, in the Node that Playwright brings: no browser, no server, no kernel"
import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from birdclf.app import BirdPage
from birdclf.classify import Classifier
from birdclf.session import Session
from birdclf.testing import paint_bird
from pictures import DELICATE, PLAIN, SIDEWAYS, file_of

ROOT = Path(__file__).resolve().parents[1]
FRONT = ROOT/'birdclf'/'front'
SCRIPTS = sorted(FRONT.glob('*.js'))


@pytest.fixture(scope='session')
def node():
    "Run Node with some arguments; what it printed, if all went well"
    playwright = pytest.importorskip('playwright', reason='needs playwright, which brings Node')
    program = Path(playwright.__file__).parent/'driver'/'node'
    def run(*args, **options):
        done = subprocess.run([program, *args], capture_output=True, text=True, encoding='utf-8', **options)
        assert not done.returncode, done.stdout + done.stderr
        return done.stdout
    return run


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_a_script(node, path, tmp_path):
    "Nothing declared twice, which is what happens when a part of the kit has the name of a part of the page"
    shutil.copy(path, tmp_path/'script.mjs')
    node('--check', tmp_path/'script.mjs')


def test_what_is_no_script_would_be_noticed(node, tmp_path):
    (tmp_path/'script.mjs').write_text('const x = 1\nconst x = 2\n', encoding='utf-8')
    with pytest.raises(AssertionError, match='already been declared'): node('--check', tmp_path/'script.mjs')


@pytest.mark.parametrize('path', [path for path in sorted((ROOT/'tests'/'front').glob('*.mjs')) if path.stem != 'fakes'], ids=lambda path: path.stem)
def test_what_it_does(node, path):
    told = node('--test', '--test-force-exit', '--test-reporter=tap', path)
    assert '# fail 0\n' in told and '# pass 0\n' not in told


def test_the_scripts_write_no_markup_and_ask_nobody():
    for path in FRONT.iterdir():
        text = path.read_text(encoding='utf-8')
        assert [word for word in ('innerHTML', 'outerHTML', 'insertAdjacentHTML', 'document.write', 'eval(', 'http:', 'https:') if word in text] == [], path.name


# --- what can be known about a picture from its bytes

@pytest.fixture(scope='session')
def said(node):
    "What the page says of each of some files"
    def ask(code, files):
        names = ', '.join(name for name in ('jpeg', 'plain', 'smaller') if name in code)
        script = (f'import {{{names}}} from {json.dumps((FRONT/"picture.js").as_uri())}\n'
                  f'const files = {json.dumps([list(data) for data in files])}.map(bytes => Uint8Array.from(bytes))\n'
                  f'console.log(JSON.stringify(await Promise.all(files.map({code}))))')
        return json.loads(node('--input-type=module', '-', input=script))
    return ask


def packed():
    info = PngImagePlugin.PngInfo()
    info.add_text('Comment', 'robin'*10**5, zip=True)
    return info


@pytest.fixture(scope='module')
def small(): return paint_bird('Amsel', size=(160, 120))


HOLES = 'PNG with a hole', 'WebP with a hole' # Told by their pixels, in the browser


def test_plain_files_are_told_from_delicate_ones(said, small):
    "HEIC too, which this browser does not decode and a Mac's does"
    good = {**{kind: make(small) for kind,make in PLAIN.items()}, 'HEIC': file_of(small, 'HEIF')}
    bad = {kind: make(small) for kind,make in DELICATE.items() if kind not in HOLES}
    for kind in ('PNG', 'WebP', 'AVIF', 'BMP', 'HEIC'):
        bad |= {f'{kind} without its last {n} bytes': good[kind][:-n] for n in (1, 100, len(good[kind])-30)}
    bad |= {'text': b'Erithacus rubecula '*99, 'GIF': file_of(small, 'GIF'), 'TIFF': file_of(small, 'TIFF'),
            'PNG with a packed text': file_of(small, 'PNG', pnginfo=packed()), 'WebP with EXIF': file_of(small, 'WEBP', exif=SIDEWAYS),
            'HEIC for HDR': good['HEIC'].replace(b'nclx\0\1\0\r', b'nclx\0\x09\0\x12')}
    found = said('plain', [*good.values(), *bad.values()])
    kinds = {kind: next(name for name in ('PNG', 'WebP', 'AVIF', 'BMP', 'HEIC') if name in kind) for kind in good}
    names = {kind: dict(WebP='WEBP', HEIC='HEIF').get(name, name) for kind,name in kinds.items()}
    assert dict(zip([*good, *bad], found)) == names | dict.fromkeys(bad, '')


def test_what_may_be_read_differently_is_sent_as_it_is(said, small):
    "Also where the browser has a picture of it, and the limits are far away"
    files = [make(small) for kind,make in DELICATE.items() if kind not in HOLES]
    rule = 'async ({buffer}) => await smaller(buffer, null, {width: 9000, height: 9000}, {as_is: 1, side: 1, pixels: {PNG: 1e9}}) === buffer'
    assert said(rule, files) == [True]*len(files)


def frame_of(code): return bytes([0xFF, 0xD8, 0xFF, code, 0, 17, 8]) + (4321).to_bytes(2, 'big') + (6543).to_bytes(2, 'big') + bytes(10)


def test_the_size_of_a_jpeg_is_read_whatever_its_kind(said):
    "ITU T.81 has thirteen kinds of frame, C2 is the progressive one; C4, C8 and CC are not frames"
    codes = range(0xC0, 0xD0)
    sizes = said('bytes => { const {width, height} = jpeg(bytes); return [width, height] }', map(frame_of, codes))
    for code,size in zip(codes, sizes): assert size == ([0, 0] if code in (0xC4, 0xC8, 0xCC) else [6543, 4321]), hex(code)


def test_the_kind_of_a_jpeg_is_what_its_memory_depends_on(said, small):
    "Progressive, or one colour after the other: the decoder has to remember all of it"
    grey = small.convert('L')
    first = file_of(grey.convert('RGB'))
    scan = first.index(b'\xff\xda')
    one_by_one = first[:scan+4] + b'\1' + first[scan+5:]
    files = [first, file_of(grey), file_of(grey.convert('RGB'), progressive=True), one_by_one, frame_of(0xC3)]
    kinds = said('bytes => jpeg(bytes).kind', files)
    assert kinds == ['JPEG', 'JPEG', 'layered JPEG', 'layered JPEG', 'full JPEG']
    assert set(kinds) <= set(BirdPage(Session(Classifier.load())).limits['pixels'])


def test_half_a_jpeg_is_told_from_a_whole_one(said, small):
    whole = file_of(small)
    files = [whole, whole[:-1], whole[:len(whole)//2], whole + b'a trailer', file_of(small, progressive=True), b'GIF89a']
    assert said('bytes => jpeg(bytes)?.whole ?? null', files) == [True, False, False, True, True, None]

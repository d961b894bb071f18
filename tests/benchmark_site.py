"""The page without a server, timed in Chromium: what a first visit fetches, how long until its first answer, and every one after.

Cold is a browser that has never been here: from the address to the first name, the runtime and the network fetched from this machine on the way. Warm
is a photograph after others. All of it in one thread, as on any static host. With a folder of test data (--shared) its answers are laid beside Python's:
for a hundred photographs and thirty in which the bird is small, as the pixels that Pillow makes of them (PNG) and as they are (JPEG).
"""
import argparse
import io
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import psutil
from PIL import Image, ImageOps
from playwright.sync_api import sync_playwright

from birdclf.bundle import load_bundle
from birdclf.classify import Classifier
from birdclf.site import build_site, fetch_runtime, site_files
from birdclf.testing import paint_bird

sys.path.insert(0, str(Path(__file__).parent))
from test_page import CHROMIUM, DONE, FLAGS # noqa: E402
from pictures import file_of # noqa: E402
from test_site import Browsing, Guest, host, photographs_of # noqa: E402


def paintings():
    for name,size in (('Amsel', (640, 480)), ('Weißstorch', (1200, 900)), ('Amsel', (4000, 3000))):
        with io.BytesIO() as file:
            paint_bird(name, size=size).save(file, 'JPEG', quality=90)
            yield f'{name} of {size[0]} x {size[1]}', file.getvalue()


WATCH = '''selector => {
    const page = document.querySelector('.bc-page'), input = document.querySelector('input:not([capture])')
    page.dataset.phase = 'before'
    window.seconds = new Promise(done => {
        let begun
        input.addEventListener('change', () => { begun = performance.now() }, {once: true, capture: true})
        new MutationObserver((_, watching) => {
            if (!page.matches(selector)) return
            watching.disconnect()
            done((performance.now() - begun) / 1000)
        }).observe(page, {attributes: true})
    })
}'''


def answered(guest, name, data):
    "Seconds from the choice of a photograph to its answer, as the page itself sees them, and those of a processor"
    before = worked()
    guest.page.evaluate(WATCH, DONE)
    guest.page.set_input_files('input:not([capture])', dict(name=name, mimeType='', buffer=data))
    return guest.page.evaluate('window.seconds'), worked()-before


def timed(act):
    "Seconds by the clock, and those of a processor that the browser took; a busy machine makes only the first longer"
    start, before = perf_counter(), worked()
    act()
    return perf_counter()-start, worked()-before


def worked():
    "Seconds that all processes under this one have taken so far"
    taken = 0
    for process in psutil.Process().children(recursive=True):
        try: times = process.cpu_times()
        except psutil.Error: continue # It has ended
        taken += times.user+times.system
    return taken


def said(seconds):
    clock, processor = zip(*seconds)
    return f'{median(clock):5.2f} s ({min(clock):.2f} to {max(clock):.2f}), {median(processor):.2f} of a processor'


def as_png(data):
    with Image.open(io.BytesIO(data)) as image: return file_of(ImageOps.exif_transpose(image).convert('RGB'), 'PNG', compress_level=1)


def apart(here, there):
    "Whether two answers have the same verdict and the same first three, and how far apart their probabilities and boxes are at most"
    first = [[(candidate['scientific'], candidate['probability']) for candidate in answer['candidates'][:3]] for answer in (here, there)]
    names = [[name for name,_ in three] for three in first]
    probability = max(abs(dict(first[0]).get(name, 0)-said) for name,said in first[1])
    boxes = [np.abs(np.subtract(one['box'], other['box'])).max() for one,other in zip(here['birds'], there['birds'])]
    return here['verdict'] == there['verdict'], names[0] == names[1], len(here['birds']) == len(there['birds']), probability, max(boxes, default=0)


def crowd(guest, shared):
    "How long real photographs take: as they are, and as large as a camera makes them"
    guest.choose(*next(paintings()))
    files = photographs_of(shared)
    kinds = {'portraits': [path.read_bytes() for path in files if 'wide' not in path.parts], 'small birds': [path.read_bytes() for path in files if 'wide' in path.parts]}
    kinds['portraits of 4000 pixels'] = [enlarged(data) for data in kinds['portraits'][:30]]
    for name,photographs in kinds.items():
        seconds = sorted(answered(guest, 'photo', data)[0] for data in photographs)
        print(f'warm   {median(seconds):5.2f} s at the median, {seconds[int(.9*len(seconds))]:.2f} s for nine in ten, {sum(s<=.5 for s in seconds)} of {len(seconds)} within half a second: {name}')


def enlarged(data, longer=4000):
    with Image.open(io.BytesIO(data)) as image:
        scale = longer/max(image.size)
        return file_of(image.convert('RGB').resize([round(side*scale) for side in image.size]), quality=90)


def likeness(browser, site, shared):
    classifier = Classifier.load()
    with Browsing(browser, site) as engine:
        for name,make in (('PNG ', as_png), ('JPEG', bytes)):
            files = [make(path.read_bytes()) for path in photographs_of(shared)]
            found = [apart(engine.classify(data), classifier.classify(data).to_dict(top=3)) for data in files]
            verdict, three, birds, probability, box = zip(*found)
            print(f'{name}   {len(found)} photographs: {sum(verdict)} with the same verdict, {sum(three)} with the same first three, {sum(birds)} with as many birds; '
                  f'probabilities at most {max(probability):.4f} apart, boxes {max(box):.4f}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photographs', nargs='*', type=Path)
    parser.add_argument('--visits', type=int, default=5)
    parser.add_argument('--shared', type=Path)
    given = parser.parse_args()
    photographs = [(path.name, path.read_bytes()) for path in given.photographs] or list(paintings())
    with TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = Path(folder)/'site'
        build_site(site, site_files(load_bundle(), fetch_runtime(offline=True)))
        sizes = {path.name: path.stat().st_size for path in site.rglob('*') if path.is_file()}
        for name,size in sorted(sizes.items(), key=lambda pair: -pair[1])[:4]: print(f'{size/1e6:6.2f} MB  {name}')
        print(f'{sum(sizes.values())/1e6:6.2f} MB  all of it, the scripts not packed')
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with host(site) as server:
            cold, warm = [], {name: [] for name,_ in photographs}
            for _ in range(given.visits):
                guest = None
                def first():
                    nonlocal guest
                    guest = Guest(browser, server.address)
                    guest.choose(*photographs[0])
                cold.append(timed(first))
                for name,data in photographs: warm[name].append(answered(guest, name, data))
                guest.context.close()
            if given.shared: crowd(Guest(browser, server.address), given.shared)
        if given.shared: likeness(browser, site, given.shared)
        browser.close()
    print(f'cold   {said(cold).partition(",")[0]}')
    for name,seconds in warm.items(): print(f'warm   {said(seconds)}  {name}')



if __name__ == '__main__': main()

"""How long until the bird has a name: fastai's way with a ResNet-50, as in the project that this one follows, beside ours.

Every figure is that of whole processes, as a person meets them: from a shell that has nothing loaded to the first answer,
with the largest memory on the way; and then, in a process that is warm, from the bytes of a photograph to the answer.
There are two photographs of 12 megapixels: a portrait, whose answer needs no search (nor does that of most real ones), and a garden in which the same
bird fills an eighth of the width and has to be found. Both are painted. The goals are ratios, so that a slow machine can be asked
as well: fastai's way takes at least 5 times as long as ours where nothing is searched for, and 3 times where it is. A busy machine
cannot: torch's threads wait for each other, and its share of a crowd is worse than ours.
At the end, many photographs in one call: the memory must not grow with their number.
"""
import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

# This process stays small: the peak memory that Linux reports for a child begins at its parent's.

PHOTO = """
import sys
from io import BytesIO
from pathlib import Path
import numpy as np
from PIL import Image
from birdclf.testing import paint_bird, paint_scene
kind, name, seed = sys.argv[2:]
bird = paint_bird(name, int(seed))
if kind == 'garden':
    painted = paint_scene('house', size=(4000, 3000))
    painted.paste(bird.resize((500, 375), Image.Resampling.LANCZOS), (450, 2400))
else: painted = bird.resize((4000, 3000), Image.Resampling.BICUBIC)
grain = np.random.default_rng(0).normal(0, 12, (1500, 2000, 3)).repeat(2, 0).repeat(2, 1)
photo = Image.fromarray((np.asarray(painted)+grain).clip(0, 255).astype(np.uint8))
for quality in range(50, 100):
    photo.save(data := BytesIO(), 'JPEG', quality=quality)
    if data.tell() >= 2_000_000: break
Path(sys.argv[1]).write_bytes(data.getvalue())
"""

SUREST = """
from birdclf.classify import Classifier
from birdclf.find import glance
from birdclf.testing import BIRDS, paint_bird
classifier = Classifier.load()
def portrait(name, seed):
    picture = paint_bird(name, seed)
    answer, seen = classifier.classify(picture), glance(classifier.network, classifier.bundle, classifier.open(picture))[0]
    return len(seen) == 1, answer.verdict == 'sure', answer.probability, name, seed
print(*max(portrait(name, seed) for name in BIRDS for seed in range(3))[3:], sep='\\t')
"""

LEARNER = """
import sys, warnings
from pathlib import Path
warnings.simplefilter('ignore')
from fastai.vision.all import *
from birdclf.testing import paint_bird
folder, species = Path(sys.argv[1]), 74
paint_bird('Rotkehlchen').save(folder/'painted.jpg')
items = [(folder/'painted.jpg', f'species {i%species}') for i in range(2*species)]
block = DataBlock((ImageBlock, CategoryBlock), get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=RandomSplitter(seed=0),
                  item_tfms=Resize(256), batch_tfms=[*aug_transforms(size=224), Normalize.from_stats(*imagenet_stats)])
learn = vision_learner(block.dataloaders(items, bs=8, num_workers=0), resnet50, pretrained=False)
learn.export(folder/'export.pkl')
"""

FASTAI = """
import sys, warnings
warnings.simplefilter('ignore')
from fastai.vision.all import *
learn = load_learner(sys.argv[1])
def answer(photo):
    with learn.no_bar(): return learn.predict(PILImage.create(photo))
"""

OURS = """
from birdclf.classify import Classifier
answer = Classifier.load().classify
"""

WARM = """
import json, sys
from io import BytesIO
from pathlib import Path
from time import perf_counter
data, times = Path(sys.argv[2]).read_bytes(), []
for _ in range(3+int(sys.argv[3])):
    start = perf_counter()
    answer(data if 'birdclf.classify' in sys.modules else BytesIO(data))
    times.append(perf_counter()-start)
print(json.dumps(times[3:]))
"""

SAID = """
import sys
from birdclf.classify import Classifier
answer = Classifier.load().classify(sys.argv[1])
print(answer.verdict, len(getattr(answer, 'birds', ())), sep='\\t')
"""

MANY = """
import resource, sys
from itertools import cycle, islice
from birdclf.classify import Classifier
paths, n = sys.argv[2:], int(sys.argv[1])
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/(2**20 if sys.platform == 'darwin' else 2**10)
for i, answer in enumerate(Classifier.load().classify_many(islice(cycle(paths), n)), 1):
    if i == n//10: early = peak()
print(early, peak())
"""


def run(*command):
    "Seconds, peak megabytes and printed text of a process that succeeds"
    start = perf_counter()
    with TemporaryDirectory() as folder, open(Path(folder)/'out', 'w+', encoding='utf-8') as out, open(Path(folder)/'err', 'w+', encoding='utf-8') as err:
        process = subprocess.Popen([str(part) for part in command], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = perf_counter()-start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        if process.returncode: raise SystemExit(f'{command[0]} ended with {process.returncode}:\n{err.read()[-2000:]}')
        return seconds, usage.ru_maxrss/(2**20 if sys.platform == 'darwin' else 2**10), out.read()


def python(code, *arguments):
    return run(sys.executable, '-c', code, *arguments)


def cold(command, runs):
    "Median seconds and megabytes of `runs` whole processes"
    return [median(values) for values in zip(*(run(*command)[:2] for _ in range(runs)))]


def warm(code, model, photo, repeats):
    "Median milliseconds from the bytes of a photograph to the answer"
    return median(json.loads(python(code+WARM, model, photo, repeats)[2]))*1000


def make_photo(folder, kind='portrait', name='Rotkehlchen', seed=0):
    "A painted bird of 12 megapixels and 2 MB, alone or in a garden"
    photo = Path(folder)/f'{kind}.jpg'
    python(PHOTO, photo, kind, name, seed)
    return photo


def ours(photo, runs, repeats):
    "What the command `birdclf classify` and a warm classifier take"
    command = Path(sys.executable).with_name('birdclf')
    return *cold([command, 'classify', photo], runs), warm(OURS, '-', photo, repeats)


def original(folder, photo, runs, repeats):
    "What `load_learner` and `predict` take"
    python(LEARNER, folder)
    model = Path(folder)/'export.pkl'
    return *cold([sys.executable, '-c', FASTAI+'print(answer(sys.argv[2]))', model, photo], runs), warm(FASTAI, model, photo, repeats)


def many(photos, n):
    "The largest memory after a tenth of `n` photographs in one call, and after all, in megabytes"
    return [float(word) for word in python(MANY, n, *photos)[2].split()]


GOALS = {'portrait': 5, 'garden': 3}


def compare(folder, runs, repeats):
    "One table: fastai's way, and ours without finding and with it"
    photos = {kind: make_photo(folder, kind, *python(SUREST)[2].strip().split('\t')) for kind in GOALS}
    megabytes = ' and '.join(f'{photo.stat().st_size/1e6:.1f}' for photo in photos.values())
    print(f'Photographs of 12 megapixels, {megabytes} MB; {runs} processes, {repeats} warm answers; medians\n')
    print(f"{'':44}{'cold shell to answer':>20}{'peak memory':>14}{'warm answer':>14}{'fastai takes':>15}", flush=True)
    row = '{:46}{:16.2f} s{:11.0f} MB{:11.0f} ms{:>15}'
    busy = os.getloadavg()[0] if hasattr(os, 'getloadavg') else 0
    theirs = original(folder, photos['portrait'], runs, repeats)
    print(row.format('fastai: load_learner, predict, ResNet-50', *theirs, ''), flush=True)
    for kind, photo in photos.items():
        verdict, birds = python(SAID, photo)[2].strip().split('\t')
        found, measured = f'{verdict}, {birds} found' if birds != '0' else verdict, ours(photo, runs, repeats)
        ratio = theirs[-1]/measured[-1]
        print(row.format(f'birdclf classify, {kind} ({found})', *measured, f'{ratio:.1f} times'), flush=True)
        if ratio < GOALS[kind]: print(f'The goal was {GOALS[kind]} times.')
    if busy > 1: print(f'\nThis machine had other things to do (load {busy:.1f} at the start). The ratios flatter us.')
    return photos


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=5, metavar='N', help='whole processes (default: 5); the median is shown')
    parser.add_argument('--repeats', type=int, default=30, metavar='N', help='photographs in a warm process (default: 30); the median is shown')
    parser.add_argument('--many', type=int, default=200, metavar='N', help='photographs in one call (default: 200; 1000 is what was promised)')
    args = parser.parse_args()
    if min(args.runs, args.repeats) < 1 or args.many < 10: parser.error('--runs and --repeats must be at least 1, --many at least 10')
    with TemporaryDirectory() as folder:
        photos = compare(folder, args.runs, args.repeats)
        early, late = many(photos.values(), args.many)
        print(f'\n{args.many} photographs in one call: {early:.0f} MB after a tenth of them, {late:.0f} MB after all')


if __name__ == '__main__':
    main()

"""What a person must look at to find the wrong photographs, and what cleaning is worth

    python tests/benchmark_cleaning.py                      # photographs in ../shared/birds
    python tests/benchmark_cleaning.py --bundle DIR FOLDER  # with a network that has not seen those of raw_dirty

raw_dirty/ holds what a search brings, and truth.csv says what is wrong with it. Nothing here is fitted to, or chosen by, what truth.csv says: the network is
trained without every photograph that looks like one of raw_dirty (that takes a few minutes, unless --bundle names one), and what tells a
drawing from a photograph was fitted without them too:

    python tests/benchmark_cleaning.py --fit /usr/share/openclipart/png   # Debian's openclipart-png; writes birdclf/data/drawings.npz
"""
import argparse
import csv
import time
import zlib
from collections import Counter
from dataclasses import replace
from functools import partial
from io import BytesIO
from multiprocessing import Pool
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from birdclf.photo import PhotoError, open_photo

ROOT = Path(__file__).resolve().parents[1]


def truth_of(folder):
    "What truth.csv says of the files in raw_dirty"
    with open(Path(folder)/'raw_dirty'/'truth.csv', encoding='utf-8-sig', newline='') as file: return list(csv.DictReader(file))


# ---- Which photographs must not have been seen ----------------------------------------------------------------------------------

def hashes(path):
    "Perceptual hashes of a picture and of its mirror image; None if there is no picture"
    import imagehash
    try: image = open_photo(path, max_side=384).image
    except PhotoError: return None
    return [imagehash.phash(one).hash.ravel() for one in (image, ImageOps.mirror(image))]


def kept_out(folder, records, distance=10):
    "The places in `records` of all that look like a file of raw_dirty: perceptual hashes at most so many bits apart, mirrored or not"
    dirty = [Path(folder)/'raw_dirty'/row['path'] for row in truth_of(folder)]
    with Pool() as pool:
        theirs = [pair for pair in pool.map(hashes, dirty, 16) if pair]
        ours = pool.map(hashes, [record.path for record in records], 16)
    theirs = np.array([one for pair in theirs for one in pair])
    return {i for i, pair in enumerate(ours) if pair and (theirs != pair[0]).sum(1).min() <= distance}


def records_of(folder):
    "Everything in `folder` that may be trained on"
    from birdclf.folder import read_folder
    from birdclf.species import load_species
    records = read_folder(folder, load_species())
    out = kept_out(folder, records)
    print(f'{len(records):,} photographs to learn from, {len(out)} of them left out because they look like one of raw_dirty', flush=True)
    return [record for i, record in enumerate(records) if i not in out]


def measuring_bundle(folder, target):
    "A bundle whose network has not seen raw_dirty; temperature and thresholds are those of the shipped one"
    from birdclf.backbone import get_backbone
    from birdclf.bundle import load_bundle, save_bundle
    from birdclf.export import to_onnx
    from birdclf.folder import read_folder
    from birdclf.species import load_species
    from birdclf.train import Recipe, look_at, train
    recipe, species, shipped = Recipe(), load_species(), load_bundle()
    seen = look_at(read_folder(folder, species), recipe, get_backbone(recipe.backbone).load(), runs=ROOT/'runs')
    kept = {record.path for record in records_of(folder)}
    model = train(seen[np.array([record.path in kept for record in seen.records])], species, recipe)
    return save_bundle(target, model=to_onnx(model, recipe.size), card='For measuring.', name='Without raw_dirty', created='2026-11-25', species=list(species),
                       preprocessing=recipe.preprocessing(), temperature=shipped.temperature, thresholds=shipped.thresholds,
                       training=dict(photographs=len(kept)), versions={}, scores={})


def bundle_for(folder, target):
    "The bundle in `target`; it is made if there is none"
    from birdclf.bundle import load_bundle
    return load_bundle(target) if (Path(target)/'bundle.json').is_file() else measuring_bundle(folder, target)


# ---- Drawings made from photographs, and out of thin air -------------------------------------------------------------------------

def array(image): return np.asarray(image, np.float32)
def picture(values): return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def box(values, size):
    from scipy.ndimage import uniform_filter
    return uniform_filter(values, size)


def smooth(image, rng, times=2, strength=30):
    "Calm surfaces between sharp edges: a guided filter"
    values = array(image)
    for _ in range(times):
        grey, size = values.mean(2), 2*int(rng.integers(3, 8))+1
        middle = box(grey, size)
        spread, out = box(grey*grey, size)-middle**2, []
        for channel in np.moveaxis(values, 2, 0):
            slope = (box(grey*channel, size)-middle*box(channel, size))/(spread+strength**2)
            out.append(box(slope, size)*grey+box(box(channel, size)-slope*middle, size))
        values = np.stack(out, 2)
    return picture(values)


def brushed(image, radius):
    "Each pixel takes the colour of the calmest of four corners: Kuwahara's filter"
    from scipy.ndimage import shift
    values, size, step = array(image), radius+1, radius//2+1
    grey = values.mean(2)
    means, restless = box(values, (size, size, 1)), box(grey*grey, size)-box(grey, size)**2
    best = None
    for y in (-step, step):
        for x in (-step, step):
            mean, noise = shift(means, (y, x, 0), order=0, mode='nearest'), shift(restless, (y, x), order=0, mode='nearest')
            if best is None: best, calm = mean, noise
            else: best, calm = np.where((noise < calm)[..., None], mean, best), np.minimum(noise, calm)
    return picture(best)


def oval(image, rng, soft):
    "1 about the middle, 0 at the border"
    width, height = image.size
    y, x = np.mgrid[:height, :width]
    away = np.hypot((x/width-rng.uniform(.42, .58))/rng.uniform(.28, .45), (y/height-rng.uniform(.42, .6))/rng.uniform(.28, .45))
    return np.clip((1+soft-away)/(2*soft), 0, 1)[..., None]


def paper(size, rng):
    "White, or old; with a little grain, or without"
    from scipy.ndimage import gaussian_filter
    colour = np.full(3, 255.) if rng.random() < .5 else np.array([rng.uniform(225, 252), rng.uniform(215, 245), rng.uniform(185, 235)])
    sheet = np.ones((size[1], size[0], 3))*colour
    if rng.random() < .5: sheet += gaussian_filter(rng.normal(0, 1, size[::-1]), rng.uniform(.5, 2))[..., None]*rng.uniform(2, 8)
    return sheet


def poster(image, rng):
    return smooth(image, rng).quantize(int(rng.integers(6, 24)), method=Image.Quantize.MEDIANCUT, dither=0).convert('RGB')


def cartoon(image, rng):
    from scipy.ndimage import sobel
    grey = array(image.convert('L').filter(ImageFilter.GaussianBlur(1)))
    ink = np.clip((np.hypot(sobel(grey, 0), sobel(grey, 1))-60)/60, 0, 1)
    return picture(array(poster(image, rng))*(1-.9*ink[..., None]))


def pencil(image, rng):
    grey = image.convert('L')
    blurred = array(ImageOps.invert(grey).filter(ImageFilter.GaussianBlur(float(rng.uniform(2, 8)))))
    lines = np.clip(array(grey)*255/(256-blurred), 0, 255)
    lines = 255-(255-lines)*(oval(image, rng, .5)[..., 0] if rng.random() < .5 else 1)
    return picture(lines[..., None]*np.array([1, rng.uniform(.92, 1), rng.uniform(.8, 1)]))


def water_colour(image, rng):
    values = array(brushed(image, int(rng.integers(2, 5))) if rng.random() < .5 else smooth(image, rng, 1, 25))
    shape, sheet = oval(image, rng, rng.uniform(.05, .4)), paper(image.size, rng)
    values = 255-(255-values)*rng.uniform(.6, 1)
    return picture(np.minimum(values, sheet)*shape*.9+sheet*(1-shape*.9) if rng.random() < .5 else values*shape+sheet*(1-shape))


def plate(image, rng):
    "What has the colour of the border becomes paper"
    from scipy.ndimage import gaussian_filter
    values = array(brushed(image, 3))
    border = np.median(np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]), 0)
    shape = gaussian_filter(np.clip((np.sqrt(((values-border)**2).sum(2))-rng.uniform(30, 70))/20, 0, 1), 1)[..., None]
    return picture(values*shape+paper(image.size, rng)*(1-shape))


def oil(image, rng):
    from PIL import ImageEnhance
    return ImageEnhance.Color(brushed(image, int(rng.integers(3, 8)))).enhance(float(rng.uniform(1, 1.6)))


def icon(image, rng):
    shape = oval(image, rng, .02) > .5
    return picture(np.where(shape, array(poster(image, rng)), 255. if rng.random() < .6 else rng.uniform(0, 255, 3)))


HEATS = [np.array(colours, float) for colours in (
    [(0, 0, 0), (120, 20, 110), (250, 120, 60), (255, 255, 200)], [(68, 1, 84), (49, 104, 142), (53, 183, 121), (253, 231, 37)], [(0, 0, 0), (255, 255, 255)],
    [(255, 255, 255), (0, 0, 0)], [(0, 0, 60), (0, 120, 255), (255, 255, 0), (255, 0, 0)], [(0, 0, 0), (0, 200, 60), (220, 255, 220)])]


def spectrogram(rng):
    "A song that nobody sings"
    from scipy.ndimage import gaussian_filter
    height, width = int(rng.integers(150, 320)), 384
    time, tone, sound = np.arange(width), np.arange(height)[:, None], np.zeros((height, width))
    for _ in range(int(rng.integers(5, 40))):
        start, long = rng.uniform(0, width), rng.uniform(3, 80)
        line = rng.uniform(.1, .9)*height+rng.uniform(-3, 3)*(time-start)+rng.uniform(0, 20)*np.sin((time-start)/rng.uniform(2, 15))
        for overtone in range(int(rng.integers(1, 4))):
            heard = (time > start) & (time < start+long)
            sound += heard*np.exp(-((tone-line*(1+overtone*.5))/rng.uniform(1, 5))**2)*rng.uniform(.4, 1)/(1+overtone)
    sound = gaussian_filter(sound, .8)+np.abs(rng.normal(0, rng.uniform(.02, .2), sound.shape))*np.linspace(.4, 1.5, height)[:, None]
    heat = HEATS[rng.integers(len(HEATS))]
    level = np.clip(sound, 0, 1)[::-1]*(len(heat)-1)
    values = np.stack([np.interp(level, np.arange(len(heat)), heat[:, i]) for i in range(3)], 2)
    if rng.random() > .4: return picture(values)
    page = np.full((height+50, width+60, 3), 255.)
    page[15:15+height, 45:45+width] = values
    for i in range(6): page[15+i*height//6:17+i*height//6, 38:45] = page[15+height:22+height, 45+i*width//6:47+i*width//6] = 0
    return picture(page)


def stars(rng):
    "A constellation that nobody has named"
    height, width, night = int(rng.integers(240, 384)), 384, rng.random() < .85
    image = Image.new('RGB', (width, height), tuple(int(x) for x in (rng.uniform(0, 20), rng.uniform(0, 25), rng.uniform(0, 70))) if night else 'white')
    draw, line = ImageDraw.Draw(image), tuple(int(x) for x in rng.uniform(120, 255, 3)) if night else (60, 60, 60)
    figure = [(rng.uniform(10, width-10), rng.uniform(10, height-10)) for _ in range(int(rng.integers(5, 14)))]
    for one, other in zip(figure, figure[1:]): draw.line([one, other], fill=line, width=int(rng.integers(1, 3)))
    for x, y in figure+[(rng.uniform(0, width), rng.uniform(0, height)) for _ in range(int(rng.integers(0, 200)))]:
        size = rng.exponential(1.2)
        draw.ellipse([x-size, y-size, x+size, y+size], fill='white' if night else 'black')
    return image


def on_a_page(cut, rng, photographs):
    "A cut-out picture on white, on a colour, or on a painted photograph"
    cut = cut.convert('RGBA')
    cut = cut.crop(cut.getbbox())
    size = (384, int(rng.integers(256, 385)))[::1 if rng.random() < .5 else -1]
    scale = rng.uniform(.6, .98)*min(size[0]/cut.width, size[1]/cut.height)
    cut = cut.resize([max(1, int(side*scale)) for side in cut.size], Image.Resampling.LANCZOS)
    where = rng.random()
    if where < .75: page = Image.new('RGB', size, 'white' if where < .55 else tuple(int(x) for x in rng.uniform(0, 255, 3)))
    else: page = oil(ImageOps.fit(open_photo(photographs[rng.integers(len(photographs))]).image, size).filter(ImageFilter.GaussianBlur(3)), rng)
    page.paste(cut, [(a-b)//2 for a, b in zip(size, cut.size)], cut)
    return page


FROM_PHOTOGRAPHS = {f.__name__: f for f in (poster, cartoon, pencil, water_colour, plate, oil, icon)}
FROM_NOTHING = {f.__name__: f for f in (spectrogram, stars)}


def draw(job):
    "One drawing, as it would come out of a JPEG file"
    kind, path, seed, photographs = job
    rng = np.random.default_rng(seed)
    if kind in FROM_NOTHING: image = FROM_NOTHING[kind](rng)
    elif kind in FROM_PHOTOGRAPHS: image = FROM_PHOTOGRAPHS[kind](open_photo(path).image, rng)
    else:
        with Image.open(path) as file:
            file.thumbnail((1500, 1500))
            image = on_a_page(file, rng, photographs)
    data = BytesIO()
    image.save(data, 'JPEG', quality=int(rng.integers(60, 96)))
    image = Image.open(data).convert('RGB')
    image.thumbnail((384, 384))
    return image


def traits_of_drawing(job):
    from birdclf.looks import traits
    return traits(draw(job))


def traits_of_file(path):
    from birdclf.looks import traits
    return traits(open_photo(path, max_side=1152, min_side=288).image)


def drawing_jobs(records, clip_art):
    "Kind, file and seed of every drawing to be made"
    from birdclf.folder import NOT_BIRD
    rng, birds = np.random.default_rng(1), [record.path for record in records if record.species != NOT_BIRD]
    jobs = [(kind, birds[i]) for kind in FROM_PHOTOGRAPHS for i in rng.choice(len(birds), 150, replace=False)]
    jobs += [(kind, '') for kind in FROM_NOTHING for _ in range(100)]
    clip_art = Path(clip_art)
    animals = sorted((clip_art/'animals').rglob('*.png'))
    jobs += [('clip_bird' if 'birds' in path.parts else 'clip_animal', path) for path in animals]
    jobs += [('clip_bird', path) for path in animals if 'birds' in path.parts]*2
    others = [path for kind in ('plants', 'people', 'food', 'education', 'recreation', 'geography') for path in sorted((clip_art/kind).rglob('*.png'))]
    jobs += [('clip_other', others[i]) for i in rng.choice(len(others), min(200, len(others)), replace=False)]
    pages = [birds[i] for i in rng.choice(len(birds), 200, replace=False)]
    return [(kind, path, seed, pages) for seed, (kind, path) in enumerate(jobs)]


# ---- Fitting what tells a drawing from a photograph -------------------------------------------------------------------------------

FAMILIES = [{'sign_or_drawing'}, {'drawing_plants_fish'}, {'poster', 'cartoon', 'icon'}, {'oil', 'water_colour', 'plate'}, {'pencil'}, {'spectrogram'}, {'stars'},
            {'clip_bird', 'clip_animal', 'clip_other'}]
REAL = 'sign_or_drawing', 'drawing_plants_fish', 'clip_bird', 'clip_animal', 'clip_other' # Drawn by people


def part_of(key, parts=5): return zlib.crc32(str(key).encode())%parts


def fit_halves(drawings, kinds, others, good):
    "The two halves: how like drawings, how unlike photographs. `good` marks the photographs of birds among `others`, which are all no drawings"
    from birdclf.suspect import bell_shaped
    from sklearn.svm import SVC
    order = (np.arange(64)+.5)/64
    steps = np.quantile(others[good], order, axis=0)+np.arange(64)[:, None]*1e-6
    there, here = bell_shaped(drawings, steps), bell_shaped(others, steps)
    middle = here[good].mean(0)
    stretch = np.linalg.inv(np.cov(here[good].T, bias=True)+.01*np.eye(len(middle)))
    many = Counter(kinds)
    weights = np.array([many[kind]**-.5 for kind in kinds])
    weights *= .5*len(others)/weights.sum()
    machine = SVC(C=10, gamma=.01).fit(np.concatenate([there, here]), np.repeat([1, 0], [len(there), len(here)]), sample_weight=np.r_[weights, np.ones(len(here))])
    unit = np.abs(machine.support_vectors_).max()/127
    return dict(steps=steps.astype(np.float32), middle=middle.astype(np.float32), stretch=stretch.astype(np.float32), narrow=np.float32(.01),
                supports=np.round(machine.support_vectors_/unit).astype(np.int8), unit=np.float32(unit), votes=machine.dual_coef_[0].astype(np.float32), bias=np.float32(machine.intercept_[0]))


def both(traits, numbers):
    from birdclf.suspect import _like_drawings, _unlike_photographs, bell_shaped
    place = bell_shaped(traits, numbers['steps'])
    return np.stack([_like_drawings(place, numbers), _unlike_photographs(place, numbers)], 1)


def left_out(drawings, kinds, keys, others, good, groups):
    "The two halves for everything, by numbers fitted without it: drawings once without their kind and once without their fifth, the others without their source"
    strange, familiar, rest = (np.zeros((len(x), 2)) for x in (drawings, drawings, others))
    fifth, source = np.array([part_of(key) for key in keys]), np.array([part_of(group) for group in groups])
    for k in range(5):
        numbers = fit_halves(drawings[fifth != k], kinds[fifth != k], others[source != k], good[source != k])
        rest[source == k], familiar[fifth == k] = both(others[source == k], numbers), both(drawings[fifth == k], numbers)
    for family in FAMILIES:
        theirs = np.isin(kinds, list(family))
        if theirs.any(): strange[theirs] = both(drawings[theirs], fit_halves(drawings[~theirs], kinds[~theirs], others, good))
    return strange, familiar, rest


FOUND = REAL[:2] # As whole pictures: the others are cut out, and the page around them is ours


def squares(records):
    "How many drawings, each kind as much as the other, and photographs of our birds are square; by Laplace's rule"
    from birdclf.folder import NOT_BIRD
    kinds = {kind: [r for r in records if r.group.split('/')[-1] == kind] for kind in FOUND}
    photographs = [r for r in records if r.species != NOT_BIRD and 'species' in r.path.parts]

    def share(some):
        sizes = [Image.open(record.path).size for record in some]
        return (1+sum(abs(width-height) <= .01*max(width, height) for width, height in sizes))/(2+len(sizes))
    return np.array([np.mean([share(some) for some in kinds.values()]), share(photographs)], np.float32)


def fit_drawings(folder, clip_art, target):
    "Write the numbers that `birdclf.suspect` tells drawings by"
    from birdclf.folder import NOT_BIRD
    from birdclf.looks import TRAITS
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    records, folder = records_of(folder), Path(folder)
    drawn_here = np.array([record.group.split('/')[-1] in REAL for record in records])
    jobs = drawing_jobs(records, clip_art)
    with Pool() as pool:
        seen = np.array(pool.map(traits_of_file, [record.path for record in records], 16))
        made = np.array(pool.map(traits_of_drawing, jobs, 16))
    print(f'{len(jobs):,} drawings made, {drawn_here.sum()} found', flush=True)
    drawings = np.concatenate([seen[drawn_here], made])
    kinds = np.array([record.group.split('/')[-1] for record, it in zip(records, drawn_here) if it]+[job[0] for job in jobs])
    keys = [record.path.name for record, it in zip(records, drawn_here) if it]+[f'{Path(job[1]).name}' if job[1] else job[2] for job in jobs]
    others, rest = seen[~drawn_here], [record for record, it in zip(records, drawn_here) if not it]
    good, species = (np.array([test(record) for record in rest]) for test in (lambda r: r.species != NOT_BIRD, lambda r: '/' not in r.group or 'species' in r.path.parts))
    strange, familiar, plain = left_out(drawings, kinds, keys, others, good, [record.group for record in rest])
    own = good & species
    real = np.isin(kinds, REAL)
    share = np.array([.4/len(REAL)/(kinds == kind).sum() for kind in kinds[real]]) # Two drawings for five photographs
    inputs = np.concatenate([strange[real], familiar[real], plain[own]])
    answers = np.repeat([1, 0], [2*real.sum(), own.sum()])
    weights = np.concatenate([share/2, share/2, np.full(own.sum(), 1/own.sum())])*1000
    halves = [LogisticRegression(C=10).fit(inputs[:, [i]], answers, sample_weight=weights) for i in (0, 1)]
    slope, offset = (np.array([getattr(half, name).item() for half in halves], np.float32) for name in ('coef_', 'intercept_'))

    def together(two): return (1+np.exp(two*slope+offset)).prod(1) # 1/(1-p), which has the same order
    learned = []
    for kind in dict.fromkeys(kinds):
        figures = [roc_auc_score(np.r_[np.zeros(own.sum()), np.ones((kinds == kind).sum())], together(np.r_[plain[own], x[kinds == kind]])) for x in (strange, familiar)]
        learned.append(((kinds == kind).sum(), *figures))
        print(f'  {kind:20} {learned[-1][0]:5}  told from photographs of birds (AUROC): by what never met the kind {figures[0]:.3f}, by what did {figures[1]:.3f}')
    numbers = fit_halves(drawings, kinds, others, good)
    numbers |= dict(names=np.array(TRAITS), kinds=np.array(list(dict.fromkeys(kinds))), learned=np.array(learned, np.float32), photographs=np.int32(own.sum()), weights=slope, offsets=offset, square=squares(records), blurred=np.float32(np.quantile(others[own][:, TRAITS.index('sharpest')], .01)))
    np.savez_compressed(target, **numbers)
    print(f'{target}: {Path(target).stat().st_size/1000:.0f} kB, {len(numbers["votes"])} support vectors, weights {slope.round(2)}, offsets {offset.round(2)}')


# ---- The orders in which a person could look ---------------------------------------------------------------------------------------

def verified(folder, place, classifier):
    "A manifest in `place` with the files of raw_dirty, verified, and what truth.csv says by row"
    from birdclf.manifest import Manifest, Row
    from birdclf.species import load_species
    from birdclf.verify import verify
    from tqdm import tqdm
    species, truth, rows = load_species(), {}, []
    for number, said in enumerate(truth_of(folder)):
        path = (Path(folder)/'raw_dirty'/said['path']).resolve()
        rows.append(Row(species.find(said['path'].split('/')[0]).scientific, 'raw_dirty', str(number), creator=said['source_repo'], path=str(path), status='downloaded', license='by', license_version='4.0'))
        truth[rows[-1].id] = said
    manifest = Manifest(place, write=True)
    manifest.add(rows)
    print(verify(manifest, classifier, bar=partial(tqdm, disable=None)), flush=True)
    return manifest, truth


class Measured:
    "The photographs that are left when copies and what is no image are gone: what is known of each, and whether it is wrong"
    def __init__(self, folder, bundle):
        from birdclf.classify import Classifier
        from birdclf.looks import Looks, model_of
        from birdclf.suspect import gather_evidence, suspect
        self.folder = Path(folder)
        classifier = Classifier(bundle)
        with TemporaryDirectory() as place:
            started = time.monotonic()
            manifest, truth = verified(folder, place, classifier)
            with manifest:
                print(suspect(manifest, classifier), flush=True)
                self.seconds = time.monotonic()-started
                self.every, self.truth = list(manifest.rows()), truth
            self.rows = [row for row in self.every if row.status == 'verified' and truth[row.id]['label'] in ('ok', 'wrong')]
            alone = [replace(row, duplicate_group='') for row in self.rows]
            with Looks(place, model_of(bundle)) as looks:
                self.evidence, self.seen = gather_evidence(alone, looks, bundle), looks.get([row.sha256 for row in self.rows])
        said = [truth[row.id] for row in self.rows]
        self.wrong = np.array([one['label'] == 'wrong' for one in said])
        self.kinds = np.array([kind_of(one) for one in said])
        self.paths = [self.folder/'raw_dirty'/one['path'] for one in said]
        self.score = np.array([row.score for row in self.rows])


def kind_of(said):
    "What truth.csv calls wrong with a photograph, in a few words"
    if said['label'] != 'wrong': return 'good'
    reason = said['reason']
    if reason.startswith(('look-alike', 'other species')): return 'another bird'
    return {'person ("star")': 'a person under "Star"', 'sign/drawing': 'a sign', 'star constellation picture': 'a constellation under "Star"'}.get(reason, reason)


def linear(C=1.): # A layer on top of vectors of length 1
    from sklearn.linear_model import LogisticRegression
    return LogisticRegression(C=C, max_iter=1000)


def fair_folds(labels, parts=5, seed=0):
    "A part for each photograph, birds spread over the parts; a bird with one photograph is in one part, and unknown there"
    rng, part = np.random.default_rng(seed), np.zeros(len(labels), int)
    for label in np.unique(labels):
        here = rng.permutation(np.flatnonzero(labels == label))
        part[here] = (np.arange(len(here))+rng.integers(parts)) % parts
    return part


def of_length_1(vectors): return vectors/np.linalg.norm(vectors, axis=1, keepdims=True)


def out_of_sample(vectors, labels):
    "Probabilities by five probes, each asked about the fifth that it has not seen"
    found, part = np.full((len(labels), labels.max()+1), 1e-6), fair_folds(labels)
    for k in range(5):
        machine = linear(100).fit(vectors[part != k], labels[part != k])
        found[np.ix_(part == k, machine.classes_)] = machine.predict_proba(vectors[part == k])
    return found/found.sum(1, keepdims=True)


def cleanvision_order(paths):
    "The worst of cleanvision's checks for each file"
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO
    from cleanvision import Imagelab
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        lab = Imagelab(filepaths=[str(path) for path in paths])
        lab.find_issues({kind: {} for kind in ('dark', 'light', 'blurry', 'low_information', 'odd_aspect_ratio', 'odd_size', 'grayscale')}, n_jobs=1)
    scores = lab.issues.loc[[str(path) for path in paths], [name for name in lab.issues if name.endswith('_score')]]
    return 1-scores.to_numpy(float).min(1)


def orders(measured):
    "Name -> how suspicious each photograph is"
    from birdclf.suspect import alone, drawn, scores
    from cleanlab.outlier import OutOfDistribution
    from cleanlab.rank import get_label_quality_scores
    e, here = measured.evidence, np.arange(len(measured.rows))
    vectors, labels = of_length_1(np.float64(measured.seen.embedding)), e.labels
    inside = linear(100).fit(vectors, labels).predict_proba(vectors)[here, labels]
    outside = out_of_sample(vectors, labels)
    network = e.network.bird*e.network.known*e.network.species[here, e.place]
    odd = OutOfDistribution(params={'k': 5}).fit_score(features=vectors, verbose=False)
    return {"fastai's ImageClassifierCleaner (loss)": 1-inside,
            'probe, out of sample': 1-outside[here, labels],
            "the same, and the network's opinion": -np.log(outside[here, labels])-np.log(network+1e-9),
            'cleanlab: label quality': 1-get_label_quality_scores(labels, outside),
            'cleanlab: out of distribution': 1-odd,
            'cleanvision: worst of its checks': cleanvision_order(measured.paths),
            'ours': measured.score,
            'ours, if nobody said where a picture is from': alone(e),
            'the same, and not whether it is square': alone(replace(e, drawn=drawn(measured.seen.traits))),
            'ours, without traits': scores(replace(e, drawn=np.zeros_like(e.drawn))),
            'ours, if the network knew none of the birds': scores(replace(e, place=np.full_like(e.place, -1))),
            'only the traits': e.drawn,
            'a perfect order': measured.wrong.astype(float)}


def effort(score, wrong, share=.95):
    "The share of all photographs that must be looked at to find `share` of the wrong ones"
    found = np.cumsum(wrong[np.argsort(-score, kind='stable')])
    return (np.searchsorted(found, np.ceil(share*wrong.sum()))+1)/len(wrong)


def auroc(score, wrong):
    from scipy.stats import rankdata
    ranks, n = rankdata(score), wrong.sum()
    return (ranks[wrong].sum()-n*(n+1)/2)/(n*(len(wrong)-n))


def with_interval(figure, score, wrong, times=1000):
    "A figure, and where it lies in 95 % of the samples of as many photographs, drawn with replacement"
    rng = np.random.default_rng(0)
    found = []
    for _ in range(times):
        some = rng.integers(0, len(wrong), len(wrong))
        found.append(figure(score[some]+1e-9*rng.random(len(some)), wrong[some])) # The same photograph twice has no order
    return (figure(score, wrong), *np.quantile(found, [.025, .975]))


def table_of_orders(measured, found):
    lines = [f'{len(measured.rows)} photographs, {measured.wrong.sum()} of them wrong; intervals hold 95 %, by resampling photographs.', '',
             '| order | to look at for 95 % | | AUROC | |', '| --- | --- | --- | --- | --- |', '| any | 95 % | | 0.500 | |']
    for name, score in found.items():
        (share, a, b), (area, c, d) = (with_interval(figure, score, measured.wrong) for figure in (effort, auroc))
        lines.append(f'| {name} | {100*share:.0f} % | {100*a:.0f} to {100*b:.0f} % | {area:.3f} | {c:.3f} to {d:.3f} |')
    return '\n'.join(lines)


def table_of_kinds(measured, found, names=('fastai\'s ImageClassifierCleaner (loss)', 'cleanlab: label quality', 'ours, without traits', 'ours'), share=.6):
    "How many of each kind are found by whoever looks at the first 60 %"
    lines = ['| what is wrong | photographs | '+' | '.join(names)+' |', '| --- | --- |'+' --- |'*len(names)]
    for kind, n in Counter(measured.kinds.tolist()).most_common():
        first = [np.argsort(-found[name], kind='stable')[:int(share*len(measured.rows))] for name in names]
        lines.append(f'| {kind} | {n} | '+' | '.join(str((measured.kinds[some] == kind).sum()) for some in first)+' |')
    return '\n'.join(lines)


PLUMAGES = {'female': 'female', 'samice': 'female', 'juv': 'young', 'mlad': 'young', 'young': 'young', 'immature': 'young', 'winter': 'in winter', 'chick': 'chick'}


def rare_plumages(measured):
    "Good photographs of birds that do not look like the male in spring: file, plumage, and what was said"
    lines, count = [], 0
    for row, wrong in zip(measured.rows, measured.wrong):
        said = measured.truth[row.id]
        plumage = next((name for word, name in PLUMAGES.items() if word in said['source_path'].lower()), None)
        if wrong or not plumage: continue
        count += 1
        if row.score > .5: lines.append(f"- {said['path']}, {plumage}, score {row.score:.2f}: {row.suspicions or 'no reason given'}")
    return f'{len(lines)} of {count} good photographs of females, young birds and winter plumages have a score above 0.5:\n'+'\n'.join(lines)


# ---- What cleaning is worth ---------------------------------------------------------------------------------------------------------

def worth(measured):
    """Which clean photographs from other sources a probe names, after it was trained on raw_dirty cleaned this far;
    the source of each of them, and its row in the table of all photographs"""
    from birdclf.backbone import get_backbone
    from birdclf.folder import Record, read_folder, read_metadata
    from birdclf.species import load_species
    from birdclf.train import Recipe, look_at
    species, folder, recipe = load_species(), measured.folder, replace(Recipe(), views=Recipe().views[:1])
    said = [(row, measured.truth[row.id]) for row in measured.every if row.status == 'verified']
    sources = {one['source_repo'] for _, one in said if one['source_repo']}
    birds = {species.find(one['path'].split('/')[0]).german for _, one in said}
    every = read_folder(folder, species)
    out = kept_out(folder, every)
    clean = [r for i, r in enumerate(every) if i not in out and r.species in birds and r.group not in sources]
    dirty = [Record(folder/'raw_dirty'/one['path'], species.find(one['path'].split('/')[0]).german, '') for _, one in said]
    network = get_backbone(recipe.backbone).load()
    learn, test = (of_length_1(look_at(records, recipe, network).embeddings.mean(1)) for records in (dirty, clean))
    label, groups = np.array([r.species for r in dirty]), np.array([r.group for r in clean])
    best = np.array([row.duplicate_group in ('', row.id) for row, _ in said])
    good = np.array([one['label'] == 'ok' or one['label'] == 'duplicate_of' for _, one in said])
    right = good | np.array([one['reason'] in ('drawing', 'AI-generated image', 'AI-generated or drawn icon') for _, one in said]) # The right bird, drawn
    calm = np.array([row.score <= .5 for row, _ in said])
    relabelled = label.copy()
    for i, (_, one) in enumerate(said):
        if one['label'] != 'wrong': continue
        try: relabelled[i], good[i] = species.find(one['true_content']).german, True
        except ValueError: pass
    print(f'{len(clean)} clean photographs of {len({r.species for r in clean})} birds from {len(set(groups))} sources; probes on what is left of {len(said)} files')
    answers, truth = {}, np.array([r.species for r in clean])
    for name, use, labels in (('as it is', np.ones(len(said), bool), label), ('after the automatic part: copies and non-images gone', best, label),
                              ('the same, and everything suspicious thrown away unseen', best & calm, label),
                              ('the automatic part, and the decisions of truth.csv', best & good, relabelled),
                              ('the same, but drawings of the right bird stay', best & right, relabelled)):
        answers[name] = use.sum(), linear(100).fit(learn[use], labels[use]).predict(test) == truth
    row_of = {folder/path: row for row, path in enumerate(read_metadata(folder))}
    return answers, groups, np.array([row_of[r.path] for r in clean])


def with_gains(answers, groups, times=2000):
    "For each, photographs, the share named right, and the difference to the first on the same sources, each with an interval by resampling these"
    rng, names = np.random.default_rng(0), np.unique(groups)
    places, first = [np.flatnonzero(groups == name) for name in names], next(iter(answers.values()))[1]
    picks = [np.concatenate([places[i] for i in rng.integers(0, len(names), len(names))]) for _ in range(times)]
    for name, (n, right) in answers.items():
        a, b = np.quantile([right[pick].mean() for pick in picks], [.025, .975])
        c, d = np.quantile([right[pick].mean()-first[pick].mean() for pick in picks], [.025, .975])
        yield name, n, (right.mean(), a, b), (right.mean()-first.mean(), c, d)


def table_of_worth(answers, groups):
    lines = ['| trained on raw_dirty | photographs | named right | | better than as it is | |', '| --- | --- | --- | --- | --- | --- |']
    for name, n, (share, a, b), (gain, c, d) in with_gains(answers, groups):
        lines.append(f'| {name} | {n} | {100*share:.1f} % | {100*a:.1f} to {100*b:.1f} % | {100*gain:+.1f} | {100*c:+.1f} to {100*d:+.1f} |')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', default=ROOT.parent/'shared'/'birds', type=Path, metavar='FOLDER', help='photographs (default: ../shared/birds)')
    parser.add_argument('--bundle', type=Path, metavar='DIR', help='a bundle whose network has not seen those of raw_dirty; it is made there if there is none')
    parser.add_argument('--fit', type=Path, metavar='CLIPART', help='fit birdclf/data/drawings.npz anew, also on the clip art in this folder, and measure nothing')
    args = parser.parse_args()
    if not (args.folder/'raw_dirty'/'truth.csv').is_file(): parser.error(f'there is no raw_dirty/truth.csv in {args.folder}')
    if args.fit: return fit_drawings(args.folder, args.fit, ROOT/'birdclf'/'data'/'drawings.npz')
    with TemporaryDirectory() as place: bundle = bundle_for(args.folder, args.bundle or Path(place)/'bundle')
    measured = Measured(args.folder, bundle)
    found = orders(measured)
    print('\n'+table_of_orders(measured, found), end='\n\nFound in the first 60 %:\n\n')
    print(table_of_kinds(measured, found), end='\n\n')
    print(rare_plumages(measured), end='\n\n')
    print(table_of_worth(*worth(measured)[:2]))


if __name__ == '__main__':
    main()

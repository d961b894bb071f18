"""How long an archive takes: `birdclf classify FOLDER --into FILE`, a few files in one process and in several, and all of them shot in the middle.

    .venv/bin/python tests/benchmark_archive.py --files 10000 --workers 2

The photographs are painted, of 12 megapixels, four of them under many names (a file system that has no links gets copies). What is
said is that of whole commands, from a shell that has nothing loaded to the last line: answers a second, those of each process, and
the largest memory of all processes together, in which what they share is counted once (PSS; Linux alone).
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

import numpy as np
import psutil
from PIL import Image

from birdclf.testing import paint_bird

BIRDCLF = Path(sys.executable).with_name('birdclf')


def paint(folder, files):
    "So many photographs, in folders of a thousand"
    folder.mkdir(exist_ok=True)
    grain = np.random.default_rng(0).normal(0, 12, (1500, 2000, 3)).repeat(2, 0).repeat(2, 1)
    for n, name in enumerate(('Rotkehlchen', 'Amsel', 'Blaumeise', 'Weißstorch')):
        large = np.asarray(paint_bird(name, seed=n).resize((4000, 3000)))+grain
        Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(folder/f'{n}.jpg', quality=76)
    for n in range(files):
        place = folder/'shelf'/f'{n//1000:03}'/f'{n:06}.jpg'
        place.parent.mkdir(parents=True, exist_ok=True)
        try: os.link(folder/f'{n%4}.jpg', place)
        except OSError: shutil.copy(folder/f'{n%4}.jpg', place)


def megabytes(process):
    "Of all its processes together; 0 if they have just ended"
    try: return sum(one.memory_full_info().pss for one in [process, *process.children(recursive=True)])/2**20
    except (psutil.Error, AttributeError): return 0


def answer(folder, into, workers, until=None):
    "Seconds and the largest memory of one command; `until` so many lines, and then it is shot"
    started, largest = perf_counter(), 0
    process = psutil.Popen([BIRDCLF, 'classify', 'shelf', '--into', into, '--workers', str(workers)], cwd=folder, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        largest = max(largest, megabytes(process))
        if until and into.exists() and into.read_bytes().count(b'\n') >= until: process.kill()
        sleep(1)
    return perf_counter()-started, largest


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--files', type=int, default=400)
    parser.add_argument('--workers', type=int, default=2)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        folder = Path(folder)
        few = min(asked.files, 400)
        paint(folder/'few', few)
        for workers in dict.fromkeys((1, asked.workers)):
            into = folder/f'{workers}.jsonl'
            tell(few, workers, *answer(folder/'few', into, workers))
        paint(folder/'all', asked.files)
        shot = folder/'shot.jsonl'
        before, most = answer(folder/'all', shot, asked.workers, until=asked.files//2)
        kept = shot.read_bytes().count(b'\n')
        after, largest = answer(folder/'all', shot, asked.workers)
        tell(asked.files, asked.workers, before+after, max(most, largest))
        said, whole = said_in(shot), said_in(into)
        same = len(said) == asked.files and all(answers == whole[f'{int(name)%4:06}'] for name, answers in said.items())
        print(f'shot after {kept:,}, the rest took {after:,.0f} s; {"every file has its answer, once" if same else "OTHER ANSWERS"}')


def tell(files, workers, seconds, largest):
    print(f'{files:,} files, {workers} processes: {seconds:,.0f} s, {files/seconds:.1f} a second, {files/seconds/workers:.1f} from each, {largest:,.0f} MB', flush=True)


def said_in(path):
    "The answers in a file, by the name of the photograph"
    lines = [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]
    return {Path(line.pop('file')).stem: line for line in lines}


if __name__ == '__main__': main()

"""How fast photographs come, and what is lost on the way: the loop of the project that this one follows, icrawler, img2dataset, and ours.

All of them get the same list: real photographs on sixteen hosts of a local server that thinks for a tenth of a second about each
request, and for each host four addresses with bad manners: not there, a page of HTML, half a picture, and broken at the first attempt
only. Every figure is that of a whole process, as a person meets it. The others need a Python that has them: pip install icrawler img2dataset.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from time import perf_counter, sleep

import psutil
from PIL import Image

from birdclf.catalogue import catalogue
from birdclf.species import load_species

HOSTS, LATENCY = 16, .1
MANNERS = 'missing', 'html', 'half', 'broken-once'

ORIGINAL = """
import sys
from pathlib import Path
import requests
for i, url in enumerate(Path(sys.argv[1]).read_text().split()):
    try:
        answer = requests.get(url, timeout=10)
        Path(sys.argv[2], f'{i}.jpg').write_bytes(answer.content)
    except Exception: continue
"""

# Its own downloader with its queue filled beforehand: its crawler would wait five more seconds at the end
ICRAWLER = """
import logging, sys
from pathlib import Path
from icrawler import ImageDownloader
from icrawler.builtin.urllist import UrlListCrawler
from icrawler.utils import CachedQueue
urls = Path(sys.argv[1]).read_text().split()
crawler = UrlListCrawler(downloader_cls=ImageDownloader, downloader_threads=int(sys.argv[3]), storage=dict(backend='FileSystem', root_dir=sys.argv[2]), log_level=logging.CRITICAL)
crawler.downloader.in_queue = CachedQueue()
for url in urls: crawler.downloader.in_queue.put({'file_url': url})
crawler.signal.set(parser_exited=True)
crawler.downloader.start(queue_timeout=.05, max_num=0, req_timeout=10)
for worker in crawler.downloader.workers: worker.join()
"""

IMG2DATASET = """
import os, sys
os.environ['NO_ALBUMENTATIONS_UPDATE'] = '1'
from img2dataset import download
if __name__ == '__main__':
    n = len(open(sys.argv[1]).read().split())
    download(url_list=sys.argv[1], input_format='txt', output_folder=sys.argv[2], output_format='files', processes_count=2, thread_count=32, timeout=10, retries=1,
             resize_mode='no', disable_all_reencoding=True, extract_exif=False, compute_hash=None, number_sample_per_shard=-(-n//2), enable_wandb=False, incremental_mode='incremental')
"""

OURS = """
import sys
from pathlib import Path
from birdclf.download import careful_web, download
from birdclf.manifest import Manifest, Row
from tqdm import tqdm
urls = Path(sys.argv[1]).read_text().split()
with Manifest(sys.argv[2], write=True) as manifest:
    manifest.add(Row('Turdus merula', 'benchmark', url, file_url=url, license='by') for url in urls)
    print(download(manifest, careful_web('tests@example.org', trusted=('127.0.0.0/8',)), bar=lambda **options: tqdm(**options, disable=True)))
    print(manifest.count('status'), sum(manifest.count().values()), 'rows')
"""

MANY = """
import sys
from birdclf.download import careful_web, download
from birdclf.manifest import Manifest, Row
from tqdm import tqdm
urls = (line.strip() for line in open(sys.argv[1]))
with Manifest(sys.argv[2], write=True) as manifest:
    manifest.add(Row('Turdus merula', 'benchmark', str(n), file_url=url, license='by') for n, url in enumerate(urls))
    print(download(manifest, careful_web('tests@example.org', trusted=('127.0.0.0/8',)), bar=lambda **options: tqdm(**options, disable=True)))
"""


class Server:
    "The replay server, in a process of its own"
    def __init__(self, *options): self.options = options

    def __enter__(self):
        command = [sys.executable, '-m', 'birdclf.replay', '--hosts', str(HOSTS+1), '--latency', str(LATENCY), *map(str, self.options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().strip().rpartition(':')[2])
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)

    def address(self, i, path): return f'http://127.0.0.{2+i%HOSTS}:{self.port}/{path}'


def run(code, *arguments, python=sys.executable):
    "Seconds, CPU seconds, peak megabytes (children included) and text of a process that succeeds"
    with TemporaryDirectory() as folder:
        script, out = Path(folder)/'script.py', Path(folder)/'out'
        script.write_text(code, encoding='utf-8')
        with open(out, 'w', encoding='utf-8') as file:
            start = perf_counter()
            process = psutil.Popen([python, str(script), *map(str, arguments)], stdout=file, stderr=file)
            peak = [0]
            watcher = Thread(target=watch, args=(process, peak), daemon=True)
            watcher.start()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = perf_counter()-start
        text = out.read_text(encoding='utf-8', errors='replace')
        if os.waitstatus_to_exitcode(status): raise SystemExit(f'A process failed:\n{text[-3000:]}')
        return seconds, usage.ru_utime+usage.ru_stime, max(peak[0]/2**20, usage.ru_maxrss/2**10), text


def watch(process, peak):
    "Note the memory of a process and its children ten times a second"
    while True:
        try: peak[0] = max(peak[0], sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]))
        except psutil.Error:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE: return
        sleep(.1)


def address_list(server, n):
    "Addresses of `n` photographs, and of what has bad manners, well mixed"
    records = [record for record in catalogue(load_species(), 12) if not record.trouble and not record.twin][:n]
    good = [server.address(i, f'photos/{record.source}/{record.number}/medium.jpg') for i, record in enumerate(records)]
    bad = [server.address(i, f'manner/{manner}') for manner in MANNERS for i in range(HOSTS)]
    step = len(good)//len(bad)
    return [url for i, odd in enumerate(bad) for url in (*good[i*step:(i+1)*step], odd)]+good[len(bad)*step:]


def judge(folder, originals):
    "Photographs that are there in full, and files that are none"
    there, junk = [], 0
    for path in Path(folder).rglob('*.*'):
        if not path.is_file() or path.suffix.lower() not in ('.jpg', '.jpeg', '.png'): continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in originals: there.append(digest)
        else:
            try:
                with Image.open(path) as image: image.load()
                there.append(digest)
            except Exception: junk += 1
    return len(there), junk


def compare(photos, n, rivals):
    originals = {hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(photos).rglob('*.jpg')}
    contenders = [('the original: requests.get, one by one', ORIGINAL, (), sys.executable)]
    if rivals: contenders += [('icrawler, 16 threads', ICRAWLER, (16,), rivals), ('icrawler, 64 threads', ICRAWLER, (64,), rivals),
                              ('img2dataset, 2 processes, 64 threads', IMG2DATASET, (), rivals)]
    contenders.append(('birdclf download, 16 hosts x 4', OURS, (), sys.executable))
    wanted, base = n+HOSTS, None
    print(f'{n} photographs and {HOSTS*len(MANNERS)} addresses with bad manners on {HOSTS} hosts, {LATENCY*1000:.0f} ms each; {wanted} can be had\n')
    print(f"{'':42}{'images/s':>9}{'seconds':>9}{'CPU s':>7}{'MB':>6}{'got':>7}{'lost':>6}{'junk kept':>11}", flush=True)
    for name, code, more, python in contenders:
        with Server('--photos', photos) as server, TemporaryDirectory() as folder:
            (Path(folder)/'urls').write_text('\n'.join(address_list(server, n))+'\n', encoding='utf-8')
            (Path(folder)/'out').mkdir()
            seconds, cpu, megabytes, text = run(code, Path(folder)/'urls', Path(folder)/'out', *more, python=python)
            got, junk = judge(Path(folder)/'out', originals)
        base = base or got/seconds
        print(f'{name:42}{got/seconds:9.1f}{seconds:9.1f}{cpu:7.1f}{megabytes:6.0f}{got:7,}{wanted-got:6}{junk:11}', flush=True)
        if code == OURS: print(f'\n{got/seconds/base:.1f} times the original; it says: {text.strip()}')


def memory(counts):
    print(f"\n{'rows':>9}{'seconds':>9}{'images/s':>10}{'peak MB':>9}")
    for n in counts:
        with Server('--per-species', 12) as server, TemporaryDirectory() as folder:
            records = [record for record in catalogue(load_species(), 12) if not record.trouble and not record.shows][:300]
            with open(Path(folder)/'urls', 'w', encoding='utf-8') as file:
                for i in range(n): file.write(server.address(i, f'photos/{records[i%300].source}/{records[i%300].number}/small.jpg?{i}')+'\n')
            seconds, _, megabytes, _ = run(MANY, Path(folder)/'urls', Path(folder)/'out')
        print(f'{n:9,}{seconds:9.1f}{n/seconds:10.1f}{megabytes:9.0f}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', required=True, metavar='DIR', help='real photographs; a thousand different ones, if possible')
    parser.add_argument('-n', type=int, default=1000, metavar='N', help='how many of them to fetch (default: 1000; 0 leaves the comparison out)')
    parser.add_argument('--rivals', metavar='PYTHON', help='a Python that has icrawler and img2dataset; without it they are left out')
    parser.add_argument('--rows', type=int, nargs='*', default=[], metavar='N', help='measure memory with so many rows, too; 1000 10000 100000')
    args = parser.parse_args()
    if args.n: compare(args.photos, args.n, args.rivals)
    if args.rows: memory(args.rows)


if __name__ == '__main__':
    main()

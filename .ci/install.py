"""Install birdclf with these extras, and say what is fetched and how far it is: python .ci/install.py EXTRAS SIZE

pip says either nothing for minutes or a thousand lines. On a terminal this is one line that changes; elsewhere it is a
line for each large file, and one now and then while everything is unpacked.
"""
import os
import re
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from threading import Event, Thread

LARGE = 50      # Megabytes from which a file gets a line of its own
NOW_AND_THEN = 30 # Seconds between two lines of a log
PIP = '-m', 'pip', 'install', '--progress-bar', 'off', '--disable-pip-version-check', '-c', 'requirements.lock', '-e'
UNIT = dict(bytes=1e-6, kB=1e-3, MB=1, GB=1e3)


def megabytes(line):
    "Which file a line of pip is about, and how large that is; None if it is about something else"
    found = re.search(r'(?:Downloading|Using cached) (?:\S+/)?(\S+) \(([\d.]+) (bytes|kB|MB|GB)', line)
    return found and (found[1], float(found[2])*UNIT[found[3]])


class Teller:
    "Says how far it is, on a terminal or in a log"
    def __init__(self, out): self.out, self.live, self.last = out, out.isatty(), 0

    def say(self, line, important=False):
        if self.live: print(f'\r\033[K{line[:os.get_terminal_size().columns-1]}', end='', flush=True, file=self.out)
        elif important or time.monotonic()-self.last > NOW_AND_THEN:
            print(line, flush=True, file=self.out)
            self.last = time.monotonic()

    def end(self):
        if self.live: print('\r\033[K', end='', flush=True, file=self.out)


def unpacked(names):
    "How many of these packages are there"
    spelt = re.compile('[-_.]+')
    there = {spelt.sub('-', path.name.split('-')[0]).lower() for path in Path(sysconfig.get_paths()['purelib']).glob('*.dist-info')}
    return len(there & {spelt.sub('-', name).lower() for name in names})


def count(names, teller, done):
    "Say it until it is done"
    while not done.wait(2): teller.say(f'Unpacking: {unpacked(names)} of {len(names)} packages')


def tell(lines, teller):
    "What pip does, a line at a time"
    files, total, done = 0, 0, Event()
    for line in lines:
        if found := megabytes(line):
            files, total = files+1, total+found[1]
            teller.say(f'Fetching {found[0]} ({found[1]:,.0f} MB); {files} files and {total/1000:.1f} GB with it', found[1] >= LARGE)
        if line.startswith('Installing collected packages:'):
            names = line.partition(':')[2].replace(',', ' ').split()
            teller.say(f'Unpacking {len(names)} packages', True)
            Thread(target=count, args=(names, teller, done), daemon=True).start()
    done.set()
    teller.end()


def complain(lines):
    for line in lines:
        if not re.search('Location .* is ignored', line): print(line, end='', file=sys.stderr)


def main(extras, size):
    print(f'Installing birdclf[{extras}], {size} on disk; what pip has fetched once, it keeps.', flush=True)
    pip = subprocess.Popen([sys.executable, *PIP, f'.[{extras}]'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           encoding='utf-8', errors='replace', env=os.environ | dict(PYTHONUNBUFFERED='1'))
    errors = Thread(target=complain, args=(pip.stderr,))
    errors.start()
    tell(pip.stdout, Teller(sys.stdout))
    errors.join()
    return pip.wait()


if __name__ == '__main__': sys.exit(main(*sys.argv[1:]))

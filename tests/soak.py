"""A long day at the counter: good photographs, bad ones, huge ones, slow lines, visitors who hang up in the middle, and visits of the page.

All at once and in no order, for as long as you like. In the end everybody has gone, and what the server and its worker have in
memory (PSS) is compared with what they had after a tenth of the time. `python tests/soak.py --minutes 30` is what was promised.
"""
import argparse
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection
from io import BytesIO

import psutil
from PIL import Image

import birdclf.photo  # noqa: F401 (teaches Pillow HEIC)
from birdclf.testing import paint_bird, paint_scene

PATIENCE = 300


def file_of(image, format='JPEG', **options):
    image.save(file := BytesIO(), format, **options)
    return file.getvalue()


def photographs():
    "What people bring, by what it is"
    bird = paint_bird('Amsel', 1, size=(1600, 1200))
    good = file_of(bird, quality=92)
    return dict(good=good, png=file_of(bird, 'PNG'), heic=file_of(bird, 'HEIF'), webp=file_of(bird, 'WEBP'), cat=file_of(paint_scene('cat')),
                text=b'Turdus merula', nothing=b'', half=good[:len(good)//2], tiny=file_of(bird.resize((9, 9))), noise=random.Random(1).randbytes(3_000_000),
                large=file_of(bird.resize((8000, 6000)), quality=80), layered=file_of(bird.resize((6000, 4500)), quality=80, progressive=True),
                huge=file_of(Image.new('1', (9_000, 9_000), 1), 'PNG'), bomb=file_of(Image.new('1', (20_000, 20_000), 1), 'PNG'),
                heavy=bytes(101*2**20))


class Day:
    "What happens at a counter"
    def __init__(self, address, seed=0):
        self.host, self.said, self.brought, self.random, self.over = re.match(r'http://([\w:]+)', address)[1], Counter(), photographs(), random.Random(seed), False
        self.names = [name for name in self.brought for _ in range({'good': 8, 'large': 2, 'text': 2}.get(name, 1))]

    def connect(self): return HTTPConnection(self.host, timeout=PATIENCE)

    def bring(self, photo):
        connection = self.connect()
        connection.request('POST', '/api/classify', photo)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    def bring_slowly(self, photo):
        "In fifty pieces, with a rest after each"
        connection, piece = self.connect(), max(1, len(photo)//50)
        connection.putrequest('POST', '/api/classify')
        connection.putheader('Content-Length', str(len(photo)))
        connection.endheaders()
        for at in range(0, len(photo), piece):
            if not self.over: time.sleep(.1)
            connection.send(photo[at:at+piece])
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    def hang_up(self, photo):
        "In the middle of it, or just when it has arrived"
        host, port = self.host.split(':')
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as line:
            line.sendall(f'POST /api/classify HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {len(photo)}\r\n\r\n'.encode())
            line.sendall(photo[:self.random.choice((len(photo)//2, len(photo)))])
        return 'hung up'

    def look_in(self, _):
        "Somebody opens the page and goes"
        connection = self.connect()
        connection.request('GET', '/')
        answer = connection.getresponse()
        kernel = re.search(r'"kernelId": *"([^"]+)"', answer.read().decode())
        if kernel:
            connection.request('POST', f'/voila/api/shutdown/{kernel[1]}')
            connection.getresponse().read()
        connection.close()
        return answer.status

    def live(self):
        while not self.over:
            name = self.random.choice(self.names)
            do = self.random.choices([self.bring, self.bring_slowly, self.hang_up, self.look_in], [12, 1, 2, .3])[0]
            photo = self.brought['good' if do == self.bring_slowly else name]
            try: self.said[name if do == self.bring else do.__name__, do(photo)] += 1
            except OSError as e: self.said[name, type(e).__name__] += 1


def megabytes(process):
    "Of a server and its worker, without visitors"
    found = 0
    for member in (process, *process.children()):
        try: found += 0 if 'ipykernel' in ' '.join(member.cmdline()) else member.memory_full_info().pss
        except psutil.Error: pass # A visitor's, which is just ending
    return found/2**20


def soak(address, process, seconds, people=4, tell=lambda text: None):
    "What was answered, and the memory early and at the end, after everybody has gone"
    day, early = Day(address), None
    threads = [threading.Thread(target=day.live) for _ in range(people)]
    for thread in threads: thread.start()
    end, said = time.monotonic()+seconds, 0
    while (left := end-time.monotonic()) > 0:
        time.sleep(min(left, 2))
        if early is None and left < .9*seconds: early = megabytes(process)
        if time.monotonic() > said+60:
            said = time.monotonic()
            tell(f'{megabytes(process):.0f} MB, {sum(day.said.values())} requests')
    day.over = True
    for thread in threads: thread.join()
    time.sleep(5)
    return day.said, early, megabytes(process)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=30, metavar='N', help='how long (default: 30)')
    args = parser.parse_args()
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    process = psutil.Popen([sys.executable, '-c', 'import sys\nfrom birdclf.cli import main\nsys.exit(main())', 'app', '--port', str(port)],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    address = re.search(rb'http://\S+', process.stdout.readline())[0].decode()+'/'
    try: said, early, late = soak(address, process, 60*args.minutes, tell=lambda text: print(text, flush=True))
    finally:
        process.terminate()
        process.wait()
    for (what, status), count in sorted(said.items(), key=str): print(f'{what:14} {status!s:18} {count:7}')
    print(f'{args.minutes:g} minutes: {early:.0f} MB after a tenth of it, {late:.0f} MB at the end')


if __name__ == '__main__':
    main()

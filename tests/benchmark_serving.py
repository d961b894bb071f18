"""What a crowd costs: the memory of everything that serves it, and how long everybody waits when all show a photograph at once.

A visitor here is what a browser is to the server: the page is fetched, the thin line and the widget's websocket are held open, and
photographs go where the page would send them. They are painted, noisy, and as large as the page makes a large one. The memory is
the proportional set size (PSS) of the server and all its processes, so that what they share is counted once.
`--old` shows the way before there was a counter, in which every visitor's Python had a network of its own, and photographs went
through its websocket. `--page` opens the page in Chromium and waits until the button is there.
Run it alone: on a busy machine, only the memory means anything.
"""
import argparse
import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from io import BytesIO
from statistics import median, quantiles
from time import monotonic, sleep
from urllib.request import urlopen

import numpy as np
import psutil
from jupyter_server.services.kernels.connection.base import serialize_binary_message
from PIL import Image
from tornado.httpclient import AsyncHTTPClient
from tornado.websocket import websocket_connect

from birdclf.testing import BIRDS, paint_bird

START = 'import sys\nfrom birdclf.cli import main\nsys.exit(main())'
OLD = 'import birdclf.serve\nfrom contextlib import nullcontext\nbirdclf.serve.photographs = lambda *_: nullcontext()\n'+START


class Server:
    "A page on a free port"
    def __init__(self, old=False):
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        self.address, self.old = f'http://localhost:{self.port}/', old
        self.process = psutil.Popen([sys.executable, '-c', OLD if old else START, 'app', '--port', str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            try: return urlopen(f'{self.address}voila/static/voila.js').close()
            except OSError: sleep(.1)

    def megabytes(self):
        "Of everything, by what it is"
        found = {}
        for process in [self.process, *self.process.children(recursive=True)]:
            command = ' '.join(process.cmdline())
            what = 'worker' if 'birdclf.worker' in command else 'visitors' if 'ipykernel' in command else 'server'
            found[what] = found.get(what, 0)+process.memory_full_info().pss/2**20
        return found

    def __enter__(self): return self
    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def photograph(seed):
    "As the page sends it: a JPEG whose shorter side has a thousand pixels"
    bird = paint_bird(list(BIRDS)[seed%len(BIRDS)], seed).resize((1366, 1024))
    grain = np.random.default_rng(seed).normal(0, 12, (1024, 1366, 3))
    Image.fromarray((np.asarray(bird)+grain).clip(0, 255).astype(np.uint8)).save(file := BytesIO(), 'JPEG', quality=85)
    return file.getvalue()


class Visitor:
    "Somebody with the page open"
    async def come(self, server):
        self.server, began = server, monotonic()
        page = (await AsyncHTTPClient(force_instance=True).fetch(server.address, request_timeout=300)).body.decode()
        self.kernel, self.model = re.search(r'"kernelId": *"([^"]+)"', page)[1], re.search(r'"model_id": *"([^"]+)"', page)[1]
        socket = server.address.replace('http', 'ws')
        self.line = await websocket_connect(f'{socket}voila/line/{self.kernel}')
        self.widget = await websocket_connect(f'{socket}api/kernels/{self.kernel}/channels', max_message_size=2**27)
        self.seconds = monotonic()-began
        return self

    async def show(self, photo):
        "Seconds until there is an answer"
        began = monotonic()
        await (self.say if self.server.old else self.post)(photo)
        return monotonic()-began

    async def post(self, photo):
        answer = await AsyncHTTPClient(force_instance=True).fetch(f'{self.server.address}api/classify?for=page', method='POST', body=photo, request_timeout=300)
        assert b'sentences' in answer.body

    async def say(self, photo):
        header = dict(msg_id=os.urandom(8).hex(), session='s', username='', version='5.3', date='2026-11-29T12:00:00Z', msg_type='comm_msg')
        content = dict(comm_id=self.model, data=dict(method='custom', content=dict(kind='photo', seq=1, preview=False)))
        message = dict(header=header, parent_header={}, metadata={}, content=content, channel='shell', buffers=[photo])
        await self.widget.write_message(serialize_binary_message(message), binary=True)
        said = b''
        while b'"sentences"' not in said:
            said = await self.widget.read_message()
            said = said.encode() if isinstance(said, str) else said

    def leave(self):
        self.line.close(1000)
        self.widget.close()


async def crowd(server, sizes, rounds):
    "A row for each number of visitors: memory, and the seconds of everybody when all show a photograph at once"
    visitors, photos = [], [photograph(seed) for seed in range(max(sizes))]
    for size in sizes:
        while len(visitors) < size: visitors.append(await Visitor().come(server))
        await asyncio.sleep(5)
        seconds, peak = [], 0
        for _ in range(rounds):
            waiting = asyncio.gather(*(visitor.show(photo) for visitor, photo in zip(visitors, photos)))
            while not waiting.done():
                peak = max(peak, sum(server.megabytes().values()))
                await asyncio.sleep(.2)
            seconds += await waiting
        yield size, server.megabytes(), peak, seconds
    for visitor in visitors: visitor.leave()


async def show(old, sizes, rounds):
    with Server(old) as server:
        await asyncio.sleep(3)
        print(f"{'the way before' if old else 'one model for everybody'}\n{'visitors':>10}{'all':>9}{'server':>9}{'worker':>9}{'visitors':>10}{'peak':>9}"
              f"{'median':>10}{'p95':>8}{'last':>8}")
        async for size, found, peak, seconds in crowd(server, sizes, rounds):
            p95 = quantiles(seconds, n=20, method='inclusive')[-1] if len(seconds) > 1 else seconds[0]
            parts = ''.join(f'{found.get(what, 0):{width}.0f}' for what, width in (('server', 9), ('worker', 9), ('visitors', 10)))
            print(f'{size:10}{sum(found.values()):6.0f} MB{parts}{peak:6.0f} MB{median(seconds):8.2f} s{p95:6.2f} s{max(seconds):6.2f} s', flush=True)


def opened(runs):
    "Seconds from an address to a button in Chromium, one visit after the other"
    from playwright.sync_api import sync_playwright
    program = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    with Server() as server, sync_playwright() as playwright:
        browser, found = playwright.chromium.launch(executable_path=program, args=['--no-sandbox', '--disable-gpu']), []
        for _ in range(runs):
            sleep(4)
            page, began = browser.new_context().new_page(), monotonic()
            page.goto(server.address)
            page.wait_for_selector('.bc-choose')
            found.append(monotonic()-began)
            page.close()
        browser.close()
    print(f'the page is ready after {median(found):.2f} s ({min(found):.2f} to {max(found):.2f}, {runs} visits)')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--visitors', type=int, nargs='+', default=[1, 5, 15], metavar='N', help='how many at a time (default: 1 5 15)')
    parser.add_argument('--rounds', type=int, default=5, metavar='N', help='photographs that each of them shows (default: 5)')
    parser.add_argument('--old', action='store_true', help='the way before, as well')
    parser.add_argument('--page', type=int, default=0, metavar='N', help='so many visits with Chromium')
    args = parser.parse_args()
    for old in [False, *[True]*args.old]: asyncio.run(show(old, sorted(args.visitors), args.rounds))
    if args.page: opened(args.page)


if __name__ == '__main__':
    main()

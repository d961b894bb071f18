"A classifier that finds what it is told to find, and the page talking to it without a server"
import base64
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from PIL import Image

from birdclf.app import BirdPage
from birdclf.classify import Answer, decide
from birdclf.photo import PhotoError
from birdclf.session import Session
from birdclf.testing import PATIENCE, paint_bird
from pictures import file_of

ROBIN, BLACKBIRD = (300/1600, 500/1200, 700/1600, 800/1200), (1100/1600, 250/1200, 1400/1600, 470/1200)


def garden(format='JPEG', **options):
    "A lawn with two small birds, whose frames are above"
    lawn = Image.new('RGB', (1600, 1200), '#6f9a4f')
    for name,(left, top, right, bottom) in (('Rotkehlchen', ROBIN), ('Amsel', BLACKBIRD)):
        size = round(1600*(right-left)), round(1200*(bottom-top))
        lawn.paste(paint_bird(name, size=size), (round(1600*left), round(1200*top)))
    return file_of(lawn, format, **options)


class Finder:
    "Answers that are made up, and a note of what was asked"
    def __init__(self, classifier):
        self.classifier, self.bundle, self.species, self.asked = classifier, classifier.bundle, classifier.species, []
        self.birds = [self.answer('Rotkehlchen', box=ROBIN), self.answer('Amsel', 'Star', box=BLACKBIRD)]
        self.closer = self.answer('Buchfink')

    def answer(self, *names, **more):
        "It is the first of `names`, German ones; or one of these; or no bird"
        logits = np.zeros(len(self.species))
        for i,name in enumerate(names): logits[[bird.german for bird in self.species].index(name)] = 12-.5*i
        scores = np.array([9. if names else -9., 9.])
        return replace(decide(self.classifier.bundle, logits*self.classifier.bundle.temperature, scores), **more)

    def classify(self, photo, *, box=None, turn=0):
        self.asked.append((photo, box, turn))
        try: self.classifier.open(photo)
        except PhotoError as error: return Answer('unreadable', error=error)
        if box is not None or not self.birds: return self.closer
        return replace(self.birds[0], birds=tuple(self.birds))

    def evidence(self, photo, species, *, box=None, turn=0):
        self.asked.append((photo, box, turn))
        grid = np.zeros((8, 8), np.float32)
        grid[1:3, 1:4] = 1
        return grid, box or (0, 0, 1, 1)


MODEL = '''async ([script, state]) => {
    const {default: {render}} = await import(URL.createObjectURL(new Blob([script], {type: 'text/javascript'})))
    const heard = new Set(), unpack = text => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer
    const pack = data => new Promise(done => {
        const reader = new FileReader()
        reader.onload = () => done(reader.result.slice(reader.result.indexOf(',') + 1))
        reader.readAsDataURL(new Blob([data]))
    })
    const send = async (message, _, buffers) => {
        const [reply, data] = await ask(message, await Promise.all(buffers.map(pack)))
        for (const act of heard) act(reply, data.map(unpack))
    }
    render({model: {get: name => state[name], on: (_, act) => heard.add(act), off: (_, act) => heard.delete(act), send}, el: document.body})
}'''


@contextmanager
def talking(browser, finder, **options):
    "A visitor's page, and `finder` as the one who answers; `page.asked` is what it is asked, `page.requests` what it asks of others"
    page = browser.new_page(**dict(dict(locale='en-GB', viewport=dict(width=1200, height=850)), **options))
    page.set_default_timeout(1000*PATIENCE)
    page.asked, page.requests, page.problems = [], [], []
    page.on('request', lambda request: page.requests.append(request.url))
    page.on('pageerror', lambda error: page.problems.append(str(error)))
    widget = BirdPage(Session(finder))
    def ask(message, data):
        page.asked.append(message)
        replies = []
        widget.send = lambda reply, buffers=(): replies.append([reply, [base64.b64encode(part).decode() for part in buffers]])
        widget.hear(None, message, [base64.b64decode(part) for part in data])
        return replies[0]
    page.expose_function('ask', ask)
    head = f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>body {{ margin: 0 }} {widget._css}</style>'
    page.set_content(f'<html><title>A page</title>{head}<body data-voila="voila"></body></html>')
    page.evaluate(MODEL, [widget._esm, {name: getattr(widget, name) for name in BirdPage.__base__.class_own_traits(sync=True)}])
    try: yield page
    finally: page.close()
    assert not page.problems, page.problems

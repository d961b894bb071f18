"A classifier that finds what it is told to find, and a browser's page that talks to it without a server"
import base64
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from birdclf.app import BirdPage, Session
from birdclf.classify import Answer, Classifier, decide
from birdclf.photo import PhotoError


class Found(Answer):
    "An answer with birds"
    birds, box, tips = (), None, ()

    def to_dict(self, language='en', top=None):
        return super().to_dict(language, top) | dict(tips=[f'{language}: {tip}' for tip in self.tips])


def made(classifier, bird=None, *, surely=9., known=9., second=None, **more):
    "The answer that names `bird`, a German name; a bird of which there is none is no bird"
    logits = np.zeros(len(classifier.species))
    place = {species.german: i for i,species in enumerate(classifier.species)}
    if bird: logits[place[bird]] = surely
    if second: logits[place[second]] = surely-.5
    answer = decide(classifier.bundle, logits*classifier.bundle.temperature, np.array([9. if bird else -9., known]))
    found = Found(**{name: getattr(answer, name) for name in answer.__dataclass_fields__})
    for name,value in more.items(): object.__setattr__(found, name, value)
    return found


class Finder:
    "Answers that were made before, and a note of what was asked"
    def __init__(self, classifier, whole, *closer):
        self.classifier, self.species, self.whole, self.closer, self.asked = classifier, classifier.species, whole, list(closer), []

    def classify(self, photo, *, box=None, turn=0):
        self.asked.append((photo, box, turn))
        try: self.classifier.open(photo)
        except PhotoError as error: return Found('unreadable', error=error)
        return self.closer.pop(0) if box and self.closer else self.whole

    def evidence(self, photo, species, *, box=None, turn=0):
        self.asked.append((photo, box, turn))
        grid = np.zeros((8, 8), np.float32)
        grid[1:3, 1:4] = 1
        return grid, box or (0, 0, 1, 1)


@contextmanager
def talking(browser, classifier, **options):
    "The page's script, and `classifier` as the one who answers"
    page = browser.new_page(**dict(dict(locale='en-GB'), **options))
    widget = BirdPage(Session(classifier))
    state = {name: getattr(widget, name) for name in ('words', 'limits', 'birds', 'icon')}
    said = []
    def ask(message, data):
        said.append(message)
        widget.send = lambda reply, buffers=(): page.evaluate('([m, b]) => say(m, b)', [reply, [base64.b64encode(x).decode() for x in buffers]])
        heard = []
        widget.send = lambda reply, buffers=(): heard.extend([reply, [base64.b64encode(x).decode() for x in buffers]])
        widget.hear(None, message, [base64.b64decode(x) for x in data])
        return heard
    page.expose_function('ask', ask)
    page.set_content(f'<html><meta name="viewport" content="width=device-width, initial-scale=1"><style>body{{margin:0}}{widget._css}</style><body data-voila="voila"></body></html>')
    page.evaluate('''async ([script, state]) => {
        const {default: {render}} = await import(URL.createObjectURL(new Blob([script], {type: 'text/javascript'})))
        const heard = new Set()
        const pack = async data => { const url = await new Promise(done => { const r = new FileReader(); r.onload = () => done(r.result); r.readAsDataURL(new Blob([data])) }); return url.slice(url.indexOf(',') + 1) }
        const unpack = text => Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer
        const model = {get: name => state[name], on: (_, act) => heard.add(act), off: (_, act) => heard.delete(act),
                       send: async (message, _, buffers) => { const [reply, data] = await ask(message, await Promise.all(buffers.map(pack))); for (const act of heard) act(reply, data.map(unpack)) }}
        render({model, el: document.body})
    }''', [widget._esm, state])
    page.said = said
    try: yield page
    finally: page.close()

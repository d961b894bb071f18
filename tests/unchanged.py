"Which chapters need not run again: those that have passed, and of which nothing has changed since"
import hashlib
import json
import os
import re
import sys
from functools import cache
from pathlib import Path

EVERYTHING = re.compile(r'''(?<!files\()(?<![\w/ ])['"]birdclf['"]|-m birdclf(?![.\w])''') # A command that is started, or the package walked through
NAMED = re.compile(r'(?:\bbirdclf[./]|\bfrom \.)(\w+)') # As a chapter and as an exported module says it
FROM = re.compile(r'\bfrom birdclf import ([\w ,*()]+)')
SETTINGS = 'settings.ini', 'setup.py', 'pyproject.toml', 'requirements.lock', '_config.yml', '_toc.yml'


def said(notebook):
    "The text of a notebook's cells"
    return '\n\n'.join(''.join(cell['source']) for cell in json.loads(notebook)['cells'])


def named(text, modules):
    "The modules of ours that a text names"
    if EVERYTHING.search(text): return set(modules)
    found = set(NAMED.findall(text))
    for names in FROM.findall(text): found |= set(re.findall(r'\w+', names))
    return found & set(modules)


def needed(text, modules):
    "Those, and what they name in turn"
    found, more = set(), named(text, modules)
    while more:
        found |= more
        more = set().union(*(named(modules[name], modules) for name in more))-found
    return found


def listing(folder):
    "Name, size and time of all files in a folder: enough to see that one of thousands has changed"
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            seen = os.stat(os.path.join(place, name))
            yield f'{os.path.relpath(os.path.join(place, name), folder)} {seen.st_size} {seen.st_mtime_ns}'


def digest(parts):
    whole = hashlib.sha256()
    for part in parts: whole.update(hashlib.sha256(part if isinstance(part, bytes) else part.encode('utf-8', 'surrogatepass')).digest())
    return whole.hexdigest()


class Chapters:
    "The chapters of the project in `root`, and what they were made of when they passed"
    def __init__(self, root, shared=None, environment=os.environ):
        self.root, self.shared = Path(root), Path(shared or Path(root).parent/'shared')
        self.told = {name: value for name, value in environment.items() if name.startswith('BIRDCLF_')}
        self.record = self.root/'_build'/'chapters'

    @cache
    def modules(self):
        return {path.stem: path.read_text(encoding='utf-8') for path in sorted((self.root/'birdclf').glob('*.py'))}

    @cache
    def around(self):
        "What every chapter may read: our front-end files, tables and bundle, the data beside the project, what is installed"
        package, tests = self.root/'birdclf', self.root/'tests'
        ours = [path for path in sorted(package.rglob('*')) if path.is_file() and path.suffix not in ('.py', '.pyc')]
        beside = [path for path in sorted((self.root/'nbs').rglob('*')) if path.is_file() and path.suffix != '.ipynb']
        files = [*ours, *beside, *(self.root/name for name in SETTINGS), tests/'unchanged.py', tests/'test_notebooks.py', package/'__init__.py']
        folders = [self.shared, *(Path(value) for value in self.told.values() if value and Path(value).is_dir())]
        installed = sorted(path.name for place in sys.path if place for path in Path(place).glob('*.dist-info'))
        return digest([*(part for path in files if path.exists() for part in (path.relative_to(self.root).as_posix(), path.read_bytes())),
                       *(line for folder in folders for line in listing(folder)), *installed, sys.version, repr(sorted(self.told.items()))])

    def key(self, path):
        "Another one as soon as anything has changed that the chapter depends on"
        text, modules = path.read_text(encoding='utf-8'), self.modules()
        return digest([text, *(part for name in sorted(needed(said(text), modules)) for part in (name, modules[name])), self.around()])

    def passed(self, path):
        "Has it passed as it is now?"
        record = self.record/path.stem
        return record.exists() and record.read_text(encoding='utf-8') == self.key(path)

    def remember(self, path, key):
        "That it has passed as it was when it had this key"
        self.record.mkdir(parents=True, exist_ok=True)
        (self.record/path.stem).write_text(key, encoding='utf-8')

    def forget(self, path): (self.record/path.stem).unlink(missing_ok=True)

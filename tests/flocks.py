"Verified rows without pictures, and a review of them: for the tests of a person's judgement and of its page"
from dataclasses import replace

import pytest

from birdclf.manifest import Manifest, Row
from birdclf.review import Review
from birdclf.species import load_species

BIRDS = load_species()
NAMES = [bird.scientific for bird in BIRDS]


def rows_of(n, copies=()):
    "Verified rows of a few birds; `copies` are pairs of a best copy and another, as places"
    rows = [Row(NAMES[i % 5], ('inat', 'commons')[i % 2], str(i), license='by', status='verified', score=round(1-i/n, 6), path='bird.jpg', sha256='ab'*32,
                suspicions='far from the others' if i % 3 == 0 else '') for i in range(n)]
    for best,other in copies: rows[best], rows[other] = (replace(rows[place], duplicate_group=rows[best].id) for place in (best, other))
    return rows


@pytest.fixture
def flock(tmp_path):
    "Fills a manifest in the test's folder, and opens it for somebody"
    opened = []
    def fill(n=100, copies=(), by='Anna', rows=None):
        with Manifest(tmp_path, write=True) as manifest: manifest.add(rows_of(n, copies) if rows is None else rows)
        return look(by)
    def look(by='Anna'):
        opened.append(Manifest(tmp_path, decide=True))
        return Review(opened[-1], by, BIRDS)
    fill.look = look
    yield fill
    for manifest in opened: manifest.close()


def words(review): return {photo: {by: said[:2] for by,said in told.items()} for photo,told in review.said.items() if told}

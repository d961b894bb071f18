"Where the birds are: boxes, closer looks, several birds, bad input, and that the map of evidence is evidence."
import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from birdclf.bundle import BundleError, load_bundle, save_bundle
from birdclf.classify import Classifier, decide
from birdclf.find import apart, boxes_of, distinct, find, glance, shared, window
from birdclf.testing import paint_bird, paint_scene


@pytest.fixture(scope='module')
def classifier(): return Classifier.load()


def garden(*birds, size=(1600, 1200), scene='house', side=240):
    "A scene with painted birds in it, `(name, left, top)` each, and the box of each picture that was laid into it"
    picture, boxes = paint_scene(scene, size=size), []
    for name, left, top in birds:
        picture.paste(paint_bird(name, size=(side, side*3//4)), (left, top))
        boxes.append((left/size[0], top/size[1], (left+side)/size[0], (top+side*3/4)/size[1]))
    return picture, boxes


def middle(box): return (box[0]+box[2])/2, (box[1]+box[3])/2


def inside(point, box): return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


@pytest.mark.parametrize('left, top', [(100, 900), (1300, 950), (700, 1000)])
@pytest.mark.parametrize('scene', ['house', 'tree'])
def test_a_small_bird_is_found(classifier, scene, left, top):
    picture, [box] = garden(('Amsel', left, top), scene=scene)
    answer = classifier.classify(picture)
    assert answer.verdict != 'not_bird' and len(answer.birds) == 1
    assert inside(middle(answer.box), box) and answer.birds[0].box == answer.box


def test_two_birds_are_two(classifier):
    picture, boxes = garden(('Amsel', 100, 900), ('Weißstorch', 1100, 900), side=400)
    answer = classifier.classify(picture)
    found = [next(i for i, box in enumerate(boxes) if inside(middle(bird.box), box)) for bird in answer.birds]
    assert sorted(found) == [0, 1]
    assert 'two birds' in answer.sentence('en') and 'zwei Vögel' in answer.sentence('de')
    first = answer.birds[0]
    assert (answer.verdict, answer.species, answer.box, answer.scores) == (first.verdict, first.species, first.box, first.scores)
    assert all(not bird.birds for bird in answer.birds)
    told = answer.to_dict('de')
    assert len(told['birds']) == 2 and told['birds'][0]['box'] == told['box'] and 'birds' not in told['birds'][0]
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize('scene', ['house', 'tree'])
def test_where_there_is_no_bird_there_is_no_box(classifier, scene):
    answer = classifier.classify(paint_scene(scene, size=(1600, 1200)))
    assert (answer.verdict, answer.box, answer.birds) == ('not_bird', None, ())
    assert answer.to_dict()['box'] is None and answer.to_dict()['birds'] == []


def noise(*size): return Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8))


@pytest.mark.parametrize('picture', [
    Image.new('RGB', (900, 700), 'white'), Image.new('RGB', (900, 700)), noise(700, 900), Image.new('RGB', (6000, 32), 'white'),
    Image.new('RGB', (32, 6000), 'green'), noise(32, 32), Image.new('L', (900, 700), 128), Image.new('RGB', (900, 1), 'white')])
def test_pictures_of_nothing(classifier, picture):
    answer = classifier.classify(picture)
    assert answer.verdict in ('not_bird', 'unreadable', 'other_bird') and answer.sentence('en') and answer.sentence('de')


@pytest.mark.parametrize('box', [(.5, .5, 1.5, 1), (-.2, 0, .5, .5), (.5, .5, .5, .5), (.6, .2, .4, .9), (0, 0, float('nan'), 1),
                                 (0, 0, float('inf'), 1), 'here', (1, 2), None.__class__, (0, 0, 1e-9, 1e-9), [None]*4])
def test_a_frame_that_is_none_is_a_sentence(classifier, box):
    answer = classifier.classify(paint_bird('Amsel'), box=box)
    assert answer.verdict == 'unreadable' and answer.sentence('en').endswith('.') and answer.sentence('de').endswith('.')


@pytest.mark.parametrize('box', [(0, 0, 1, 1), (0, 0, .001, .001), (.999, .999, 1, 1), (0, .5, 1, .501)])
def test_a_frame_of_any_size_is_answered_on(classifier, box):
    answer = classifier.classify(paint_bird('Amsel', size=(1200, 900)), box=box)
    assert answer.verdict != 'unreadable' and answer.box in (None, tuple(map(float, box)))


def test_only_what_is_in_the_frame_counts(classifier):
    picture, boxes = garden(('Amsel', 100, 900), ('Flamingo', 1200, 900), side=300)
    said = [classifier.classify(picture, box=box) for box in boxes]
    assert [answer.ranking[0].species.german for answer in said][0] == 'Amsel'
    assert all(len(answer.birds) <= 1 for answer in said)
    assert said[0].scores != said[1].scores


def test_a_turned_picture_is_turned_back(classifier):
    picture, _ = garden(('Amsel', 100, 900))
    upright, answers = classifier.classify(picture), []
    for turn, back in ((1, Image.Transpose.ROTATE_90), (2, Image.Transpose.ROTATE_180), (3, Image.Transpose.ROTATE_270)):
        answer = classifier.classify(picture.transpose(back), turn=turn)
        assert answer.verdict == upright.verdict
        np.testing.assert_allclose(answer.box, upright.box, atol=.03)


def test_what_is_small_is_cut_out_of_the_file_in_full_resolution(classifier):
    "A bird of 100 pixels in a picture of 20 megapixels"
    picture, [box] = garden(('Amsel', 900, 2700), size=(5000, 4000), side=400)
    picture.save(data := BytesIO(), 'JPEG', quality=90)
    photo, found = classifier.look(data.getvalue())
    assert max(photo.image.size) <= 2*classifier.bundle.finding.side and inside(middle(found[0].box), box)
    whole = classifier.classify(photo.image, box=found[0].box)
    near = classifier.classify(data.getvalue(), box=found[0].box)
    assert near.scores != whole.scores and near.ranking[0].species == whole.ranking[0].species


def test_a_bundle_that_cannot_find_goes_on_answering(classifier, tmp_path):
    old = Classifier(replace(classifier.bundle, finding=None))
    picture, boxes = garden(('Amsel', 100, 900))
    answer = old.classify(paint_bird('Amsel'))
    assert answer.box is None and answer.birds == () and answer.verdict in ('sure', 'one_of', 'other_bird')
    assert old.classify(picture, box=boxes[0]).ranking[0].species.german == 'Amsel'
    with pytest.raises(BundleError): old.evidence(picture, classifier.species[0])


def test_a_network_without_maps_cannot_be_told_to_find(classifier, tmp_path):
    import onnx
    model = onnx.load_from_string(classifier.bundle.model)
    for output in [o for o in model.graph.output if o.name in ('places', 'evidence')]: model.graph.output.remove(output)
    with pytest.raises(BundleError): Classifier(replace(classifier.bundle, model=model.SerializeToString()))


def test_the_model_is_no_larger_than_a_page_can_bear(classifier):
    assert len(classifier.bundle.model) <= 16*2**20


def test_maps_and_answers_are_one_network(classifier):
    "The evidence of all squares, averaged, is what the species are judged by"
    batch = np.random.default_rng(0).normal(0, .3, (2, 3, 256, 320)).astype(np.float32)
    species, _, _, places, evidence = classifier.network.maps(batch)
    assert places.shape == (2, 5, 8, 10) and evidence.shape == (2, len(classifier.species), 8, 10)
    np.testing.assert_allclose(evidence.mean((2, 3)), species, atol=1e-3)
    assert (places[:, 1:] > 0).all()


def test_evidence(classifier):
    picture, [box] = garden(('Amsel', 100, 900))
    answer = classifier.classify(picture)
    blackbird = classifier.species.find('Amsel')
    for where in (None, answer.box):
        grid, view = classifier.evidence(picture, blackbird, box=where)
        assert grid.dtype == np.float32 and grid.ndim == 2 and 0 <= grid.min() <= grid.max() <= 1
        assert view == (0, 0, 1, 1) if where is None else inside(middle(view), box)
    others = classifier.evidence(picture, classifier.species.find('Graureiher'), box=answer.box)[0]
    assert not np.allclose(grid, others)


def test_geometry():
    rng = np.random.default_rng(0)
    for _ in range(300):
        corners = np.sort(rng.random((2, 2)), 0)+np.array([[0, 0], [1e-4, 1e-4]])
        box = tuple(np.clip(corners.ravel(), 0, 1))
        size = tuple(int(side) for side in rng.integers(32, 5000, 2))
        left, top, right, bottom = window(box, float(rng.choice([0, .15, .5, 4])), size)
        assert -1e-9 <= left < right <= 1+1e-9 and -1e-9 <= top < bottom <= 1+1e-9
        assert right-left >= min(1, box[2]-box[0])-1e-9 and bottom-top >= min(1, box[3]-box[1])-1e-9
    boxes = np.sort(rng.random((200, 2, 2)), 1).reshape(200, 4)
    for row in boxes[:20]:
        together, within = shared(row, boxes)
        assert (0 <= together).all() and (together <= within+1e-12).all() and (within <= 1+1e-9).all()
    found = distinct(rng.random(200), boxes, .4, 6)
    assert len(found) <= 6 and [sure for sure, _ in found] == sorted((sure for sure, _ in found), reverse=True)
    sure, boxes = boxes_of(rng.normal(0, 2, (5, 7, 9)).clip(.01))
    assert sure.shape == (63,) and (0 <= boxes).all() and (boxes <= 1).all()


def grainy(picture, size=(2000, 1500)):
    "As a large photograph is: with grain, in which parts of a bird look like birds"
    grain = np.random.default_rng(0).normal(0, 12, (size[1]//2, size[0]//2, 3)).repeat(2, 0).repeat(2, 1)
    return Image.fromarray((np.asarray(picture.resize(size, Image.Resampling.BICUBIC))+grain).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize('name, seed', [('Weißstorch', 0), ('Weißstorch', 1), ('Amsel', 0), ('Pirol', 1), ('Rotkehlchen', 2)])
def test_a_large_bird_is_one_and_not_its_parts(classifier, name, seed):
    answer = classifier.classify(grainy(paint_bird(name, seed)))
    assert len(answer.birds) <= 1, [bird.box for bird in answer.birds]


@pytest.mark.parametrize('boxes, stay', [
    ([(.1, .1, .5, .5), (.12, .1, .5, .52), (.6, .6, .9, .9)], [0, 2]), # Nearly the same
    ([(.1, .1, .9, .9), (.2, .2, .4, .4)], [0]),                        # A part of the first
    ([(.2, .2, .4, .4), (.1, .1, .9, .9)], [0]),                        # The first is a part of it
    ([(0, 0, .4, .4), (.39, 0, .8, .4), (0, .39, .4, .8)], [0, 1, 2]),  # They touch
    ([(.3, .3, .3, .3), (.3, .3, .3, .3)], [0, 1]),                     # Nothing shares nothing
    ([], [])])
def test_what_is_the_same_bird_is_found_once(boxes, stay): assert apart(boxes, .25) == stay


@pytest.fixture
def looks(classifier, monkeypatch):
    "How many pictures the network was shown"
    shown, maps = [], classifier.network.maps
    monkeypatch.setattr(classifier.network, 'maps', lambda batch: shown.append(batch.shape) or maps(batch))
    return shown


def test_only_what_is_not_clear_is_asked_before_the_mirror(classifier, looks):
    "And the answer is that of all the looks"
    for name in ('Weißstorch', 'Amsel', 'Stockente', 'Pirol', 'Rotkehlchen', 'Blaumeise'):
        photo = classifier.open(paint_bird(name))
        looks.clear()
        quick, whole = glance(classifier.network, classifier.bundle, photo)[1](), classifier.network(photo.image)
        asked = sum(shape[0] for shape in looks)
        decided = [decide(classifier.bundle, *said) for said in ((quick.species, quick.open_set), whole[:2])]
        assert decided[0].verdict == decided[1].verdict and decided[0].species == decided[1].species
        if asked == 4: np.testing.assert_allclose(quick.species, whole[0], atol=1e-4)
        else:
            assert asked == 2
            assert max(decided[0].scores.bird, 1-decided[0].scores.bird) >= .95


def test_the_whole_is_asked_only_if_somebody_wants_to_know(classifier, looks):
    picture, _ = garden(('Weißstorch', 1100, 900), side=400)
    answer = classifier.classify(picture)
    squares = [shape[0] for shape in looks if shape[2:] == (256, 256)]
    assert squares[0] == 1 and (answer.species is None or sum(squares) <= 5)

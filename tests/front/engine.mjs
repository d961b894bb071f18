// What names birds without a server: the same as in Python, case by case
import assert from 'node:assert/strict'
import {test} from 'node:test'
import {apart, around, find, shared, steady} from '../../birdclf/front/finding.js'
import {framed, Photo, recognise, reduced, turned} from '../../birdclf/front/opened.js'
import {resized} from '../../birdclf/front/resize.js'

function painted(width, height) {          // every pixel says where it is
  const data = new Uint8ClampedArray(4 * width * height).fill(255)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) data.set([x, y, x ^ y], 4 * (y * width + x))
  return {width, height, data}
}
function source(image, asked = []) {
  const read = (left, top, width, height) => {
    asked.push([width, height])
    const part = painted(width, height)
    for (let y = 0; y < height; y++) {
      const from = 4 * ((top + y) * image.width + left)
      part.data.set(image.data.subarray(from, from + 4 * width), 4 * y * width)
    }
    return part
  }
  return {width: image.width, height: image.height, read}
}
const pixel = ({data, width}, x, y) => [...data.subarray(4 * (y * width + x), 4 * (y * width + x) + 2)]

test('a picture of the size that it has stays as it is', () => {
  const image = painted(20, 10)
  assert.deepEqual(resized(image, null, [20, 10]).data, image.data)
})

test('a photograph is read in strips, and no strip is large', () => {
  const asked = [], image = painted(3000, 2000)
  const small = reduced(source(image, asked), [0, 0, 3000, 2000], 8)
  assert.deepEqual([small.width, small.height], [375, 250])
  assert.ok(asked.length > 1 && asked.every(([width, height]) => width * height <= 2 ** 21))
  const whole = reduced({...source(image), read: source(image).read}, [0, 0, 3000, 2000], 8)
  assert.deepEqual(small.data, whole.data)
})

test('what is left over at an edge is averaged with itself', () => {
  const small = reduced(source(painted(5, 5)), [0, 0, 5, 5], 2)
  assert.deepEqual([small.width, small.height, ...pixel(small, 2, 2)], [3, 3, 4, 4])
})

test('turned by a quarter, the top left is on the top right; by four, all is as before', () => {
  const image = painted(6, 4), once = turned(image, 1)
  assert.deepEqual([once.width, once.height], [4, 6])
  assert.deepEqual(pixel(once, 3, 0), [0, 0])
  assert.deepEqual(pixel(turned(image, 3), 0, 5), [0, 0])
  assert.deepEqual(turned(turned(image, 2), 2).data, image.data)
})

const LIMITS = {most: 1536, least: 576, grey: 5, small_side: 100}
test('a piece of a turned photograph is that piece', () => {
  const image = painted(240, 160)
  for (const turn of [0, 1, 2, 3]) {
    const photo = new Photo(source(image), 'PNG', turn, LIMITS), box = [.25, .5, .5, .75]
    photo.image = {...photo.image, width: 1}                     // too small, so that it has to be cut
    const [{image: part, box: lies}] = photo.cut([box], 1000), all = turned(image, turn)
    assert.deepEqual(lies.map(x => Math.round(1000 * x)), box.map(x => 1000 * x))
    assert.deepEqual([part.width, part.height], [all.width / 4, all.height / 4])
    assert.deepEqual(pixel(part, 0, 0), pixel(all, all.width / 4, all.height / 2))
  }
})

test('a frame is one, or a sentence says why not', () => {
  assert.deepEqual(framed([-1e-9, 0, 1, 1]), [0, 0, 1, 1])
  for (const [box, code] of [[[0, 0, 1], 'no_frame'], ['abcd', 'no_frame'], [[0, 0, NaN, 1], 'no_frame'], [[0, 0, 2, 1], 'outside'], [[.5, .5, .5, 1], 'no_size']])
    assert.throws(() => framed(box), {code})
})

const PHOTO = {max_bytes: 1000, signatures: {'\xff\xd8\xff': 'JPEG', '\x89PNG\r\n\x1a\n': 'PNG'}, brands: {heic: 'HEIF', mif1: 'HEIF'},
  others: {'%PDF': 'PDF', '<html': 'HTML'}, films: {'qt  ': 'MOV'}}
test('a file is known by how it begins', () => {
  const kind = text => recognise(Uint8Array.from(text, letter => letter.charCodeAt(0)), PHOTO)
  assert.equal(kind('\x89PNG\r\n\x1a\n'), 'PNG')
  assert.equal(kind('\0\0\0\x18ftypheic'), 'HEIF')
  assert.equal(kind('RIFF\0\0\0\0WEBP'), 'WEBP')
  for (const [text, code] of [['', 'empty'], ['  <HTML>', 'format'], ['\0\0\0\x18ftypqt  ', 'format'], ['robin', 'not_a_picture'], ['x'.repeat(1001), 'too_large_bytes']])
    assert.throws(() => kind(text), {code})
})

const ABOUT = {preprocessing: {size: 64, views: [1.125, 0], mean: [.5, .5, .5], std: [.5, .5, .5], flip: true}, temperature: 1,
  finding: {side: 128, place: .9, share: .55, margins: [.15, .5], overlap: .4, most: 6}}
function pretending(asked, places, species = LOGITS.sure) {      // a network that sees birds where it is told to
  return async (numbers, [n, , height, width]) => {
    const [h, w] = [height / 32, width / 32], layer = h * w
    asked.push([n, width, height])
    const data = new Float32Array(5 * layer).fill(-9)
    for (const [x, y, far] of places(asked.length)) for (const [k, value] of [9, far, far, far, far].entries()) data[k * layer + Math.floor(y * h) * w + Math.floor(x * w)] = value
    const row = {species, open_set: [4, 4], places: {data, height: h, width: w}, evidence: {data: new Float32Array(3 * layer), height: h, width: w}}
    return Array.from({length: n}, () => row)
  }
}
function back({data, height, width}) {     // what a mirror shows
  const layer = height * width, other = data.slice()
  for (let k = 0; k < 5; k++)
    for (let i = 0; i < layer; i++) other[[0, 3, 2, 1, 4][k] * layer + i - i % width + width - 1 - i % width] = data[k * layer + i]
  return {data: other, height, width}
}
const photo = () => new Photo(source(painted(200, 150)), 'PNG', 0, LIMITS)

test('what a mirror shows is turned back', () => {
  const data = Float32Array.from({length: 40}, (_, i) => i), places = {data, height: 2, width: 4}
  assert.deepEqual([...steady(places, back(places)).data], [...data])
})

const LOGITS = {sure: [9, 1, 0], unsure: [3, 2.9, 0]}
test('a bird that fills the picture is seen at a glance', async () => {
  const asked = [], {whole, found} = await find(pretending(asked, () => [[.5, .5, .9]]), photo(), ABOUT)
  assert.deepEqual(asked, [[1, 64, 64], [1, 64, 64]])
  assert.deepEqual(found[0], await whole())
  assert.equal(asked.length, 2)                                  // it was worked out once
})

test('the mirror is asked where it is not clear', async () => {
  const asked = []
  await find(pretending(asked, () => [[.5, .5, .9]], LOGITS.unsure), photo(), ABOUT)
  assert.deepEqual(asked, [[1, 64, 64], [1, 64, 64], [2, 64, 64]])
})

test('small ones are searched for, and each is looked at from near by', async () => {
  const asked = [], search = n => n === 1 ? [] : n === 2 ? [[.1, .1, .3], [.9, .9, .3]] : [[.5, .5, .5]]
  const {found} = await find(pretending(asked, search), photo(), ABOUT)
  assert.deepEqual(asked, [[1, 64, 64], [1, 128, 96], [2, 64, 64], [2, 64, 64]])
  assert.equal(found.length, 2)
})

test('two places that turn out to be one bird are one', async () => {
  const search = n => n === 1 ? [] : n === 2 ? [[.3, .5, .6], [.7, .5, .6]] : n === 3 ? [[.9, .5, .5]] : [[.1, .5, .5]]
  const {found} = await find(pretending([], search), photo(), ABOUT)
  assert.equal(found.length, 1)
})

test('where there is none, the whole picture is answered on; a frame is looked into as it is', async () => {
  const nothing = await find(pretending([], () => []), photo(), ABOUT)
  assert.equal(nothing.found[0].box, null)
  const asked = [], {whole, found} = await find(pretending(asked, () => [[.5, .5, .5]]), photo(), ABOUT, [.2, .2, .6, .6])
  assert.deepEqual([whole, found[0].box, asked.length], [null, [.2, .2, .6, .6], 1])
})

test('of boxes that share much the first stays', () => {
  assert.deepEqual(apart([[0, 0, .5, .5], [.1, .1, .4, .4], [.6, .6, 1, 1]], .25), [0, 2])
})

test('the square around a bird stays in the picture', () => {
  const [left, top, right, bottom] = around([.9, .4, 1, .5], .5, {width: 400, height: 200})
  assert.ok(right <= 1 && left > .799 && Math.abs((right - left) * 400 - (bottom - top) * 200) < 1e-9)
})

test('boxes that share nothing share nothing', () => assert.deepEqual(shared([0, 0, .1, .1], [.5, .5, 1, 1]), [0, 0]))

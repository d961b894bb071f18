// How a frame moves, without a page
import assert from 'node:assert/strict'
import {test} from 'node:test'
import {around, grip, inside, keyed, moved, outside, pinched, pulled, same, scaled, unturned} from './fakes.mjs'

const BOX = [.2, .3, .6, .5]
const rounded = numbers => numbers.map(x => Math.round(x * 1e6) / 1e6)
const is = (box, right) => assert.deepEqual(rounded(box), right)

test('it is moved as far as the picture goes, and keeps its size', () => {
  is(moved(BOX, .1, -.1), [.3, .2, .7, .4])
  is(moved(BOX, 9, -9), [.6, 0, 1, .2])
})

test('an edge or a corner is pulled, and the others stay', () => {
  is(pulled(BOX, [-1, 0], .1, .1), [.3, .3, .6, .5])
  is(pulled(BOX, [1, 1], .1, .1), [.2, .3, .7, .6])
  is(pulled(BOX, [-1, -1], -9, -9), [0, 0, .6, .5])
})

test('it is never lost: not turned inside out, not outside, and not too small for a finger', () => {
  let seed = 1
  const random = () => (seed = seed * 16807 % 2147483647) / 2147483647
  const far = () => 4 * random() - 2, edge = () => Math.floor(3 * random()) - 1
  let box = BOX
  for (let n = 0; n < 5000; n++) {
    const point = () => [random(), random()]
    box = [() => moved(box, far(), far()), () => pulled(box, [edge(), edge()], far(), far()), () => scaled(box, 3 * random()),
      () => pinched(box, [point(), point()], [point(), point()], .1 + 3 * random()), () => keyed(box, 'ArrowLeft', true)][n % 5]()
    const [left, top, right, bottom] = box
    assert.ok(left >= -1e-9 && top >= -1e-9 && right <= 1 + 1e-9 && bottom <= 1 + 1e-9, `${n}: ${box}`)
    assert.ok(right - left > .0299 && bottom - top > .0299, `${n}: ${box}`)
  }
})

test('where a hand holds it says what it does', () => {
  const at = point => grip(point, BOX, [.05, .05])
  assert.deepEqual(at([.4, .4]), [0, 0])
  assert.deepEqual(at([.22, .4]), [-1, 0])
  assert.deepEqual(at([.62, .52]), [1, 1])
  assert.deepEqual([at([.1, .4]), at([.4, .6])], [null, null])
  assert.deepEqual(grip([.5, .5], [.49, .49, .51, .51], [.05, .05]), [0, 0])       // a small frame has a middle too
})

test('two fingers size it, whichever way the picture is longer, and take it along', () => {
  is(pinched([.4, .4, .6, .6], [[.4, .5], [.6, .5]], [[.3, .5], [.7, .5]], 2), [.3, .3, .7, .7])
  is(pinched([.4, .4, .6, .6], [[.4, .5], [.6, .5]], [[.5, .5], [.7, .5]], 1), [.5, .4, .7, .6])
  is(pinched([.4, .4, .6, .6], [[.5, .5], [.5, .5]], [[.5, .5], [.5, .5]], 1), [.485, .485, .515, .515])
})

test('keys', () => {
  is(keyed(BOX, 'ArrowRight', false), [.21, .3, .61, .5])
  is(keyed(BOX, 'ArrowDown', true), [.2, .3, .6, .51])
  is(keyed([.4, .4, .6, .6], '+', false), [.39, .39, .61, .61])
  is(keyed(keyed(BOX, '+'), '-'), BOX)
  assert.deepEqual(['a', 'Tab', 'Enter', 'Escape', ''].map(key => keyed(BOX, key, false)), [null, null, null, null, null])
})

test('what is around it: twice its longer side, in whole pixels, as far as the picture goes', () => {
  const size = {width: 1000, height: 500}
  is(around([.4, .4, .6, .6], size), [.3, .1, .7, .9])
  is(around([0, 0, .1, .2], size), [0, 0, .15, .3])
  is(around([.5, .45, .7, .55], size), [.4, .1, .8, .9])         // a flat one gets a square
  for (const at of around([.3333, .3333, .7777, .5555], size).map((x, i) => x * [1000, 500][i % 2])) assert.ok(Math.abs(at - Math.round(at)) < 1e-9)
})

test('to and fro between the picture and a part of it', () => {
  const part = [.1, .2, .7, .8]
  is(outside(inside(BOX, part), part), BOX)
  is(inside(part, part), [0, 0, 1, 1])
})

test('turned four times it is where it was', () => {
  is(unturned([0, 0, .2, .1], 1), [0, .8, .1, 1])
  is(unturned(BOX, 2), [.4, .5, .8, .7])
  is([1, 3].reduce(unturned, BOX), BOX)
  is(unturned(BOX, 4), BOX)
  assert.ok(same(BOX, [...BOX]) && same(null, null) && !same(BOX, null) && !same(undefined, BOX) && !same(BOX, [.2, .3, .6, .51]))
})

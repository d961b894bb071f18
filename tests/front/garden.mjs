// The frame in a garden: which of the squares that were asked beforehand is most like it
import assert from 'node:assert/strict'
import test from 'node:test'
import {nearest} from '../../birdclf/front/garden.js'

const KNOWS = {size: [400, 200], said: ['a wren', 'an apple'], squares: [[0, 0, 100, 1], [100, 0, 100, 1], [0, 0, 200, 0], [300, 100, 100, 0]]}

test('a frame that is a square gets that square', () => {
  assert.deepEqual(nearest(KNOWS, [.25, 0, .5, .5]), {box: [.25, 0, .5, .5], answer: 'an apple'})
  assert.deepEqual(nearest(KNOWS, [0, 0, .5, 1]), {box: [0, 0, .5, 1], answer: 'a wren'})
})

test('any other gets the one whose edges are all near', () => {
  assert.equal(nearest(KNOWS, [.9, .8, 1, 1]).answer, 'a wren')
  assert.deepEqual(nearest(KNOWS, [.02, 0, .27, .45]).box, [0, 0, .25, .5])
  assert.deepEqual(nearest(KNOWS, [0, 0, .9, 1]).box, [0, 0, .5, 1])
})

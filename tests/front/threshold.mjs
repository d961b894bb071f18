// The threshold that a reader moves: who gets a name, where it is drawn, and what is said
import assert from 'node:assert/strict'
import test from 'node:test'
import {chance, named, place, told} from '../../birdclf/front/threshold.js'

const KNOWS = {first: -1, width: .5, shipped: 2, right: [1, 0, 2, 3, 4], wrong: [0, 1, 1, 0, 0], strangers: [900, 300, 20, 1, 0], ours: 15, others: 1300}

test('what is right of the threshold has a name', () => {
  assert.deepEqual(named(KNOWS, 0), {right: 9, wrong: 2, strangers: 321})
  assert.deepEqual(named(KNOWS, 2), {right: 7, wrong: 0, strangers: 1})
  assert.deepEqual(named(KNOWS, 3), {right: 4, wrong: 0, strangers: 0})
})

test('moving it to the right never gives anybody a name', () => {
  for (const kind of ['right', 'wrong', 'strangers'])
    for (let step = 0; step < 3; step++) assert.ok(named(KNOWS, step)[kind] >= named(KNOWS, step + 1)[kind])
})

test('a place on the slider is a threshold, and is drawn between the same two columns', () => {
  assert.equal(chance(KNOWS, 2), .5)
  for (let step = 0; step < 4; step++) assert.ok(Math.abs(place(KNOWS, chance(KNOWS, step)) - (step + 1) / 5) < 1e-9)
})

test('it is said in words, and where the page stands is said too', () => {
  assert.equal(told(KNOWS, 2).threshold, 'Threshold 0.50, as on the page')
  const {threshold, kept, taken} = told(KNOWS, 0)
  assert.equal(threshold, 'Threshold 0.27')
  assert.deepEqual(kept, [9, 'of 15 photographs of our birds keep their right name, 2 get a wrong one.'])
  assert.deepEqual(taken, [321, 'of 1,300 strangers get a name, and it is wrong.'])
})

test('two places next to each other never look alike, also near 1', () => {
  const near = {...KNOWS, first: -6, width: .7, shipped: 3, right: Array(20).fill(1), wrong: Array(20).fill(0), strangers: Array(20).fill(1)}
  const said = Array.from({length: 19}, (_, step) => told(near, step).threshold.replace(', as on the page', ''))
  assert.equal(new Set(said).size, said.length)
  assert.ok(said.includes('Threshold 0.40') && !said.includes('Threshold 1.00'))
})

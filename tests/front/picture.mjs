// The rule by which a picture is made smaller before it is sent, without a browser
import assert from 'node:assert/strict'
import {test} from 'node:test'
import {halvings, shrinkable, smaller} from './fakes.mjs'

const LIMITS = {as_is: 100, side: 1024, pixels: {JPEG: 6e6, PNG: 4e6}}
const large = {byteLength: 101}, size = {width: 2000, height: 2000}

test('a picture is halved as often as its shorter side allows', () => {
  const sides = [1, 1023, 1024, 2047, 2048, 4095, 4096, 8192]
  assert.deepEqual(sides.map(height => halvings({width: 24000, height}, 1024)), [0, 0, 0, 0, 1, 1, 2, 3])
  assert.equal(halvings({width: 2048, height: 24000}, 1024), 1)
})

test('only what is large, whole and within its limit may be made smaller', () => {
  const whole = {kind: 'JPEG', whole: true}
  assert.equal(shrinkable(large, whole, 'JPEG', size, LIMITS), true)
  assert.equal(shrinkable({byteLength: 100}, whole, 'JPEG', size, LIMITS), false)
  assert.equal(shrinkable(large, {kind: 'JPEG', whole: false}, 'JPEG', size, LIMITS), false)
  assert.equal(shrinkable(large, null, '', size, LIMITS), false)
})

test('a limit in pixels is the limit of its kind', () => {
  assert.equal(shrinkable(large, null, 'PNG', {width: 2000, height: 2000}, LIMITS), true)
  assert.equal(shrinkable(large, null, 'PNG', {width: 2000, height: 2001}, LIMITS), false)
  assert.equal(shrinkable(large, {whole: true}, 'JPEG', {width: 2000, height: 3000}, LIMITS), true)
})

test('what cannot be told, or not be decoded, goes as it is', async () => {
  const text = new TextEncoder().encode('Erithacus rubecula '.repeat(99)).buffer
  assert.equal(await smaller(text, null, size, LIMITS), text)
  assert.equal(await smaller(text, {kind: 'JPEG', whole: true}, null, LIMITS), text)
})

test('a narrow one keeps its width', async () => {
  const bytes = new Uint8Array(200).buffer                // no canvas is asked for, or this would fail
  assert.equal(await smaller(bytes, {kind: 'JPEG', whole: true}, {width: 24000, height: 96}, LIMITS), bytes)
})

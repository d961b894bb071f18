// What the pages have in common, without a browser: a question and its number, a word and its text
import assert from 'node:assert/strict'
import {mock, test} from 'node:test'
import {Asking, Line, builder, fake} from './fakes.mjs'

test('an answer belongs to whoever asked, whatever the order', async () => {
  const model = fake.model(), line = new Asking(model, () => {})
  const first = line.ask({kind: 'page'}), second = line.ask({kind: 'zoom'})
  assert.deepEqual(model.sent.map(({kind, seq}) => [kind, seq]), [['page', 1], ['zoom', 2]])
  line.answered(2).done('two')
  line.answered(1).done('one')
  assert.deepEqual(await Promise.all([first, second]), ['one', 'two'])
  assert.equal(line.answered(2), undefined)            // once
  assert.equal(line.answered(99), undefined)
})

test('silence is noticed after eight seconds, and so is a late answer', t => {
  t.mock.timers.enable({apis: ['setTimeout']})
  let changes = 0
  const line = new Asking(fake.model(), () => { changes += 1 })
  line.ask({kind: 'page'})
  t.mock.timers.tick(7999)
  assert.deepEqual([line.lost, changes], [false, 0])
  t.mock.timers.tick(1)
  assert.deepEqual([line.lost, changes], [true, 1])
  line.answered(1).done()
  assert.deepEqual([line.lost, changes], [false, 2])
})

test('an answer stops the clock, and so does leaving', t => {
  t.mock.timers.enable({apis: ['setTimeout']})
  const line = new Asking(fake.model(), () => {})
  line.ask({kind: 'page'})
  line.answered(1).done()
  line.ask({kind: 'page'})
  line.close()
  t.mock.timers.tick(60000)
  assert.equal(line.lost, false)
})

test('nobody to send to is noticed at once', () => {
  let changes = 0
  const line = new Line({send() { throw new Error('no comm') }}, () => { changes += 1 })
  line.send({kind: 'hello'}, 1)
  assert.deepEqual([line.lost, changes], [true, 1])
  line.find(); line.find()
  assert.deepEqual([line.lost, changes], [false, 2])
})

test('what is heard is heard until the signal', () => {
  const model = fake.model(), stop = new AbortController(), heard = []
  new Line(model, () => {}).listen((message, buffers) => heard.push([message, buffers]), stop.signal)
  model.say('one')
  stop.abort()
  model.say('two')
  assert.deepEqual(heard, [['one', []]])
})

test('what is written is text, under the page\'s own prefix', () => {
  globalThis.document = {createElement: tag => ({tag, dataset: {}})}
  const {write, press} = builder('bc-', {ours: true}), act = mock.fn()
  assert.deepEqual({...write('p', 'hint fit', '<b>robin</b>')},
    {tag: 'p', dataset: {ours: true}, className: 'bc-hint bc-fit', textContent: '<b>robin</b>'})
  assert.deepEqual({...press('', 'Go', null, act)}, {tag: 'button', dataset: {ours: true}, textContent: 'Go', type: 'button', onclick: act})
})

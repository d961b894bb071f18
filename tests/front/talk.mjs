// One photo and its answer, without a browser and without a kernel
import assert from 'node:assert/strict'
import {beforeEach, test} from 'node:test'
import {Conversation, Line, fake, fallen} from './fakes.mjs'

const LIMITS = {max_bytes: 1000, as_is: 100, side: 1024, pixels: {JPEG: 1e6}}
const answer = (seq, sentence) => ({kind: 'answer', seq, verdict: 'not_bird', sentences: {en: sentence}})
let model, talk, changes, bitmap

beforeEach(() => {
  model = fake.model()
  changes = 0
  bitmap = {width: 1, height: 1, close() {}}
  const line = new Line(model, () => { changes += 1 })
  const pictures = {decode: async () => bitmap, smaller: async bytes => bytes, show() {}}
  talk = new Conversation(line, LIMITS, pictures, () => { changes += 1 })
})

const lost = () => talk.line.lost
const said = () => talk.photo.answer?.sentences?.en
const kinds = () => model.sent.map(({kind, seq}) => `${kind} ${seq}`)

test('first hello, then the photo, both with its number and nothing else of it', async () => {
  await talk.take([fake.file(1, 2, 3)])
  assert.deepEqual(kinds(), ['hello 1', 'photo 1'])
  assert.deepEqual([...new Uint8Array(model.sent[1].buffers[0])], [1, 2, 3])
  assert.deepEqual(Object.keys(model.sent[1]).sort(), ['buffers', 'kind', 'preview', 'seq'])
  assert.equal(model.sent[1].preview, false)
  assert.deepEqual([talk.photo.phase, talk.photo.pictured], ['looking', true])
})

test('what the browser cannot show comes back as a picture', async () => {
  bitmap = null
  await talk.take([fake.file(1)])
  assert.equal(model.sent[1].preview, true)
  bitmap = {close() {}}
  await talk.hear(answer(1, 'a cat'), [new ArrayBuffer(1)])
  assert.deepEqual([talk.photo.pictured, said()], [true, 'a cat'])
})

test('answers out of order', async () => {
  for (const n of [1, 2]) await talk.take([fake.file(n)])
  await talk.hear(answer(2, 'the second'), [])
  await talk.hear(answer(1, 'the first'), [])
  await talk.hear(answer(2, 'the second again'), [])
  assert.equal(said(), 'the second')
  assert.deepEqual(kinds(), ['hello 1', 'photo 1', 'hello 2', 'photo 2'])
})

test('a photo that was replaced while it was read is not sent', async () => {
  const first = talk.take([fake.file(1)]), second = talk.take([fake.file(2)])
  await Promise.all([first, second])
  assert.deepEqual(kinds(), ['hello 1', 'hello 2', 'photo 2'])
})

test('trouble on their side, and a photo that is none, are refusals without a picture', async () => {
  for (const reply of [{verdict: 'trouble'}, {verdict: 'unreadable', sentences: {en: 'half a JPEG'}}]) {
    await talk.take([fake.file(1)])
    await talk.hear({kind: 'answer', seq: talk.photo.seq, ...reply}, [])
    assert.deepEqual([talk.photo.phase, talk.photo.pictured, talk.photo.answer.verdict], ['refused', false, reply.verdict])
  }
})

test('a file that is too large, or gone, never leaves', async () => {
  await talk.take([{size: 1001}])
  assert.deepEqual(model.sent[1], {kind: 'too_large', bytes: 1001, seq: 1, buffers: []})
  await talk.take([{size: 1, arrayBuffer: () => Promise.reject(new Error('gone'))}])
  assert.deepEqual([kinds().at(-1), talk.photo.answer.verdict], ['hello 2', 'gone'])
})

test('of a picture with too many pixels only what stands before them is sent', async () => {
  const frame = [0xFF, 0xC0, 0, 17, 8, 4000 >> 8, 4000 & 255, 4000 >> 8, 4000 & 255, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]
  await talk.take([fake.file(0xFF, 0xD8, ...frame, 0xFF, 0xDA, 0, 2, ...Array(500).fill(7))])
  const [photo] = model.sent.slice(-1)
  assert.deepEqual([photo.kind, photo.preview, photo.buffers[0].byteLength, talk.photo.pictured], ['photo', false, 25, false])
})

test('several photos, a word about it, and no word about one', async () => {
  await talk.take([fake.file(1), fake.file(2), fake.file(3)])
  assert.deepEqual(talk.photo.note, {key: 'several', values: {n: 3}})
  await talk.take([fake.file(2)])
  assert.equal(talk.photo.note, null)
})

test('never silent: nobody is there, it takes longer, somebody is there after all', async t => {
  t.mock.timers.enable({apis: ['setTimeout']})
  await talk.take([fake.file(1)])
  t.mock.timers.tick(4000)
  assert.deepEqual([talk.photo.slow, lost()], [true, false])
  t.mock.timers.tick(4000)
  assert.equal(lost(), true)
  await talk.hear({kind: 'here', seq: 1}, [])
  assert.deepEqual([lost(), talk.photo.heard], [false, true])
  t.mock.timers.tick(22000)                               // 30 seconds and a little for one byte
  assert.equal(lost(), false)
  t.mock.timers.tick(1)
  assert.equal(lost(), true)
  await talk.hear(answer(1, 'late'), [])
  assert.deepEqual([lost(), said()], [false, 'late'])
})

test('a clock about an earlier photo says nothing', async t => {
  t.mock.timers.enable({apis: ['setTimeout']})
  await talk.take([fake.file(1)])
  t.mock.timers.tick(7000)
  await talk.take([fake.file(2)])
  t.mock.timers.tick(7000)
  assert.equal(lost(), false)
  t.mock.timers.tick(1000)
  assert.equal(lost(), true)
})

test('nobody to send to', async () => {
  model.send = () => { throw new Error('no comm') }
  await talk.take([fake.file(1)])
  assert.equal(lost(), true)
})

test('a photo that was lost with the connection is told from one that is late', async () => {
  const again = async () => {
    await talk.take([fake.file(1)])
    await talk.hear({kind: 'here', seq: talk.photo.seq}, [])
    talk.connection('disconnected')
    talk.connection('connected')
    assert.equal(kinds().at(-1), `hello ${talk.photo.seq}`)
  }
  await again()
  await talk.hear({kind: 'here', seq: 1}, [])
  assert.deepEqual([talk.photo.answer, talk.photo.phase], [{verdict: 'cut'}, 'refused'])
  await again()
  await talk.hear(answer(2, 'it was late'), [])
  await talk.hear({kind: 'here', seq: 2}, [])
  assert.equal(said(), 'it was late')
})

test('a connection that breaks between two photos takes none along', async () => {
  talk.connection('disconnected')
  talk.connection('connected')
  assert.deepEqual(kinds(), [])
})

test('after leaving, nothing is heard', async () => {
  await talk.take([fake.file(1)])
  talk.forget()
  const before = changes
  await talk.hear(answer(1, 'too late'), [])
  assert.deepEqual([talk.photo.phase, changes], ['empty', before])
})

const item = (file, folder = false) => ({kind: 'file', getAsFile: () => file, webkitGetAsEntry: () => ({isDirectory: folder})})
const text = {kind: 'string'}

test('what falls on the page is photos, or the reason why not', () => {
  assert.deepEqual(fallen({items: [item('a'), text, item('b')]}, 'link'), {files: ['a', 'b']})
  assert.deepEqual(fallen({items: [item('x', true)]}, 'link'), {note: 'folder'})
  assert.deepEqual(fallen({items: [text]}, 'link'), {note: 'link'})
  assert.deepEqual(fallen({items: [text]}, 'nothing'), {note: 'link'})
  assert.deepEqual(fallen({items: []}, 'nothing'), {note: 'nothing'})
})
